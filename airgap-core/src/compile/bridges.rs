//! Bridge exemptions: containers and the host, containers among themselves,
//! and the isolation of containers from each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::matches::{
    FLOW_PORT, Ip, TCP, UDP, accept, destination_address, destination_is_behind_interface,
    drop_counted, flow_protocol, goto, in_network, in_set, interface, ip_version, is, jump, named,
    not_translated, original, padded_name, payload, protocol_number, reply,
    source_is_behind_interface, translated,
};
use super::{Compiler, Hooks, PRIORITY_BRIDGE, ROUTED, filter, identifier, small_set};
use crate::graph::{
    Chain, ChainPolicy, CtKey, DataType, Elements, Family, Hook, MetaKey, OriginId, PayloadBase,
    Rule, Section, Selector, Set, Statement, Table,
};
use crate::policy::{BridgeExemption, PortRange, Proto};

/// The chain for flows between containers of one bridge that has no rule of its
/// own.
const SAME_BRIDGE: &str = "same-bridge";

impl<'a> Compiler<'a> {
    /// The exemptions, the exact names before the patterns, and longer patterns
    /// before shorter: the most particular one decides.
    fn exemptions(&mut self) -> Vec<(&'a BridgeExemption, OriginId)> {
        let policy = self.policy;
        let mut all: Vec<_> = policy.bridge.iter().enumerate().collect();
        all.sort_by_key(|(_, b)| {
            (
                b.name.is_pattern(),
                std::cmp::Reverse(b.name.stem().len()),
                b.name.clone(),
            )
        });
        all.into_iter()
            .map(|(index, b)| (b, OriginId::new(Section::Bridge, index)))
            .collect()
    }

    /// Frames between containers of one bridge, which cross the chain
    /// `forward` where br_netfilter is on. They come before all other rules: a
    /// frame inside a bridge is free.
    pub(super) fn same_bridge(&mut self, hooks: &mut Hooks, table: &mut Table) {
        let exemptions = self.exemptions();
        for (bridge, origin) in &exemptions {
            let mut rule = vec![
                named(MetaKey::Iifname, &bridge.name),
                named(MetaKey::Oifname, &bridge.name),
            ];
            let comment = format!(
                "bridge {}: containers {}to each other",
                bridge.name,
                not_if(bridge.isolate)
            );
            if bridge.isolate && bridge.name.is_pattern() {
                // The two names may be of two bridges.
                rule.push(goto(ROUTED));
            } else if bridge.isolate {
                rule.extend(drop_counted());
            } else if bridge.name.is_pattern() {
                rule.push(jump(SAME_BRIDGE));
            } else {
                rule.push(accept());
            }
            hooks
                .forward
                .rule(Rule::new(rule).comment(comment).origin(*origin));
        }
        // A bridge that is not named has no way out; inside it frames are free.
        let bridge = |kind| is(Selector::Meta(kind), padded_name("bridge"));
        // What was dialled at the host and translated back into the bridge is no
        // frame inside it: the host forwards it.
        for way in [vec![translated(), goto(ROUTED)], vec![jump(SAME_BRIDGE)]] {
            let mut rule = vec![bridge(MetaKey::IifKind), bridge(MetaKey::OifKind)];
            rule.extend(way);
            hooks.forward.say(rule);
        }
        hooks.forward.say([goto(ROUTED)]);
        table.chains.push(same_bridge());
    }

    pub(super) fn bridge_exemptions(&mut self, hooks: &mut Hooks, table: &mut Table) {
        let exemptions = self.exemptions();
        if exemptions.is_empty() {
            return;
        }
        let protocols = |ip: Ip| [vec![TCP], vec![UDP], vec![ip.icmp()]];
        for ip in Ip::BOTH {
            table.sets.push(small_set(
                &protocols_set(ip),
                DataType::InetProto,
                &protocols(ip),
            ));
        }
        // What the host dials at its own address and Docker translates to a
        // container still shows the loopback as its way out; `postrouting`
        // knows better.
        for ip in Ip::BOTH {
            hooks.output.say([
                interface(MetaKey::Oifname, "lo"),
                ip_version(ip),
                original(),
                translated(),
                in_set(Selector::Ct(CtKey::Protocol, None), protocols_set(ip)),
                accept(),
            ]);
        }
        for (bridge, origin) in exemptions {
            let name = identifier(bridge.name.as_str());
            let into = from_containers(bridge, &name, origin, table);
            let out = to_containers(bridge, &name, origin);
            hooks.input.rule(
                Rule::new(vec![
                    named(MetaKey::Iifname, &bridge.name),
                    goto(&into.name),
                ])
                .origin(origin),
            );
            hooks.output.rule(
                Rule::new(vec![named(MetaKey::Oifname, &bridge.name), goto(&out.name)])
                    .origin(origin),
            );
            hooks
                .postrouting
                .say([named(MetaKey::Oifname, &bridge.name), accept()]);
            table.chains.extend([into, out]);
        }
        hooks
            .postrouting
            .say([interface(MetaKey::Oifname, "lo"), accept()]);
        // Only the host's own packets came by no interface.
        let mut elsewhere = vec![
            is(Selector::Meta(MetaKey::Iif), 0u32.to_ne_bytes()),
            original(),
            translated(),
        ];
        elsewhere.extend(drop_counted());
        hooks
            .postrouting
            .rule(Rule::new(elsewhere).comment("translated to somewhere else"));
    }

    /// The table of family bridge: it holds the policy's hash, and keeps frames
    /// from crossing an isolated bridge.
    pub(super) fn bridge_table(&mut self) -> Table {
        let mut table = Table::airgap(Family::Bridge, self.hash_comment());
        let isolated: Vec<_> = self
            .exemptions()
            .into_iter()
            .filter(|(bridge, _)| bridge.isolate)
            .collect();
        if isolated.is_empty() {
            return table;
        }
        let mut forward = filter(
            "forward",
            Hook::Forward,
            PRIORITY_BRIDGE,
            ChainPolicy::Accept,
        );
        if self.surroundings.bridge_names {
            for (bridge, origin) in self.exemptions() {
                let mut rule = vec![named(MetaKey::IbrName, &bridge.name)];
                let comment = format!(
                    "bridge {}: containers {}to each other",
                    bridge.name,
                    not_if(bridge.isolate)
                );
                if bridge.isolate {
                    rule.extend(drop_counted());
                } else {
                    rule.push(accept());
                }
                forward.rule(Rule::new(rule).comment(comment).origin(origin));
            }
        } else {
            self.isolate_without_names(&isolated, &mut forward, &mut table);
        }
        table.chains.push(forward);
        table
    }

    /// Where rules cannot ask for a bridge's name: by the ports that it has
    /// now, and for ports that it gets later by its networks.
    fn isolate_without_names(
        &self,
        isolated: &[(&BridgeExemption, OriginId)],
        forward: &mut Chain,
        table: &mut Table,
    ) {
        let exempt = |name: &str| {
            // The most particular exemption decides, as everywhere.
            let mut meant: Vec<_> = self
                .policy
                .bridge
                .iter()
                .filter(|b| b.name.matches(name))
                .collect();
            meant.sort_by_key(|b| (b.name.is_pattern(), std::cmp::Reverse(b.name.stem().len())));
            meant.first().is_some_and(|b| b.isolate)
        };
        let origin = isolated
            .first()
            .map(|(_, origin)| *origin)
            .unwrap_or_default();
        let ports: Vec<_> = self
            .surroundings
            .ports_of(|d| d.is_bridge() && exempt(&d.name))
            .map(|d| padded_name(&d.name))
            .collect();
        table
            .sets
            .push(small_set("isolated-ports", DataType::Ifname, &ports));
        let mut drop = |mut rule: Vec<Statement>, comment: &str| {
            rule.extend(drop_counted());
            forward.rule(Rule::new(rule).comment(comment).origin(origin));
        };
        for key in [MetaKey::Iifname, MetaKey::Oifname] {
            drop(
                vec![in_set(Selector::Meta(key), "isolated-ports")],
                "bridge isolate: a port of an isolated bridge",
            );
        }
        let networks = self
            .surroundings
            .devices
            .iter()
            .filter(|d| d.is_bridge() && exempt(&d.name));
        for net in networks.flat_map(|device| &device.addresses) {
            let (ip, ether_type, source, sender) = match net.network() {
                IpAddr::V4(_) => (Ip::V4, [0x08, 0x00], 12, Some(14)),
                IpAddr::V6(a) if (a.segments()[0] & 0xffc0) == 0xfe80 => continue,
                IpAddr::V6(_) => (Ip::V6, [0x86, 0xdd], 8, None),
            };
            let len = if ip == Ip::V4 { 4 } else { 16 };
            let from = |offset| {
                in_network(
                    payload(PayloadBase::Network, offset, len),
                    net.network(),
                    net.prefix_len(),
                )
            };
            let comment = format!("bridge isolate: frames of {net}");
            let ether = |value: [u8; 2]| is(payload(PayloadBase::LinkLayer, 12, 2), value);
            drop(vec![ether(ether_type), from(source)], &comment);
            if let Some(sender) = sender {
                // The sender's address in an ARP message, RFC 826.
                drop(vec![ether([0x08, 0x06]), from(sender)], &comment);
            }
        }
    }
}

fn not_if(isolate: bool) -> &'static str {
    if isolate { "not " } else { "" }
}

fn protocols_set(ip: Ip) -> String {
    format!("flow-protocols-{}", ip.suffix())
}

/// A flow of TCP, UDP or ping.
fn ordinary_flow(ip: Ip) -> [Statement; 2] {
    [
        ip_version(ip),
        in_set(Selector::Ct(CtKey::Protocol, None), protocols_set(ip)),
    ]
}

/// Flows between containers of one bridge, of whatever name. That both
/// interfaces are the same cannot be asked; that the packet is routed back to
/// where it came from can. What no router forwards is inside a bridge anyway:
/// limited broadcast and the groups of the link.
fn same_bridge() -> Chain {
    let mut chain = Chain::regular(SAME_BRIDGE);
    chain.say([
        destination_is_behind_interface(true),
        source_is_behind_interface(true),
        accept(),
    ]);
    for (ip, network, prefix) in [
        (Ip::V4, IpAddr::V4(Ipv4Addr::BROADCAST), 32),
        (Ip::V4, IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 24),
        (
            Ip::V6,
            IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0)),
            16,
        ),
    ] {
        chain.say([
            ip_version(ip),
            in_network(destination_address(ip), network, prefix),
            accept(),
        ]);
    }
    chain
}

/// What comes from the containers to the host.
fn from_containers(
    bridge: &BridgeExemption,
    name: &str,
    origin: OriginId,
    table: &mut Table,
) -> Chain {
    let mut chain = Chain::regular(format!("bridge-{name}-in"));
    // Only addresses that can be behind the bridge: a container could else
    // answer, or ask, as anybody.
    let mut spoofed = vec![source_is_behind_interface(false)];
    spoofed.extend(drop_counted());
    chain.rule(Rule::new(spoofed).comment("spoofed source"));
    for ip in Ip::BOTH {
        let mut rule = ordinary_flow(ip).to_vec();
        rule.extend([reply(), accept()]);
        chain.rule(
            Rule::new(rule)
                .comment(format!("bridge {}: host to containers", bridge.name))
                .origin(origin),
        );
    }
    for (rule, comment) in opened_by_containers(bridge, name, origin, Some(table)) {
        let mut statements = rule;
        statements.extend([original(), not_translated(), goto("arrive")]);
        chain.rule(Rule {
            comment,
            ..Rule::new(statements).origin(origin)
        });
    }
    chain.say(drop_counted());
    chain
}

/// What goes from the host to the containers.
fn to_containers(bridge: &BridgeExemption, name: &str, origin: OriginId) -> Chain {
    let mut chain = Chain::regular(format!("bridge-{name}-out"));
    for ip in Ip::BOTH {
        let mut rule = ordinary_flow(ip).to_vec();
        rule.extend([original(), accept()]);
        chain.rule(
            Rule::new(rule)
                .comment(format!("bridge {}: host to containers", bridge.name))
                .origin(origin),
        );
    }
    for (rule, comment) in opened_by_containers(bridge, name, origin, None) {
        let mut statements = rule;
        statements.extend([reply(), not_translated(), accept()]);
        chain.rule(Rule {
            comment,
            ..Rule::new(statements).origin(origin)
        });
    }
    chain.say(drop_counted());
    chain
}

/// The flows that containers may open to the host, with what to call them. The
/// sets of ports go into `table` where there is one.
fn opened_by_containers(
    bridge: &BridgeExemption,
    name: &str,
    origin: OriginId,
    mut table: Option<&mut Table>,
) -> Vec<(Vec<Statement>, Option<String>)> {
    let mut flows = Vec::new();
    let Some(ports) = &bridge.ports else {
        for ip in Ip::BOTH {
            flows.push((
                ordinary_flow(ip).to_vec(),
                Some(format!(
                    "bridge {}: containers to host, all ports",
                    bridge.name
                )),
            ));
        }
        return flows;
    };
    for ip in Ip::BOTH {
        let ping = vec![ip_version(ip), flow_protocol(ip.icmp())];
        flows.push((
            ping,
            Some(format!("bridge {}: containers ping the host", bridge.name)),
        ));
    }
    for proto in [Proto::Tcp, Proto::Udp] {
        let ranges: Vec<_> = ports
            .iter()
            .filter(|p| p.proto == proto)
            .map(|p| p.ports)
            .collect();
        if ranges.is_empty() {
            continue;
        }
        let set = format!("bridge-{name}-{proto}");
        if let Some(table) = table.as_deref_mut() {
            table.sets.push(port_set(
                &set,
                &ranges,
                origin,
                format!("bridge {}: containers to host, {proto} %p", bridge.name),
            ));
        }
        for ip in Ip::BOTH {
            let statements = vec![
                ip_version(ip),
                flow_protocol(protocol_number(proto)),
                in_set(FLOW_PORT, &set),
            ];
            // The openings are the elements of the set.
            flows.push((statements, None));
        }
    }
    flows
}

/// A set of port intervals, merged.
fn port_set(name: &str, ranges: &[PortRange], origin: OriginId, comment: String) -> Set {
    let mut sorted = ranges.to_vec();
    sorted.sort();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(before) if u32::from(range.first) <= u32::from(before.last) + 1 => {
                before.last = before.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    let items: Vec<_> = merged
        .iter()
        .map(|r| [r.first.to_be_bytes(), [0, 0], r.last.to_be_bytes(), [0, 0]].concat())
        .collect();
    Set {
        name: name.to_owned(),
        key: vec![DataType::InetService],
        interval: true,
        other_flags: 0,
        size: None,
        comment: Some(comment),
        elements: Elements::new(
            8,
            items.iter().map(|item| (item.as_slice(), origin)).collect(),
        ),
    }
}
