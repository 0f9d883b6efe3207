"""The far side of the machine's wire: takes what gets out, and asks for what must not be answered."""

import selectors
import socket
import time

MACHINE, MACHINE6 = "192.0.2.2", "2001:db8::2"
STRANGER = "192.0.2.99"
PAUSE = 0.5


def listener(family: int, kind: int, address: str, port: int) -> socket.socket:
    s = socket.socket(family, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((address, port))
    if kind == socket.SOCK_STREAM:
        s.listen(64)
    s.setblocking(False)
    return s


def ask() -> None:
    """What a stranger sends: each would be answered by a machine that is not sealed."""
    for family, machine in ((socket.AF_INET, MACHINE), (socket.AF_INET6, MACHINE6)):
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            if family == socket.AF_INET:
                s.bind((STRANGER, 0))
            s.sendto(b"ask", (machine, 9020))  # port unreachable
        for port in (22, 9021):  # SYN with ACK, reset
            s = socket.socket(family, socket.SOCK_STREAM)
            if family == socket.AF_INET:
                s.bind((STRANGER, 0))
            s.setblocking(False)
            try:
                s.connect((machine, port))
            except BlockingIOError:
                pass
            s.close()


def main() -> None:
    selector = selectors.DefaultSelector()
    for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for port in (443, 9004, 9010):
            selector.register(listener(family, socket.SOCK_STREAM, everywhere, port), selectors.EVENT_READ)
        for port in (53, 9001, 9002, 9005, 9010):
            selector.register(listener(family, socket.SOCK_DGRAM, everywhere, port), selectors.EVENT_READ)
    next_question = time.monotonic()
    connections: list[socket.socket] = []
    while True:
        for key, _ in selector.select(timeout=PAUSE):
            if key.fileobj.type == socket.SOCK_STREAM:
                connection, _ = key.fileobj.accept()
                try:
                    connection.send(b"far side\n")
                except OSError:
                    pass
                connections.append(connection)
                while len(connections) > 200:
                    connections.pop(0).close()
            else:
                key.fileobj.recv(2048)
        if time.monotonic() >= next_question:
            next_question = time.monotonic() + PAUSE
            try:
                ask()
            except OSError:
                pass  # the machine's wire is down between two boots


if __name__ == "__main__":
    main()
