"""Answers a case by the command; see run.py."""

import json
import subprocess
from pathlib import Path


class Command:
    """The command in a folder, and what it answered."""

    def __init__(self, airgap: Path, folder: Path, environment: dict[str, str]) -> None:
        self.airgap, self.folder, self.environment = airgap, folder, environment
        self.answers: dict[str, str] = {}

    def run(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run([self.airgap, *words], cwd=self.folder, env=self.environment, text=True,
                              capture_output=True, timeout=120)

    def say(self, key: str, value: object) -> None:
        self.answers[key] = value if isinstance(value, str) else json.dumps(value)

    def failed(self, at: str, *words: str) -> None:
        """Tells of a failure, in JSON and in words."""
        error = json.loads(self.run(*words, "--output", "json").stderr.splitlines()[-1])
        self.say(f"{at} code", error["code"])
        self.say(f"{at} errno", error.get("errno") or 0)
        text = "\n".join(line for line in self.run(*words).stderr.splitlines())
        self.say(f"{at} message", text.removeprefix("airgap: "))
        for index, one in enumerate(error.get("diagnostics", ())):
            self.say(f"{at} mistake {index}", fields(one))

    def case(self, policy: str, flows: list[str]) -> None:
        """All that is asked of a case."""
        checked = self.run("check", policy, "--output", "json")
        if checked.returncode == 0:
            self.say("hash", json.loads(checked.stdout)["hash"])
            for flow in flows:
                self.explain(policy, flow)
            self.load_and_take_away(policy)
        else:
            self.failed("load", "plan", policy)
        self.failed("netns", "--netns", "no-such-namespace", "status")

    def explain(self, policy: str, flow: str) -> None:
        words = ("explain", policy, flow)
        done = self.run(*words, "--output", "json")
        if done.returncode not in (0, 1, 3) or not done.stdout:
            self.failed(f"flow {flow}", *words)
            return
        self.say(f"flow {flow} verdict", {0: "passes", 1: "undecided", 3: "dropped"}[done.returncode])
        self.say(f"flow {flow} json", done.stdout)
        self.say(f"flow {flow} text", self.run(*words).stdout.removesuffix("\n"))

    def load_and_take_away(self, policy: str) -> None:
        planned = self.run("plan", policy, "--output", "json")
        if not planned.stdout:
            self.failed("plan", "plan", policy)
            return
        self.say("plan", planned.stdout)
        for index, line in enumerate(planned.stderr.splitlines()):
            self.say(f"warning {index}", fields(json.loads(line)["warning"]))
        self.say("nft", self.run("show", policy).stdout)
        self.say("verify json", self.run("verify", policy, "--output", "json").stdout)
        self.say("applied", json.loads(self.run("apply", policy, "--output", "json").stdout)["applied"]["changed"])
        self.say("live json", self.run("verify", "--live", policy, "--output", "json").stdout)
        self.say("status", self.run("status", "--full", "--output", "json").stdout)
        self.say("removed", json.loads(self.run("remove", "--output", "json").stdout)["removed"])


def fields(one: dict) -> str:
    """A mistake or a warning of the command's JSON."""
    places = (one["place"]["line"], one["place"]["column"], one["end"]["line"], one["end"]["column"])
    return "|".join([one["severity"], *map(str, places), one["path"], one["message"], one["label"], one.get("help") or ""])
