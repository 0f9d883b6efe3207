"""Stands in for the script by which ansible-test puts pip into a virtual
environment, which it would fetch from a place of its own: Python brings a pip,
and that one gets the version asked for."""

import subprocess
import sys

subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
packages = [word for word in sys.argv[1:] if "==" in word]
subprocess.run([sys.executable, "-m", "pip", "install", "-q", *packages], check=True)
