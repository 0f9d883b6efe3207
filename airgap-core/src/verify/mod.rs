//! The proof that a ruleset opens what a policy states: none more, none
//! missing, over all packets and not over a sample.
//!
//! The packets that pass are computed from the rule graph ([`chains`]), those
//! that the policy states from the policy alone ([`stated`]). Both are sets of
//! packets in one form ([`diagram`]), and their difference is empty, or holds a
//! counterexample.

mod boxes;
mod chains;
mod compare;
mod conditions;
mod diagram;
mod fields;
mod interfaces;
mod numbers;
mod space;
mod stated;
mod translations;
mod universe;
mod witness;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use self::compare::Comparison;
use self::diagram::{EDGES_MAX, Full};
use crate::error::Error;
use crate::flow::Flow;
use crate::graph::RuleGraph;
use crate::policy::Policy;
use crate::surroundings::Surroundings;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Verification {
    /// The openings are the policy's: none more, none missing.
    Verified,
    /// They are not.
    Counterexample(Box<Counterexample>),
    /// Nothing is proved, and why.
    Undecided {
        /// What could not be decided.
        reasons: Vec<String>,
    },
}

/// For a reader, each line ended.
impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified => {
                writeln!(
                    f,
                    "Proved: the openings are the policy's, none more and none missing."
                )
            }
            Self::Counterexample(found) => found.fmt(f),
            Self::Undecided { reasons } => {
                writeln!(
                    f,
                    "Undecided: it is not proved that the openings are the policy's."
                )?;
                for reason in reasons {
                    writeln!(f, "    not understood: {reason}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            CounterexampleKind::OpenAndNotStated => "open, and the policy does not state it",
            CounterexampleKind::StatedAndNotOpen => "stated by the policy, and not open",
        };
        writeln!(f, "{}\n    {what}", self.flow)?;
        for part in &self.packet {
            writeln!(f, "    {part}")?;
        }
        match &self.dropped_by {
            Some(chain) => writeln!(f, "    dropped by chain {chain}"),
            None => Ok(()),
        }
    }
}

/// A packet in which a ruleset and a policy differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counterexample {
    /// In which way.
    pub kind: CounterexampleKind,
    /// The flow that the packet belongs to.
    pub flow: Flow,
    /// What else the packet is, where it is not simply the first of the flow.
    pub packet: Vec<String>,
    /// The chain that drops what is stated, where one alone does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_by: Option<String>,
}

/// How a ruleset and a policy can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CounterexampleKind {
    /// The ruleset passes what the policy does not state.
    OpenAndNotStated,
    /// The ruleset drops what the policy states.
    StatedAndNotOpen,
}

/// Whether a ruleset passes exactly what a policy states, on the host and in
/// the network namespace in which the caller runs. Names are resolved now.
///
/// # Errors
/// When the policy names what is not known here, or the kernel does not answer.
pub fn verify(policy: &Policy, graph: &RuleGraph) -> Result<Verification, Error> {
    Ok(verify_in(policy, &Surroundings::observe(policy)?, graph))
}

/// The same for these surroundings.
#[must_use]
pub fn verify_in(policy: &Policy, surroundings: &Surroundings, graph: &RuleGraph) -> Verification {
    let full = || {
        Verification::Undecided {
        reasons: vec![
            "the ruleset is too large to be looked at in full: the sets of packets outgrew their memory"
                .to_owned(),
        ],
    }
    };
    let compared = Comparison::new(policy, surroundings, graph, EDGES_MAX).verify();
    compared.unwrap_or_else(|Full| full())
}
