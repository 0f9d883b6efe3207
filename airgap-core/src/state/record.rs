//! What is kept of a policy: enough to load it again as it was, and to tell
//! drift from a world that has changed.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

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
        }
    }
}
