"""Tests of the C library as it is installed, in a network namespace made for
them.

    python3 tests/capi/run.py               # as root
    PROFILE=debug python3 tests/capi/run.py # of what `cargo build` made
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

import namespace  # noqa: E402 (it is found by the line before)

if __name__ == "__main__":
    sys.exit(namespace.run(HERE))
