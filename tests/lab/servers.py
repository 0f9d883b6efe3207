"""Servers that answer with what they got, in every place of the laboratory.

Each remembers, by the mark in the first bytes, how to send to whoever came: so
the accepting side of a flow that stood before the policy can go on sending.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable

from net import Namespace

IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50

TCP_PORTS = (22, 53, 80, 443, 2222, 5432, 5433, 5434, 7777, 8042, 8443, 8888, 9999)
UDP_PORTS = (443, 4433, 5353, 5433, 7777, 9999)
# After the mark: the bytes that follow are counted and not answered.
BULK = b"bulk"

_MARK = re.compile(rb"~[0-9a-f]{6}~")


class Servers:
    """All servers, and what they know of who came."""

    def __init__(self) -> None:
        self.peers: dict[bytes, Callable[[bytes], None]] = {}
        self.totals: dict[bytes, int] = {}
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, ns: Namespace, more_udp: tuple[int, ...] = ()) -> None:
        """Opens all ports in a namespace, on every address of both families."""
        for family in (socket.AF_INET, socket.AF_INET6):
            for port in TCP_PORTS:
                self._tcp(ns, family, port)
            for port in (*UDP_PORTS, *more_udp):
                self._udp(ns, family, port)

    def stub(self, ns: Namespace, own: str, upstream: str) -> None:
        """A resolver on a loopback address that asks another, as systemd-resolved does."""
        sock = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((own, 53))
        out = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets += [sock, out]

        def read() -> None:
            data, _ = sock.recvfrom(4096)
            try:
                out.sendto(data, (upstream, 53))
            except OSError:
                pass

        asyncio.get_running_loop().add_reader(sock, read)

    async def close(self) -> None:
        """Ends all."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
            sock.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tcp(self, ns: Namespace, family: int, port: int) -> None:
        sock = ns.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", port))
        sock.listen(128)
        self._sockets.append(sock)

        def accept() -> None:
            try:
                conn, _ = sock.accept()
            except (BlockingIOError, ConnectionError):
                return
            conn.setblocking(False)
            task = asyncio.get_running_loop().create_task(self._converse(conn))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        asyncio.get_running_loop().add_reader(sock, accept)

    async def _converse(self, conn: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        bulk = None
        try:
            while data := await loop.sock_recv(conn, 65536):
                found = _MARK.match(data)
                if found and bulk is None:
                    self.peers[found[0]] = conn.send
                    if data[8:12] == BULK:
                        bulk = found[0]
                if bulk is None:
                    await loop.sock_sendall(conn, data)
                else:
                    self.totals[bulk] = self.totals.get(bulk, 0) + len(data)
        except OSError:
            pass
        finally:
            conn.close()

    def _udp(self, ns: Namespace, family: int, port: int) -> None:
        sock = ns.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Answers have to leave from the address that was asked, of which a place has many.
        if family == socket.AF_INET6:
            level, kind = socket.IPPROTO_IPV6, IPV6_PKTINFO
            sock.setsockopt(level, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(level, IPV6_RECVPKTINFO, 1)
        else:
            level, kind = socket.IPPROTO_IP, IP_PKTINFO
            sock.setsockopt(level, IP_PKTINFO, 1)
        sock.bind(("", port))
        self._sockets.append(sock)

        def read() -> None:
            try:
                data, notes, _, peer = sock.recvmsg(65535, 256)
            except OSError:
                return
            to = next((note for at, what, note in notes if (at, what) == (level, kind)), b"")
            # The device is left open, so that the answer takes the route it would take.
            own = to[:16] + bytes(4) if family == socket.AF_INET6 else bytes(4) + to[8:12] + bytes(4)

            def answer(reply: bytes) -> None:
                try:
                    sock.sendmsg([reply], [(level, kind, own)], 0, peer)
                except OSError:
                    pass

            found = _MARK.search(data)
            if found:
                self.peers[found[0]] = answer
            answer(data)

        asyncio.get_running_loop().add_reader(sock, read)
