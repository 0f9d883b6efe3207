"""One table of cases through Rust, the command, Python and C: what comes out is
the same.

    python3 tests/parity/run.py     # as root, after `make build python`

Each way runs a case in a network namespace of its own. PROFILE and
CARGO_TARGET_DIR say which build, AIRGAP_PYTHON which Python has the package.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))
sys.path.insert(0, str(HERE.parents[1] / "capi"))

import namespace  # noqa: E402 (it is found by the lines before)

if __name__ == "__main__":
    sys.exit(namespace.run(HERE))
