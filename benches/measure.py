"""Runs things in a network namespace of their own, and says what they took."""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
AIRGAP = os.environ.get("AIRGAP", str(TARGET / "release" / "airgap"))
BENCH = os.environ.get("AIRGAP_BENCH", str(TARGET / "release" / "airgap-bench"))
OUTSIDE = "AIRGAP_BENCH_OUTSIDE"


def enter_namespace() -> None:
    """Goes on in a network namespace that ends with this process."""
    here = str(os.stat("/proc/self/ns/net").st_ino)
    if OUTSIDE not in os.environ:
        os.environ[OUTSIDE] = here
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    if os.environ[OUTSIDE] == here:
        sys.exit("this is the machine's own network namespace; unshare(1) did not make another")


def sh(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, **options)


def flush() -> None:
    sh("nft", "flush", "ruleset")


@dataclass
class Taken:
    """What the rounds of one thing took."""

    wall: list[float] = field(default_factory=list)  # seconds
    cpu: list[float] = field(default_factory=list)  # seconds of the processor, the kernel's included
    memory: int = 0  # the highest of all rounds, KiB

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    def add(self, wall: float, cpu: float = 0.0, memory: int = 0) -> None:
        self.wall.append(wall)
        self.cpu.append(cpu)
        self.memory = max(self.memory, memory)


def run(taken: Taken, *words: str) -> str:
    """Runs a command, adds what it took, and answers what it printed."""
    read, write = os.pipe()
    start = time.monotonic()
    pid = os.posix_spawnp(words[0], [str(word) for word in words], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
    os.close(write)
    with os.fdopen(read) as out:
        printed = out.read()
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(map(str, words))} failed")
    taken.add(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
    return printed


def dump(path: Path, rows: list) -> None:
    path.write_text(json.dumps(rows, indent=1))
