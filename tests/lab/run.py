#!/usr/bin/env python3
"""Runs the laboratory: real packets show what a sealed host lets in and out.

    python3 tests/lab/run.py --airgap target/release/airgap
    python3 tests/lab/run.py --control-only
    python3 tests/lab/run.py --airgap ... --variant e --only 'packet-*'

Needs root, nft and, unless --containers plain, dockerd. Everything happens in
network namespaces of its own, which are gone afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import Counter

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from rounds import Result
from variants import VARIANTS, run_variant


def main() -> int:
    """Runs the chosen variants; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--airgap", default=os.environ.get("AIRGAP", "target/release/airgap"),
                        help="the command under test (default: $AIRGAP or %(default)s)")
    parser.add_argument("--variant", default="all", help="letters of " + ",".join(VARIANTS) + ", or `all`")
    parser.add_argument("--containers", choices=("docker", "plain"), default="docker")
    parser.add_argument("--only", metavar="GLOB", help="only probes and flows with such names")
    parser.add_argument("--control-only", action="store_true", help="only show that every probe gets through unsealed")
    parser.add_argument("--verbose", action="store_true", help="also list what passed")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("the laboratory makes network namespaces: it needs root")
    letters = list(VARIANTS) if options.variant == "all" else options.variant.split(",")
    if unknown := [letter for letter in letters if letter not in VARIANTS]:
        parser.error(f"there is no variant {', '.join(unknown)}")
    if options.control_only:
        letters = letters[:1]
    everything: list[Result] = []
    for letter in letters:
        start = time.monotonic()
        story = "control run" if options.control_only else f"variant {letter}: {VARIANTS[letter].__doc__}"
        print(f"{story} ({options.containers})", flush=True)
        results = asyncio.run(run_variant(letter, os.path.abspath(options.airgap), options.containers, options.only,
                                          options.control_only))
        _report(results, time.monotonic() - start, options.verbose)
        everything += results
    failed = sum(result.failed for result in everything)
    if not everything:
        print("no probe has such a name")
        failed = 1
    print(f"{len(everything) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _report(results: list[Result], seconds: float, verbose: bool) -> None:
    for stage in dict.fromkeys(result.stage for result in results):
        counts = Counter(result.verdict for result in results if result.stage == stage)
        print(f"  {stage}: " + ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items())))
    for result in results:
        if result.failed:
            print(f"  {result.verdict:6} {result.name} [{result.stage}] {result.text}")
            if result.shows:
                print(f"         {result.shows}")
        elif verbose:
            print(f"  {result.verdict:6} {result.name} [{result.stage}] {result.text}")
    known = sorted({result.name for result in results if result.verdict == "open"})
    if known:
        print("  known to stay open: " + ", ".join(known))
    print(f"  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; everything is taken down")
        sys.exit(130)
