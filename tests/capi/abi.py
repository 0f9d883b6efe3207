"""What programs that were built with the header rely on, and its record.

    python3 tests/capi/abi.py --write    # as `make abi`: records what is now

Recorded are the names that the library exports, and the types as a C compiler
sees them: those of Rust say what is behind the handles too, on which nobody
may rely. A change that breaks programs is not recorded under the same
AIRGAP_ABI_VERSION.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from library import HEADER, ROOT, functions, sh

RECORD = ROOT / "airgap-ffi" / "abi"
TYPES = RECORD / "libairgap.abi"
SYMBOLS = RECORD / "symbols"
GROWTH = RECORD / "growth.suppr"
# What abidiff answers: a bit for a change, one more where it alone can tell
# that programs break.
CHANGE, BREAK = 4, 8


def dump(header: Path, into: Path) -> None:
    """Writes down the interface of a header, as a library that is nothing
    else has it."""
    with tempfile.TemporaryDirectory(prefix="airgap-abi-") as name:
        folder = Path(name)
        shutil.copy(header, folder / "airgap.h")
        lines = ['#include "airgap.h"']
        for function in functions(header):
            parameters = ", ".join(f"{kind} {word}" for kind, word in function.parameters) or "void"
            body = "" if function.returns == "void" else f"return ({function.returns})0;"
            lines.append(f"{function.returns} {function.name}({parameters}) {{ {body} }}")
        (folder / "airgap.c").write_text("\n".join(lines) + "\n")
        sh("gcc", "-std=c11", "-g", "-shared", "-fPIC", "-w", f"-Wl,-soname,libairgap.so.{version(header)}",
           folder / "airgap.c", "-o", folder / "libairgap.so")
        sh("abidw", "--no-show-locs", "--no-corpus-path", "--no-comp-dir-path", "--no-elf-needed", "--type-id-style", "hash",
           "--out-file", into, folder / "libairgap.so")


def version(header: Path) -> str:
    """The number that the header gives its ABI."""
    return re.search(r"#define AIRGAP_ABI_VERSION (\d+)", header.read_text())[1]


def changes(recorded: Path, now: Path) -> str:
    """In what two dumps differ."""
    return abidiff("--harmless", recorded, now)


def breaks(recorded: Path, now: Path) -> str:
    """What of it breaks programs that were built before: all but new functions
    and, as abidiff alone cannot tell, new fields behind all others."""
    before, after = members(recorded), members(now)
    grew = all(after.get(name, [])[:len(fields)] == fields for name, fields in before.items())
    return abidiff("--no-added-syms", *(["--suppressions", GROWTH] if grew else []), recorded, now)


def members(types: Path) -> dict[str, list[tuple]]:
    """The fields of each struct: place, name and type."""
    return {
        struct.get("name"): [
            (member.get("layout-offset-in-bits"), member[0].get("name"), member[0].get("type-id"))
            for member in struct.iter("data-member")
        ]
        for struct in ElementTree.parse(types).iter("class-decl")
    }


def abidiff(*words: str | Path) -> str:
    done = sh("abidiff", *words, check=False)
    if done.returncode & ~(CHANGE | BREAK):
        raise AssertionError(f"abidiff: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout if done.returncode else ""


def symbols(library: Path) -> list[str]:
    """The names that a shared library exports."""
    return sorted(sh("nm", "--dynamic", "--defined-only", "--format=just-symbols", library).stdout.split())


def write() -> int:
    """Records the interface as it is now; refuses what breaks programs."""
    RECORD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="airgap-abi-") as name:
        now = Path(name) / "now.abi"
        dump(HEADER, now)
        if TYPES.exists():
            soname = re.search(r"soname='libairgap\.so\.(\d+)'", TYPES.read_text())[1]
            broken = breaks(TYPES, now)
            if broken and soname == version(HEADER):
                print(f"{broken}\nThis breaks programs that were built before: raise AIRGAP_ABI_VERSION, "
                      "and the number in airgap-ffi/build.rs.", file=sys.stderr)
                return 1
        shutil.copy(now, TYPES)
    SYMBOLS.write_text("".join(f"{function.name}\n" for function in sorted(functions(HEADER))))
    return 0


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    sys.exit(write())
