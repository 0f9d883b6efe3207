"""What a fleet must be able to rely on."""

import contextlib
import json
import time
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

    def test_a_policy_that_locks_ansible_out_stops_at_the_first_batch(self) -> None:
        self.roll_out(GOOD)
        before = [host.ruleset() for host in self.fleet.hosts]
        # Ssh from another address: the new policy lets no connection of the controller through.
        bad = {**GOOD, "admit": [{**ADMIN, "from": "192.0.2.11"}]}
        began = int(time.time())
        play = self.roll_out(bad, "-e", "confirm=5")
        self.assertNotEqual(play.code, 0)
        recap = play.recap()
        first, rest = self.fleet.hosts[:FIRST], self.fleet.hosts[FIRST:]
        self.assertEqual(set(recap), {host.name for host in first}, play.said[-3000:])
        for host in first:
            self.assertEqual((recap[host.name]["failed"], recap[host.name]["changed"]), (1, 0), play.said[-3000:])
        told = [line for line in play.said.splitlines() if line.startswith("fatal: ")]
        self.assertEqual(len(told), FIRST, play.said[-3000:])
        for line in told:
            self.assertIn("the policy was rolled back", line)
            self.assertIn("would have locked Ansible out", line)
            self.assertIn("It holds what it held before", line)
        self.assertEqual([host.ruleset() for host in self.fleet.hosts], before)
        # It really was loaded, and the others never had it.
        for host in first:
            self.assertGreaterEqual(self.status(host)["last_rollback"]["at"], began + 5)
        for host in rest:
            self.assertIsNone(self.status(host)["last_rollback"])

        self.assert_all(self.roll_out(GOOD), changed=0, failed=0, unreachable=0)

    def status(self, host: world.Host) -> dict:
        python = str(world.collection.MANAGED / "bin" / "python")
        program = "import airgap, dataclasses, json; print(json.dumps(dataclasses.asdict(airgap.Host().status())))"
        return json.loads(host.inside(python, "-c", program))


if __name__ == "__main__":
    unittest.main()
