"""Loads 100,000 allow pairs by `airgap apply` and, in the same run, the text of
`airgap show` by `nft -f`: wall time and peak memory of each, as ratios.

    python3 benches/apply_100k.py [PAIRS] [ROUNDS]     # as root

It works in a network namespace of its own.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
AIRGAP = os.environ.get("AIRGAP", str(TARGET / "release" / "airgap"))
OUTSIDE = "AIRGAP_BENCH_OUTSIDE"


def enter_namespace() -> None:
    here = str(os.stat("/proc/self/ns/net").st_ino)
    if OUTSIDE not in os.environ:
        os.environ[OUTSIDE] = here
        os.execvp("unshare", ["unshare", "--net", sys.executable, __file__, *sys.argv[1:]])
    if os.environ[OUTSIDE] == here:
        sys.exit("this is the machine's own network namespace; unshare(1) did not make another")


def measure(*words: str) -> tuple[float, int]:
    """Wall time in seconds and peak memory in KiB of a command."""
    start = time.monotonic()
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        sys.exit(f"{words} failed")
    return wall, usage.ru_maxrss


def report(name: str, runs: list[tuple[float, int]]) -> tuple[float, int]:
    walls = [wall for wall, _ in runs]
    memory = max(rss for _, rss in runs)
    print(f"{name:<16} {statistics.median(walls):6.3f} s ({min(walls):.3f}-{max(walls):.3f})  {memory / 1024:7.1f} MiB")
    return statistics.median(walls), memory


def main() -> None:
    enter_namespace()
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(prefix="airgap-bench-") as folder:
        os.environ["AIRGAP_RUN_DIR"] = os.environ["AIRGAP_STATE_DIR"] = folder
        policy, text = Path(folder, "policy.toml"), Path(folder, "policy.nft")
        with policy.open("w") as out:
            out.write("version = 1\n")
            for n in range(pairs):
                address = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
                out.write(f'[[allow]]\nto = "{address}"\nport = {1 + n % 65000}\n')
        text.write_bytes(subprocess.run([AIRGAP, "show", str(policy)], check=True, capture_output=True).stdout)
        applies, loads = [], []
        for _ in range(rounds):
            applies.append(measure(AIRGAP, "apply", str(policy)))
            subprocess.run([AIRGAP, "remove"], check=True, capture_output=True)
            loads.append(measure("nft", "-f", str(text)))
            subprocess.run(["nft", "flush", "ruleset"], check=True)
        print(f"{pairs} allow pairs, {rounds} rounds, median (lowest-highest), peak memory")
        ours = report("airgap apply", applies)
        theirs = report("nft -f", loads)
        print(f"nft -f takes {theirs[0] / ours[0]:.2f} times the time and {theirs[1] / ours[1]:.2f} times the memory")


if __name__ == "__main__":
    main()
