//! What a policy must say for a flow to pass.

use std::fmt::{Display, Write as _};

use super::{End, Flow, FlowProto};
use crate::graph::{Family, RuleGraph, TABLE_NAME};

/// The lines of TOML that open a flow; none for one that no policy opens, such
/// as between two bridges.
pub(super) fn toml(graph: &RuleGraph, flow: &Flow) -> Option<String> {
    let has_ports = match flow.proto {
        FlowProto::Tcp | FlowProto::Udp => true,
        FlowProto::Icmp => false,
        FlowProto::Other(_) => return None,
    };
    let placed = |end: &End| match end {
        End::At { interface, .. } => interface.clone(),
        End::Host { .. } => None,
    };
    let (from, to) = (placed(&flow.from), placed(&flow.to));
    let mut entry = match (&flow.from, &flow.to) {
        (End::Host { .. }, End::At { address, .. }) => match to {
            Some(bridge) => return Some(exemption(graph, &bridge, None)),
            None if has_ports => Entry::new("allow").text("to", address),
            None => return None,
        },
        (End::At { address, .. }, End::Host { .. }) => match from {
            Some(bridge) => {
                let port = flow.port.filter(|_| has_ports);
                let port = port.map(|port| format!("ports = [\"{}/{port}\"]", flow.proto));
                return Some(exemption(graph, &bridge, port));
            }
            None => Entry::new("admit").text("from", address),
        },
        (End::At { address: a, .. }, End::At { address: b, .. }) => match (from, to) {
            (Some(from), Some(to)) if from == to => {
                let line = "isolate = false".to_owned();
                return Some(exemption(graph, &from, Some(line)));
            }
            (Some(_), None) if has_ports => Entry::new("forward").text("from", a).text("to", b),
            _ => return None,
        },
        _ => return None,
    };
    if has_ports {
        entry = entry.line("port", flow.port?);
    }
    if flow.proto != FlowProto::Tcp {
        entry = entry.text("proto", flow.proto);
    }
    if let Some(user) = flow.user {
        entry = entry.line("user", user);
    }
    Some(entry.0)
}

/// An entry of a policy.
struct Entry(String);

impl Entry {
    fn new(section: &str) -> Self {
        Self(format!("[[{section}]]\n"))
    }

    fn line(mut self, key: &str, value: impl Display) -> Self {
        let _ = writeln!(self.0, "{key} = {value}");
        self
    }

    fn text(self, key: &str, value: impl Display) -> Self {
        self.line(key, format_args!("\"{value}\""))
    }
}

/// A bridge exemption, or what to add to the one that there is: a policy has
/// one for each bridge.
fn exemption(graph: &RuleGraph, bridge: &str, line: Option<String>) -> String {
    let is_there = graph
        .table(Family::Inet, TABLE_NAME)
        .is_some_and(|table| table.chain(&format!("bridge-{bridge}-in")).is_some());
    let line = line.map(|line| line + "\n");
    match line {
        Some(line) if is_there => format!("# in the [[bridge]] of {bridge}\n{line}"),
        Some(line) if line.starts_with("ports") => {
            format!("{}{line}", Entry::new("bridge").text("name", bridge).0)
        }
        _ => Entry::new("bridge").text("name", bridge).0,
    }
}
