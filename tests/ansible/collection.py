"""The collection, installed from its archive, and a real ansible-playbook."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "ansible"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PLACE = TARGET / "ansible"
# Where this Python is, Ansible is.
TOOLS = Path(sys.executable).parent
# What the managed hosts' modules run by: with the package from its wheel.
MANAGED = PLACE / "managed"


def environment(**more: str) -> dict[str, str]:
    """Of every call of Ansible: nothing of the user who runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "SSH_"))}
    return {
        **kept,
        "HOME": str(PLACE / "home"),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(PLACE / "collections"),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_NOCOWS": "true",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        **more,
    }


def install() -> Path:
    """Builds the archive and installs it as a user would. Answers the archive."""
    for folder in ("archive", "collections"):
        shutil.rmtree(PLACE / folder, ignore_errors=True)
    (PLACE / "home").mkdir(parents=True, exist_ok=True)
    galaxy = [TOOLS / "ansible-galaxy", "collection"]
    build = [*galaxy, "build", SOURCE, "--output-path", PLACE / "archive"]
    subprocess.run(build, check=True, env=environment(), stdout=subprocess.DEVNULL)
    [archive] = (PLACE / "archive").glob("*.tar.gz")
    # Without a network: the collection needs no other.
    put = [*galaxy, "install", archive, "-p", PLACE / "collections", "--offline"]
    subprocess.run(put, check=True, env=environment(), stdout=subprocess.DEVNULL)
    return archive


def managed_python() -> None:
    """A virtual environment with the wheel, as the managed hosts have it."""
    [wheel] = (TARGET / "wheels").glob("airgap-*.whl")
    python = MANAGED / "bin" / "python"
    if not python.exists():
        venv.create(MANAGED, with_pip=True, clear=True)
    put = [python, "-m", "pip", "install", "-q", "--no-index", "--force-reinstall", wheel]
    subprocess.run(put, check=True)


def playbook(book: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a playbook and answers what it said."""
    call = [str(TOOLS / "ansible-playbook"), str(book), *words]
    return subprocess.run(call, env=environment(**more), capture_output=True, text=True, cwd=book.parent)
