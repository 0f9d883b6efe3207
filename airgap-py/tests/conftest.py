"""Every test has an empty ruleset and folders of its own."""

import json
import os
import subprocess

import pytest

import airgap


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    # The next lines flush the ruleset: never that of the machine, as would
    # happen where somebody starts pytest without run.py.
    if os.environ.get("AIRGAP_TEST_OUTSIDE") in (None, str(os.stat("/proc/self/ns/net").st_ino)):
        pytest.exit("run me by airgap-py/tests/run.py, which makes a network namespace", 1)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    monkeypatch.setenv("AIRGAP_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("AIRGAP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def host():
    return airgap.Host()


@pytest.fixture
def ruleset():
    """The ruleset as nft sees it, by table: without the airgap, nothing."""

    def read(netns=None):
        words = ["ip", "netns", "exec", netns] if netns else []
        text = subprocess.run([*words, "nft", "-j", "list", "ruleset"], check=True, capture_output=True).stdout
        objects = json.loads(text)["nftables"]
        return [o for o in objects if "metainfo" not in o]

    return read


def pairs(count, first=0):
    """A policy of so many allow pairs, as data."""
    return {
        "version": 1,
        "allow": [
            {"to": f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", "port": 1 + n % 65000}
            for n in range(first, first + count)
        ],
    }
