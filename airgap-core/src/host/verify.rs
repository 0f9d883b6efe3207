//! The proof that a host's ruleset is what a policy states.

use super::Host;
use crate::error::Error;
use crate::graph::RuleGraph;
use crate::netlink::{Depth, Kernel};
use crate::policy::Policy;
use crate::state::State;
use crate::surroundings::Surroundings;
use crate::verify::{Verification, verify_in};

impl Host {
    /// Whether what the kernel holds, everybody's tables together, passes
    /// exactly what the policy states. Nothing is changed. Where the policy is
    /// the one that is loaded, its names stand for what they stood for then.
    ///
    /// # Errors
    /// When the policy names what is not known here, or the kernel does not
    /// answer.
    pub fn verify(&self, policy: &Policy) -> Result<Verification, Error> {
        self.enter(|| {
            let (graph, _) = Kernel::open()?.read(false, Depth::Full)?;
            let loaded = State::of_this_namespace()?.loaded().ok().flatten();
            let mut surroundings = match loaded {
                Some(record) if record.hash == policy.hash() => record.surroundings.clone(),
                _ => Surroundings::observe(policy)?,
            };
            surroundings.observe_host()?;
            Ok(verify_in(policy, &surroundings, &graph))
        })
    }

    /// The same for what the policy compiles to on this host.
    ///
    /// # Errors
    /// When the policy names what is not known here.
    pub fn verify_compiled(&self, policy: &Policy) -> Result<Verification, Error> {
        self.enter(|| {
            let surroundings = self.surroundings(policy)?;
            let graph = RuleGraph::compile_in(policy, &surroundings)?;
            Ok(verify_in(policy, &surroundings, &graph))
        })
    }
}
