"""Policies that are rolled back unless they are confirmed."""

import json
import time

from command import AIRGAP, POLICY, Case, sh

MORE = POLICY + '\n[[allow]]\nto = "198.51.100.0/24"\nport = "8000-8099"\n'
FOREIGN = "table ip other {\n\tchain input {\n\t\ttype filter hook input priority 5; policy accept;\n\t}\n}\n"


class Guard(Case):
    def until(self, is_so, within: float = 10) -> None:
        begun = time.monotonic()
        while not is_so():
            self.assertLess(time.monotonic() - begun, within)
            time.sleep(0.05)

    def test_what_was_there_comes_back(self):
        for before in (None, POLICY):
            with self.subTest("before", policy=before):
                sh("nft", "-f", "-", input="flush ruleset\n" + FOREIGN)
                if before:
                    self.airgap("apply", self.policy(before))
                there = self.ruleset("-s")
                self.airgap("apply", "--confirm-within", "1s", self.policy(MORE, "more.toml"))
                self.assertIn("198.51.100.0", self.ruleset())
                pending = self.status()["pending"]
                self.assertTrue(pending["awaited"])
                self.assertTrue(pending["source"].endswith("more.toml"))
                code = 0 if before else 4
                self.until(lambda: self.ruleset("-s") == there)
                self.until(lambda: self.status(code)["pending"] is None)
                status = self.status(code)
                self.assertEqual((status["pending"], status["drift"]), (None, []))
                self.assertEqual(status["last_rollback"]["reason"], "not-confirmed")
                self.assertIn("nobody confirmed it in time", self.airgap("confirm", code=1).stderr)

    def test_what_is_confirmed_stays(self):
        self.airgap("apply", self.policy())
        self.airgap("apply", "--confirm-within", "1s", self.policy(MORE))
        self.assertIn("Confirmed", self.airgap("confirm").stdout)
        loaded = self.ruleset()
        time.sleep(1.5)
        self.assertEqual(self.ruleset(), loaded)
        self.airgap("confirm", code=1)
        self.airgap("rollback", code=1)
        [confirmed] = (self.folder / "state").glob("*/confirmed.json")
        self.assertEqual(json.loads(confirmed.read_text().splitlines()[0])["hash"], self.status()["hash"])
        # Nothing is left of it but the records.
        left = {path.name for path in (self.folder / "run").glob("*/*")}
        self.assertEqual(left, {"loaded.json", "lock"})

    def test_rollback_is_at_once(self):
        self.airgap("apply", self.policy())
        there = self.ruleset("-s")
        self.airgap("apply", "--confirm-within", "1h", self.policy(MORE))
        self.airgap("rollback")
        self.assertEqual(self.ruleset("-s"), there)
        self.assertEqual(self.status()["last_rollback"]["reason"], "asked")

    def test_a_second_change_is_refused(self):
        self.airgap("apply", "--confirm-within", "1m", self.policy())
        there = self.ruleset()
        for words in (["apply", self.policy(MORE)], ["apply", "--confirm-within", "9s", self.policy(MORE)], ["remove"]):
            told = self.airgap("--output", "json", *words, code=1)
            error = json.loads(told.stderr.splitlines()[-1])
            self.assertEqual(error["code"], "pending")
            self.assertRegex(error["error"], r"process \d+ loaded it, and it is rolled back in \d+ s")
        self.assertEqual(self.ruleset(), there)
        self.airgap("rollback")
        self.assertEqual(self.ruleset(), "")

    def test_what_was_already_there_is_pending_too(self):
        # A script that confirms what it applied does not fail the second time.
        for _ in range(2):
            self.airgap("apply", "--confirm-within", "1m", self.policy())
            self.airgap("confirm")

    def test_what_is_not_loaded_is_not_confirmed(self):
        self.airgap("apply", "--confirm-within", "1m", self.policy())
        sh("nft", "flush", "ruleset")
        # Nobody waits either.
        self.assertIn("not what is loaded", self.airgap("confirm", code=1).stderr)
        self.airgap("rollback")
        self.assertEqual(self.status(code=4)["pending"], None)

    def test_a_time_that_does_not_pass_is_refused(self):
        for wrong in ("0s", "-1s", "soon", "60"):
            told = self.airgap("apply", f"--confirm-within={wrong}", self.policy(), code=2)
            self.assertIn("expected a time such as 60s", told.stderr)
        self.assertEqual(self.ruleset(), "")

    def test_nobody_waits_for_the_waiter(self):
        # Neither for its output nor as a child.
        begun = time.monotonic()
        sh(AIRGAP, "apply", "--confirm-within", "30s", self.policy(), env=self.environment)
        self.assertLess(time.monotonic() - begun, 10)
        self.airgap("rollback")
