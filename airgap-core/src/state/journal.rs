//! What a watch has seen and done, for `status` to tell.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Differences that are kept of one change; the others are counted.
const NAMED_MAX: usize = 10;
/// Changes that are kept; older ones are counted.
const HISTORY_MAX: usize = 20;

/// What a watch keeps of what it did, until the host is restarted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// How often the air gap was changed by others, and put back.
    pub healed: u64,
    /// The last of these, the newest last.
    pub history: Vec<Healed>,
    /// Whether the watch owns the tables, so that the kernel keeps all others
    /// from changing them.
    #[serde(default)]
    pub owns: bool,
    /// What does not work at the moment, and is tried again.
    pub failure: Option<String>,
    /// The host names that are not simply what they resolve to.
    #[serde(default)]
    pub names: BTreeMap<String, NameStatus>,
}

impl Journal {
    /// Notes a change that was taken back.
    pub(crate) fn note(&mut self, healed: Healed) {
        self.healed += 1;
        self.history.push(healed);
        let old = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..old);
    }
}

/// Why more is open for a host name than what it resolves to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameStatus {
    /// Addresses of earlier answers, which stay open until the flows that use
    /// them end, or an hour.
    pub kept: Vec<IpAddr>,
    /// Since when it does not resolve, in seconds since 1970 UTC. Its last
    /// answer stays open.
    pub failing_since: Option<u64>,
    /// Why it does not resolve.
    pub failure: Option<String>,
}

/// A change by others that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healed {
    /// When it was noticed, in seconds since 1970 UTC.
    pub at: u64,
    /// From then until the air gap was as before, in microseconds.
    pub microseconds: u64,
    /// Who has changed the ruleset since it was last as loaded. Empty where
    /// the kernel did not tell, and for what happened while nobody watched.
    pub by: Vec<Process>,
    /// What was found.
    pub found: Differences,
}

/// A process that changed the ruleset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The kernel's name of it, of 15 bytes at most.
    pub name: String,
    /// Its command line, where it still ran.
    pub command: Option<String>,
}

/// What two rulesets have that the other lacks: the first of them in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// The first ones.
    pub first: Vec<String>,
    /// How many there are.
    pub count: usize,
}

impl From<Vec<String>> for Differences {
    fn from(mut all: Vec<String>) -> Self {
        let count = all.len();
        all.truncate(NAMED_MAX);
        Self { first: all, count }
    }
}

/// What comes behind the name's addresses.
impl fmt::Display for NameStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept: Vec<_> = self.kept.iter().map(ToString::to_string).collect();
        if !kept.is_empty() {
            write!(f, " ({} until its flows end)", kept.join(", "))?;
        }
        if let Some(failure) = &self.failure {
            write!(
                f,
                "; it does not resolve, and its last answer stays: {failure}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Healed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by.as_slice() {
            [] => f.write_str("changed by somebody unknown")?,
            by => {
                f.write_str("changed by ")?;
                for (number, process) in by.iter().enumerate() {
                    let comma = if number > 0 { ", " } else { "" };
                    write!(f, "{comma}{process}")?;
                }
            }
        }
        let milliseconds = self.microseconds.div_ceil(1000);
        write!(f, ", back after {milliseconds} ms: {}", self.found)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {}", self.name, self.pid)?;
        match &self.command {
            Some(command) => write!(f, ", `{command}`)"),
            None => f.write_str(")"),
        }
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join("; "))?;
        match self.count.saturating_sub(self.first.len()) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
