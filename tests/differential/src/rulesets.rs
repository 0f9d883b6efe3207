//! Random policies, and random rules of other programs beside them.

use fastrand::Rng;

use crate::packets::choose;

const ADDRESSES4: [&str; 12] = [
    "192.0.2.10",
    "192.0.2.0/25",
    "192.0.2.11",
    "203.0.113.5",
    "203.0.113.0/24",
    "203.0.113.128/25",
    "198.51.100.2",
    "198.51.100.0/26",
    "198.51.100.64/26",
    "192.0.2.1",
    "198.51.100.1",
    "192.0.2.10-192.0.2.127",
];
const ADDRESSES6: [&str; 8] = [
    "2001:db8:a::10",
    "2001:db8:a::/64",
    "2001:db8:f::/48",
    "2001:db8:b::2",
    "2001:db8:b::/64",
    "2001:db8:c::/64",
    "2001:db8:a::1",
    "2001:db8:a::10-2001:db8:a::11",
];
const PORTS: [&str; 10] = [
    "22",
    "53",
    "80",
    "443",
    "1024",
    "8000-8099",
    "1-1023",
    "8080",
    "65535",
    "20000-39999",
];
const DEVICES: [&str; 5] = ["eth0", "br0", "br1", "br*", "lo"];
const PORT_DEVICES: [&str; 4] = ["veth1", "veth2", "veth3", "veth*"];

/// A ruleset as the lines that load it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Entries of a policy; none where there is no air gap.
    pub policy: Vec<String>,
    /// Lines for nft(8).
    pub nft: Vec<String>,
    /// Lines for iptables(8) and ip6tables(8).
    pub iptables: Vec<String>,
    /// Whether br_netfilter is on.
    pub bridge_filter: bool,
}

pub fn random(rng: &mut Rng) -> Ruleset {
    let mut ruleset = Ruleset {
        bridge_filter: rng.bool(),
        ..Ruleset::default()
    };
    let kind = rng.u8(..10);
    if kind < 7 {
        ruleset.policy = policy(rng);
    }
    if kind >= 3 {
        foreign(rng, &mut ruleset.nft);
    }
    if kind % 3 == 2 {
        iptables(rng, &mut ruleset.iptables);
    }
    ruleset
}

/// Some entries of a policy.
fn policy(rng: &mut Rng) -> Vec<String> {
    let mut lines = vec!["version = 1".to_owned()];
    let mut host = "[host]".to_owned();
    if rng.bool() {
        host += "\nuplinks = [\"eth0\"]";
    }
    if rng.u8(..4) == 0 {
        host += "\nstrict = true";
    }
    if rng.bool() {
        host += "\ndhcp = true";
    }
    if rng.bool() {
        host += "\nresolvers = [\"192.0.2.11\", \"2001:db8:a::11\"]";
    }
    lines.push(host);
    let address = |rng: &mut Rng| match rng.bool() {
        true => choose(rng, &ADDRESSES4),
        false => choose(rng, &ADDRESSES6),
    };
    let port = |rng: &mut Rng| match choose(rng, &PORTS) {
        range if range.contains('-') => format!("\"{range}\""),
        one => one.to_owned(),
    };
    let proto = |rng: &mut Rng| choose(rng, &["tcp", "tcp", "udp"]);
    for _ in 0..rng.u8(..6) {
        let user = choose(rng, &["", "", "\nuser = 0", "\nuser = 7"]);
        lines.push(format!(
            "[[allow]]\nto = \"{}\"\nport = {}\nproto = \"{}\"{user}",
            address(rng),
            port(rng),
            proto(rng)
        ));
    }
    for _ in 0..rng.u8(..5) {
        lines.push(match rng.u8(..5) {
            0 => format!("[[admit]]\nfrom = \"{}\"\nproto = \"icmp\"", address(rng)),
            1 => format!(
                "[[admit]]\nfrom = \"{}\"\nport = {}\nproto = \"{}\"\nvia = \"{}\"",
                address(rng),
                port(rng),
                proto(rng),
                choose(rng, &["br0", "br1", "br*"])
            ),
            _ => format!(
                "[[admit]]\nfrom = \"{}\"\nport = {}\nproto = \"{}\"",
                address(rng),
                port(rng),
                proto(rng)
            ),
        });
    }
    for name in ["br0", "br1", "br*"] {
        if rng.u8(..5) < 2 {
            let ports = choose(
                rng,
                &[
                    "",
                    "",
                    "\nports = [\"tcp/22\", \"udp/53\", \"tcp/8000-8099\"]",
                ],
            );
            let isolate = choose(rng, &["", "", "\nisolate = true"]);
            lines.push(format!("[[bridge]]\nname = \"{name}\"{ports}{isolate}"));
        }
    }
    for n in 0..rng.u8(..3) {
        let from = choose(rng, &["br0", "br1", "198.51.100.2", "198.51.100.0/26"]);
        lines.push(match rng.bool() {
            true => format!(
                "[[forward]]\nfrom = \"{from}\"\nto = \"{}\"\nport = {}\nproto = \"{}\"",
                choose(rng, &["192.0.2.10", "192.0.2.0/25", "203.0.113.5"]),
                port(rng),
                proto(rng)
            ),
            false => format!(
                "[[forward]]\nfrom = \"{from}\"\nto = \"192.0.2.10\"\nport = 443\nproto = \"{}\"\n\
                 listen = \"198.51.100.1:80{n}0\"",
                proto(rng)
            ),
        });
    }
    lines
}

/// Tables for nft(8) with chains that call each other.
fn foreign(rng: &mut Rng, lines: &mut Vec<String>) {
    for table in 0..rng.u8(1..4) {
        let family = choose(
            rng,
            &["inet", "inet", "ip", "ip", "ip6", "bridge", "netdev"],
        );
        let name = format!("{family} t{table}");
        lines.push(format!("add table {name}"));
        if family != "bridge" && family != "netdev" {
            lines.push(format!(
                "add set {name} ports {{ type inet_service; flags interval; }}"
            ));
            lines.push(format!(
                "add element {name} ports {{ 22, 80-443, 8000-8079 }}"
            ));
            lines.push(format!(
                "add map {name} verdicts {{ type inet_service : verdict; }}"
            ));
            lines.push(format!(
                "add map {name} marks {{ type inet_service : mark; }}"
            ));
            lines.push(format!("add element {name} marks {{ 22 : 1, 443 : 2 }}"));
            lines.push(format!(
                "add set {name} pairs {{ type inet_proto . inet_service; }}"
            ));
            lines.push(format!(
                "add element {name} pairs {{ tcp . 80, udp . 53, tcp . 8080 }}"
            ));
            lines.push(format!(
                "add set {name} ranges {{ type inet_proto . inet_service; flags interval; }}"
            ));
            lines.push(format!(
                "add element {name} ranges {{ tcp . 1-1023, udp . 8000-8099, 6-17 . 65535 }}"
            ));
        }
        let regular = rng.u8(1..4);
        for chain in 0..regular {
            lines.push(format!("add chain {name} r{chain}"));
        }
        for base in 0..rng.u8(1..4) {
            let (kind, hook) = base_kind(rng, family);
            let device = if family == "netdev" {
                format!("device {}", choose(rng, &["eth0", "br0", "veth1"]))
            } else {
                String::new()
            };
            let priority = match (kind, rng.u8(..3)) {
                ("nat", 0) if hook == "prerouting" || hook == "output" => -100,
                ("nat", 0) => 100,
                ("nat", _) => rng.i32(-120..120),
                (_, 0) => choose(rng, &[-300, -200, -150, -100, 0, 10, 100]),
                // Mostly no two at once, whose order the kernel does not tell.
                _ => rng.i32(-320..200),
            };
            let policy = choose(rng, &["accept", "accept", "accept", "drop"]);
            lines.push(format!(
                "add chain {name} b{base} {{ type {kind} hook {hook} {device} priority {priority}; policy {policy}; }}"
            ));
            for _ in 0..rng.u8(1..5) {
                let rule = rule(rng, family, kind, hook, regular);
                lines.push(format!("add rule {name} b{base} {rule}"));
            }
        }
        for chain in 0..regular {
            for _ in 0..rng.u8(..4) {
                // Only to later chains, so that no loop comes about.
                let left = regular - chain - 1;
                let rule = rule(rng, family, "filter", "any", left);
                let rule = rule
                    .replace("jump r", "jump r+")
                    .replace("goto r", "goto r+");
                let rule = shifted(&rule, chain + 1);
                lines.push(format!("add rule {name} r{chain} {rule}"));
            }
        }
        if family != "bridge" && family != "netdev" {
            let to = rng.u8(..regular);
            lines.push(format!(
                "add element {name} verdicts {{ 22 : accept, 80 : drop, 443 : jump r{to}, 8080 : return }}"
            ));
            // A map may call chains only where no chain calls back.
            lines.push(format!(
                "add rule {name} b0 meta l4proto {{ tcp, udp }} th dport vmap @verdicts"
            ));
        }
    }
}

/// Has the chains that a rule of chain `n - 1` calls be later ones.
fn shifted(rule: &str, n: u8) -> String {
    let mut out = String::new();
    for (at, word) in rule.split(' ').enumerate() {
        if at > 0 {
            out.push(' ');
        }
        match word
            .strip_prefix("r+")
            .and_then(|number| number.parse::<u8>().ok())
        {
            Some(number) => out.push_str(&format!("r{}", number + n)),
            None => out.push_str(word),
        }
    }
    out
}

fn base_kind(rng: &mut Rng, family: &str) -> (&'static str, &'static str) {
    match family {
        "netdev" => ("filter", choose(rng, &["ingress", "egress"])),
        "bridge" => (
            "filter",
            choose(
                rng,
                &["prerouting", "input", "forward", "output", "postrouting"],
            ),
        ),
        _ => match rng.u8(..4) {
            0 => (
                "nat",
                choose(rng, &["prerouting", "postrouting", "output", "input"]),
            ),
            _ => (
                "filter",
                choose(
                    rng,
                    &[
                        "prerouting",
                        "input",
                        "forward",
                        "output",
                        "postrouting",
                        "forward",
                        "input",
                    ],
                ),
            ),
        },
    }
}

fn rule(rng: &mut Rng, family: &str, kind: &str, hook: &str, regular: u8) -> String {
    let mut words = Vec::new();
    for _ in 0..rng.u8(..4) {
        words.push(condition(rng, family, hook));
    }
    let jump = |rng: &mut Rng, word: &str| format!("{word} r{}", rng.u8(..regular));
    let end = match rng.u8(..16) {
        0..4 => "accept".to_owned(),
        4..8 => "drop".to_owned(),
        8 => "return".to_owned(),
        9 if regular > 0 => jump(rng, "goto"),
        10..12 if regular > 0 => jump(rng, "jump"),
        12 if family != "netdev" => format!("meta mark set {}", rng.u8(1..4)),
        13 if family == "ip" || family == "inet" || family == "ip6" => match hook {
            "prerouting" | "any" => format!("ct mark set {}", rng.u8(1..4)),
            _ => "reject".to_owned(),
        },
        14 if family != "bridge" && family != "netdev" => {
            "meta l4proto { tcp, udp } meta mark set th dport map @marks".to_owned()
        }
        15 if hook == "prerouting" && kind == "filter" && family != "bridge" => {
            "notrack".to_owned()
        }
        _ => choose(rng, &["accept", "drop"]).to_owned(),
    };
    let end = if end == "reject" && !matches!(hook, "input" | "forward" | "output") {
        "drop".to_owned()
    } else {
        end
    };
    let end = match kind {
        "nat" => translation(rng, family, hook, &end),
        _ => end,
    };
    // A counter tells that the rule came to its end: where that may fail it
    // stands behind.
    match end.contains("map @") {
        true => words.extend([end, "counter".to_owned()]),
        false => match end.split_once(" } ") {
            Some((condition, end)) => {
                words.extend([
                    format!("{condition} }}"),
                    "counter".to_owned(),
                    end.to_owned(),
                ]);
            }
            None => words.extend(["counter".to_owned(), end]),
        },
    }
    words.join(" ")
}

fn translation(rng: &mut Rng, family: &str, hook: &str, end: &str) -> String {
    let v6 = match family {
        "ip" => false,
        "ip6" => true,
        _ => rng.bool(),
    };
    let word = match (family, v6) {
        ("inet", true) => "ip6 ",
        ("inet", false) => "ip ",
        _ => "",
    };
    let (targets, sources): (&[&str], &[&str]) = match v6 {
        false => (
            &["198.51.100.2", "192.0.2.10", "198.51.100.66"],
            &["192.0.2.1", "203.0.113.77"],
        ),
        true => (
            &["[2001:db8:b::2]", "[2001:db8:a::10]"],
            &["[2001:db8:a::1]", "[2001:db8:a::77]"],
        ),
    };
    let bare = |address: &str| address.trim_matches(['[', ']']).to_owned();
    match (hook, rng.u8(..5)) {
        ("prerouting" | "output", 0..2) => {
            format!(
                "meta l4proto {{ tcp, udp }} dnat {word}to {}:8080",
                choose(rng, targets)
            )
        }
        ("prerouting" | "output", 2) => format!("dnat {word}to {}", bare(choose(rng, targets))),
        ("prerouting", 3) => "meta l4proto { tcp, udp } redirect to :8080".to_owned(),
        ("postrouting", 0..3) => "masquerade".to_owned(),
        ("postrouting", 3) => format!("snat {word}to {}", bare(choose(rng, sources))),
        _ if end.contains("mark") || end == "reject" || end == "notrack" => "accept".to_owned(),
        _ => end.to_owned(),
    }
}

fn condition(rng: &mut Rng, family: &str, hook: &str) -> String {
    let v4 = match family {
        "ip" => true,
        "ip6" => false,
        _ => rng.bool(),
    };
    let not = choose(rng, &["", "", "", "!= "]);
    let (word, address) = match v4 {
        true => ("ip", choose(rng, &ADDRESSES4)),
        false => ("ip6", choose(rng, &ADDRESSES6)),
    };
    let port = choose(rng, &PORTS);
    let layered = matches!(family, "bridge" | "netdev");
    let in_known = !matches!(hook, "output" | "postrouting" | "any" | "egress");
    match rng.u8(..26) {
        0 | 1 => format!("{word} saddr {not}{address}"),
        2 | 3 => format!("{word} daddr {not}{address}"),
        4..7 => format!("{} dport {not}{port}", choose(rng, &["tcp", "udp", "th"])),
        7 => format!("{} sport {not}{port}", choose(rng, &["tcp", "udp"])),
        8 => format!(
            "meta l4proto {not}{}",
            choose(
                rng,
                &["tcp", "udp", "icmp", "ipv6-icmp", "47", "{ tcp, udp }"]
            )
        ),
        9 if family == "bridge" => format!("iifname {not}\"{}\"", choose(rng, &PORT_DEVICES)),
        10 if family == "bridge" => format!("oifname {not}\"{}\"", choose(rng, &PORT_DEVICES)),
        9 => format!("iifname {not}\"{}\"", choose(rng, &DEVICES)),
        10 => format!("oifname {not}\"{}\"", choose(rng, &DEVICES)),
        11 if !layered => format!(
            "ct state {}",
            choose(
                rng,
                &[
                    "new",
                    "established",
                    "invalid",
                    "new,established",
                    "untracked",
                    "related"
                ]
            )
        ),
        12 if !layered => format!("ct direction {}", choose(rng, &["original", "reply"])),
        13 if !layered => format!(
            "ct status {not}{}",
            choose(rng, &["dnat", "snat", "seen-reply"])
        ),
        14 if !layered => format!(
            "ct original {word} {} {not}{address}",
            choose(rng, &["saddr", "daddr"])
        ),
        15 if !layered => format!(
            "ct original proto-dst {not}{}",
            choose(rng, &["22", "8080", "443", "8000-8099"])
        ),
        16 => format!(
            "meta mark {}",
            choose(rng, &["0", "1", "!= 0", "2", "> 1", "& 1 == 1"])
        ),
        17 if !layered => format!("ct mark {}", choose(rng, &["0", "1", "!= 0", "& 2 == 2"])),
        18 if !layered => format!("meta skuid {}", choose(rng, &["0", "!= 0", "7"])),
        19 if !layered => format!(
            "fib daddr type {not}{}",
            choose(rng, &["local", "unicast", "broadcast"])
        ),
        20 if !layered && in_known => format!(
            "fib saddr . iif oif {}",
            choose(rng, &["exists", "missing"])
        ),
        21 => match v4 {
            true => format!(
                "ip ttl {}",
                choose(rng, &["> 64", "64", "< 64", "255", "63"])
            ),
            false => format!(
                "ip6 hoplimit {}",
                choose(rng, &["> 64", "64", "< 64", "255", "63"])
            ),
        },
        22 => format!(
            "tcp flags & (fin|syn|rst|ack) {}",
            choose(rng, &["== syn", "!= syn", "== syn|ack", "== 0"])
        ),
        23 => match v4 {
            true => format!(
                "icmp type {}",
                choose(rng, &["echo-request", "echo-reply", "timestamp-request"])
            ),
            false => choose(
                rng,
                &[
                    "ip6 nexthdr 6",
                    "ip6 nexthdr 60",
                    "icmpv6 type echo-request",
                ],
            )
            .to_owned(),
        },
        24 if !layered => choose(
            rng,
            &[
                "tcp dport @ports",
                "udp dport @ports",
                "th dport != @ports",
                "meta l4proto . th dport @pairs",
                "meta l4proto . th dport @ranges",
            ],
        )
        .to_owned(),
        25 if !layered => format!("meta iifkind \"{}\"", choose(rng, &["bridge", "veth"])),
        _ => format!("meta l4proto {}", choose(rng, &["tcp", "udp"])),
    }
}

/// Rules of iptables, whose matches and targets the kernel keeps as they are.
fn iptables(rng: &mut Rng, lines: &mut Vec<String>) {
    for _ in 0..rng.u8(2..10) {
        let v4 = rng.u8(..3) < 2;
        let program = if v4 { "iptables" } else { "ip6tables" };
        let address = |rng: &mut Rng| loop {
            let address = if v4 {
                choose(rng, &ADDRESSES4)
            } else {
                choose(rng, &ADDRESSES6)
            };
            if !address.contains('-') {
                return address;
            }
        };
        let (table, chain) = choose(
            rng,
            &[
                ("filter", "INPUT"),
                ("filter", "FORWARD"),
                ("filter", "OUTPUT"),
                ("filter", "FORWARD"),
                ("nat", "PREROUTING"),
                ("nat", "POSTROUTING"),
                ("nat", "OUTPUT"),
                ("mangle", "PREROUTING"),
                ("raw", "PREROUTING"),
            ],
        );
        let mut words = Vec::new();
        if rng.bool() {
            words.push(format!("-s {}", address(rng)));
        }
        if rng.u8(..3) == 0 {
            words.push(format!("! -d {}", address(rng)));
        }
        match rng.u8(..9) {
            0 | 1 => words.push(format!(
                "-p tcp -m tcp --dport {}",
                choose(rng, &["22", "80:443", "8000:8099"])
            )),
            2 => words.push(format!(
                "-p udp -m udp ! --dport {}",
                choose(rng, &["53", "1:1023"])
            )),
            3 => words.push("-p tcp -m multiport --dports 22,80,8000:8079".to_owned()),
            4 => words.push("-p tcp -m multiport ! --ports 443,1024".to_owned()),
            5 => words.push("-p tcp -m tcp --syn".to_owned()),
            6 => words.push("-p udp -m multiport --sports 20000:39999".to_owned()),
            7 => words.push(
                if v4 {
                    "-p icmp --icmp-type echo-request"
                } else {
                    "-p icmpv6 --icmpv6-type echo-request"
                }
                .to_owned(),
            ),
            _ => {}
        }
        if table != "raw" {
            match rng.u8(..5) {
                0 => words.push("-m conntrack --ctstate NEW".to_owned()),
                1 => words.push("-m conntrack --ctstate RELATED,ESTABLISHED".to_owned()),
                2 => words.push("-m conntrack ! --ctstate INVALID,DNAT".to_owned()),
                _ => {}
            }
        }
        match rng.u8(..6) {
            0 => words.push("-m addrtype --dst-type LOCAL".to_owned()),
            1 => words.push("-m addrtype ! --src-type LOCAL".to_owned()),
            2 => words.push("-m mark --mark 0x1/0x3".to_owned()),
            3 if v4 => words.push("-m iprange --src-range 192.0.2.10-192.0.2.127".to_owned()),
            4 => words.push("-m comment --comment tried".to_owned()),
            _ => {}
        }
        if matches!(chain, "INPUT" | "FORWARD" | "PREROUTING") && rng.u8(..3) == 0 {
            words.push(format!("-i {}", choose(rng, &["eth0", "br0", "br+"])));
        }
        let ports = words
            .iter()
            .any(|word| word.starts_with("-p tcp") || word.starts_with("-p udp"));
        let (to, source) = if v4 {
            ("198.51.100.2", "203.0.113.77")
        } else {
            ("[2001:db8:b::2]", "2001:db8:a::77")
        };
        let target = match (table, chain) {
            ("nat", "POSTROUTING") => choose(
                rng,
                &[
                    "MASQUERADE".to_owned(),
                    format!("SNAT --to-source {source}"),
                    "ACCEPT".to_owned(),
                ],
            ),
            ("nat", "PREROUTING") if ports => choose(
                rng,
                &[
                    format!("DNAT --to-destination {to}:8080"),
                    "REDIRECT --to-ports 8080".to_owned(),
                    "RETURN".to_owned(),
                ],
            ),
            ("nat", _) => choose(
                rng,
                &[
                    format!("DNAT --to-destination {}", to.trim_matches(['[', ']'])),
                    "ACCEPT".to_owned(),
                ],
            ),
            ("mangle", _) => choose(
                rng,
                &[
                    "MARK --set-xmark 0x1/0x3",
                    "MARK --set-xmark 0x2/0xffffffff",
                    "DROP",
                    "ACCEPT",
                ],
            )
            .to_owned(),
            ("raw", _) => choose(rng, &["DROP", "ACCEPT", "CT --notrack"]).to_owned(),
            _ => choose(rng, &["ACCEPT", "DROP", "DROP", "RETURN", "REJECT"]).to_owned(),
        };
        lines.push(format!(
            "{program} -t {table} -A {chain} {} -j {target}",
            words.join(" ")
        ));
    }
}
