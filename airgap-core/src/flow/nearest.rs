//! The opening that comes nearest to a flow that is dropped.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::packet::IpVersion;
use super::world::World;
use super::{End, Flow, FlowProto};
use crate::graph::{
    Cmp, CtKey, DataType, Family, RuleGraph, Selector, Set, Statement, TABLE_NAME, address_of,
    field_width,
};

/// So many openings of a kind are tried.
const TRIED: usize = 24;

/// An opening that is near to a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nearest {
    /// A flow that passes, and differs in one thing.
    pub flow: Flow,
    /// In what it differs, as a sentence.
    pub text: String,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Finds it. Every one that is told was tried, and passes.
pub(super) fn nearest(graph: &RuleGraph, flow: &Flow, world: &World) -> Option<Nearest> {
    let places = Places::of(graph, flow);
    let passes = |flow: &Flow| graph.passes(flow, world);
    let who = |end: &End| match end.address() {
        Some(address) => address.to_string(),
        None => "the host".to_owned(),
    };
    let (peer, verb) = match &flow.to {
        End::Host { .. } => (who(&flow.from), "is admitted to"),
        _ => (who(&flow.to), "is open on"),
    };
    if let Some(port) = flow.port {
        for near in places.ports(port) {
            let other = Flow {
                port: Some(near),
                ..flow.clone()
            };
            if passes(&other) {
                let text = format!("{peer} {verb} {near}, not on {port}").replace(
                    &format!("admitted to {near}, not on"),
                    &format!("admitted to {near}, not to"),
                );
                return Some(Nearest { flow: other, text });
            }
        }
        let swapped = match flow.proto {
            FlowProto::Tcp => Some(FlowProto::Udp),
            FlowProto::Udp => Some(FlowProto::Tcp),
            _ => None,
        };
        if let Some(proto) = swapped {
            let other = Flow {
                proto,
                ..flow.clone()
            };
            if passes(&other) {
                let text = format!("{peer} {verb} {port} by {proto}, not by {}", flow.proto);
                return Some(Nearest { flow: other, text });
            }
        }
    }
    if let Some(user) = places.users.iter().find_map(|user| {
        let other = Flow {
            user: Some(*user),
            ..flow.clone()
        };
        (flow.from.is_host() && passes(&other)).then_some(other)
    }) {
        let text = format!(
            "{peer} is open to processes of user {}, not to others",
            user.user.unwrap_or_default()
        );
        return Some(Nearest { flow: user, text });
    }
    for near in places.addresses() {
        let mut other = flow.clone();
        let peer_end = if flow.to.is_host() {
            &mut other.from
        } else {
            &mut other.to
        };
        match peer_end {
            End::At { address, .. } => *address = near,
            End::Host { .. } => continue,
        }
        if passes(&other) {
            let port = flow
                .port
                .map_or_else(String::new, |port| format!(" {port}"));
            let text = match &flow.to {
                End::Host { .. } => {
                    format!(
                        "{}{port} is admitted from {near}, not from {peer}",
                        flow.proto
                    )
                }
                _ => format!("{}{port} is open to {near}, not to {peer}", flow.proto),
            };
            return Some(Nearest { flow: other, text });
        }
    }
    None
}

/// What the air gap's rules name that is near to a flow.
struct Places {
    ports: Vec<u16>,
    addresses: Vec<IpAddr>,
    users: Vec<u32>,
    peer: Option<IpAddr>,
}

impl Places {
    fn of(graph: &RuleGraph, flow: &Flow) -> Self {
        let peer = match &flow.to {
            End::Host { .. } => flow.from.address(),
            to => to.address(),
        };
        let mut places = Self {
            ports: Vec::new(),
            addresses: Vec::new(),
            users: Vec::new(),
            peer,
        };
        let Some(table) = graph.table(Family::Inet, TABLE_NAME) else {
            return places;
        };
        for set in &table.sets {
            places.near_in(set, flow);
        }
        let rules = table.chains.iter().flat_map(|chain| &chain.rules);
        for statement in rules.flat_map(|rule| &rule.statements) {
            match statement {
                Statement::Match {
                    left: Selector::Ct(CtKey::ProtoDst, _),
                    mask: None,
                    op: Cmp::Eq,
                    right,
                } => places.port(right),
                Statement::Range {
                    left: Selector::Ct(CtKey::ProtoDst, _),
                    first,
                    last,
                    ..
                } => {
                    places.port(first);
                    places.port(last);
                }
                Statement::Match {
                    left:
                        Selector::Ct(CtKey::SrcIp | CtKey::SrcIp6 | CtKey::DstIp | CtKey::DstIp6, _),
                    right,
                    ..
                } => places.address(right),
                Statement::Match {
                    left: Selector::Meta(crate::graph::MetaKey::SkUid),
                    right,
                    ..
                } => {
                    if let Ok(user) = <[u8; 4]>::try_from(right.as_slice()) {
                        places.users.push(u32::from_ne_bytes(user));
                    }
                }
                _ => {}
            }
        }
        places
    }

    /// Takes what a set has around the flow's address: its elements are
    /// ordered.
    fn near_in(&mut self, set: &Set, flow: &Flow) {
        let width = match set.key.first() {
            Some(DataType::Ipv4Addr) => 4,
            Some(DataType::Ipv6Addr) => 16,
            Some(DataType::InetService) => {
                for (element, _) in set.elements.iter().take(TRIED) {
                    self.port(element);
                    if set.interval {
                        self.port(element.get(set.key_width()..).unwrap_or_default());
                    }
                }
                return;
            }
            _ => return,
        };
        let address = match self.peer {
            Some(IpAddr::V4(address)) if width == 4 => address.octets().to_vec(),
            Some(IpAddr::V6(address)) if width == 16 => address.octets().to_vec(),
            _ => return,
        };
        let mut key = address;
        if let (Some(port), 2) = (flow.port, set.key.len()) {
            key.extend_from_slice(&port.to_be_bytes());
        }
        key.resize(set.key_width(), 0);
        let here = set.elements.position_of(&key);
        let from = here.saturating_sub(TRIED);
        for n in from..here + TRIED {
            let Some(element) = set.elements.get(n) else {
                break;
            };
            let ends = match set.interval {
                true => vec![
                    element.get(..set.key_width()),
                    element.get(set.key_width()..),
                ],
                false => vec![Some(element)],
            };
            for end in ends.into_iter().flatten() {
                self.address(end.get(..width).unwrap_or_default());
                if set.key.len() == 2 {
                    self.port(end.get(field_width(width)..).unwrap_or_default());
                }
            }
        }
    }

    fn port(&mut self, bytes: &[u8]) {
        if let Some([high, low]) = bytes.get(..2) {
            self.ports.push(u16::from_be_bytes([*high, *low]));
        }
    }

    fn address(&mut self, bytes: &[u8]) {
        self.addresses.extend(address_of(bytes));
    }

    /// The nearest first, each once.
    fn ports(&self, port: u16) -> Vec<u16> {
        let mut ports: Vec<_> = self.ports.iter().copied().filter(|p| *p > 0).collect();
        ports.sort_by_key(|p| (p.abs_diff(port), *p));
        ports.dedup();
        ports.truncate(TRIED);
        ports
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let Some(peer) = self.peer else {
            return Vec::new();
        };
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        let version = IpVersion::of(peer);
        let mut addresses: Vec<_> = self
            .addresses
            .iter()
            .copied()
            .filter(|address| IpVersion::of(*address) == version)
            .collect();
        addresses.sort_by_key(|address| (number(*address).abs_diff(number(peer)), *address));
        addresses.dedup();
        addresses.truncate(TRIED);
        addresses
    }
}
