"""Runs a folder's tests in a network namespace made for them.

The whole run moves into a namespace of its own before the first test, and
refuses to go on in the machine's. The namespace is gone when the run ends.
"""

import os
import sys
import unittest
from pathlib import Path

# The number of the network namespace that the run began in.
OUTSIDE = "AIRGAP_TEST_OUTSIDE"


def run(script: Path, *namespaces: str) -> int:
    """Runs the tests beside `script`, or those that the command line names.

    `namespaces` are more options of unshare(1).
    """
    here = str(os.stat("/proc/self/ns/net").st_ino)
    if OUTSIDE not in os.environ:
        os.environ[OUTSIDE] = here
        os.execvp("unshare", ["unshare", "--net", *namespaces, sys.executable, str(script), *sys.argv[1:]])
    if os.environ[OUTSIDE] == here:
        print("this is the machine's own network namespace; unshare(1) did not make another", file=sys.stderr)
        return 1
    sys.path.insert(0, str(script.parent))
    names = sys.argv[1:]
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names) if names else loader.discover(str(script.parent), pattern="test_*.py")
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    # A test of several parts is one test, however many of its parts fail.
    failed = len({getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors})
    if result.testsRun == 0:
        failed = 1
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 1 if failed else 0
