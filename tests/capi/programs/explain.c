/* What happens to flows, under a policy and under what is loaded. */
#include "check.h"

static airgap_error_t *error;

static void dropped_or_not(airgap_status_t status, airgap_explanation_t *explanation, airgap_verdict_t verdict,
                           const char *word)
{
    char *json = NULL;
    CHECK(status == AIRGAP_OK && error == NULL);
    CHECK(airgap_explanation_verdict(explanation) == verdict);
    CHECK(strstr(airgap_explanation_text(explanation), word) != NULL);
    OK(airgap_explanation_to_json(explanation, &json, &error));
    CHECK(strstr(json, word) != NULL);
    AIRGAP_CLEAR(string, json);
    AIRGAP_CLEAR(explanation, explanation);
}

int main(void)
{
    static const char OPEN[] = "host -> tcp 203.0.113.9:443", SHUT[] = "host -> tcp 203.0.113.9:80";
    airgap_policy_t *policy = NULL;
    airgap_fake_kernel_t *kernel = NULL;
    airgap_host_t *host = NULL;
    airgap_plan_t *plan = NULL;
    airgap_explanation_t *explanation = NULL;
    airgap_status_t status;
    OK(airgap_policy_from_toml(POLICY, strlen(POLICY), &policy, &error));
    OK(airgap_fake_kernel_new(&kernel, &error));
    OK(airgap_host_fake(kernel, &host, &error));

    for (int loaded = 0; loaded < 2; loaded++) {
        status = airgap_explain(policy, NULL, OPEN, strlen(OPEN), &explanation, &error);
        dropped_or_not(status, explanation, AIRGAP_VERDICT_PASSES, "passes");
        status = airgap_explain(policy, host, SHUT, strlen(SHUT), &explanation, &error);
        dropped_or_not(status, explanation, AIRGAP_VERDICT_DROPPED, "dropped");
        status = airgap_host_explain(host, OPEN, strlen(OPEN), &explanation, &error);
        dropped_or_not(status, explanation, AIRGAP_VERDICT_PASSES, "passes");
        status = airgap_host_explain(host, SHUT, strlen(SHUT), &explanation, &error);
        if (loaded)
            dropped_or_not(status, explanation, AIRGAP_VERDICT_DROPPED, "dropped");
        else
            dropped_or_not(status, explanation, AIRGAP_VERDICT_PASSES, "passes");
        OK(airgap_host_plan(host, policy, &plan, &error));
        OK(airgap_host_apply(host, plan, NULL, NULL, &error));
        AIRGAP_CLEAR(plan, plan);
    }

    static const char NONE[] = "host -> nowhere";
    explanation = NULL;
    CHECK(airgap_explain(policy, NULL, NONE, strlen(NONE), &explanation, &error) == AIRGAP_ERROR_POLICY);
    CHECK(airgap_diagnostics_count(airgap_error_diagnostics(error)) == 1);
    AIRGAP_CLEAR(error, error);
    FAILS(AIRGAP_ERROR_POLICY, airgap_host_explain(host, NONE, strlen(NONE), &explanation, &error));
    CHECK(explanation == NULL);
    airgap_host_free(host);
    airgap_fake_kernel_free(kernel);
    airgap_policy_free(policy);
    return 0;
}
