"""Tests of a fleet that Ansible drives, in network namespaces made for them.

    python3 tests/fleet/run.py        # as root, by `make fleet`

Twenty hosts with an sshd each, and a controller that comes by ssh. The whole run
moves into namespaces of its own before the first test, and refuses to go on in
the machine's. They are gone when the run ends.
"""

import os
import signal
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The number of the network namespace that the run began in.
OUTSIDE = "AIRGAP_TEST_OUTSIDE"


def enter(script: str) -> None:
    """Moves the whole run into namespaces of its own."""
    here = str(os.stat("/proc/self/ns/net").st_ino)
    if OUTSIDE not in os.environ:
        os.environ[OUTSIDE] = here
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, script, *sys.argv[1:]])
    if os.environ[OUTSIDE] == here:
        sys.exit("this is the machine's own network namespace; unshare(1) did not make another")
    # So that the hosts end when the run is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def main() -> int:
    enter(__file__)
    names = sys.argv[1:]
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names) if names else loader.discover(str(HERE), pattern="test_*.py")
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed = len({getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors})
    if result.testsRun == 0:
        failed = 1
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
