//! When the kernel was known to hold what is kept as loaded.

use std::fs;

use serde::{Deserialize, Serialize};

/// A moment of a network namespace: while its ruleset is of the same
/// generation, nobody has changed anything in it. A cookie is given to one
/// namespace only until the host starts anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    boot: String,
    cookie: u64,
    generation: u32,
}

impl Moment {
    /// That of this generation, in the namespace with this cookie.
    pub fn new(cookie: u64, generation: u32) -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self {
            boot,
            cookie,
            generation,
        })
    }

    /// The generation of the ruleset.
    pub fn generation(&self) -> u32 {
        self.generation
    }
}

/// A moment, and the record of which the kernel held everything then.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Held {
    pub moment: Moment,
    /// The checksum of the record's head.
    pub record: String,
}
