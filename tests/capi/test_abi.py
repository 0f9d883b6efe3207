"""The interface of the library is the one that is recorded."""

import re
from pathlib import Path

from abi import SYMBOLS, TYPES, breaks, changes, dump, symbols
from library import HEADER, Case, functions, library, sh

# Stripped, as distributions install it.
SIZE_MAX = 6_000_000
# The parts of libc that a linker may name by themselves.
LIBC = re.compile(r"(libc|libm|ld-linux-[\w-]+)\.so\.\d+")


class Interface(Case):
    """Names and types."""

    def test_the_library_exports_what_is_recorded_and_declared(self) -> None:
        exported = symbols(library())
        self.assertEqual(exported, SYMBOLS.read_text().split(), "run `make abi` if this is meant, and commit it")
        self.assertEqual(exported, sorted(function.name for function in functions()))
        self.assertEqual([name for name in exported if not name.startswith("airgap_")], [])

    def test_types_are_those_that_are_recorded(self) -> None:
        now = self.folder / "now.abi"
        dump(HEADER, now)
        difference = changes(TYPES, now)
        self.assertEqual(difference, "", "run `make abi` if this is meant, and commit it")

    def altered(self, pattern: str, instead: str) -> tuple[bool, bool]:
        """Whether the record tells that the header was altered, and whether
        that breaks programs."""
        header = self.folder / "airgap.h"
        text, times = re.subn(pattern, instead, HEADER.read_text(), count=1, flags=re.S)
        self.assertEqual(times, 1)
        header.write_text(text)
        dump(header, self.folder / "altered.abi")
        altered = TYPES, self.folder / "altered.abi"
        return bool(changes(*altered)), bool(breaks(*altered))

    def test_what_breaks_programs_is_told_from_what_does_not(self) -> None:
        for pattern, instead, breaking in (
            (r"bool airgap_plan_changed\(.*?;", "", True),
            (r"size_t operations;", "uint32_t operations;", True),
            (r"(bool changed;)(.*?)(size_t operations;)", r"\3\2\1", True),
            (r"AIRGAP_ERROR_IO = 11", "AIRGAP_ERROR_IO = 20", True),
            (r"uint32_t airgap_abi_version", "uint64_t airgap_abi_version", True),
            (r"#define AIRGAP_ABI_VERSION \d+", "#define AIRGAP_ABI_VERSION 999", True),
            (r"(const char \*airgap_version\(void\);)", r"\1\nconst char *airgap_words(void);", False),
            (r"AIRGAP_ERROR_IO = 11,", r"AIRGAP_ERROR_IO = 11, AIRGAP_ERROR_NEW = 99,", False),
            (r"(size_t retries;)", r"\1 size_t more;", False),
            (r"(bool changed;)(.*?)(size_t operations;)(.*?retries;)", r"\3\2\1\4 size_t more;", True),
        ):
            with self.subTest(pattern):
                self.assertEqual(self.altered(pattern, instead), (True, breaking))


class Weight(Case):
    """What comes with the library."""

    def test_it_needs_no_other_libraries(self) -> None:
        needed = re.findall(r"NEEDED.*\[(.*)\]", sh("readelf", "-d", library()).stdout)
        others = [name for name in needed if not LIBC.fullmatch(name)]
        self.assertEqual(sorted(others), ["libgcc_s.so.1", "libmnl.so.0", "libnftnl.so.11"])

    def test_it_is_small(self) -> None:
        stripped = self.folder / "stripped.so"
        sh("strip", "-o", stripped, library())
        self.assertLess(Path(stripped).stat().st_size, SIZE_MAX)
