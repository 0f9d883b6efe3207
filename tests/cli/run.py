"""Tests of the command `airgap`, in a network namespace made for them.

    python3 tests/cli/run.py        # as root; AIRGAP names another binary
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

import namespace  # noqa: E402 (it is found by the line before)

if __name__ == "__main__":
    sys.exit(namespace.run(HERE))
