"""Packets made by hand: what somebody with a raw or a packet socket sends.

    raw KIND TARGET[:PORT] [from SOURCE[:PORT]] [options]
    frame KIND TARGET[:PORT] on DEVICE [to PLACE|broadcast] [options]

KIND is `tcp/FLAGS`, `udp`, `udplite`, `icmp/TYPE[.CODE]`, `ns`, `na`, `rs`, `ra`,
`redirect`, `igmp`, `arp`, `junk` (frames only) or a protocol number. Options:

    ttl N                        hop limit
    size BYTES                   fill the payload up
    quoting tcp/A:P>B:Q, @FLOW   ICMP errors: the packet that they complain of;
                                 `as HOST` puts another source into a standing flow's
    for ADDRESS                  neighbour discovery: who is asked for
    lsrr ADDRESS, ssrr ADDRESS   IPv4 source route that goes on to ADDRESS
    rh0 ADDRESS, srh ADDRESS     IPv6 routing header of kind 0 or 4 that goes on to ADDRESS
    hbh, dstopts, atomic         IPv6 extension headers
    frag N                       in two fragments, cut after N bytes
    later N [looks P]            the second fragment only, its payload like a header to port P
    nodefrag                     the host's own kernel does not put fragments together (IP_NODEFRAG)
    vlan N, ethertype N, llc     frames: a tag, another type, or a length in its place
    bypass                       frames: past the queueing layer (PACKET_QDISC_BYPASS)
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import packets
from net import LabError, Namespace
from packets import Address, ICMP, ICMPV6, TCP, UDP, address

if TYPE_CHECKING:
    from actions import Sender, Sent, Tag, Words

IPV6_HDRINCL, IP_NODEFRAG, PACKET_QDISC_BYPASS, SOL_PACKET = 36, 22, 20, 263
ETHERTYPE_TEST = 0x88B5
UDPLITE = 136

_ND = {"rs": 133, "ra": 134, "ns": 135, "na": 136, "redirect": 137}


def send_crafted(sender: Sender, ns: Namespace, place: str, words: Words, tag: Tag) -> Sent:
    """Builds the packet that the words describe and sends it."""
    from actions import Sent
    if words.verb not in ("raw", "frame"):
        raise LabError(f"probe `{words.text}`: `{words.verb}` is no way to send")
    kind = words.take()
    dst, dport = words.endpoint(words.take())
    default = place if dst.version == 4 else place + "6"
    src, sport = words.endpoint(words.option("from") or default, tag.port)
    device = words.option("on")
    if words.verb == "raw":
        nodefrag = words.flag("nodefrag")
        built = _packets(sender, kind, src, sport, dst, dport, words, tag)
        words.done()
        _send_raw(ns, built, dst, device, nodefrag)
        return Sent(None)
    if device is None:
        raise LabError(f"probe `{words.text}`: a frame needs a device")
    to = words.option("to")
    vlan, ethertype = words.number("vlan"), words.number("ethertype")
    llc, bypass = words.flag("llc"), words.flag("bypass")
    source_mac = ns.mac(device)
    target_mac = _target_mac(sender, place, device, to, dst)
    if kind == "arp":
        built = [packets.arp_request(source_mac, src, dst, tag.mark)]
        number = packets.ETH_P_ARP
    elif kind == "junk":
        built, number = [tag.mark + bytes(40)], ETHERTYPE_TEST
    else:
        built = _packets(sender, kind, src, sport, dst, dport, words, tag)
        number = packets.ETH_P_IP if dst.version == 4 else packets.ETH_P_IPV6
    words.done()
    sock = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with ns.entered():
        sock.bind((device, 0))
    if bypass:
        sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    for packet in built:
        final = len(packet) if llc else ethertype if ethertype is not None else number
        sock.send(packets.ethernet(target_mac, source_mac, final, packet, vlan))
    sock.close()
    return Sent(None)


def _send_raw(ns: Namespace, built: list[bytes], dst: Address, device: str | None, nodefrag: bool) -> None:
    family = socket.AF_INET if dst.version == 4 else socket.AF_INET6
    sock = ns.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    if family == socket.AF_INET:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if nodefrag:
            sock.setsockopt(socket.IPPROTO_IP, IP_NODEFRAG, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
    scope = 0
    if device:
        with ns.entered():
            scope = socket.if_nametoindex(device)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    for packet in built:
        sock.sendto(packet, (str(dst), 0) if dst.version == 4 else (str(dst), 0, 0, scope))
    sock.close()


def _target_mac(sender: Sender, place: str, device: str, to: str | None, dst: Address) -> bytes:
    if to == "broadcast":
        return b"\xff" * 6
    if to:
        return sender.ns(to).mac("eth0")
    if dst.is_multicast:
        return (b"\x33\x33" + dst.packed[-4:] if dst.version == 6
                else b"\x01\x00\x5e" + bytes([dst.packed[1] & 127]) + dst.packed[2:])
    if place == "host":
        return sender.lab.world.mac({"eth0": "w0", "eth1": "w1"}[device])
    if place == "world":
        return sender.lab.host.mac({"w0": "eth0", "w1": "eth1"}[device])
    if place == "v":
        return sender.lab.world.mac("w0")
    return sender.lab.host.mac(sender.lab.containers[place].bridge.name)


def _packets(sender: Sender, kind: str, src: Address, sport: int, dst: Address, dport: int,
             words: Words, tag: Tag) -> list[bytes]:
    size = words.number("size") or 0
    payload = tag.mark + bytes(max(0, size - 8))
    proto, body = _body(sender, kind, src, sport, dst, dport, payload, words)
    ttl = words.number("ttl") or 64
    cut, later = words.number("frag"), words.number("later")
    if later:
        looks = words.number("looks")
        if looks:
            # What follows the first bytes reads as a TCP header to this port, if nobody minds the offset.
            body = bytes(later) + packets.tcp(src, dst, sport, looks, "S", tag.mark)
        return packets.fragments(src, dst, proto, body, later, tag.port)[1:]
    if cut:
        # The mark stands in the first fragment too, wherever the cut is.
        return packets.fragments(src, dst, proto, body + tag.mark, cut, tag.port)
    if dst.version == 4:
        hop, strict = words.option("lsrr"), words.option("ssrr")
        options = b""
        if hop or strict:
            options = packets.source_route(words.address(hop or strict or ""))
            if strict:
                options = b"\x89" + options[1:]
        return [packets.ipv4(src, dst, proto, body, ttl=ttl, options=options)]
    extensions: list[tuple[int, bytes]] = []
    if words.flag("hbh"):
        extensions.append((packets.HOP_BY_HOP, packets.padding_options()))
    if words.flag("dstopts"):
        extensions.append((packets.DEST_OPTIONS, packets.padding_options()))
    for key, number in (("rh0", 0), ("srh", 4)):
        final = words.option(key)
        if final:
            extensions.append((packets.ROUTING, packets.routing_header(number, words.address(final))))
    if words.flag("atomic"):
        extensions.append((packets.FRAGMENT, packets.fragment_header(tag.port, 0, False)))
    return [packets.ipv6(src, dst, proto, body, ttl=ttl, extensions=extensions)]


def _body(sender: Sender, kind: str, src: Address, sport: int, dst: Address, dport: int, payload: bytes,
          words: Words) -> tuple[int, bytes]:
    name, _, detail = kind.partition("/")
    if name == "tcp":
        return TCP, packets.tcp(src, dst, sport, dport, detail, payload)
    if name == "udp":
        return UDP, packets.udp(src, dst, sport, dport, payload)
    if name == "udplite":
        return UDPLITE, packets.udp(src, dst, sport, dport, payload, UDPLITE)
    if name == "icmp":
        number, _, code = detail.partition(".")
        quoting = words.option("quoting")
        rest = struct.pack("!HH", sport, 1)
        if quoting:
            payload = _quoted(sender, quoting, words, payload)
            # Where the size of the narrow hop stands.
            rest = struct.pack("!HH", 0, _narrow(dst)) if dst.version == 4 else struct.pack("!I", _narrow(dst))
        return ICMP if dst.version == 4 else ICMPV6, packets.icmp(src, dst, int(number), int(code or 0), rest, payload)
    if name in _ND:
        wanted = words.option("for")
        about = words.address(wanted).packed if wanted else dst.packed
        # An option that nobody knows carries the mark: its length counts in units of eight.
        note = b"\xfd" + bytes([2]) + payload[:8] + bytes(6)
        rest, body = {
            "rs": (bytes(4), note),
            "ra": (struct.pack("!BBH", 64, 0, 0), bytes(8) + note),
            "ns": (bytes(4), about + note),
            "na": (b"\x60\0\0\0", about + note),
            "redirect": (bytes(4), about + about + note),
        }[name]
        return ICMPV6, packets.icmp(src, dst, _ND[name], 0, rest, body)
    if name == "igmp":
        head = struct.pack("!BBH", 0x16, 0, 0) + dst.packed
        total = packets.checksum(head + payload)
        return packets.IGMP, head[:2] + struct.pack("!H", total) + head[4:] + payload
    if not name.isdigit():
        raise LabError(f"probe `{words.text}`: `{kind}` is no kind of packet")
    if dport:
        # A protocol whose ports lie where those of TCP and UDP do.
        return int(name), struct.pack("!HHI", sport, dport, 1) + payload
    return int(name), payload


def _narrow(dst: Address) -> int:
    """The size that a narrow hop is said to have: the least that each family's hosts believe."""
    return 1300 if dst.version == 6 else 1200


def _quoted(sender: Sender, quoting: str, words: Words, payload: bytes) -> bytes:
    if quoting.startswith("@"):
        held = sender.held.get(quoting[1:])
        if held is None:
            raise LabError(f"probe `{words.text}`: no flow `{quoting[1:]}` stands")
        proto, own, target = held.proto, held.own, held.target
        instead = words.option("as")
        if instead:
            own = (words.address(instead), own[1])
    else:
        proto, _, pair = quoting.partition("/")
        left, _, right = pair.partition(">")
        own, target = words.endpoint(left), words.endpoint(right)
    build = packets.tcp(own[0], target[0], own[1], target[1], "A", payload) if proto == "tcp" else packets.udp(
        own[0], target[0], own[1], target[1], payload)
    number = TCP if proto == "tcp" else UDP
    whole = packets.ipv4 if own[0].version == 4 else packets.ipv6
    return whole(address(str(own[0])), address(str(target[0])), number, build)
