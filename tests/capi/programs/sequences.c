/* Random sequences of calls. The input's bytes choose the functions and what
 * is given to them: live handles, handles that were never made, texts that are
 * right, wrong or cut. Whatever is called in whatever order, results are
 * written on success only, every failure has its error, nothing panics that
 * was not told to, and nothing is left behind.
 *
 * Built with -fsanitize=fuzzer it is a target of libFuzzer; else it has a main
 * that makes inputs from a seed. */
#include "check.h"

#include <dirent.h>
#include <stdint.h>
#include <unistd.h>

enum { SLOTS = 3, CALLS_MAX = 60 };

static struct {
    airgap_policy_t *policies[SLOTS];
    airgap_fake_kernel_t *kernels[SLOTS];
    airgap_host_t *hosts[SLOTS];
    airgap_plan_t *plans[SLOTS];
    airgap_graph_t *graphs[SLOTS];
    airgap_explanation_t *explanations[SLOTS];
    airgap_verification_t *verifications[SLOTS];
    airgap_diagnostics_t *lists[SLOTS];
    airgap_error_t *errors[SLOTS];
    char *texts[SLOTS];
} all;

static const uint8_t *at, *end;
/* How often a fake kernel was told to panic and did not yet, at most. */
static size_t armed;

static uint8_t byte(void)
{
    return at < end ? *at++ : 0;
}

#define ANY(slots) ((slots)[byte() % SLOTS])

/* A text: one of the dictionary, whole or cut, or bytes of the input. */
static const char *text(size_t *length)
{
    static const char *const WORDS[] = {
        POLICY, OTHER, BAD, "", "version = 1", "{\"version\": 1}",
        "{\"version\": 1, \"allow\": [{\"to\": \"192.0.2.1\", \"port\": 443}]}",
        "version = 1\n[[allow]]\nto = \"192.0.2.0/24\"\nport = [\"1-9\", 80]\n[[allow]]\nto = \"192.0.2.1\"\nport = 80\n",
        "version = 1\n[[bridge]]\nname = \"br-*\"\nisolate = true\nports = [\"tcp/1\"]\n[host]\nstrict = true\n",
        "version = 1\n[[forward]]\nfrom = \"172.17.0.2\"\nto = \"198.51.100.7\"\nport = 5432\nlisten = \"172.17.0.1:15432\"\n",
        "/nonexistent.toml", "/proc/self/ns/net", "/dev/null", "lo",
        "host -> tcp 203.0.113.9:443", "tcp 192.0.2.10 -> host:22", "docker0 172.17.0.2 -> tcp 203.0.113.9:443",
    };
    uint8_t choice = byte();
    const char *chosen = WORDS[choice % (sizeof WORDS / sizeof *WORDS)];
    *length = strlen(chosen);
    if (choice < 200)
        return chosen;
    if (choice < 230) {
        *length = *length * byte() / 255;
        return chosen;
    }
    uint8_t wanted = byte();
    size_t left = (size_t)(end - at);
    *length = left < wanted ? left : wanted;
    chosen = (const char *)at;
    at += *length;
    return *length || wanted % 2 ? chosen : NULL;
}

/* What came of a call that can fail. */
static void judge(airgap_status_t status, airgap_error_t **place, bool given, bool written)
{
    CHECK(written == (status == AIRGAP_OK));
    CHECK(strcmp(airgap_status_name((int32_t)status), "unknown") != 0);
    if (place) {
        CHECK((*place != NULL) == (status != AIRGAP_OK));
        CHECK(airgap_error_status(*place) == status);
        CHECK(status == AIRGAP_OK || airgap_error_message(*place)[0] != '\0');
    }
    CHECK(given || status == AIRGAP_ERROR_ARGUMENT);
    if (status == AIRGAP_ERROR_PANIC) {
        CHECK(armed > 0);
        armed--;
    }
}

/* Calls with an error or NULL for it, and an out-pointer or NULL for it; what
 * is in their slots is freed before. */
#define GIVES(kind, slots, function, ...)                                  \
    do {                                                                   \
        airgap_error_t **error_ = &ANY(all.errors);                        \
        void *unwritten_ = &all;                                           \
        __typeof__(&(slots)[0]) out_ = &ANY(slots);                        \
        uint8_t how_ = byte();                                             \
        AIRGAP_CLEAR(error, *error_);                                      \
        error_ = how_ % 5 ? error_ : NULL;                                 \
        if (how_ % 7 == 0) {                                               \
            judge(function(__VA_ARGS__, NULL, error_), error_, false, false); \
            break;                                                         \
        }                                                                  \
        __typeof__(*out_) made_ = unwritten_;                              \
        airgap_status_t status_ = function(__VA_ARGS__, &made_, error_);   \
        judge(status_, error_, true, (void *)made_ != unwritten_);         \
        if (status_ == AIRGAP_OK) {                                        \
            airgap_##kind##_free(*out_);                                   \
            *out_ = made_;                                                 \
        }                                                                  \
    } while (0)

/* AIRGAP_CLEAR evaluates what it is given twice. */
#define DROP(kind, slots)                                                  \
    do {                                                                   \
        size_t slot_ = byte() % SLOTS;                                     \
        AIRGAP_CLEAR(kind, (slots)[slot_]);                                \
    } while (0)

static void call(void)
{
    const char *words;
    size_t length;
    airgap_error_t *error = NULL;
    switch (byte() % 47) {
    case 0: case 1: case 2:
        words = text(&length);
        GIVES(policy, all.policies, airgap_policy_from_toml, words, length);
        break;
    case 3:
        words = text(&length);
        GIVES(policy, all.policies, airgap_policy_from_json, words, length);
        break;
    case 4:
        words = text(&length);
        /* Not standard input, nor what may never end. */
        if (!(length && memchr(words, '-', length)))
            GIVES(policy, all.policies, airgap_policy_load, words, length);
        break;
    case 5: GIVES(diagnostics, all.lists, airgap_policy_warnings, ANY(all.policies)); break;
    case 6: GIVES(string, all.texts, airgap_policy_to_json, ANY(all.policies)); break;
    case 7: GIVES(string, all.texts, airgap_policy_hash, ANY(all.policies)); break;
    case 8: {
        const airgap_policy_t *policy = ANY(all.policies);
        GIVES(graph, all.graphs, airgap_policy_compile, policy, ANY(all.hosts));
        break;
    }
    case 9: {
        airgap_fake_kernel_t *kernel = NULL;
        OK(airgap_fake_kernel_new(&kernel, &error));
        airgap_fake_kernel_t **slot = &ANY(all.kernels);
        airgap_fake_kernel_free(*slot);
        *slot = kernel;
        break;
    }
    case 10: case 11: GIVES(host, all.hosts, airgap_host_fake, ANY(all.kernels)); break;
    case 12: {
        const airgap_fake_kernel_t *kernel = ANY(all.kernels);
        int number = byte();
        airgap_status_t status = airgap_fake_kernel_refuse(kernel, number, byte() % 4, &error);
        judge(status, &error, true, status == AIRGAP_OK);
        CHECK((status == AIRGAP_OK) == (kernel != NULL && number != 0));
        AIRGAP_CLEAR(error, error);
        break;
    }
    case 13:
        if (airgap_fake_kernel_panic(ANY(all.kernels), NULL) == AIRGAP_OK)
            armed++;
        break;
    case 14: {
        /* A real kernel is opened, and nothing is asked of it. */
        airgap_host_t *host = NULL;
        airgap_status_t status = airgap_host_open(&host, &error);
        judge(status, &error, true, host != NULL);
        AIRGAP_CLEAR(host, host);
        AIRGAP_CLEAR(error, error);
        words = text(&length);
        status = airgap_host_open_netns(words, length, &host, &error);
        judge(status, &error, true, host != NULL);
        AIRGAP_CLEAR(host, host);
        AIRGAP_CLEAR(error, error);
        break;
    }
    case 15: case 16: case 17: {
        const airgap_host_t *host = ANY(all.hosts);
        GIVES(plan, all.plans, airgap_host_plan, host, ANY(all.policies));
        break;
    }
    case 18: case 19: case 20: {
        const airgap_host_t *host = ANY(all.hosts);
        const airgap_plan_t *plan = ANY(all.plans);
        airgap_apply_options_t options = {.size = byte() % 2 ? sizeof options : byte()};
        airgap_applied_t applied = {.size = sizeof applied, .retries = SIZE_MAX};
        /* A size beyond the struct would be a lie about what may be read. */
        bool fits = options.size <= sizeof options;
        airgap_status_t status = airgap_host_apply(host, plan, fits ? &options : NULL, &applied, &error);
        judge(status, &error, true, applied.retries != SIZE_MAX);
        AIRGAP_CLEAR(error, error);
        break;
    }
    case 21: {
        const airgap_host_t *host = ANY(all.hosts);
        GIVES(string, all.texts, airgap_host_status, host, byte() % 2);
        break;
    }
    case 22: GIVES(graph, all.graphs, airgap_host_live, ANY(all.hosts)); break;
    case 23: {
        bool removed = false;
        airgap_status_t status = airgap_host_remove(ANY(all.hosts), byte() % 2 ? &removed : NULL, &error);
        judge(status, &error, true, status == AIRGAP_OK);
        AIRGAP_CLEAR(error, error);
        break;
    }
    case 24: {
        const airgap_plan_t *plan = ANY(all.plans);
        size_t count = airgap_plan_change_count(plan), index = byte() % 8;
        airgap_change_t change = {.size = sizeof change};
        airgap_status_t status = airgap_plan_change(plan, index, &change, &error);
        judge(status, &error, true, change.opening != NULL);
        CHECK((status == AIRGAP_OK) == (index < count));
        CHECK(!count || airgap_plan_changed(plan));
        AIRGAP_CLEAR(error, error);
        break;
    }
    case 25: GIVES(diagnostics, all.lists, airgap_plan_warnings, ANY(all.plans)); break;
    case 26: GIVES(graph, all.graphs, airgap_plan_graph, ANY(all.plans)); break;
    case 27: GIVES(string, all.texts, airgap_plan_to_json, ANY(all.plans)); break;
    case 28: {
        const airgap_graph_t *graph = ANY(all.graphs);
        GIVES(string, all.texts, airgap_graph_show, graph, (int32_t)byte() % 5 - 1);
        break;
    }
    case 29: {
        const airgap_error_t *about = ANY(all.errors);
        const airgap_diagnostics_t *list = byte() % 2 ? airgap_error_diagnostics(about) : ANY(all.lists);
        size_t count = airgap_diagnostics_count(list), index = byte() % 4;
        airgap_diagnostic_t one = {.size = sizeof one};
        airgap_status_t status = airgap_diagnostics_get(list, index, &one, &error);
        judge(status, &error, true, one.message != NULL);
        CHECK((status == AIRGAP_OK) == (index < count));
        CHECK(about == NULL || airgap_error_errno(about) >= 0);
        AIRGAP_CLEAR(error, error);
        break;
    }
    case 30: {
        char *schema = NULL;
        OK(airgap_schema(&schema, &error));
        AIRGAP_CLEAR(string, schema);
        CHECK(airgap_version()[0] != '\0' && airgap_abi_version() == AIRGAP_ABI_VERSION);
        break;
    }
    case 39: {
        const airgap_host_t *host = ANY(all.hosts);
        const airgap_policy_t *policy = ANY(all.policies);
        words = text(&length);
        if (byte() % 2)
            GIVES(explanation, all.explanations, airgap_explain, policy, host, words, length);
        else
            GIVES(explanation, all.explanations, airgap_host_explain, host, words, length);
        break;
    }
    case 40: {
        const airgap_explanation_t *known = ANY(all.explanations);
        const char *said = airgap_explanation_text(known);
        CHECK((said != NULL) == (known != NULL));
        CHECK(known || airgap_explanation_verdict(known) == AIRGAP_VERDICT_DROPPED);
        GIVES(string, all.texts, airgap_explanation_to_json, known);
        break;
    }
    case 41: DROP(explanation, all.explanations); break;
    case 42: {
        const airgap_host_t *host = ANY(all.hosts);
        const airgap_policy_t *policy = ANY(all.policies);
        if (byte() % 2)
            GIVES(verification, all.verifications, airgap_verify, policy, host);
        else
            GIVES(verification, all.verifications, airgap_host_verify, host, policy);
        break;
    }
    case 43: {
        const airgap_verification_t *known = ANY(all.verifications);
        CHECK(known || airgap_verification_result(known) == AIRGAP_RESULT_COUNTEREXAMPLE);
        GIVES(string, all.texts, airgap_verification_to_json, known);
        break;
    }
    case 44: DROP(verification, all.verifications); break;
    case 45: {
        const airgap_host_t *host = ANY(all.hosts);
        airgap_status_t status =
            byte() % 2 ? airgap_host_confirm(host, &error) : airgap_host_rollback(host, &error);
        judge(status, &error, true, status == AIRGAP_OK);
        AIRGAP_CLEAR(error, error);
        break;
    }
    case 31: DROP(policy, all.policies); break;
    case 32: DROP(fake_kernel, all.kernels); break;
    case 33: DROP(host, all.hosts); break;
    case 34: DROP(plan, all.plans); break;
    case 35: DROP(graph, all.graphs); break;
    case 36: DROP(diagnostics, all.lists); break;
    case 37: DROP(error, all.errors); break;
    case 38: DROP(string, all.texts); break;
    default: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    airgap_error_t *error = NULL;
    at = data;
    end = data + size;
    armed = 0;
    /* So that an input need not find its way to the first plan. */
    OK(airgap_policy_from_toml(POLICY, strlen(POLICY), &all.policies[0], &error));
    OK(airgap_fake_kernel_new(&all.kernels[0], &error));
    OK(airgap_host_fake(all.kernels[0], &all.hosts[0], &error));
    OK(airgap_host_plan(all.hosts[0], all.policies[0], &all.plans[0], &error));
    for (size_t calls = 0; calls < CALLS_MAX && at < end; calls++)
        call();
    for (size_t i = 0; i < SLOTS; i++) {
        AIRGAP_CLEAR(policy, all.policies[i]);
        AIRGAP_CLEAR(fake_kernel, all.kernels[i]);
        AIRGAP_CLEAR(host, all.hosts[i]);
        AIRGAP_CLEAR(plan, all.plans[i]);
        AIRGAP_CLEAR(graph, all.graphs[i]);
        AIRGAP_CLEAR(explanation, all.explanations[i]);
        AIRGAP_CLEAR(verification, all.verifications[i]);
        AIRGAP_CLEAR(diagnostics, all.lists[i]);
        AIRGAP_CLEAR(error, all.errors[i]);
        AIRGAP_CLEAR(string, all.texts[i]);
    }
    return 0;
}

#ifndef LIBFUZZER
/* How many descriptors are open. */
static size_t descriptors(void)
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

/* Runs so many sequences from a seed on. */
int main(int argc, char **argv)
{
    CHECK(argc == 3);
    uint64_t state = strtoull(argv[1], NULL, 10) * 2 + 1;
    unsigned long sequences = strtoul(argv[2], NULL, 10);
    size_t before = descriptors();
    for (unsigned long i = 0; i < sequences; i++) {
        uint8_t input[400];
        for (size_t k = 0; k < sizeof input; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            input[k] = (uint8_t)(state >> 56);
        }
        LLVMFuzzerTestOneInput(input, sizeof input);
    }
    CHECK(descriptors() == before);
    return 0;
}
#endif
