/* Policies that wait to be confirmed: confirmed, taken back, and left alone. */
#include "check.h"

#include <time.h>

static airgap_error_t *error;
static airgap_host_t *host;

/* Applies a policy that has to be confirmed within so many milliseconds. */
static airgap_status_t apply(const char *text, uint64_t within)
{
    airgap_policy_t *policy = NULL;
    airgap_plan_t *plan = NULL;
    airgap_apply_options_t options = {.size = sizeof options, .confirm_within = within};
    OK(airgap_policy_from_toml(text, strlen(text), &policy, &error));
    OK(airgap_host_plan(host, policy, &plan, &error));
    airgap_status_t status = airgap_host_apply(host, plan, &options, NULL, &error);
    airgap_plan_free(plan);
    airgap_policy_free(policy);
    return status;
}

/* Whether this is loaded, and nothing waits to be confirmed. */
static bool settled(const char *text)
{
    airgap_policy_t *policy = NULL;
    char *hash = NULL, *json = NULL;
    OK(airgap_policy_from_toml(text, strlen(text), &policy, &error));
    OK(airgap_policy_hash(policy, &hash, &error));
    OK(airgap_host_status(host, true, &json, &error));
    bool is = strstr(json, hash) != NULL && strstr(json, "\"pending\":null") != NULL;
    airgap_string_free(json);
    airgap_string_free(hash);
    airgap_policy_free(policy);
    return is;
}

static void wait_a_tenth(void)
{
    struct timespec tenth = {.tv_nsec = 100000000};
    nanosleep(&tenth, NULL);
}

int main(void)
{
    airgap_fake_kernel_t *kernel = NULL;
    OK(airgap_fake_kernel_new(&kernel, &error));
    OK(airgap_host_fake(kernel, &host, &error));
    airgap_fake_kernel_free(kernel);
    FAILS(AIRGAP_ERROR_NOTHING_PENDING, airgap_host_confirm(host, &error));
    FAILS(AIRGAP_ERROR_NOTHING_PENDING, airgap_host_rollback(host, &error));

    OK(apply(POLICY, 3600000));
    CHECK(!settled(POLICY));
    FAILS(AIRGAP_ERROR_PENDING, apply(OTHER, 3600000));
    OK(airgap_host_confirm(host, &error));
    CHECK(settled(POLICY));
    FAILS(AIRGAP_ERROR_NOTHING_PENDING, airgap_host_confirm(host, &error));

    OK(apply(OTHER, 3600000));
    OK(airgap_host_rollback(host, &error));
    CHECK(settled(POLICY));

    /* Nobody confirms. */
    OK(apply(OTHER, 500));
    CHECK(!settled(POLICY));
    for (int tenths = 0; !settled(POLICY); tenths++) {
        CHECK(tenths < 600);
        wait_a_tenth();
    }
    airgap_host_free(host);
    /* Who waited for the time looks every quarter of a second whether it is
     * still needed. */
    for (int tenths = 0; tenths < 10; tenths++)
        wait_a_tenth();
    return 0;
}
