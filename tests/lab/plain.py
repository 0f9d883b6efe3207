"""Containers without Docker: namespaces and bridges, and nft for what Docker does with iptables.

For small machines (a virtual one with another kernel) where dockerd would be
too slow. Published ports are translated for both families, as newer Docker does.
"""

from __future__ import annotations

from containers import Bridge, Container
from net import Cleanup, Namespace, make_namespace


class Plain:
    """Bridges and containers by hand."""

    kind = "plain"

    def __init__(self, cleanup: Cleanup, host: Namespace) -> None:
        self._cleanup = cleanup
        self._host = host
        self._bridges: list[Bridge] = []
        self._containers: list[Container] = []

    def start(self, bridges: list[Bridge], containers: list[Container]) -> None:
        """Makes them all."""
        self.add(bridges, containers)

    def add(self, bridges: list[Bridge], containers: list[Container]) -> None:
        """Adds bridges and containers."""
        for bridge in bridges:
            self._host.ip(f"link add {bridge.name} type bridge", f"link set {bridge.name} up",
                          f"addr add {bridge.gateway4}/16 dev {bridge.name}",
                          f"addr add {bridge.gateway6}/64 dev {bridge.name} nodad")
        for container in containers:
            ns = make_namespace(self._cleanup, container.name)
            container.ns = ns
            self._host.run("ip", "link", "add", f"veth-{container.name}", "type", "veth",
                           "peer", "name", "eth0", "netns", ns.path)
            self._host.ip(f"link set veth-{container.name} master {container.bridge.name} up")
            ns.ip("link set eth0 up", f"addr add {container.ip4}/16 dev eth0",
                  f"addr add {container.ip6}/64 dev eth0 nodad",
                  f"route add default via {container.bridge.gateway4}",
                  f"route add default via {container.bridge.gateway6}")
        self._bridges += bridges
        self._containers += containers
        self.restart()

    def restart(self) -> None:
        """Writes all rules anew, the way a daemon does when it starts."""
        dnat = [f"fib daddr type local {proto} dport {outer} dnat {family} to {where}:{inner}"
                for one in self._containers
                for proto, ports in (("tcp", one.publish_tcp), ("udp", one.publish_udp))
                for outer, inner in ports.items()
                for family, where in (("ip", one.ip4), ("ip6", f"[{one.ip6}]"))]
        masquerade = [f"ip saddr {bridge.net4} oifname != {bridge.name} masquerade" for bridge in self._bridges]
        # A published port from its own bridge: the answer has to come back through the host.
        masquerade += [f"{family} saddr {net} oifname {bridge.name} ct status dnat masquerade"
                       for bridge in self._bridges for family, net in (("ip", bridge.net4), ("ip6", bridge.net6))]

        def chain(name: str, kind: str, rules: list[str]) -> str:
            body = "".join(f"    {rule}\n" for rule in rules)
            return f"  chain {name} {{\n    type nat hook {kind}; policy accept;\n{body}  }}\n"

        text = ("table inet engine\ndelete table inet engine\ntable inet engine {\n"
                + chain("pre", "prerouting priority dstnat", dnat)
                + chain("out", "output priority -100", dnat)
                + chain("post", "postrouting priority srcnat", masquerade) + "}\n")
        self._host.run("nft", "-f", "-", stdin=text)
