#!/usr/bin/env python3
"""Shows an air gap with packets: what gets through before `airgap apply`, and what after.

    python3 tests/lab/demo.py --airgap target/release/airgap

Builds a host with real containers and a world around it in network namespaces,
seals the host with examples/connector.toml, and takes it all down again. Exits
with 1 if something leaked or was cut.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from airgap import Airgap
from net import Cleanup, LabError
from probes import HERE, Flow, Probe
from rounds import Rounds
from world import Lab

POLICY = os.path.normpath(f"{HERE}/../../examples/connector.toml")

# What is shown; each line: whether the policy opens it, who sends what to where, in words.
SHOWN = """
The host, out
open   | host  | tcp allowed:443            | world | its cloud service, 34.95.12.47:443
open   | host  | tcp small:443 bulk 200000  | world | 35.203.36.11:443, 200 kB over a narrow hop
open   | host  | udp resolver:53            | world | its name server, 192.0.2.53
open   | host  | frame udp 255.255.255.255:67 from 0.0.0.0:68 on eth0 to broadcast | world | DHCP
shut   | host  | tcp forbidden:443          | world | any other address, 203.0.113.9:443
shut   | host  | tcp allowed:80             | world | its cloud service on another port
shut   | host  | tcp forbidden6:443         | world | any other address over IPv6
shut   | host  | udp forbidden:53           | world | another name server
shut   | host  | ping forbidden             | world | ping
shut   | host  | raw 47 forbidden           | world | a GRE tunnel
shut   | host  | raw udp forbidden:67 from host:68 | world | packets dressed as DHCP
shut   | host  | raw ns forbidden6 for forbidden6 from host6 ttl 255 | world | packets dressed as neighbour discovery
shut   | host  | tcp forbidden:443 lsrr allowed | world | a source route by way of the cloud service
shut   | host  | tcp allowed:443 from :dnat | world | a foreign DNAT that bends an allowed dial
A container on docker0, out
shut   | a     | tcp forbidden:443          | world | any address
shut   | a     | tcp allowed:443            | world | the host's cloud service
shut   | a     | udp resolver:53            | world | the host's name server
shut   | a     | udp forbidden6:9999        | world | any address over IPv6
shut   | a     | raw tcp/S allowed:443 from host | world | the same in the host's clothes
Inside
open   | a     | tcp gw-docker0:7777        | host  | container to host
open   | host  | tcp a:80                   | a     | host to container
open   | a     | tcp b:80                   | b     | container to container on docker0
shut   | a     | tcp c:80                   | c     | container to another network's container
shut   | l     | tcp gw-loose0:7777         | host  | a container of another network to the host
The world, in
shut   | world | tcp host:22 from admin     | host  | ssh
shut   | world | tcp host6:22 from admin6   | host  | ssh over IPv6
shut   | world | ping host from stranger    | host  | ping
shut   | world | tcp host:8080 from stranger | a,host | a published port
shut   | world | tcp host6:8080 from stranger6 | a,host | a published port over IPv6
shut   | world | tcp a:80 from stranger     | a     | a container, dialled directly
shut   | world | frame udp forbidden:9999 from stranger on w0 | world | the host as a router
"""

STANDING = [
    Flow("stands-allowed", "host", "tcp allowed:443", "world", "before", "lives", "to its cloud service"),
    Flow("stands-out", "host", "tcp forbidden:443", "world", "before", "dies", "to any other address"),
    Flow("stands-in", "world", "tcp host:22 from admin", "host", "before", "dies", "ssh from outside"),
    Flow("stands-udp", "world", "udp host:9999 from stranger", "host", "before", "dies", "UDP from outside, answers too"),
    Flow("stands-container", "a", "tcp forbidden:443", "world", "before", "dies", "out of a container"),
]


def rows() -> list[tuple[str, Probe]]:
    """The demonstration's lines, each with the heading that it stands under."""
    found, heading = [], ""
    for line in SHOWN.strip().split("\n"):
        if "|" not in line:
            heading = line
            continue
        state, place, sends, at, words = (cell.strip() for cell in line.split("|"))
        expected = "pass" if state == "open" else "block"
        found.append((heading, Probe(f"demo-{len(found)}", place, sends, tuple(at.split(",")), expected, words)))
    return found


class Paint:
    """Colours for a terminal, nothing for a file."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def __call__(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._on else text


async def demonstrate(path: str, kind: str, paint: Paint) -> int:
    """The whole demonstration; returns the number of lines that were not as the policy says."""
    cleanup = Cleanup()
    rounds: Rounds | None = None
    start = time.monotonic()
    try:
        print(f"Building a host with {'real Docker' if kind == 'docker' else 'plain'} containers, and a world around it ...",
              end="", flush=True)
        lab = Lab(cleanup, kind)
        lab.accept_everything()
        rounds = Rounds(lab)
        airgap = Airgap(cleanup, path, lab.host_name)
        print(f" {time.monotonic() - start:.0f} s")
        table = rows()
        probes = [probe for _, probe in table]
        await rounds.open_flows(STANDING, "standing")
        await rounds.control(probes, "before")
        sealing = time.monotonic()
        airgap.apply_file(POLICY)
        print(f"airgap apply examples/{os.path.basename(POLICY)}: {(time.monotonic() - sealing) * 1000:.0f} ms\n")
        await rounds.continue_flows(STANDING, "flows")
        await rounds.sealed(probes, False, "after")
        return _print(rounds, table, paint, time.monotonic() - start)
    finally:
        if rounds:
            await rounds.close()
        cleanup.close()


def _print(rounds: Rounds, table: list[tuple[str, Probe]], paint: Paint, seconds: float) -> int:
    before = {result.name: result for result in rounds.results if result.stage == "before"}
    after = {result.name: result for result in rounds.results if result.stage == "after"}
    width = max(len(probe.shows) for _, probe in table) + 2
    wrong = 0

    def cell(through: bool, due: bool) -> str:
        text = f"{'through' if through else '-':<10}"
        return paint("32" if through else "2", text) if through == due else paint("1;31", text)

    print(" " * (width + 2) + paint("1", f"{'before':<10}{'after':<10}"))
    heading = ""
    for name, probe in table:
        if name != heading:
            heading = name
            print(paint("1", heading))
        due = probe.expected == "pass"
        was = before[probe.name].verdict == "ok"
        now = (after[probe.name].verdict == "ok") == due
        note = "" if was and now == due else paint("1;31", "LEAK" if now and not due else "CUT" if was else "BROKEN")
        wrong += bool(note)
        print(f"  {probe.shows:<{width}}{cell(was, True)}{cell(now, due)}{note}")
        if note:
            print(f"    {(after if was else before)[probe.name].text}")
    print(paint("1", "Flows that stood before, either side going on"))
    for flow in STANDING:
        sides = [result for result in rounds.results if result.name.startswith(flow.name + "/")]
        opened = len(sides) == 2
        good = opened and all(side.verdict == "ok" for side in sides)
        due = flow.expected == "lives"
        note = "" if good else paint("1;31", "BROKEN" if not opened else "CUT" if due else "LEAK")
        wrong += not good
        print(f"  {flow.shows:<{width}}{cell(opened, True)}{cell(due if good else not due, due)}{note}")
    shut = sum(probe.expected == "block" for _, probe in table)
    print(f"\n{len(table)} kinds of packets, counted where they arrive: {len(table) - shut} ways are open, {shut} are shut. "
          + (paint("1;32", "No leak, nothing cut.") if not wrong else paint("1;31", f"{wrong} are not as the policy says."))
          + f" {seconds:.0f} s")
    return wrong


def main() -> int:
    """Runs the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--airgap", default=os.environ.get("AIRGAP", "target/release/airgap"),
                        help="the command (default: $AIRGAP or %(default)s)")
    parser.add_argument("--containers", choices=("docker", "plain"), default="docker")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("the demonstration makes network namespaces: it needs root")
    paint = Paint(sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    try:
        return 1 if asyncio.run(demonstrate(os.path.abspath(options.airgap), options.containers, paint)) else 0
    except LabError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; everything is taken down")
        sys.exit(130)
