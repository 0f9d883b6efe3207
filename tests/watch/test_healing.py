"""What others change is put back, and told."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from command import AIRGAP, POLICY, sh
from watching import MAC, PORT, Sender, Watch, Watching, Wire

STRICT = POLICY.replace('resolvers = ["192.0.2.53", "2001:db8::53"]', "strict = true")
OTHER = "add table ip other; add chain ip other c; add rule ip other c counter"


class Healing(Watching):
    def setUp(self) -> None:
        super().setUp()
        self.airgap("apply", self.policy())

    def as_loaded(self) -> None:
        self.assertEqual(self.status()["drift"], [])
        self.airgap("plan", self.policy())

    def test_a_flushed_ruleset_under_a_busy_sender(self):
        wire = Wire(self)
        watch = self.watch()
        for _ in range(3):
            before, sender = wire.arrived(), Sender(self)
            time.sleep(0.3)
            self.assertEqual(wire.arrived(), before, "sealed")
            sh("nft", "flush", "ruleset")
            healed = watch.expect("healed")
            time.sleep(0.3)
            tried, sent, seconds = sender.end()
            leaked = wire.arrived() - before
            self.assertGreater(tried, 10 * sent)
            self.assertEqual(leaked, sent)
            self.assertLess(seconds, 1)
            self.assertLess(healed["microseconds"], 1_000_000)
            self.assertEqual(healed["by"][0]["name"], "nft")
            self.as_loaded()
            print(f"\nflushed: open for {1000 * seconds:.1f} ms as the sender saw it; "
                  f"{leaked} of its {tried} datagrams got out", flush=True)

    def test_any_change(self):
        sh("nft", OTHER)
        watch = self.watch()
        changes = [
            "add rule inet airgap output accept",
            "insert rule inet airgap input accept",
            "flush chain inet airgap output",
            "flush table inet airgap",
            "delete table inet airgap",
            "delete table bridge airgap",
            "add chain inet airgap output { policy accept; }",
            "add table inet airgap { flags dormant; }",
            "add element inet airgap allow-tcp-v4 { 198.51.100.9 . 80 }",
            "delete element inet airgap allow-tcp-v4 { 203.0.113.9 . 443 }",
            "add chain inet airgap mine; add rule inet airgap mine accept",
            "add table netdev airgap",
            "add map inet airgap m { type ipv4_addr : verdict; }",
        ]
        for number, change in enumerate(changes, 1):
            with self.subTest(change):
                sh("nft", change)
                healed = watch.expect("healed")
                self.assertEqual([process["name"] for process in healed["by"]], ["nft"])
                self.assertLess(healed["microseconds"], 1_000_000)
                self.assertGreater(healed["found"]["count"], 0)
                self.as_loaded()
                self.assertEqual(self.status()["watch"]["healed"], number)
        self.assertIn("table ip other", self.ruleset())
        self.assertIn(f"healed {len(changes)} times", self.airgap("status").stdout)

    def test_who_it_was(self):
        watch = self.watch()
        # nft still runs when it is looked at, since it waits for its input.
        nft = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        nft.stdin.write("flush ruleset\n")
        nft.stdin.flush()
        healed = watch.expect("healed")
        nft.stdin.close()
        nft.wait()
        self.assertEqual(healed["by"], [{"pid": nft.pid, "name": "nft", "command": "nft -i"}])
        self.assertEqual(self.history()[0]["by"], healed["by"])
        self.assertIn(f"nft (process {nft.pid}, `nft -i`)", self.airgap("status").stdout)

    def test_what_is_not_the_air_gap_s_is_left_alone(self):
        watch = self.watch()
        for _ in range(5):
            sh("nft", OTHER)
            sh("nft", "delete table ip other")
        watch.silent()
        self.assertEqual(self.status()["watch"]["healed"], 0)

    def test_loading_and_removing_go_on(self):
        watch = self.watch()
        more = POLICY + '\n[[allow]]\nto = "198.51.100.7"\nport = 80\n'
        for text in (more, POLICY, more):
            self.airgap("apply", self.policy(text))
            watch.expect("loaded")
        watch.silent()
        sh("nft", "flush ruleset")
        watch.expect("healed")
        self.airgap("plan", self.policy(more))
        self.airgap("remove")
        watch.expect("removed")
        sh("nft", OTHER)
        sh("nft", "flush ruleset")
        watch.silent()
        self.assertEqual(self.ruleset(), "")
        self.airgap("apply", self.policy())
        watch.expect("loaded")
        sh("nft", "flush ruleset")
        watch.expect("healed")
        self.as_loaded()

    def test_a_watch_before_the_first_policy(self):
        self.airgap("remove")
        watch = self.watch()
        self.assertIsNone(watch.told[0]["hash"])
        self.airgap("apply", self.policy())
        watch.expect("loaded")
        sh("nft", "flush ruleset")
        watch.expect("healed")

    def test_what_happened_while_nobody_watched(self):
        watch = self.watch()
        watch.end(kill=True)
        self.assertFalse(self.status()["watch"]["running"])
        sh("nft", "flush ruleset")
        self.status(code=4)
        watch = Watch(self.environment, *self.HOW)
        self.addCleanup(watch.end, kill=True)
        self.assertEqual(watch.expect("healed")["by"], [])
        watch.expect("watching")
        self.as_loaded()
        self.assertTrue(self.status()["watch"]["running"])

    def test_more_changes_than_can_be_heard(self):
        watch = self.watch()
        watch.process.send_signal(signal.SIGSTOP)
        elements = ", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(50_000))
        noise = f"table ip other {{ set s {{ type ipv4_addr; elements = {{ {elements} }}; }}; }}"
        for _ in range(8):
            sh("nft", "-f", "-", input=noise + "\ndelete table ip other\n")
        sh("nft", "flush chain inet airgap output")
        watch.process.send_signal(signal.SIGCONT)
        watch.expect("healed")
        self.as_loaded()

    def test_large_sets(self):
        addresses = ", ".join(f'"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"' for n in range(12_000))
        path = self.policy(f"version = 1\n[[allow]]\nto = [{addresses}]\nport = 443\n")
        watch = self.watch()
        self.airgap("apply", path)
        watch.expect("loaded")
        watch.silent()
        for change in ("add element inet airgap allow-tcp-v4 { 198.51.100.9 . 80 }",
                       "delete element inet airgap allow-tcp-v4 { 10.0.0.1 . 443 }"):
            sh("nft", change)
            self.assertIn("allow-tcp-v4", watch.expect("healed")["found"]["first"][0])
            self.assertEqual(json.loads(self.airgap("status", "--full", "--output", "json").stdout)["drift"], [])

    def test_only_one_watches(self):
        self.watch()
        done = sh(AIRGAP, "watch", "--heal-only", env=self.environment, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("watches this air gap already", done.stderr)

    def test_a_signal_ends_it_and_leaves_the_air_gap(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            watch = self.watch()
            watch.process.send_signal(number)
            self.assertEqual(watch.process.wait(timeout=10), 0)
        self.as_loaded()

    def test_who_holds_the_lock_and_stands_still(self):
        watch = self.watch()
        lock = next((self.folder / "run").glob("*/lock"))
        with lock.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            held.truncate(0)
            held.write(f"process {os.getpid()} (apply)")
            held.flush()
            begun = time.monotonic()
            sh("nft", "flush ruleset")
            watch.expect("healed")
            self.assertLess(time.monotonic() - begun, 1)
            # What the holder itself does is its right.
            watch.silent()
        self.as_loaded()

    def test_a_damaged_record(self):
        watch = self.watch()
        record = next((self.folder / "run").glob("*/loaded.json"))
        kept = record.read_text()
        for damage in ("", "{", kept[:100]):
            record.write_text(damage)
            sh("nft", "flush ruleset")
            watch.expect("healed")
            self.kept(record, kept)
            self.as_loaded()
        record.unlink()
        sh("nft", "add rule inet airgap output accept")
        watch.expect("healed")
        self.kept(record, kept)

    def kept(self, record: Path, text: str) -> None:
        """Waits until a file holds a text."""
        until = time.monotonic() + 5
        while not record.exists() or record.read_text() != text:
            self.assertLess(time.monotonic(), until, "the record was not written again")
            time.sleep(0.02)

    def test_a_full_disk(self):
        place = self.folder / "run"
        sh("mount", "-t", "tmpfs", "-o", "size=64k", "full", str(place))
        self.addCleanup(sh, "umount", "--lazy", str(place))
        self.airgap("apply", self.policy())
        watch = self.watch()
        with (place / "filler").open("wb", buffering=0) as filler, self.assertRaises(OSError):
            while True:
                filler.write(bytes(4096))
        sh("nft", "flush ruleset")
        watch.expect("healed")
        self.assertIn("No space left", watch.expect("failed")["message"])
        self.as_loaded()
        (place / "filler").unlink()
        sh("nft", "flush ruleset")
        watch.expect("healed")
        self.assertEqual(self.status()["watch"]["healed"], 2)

    def test_it_says_when_it_is_ready(self):
        path = self.folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(path))
            listener.settimeout(10)
            self.watch(NOTIFY_SOCKET=str(path))
            self.assertIn("READY=1", listener.recv(4096).decode())
            sh("nft", "flush ruleset")
            self.assertIn("STATUS=healed", listener.recv(4096).decode())


class Devices(Watching):
    def test_a_new_uplink_gets_its_egress_chain(self):
        self.airgap("apply", self.policy(STRICT))
        watch = self.watch()
        wire = Wire(self)
        while f"egress-{wire.here}" not in "".join(watch.expect("adapted")["changes"]["first"]):
            pass
        self.assertIn(f'device "{wire.here}"', self.ruleset())
        self.assertEqual(self.status()["drift"], [])
        self.raw(wire)
        self.assertEqual(wire.arrived(), 0)
        self.airgap("plan", self.policy(STRICT))
        # Flushed, it comes back with the chain.
        sh("nft", "flush ruleset")
        watch.expect("healed")
        self.raw(wire)
        self.assertEqual(wire.arrived(), 0)
        sh("ip", "link", "delete", wire.here)
        time.sleep(0.3)
        self.assertEqual(self.status()["drift"], [])
        # Without the watch there is no chain, and the frames get out: so this
        # test can see them.
        watch.end()
        wire = Wire(self)
        self.raw(wire)
        self.assertEqual(wire.arrived(), 5)
        self.status(code=3)

    def raw(self, wire: Wire) -> None:
        """Sends frames past `output`, as packet sockets do."""
        udp = bytes.fromhex(f"0400{PORT:04x}000b0000") + b"out"
        ip = bytes.fromhex("4500001f000000004011000000000000" "c0000202")
        frame = bytes.fromhex(MAC.replace(":", "")) + bytes(6) + b"\x08\x00" + ip + udp
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((wire.here, 0))
            for _ in range(5):
                try:
                    sender.send(frame)
                except OSError:
                    pass
