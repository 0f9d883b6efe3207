"""Sends whole tables at once, watches what arrives, and judges it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from actions import Held, Sender, Sent, Tag, new_tag
from eyes import Eyes
from net import LabError
from packets import Seen
from probes import Flow, Probe
from servers import Servers
from world import Lab

# How long a packet that is due may take, and how long we look for one that must not come.
PATIENCE = 5.0
WATCH = 1.3


@dataclass
class Result:
    """What became of one probe in one round."""

    name: str
    stage: str
    verdict: str
    text: str
    shows: str = ""

    @property
    def failed(self) -> bool:
        """Whether this is a failure."""
        return self.verdict in ("LEAK", "CUT", "BROKEN", "ERROR")


@dataclass
class _Running:
    probe: Probe
    tag: Tag
    task: asyncio.Task[Sent] | None = None

    def sent(self) -> Sent | None:
        if self.task is None or not self.task.done() or self.task.cancelled() or self.task.exception():
            return None
        return self.task.result()

    def error(self) -> BaseException | None:
        """What went wrong with sending, other than the kernel's own refusal."""
        if self.task is None or not self.task.done() or self.task.cancelled():
            return None
        return self.task.exception()


@dataclass
class _Standing:
    flow: Flow
    held: Held
    hello: bytes
    marks: list[tuple[str, Tag]] = field(default_factory=list)


class Rounds:
    """The laboratory with its eyes and servers, and what was found in it so far."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.eyes = Eyes()
        self.servers = Servers()
        self.sender = Sender(lab, self.servers)
        self.results: list[Result] = []
        self._standing: dict[str, _Standing] = {}
        self._open_place("world", ["w0", "w1"])
        self._open_place("far", [])
        self.servers.serve(lab.host)
        self.eyes.stack("host", lab.host, ["eth0", "loose0"])
        if lab.kind == "docker":
            self.servers.stub(lab.host, "127.0.0.53", lab.names()["resolver"])
        self.open_containers()

    def _open_place(self, place: str, devices: list[str]) -> None:
        ns = self.lab.places()[place]
        for device in devices:
            self.eyes.device(place, ns, device)
        self.servers.serve(ns, more_udp=(53,))

    def open_containers(self) -> None:
        """Puts eyes and servers into containers that have none yet."""
        for name in self.lab.containers:
            if not self.eyes.watches(name):
                self._open_place(name, ["eth0"])

    async def close(self) -> None:
        """Ends eyes and servers."""
        for standing in self._standing.values():
            standing.held.sock.close()
        await self.servers.close()
        self.eyes.close()

    def forget(self, name: str) -> None:
        """Stops judging a flow that stands: something else than the air gap ended it."""
        self._standing.pop(name, None)

    async def control(self, probes: list[Probe], stage: str = "control") -> None:
        """Without the air gap everything has to get through, else the probe is broken."""
        self.lab.listen_by_hand(True)
        for running in await self._send(probes, lambda probe: True):
            problem = self._missing(running, source=False)
            if problem:
                self._add(running.probe, stage, "BROKEN", f"does not get through even without the air gap: {problem}")
            else:
                self._add(running.probe, stage, "ok", "")
        self.lab.listen_by_hand(False)

    async def sealed(self, probes: list[Probe], strict: bool, stage: str) -> None:
        """With the air gap everything has to be as the table says."""
        for running in await self._send(probes, lambda probe: probe.expected == "pass"):
            probe, seen = running.probe, self._arrived(running)
            if running.error():
                self._add(probe, stage, "ERROR", f"could not be sent: {running.error()}")
            elif probe.blocked(strict):
                self._add(probe, stage, "LEAK" if seen else "ok", self._say(seen))
            elif probe.expected == "pass":
                problem = self._missing(running)
                self._add(probe, stage, "CUT" if problem else "ok", problem)
            else:
                self._add(probe, stage, "open" if seen else "shut", self._say(seen))

    async def open_flows(self, flows: list[Flow], stage: str) -> None:
        """Opens flows that are to stand; each opening carries bytes both ways."""
        async def opened(flow: Flow) -> None:
            tag = new_tag()
            try:
                held = await self.sender.hold(flow.opener, flow.opens, tag, PATIENCE)
            except LabError as error:
                verdict = "BROKEN" if flow.since == "before" else "CUT"
                self.results.append(Result(flow.name, stage, verdict, str(error), flow.shows))
                return
            self._standing[flow.name] = _Standing(flow, held, tag.mark)
            self.sender.held[flow.name] = held

        await asyncio.gather(*(opened(flow) for flow in flows))

    async def continue_flows(self, flows: list[Flow], stage: str) -> None:
        """Both sides of standing flows go on sending, the accepting one first."""
        standing = [self._standing[flow.name] for flow in flows if flow.name in self._standing]
        waits: list[tuple[_Standing, str, str, Tag]] = []
        for one in standing:
            tag = new_tag()
            answer = self.servers.peers.get(one.hello)
            if answer is None:
                self.results.append(Result(one.flow.name, stage, "BROKEN", "its server never met it"))
                continue
            try:
                answer(tag.mark)
            except OSError:
                pass
            waits.append((one, "accepting side", one.flow.opener, tag))
        # An answer that still gets out must not be helped by what the opener sends.
        await asyncio.sleep(0.3)
        for one in standing:
            tag = new_tag()
            one.held.send(tag.mark)
            waits.append((one, "opening side", one.flow.acceptor, tag))
        start = time.monotonic()

        def pending() -> bool:
            return any(one.flow.expected == "lives" and not self.eyes.seen(place, tag.mark)
                       for one, _, place, tag in waits)

        while time.monotonic() - start < WATCH or (pending() and time.monotonic() - start < PATIENCE):
            await asyncio.sleep(0.05)
        for one, side, place, tag in waits:
            # What docker-proxy took from outside is in the host, even if the container never sees it.
            places = (place, "host") if one.flow.name.startswith("dead-published") and place == "a" else (place,)
            seen = next((found for where in places if (found := self.eyes.seen(where, tag.mark))), None)
            if one.flow.expected == "dies":
                verdict = "LEAK" if seen else "ok"
            else:
                verdict = "ok" if seen else "CUT"
            text = self._say(seen) if verdict == "LEAK" else f"nothing arrived at {place}" if verdict == "CUT" else ""
            self.results.append(Result(f"{one.flow.name}/{side.split()[0]}", stage, verdict, text, one.flow.shows))

    async def _send(self, probes: list[Probe], awaited) -> list[_Running]:
        running = [_Running(probe, new_tag()) for probe in probes]
        loop = asyncio.get_running_loop()
        for number, one in enumerate(running):
            one.task = loop.create_task(self.sender.send(one.probe.place, one.probe.sends, one.tag, 60))
            if number % 8 == 7:
                # Time for the eyes: a full buffer would look like a packet that did not arrive.
                await asyncio.sleep(0.004)
        start = time.monotonic()

        def pending() -> bool:
            return any(awaited(one.probe) and self._missing(one, source=False) for one in running)

        while time.monotonic() - start < WATCH or (pending() and time.monotonic() - start < PATIENCE):
            await asyncio.sleep(0.05)
        for one in running:
            if one.task and not one.task.done():
                one.task.cancel()
        await asyncio.gather(*(one.task for one in running if one.task), return_exceptions=True)
        return running

    def _arrived(self, one: _Running) -> Seen | None:
        return next((seen for place in one.probe.at if (seen := self.eyes.seen(place, one.tag.mark, one.tag.port))), None)

    def _missing(self, one: _Running, source: bool = True) -> str:
        """What a packet that was due lacks: nothing, if it got through and was answered.

        With `source` it has to carry the address that it is due to carry, too;
        without the air gap nobody translates a forwarder's IPv6 flows.
        """
        if one.error():
            return f"could not be sent: {one.error()}"
        seen = self._arrived(one)
        sent = one.sent()
        if seen is None:
            return f"nothing arrived at {' or '.join(one.probe.at)}" + (f"; {sent.note}" if sent and sent.note else "")
        if one.probe.expected != "pass":
            return ""
        if one.task and (not one.task.done() or one.task.cancelled()):
            return f"arrived ({seen.text}), but no answer came back"
        if sent and sent.answered is False:
            return f"arrived ({seen.text}), but: {sent.note or 'the answer was cut short'}"
        if one.probe.source and source:
            due = self.lab.names()[one.probe.source]
            if seen.source != due:
                return f"arrived from {seen.source}, not from {due}"
        return ""

    @staticmethod
    def _say(seen: Seen | None) -> str:
        return f"arrived: {seen.text}" if seen else ""

    def _add(self, probe: Probe, stage: str, verdict: str, text: str) -> None:
        line = f"{probe.place}: {probe.sends}"
        self.results.append(Result(probe.name, stage, verdict, f"{line} -> {text}" if text else line, probe.shows))
