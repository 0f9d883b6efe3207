"""Counts the instructions of fixed work, which no other program on the machine changes.

    python3 benches/guard.py [--write]     # as root, for the network namespace

What each pair more costs is the difference of two runs, so that neither the start of the program nor the processes of the
machine count. It may be a tenth more than benches/guard.json says; with --write it says what was counted.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import policies
from measure import AIRGAP, enter_namespace, flush

DRIFT = 0.10
FEW, MANY = 10_000, 20_000
NUMBERS = Path(__file__).with_name("guard.json")


def instructions(*words: str) -> int:
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *words]
    done = subprocess.run(valgrind, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"{words} failed:\n{done.stdout}{done.stderr}")
    return int(found[1])


def counts(folder: Path) -> dict[str, float]:
    found = {}
    for form in ("toml", "json"):
        for call in ("check", "apply"):
            few, many = (
                count(folder / f"{size}.{form}", size, call) for size in (FEW, MANY)
            )
            found[f"{call}, {form}"] = (many - few) / (MANY - FEW)
    return found


def count(path: Path, size: int, call: str) -> int:
    flush()
    return instructions(AIRGAP, call, str(policies.pairs(path, size)))


def main() -> int:
    enter_namespace()
    with tempfile.TemporaryDirectory(prefix="airgap-guard-") as folder:
        os.environ["AIRGAP_RUN_DIR"] = f"{folder}/run"
        os.environ["AIRGAP_STATE_DIR"] = f"{folder}/state"
        found = counts(Path(folder))
    if "--write" in sys.argv:
        NUMBERS.write_text(json.dumps({name: round(number) for name, number in found.items()}, indent=1) + "\n")
    allowed = json.loads(NUMBERS.read_text())
    failed = False
    for name, number in found.items():
        ratio = number / allowed[name]
        verdict = "too many" if ratio > 1 + DRIFT else "fewer: benches/guard.json can be lowered" if ratio < 1 - DRIFT else "as before"
        failed |= ratio > 1 + DRIFT
        print(f"{name:12} {number:8.0f} instructions a pair, {ratio:.3f} of {allowed[name]}: {verdict}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
