"""Host names are resolved again by their time to live."""

import socket
import time
from pathlib import Path

from command import sh
from name_server import NameServer
from watching import FAR, MAC, NEAR, PORT, Watch, Watching, Wire

SECOND = "192.0.2.3"
POLICY = f"""\
version = 1
[[allow]]
to = ["service.example", "slow.example"]
port = {PORT}
proto = "udp"
"""


class Names(Watching):
    def setUp(self) -> None:
        super().setUp()
        sh("ip", "link", "set", "lo", "up")
        self.server = NameServer()
        self.addCleanup(self.server.close)
        text = self.folder / "resolv.conf"
        text.write_text("nameserver 127.0.0.1\n")
        place = str(Path("/etc/resolv.conf").resolve())
        sh("mount", "--bind", str(text), place)
        self.addCleanup(sh, "umount", place)
        self.server.zone = {"service.example": ([FAR], 1), "slow.example": (["192.0.2.100"], 300)}
        self.wire = Wire(self)
        self.wire.there("ip", "address", "add", f"{SECOND}/24", "dev", "far")
        sh("ip", "neighbour", "replace", SECOND, "lladdr", MAC, "dev", self.wire.here)

    def arrives(self, address: str) -> bool:
        """Whether a datagram to an address gets there."""
        before = self.wire.arrived()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((NEAR, 4000))
            try:
                sender.sendto(b"out", (address, PORT))
            except PermissionError:
                pass  # how an `output` chain that drops is felt
        return self.wire.arrived() > before

    def name(self, watch: Watch) -> dict:
        """The next event about service.example."""
        while True:
            event = watch.next(timeout=30)
            if event["event"] == "name" and event["name"] == "service.example":
                return event

    def handles(self) -> list[str]:
        """The rules with their handles."""
        return [line for line in self.ruleset("-a", "-s").splitlines() if "# handle" in line and "table" not in line]

    def test_an_address_that_changes(self):
        sysctl = Path("/proc/sys/net/netfilter/nf_conntrack_udp_timeout")
        self.airgap("apply", self.policy(POLICY))
        sysctl.write_text("8")
        self.assertTrue(self.arrives(FAR))
        self.assertFalse(self.arrives(SECOND))
        rules = self.handles()
        watch = self.watch()
        self.server.zone["service.example"] = ([SECOND], 1)
        event = self.name(watch)
        self.assertEqual((event["addresses"], event["kept"]), ([FAR, SECOND], [FAR]))
        self.assertTrue(self.arrives(SECOND))
        self.assertEqual(self.status()["drift"], [])
        self.assertIn(f"{FAR} until its flows end", self.airgap("status").stdout)
        # The flow to the old address ends, and the opening with it.
        event = self.name(watch)
        self.assertEqual((event["addresses"], event["kept"]), ([SECOND], []))
        self.assertFalse(self.arrives(FAR))
        self.assertTrue(self.arrives(SECOND))
        self.assertEqual(self.handles(), rules, "only elements of sets have changed")
        self.assertEqual(self.status()["surroundings"]["names"]["service.example"], [SECOND])
        # Long answers are left in peace: for both kinds of addresses the C
        # library asks once, and once the time to live is asked for.
        asked = [time for time, name in self.server.asked if name == "slow.example"]
        self.assertGreater(time.monotonic() - asked[-1], 4)
        watch.end()
        # What others flush comes back as it is now.
        watch = self.watch()
        sh("nft", "flush ruleset")
        watch.expect("healed")
        self.assertTrue(self.arrives(SECOND))
        self.assertFalse(self.arrives(FAR))

    def test_an_address_that_nothing_uses_goes_at_once(self):
        self.airgap("apply", self.policy(POLICY))
        watch = self.watch()
        self.server.zone["service.example"] = ([SECOND], 1)
        event = self.name(watch)
        self.assertEqual((event["addresses"], event["kept"]), ([SECOND], []))
        self.assertFalse(self.arrives(FAR))

    def test_a_name_that_fails(self):
        self.airgap("apply", self.policy(POLICY))
        watch = self.watch()
        self.server.fails = True
        event = self.name(watch)
        self.assertEqual(event["addresses"], [FAR])
        self.assertIsNotNone(event["failure"])
        self.assertTrue(self.arrives(FAR))
        status = self.airgap("status").stdout
        self.assertIn("service.example is 192.0.2.2; it does not resolve, and its last answer stays", status)
        self.server.fails = False
        self.server.zone["service.example"] = ([FAR, SECOND], 1)
        event = self.name(watch)
        self.assertEqual((event["addresses"], event["failure"]), ([FAR, SECOND], None))
        self.assertNotIn("does not resolve", self.airgap("status").stdout)
        self.assertTrue(self.arrives(SECOND))
