"""The library as `scripts/install` puts it, and the tools of C around it."""

import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROFILE = os.environ.get("PROFILE", "release")
HEADER = ROOT / "include" / "airgap.h"
# Warnings that a consumer may have on, as errors.
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")


def sh(*words: str | Path, check: bool = True, **options) -> subprocess.CompletedProcess:
    """Runs a program to its end; what it printed belongs to a failure."""
    done = subprocess.run(
        [str(word) for word in words], text=True, timeout=600,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def install(prefix: str | Path, **environment: str) -> None:
    """Installs what was built."""
    environment = {"CARGO_TARGET_DIR": str(TARGET), "PROFILE": PROFILE, "PREFIX": str(prefix)} | environment
    inherited = {key: value for key, value in os.environ.items() if key not in ("DESTDIR", "LIBDIR")}
    sh(ROOT / "scripts" / "install", env=inherited | environment)


@functools.cache
def prefix() -> Path:
    """Where the library is installed for this run."""
    folder = Path(tempfile.mkdtemp(prefix="airgap-capi-"))
    atexit.register(shutil.rmtree, folder)
    install(folder)
    return folder


def library() -> Path:
    """The shared library."""
    return prefix() / "lib" / "libairgap.so"


class Function(NamedTuple):
    """A function of the header."""

    name: str
    returns: str
    # The type and the name of each, the type as in `const char *`.
    parameters: list[tuple[str, str]]


def functions(header: Path = HEADER) -> list[Function]:
    """Every function of a header, in its order."""
    found = []
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
    for returns, name, inside in re.findall(r"^(\w[\w *]*?)(airgap_\w+)\(([^;]*)\);", text, flags=re.M):
        parameters = []
        for parameter in inside.split(","):
            if parameter.strip() != "void":
                kind, word = re.fullmatch(r"\s*(.*?)(\w+)\s*", parameter, flags=re.S).groups()
                parameters.append((kind.strip(), word))
        found.append(Function(name, returns.strip(), parameters))
    return found


class Case(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self) -> None:
        # Programs here load rules: never into the machine's own namespace, as
        # would happen where somebody starts a test without run.py.
        if os.environ.get("AIRGAP_TEST_OUTSIDE") in (None, str(os.stat("/proc/self/ns/net").st_ino)):
            raise RuntimeError("run me by tests/capi/run.py, which makes a network namespace")
        self.folder = Path(tempfile.mkdtemp(prefix="airgap-capi-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.environment = os.environ | {
            "AIRGAP_RUN_DIR": str(self.folder / "run"),
            "AIRGAP_STATE_DIR": str(self.folder / "state"),
        }

    def build(self, source: Path, *flags: str, compiler: str = "gcc", name: str | None = None) -> Path:
        """Builds a program with the installed library."""
        program = self.folder / (name or source.stem)
        sh(compiler, "-std=c11", "-g", *STRICT, f"-I{prefix()}/include", source, "-o", program, *flags,
           f"-L{prefix()}/lib", "-lairgap", f"-Wl,-rpath,{prefix()}/lib")
        return program

    def run_program(self, *words: str | Path, check: bool = True, **options) -> subprocess.CompletedProcess:
        """Runs a program with state folders of its own."""
        return sh(*words, check=check, env=self.environment, **options)
