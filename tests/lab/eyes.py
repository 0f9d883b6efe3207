"""What arrived where: packet sockets on wires, raw sockets behind the host's rules.

Only this counts, never what the sender believes. On the world's side a packet
has arrived when it is on the wire; in a container when it is on its device; in
the host when its raw sockets get it, for those come after the input hook.
"""

from __future__ import annotations

import asyncio
import socket

from net import Namespace
from packets import Seen, look, look_ip, look_payload

SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
PACKET_OUTGOING = 4
IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP = socket.IP_ADD_MEMBERSHIP, socket.IPV6_JOIN_GROUP

# Protocols whose arrival in the host is watched, the unassigned 253 among them.
PROTOCOLS4 = (1, 2, 4, 6, 17, 33, 41, 47, 50, 51, 89, 103, 112, 132, 136, 253)
PROTOCOLS6 = (4, 6, 17, 33, 41, 47, 50, 58, 132, 136, 253)
GROUPS4 = ("224.0.0.251", "239.255.255.250")
GROUPS6 = ("ff02::fb", "ff02::1:2")

Key = bytes | int


class Eyes:
    """All watchers of the laboratory."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[Key, Seen]] = {}
        self._sockets: list[socket.socket] = []

    def device(self, place: str, ns: Namespace, name: str) -> None:
        """Watches what comes in on a device."""
        sock = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        with ns.entered():
            sock.bind((name, ETH_P_ALL))
        self._watch(place, sock, self._from_device)

    def stack(self, place: str, ns: Namespace, devices: list[str]) -> None:
        """Watches what the input hook let through, of every protocol, and of some groups on these devices."""
        for proto in PROTOCOLS4:
            sock = ns.socket(socket.AF_INET, socket.SOCK_RAW, proto)
            self._watch(place, sock, self._from_raw4)
        for proto in PROTOCOLS6:
            sock = ns.socket(socket.AF_INET6, socket.SOCK_RAW, proto)
            self._watch(place, sock, lambda where, data, source, number=proto:
                        self._note(where, look_payload(source[0], number, data)))
        member4, member6 = (ns.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6))
        self._sockets += [member4, member6]
        with ns.entered():
            for device in devices:
                index = socket.if_nametoindex(device)
                for group in GROUPS4:
                    request = socket.inet_aton(group) + bytes(4) + index.to_bytes(4, "little")
                    member4.setsockopt(socket.IPPROTO_IP, IP_ADD_MEMBERSHIP, request)
                for group in GROUPS6:
                    request = socket.inet_pton(socket.AF_INET6, group) + index.to_bytes(4, "little")
                    member6.setsockopt(socket.IPPROTO_IPV6, IPV6_JOIN_GROUP, request)

    def seen(self, place: str, *keys: Key) -> Seen | None:
        """The first packet that arrived there with one of these marks."""
        there = self._seen[place]
        for key in keys:
            if key in there:
                return there[key]
        return None

    def watches(self, place: str) -> bool:
        """Whether somebody watches there."""
        return place in self._seen

    def close(self) -> None:
        """Stops watching."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
            sock.close()

    def _watch(self, place: str, sock: socket.socket, take) -> None:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self._sockets.append(sock)
        self._seen.setdefault(place, {})

        def read() -> None:
            try:
                for _ in range(256):
                    data, source = sock.recvfrom(65535)
                    take(place, data, source)
            except BlockingIOError:
                pass
            except OSError as error:
                # A container that goes away takes its device with it.
                if error.errno != 100:
                    raise

        asyncio.get_running_loop().add_reader(sock, read)

    def _from_device(self, place: str, data: bytes, source: tuple) -> None:
        if source[2] != PACKET_OUTGOING:
            self._note(place, look(data))

    def _from_raw4(self, place: str, data: bytes, _source: tuple) -> None:
        self._note(place, look_ip(data))

    def _note(self, place: str, seen: Seen | None) -> None:
        if seen:
            there = self._seen[place]
            for key in (*seen.marks, *seen.ports):
                there.setdefault(key, seen)
