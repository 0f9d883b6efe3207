//! What is kept of a policy: enough to load it again as it was, and to tell
//! drift from a world that has changed.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::policy::Policy;
use crate::surroundings::Surroundings;

/// A policy that was loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The policy in its JSON form.
    pub policy: String,
    /// The hash of the policy, which the kernel holds too.
    pub hash: String,
    /// Where the policy was read from.
    pub source: String,
    /// When it was loaded, in seconds since 1970 UTC.
    pub since: u64,
    /// What it was compiled with.
    pub surroundings: Surroundings,
    /// The administrators' way in by it, as JSON too.
    pub way_in: String,
}

impl Record {
    pub fn new(policy: &Policy, surroundings: &Surroundings) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            policy: policy.to_json(),
            hash: policy.hash().to_owned(),
            source: policy.source().name().to_owned(),
            since: now.as_secs(),
            surroundings: surroundings.clone(),
            way_in: policy.way_in().to_json(),
        }
    }

    /// The record of the way in, which is small however large the policy is. It
    /// is kept in a file of its own: what damages one spares the other.
    ///
    /// # Errors
    /// When this record does not hold one.
    pub fn way_in(&self) -> Result<Self, Error> {
        let policy = Policy::from_json_named(&self.way_in, &self.source)?;
        let mut surroundings = Surroundings {
            devices: self.surroundings.devices.clone(),
            denied_log: self.surroundings.denied_log,
            ..Surroundings::default()
        };
        for name in policy.admitted_names() {
            if let Some(addresses) = self.surroundings.names.get(name) {
                surroundings
                    .names
                    .insert(name.to_owned(), addresses.clone());
            }
        }
        Ok(Self {
            since: self.since,
            ..Self::new(&policy, &surroundings)
        })
    }
}
