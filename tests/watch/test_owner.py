"""A watch that owns the tables: the kernel refuses others' changes."""

import signal
import subprocess
import time

from command import AIRGAP, POLICY, sh
from test_healing import STRICT
from watching import Sender, Watch, Watching, Wire

MORE = POLICY + '\n[[allow]]\nto = "198.51.100.7"\nport = 80\n'


class Owner(Watching):
    HOW = ()

    def setUp(self) -> None:
        super().setUp()
        self.airgap("apply", self.policy())

    def refused(self, change: str) -> None:
        """Asserts that the kernel refuses a change of somebody else's."""
        before = self.ruleset("-a", "-s")
        done = sh("nft", change, check=False)
        self.assertEqual(done.returncode, 1, change)
        self.assertIn("Operation not permitted", done.stderr)
        self.assertEqual(self.ruleset("-a", "-s"), before)

    def owned(self) -> None:
        self.refused("delete table inet airgap")
        self.refused("delete table bridge airgap")

    def test_a_flushed_ruleset_under_a_busy_sender(self):
        wire = Wire(self)
        watch = self.watch()
        sh("nft", "add table ip other")
        sender = Sender(self)
        for _ in range(5):
            time.sleep(0.1)
            sh("nft", "flush ruleset")
            self.refused("delete table inet airgap")
            self.refused("flush chain inet airgap output")
        tried, sent, _ = sender.end()
        self.assertGreater(tried, 1000)
        self.assertEqual((sent, wire.arrived()), (0, 0))
        self.assertNotIn("table ip other", self.ruleset(), "the flush was real")
        watch.silent()
        print(f"\nowned: none of {tried} datagrams got out", flush=True)

    def test_any_change(self):
        self.watch()
        for change in (
            "add rule inet airgap output accept",
            "flush chain inet airgap output",
            "flush table inet airgap",
            "delete table bridge airgap",
            "add chain inet airgap output { policy accept; }",
            "add table inet airgap { flags dormant; }",
            "add element inet airgap allow-tcp-v4 { 198.51.100.9 . 80 }",
            "delete element inet airgap allow-tcp-v4 { 203.0.113.9 . 443 }",
        ):
            with self.subTest(change):
                self.refused(change)

    def test_loading_and_removing_go_through_the_watch(self):
        watch = self.watch()
        self.assertIn("nobody else", self.airgap("status").stdout)
        for text in (MORE, POLICY, STRICT, MORE):
            path = self.policy(text)
            self.airgap("apply", path)
            watch.expect("loaded")
            self.airgap("plan", path)
            self.assertEqual(self.status()["drift"], [])
            self.owned()
        self.airgap("remove")
        watch.expect("removed")
        self.assertEqual(self.ruleset(), "")
        self.airgap("apply", self.policy())
        watch.expect("loaded")
        watch.silent()
        self.owned()
        self.assertEqual(self.status()["drift"], [])
        self.assertEqual(self.status()["watch"]["healed"], 0)

    def test_a_batch_of_many_messages(self):
        self.watch()
        many = ", ".join(f'"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"' for n in range(20_000))
        path = self.policy(f"version = 1\n[[allow]]\nto = [{many}]\nport = 443\n")
        self.airgap("apply", path)
        done = self.airgap("status", "--full")
        self.assertIn("drift:   none", done.stdout)
        self.owned()

    def rules(self) -> list[str]:
        """What is loaded, with handles, whoever owns it."""
        return [line.removesuffix(" progname airgap") for line in self.ruleset("-a", "-s").splitlines()
                if not line.startswith("\tflags ")]

    def test_it_is_killed_and_comes_back(self):
        watch = self.watch()
        self.owned()
        listed = self.rules()
        for number in (signal.SIGKILL, signal.SIGTERM):
            watch.process.send_signal(number)
            watch.process.wait(timeout=10)
            # What is loaded stays, and becomes the next one's without being
            # loaded anew.
            self.assertEqual(self.rules(), listed)
            watch = self.watch()
            self.owned()
            self.assertEqual(self.rules(), listed)
        watch.end(kill=True)
        sh("nft", "add rule inet airgap output accept")
        self.status(code=3)
        watch = Watch(self.environment)
        self.addCleanup(watch.end, kill=True)
        watch.expect("healed")
        watch.expect("watching")
        self.owned()

    def test_without_the_watch_all_goes_on_as_before_it(self):
        self.watch().end(kill=True)
        for text in (MORE, STRICT, POLICY):
            path = self.policy(text)
            self.airgap("apply", path)
            self.airgap("plan", path)
            self.assertEqual(self.status()["drift"], [])
        self.airgap("remove")
        self.assertEqual(self.ruleset(), "")

    def test_a_watch_that_stands_still(self):
        watch = self.watch()
        watch.process.send_signal(signal.SIGSTOP)
        apply = subprocess.Popen([AIRGAP, "apply", self.policy(MORE)], env=self.environment,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        self.assertIsNone(apply.poll())
        watch.process.send_signal(signal.SIGCONT)
        self.assertEqual(apply.wait(timeout=20), 0)
        watch.expect("loaded")
        self.owned()

    def test_many_at_once(self):
        self.watch()
        policies = [self.policy(POLICY.replace("443", str(1000 + n)), f"{n}.toml") for n in range(12)]
        running = [subprocess.Popen([AIRGAP, "apply", path], env=self.environment, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE) for path in policies]
        for process in running:
            self.assertEqual(process.wait(timeout=60), 0, process.stderr.read())
            process.stderr.close()
        self.assertEqual(self.status()["drift"], [])
        left = [path for path in policies if sh(AIRGAP, "plan", path, env=self.environment, check=False).returncode == 0]
        self.assertEqual(len(left), 1)
        self.owned()

    def test_a_new_uplink_gets_an_owned_chain(self):
        watch = self.watch()
        self.airgap("apply", self.policy(STRICT))
        watch.expect("loaded")
        wire = Wire(self)
        while f"egress-{wire.here}" not in "".join(watch.expect("adapted")["changes"]["first"]):
            pass
        self.refused("delete table netdev airgap")

    def test_nobody_but_the_superuser_reaches_it(self):
        self.watch()
        path = next((self.folder / "run").glob("*/watch.socket"))
        for folder in (self.folder, self.folder / "run"):
            folder.chmod(0o755)
        connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
        words = ("python3", "-c", connect, str(path))
        self.assertEqual(sh(*words, check=False).returncode, 0)
        done = sh("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words, check=False)
        self.assertIn("PermissionError", done.stderr)

    def test_noise_at_its_door(self):
        watch = self.watch()
        path = str(next((self.folder / "run").glob("*/watch.socket")))
        script = """
import socket, sys
for noise in (b"", b"x", bytes(8), b"\\xff" * 8, bytes([20, 0, 0, 0, 0, 0, 0, 0]) + bytes(20)):
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(sys.argv[1])
        caller.sendall(noise)
        caller.shutdown(socket.SHUT_WR)
        caller.recv(4096)
"""
        sh("python3", "-c", script, path)
        self.assertIsNone(watch.process.poll())
        self.airgap("apply", self.policy(MORE))
        watch.expect("loaded")
        self.owned()
