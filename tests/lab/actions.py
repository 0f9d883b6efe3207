"""What a probe sends, read from its text, by the sockets that everybody has.

    tcp TARGET:PORT [from SOURCE[:PORT]] [uid N] [bulk BYTES] [lsrr HOP]
    udp TARGET:PORT [from SOURCE[:PORT]] [uid N] [size BYTES] [broadcast] [after N]
    ping TARGET [from SOURCE]
    dns SERVER
    raw ... and frame ...  see crafted.py

A source or target is a name of world.NAMES, a container's name, or an address.
`after N`: user N had that very port before, and used it. The source port `dnat`,
`dnat-l` or `snat` is one that a foreign translation waits for (world.FOREIGN_PORTS).
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from dataclasses import dataclass

from net import LabError, Namespace
from packets import PORTS, Address, address, checksum
from servers import BULK, Servers
from world import FOREIGN_PORTS, Lab

ICMP_ECHO, ICMPV6_ECHO = 8, 128


_numbers = itertools.count(1)
_special = {kind: itertools.cycle(ports) for kind, ports in FOREIGN_PORTS.items()}


@dataclass
class Tag:
    """How a probe's packets are known: a mark in the payload, and a source port."""

    mark: bytes
    port: int

    def take_special(self, kind: str) -> int:
        """Changes the source port to one that a foreign translation waits for."""
        self.port = next(_special[kind])
        return self.port


def new_tag() -> Tag:
    """A tag that no other probe of this run has."""
    number = next(_numbers)
    return Tag(b"~%06x~" % number, PORTS.start + number % 40000)


class Words:
    """The words of a probe's text: a value each for the keys that may follow."""

    def __init__(self, text: str, names: dict[str, str]) -> None:
        self.text = text
        self.verb, *rest = text.split()
        self._words = rest
        self._names = names

    def take(self) -> str:
        """The next word."""
        if not self._words:
            raise LabError(f"probe `{self.text}` ends too early")
        return self._words.pop(0)

    def option(self, key: str) -> str | None:
        """The word after `key`, taken out."""
        if key not in self._words:
            return None
        at = self._words.index(key)
        value = self._words[at + 1]
        del self._words[at:at + 2]
        return value

    def number(self, key: str) -> int | None:
        """The number after `key`."""
        value = self.option(key)
        return None if value is None else int(value, 0)

    def flag(self, key: str) -> bool:
        """Whether the word is there, taken out."""
        if key in self._words:
            self._words.remove(key)
            return True
        return False

    def done(self) -> None:
        """Complains of words that nobody took."""
        if self._words:
            raise LabError(f"probe `{self.text}`: `{' '.join(self._words)}` is not understood")

    def address(self, word: str) -> Address:
        """An address by its name."""
        try:
            return address(self._names.get(word, word.strip("[]")))
        except ValueError:
            raise LabError(f"probe `{self.text}`: nobody is called `{word}`") from None

    def endpoint(self, word: str, port: int = 0) -> tuple[Address, int]:
        """An address and a port: `name:443`, `[2001:db8::9]:53`, `name`."""
        if word.startswith("["):
            host, _, tail = word[1:].partition("]")
            return self.address(host), int(tail[1:]) if tail else port
        host, _, tail = word.partition(":")
        if ":" in tail:
            return self.address(word), port
        return self.address(host), int(tail) if tail else port


@dataclass
class Sent:
    """What became of sending: whether an answer came (None if none is due), and what the sender noticed."""

    answered: bool | None = None
    note: str = ""


class Held:
    """A flow that stays open: how its opener sends."""

    def __init__(self, sock: socket.socket, proto: str, own: tuple[Address, int], target: tuple[Address, int]) -> None:
        self.sock, self.proto, self.own, self.target = sock, proto, own, target

    def send(self, data: bytes) -> None:
        """Sends as the opener; what the kernel says to that does not count."""
        try:
            self.sock.send(data)
        except OSError:
            pass


class Sender:
    """Sends what probes say, from any place."""

    def __init__(self, lab: Lab, servers: Servers) -> None:
        self.lab = lab
        self.servers = servers
        # Flows that stand, by name, for probes that quote one.
        self.held: dict[str, Held] = {}

    def ns(self, place: str) -> Namespace:
        """The namespace of a place."""
        found = self.lab.places().get(place)
        if found is None:
            raise LabError(f"there is no place called `{place}`")
        return found

    async def send(self, place: str, text: str, tag: Tag, patience: float) -> Sent:
        """Sends what the text says and waits for an answer where one is due."""
        words = Words(text, self.lab.names())
        ns = self.ns(place)
        try:
            if words.verb == "tcp":
                return await self._tcp(ns, words, tag, patience)
            if words.verb == "udp":
                return await self._udp(ns, words, tag, patience)
            if words.verb == "ping":
                return await self._ping(ns, words, tag, patience)
            if words.verb == "dns":
                return self._dns(ns, words, tag)
            from crafted import send_crafted
            return send_crafted(self, ns, place, words, tag)
        except OSError as error:
            return Sent(None, f"the sender got: {error.strerror or error}")

    async def hold(self, place: str, text: str, tag: Tag, patience: float) -> Held:
        """Opens a flow and keeps it; fails if no answer comes."""
        words = Words(text, self.lab.names())
        ns = self.ns(place)
        loop = asyncio.get_running_loop()
        sock, target, _ = self._socket(ns, words, tag)
        words.done()
        try:
            await asyncio.wait_for(loop.sock_connect(sock, (str(target[0]), target[1])), patience)
            sock.send(tag.mark)
            await asyncio.wait_for(self._answer(sock, tag.mark), patience)
        except (OSError, TimeoutError) as error:
            raise LabError(f"could not open `{text}` from {place}: {error or 'no answer'}") from None
        own = sock.getsockname()
        return Held(sock, words.verb, (address(own[0]), own[1]), target)

    def _socket(self, ns: Namespace, words: Words, tag: Tag) -> tuple[socket.socket, tuple[Address, int], str]:
        target = words.endpoint(words.take())
        kind = socket.SOCK_STREAM if words.verb == "tcp" else socket.SOCK_DGRAM
        family = socket.AF_INET if target[0].version == 4 else socket.AF_INET6
        sock = ns.socket(family, kind, uid=words.number("uid") or 0)
        # A server may listen on the port that a flow comes from.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        source = words.option("from") or ""
        head, _, kind = source.rpartition(":")
        if kind in FOREIGN_PORTS:
            own, port = str(words.address(head)) if head else "", tag.take_special(kind)
        elif source:
            found, port = words.endpoint(source, tag.port)
            own = str(found)
        else:
            own, port = "", tag.port
        sock.bind((own, port))
        return sock, target, own

    async def _tcp(self, ns: Namespace, words: Words, tag: Tag, patience: float) -> Sent:
        loop = asyncio.get_running_loop()
        sock, target, _ = self._socket(ns, words, tag)
        bulk = words.number("bulk")
        if bulk is None:
            # Closing leaves nothing behind that a later probe could meet.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        hop = words.option("lsrr")
        words.done()
        if hop:
            option = struct.pack("!BBB", 0x83, 7, 4) + words.address(hop).packed + b"\0"
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, option)
        try:
            async with asyncio.timeout(patience):
                await loop.sock_connect(sock, (str(target[0]), target[1]))
                if bulk is None:
                    await loop.sock_sendall(sock, tag.mark)
                    return Sent(await self._answer(sock, tag.mark))
                await loop.sock_sendall(sock, tag.mark + BULK + bytes(bulk - 12))
                # Closed at once: the last packets leave when no process owns the socket any more.
                sock.close()
                while self.servers.totals.get(tag.mark, 0) < bulk:
                    await asyncio.sleep(0.05)
                return Sent(True)
        except TimeoutError:
            got = self.servers.totals.get(tag.mark, 0)
            return Sent(False, f"{got} of {bulk} bytes arrived" if bulk else "no answer")
        finally:
            sock.close()

    async def _udp(self, ns: Namespace, words: Words, tag: Tag, patience: float) -> Sent:
        loop = asyncio.get_running_loop()
        size = words.number("size") or 0
        broadcast = words.flag("broadcast")
        device = words.option("on")
        before = words.number("after")
        sock, target, _ = self._socket(ns, words, tag)
        words.done()
        if before is not None:
            with ns.socket(sock.family, socket.SOCK_DGRAM, uid=before) as earlier:
                earlier.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                earlier.bind(("", tag.port))
                earlier.sendto(b"mine", (str(target[0]), target[1]))
        try:
            if broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            scope = 0
            if device:
                with ns.entered():
                    scope = socket.if_nametoindex(device)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            where = (str(target[0]), target[1]) if target[0].version == 4 else (str(target[0]), target[1], 0, scope)
            sock.sendto(tag.mark + bytes(max(0, size - 8)), where)
            if target[0].is_multicast or broadcast or target[0].is_link_local:
                return Sent(None)
            return Sent(await asyncio.wait_for(self._answer(sock, tag.mark), patience))
        except TimeoutError:
            return Sent(False, "no answer")
        finally:
            sock.close()

    async def _ping(self, ns: Namespace, words: Words, tag: Tag, patience: float) -> Sent:
        target = words.address(words.take())
        source = words.option("from")
        words.done()
        loop = asyncio.get_running_loop()
        family, proto, kind = ((socket.AF_INET, 1, ICMP_ECHO) if target.version == 4
                               else (socket.AF_INET6, 58, ICMPV6_ECHO))
        sock = ns.socket(family, socket.SOCK_RAW, proto)
        try:
            if source:
                sock.bind((str(words.address(source)), 0))
            # The kernel fills in the checksum of ICMPv6, for it knows the source address.
            total = checksum(struct.pack("!BBHHH", kind, 0, 0, tag.port, 1) + tag.mark) if target.version == 4 else 0
            head = struct.pack("!BBHHH", kind, 0, total, tag.port, 1)
            sock.sendto(head + tag.mark, (str(target), 0))

            async def reply() -> bool:
                while True:
                    data = await loop.sock_recv(sock, 4096)
                    at = (data[0] & 15) * 4 if family == socket.AF_INET else 0
                    if tag.mark in data and data[at] in (0, 129):
                        return True

            return Sent(await asyncio.wait_for(reply(), patience))
        except TimeoutError:
            return Sent(False, "no answer")
        finally:
            sock.close()

    def _dns(self, ns: Namespace, words: Words, tag: Tag) -> Sent:
        server = words.address(words.take())
        words.done()
        sock = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        question = bytes([len(tag.mark)]) + tag.mark + b"\7example\0" + struct.pack("!HH", 1, 1)
        sock.sendto(struct.pack("!HHHHHH", tag.port, 0x0100, 1, 0, 0, 0) + question, (str(server), 53))
        sock.close()
        return Sent(None)

    @staticmethod
    async def _answer(sock: socket.socket, mark: bytes) -> bool:
        loop = asyncio.get_running_loop()
        got = b""
        while mark not in got:
            data = await loop.sock_recv(sock, 65536)
            if not data:
                return False
            got = got[-16:] + data
        return True
