//! A policy that waits to be confirmed, and the way back from it: on the disk
//! before it is loaded. Whoever takes the pending change away decides; that is
//! one renaming, so that confirming and rolling back never both happen.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::{Deadline, on_the_wall};
use super::file::{self, Draft};
use super::lock::{Lock, is_held};
use super::{Record, State};
use crate::error::Error;
use crate::graph::RuleGraph;
use crate::netlink::{pack, unpack};

/// For how long whoever is to wait tries to be the one: others may look whether
/// somebody does.
const WAITER_PATIENCE: Duration = Duration::from_secs(1);

/// A policy that waits to be confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// A name that no other has.
    pub id: String,
    /// When the way back is taken.
    pub until: Deadline,
    /// Who loaded it, in words.
    pub by: String,
    /// When that was, in seconds since 1970 UTC.
    pub since: u64,
    /// The hash of the policy.
    pub hash: String,
    /// Where the policy was read from.
    pub source: String,
    /// Whether there was a record of what was loaded before.
    had_record: bool,
}

impl Pending {
    pub fn new(state: &State, record: &Record, within: Duration) -> Self {
        let process = std::process::id();
        let until = Deadline::after(within);
        Self {
            id: format!("{process}-{}", until.since_boot().as_nanos()),
            until,
            by: format!("process {process}"),
            since: record.since,
            hash: record.hash.clone(),
            source: record.source.clone(),
            had_record: state.loaded_path().exists(),
        }
    }

    /// That there is one, as an error.
    pub fn refusal(&self) -> Error {
        Error::Pending {
            by: self.by.clone(),
            left: self.until.left().unwrap_or_default(),
        }
    }
}

/// A way back that was taken, for people to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// When it was, in seconds since 1970 UTC.
    pub at: u64,
    /// Why.
    pub reason: RollbackReason,
    /// The hash of the policy that was taken back, where it could be read.
    pub hash: Option<String>,
    /// What went wrong with it: what was there before could not be loaded any
    /// more, and what is loaded now instead. The host is sealed all the same.
    pub error: Option<String>,
}

impl fmt::Display for Rollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = on_the_wall().saturating_sub(self.at);
        let hash = self.hash.as_deref().and_then(|hash| hash.get(..12));
        let hash = hash.unwrap_or("of an unknown hash");
        write!(f, "policy {hash} was rolled back {ago} s ago, ")?;
        f.write_str(match self.reason {
            RollbackReason::NotConfirmed => "since nobody confirmed it in time",
            RollbackReason::Asked => "since somebody asked for it",
            RollbackReason::NotLoaded => "since the kernel held something else",
        })?;
        match &self.error {
            Some(error) => write!(f, "; {error}"),
            None => Ok(()),
        }
    }
}

/// Why a policy was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RollbackReason {
    /// Nobody confirmed it in time.
    NotConfirmed,
    /// Somebody asked for it.
    Asked,
    /// It could not be loaded as it was meant.
    NotLoaded,
}

impl State {
    fn pending_path(&self) -> PathBuf {
        self.run.join("pending.json")
    }

    /// The pending change while it is being taken back. One that lies there
    /// without a holder of the lock was left half-way.
    fn leaving_path(&self) -> PathBuf {
        self.run.join("rolling-back.json")
    }

    /// The pending change while it is being confirmed.
    fn confirming_path(&self) -> PathBuf {
        self.run.join("confirming.json")
    }

    /// Locked by whoever waits for the time of a pending change.
    fn waiter_path(&self, id: &str) -> PathBuf {
        self.run.join(format!("waiter-{id}"))
    }

    /// The record of what was loaded before.
    fn record_before_path(&self) -> PathBuf {
        self.run.join("before.json")
    }

    fn way_back_path(&self) -> PathBuf {
        self.run.join("way-back")
    }

    fn last_rollback_path(&self) -> PathBuf {
        self.run.join("last-rollback.json")
    }

    /// What waits to be confirmed, none if nothing does. What waited when the
    /// machine was booted waits no more.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pending(&self) -> Result<Option<Pending>, Error> {
        of_this_boot(&self.pending_path())
    }

    /// What was being taken back when whoever did it was stopped.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn leaving(&self) -> Result<Option<Pending>, Error> {
        of_this_boot(&self.leaving_path())
    }

    /// What was being confirmed when whoever did it was stopped.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn confirming(&self) -> Result<Option<Pending>, Error> {
        of_this_boot(&self.confirming_path())
    }

    /// The right to wait for the time of a pending change, which others see.
    ///
    /// # Errors
    /// When another waits, or there can be no such file.
    pub fn wait_for(&self, id: &str) -> Result<Lock, Error> {
        Lock::take(&self.waiter_path(id), "the way back", WAITER_PATIENCE)
    }

    /// Whether somebody waits for the time of a pending change.
    pub fn is_waited_for(&self, id: &str) -> bool {
        is_held(&self.waiter_path(id))
    }

    /// Puts the way back on the disk: all that is loaded now.
    ///
    /// # Errors
    /// [`Error::Irreversible`] when what is loaded holds what could not be
    /// loaded again as it is; when the folder cannot be written to.
    pub fn keep_way_back(&self, before: &RuleGraph) -> Result<(), Error> {
        let bytes = pack(before);
        if unpack(&bytes).as_ref() != Some(before) {
            return Err(Error::Irreversible);
        }
        Draft::write(&self.way_back_path(), &[&bytes])?.publish()?;
        // A second name of the file: it needs no room, and what is loaded then
        // gets a file of its own.
        file::remove(&self.record_before_path())?;
        match fs::hard_link(self.loaded_path(), self.record_before_path()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                let action = format!("keep {}", self.record_before_path().display());
                Err(Error::io(action, e))
            }
            _ => Ok(()),
        }
    }

    /// What was loaded before, as it was kept.
    ///
    /// # Errors
    /// When it cannot be read, or is not whole.
    pub fn way_back(&self) -> Result<RuleGraph, Error> {
        let path = self.way_back_path();
        let bytes = fs::read(&path)
            .map_err(|source| Error::io(format!("read {}", path.display()), source))?;
        unpack(&bytes).ok_or_else(|| {
            let action = format!("understand {}, which is damaged", path.display());
            Error::io(action, io::Error::other("it is not whole"))
        })
    }

    /// From now on a policy is pending. Its way back is kept already.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn set_pending(&self, pending: &Pending) -> Result<(), Error> {
        Draft::write(&self.pending_path(), &[&file::json(pending)?])?.publish()
    }

    /// A draft of the record of a pending policy, which is about to be loaded.
    /// What is confirmed stays as it is.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn draft_pending(&self, record: &Record) -> Result<Draft, Error> {
        record.draft(&self.loaded_path())
    }

    /// Makes the pending policy the one that is confirmed.
    ///
    /// # Errors
    /// When a folder cannot be written to; the policy is still pending then.
    pub fn confirm(&self, pending: &Pending) -> Result<(), Error> {
        // What the disk has no room for must not be decided on.
        let drafts = self.draft(&self.record_of(pending)?)?;
        if let Err(error) = self.decide(&self.pending_path(), &self.confirming_path()) {
            drafts.discard();
            return Err(error);
        }
        drafts.publish()?;
        self.forget_pending(Some(&pending.id))
    }

    /// Finishes what was decided before whoever confirmed was stopped.
    ///
    /// # Errors
    /// When a folder cannot be written to.
    pub fn finish_confirming(&self, pending: &Pending) -> Result<(), Error> {
        self.draft(&self.record_of(pending)?)?.publish()?;
        self.forget_pending(Some(&pending.id))
    }

    /// The record of a pending policy. Whoever loaded it may have been stopped
    /// before it was published.
    fn record_of(&self, pending: &Pending) -> Result<Record, Error> {
        let loaded = self.loaded()?.into_iter();
        loaded
            .chain(self.loading())
            .find(|record| record.hash == pending.hash)
            .ok_or(Error::Protocol("the record of the pending policy is gone"))
    }

    /// Puts the record of what was loaded before the pending policy back. It
    /// does so once, however often it is called.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn put_record_back(&self, pending: Option<&Pending>) -> Result<(), Error> {
        file::remove(&Draft::of(&self.loaded_path()))?;
        if pending.is_some_and(|pending| !pending.had_record) {
            return file::remove(&self.loaded_path());
        }
        match fs::rename(self.record_before_path(), self.loaded_path()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                let action = format!("put {} back", self.loaded_path().display());
                Err(Error::io(action, e))
            }
            _ => Ok(()),
        }
    }

    /// From now on the pending policy is being taken back, and can no longer be
    /// confirmed.
    ///
    /// # Errors
    /// When somebody else has decided, or the file system refuses.
    pub fn leave(&self) -> Result<(), Error> {
        self.decide(&self.pending_path(), &self.leaving_path())
    }

    /// From now on it is pending again: it could not be taken back yet.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn stay(&self) -> Result<(), Error> {
        self.decide(&self.leaving_path(), &self.pending_path())
    }

    /// Whether what is pending, or was being decided on, cannot be read.
    pub fn pending_is_damaged(&self) -> bool {
        [self.pending(), self.leaving(), self.confirming()]
            .iter()
            .any(Result::is_err)
    }

    fn decide(&self, from: &Path, to: &Path) -> Result<(), Error> {
        fs::rename(from, to)
            .map_err(|source| Error::io(format!("decide on {}", from.display()), source))
    }

    /// Forgets the pending policy and the way back from it.
    ///
    /// # Errors
    /// When there is something that cannot be removed.
    pub fn forget_pending(&self, id: Option<&str>) -> Result<(), Error> {
        let waiter = id.map(|id| self.waiter_path(id));
        // The way back goes last: without it there is nothing to be taken back.
        [
            self.pending_path(),
            Draft::of(&self.pending_path()),
            self.leaving_path(),
            self.confirming_path(),
        ]
        .into_iter()
        .chain(waiter)
        .chain([self.record_before_path(), self.way_back_path()])
        .try_for_each(|path| file::remove(&path))
    }

    /// The last way back that was taken since the machine was booted.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_rollback(&self) -> Result<Option<Rollback>, Error> {
        file::read(&self.last_rollback_path())
    }

    /// Keeps a way back that was taken.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn set_last_rollback(&self, rollback: &Rollback) -> Result<(), Error> {
        Draft::write(&self.last_rollback_path(), &[&file::json(rollback)?])?.publish()
    }
}

fn of_this_boot(path: &Path) -> Result<Option<Pending>, Error> {
    let pending: Option<Pending> = file::read(path)?;
    Ok(pending.filter(|pending| pending.until.is_of_this_boot()))
}
