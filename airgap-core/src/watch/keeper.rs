//! Keeps the air gap as it was loaded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::event::WatchEvent;
use super::process::process_of;
use crate::delta::{adopt, operations};
use crate::difference::differences;
use crate::error::Error;
use crate::graph::{Family, RuleGraph};
use crate::host::reading::{READ_BACK_MAX, assume_unread, read_up_to};
use crate::netlink::{Batch, Kernel, Told};
use crate::policy::Policy;
use crate::state::{Healed, Journal, Process, Record, State, Version};
use crate::surroundings::Surroundings;

/// How often to look at what tells nobody that it changes, as Docker's daemon.
const LOOK: Duration = Duration::from_secs(5);
/// How long until what failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How long until the lock that another holds is tried again.
const TRY_LOCK: Duration = Duration::from_millis(5);
/// How long who changes the air gap rightly is waited for when a stranger has
/// changed it too: the holder of the lock may be stopped for good.
const COURTESY: Duration = Duration::from_millis(200);
/// How often what others keep changing is put back before the next pause.
const TRIES: usize = 20;

/// What is loaded, and should stay so.
struct Meant {
    /// That of the file that said so; none while there was no such file.
    version: Option<Version>,
    record: Record,
    policy: Policy,
    graph: RuleGraph,
    /// Whether the file holds this record.
    kept: bool,
}

impl Meant {
    fn new(version: Option<Version>, record: Record) -> Result<Self, Error> {
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

/// What is to be looked at.
#[derive(Default)]
struct Due {
    /// Since when the ruleset is, if at all.
    ruleset: Option<Instant>,
    /// Who has changed it.
    by: Vec<Process>,
    /// How many transactions have changed the elements of each set.
    sets: BTreeMap<(Family, String), usize>,
    /// Whether more happened than was told.
    lost: bool,
    /// Whether the host's devices and Docker's daemon are.
    host: bool,
}

/// Keeps the air gap of one network namespace.
pub(super) struct Keeper<'a> {
    state: State,
    kernel: Kernel,
    report: &'a mut dyn FnMut(&WatchEvent),
    meant: Option<Meant>,
    journal: Journal,
    due: Due,
    /// What the host was like when it was last looked at.
    seen: Option<Surroundings>,
    looked: Instant,
    /// Not before this is what is due tried again.
    pause: Option<Instant>,
    /// The thread that this runs on, as the kernel numbers it.
    own: u32,
    /// Whether the first look is behind.
    begun: bool,
}

impl<'a> Keeper<'a> {
    /// Puts back what is to be put back, and tells that the watch has begun.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn begin(state: State, report: &'a mut dyn FnMut(&WatchEvent)) -> Result<Self, Error> {
        // A journal that cannot be read is begun anew: it is no reason not to
        // watch.
        let mut journal = state.journal().ok().flatten().unwrap_or_default();
        journal.failure = None;
        let mut keeper = Self {
            kernel: Kernel::open()?,
            journal,
            state,
            report,
            meant: None,
            due: Due::default(),
            seen: None,
            looked: Instant::now(),
            pause: None,
            own: nix::unistd::gettid().as_raw().unsigned_abs(),
            begun: false,
        };
        keeper.due.ruleset = Some(Instant::now());
        keeper.due.host = true;
        keeper.work();
        let hash = keeper.meant.as_ref().map(|meant| meant.record.hash.clone());
        keeper.tell(WatchEvent::Watching { hash });
        keeper.begun = true;
        Ok(keeper)
    }

    /// Notes what was told of the ruleset.
    pub fn ruleset_changed(&mut self, told: Told) {
        let now = Instant::now();
        let transactions = match told {
            Told::Transactions(transactions) => transactions,
            Told::Lost => {
                self.due.lost = true;
                self.due.ruleset.get_or_insert(now);
                return;
            }
        };
        for transaction in transactions.into_iter().filter(|t| t.touches) {
            let author = transaction.author;
            if author.as_ref().is_some_and(|a| a.thread == self.own) {
                continue;
            }
            self.due.ruleset.get_or_insert(now);
            if let Some(process) = author.as_ref().map(process_of)
                && !self.due.by.contains(&process)
            {
                self.due.by.push(process);
            }
            for set in transaction.sets {
                *self.due.sets.entry(set).or_default() += 1;
            }
        }
    }

    /// Notes that the network's devices have changed.
    pub fn host_changed(&mut self) {
        self.due.host = true;
    }

    /// How long nothing needs to be done if nothing happens.
    pub fn patience(&self) -> Duration {
        let next = self.pause.unwrap_or(self.looked + LOOK);
        // Rounded up: to wake before the time is to wake for nothing.
        next.saturating_duration_since(Instant::now()) + Duration::from_millis(1)
    }

    /// Does what is due.
    pub fn work(&mut self) {
        self.pause = None;
        if self.looked + LOOK <= Instant::now() {
            self.due.host = true;
        }
        if self.due.ruleset.is_none() && !self.due.host {
            return;
        }
        match self.settle() {
            Ok(()) if self.journal.failure.is_some() && self.pause.is_none() => {
                self.journal.failure = None;
                // Where it cannot be kept, the next event says so.
                let _ = self.state.keep_journal(&self.journal);
            }
            Ok(()) => {}
            Err(error) => self.failed(&error),
        }
    }

    fn settle(&mut self) -> Result<(), Error> {
        let lock = self.state.try_lock("watch")?;
        if lock.is_none() {
            // Whoever holds it may load something else meanwhile: look again.
            self.pause = Some(Instant::now() + TRY_LOCK);
            if !self.stranger_waits() {
                return Ok(());
            }
            return self.heal(false);
        }
        let known = self.meant.as_ref().and_then(|meant| meant.version);
        if self.state.loaded_version() != known {
            // One of the transactions was the one that loaded this.
            self.due.sets.values_mut().for_each(|times| *times -= 1);
            self.due.lost = false;
            self.find_meant()?;
        }
        if self.due.ruleset.is_some() {
            self.heal(true)?;
            self.due = Due {
                host: self.due.host,
                ..Due::default()
            };
        }
        if self.due.host {
            self.looked = Instant::now();
            self.adapt()?;
            self.due.host = false;
        }
        self.keep_meant()
    }

    /// Whether somebody who does not hold the lock has changed the ruleset, and
    /// who holds it has had time enough.
    fn stranger_waits(&self) -> bool {
        let waited = self
            .due
            .ruleset
            .is_some_and(|since| since.elapsed() >= COURTESY);
        waited && {
            let holder = self.state.changer();
            self.due
                .by
                .iter()
                .any(|process| Some(process.pid) != holder)
        }
    }

    /// Learns what should be loaded, as whoever held the lock last has left it.
    fn find_meant(&mut self) -> Result<(), Error> {
        let version = self.state.loaded_version();
        let found = match self.state.loaded() {
            Ok(Some(record)) => Meant::new(version, record).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match (found, &mut self.meant) {
            (Ok(Some(meant)), known) => {
                let hash = meant.record.hash.clone();
                *known = Some(meant);
                self.due.host = true;
                self.seen = None;
                if self.begun {
                    (self.report)(&WatchEvent::Loaded { hash });
                }
            }
            (Ok(None), None) => {}
            // Who removes an air gap first takes its tables away.
            (Ok(None), Some(_)) if !self.kernel.has_air_gap()? => {
                self.meant = None;
                (self.report)(&WatchEvent::Removed);
            }
            // What was kept is lost or damaged, but not forgotten.
            (Ok(None) | Err(_), Some(meant)) => meant.kept = false,
            (Err(error), None) => {
                let confirmed = self.state.confirmed()?.ok_or(error)?;
                let mut meant = Meant::new(version, confirmed)?;
                meant.kept = false;
                self.meant = Some(meant);
            }
        }
        Ok(())
    }

    /// Puts back what others changed.
    fn heal(&mut self, locked: bool) -> Result<(), Error> {
        let noticed = self.due.ruleset.unwrap_or_else(Instant::now);
        let at = unix_time();
        if locked {
            self.finish_others_load()?;
        }
        let Some(meant) = &mut self.meant else {
            return Ok(());
        };
        let distrusted: Vec<_> = large_sets(&meant.graph)
            .filter(|set| self.due.lost || self.due.sets.get(set).is_some_and(|times| *times > 0))
            .collect();
        let Some(brought) = bring(&self.kernel, &mut meant.graph, &distrusted)? else {
            return Ok(());
        };
        let healed = Healed {
            at,
            microseconds: u64::try_from((brought.at - noticed).as_micros()).unwrap_or(u64::MAX),
            by: std::mem::take(&mut self.due.by),
            found: brought.found.into(),
        };
        self.journal.note(healed.clone());
        self.tell(WatchEvent::Healed(healed));
        Ok(())
    }

    /// A policy whose loading was stopped before it could be kept is what is
    /// meant, if it is what the kernel holds.
    fn finish_others_load(&mut self) -> Result<(), Error> {
        let Some(record) = self.state.loading() else {
            return Ok(());
        };
        let version = self.state.loaded_version();
        let mut other = Meant::new(version, record)?;
        let mut live = read_up_to(&self.kernel, Some(&other.graph), false)?.0;
        assume_unread(&mut live, &other.graph, false);
        adopt(&mut other.graph, &live);
        if operations(&other.graph, &live).is_empty() {
            let hash = other.record.hash.clone();
            self.meant = Some(other);
            (self.report)(&WatchEvent::Loaded { hash });
        }
        Ok(())
    }

    /// Makes the air gap what the policy means by the devices and the daemon
    /// that the host has now.
    fn adapt(&mut self) -> Result<(), Error> {
        let Some(meant) = &mut self.meant else {
            return Ok(());
        };
        let mut now = meant.record.surroundings.clone();
        now.observe_host()?;
        if now == *self.seen.as_ref().unwrap_or(&meant.record.surroundings) {
            return Ok(());
        }
        let mut graph = RuleGraph::compile_in(&meant.policy, &now)?;
        adopt(&mut graph, &meant.graph);
        if !operations(&graph, &meant.graph).is_empty() {
            let brought = bring(&self.kernel, &mut graph, &[])?;
            meant.graph = graph;
            meant.record.surroundings = now.clone();
            meant.kept = false;
            if let Some(brought) = brought {
                (self.report)(&WatchEvent::Adapted {
                    changes: brought.found.into(),
                });
            }
        }
        self.seen = Some(now);
        Ok(())
    }

    /// Keeps on the disk what is meant by now.
    fn keep_meant(&mut self) -> Result<(), Error> {
        if let Some(meant) = self.meant.as_mut().filter(|meant| !meant.kept) {
            self.state.adapt(&meant.record)?;
            meant.kept = true;
            meant.version = self.state.loaded_version();
        }
        Ok(())
    }

    fn failed(&mut self, error: &Error) {
        self.pause = Some(Instant::now() + TRY_AGAIN);
        let message = error.to_string();
        if self.journal.failure.as_ref() != Some(&message) {
            self.journal.failure = Some(message.clone());
            self.tell(WatchEvent::Failed { message });
        }
    }

    /// Tells an event that the journal holds, and then whether that could be
    /// kept: the watch goes on without.
    fn tell(&mut self, event: WatchEvent) {
        let kept = self.state.keep_journal(&self.journal);
        (self.report)(&event);
        if let Err(error) = kept {
            let message = error.to_string();
            (self.report)(&WatchEvent::Failed { message });
        }
    }
}

/// Something that was not as meant and is now.
struct Brought {
    /// In what it was not.
    found: Vec<String>,
    /// Since when it is.
    at: Instant,
}

/// Makes what the kernel holds equal to `target`, until a read shows that it
/// is. Answers none if it was equal already. Tables that hold a `distrusted`
/// set are loaded anew.
fn bring(
    kernel: &Kernel,
    target: &mut RuleGraph,
    distrusted: &[(Family, String)],
) -> Result<Option<Brought>, Error> {
    let mut brought = None;
    for _ in 0..TRIES {
        let (mut live, generation) = read_up_to(kernel, Some(target), false)?;
        assume_unread(&mut live, target, false);
        adopt(target, &live);
        let mut found = Vec::new();
        if brought.is_none() {
            found = differences(target, &live);
            for (family, set) in distrusted {
                // The kernel takes longer to list a large set than to load it.
                // A table with another flag is not changed but exchanged.
                for table in live.tables.iter_mut().filter(|t| t.family == *family) {
                    table.flags ^= 1;
                    let place = format!("{} {} {set}", table.family, table.name);
                    found.push(format!("elements of set {place} were changed"));
                }
            }
        }
        let operations = operations(target, &live);
        if operations.is_empty() {
            return Ok(brought);
        }
        let batch = Batch::new(&operations, generation);
        match kernel.transact(&batch, &operations, &target.origins) {
            Ok(()) => {}
            Err(Error::Conflict) => continue,
            Err(error) => return Err(error),
        }
        let at = Instant::now();
        brought.get_or_insert(Brought { found, at }).at = at;
    }
    Err(Error::Conflict)
}

/// The sets that are not read when the air gap is.
fn large_sets(graph: &RuleGraph) -> impl Iterator<Item = (Family, String)> {
    graph.tables.iter().flat_map(|table| {
        table
            .sets
            .iter()
            .filter(|set| set.elements.len() > READ_BACK_MAX)
            .map(|set| (table.family, set.name.clone()))
    })
}

/// Seconds since 1970 UTC.
fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
