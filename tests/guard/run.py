"""Tests of changes that are interrupted, in network namespaces made for them.

    python3 tests/guard/run.py        # as root; AIRGAP names another binary
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "cli")]

import namespace  # noqa: E402 (it is found by the line before)

if __name__ == "__main__":
    sys.exit(namespace.run(HERE))
