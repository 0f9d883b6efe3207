/* Lengths, texts and sizes that are wrong, and texts at the very end of what
 * may be read. */
#include "check.h"

#include <limits.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* The text of that length in front of a page that nobody may read. */
static char *at_the_edge(const char *text, size_t length)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (length + page - 1) / page * page;
    char *start = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(start != MAP_FAILED);
    CHECK(mprotect(start + room, page, PROT_NONE) == 0);
    memcpy(start + room - length, text, length);
    return start + room - length;
}

static void texts(void)
{
    airgap_error_t *error = NULL;
    airgap_policy_t *policy = NULL;
    airgap_host_t *host = NULL;
    airgap_explanation_t *explanation = NULL;

    OK(airgap_policy_from_toml(at_the_edge(POLICY, strlen(POLICY)), strlen(POLICY), &policy, &error));
    AIRGAP_CLEAR(policy, policy);
    static const char JSON[] = "{\"version\": 1}";
    OK(airgap_policy_from_json(at_the_edge(JSON, strlen(JSON)), strlen(JSON), &policy, &error));
    AIRGAP_CLEAR(policy, policy);
    static const char PATH[] = "/nonexistent/policy.toml";
    FAILS(AIRGAP_ERROR_POLICY, airgap_policy_load(at_the_edge(PATH, strlen(PATH)), strlen(PATH), &policy, &error));
    FAILS(AIRGAP_ERROR_IO, airgap_host_open_netns(at_the_edge(PATH, strlen(PATH)), strlen(PATH), &host, &error));

    OK(airgap_policy_from_toml(POLICY, strlen(POLICY), &policy, &error));
    static const char FLOW[] = "host -> tcp 203.0.113.9:443";
    OK(airgap_explain(policy, NULL, at_the_edge(FLOW, strlen(FLOW)), strlen(FLOW), &explanation, &error));
    CHECK(airgap_explanation_verdict(explanation) == AIRGAP_VERDICT_PASSES);
    AIRGAP_CLEAR(explanation, explanation);
    FAILS(AIRGAP_ERROR_POLICY, airgap_explain(policy, NULL, NULL, 0, &explanation, &error));
    FAILS(AIRGAP_ERROR_ARGUMENT, airgap_explain(policy, NULL, FLOW, SIZE_MAX, &explanation, &error));
    FAILS(AIRGAP_ERROR_ARGUMENT, airgap_explain(policy, NULL, "\x80", 1, &explanation, &error));
    CHECK(explanation == NULL);
    AIRGAP_CLEAR(policy, policy);

    /* NULL with a length of 0 is the empty text. */
    FAILS(AIRGAP_ERROR_POLICY, airgap_policy_from_toml(NULL, 0, &policy, &error));
    FAILS(AIRGAP_ERROR_POLICY, airgap_policy_from_json(NULL, 0, &policy, &error));
    FAILS(AIRGAP_ERROR_POLICY, airgap_policy_load(NULL, 0, &policy, &error));
    FAILS(AIRGAP_ERROR_ARGUMENT, airgap_host_open_netns(NULL, 0, &host, &error));

    /* No object is that long: a length that was negative. */
    static const size_t LENGTHS[] = {SIZE_MAX, (size_t)SSIZE_MAX + 1};
    for (size_t i = 0; i < sizeof LENGTHS / sizeof *LENGTHS; i++) {
        FAILS(AIRGAP_ERROR_ARGUMENT, airgap_policy_from_toml(POLICY, LENGTHS[i], &policy, &error));
        FAILS(AIRGAP_ERROR_ARGUMENT, airgap_policy_from_json(POLICY, LENGTHS[i], &policy, &error));
        FAILS(AIRGAP_ERROR_ARGUMENT, airgap_policy_load(PATH, LENGTHS[i], &policy, &error));
        FAILS(AIRGAP_ERROR_ARGUMENT, airgap_host_open_netns(PATH, LENGTHS[i], &host, &error));
    }

    /* Cut short anywhere, a policy is read or refused. */
    for (size_t length = 0; length < strlen(POLICY); length++) {
        airgap_status_t status = airgap_policy_from_toml(at_the_edge(POLICY, length), length, &policy, &error);
        CHECK(status == AIRGAP_OK || status == AIRGAP_ERROR_POLICY);
        CHECK((status == AIRGAP_OK) == (policy != NULL) && (status == AIRGAP_OK) == (error == NULL));
        AIRGAP_CLEAR(policy, policy);
        AIRGAP_CLEAR(error, error);
    }

    /* No UTF-8: a lone continuation, an overlong zero, a surrogate, too high
     * a number, and a letter that is cut. */
    static const char *const WRONG[] = {"\x80", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "a\xe2\x82"};
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        char text[64] = "version = 1 # ";
        strcat(text, WRONG[i]);
        FAILS(AIRGAP_ERROR_POLICY, airgap_policy_from_toml(text, strlen(text), &policy, &error));
        FAILS(AIRGAP_ERROR_POLICY, airgap_policy_from_json(WRONG[i], strlen(WRONG[i]), &policy, &error));
        FAILS(AIRGAP_ERROR_ARGUMENT, airgap_policy_load(WRONG[i], strlen(WRONG[i]), &policy, &error));
        FAILS(AIRGAP_ERROR_ARGUMENT, airgap_host_open_netns(WRONG[i], strlen(WRONG[i]), &host, &error));
    }

    /* A zero within. */
    FAILS(AIRGAP_ERROR_POLICY, airgap_policy_from_toml("version\0= 1", 11, &policy, &error));
    FAILS(AIRGAP_ERROR_POLICY, airgap_policy_load("policy\0.toml", 12, &policy, &error));
    FAILS(AIRGAP_ERROR_IO, airgap_host_open_netns("net\0ns", 6, &host, &error));
    CHECK(policy == NULL && host == NULL);
}

/* Structs of another size than the library's. */
static void sizes(void)
{
    airgap_error_t *error = NULL;
    airgap_fake_kernel_t *kernel = NULL;
    airgap_host_t *host = NULL;
    airgap_policy_t *policy = NULL;
    airgap_plan_t *plan = NULL;
    OK(airgap_fake_kernel_new(&kernel, &error));
    OK(airgap_host_fake(kernel, &host, &error));
    OK(airgap_policy_from_toml(POLICY, strlen(POLICY), &policy, &error));
    OK(airgap_host_plan(host, policy, &plan, &error));

    /* A program of a later version: its struct is longer. */
    struct {
        airgap_change_t known;
        unsigned char later[32];
    } change;
    memset(&change, 0xee, sizeof change);
    change.known.size = sizeof change;
    OK(airgap_plan_change(plan, 0, &change.known, &error));
    CHECK(change.known.size == sizeof change && change.known.line > 0 && change.known.opening[0] != '\0');
    for (size_t i = 0; i < sizeof change.later; i++)
        CHECK(change.later[i] == 0xee);

    /* One of an earlier version: only what it has is written. */
    memset(&change, 0xee, sizeof change);
    change.known.size = offsetof(airgap_change_t, column);
    OK(airgap_plan_change(plan, 0, &change.known, &error));
    CHECK(change.known.line > 0 && change.known.column == 0xeeeeeeee);

    /* Sizes that no version has. */
    static const size_t SIZES[] = {0, 1, sizeof(size_t) - 1, SIZE_MAX, (size_t)SSIZE_MAX + 1};
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        airgap_change_t wrong = {.size = SIZES[i]};
        FAILS(AIRGAP_ERROR_ARGUMENT, airgap_plan_change(plan, 0, &wrong, &error));
        airgap_applied_t applied = {.size = SIZES[i]};
        FAILS(AIRGAP_ERROR_ARGUMENT, airgap_host_apply(host, plan, NULL, &applied, &error));
        airgap_apply_options_t options = {.size = SIZES[i]};
        FAILS(AIRGAP_ERROR_ARGUMENT, airgap_host_apply(host, plan, &options, NULL, &error));
    }

    /* Options that this version does not know: refused where they are set,
     * since what they ask for would not be done. */
    struct {
        airgap_apply_options_t known;
        unsigned char later[16];
    } options = {.known = {.size = sizeof options}};
    options.later[15] = 1;
    FAILS(AIRGAP_ERROR_ARGUMENT, airgap_host_apply(host, plan, &options.known, NULL, &error));
    options.later[15] = 0;
    OK(airgap_host_apply(host, plan, &options.known, NULL, &error));

    /* Numbers behind the last, and none. */
    airgap_change_t none = {.size = sizeof none};
    FAILS(AIRGAP_ERROR_ARGUMENT, airgap_plan_change(plan, airgap_plan_change_count(plan), &none, &error));
    FAILS(AIRGAP_ERROR_ARGUMENT, airgap_plan_change(plan, SIZE_MAX, &none, &error));
    CHECK(none.opening == NULL);
    airgap_graph_t *graph = NULL;
    char *text = NULL;
    OK(airgap_host_live(host, &graph, &error));
    static const int32_t FORMATS[] = {-1, 3, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
        FAILS(AIRGAP_ERROR_ARGUMENT, airgap_graph_show(graph, FORMATS[i], &text, &error));
        CHECK(strcmp(airgap_status_name(FORMATS[i] == 3 ? 9999 : FORMATS[i]), "unknown") == 0);
    }
    FAILS(AIRGAP_ERROR_ARGUMENT, airgap_fake_kernel_refuse(kernel, 0, 1, &error));
    FAILS(AIRGAP_ERROR_ARGUMENT, airgap_fake_kernel_refuse(kernel, -1, 1, &error));
    FAILS(AIRGAP_ERROR_ARGUMENT, airgap_fake_kernel_refuse(kernel, 4096, 1, &error));
    FAILS(AIRGAP_ERROR_ARGUMENT, airgap_fake_kernel_refuse(kernel, 1, SIZE_MAX, &error));

    /* To free twice by AIRGAP_CLEAR is nothing. */
    AIRGAP_CLEAR(graph, graph);
    AIRGAP_CLEAR(graph, graph);
    AIRGAP_CLEAR(plan, plan);
    AIRGAP_CLEAR(plan, plan);
    AIRGAP_CLEAR(policy, policy);
    AIRGAP_CLEAR(policy, policy);
    AIRGAP_CLEAR(host, host);
    AIRGAP_CLEAR(host, host);
    AIRGAP_CLEAR(fake_kernel, kernel);
    AIRGAP_CLEAR(fake_kernel, kernel);
    AIRGAP_CLEAR(string, text);
    AIRGAP_CLEAR(error, error);
}

int main(void)
{
    texts();
    sizes();
    return 0;
}
