"""Writes a program that calls every function of the header with NULL for every
choice of its pointers. What is not NULL is right, so that a call without a
NULL that it minds succeeds."""

from itertools import product

from library import Function, functions

# Pointers that may be NULL, beside `error` and what is freed.
OPTIONAL = {
    "airgap_policy_compile": {"host"},
    "airgap_explain": {"host"},
    "airgap_verify": {"host"},
    "airgap_host_apply": {"options", "applied"},
    "airgap_host_remove": {"removed"},
}
# What comes of functions that nothing waits for here.
ENDS = {"airgap_host_confirm": "AIRGAP_ERROR_NOTHING_PENDING", "airgap_host_rollback": "AIRGAP_ERROR_NOTHING_PENDING"}
# Texts, by the name of the parameter.
TEXTS = {
    "toml": '"version = 1"',
    "json": '"{\\"version\\": 1}"',
    "path": "policy_path",
    "netns": '"/proc/self/ns/net"',
    "flow": '"host -> tcp 192.0.2.1:443"',
}
# What is no pointer, by the name of the parameter.
NUMBERS = {"index": "0", "times": "0", "error_number": "1", "format": "0", "full": "false", "status": "0"}
# What is read, by its type: made once, at the start of the program.
HANDLES = {
    "airgap_policy_t": "policy",
    "airgap_host_t": "host",
    "airgap_plan_t": "plan",
    "airgap_graph_t": "graph",
    "airgap_explanation_t": "explanation",
    "airgap_verification_t": "verification",
    "airgap_diagnostics_t": "diagnostics",
    "airgap_error_t": "an_error",
    "airgap_fake_kernel_t": "another_kernel",
}

START = r"""
#include "check.h"

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    const char *policy_path = argv[1];
    airgap_error_t *error = NULL, *an_error = NULL;
    airgap_fake_kernel_t *kernel = NULL, *another_kernel = NULL;
    airgap_host_t *host = NULL;
    airgap_policy_t *policy = NULL, *bad = NULL;
    airgap_plan_t *plan = NULL;
    airgap_graph_t *graph = NULL;
    airgap_explanation_t *explanation = NULL;
    airgap_verification_t *verification = NULL;
    static const char FLOW[] = "host -> tcp 192.0.2.1:1";
    airgap_diagnostics_t *diagnostics = NULL;
    static const char WARNED[] = "version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 1\n";
    OK(airgap_fake_kernel_new(&kernel, &error));
    OK(airgap_fake_kernel_new(&another_kernel, &error));
    OK(airgap_host_fake(kernel, &host, &error));
    OK(airgap_policy_from_toml(WARNED, strlen(WARNED), &policy, &error));
    OK(airgap_host_plan(host, policy, &plan, &error));
    OK(airgap_host_live(host, &graph, &error));
    OK(airgap_verify(policy, NULL, &verification, &error));
    OK(airgap_explain(policy, NULL, FLOW, strlen(FLOW), &explanation, &error));
    OK(airgap_policy_warnings(policy, &diagnostics, &error));
    CHECK(airgap_diagnostics_count(diagnostics) == 1);
    CHECK(airgap_policy_from_toml(BAD, strlen(BAD), &bad, &an_error) == AIRGAP_ERROR_POLICY);
"""
END = r"""
    airgap_diagnostics_free(diagnostics);
    airgap_verification_free(verification);
    airgap_explanation_free(explanation);
    airgap_graph_free(graph);
    airgap_plan_free(plan);
    airgap_policy_free(policy);
    airgap_host_free(host);
    airgap_fake_kernel_free(kernel);
    airgap_fake_kernel_free(another_kernel);
    airgap_error_free(an_error);
    return 0;
}
"""


def program() -> str:
    """The program's text."""
    return START + "".join(block(function, nulls) for function in functions() for nulls in choices(function)) + END


def choices(function: Function) -> list[set[str]]:
    """The pointers that are NULL together. Nothing is freed but NULL."""
    pointers = [name for kind, name in function.parameters if "*" in kind]
    if function.name.endswith("_free"):
        return [set(pointers)]
    return [
        {name for name, null in zip(pointers, chosen) if null}
        for chosen in product((False, True), repeat=len(pointers))
    ]


def block(function: Function, nulls: set[str]) -> str:
    """One call and what must come of it."""
    before, arguments, after, text = [], [], [], ""
    missing = nulls - OPTIONAL.get(function.name, set()) - {"error"}
    for kind, name in function.parameters:
        bare = kind.replace("const", "").replace("*", "").strip()
        depth = kind.count("*")
        if name in nulls:
            arguments.append("NULL")
            text = TEXTS.get(name, text)
        elif kind == "airgap_error_t **":
            arguments.append("&error")
        elif depth == 2:
            # Whatever lies there stays where the call fails.
            before.append(f"{bare} *mark = ({bare} *)&error, *{name} = mark;")
            arguments.append(f"&{name}")
            free = f"airgap_{'string' if bare == 'char' else bare[len('airgap_'):-len('_t')]}_free"
            after.append(f"CHECK({name} == mark);" if missing else f"CHECK({name} != mark); {free}({name});")
        elif bare == "char":
            text = TEXTS[name]
            arguments.append(text)
        elif bare == "bool" and depth == 1:
            before.append("bool flag = true;")
            arguments.append("&flag")
        elif depth == 1 and bare in HANDLES:
            arguments.append(HANDLES[bare])
        elif depth == 1 and bare.startswith("airgap_"):
            before.append(f"{bare} {name} = {{.size = sizeof {name}}};")
            arguments.append(f"&{name}")
        elif name == "length":
            arguments.append(f"strlen({text})")
        elif name in NUMBERS:
            arguments.append(NUMBERS[name])
        else:
            raise AssertionError(f"{function.name} takes `{kind} {name}`: say in nulls.py what to give for it")
    call = f"{function.name}({', '.join(arguments)})"
    if function.returns == "void":
        checks = [f"{call};"]
    elif function.returns != "airgap_status_t" or function.name == "airgap_error_status":
        # What cannot fail answers with nothing.
        checks = [f"CHECK(!{call});" if missing else f"(void){call};"]
    elif not missing and function.name in ENDS:
        checks = [f"CHECK({call} == {ENDS[function.name]});", "AIRGAP_CLEAR(error, error);"]
    elif not missing:
        checks = [f"OK({call});"]
    elif "error" in nulls:
        checks = [f"CHECK({call} == AIRGAP_ERROR_ARGUMENT);", "CHECK(error == NULL);"]
    else:
        named = " || ".join(f'strcmp(airgap_error_message(error), "{name} is NULL") == 0' for name in sorted(missing))
        checks = [
            f"CHECK({call} == AIRGAP_ERROR_ARGUMENT);",
            "CHECK(airgap_error_status(error) == AIRGAP_ERROR_ARGUMENT);",
            f"CHECK({named});",
            "CHECK(airgap_error_diagnostics(error) == NULL && airgap_error_errno(error) == 0);",
            "AIRGAP_CLEAR(error, error);",
        ]
    lines = "\n        ".join([*before, *checks, *after])
    return f"    {{\n        {lines}\n    }}\n"
