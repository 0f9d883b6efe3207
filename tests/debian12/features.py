#!/usr/bin/env python3
"""What this kernel's nf_tables knows and does, shown by packets. Runs in the guest, without airgap.

Every line states what was expected; what an air gap compiles to leans on these answers.
A line `note` only reports.
"""

import errno
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import net  # noqa: E402

passed = failed = 0


def expect(what, seen, wanted=True):
    global passed, failed
    good = seen == wanted
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'} {what}: {seen}{'' if good else f', expected {wanted}'}", flush=True)


def note(what, seen):
    print(f"note {what}: {seen}", flush=True)


def nft(text, namespace="host"):
    """Loads a text; returns '' or what the kernel or nft said against it."""
    text = text.replace(" }", "\n}")  # nft wants every rule ended, and does not mind a new line elsewhere
    done = subprocess.run(["nsenter", f"--net=/run/netns/{namespace}", "nft", "-f", "-"],
                          input=text, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[0].removeprefix("/dev/stdin:")


def load(text, namespace="host"):
    """Replaces the whole ruleset."""
    return nft("flush ruleset\n" + text, namespace)


def listing(*words, namespace="host"):
    done = subprocess.run(["nsenter", f"--net=/run/netns/{namespace}", "nft", "-j", "list", *words], capture_output=True, text=True)
    return json.loads(done.stdout)["nftables"] if done.returncode == 0 else []


def counters():
    return {entry["counter"]["name"].removeprefix("n_"): entry["counter"]["packets"]
            for entry in listing("counters") if "counter" in entry}


def count(chains, send, family="inet"):
    """Loads chains with rules `… counter name X` and the counters they name; returns the counts after `send`."""
    chains = chains.replace("counter name ", "counter name n_")  # some of the names are words of nft's
    declared = "\n".join(f"counter {name} {{}}" for name in sorted(set(re.findall(r"counter name (\w+)", chains))))
    if error := load(f"table {family} t {{\n{declared}\n{chains} }}"):
        return {"error": error}
    time.sleep(0.05)
    nft(f"reset counters table {family} t")
    send()
    time.sleep(0.1)
    return counters()


def hook(name, rules, priority="0"):
    return f"chain {name} {{ type filter hook {name} priority {priority};\n{rules}\n}}\n"


def spoof(source, target):
    """A datagram from the world's wire with a source of our choice."""
    packet = net.ipv4(source, target, 17, net.udp(5, 9, b"spoofed"))
    net.send_frame("world", "eth0", net.mac("host", "eth0") + net.mac("world", "eth0") + b"\x08\x00" + packet)


def fib():
    rules = ("udp dport 9 fib saddr . iif oif exists counter name there\n"
             "udp dport 9 fib saddr . iif oif missing counter name missing")
    for name, target in (("input", "192.0.2.2"), ("forward", "172.17.0.2")):
        seen = count(hook(name, rules), lambda: net.send_udp("world", target, 9))
        expect(f"fib saddr . iif oif in inet {name}, true source", seen, {"missing": 0, "there": 1})
        seen = count(hook(name, rules), lambda: spoof("172.18.0.9", target))
        expect(f"fib saddr . iif oif in inet {name}, a bridge's address from the wire", seen, {"missing": 1, "there": 0})
    rules = ("udp dport 9 fib daddr . iif oif exists counter name back\n"
             "udp dport 9 fib daddr . iif oif missing counter name elsewhere")
    seen = count(hook("forward", rules), lambda: net.send_udp("a", "203.0.113.9", 9))
    expect("fib daddr . iif oif in forward, from a container out", seen, {"back": 0, "elsewhere": 1})
    seen = count(hook("forward", rules), lambda: spoof("203.0.113.9", "198.51.100.7"))
    expect("fib daddr . iif oif in forward, in and out by one interface", seen, {"back": 1, "elsewhere": 0})
    rules = "udp dport 9 fib daddr type local counter name local\nudp dport 9 fib daddr type unicast counter name unicast"
    seen = count(hook("forward", rules) + hook("input", rules),
                 lambda: (net.send_udp("a", "203.0.113.9", 9), net.send_udp("a", "192.0.2.2", 9)))
    expect("fib daddr type, one forwarded and one to the host", seen, {"local": 1, "unicast": 1})


def names_of_interfaces():
    seen = count(hook("input", 'udp dport 9 meta iifkind "bridge" counter name bridge\nudp dport 9 counter name any')
                 + hook("output", 'udp dport 9 meta oifkind "bridge" counter name out_bridge'),
                 lambda: (net.send_udp("a", "172.17.0.1", 9), net.send_udp("world", "192.0.2.2", 9),
                          net.send_udp("host", "172.17.0.2", 9)))
    expect('meta iifkind and oifkind "bridge"', seen, {"any": 2, "bridge": 1, "out_bridge": 1})
    rules = "\n".join(f"udp dport 9 {match} counter name {name}" for match, name in (
        ("iif 0", "iif_0"), ("iif 0 oifname eth0", "iif_0_eth0"), ('iifname "docker0"', "docker0"),
        ('iifname "eth0"', "eth0"), ('iifname != { "eth0", "docker0" }', "no_name")))
    chain = hook("postrouting", rules)
    seen = count(chain, lambda: net.send_udp("host", "203.0.113.9", 9))
    expect("iif in postrouting, a packet of the host's", seen,
           {"docker0": 0, "eth0": 0, "no_name": 1, "iif_0": 1, "iif_0_eth0": 1})
    seen = count(chain, lambda: net.send_udp("a", "203.0.113.9", 9))
    expect("iif in postrouting, a forwarded packet", seen,
           {"docker0": 1, "eth0": 0, "no_name": 0, "iif_0": 0, "iif_0_eth0": 0})
    seen = count('set pairs { type ifname . ifname; elements = { "docker0" . "eth0" } }\n'
                 + hook("forward", "udp dport 9 iifname . oifname @pairs counter name pair\n"
                                   'udp dport 9 iifname . oifname { "docker0" . "docker0" } counter name same'),
                 lambda: (net.send_udp("a", "203.0.113.9", 9), net.send_udp("c", "203.0.113.9", 9)))
    expect("a set of iifname . oifname", seen, {"pair": 1, "same": 0})


def conntrack():
    seen = count(hook("output", "udp dport 9 ct label set 96 counter name set", "-10")
                 + hook("input", "udp sport 9 ct label 96 counter name label\n"
                                 "udp sport 9 ct label { 96, 97 } counter name either\n"
                                 "udp sport 9 ct label 97 counter name other"), echo)
    expect("ct label set 96, then ct label 96 in a set and alone", seen,
           {"set": 1, "label": 1, "either": 1, "other": 0})
    seen = count(hook("output", "udp dport 9 ct label set 96\nudp dport 9 ct label set 97 counter name set", "-10")
                 + hook("input", "udp sport 9 ct label 96 counter name first\n"
                                 "udp sport 9 ct label & (96 | 97) == 96 | 97 counter name both"), echo)
    note("ct label set twice: are both kept", seen)
    rules = ("meta nfproto ipv4 ct original protocol udp ct original ip daddr . ct original proto-dst"
             " { 203.0.113.9 . 9 } counter name original\n"
             "meta nfproto ipv4 ct original protocol udp ct original ip daddr 203.0.113.9 ct original proto-dst 9 ct direction reply counter name reply")
    seen = count(hook("output", rules) + hook("input", rules), echo)
    expect("ct original ip daddr . ct original proto-dst, a datagram and its answer", seen, {"original": 2, "reply": 1})
    rules = ("meta nfproto ipv6 ct original protocol udp ct original ip6 daddr . ct original proto-dst"
             " { 2001:db8:9::9 . 9 } counter name original")
    seen = count(hook("output", rules), lambda: net.send_udp("host", "2001:db8:9::9", 9))
    expect("ct original ip6 daddr . ct original proto-dst", seen, {"original": 1})
    rules = "meta nfproto ipv4 ct original protocol tcp ct original ip daddr . ct original proto-dst { 203.0.113.9 . 9 } counter name tcp"
    seen = count(hook("output", rules),
                 lambda: (net.send_udp("host", "203.0.113.9", 9), net.send_syn("host", "203.0.113.9", 9)))
    expect("the same after ct original protocol tcp; UDP does not match", seen, {"tcp": 1})
    icmp_errors()


def echo():
    """One datagram from the host to the world and its answer."""
    with net.opened("world", socket.SOCK_DGRAM, "203.0.113.9") as server, \
            net.opened("host", socket.SOCK_DGRAM, "203.0.113.9") as client:
        server.bind(("203.0.113.9", 9))
        server.settimeout(1)
        client.settimeout(1)
        client.sendto(b"question", ("203.0.113.9", 9))
        question, peer = server.recvfrom(100)
        server.sendto(b"answer", peer)
        client.recv(100)


def icmp_errors():
    rules = "\n".join(f"icmp type destination-unreachable icmp code 4 ct state {state} counter name {state}"
                      for state in ("related", "established", "new", "invalid"))
    rules += ("\nicmp code 4 meta nfproto ipv4 ct original protocol udp"
              " ct original ip daddr . ct original proto-dst { 203.0.113.9 . 9 } counter name original_tuple"
              "\nicmp code 4 ct direction reply counter name direction_reply")

    def send(about_port):
        with net.opened("host", socket.SOCK_DGRAM, "203.0.113.9") as client:
            client.connect(("203.0.113.9", 9))
            client.send(b"too long a datagram")
            quoted = net.ipv4("192.0.2.2", "203.0.113.9", 17,
                              net.udp(client.getsockname()[1], about_port, b"too long a datagram"))
            packet = net.ipv4("192.0.2.1", "192.0.2.2", 1, net.fragmentation_needed(quoted))
            net.send_frame("world", "eth0", net.mac("host", "eth0") + net.mac("world", "eth0") + b"\x08\x00" + packet)
            time.sleep(0.1)

    # A ct expression must be there before the flow begins, else the namespace has no conntrack.
    chains = hook("input", rules) + hook("output", "ct state new")
    seen = count(chains, lambda: send(9))
    expect("ICMP frag-needed about a flow that exists", seen,
           {"related": 1, "established": 0, "new": 0, "invalid": 0, "original_tuple": 1, "direction_reply": 1})
    seen = count(chains, lambda: send(10))
    expect("ICMP frag-needed about no flow", seen,
           {"related": 0, "established": 0, "new": 0, "invalid": 1, "original_tuple": 0, "direction_reply": 0})


def egress():
    def chain(rules):
        return f'chain e {{ type filter hook egress device "eth0" priority 0;\n{rules} }}'

    frame = net.mac("world", "eth0") + net.mac("host", "eth0")
    seen = count(chain("ether type 0x88b5 counter name ethertype\n@ll,96,16 0x88b5 counter name raw_payload\n"
                       "meta protocol 0x88b5 counter name meta_protocol\nvlan id 5 counter name vlan\n"
                       "ether type vlan counter name ether_vlan\nmeta protocol vlan counter name meta_vlan\n"
                       "@ll,96,16 0x8100 counter name raw_vlan"),
                 lambda: (net.send_frame("host", "eth0", frame + b"\x88\xb5" + bytes(46)),
                          net.send_frame("host", "eth0", frame + b"\x81\x00\x00\x05\x88\xb5" + bytes(46))), "netdev")
    note("netdev egress: one frame of type 0x88b5, one of it in VLAN 5", seen)
    seen = count(chain("udp dport 9 counter name udp\nmeta l4proto udp @th,16,16 9 counter name th_raw\n"
                       "meta skuid 65534 counter name skuid\nip daddr . udp dport { 203.0.113.9 . 9 } counter name pair\n"
                       "ip6 daddr 2001:db8:9::9 counter name ip6\nmeta skuid 0 udp dport 9 counter name root"),
                 lambda: (net.send_udp("host", "203.0.113.9", 9), net.send_udp("host", "203.0.113.9", 9, uid=65534),
                          net.send_udp("host", "2001:db8:9::9", 9)), "netdev")
    expect("netdev egress: transport fields and meta skuid", seen,
           {"udp": 3, "th_raw": 3, "skuid": 1, "pair": 2, "ip6": 1, "root": 2})
    net.sh("ip -n host link add link eth0 name eth0.5 type vlan id 5; ip -n host link set eth0.5 up")
    seen = count(chain("ether type 0x88b5 counter name ethertype\n@ll,96,16 0x88b5 counter name raw_payload\n"
                       "@ll,96,16 0x8100 counter name raw_vlan\nether type vlan counter name ether_vlan\n"
                       "vlan id 5 counter name vlan"),
                 lambda: net.send_frame("host", "eth0.5", frame + b"\x88\xb5" + bytes(46)), "netdev")
    note("netdev egress of eth0: a frame of type 0x88b5 sent on a VLAN device above it", seen)
    net.sh("ip -n host link del eth0.5")
    seen = count(chain("ether type 0x88b5 counter name ethertype"),
                 lambda: net.send_frame("host", "eth0", frame + b"\x88\xb5" + bytes(46), bypass=True), "netdev")
    expect("netdev egress sees PACKET_QDISC_BYPASS", seen, {"ethertype": 1})
    # AF_XDP hands frames to the driver itself; whoever promises that nothing leaves must know if they pass here.
    world = net.Sniffer("world")
    load("table netdev t { " + chain("ether type 0x88b5 drop") + " }")
    for way, send in (("a packet socket", net.send_frame), ("an AF_XDP socket", net.send_xdp)):
        world.drain()
        send("host", "eth0", frame + b"\x88\xb5" + f"by {way}".encode().ljust(46, b"."))
        note(f"netdev egress drops a frame of {way}", not world.saw(f"by {way}".encode()))
    ip_packet = net.ipv4("192.0.2.2", "203.0.113.9", 17, net.udp(5, 9, b"raw"))
    seen = count(chain("ip daddr 203.0.113.9 udp dport 9 counter name udp\nmeta l4proto udp counter name l4proto\n"
                       "meta skuid 0 counter name skuid\nip protocol udp counter name ip_protocol"),
                 lambda: net.send_frame("host", "eth0", frame + b"\x08\x00" + ip_packet), "netdev")
    note("netdev egress: a UDP packet from a packet socket of root's", seen)
    ext = struct.pack("!BBBBI", 17, 0, 1, 4, 0) + net.udp(5, 9, b"ext")
    packet = struct.pack("!IHBB", 6 << 28, len(ext), 60, 64) + net.packed("2001:db8::2") + net.packed("2001:db8:9::9") + ext
    seen = count(chain("exthdr dst exists counter name exthdr\nmeta l4proto udp counter name l4proto\n"
                       "udp dport 9 counter name udp\nip6 nexthdr udp counter name nexthdr"),
                 lambda: net.send_frame("host", "eth0", frame + b"\x86\xdd" + packet), "netdev")
    note("netdev egress: UDP behind a destination options header, packet socket", seen)
    nets = "2001:db8:9::9"
    seen = count(chain(f"ip6 daddr {nets} exthdr frag exists counter name frag\nip6 daddr {nets} counter name all"),
                 lambda: big_datagram(nets), "netdev")
    note("netdev egress: a datagram of 3000 bytes over IPv6", seen)
    seen = count(chain("ip daddr 203.0.113.9 counter name all\nip frag-off & 0x1fff != 0 counter name later\n"
                       "udp dport 9 counter name udp"), lambda: big_datagram("203.0.113.9"), "netdev")
    note("netdev egress: a datagram of 3000 bytes over IPv4", seen)
    note("netdev egress with ct state", load("table netdev t { " + chain("ct state new accept") + " }") or "loads")
    note("netdev egress with meta cgroup", load("table netdev t { " + chain("meta cgroup 1 accept") + " }") or "loads")
    note("netdev egress with socket cgroupv2",
         load("table netdev t { " + chain('socket cgroupv2 level 1 "probe" accept') + " }") or "loads")
    note("netdev egress with limit and log",
         load("table netdev t { " + chain('limit rate 1/second log prefix "x" accept') + " }") or "loads")
    note("netdev egress with fib", load("table netdev t { " + chain("fib daddr type local accept") + " }") or "loads")
    note("netdev egress on a device that is not there",
         load('table netdev t { chain e { type filter hook egress device "eth7" priority 0; } }') or "loads")
    note("netdev egress on two devices in one chain",
         load('table netdev t { chain e { type filter hook egress devices = {eth0,docker0} priority 0; } }') or "loads")
    note("inet egress", load('table inet t { chain e { type filter hook egress device "eth0" priority 0; } }') or "loads")
    load('table netdev t { chain e { type filter hook egress device "gone" priority 0; } }') if not net.sh(
        "ip -n host link add gone type dummy") else None
    net.sh("ip -n host link del gone")
    note("after the device of an egress chain is removed", [
        f"{kind} {entry[kind]['name']}" for entry in listing("ruleset") for kind in entry if kind in ("table", "chain")])


def big_datagram(address):
    with net.opened("host", socket.SOCK_DGRAM, address) as sender:
        sender.sendto(bytes(3000), (address, 9))


def bridge_family():
    seen = count(hook("forward", 'udp dport 9 meta ibrname "docker0" counter name docker0\n'
                                 'udp dport 9 meta obrname "br-two" counter name two\n'
                                 'udp dport 9 meta ibrname . meta obrname { "br-two" . "br-two" } counter name pair\n'
                                 'udp dport 9 meta ibrname "br-*" counter name prefix\nudp dport 9 counter name udp'),
                 lambda: (net.send_udp("a", "172.17.0.3", 9), net.send_udp("c", "172.18.0.3", 9),
                          net.send_udp("c", "172.18.0.3", 9)), "bridge")
    expect("meta ibrname and obrname in bridge forward", seen, {"docker0": 1, "two": 2, "pair": 2, "prefix": 2, "udp": 3})
    seen = count(hook("forward", "udp dport 9 ct state new counter name new\nudp dport 9 counter name all\n"
                                 "icmp type destination-unreachable ct state related counter name related"),
                 lambda: net.send_udp("a", "172.17.0.3", 9), "bridge")
    expect("ct state in bridge forward, a datagram and the ICMP error it gets", seen, {"all": 1, "new": 1, "related": 1})
    for what, rule in (("reject", "reject"), ("arp", "arp operation request accept"),
                       ("fib", "fib daddr type local accept"), ("vlan", "vlan id 5 drop"),
                       ("iifname wildcard", 'meta ibrname "br-*" drop')):
        note(f"bridge forward with {what}", load(f"table bridge t {{ {hook('forward', rule)} }}") or "loads")
    note("bridge input with reject", load(f"table bridge t {{ {hook('input', 'reject')} }}") or "loads")
    load("")
    note("br_netfilter before and after modprobe, inet forward for frames inside one bridge", [
        inside_one_bridge(), net.sh("modprobe br_netfilter") or inside_one_bridge(),
        net.sh("ip netns exec host sysctl -w net.bridge.bridge-nf-call-iptables=0") and inside_one_bridge()])


def inside_one_bridge():
    return count(hook("forward", 'udp dport 9 iifname "docker0" oifname "docker0" counter name forwarded'),
                 lambda: net.send_udp("a", "172.17.0.3", 9))["forwarded"]


def sockets():
    rules = 'udp dport 9 socket cgroupv2 level 1 "probe" counter name inside\nudp dport 9 counter name all'

    def send():
        net.send_udp("host", "203.0.113.9", 9)
        with open("/sys/fs/cgroup/probe/cgroup.procs", "w") as procs:
            procs.write(str(os.getpid()))
        net.send_udp("host", "203.0.113.9", 9)
        with open("/sys/fs/cgroup/cgroup.procs", "w") as procs:
            procs.write(str(os.getpid()))

    # (`ip netns exec` would give nft a /sys without cgroups, and it looks the path up.)
    seen = count(hook("output", rules), send)
    expect("socket cgroupv2 in output, one datagram outside and one inside", seen, {"inside": 1, "all": 2})
    seen = count(hook("output", "udp dport 9 meta skuid 65534 counter name nobody\nudp dport 9 counter name all"),
                 lambda: (net.send_udp("host", "203.0.113.9", 9), net.send_udp("host", "203.0.113.9", 9, uid=65534)))
    expect("meta skuid in output", seen, {"nobody": 1, "all": 2})


def transactions():
    old = 'table inet t { set s { type ipv4_addr; elements = { 1.1.1.1 } }\nchain c { ip daddr @s accept; } }'
    expect("a table with a set", load(old), "")
    expect("delete table and create it again in one transaction",
           nft("delete table inet t\n" + old.replace("1.1.1.1", "2.2.2.2")), "")
    expect("flush chain, delete set and create it again with another type", nft(
        "flush chain inet t c\ndelete set inet t s\nadd set inet t s { type inet_service; }\n"
        "add rule inet t c tcp dport @s accept\nadd element inet t s { 443 }"), "")
    sets = [entry["set"] for entry in listing("sets") if "set" in entry]
    expect("what is there then", [(one["type"], one["elem"]) for one in sets], [("inet_service", [443])])
    expect("delete and create under the same name, twice in one transaction",
           nft("delete table inet t\n" + old + "\ndelete table inet t\n" + old), "")
    note("an interval set replaced and filled in one transaction", nft(
        "flush chain inet t c\ndelete set inet t s\n"
        "add set inet t s { type ipv4_addr . inet_service; flags interval; }\n"
        "add element inet t s { 10.0.0.0/8 . 1-5 }\nadd rule inet t c ip daddr . tcp dport @s accept") or "loads")
    expect("a base chain deleted and created again with another policy", (nft(
        "table inet t { chain b { type filter hook input priority 0; policy accept; } }") or nft(
        "delete chain inet t b\nadd chain inet t b { type filter hook input priority 0; policy drop; }")), "")
    expect("a table's comment is loaded", load('table inet t { comment "policy 1234"; }'), "")
    seen = subprocess.run(["ip", "netns", "exec", "host", "nft", "list", "tables"], capture_output=True, text=True).stdout
    text = net.sh("ip netns exec host nft list table inet t")
    note("a table's comment read back", 'comment "policy 1234"' in text or seen)
    note("a comment added to a table that is there",
         nft('add table inet t { comment "policy 5678"; }') or net.sh("ip netns exec host nft list table inet t").split('"')[1])
    note("flags owner", acknowledged("owner"))


def acknowledged(kind, generation=None):
    """Sends a batch by hand, an acknowledgement asked for on every message; returns what the kernel answered."""
    return Batch(kind, generation).send()


class Batch:
    """A new table, a chain and a rule with one expression, whose module may have to be loaded first."""

    NFNL_BEGIN, NFNL_END, SUBSYS = 0x10, 0x11, 10 << 8
    NEWTABLE, NEWCHAIN, NEWRULE, DELTABLE = 0, 3, 6, 2

    def __init__(self, expression, generation):
        flags = 2 if expression == "owner" else 0
        self.messages = [
            self.message(self.NFNL_BEGIN, b"" if generation is None else number(1, generation), resource=10),
            self.message(self.SUBSYS | self.NEWTABLE, attribute(1, b"batch\0") + attribute(2, struct.pack("!I", flags)), 0x400),
        ]
        if expression != "owner":
            chain = attribute(1, b"batch\0") + attribute(3, b"c\0")
            one = attribute(1, expression.encode() + b"\0") + attribute(2 | 0x8000, EXPRESSIONS[expression])
            rule = attribute(1, b"batch\0") + attribute(2, b"c\0") + attribute(4 | 0x8000, attribute(1 | 0x8000, one))
            self.messages += [self.message(self.SUBSYS | self.NEWCHAIN, chain, 0x400),
                              self.message(self.SUBSYS | self.NEWRULE, rule, 0xC00),
                              self.message(self.SUBSYS | self.DELTABLE, attribute(1, b"batch\0"))]
        self.messages.append(self.message(self.NFNL_END, b"", resource=10))

    def message(self, kind, body, flags=0, resource=0):
        family = 0 if kind < 0x100 else 1  # NFPROTO_INET
        body = struct.pack("!BBH", family, 0, resource) + body
        return kind, flags | 5, body  # NLM_F_REQUEST and NLM_F_ACK

    def send(self):
        data = b"".join(struct.pack("=IHHII", 16 + len(body), kind, flags, number, 0) + body
                        for number, (kind, flags, body) in enumerate(self.messages, 1))
        with net.inside("host"), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as channel:
            channel.settimeout(1)
            channel.send(data)
            answers = []
            try:
                while True:
                    packet = channel.recv(65536)
                    while packet:
                        length, _, _, number, _, code = struct.unpack_from("=IHHIIi", packet)
                        answers.append(f"{number}:{errno.errorcode[-code] if code else 'ack'}")
                        packet = packet[(length + 3) & ~3:]
            except TimeoutError:
                return f"{len(self.messages)} messages, answers {' '.join(answers)}"


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind, value):
    return attribute(kind, struct.pack("!I", value))


# The shortest valid form of some expressions that live in modules: numgen, hash, osf, quota, connlimit.
EXPRESSIONS = {
    "fib": number(1, 1) + number(2, 3) + number(3, 1 | 8),
    "numgen": number(1, 1) + number(2, 2) + number(3, 0),
    "limit": attribute(1, struct.pack("!Q", 5)) + attribute(2, struct.pack("!Q", 1)),
    "socket": number(1, 0) + number(2, 1),
    "counter": b"",
    "nonsense": b"",
}


def acknowledgements():
    # In a guest that has just booted, this is the first that anybody wants of nf_tables.
    note(f"acknowledgements of the very first batch (nf_tables was {'there' if 'nf_tables' in net.sh('lsmod') else 'not'} loaded)",
         acknowledged("counter"))
    net.sh("rmmod nft_fib_inet nft_fib_ipv4 nft_fib_ipv6 nft_fib nft_numgen nft_limit nft_socket 2>/dev/null", check=False)
    for name in ("fib", "numgen", "limit", "socket"):
        loaded = f"nft_{name}" in net.sh("lsmod")
        first, second = acknowledged(name), acknowledged(name)
        note(f"acknowledgements with {name} (its module was {'there' if loaded else 'loaded by it'})",
             first if first == second else f"{first}; the second time {second}")
    net.sh("rmmod nft_numgen")
    note("acknowledgements with a module to load and the right generation", acknowledged("numgen", net.generation("host")))
    note("acknowledgements with a generation that has passed", acknowledged("numgen", net.generation("host") - 1))
    note("acknowledgements with an expression that nobody knows", acknowledged("nonsense"))


def main():
    os.makedirs("/sys/fs/cgroup/probe")
    net.build()
    for part in (acknowledgements, fib, names_of_interfaces, conntrack, egress, bridge_family, sockets, transactions):
        print(f"--- {part.__name__.replace('_', ' ')}")
        try:
            part()
        except Exception as error:  # the other parts still have something to say
            expect(f"{part.__name__} runs", repr(error), "")
    load("")
    print("--- modules that were loaded on demand:", " ".join(sorted(
        line.split()[0] for line in net.sh("lsmod").splitlines() if line.startswith(("nf", "br", "xt")))))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
