"""Tests of `airgap watch`, in a network namespace made for them.

    python3 tests/watch/run.py      # as root; AIRGAP names another binary
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "cli")]

import namespace  # noqa: E402 (it is found by the line before)

if __name__ == "__main__":
    # Mounts of the tests are theirs alone.
    sys.exit(namespace.run(HERE, "--mount"))
