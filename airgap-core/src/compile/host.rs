//! The openings of the host itself: allow pairs, resolvers, admits, and DHCP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::headers::{LINK_LOCAL, SOURCE};
use super::matches::{
    DESTINATION_PORT, Ip, SOURCE_PORT, TCP, UDP, accept, compare, destination_address,
    destination_is_local, drop_counted, flow_protocol, goto, in_network, interface, ip_version, is,
    jump, l4proto, masked, named, not_translated, original, payload, reply, return_,
    source_address, source_is_behind_interface, state_new, state_related, translated,
};
use super::services::{AddressAlternative, Addresses, Alternative, Services, View};
use super::{Compiler, Hooks, identifier, single, when};
use crate::docker::DockerResolver;
use crate::graph::{
    Chain, Cmp, CtKey, MetaKey, OriginId, PayloadBase, Rule, Section, Selector, Statement, Table,
};
use crate::policy::{Allow, BridgeName, Dhcp, Proto, Resolvers, User};

const DNS: u16 = 53;

/// The bit of a flow's label that says 'a process opened this under a policy';
/// the 32 bits above it tell its user. Labels live and die with their flow, so
/// that they outlast a reload and need no cleaning.
const LABEL_OPENED: u32 = 95;
const LABEL_MASK: u128 = u128::MAX << LABEL_OPENED;

fn label(uid: u32) -> u128 {
    u128::from(uid) << (LABEL_OPENED + 1) | 1 << LABEL_OPENED
}

/// The flow was opened by this user under a policy.
fn opened_by(uid: u32) -> Statement {
    masked(
        Selector::Ct(CtKey::Labels, None),
        LABEL_MASK.to_ne_bytes(),
        Cmp::Eq,
        label(uid).to_ne_bytes(),
    )
}

/// The chain that a flow to the host passes when it is opened.
const ARRIVE: &str = "arrive";

impl Compiler<'_> {
    pub(super) fn openings_of_host(&mut self, hooks: &mut Hooks, table: &mut Table) {
        self.allow(hooks, table);
        self.admit(hooks, table);
        table.chains.push(arrive());
    }

    fn allow(&mut self, hooks: &mut Hooks, table: &mut Table) {
        let mut groups: BTreeMap<(Option<u32>, Proto), Services> = BTreeMap::new();
        self.resolvers(&mut groups);
        let policy = self.policy;
        for proto in [Proto::Tcp, Proto::Udp] {
            let exact = policy.allow.entries().enumerate();
            let mut exact = exact.filter_map(|(index, entry)| match entry {
                Allow::Exact(pair) if pair.proto == proto => Some((index, pair)),
                _ => None,
            });
            let mut next = exact.next();
            if next.is_none() {
                continue;
            }
            let services = groups
                .entry((None, proto))
                .or_insert_with(|| allow_services(None, proto));
            while let Some((index, pair)) = next {
                let origin = OriginId::new(Section::Allow, index);
                services.add_exact(pair.address, pair.port, origin);
                next = exact.next();
            }
        }
        for (index, pair) in policy.allow.listed() {
            let origin = OriginId::new(Section::Allow, index);
            let uid = match &pair.user {
                None => None,
                Some(User::Uid(uid)) => Some(*uid),
                Some(User::Name(name)) => match self.surroundings.users.get(&**name) {
                    Some(uid) => Some(*uid),
                    None => {
                        self.lacks(format!("the user `{name}` was not looked up"), origin);
                        continue;
                    }
                },
            };
            let services = groups
                .entry((uid, pair.proto))
                .or_insert_with(|| allow_services(uid, pair.proto));
            for range in self.ranges(&pair.to, origin) {
                pair.port
                    .iter()
                    .for_each(|ports| services.add(range, *ports, origin));
            }
        }
        let mut chains: BTreeMap<Option<u32>, Chain> = BTreeMap::new();
        for ((uid, _), services) in groups {
            let chain = chains
                .entry(uid)
                .or_insert_with(|| Chain::regular(allow_chain(uid)));
            accept_each(&services.build(table), View::FlowDestination, chain);
        }
        for (uid, chain) in chains {
            match uid {
                None => {
                    hooks
                        .output
                        .say(when(vec![original(), not_translated()], &chain.name));
                    hooks
                        .input
                        .say(when(vec![reply(), not_translated()], &chain.name));
                }
                Some(uid) => opened_by_user(uid, &chain.name, hooks, table),
            }
            table.chains.push(chain);
        }
    }

    fn resolvers(&mut self, groups: &mut BTreeMap<(Option<u32>, Proto), Services>) {
        let servers = match &self.policy.host.resolvers {
            Resolvers::None => return,
            Resolvers::System => &self.surroundings.resolvers,
            Resolvers::Servers(servers) => servers,
        };
        let origin = OriginId::new(Section::Host, 0);
        for proto in [Proto::Tcp, Proto::Udp] {
            let services = groups
                .entry((None, proto))
                .or_insert_with(|| allow_services(None, proto));
            servers
                .iter()
                .for_each(|server| services.add(single(*server), DNS.into(), origin));
        }
    }

    /// What Docker's daemon asks a local stub, it asks for containers, and the
    /// stub may ask the network: names would be a way out for them. The
    /// daemon's own questions cannot be told from those, and end too.
    pub(super) fn docker_resolver(&self, hooks: &mut Hooks) {
        let DockerResolver::Closed(group) = &self.surroundings.docker_resolver else {
            return;
        };
        for proto in [TCP, UDP] {
            let mut rule = vec![
                interface(MetaKey::Oifname, "lo"),
                l4proto(proto),
                is(DESTINATION_PORT, DNS.to_be_bytes()),
                Statement::SocketCgroup(group.clone()),
            ];
            rule.extend(drop_counted());
            hooks
                .output
                .rule(Rule::new(rule).comment("Docker asks a local resolver for containers"));
        }
    }

    fn admit(&mut self, hooks: &mut Hooks, table: &mut Table) {
        let mut groups: BTreeMap<Proto, Services> = BTreeMap::new();
        let mut ping = Addresses::new(
            "admit-icmp",
            Some("admit: ping from %a to the host".to_owned()),
        );
        for (index, admit) in self.policy.admit.iter().enumerate() {
            if admit.via.is_some() {
                continue;
            }
            let origin = OriginId::new(Section::Admit, index);
            for range in self.ranges(&admit.from, origin) {
                let Some(proto) = admit.proto.transport() else {
                    ping.add(range, origin);
                    continue;
                };
                let services = groups.entry(proto).or_insert_with(|| {
                    Services::new(
                        format!("admit-{proto}"),
                        Some(format!("admit: {proto} from %a to the host, port %p")),
                        proto,
                    )
                });
                admit
                    .port
                    .iter()
                    .for_each(|ports| services.add(range, *ports, origin));
            }
        }
        let mut admit_in = Chain::regular("admit-in");
        let mut admit_out = Chain::regular("admit-out");
        for (_, services) in groups {
            let alternatives = services.build(table);
            for alternative in &alternatives {
                let mut rule = alternative.matches(View::FlowSource);
                rule.push(goto(ARRIVE));
                admit_in.rule(Rule::new(rule).origin(alternative.origin));
            }
            accept_each(&alternatives, View::FlowSource, &mut admit_out);
        }
        for alternative in ping.build(table) {
            for (chain, verdict) in [(&mut admit_in, goto(ARRIVE)), (&mut admit_out, accept())] {
                chain.rule(Rule::new(echo_from(&alternative, verdict)).origin(alternative.origin));
            }
        }
        // A flow to the host is dialled at the host.
        hooks
            .input
            .say(when(vec![original(), not_translated()], &admit_in.name));
        hooks
            .output
            .say(when(vec![reply(), not_translated()], &admit_out.name));
        table.chains.extend([admit_in, admit_out]);
    }

    /// Admits with `via`: ports that a container publishes.
    pub(super) fn published_ports(&mut self, hooks: &mut Hooks, table: &mut Table) {
        let mut groups: BTreeMap<(&BridgeName, Proto), Services> = BTreeMap::new();
        for (index, admit) in self.policy.admit.iter().enumerate() {
            let (Some(via), Some(proto)) = (&admit.via, admit.proto.transport()) else {
                continue;
            };
            let origin = OriginId::new(Section::Admit, index);
            let services = groups.entry((via, proto)).or_insert_with(|| {
                Services::new(
                    format!("via-{}-{proto}", identifier(via.as_str())),
                    Some(format!(
                        "admit: {proto} from %a to port %p, published behind {via}"
                    )),
                    proto,
                )
            });
            for range in self.ranges(&admit.from, origin) {
                admit
                    .port
                    .iter()
                    .for_each(|ports| services.add(range, *ports, origin));
            }
        }
        let mut chains: BTreeMap<&BridgeName, Chain> = BTreeMap::new();
        let mut proxied = Vec::new();
        for ((via, _), services) in groups {
            let alternatives = services.build(table);
            let chain = chains
                .entry(via)
                .or_insert_with(|| Chain::regular(format!("via-{}", identifier(via.as_str()))));
            accept_each(&alternatives, View::FlowSource, chain);
            proxied.extend(
                alternatives
                    .into_iter()
                    .filter(|alternative| alternative.ip() == Ip::V6),
            );
        }
        // Docker translates the dialled port before routing, so that such a
        // flow is forwarded, and only what was translated is meant.
        for (via, chain) in chains {
            for to in [SOURCE, &chain.name] {
                hooks.routed.say(when(
                    vec![translated(), original(), named(MetaKey::Oifname, via)],
                    to,
                ));
            }
            hooks.routed.say(when(
                vec![translated(), reply(), named(MetaKey::Iifname, via)],
                &chain.name,
            ));
            // The host's own path MTU errors to the far side.
            hooks.output.say(when(
                vec![state_related(), translated(), reply()],
                &chain.name,
            ));
            table.chains.push(chain);
            if !self.policy.bridge.iter().any(|bridge| bridge.name == *via) {
                proxy_to_containers(via, hooks, table);
            }
        }
        // Over IPv6 docker-proxy takes the flow at the host's own port.
        let mut proxy_in = Chain::regular("proxy-in");
        let mut proxy_out = Chain::regular("proxy-out");
        for alternative in &proxied {
            let mut rule = alternative.matches(View::FlowSource);
            rule.push(goto(ARRIVE));
            proxy_in.rule(Rule::new(rule).origin(alternative.origin));
        }
        if !proxied.is_empty() {
            accept_each(&proxied, View::FlowSource, &mut proxy_out);
            hooks
                .input
                .say(when(vec![original(), not_translated()], &proxy_in.name));
            hooks
                .output
                .say(when(vec![reply(), not_translated()], &proxy_out.name));
            table.chains.extend([proxy_in, proxy_out]);
        }
    }

    /// The exchange of the DHCP client, RFC 2131 and RFC 8415. Broadcasts
    /// belong to no flow, so that the headers must do.
    pub(super) fn dhcp(&mut self, hooks: &mut Hooks, _: &mut Table) {
        for exchange in self.dhcp_messages() {
            let (chain, uplink) = match exchange.way {
                Way::In => (&mut hooks.input, "from-uplink"),
                Way::Out => (&mut hooks.output, "to-uplink"),
            };
            let mut rule = vec![ip_version(exchange.ip)];
            rule.extend(exchange.headers());
            rule.push(jump(uplink));
            chain.rule(
                Rule::new(rule)
                    .comment(exchange.comment)
                    .origin(exchange.origin),
            );
        }
    }

    /// The messages that a DHCP client exchanges under the policy.
    pub(super) fn dhcp_messages(&mut self) -> Vec<DhcpMessage> {
        let servers = match &self.policy.host.dhcp {
            Dhcp::Off => return Vec::new(),
            Dhcp::On => [].as_slice(),
            Dhcp::Servers(servers) => servers.as_slice(),
        };
        let origin = OriginId::new(Section::Host, 0);
        let broadcast = host_network(IpAddr::V4(Ipv4Addr::BROADCAST));
        let all_servers = host_network(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2)));
        let message = |ip, way, source, destination, comment: &str| DhcpMessage {
            ip,
            way,
            source,
            destination,
            comment: comment.to_owned(),
            origin,
        };
        let mut messages = vec![
            message(
                Ip::V4,
                Way::Out,
                None,
                Some(broadcast),
                "dhcp: client to broadcast",
            ),
            message(
                Ip::V4,
                Way::In,
                None,
                Some(broadcast),
                "dhcp: servers by broadcast",
            ),
            message(
                Ip::V6,
                Way::Out,
                Some(LINK_LOCAL),
                Some(all_servers),
                "dhcp: client to the link's servers",
            ),
            message(
                Ip::V6,
                Way::In,
                Some(LINK_LOCAL),
                Some(LINK_LOCAL),
                "dhcp: the link's servers",
            ),
        ];
        for server in servers {
            let (ip, network) = (Ip::of(*server), host_network(*server));
            messages.push(message(
                ip,
                Way::Out,
                None,
                Some(network),
                &format!("dhcp: client to {server}"),
            ));
            messages.push(message(
                ip,
                Way::In,
                Some(network),
                None,
                &format!("dhcp: server {server}"),
            ));
        }
        messages
    }
}

/// A message of the DHCP exchange.
pub(super) struct DhcpMessage {
    pub ip: Ip,
    pub way: Way,
    source: Option<(IpAddr, u8)>,
    destination: Option<(IpAddr, u8)>,
    pub comment: String,
    pub origin: OriginId,
}

/// As the host sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

impl DhcpMessage {
    /// The statements that ask for it, of a packet of known IP version.
    pub fn headers(&self) -> Vec<Statement> {
        let (client, server): (u16, u16) = if self.ip == Ip::V4 {
            (68, 67)
        } else {
            (546, 547)
        };
        let (from, to) = if self.way == Way::Out {
            (client, server)
        } else {
            (server, client)
        };
        let mut statements = vec![
            l4proto(UDP),
            is(SOURCE_PORT, from.to_be_bytes()),
            is(DESTINATION_PORT, to.to_be_bytes()),
        ];
        if let Some((network, prefix)) = self.source {
            statements.push(in_network(source_address(self.ip), network, prefix));
        }
        if let Some((network, prefix)) = self.destination {
            statements.push(in_network(destination_address(self.ip), network, prefix));
        }
        statements
    }
}

fn host_network(address: IpAddr) -> (IpAddr, u8) {
    (address, if address.is_ipv4() { 32 } else { 128 })
}

fn allow_chain(uid: Option<u32>) -> String {
    uid.map_or_else(|| "allow".to_owned(), |uid| format!("allow-uid{uid}"))
}

fn allow_services(uid: Option<u32>, proto: Proto) -> Services {
    let who = uid.map_or_else(
        || "the host".to_owned(),
        |uid| format!("the host's user {uid}"),
    );
    Services::new(
        format!("{}-{proto}", allow_chain(uid)),
        Some(format!("allow: {proto} from {who} to %a, port %p")),
        proto,
    )
}

/// A rule for each alternative that accepts.
pub(super) fn accept_each(alternatives: &[Alternative], view: View, chain: &mut Chain) {
    for alternative in alternatives {
        let mut rule = alternative.matches(view);
        rule.push(accept());
        chain.rule(Rule::new(rule).origin(alternative.origin));
    }
}

fn echo_from(from: &AddressAlternative, verdict: Statement) -> Vec<Statement> {
    let [version, opened] = from.opened_flow();
    vec![version, flow_protocol(from.ip.icmp()), opened, verdict]
}

/// What a flow that is opened to the host must be besides having an opening:
/// dialled at an address of the host's own, which rules out broadcasts, and at
/// none that only the host itself may dial; from no spoofed source.
fn arrive() -> Chain {
    let mut chain = Chain::regular(ARRIVE);
    let loopback = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0));
    let mut to_loopback = vec![
        ip_version(Ip::V4),
        in_network(destination_address(Ip::V4), loopback, 8),
    ];
    to_loopback.extend(drop_counted());
    chain.rule(Rule::new(to_loopback).comment("to the loopback from outside"));
    let mut foreign = vec![destination_is_local(false)];
    foreign.extend(drop_counted());
    chain.rule(Rule::new(foreign).comment("not to an address of the host"));
    chain.say([jump(SOURCE)]);
    chain.say([accept()]);
    chain
}

/// Flows of one user. The user is asked for when the flow opens: after a
/// process has closed its socket the last packets belong to none. What is
/// opened so is labelled, and lives by its label.
fn opened_by_user(uid: u32, allow: &str, hooks: &mut Hooks, table: &mut Table) {
    let mut out = Chain::regular(format!("{allow}-out"));
    // Another's socket that took the port over after the first was closed.
    let of_another_user = compare(Selector::Meta(MetaKey::SkUid), Cmp::Neq, uid.to_ne_bytes());
    out.say([of_another_user, return_()]);
    out.say(when(vec![opened_by(uid)], allow));
    let of_user = || {
        [
            state_new(),
            is(Selector::Meta(MetaKey::SkUid), uid.to_ne_bytes()),
            Statement::SetLabel(label(uid)),
            jump(allow),
        ]
    };
    // Only a SYN opens: a later segment may be of a flow that stood before.
    let flags = payload(PayloadBase::Transport, 13, 1);
    let mut tcp = vec![l4proto(TCP), masked(flags, [0x17], Cmp::Eq, [0x02])];
    tcp.extend(of_user());
    let mut udp = vec![l4proto(UDP)];
    udp.extend(of_user());
    out.say(tcp);
    out.say(udp);
    hooks
        .output
        .say(when(vec![original(), not_translated()], &out.name));
    hooks
        .input
        .say(when(vec![reply(), not_translated(), opened_by(uid)], allow));
    table.chains.push(out);
}

/// The leg of docker-proxy to a container behind a bridge that is not exempt:
/// what belongs to the superuser, or to no process any more.
fn proxy_to_containers(via: &BridgeName, hooks: &mut Hooks, table: &mut Table) {
    let name = identifier(via.as_str());
    let mut out = Chain::regular(format!("proxy-{name}-out"));
    let of_another_user = compare(Selector::Meta(MetaKey::SkUid), Cmp::Neq, 0u32.to_ne_bytes());
    out.say([of_another_user, return_()]);
    let mut back = Chain::regular(format!("proxy-{name}-in"));
    for proto in [TCP, UDP] {
        out.say([flow_protocol(proto), accept()]);
        back.say([
            flow_protocol(proto),
            source_is_behind_interface(true),
            accept(),
        ]);
    }
    hooks.output.say(when(
        vec![named(MetaKey::Oifname, via), original(), not_translated()],
        &out.name,
    ));
    hooks.input.say(when(
        vec![named(MetaKey::Iifname, via), reply(), not_translated()],
        &back.name,
    ));
    table.chains.extend([out, back]);
}
