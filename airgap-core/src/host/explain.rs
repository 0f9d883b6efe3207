//! What happens to a flow on a host: under a policy, or under what its kernel
//! holds with everybody's tables.

use super::Host;
use crate::delta::adopt;
use crate::error::Error;
use crate::flow::names::HostNames;
use crate::flow::{Explanation, Flow, World};
use crate::graph::RuleGraph;
use crate::netlink::{Depth, Kernel};
use crate::policy::Policy;
use crate::state::{Record, State};

/// What would happen to a flow if a policy were loaded, in the network
/// namespace of the caller and beside no other program's rules. Needs no
/// rights. The flow reads as [`Flow::read`] says; names of hosts and of running
/// containers may stand for addresses.
///
/// # Errors
/// When the text is no flow, or the policy names what is not known here.
pub fn explain(policy: &Policy, flow: &str) -> Result<Explanation, Error> {
    let flow = Flow::read(flow, &HostNames)?;
    let graph = RuleGraph::compile(policy)?;
    Ok(graph.explain_in(&flow, &World::observe()?))
}

impl Host {
    /// What would happen to a flow if a policy were loaded here, beside no
    /// other program's rules; see [`explain`].
    ///
    /// # Errors
    /// As [`explain`].
    pub fn explain(&self, policy: &Policy, flow: &str) -> Result<Explanation, Error> {
        let graph = self.compile(policy)?;
        self.enter(|| {
            let flow = Flow::read(flow, &HostNames)?;
            Ok(graph.explain_in(&flow, &World::observe()?))
        })
    }

    /// What happens to a flow now, under everything that the kernel holds.
    ///
    /// # Errors
    /// When the text is no flow, or the kernel does not answer.
    pub fn explain_live(&self, flow: &str) -> Result<Explanation, Error> {
        self.enter(|| {
            let flow = Flow::read(flow, &HostNames)?;
            let mut graph = Kernel::open()?.read(false, Depth::Full)?.0;
            if let Ok(Some(record)) = State::of_this_namespace()?.loaded() {
                // What cannot be read names no items; the rules are what counts.
                let _ = name_origins(&mut graph, &record);
            }
            let mut explanation = graph.explain_in(&flow, &World::observe()?);
            explanation.forget_lines();
            Ok(explanation)
        })
    }
}

/// Tells of the air gap's tables, where they are as they were loaded, from which
/// items of the policy their rules came.
fn name_origins(live: &mut RuleGraph, record: &Record) -> Result<(), Error> {
    let policy = record.policy()?;
    let mut loaded = RuleGraph::compile_in(&policy, &record.surroundings)?;
    adopt(&mut loaded, live);
    for table in live.tables.iter_mut().filter(|table| table.is_airgap()) {
        match loaded.table(table.family, &table.name) {
            Some(same) if same == table => *table = same.clone(),
            _ => {}
        }
    }
    live.origins = loaded.origins;
    Ok(())
}
