//! The state of an air gap.

use serde::Serialize;

use super::Host;
use super::guard::loaded_hash;
use super::plan::foreign_drops;
use super::reading::{assume_unread, read_up_to};
use crate::delta::adopt;
use crate::difference::differences;
use crate::error::Error;
use crate::foreign::ForeignDrop;
use crate::graph::{Family, RuleGraph, Statement, TABLE_NAME, Verdict};
use crate::netlink::Kernel;
use crate::state::{Journal, Record, Rollback, State};
use crate::surroundings::Surroundings;

/// The state of an air gap.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Whether the host has one.
    pub sealed: bool,
    /// The hash of the loaded policy, as the kernel holds it.
    pub hash: Option<String>,
    /// Where the policy was read from.
    pub source: Option<String>,
    /// Since when it is loaded, in seconds since 1970 UTC.
    pub since: Option<u64>,
    /// Everything in which the kernel does not hold what was loaded, and in
    /// which that is no longer what the policy means, since the host's devices
    /// or Docker's daemon are others than they were.
    pub drift: Vec<String>,
    /// The policy that waits to be confirmed, if one does.
    pub pending: Option<PendingPolicy>,
    /// The last policy that was taken back since the machine was booted.
    pub last_rollback: Option<Rollback>,
    /// What was dropped, by chain.
    pub dropped: Vec<ChainDrops>,
    /// What the policy's names and users stood for.
    pub surroundings: Option<Surroundings>,
    /// Chains of other programs that could drop what the policy opens.
    pub foreign: Vec<ForeignDrop>,
    /// What [`Host::watch`] does and has done since the host was started, in
    /// whatever process; none if nothing ever watched.
    pub watch: Option<WatchStatus>,
}

/// The state of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WatchStatus {
    /// Whether a process watches now.
    pub running: bool,
    /// What watches have seen and done.
    #[serde(flatten)]
    pub journal: Journal,
}

/// A policy that waits to be confirmed.
#[derive(Debug, Clone, Serialize)]
pub struct PendingPolicy {
    /// Its hash.
    pub hash: String,
    /// Where it was read from.
    pub source: String,
    /// Who loaded it.
    pub by: String,
    /// When, in seconds since 1970 UTC.
    pub since: u64,
    /// The seconds until it is rolled back.
    pub left: u64,
    /// Whether somebody waits for that time. If not, the next call that changes
    /// the air gap sees to it.
    pub awaited: bool,
}

/// What a rule of a chain has dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainDrops {
    /// The family of the table.
    pub family: String,
    /// The chain.
    pub chain: String,
    /// Why.
    pub reason: Option<String>,
    /// Packets since the rule was loaded.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Host {
    /// The state of the air gap. With `full`, sets of more than 10,000 elements
    /// are compared one by one too.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn status(&self, full: bool) -> Result<Status, Error> {
        self.enter(|| {
            let kernel = Kernel::open()?;
            let state = State::of_this_namespace()?;
            let mut problems = Vec::new();
            let pending = told(state.pending(), &mut problems);
            let last_rollback = told(state.last_rollback(), &mut problems);
            let loaded = told(state.loaded(), &mut problems);
            let mut seen = Seen::by(&kernel, loaded, full)?;
            // Whoever loaded a policy may have been stopped before it could say
            // so.
            if !seen.drift.is_empty()
                && let Some(record) = state.loading()
            {
                let other = Seen::by(&kernel, Some(record), full)?;
                if other.drift.is_empty() {
                    seen = other;
                }
            }
            seen.drift.extend(problems);
            let Seen {
                record,
                live,
                drift,
            } = seen;
            Ok(Status {
                sealed: live.table(Family::Inet, TABLE_NAME).is_some(),
                hash: loaded_hash(&live).map(ToOwned::to_owned),
                pending: pending.map(|pending| PendingPolicy {
                    awaited: self.is_fake() || state.is_waited_for(&pending.id),
                    left: pending.until.left().unwrap_or_default().as_secs(),
                    hash: pending.hash,
                    source: pending.source,
                    by: pending.by,
                    since: pending.since,
                }),
                last_rollback,
                dropped: dropped(&live),
                drift,
                foreign: foreign_drops(&kernel)?,
                source: record.as_ref().map(|r| r.source.clone()),
                since: record.as_ref().map(|r| r.since),
                surroundings: record.map(Record::into_surroundings),
                watch: state.journal()?.map(|journal| WatchStatus {
                    running: state.is_watched(),
                    journal,
                }),
            })
        })
    }
}

/// What is kept, or nothing and that it cannot be read.
fn told<T>(kept: Result<Option<T>, Error>, problems: &mut Vec<String>) -> Option<T> {
    kept.unwrap_or_else(|error| {
        problems.push(error.to_string());
        None
    })
}

/// What the kernel holds beside what is kept of it.
struct Seen {
    record: Option<Record>,
    live: RuleGraph,
    drift: Vec<String>,
}

impl Seen {
    fn by(kernel: &Kernel, record: Option<Record>, full: bool) -> Result<Self, Error> {
        let mut expected = None;
        if let Some(record) = &record {
            let policy = record.policy()?;
            expected = Some(RuleGraph::compile_in(&policy, &record.surroundings)?);
        }
        let mut live = read_up_to(kernel, expected.as_ref(), full)?.0;
        let mut drift = Vec::new();
        match &mut expected {
            Some(expected) if !live.tables.is_empty() => {
                adopt(expected, &live);
                assume_unread(&mut live, expected, full);
                drift = differences(expected, &live);
                if let Some(record) = &record {
                    drift.extend(outdated(record, expected)?);
                }
            }
            None if live.table(Family::Inet, TABLE_NAME).is_some() => drift.push(
                "there is no record of what was loaded here, so that drift cannot be told; apply the policy again"
                    .to_owned(),
            ),
            _ => {}
        }
        Ok(Self {
            record,
            live,
            drift,
        })
    }
}

/// In what the policy would be loaded otherwise now, by the devices and the
/// daemon that the host has.
fn outdated(record: &Record, loaded: &RuleGraph) -> Result<Vec<String>, Error> {
    let mut now = record.surroundings.clone();
    now.observe_host()?;
    if now == record.surroundings {
        return Ok(Vec::new());
    }
    let policy = record.policy()?;
    let mut meant = RuleGraph::compile_in(&policy, &now)?;
    adopt(&mut meant, loaded);
    Ok(differences(&meant, loaded)
        .into_iter()
        .map(|what| format!("the host has changed since, apply again: {what}"))
        .collect())
}

/// What the rules that drop have counted.
fn dropped(graph: &RuleGraph) -> Vec<ChainDrops> {
    let mut drops = Vec::new();
    for table in &graph.tables {
        for (chain, rule) in table
            .chains
            .iter()
            .flat_map(|chain| chain.rules.iter().map(move |rule| (chain, rule)))
        {
            if let [
                ..,
                Statement::Counter { packets, bytes },
                Statement::Verdict(Verdict::Drop),
            ] = rule.statements.as_slice()
            {
                drops.push(ChainDrops {
                    family: table.family.to_string(),
                    chain: chain.name.clone(),
                    reason: rule.comment.clone(),
                    packets: *packets,
                    bytes: *bytes,
                });
            }
        }
    }
    drops
}
