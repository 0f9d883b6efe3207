//! A single packet under a rule graph.

use std::cell::Cell;

use super::evaluate::{Act, State, Step, Trail};
use super::explain::uplink;
use super::journey::{Journey, Start};
use super::packet::Packet;
use super::world::{Interface, World};
use crate::graph::{Family, Handle, RuleGraph, Statement};

/// What becomes of a packet, in every possibility that what is known leaves.
#[derive(Debug, Clone, Default)]
pub struct Followed {
    /// Where it may arrive, and what it is then.
    pub delivered: Vec<(Place, Packet)>,
    /// Whether it may be dropped.
    pub dropped: bool,
    /// Whether something happens to it that nobody knows.
    pub lost: bool,
    /// The rules whose counters counted it, where that is known.
    pub counted: Option<Vec<RuleStep>>,
}

/// Where a packet arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At the host itself.
    Host,
    /// Behind this interface.
    Behind(Interface),
}

/// A rule on a packet's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleStep {
    /// The family of its table.
    pub family: Family,
    /// The name of its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its number in the kernel.
    pub handle: Handle,
}

impl Followed {
    /// Whether all possibilities come to one end.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !self.lost && usize::from(self.dropped) + self.delivered.len() == 1
    }
}

impl RuleGraph {
    /// What becomes of a packet on a host. Its `record` and `known_as` tell of
    /// what flow it is; without them it belongs to none that stands.
    #[must_use]
    pub fn follow(&self, packet: Packet, start: &Start, world: &World) -> Followed {
        let journey = Journey {
            graph: self,
            world,
            uplink: uplink(self, world),
            reordered: Cell::new(false),
        };
        let state = State {
            packet,
            trail: Trail::default(),
        };
        let ends = journey.send(state, start);
        let one = match (
            ends.passed.as_slice(),
            ends.dropped.as_slice(),
            ends.lost.as_slice(),
        ) {
            ([one], [], []) | ([], [one], []) if !journey.reordered.get() => counted(one),
            _ => None,
        };
        Followed {
            dropped: !ends.dropped.is_empty(),
            lost: !ends.lost.is_empty(),
            delivered: ends
                .passed
                .into_iter()
                .map(|state| {
                    let place = match journey.is_for_host(&state.packet) {
                        true => Place::Host,
                        false => Place::Behind(journey.way_out(&state.packet)),
                    };
                    (place, state.packet)
                })
                .collect(),
            counted: one,
        }
    }
}

/// The rules that ended with a verdict or a change and have a counter before
/// it; none where some may have done so or not.
fn counted(state: &State) -> Option<Vec<RuleStep>> {
    let steps = state.trail.steps();
    let unsure = |step: &Step| matches!(step.act, Act::Unsure { .. });
    if steps.iter().any(unsure) {
        return None;
    }
    let rules = steps.iter().filter_map(|step| {
        let rule = step.rule?;
        let counts = rule
            .statements
            .iter()
            .any(|statement| matches!(statement, Statement::Counter { .. }));
        let acted = matches!(step.act, Act::Verdict(_) | Act::Reject | Act::Changed);
        (counts && acted).then(|| RuleStep {
            family: step.table.family,
            table: step.table.name.clone(),
            chain: step.chain.name.clone(),
            handle: rule.handle,
        })
    });
    Some(rules.collect())
}
