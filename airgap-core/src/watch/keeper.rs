//! Keeps the air gap as it was loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::WatchOptions;
use super::bring::{bring, large_sets, own};
use super::event::WatchEvent;
use super::meant::Meant;
use super::names::Names;
use super::process::process_of;
use super::resolver::Resolver;
use crate::delta::{adopt, operations};
use crate::error::Error;
use crate::graph::{Family, RuleGraph};
use crate::host::reading::{assume_unread, read_up_to};
use crate::netlink::{Kernel, Told, addresses_in_use};
use crate::relay::Relay;
use crate::state::{Drafts, Healed, Journal, Process, State};
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
    /// Whether the host names are.
    names: bool,
}

/// Keeps the air gap of one network namespace.
pub(super) struct Keeper<'a> {
    state: State,
    kernel: Kernel,
    report: &'a mut dyn FnMut(&WatchEvent),
    resolver: Resolver,
    meant: Option<Meant>,
    /// What the host names of what is meant stand for.
    names: Names,
    journal: Journal,
    due: Due,
    /// What the host was like when it was last looked at.
    seen: Option<Surroundings>,
    looked: Instant,
    /// Not before this is what is due tried again.
    pause: Option<Instant>,
    /// The thread that this runs on, as the kernel numbers it.
    own: u32,
    /// Where others' batches come in while this owns the tables.
    relay: Option<Relay>,
    /// Whether the first look is behind.
    begun: bool,
}

impl<'a> Keeper<'a> {
    /// Puts back what is to be put back, and tells that the watch has begun.
    ///
    /// # Errors
    /// When the kernel does not answer, or no thread can be begun.
    pub fn begin(
        state: State,
        options: &WatchOptions,
        report: &'a mut dyn FnMut(&WatchEvent),
    ) -> Result<Self, Error> {
        // A journal that cannot be read is begun anew: it is no reason not to
        // watch.
        let mut journal = state.journal().ok().flatten().unwrap_or_default();
        journal.failure = None;
        let mut keeper = Self {
            kernel: Kernel::open()?,
            journal,
            state,
            report,
            resolver: Resolver::begin()?,
            meant: None,
            names: Names::default(),
            due: Due::default(),
            seen: None,
            looked: Instant::now(),
            pause: None,
            own: nix::unistd::gettid().as_raw().unsigned_abs(),
            relay: None,
            begun: false,
        };
        if options.own && keeper.kernel.can_own()? {
            keeper.relay = Some(Relay::open(&keeper.state)?);
        }
        keeper.journal.owns = keeper.relay.is_some();
        keeper.due.ruleset = Some(Instant::now());
        keeper.due.host = true;
        keeper.work();
        let hash = keeper.meant.as_ref().map(|meant| meant.record.hash.clone());
        let owns = keeper.journal.owns;
        keeper.tell(WatchEvent::Watching { hash, owns });
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

    /// Can be read from when host names have been resolved.
    pub fn answers(&self) -> BorrowedFd<'_> {
        self.resolver.as_fd()
    }

    /// Notes what host names have been resolved to.
    ///
    /// # Errors
    /// When the thread that resolves them has ended.
    pub fn take_answers(&mut self) -> Result<(), Error> {
        for answer in self.resolver.take()? {
            self.names.heard(answer, Instant::now(), unix_time());
            self.due.names = true;
        }
        Ok(())
    }

    /// Can be read from when others want something sent, if they may.
    pub fn questions(&self) -> Option<BorrowedFd<'_>> {
        self.relay.as_ref().map(AsFd::as_fd)
    }

    /// Sends what others want sent.
    pub fn relay(&mut self) {
        let relay = self.relay.as_ref();
        if relay.is_some_and(|relay| relay.serve(&self.kernel)) {
            // The kernel tells it as this process's own.
            self.due.ruleset.get_or_insert_with(Instant::now);
        }
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
            self.due.names |= self.names.keeps_any();
        }
        if self.due.ruleset.is_none() && !self.due.host && !self.due.names {
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
                names: self.due.names,
                ..Due::default()
            };
        }
        if self.due.host || self.due.names {
            self.adapt()?;
            (self.due.host, self.due.names) = (false, false);
        }
        if let (Some(meant), true) = (&mut self.meant, self.relay.is_some()) {
            own(&self.kernel, &mut meant.graph)?;
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
            (Ok(Some(meant)), _) => self.mean(meant),
            (Ok(None), None) => {}
            // Who removes an air gap first takes its tables away.
            (Ok(None), Some(_)) if !self.kernel.has_air_gap()? => {
                self.meant = None;
                self.names = Names::default();
                self.resolver.ask(BTreeSet::new());
                self.journal.names.clear();
                self.tell(WatchEvent::Removed);
            }
            // What was kept is lost or damaged, but not forgotten.
            (Ok(None) | Err(_), Some(meant)) => meant.kept = false,
            (Err(error), None) => {
                let confirmed = self.state.confirmed()?.ok_or(error)?;
                let mut meant = Meant::new(version, confirmed)?;
                meant.kept = false;
                self.mean(meant);
            }
        }
        Ok(())
    }

    /// From now on this is what is meant.
    fn mean(&mut self, meant: Meant) {
        let hash = meant.record.hash.clone();
        let names = &meant.record.surroundings.names;
        self.names = Names::new(names);
        self.resolver.ask(names.keys().cloned().collect());
        self.journal.names.clear();
        self.meant = Some(meant);
        self.due.host = true;
        self.seen = None;
        if self.begun {
            self.tell(WatchEvent::Loaded { hash });
        }
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
        let owning = self.relay.is_some();
        let distrusted: Vec<_> = large_sets(&meant.graph)
            .filter(|set| self.due.lost || self.due.sets.get(set).is_some_and(|times| *times > 0))
            .collect();
        let Some(brought) = bring(&self.kernel, owning, &mut meant.graph, &distrusted)? else {
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
            self.mean(other);
        }
        Ok(())
    }

    /// Makes the air gap what the policy means by the devices and the daemon
    /// that the host has now, and by what its names stand for.
    fn adapt(&mut self) -> Result<(), Error> {
        let Some(meant) = &self.meant else {
            self.looked = Instant::now();
            return Ok(());
        };
        let before = self.seen.as_ref().unwrap_or(&meant.record.surroundings);
        let mut now = before.clone();
        if self.due.host {
            self.looked = Instant::now();
            now.observe_host()?;
        }
        if self.due.names {
            if self.names.keeps_any() {
                // Where connections cannot be listed, any may be in use.
                let used = addresses_in_use().ok();
                self.names.forget(Instant::now(), |address| {
                    used.as_ref().is_none_or(|used| used.contains(address))
                });
            }
            now.names = self.names.addresses();
        }
        let renamed = now.names != before.names;
        if now != *before {
            self.follow(&now)?;
            self.seen = Some(now);
        }
        self.tell_names(renamed);
        Ok(())
    }

    /// Brings the air gap to what the policy means in other surroundings.
    fn follow(&mut self, now: &Surroundings) -> Result<(), Error> {
        let Some(meant) = &mut self.meant else {
            return Ok(());
        };
        let mut graph = RuleGraph::compile_in(&meant.policy, now)?;
        adopt(&mut graph, &meant.graph);
        let same = operations(&graph, &meant.graph).is_empty();
        if same && now.names == meant.record.surroundings.names {
            return Ok(());
        }
        let owning = self.relay.is_some();
        let mut record = meant.record.clone();
        record.surroundings = now.clone();
        // Where it cannot be kept, it is loaded all the same: an uplink without
        // its chain would be open.
        let drafts = self.state.draft_adapted(&record);
        let brought = match (bring(&self.kernel, owning, &mut graph, &[]), drafts) {
            (Ok(brought), drafts) => {
                meant.record = record;
                meant.graph = graph;
                meant.kept = drafts.and_then(Drafts::publish).is_ok();
                meant.version = self.state.loaded_version();
                brought
            }
            (Err(error), drafts) => {
                drafts.map(Drafts::discard).unwrap_or_default();
                return Err(error);
            }
        };
        if let Some(brought) = brought {
            (self.report)(&WatchEvent::Adapted {
                changes: brought.found.into(),
            });
        }
        Ok(())
    }

    /// Tells what has changed of the names.
    fn tell_names(&mut self, renamed: bool) {
        let status = self.names.status();
        if status == self.journal.names && !renamed {
            return;
        }
        let former = std::mem::replace(&mut self.journal.names, status.clone());
        for (name, addresses) in self.names.addresses() {
            let (before, now) = (former.get(&name), status.get(&name));
            if before == now && !renamed {
                continue;
            }
            self.tell(WatchEvent::Name {
                name,
                addresses,
                status: now.cloned().unwrap_or_default(),
            });
        }
    }

    /// Keeps on the disk what is meant by now.
    fn keep_meant(&mut self) -> Result<(), Error> {
        if let Some(meant) = self.meant.as_mut().filter(|meant| !meant.kept) {
            self.state.draft_adapted(&meant.record)?.publish()?;
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

/// Seconds since 1970 UTC.
fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
