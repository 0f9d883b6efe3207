"""Network namespaces that the laboratory makes, and removes again whatever happens.

Nothing here touches the network of the machine itself: every address, route
and sysctl is set inside a namespace of our own, and every name begins with a
prefix that holds our process id.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
NETNS_DIR = "/run/netns"
PREFIX = f"ag{os.getpid()}"

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Something that the laboratory needs is missing or failed."""


def run(command: list[str], stdin: str | None = None, check: bool = True) -> str:
    """Runs a command of the machine and returns what it printed."""
    done = subprocess.run(command, input=stdin, text=True, capture_output=True)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


class Namespace:
    """A network namespace, by a path that the kernel shows it under."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Puts the calling thread into the namespace for a moment.

        A socket belongs for ever to the namespace that it was made in, so one
        process can hold sockets of them all.
        """
        _set_netns(self.fd)
        try:
            yield
        finally:
            _set_netns(_HOME)

    def socket(self, family: int, kind: int, proto: int = 0, uid: int = 0) -> socket.socket:
        """Makes a socket in the namespace, of the user with this number."""
        with self.entered():
            # The kernel takes a socket's owner from the file-system user id of the
            # thread that makes it; glibc's seteuid would change all threads.
            if uid:
                _libc.setfsuid(uid)
            try:
                made = socket.socket(family, kind, proto)
            finally:
                if uid:
                    _libc.setfsuid(0)
        made.setblocking(False)
        return made

    def run(self, *command: str, stdin: str | None = None, check: bool = True) -> str:
        """Runs a command in the namespace (the file systems stay the machine's)."""
        return run(["nsenter", f"--net={self.path}", *command], stdin, check)

    def ip(self, *lines: str) -> None:
        """Runs lines of `ip` in one process."""
        self.run("ip", "-batch", "-", stdin="".join(line + "\n" for line in lines))

    def sysctl(self, values: dict[str, int | str]) -> None:
        """Sets values below /proc/sys/net."""
        with self.entered():
            for key, value in values.items():
                with open(f"/proc/sys/net/{key}", "w") as file:
                    file.write(str(value))

    def read_sysctl(self, key: str) -> str:
        """Reads a value below /proc/sys/net."""
        with self.entered(), open(f"/proc/sys/net/{key}") as file:
            return file.read().strip()

    def mac(self, device: str) -> bytes:
        """The hardware address of a device of the namespace."""
        link = self.run("ip", "-o", "link", "show", "dev", device)
        return bytes.fromhex(link.split("link/ether ")[1].split()[0].replace(":", ""))

    def close(self) -> None:
        """Lets go of the namespace."""
        os.close(self.fd)


_HOME = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _set_netns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise LabError(f"setns: {os.strerror(error)} (the laboratory needs root)")


class Cleanup:
    """What has to be undone at the end, newest first, also after a failure or Ctrl-C."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []
        atexit.register(self.close)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    def add(self, step: Callable[[], object]) -> None:
        """Adds a step to the end's list."""
        self._steps.append(step)

    def close(self) -> None:
        """Undoes everything; a step that fails does not keep the others from it."""
        # A second Ctrl-C must not leave half a laboratory behind.
        kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
        while self._steps:
            step = self._steps.pop()
            try:
                step()
            except Exception as error:
                print(f"cleanup: {error}")
        signal.signal(signal.SIGINT, kept)
        atexit.unregister(self.close)


def make_namespace(cleanup: Cleanup, name: str) -> Namespace:
    """Makes a namespace called `ag<pid>-NAME`, with `lo` up."""
    full = f"{PREFIX}-{name}"
    run(["ip", "netns", "add", full])
    cleanup.add(lambda: run(["ip", "netns", "del", full]))
    made = Namespace(f"{NETNS_DIR}/{full}")
    cleanup.add(made.close)
    # Set before any device exists: no waiting for duplicate address detection.
    made.sysctl({
        "ipv6/conf/default/accept_dad": 0,
        "ipv6/conf/default/dad_transmits": 0,
        "ipv6/conf/default/router_solicitations": 0,
    })
    made.ip("link set lo up")
    return made


def connect(one: Namespace, one_name: str, other: Namespace, other_name: str, mtu: int = 1500) -> None:
    """Lays a wire, that is a veth pair, between two namespaces."""
    # Made inside the first namespace, so that it never shows up in the machine's own.
    one.run("ip", "link", "add", one_name, "mtu", str(mtu), "type", "veth", "peer", "name", other_name,
            "mtu", str(mtu), "netns", other.path)
    one.ip(f"link set {one_name} up")
    other.ip(f"link set {other_name} up")
