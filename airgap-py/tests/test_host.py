"""A host: plan, apply, status, drift, removal, and who may not."""

import errno
import os
import subprocess
import sys

import pytest

import airgap

POLICY = {
    "version": 1,
    "allow": [{"to": "203.0.113.9", "port": 443}],
    "admit": [{"from": "192.0.2.10", "port": 22}],
}


def test_a_plan_becomes_the_ruleset(host, ruleset):
    policy = airgap.Policy.from_dict(POLICY)
    plan = host.plan(policy)
    assert plan.changed
    assert {(c.kind, str(c.origin)) for c in plan.changes} == {("added", "allow[0]"), ("added", "admit[0]")}
    assert plan.diff.splitlines()[1] == "+ allow: tcp from the host to 203.0.113.9, port 443    allow[0]"
    assert plan.to_dict()["changes"][1]["opening"] == plan.changes[1].opening
    assert repr(plan) == "<airgap.Plan for '<policy>': 2 changes>"
    assert ruleset() == []

    done = host.apply(plan)
    assert done.changed
    assert done.operations > 0
    assert {o["table"]["name"] for o in ruleset() if "table" in o} == {"airgap"}
    assert "203.0.113.9" in str(ruleset())

    again = host.plan(policy)
    assert (again.changed, again.changes, again.diff) == (False, (), "")
    assert repr(again) == "<airgap.Plan for '<policy>': nothing to change>"
    assert not host.apply(policy).changed


def test_a_change_says_what_it_was(host):
    host.apply(airgap.Policy.from_dict({"version": 1, "bridge": [{"name": "docker0"}]}))
    plan = host.plan(airgap.Policy.from_dict({"version": 1, "bridge": [{"name": "docker0", "ports": ["tcp/80"]}]}))
    changed = [change for change in plan.changes if change.kind == "changed"]
    assert changed, plan.diff
    assert changed[0].was.startswith("bridge docker0")
    assert "~ bridge docker0" in plan.diff


def test_what_is_loaded_is_verified(host):
    policy = airgap.Policy.from_dict(POLICY)
    host.apply(policy)
    proved = host.verify(policy)
    assert proved
    assert (proved.result, proved.kind, proved.flow, proved.packet, proved.reasons) == ("verified", None, None, (), ())
    subprocess.run(["nft", "insert", "rule", "inet", "airgap", "output", "ip", "daddr", "198.51.100.7", "accept"], check=True)
    found = host.verify(policy)
    assert not found
    assert (found.result, found.kind) == ("counterexample", "open-and-not-stated")
    assert "198.51.100.7" in found.flow


def test_status_tells_what_is_loaded_and_drift(host):
    before = host.status()
    assert (before.sealed, before.hash, before.since, before.drift) == (False, None, None, ())
    policy = airgap.Policy.from_dict(POLICY, name="gap")
    host.apply(policy)
    status = host.status()
    assert (status.sealed, status.hash, status.source, status.drift) == (True, policy.hash, "gap", ())
    assert {"input", "output"} <= {d.chain for d in status.dropped}
    subprocess.run(["nft", "insert", "rule", "inet", "airgap", "output", "accept"], check=True)
    [drift] = host.status(full=True).drift
    assert "accept" in drift
    assert host.apply(policy).changed
    assert host.status().drift == ()


def test_remove_leaves_nothing(host, ruleset):
    host.apply(airgap.Policy.from_dict(POLICY))
    assert host.remove() is True
    assert ruleset() == []
    assert host.remove() is False


def test_another_program_s_drop_is_named(host):
    subprocess.run(["nft", "-f", "-"], input=b"table ip other {\nchain c {\ntype filter hook output priority 20; policy drop;\n}\n}\n", check=True)
    [drop] = host.plan(airgap.Policy.from_dict(POLICY)).foreign
    assert (drop.table, drop.chain, drop.hook, drop.policy_drop) == ("ip other", "c", "output", True)
    assert host.status().foreign == (drop,)


def test_a_namespace_by_name_and_by_path(ruleset):
    name = f"airgap-py-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for netns in (name, f"/run/netns/{name}"):
            host = airgap.Host(netns)
            assert repr(host) == f"airgap.Host('{netns}')"
            assert host.apply(airgap.Policy.from_dict(POLICY)).changed
            assert ruleset(name) != []
            assert ruleset() == []
            assert host.remove()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_a_namespace_that_is_not_there():
    with pytest.raises(airgap.AirgapError, match="no-such-namespace"):
        airgap.Host("no-such-namespace")


def test_a_name_that_does_not_resolve_says_where(host, ruleset):
    with pytest.raises(airgap.AirgapError, match=r"allow\[0\].*`no-such-host.invalid`"):
        host.apply(airgap.Policy.from_dict({"version": 1, "allow": [{"to": "no-such-host.invalid", "port": 1}]}))
    assert ruleset() == []


def test_only_a_policy_or_a_plan_is_applied(host):
    with pytest.raises(TypeError):
        host.apply(POLICY)


def test_without_rights_the_error_says_what_to_do():
    program = """
import airgap
try:
    host = airgap.Host()
    host.apply(airgap.Policy.from_toml("version = 1"))
except airgap.KernelError as error:
    print(error.errno, error)
"""
    words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-W", "error", "-c", program]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert said.startswith(f"{errno.EPERM} ")
    assert "become" in said


def test_a_flow_is_explained(host):
    policy = airgap.Policy.from_dict(POLICY)
    opened, closed = "host -> tcp 203.0.113.9:443", "host -> tcp 203.0.113.9:80"
    assert host.explain(closed)
    passes = policy.explain(opened)
    assert (passes.verdict, passes.by.owner, str(passes.by.origin)) == ("passes", "airgap", "allow[0]")
    assert "output" in {step.hook for step in passes.way}
    dropped = host.explain(closed, policy)
    assert not dropped
    assert (dropped.verdict, dropped.nearest) == ("dropped", "203.0.113.9 is open on 443, not on 80")
    assert "port = 80" in dropped.opens
    assert str(dropped) == dropped.text
    # An opening of another program's table is none.
    subprocess.run(["nft", "add", "table", "ip", "other"], check=True)
    host.apply(policy)
    assert bool(host.explain(opened))
    assert not host.explain(closed)


def test_what_is_no_flow_is_said(host):
    with pytest.raises(airgap.AirgapError, match="nonsense"):
        host.explain("nonsense")
    with pytest.raises(TypeError):
        host.explain(5)
