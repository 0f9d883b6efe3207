#!/usr/bin/env python3
"""Runs the agent of examples/agent on a host of the laboratory, with Docker: a
good policy, a bad one, one that cuts the host off, and the agent killed while
that one is loaded.

    python3 tests/agent/run.py      # as root, after `make build`

What gets through is tried with connections from the host and from a container.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from net import Cleanup, Namespace  # noqa: E402 (found by the line before)
from world import NAMES, Lab  # noqa: E402

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROFILE = os.environ.get("PROFILE", "release")
AIRGAP = TARGET / PROFILE / "airgap"
CONTROLLER, PORT = NAMES["admin"], 8443
FORBIDDEN = NAMES["forbidden"]
# Within which the agent has to confirm.
SECONDS = 9
# Longer than anything takes that is waited for, on a busy machine.
PATIENCE = 120

COMMON = """version = 1
[[bridge]]
name = "docker0"
[[admit]]
from = "192.0.2.10"
port = 22
"""
GOOD = COMMON + f"""
[[allow]]
to = "{CONTROLLER}"
port = {PORT}
comment = "the controller"
"""
BETTER = GOOD + """
[[allow]]
to = "203.0.113.33"
port = 443
"""
BAD = GOOD.replace(CONTROLLER, "192.0.2.1000")
# Without the controller.
LOCKOUT = COMMON


class Agent:
    """The agent at work."""

    def __init__(self, program: Path, lab: Lab, policy: Path, environment: dict[str, str]) -> None:
        self.log = tempfile.TemporaryFile("w+")
        # nsenter becomes the agent: signals reach it.
        self.process = subprocess.Popen(
            ["nsenter", f"--net={lab.host.path}", str(program), str(policy), CONTROLLER, str(PORT), str(SECONDS)],
            stdout=self.log, stderr=subprocess.STDOUT, env=environment)
        self.read = 0

    def text(self) -> str:
        """What it logged since the last wait."""
        self.log.seek(self.read)
        return self.log.read()

    def waits_for(self, *words: str) -> str:
        """Waits until it has logged all of this, in this order, and returns what."""
        until = time.monotonic() + PATIENCE
        while True:
            text, at = self.text(), 0
            for word in words:
                at = text.find(word, at) + len(word) if at >= 0 and word in text[at:] else -1
            if at >= 0:
                self.read += len(text.encode())
                return text
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the agent did not say {words}, but:\n{text}")
            time.sleep(0.05)

    def ends(self, number: signal.Signals) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def serve(cleanup: Cleanup, ns: Namespace, address: str, port: int) -> None:
    """Takes connections."""
    server = ns.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setblocking(True)
    server.bind((address, port))
    server.listen(64)

    def accept() -> None:
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    cleanup.add(server.close)


def reaches(ns: Namespace, address: str, port: int) -> bool:
    """Whether a connection is taken there."""
    one = ns.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.settimeout(3)
    try:
        one.connect((address, port))
        return True
    except OSError:
        return False
    finally:
        one.close()


def build(folder: Path) -> Path:
    """Builds the agent with the library as it is installed."""
    environment = os.environ | {"PREFIX": str(folder / "prefix"), "CARGO_TARGET_DIR": str(TARGET), "PROFILE": PROFILE,
                                "PKG_CONFIG_PATH": f"{folder}/prefix/lib/pkgconfig"}
    subprocess.run([ROOT / "scripts" / "install"], env=environment, check=True)
    shutil.copytree(ROOT / "examples" / "agent", folder / "agent")
    subprocess.run(["make", "-s", "-C", folder / "agent", "CFLAGS=-Wall -Wextra -Werror -g"], env=environment, check=True)
    return folder / "agent" / "agent"


class Story:
    """What happens, one step after the other."""

    def __init__(self, cleanup: Cleanup) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="airgap-agent-"))
        cleanup.add(lambda: shutil.rmtree(self.folder))
        self.program = build(self.folder)
        self.lab = Lab(cleanup, "docker")
        self.lab.accept_everything()
        self.container = self.lab.containers["a"].ns
        self.gateway = self.lab.names()["gw-docker0"]
        self.environment = os.environ | {
            "LD_LIBRARY_PATH": f"{self.folder}/prefix/lib",
            "AIRGAP_RUN_DIR": f"{self.folder}/run", "AIRGAP_STATE_DIR": f"{self.folder}/state",
        }
        serve(cleanup, self.lab.world, CONTROLLER, PORT)
        serve(cleanup, self.lab.world, FORBIDDEN, 443)
        serve(cleanup, self.lab.host, "0.0.0.0", 7777)
        self.policy = self.folder / "policy.toml"
        self.steps = 0

    def passed(self, what: str) -> None:
        self.steps += 1
        print(f"ok    {what}", flush=True)

    def write(self, text: str) -> None:
        """Writes the policy anew, as careful programs do: beside it, then renamed."""
        new = self.folder / "policy.new"
        new.write_text(text)
        new.rename(self.policy)

    def start(self) -> Agent:
        agent = Agent(self.program, self.lab, self.policy, self.environment)
        self.lab.cleanup.add(lambda: agent.process.poll() is None and (agent.process.kill(), agent.process.wait()))
        return agent

    def status(self) -> dict:
        done = subprocess.run([AIRGAP, "--netns", self.lab.host_name, "status", "--output", "json"],
                              env=self.environment, capture_output=True, text=True)
        return json.loads(done.stdout)

    def sealed_as_meant(self) -> None:
        """Asserts what gets through under the good policies."""
        assert reaches(self.lab.host, CONTROLLER, PORT), "the host does not reach its controller"
        assert not reaches(self.lab.host, FORBIDDEN, 443), "the host reaches what no policy names"
        assert not reaches(self.container, CONTROLLER, PORT), "a container reaches the controller"
        assert not reaches(self.container, FORBIDDEN, 443), "a container reaches the world"
        assert reaches(self.container, self.gateway, 7777), "a container does not reach the host"
        status = self.status()
        assert status["sealed"] and not status["drift"], status

    def run(self) -> None:
        for ns, address, port in ((self.lab.host, FORBIDDEN, 443), (self.container, FORBIDDEN, 443),
                                  (self.container, CONTROLLER, PORT)):
            assert reaches(ns, address, port), f"{address} cannot be reached without an air gap either"
        self.passed("without an air gap everything gets through")

        self.write(GOOD)
        agent = self.start()
        agent.waits_for("opens allow: tcp from the host to 192.0.2.10, port 8443", "loaded", "confirmed")
        self.sealed_as_meant()
        good = self.status()["hash"]
        self.passed("a good policy is loaded and confirmed")

        self.write(BAD)
        said = agent.waits_for("failed (policy)", "192.0.2.1000")
        assert f"{self.policy}:9:6" in said, said
        assert self.status()["hash"] == good
        self.sealed_as_meant()
        self.passed("a bad policy is refused with its place, and changes nothing")

        self.write(LOCKOUT)
        agent.waits_for("closes allow: tcp from the host to 192.0.2.10, port 8443", "loaded",
                        "the health check failed", "rolled back")
        assert self.status()["hash"] == good
        self.sealed_as_meant()
        self.passed("a policy that cuts the host off from its controller is taken back")

        agent.process.send_signal(signal.SIGHUP)
        agent.waits_for("loaded")
        assert not reaches(self.lab.host, CONTROLLER, PORT), "the lockout locks nothing out"
        assert agent.ends(signal.SIGKILL) == -signal.SIGKILL
        until = time.monotonic() + PATIENCE
        while self.status()["hash"] != good:
            assert time.monotonic() < until, "nobody rolled back after the agent was killed"
            time.sleep(0.2)
        self.sealed_as_meant()
        self.passed("killed while the host was cut off, what was there before comes back by itself")

        self.write(GOOD)
        agent = self.start()
        agent.waits_for("the air gap is that of")
        self.policy.write_text(BETTER)
        agent.waits_for("opens allow: tcp from the host to 203.0.113.33, port 443", "confirmed")
        better = self.status()["hash"]
        assert better != good
        self.passed("started again, it goes on; a file that is written in place is seen too")

        self.write(LOCKOUT)
        agent.waits_for("loaded")
        assert agent.ends(signal.SIGTERM) == 0
        said = agent.text()
        assert "rolled back" in said and "stopped" in said, said
        assert self.status()["hash"] == better
        self.sealed_as_meant()
        self.passed("told to stop before it could confirm, it rolls back and ends; the host stays sealed")


def main() -> int:
    """Runs the story."""
    if os.geteuid() != 0:
        sys.exit("the laboratory makes network namespaces: it needs root")
    cleanup = Cleanup()
    story = None
    try:
        story = Story(cleanup)
        story.run()
        failed = 0
    except AssertionError as error:
        print(f"FAIL  {error}")
        failed = 1
    finally:
        cleanup.close()
    print(f"{story.steps if story else 0} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
