"""Large policies, and sets that are exchanged while packets flow."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

from command import AIRGAP, Case, sh

# One more than is read back after an apply.
LARGE = 10_001

FAR = "192.0.2.1"
NEAR = "192.0.2.2"
OPEN, CLOSED, DONE = 4433, 4434, b"done"

RECEIVER = f"""
import json, select, socket
sockets = {{}}
for port in ({OPEN}, {CLOSED}):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    udp.bind(("{FAR}", port))
    sockets[udp] = [port, 0]
print("ready", flush=True)
done = False
while not done:
    for udp in select.select(list(sockets), [], [])[0]:
        done = done or udp.recv(64) == {DONE!r}
        sockets[udp][1] += 1
print(json.dumps(dict(sockets.values())))
"""


def pairs(count: int, first: int = 0) -> str:
    return "version = 1\n" + "".join(
        f'[[allow]]\nto = "10.{n >> 16}.{n >> 8 & 255}.{n & 255}"\nport = 443\n' for n in range(first, first + count)
    )


class Large(Case):
    def requests(self, *words: str, code: int) -> tuple[str, int]:
        """What a call prints, and how often it asks for the elements of a set."""
        trace = self.folder / "trace"
        strace = ["strace", "-f", "-o", str(trace), "-e", "trace=sendto,sendmsg", AIRGAP, *words]
        done = sh(*strace, check=False, env=self.environment)
        self.assertEqual(done.returncode, code, done.stdout[-500:] + done.stderr[-500:])
        return done.stdout, trace.read_text().count("NFT_MSG_GETSETELEM")

    def test_a_large_set_is_read_where_it_may_have_changed(self):
        path = self.policy(pairs(LARGE))
        self.airgap("apply", path)
        small = self.requests("plan", path, code=0)[1]
        changed = self.policy(pairs(LARGE, 1), "changed.toml")
        told, asked = self.requests("plan", changed, code=3)
        self.assertEqual(asked, small)
        self.assertIn(f"10.0.{LARGE >> 8}.{LARGE & 255}", told)
        self.assertIn("10.0.0.0", told)
        # Somebody else changes something else: nothing is taken on trust.
        sh("nft", "add", "table", "ip", "other")
        self.assertEqual(self.requests("plan", path, code=0)[1], small + 1)
        # An apply that has nothing to do looks, and knows it from then on.
        self.airgap("apply", path)
        self.assertEqual(self.requests("plan", path, code=0)[1], small)
        # Somebody changes an element.
        sh("nft", "delete", "element", "inet", "airgap", "allow-tcp-v4", "{ 10.0.0.7 . 443 }")
        told, asked = self.requests("plan", path, code=3)
        self.assertEqual(asked, small + 1)
        self.assertIn("10.0.0.7", told)
        self.airgap("apply", path)
        self.assertEqual(self.requests("plan", path, code=0)[1], small)

    def test_what_was_known_of_another_policy_is_not_taken(self):
        path = self.policy(pairs(LARGE))
        self.airgap("apply", path)
        moment = next((self.folder / "run").glob("*/moment.json"))
        kept = moment.read_bytes()
        self.airgap("apply", self.policy(pairs(LARGE, 1), "changed.toml"))
        # As if written by somebody who was stopped before.
        moment.write_bytes(kept)
        self.airgap("plan", path, code=3)
        for damage in (b"", b"{}", kept[:-9]):
            moment.write_bytes(damage)
            self.airgap("plan", str(self.folder / "changed.toml"))


class Exchange(Case):
    """Sets become too small, or of another kind, while a flow goes on."""

    def setUp(self) -> None:
        super().setUp()
        self.far = subprocess.Popen(["unshare", "--net", sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.addCleanup(self.far.communicate, b"\n")
        # Until it is in a namespace of its own.
        here = socket_namespace("self")
        while socket_namespace(self.far.pid) == here:
            time.sleep(0.01)
        sh("ip", "link", "add", "near0", "type", "veth", "peer", "name", "far0", "netns", str(self.far.pid))
        self.addCleanup(sh, "ip", "link", "del", "near0", check=False)
        sh("ip", "addr", "add", f"{NEAR}/24", "dev", "near0")
        sh("ip", "link", "set", "near0", "up")
        self.in_far("ip", "addr", "add", f"{FAR}/24", "dev", "far0")
        self.in_far("ip", "link", "set", "far0", "up")

    def in_far(self, *words: str) -> None:
        sh("nsenter", f"--net=/proc/{self.far.pid}/ns/net", *words)

    def exchange(self, names: list[str]) -> "Sender":
        """Goes through these policies again and again; what is sent arrives, and nothing leaks."""
        flow = f'[[allow]]\nto = "{FAR}"\nport = {OPEN}\nproto = "udp"\n'
        ranged = "".join(
            f'[[allow]]\nto = "10.{n}.0.0/16"\nport = "{1000 + n}-{1001 + n}"\nproto = "udp"\n' for n in range(17)
        )
        around = f'[[allow]]\nto = "{FAR}-192.0.2.3"\nport = {OPEN}\nproto = "udp"\n'
        many = pairs(300).replace("port = 443", 'port = 443\nproto = "udp"')
        texts = {
            "few": pairs(3) + flow,
            "more than there was room for": many + flow,
            "a service of ranges": pairs(3) + around,
            "so many that they share a set": pairs(3) + around + ranged,
        }
        policies = [self.policy(texts[name], f"{n}.toml") for n, name in enumerate(names)]
        self.airgap("apply", policies[0])
        receiver = subprocess.Popen(
            ["nsenter", f"--net=/proc/{self.far.pid}/ns/net", sys.executable, "-c", RECEIVER], stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(receiver.kill)
        self.assertEqual(receiver.stdout.readline(), "ready\n")
        sender = Sender()
        sender.start()
        try:
            sets = set()
            for _ in range(4):
                for path in policies[1:] + policies[:1]:
                    self.airgap("apply", path)
                    sets.add(sh("nft", "-t", "list", "sets", "inet").stdout)
        finally:
            sender.stop()
        self.assertEqual(len(sets), len(policies), "each policy needs other sets")
        received = json.loads(receiver.communicate(timeout=20)[0])
        self.assertGreater(sender.sent, 400)
        self.assertEqual(received[str(OPEN)], sender.sent, "packets of the open flow that arrived")
        self.assertEqual(received[str(CLOSED)], 0, "packets that leaked")
        self.assertGreater(sender.tried, 200)
        return sender

    def test_no_packet_is_lost_or_leaks(self):
        sender = self.exchange(["few", "more than there was room for", "a service of ranges"])
        self.assertEqual(sender.refused, [])

    def test_nothing_leaks_where_ranges_come_to_share_a_set(self):
        # The kernel switches to the new rules a moment before it shows what a new set of this kind holds: a packet may
        # be refused in between, once for each exchange, and is never let through.
        sender = self.exchange(["few", "so many that they share a set"])
        self.assertLessEqual(len(sender.refused), 8)


def socket_namespace(pid: int | str) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


class Sender(threading.Thread):
    """Sends on an old flow, on new ones, and to a port that is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = self.tried = 0
        self.refused: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        old = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        old.connect((FAR, OPEN))
        while not self.over.is_set():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as new:
                new.connect((FAR, OPEN))
                for flow in (old, new):
                    self.send(flow, b"x")
                self.tried += 1
                try:
                    new.sendto(b"leak", (FAR, CLOSED))
                except OSError:
                    pass
            time.sleep(0.0005)
        self.send(old, DONE)

    def send(self, flow: socket.socket, what: bytes) -> None:
        try:
            flow.send(what)
            self.sent += 1
        except OSError as error:
            self.refused.append(str(error))

    def stop(self) -> None:
        self.over.set()
        self.join()


class Terminal(Case):
    def told(self, *words: str) -> str:
        """What a terminal shows of a call that waits in its system calls for seconds."""
        here, there = os.openpty()
        try:
            strace = ["strace", "-f", "-o", "/dev/null", "-e", "inject=sendmsg:delay_enter=2500000:when=1", AIRGAP, *words]
            done = subprocess.run(strace, stderr=there, stdout=subprocess.PIPE, env=self.environment, timeout=60)
            self.assertEqual(done.returncode, 0)
            os.set_blocking(here, False)
            try:
                return os.read(here, 1 << 16).decode()
            except BlockingIOError:
                return ""
        finally:
            os.close(here)
            os.close(there)

    def test_what_takes_long_is_told(self):
        path = self.policy(pairs(3))
        shown = self.told("apply", path)
        self.assertRegex(shown, r"loading a ruleset of \d+ elements, 1 s")
        self.assertIn(", 2 s", shown)
        self.assertTrue(shown.endswith("\r\x1b[K"), "the line is empty again")
        self.assertEqual(self.told("apply", path), "", "nothing is told of what takes no second")

    def test_only_a_terminal_is_told(self):
        done = sh(
            "strace", "-f", "-o", "/dev/null", "-e", "inject=sendmsg:delay_enter=1500000:when=1", AIRGAP, "apply",
            self.policy(pairs(3)), env=self.environment,
        )
        self.assertEqual(done.stderr, "")
