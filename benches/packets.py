"""What packets notice: rates beside no ruleset, an empty one, and iptables."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import policies
from measure import AIRGAP, BENCH, Taken, flush, sh

SECONDS = "1"
ROUNDS = 5
PORT = 4433
NEAR, FAR = "192.0.2.2", "192.0.2.1"
ONE, TWO = "198.51.100.2", "198.51.100.3"
# The same hooks and the same policy, without a rule.
EMPTY = """
table inet empty {
    chain input { type filter hook input priority 10; policy drop; }
    chain other { type filter hook prerouting priority 10; policy accept; ct state new; }
}
"""
# Lets everything through, but has connections tracked, as any firewall that
# knows of flows.
TRACKED = """
table inet empty {
    chain output { type filter hook output priority 10; policy accept; ct state new; }
    chain input { type filter hook input priority 10; policy accept; ct state new; }
}
"""


class Peer:
    """A network namespace with a server."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "3600"])
        here = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.process.pid}/ns/net") == here:
            time.sleep(0.01)
        self.server: subprocess.Popen | None = None

    def do(self, *words: str) -> str:
        return sh("nsenter", f"--net=/proc/{self.process.pid}/ns/net", *words).stdout

    def join(self, device: str, address: str, *link: str) -> None:
        sh("ip", "link", "add", device, *link, "type", "veth", "peer", "name", "eth0", "netns", str(self.process.pid))
        sh("ip", "link", "set", device, "up")
        for words in (f"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            self.do("ip", *words.split())

    def serve(self) -> None:
        words = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", BENCH, "serve", str(PORT)]
        self.server = subprocess.Popen(words, stdout=subprocess.PIPE)
        self.server.stdout.readline()

    def end(self) -> None:
        for process in filter(None, (self.server, self.process)):
            process.kill()
            process.wait()


def measured(rulesets: dict[str, tuple], work) -> dict[str, Taken]:
    """The rates of `work` under each ruleset, in turn; `Taken.wall` holds rates."""
    rates = {name: Taken() for name in rulesets}
    for _ in range(ROUNDS):
        for name, words in rulesets.items():
            if words:
                sh(*words)
            rates[name].add(float(work()))
            if words and words[0] == AIRGAP:
                sh(AIRGAP, "remove")
            flush()
    return rates


def all_rates() -> dict[str, dict[str, Taken]]:
    with tempfile.TemporaryDirectory(prefix="airgap-bench-") as name:
        folder = Path(name)
        far, one, two = Peer(), Peer(), Peer()
        try:
            far.join("near0", FAR)
            sh("ip", "addr", "add", f"{NEAR}/24", "dev", "near0")
            sh("ip", "link", "add", "br0", "type", "bridge")
            sh("ip", "link", "set", "br0", "up")
            for number, (peer, address) in enumerate(((one, ONE), (two, TWO))):
                peer.join(f"port{number}", address, "master", "br0")
            far.serve()
            two.serve()
            return rates(folder, far, one)
        finally:
            for peer in (far, one, two):
                peer.end()
            sh("ip", "link", "del", "br0")


def rates(folder: Path, far: Peer, one: Peer) -> dict[str, dict[str, Taken]]:
    opened = "".join(f'[[allow]]\nto = "{FAR}"\nport = {PORT}\nproto = "{proto}"\n' for proto in ("udp", "tcp"))
    policy = policies.pairs(folder / "policy.toml", 100_000)
    udp = policy.read_text().replace("\n[[allow]]", '\n[[allow]]\nproto = "udp"')
    (folder / "udp.toml").write_text(udp + opened + '[[bridge]]\nname = "br0"\n')
    with policy.open("a") as out:
        out.write(opened + '[[bridge]]\nname = "br0"\n')
    empty, tracked = folder / "empty.nft", folder / "tracked.nft"
    empty.write_text(EMPTY)
    tracked.write_text(TRACKED)
    rules = policies.iptables(folder / "rules", 10_000)
    with rules.open() as lines:
        text = lines.read().replace("-p tcp", "-p udp").replace("COMMIT", f"-A OUTPUT -p udp -d {FAR} --dport {PORT} -j ACCEPT\nCOMMIT")
    rules.write_text(text)
    sealed = (AIRGAP, "apply", str(policy))
    return {
        "UDP of 64 bytes out of the host, packets a second": measured(
            {
                "no firewall": (),
                "connections tracked, no rule": ("nft", "-f", str(tracked)),
                "airgap, 100,000 pairs": (AIRGAP, "apply", str(folder / "udp.toml")),
                "iptables, 10,000 rules": ("iptables-nft-restore", str(rules)),
            },
            lambda: sh(BENCH, "datagrams", f"{FAR}:{PORT}", SECONDS).stdout,
        ),
        "TCP between two containers of a bridge, bytes a second": measured(
            {"no firewall": (), "airgap, 100,000 pairs": sealed},
            lambda: one.do(BENCH, "bytes", f"{TWO}:{PORT}", SECONDS),
        ),
        "new TCP connections out of the host, a second": measured(
            {"connections tracked, no rule": ("nft", "-f", str(tracked)), "airgap, 100,000 pairs": sealed},
            lambda: sh(BENCH, "connections", f"{FAR}:{PORT}", SECONDS).stdout,
        ),
        "dropped packets from outside, a second": measured(
            {"a chain with policy drop": ("nft", "-f", str(empty)), "airgap, 100,000 pairs": sealed},
            lambda: far.do(BENCH, "datagrams", f"{NEAR}:{PORT}", SECONDS),
        ),
    }
