"""What a fleet must be able to rely on."""

import contextlib
import json
import unittest

import world

HOSTS = 20
# Of the first batch in rollout.yml.
FIRST = 2
ADMIN = {"from": world.CONTROLLER, "port": 22}
SERVICE = {"to": "203.0.113.9", "port": 443}
GOOD = {"version": 1, "admit": [ADMIN], "allow": [SERVICE]}
ROLLOUT = world.HERE / "rollout.yml"


class Fleet(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        world.collection.install()
        world.collection.managed_python()
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.fleet = cls.stack.enter_context(world.fleet(HOSTS))

    def setUp(self) -> None:
        for host in self.fleet.hosts:
            host.inside("sh", "-c", "nft flush ruleset; rm -rf /run/airgap /var/lib/airgap")

    def roll_out(self, policy: dict, *words: str) -> world.Play:
        return self.fleet.play(ROLLOUT, "-e", json.dumps({"policy": policy}), *words)

    def assert_all(self, play: world.Play, **counts: int) -> None:
        recap = play.recap()
        self.assertEqual(len(recap), HOSTS, play.said[-3000:])
        for host, said in recap.items():
            self.assertLessEqual(counts.items(), said.items(), f"{host}\n{play.said[-3000:]}")

    def test_a_good_policy_goes_to_all_and_a_second_time_changes_nothing(self) -> None:
        checked = self.roll_out(GOOD, "--check", "--diff")
        self.assert_all(checked, changed=1, failed=0, unreachable=0)
        self.assertIn("+allow: tcp from the host to 203.0.113.9, port 443", checked.said)
        self.assertEqual({host.ruleset() for host in self.fleet.hosts}, {""})

        self.assert_all(self.roll_out(GOOD), changed=1, failed=0, unreachable=0)
        loaded = {host.ruleset() for host in self.fleet.hosts}
        self.assertEqual(len(loaded), 1)
        self.assertIn("203.0.113.9 . 443", loaded.pop())

        self.assert_all(self.roll_out(GOOD), changed=0, failed=0, unreachable=0)

    def test_a_host_that_drifted_is_told_and_mended(self) -> None:
        self.roll_out(GOOD)
        drifted, *others = self.fleet.hosts
        before = drifted.ruleset()
        drifted.inside("nft", "insert", "rule", "inet", "airgap", "output", "accept")
        self.assertNotEqual(drifted.ruleset(), before)

        play = self.roll_out(GOOD)
        recap = play.recap()
        self.assertEqual(recap[drifted.name]["changed"], 1, play.said[-3000:])
        self.assertEqual({recap[host.name]["changed"] for host in others}, {0})
        _, _, told = play.said.partition("TASK [Tell what was mended]")
        self.assertIn(f"ok: [{drifted.name}]", told)
        self.assertIn("accept", told)
        self.assertEqual(drifted.ruleset(), before)


if __name__ == "__main__":
    unittest.main()
