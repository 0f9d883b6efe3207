"""Policies that wait to be confirmed, while a watch runs."""

from command import POLICY, sh
from watching import Watching

MORE = POLICY + '\n[[allow]]\nto = "198.51.100.7"\nport = 80\n'


class Healed(Watching):
    """A watch that puts back what others change."""

    def test_what_nobody_confirms_goes_and_what_was_there_stays(self):
        self.airgap("apply", self.policy())
        watch = self.watch()
        self.airgap("apply", "--confirm-within", "4s", self.policy(MORE))
        watch.expect("loaded")
        sh("nft", "flush ruleset")
        if not self.HOW:
            watch.silent()
        else:
            watch.expect("healed")
        self.assertIn("198.51.100.7", self.ruleset())
        watch.expect("loaded", timeout=20)
        self.airgap("plan", self.policy())
        self.assertNotIn("198.51.100.7", self.ruleset())
        watch.silent()
        self.assertEqual(self.status()["drift"], [])

    def test_a_rollback_on_demand(self):
        self.airgap("apply", self.policy())
        watch = self.watch()
        self.airgap("apply", "--confirm-within", "60s", self.policy(MORE))
        watch.expect("loaded")
        self.airgap("rollback")
        watch.expect("loaded")
        self.airgap("plan", self.policy())
        watch.silent()

    def test_what_is_confirmed_stays(self):
        self.airgap("apply", self.policy())
        watch = self.watch()
        self.airgap("apply", "--confirm-within", "60s", self.policy(MORE))
        watch.expect("loaded")
        self.airgap("confirm")
        self.airgap("plan", self.policy(MORE))
        self.assertEqual(self.status()["drift"], [])


class Owned(Healed):
    """A watch that owns the tables."""

    HOW = ()
