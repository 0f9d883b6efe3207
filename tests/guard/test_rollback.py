"""A hundred rollbacks, each at the time that was promised."""

import json
import os
import select
import socket
import threading
import time
from pathlib import Path

from command import Case, sh

NETLINK_NETFILTER = 12
# NFNLGRP_NFTABLES, as a bit.
NFTABLES = 1 << (7 - 1)
COUNT = 100
WITHIN = 8


def listen(netns: str) -> socket.socket:
    """A socket that hears of changes of the ruleset in a namespace."""
    made: list[socket.socket] = []

    def make() -> None:
        # A thread of its own, which stays in the namespace and ends.
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{netns}") as file:
            if libc.setns(file.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns")
        heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        heard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        heard.bind((0, NFTABLES))
        made.append(heard)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


class Rollback(Case):
    def test_a_hundred_are_in_time(self):
        names = [f"airgap-guard-{os.getpid()}-{n}" for n in range(COUNT)]
        self.addCleanup(lambda: [sh("ip", "netns", "delete", name, check=False) for name in names])
        policy = self.policy()
        poll = select.epoll()
        sockets, promised, happened = {}, {}, {}
        for name in names:
            sh("ip", "netns", "add", name)
            self.airgap("--netns", name, "apply", "--confirm-within", f"{WITHIN}s", policy)
            inode = os.stat(f"/run/netns/{name}").st_ino
            pending = Path(self.folder, "run", f"netns-{inode}", "pending.json").read_text()
            until = json.loads(pending.splitlines()[0])["until"]["since_boot"]
            promised[name] = until["secs"] + until["nanos"] / 1e9
            heard = listen(name)
            self.addCleanup(heard.close)
            sockets[heard.fileno()] = (name, heard)
            poll.register(heard, select.EPOLLIN)
            self.hear(poll, sockets, happened, 0)
        end = time.monotonic() + WITHIN + 30
        while len(happened) < COUNT and time.monotonic() < end:
            self.hear(poll, sockets, happened, 1)
        self.assertEqual(len(happened), COUNT)
        late = {name: happened[name] - promised[name] for name in names}
        worst = max(late.values())
        print(f"{COUNT} rollbacks: the earliest {min(late.values()) * 1000:.0f} ms, the latest {worst * 1000:.0f} ms after the time promised")
        self.assertGreaterEqual(min(late.values()), 0)
        self.assertLessEqual(worst, 1)
        for name in names:
            self.assertEqual(sh("ip", "netns", "exec", name, "nft", "list", "ruleset").stdout, "")

    def hear(self, poll, sockets, happened, seconds) -> None:
        """Notes when a namespace's ruleset changed."""
        for fd, _ in poll.poll(seconds):
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            name, heard = sockets[fd]
            heard.recv(1 << 16)
            happened.setdefault(name, now)
