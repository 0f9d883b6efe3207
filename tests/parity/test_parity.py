"""The answers of every language beside those of Rust."""

import json
import os
import tomllib
from pathlib import Path

from command import Command
from library import PROFILE, TARGET, Case, sh

HERE = Path(__file__).resolve().parent
CASES = tomllib.loads((HERE / "cases.toml").read_text())["case"]
PYTHON = Path(os.environ.get("AIRGAP_PYTHON", TARGET / "python" / "bin" / "python"))

# What Python's classes stand for.
CLASSES = {"policy": "PolicyError", "unresolved": "AirgapError", "io": "KernelError"}
# The fields of a mistake or a warning, without its text for readers.
FIELDS = 9


def is_said(language: str, key: str, rust: dict[str, str]) -> bool:
    """Whether a language says this; what it does not, it has in another form."""
    if language == "C":
        return True
    at, _, number = key.partition(" mistake ")
    if number and rust[f"{at} code"] != "policy":
        # Told one by one in C and Rust only; the message has them all.
        return False
    if language == "command":
        # The policy as JSON is its own input; changes are those of the plan.
        return key != "json" and not key.startswith("change ")
    # No rulesets as text, no JSON beside the objects, warnings by the policy.
    return key != "nft" and not key.startswith("warning ") and not key.endswith((" errno", " json"))


def alike(key: str, value: str) -> object:
    """What of an answer is the same in every run and every language."""
    words = key.split()
    if key == "status":
        status = json.loads(value)
        return {name: status[name] for name in ("sealed", "hash", "source", "drift")}
    if words[-1] in ("json", "plan"):
        return json.loads(value)
    return value


class Parity(Case):
    """Each case in each language."""

    def setUp(self) -> None:
        super().setUp()
        self.environment["RUST_BACKTRACE"] = "0"

    def answers(self, *words: str | Path, folder: Path) -> dict[str, str]:
        done = sh("unshare", "--net", *words, env=self.environment, cwd=folder)
        return dict(json.loads(line) for line in done.stdout.splitlines())

    def by_command(self, policy: str, flows: list[str], folder: Path) -> dict[str, str]:
        command = Command(TARGET / PROFILE / "airgap", folder, self.environment)
        command.case(policy, flows)
        return command.answers

    def test_every_case(self) -> None:
        by_c = self.build(HERE / "parity.c", "-D_GNU_SOURCE")
        by_rust = TARGET / "debug" / "examples" / "parity"
        for case in CASES:
            folder = self.folder / case["name"]
            folder.mkdir()
            policy = "policy.json" if case["policy"].startswith("{") else "policy.toml"
            (folder / policy).write_text(case["policy"])
            (folder / "flows").write_text("".join(f"{flow}\n" for flow in case["flows"]))
            rust = self.answers(by_rust, policy, folder=folder)
            self.assertGreater(len(rust), 4)
            said = {
                "C": self.answers(by_c, policy, folder=folder),
                "Python": self.answers(PYTHON, HERE / "parity.py", policy, folder=folder),
                "command": self.by_command(policy, case["flows"], folder),
            }
            for language, answers in said.items():
                with self.subTest(case=case["name"], language=language):
                    self.compare(language, answers, rust)

    def compare(self, language: str, answers: dict[str, str], rust: dict[str, str]) -> None:
        expected = {}
        for key, value in rust.items():
            if not is_said(language, key, rust):
                continue
            if language != "C" and (" mistake " in key or key.startswith("warning")):
                # The last field is the text for readers, of which the message is made.
                value = "|".join(value.split("|")[:FIELDS])
            if language == "Python" and key.endswith(" code"):
                value = CLASSES[value]
            expected[key] = alike(key, value)
        found = {key: alike(key, value) for key, value in answers.items()}
        differing = {key: (found.get(key), expected.get(key))
                     for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)}
        self.assertEqual(differing, {}, f"{language}, Rust")
