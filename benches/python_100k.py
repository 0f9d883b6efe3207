"""Reads, plans and applies a policy of 100,000 allow pairs from Python and, in
turn, from Rust: the binding's own part, as a ratio.

    python benches/python_100k.py [PAIRS] [ROUNDS]     # as root, by `make bench-python`

Python is one with the package; `airgap-bench` lies beside the command. It works
in a network namespace of its own.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import AIRGAP, OUTSIDE

BENCH = str(Path(AIRGAP).with_name("airgap-bench"))
TEXT = """
import sys, time
text = open(sys.argv[1]).read()
import airgap
start = time.perf_counter()
policy = airgap.Policy.from_toml(text)
host = airgap.Host()
host.apply(host.plan(policy))
print(time.perf_counter() - start)
"""
DICT = """
import json, sys, time
data = json.load(open(sys.argv[1]))
import airgap
start = time.perf_counter()
policy = airgap.Policy.from_dict(data)
host = airgap.Host()
host.apply(host.plan(policy))
print(time.perf_counter() - start)
"""


def measure(*words: str) -> float:
    seconds = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    subprocess.run([AIRGAP, "remove"], check=True, capture_output=True)
    return seconds


def main() -> None:
    here = str(os.stat("/proc/self/ns/net").st_ino)
    if OUTSIDE not in os.environ:
        os.environ[OUTSIDE] = here
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    if os.environ[OUTSIDE] == here:
        sys.exit("this is the machine's own network namespace; unshare(1) did not make another")
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory(prefix="airgap-bench-") as folder:
        os.environ["AIRGAP_RUN_DIR"] = os.environ["AIRGAP_STATE_DIR"] = folder
        text, data = Path(folder, "policy.toml"), Path(folder, "policy.json")
        with text.open("w") as out:
            out.write("version = 1\n")
            for n in range(pairs):
                out.write(f'[[allow]]\nto = "10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"\nport = {1 + n % 65000}\n')
        program = "import airgap, json, sys; json.dump(airgap.Policy.load(sys.argv[1]).to_dict(), sys.stdout)"
        data.write_bytes(subprocess.run([sys.executable, "-c", program, text], check=True, capture_output=True).stdout)
        ways = {
            "Rust, from TOML": [BENCH, "call", str(text)],
            "Python, from TOML": [sys.executable, "-c", TEXT, str(text)],
            "Python, from a dict": [sys.executable, "-c", DICT, str(data)],
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, words in ways.items():
                took[name].append(measure(*words))
    print(f"{pairs} allow pairs read, planned and applied, {rounds} rounds, median (lowest-highest)")
    rust = statistics.median(took["Rust, from TOML"])
    for name, seconds in took.items():
        median = statistics.median(seconds)
        print(f"{name:<20} {median:6.3f} s ({min(seconds):.3f}-{max(seconds):.3f})  {median / rust:5.2f} times Rust's")


if __name__ == "__main__":
    main()
