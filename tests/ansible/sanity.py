"""Runs `ansible-test sanity` on the collection.

    python3 tests/ansible/sanity.py [NAMES OF TESTS]

It installs its tools from PyPI, into virtual environments under `target/ansible`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import collection

# The name under which this version of ansible-test keeps the script that installs pip.
GET_PIP = "get_pip_24_2.py"


def main() -> int:
    home = collection.PLACE / "home"
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("get_pip.py"), cache / GET_PIP)
    # ansible-test asks for this path, and skips what git ignores, as all of target/.
    with tempfile.TemporaryDirectory(prefix="airgap-sanity-") as folder:
        place = Path(folder, "ansible_collections", "airgap", "airgap")
        shutil.copytree(collection.SOURCE, place)
        words = [str(collection.TOOLS / "ansible-test"), "sanity", "--color", "no"]
        words += ["--python", f"{sys.version_info.major}.{sys.version_info.minor}"]
        for name in sys.argv[1:]:
            words += ["--test", name]
        done = subprocess.run(words, cwd=place, env=collection.environment(), capture_output=True, text=True)
    ran = done.stdout.count('Running sanity test "') + done.stderr.count('Running sanity test "')
    if done.returncode or not ran:
        print(done.stdout[-6000:] + done.stderr[-6000:])
    print(f"ansible-test sanity: {ran} tests, {'failed' if done.returncode or not ran else 'passed'}")
    return done.returncode or not ran


if __name__ == "__main__":
    sys.exit(main())
