"""The tables of probes and of standing flows, read from the files beside this one."""

from __future__ import annotations

import fnmatch
import os
from dataclasses import dataclass

from net import LabError

HERE = os.path.dirname(os.path.abspath(__file__))

# `pass` and `block` are judged always; `strict` is blocked under strict and not judged otherwise;
# `known` is a way that stays open and is written down: it is reported and not judged.
EXPECTED = ("pass", "block", "strict", "known")


@dataclass(frozen=True)
class Probe:
    """One line of a table: somebody sends something, and it arrives or does not."""

    name: str
    place: str
    sends: str
    at: tuple[str, ...]
    expected: str
    shows: str
    # Whose address a packet that passes has to carry when it arrives.
    source: str | None = None
    # The kind of containers that the probe speaks of, if it is not any.
    kind: str | None = None

    def blocked(self, strict: bool) -> bool:
        """Whether the sealed host has to stop it."""
        return self.expected == "block" or (self.expected == "strict" and strict)


@dataclass(frozen=True)
class Flow:
    """One flow that stands."""

    name: str
    opener: str
    opens: str
    acceptor: str
    since: str
    expected: str
    shows: str


def _lines(file: str, columns: int) -> list[list[str]]:
    with open(f"{HERE}/{file}") as table:
        rows = [[cell.strip() for cell in line.split("|")] for line in table if line.strip() and line[0] != "#"]
    for row in rows:
        if len(row) != columns:
            raise LabError(f"{file}: `{row[0]}` has {len(row)} columns, not {columns}")
    return rows


def _probe(row: list[str]) -> Probe:
    name, place, sends, at, expected, shows = row
    verdict, *notes = expected.split()
    if verdict not in EXPECTED:
        raise LabError(f"probe `{name}`: expected `{verdict}` is none of {', '.join(EXPECTED)}")
    source = next((note.partition("=")[2] for note in notes if note.startswith("source=")), None)
    kind = next((note for note in notes if note in ("docker", "plain")), None)
    return Probe(name, place, sends, tuple(at.split(",")), verdict, shows, source, kind)


def _chosen(names: list[str], only: str | None) -> set[str]:
    if len(set(names)) != len(names):
        raise LabError(f"two probes are called {sorted(name for name in names if names.count(name) > 1)[0]}")
    return {name for name in names if only is None or fnmatch.fnmatch(name, only)}


def probes(kind: str, only: str | None = None, late: bool = False) -> list[Probe]:
    """The probes for this kind of containers; `late` are those of networks that come later."""
    files = ["late.table"] if late else ["out.table", "containers.table", "inside.table", "in.table"]
    found = [_probe(row) for file in files for row in _lines(file, 6)]
    chosen = _chosen([probe.name for probe in found], only)
    return [probe for probe in found if probe.name in chosen and probe.kind in (None, kind)]


def flows(only: str | None = None) -> list[Flow]:
    """All standing flows."""
    found = [Flow(*row) for row in _lines("flows.table", 7)]
    chosen = _chosen([flow.name for flow in found], only)
    return [flow for flow in found if flow.name in chosen]
