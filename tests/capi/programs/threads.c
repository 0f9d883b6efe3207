/* Threads that share every handle, and use all of them at the same time. Its
 * arguments are `fake` or `real`, the kernel that they load into; how many
 * threads; and how often each does all of it. */
#include "check.h"

#include <pthread.h>

enum { THREADS_MAX = 64 };

static size_t rounds;
static airgap_host_t *host;
static airgap_policy_t *policies[2];
static airgap_plan_t *plans[2];
static airgap_graph_t *graph;
static airgap_diagnostics_t *warnings;
static airgap_error_t *shared;

/* Others may load and remove meanwhile, which is no failure. */
static bool done(airgap_status_t status, airgap_error_t **error)
{
    if (status != AIRGAP_OK && status != AIRGAP_ERROR_CONFLICT && status != AIRGAP_ERROR_READ_BACK) {
        fprintf(stderr, "status %s: %s\n", airgap_status_name((int32_t)status), airgap_error_message(*error));
        abort();
    }
    AIRGAP_CLEAR(error, *error);
    return status == AIRGAP_OK;
}

static void *work(void *argument)
{
    size_t number = *(size_t *)argument;
    airgap_error_t *error = NULL;
    for (size_t round = 0; round < rounds; round++) {
        const airgap_policy_t *policy = policies[(number + round) % 2];
        const airgap_plan_t *plan = plans[(number + round) % 2];
        airgap_policy_t *own = NULL;
        airgap_plan_t *planned = NULL;
        airgap_graph_t *live = NULL;
        char *text = NULL;
        airgap_applied_t applied = {.size = sizeof applied};
        bool removed = false;

        /* What only reads. */
        for (size_t i = 0; i < airgap_plan_change_count(plan); i++) {
            airgap_change_t change = {.size = sizeof change};
            OK(airgap_plan_change(plan, i, &change, &error));
            CHECK(strlen(change.opening) > 0);
        }
        airgap_diagnostic_t one = {.size = sizeof one};
        OK(airgap_diagnostics_get(warnings, 0, &one, &error));
        CHECK(strlen(one.rendered) > 0);
        CHECK(strlen(airgap_error_message(shared)) > 0);
        CHECK(airgap_diagnostics_count(airgap_error_diagnostics(shared)) == 3);
        OK(airgap_policy_hash(policy, &text, &error));
        AIRGAP_CLEAR(string, text);
        OK(airgap_policy_to_json(policy, &text, &error));
        OK(airgap_policy_from_json(text, strlen(text), &own, &error));
        AIRGAP_CLEAR(string, text);
        OK(airgap_graph_show(graph, (int32_t)(number % 3), &text, &error));
        AIRGAP_CLEAR(string, text);
        OK(airgap_plan_to_json(plan, &text, &error));
        AIRGAP_CLEAR(string, text);

        /* What asks and changes the kernel. */
        if (done(airgap_host_plan(host, own, &planned, &error), &error))
            done(airgap_host_apply(host, planned, NULL, &applied, &error), &error);
        if (done(airgap_host_live(host, &live, &error), &error))
            OK(airgap_graph_show(live, AIRGAP_FORMAT_NFT, &text, &error));
        AIRGAP_CLEAR(string, text);
        done(airgap_host_status(host, number % 2, &text, &error), &error);
        done(airgap_host_apply(host, plan, NULL, NULL, &error), &error);
        if (number == 0)
            done(airgap_host_remove(host, &removed, &error), &error);

        AIRGAP_CLEAR(string, text);
        AIRGAP_CLEAR(graph, live);
        AIRGAP_CLEAR(plan, planned);
        AIRGAP_CLEAR(policy, own);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    airgap_error_t *error = NULL;
    airgap_fake_kernel_t *kernel = NULL;
    airgap_policy_t *bad = NULL;
    CHECK(argc == 4);
    size_t count = strtoul(argv[2], NULL, 10);
    CHECK(count <= THREADS_MAX);
    rounds = strtoul(argv[3], NULL, 10);
    if (strcmp(argv[1], "real") == 0) {
        OK(airgap_host_open(&host, &error));
    } else {
        OK(airgap_fake_kernel_new(&kernel, &error));
        OK(airgap_host_fake(kernel, &host, &error));
        AIRGAP_CLEAR(fake_kernel, kernel);
    }
    static const char WARNED[] = "version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 1\n";
    OK(airgap_policy_from_toml(POLICY, strlen(POLICY), &policies[0], &error));
    OK(airgap_policy_from_toml(WARNED, strlen(WARNED), &policies[1], &error));
    OK(airgap_host_plan(host, policies[0], &plans[0], &error));
    OK(airgap_host_plan(host, policies[1], &plans[1], &error));
    OK(airgap_plan_graph(plans[0], &graph, &error));
    OK(airgap_policy_warnings(policies[1], &warnings, &error));
    CHECK(airgap_policy_from_toml(BAD, strlen(BAD), &bad, &shared) == AIRGAP_ERROR_POLICY);

    pthread_t threads[THREADS_MAX];
    size_t numbers[THREADS_MAX];
    for (size_t i = 0; i < count; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, work, &numbers[i]) == 0);
    }
    for (size_t i = 0; i < count; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);

    /* Whatever the order was, the next one to apply alone has what it wants. */
    char *status = NULL;
    OK(airgap_host_apply(host, plans[1], NULL, NULL, &error));
    OK(airgap_host_status(host, true, &status, &error));
    CHECK(strstr(status, "\"sealed\":true") != NULL && strstr(status, "\"drift\":[]") != NULL);
    OK(airgap_host_remove(host, NULL, &error));

    airgap_string_free(status);
    airgap_error_free(shared);
    airgap_diagnostics_free(warnings);
    airgap_graph_free(graph);
    for (size_t i = 0; i < 2; i++) {
        airgap_plan_free(plans[i]);
        airgap_policy_free(policies[i]);
    }
    airgap_host_free(host);
    return 0;
}
