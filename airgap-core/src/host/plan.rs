//! What is to be done to make a host's air gap that of a policy.

use std::fmt;

use serde::Serialize;

use super::Host;
use super::lockout::{Cut, cuts};
use super::reading::read_known;
use crate::changes::{Changes, changes};
use crate::delta::{adopt, operations};
use crate::error::Error;
use crate::foreign::{self, ForeignDrop};
use crate::graph::RuleGraph;
use crate::netlink::{Depth, Kernel};
use crate::policy::Policy;
use crate::state::State;
use crate::surroundings::Surroundings;

/// What is to be done to make a host's air gap that of a policy.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The openings that come, go and change.
    pub changes: Changes,
    /// Chains of other programs that could drop what the policy opens.
    pub foreign: Vec<ForeignDrop>,
    /// What the policy's names and users stand for.
    pub surroundings: Surroundings,
    /// The standing TCP connections of the host that it would cut; that over
    /// which the caller is here comes first.
    pub cuts: Vec<Cut>,
    changed: bool,
    pub(super) policy: Policy,
    pub(super) target: RuleGraph,
    /// What was loaded when it was made, and the generation of the ruleset.
    pub(super) live: RuleGraph,
    pub(super) generation: u32,
}

impl Plan {
    /// Whether anything is to be done.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// The policy that it is for.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the kernel will hold.
    #[must_use]
    pub fn graph(&self) -> &RuleGraph {
        &self.target
    }
}

/// The changes, one a line.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, change) in self.changes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            change.fmt(f)?;
        }
        Ok(())
    }
}

impl Serialize for Plan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("Plan", 6)?;
        object.serialize_field("changed", &self.changed)?;
        object.serialize_field("hash", &self.policy.hash())?;
        object.serialize_field("changes", &self.changes)?;
        object.serialize_field("names", &self.surroundings.names)?;
        object.serialize_field("foreign", &self.foreign)?;
        object.serialize_field("cuts", &self.cuts)?;
        object.end()
    }
}

impl Host {
    /// What a policy's meaning takes from this host, and from what was asked
    /// for beside it.
    pub(super) fn surroundings(&self, policy: &Policy) -> Result<Surroundings, Error> {
        let mut surroundings = Surroundings::observe(policy)?;
        surroundings.denied_log = match self.denied_log {
            Some(log) => log,
            None => State::of_this_namespace()?
                .loaded_head()
                .ok()
                .flatten()
                .and_then(|head| head.surroundings.denied_log),
        };
        Ok(surroundings)
    }

    /// Compiles a policy for this host.
    ///
    /// # Errors
    /// As [`RuleGraph::compile`].
    pub fn compile(&self, policy: &Policy) -> Result<RuleGraph, Error> {
        self.enter(|| RuleGraph::compile_in(policy, &self.surroundings(policy)?))
    }

    /// What would change if the policy were applied. Nothing is changed.
    ///
    /// # Errors
    /// When the policy names what is not known here, or the kernel does not
    /// answer.
    pub fn plan(&self, policy: &Policy) -> Result<Plan, Error> {
        self.enter(|| {
            let kernel = Kernel::open()?;
            let surroundings = self.surroundings(policy)?;
            let mut target = RuleGraph::compile_in(policy, &surroundings)?;
            let state = State::of_this_namespace()?;
            let (live, generation) = read_known(&kernel, &state, policy, &surroundings, &target)?;
            adopt(&mut target, &live);
            let changed = !operations(&target, &live).is_empty();
            let changes = if changed {
                changes(&target, &live)
            } else {
                Changes::default()
            };
            let foreign = foreign_drops(&kernel)?;
            let cuts = if changed {
                cuts(&target, &live)?
            } else {
                Vec::new()
            };
            Ok(Plan {
                cuts,
                changes,
                foreign,
                surroundings,
                changed,
                policy: policy.clone(),
                target,
                live,
                generation,
            })
        })
    }
}

pub(super) fn foreign_drops(kernel: &Kernel) -> Result<Vec<ForeignDrop>, Error> {
    Ok(foreign::drops(
        &kernel.read(false, Depth::Elements(&|_, _| false))?.0,
    ))
}
