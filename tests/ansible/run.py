"""Tests of the Ansible collection, in a network namespace made for them.

    python3 tests/ansible/run.py        # as root, by `make ansible`

The collection is built, installed from its archive, and used by a real
ansible-playbook. The whole run moves into a namespace of its own before the
first test, and refuses to go on in the machine's. The namespace is gone when
the run ends.
"""

import os
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The number of the network namespace that the run began in.
OUTSIDE = "AIRGAP_TEST_OUTSIDE"


def main() -> int:
    here = str(os.stat("/proc/self/ns/net").st_ino)
    if OUTSIDE not in os.environ:
        os.environ[OUTSIDE] = here
        os.execvp("unshare", ["unshare", "--net", sys.executable, str(HERE / "run.py"), *sys.argv[1:]])
    if os.environ[OUTSIDE] == here:
        print("this is the machine's own network namespace; unshare(1) did not make another", file=sys.stderr)
        return 1
    names = sys.argv[1:]
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names) if names else loader.discover(str(HERE), pattern="test_*.py")
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    # A test of several parts is one test, however many of its parts fail.
    failed = len({getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors})
    if result.testsRun == 0:
        failed = 1
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
