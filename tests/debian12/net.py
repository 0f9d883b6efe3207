"""Network namespaces, and sockets inside them, for scripts that run in the guest.

A socket stays in the namespace in which it was made. So one process can send
from everywhere and listen everywhere, without a helper process for each place.
"""

import contextlib
import ctypes
import itertools
import mmap
import os
import select
import socket
import struct
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
PACKET_OUTGOING = 4
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
# How long a packet may be under way. Emulation is slow, but a delivery is one softirq.
PATIENCE = 0.4

_ports = itertools.count(20000)


def sh(script, check=True):
    """Runs lines of shell and returns what they say."""
    done = subprocess.run(["bash", "-e", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {script}\n{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def inside(namespace):
    """Makes this thread part of a namespace for a while."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        setns(there)
        yield
    finally:
        setns(home)
        os.close(there)
        os.close(home)


def setns(descriptor):
    if LIBC.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def build():
    """A world, a host and two pairs of containers: a, b behind docker0 and c, d behind br-two."""
    sh("""
    for n in world host a b c d; do
        ip netns add $n; ip -n $n link set lo up
        # No duplicate address detection: addresses must work at once.
        ip netns exec $n sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
    done
    ip -n world link add eth0 type veth peer name eth0 netns host
    ip -n world addr add 192.0.2.1/24 dev eth0
    ip -n world addr add 2001:db8::1/64 dev eth0
    for x in 192.0.2.53 192.0.2.10; do ip -n world addr add $x/32 dev eth0; done
    for x in 34.95.12.47 35.203.36.11 198.51.100.7 203.0.113.9; do ip -n world addr add $x/32 dev lo; done
    ip -n world addr add 2001:db8:9::9/128 dev lo
    ip -n world link set eth0 up
    ip -n host addr add 192.0.2.2/24 dev eth0
    ip -n host addr add 2001:db8::2/64 dev eth0
    ip -n host link set eth0 up
    ip -n host route add default via 192.0.2.1
    ip -n host -6 route add default via 2001:db8::1
    ip netns exec host sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0
    bridge() {
        ip -n host link add $1 type bridge; ip -n host addr add $2.1/16 dev $1
        ip -n host addr add $3::1/64 dev $1; ip -n host link set $1 up
        # The way back, so that a packet which leaks untranslated is answered too.
        ip -n world route add $2.0/16 via 192.0.2.2; ip -n world -6 route add $3::/64 via 2001:db8::2
    }
    container() {
        ip -n $1 link add eth0 type veth peer name v$1 netns host
        ip -n host link set v$1 master $2 up; ip -n $1 link set eth0 up
        ip -n $1 addr add $3.$5/16 dev eth0; ip -n $1 addr add $4::$5/64 dev eth0
        ip -n $1 route add default via $3.1; ip -n $1 -6 route add default via $4::1
    }
    bridge docker0 172.17.0 fd00:17; bridge br-two 172.18.0 fd00:18
    container a docker0 172.17.0 fd00:17 2; container b docker0 172.17.0 fd00:17 3
    container c br-two 172.18.0 fd00:18 2; container d br-two 172.18.0 fd00:18 3
    """)
    settle()


def settle():
    """Waits until bridge ports forward and neighbours are known: what is lost later was dropped."""
    for source, target in [("host", "192.0.2.1"), ("host", "2001:db8::1"), ("a", "172.17.0.3"), ("c", "172.18.0.3"),
                           ("a", "172.17.0.1"), ("c", "172.18.0.1"), ("a", "fd00:17::1"), ("c", "fd00:18::1"),
                           ("a", "fd00:17::3"), ("c", "fd00:18::3"), ("b", "172.17.0.1"), ("d", "172.18.0.1")]:
        sh(f"for i in $(seq 20); do ip netns exec {source} ping -q -c1 -W1 {target} && exit 0; sleep 0.3; done; exit 1")


class Sniffer:
    """All frames that come in at a place."""

    def __init__(self, namespace):
        with inside(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.setblocking(False)

    def saw(self, *needles, patience=PATIENCE):
        """Whether a frame came in that holds all of these bytes."""
        give_up = time.monotonic() + patience
        while (left := give_up - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                break
            frame, address = self.socket.recvfrom(65535)
            if address[2] != PACKET_OUTGOING and all(needle in frame for needle in needles):
                return True
        return False

    def drain(self):
        while select.select([self.socket], [], [], 0)[0]:
            self.socket.recv(65535)


class Ear:
    """Sockets in a place: what comes in at them was let through, which a sniffer there cannot tell."""

    def __init__(self, namespace, ports):
        self.sockets = []
        for port in ports:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with inside(namespace):
                    ear = socket.socket(socket.AF_INET6, kind)
                ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                ear.bind(("::", port))
                ear.setblocking(False)
                if kind == socket.SOCK_STREAM:
                    ear.listen(64)
                self.sockets.append(ear)

    def saw(self, mark, _target, patience=PATIENCE):
        """Whether this datagram or connection came in."""
        give_up = time.monotonic() + patience
        while (left := give_up - time.monotonic()) > 0:
            for ear in select.select(self.sockets, [], [], left)[0]:
                if ear.type == socket.SOCK_DGRAM:
                    found = ear.recvfrom(2000)[0]
                else:
                    with ear.accept()[0] as connection:
                        found = struct.pack("!HH", connection.getpeername()[1], ear.getsockname()[1])
                if found == mark:
                    return True
        return False

    def drain(self):
        while self.saw(b"", None, patience=0.01):
            pass


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def packed(address):
    return socket.inet_pton(family(address), address)


def fresh_port():
    return next(_ports)


@contextlib.contextmanager
def acting_as(uid):
    """A socket belongs to the user who was effective when it was made."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def opened(namespace, kind, address, uid=0):
    """A socket for a peer's address; raw ones get the protocol from `kind`."""
    with inside(namespace), acting_as(uid):
        return socket.socket(family(address), *(kind if isinstance(kind, tuple) else (kind,)))


def send_udp(namespace, address, port, uid=0, source=None):
    """Sends a datagram; returns the bytes by which it can be told from others."""
    token = os.urandom(12)
    with opened(namespace, socket.SOCK_DGRAM, address, uid) as sender:
        if source:
            sender.bind((source, 0))
        with contextlib.suppress(OSError):  # a drop on the way out is EPERM
            sender.sendto(token, (address, port))
    return [token, packed(address)]


def send_raw(namespace, address, protocol):
    """Sends an IP packet of any protocol."""
    token = os.urandom(12)
    # Eight bytes that are an echo request, and nothing in other protocols.
    payload = struct.pack("!BBHHH", 8, 0, 0, 1, 1) + token
    payload = payload[:2] + struct.pack("!H", checksum(payload)) + payload[4:]
    with opened(namespace, (socket.SOCK_RAW, protocol), address) as sender:
        with contextlib.suppress(OSError):
            sender.sendto(payload, (address, 0))
    return [token, packed(address)]


def send_syn(namespace, address, port, uid=0, source=""):
    """Begins a TCP connection; returns the bytes by which its SYN can be told from others."""
    source_port = fresh_port()
    with opened(namespace, socket.SOCK_STREAM, address, uid) as sender:
        sender.bind((source, source_port))
        sender.setblocking(False)
        with contextlib.suppress(OSError):
            sender.connect((address, port))
        time.sleep(0.05)
    return [struct.pack("!HH", source_port, port), packed(address)]


def send_frame(namespace, device, frame, bypass=False):
    """Sends a whole frame past the routing and the hook `output`."""
    with inside(namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((device, 0))
        if bypass:
            sender.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        with contextlib.suppress(OSError):
            sender.send(frame)


def send_xdp(namespace, device, frame):
    """Sends a frame by an AF_XDP socket, which hands it to the driver."""
    af_xdp, sol_xdp, xdp_copy = 44, 283, 2
    tx_ring, umem_reg, fill_ring, completion_ring, mmap_offsets = 3, 4, 5, 6, 1
    with inside(namespace), mmap.mmap(-1, 1 << 16) as area, socket.socket(af_xdp, socket.SOCK_RAW) as sender:
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        area[:len(frame)] = frame
        sender.setsockopt(sol_xdp, umem_reg, struct.pack("=QQIIIx3x", start, len(area), 4096, 0, 0))
        for ring in (fill_ring, completion_ring, tx_ring):
            sender.setsockopt(sol_xdp, ring, 16)
        # Offsets of producer, consumer, descriptors and flags for the rings rx, tx, fill, completion.
        tx = struct.unpack("=16Q", sender.getsockopt(sol_xdp, mmap_offsets, 128))[4:8]
        with mmap.mmap(sender.fileno(), tx[2] + 16 * 16, offset=0x80000000) as ring:
            address = struct.pack("=HHIII", af_xdp, xdp_copy, socket.if_nametoindex(device), 0, 0)
            if LIBC.bind(sender.fileno(), address, len(address)):
                raise OSError(ctypes.get_errno(), "bind")
            struct.pack_into("=QII", ring, tx[2], 0, len(frame), 0)
            struct.pack_into("=I", ring, tx[0], 1)
            LIBC.sendto(sender.fileno(), None, 0, socket.MSG_DONTWAIT, None, 0)
            time.sleep(0.1)


def generation(namespace):
    """The number that the kernel counts up with every committed transaction of nf_tables."""
    getgen, attribute_id, netlink_netfilter = 16, 1, 12
    request = struct.pack("=IHHIIBBH", 20, 10 << 8 | getgen, 1, 1, 0, 0, 0, 0)
    with inside(namespace), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink_netfilter) as channel:
        channel.send(request)
        answer = channel.recv(8192)[20:]
    while answer:
        length, kind = struct.unpack_from("=HH", answer)
        if kind == attribute_id:
            return struct.unpack("!I", answer[4:8])[0]
        answer = answer[(length + 3) & ~3:]
    return None


def mac(namespace, device):
    return bytes.fromhex(sh(f"ip netns exec {namespace} cat /sys/class/net/{device}/address").strip().replace(":", ""))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def ipv4(source, target, protocol, payload):
    """An IPv4 packet."""
    def header(check):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, check,
                           packed(source), packed(target))
    return header(checksum(header(0))) + payload


def udp(source_port, target_port, payload):
    """A UDP datagram without a checksum, which IPv4 allows."""
    return struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0) + payload


def fragmentation_needed(inner, mtu=1400):
    """An ICMP error about a packet."""
    body = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + inner
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]
