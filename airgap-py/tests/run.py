"""Runs the tests of the Python package in namespaces made for them.

    python airgap-py/tests/run.py [pytest's arguments]    # as root

Python is one in which the wheel and pytest are installed. The whole run moves
into a network and a mount namespace of its own, and refuses to go on in the
machine's. They are gone when the run ends.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The number of the network namespace that the run began in.
OUTSIDE = "AIRGAP_TEST_OUTSIDE"


def main() -> int:
    here = str(os.stat("/proc/self/ns/net").st_ino)
    if OUTSIDE not in os.environ:
        os.environ[OUTSIDE] = here
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, __file__, *sys.argv[1:]])
    if os.environ[OUTSIDE] == here:
        print("this is the machine's own network namespace; unshare(1) did not make another", file=sys.stderr)
        return 1
    import pytest

    return pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(HERE.parent), *(sys.argv[1:] or [str(HERE)])])


if __name__ == "__main__":
    sys.exit(main())
