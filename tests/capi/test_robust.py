"""Programs that give the library what they should not, from many threads, in
any order: as they are, under AddressSanitizer and ThreadSanitizer, and under
Valgrind, which sees into the library too."""

import re
from pathlib import Path

import nulls
from library import HERE, Case, functions

PROGRAMS = HERE / "programs"
# Whatever is still there at the end is an error, whoever could free it.
VALGRIND = (
    "valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=all",
    "--errors-for-leak-kinds=all", f"--suppressions={HERE}/valgrind.supp",
)
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    # It watches the program; by what instructions the library's own threads
    # wait for each other, it cannot see.
    "TSAN_OPTIONS": "halt_on_error=1:ignore_noninstrumented_modules=1",
    "RUST_BACKTRACE": "0",
}


class Robust(Case):
    """Each program in each way."""

    def setUp(self) -> None:
        super().setUp()
        self.environment |= SANITIZERS

    def build_here(self, source: Path, *flags: str, **options) -> Path:
        return self.build(source, "-D_GNU_SOURCE", f"-I{PROGRAMS}", *flags, **options)

    def in_every_way(self, source: Path, *words: str, memcheck: tuple[str, ...] | None = None) -> None:
        """Runs a program of one thread; under Valgrind, which is slow, with
        other words."""
        plain = self.build_here(source)
        with self.subTest("plain"):
            self.run_program(plain, *words)
        with self.subTest("AddressSanitizer"):
            program = self.build_here(source, "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                                      compiler="clang", name="sanitized")
            self.run_program(program, *words)
        with self.subTest("Valgrind"):
            self.under_valgrind(plain, *(memcheck or words))

    def under_valgrind(self, *words: str | Path) -> None:
        log = self.folder / "valgrind"
        self.run_program(*VALGRIND, f"--log-file={log}", *words)
        self.assertEqual(log.read_text(), "")

    def test_null_for_every_choice_of_pointers(self) -> None:
        source = self.folder / "nulls.c"
        source.write_text(nulls.program())
        policy = self.folder / "policy.toml"
        policy.write_text("version = 1\n")
        self.in_every_way(source, str(policy))

    def test_wrong_lengths_texts_and_sizes(self) -> None:
        self.in_every_way(PROGRAMS / "arguments.c")

    def test_refusals_and_panics(self) -> None:
        self.in_every_way(PROGRAMS / "failures.c")

    def test_policies_are_confirmed_or_come_back(self) -> None:
        self.in_every_way(PROGRAMS / "guarded.c")

    def test_flows_are_explained(self) -> None:
        self.in_every_way(PROGRAMS / "explain.c")

    def test_rulesets_are_verified(self) -> None:
        source = PROGRAMS / "verify.c"
        self.run_program(self.build_here(source))
        self.under_valgrind(self.build_here(source))

    def test_random_sequences(self) -> None:
        source = PROGRAMS / "sequences.c"
        missing = [function.name for function in functions()
                   if not re.search(rf"\b{function.name}[(,]", source.read_text())
                   and not function.name.endswith("_free")]
        self.assertEqual(missing, [], "no sequence calls them")
        self.in_every_way(source, "1", "200", memcheck=("2", "20"))

    def test_threads(self) -> None:
        source = PROGRAMS / "threads.c"
        plain = self.build_here(source, "-pthread")
        with self.subTest("a kernel in memory"):
            self.run_program(plain, "fake", "8", "4")
        with self.subTest("the kernel of the namespace"):
            self.run_program(plain, "real", "8", "4")
        with self.subTest("ThreadSanitizer"):
            program = self.build_here(source, "-pthread", "-fsanitize=thread", compiler="clang", name="tsan")
            self.run_program(program, "fake", "4", "2")
        with self.subTest("Valgrind"):
            self.under_valgrind(plain, "fake", "2", "1")
