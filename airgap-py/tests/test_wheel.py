"""The wheel, in a fresh virtual environment on a machine without the C libraries."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

SIZE_MAX = 5 << 20
WHEELS = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).resolve().parents[2] / "target"), "wheels")
PROGRAM = """
import airgap
host = airgap.Host()
assert host.apply(airgap.Policy.from_toml('version = 1\\n[[allow]]\\nto = "203.0.113.9"\\nport = 443')).changed
assert host.status().sealed
assert host.remove()
print(*sorted({line.split()[-1] for line in open("/proc/self/maps") if "nftnl" in line or "libmnl" in line}))
"""


@pytest.fixture
def wheel():
    [wheel] = WHEELS.glob("airgap-*.whl")
    return wheel


def test_the_wheel_is_small_and_for_every_python_from_3_9(wheel):
    assert "-cp39-abi3-manylinux" in wheel.name
    assert wheel.stat().st_size < SIZE_MAX


def test_it_works_where_the_c_libraries_are_not_installed(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-index", wheel], check=True)
    installed = [p for name in ("libnftnl", "libmnl") for p in Path("/usr/lib/x86_64-linux-gnu").glob(f"{name}.*")]
    assert installed, "the test hides the system's libraries, and finds none to hide"
    hide = "".join(f"mount --bind /dev/null {path}\n" for path in installed)
    environment = {"PATH": os.environ["PATH"], **{k: v for k, v in os.environ.items() if k.startswith("AIRGAP_")}}
    words = ["unshare", "--mount", "sh", "-euc", hide + 'exec "$@"', "sh", str(python), "-W", "error", "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert len(loaded) == 2
    assert all(path.startswith(str(tmp_path)) for path in loaded), loaded
    # The same program without the wheel's own copies would not even start.
    assert subprocess.run([*words[:6], "nft", "--version"], capture_output=True).returncode != 0


def test_the_wheel_brings_its_types(wheel):
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], check=True, capture_output=True, text=True).stdout
    assert "airgap/py.typed" in listed
    assert "airgap/_airgap.pyi" in listed


def test_the_import_is_quick():
    program = "import time\nbegin = time.perf_counter()\nimport airgap\nprint(time.perf_counter() - begin)"
    took = [float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout) for _ in range(5)]
    # The best of them: others may be at work on this machine.
    assert min(took) < 0.05
