"""Runs the command, and looks at the kernel beside it."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
AIRGAP = os.environ.get("AIRGAP", str(TARGET / "release" / "airgap"))

POLICY = """\
version = 1

[host]
resolvers = ["192.0.2.53", "2001:db8::53"]

[[allow]]
to = "203.0.113.9"
port = 443

[[admit]]
from = "192.0.2.10"
port = 22

[[bridge]]
name = "docker0"
"""


def sh(*words: str, check: bool = True, **options) -> subprocess.CompletedProcess:
    return subprocess.run(words, capture_output=True, text=True, check=check, timeout=120, **options)


class Case(unittest.TestCase):
    """A test with an empty ruleset and folders of its own."""

    def setUp(self) -> None:
        # The next lines flush the ruleset: never that of the machine, as would
        # happen where somebody starts a test without run.py.
        if os.environ.get("AIRGAP_TEST_OUTSIDE") in (None, str(os.stat("/proc/self/ns/net").st_ino)):
            raise RuntimeError("run me by tests/cli/run.py, which makes a network namespace")
        self.folder = Path(tempfile.mkdtemp(prefix="airgap-cli-"))
        self.addCleanup(shutil.rmtree, self.folder)
        sh("nft", "flush", "ruleset")
        self.environment = os.environ | {
            "AIRGAP_RUN_DIR": str(self.folder / "run"),
            "AIRGAP_STATE_DIR": str(self.folder / "state"),
        }

    def airgap(self, *words: str, code: int = 0, **options) -> subprocess.CompletedProcess:
        """Runs the command and asserts its exit code."""
        done = sh(AIRGAP, *words, check=False, env=self.environment, **options)
        self.assertEqual(done.returncode, code, f"{words}\n{done.stdout}\n{done.stderr}")
        return done

    def policy(self, text: str = POLICY, name: str = "policy.toml") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def ruleset(self, *flags: str) -> str:
        return sh("nft", *flags, "list", "ruleset").stdout

    def status(self, code: int = 0) -> dict:
        return json.loads(self.airgap("status", "--output", "json", code=code).stdout)
