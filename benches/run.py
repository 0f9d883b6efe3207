"""Measures what airgap costs, and writes docs/performance.md.

    python3 benches/run.py [--sizes 1000,10000,100000,1000000] [--go BINARY] [--out FOLDER]

It works as root, in a network namespace of its own.
"""

import argparse
import os
import platform
import tempfile
from pathlib import Path

import loading
import packets
import report
from measure import ROOT, enter_namespace, sh

PAGE = """\
# Performance

Made by `make bench`, which anybody can run. Every figure is a ratio of something that was measured in the same run, on
the same machine, one after the other: times alone say more of the machine than of the program. The middle of the rounds
is given, and half the way from the lowest to the highest as ±. What airgap keeps of a policy goes to `/dev/shm` and to
the disk, as on a host to `/run` and `/var`.

The floor is one `sendmsg` of the bytes of the same batch, ready made: less is not possible. `nft -f` reads the text that
`airgap show` prints, with the sizes of the sets that make it four times as fast. The library's memory is what it takes
above the policy.

Machine: {machine}.
"""


def machine() -> str:
    model = next((line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    nft = sh("nft", "--version").stdout.split()[1]
    return f"{os.cpu_count()} processors ({model}), Linux {platform.release()}, nft {nft}"


def main() -> None:
    enter_namespace()
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--go", help="the program of benches/peer")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    medium = [size for size in sizes if size <= 100_000]
    with tempfile.TemporaryDirectory(prefix="airgap-bench-run-", dir="/dev/shm") as run, tempfile.TemporaryDirectory() as kept:
        os.environ["AIRGAP_RUN_DIR"], os.environ["AIRGAP_STATE_DIR"] = run, kept
        page = measure(sizes, medium, arguments.go, arguments.out)
    (arguments.out / "performance.md").write_text("\n".join(page) + "\n")


def each(sizes: list[int], work, *arguments) -> dict:
    found = {}
    for size in sizes:
        print(f"{work.__name__}: {size}", flush=True)
        found[size] = loading.in_a_folder(work, size, *arguments)
    return found


def measure(sizes: list[int], medium: list[int], go: str | None, out: Path) -> list[str]:
    page = [PAGE.format(machine=machine()), "## Loading"]
    for title, name, of, work, arguments, base in (
        ("Exact allow pairs", "pairs", sizes, loading.pairs, (go,), "floor"),
        ("CIDRs as providers publish them, three services each", "networks", medium, loading.networks, (), "floor"),
        ("CIDRs, each with a range of ports of its own", "combined", medium, loading.combined, (), "floor"),
    ):
        found = each(of, work, *arguments)
        page += report.loads(title, found, base)
        picture(page, out, title, name, found)
    page += ["", "## Changing"]
    for title, name, of, work, base in (
        ("One exact pair more and one less, both policies in memory, and by the command", "one", sizes, loading.one_pair, "apply"),
        ("1,000 of so many CIDRs exchanged, both policies in memory", "exchanged", medium, loading.exchanged, "apply"),
        ("A plan where nothing is to be done", "unchanged", sizes, loading.unchanged, "nft list ruleset"),
    ):
        found = each(of, work)
        page += report.loads(title, found, base)
        picture(page, out, title, name, found)
    page += ["", "## Start"] + report.loads("A small policy", {3: loading.in_a_folder(loading.start)}, "true")
    page += ["", "## Packets"] + report.rates(packets.all_rates())
    limits = Path(__file__).with_name("limits.md")
    return page + ["", limits.read_text().rstrip()]


def picture(page: list[str], out: Path, title: str, name: str, found: dict) -> None:
    if len(found) > 1:
        path = out / "performance" / f"{name}.svg"
        path.parent.mkdir(exist_ok=True)
        report.plot(path, title, found)
        page += ["", f"![{title}](performance/{name}.svg)"]


if __name__ == "__main__":
    main()
