//! What is judged by its headers before any opening is asked for: source
//! routes, ICMP, and neighbour discovery.

use std::net::{IpAddr, Ipv6Addr};

use super::matches::{
    ICMP_CODE, ICMP_TYPE, Ip, accept, compare, destination_address, drop_counted, goto, has_header,
    in_network, in_set, ip_version, is, jump, l4proto, masked, named, padded_name, payload,
    return_, source_address, source_is_behind_interface, state_related,
};
use super::{Compiler, Hooks, icmp, small_set, when};
use crate::graph::{
    Chain, Cmp, DataType, Exthdr, MetaKey, PayloadBase, Rule, Selector, Statement, Table,
};

const HEADERS: &str = "headers";
/// The chain that asks where a new flow comes from.
pub(super) const SOURCE: &str = "source";
/// The set of the uplinks that the policy names.
const UPLINKS: &str = "uplinks";

/// Types of ICMP, RFC 792, and ICMPv6, RFC 4443 and RFC 4861.
const ECHO_REPLY: u8 = 0;
const DESTINATION_UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const ECHO_REQUEST: u8 = 8;
const PACKET_TOO_BIG_6: u8 = 2;
const ECHO_REQUEST_6: u8 = 128;
const ECHO_REPLY_6: u8 = 129;
pub(super) const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
pub(super) const NEIGHBOUR_SOLICITATION: u8 = 135;
pub(super) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

pub(super) const HOP_LIMIT: Selector = Selector::Payload {
    base: PayloadBase::Network,
    offset: 7,
    len: 1,
};

/// `fe80::/10`
pub(super) const LINK_LOCAL: (IpAddr, u8) =
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10);
/// `ff02::1`, all nodes of the link
const ALL_NODES: (IpAddr, u8) = (IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)), 128);
/// `ff02::2`, all routers of the link
const ALL_ROUTERS: (IpAddr, u8) = (IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2)), 128);
/// `ff02::1:ff00:0/104`, the groups by which neighbours are found
const SOLICITED_NODE: (IpAddr, u8) = (
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0)),
    104,
);

/// The messages by which neighbours on a link find each other, as the type and
/// where each may be sent to: nowhere that a router would pass it on.
pub(super) const NEIGHBOUR_MESSAGES: [(u8, (IpAddr, u8)); 5] = [
    (ROUTER_SOLICITATION, ALL_ROUTERS),
    (NEIGHBOUR_SOLICITATION, SOLICITED_NODE),
    (NEIGHBOUR_SOLICITATION, LINK_LOCAL),
    (NEIGHBOUR_ADVERTISEMENT, LINK_LOCAL),
    (NEIGHBOUR_ADVERTISEMENT, ALL_NODES),
];

/// No user has the number -1, so that this holds for every packet of a socket
/// that a process opened, and for none of the kernel's own.
pub(super) fn from_a_process() -> Statement {
    compare(
        Selector::Meta(MetaKey::SkUid),
        Cmp::Neq,
        u32::MAX.to_ne_bytes(),
    )
}

impl Compiler<'_> {
    /// Adds the chains, and the jumps to them.
    pub(super) fn headers(&mut self, hooks: &mut Hooks, table: &mut Table) {
        let neighbours = |chain: &str| when(icmp(Ip::V6).to_vec(), chain);
        hooks.input.say(neighbours("neighbours-in"));
        hooks.output.say(neighbours("neighbours-out"));
        for chain in [&mut hooks.input, &mut hooks.routed, &mut hooks.output] {
            chain.say([jump(HEADERS)]);
        }
        table.chains.extend([
            headers(),
            ip_options(),
            icmp4(),
            icmp6(),
            neighbours_in(),
            neighbours_out(),
        ]);
        table
            .chains
            .push(self.uplink_chain("from-uplink", MetaKey::Iifname, MetaKey::IifKind));
        table
            .chains
            .push(self.uplink_chain("to-uplink", MetaKey::Oifname, MetaKey::OifKind));
        table.chains.push(self.source_chain());
        if let Some(uplinks) = &self.policy.host.uplinks {
            let names: Vec<_> = uplinks.iter().map(|name| padded_name(name)).collect();
            table
                .sets
                .push(small_set(UPLINKS, DataType::Ifname, &names));
        }
    }

    /// A chain that accepts on uplinks and returns on other interfaces.
    fn uplink_chain(&self, name: &str, interface: MetaKey, kind: MetaKey) -> Chain {
        let mut chain = Chain::regular(name);
        if self.policy.host.uplinks.is_none() {
            for condition in self.no_uplink(interface, kind) {
                chain.say([condition, return_()]);
            }
            chain.say([accept()]);
        } else {
            chain.say([in_set(Selector::Meta(interface), UPLINKS), accept()]);
        }
        chain
    }

    /// The chain that asks whether a new flow comes from where its source can
    /// be: a container could else pose as the administrator. Uplinks are
    /// trusted with that, since their routes may be asymmetric.
    fn source_chain(&self) -> Chain {
        let mut chain = Chain::regular(SOURCE);
        let mut conditions = vec![Vec::new()];
        if self.policy.host.uplinks.is_none() {
            conditions = self
                .no_uplink(MetaKey::Iifname, MetaKey::IifKind)
                .into_iter()
                .map(|condition| vec![condition])
                .collect();
        } else {
            chain.say([in_set(Selector::Meta(MetaKey::Iifname), UPLINKS), return_()]);
        }
        for mut rule in conditions {
            rule.push(source_is_behind_interface(false));
            rule.extend(drop_counted());
            chain.rule(Rule::new(rule).comment("spoofed source"));
        }
        chain
    }

    /// What shows, where no uplinks are named, that an interface is none. A
    /// bridge is none: a container could pose as the network's router or DHCP
    /// server.
    fn no_uplink(&self, interface: MetaKey, kind: MetaKey) -> Vec<Statement> {
        let mut conditions = vec![is(Selector::Meta(kind), padded_name("bridge"))];
        conditions.extend(self.policy.bridge.iter().map(|b| named(interface, &b.name)));
        conditions
    }
}

fn headers() -> Chain {
    let mut chain = Chain::regular(HEADERS);
    // A source route makes the destination that the rules see a mere stop on
    // the way to another.
    let header_length = payload(PayloadBase::Network, 0, 1);
    chain.say([
        ip_version(Ip::V4),
        masked(header_length, [0x0f], Cmp::Gt, [5]),
        jump("ip-options"),
    ]);
    chain.rule(routing_header());
    for (ip, to) in [(Ip::V4, "icmp4"), (Ip::V6, "icmp6")] {
        let mut rule = icmp(ip).to_vec();
        rule.push(goto(to));
        chain.say(rule);
    }
    chain
}

fn routing_header() -> Rule {
    let mut rule = vec![ip_version(Ip::V6), has_header(Exthdr::Ip6Routing)];
    rule.extend(drop_counted());
    Rule::new(rule).comment("source route")
}

fn ip_options() -> Chain {
    let mut chain = Chain::regular("ip-options");
    for option in [Exthdr::IpLsrr, Exthdr::IpSsrr] {
        let mut rule = vec![ip_version(Ip::V4), has_header(option)];
        rule.extend(drop_counted());
        chain.rule(Rule::new(rule).comment("source route"));
    }
    chain
}

/// Of ICMP only ping and path MTU errors go on to be asked for an opening, the
/// errors by the flow that they are about. Other errors and queries would tell
/// things or be made to.
fn icmp4() -> Chain {
    let mut chain = Chain::regular("icmp4");
    let asks = |kind: u8| {
        vec![
            ip_version(Ip::V4),
            l4proto(Ip::V4.icmp()),
            is(ICMP_TYPE, [kind]),
        ]
    };
    for kind in [ECHO_REQUEST, ECHO_REPLY] {
        let mut rule = asks(kind);
        rule.push(return_());
        chain.say(rule);
    }
    let mut rule = asks(DESTINATION_UNREACHABLE);
    rule.extend([
        is(ICMP_CODE, [FRAGMENTATION_NEEDED]),
        state_related(),
        return_(),
    ]);
    chain.say(rule);
    chain.rule(Rule::new(drop_counted().to_vec()).comment("ICMP"));
    chain
}

fn icmp6() -> Chain {
    let mut chain = Chain::regular("icmp6");
    let asks = |kind: u8| {
        vec![
            ip_version(Ip::V6),
            l4proto(Ip::V6.icmp()),
            is(ICMP_TYPE, [kind]),
        ]
    };
    for kind in [ECHO_REQUEST_6, ECHO_REPLY_6] {
        let mut rule = asks(kind);
        rule.push(return_());
        chain.say(rule);
    }
    let mut rule = asks(PACKET_TOO_BIG_6);
    rule.extend([state_related(), return_()]);
    chain.say(rule);
    chain.rule(Rule::new(drop_counted().to_vec()).comment("ICMPv6"));
    chain
}

/// Asks for a message of neighbour discovery. A hop limit of 255 shows that no
/// router passed it on (RFC 4861, 11.2).
fn discovery(kind: u8) -> Vec<Statement> {
    vec![
        ip_version(Ip::V6),
        l4proto(Ip::V6.icmp()),
        is(ICMP_TYPE, [kind]),
        is(ICMP_CODE, [0]),
        is(HOP_LIMIT, [255]),
    ]
}

fn neighbours_in() -> Chain {
    let mut chain = Chain::regular("neighbours-in");
    chain.rule(routing_header());
    for kind in [NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT] {
        let mut rule = discovery(kind);
        rule.push(accept());
        chain.say(rule);
    }
    let mut rule = discovery(ROUTER_ADVERTISEMENT);
    let (network, prefix) = LINK_LOCAL;
    rule.extend([
        in_network(source_address(Ip::V6), network, prefix),
        jump("from-uplink"),
    ]);
    chain.say(rule);
    chain
}

fn neighbours_out() -> Chain {
    let mut chain = Chain::regular("neighbours-out");
    // A neighbour would pass on what has a source route, to anywhere.
    chain.rule(routing_header());
    for (kind, (network, prefix)) in NEIGHBOUR_MESSAGES {
        let mut rule = discovery(kind);
        rule.extend([
            in_network(destination_address(Ip::V6), network, prefix),
            accept(),
        ]);
        chain.say(rule);
    }
    // To a neighbour's global address only the kernel itself: it sends on the
    // link, while a raw socket's message would be routed, to anywhere.
    for kind in [NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT] {
        let mut rule = discovery(kind);
        rule.extend([from_a_process(), return_()]);
        chain.say(rule);
        let mut rule = discovery(kind);
        rule.push(accept());
        chain.say(rule);
    }
    chain
}
