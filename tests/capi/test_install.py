"""What `make install` puts where, and programs that find it there."""

import os
import re
import shutil

from library import HEADER, HERE, ROOT, STRICT, Case, functions, install, prefix, sh

CONSUMERS = HERE / "consumers"
SAYS = "airgap 0.1.0 sealed: yes\n"


class Placing(Case):
    """Files and their places."""

    def test_destdir_stands_before_every_path_and_in_no_file(self) -> None:
        install("/opt/air", DESTDIR=str(self.folder), LIBDIR="/opt/air/lib/x86_64-linux-gnu")
        found = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if not path.is_dir()}
        lib = "opt/air/lib/x86_64-linux-gnu"
        self.assertEqual(found, {
            "opt/air/include/airgap.h",
            "opt/air/sbin/airgap",
            "opt/air/share/bash-completion/completions/airgap",
            "opt/air/share/man/man3/airgap.3",
            "opt/air/share/man/man8/airgap.8",
            f"{lib}/cmake/airgap/airgap-config-version.cmake",
            f"{lib}/cmake/airgap/airgap-config.cmake",
            f"{lib}/libairgap.a",
            f"{lib}/libairgap.so",
            f"{lib}/libairgap.so.0",
            f"{lib}/libairgap.so.0.1.0",
            f"{lib}/pkgconfig/airgap.pc",
        })
        for path in self.folder.rglob("*"):
            if path.suffix in (".pc", ".cmake", ".3"):
                text = path.read_text()
                self.assertNotIn(str(self.folder), text)
                self.assertNotRegex(text, r"@[A-Z]")
        flags = sh("pkg-config", "--cflags", "--libs", "airgap", env=os.environ | {
            "PKG_CONFIG_PATH": str(self.folder / lib / "pkgconfig")}).stdout
        self.assertEqual(flags.split(), ["-I/opt/air/include", "-L/opt/air/lib/x86_64-linux-gnu", "-lairgap"])

    def test_nothing_is_installed_that_was_not_built(self) -> None:
        with self.assertRaisesRegex(AssertionError, "run make build first"):
            install(self.folder / "there", CARGO_TARGET_DIR=str(self.folder))
        self.assertEqual(list(self.folder.iterdir()), [])
        with self.assertRaisesRegex(AssertionError, "paths from the root on, not: here"):
            install("here")

    def test_the_soname_is_the_abi_of_the_header(self) -> None:
        dynamic = sh("readelf", "-d", prefix() / "lib" / "libairgap.so").stdout
        soname = re.search(r"SONAME.*\[(.*)\]", dynamic)[1]
        abi = re.search(r"AIRGAP_ABI_VERSION (\d+)", HEADER.read_text())[1]
        self.assertEqual(soname, f"libairgap.so.{abi}")
        self.assertTrue((prefix() / "lib" / soname).exists())


class Consumers(Case):
    """Programs of others, built as their own build systems do it."""

    def setUp(self) -> None:
        super().setUp()
        self.source = self.folder / "source"
        shutil.copytree(CONSUMERS, self.source)
        self.environment |= {
            "PKG_CONFIG_PATH": f"{prefix()}/lib/pkgconfig",
            "LD_LIBRARY_PATH": f"{prefix()}/lib",
        }

    def says(self, program: object, **environment: str) -> None:
        self.assertEqual(sh(program, env=self.environment | environment).stdout, SAYS)

    def test_pkg_config(self) -> None:
        sh("make", "-C", self.source, f"CFLAGS={' '.join(STRICT)}", env=self.environment)
        self.says(self.source / "consumer")

    def test_pkg_config_static(self) -> None:
        flags = sh("pkg-config", "--static", "--cflags", "--libs", "airgap", env=self.environment).stdout.split()
        flags = ["-l:libairgap.a" if flag == "-lairgap" else flag for flag in flags]
        program = self.folder / "consumer"
        sh("cc", *STRICT, self.source / "consumer.c", "-o", program, *flags)
        self.assertNotIn("libairgap", sh("readelf", "-d", program).stdout)
        self.says(program, LD_LIBRARY_PATH="")

    def test_cmake_also_where_the_folder_was_moved(self) -> None:
        moved = self.folder / "moved there"
        shutil.copytree(prefix(), moved, symlinks=True)
        build = self.folder / "build"
        sh("cmake", "-S", self.source, "-B", build, f"-DCMAKE_PREFIX_PATH={moved}",
           f"-DCMAKE_C_FLAGS={' '.join(STRICT)}", env=self.environment)
        sh("cmake", "--build", build)
        self.says(build / "consumer", LD_LIBRARY_PATH="")
        self.says(build / "consumer-static", LD_LIBRARY_PATH="")
        self.assertIn("[libairgap.so.0]", sh("readelf", "-d", build / "consumer").stdout)
        self.assertNotIn("libairgap", sh("readelf", "-d", build / "consumer-static").stdout)

    def test_cmake_refuses_another_series(self) -> None:
        for version, taken in (("0.1.0", True), ("0.1.1", False), ("0.2", False), ("1.0", False)):
            with self.subTest(version):
                text = (CONSUMERS / "CMakeLists.txt").read_text()
                (self.source / "CMakeLists.txt").write_text(text.replace("airgap 0.1 ", f"airgap {version} "))
                done = sh("cmake", "-S", self.source, "-B", self.folder / version,
                          f"-DCMAKE_PREFIX_PATH={prefix()}", check=False)
                self.assertEqual(done.returncode == 0, taken, done.stderr)

    def test_meson(self) -> None:
        build = self.folder / "build"
        sh("meson", "setup", "--werror", "-Dwarning_level=3", build, self.source, env=self.environment)
        sh("meson", "compile", "-C", build, env=self.environment)
        self.says(build / "consumer")


class Header(Case):
    """The header by itself."""

    def test_it_compiles_alone_in_every_standard(self) -> None:
        for language, standards, compilers in (
            ("c", ("c99", "c11", "c17"), ("gcc", "clang")),
            ("c++", ("c++17",), ("g++", "clang++")),
        ):
            source = self.folder / "alone"
            source.write_text("#include <airgap.h>\n")
            for standard in standards:
                for compiler in compilers:
                    with self.subTest(standard=standard, compiler=compiler):
                        sh(compiler, f"-std={standard}", *STRICT, f"-I{prefix()}/include",
                           "-x", language, "-fsyntax-only", source)


class Manual(Case):
    """The page airgap(3)."""

    def setUp(self) -> None:
        super().setUp()
        self.page = prefix() / "share" / "man" / "man3" / "airgap.3"

    def test_it_has_every_function_and_no_mistake(self) -> None:
        named = re.findall(r"^\.SS (airgap_\w+)$", self.page.read_text(), flags=re.M)
        self.assertEqual(named, [function.name for function in functions()])
        for page in (self.page, prefix() / "share" / "man" / "man8" / "airgap.8"):
            done = sh("groff", "-man", "-Tutf8", "-ww", page)
            self.assertEqual(done.stderr, "")

    def test_its_example_seals(self) -> None:
        example = re.search(r'^\.\\" example$(.*?)^\.\\" end$', self.page.read_text(), flags=re.M | re.S)[1]
        source = self.folder / "example.c"
        source.write_text(example.replace("\\e", "\\"))
        program = self.build(source)
        policy = ROOT / "examples" / "connector.toml"
        done = self.run_program(program, policy)
        self.assertIn("allow: tcp from the host to 34.95.12.47, port 443\n", done.stdout)
        self.addCleanup(sh, "nft", "flush", "ruleset")
        self.assertIn("table inet airgap", sh("nft", "list", "tables").stdout)
        done = self.run_program(program, self.folder / "none.toml", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("none.toml", done.stderr)
