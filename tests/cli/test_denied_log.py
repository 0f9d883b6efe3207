"""What is dropped, in a log."""

import os
import re
import socket
import struct
import subprocess
import time

from command import POLICY, Case, sh
from test_difference import EVERYTHING

SENT = 200


class DeniedLog(Case):
    def dropped(self, chain: str) -> int:
        return sum(drop["packets"] for drop in self.status()["dropped"] if drop["chain"] == chain)

    def send(self, number: int) -> None:
        """Datagrams to an address that no opening names."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(number):
                try:
                    sender.sendto(b"out", ("198.51.100.9", 9))
                except PermissionError:
                    pass  # how an `output` chain that drops is felt

    def route(self) -> None:
        name = f"agl{os.getpid()}"
        sh("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
        self.addCleanup(sh, "ip", "link", "delete", name)
        sh("ip", "link", "set", f"{name}p", "up")
        sh("ip", "address", "add", "192.0.2.1/24", "dev", name)
        sh("ip", "link", "set", name, "up")
        sh("ip", "route", "add", "default", "dev", name)

    def logged(self, group: int, number: int) -> list[bytes]:
        """The prefixes that listeners of the group hear while packets drop."""
        capture = self.folder / "log.pcap"
        listener = subprocess.Popen(
            ["tcpdump", "-Z", "root", "-U", "-n", "-i", f"nflog:{group}", "-w", str(capture)],
            stderr=subprocess.PIPE, text=True,
        )
        while "listening" not in listener.stderr.readline():
            self.assertIsNone(listener.poll(), "tcpdump ended")
        self.send(number)
        time.sleep(2)  # the kernel hands over what is logged once in a second
        listener.terminate()
        listener.communicate(timeout=20)
        # pcap: a file header of 24 bytes, and before each packet 16, of which
        # the third number is its length; then LINKTYPE_NFLOG: 4 bytes, and
        # values of a length, a type (10 the prefix) and padding to 4.
        data, prefixes, at = capture.read_bytes(), [], 24
        while at + 16 <= len(data):
            length = struct.unpack_from("=I", data, at + 8)[0]
            packet, at = data[at + 20:at + 16 + length], at + 16 + length
            while len(packet) >= 4:
                size, kind = struct.unpack_from("=HH", packet)
                if kind == 10:
                    prefixes.append(packet[4:size].rstrip(b"\0"))
                packet = packet[max(size + 3 & ~3, 4):]
        return prefixes

    def test_a_group_hears_the_chain_and_is_not_flooded(self):
        self.route()
        self.airgap("apply", "--log-denied", "nflog:7", self.policy())
        started = time.monotonic()
        prefixes = self.logged(7, SENT)
        seconds = time.monotonic() - started
        # What the kernel says of its own accord, such as MLD, names its own chain.
        self.assertLessEqual(set(prefixes), {b"airgap inet output: ", b"airgap inet icmp6: "})
        prefixes = [prefix for prefix in prefixes if prefix == b"airgap inet output: "]
        # 20 at once and 10 a second, however many are dropped.
        self.assertGreaterEqual(len(prefixes), 20)
        self.assertLess(len(prefixes), 21 + 10 * seconds)
        self.assertLess(len(prefixes), SENT)
        self.assertGreaterEqual(self.dropped("output"), SENT)

    def test_it_stays_until_it_is_switched_off_and_opens_nothing(self):
        path = self.policy()
        self.airgap("apply", path)
        without = self.ruleset()
        self.assertNotIn("log prefix", without)
        plan = self.airgap("plan", "--log-denied", "kernel", path, code=3)
        self.assertIn("No opening changes", plan.stdout)
        self.airgap("apply", "--log-denied", "kernel", path)
        self.assertEqual(len(re.findall("log prefix", self.ruleset())), len(re.findall(r"counter .*drop", without)))
        self.airgap("plan", path)
        self.airgap("status")
        self.airgap("apply", self.policy(POLICY.replace("443", "444"), "other.toml"))
        self.assertIn("log prefix", self.ruleset())
        self.assertIn("goes to kernel", self.airgap("status").stdout)
        self.airgap("apply", "--log-denied", "off", path)
        self.assertEqual(self.ruleset(), without)
        self.airgap("status")

    def test_nft_loads_the_same(self):
        for target in ("kernel", "nflog:65535"):
            with self.subTest(target):
                path = self.policy(EVERYTHING)
                self.airgap("apply", "--log-denied", target, path)
                shown = self.airgap("show", "--log-denied", target, path).stdout
                loaded, handles = self.log_rules(), self.ruleset("-a")
                sh("nft", "-f", "-", input=shown)
                self.assertNotEqual(self.ruleset("-a"), handles)
                self.assertEqual(self.log_rules(), loaded)
                self.assertGreater(len(loaded), 20)

    def log_rules(self) -> list[str]:
        return re.findall("limit rate .* log prefix .*", self.ruleset())

    def test_a_target_that_is_none(self):
        for target in ("nflog", "nflog:65536", "syslog", ""):
            done = self.airgap("apply", "--log-denied", target, self.policy(), code=2)
            self.assertIn("expected `kernel`", done.stderr)
        self.assertEqual(self.ruleset(), "")
