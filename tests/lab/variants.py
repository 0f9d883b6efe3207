"""What happens to a sealed host before the tables run: each variant is a story of its own."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable

import probes
from airgap import Airgap, table_policy
from net import Cleanup, LabError
from rounds import Result, Rounds
from world import Lab

ACCEPT_ALL = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"


class Story:
    """A laboratory on its way: unsealed, sealed, and what somebody does to it then."""

    def __init__(self, cleanup: Cleanup, airgap: str, kind: str, only: str | None, strict: bool = False) -> None:
        self.kind = kind
        self.strict = strict
        self.lab = Lab(cleanup, kind)
        self.lab.accept_everything()
        self.rounds = Rounds(self.lab)
        self.airgap = Airgap(cleanup, airgap, self.lab.host_name)
        self.only = only
        self.table = probes.probes(kind, only)
        self.flows = probes.flows(only)

    def _flows(self, since: str, expected: str | None = None) -> list[probes.Flow]:
        return [flow for flow in self.flows if flow.since == since and expected in (None, flow.expected)]

    async def control(self) -> None:
        """Opens the flows that are to stand, and shows that every probe gets through."""
        await self.rounds.open_flows(self._flows("before"), "before")
        await self.rounds.control(self.table)

    async def seal(self) -> None:
        """Closes the air gap; the flows that have no opening die at once."""
        self.airgap.apply(table_policy(self.strict))
        await self.rounds.continue_flows(self._flows("before"), "sealed")

    async def tables(self, stage: str, expected: str | None = None) -> None:
        """Runs the whole table, or the part that is expected so, and the flows that stood before."""
        table = [probe for probe in self.table if expected in (None, probe.expected)]
        await self.rounds.sealed(table, self.strict, stage)
        verdict = {"pass": "lives", "block": "dies", None: None}[expected]
        await self.rounds.continue_flows(self._flows("before", verdict), stage)

    async def withdraw(self) -> None:
        """Opens flows under the policy, then applies one that lacks some of their openings."""
        await self.rounds.open_flows(self._flows("under"), "under the policy")
        self.airgap.apply(table_policy(self.strict, withdrawn=True))
        await self.rounds.continue_flows(self._flows("under"), "withdrawn")
        await self.rounds.continue_flows(self._flows("before"), "withdrawn")


async def variant_a(story: Story) -> None:
    """after the first apply"""
    await story.control()
    await story.seal()
    await story.tables("sealed")
    # Docker's own rules alone: what the policy opens must not depend on the administrator's accept.
    story.lab.stop_accepting()
    await story.tables("beside Docker's rules", "pass")
    story.lab.accept_everything()
    await story.withdraw()


async def variant_b(story: Story) -> None:
    """after dockerd was restarted and networks and containers were added"""
    await story.control()
    await story.seal()
    story.lab.engine.restart()
    # The connections of a docker-proxy end with it.
    story.rounds.forget("live-published6")
    await story.tables("restarted")
    story.lab.add_late()
    story.rounds.open_containers()
    late = probes.probes(story.kind, story.only, late=True)
    await story.rounds.sealed(late, story.strict, "added")
    await story.tables("added")
    await story.withdraw()
    story.airgap.remove()
    # The added ones had no control run before; and removing has to open everything again.
    # Docker's own resolver does not live through the restart of its daemon.
    table = [probe for probe in story.table if probe.name != "docker-dns"]
    await story.rounds.control([*late, *table], "removed")


async def variant_c(story: Story) -> None:
    """after iptables -F, -P ACCEPT and iptables-restore by somebody else"""
    for tool in ("iptables", "ip6tables"):
        if not shutil.which(tool):
            raise LabError(f"variant c needs `{tool}`, which is not installed")
    await story.control()
    await story.seal()
    host = story.lab.host
    for tool in ("iptables", "ip6tables"):
        host.run(tool, "-F")
        for chain in ("INPUT", "FORWARD", "OUTPUT"):
            host.run(tool, "-P", chain, "ACCEPT")
    await story.tables("flushed")
    for tool in ("iptables", "ip6tables"):
        host.run(f"{tool}-restore", stdin=ACCEPT_ALL)
    await story.tables("restored")
    # Docker's translations gone too: containers' addresses would show outside.
    # Published ports end with them, so only what is blocked is judged.
    host.run("iptables", "-t", "nat", "-F")
    await story.tables("nat flushed", "block")


async def variant_d(story: Story) -> None:
    """br_netfilter off, switched on after sealing, and on before it"""
    story.lab.bridge_filter(False)
    await story.control()
    await story.seal()
    await story.tables("br_netfilter off")
    story.lab.bridge_filter(True)
    await story.tables("br_netfilter switched on")
    story.airgap.remove()
    await story.rounds.control(story.table, "removed, br_netfilter on")
    story.airgap.apply(table_policy(story.strict))
    await story.rounds.sealed(story.table, story.strict, "br_netfilter on")


async def variant_e(story: Story) -> None:
    """with strict"""
    await story.control()
    await story.seal()
    await story.tables("strict")
    await story.withdraw()


VARIANTS: dict[str, Callable[[Story], Awaitable[None]]] = {
    "a": variant_a, "b": variant_b, "c": variant_c, "d": variant_d, "e": variant_e,
}


async def run_variant(letter: str, airgap: str, kind: str, only: str | None, control_only: bool) -> list[Result]:
    """Builds a laboratory, runs a variant in it and takes it down; returns what was found."""
    cleanup = Cleanup()
    story: Story | None = None
    try:
        story = Story(cleanup, airgap, kind, only, strict=letter == "e")
        try:
            if control_only:
                await story.control()
            else:
                await VARIANTS[letter](story)
        except LabError as error:
            story.rounds.results.append(Result("laboratory", f"variant {letter}", "ERROR", str(error)))
        return story.rounds.results
    except LabError as error:
        return [Result("laboratory", f"variant {letter}", "ERROR", str(error))]
    finally:
        if story:
            await story.rounds.close()
        cleanup.close()
