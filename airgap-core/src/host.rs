//! A host: plans, applies, looks at and removes its air gap.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::changes::{Changes, changes};
use crate::delta::{adopt, operations};
use crate::denied::DeniedLog;
use crate::difference::differences;
use crate::error::Error;
use crate::foreign::{self, ForeignDrop};
use crate::graph::{Family, Origins, RuleGraph, Set, Statement, TABLE_NAME, Verdict};
use crate::netlink::{Batch, Depth, FakeKernel, Kernel, Operation};
use crate::netns::NetworkNamespace;
use crate::policy::Policy;
use crate::record::{Folder, Record};
use crate::surroundings::Surroundings;

/// Sets of up to so many elements are read back in full after every apply. A
/// larger one loads in the same transaction as what is read back, or not at
/// all; the kernel's own dump of it would cost more than the load.
const READ_BACK_MAX: usize = 10_000;
/// How often an apply plans again when somebody else changed the ruleset.
const APPLY_TRIES: usize = 20;

/// A host, or one network namespace of it.
///
/// It may be used from any thread; each call opens a socket of its own.
#[derive(Debug, Clone)]
pub struct Host {
    place: Place,
    /// Where drops are to be logged from the next plan on; none to leave that
    /// as it is.
    denied_log: Option<Option<DeniedLog>>,
}

/// Where a host's kernel is met.
#[derive(Debug, Clone)]
enum Place {
    /// In the network namespace of the calling thread.
    Here,
    Netns(NetworkNamespace),
    Fake(FakeKernel),
}

/// What is to be done to make a host's air gap that of a policy.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The openings that come, go and change.
    pub changes: Changes,
    /// Chains of other programs that could drop what the policy opens.
    pub foreign: Vec<ForeignDrop>,
    /// What the policy's names and users stand for.
    pub surroundings: Surroundings,
    changed: bool,
    policy: Policy,
    target: RuleGraph,
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
        let mut object = serializer.serialize_struct("Plan", 5)?;
        object.serialize_field("changed", &self.changed)?;
        object.serialize_field("hash", &self.policy.hash())?;
        object.serialize_field("changes", &self.changes)?;
        object.serialize_field("names", &self.surroundings.names)?;
        object.serialize_field("foreign", &self.foreign)?;
        object.end()
    }
}

/// What an apply did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Whether anything was sent.
    pub changed: bool,
    /// How many operations were sent.
    pub operations: usize,
    /// How often somebody else changed the ruleset meanwhile.
    pub retries: usize,
}

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
    /// What was dropped, by chain.
    pub dropped: Vec<ChainDrops>,
    /// What the policy's names and users stood for.
    pub surroundings: Option<Surroundings>,
    /// Chains of other programs that could drop what the policy opens.
    pub foreign: Vec<ForeignDrop>,
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
    /// The network namespace in which the caller runs.
    ///
    /// # Errors
    /// When the kernel has no nf_tables.
    pub fn open() -> Result<Self, Error> {
        Kernel::open()?;
        Ok(Self {
            place: Place::Here,
            denied_log: None,
        })
    }

    /// Another network namespace: a path such as `/proc/PID/ns/net`, or a name
    /// of ip-netns(8), whose files in `/etc/netns/NAME/` then stand for those
    /// of `/etc`.
    ///
    /// # Errors
    /// When there is no such namespace, or the caller may not enter it.
    pub fn in_netns(netns: impl AsRef<Path>) -> Result<Self, Error> {
        let host = Self {
            place: Place::Netns(NetworkNamespace::new(netns.as_ref())),
            denied_log: None,
        };
        host.enter(|| Kernel::open().map(|_| ()))?;
        Ok(host)
    }

    /// A host for tests, whose kernel is a fake: without root, and without any
    /// change to the machine.
    #[must_use]
    pub fn fake(kernel: &FakeKernel) -> Self {
        Self {
            place: Place::Fake(kernel.clone()),
            denied_log: None,
        }
    }

    /// The same host, whose plans log what is dropped there, or nowhere. A plan
    /// of a host that was not told leaves it as it is loaded.
    #[must_use]
    pub fn log_denied(mut self, log: Option<DeniedLog>) -> Self {
        self.denied_log = Some(log);
        self
    }

    /// What a policy's meaning takes from this host, and from what was asked
    /// for beside it.
    fn surroundings(&self, policy: &Policy) -> Result<Surroundings, Error> {
        let mut surroundings = Surroundings::observe(policy)?;
        surroundings.denied_log = match self.denied_log {
            Some(log) => log,
            None => Folder::of_this_namespace()?
                .read()
                .ok()
                .flatten()
                .and_then(|record| record.surroundings.denied_log),
        };
        Ok(surroundings)
    }

    /// Does `work` in the host's network namespace.
    fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        match &self.place {
            Place::Here => work(),
            Place::Netns(netns) => netns.enter(work),
            Place::Fake(kernel) => kernel.enter(work),
        }
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
            let (live, _) = kernel.read(true, Depth::Full)?;
            adopt(&mut target, &live);
            let changed = !operations(&target, &live).is_empty();
            let changes = if changed {
                changes(&target, &live)
            } else {
                Changes::default()
            };
            let foreign = foreign_drops(&kernel)?;
            Ok(Plan {
                changes,
                foreign,
                surroundings,
                changed,
                policy: policy.clone(),
                target,
            })
        })
    }

    /// Loads what was planned, in one transaction, and reads it back. If
    /// somebody else changed the ruleset since, the difference is taken anew.
    ///
    /// # Errors
    /// When the kernel refuses, others do not stop changing the ruleset, or
    /// what was read back is not what was meant.
    pub fn apply(&self, plan: &Plan) -> Result<Applied, Error> {
        self.enter(|| {
            let kernel = Kernel::open()?;
            let folder = Folder::of_this_namespace()?;
            let mut target = plan.target.clone();
            for retries in 0..APPLY_TRIES {
                let (live, generation) = kernel.read(true, Depth::Full)?;
                adopt(&mut target, &live);
                let operations = operations(&target, &live);
                if operations.is_empty() {
                    if folder
                        .read()
                        .ok()
                        .flatten()
                        .is_none_or(|record| record.hash != plan.policy.hash())
                    {
                        folder.write(&Record::new(&plan.policy, &plan.surroundings))?;
                    }
                    return Ok(Applied {
                        changed: false,
                        operations: 0,
                        retries,
                    });
                }
                let batch = Batch::new(&operations, generation);
                match kernel.transact(&batch, &operations, &target.origins) {
                    Ok(()) => {}
                    Err(Error::Conflict) => continue,
                    Err(error) => return Err(error),
                }
                let operations = operations.len();
                read_back(&kernel, &target, generation)?;
                folder.write(&Record::new(&plan.policy, &plan.surroundings))?;
                return Ok(Applied {
                    changed: true,
                    operations,
                    retries,
                });
            }
            Err(Error::Conflict)
        })
    }

    /// The whole ruleset of the namespace, everybody's tables.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn live(&self) -> Result<RuleGraph, Error> {
        self.enter(|| Ok(Kernel::open()?.read(false, Depth::Full)?.0))
    }

    /// The state of the air gap. With `full`, sets of more than 10,000 elements
    /// are compared one by one too.
    ///
    /// # Errors
    /// When the kernel does not answer, or the record of what was loaded cannot
    /// be read.
    pub fn status(&self, full: bool) -> Result<Status, Error> {
        self.enter(|| {
            let kernel = Kernel::open()?;
            let record = Folder::of_this_namespace()?.read()?;
            let mut expected = None;
            if let Some(record) = &record {
                let policy = Policy::from_json(&record.policy)?;
                expected = Some(RuleGraph::compile_in(&policy, &record.surroundings)?);
            }
            let mut live = read_up_to(&kernel, expected.as_ref(), full)?.0;
            let sealed = live.table(Family::Inet, TABLE_NAME).is_some();
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
                Some(_) => {}
                None if sealed => drift.push(
                    "there is no record of what was loaded here, so that drift cannot be told; apply the policy again"
                        .to_owned(),
                ),
                None => {}
            }
            let hash = live.table(Family::Bridge, TABLE_NAME).and_then(|table| table.comment.as_deref());
            Ok(Status {
                sealed,
                hash: hash.and_then(|comment| comment.rsplit_once(':')).map(|(_, hash)| hash.to_owned()),
                dropped: dropped(&live),
                drift,
                foreign: foreign_drops(&kernel)?,
                source: record.as_ref().map(|r| r.source.clone()),
                since: record.as_ref().map(|r| r.since),
                surroundings: record.map(|r| r.surroundings),
            })
        })
    }

    /// Takes the air gap away; the host is then as open as its other tables
    /// leave it. Says whether there was one.
    ///
    /// # Errors
    /// When the kernel refuses, or others do not stop changing the ruleset.
    pub fn remove(&self) -> Result<bool, Error> {
        self.enter(|| {
            let kernel = Kernel::open()?;
            for _ in 0..APPLY_TRIES {
                let (live, generation) = kernel.read(true, Depth::Elements(&|_, _| false))?;
                let operations: Vec<_> = live
                    .tables
                    .iter()
                    .map(|t| Operation::DeleteTable(t.family))
                    .collect();
                if !operations.is_empty() {
                    let batch = Batch::new(&operations, generation);
                    match kernel.transact(&batch, &operations, &Origins::default()) {
                        Ok(()) => {}
                        Err(Error::Conflict) => continue,
                        Err(error) => return Err(error),
                    }
                }
                Folder::of_this_namespace()?.clear()?;
                return Ok(!operations.is_empty());
            }
            Err(Error::Conflict)
        })
    }
}

/// Reads the air gap; of sets that are expected to be large only with `full`
/// the elements.
fn read_up_to(
    kernel: &Kernel,
    expected: Option<&RuleGraph>,
    full: bool,
) -> Result<(RuleGraph, u32), Error> {
    let is_small = |family: Family, set: &Set| {
        let meant = expected.and_then(|graph| graph.table(family, TABLE_NAME)?.set(&set.name));
        full || meant.is_none_or(|meant| meant.elements.len() <= READ_BACK_MAX)
    };
    kernel.read(true, Depth::Elements(&is_small))
}

/// Takes the elements that were not read for those that were meant.
fn assume_unread(live: &mut RuleGraph, expected: &RuleGraph, full: bool) {
    if full {
        return;
    }
    for table in &mut live.tables {
        let Some(meant) = expected.table(table.family, &table.name) else {
            continue;
        };
        for set in &mut table.sets {
            if let Some(meant) = meant
                .set(&set.name)
                .filter(|meant| meant.elements.len() > READ_BACK_MAX)
            {
                set.elements = meant.elements.clone();
            }
        }
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
    let policy = Policy::from_json(&record.policy)?;
    let mut meant = RuleGraph::compile_in(&policy, &now)?;
    adopt(&mut meant, loaded);
    Ok(differences(&meant, loaded)
        .into_iter()
        .map(|what| format!("the host has changed since, apply again: {what}"))
        .collect())
}

/// Compares what the kernel holds with what was sent on top of `generation`.
fn read_back(kernel: &Kernel, target: &RuleGraph, generation: u32) -> Result<(), Error> {
    let (mut live, now) = read_up_to(kernel, Some(target), false)?;
    assume_unread(&mut live, target, false);
    let mut differences = differences(target, &live);
    if differences.is_empty() {
        return Ok(());
    }
    if now != generation.wrapping_add(1) {
        differences.push("another program has changed the ruleset in the meantime".to_owned());
    }
    Err(Error::ReadBack(differences))
}

fn foreign_drops(kernel: &Kernel) -> Result<Vec<ForeignDrop>, Error> {
    Ok(foreign::drops(
        &kernel.read(false, Depth::Elements(&|_, _| false))?.0,
    ))
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
