"""Reads what was on the wire, and tells what a sealed machine may send from what it may not.

Nothing here comes from `airgap`: a frame is taken apart by hand, and what the
policy of the test does not open is a leak.
"""

import ipaddress
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# A part of every name that the container asks for.
CONTAINER_ASKS = b"container"
FAR_MAC = bytes.fromhex("020000000001")


def records(path: Path):
    """Time since the first byte of the file and frame, of each record of a pcap file that may still be written."""
    data = path.read_bytes()
    if len(data) < 24:
        return
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, length, _ = struct.unpack_from(f"{order}IIII", data, at)
        frame = data[at + 16:at + 16 + length]
        if len(frame) < length:
            return
        yield seconds + fraction / 1e6, frame
        at += 16 + length


@dataclass
class Packet:
    """What of an IP packet a policy asks for."""

    proto: int
    source: str
    target: str
    source_port: int = 0
    target_port: int = 0
    kind: int = -1
    hop_limit: int = 0


def packet(frame: bytes) -> Packet | None:
    """The packet in a frame; none if it is not plain IP, and then it is none that may pass."""
    ether_type, body = frame[12:14], frame[14:]
    if ether_type == b"\x08\x00" and len(body) >= 20 and body[0] == 0x45:
        found = Packet(body[9], str(ipaddress.ip_address(body[12:16])), str(ipaddress.ip_address(body[16:20])),
                       hop_limit=body[8])
        rest = body[20:]
        if struct.unpack("!H", body[6:8])[0] & 0x1FFF:
            return found  # a later fragment has no ports
    elif ether_type == b"\x86\xdd" and len(body) >= 40:
        found = Packet(body[6], str(ipaddress.ip_address(body[8:24])), str(ipaddress.ip_address(body[24:40])),
                       hop_limit=body[7])
        rest = body[40:]
    else:
        return None
    if found.proto in (6, 17) and len(rest) >= 4:
        found.source_port, found.target_port = struct.unpack("!HH", rest[:4])
    elif found.proto in (1, 58) and rest:
        found.kind = rest[0]
    return found


def is_neighbourly(frame: bytes) -> bool:
    """What the link itself needs: ARP, and IPv6's neighbour and router solicitations and advertisements."""
    if frame[12:14] == b"\x08\x06":
        return frame[14:21] == b"\0\x01\x08\0\x06\x04\0"
    found = packet(frame)
    return found is not None and found.proto == 58 and found.kind in (133, 135, 136) and found.hop_limit == 255


def is_way_in(frame: bytes) -> bool:
    """The machine's answers to the administrator's ssh."""
    found = packet(frame)
    return (found is not None and (found.proto, found.source, found.source_port, found.target)
            == (6, "192.0.2.2", 22, "192.0.2.10"))


def is_opened(frame: bytes) -> bool:
    """The openings of the test's policy: the resolver, for the host's own questions, and one allow pair."""
    found = packet(frame)
    return found is not None and (
        (found.target, found.target_port) == ("192.0.2.53", 53) and found.proto in (6, 17)
        and CONTAINER_ASKS not in frame
        or (found.proto, found.target, found.target_port) == (6, "203.0.113.9", 443))


def name(frame: bytes) -> str:
    """What kind of leak a frame is."""
    found = packet(frame)
    if found is None:
        return f"frames of EtherType 0x{frame[12:14].hex()}"
    if found.target_port == 53 and CONTAINER_ASKS in frame:
        return f"names of a container to {found.target}"
    proto = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}.get(found.proto, f"protocol {found.proto}")
    answered = ("192.0.2.99", "2001:db8::1")
    if found.target in answered:
        return f"answers to strangers, {proto}"
    port = f" port {found.target_port}" if found.target_port else ""
    kind = f" type {found.kind}" if found.kind >= 0 else ""
    return f"{proto} to {found.target}{port}{kind}"


@dataclass
class Count:
    """What the machine sent."""

    neighbourly: int = 0
    way_in: int = 0
    opened: int = 0
    opened_names: int = 0
    leaks: Counter = None

    @property
    def leaked(self) -> int:
        return sum(self.leaks.values())


def count(path: Path) -> Count:
    """Counts every frame that the machine sent."""
    counted = Count(leaks=Counter())
    for _, frame in records(path):
        if frame[6:12] == FAR_MAC:
            continue
        if is_neighbourly(frame):
            counted.neighbourly += 1
        elif is_way_in(frame):
            counted.way_in += 1
        elif is_opened(frame):
            counted.opened += 1
            counted.opened_names += b"host" in frame
        else:
            counted.leaks[name(frame)] += 1
    return counted
