"""What fails leaves the host as it was: bad input, kernels that say no, others
who change the ruleset at the same moment."""

import json
import re
import subprocess
import threading
import time

from command import AIRGAP, POLICY, Case, sh

FOREIGN = """\
table ip other {
	chain input {
		type filter hook input priority 5; policy accept;
		ip saddr 198.51.100.1 counter drop
	}
}
"""
MORE = POLICY + '\n[[allow]]\nto = "198.51.100.7"\nport = 8443\n'
ALLOW = 'version = 1\n[[allow]]\nto = "203.0.113.9"\n'
BAD = {
    "empty": "",
    "only a comment": "# nothing\n",
    "no version": '[[allow]]\nto = "203.0.113.9"\nport = 1\n',
    "wrong version": "version = 2\n",
    "version as text": 'version = "1"\n',
    "unknown table": "version = 1\n[hosts]\n",
    "unknown key": ALLOW + "port = 1\nprt = 2\n",
    "one key twice": ALLOW + "port = 1\nport = 2\n",
    "no port": ALLOW,
    "port 0": ALLOW + "port = 0\n",
    "port 65536": ALLOW + "port = 65536\n",
    "negative port": ALLOW + "port = -1\n",
    "port with a fraction": ALLOW + "port = 1.5\n",
    "port range backwards": ALLOW + 'port = "20-10"\n',
    "port 65536 in a range": ALLOW + 'port = "10-65536"\n',
    "no ports": ALLOW + "port = []\n",
    "unknown protocol": ALLOW + 'port = 1\nproto = "sctp"\n',
    "host bits": 'version = 1\n[[allow]]\nto = "203.0.113.9/24"\nport = 1\n',
    "host bits of v6": 'version = 1\n[[allow]]\nto = "2001:db8::1/64"\nport = 1\n',
    "long prefix": 'version = 1\n[[allow]]\nto = "203.0.113.9/33"\nport = 1\n',
    "address range backwards": 'version = 1\n[[allow]]\nto = "203.0.113.9-203.0.113.1"\nport = 1\n',
    "mixed families in a range": 'version = 1\n[[allow]]\nto = "203.0.113.9-2001:db8::1"\nport = 1\n',
    "address of five parts": 'version = 1\n[[admit]]\nfrom = "203.0.113.9.1/32"\nport = 1\n',
    "no address": 'version = 1\n[[allow]]\nto = ""\nport = 1\n',
    "mixed families in a forwarder": 'version = 1\n[[forward]]\nfrom = "172.17.0.2"\nto = "2001:db8::1"\nport = 1\n',
    "long interface": 'version = 1\n[[bridge]]\nname = "a-name-of-16-byt"\n',
    "long uplink": 'version = 1\n[host]\nuplinks = ["a-name-of-16-byt"]\n',
    "interface with a slash": 'version = 1\n[[bridge]]\nname = "br/0"\n',
    "interface without a name": 'version = 1\n[[bridge]]\nname = ""\n',
    "every bridge": 'version = 1\n[[bridge]]\nname = "*"\n',
    "one bridge twice": 'version = 1\n[[bridge]]\nname = "b"\n[[bridge]]\nname = "b"\n',
    "ping with a port": 'version = 1\n[[admit]]\nfrom = "192.0.2.10"\nproto = "icmp"\nport = 1\n',
    "resolver that is none": 'version = 1\n[host]\nresolvers = ["the usual"]\n',
    "wrong type": "version = 1\n[[allow]]\nto = 7\nport = 1\n",
    "table for a list": "version = 1\n[allow]\nport = 1\n",
    "broken syntax": "version = 1\n[[allow\n",
    "a byte of zero": "version = 1\n\0\n",
}
BAD_JSON = {
    "empty": "",
    "broken syntax": '{"version": 1,\n "allow": [}',
    "more behind it": '{"version": 1}\n{}',
    "a list": "[]",
    "port 0": '{"version": 1,\n "allow": [{"to": "203.0.113.9",\n   "port": 0}]}',
    "unknown key": '{"version": 1,\n "alow": []}',
}


class Untouched(Case):
    """Each begins with an air gap and somebody else's table, and ends with
    the same, down to the handles."""

    def setUp(self) -> None:
        super().setUp()
        sh("nft", "-f", "-", input=FOREIGN)
        self.airgap("apply", self.policy(name="before.toml"))
        self.before = self.ruleset("-a")
        self.assertIn("203.0.113.9", self.before)
        self.assertIn("198.51.100.1", self.before)

    def refused(self, path: str, code: int = 2) -> str:
        done = self.airgap("apply", path, code=code)
        self.assertEqual(self.ruleset("-a"), self.before)
        self.assertEqual(done.stdout, "")
        self.assertNotIn("panicked", done.stderr)
        return done.stderr

    def test_bad_toml(self):
        for name, text in BAD.items():
            with self.subTest(name):
                path = self.policy(text)
                self.assertRegex(self.refused(path), rf"(?m){re.escape(path)}:[1-9]\d*:[1-9]\d*$")

    def test_bad_json(self):
        for name, text in BAD_JSON.items():
            with self.subTest(name):
                path = self.policy(text, "policy.json")
                self.assertRegex(self.refused(path), rf"(?m){re.escape(path)}:[1-9]\d*:[1-9]\d*$")

    def test_bad_bytes(self):
        for name, content, place in (
            ("not UTF-8", b"version = 1\n# \xff\n", "2:3"),
            ("UTF-16", "version = 1\n".encode("utf-16"), "1:1"),
            ("noise", bytes(range(256)) * 64, r"\d+:\d+"),
        ):
            with self.subTest(name):
                path = self.folder / "policy.toml"
                path.write_bytes(content)
                self.assertRegex(self.refused(str(path)), f"{re.escape(str(path))}:{place}")

    def test_files_that_cannot_be_read(self):
        path = self.policy()
        (self.folder / "policy.toml").chmod(0)
        self.folder.chmod(0o755)
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
        done = sh(*words, AIRGAP, "check", path, env=self.environment, check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(path, done.stderr)
        self.assertIn("Permission denied", done.stderr)
        self.assertIn("irectory", self.refused(str(self.folder)))
        self.assertIn("none.toml", self.refused(str(self.folder / "none.toml")))

    def test_a_million_mistakes(self):
        # Each entry is well-formed and wrong: a report whose cost grows with
        # the square of the mistakes does not come to an end here.
        path = self.policy("version = 1\n" + '[[allow]]\nto = "203.0.113.9"\nport = 0\n\n' * 250_000)
        start = time.monotonic()
        self.assertIn(f"{path}:4:8", self.refused(path))
        self.assertLess(time.monotonic() - start, 30)

    def test_what_is_not_there(self):
        for key, text in (
            ("name.invalid", 'version = 1\n[[allow]]\nto = "name.invalid"\nport = 443\n'),
            ("nobody-at-all", ALLOW + 'port = 443\nuser = "nobody-at-all"\n'),
        ):
            with self.subTest(key):
                path = self.policy(text)
                self.assertIn(key, self.refused(path, code=1))
                self.airgap("check", path)
                self.assertIn(key, self.airgap("plan", path, code=1).stderr)

    def traced(self, inject: str, *words: str) -> subprocess.CompletedProcess:
        """Runs the command with a system call that goes wrong, or takes long."""
        return sh(
            "strace", "-f", "-o", str(self.folder / "trace"), "-e", f"inject={inject}", AIRGAP, *words,
            env=self.environment, check=False,
        )

    def test_the_kernel_says_no(self):
        for error in ("ENOBUFS", "EPERM", "ENOMEM"):
            with self.subTest(error):
                done = self.traced(f"sendmsg:error={error}", "apply", self.policy(MORE))
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertNotIn("panicked", done.stderr)
                self.assertNotEqual(done.stderr, "")
                self.assertEqual(self.ruleset("-a"), self.before)

    def test_a_kernel_without_nf_tables(self):
        done = self.traced("socket:error=EPROTONOSUPPORT", "apply", self.policy(MORE))
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stderr, "nf_tables|nfnetlink|netlink")
        self.assertEqual(self.ruleset("-a"), self.before)

    def disturb(self, times: int) -> threading.Thread:
        """Changes the ruleset of somebody else, as often, ten times a second."""

        def work():
            for number in range(times):
                if self.stop.wait(0.1):
                    return
                sh("nft", "add" if number % 2 == 0 else "delete", "table", "ip", "noise")

        self.stop = threading.Event()
        thread = threading.Thread(target=work)
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def test_a_change_between_plan_and_batch_is_met_by_another_plan(self):
        # The first batch waits half a second before the kernel gets it.
        # Others go on until the end: nobody knows how long the command takes to
        # get there.
        thread = self.disturb(600)
        words = ("apply", "--output", "json", self.policy(MORE))
        done = self.traced("sendmsg:delay_enter=500000:when=1", *words)
        self.stop.set()
        thread.join()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertGreaterEqual(json.loads(done.stdout)["applied"]["retries"], 1)
        self.assertIn("198.51.100.7", self.ruleset())
        self.assertEqual(self.status()["drift"], [])

    def test_changes_without_end_are_a_conflict(self):
        # Every batch waits: no try can be the one that finds the ruleset still.
        self.disturb(600)
        try:
            start = time.monotonic()
            done = self.traced("sendmsg:delay_enter=400000", "apply", self.policy(MORE))
        finally:
            self.stop.set()
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stderr, "(?i)conflict|another program|changed|meanwhile")
        self.assertLess(time.monotonic() - start, 50)
        self.assertNotIn("198.51.100.7", self.ruleset())
        self.airgap("status")
