//! The packets that there can be in a case: what the kernel itself makes sure
//! of, so that no impossible packet is a counterexample.

use super::diagram::{ALL, Diagram, Diagrams, Full};
use super::interfaces::{Interface, Interfaces};
use super::space::{Case, Journey, Kind, ProtoClass, State, Var, fragment};
use super::stated::{link_groups, packet_destination};

/// `RTN_LOCAL` of `linux/rtnetlink.h`
const LOCAL: u128 = 2;

pub(crate) fn universe(
    d: &mut Diagrams,
    case: Case,
    interfaces: &Interfaces,
    cgroups: &[u64],
) -> Result<Diagram, Full> {
    let some = |i: &Interface| !i.name.is_empty();
    let mut parts = Vec::new();
    let mut ways = Vec::new();
    match case.journey {
        Journey::Out => ways.extend([Var::Oif, case.oif_early()]),
        Journey::In => ways.push(Var::Iif),
        Journey::Across => ways.extend([Var::Iif, Var::Oif]),
    }
    for var in ways {
        parts.push(d.values(var, super::boxes::merged(interfaces.numbers(some)))?);
    }
    parts.push(states(d, case)?);
    parts.push(d.values(Var::Cgroup, [(0, cgroups.len() as u128)])?);
    if case.kind != Kind::Untracked {
        // Conntrack puts fragments together first.
        parts.push(d.value(Var::Fragment, fragment::WHOLE)?);
    }
    if case.journey == Journey::Out {
        // What goes to an address of the host's own goes over the loopback.
        let local = d.value(Var::DestinationType, LOCAL)?;
        let loopback = interfaces.numbers(|i| i.name == "lo");
        let loopback = d.values(Var::Oif, loopback)?;
        parts.push(d.choose(local, loopback, ALL)?);
    }
    if case.journey == Journey::Across {
        // By the routes it goes back to where it came from, or no router sends
        // it on: it stays in its bridge.
        let same = same_interface(d, interfaces)?;
        let behind = d.value(Var::DestinationBehind, 1)?;
        let groups = d.values(packet_destination(case), link_groups(case.version))?;
        let stays = d.or(behind, groups)?;
        parts.push(d.choose(stays, same, ALL)?);
    }
    if case.proto == ProtoClass::Other {
        let mut named = vec![(6, 6), (17, 17)];
        named.push((case.version.icmp().into(), case.version.icmp().into()));
        named.sort_unstable();
        let named = d.values(Var::Proto, named)?;
        parts.push(d.not(named)?);
    }
    parts.push(icmp_types(d, case)?);
    d.all_of(&parts)
}

/// What conntrack says of packets of each kind.
fn states(d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
    let states: &[State] = match (case.kind, case.reply) {
        (Kind::Flow, false) => &[State::New, State::Established, State::Related],
        (Kind::Flow, true) => &[State::Established],
        (Kind::Error, _) => &[State::Related],
        (Kind::Untracked, _) => &[State::Invalid, State::Untracked],
    };
    let numbers = states.iter().map(|state| state.number());
    let intervals = super::boxes::merged(numbers.map(|n| (n, n)));
    d.values(Var::State, intervals)
}

/// The types of ICMP by which a packet is one of a flow, or an error about one.
fn icmp_types(d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
    // Unreachable, source quench, redirect, time exceeded, parameter problem of
    // RFC 792; of RFC 4443 those below 128.
    let errors: Vec<_> = if case.is_v4() {
        [3u128, 4, 5, 11, 12]
            .map(|t| (t << 8, t << 8 | 0xff))
            .into()
    } else {
        vec![(0, 127 << 8 | 0xff)]
    };
    match (case.kind, case.proto) {
        (Kind::Error, _) => d.values(Var::First, super::boxes::merged(errors)),
        (Kind::Flow, ProtoClass::Icmp) => {
            let errors = d.values(case.icmp_header(), super::boxes::merged(errors))?;
            if case.is_v4() {
                return d.not(errors);
            }
            // Neighbour discovery is not tracked.
            let discovery = d.values(case.icmp_header(), [(133 << 8, 137 << 8 | 0xff)])?;
            let untracked = d.or(errors, discovery)?;
            d.not(untracked)
        }
        _ => Ok(ALL),
    }
}

fn same_interface(d: &mut Diagrams, interfaces: &Interfaces) -> Result<Diagram, Full> {
    let mut pieces = Vec::new();
    for (number, _) in interfaces.iter() {
        let same = d.value(Var::Oif, number)?;
        pieces.push(((number, number), same));
    }
    d.pieces(Var::Iif, pieces)
}
