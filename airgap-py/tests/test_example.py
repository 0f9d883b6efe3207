"""The example is a program that does what it says."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def seal(policy, *flows):
    words = [sys.executable, "-W", "error", EXAMPLES / "seal.py", policy, *flows]
    return subprocess.run(words, capture_output=True, text=True)


def test_it_seals_and_explains(host):
    flows = ("host -> tcp 34.95.12.47:443", "host -> tcp 34.95.12.47:80")
    done = seal(EXAMPLES / "connector.toml", *flows)
    assert done.returncode == 0, done.stderr
    assert "+ allow: tcp from the host to 34.95.12.47, port 443" in done.stdout
    assert [bool(host.explain(flow)) for flow in flows] == [True, False]
    assert "34.95.12.47 is open on 443, not on 80" in done.stdout
    status = host.status()
    assert (status.sealed, status.pending, status.drift) == (True, None, ())
    assert "Nothing to change." in seal(EXAMPLES / "connector.toml").stdout


def test_it_says_what_is_wrong(place):
    (place / "bad.toml").write_text("version = 2")
    done = seal(place / "bad.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "bad.toml:1:11" in done.stderr
