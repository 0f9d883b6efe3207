//! One packet of a set, as plain as the set allows, and the flow that it
//! belongs to as `explain` reads it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::diagram::{ALL, Diagram, Diagrams, NONE};
use super::interfaces::Interfaces;
use super::space::{Case, Journey, Kind, NO_SOCKET, ProtoClass, State, Var, fragment, options};
use crate::flow::{End, Flow, FlowProto};

/// A packet: the values of its fields, and which of them matter.
pub(crate) struct Witness {
    case: Case,
    values: BTreeMap<Var, u128>,
}

const V4: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(203, 0, 113, 9)];
const V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 2),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9),
];

/// The values that a field has in a packet as most are, the most usual first.
fn usual(case: Case, var: Var, interfaces: &Interfaces) -> Vec<u128> {
    let [near, far] = V4.map(|a| u128::from(u32::from(a)));
    let [near6, far6] = V6.map(u128::from);
    let from_outside =
        case.journey == Journey::In && !case.reply || case.journey == Journey::Out && case.reply;
    let (source, destination) = if from_outside {
        (far, near)
    } else {
        (near, far)
    };
    let (source6, destination6) = if from_outside {
        (far6, near6)
    } else {
        (near6, far6)
    };
    let numbers = |bridge: bool| -> Vec<u128> {
        let meant = interfaces
            .iter()
            .filter(|(n, i)| *n > 1 && i.is_bridge() == bridge);
        meant.map(|(n, _)| n).collect()
    };
    let toward_containers = case.journey == Journey::Across;
    match var {
        Var::Iif => numbers(toward_containers && !case.reply),
        Var::Oif | Var::OifEarly => numbers(toward_containers && case.reply),
        Var::State => vec![State::New.number(), State::Established.number()],
        Var::SourceBehind => vec![1],
        Var::DestinationType | Var::DialledType if case.journey == Journey::In => vec![2],
        Var::DestinationType | Var::DialledType | Var::SourceType => vec![1],
        Var::Uid => vec![65534, NO_SOCKET],
        Var::TcpFlags => vec![0x02, 0x10],
        Var::Hops => vec![64],
        Var::Source4 => vec![source],
        Var::Destination4 => vec![destination],
        Var::Source6 => vec![source6],
        Var::Destination6 => vec![destination6],
        Var::Answer4 | Var::Seen4 | Var::Reporter4 => vec![near, far],
        Var::Answer6 | Var::Seen6 | Var::Reporter6 => vec![near6, far6],
        Var::Port if case.proto == ProtoClass::Icmp => {
            vec![if case.is_v4() { 8 << 8 } else { 128 << 8 }]
        }
        Var::Port | Var::AnswerPort => vec![443, 80, 9],
        Var::SourcePort | Var::SeenPort => vec![40_000],
        Var::First if case.kind == Kind::Flow && case.reply => {
            vec![if case.is_v4() { 0 } else { 129 << 8 }]
        }
        Var::First if case.kind == Kind::Error => {
            vec![if case.is_v4() { 3 << 8 | 4 } else { 2 << 8 }]
        }
        _ => vec![0],
    }
}

impl Witness {
    /// A packet of the set, which holds some.
    pub(crate) fn of(d: &Diagrams, case: Case, set: Diagram, interfaces: &Interfaces) -> Self {
        let mut values = BTreeMap::new();
        let mut at = set;
        while at != ALL && at != NONE {
            let var = d.var(at);
            let usual = usual(case, var, interfaces);
            let mut best: Option<(usize, u128, Diagram)> = None;
            for ((first, last), kid) in d.edges(at) {
                if kid == NONE {
                    continue;
                }
                let (rank, value) = usual
                    .iter()
                    .enumerate()
                    .find(|(_, value)| (first..=last).contains(*value))
                    .map_or((usual.len(), first), |(rank, value)| (rank, *value));
                if best.is_none_or(|(known, ..)| rank < known) {
                    best = Some((rank, value, kid));
                }
            }
            let Some((_, value, kid)) = best else { break };
            values.insert(var, value);
            at = kid;
        }
        Self { case, values }
    }

    /// The value of a field: of one that does not matter a usual one.
    pub(crate) fn value(&self, var: Var, interfaces: &Interfaces) -> u128 {
        let usual = || usual(self.case, var, interfaces).first().copied();
        self.values.get(&var).copied().or_else(usual).unwrap_or(0)
    }

    fn matters(&self, var: Var) -> Option<u128> {
        self.values.get(&var).copied()
    }

    fn address(&self, var: Var, interfaces: &Interfaces) -> IpAddr {
        address(self.value(var, interfaces), self.case.is_v4())
    }

    /// The flow to which the packet belongs.
    pub(crate) fn flow(&self, interfaces: &Interfaces) -> Flow {
        let case = self.case;
        let port_of = |value: u128| u16::try_from(value).unwrap_or_default();
        let proto = match case.proto {
            ProtoClass::Tcp => FlowProto::Tcp,
            ProtoClass::Udp => FlowProto::Udp,
            ProtoClass::Icmp => FlowProto::Icmp,
            ProtoClass::Other => {
                let number = self.value(Var::Proto, interfaces);
                FlowProto::Other(u8::try_from(number).unwrap_or_default())
            }
        };
        let source = self.address(case.source(), interfaces);
        let destination = self.address(case.destination(), interfaces);
        let host = |var: Var, address: IpAddr| End::Host {
            address: self.matters(var).map(|_| address),
        };
        let far = |var: Var, address: IpAddr| End::At {
            interface: self.interface(var, interfaces),
            address,
        };
        let opened_by_host = match case.journey {
            Journey::Out => Some(!case.reply),
            Journey::In => Some(case.reply),
            Journey::Across => None,
        };
        let way = |out: bool| match (case.journey, out) {
            (Journey::Out, _) => case.oif_early(),
            (Journey::In, _) => Var::Iif,
            (Journey::Across, out) if out == case.reply => Var::Iif,
            (Journey::Across, _) => Var::Oif,
        };
        let (from, to) = match opened_by_host {
            Some(true) => (host(case.source(), source), far(way(true), destination)),
            Some(false) => (
                far(way(false), source),
                host(case.destination(), destination),
            ),
            None => (far(way(false), source), far(way(true), destination)),
        };
        let user = self.matters(Var::Uid).filter(|_| from.is_host());
        Flow {
            proto,
            from,
            source_port: self
                .matters(Var::SourcePort)
                .filter(|_| proto.has_ports())
                .map(port_of),
            to,
            port: proto
                .has_ports()
                .then(|| port_of(self.value(Var::Port, interfaces))),
            user: user.and_then(|uid| u32::try_from(uid).ok()),
        }
    }

    /// The name of the interface, where it matters and is not just any that
    /// leads to the network.
    fn interface(&self, var: Var, interfaces: &Interfaces) -> Option<String> {
        let number = match self.case.journey {
            Journey::Across => self.value(var, interfaces),
            _ => self.matters(var)?,
        };
        let interface = interfaces.get(number)?;
        let plain = self.case.journey != Journey::Across
            && !interface.is_bridge()
            && usual(self.case, var, interfaces).first() == Some(&number);
        (!plain && !interface.name.is_empty()).then(|| interface.name.clone())
    }

    /// What else the packet is, beyond the first of its flow, in words.
    pub(crate) fn particulars(&self, interfaces: &Interfaces) -> Vec<String> {
        let case = self.case;
        let mut out = Vec::new();
        let mut say = |text: String| out.push(text);
        let icmp = |header: u128| format!("type {}, code {}", header >> 8, header & 0xff);
        match (case.kind, case.reply) {
            (Kind::Flow, true) => say("the packet is an answer".to_owned()),
            (Kind::Flow, false) => {}
            (Kind::Error, _) => {
                let header = self.value(Var::First, interfaces);
                say(format!(
                    "the packet is an ICMP error about it: {}",
                    icmp(header)
                ));
            }
            (Kind::Untracked, _) => say("the packet belongs to no flow".to_owned()),
        }
        let state = self.value(Var::State, interfaces);
        if case.kind == Kind::Flow && !case.reply {
            if state == State::Established.number() {
                say("the flow stood before".to_owned());
            } else if state == State::Related.number() {
                say("another flow announced it".to_owned());
            }
        }
        let header = self.matters(case.icmp_header());
        if let Some(header) = header.filter(|_| {
            case.proto == ProtoClass::Icmp
                && case.kind != Kind::Error
                && usual(case, case.icmp_header(), interfaces).first() != header.as_ref()
        }) {
            say(format!("ICMP {}", icmp(header)));
        }
        if case.dnat {
            let to = self.address(case.answer(), interfaces);
            let port = self.value(case.answer_port(), interfaces);
            say(format!(
                "its destination is translated to {to}, port {port}"
            ));
        }
        if case.snat {
            let to = self.address(case.seen(), interfaces);
            say(format!("its source is translated to {to}"));
        }
        let unusual = |var: Var| {
            self.matters(var)
                .filter(|value| usual(case, var, interfaces).first() != Some(value))
        };
        if case.dnat
            && case.journey == Journey::Out
            && let Some(name) = self.matters(Var::Oif).and_then(|n| interfaces.get(n))
        {
            say(format!("it leaves by {}", name.name));
        }
        if unusual(Var::SourceBehind).is_some() {
            say("its source is not behind the interface".to_owned());
        }
        if let Some(kind) = unusual(Var::DestinationType) {
            let word = ["of no", "of a unicast", "of a local", "of a broadcast"]
                .get(usize::try_from(kind).unwrap_or(usize::MAX))
                .copied()
                .unwrap_or(if kind == 5 {
                    "of a multicast"
                } else {
                    "of another"
                });
            say(format!("its destination is {word} kind (RTN {kind})"));
        }
        if let Some(number) = unusual(Var::Options) {
            let source_route = options::loose(number) || options::strict(number);
            say(format!(
                "its header has options{}",
                if source_route { ", a source route" } else { "" }
            ));
        }
        if unusual(Var::Routing).is_some() {
            say("it has a routing header".to_owned());
        }
        match unusual(Var::Fragment) {
            Some(n) if n == fragment::LATER => say("it is a later fragment".to_owned()),
            Some(_) => say("it is a first fragment".to_owned()),
            None => {}
        }
        if self.matters(Var::Uid) == Some(NO_SOCKET) {
            say("no process owns its socket".to_owned());
        }
        if let Some(flags) = unusual(Var::TcpFlags).filter(|_| case.proto == ProtoClass::Tcp) {
            say(format!("its TCP flags are {flags:#04x}"));
        }
        if let Some(hops) = unusual(Var::Hops) {
            say(format!("its hop limit is {hops}"));
        }
        for (var, name) in [
            (Var::Mark, "mark"),
            (Var::CtMark, "flow's mark"),
            (Var::Label, "flow's label"),
        ] {
            if let Some(value) = unusual(var) {
                say(format!("its {name} is {value:#x}"));
            }
        }
        if unusual(Var::Cgroup).is_some() {
            say("its socket is of the daemon's control group".to_owned());
        }
        out
    }
}

fn address(value: u128, v4: bool) -> IpAddr {
    match u32::try_from(value) {
        Ok(value) if v4 => IpAddr::V4(Ipv4Addr::from(value)),
        _ => IpAddr::V6(Ipv6Addr::from(value)),
    }
}
