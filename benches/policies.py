"""Policies to measure with. All targets are private or documentation addresses."""

import random
from pathlib import Path


def address(n: int) -> str:
    return f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"


def port(n: int) -> int:
    return 1 + n % 65000


def pairs(path: Path, count: int, first: int = 0) -> Path:
    """Exact allow pairs, as TOML or, by the path, as JSON."""
    with path.open("w") as out:
        numbers = range(first, first + count)
        if path.suffix == ".json":
            entries = (f'{{"to":"{address(n)}","port":{port(n)}}}' for n in numbers)
            out.write('{"version":1,"allow":[' + ",\n".join(entries) + "]}")
        else:
            out.write("version = 1\n")
            out.writelines(f'\n[[allow]]\nto = "{address(n)}"\nport = {port(n)}\n' for n in numbers)
    return path


def networks(count: int, seed: int = 1) -> list[str]:
    """CIDRs as providers publish them: of all sizes, next to and inside each other."""
    dice = random.Random(seed)
    found: list[str] = []
    while len(found) < count:
        length = dice.choices([16, 20, 22, 23, 24, 26, 28, 30, 32], [1, 4, 8, 10, 40, 10, 10, 7, 10])[0]
        base = dice.getrandbits(24) << 8 | dice.getrandbits(8)
        base = 10 << 24 | base & 0xFFFFFF
        base &= 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF
        found.append(f"{base >> 24}.{base >> 16 & 255}.{base >> 8 & 255}.{base & 255}/{length}".removesuffix("/32"))
    return found


def ranges(path: Path, count: int, ports: str = "[80, 443, 8443]", seed: int = 1, swapped: int = 0) -> Path:
    """CIDRs with several services each, `swapped` of them others."""
    found = networks(count, seed)
    if swapped:
        found[:swapped] = networks(swapped, seed + 1)
    quoted = ", ".join(f'"{cidr}"' for cidr in found)
    path.write_text(f"version = 1\n[[allow]]\nto = [{quoted}]\nport = {ports}\n")
    return path


def combined(path: Path, count: int) -> Path:
    """CIDRs with ranges of ports of their own."""
    with path.open("w") as out:
        out.write("version = 1\n")
        for n, cidr in enumerate(networks(count)):
            low = 1 + n * 7 % 60000
            out.write(f'[[allow]]\nto = "{cidr}"\nport = "{low}-{low + 1 + n % 900}"\n')
    return path


def iptables(path: Path, count: int) -> Path:
    """The pairs as rules for iptables-restore."""
    with path.open("w") as out:
        out.write("*filter\n:OUTPUT DROP [0:0]\n")
        out.writelines(f"-A OUTPUT -p tcp -d {address(n)} --dport {port(n)} -j ACCEPT\n" for n in range(count))
        out.write("COMMIT\n")
    return path
