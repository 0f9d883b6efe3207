"""Plans, applies, status and removal, against the real kernel."""

import json
import re
import threading

from command import AIRGAP, POLICY, Case, sh

MORE = POLICY + '\n[[allow]]\nto = "198.51.100.0/24"\nport = "8000-8099"\n'
FOREIGN = """\
table ip other {
	chain input {
		type filter hook input priority 5; policy accept;
		counter
	}
}
"""


class Loading(Case):
    def test_plan_apply_plan(self):
        path = self.policy()
        self.assertIn("203.0.113.9", self.airgap("plan", path, code=3).stdout)
        self.assertEqual(self.ruleset(), "")
        self.airgap("apply", path)
        self.airgap("plan", path)
        status = self.status()
        self.assertTrue(status["sealed"])
        self.assertEqual(status["drift"], [])
        self.assertIn(f"sha256:{status['hash']}", self.ruleset())

    def test_one_message_and_no_child(self):
        trace = self.folder / "trace"
        words = ["strace", "-f", "-o", str(trace), "-e", "trace=sendmsg,execve,fork,vfork"]
        path = self.policy()

        def run() -> list[str]:
            done = sh(*words, AIRGAP, "apply", path, env=self.environment, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            return trace.read_text().splitlines()

        first = run()
        self.assertEqual(sum("sendmsg(" in line for line in first), 1, "\n".join(first))
        self.assertEqual(sum("execve(" in line for line in first), 1, "only the command itself")
        self.assertEqual(sum("fork(" in line for line in first), 0)
        second = run()
        self.assertEqual(sum("sendmsg(" in line for line in second), 0, "\n".join(second))

    def test_only_the_difference_is_sent(self):
        sh("nft", "-f", "-", input=FOREIGN)
        self.airgap("apply", self.policy())

        def handles(listing: str) -> set[str]:
            return set(re.findall(r"^\t\t\S.* # handle \d+$", listing, re.MULTILINE))

        before = handles(self.ruleset("-a"))
        plan = self.airgap("plan", self.policy(MORE), code=3).stdout
        self.assertIn("198.51.100.0-198.51.100.255", plan)
        self.assertNotIn("203.0.113.9", plan)
        self.airgap("apply", self.policy(MORE))
        self.assertLessEqual(before, handles(self.ruleset("-a")), "rules that stay keep their handles")
        plan = json.loads(self.airgap("plan", self.policy(), "--output", "json", code=3).stdout)
        self.assertEqual({change["kind"] for change in plan["changes"]}, {"removed"})
        self.airgap("apply", self.policy())
        self.assertEqual(handles(self.ruleset("-a")), before)
        self.assertIn("table ip other", self.ruleset())

    def test_the_same_policy_as_json_changes_nothing(self):
        self.airgap("apply", self.policy())
        same = {
            "version": 1,
            "host": {"resolvers": ["192.0.2.53", "2001:db8::53"]},
            "allow": [{"to": "203.0.113.9", "port": 443}],
            "admit": [{"from": "192.0.2.10", "port": 22}],
            "bridge": [{"name": "docker0"}],
        }
        self.airgap("plan", self.policy(json.dumps(same), "policy.json"))

    def test_drift(self):
        self.airgap("apply", self.policy())
        sh("nft", "add", "rule", "inet", "airgap", "input", "accept")
        status = self.status(code=3)
        self.assertIn("input", " ".join(status["drift"]))
        self.airgap("apply", self.policy())
        self.assertEqual(self.status()["drift"], [])
        sh("nft", "flush", "ruleset")
        self.status(code=4)

    def test_remove(self):
        sh("nft", "-f", "-", input=FOREIGN)
        before = self.ruleset()
        self.airgap("apply", self.policy())
        self.airgap("remove")
        self.assertEqual(self.ruleset(), before)
        self.airgap("status", code=4)
        self.airgap("remove")

    def test_others_change_the_ruleset_meanwhile(self):
        stop = threading.Event()

        def disturb():
            while not stop.is_set():
                sh("nft", "add table ip noise; delete table ip noise")

        noise = threading.Thread(target=disturb)
        noise.start()
        try:
            for number in range(20):
                self.airgap("apply", self.policy(MORE if number % 2 else POLICY))
        finally:
            stop.set()
            noise.join()
        self.assertEqual(self.status()["drift"], [])

    def test_names_and_users_that_are_not_there(self):
        before = self.ruleset()
        unknown_name = 'version = 1\n[[allow]]\nto = "name.invalid"\nport = 443\n'
        self.assertIn("name.invalid", self.airgap("apply", self.policy(unknown_name), code=1).stderr)
        unknown_user = 'version = 1\n[[allow]]\nto = "203.0.113.9"\nport = 1\nuser = "nobody-at-all"\n'
        self.assertIn("nobody-at-all", self.airgap("apply", self.policy(unknown_user), code=1).stderr)
        self.assertEqual(self.ruleset(), before)

    def test_without_rights(self):
        path = self.policy()
        self.folder.chmod(0o755)
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
        done = sh(*words, AIRGAP, "apply", path, env=self.environment, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("CAP_NET_ADMIN", done.stderr)
        self.assertEqual(self.ruleset(), "")

    def test_in_a_user_namespace(self):
        path = self.policy()
        script = f'{AIRGAP} apply "$0" && {AIRGAP} plan "$0" && {AIRGAP} status'
        done = sh("unshare", "-Urn", "sh", "-c", script, path, env=self.environment, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("Sealed", done.stdout)

    def test_another_namespace(self):
        process = sh("sh", "-c", "unshare -n sleep 60 >/dev/null 2>&1 & echo $!").stdout.strip()
        self.addCleanup(sh, "kill", process, check=False)
        netns = f"/proc/{process}/ns/net"
        own = sh("readlink", "/proc/self/ns/net").stdout
        while sh("readlink", netns, check=False).stdout in ("", own):
            pass
        self.airgap("apply", self.policy(), "--netns", netns)
        self.airgap("status", "--netns", netns)
        self.assertEqual(self.ruleset(), "")
        self.airgap("status", code=4)
        self.airgap("status", "--netns", "no-such-namespace", code=1)

    def test_many_services_of_ranges(self):
        ports = ", ".join(f'"{port}-{port + 5}"' for port in range(1000, 1200, 4))
        text = f'version = 1\n[[allow]]\nto = ["198.51.100.0/24", "2001:db8:1::/48"]\nport = [{ports}]\n'
        self.airgap("apply", self.policy(text))
        self.airgap("plan", self.policy(text))
        self.airgap("status", "--full")
        self.assertIn("198.51.100.0", self.ruleset())

    def test_large_sets_grow_and_shrink(self):
        def pairs(count: int) -> str:
            addresses = ", ".join(f'"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"' for n in range(count))
            return self.policy(f"version = 1\n[[allow]]\nto = [{addresses}]\nport = 443\n")

        for count in (10, 20_000, 20_001, 300):
            self.airgap("apply", pairs(count))
            self.assertEqual(self.airgap("status", "--full").returncode, 0)
            self.airgap("plan", pairs(count))
            listed = sh("nft", "-j", "list", "set", "inet", "airgap", "allow-tcp-v4").stdout
            self.assertEqual(listed.count('"concat"'), count)

    def test_no_colours_in_a_pipe(self):
        self.assertNotIn("\x1b", self.airgap("plan", self.policy(), code=3).stdout)
