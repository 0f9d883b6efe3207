"""Packets from their parts, and what a packet says of itself.

Every packet of a probe carries a mark: six hexadecimal digits between tildes
somewhere in its bytes. A TCP opening of the kernel's own has no payload; it is
known by its source port, which no other probe uses.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6, ETH_P_VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
ICMP, IGMP, IPIP, TCP, UDP, SIX_IN_FOUR, GRE, ESP, ICMPV6, SCTP = 1, 2, 4, 6, 17, 41, 47, 50, 58, 132
HOP_BY_HOP, ROUTING, FRAGMENT, DEST_OPTIONS = 0, 43, 44, 60

# The source ports of probes. Servers listen below.
PORTS = range(20000, 63000)

_MARK = re.compile(rb"~[0-9a-f]{6}~")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address(text: str) -> Address:
    """Reads an address."""
    return ipaddress.ip_address(text)


def checksum(data: bytes) -> int:
    """The internet checksum."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pseudo(src: Address, dst: Address, proto: int, length: int) -> bytes:
    if src.version == 4:
        return src.packed + dst.packed + struct.pack("!BBH", 0, proto, length)
    return src.packed + dst.packed + struct.pack("!IHBB", length, 0, 0, proto)


def tcp(src: Address, dst: Address, sport: int, dport: int, flags: str, payload: bytes = b"",
        seq: int = 0x1000, ack: int = 0x2000) -> bytes:
    """A TCP segment; flags are letters of `FSRPA`."""
    bits = sum(1 << "FSRPA".index(letter) for letter in flags)
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack if "A" in flags else 0, 5 << 4, bits, 64000, 0, 0)
    total = checksum(_pseudo(src, dst, TCP, len(head) + len(payload)) + head + payload)
    return head[:16] + struct.pack("!H", total) + head[18:] + payload


def udp(src: Address, dst: Address, sport: int, dport: int, payload: bytes, proto: int = UDP) -> bytes:
    """A UDP datagram (or a UDP-Lite one, whose checksum covers all of it)."""
    length = 8 + len(payload)
    head = struct.pack("!HHH", sport, dport, length)
    total = checksum(_pseudo(src, dst, proto, length) + head + b"\0\0" + payload) or 0xFFFF
    return head + struct.pack("!H", total) + payload


def icmp(src: Address, dst: Address, kind: int, code: int, rest: bytes, payload: bytes) -> bytes:
    """An ICMP or ICMPv6 message; `rest` are the four bytes after the checksum."""
    head = struct.pack("!BBH", kind, code, 0) + rest
    covered = head + payload
    if src.version == 6:
        covered = _pseudo(src, dst, ICMPV6, len(head) + len(payload)) + covered
    return head[:2] + struct.pack("!H", checksum(covered)) + rest + payload


def ipv4(src: Address, dst: Address, proto: int, payload: bytes, *, ttl: int = 64, options: bytes = b"",
         ident: int = 0, offset: int = 0, more: bool = False) -> bytes:
    """An IPv4 packet; `offset` is a fragment's place in bytes."""
    options += b"\0" * (-len(options) % 4)
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(payload), ident,
                       (0x2000 if more else 0) | offset // 8, ttl, proto, 0) + src.packed + dst.packed + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(src: Address, dst: Address, proto: int, payload: bytes, *, ttl: int = 64,
         extensions: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """An IPv6 packet with extension headers, each its number and its bytes after the next header's."""
    chain = list(extensions)
    following = [number for number, _ in chain[1:]] + [proto]
    body = b"".join(struct.pack("!B", after) + data for (_, data), after in zip(chain, following)) + payload
    first = chain[0][0] if chain else proto
    return struct.pack("!IHBB", 6 << 28, len(body), first, ttl) + src.packed + dst.packed + body


def padding_options() -> bytes:
    """The body of a hop-by-hop or destination options header that holds padding only."""
    return bytes([0, 1, 4, 0, 0, 0, 0])


def routing_header(kind: int, final: Address) -> bytes:
    """The body of a routing header that sends the packet on to `final`."""
    # For kind 4 (segment routing) the word after the segments left says the last entry and flags.
    return struct.pack("!BBBI", 2, kind, 1, 0) + final.packed


def fragment_header(ident: int, offset: int, more: bool) -> bytes:
    """The body of a fragment header."""
    return struct.pack("!BHI", 0, offset | more, ident)


def source_route(*hops: Address) -> bytes:
    """The IPv4 option for a loose source route."""
    return struct.pack("!BBB", 0x83, 3 + 4 * len(hops), 4) + b"".join(hop.packed for hop in hops)


def fragments(src: Address, dst: Address, proto: int, payload: bytes, first: int, ident: int) -> list[bytes]:
    """A packet in two fragments, the first with `first` bytes of the payload (a multiple of 8)."""
    parts = [(0, True, payload[:first]), (first, False, payload[first:])]
    if src.version == 4:
        return [ipv4(src, dst, proto, data, ident=ident, offset=at, more=more) for at, more, data in parts]
    return [ipv6(src, dst, proto, data, extensions=[(FRAGMENT, fragment_header(ident, at, more))])
            for at, more, data in parts]


def ethernet(dst: bytes, src: bytes, kind: int, payload: bytes, vlan: int | None = None) -> bytes:
    """An Ethernet frame, with a VLAN tag if one is named."""
    tag = struct.pack("!HH", ETH_P_VLAN, vlan) if vlan is not None else b""
    return dst + src + tag + struct.pack("!H", kind) + payload


def arp_request(mac: bytes, src: Address, dst: Address, trailer: bytes) -> bytes:
    """An ARP request, with bytes after its end that nobody reads."""
    return struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, 1) + mac + src.packed + bytes(6) + dst.packed + trailer


@dataclass(frozen=True)
class Seen:
    """What one packet carried: its marks and ports, and itself in a line."""

    marks: frozenset[bytes]
    ports: frozenset[int]
    text: str
    source: str


_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6"}


def look(frame: bytes) -> Seen | None:
    """Reads a frame that came from a packet socket; None if no probe can have sent it."""
    kind = int.from_bytes(frame[12:14], "big")
    at = 14
    if kind == ETH_P_VLAN:
        kind, at = int.from_bytes(frame[16:18], "big"), 18
    if kind == ETH_P_IP:
        return look_ip(frame[at:])
    if kind == ETH_P_IPV6:
        return look_ip(frame[at:])
    marks = frozenset(_MARK.findall(frame))
    return Seen(marks, frozenset(), f"ethertype 0x{kind:04x}", "") if marks else None


def look_ip(packet: bytes) -> Seen | None:
    """Reads an IPv4 or IPv6 packet."""
    if len(packet) < 20:
        return None
    marks = frozenset(_MARK.findall(packet))
    if packet[0] >> 4 == 4:
        at, proto = (packet[0] & 15) * 4, packet[9]
        source, target = str(address_of(packet[12:16])), str(address_of(packet[16:20]))
        later = int.from_bytes(packet[6:8], "big") & 0x1FFF
    elif packet[0] >> 4 == 6 and len(packet) >= 40:
        at, proto, later = 40, packet[6], 0
        source, target = str(address_of(packet[8:24])), str(address_of(packet[24:40]))
        while proto in (HOP_BY_HOP, ROUTING, FRAGMENT, DEST_OPTIONS) and len(packet) >= at + 8:
            if proto == FRAGMENT:
                later = int.from_bytes(packet[at + 2:at + 4], "big") & 0xFFF8
            proto, at = packet[at], at + (8 if proto == FRAGMENT else 8 + packet[at + 1] * 8)
            if later:
                break
    else:
        return None
    return _describe(marks, proto, source, target, packet[at:], bool(later))


def look_payload(source: str, proto: int, payload: bytes) -> Seen | None:
    """Reads what an IPv6 raw socket hands over: a packet without its IP header."""
    return _describe(frozenset(_MARK.findall(payload)), proto, source, "here", payload, False)


def address_of(packed: bytes) -> Address:
    """An address from its bytes."""
    return ipaddress.ip_address(packed)


def _describe(marks: frozenset[bytes], proto: int, source: str, target: str, body: bytes, later: bool) -> Seen | None:
    name = _NAMES.get(proto, f"protocol {proto}")
    ports: frozenset[int] = frozenset()
    if later:
        text = f"{name} fragment {source} > {target}"
    elif proto in (TCP, UDP) and len(body) >= 8:
        sport, dport = struct.unpack("!HH", body[:4])
        if proto == TCP:
            ports = frozenset(port for port in (sport, dport) if port in PORTS)
            letters = "".join(letter for i, letter in enumerate("FSRPA") if len(body) > 13 and body[13] & 1 << i)
            name = f"tcp {letters}"
        text = f"{name} {source}:{sport} > {target}:{dport}"
    elif proto in (ICMP, ICMPV6) and len(body) >= 2:
        text = f"{name} type {body[0]} code {body[1]} {source} > {target}"
    else:
        text = f"{name} {source} > {target}"
    return Seen(marks, ports, text, source) if marks or ports else None
