/* Whether rulesets open what policies state: what would be loaded does, and
 * what is loaded does for its own policy only. */
#include "check.h"

static airgap_error_t *error;

static void found(airgap_status_t status, airgap_verification_t *verification, airgap_result_t result, const char *word)
{
    char *json = NULL;
    CHECK(status == AIRGAP_OK && error == NULL);
    OK(airgap_verification_to_json(verification, &json, &error));
    if (airgap_verification_result(verification) != result || !strstr(json, word)) {
        fprintf(stderr, "%s\n", json);
        abort();
    }
    AIRGAP_CLEAR(string, json);
    AIRGAP_CLEAR(verification, verification);
}

int main(void)
{
    airgap_policy_t *policy = NULL, *other = NULL;
    airgap_fake_kernel_t *kernel = NULL;
    airgap_host_t *host = NULL;
    airgap_plan_t *plan = NULL;
    airgap_verification_t *verification = NULL;
    airgap_status_t status;
    OK(airgap_policy_from_toml(POLICY, strlen(POLICY), &policy, &error));
    OK(airgap_policy_from_toml(OTHER, strlen(OTHER), &other, &error));
    OK(airgap_fake_kernel_new(&kernel, &error));
    OK(airgap_host_fake(kernel, &host, &error));

    status = airgap_verify(policy, NULL, &verification, &error);
    found(status, verification, AIRGAP_RESULT_VERIFIED, "verified");
    status = airgap_verify(other, host, &verification, &error);
    found(status, verification, AIRGAP_RESULT_VERIFIED, "verified");
    /* Nothing is loaded yet: everything is open. */
    status = airgap_host_verify(host, policy, &verification, &error);
    found(status, verification, AIRGAP_RESULT_COUNTEREXAMPLE, "open-and-not-stated");
    OK(airgap_host_plan(host, policy, &plan, &error));
    OK(airgap_host_apply(host, plan, NULL, NULL, &error));
    status = airgap_host_verify(host, policy, &verification, &error);
    found(status, verification, AIRGAP_RESULT_VERIFIED, "verified");
    status = airgap_host_verify(host, other, &verification, &error);
    found(status, verification, AIRGAP_RESULT_COUNTEREXAMPLE, "flow");

    airgap_plan_free(plan);
    airgap_host_free(host);
    airgap_fake_kernel_free(kernel);
    airgap_policy_free(other);
    airgap_policy_free(policy);
    return 0;
}
