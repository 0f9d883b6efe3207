"""Answers the cases of a folder by the Python package; see run.py."""

import json
import sys
from pathlib import Path

import airgap


def say(key: str, value: object) -> None:
    print(json.dumps([key, value if isinstance(value, str) else json.dumps(value)], ensure_ascii=False))


def fields(one: airgap.Diagnostic) -> str:
    places = (one.line, one.column, one.end_line, one.end_column)
    return "|".join([one.severity, *(str(place or 0) for place in places), one.path, one.message, one.label,
                     one.help or ""])


def failed(at: str, error: airgap.AirgapError) -> None:
    # The class stands for the code.
    say(f"{at} code", type(error).__name__)
    say(f"{at} message", str(error))
    for index, one in enumerate(getattr(error, "diagnostics", ())):
        say(f"{at} mistake {index}", fields(one))


def explain(policy: airgap.Policy, flow: str) -> None:
    try:
        known = policy.explain(flow)
    except airgap.AirgapError as error:
        failed(f"flow {flow}", error)
        return
    say(f"flow {flow} verdict", known.verdict)
    say(f"flow {flow} text", known.text)


def load_and_take_away(policy: airgap.Policy) -> None:
    host = airgap.Host()
    try:
        plan = host.plan(policy)
    except airgap.AirgapError as error:
        failed("plan", error)
        return
    say("plan", plan.to_dict())
    for index, change in enumerate(plan.changes):
        origin = change.origin
        path = ""
        if origin:
            path = origin.section if origin.section == "host" else f"{origin.section}[{origin.index}]"
        say(f"change {index}", "|".join([
            change.kind, str((origin and origin.line) or 0), str((origin and origin.column) or 0), change.opening,
            change.was or "", path]))
    say("applied", host.apply(plan).changed)
    status = host.status(full=True)
    say("status", {"sealed": status.sealed, "hash": status.hash, "source": status.source, "drift": status.drift})
    say("removed", host.remove())


def main() -> None:
    try:
        policy = airgap.Policy.load(sys.argv[1])
    except airgap.AirgapError as error:
        failed("load", error)
    else:
        say("hash", policy.hash)
        say("json", policy.to_dict())
        for flow in Path("flows").read_text().splitlines():
            explain(policy, flow)
        load_and_take_away(policy)
    try:
        airgap.Host("no-such-namespace")
    except airgap.AirgapError as error:
        failed("netns", error)


main()
