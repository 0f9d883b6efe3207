"""Policies from every form, and what is said of wrong ones."""

import datetime
import pickle
from pathlib import Path

import pytest

import airgap

TOML = """\
version = 1
[host]
resolvers = ["192.0.2.53"]
[[allow]]
to = ["203.0.113.9", "2001:db8::9"]
port = [443, "8000-8099"]
user = "root"
comment = "the service"
[[admit]]
from = "192.0.2.10"
port = 22
[[bridge]]
name = "docker0"
[[forward]]
from = "172.17.0.2"
to = "198.51.100.7"
port = 5432
"""
DATA = {
    "version": 1,
    "host": {"resolvers": ["192.0.2.53"]},
    "allow": [
        {
            "to": ("203.0.113.9", "2001:db8::9"),
            "port": [443, "8000-8099"],
            "user": "root",
            "comment": "the service",
        }
    ],
    "admit": [{"from": "192.0.2.10", "port": 22}],
    "bridge": [{"name": "docker0"}],
    "forward": [{"from": "172.17.0.2", "to": "198.51.100.7", "port": 5432}],
}


def mistakes(data):
    with pytest.raises(airgap.PolicyError) as caught:
        airgap.Policy.from_dict(data)
    return {d.path: (d.message, d.label) for d in caught.value.diagnostics}


def test_all_forms_are_one_policy(place):
    policy = airgap.Policy.from_toml(TOML)
    text = Path("policy.json")
    text.write_text(__import__("json").dumps(policy.to_dict()))
    Path("policy.toml").write_text(TOML)
    others = [
        airgap.Policy.from_dict(DATA),
        airgap.Policy.from_dict(policy.to_dict()),
        airgap.Policy.load(text),
        airgap.Policy.load("policy.toml"),
    ]
    assert [other == policy for other in others] == [True] * 4
    assert {other.hash for other in others} == {policy.hash}
    assert len({policy, *others}) == 1
    assert policy != airgap.Policy.from_toml("version = 1")
    assert policy != "version = 1"


def test_people_can_read_it():
    assert (
        repr(airgap.Policy.from_toml(TOML, name="gap.toml"))
        == f"<airgap.Policy 'gap.toml': 1 allow, 1 admit, 1 bridge, 1 forward, sha256:{airgap.Policy.from_dict(DATA).hash[:12]}…>"
    )


def test_mistakes_in_text_have_lines_and_columns():
    with pytest.raises(airgap.PolicyError) as caught:
        airgap.Policy.from_toml('version = 1\n[[allow]]\nto = "203.0.113.9"\nport = "https"\n', name="gap.toml")
    [mistake] = caught.value.diagnostics
    assert (mistake.severity, mistake.path) == ("error", "allow[0].port")
    assert (mistake.line, mistake.column, mistake.end_line, mistake.end_column) == (4, 8, 4, 15)
    assert "gap.toml:4:8" in str(caught.value)
    assert caught.value.omitted == 0
    assert isinstance(caught.value, airgap.AirgapError)


@pytest.mark.parametrize(
    ("port", "found"),
    [
        (True, "this is `true`"),
        (443.0, "this is a number that is not whole"),
        (None, "this is `None`"),
        (b"443", "this is of Python's type `bytes`"),
        ({443}, "this is of Python's type `set`"),
        (datetime.date(2026, 1, 1), "this is of Python's type `datetime.date`"),
        ({"a": 1}, "this is a table"),
        ({1: 2}, "this is a table with a key of Python's type `int`"),
        (10**40, "9223372036854775807"),
        (-(10**40), "-9223372036854775808"),
        ("\udc80", "this is a string that is no Unicode text"),
    ],
)
def test_wrong_values_name_their_path(port, found):
    good = {"to": "203.0.113.9", "port": 443}
    said = mistakes({"version": 1, "allow": [good, good, good, {"to": "203.0.113.9", "port": port}]})
    assert list(said) == ["allow[3].port"]
    message, expected = said["allow[3].port"]
    assert found in message
    assert expected.startswith("expected")


def test_every_mistake_is_found_in_one_run():
    said = mistakes({"version": 2, "hosts": {}, "allow": [{"to": [5], "port": 0}], "bridge": {"name": "docker0"}})
    assert set(said) == {"version", "hosts", "allow[0].to[0]", "allow[0].port", "bridge"}


def test_data_that_holds_itself_is_refused():
    loop = []
    loop.extend([loop] * 4)
    assert "allow[0]" in mistakes({"version": 1, "allow": loop})
    table = {"version": 1}
    table["host"] = table
    assert "host.host" in mistakes(table)


def test_only_a_dict_is_data():
    with pytest.raises(TypeError):
        airgap.Policy.from_dict([1])
    with pytest.raises(TypeError):
        airgap.Policy.from_toml(b"version = 1")


def test_a_missing_file_is_a_bad_policy():
    with pytest.raises(airgap.PolicyError, match="cannot be read"):
        airgap.Policy.load("nothing.toml")


def test_warnings_are_data():
    pair = {"to": "203.0.113.9", "port": 443}
    [warning] = airgap.Policy.from_dict({"version": 1, "allow": [pair, {**pair, "to": "203.0.113.0/24"}]}).warnings
    assert (warning.severity, warning.path, warning.line) == ("warning", "allow[0]", None)
    with pytest.raises(AttributeError):
        warning.path = ""


@pytest.mark.parametrize(
    "error",
    [
        airgap.AirgapError("a"),
        airgap.KernelError("a", 1),
        airgap.ConflictError("a"),
        airgap.LockoutError("a"),
    ],
)
def test_exceptions_survive_pickle(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), "a", vars(error))


def test_a_policy_error_survives_pickle():
    with pytest.raises(airgap.PolicyError) as caught:
        airgap.Policy.from_toml("version = 2")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.diagnostics == caught.value.diagnostics
    assert str(copy) == str(caught.value)
