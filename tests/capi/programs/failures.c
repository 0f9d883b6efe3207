/* What the kernel refuses, what panics, and that handles outlive both. */
#include "check.h"

#include <errno.h>

static airgap_error_t *error;
static airgap_fake_kernel_t *kernel;
static airgap_host_t *host;

static airgap_policy_t *policy_of(const char *text)
{
    airgap_policy_t *policy = NULL;
    OK(airgap_policy_from_toml(text, strlen(text), &policy, &error));
    return policy;
}

/* Three mistakes, each with its place. */
static void mistakes(void)
{
    airgap_policy_t *policy = NULL;
    CHECK(airgap_policy_from_toml(BAD, strlen(BAD), &policy, &error) == AIRGAP_ERROR_POLICY);
    CHECK(policy == NULL && airgap_error_errno(error) == 0);
    const airgap_diagnostics_t *all = airgap_error_diagnostics(error);
    CHECK(airgap_diagnostics_count(all) == 3);
    static const struct {
        uint32_t line, column, end_line, end_column;
        const char *path;
    } PLACES[] = {{2, 1, 2, 8, "unknown"}, {4, 6, 4, 21, "allow[0].to"}, {5, 8, 5, 13, "allow[0].port"}};
    for (size_t i = 0; i < 3; i++) {
        airgap_diagnostic_t one = {.size = sizeof one};
        airgap_error_t *none = NULL;
        CHECK(airgap_diagnostics_get(all, i, &one, &none) == AIRGAP_OK);
        CHECK(one.severity == AIRGAP_SEVERITY_ERROR);
        CHECK(one.line == PLACES[i].line && one.column == PLACES[i].column);
        CHECK(one.end_line == PLACES[i].end_line && one.end_column == PLACES[i].end_column);
        CHECK(strcmp(one.path, PLACES[i].path) == 0);
        CHECK(one.message[0] != '\0');
        CHECK(strstr(one.rendered, one.message) != NULL);
        CHECK(strstr(airgap_error_message(error), one.message) != NULL);
    }
    AIRGAP_CLEAR(error, error);
}

/* A refusal comes with its number, and leaves the ruleset as it was. */
static void refusals(void)
{
    static const struct {
        int number;
        size_t times;
        airgap_status_t status;
    } CASES[] = {
        {EPERM, 1, AIRGAP_ERROR_NOT_PERMITTED},
        {ERESTART, 1000, AIRGAP_ERROR_CONFLICT},
        {ENOSPC, 1, AIRGAP_ERROR_KERNEL},
        {EINVAL, 1, AIRGAP_ERROR_KERNEL},
    };
    airgap_policy_t *policy = policy_of(POLICY);
    airgap_plan_t *plan = NULL;
    OK(airgap_host_plan(host, policy, &plan, &error));
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        airgap_fake_kernel_t *own = NULL;
        airgap_host_t *refused = NULL;
        bool removed = true;
        OK(airgap_fake_kernel_new(&own, &error));
        OK(airgap_host_fake(own, &refused, &error));
        OK(airgap_fake_kernel_refuse(own, CASES[i].number, CASES[i].times, &error));
        CHECK(airgap_host_apply(refused, plan, NULL, NULL, &error) == CASES[i].status);
        CHECK(airgap_error_errno(error) == CASES[i].number);
        AIRGAP_CLEAR(error, error);
        AIRGAP_CLEAR(fake_kernel, own);
        AIRGAP_CLEAR(host, refused);
        OK(airgap_host_remove(host, &removed, &error));
        CHECK(!removed);
    }

    /* One of another program's changes in between is not the caller's affair. */
    airgap_applied_t applied = {.size = sizeof applied};
    OK(airgap_fake_kernel_refuse(kernel, ERESTART, 2, &error));
    OK(airgap_host_apply(host, plan, NULL, &applied, &error));
    CHECK(applied.changed && applied.operations > 10 && applied.retries == 2);
    OK(airgap_host_apply(host, plan, NULL, &applied, &error));
    CHECK(!applied.changed && applied.operations == 0 && applied.retries == 0);
    AIRGAP_CLEAR(plan, plan);
    AIRGAP_CLEAR(policy, policy);
}

/* A change of every kind, with its texts. */
static void changes(void)
{
    airgap_policy_t *policy = policy_of(OTHER);
    airgap_plan_t *plan = NULL;
    size_t added = 0, removed = 0;
    OK(airgap_host_plan(host, policy, &plan, &error));
    CHECK(airgap_plan_changed(plan) && airgap_plan_change_count(plan) > 4);
    for (size_t i = 0; i < airgap_plan_change_count(plan); i++) {
        airgap_change_t change = {.size = sizeof change};
        OK(airgap_plan_change(plan, i, &change, &error));
        CHECK(change.opening[0] != '\0');
        CHECK((change.was != NULL) == (change.kind == AIRGAP_CHANGE_CHANGED));
        CHECK((change.path == NULL) == (change.kind == AIRGAP_CHANGE_REMOVED));
        CHECK((change.line == 0) == (change.kind == AIRGAP_CHANGE_REMOVED));
        added += change.kind == AIRGAP_CHANGE_ADDED;
        removed += change.kind == AIRGAP_CHANGE_REMOVED;
        if (change.kind == AIRGAP_CHANGE_ADDED) {
            CHECK(strcmp(change.path, "allow[0]") == 0 && strstr(change.opening, "8443") != NULL);
        }
    }
    CHECK(added == 2 && removed >= 5);
    AIRGAP_CLEAR(plan, plan);
    AIRGAP_CLEAR(policy, policy);
}

/* A panic inside crosses as a status, through every call that asks a kernel,
 * and everything can be used and freed afterwards. */
static void panics(void)
{
    airgap_policy_t *policy = policy_of(POLICY);
    airgap_plan_t *plan = NULL, *second = NULL;
    airgap_graph_t *graph = NULL;
    char *json = NULL;
    bool removed = false;
    OK(airgap_host_plan(host, policy, &plan, &error));
    for (int with_error = 0; with_error < 2; with_error++) {
        airgap_error_t **place = with_error ? &error : NULL;
#define PANICS(call)                                                       \
        do {                                                               \
            OK(airgap_fake_kernel_panic(kernel, &error));                  \
            CHECK((call) == AIRGAP_ERROR_PANIC);                           \
            CHECK((error != NULL) == with_error);                          \
            if (error)                                                     \
                CHECK(strstr(airgap_error_message(error), "told to panic") != NULL); \
            AIRGAP_CLEAR(error, error);                                    \
        } while (0)
        PANICS(airgap_host_plan(host, policy, &second, place));
        PANICS(airgap_host_apply(host, plan, NULL, NULL, place));
        PANICS(airgap_host_status(host, true, &json, place));
        PANICS(airgap_host_live(host, &graph, place));
        PANICS(airgap_host_remove(host, &removed, place));
        CHECK(second == NULL && json == NULL && graph == NULL && !removed);
    }
    OK(airgap_host_apply(host, plan, NULL, NULL, &error));
    OK(airgap_host_status(host, true, &json, &error));
    CHECK(strstr(json, "\"sealed\":true") != NULL && strstr(json, "\"drift\":[]") != NULL);
    AIRGAP_CLEAR(string, json);
    AIRGAP_CLEAR(plan, plan);
    AIRGAP_CLEAR(policy, policy);
}

int main(void)
{
    OK(airgap_fake_kernel_new(&kernel, &error));
    OK(airgap_host_fake(kernel, &host, &error));
    mistakes();
    refusals();
    changes();
    panics();
    /* The kernel lives as long as its hosts. */
    AIRGAP_CLEAR(fake_kernel, kernel);
    bool removed = false;
    OK(airgap_host_remove(host, &removed, &error));
    CHECK(removed);
    AIRGAP_CLEAR(host, host);
    return 0;
}
