//! The egress chains of `strict`: what a packet socket sends past the hook
//! `output` meets them on the device. There is no connection tracking, so that
//! they pass what could belong to an opening, and nothing else.

use super::headers::{
    HOP_LIMIT, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_MESSAGES, NEIGHBOUR_SOLICITATION, from_a_process,
};
use super::host::Way;
use super::matches::{
    ETHER_TYPE, ICMP_CODE, ICMP_TYPE, Ip, accept, destination_address, drop_counted, frame_of,
    goto, has_header, in_network, is, l4proto, masked, payload, protocol_number,
};
use super::services::{Addresses, Services, View};
use super::{Compiler, identifier, single};
use crate::graph::{
    BaseChain, Chain, ChainPolicy, ChainType, Cmp, Exthdr, Family, Hook, OriginId, PayloadBase,
    Rule, Section, Selector, Statement, Table,
};
use crate::policy::{Proto, Resolvers};

/// The chain that every device's chain goes on in.
const EGRESS: &str = "egress";
impl Compiler<'_> {
    /// The table of family netdev, if the policy is strict.
    pub(super) fn netdev_table(&mut self) -> Option<Table> {
        if !self.policy.host.strict {
            return None;
        }
        let mut table = Table::airgap(
            Family::Netdev,
            format!("created by {}", self.hash_comment()),
        );
        let mut v4 = Chain::regular("egress-v4");
        let mut v6 = Chain::regular("egress-v6");
        source_routes(&mut v4, &mut v6);
        neighbours(&mut v6);
        self.services(&mut v4, &mut v6, &mut table);
        for message in self.dhcp_messages() {
            if message.way == Way::Out {
                let mut rule = vec![frame_of(message.ip)];
                rule.extend(message.headers());
                rule.push(accept());
                let chain = if message.ip == Ip::V4 {
                    &mut v4
                } else {
                    &mut v6
                };
                chain.rule(
                    Rule::new(rule)
                        .comment(message.comment)
                        .origin(message.origin),
                );
            }
        }
        v4.say(drop_counted());
        v6.say(drop_counted());
        table.chains.extend([egress(), arp(), v4, v6]);
        for device in self.strict_devices() {
            let mut chain = Chain::base(
                format!("egress-{}", identifier(&device)),
                BaseChain {
                    kind: ChainType::Filter,
                    hook: Hook::Egress,
                    priority: 0,
                    policy: ChainPolicy::Drop,
                    devices: vec![device],
                },
            );
            chain.say([goto(EGRESS)]);
            table.chains.push(chain);
        }
        Some(table)
    }

    /// The devices that there are and that lead out.
    fn strict_devices(&self) -> Vec<String> {
        let devices = &self.surroundings.devices;
        let is_bridge_port =
            |master: u32| devices.iter().any(|d| d.index == master && d.is_bridge());
        let leads_out = |d: &&crate::netlink::Device| match &self.policy.host.uplinks {
            Some(uplinks) => uplinks.contains(&d.name),
            None => d.name != "lo" && !d.is_bridge() && !d.master.is_some_and(is_bridge_port),
        };
        devices
            .iter()
            .filter(leads_out)
            .map(|d| d.name.clone())
            .collect()
    }

    fn services(&mut self, v4: &mut Chain, v6: &mut Chain, table: &mut Table) {
        let all = PortsOf::ALL;
        let mut later = Addresses::new("opened", None);
        let mut pinged = Addresses::new("pinged", None);
        for proto in [Proto::Tcp, Proto::Udp] {
            let mut out = Services::new(format!("out-{proto}"), None, proto);
            let mut back = Services::new(format!("back-{proto}"), None, proto);
            for port in all {
                for (addresses, ports, origin) in self.opened(proto, port) {
                    for range in addresses {
                        later.add(range, origin);
                        for ports in &ports {
                            if port == PortsOf::Admits {
                                &mut back
                            } else {
                                &mut out
                            }
                            .add(range, *ports, origin);
                        }
                    }
                }
            }
            for (services, view) in [(out, View::PacketDestination), (back, View::PacketBack)] {
                for alternative in services.build(table) {
                    let mut rule = alternative.matches(view);
                    rule.push(accept());
                    let chain = if alternative.ip() == Ip::V4 {
                        &mut *v4
                    } else {
                        &mut *v6
                    };
                    chain.rule(Rule::new(rule).origin(alternative.origin));
                }
            }
        }
        for (index, admit) in self.policy.admit.iter().enumerate() {
            if admit.proto.transport().is_none() {
                let origin = OriginId::new(Section::Admit, index);
                self.ranges(&admit.from, origin)
                    .into_iter()
                    .for_each(|range| pinged.add(range, origin));
            }
        }
        // A later fragment of a long datagram has no ports to look at.
        for addresses in later.build(table) {
            let (chain, fragment) = match addresses.ip {
                Ip::V4 => (
                    &mut *v4,
                    masked(
                        payload(PayloadBase::Network, 6, 2),
                        [0x1f, 0xff],
                        Cmp::Neq,
                        [0, 0],
                    ),
                ),
                Ip::V6 => (
                    &mut *v6,
                    masked(
                        Selector::Exthdr(Exthdr::Ip6FragmentOffset),
                        [0xff, 0xf8],
                        Cmp::Neq,
                        [0, 0],
                    ),
                ),
            };
            let mut too_big = path_mtu_error(addresses.ip);
            too_big.extend([addresses.is_destination(), accept()]);
            chain.rule(Rule::new(too_big).origin(addresses.origin));
            for proto in [Proto::Tcp, Proto::Udp] {
                let rule = vec![
                    frame_of(addresses.ip),
                    fragment.clone(),
                    l4proto(protocol_number(proto)),
                    addresses.is_destination(),
                    accept(),
                ];
                chain.rule(Rule::new(rule).origin(addresses.origin));
            }
        }
        for addresses in pinged.build(table) {
            let (chain, echo_reply) = if addresses.ip == Ip::V4 {
                (&mut *v4, 0)
            } else {
                (&mut *v6, 129)
            };
            let rule = vec![
                frame_of(addresses.ip),
                l4proto(addresses.ip.icmp()),
                is(ICMP_TYPE, [echo_reply]),
                addresses.is_destination(),
                accept(),
            ];
            chain.rule(Rule::new(rule).origin(addresses.origin));
        }
    }

    /// Far addresses and ports of the openings of one kind.
    fn opened(
        &mut self,
        proto: Proto,
        kind: PortsOf,
    ) -> Vec<(
        Vec<super::AddressRange>,
        Vec<crate::policy::PortRange>,
        OriginId,
    )> {
        let mut openings = Vec::new();
        match kind {
            PortsOf::Allows => {
                for (index, pair) in self
                    .policy
                    .allow
                    .iter()
                    .enumerate()
                    .filter(|(_, p)| p.proto == proto)
                {
                    let origin = OriginId::new(Section::Allow, index);
                    openings.push((self.ranges(&pair.to, origin), pair.port.clone(), origin));
                }
            }
            PortsOf::Resolvers => {
                let servers = match &self.policy.host.resolvers {
                    Resolvers::None => [].as_slice(),
                    Resolvers::System => &self.surroundings.resolvers,
                    Resolvers::Servers(servers) => servers,
                };
                let origin = OriginId::new(Section::Host, 0);
                openings.push((
                    servers.iter().map(|s| single(*s)).collect(),
                    vec![53.into()],
                    origin,
                ));
            }
            PortsOf::Forwards => {
                for (index, f) in self
                    .policy
                    .forward
                    .iter()
                    .enumerate()
                    .filter(|(_, f)| f.proto == proto)
                {
                    let origin = OriginId::new(Section::Forward, index);
                    openings.push((self.ranges(&f.to, origin), f.port.clone(), origin));
                }
            }
            PortsOf::Admits => {
                let admits = self.policy.admit.iter().enumerate();
                for (index, a) in admits.filter(|(_, a)| a.proto.transport() == Some(proto)) {
                    let origin = OriginId::new(Section::Admit, index);
                    openings.push((self.ranges(&a.from, origin), a.port.clone(), origin));
                }
            }
        }
        openings
    }
}

/// The kinds of openings by which something leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PortsOf {
    Allows,
    Resolvers,
    Forwards,
    Admits,
}

impl PortsOf {
    const ALL: [Self; 4] = [Self::Allows, Self::Resolvers, Self::Forwards, Self::Admits];
}

/// As in the chain `headers`. The kernel finds no IPv4 options from here, so
/// that a header with any is dropped; what the host sends has none.
fn source_routes(v4: &mut Chain, v6: &mut Chain) {
    let header_length = payload(PayloadBase::Network, 0, 1);
    let options = vec![
        frame_of(Ip::V4),
        masked(header_length, [0x0f], Cmp::Gt, [5]),
    ];
    let routing = vec![frame_of(Ip::V6), has_header(Exthdr::Ip6Routing)];
    for (chain, mut rule) in [(v4, options), (v6, routing)] {
        rule.extend(drop_counted());
        chain.rule(Rule::new(rule).comment("source route"));
    }
}

/// As in the chain `neighbours-out`, with the same threat: a message to a
/// global address, which a router would pass on.
fn neighbours(v6: &mut Chain) {
    let discovery = |kind: u8| {
        vec![
            frame_of(Ip::V6),
            l4proto(Ip::V6.icmp()),
            is(ICMP_TYPE, [kind]),
            is(ICMP_CODE, [0]),
            is(HOP_LIMIT, [255]),
        ]
    };
    for (kind, (network, prefix)) in NEIGHBOUR_MESSAGES {
        let mut rule = discovery(kind);
        rule.extend([
            in_network(destination_address(Ip::V6), network, prefix),
            accept(),
        ]);
        v6.say(rule);
    }
    for kind in [NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT] {
        let mut of_a_process = discovery(kind);
        of_a_process.push(from_a_process());
        of_a_process.extend(drop_counted());
        v6.rule(Rule::new(of_a_process).comment("neighbour discovery by a process"));
        let mut rule = discovery(kind);
        rule.push(accept());
        v6.say(rule);
    }
}

/// The host, as a router, says that a packet is too big for the next link.
fn path_mtu_error(ip: Ip) -> Vec<Statement> {
    let mut statements = vec![frame_of(ip), l4proto(ip.icmp())];
    match ip {
        Ip::V4 => statements.extend([is(ICMP_TYPE, [3]), is(ICMP_CODE, [4])]),
        Ip::V6 => statements.extend([is(ICMP_TYPE, [2]), is(ICMP_CODE, [0])]),
    }
    statements
}

fn egress() -> Chain {
    let mut chain = Chain::regular(EGRESS);
    for (ether_type, to) in [
        ([0x08, 0x06], "egress-arp"),
        ([0x08, 0x00], "egress-v4"),
        ([0x86, 0xdd], "egress-v6"),
    ] {
        chain.say([is(ETHER_TYPE, ether_type), goto(to)]);
    }
    chain.rule(Rule::new(drop_counted().to_vec()).comment("neither IP nor ARP"));
    chain
}

/// ARP for IPv4 over Ethernet, RFC 826: requests and replies.
fn arp() -> Chain {
    let mut chain = Chain::regular("egress-arp");
    for operation in [1u8, 2] {
        // hardware type 1, protocol type IPv4, lengths 6 and 4, the operation
        let head = [0, 1, 0x08, 0x00, 6, 4, 0, operation];
        chain.say([is(payload(PayloadBase::Network, 0, 8), head), accept()]);
    }
    chain.say(drop_counted());
    chain
}
