"""What loading, changing and planning cost, by the size of the policy."""

import subprocess
import tempfile
from pathlib import Path

import policies
from measure import AIRGAP, BENCH, Taken, flush, run, sh


def rounds_for(size: int) -> int:
    return 3 if size >= 1_000_000 else 5


def peer_text(path: Path, networks: list[str], sets: int) -> Path:
    """The same networks for nft(8), which merges them itself."""
    elements = ", ".join(networks)
    one = "set s%d {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {elements} }}; }}".format(elements=elements)
    path.write_text("table inet peer {\n" + "\n".join(one % n for n in range(sets)) + "\n}\n")
    return path


def pairs(folder: Path, size: int, go: str | None) -> dict[str, Taken]:
    """Exact pairs, loaded in every way."""
    toml, js = (policies.pairs(folder / f"pairs.{form}", size) for form in ("toml", "json"))
    batch, text, rules = folder / "pairs.batch", folder / "pairs.nft", folder / "pairs.rules"
    sh(BENCH, "record", toml, batch)
    with text.open("wb") as out:
        subprocess.run([AIRGAP, "show", str(toml)], check=True, stdout=out)
    policies.iptables(rules, size)
    names = ["floor", "library", "airgap apply, TOML", "airgap apply, JSON", "nft -f"]
    taken = {name: Taken() for name in names}
    for number in range(rounds_for(size)):
        taken["floor"].add(float(sh(BENCH, "floor", batch).stdout))
        flush()
        wall, memory = sh(BENCH, "load", toml).stdout.split()
        taken["library"].add(float(wall), 0.0, int(memory))
        sh(AIRGAP, "remove")
        for form, path in (("TOML", toml), ("JSON", js)):
            run(taken[f"airgap apply, {form}"], AIRGAP, "apply", path)
            sh(AIRGAP, "remove")
        run(taken["nft -f"], "nft", "-f", text)
        flush()
        # Both take their time, and say the same each time.
        if number == 0 and size <= 100_000:
            run(taken.setdefault("iptables-restore", Taken()), "iptables-nft-restore", rules)
            flush()
            if go:
                wall = float(sh(go, str(size)).stdout)
                taken.setdefault("google/nftables", Taken()).add(wall)
                flush()
    return taken


def networks(folder: Path, size: int) -> dict[str, Taken]:
    """CIDRs that overlap and nest, for three services each."""
    policy = policies.ranges(folder / "networks.toml", size)
    batch = folder / "networks.batch"
    sh(BENCH, "record", policy, batch)
    text = peer_text(folder / "networks.nft", policies.networks(size), 3)
    taken = {name: Taken() for name in ("floor", "library", "airgap apply, TOML", "nft -f")}
    for number in range(3):
        taken["floor"].add(float(sh(BENCH, "floor", batch).stdout))
        flush()
        wall, memory = sh(BENCH, "load", policy).stdout.split()
        taken["library"].add(float(wall), 0.0, int(memory))
        sh(AIRGAP, "remove")
        run(taken["airgap apply, TOML"], AIRGAP, "apply", policy)
        sh(AIRGAP, "remove")
        if number == 0 or size <= 10_000:
            run(taken["nft -f"], "nft", "-f", text)
            flush()
    return taken


def combined(folder: Path, size: int) -> dict[str, Taken]:
    """CIDRs with ranges of ports of their own."""
    policy = policies.combined(folder / "combined.toml", size)
    batch = folder / "combined.batch"
    sh(BENCH, "record", policy, batch)
    taken = {name: Taken() for name in ("floor", "library")}
    for _ in range(2):
        taken["floor"].add(float(sh(BENCH, "floor", batch).stdout))
        flush()
        wall, memory = sh(BENCH, "load", policy).stdout.split()
        taken["library"].add(float(wall), 0.0, int(memory))
        sh(AIRGAP, "remove")
    return taken


def changed(one: Path, other: Path, rounds: int) -> dict[str, Taken]:
    """From one policy to another and back, by a program that has both in memory."""
    taken = {"plan": Taken(), "apply": Taken()}
    for line in sh(BENCH, "change", one, other, str(rounds)).stdout.splitlines():
        for name, wall in zip(taken, line.split()):
            taken[name].add(float(wall))
    sh(AIRGAP, "remove")
    return taken


def one_pair(folder: Path, size: int) -> dict[str, Taken]:
    """One pair more, and one less."""
    one = policies.pairs(folder / "one.toml", size)
    other = policies.pairs(folder / "other.toml", size + 1)
    taken = changed(one, other, 3)
    sh(AIRGAP, "apply", one)
    for path in (other, one, other, one):
        run(taken.setdefault("airgap apply", Taken()), AIRGAP, "apply", path)
    sh(AIRGAP, "remove")
    return taken


def exchanged(folder: Path, size: int) -> dict[str, Taken]:
    """A thousand exchanged among ranges."""
    one = policies.ranges(folder / "one.toml", size)
    other = policies.ranges(folder / "other.toml", size, swapped=min(1000, size))
    return changed(one, other, 3)


def unchanged(folder: Path, size: int) -> dict[str, Taken]:
    """A plan where nothing is to be done, beside reading the ruleset by nft(8)."""
    policy = policies.pairs(folder / "same.toml", size)
    sh(AIRGAP, "apply", policy)
    taken = {name: Taken() for name in ("airgap plan", "airgap plan, after others changed something", "nft list ruleset")}
    slow = 1 if size >= 1_000_000 else 3
    for _ in range(3):
        run(taken["airgap plan"], AIRGAP, "plan", policy)
    for _ in range(slow):
        run(taken["nft list ruleset"], "nft", "list", "ruleset")
    sh("nft", "add", "table", "ip", "other")
    for _ in range(slow):
        run(taken["airgap plan, after others changed something"], AIRGAP, "plan", policy)
    sh(AIRGAP, "remove")
    flush()
    return taken


def start(folder: Path) -> dict[str, Taken]:
    """The command from its start to its end, with a small policy."""
    policy = policies.pairs(folder / "small.toml", 3)
    sh(AIRGAP, "apply", policy)
    taken = {"airgap plan": Taken(), "airgap --version": Taken(), "true": Taken()}
    for _ in range(20):
        run(taken["airgap plan"], AIRGAP, "plan", policy)
        run(taken["airgap --version"], AIRGAP, "--version")
        run(taken["true"], "true")
    sh(AIRGAP, "remove")
    return taken


def in_a_folder(work, *arguments) -> dict[str, Taken]:
    with tempfile.TemporaryDirectory(prefix="airgap-bench-") as folder:
        return work(Path(folder), *arguments)
