"""The laboratory's map: the world, a small-MTU hop behind it, the sealed host and its containers.

    far --- world === host --- bridges --- containers
       (1280)  two wires

`world` holds everybody that is not the host: servers, an administrator, a
stranger. It routes the containers' addresses back to the host, so that a packet
that left without translation is seen and even answered, and anybody outside can
try to dial a container.
"""

from __future__ import annotations

import os
import subprocess

from containers import BRIDGES, Container, Engine, LATE_LOOSE, LATE_NAMED, first_containers, late_containers
from docker import Docker
from net import Cleanup, LabError, Namespace, connect, make_namespace
from plain import Plain

# Who is where. A name with a 6 is the same party over IPv6.
NAMES = {
    "host": "192.0.2.2", "host6": "2001:db8:0:2::2",
    "host-eth1": "198.51.100.130", "host-eth1-6": "2001:db8:0:5::2",
    "router": "192.0.2.1", "router6": "2001:db8:0:2::1",
    "admin": "192.0.2.10", "admin6": "2001:db8:0:2::10",
    "resolver": "192.0.2.53", "resolver6": "2001:db8:0:2::53",
    "stranger": "192.0.2.66", "stranger6": "2001:db8:0:2::66",
    "stranger-eth1": "198.51.100.166",
    "dhcp": "192.0.2.68",
    "allowed": "34.95.12.47", "allowed6": "2001:db8:47::47",
    "small": "35.203.36.11", "small6": "2001:db8:35::11",
    "ranged": "203.0.113.66",
    "forbidden": "203.0.113.9", "forbidden6": "2001:db8:9::9",
    "withdrawn": "203.0.113.33", "withdrawn6": "2001:db8:33::33",
    "v": "192.0.2.99", "v6": "2001:db8:0:2::99",
    "database": "198.51.100.7", "database6": "2001:db8:7::7",
}

# These live behind the hop with the small MTU.
FAR = ("small", "small6", "database", "database6")
SMALL_MTU = 1280

# Source ports that somebody else's rules translate: to a forbidden address, to a container, or the source.
FOREIGN_PORTS = {"dnat": range(60000, 61000), "dnat-l": range(61000, 62000), "snat": range(62000, 63000)}

_OPEN_SYSCTLS: dict[str, int | str] = {
    # The kernel's own checks are taken away, so that a probe that is blocked is blocked by the air gap.
    "ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/accept_local": 1, "ipv4/conf/default/accept_local": 1,
    "ipv4/conf/all/route_localnet": 1, "ipv4/conf/default/route_localnet": 1,
    "ipv4/conf/all/accept_source_route": 1, "ipv4/conf/default/accept_source_route": 1,
    "ipv4/conf/all/send_redirects": 0, "ipv4/conf/default/send_redirects": 0,
    "ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1, "ipv6/conf/default/forwarding": 1,
    "ipv6/conf/all/accept_source_route": 1, "ipv6/conf/default/accept_source_route": 1,
    "ipv6/conf/all/seg6_enabled": 1, "ipv6/conf/default/seg6_enabled": 1,
    "ipv4/icmp_ratelimit": 0, "ipv6/icmp/ratelimit": 0, "ipv4/icmp_echo_ignore_broadcasts": 0,
}


class Lab:
    """Everything of the laboratory, built by its constructor."""

    def __init__(self, cleanup: Cleanup, kind: str) -> None:
        self.kind = kind
        self.cleanup = cleanup
        self.world = make_namespace(cleanup, "world")
        self.far = make_namespace(cleanup, "far")
        self.host = make_namespace(cleanup, "host")
        # A container of a macvlan network: its frames leave by eth0 and meet no IP chain of the host.
        self.macvlan = make_namespace(cleanup, "macvlan")
        for ns in (self.world, self.far, self.host):
            ns.sysctl(_OPEN_SYSCTLS)
            # Ports that the kernel gives out must not look like a probe's own.
            ns.sysctl({"ipv4/ip_local_port_range": "10000 19999"})
        self._wires()
        self.containers: dict[str, Container] = {}
        # A loopback address, as systemd-resolved writes it: then dockerd asks from the host's namespace.
        self.engine: Engine = Docker(cleanup, self.host, "127.0.0.53") if kind == "docker" else Plain(cleanup, self.host)
        first = first_containers()
        self.engine.start(BRIDGES, first)
        self._adopt(first)
        self._foreign_rules()

    @property
    def host_name(self) -> str:
        """What `airgap --netns` calls the host."""
        return self.host.path.rsplit("/", 1)[1]

    def places(self) -> dict[str, Namespace]:
        """Every place that a probe can start from, by name."""
        found = {"world": self.world, "far": self.far, "host": self.host, "v": self.macvlan}
        found.update({name: one.ns for name, one in self.containers.items() if one.ns})
        return found

    def names(self) -> dict[str, str]:
        """Every name that a probe can use for an address."""
        found = dict(NAMES)
        for one in self.containers.values():
            found[one.name], found[one.name + "6"] = one.ip4, one.ip6
            found[f"gw-{one.bridge.name}"], found[f"gw-{one.bridge.name}6"] = one.bridge.gateway4, one.bridge.gateway6
        return found

    def add_late(self) -> None:
        """A network and a container more, twice: one that the policy's pattern meets, one that it does not."""
        late = late_containers()
        self.engine.add([LATE_NAMED, LATE_LOOSE], late)
        self._adopt(late)

    def bridge_filter(self, on: bool) -> None:
        """Switches br_netfilter: whether frames inside a bridge pass the IP chains."""
        if not os.path.exists("/proc/sys/net/bridge"):
            done = subprocess.run(["modprobe", "br_netfilter"], capture_output=True, text=True)
            if done.returncode:
                raise LabError(f"br_netfilter is not loaded, and `modprobe br_netfilter` fails: {done.stderr.strip()}")
        self.host.sysctl({f"bridge/bridge-nf-call-{kind}": int(on) for kind in ("iptables", "ip6tables", "arptables")})

    def listen_by_hand(self, on: bool) -> None:
        """What a forwarder's `listen` does, for the control run only."""
        names = self.names()
        rules = f"""    ip daddr {names['gw-br-named']} tcp dport 15432 dnat ip to {names['database']}:5432
    ip6 daddr {names['gw-br-named6']} tcp dport 15432 dnat ip6 to [{names['database6']}]:5432
"""
        text = "table inet by_hand\ndelete table inet by_hand\n"
        if on:
            text += f"""table inet by_hand {{
  chain prerouting {{
    type nat hook prerouting priority dstnat - 20; policy accept;
{rules}  }}
  chain output {{
    type nat hook output priority -120; policy accept;
{rules}  }}
}}
"""
        self.host.run("nft", "-f", "-", stdin=text)

    def accept_everything(self) -> None:
        """The administrator's own rule that accepts all that Docker would drop.

        Docker keeps bridges apart and containers undialled by itself. What is
        shown here is that the air gap does not need it.
        """
        if self.kind == "docker":
            self.host.run("iptables", "-I", "DOCKER-USER", "-j", "ACCEPT")

    def stop_accepting(self) -> None:
        """Takes that rule away again."""
        if self.kind == "docker":
            self.host.run("iptables", "-D", "DOCKER-USER", "-j", "ACCEPT")

    def _wires(self) -> None:
        connect(self.host, "eth0", self.world, "w0")
        connect(self.host, "eth1", self.world, "w1")
        connect(self.world, "f0", self.far, "eth0", mtu=SMALL_MTU)
        on_wire = ("router", "admin", "resolver", "stranger", "dhcp")
        here = [name for name in NAMES if name not in FAR and not name.startswith(("host", "v"))]
        self.world.ip(
            *(f"addr add {NAMES[name]}/24 dev w0" for name in on_wire),
            *(f"addr add {NAMES[name + '6']}/64 dev w0 nodad" for name in on_wire if name + "6" in NAMES),
            "addr add fe80::66/64 dev w0 nodad", "addr add 198.51.100.129/25 dev w1",
            f"addr add {NAMES['stranger-eth1']}/25 dev w1",
            "addr add 2001:db8:0:5::1/64 dev w1 nodad",
            *(f"addr add {NAMES[name]} dev lo" for name in here
              if name.rstrip("6") not in on_wire and name != "stranger-eth1"),
            "addr add 198.51.100.1/30 dev f0", "addr add 2001:db8:0:f::1/64 dev f0 nodad",
            *(f"route add {NAMES[name]} via " + ("2001:db8:0:f::2" if name.endswith("6") else "198.51.100.2")
              for name in FAR),
            f"route add 172.16.0.0/12 via {NAMES['host']}",
            *(f"route add 2001:db8:{number}::/64 via {NAMES['host6']}" for number in range(17, 23)))
        # The advertised segment size is that of a wide wire, so that the small MTU has to be discovered.
        self.far.ip(
            "addr add 198.51.100.2/30 dev eth0", "addr add 2001:db8:0:f::2/64 dev eth0 nodad",
            *(f"addr add {NAMES[name]} dev lo" for name in FAR),
            "route add default via 198.51.100.1 advmss 1460", "route add default via 2001:db8:0:f::1 advmss 1440")
        self.host.ip(
            f"addr add {NAMES['host']}/24 dev eth0", f"addr add {NAMES['host6']}/64 dev eth0 nodad",
            f"addr add {NAMES['host-eth1']}/25 dev eth1", f"addr add {NAMES['host-eth1-6']}/64 dev eth1 nodad",
            f"route add default via {NAMES['router']}", f"route add default via {NAMES['router6']}",
            "addr add fe80::2/64 dev eth0 nodad")
        self.host.run("ip", "link", "add", "link", "eth0", "name", "mv0", "type", "macvlan", "mode", "bridge")
        self.host.run("ip", "link", "set", "mv0", "netns", self.macvlan.path, "name", "eth0")
        self.macvlan.ip(
            "link set eth0 up", f"addr add {NAMES['v']}/24 dev eth0", f"addr add {NAMES['v6']}/64 dev eth0 nodad",
            f"route add default via {NAMES['router']}", f"route add default via {NAMES['router6']}")

    def _adopt(self, containers: list[Container]) -> None:
        for one in containers:
            self.containers[one.name] = one

    def _foreign_rules(self) -> None:
        """Translations that somebody else wrote, each for a source port that only one probe uses.

        They send what the policy opens elsewhere: a rule that judges only what
        was dialled, or only the device that was first chosen, lets them out.
        """
        names = self.names()
        self.host.run("nft", "-f", "-", stdin=f"""
table inet foreign {{
  chain output {{
    type nat hook output priority -110; policy accept;
    meta nfproto ipv4 tcp sport 60000-60999 dnat ip to {names['forbidden']}:443
    meta nfproto ipv6 tcp sport 60000-60999 dnat ip6 to [{names['forbidden6']}]:443
    meta nfproto ipv4 udp sport 60000-60999 dnat ip to {names['forbidden']}:9999
    meta nfproto ipv4 tcp sport 61000-61999 dnat ip to {names['l']}:80
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat - 10; policy accept;
    meta nfproto ipv4 tcp sport 60000-60999 dnat ip to {names['forbidden']}:443
    meta nfproto ipv6 tcp sport 60000-60999 dnat ip6 to [{names['forbidden6']}]:443
    meta nfproto ipv4 tcp sport 61000-61999 dnat ip to {names['l']}:80
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat - 10; policy accept;
    meta nfproto ipv4 tcp sport 60000-60999 oifname "eth*" masquerade
    meta nfproto ipv4 udp sport 60000-60999 oifname "eth*" masquerade
    meta nfproto ipv4 tcp sport 62000-62999 snat ip to {names['host-eth1']}
  }}
}}
""")
