"""A name server for tests, on the loopback interface."""

import socket
import struct
import threading
import time

A, AAAA = 1, 28
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


class NameServer:
    """Answers for what is in `zone`: a name's addresses of IPv4 and their time
    to live. With `fails` set it answers SERVFAIL."""

    def __init__(self) -> None:
        self.zone: dict[str, tuple[list[str], int]] = {}
        self.fails = False
        # When each name was asked for.
        self.asked: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        self._socket.settimeout(0.1)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                question, sender = self._socket.recvfrom(512)
            except TimeoutError:
                continue
            self._socket.sendto(self._answer(question), sender)

    def _answer(self, question: bytes) -> bytes:
        # RFC 1035, section 4: a header of 12 bytes, then one question.
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1:at + 1 + length].decode())
            at += 1 + length
        kind = struct.unpack_from("!H", question, at + 1)[0]
        name = ".".join(labels).lower()
        self.asked.append((time.monotonic(), name))
        addresses, ttl = self.zone.get(name, ([], 0))
        code = SERVFAIL if self.fails else NOERROR if addresses else NXDOMAIN
        records = [] if code or kind != A else addresses
        header = question[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        body = question[12:at + 5]
        for address in records:
            body += struct.pack("!HHHIH", 0xC00C, A, 1, ttl, 4) + socket.inet_aton(address)
        return header + body

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._socket.close()
