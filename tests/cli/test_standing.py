"""Connections that stand when the first policy comes, on a host whose kernel
tracked no connections until then."""

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from command import Case, sh

HOST = ["192.0.2.1", "2001:db8::1"]
ADMIN = ["192.0.2.10", "2001:db8::10"]
SERVICE = ["203.0.113.9", "2001:db8:1::9"]
POLICY = """\
version = 1
[[allow]]
to = ["203.0.113.9", "2001:db8:1::9"]
port = 443
[[admit]]
from = ["192.0.2.10", "2001:db8::10"]
port = 22
"""
SETUP = """\
ip link add eth0 netns {host} type veth peer name eth0 netns {world}
ip -n {host} link set lo up
ip -n {host} link set eth0 up
ip -n {world} link set eth0 up
ip -n {host} address add 192.0.2.1/24 dev eth0
ip -n {host} address add 2001:db8::1/64 dev eth0 nodad
ip -n {world} address add 192.0.2.10/24 dev eth0
ip -n {world} address add 203.0.113.9/32 dev eth0
ip -n {world} address add 2001:db8::10/64 dev eth0 nodad
ip -n {world} address add 2001:db8:1::9/128 dev eth0 nodad
ip -n {host} route add default via 192.0.2.10
ip -n {host} route add default via 2001:db8::10
"""


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Sockets that are made meanwhile are of that network namespace."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    with open("/proc/self/ns/net") as back, open(f"/run/netns/{name}") as there:
        if setns(there.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"could not enter {name}")
        try:
            yield
        finally:
            setns(back.fileno(), 0)


class Standing(Case):
    def setUp(self) -> None:
        super().setUp()
        self.host, self.world = (f"airgap-{part}-{os.getpid()}" for part in ("host", "world"))
        for name in (self.host, self.world):
            sh("ip", "netns", "add", name)
            self.addCleanup(subprocess.run, ["ip", "netns", "delete", name])
        for line in SETUP.format(host=self.host, world=self.world).splitlines():
            sh(*line.split())

    def connect(self, server: str, to: list[str], port: int, client: str, source: list[str], source_port: int = 0) -> list[tuple[socket.socket, socket.socket]]:
        """Connections of which both ends have heard: of each the server's end, then the client's."""
        with inside(server):
            # For both families, as many servers do: IPv4 then has addresses of IPv6.
            listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        self.addCleanup(listener.close)
        pairs = []
        for address, from_address in zip(to, source, strict=True):
            with inside(client):
                end = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            end.bind((from_address, source_port))
            end.settimeout(3)
            end.connect((address, port))
            other, _ = listener.accept()
            other.settimeout(3)
            self.addCleanup(end.close)
            self.addCleanup(other.close)
            self.assertTrue(self.arrives(end, other) and self.arrives(other, end))
            pairs.append((other, end))
        return pairs

    def arrives(self, sender: socket.socket, receiver: socket.socket) -> bool:
        sender.send(b"x")
        try:
            return receiver.recv(1) == b"x"
        except TimeoutError:
            return False

    def seal(self) -> None:
        # Else the kernel knows the connections already, and the test shows nothing.
        tracked = Path("/proc/sys/net/netfilter/nf_conntrack_count")
        with inside(self.host):
            self.assertEqual(int(tracked.read_text()), 0)
        # This process holds both ends, so that a cut connection is its own.
        self.airgap("apply", "--netns", self.host, "--even-if-locked-out", self.policy(POLICY))

    def test_an_admitted_session_goes_on_with_what_the_host_says(self) -> None:
        pairs = self.connect(self.host, HOST, 22, self.world, ADMIN)
        self.seal()
        for host, admin in pairs:
            self.assertTrue(self.arrives(host, admin))
            self.assertTrue(self.arrives(admin, host))

    def test_a_connection_of_the_host_goes_on_with_what_the_far_side_says(self) -> None:
        pairs = self.connect(self.world, SERVICE, 443, self.host, HOST)
        self.seal()
        for far, host in pairs:
            self.assertTrue(self.arrives(far, host))
            self.assertTrue(self.arrives(host, far))

    def test_one_from_outside_is_none_of_an_allow_pair(self) -> None:
        pairs = self.connect(self.host, HOST, 8080, self.world, SERVICE, 443)
        self.seal()
        for host, far in pairs:
            self.assertFalse(self.arrives(host, far))
            self.assertFalse(self.arrives(far, host))
