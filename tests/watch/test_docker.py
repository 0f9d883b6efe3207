"""Docker's daemon is followed when it is started anew."""

from dockerd import WithDaemon
from watching import Watching


class Restart(WithDaemon, Watching):
    def test_another_control_group(self):
        first, second = self.group("a"), self.group("b")
        process = self.daemon(first)
        self.airgap("apply", self.policy())
        watch = self.watch()
        self.assertFalse(self.passes(first))
        self.end(process)
        self.daemon(second)
        while self.passes(second):
            watch.expect("adapted", timeout=15)
        self.assertTrue(self.passes(first))
        self.assertEqual(self.status()["drift"], [])
