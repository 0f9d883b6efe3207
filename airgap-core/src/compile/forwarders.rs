//! Service forwarders: some containers reach some remote services.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};

use super::matches::{
    ANSWERING_PORT, DESTINATION_PORT, FLOW_PORT, Ip, accept, answering_address,
    destination_address, destination_is_local, flow_destination, flow_protocol, ip_version, is,
    l4proto, named, not_translated, octets, original, protocol_number, reply,
    source_is_behind_interface, state_related, translated,
};
use super::services::{AddressAlternative, Addresses, Services, View};
use super::{Compiler, Hooks, PRIORITY_DNAT, PRIORITY_SNAT, net_range, when};
use crate::graph::{
    BaseChain, Chain, ChainPolicy, ChainType, Hook, MetaKey, NatTarget, OriginId, Rule, Section,
    Statement, Table,
};
use crate::policy::{BridgeName, ContainerSource, ServiceForwarder};

/// The chain of forwarded packets that go the way in which their flow opened.
const OPENED: &str = "forwarders";
/// The chain of those that go back.
const REPLIES: &str = "forwarders-back";

/// The containers of a forwarder, in the ways in which a packet can show them.
enum From<'a> {
    Bridge(&'a BridgeName),
    Addresses(AddressAlternative),
}

impl From<'_> {
    /// The packet comes from the containers.
    fn opens(&self) -> Vec<Statement> {
        match self {
            Self::Bridge(name) => vec![named(MetaKey::Iifname, name)],
            Self::Addresses(addresses) => addresses.opened_flow().to_vec(),
        }
    }

    /// The packet goes back to the containers.
    fn is_answered(&self) -> Vec<Statement> {
        match self {
            Self::Bridge(name) => vec![named(MetaKey::Oifname, name)],
            Self::Addresses(addresses) => addresses.opened_flow().to_vec(),
        }
    }

    /// As [`From::opens`], before the flow has a record.
    fn sends(&self) -> Vec<Statement> {
        match self {
            Self::Bridge(name) => vec![named(MetaKey::Iifname, name)],
            Self::Addresses(addresses) => addresses.sent_packet().to_vec(),
        }
    }

    /// Whether its containers can have addresses of this version.
    fn can_be(&self, ip: Ip) -> bool {
        match self {
            Self::Bridge(_) => true,
            Self::Addresses(addresses) => addresses.ip == ip,
        }
    }
}

/// The chains that forwarders need.
struct Chains {
    opened: Chain,
    replies: Chain,
    dnat: Chain,
    snat: Chain,
}

impl Compiler<'_> {
    pub(super) fn forwarders(&mut self, hooks: &mut Hooks, table: &mut Table) {
        let mut chains = Chains {
            opened: Chain::regular(OPENED),
            replies: Chain::regular(REPLIES),
            dnat: nat("nat-prerouting", Hook::Prerouting, PRIORITY_DNAT),
            snat: nat("nat-postrouting", Hook::Postrouting, PRIORITY_SNAT),
        };
        for (index, forwarder) in self.policy.forward.iter().enumerate() {
            let origin = OriginId::new(Section::Forward, index);
            self.forwarder(forwarder, origin, &mut chains, table);
        }
        hooks.routed.say(when(vec![original()], OPENED));
        hooks.routed.say(when(vec![reply()], REPLIES));
        // The host's own path MTU errors to the containers.
        hooks
            .output
            .say(when(vec![state_related(), reply()], REPLIES));
        if !chains.snat.rules.is_empty() {
            table.chains.push(chains.snat);
        }
        if !chains.dnat.rules.is_empty() {
            table.chains.push(chains.dnat);
        }
        table.chains.extend([chains.opened, chains.replies]);
    }

    fn forwarder(
        &mut self,
        f: &ServiceForwarder,
        origin: OriginId,
        chains: &mut Chains,
        table: &mut Table,
    ) {
        let name = format!("forward-{}", identity(f));
        let who = f
            .from
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let who = if who.len() > 40 {
            format!("{} sources", f.from.len())
        } else {
            who
        };
        let mut addresses = Addresses::new(format!("{name}-from"), None);
        let mut from = Vec::new();
        for source in &f.from {
            match source {
                ContainerSource::Bridge(bridge) => from.push(From::Bridge(bridge)),
                ContainerSource::Net(net) => addresses.add(net_range(*net), origin),
            }
        }
        from.extend(addresses.build(table).into_iter().map(From::Addresses));
        let to = self.ranges(&f.to, origin);
        if let Some(listen) = f.listen {
            let target = to
                .iter()
                .find(|range| range.first.is_ipv4() == listen.is_ipv4());
            match (target, f.port.first()) {
                (Some(target), Some(port)) => {
                    let target = NatTarget {
                        address: target.first,
                        port: port.first,
                    };
                    listening(f, listen, &target, &from, origin, &who, chains);
                }
                _ => self.lacks(
                    format!("no address of the service is of the family of `{listen}`"),
                    origin,
                ),
            }
            return;
        }
        let mut services = Services::new(
            format!("{name}-{}", f.proto),
            Some(format!("forward: {} from {who} to %a, port %p", f.proto)),
            f.proto,
        );
        for range in to {
            f.port
                .iter()
                .for_each(|ports| services.add(range, *ports, origin));
        }
        let alternatives = services.build(table);
        for from in &from {
            for alternative in alternatives.iter().filter(|a| from.can_be(a.ip())) {
                let service = alternative.matches(View::FlowDestination);
                let mut rule = from.opens();
                rule.push(not_translated());
                rule.extend(service.iter().cloned());
                let mut masquerade = rule.clone();
                rule.extend([source_is_behind_interface(true), accept()]);
                chains.opened.rule(Rule::new(rule).origin(origin));
                masquerade.push(Statement::Masquerade);
                chains.snat.rule(Rule::new(masquerade).origin(origin));
                let mut back = from.is_answered();
                back.push(not_translated());
                back.extend(service);
                back.push(accept());
                chains.replies.rule(Rule::new(back).origin(origin));
            }
        }
    }
}

/// A forwarder that the containers dial at the host. Both ends of the
/// translation are asked for, so that no other translation is taken for it.
fn listening(
    f: &ServiceForwarder,
    listen: SocketAddr,
    target: &NatTarget,
    from: &[From],
    origin: OriginId,
    who: &str,
    chains: &mut Chains,
) {
    let ip = Ip::of(listen.ip());
    let comment = format!(
        "forward: {} from {who} at {listen} to {}, port {}",
        f.proto, target.address, target.port
    );
    let proto = protocol_number(f.proto);
    let flow = [
        translated(),
        ip_version(ip),
        flow_protocol(proto),
        is(flow_destination(ip), octets(listen.ip())),
        is(FLOW_PORT, listen.port().to_be_bytes()),
        is(answering_address(ip), octets(target.address)),
        is(ANSWERING_PORT, target.port.to_be_bytes()),
    ];
    for from in from.iter().filter(|from| from.can_be(ip)) {
        let mut opened = from.opens();
        opened.extend(flow.iter().cloned());
        let mut masquerade = opened.clone();
        opened.extend([source_is_behind_interface(true), accept()]);
        masquerade.push(Statement::Masquerade);
        let mut back = from.is_answered();
        back.extend(flow.iter().cloned());
        back.push(accept());
        let mut dnat = from.sends();
        dnat.extend([
            ip_version(ip),
            l4proto(proto),
            is(destination_address(ip), octets(listen.ip())),
            is(DESTINATION_PORT, listen.port().to_be_bytes()),
            destination_is_local(true),
            source_is_behind_interface(true),
            Statement::Dnat(target.clone()),
        ]);
        for (chain, rule) in [
            (&mut chains.opened, opened),
            (&mut chains.replies, back),
            (&mut chains.dnat, dnat),
            (&mut chains.snat, masquerade),
        ] {
            chain.rule(Rule::new(rule).comment(comment.clone()).origin(origin));
        }
    }
}

fn nat(name: &str, hook: Hook, priority: i32) -> Chain {
    let base = BaseChain {
        kind: ChainType::Nat,
        hook,
        priority,
        policy: ChainPolicy::Accept,
        devices: Vec::new(),
    };
    Chain::base(name, base)
}

/// A short name that stays the same when other forwarders come and go.
fn identity(f: &ServiceForwarder) -> String {
    let nameless = ServiceForwarder {
        comment: None,
        ..f.clone()
    };
    let text = serde_json::to_string(&nameless).unwrap_or_default();
    Sha256::digest(text.as_bytes())
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
