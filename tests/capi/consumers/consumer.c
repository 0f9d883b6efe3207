/* A program of somebody else's: it seals a kernel in memory, and says so. */
#include <airgap.h>
#include <stdio.h>
#include <string.h>

static const char POLICY[] = "version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 443\n";

int main(void)
{
    airgap_error_t *error = NULL;
    airgap_policy_t *policy = NULL;
    airgap_fake_kernel_t *kernel = NULL;
    airgap_host_t *host = NULL;
    airgap_plan_t *plan = NULL;
    airgap_applied_t applied = {.size = sizeof applied};

    if (airgap_policy_from_toml(POLICY, strlen(POLICY), &policy, &error) == AIRGAP_OK &&
        airgap_fake_kernel_new(&kernel, &error) == AIRGAP_OK &&
        airgap_host_fake(kernel, &host, &error) == AIRGAP_OK &&
        airgap_host_plan(host, policy, &plan, &error) == AIRGAP_OK &&
        airgap_host_apply(host, plan, NULL, &applied, &error) == AIRGAP_OK)
        printf("airgap %s sealed: %s\n", airgap_version(), applied.changed ? "yes" : "no");

    int failed = error != NULL;
    if (failed)
        fprintf(stderr, "%s\n", airgap_error_message(error));
    airgap_plan_free(plan);
    airgap_host_free(host);
    airgap_fake_kernel_free(kernel);
    airgap_policy_free(policy);
    airgap_error_free(error);
    return failed;
}
