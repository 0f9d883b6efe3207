"""Which bridges and containers the laboratory's host has, however they are made.

Two kinds make them: `docker` (a real dockerd, see docker.py) and `plain`
(namespaces and bridges made by hand, see plain.py). Both answer to the small
interface here, so that one table of probes runs on both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from net import Namespace


@dataclass(frozen=True)
class Bridge:
    """A bridge of the host, with the host's own addresses on it."""

    name: str
    net4: str
    net6: str

    @property
    def gateway4(self) -> str:
        """The host's own address towards the containers."""
        return self.net4.split("/")[0].rsplit(".", 1)[0] + ".1"

    @property
    def gateway6(self) -> str:
        """The same in IPv6."""
        return self.net6.split("/")[0] + "1"


@dataclass
class Container:
    """A container: its bridge, its addresses and the ports that it publishes."""

    name: str
    bridge: Bridge
    ip4: str
    ip6: str
    # The port of the host, the port of the container.
    publish_tcp: dict[int, int] = field(default_factory=dict)
    publish_udp: dict[int, int] = field(default_factory=dict)
    ns: Namespace | None = None


def _bridge(name: str, number: int) -> Bridge:
    return Bridge(name, f"172.{number}.0.0/16", f"2001:db8:{number}::/64")


def _container(name: str, bridge: Bridge, last: int, **more: dict[int, int]) -> Container:
    number = bridge.net4.split(".")[1]
    # On docker0 Docker makes the IPv6 address from the IPv4 one; the others copy that.
    ip6 = f"2001:db8:{number}::242:ac{int(number):02x}:{last:x}"
    return Container(name, bridge, f"172.{number}.0.{last}", ip6, **more)


DOCKER0 = _bridge("docker0", 17)
NAMED = _bridge("br-named", 18)
LOOSE = _bridge("loose0", 19)
PART = _bridge("part0", 20)
LATE_NAMED = _bridge("br-late", 21)
LATE_LOOSE = _bridge("late0", 22)

BRIDGES = [DOCKER0, NAMED, LOOSE, PART]


def first_containers() -> list[Container]:
    """The containers that are there when the policy is applied."""
    return [
        _container("a", DOCKER0, 2, publish_tcp={8080: 80}, publish_udp={8053: 5353}),
        _container("b", DOCKER0, 3),
        _container("c", NAMED, 2, publish_tcp={8081: 80}),
        _container("l", LOOSE, 2, publish_tcp={8082: 80}),
        _container("m", LOOSE, 9),
        _container("p", PART, 2),
        _container("q", PART, 3, publish_tcp={8083: 80}),
    ]


def late_containers() -> list[Container]:
    """Those that come later: behind a bridge that a pattern of the policy meets, and behind one that none does."""
    return [_container("n", LATE_NAMED, 2), _container("u", LATE_LOOSE, 2, publish_tcp={8084: 80})]


class Engine(Protocol):
    """What makes the containers."""

    kind: str

    def start(self, bridges: list[Bridge], containers: list[Container]) -> None:
        """Makes bridges and containers, each container with its namespace."""

    def add(self, bridges: list[Bridge], containers: list[Container]) -> None:
        """Adds more of both."""

    def restart(self) -> None:
        """Starts the engine anew: it puts its own rules back."""
