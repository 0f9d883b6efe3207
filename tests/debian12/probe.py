#!/usr/bin/env python3
"""Tries the command `airgap` on this kernel. Runs in the guest.

Every probe is sent three times: without the air gap, where all must arrive, so
that none is 'blocked' by being broken; with it; and with it once br_netfilter
is on. What counts is what came in at the other end.
"""

import argparse
import os
import socket
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import net  # noqa: E402

POLICY = """\
version = 1

[host]
resolvers = ["192.0.2.53"]
dhcp = true
uplinks = ["eth0"]
strict = true

[[allow]]
to = ["34.95.12.47", "35.203.36.11"]
port = 443
comment = "the connector's service"

[[allow]]
to = "198.51.100.7"
port = 8443
user = "nobody"

[[allow]]
to = "2001:db8:9::9"
port = 8443

[[admit]]
from = "192.0.2.10"
port = 22

[[bridge]]
name = "docker0"

[[bridge]]
name = "br-two"
isolate = true

[[forward]]
from = "172.17.0.2"
to = "198.51.100.7"
port = 5432
"""
NOBODY = 65534
PASSES, DROPS = True, False
passed = failed = 0


def check(what, seen, wanted):
    global passed, failed
    good = seen == wanted
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'} {what}{'' if good else f': {seen}, expected {wanted}'}", flush=True)


def frame(source, device, target, target_device, ethertype, payload=b""):
    """A frame past the routing; returns the bytes by which it is known."""
    token = os.urandom(12)
    head = net.mac(target, target_device) + net.mac(source, device) + struct.pack("!H", ethertype)
    if ethertype == 0x0800:
        payload = net.ipv4("192.0.2.2", "203.0.113.9", 17, net.udp(5, 9, token))
    net.send_frame(source, device, (head + payload + token).ljust(60, b"\0"))
    # Not the EtherType: a VLAN's tag is taken off before a sniffer sees the frame.
    return [token, head[:12]]


def probes():
    """From where, what, where it would arrive, how it is sent, what the policy says."""
    def udp(place, address, port, **options):
        return lambda: net.send_udp(place, address, port, **options)

    def syn(place, address, port, **options):
        return lambda: net.send_syn(place, address, port, **options)

    def raw(place, address, protocol):
        return lambda: net.send_raw(place, address, protocol)

    return [
        # the host's own flows
        ("host: TCP to an allow pair", "world", syn("host", "34.95.12.47", 443), PASSES),
        ("host: TCP to the pair's other address", "world", syn("host", "35.203.36.11", 443), PASSES),
        ("host: TCP over IPv6 to an allow pair", "world", syn("host", "2001:db8:9::9", 8443), PASSES),
        ("host: DNS to the resolver, UDP", "world", udp("host", "192.0.2.53", 53), PASSES),
        ("host: DNS to the resolver, TCP", "world", syn("host", "192.0.2.53", 53), PASSES),
        ("host: TCP of the user whom a pair names", "world", syn("host", "198.51.100.7", 8443, uid=NOBODY), PASSES),
        ("host: the same of root", "world", syn("host", "198.51.100.7", 8443), DROPS),
        ("host: another port", "world", syn("host", "34.95.12.47", 80), DROPS),
        ("host: another protocol", "world", udp("host", "34.95.12.47", 443), DROPS),
        ("host: another address", "world", syn("host", "203.0.113.9", 443), DROPS),
        ("host: UDP to another address", "world", udp("host", "203.0.113.9", 9), DROPS),
        ("host: DNS to another server", "world", udp("host", "203.0.113.9", 53), DROPS),
        ("host: IPv6, another port", "world", syn("host", "2001:db8:9::9", 443), DROPS),
        ("host: UDP over IPv6", "world", udp("host", "2001:db8:9::9", 9), DROPS),
        ("host: ping to an allowed address", "world", raw("host", "34.95.12.47", socket.IPPROTO_ICMP), DROPS),
        ("host: GRE to an allowed address", "world", raw("host", "34.95.12.47", 47), DROPS),
        ("host: packet socket, UDP to another address", "world", lambda: frame("host", "eth0", "world", "eth0", 0x0800), DROPS),
        ("host: packet socket, an unknown EtherType", "world", lambda: frame("host", "eth0", "world", "eth0", 0x88B5), DROPS),
        ("host: packet socket, a VLAN tag", "world",
         lambda: frame("host", "eth0", "world", "eth0", 0x8100, b"\0\5\x88\xb5"), DROPS),
        # containers out
        ("a: the forwarded service", "world", syn("a", "198.51.100.7", 5432), PASSES),
        ("a: another port of it", "world", syn("a", "198.51.100.7", 5433), DROPS),
        ("b: the service that only a may use", "world", syn("b", "198.51.100.7", 5432), DROPS),
        ("a: the host's allow pair", "world", syn("a", "34.95.12.47", 443), DROPS),
        ("a: DNS to the resolver", "world", udp("a", "192.0.2.53", 53), DROPS),
        ("a: UDP out", "world", udp("a", "203.0.113.9", 9), DROPS),
        ("a: IPv6 out", "world", syn("a", "2001:db8:9::9", 8443), DROPS),
        ("c: UDP out", "world", udp("c", "203.0.113.9", 9), DROPS),
        # containers, the host and each other
        ("a: TCP to the host", "host", syn("a", "172.17.0.1", 80), PASSES),
        ("a: TCP to the host over IPv6", "host", syn("a", "fd00:17::1", 80), PASSES),
        ("c: UDP to the host from an isolated bridge", "host", udp("c", "172.18.0.1", 80), PASSES),
        ("host: TCP to a container", "a", syn("host", "172.17.0.2", 80), PASSES),
        ("host: UDP to a container of an isolated bridge", "c", udp("host", "172.18.0.2", 80), PASSES),
        ("a: TCP to its neighbour", "b", syn("a", "172.17.0.3", 80), PASSES),
        ("a: UDP to its neighbour over IPv6", "b", udp("a", "fd00:17::3", 80), PASSES),
        ("c: TCP to its neighbour on an isolated bridge", "d", syn("c", "172.18.0.3", 80), DROPS),
        ("c: UDP to its neighbour on an isolated bridge", "d", udp("c", "172.18.0.3", 80), DROPS),
        ("d: UDP over IPv6 to its neighbour on an isolated bridge", "c", udp("d", "fd00:18::2", 80), DROPS),
        ("c: an unknown EtherType to its neighbour on an isolated bridge", "d",
         lambda: frame("c", "eth0", "d", "eth0", 0x88B5), DROPS),
        ("a: TCP to the other bridge", "c", syn("a", "172.18.0.2", 80), DROPS),
        # in
        ("world: ssh from the administrator", "host", syn("world", "192.0.2.2", 22, source="192.0.2.10"), PASSES),
        ("world: ssh from elsewhere", "host", syn("world", "192.0.2.2", 22), DROPS),
        ("world: another port, from the administrator", "host", syn("world", "192.0.2.2", 80, source="192.0.2.10"), DROPS),
        ("world: UDP to the host", "host", udp("world", "192.0.2.2", 80), DROPS),
        ("world: TCP over IPv6 to the host", "host", syn("world", "2001:db8::2", 22), DROPS),
        ("world: TCP to a container", "a", syn("world", "172.17.0.2", 80), DROPS),
        ("world: UDP over IPv6 to a container", "a", udp("world", "fd00:17::2", 80), DROPS),
        ("world: the host's address on a bridge", "host", syn("world", "172.17.0.1", 80), DROPS),
    ]


class Ears:
    """Where probes arrive: at sockets of the host, on the wire elsewhere."""

    def __init__(self):
        self.at = {place: net.Sniffer(place) for place in ("world", "a", "b", "c", "d")}
        self.at["host"] = net.Ear("host", (22, 80))

    def heard(self, place, send):
        self.at[place].drain()
        return self.at[place].saw(*send())


def run_probes(ears, title, sealed):
    print(f"--- {title}")
    for what, place, send, says in probes():
        wanted = says if sealed else PASSES
        check(f"{'passes' if wanted else 'drops '} {what}", ears.heard(place, send), wanted)


def answers(what, place, address, port, server="world"):
    """Whether a whole conversation works, not only its first packet."""
    with net.opened(server, socket.SOCK_STREAM, address) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        listener.settimeout(3)
        with net.opened(place, socket.SOCK_STREAM, address) as client:
            client.settimeout(3)
            try:
                client.connect((address, port))
                connection = listener.accept()[0]
                with connection:
                    client.sendall(b"question")
                    connection.settimeout(3)
                    said = connection.recv(100)
                    connection.sendall(b"answer")
                    said += client.recv(100)
            except OSError as error:
                said = repr(error)
    check(f"answers {what}", said, b"questionanswer")


def airgap(*words, wanted=0, say=False):
    done = subprocess.run(["airgap", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    check(f"airgap {' '.join(words)}", done.returncode, wanted)
    if say or done.returncode != wanted:
        print("\n".join("     " + line for line in said.splitlines()))
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", action="store_true", help="only show that all probes arrive without an air gap")
    chosen = parser.parse_args()
    net.build()
    ears = Ears()
    run_probes(ears, "without the air gap", sealed=False)
    if not chosen.control:
        sealed(ears)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def sealed(ears):
    with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as policy:
        policy.write(POLICY)
    there = ("--netns", "host")

    print("--- the command")
    airgap("check", policy.name)
    airgap("status", *there, wanted=4)
    airgap("plan", *there, policy.name, wanted=3)
    before = net.generation("host")
    airgap("apply", *there, policy.name, say=True)
    check("the whole air gap is one transaction", net.generation("host") - before, 1)
    airgap("plan", *there, policy.name)
    before = net.generation("host")
    airgap("apply", *there, policy.name)
    check("a second apply sends nothing", net.generation("host") - before, 0)
    airgap("status", *there, say=True)

    run_probes(ears, "with the air gap, br_netfilter off", sealed=True)
    answers("host: an allow pair", "host", "34.95.12.47", 443)
    answers("host: an allow pair over IPv6", "host", "2001:db8:9::9", 8443)
    answers("a: the forwarded service", "a", "198.51.100.7", 5432)
    answers("a: its neighbour", "a", "172.17.0.3", 8080, server="b")

    # As old Docker does it, after the policy was applied.
    net.sh("""modprobe br_netfilter
    ip netns exec host sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1""")
    run_probes(ears, "with the air gap, br_netfilter on", sealed=True)
    answers("a: its neighbour", "a", "172.17.0.3", 8080, server="b")

    print("--- afterwards")
    airgap("status", *there)
    with open(policy.name, "w") as text:
        text.write(POLICY.replace('"34.95.12.47", ', ""))
    airgap("plan", *there, policy.name, wanted=3)
    airgap("apply", *there, policy.name)
    withdrawn, kept = (lambda: net.send_syn("host", "34.95.12.47", 443)), (lambda: net.send_syn("host", "35.203.36.11", 443))
    check("drops  host: an allow pair that was withdrawn", ears.heard("world", withdrawn), DROPS)
    check("passes host: the pair that stayed", ears.heard("world", kept), PASSES)
    airgap("remove", *there)
    airgap("status", *there, wanted=4)
    check("passes host: UDP to another address, after the removal",
          ears.heard("world", lambda: net.send_udp("host", "203.0.113.9", 9)), PASSES)
    left = subprocess.run(["ip", "netns", "exec", "host", "nft", "list", "tables"], capture_output=True, text=True).stdout
    check("no table is left", left, "")


if __name__ == "__main__":
    sys.exit(main())
