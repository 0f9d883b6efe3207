"""A watch that runs beside a test, and a wire to a far host that counts."""

import json
import os
import queue
import subprocess
import threading
import time
from pathlib import Path

from command import AIRGAP, Case, sh

NEAR, FAR = "192.0.2.1", "192.0.2.2"
MAC = "02:00:00:00:02:02"
# What no policy of these tests opens.
PORT = 9


class Watch:
    """A running `airgap watch`."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self.process = subprocess.Popen(
            [AIRGAP, "watch", "--output", "json", *words],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.told: list[dict] = []
        self._events: queue.Queue[dict | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._events.put(json.loads(line))
        self._events.put(None)

    def next(self, timeout: float = 10) -> dict:
        """The next event."""
        event = self._events.get(timeout=timeout)
        if event is None:
            raise AssertionError(f"the watch ended: {self.process.stderr.read()}")
        self.told.append(event)
        return event

    def expect(self, kind: str, timeout: float = 10) -> dict:
        """The next event, which must be of this kind."""
        event = self.next(timeout)
        if event["event"] != kind:
            raise AssertionError(f"expected {kind}, the watch told {event}")
        return event

    def silent(self, seconds: float = 0.5) -> None:
        """Asserts that nothing is told for some time."""
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return
        raise AssertionError(f"expected nothing, the watch told {event}")

    def end(self, kill: bool = False) -> int:
        """Ends it, and answers its exit code."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        code = self.process.wait(timeout=20)
        self.process.stderr.close()
        return code


class Watching(Case):
    """A test that watches."""

    # How: without owning the tables, so that others can change them.
    HOW: tuple[str, ...] = ("--heal-only",)

    def watch(self, **variables: str) -> Watch:
        watch = Watch(self.environment | variables, *self.HOW)

        def end() -> None:
            if watch.process.poll() is None:
                watch.end(kill=True)

        self.addCleanup(end)
        watch.expect("watching")
        return watch

    def history(self) -> list[dict]:
        return self.status()["watch"]["history"]


class Wire:
    """A wire from here to a far host, which counts what arrives for PORT.

    The far host is a network namespace that ends with its only process.
    """

    def __init__(self, case: Case) -> None:
        self.far = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        case.addCleanup(self.end)
        self.here = f"agw{os.getpid()}"
        until = time.monotonic() + 10
        namespace = Path(f"/proc/{self.far.pid}/ns/net")
        while namespace.readlink() == Path("/proc/self/ns/net").readlink():
            case.assertLess(time.monotonic(), until, "no namespace came")
            time.sleep(0.01)
        sh("ip", "link", "add", self.here, "type", "veth", "peer", "name", "far", "address", MAC,
           "netns", str(self.far.pid))
        sh("ip", "address", "add", f"{NEAR}/24", "dev", self.here)
        sh("ip", "link", "set", self.here, "up")
        self.there("ip", "address", "add", f"{FAR}/24", "dev", "far")
        self.there("ip", "link", "set", "far", "up")
        self.there("nft", f"""
            add table netdev far
            add counter netdev far seen
            add chain netdev far in {{ type filter hook ingress device far priority 0; }}
            add rule netdev far in udp dport {PORT} counter name seen
        """)
        # The first datagrams must not wait for the address of the far host.
        sh("ip", "neighbour", "replace", FAR, "lladdr", MAC, "dev", self.here)

    def there(self, *words: str) -> subprocess.CompletedProcess:
        """Runs a command at the far host."""
        return sh("nsenter", f"--net=/proc/{self.far.pid}/ns/net", *words)

    def arrived(self) -> int:
        """How many datagrams have arrived."""
        listed = json.loads(self.there("nft", "-j", "list", "counter", "netdev", "far", "seen").stdout)
        return next(entry["counter"]["packets"] for entry in listed["nftables"] if "counter" in entry)

    def end(self) -> None:
        self.far.kill()
        self.far.wait()


# Sends without pause, and tells at which times a datagram could first and last
# be sent; EPERM is how a chain `output` that drops is felt.
SENDER = f"""
import select, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("{FAR}", {PORT}))
tried = sent = first = last = 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(1000):
        tried += 1
        try:
            sock.send(b"out")
        except OSError:
            continue
        last = time.monotonic()
        first, sent = first or last, sent + 1
print(tried, sent, last - first, flush=True)
"""


class Sender:
    """A process that sends datagrams to PORT of the far host as fast as it can."""

    def __init__(self, case: Case) -> None:
        self.process = subprocess.Popen(
            ["python3", "-c", SENDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        case.addCleanup(self.process.wait)
        case.addCleanup(self.process.kill)
        assert self.process.stdout.readline() == "ready\n"

    def end(self) -> tuple[int, int, float]:
        """How many were tried, how many were sent, and in what time."""
        told, _ = self.process.communicate("end\n", timeout=20)
        tried, sent, seconds = told.split()
        return int(tried), int(sent), float(seconds)
