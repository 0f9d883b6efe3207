"""Policies that are rolled back unless they are confirmed."""

import subprocess
import sys
import time
from datetime import timedelta

import pytest

import airgap

OLD = airgap.Policy.from_dict({"version": 1, "allow": [{"to": "203.0.113.9", "port": 443}]}, name="old")
DATA = {"version": 1, "allow": [{"to": "203.0.113.9", "port": 444}]}
NEW = airgap.Policy.from_dict(DATA, name="new")


def test_what_is_confirmed_stays(host):
    host.apply(OLD)
    assert host.apply(NEW, confirm_within=timedelta(seconds=1)).changed
    pending = host.status().pending
    assert (pending.hash, pending.source, pending.awaited) == (NEW.hash, "new", True)
    host.confirm()
    time.sleep(1.3)
    assert (host.status().hash, host.status().pending) == (NEW.hash, None)
    with pytest.raises(airgap.AirgapError, match="nothing is pending"):
        host.confirm()


def test_what_is_not_confirmed_goes_when_its_process_is_gone(host):
    host.apply(OLD)
    script = f"import airgap; airgap.Host().apply(airgap.Policy.from_dict({DATA!r}), confirm_within=1.5)"
    # The one who waits holds nothing of its caller's: the pipe ends with it.
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert host.status().hash == NEW.hash
    while host.status().hash != OLD.hash:
        assert time.monotonic() - begun < 10
        time.sleep(0.05)
    assert time.monotonic() - begun > 1.5
    assert host.status().last_rollback.reason == "not-confirmed"
    assert host.status().drift == ()


def test_one_at_a_time(host):
    host.apply(NEW, confirm_within=60)
    for change in (lambda: host.apply(OLD), lambda: host.apply(OLD, confirm_within=1), host.remove):
        with pytest.raises(airgap.ConflictError, match="pending"):
            change()
    assert host.rollback().hash == NEW.hash
    assert not host.status().sealed


@pytest.mark.parametrize("time", [0, -1, float("nan"), timedelta(0), timedelta(days=-1)])
def test_a_time_that_does_not_pass_is_none(host, time):
    with pytest.raises((ValueError, TypeError)):
        host.apply(NEW, confirm_within=time)
    assert not host.status().sealed
