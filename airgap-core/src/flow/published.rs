//! Ports that Docker publishes. A policy that admits to them says what happens
//! once Docker has translated the flow; its rules alone, without Docker's,
//! would never see it so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::packet::IpVersion;
use super::story::{Explanation, FlowVerdict};
use super::world::{Interface, World};
use super::{End, Flow};
use crate::graph::{
    BaseChain, Chain, ChainPolicy, ChainType, Cmp, CtKey, Family, Hook, MetaKey, NatTarget,
    PayloadBase, Rule, RuleGraph, Section, Selector, Statement, TABLE_NAME, Table, Verdict,
};

/// Docker's own chains for this are at the usual priority.
const PRIORITY: i32 = -100;

/// What happens to a flow to the host if Docker sends it on to a container;
/// where a policy alone is asked, and it passes so.
pub(super) fn explain(graph: &RuleGraph, flow: &Flow, world: &World) -> Option<Explanation> {
    let (End::At { .. }, End::Host { .. }, Some(port)) = (&flow.from, &flow.to, flow.port) else {
        return None;
    };
    if !graph.tables.iter().all(Table::is_airgap) {
        return None;
    }
    let container = match flow.is_ipv4() {
        true => IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)),
        false => IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2)),
    };
    bridges(graph).into_iter().find_map(|bridge| {
        let mut with_docker = graph.clone();
        with_docker.tables.push(docker(flow, container, port));
        let mut world = world.clone();
        let seen = world.interface(&bridge);
        world.assume(
            container,
            seen.unwrap_or_else(|| Interface::assumed(&bridge, true)),
        );
        let mut explanation = with_docker.explain_plainly(flow, &world);
        explanation.assumed.push(format!(
            "Docker publishes {} {port} of a container behind {bridge}",
            flow.proto
        ));
        explanation.way.retain(|step| step.rule.owner == "airgap");
        // What passes so by another opening is not admitted.
        let by = explanation.by.as_ref().and_then(|by| by.origin);
        let admitted = by.is_some_and(|origin| origin.section == Section::Admit);
        (admitted && explanation.verdict == FlowVerdict::Passes).then_some(explanation)
    })
}

/// The bridges behind which the policy admits to published ports: the chain
/// `routed` sends what was translated there on to a chain of their own.
fn bridges(graph: &RuleGraph) -> Vec<String> {
    let routed = graph
        .table(Family::Inet, TABLE_NAME)
        .and_then(|table| table.chain("routed"));
    let rules = routed.into_iter().flat_map(|chain| &chain.rules);
    let mut found = Vec::new();
    for rule in rules {
        let [
            Statement::Match {
                left: Selector::Ct(CtKey::Status, None),
                ..
            },
            Statement::Match { .. },
            Statement::Match {
                left: Selector::Meta(MetaKey::Oifname),
                right,
                ..
            },
            Statement::Verdict(Verdict::Jump(_)),
        ] = rule.statements.as_slice()
        else {
            continue;
        };
        let end = right.iter().position(|byte| *byte == 0);
        let name = right.get(..end.unwrap_or(right.len())).unwrap_or(right);
        let mut name = String::from_utf8_lossy(name).into_owned();
        // One of those that a pattern means.
        if end.is_none() && right.len() < MetaKey::Oifname.width() {
            name.push('0');
        }
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// A table that publishes a port as Docker does.
fn docker(flow: &Flow, container: IpAddr, port: u16) -> Table {
    let version = IpVersion::of(container);
    let is = |left, right: Vec<u8>| Statement::Match {
        left,
        mask: None,
        op: Cmp::Eq,
        right,
    };
    let rule = Rule::new(vec![
        is(
            Selector::Meta(MetaKey::L4Proto),
            vec![flow.proto.number(version == IpVersion::V4)],
        ),
        is(
            Selector::Payload {
                base: PayloadBase::Transport,
                offset: 2,
                len: 2,
            },
            port.to_be_bytes().to_vec(),
        ),
        Statement::Dnat(NatTarget {
            address: container,
            port,
        }),
    ]);
    let mut chain = Chain::base(
        "DOCKER",
        BaseChain {
            kind: ChainType::Nat,
            hook: Hook::Prerouting,
            priority: PRIORITY,
            policy: ChainPolicy::Accept,
            devices: Vec::new(),
        },
    );
    chain.rules.push(rule);
    Table {
        family: Family::Inet,
        name: "docker".to_owned(),
        comment: None,
        flags: 0,
        sets: Vec::new(),
        chains: vec![chain],
    }
}
