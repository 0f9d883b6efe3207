//! What is loaded, and should stay so.

use crate::error::Error;
use crate::graph::RuleGraph;
use crate::policy::Policy;
use crate::state::{Record, Version};

/// A policy that is loaded.
pub(super) struct Meant {
    /// That of the file that said so; none while there was no such file.
    pub version: Option<Version>,
    pub record: Record,
    pub policy: Policy,
    pub graph: RuleGraph,
    /// Whether the file holds this record.
    pub kept: bool,
}

impl Meant {
    /// Compiles a record.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn new(version: Option<Version>, record: Record) -> Result<Self, Error> {
        let policy = record.policy()?;
        let graph = RuleGraph::compile_in(&policy, &record.surroundings)?;
        Ok(Self {
            version,
            record,
            policy,
            graph,
            kept: true,
        })
    }
}
