"""What the command writes: for people, programs and pipes."""

import json
import os
import pty
import subprocess

from command import AIRGAP, POLICY, ROOT, Case, sh

COMMANDS = ("check", "show", "schema", "plan", "apply", "status", "remove", "completions", "man")
BROKEN = 'version = 1\n[[allow]]\nto = "203.0.113.9"\nport = 0\n'


class Text(Case):
    def test_every_help_has_an_example(self):
        self.assertRegex(self.airgap("--help").stdout, r"Examples?:\n  airgap ")
        for command in COMMANDS:
            with self.subTest(command):
                self.assertRegex(self.airgap(command, "--help").stdout, rf"Examples?:\n  airgap {command}")
                self.assertIn(command, self.airgap("--help").stdout)

    def test_usage_errors(self):
        for words in (
            [], ["nonsense"], ["apply"], ["apply", "a", "b"], ["check", "--nonsense", "a"], ["status", "a"],
            ["show", "--format", "png", "a"], ["status", "--output", "yaml"], ["completions", "cmd.exe"],
        ):
            with self.subTest(words):
                done = self.airgap(*words, code=2)
                self.assertEqual(done.stdout, "")
                self.assertRegex(done.stderr, "Usage|--help")

    def test_standard_input(self):
        self.airgap("plan", "-", input=POLICY, code=3)
        self.airgap("apply", "-", input=POLICY)
        self.airgap("plan", "-", input=POLICY)
        self.airgap("plan", self.policy())
        self.assertRegex(self.airgap("check", "-", input=BROKEN, code=2).stderr, "(?m):4:8$")

    def test_completions_are_scripts(self):
        done = sh("bash", "-n", input=self.airgap("completions", "bash").stdout)
        self.assertEqual(done.stderr, "")
        self.assertTrue(self.airgap("completions", "zsh").stdout.startswith("#compdef airgap"))
        self.assertIn("complete -c airgap", self.airgap("completions", "fish").stdout)
        for shell in ("bash", "zsh", "fish"):
            text = self.airgap("completions", shell).stdout
            for command in COMMANDS:
                self.assertIn(command, text)
            self.assertIn("netns", text)

    def test_the_manual_names_every_command(self):
        page = self.airgap("man").stdout
        self.assertIn(".TH airgap", page)
        for command in COMMANDS:
            self.assertIn(command, page)

    def everything(self) -> list[list[str]]:
        """Calls of every kind: what succeeds, warns and fails."""
        path, broken = self.policy(), self.policy(BROKEN, "broken.toml")
        return [
            ["check", path], ["check", broken], ["show", path], ["show", "--format", "dot", path], ["schema"],
            ["plan", path], ["apply", path], ["apply", path], ["status"], ["status", "--output", "json"],
            ["--help"], ["apply", "--help"], ["nonsense"], ["completions", "zsh"], ["man"], ["remove"], ["status"],
        ]

    def test_no_colours_in_pipes(self):
        for words in self.everything():
            with self.subTest(words):
                done = sh(AIRGAP, *words, env=self.environment, check=False)
                self.assertNotIn("\x1b", done.stdout + done.stderr)

    def test_colours_on_a_terminal(self):
        # Else the test before this one would pass with no colours anywhere.
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        environment = {k: v for k, v in self.environment.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
        command = [AIRGAP, "check", self.policy(BROKEN)]
        done = subprocess.run(command, stdout=theirs, stderr=theirs, env=environment, timeout=60, check=False)
        os.close(theirs)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"\x1b[", os.read(ours, 65536))

    def test_all_output_ends_its_last_line(self):
        for words in self.everything():
            with self.subTest(words):
                done = sh(AIRGAP, *words, env=self.environment, check=False)
                for text in (done.stdout, done.stderr):
                    self.assertTrue(text == "" or text.endswith("\n"), text[-80:])

    def test_a_reader_that_has_gone_away(self):
        # As `airgap show policy.toml | head -1` does.
        for words in self.everything():
            with self.subTest(words):
                reading, writing = os.pipe()
                os.close(reading)
                try:
                    done = subprocess.run(
                        [AIRGAP, *words], stdout=writing, stderr=subprocess.PIPE, text=True, env=self.environment,
                        timeout=60, check=False,
                    )
                finally:
                    os.close(writing)
                self.assertNotIn("panicked", done.stderr)
                self.assertNotEqual(done.returncode, 101)

    def test_json_answers_are_one_object(self):
        path = self.policy()
        for words, code in (
            (["check", path], 0), (["plan", path], 3), (["apply", path], 0), (["plan", path], 0), (["status"], 0),
            (["remove"], 0), (["status"], 4),
        ):
            with self.subTest(words):
                answer = json.loads(self.airgap(*words, "--output", "json", code=code).stdout)
                self.assertIsInstance(answer, dict)

    def test_the_schema_knows_every_key(self):
        schema = json.loads(self.airgap("schema").stdout)
        self.assertIn("$schema", schema)
        self.assertEqual(set(schema["properties"]), {"version", "host", "allow", "admit", "bridge", "forward"})
        text = json.dumps(schema)
        for key in ("resolvers", "dhcp", "uplinks", "strict", "user", "via", "isolate", "ports", "listen", "comment"):
            self.assertIn(f'"{key}"', text)

    def test_pictures_and_json_of_every_example(self):
        for example in sorted((ROOT / "examples").glob("*.toml")):
            with self.subTest(example.name):
                self.assertTrue(self.airgap("show", "--format", "dot", str(example)).stdout.startswith("digraph"))
                shown = json.loads(self.airgap("show", "--format", "json", str(example)).stdout)
                self.assertTrue(any(table["family"] == "inet" for table in shown["tables"]))
