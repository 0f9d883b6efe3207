/* Answers the cases of a folder by the C library; see run.py. */
#include <airgap.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text as JSON; what is no ASCII stays as it is. */
static void quote(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            printf("\\u%04x", (unsigned)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

/* Prints one answer, under a key that is formatted. */
static void say(const char *value, const char *format, ...)
{
    char key[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(key, sizeof key, format, arguments);
    va_end(arguments);
    putchar('[');
    quote(key);
    putchar(',');
    quote(value);
    printf("]\n");
}

static void say_all(const airgap_diagnostics_t *list, const char *at, const char *what)
{
    for (size_t i = 0; i < airgap_diagnostics_count(list); i++) {
        airgap_diagnostic_t one = {.size = sizeof one};
        char *text = NULL;
        size_t length;
        airgap_diagnostics_get(list, i, &one, NULL);
        FILE *into = open_memstream(&text, &length);
        fprintf(into, "%s|%u|%u|%u|%u|%s|%s|%s|%s|%s", one.severity == AIRGAP_SEVERITY_ERROR ? "error" : "warning",
                one.line, one.column, one.end_line, one.end_column, one.path, one.message, one.label, one.help,
                one.rendered);
        fclose(into);
        say(text, "%s%s %zu", at, what, i);
        free(text);
    }
}

/* Whether the call failed, which is told then. */
static bool failed(airgap_status_t status, const char *at, airgap_error_t **error)
{
    char number[16];
    if (status == AIRGAP_OK)
        return false;
    say(airgap_status_name((int32_t)status), "%s code", at);
    say(airgap_error_message(*error), "%s message", at);
    snprintf(number, sizeof number, "%d", airgap_error_errno(*error));
    say(number, "%s errno", at);
    say_all(airgap_error_diagnostics(*error), at, " mistake");
    AIRGAP_CLEAR(error, *error);
    return true;
}

/* Tells of a text that a call gives, and frees it. The call ends before the
 * text is looked at. */
static void say_text(airgap_status_t status, char **text, const char *key)
{
    say(status == AIRGAP_OK ? *text : "failed", "%s", key);
    AIRGAP_CLEAR(string, *text);
}

static void explain(const airgap_policy_t *policy, const char *flow)
{
    static const char *const VERDICTS[] = {"dropped", "passes", "undecided"};
    airgap_error_t *error = NULL;
    airgap_explanation_t *known = NULL;
    char *json = NULL, key[256];
    snprintf(key, sizeof key, "flow %s", flow);
    if (failed(airgap_explain(policy, NULL, flow, strlen(flow), &known, &error), key, &error))
        return;
    say(VERDICTS[airgap_explanation_verdict(known)], "%s verdict", key);
    say(airgap_explanation_text(known), "%s text", key);
    airgap_explanation_to_json(known, &json, NULL);
    say(json, "%s json", key);
    airgap_string_free(json);
    airgap_explanation_free(known);
}

/* Tells what a verification found, and frees it. */
static void say_proof(airgap_status_t status, airgap_verification_t *found, const char *key)
{
    char *text = NULL;
    if (status == AIRGAP_OK)
        status = airgap_verification_to_json(found, &text, NULL);
    say_text(status, &text, key);
    airgap_verification_free(found);
}

static void load_and_take_away(const airgap_host_t *host, const airgap_policy_t *policy)
{
    static const char *const KINDS[] = {"added", "removed", "changed"};
    airgap_error_t *error = NULL;
    airgap_plan_t *plan = NULL;
    airgap_graph_t *graph = NULL;
    airgap_diagnostics_t *warnings = NULL;
    airgap_verification_t *found = NULL;
    airgap_applied_t applied = {.size = sizeof applied};
    bool removed = false;
    char *text = NULL;
    if (failed(airgap_host_plan(host, policy, &plan, &error), "plan", &error))
        return;
    say_text(airgap_plan_to_json(plan, &text, NULL), &text, "plan");
    for (size_t i = 0; i < airgap_plan_change_count(plan); i++) {
        airgap_change_t change = {.size = sizeof change};
        size_t length;
        airgap_plan_change(plan, i, &change, NULL);
        FILE *into = open_memstream(&text, &length);
        fprintf(into, "%s|%u|%u|%s|%s|%s", KINDS[change.kind], change.line, change.column, change.opening,
                change.was ? change.was : "", change.path ? change.path : "");
        fclose(into);
        say(text, "change %zu", i);
        free(text);
    }
    airgap_plan_warnings(plan, &warnings, NULL);
    say_all(warnings, "", "warning");
    airgap_diagnostics_free(warnings);
    airgap_plan_graph(plan, &graph, NULL);
    say_text(airgap_graph_show(graph, AIRGAP_FORMAT_NFT, &text, NULL), &text, "nft");
    airgap_graph_free(graph);
    airgap_status_t status = airgap_verify(policy, host, &found, NULL);
    say_proof(status, found, "verify json");
    if (!failed(airgap_host_apply(host, plan, NULL, &applied, &error), "apply", &error)) {
        say(applied.changed ? "true" : "false", "applied");
        status = airgap_host_verify(host, policy, &found, NULL);
        say_proof(status, found, "live json");
        say_text(airgap_host_status(host, true, &text, NULL), &text, "status");
        if (!failed(airgap_host_remove(host, &removed, &error), "remove", &error))
            say(removed ? "true" : "false", "removed");
    }
    airgap_plan_free(plan);
}

int main(int argc, char **argv)
{
    airgap_error_t *error = NULL;
    airgap_policy_t *policy = NULL;
    airgap_host_t *host = NULL;
    char *text = NULL, flow[256];
    if (argc != 2)
        return 2;
    if (!failed(airgap_policy_load(argv[1], strlen(argv[1]), &policy, &error), "load", &error)) {
        say_text(airgap_policy_hash(policy, &text, NULL), &text, "hash");
        say_text(airgap_policy_to_json(policy, &text, NULL), &text, "json");
        FILE *flows = fopen("flows", "r");
        while (flows && fgets(flow, sizeof flow, flows)) {
            flow[strcspn(flow, "\n")] = '\0';
            explain(policy, flow);
        }
        if (flows)
            fclose(flows);
        if (!failed(airgap_host_open(&host, &error), "open", &error))
            load_and_take_away(host, policy);
    }
    airgap_host_free(host);
    airgap_policy_free(policy);
    static const char NETNS[] = "no-such-namespace";
    host = NULL;
    failed(airgap_host_open_netns(NETNS, strlen(NETNS), &host, &error), "netns", &error);
    return 0;
}
