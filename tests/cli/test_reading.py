"""Policies that are read, and those that are refused."""

import json
import re

from command import ROOT, Case, sh

BAD = {
    "empty file": ("", None),
    "wrong version": ("version = 2\n", "1:11"),
    "unknown key": ('version = 1\n[host]\nresolver = ["192.0.2.53"]\n', "3:1"),
    "port 0": ('version = 1\n[[allow]]\nto = "203.0.113.9"\nport = 0\n', "4:8"),
    "port 65536": ('version = 1\n[[allow]]\nto = "203.0.113.9"\nport = 65536\n', "4:8"),
    "host bits": ('version = 1\n[[allow]]\nto = "203.0.113.9/24"\nport = 1\n', "3:6"),
    "mixed families": ('version = 1\n[[allow]]\nto = "203.0.113.9-2001:db8::1"\nport = 1\n', "3:6"),
    "long interface": ('version = 1\n[[bridge]]\nname = "a-name-of-16-byt"\n', "3:8"),
    "any bridge": ('version = 1\n[[bridge]]\nname = "*"\n', "3:8"),
    "one bridge twice": ('version = 1\n[[bridge]]\nname = "b"\n[[bridge]]\nname = "b"\n', "5:8"),
    "wrong type": ('version = 1\n[[allow]]\nto = 7\nport = 1\n', "3:6"),
    "broken syntax": ("version = 1\n[[allow\n", "2:"),
}


class Reading(Case):
    def test_examples_are_good(self):
        examples = sorted((ROOT / "examples").glob("*.toml"))
        self.assertGreaterEqual(len(examples), 6)
        for example in examples:
            self.airgap("check", str(example))

    def test_bad_policies_are_refused_where_they_are_bad(self):
        before = self.ruleset()
        for name, (text, place) in BAD.items():
            with self.subTest(name):
                path = self.policy(text)
                for command in ("check", "show", "plan", "apply"):
                    done = self.airgap(command, path, code=2)
                    if place is not None:
                        self.assertIn(f"{path}:{place}", done.stderr)
                    self.assertEqual(done.stdout, "")
        self.assertEqual(self.ruleset(), before)

    def test_all_mistakes_come_in_one_run(self):
        path = self.policy('version = 1\n[[allow]]\nto = "203.0.113.9/24"\nport = 0\nproto = "tpc"\n')
        done = self.airgap("check", path, code=2)
        for place in ("3:6", "4:8", "5:9"):
            self.assertIn(f"{path}:{place}", done.stderr)
        self.assertIn("tcp", done.stderr)

    def test_bytes_that_are_no_text(self):
        path = self.folder / "policy.toml"
        path.write_bytes(b"version = 1\n# \xff\n")
        self.assertIn(f"{path}:2:3", self.airgap("check", str(path), code=2).stderr)

    def test_a_file_that_is_not_there(self):
        path = str(self.folder / "none.toml")
        self.assertIn(path, self.airgap("apply", path, code=2).stderr)

    def test_a_million_lines_of_nonsense(self):
        path = self.policy("nonsense\n" * 1_000_000)
        self.airgap("check", path, code=2)

    def test_mistakes_as_json(self):
        path = self.policy(BAD["port 0"][0])
        answer = json.loads(self.airgap("check", path, "--output", "json", code=2).stdout)
        self.assertFalse(answer["ok"])
        self.assertEqual(answer["diagnostics"][0]["path"], "allow[0].port")

    def test_standard_input_and_json(self):
        policy = '{"version": 1, "allow": [{"to": "203.0.113.9", "port": 443}]}'
        self.airgap("check", self.policy(policy, "policy.json"))
        self.airgap("check", "-", input='version = 1\n[[allow]]\nto = "203.0.113.9"\nport = 443\n')

    def test_usage(self):
        self.airgap("nonsense", code=2)
        self.airgap("apply", code=2)
        for command in ("check", "show", "schema", "plan", "apply", "status", "remove"):
            self.assertIn("Example", self.airgap(command, "--help").stdout)

    def test_completions_and_manual(self):
        for shell in ("bash", "zsh", "fish"):
            self.assertIn("airgap", self.airgap("completions", shell).stdout)
        self.assertIn(".TH", self.airgap("man").stdout)


class Showing(Case):
    def test_nft_accepts_what_is_shown(self):
        policies = [*sorted((ROOT / "examples").glob("*.toml")), ROOT / "tests/lab/policy.toml"]
        for policy in policies:
            with self.subTest(policy.name):
                text = self.airgap("show", str(policy)).stdout
                self.assertIn("table inet airgap {", text)
                sh("nft", "-c", "-f", "-", input=text)

    def test_what_is_shown_loads_the_same(self):
        path = self.policy()
        sh("nft", "-f", "-", input=self.airgap("show", path).stdout)
        by_text = self.ruleset()
        self.assertIn("203.0.113.9", by_text)
        sh("nft", "flush", "ruleset")
        self.airgap("apply", path)
        self.assertEqual(re.sub(r"\s+", " ", self.ruleset()), re.sub(r"\s+", " ", by_text))

    def test_other_formats(self):
        path = self.policy()
        tables = json.loads(self.airgap("show", path, "--format", "json").stdout)["tables"]
        inet = next(table for table in tables if table["family"] == "inet")
        self.assertIn("forward", [chain["name"] for chain in inet["chains"]])
        self.assertTrue(self.airgap("show", path, "--format", "dot").stdout.startswith("digraph"))

    def test_schema(self):
        schema = json.loads(self.airgap("schema").stdout)
        self.assertIn("allow", schema["properties"])
