//! What is kept on the host of an air gap, for each network namespace: in
//! `/run/airgap` what is loaded and the lock, which a reboot ends, and in
//! `/var/lib/airgap` the last confirmed policy, which it does not.

mod clock;
mod file;
mod journal;
mod lock;
mod moment;
mod pending;
mod record;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

pub(crate) use self::clock::{Deadline, on_the_wall};
pub(crate) use self::file::Draft;
use self::file::Lasting;
pub use self::journal::{Differences, Healed, Journal, NameStatus, Process};
pub(crate) use self::lock::{Lock, PATIENCE};
use self::moment::Held;
pub(crate) use self::moment::Moment;
pub(crate) use self::pending::Pending;
pub use self::pending::{Rollback, RollbackReason};
pub(crate) use self::record::{Head, Record};
use crate::docker::DockerResolver;
use crate::error::Error;
use crate::netlink::fake_folder;

/// Moves `/run/airgap`.
const RUN_DIR: &str = "AIRGAP_RUN_DIR";
const RUN_DIR_DEFAULT: &str = "/run/airgap";
/// Moves `/var/lib/airgap`.
const STATE_DIR: &str = "AIRGAP_STATE_DIR";
const STATE_DIR_DEFAULT: &str = "/var/lib/airgap";
const LOCK: &str = "lock";
const WATCH_LOCK: &str = "watch.lock";
const JOURNAL: &str = "watch.json";
const RELAY: &str = "watch.socket";
/// How often the right to watch is tried for, and how long between.
const WATCH_TRIES: usize = 20;
const WATCH_PAUSE: Duration = Duration::from_millis(5);

/// One file under a name, which the next one of that name is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(u64, i64, i64);
/// The name of the folders of the host's own network namespace.
const HOST: &str = "host";

/// The folders of one network namespace. The host's own are called `host`, the
/// others by their number, which is theirs while they last.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Goes with a reboot.
    run: PathBuf,
    /// Outlives it.
    kept: PathBuf,
}

impl State {
    /// Those of the network namespace of this thread.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn of_this_namespace() -> Result<Self, Error> {
        if let Some(folder) = fake_folder() {
            return Ok(Self {
                run: folder.join("run"),
                kept: folder.join("state"),
            });
        }
        let identity = |path: &str| {
            fs::metadata(path)
                .map(|m| (m.dev(), m.ino()))
                .map_err(|source| {
                    Error::io(format!("tell the network namespace by {path}"), source)
                })
        };
        let here = identity("/proc/thread-self/ns/net")?;
        // Without the right to look at process 1 this is a namespace of its own.
        let name = match identity("/proc/1/ns/net") {
            Ok(first) if first == here => HOST.to_owned(),
            _ => format!("netns-{}", here.1),
        };
        let base = |variable: &str, default: &str| {
            PathBuf::from(env::var_os(variable).unwrap_or_else(|| OsString::from(default)))
        };
        Ok(Self {
            run: base(RUN_DIR, RUN_DIR_DEFAULT).join(&name),
            kept: base(STATE_DIR, STATE_DIR_DEFAULT).join(&name),
        })
    }

    /// The variables of the environment by which another process finds these
    /// folders.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        [(RUN_DIR, &self.run), (STATE_DIR, &self.kept)]
            .into_iter()
            .filter_map(|(name, folder)| Some((name, folder.parent()?)))
    }

    /// Whether these are the folders of the host's own network namespace.
    pub fn is_of_the_host(&self) -> bool {
        self.run.file_name().is_some_and(|name| name == HOST)
    }

    /// Where what is loaded is kept.
    fn loaded_path(&self) -> PathBuf {
        self.run.join("loaded.json")
    }

    /// Where the last confirmed policy is kept.
    fn confirmed_path(&self) -> PathBuf {
        self.kept.join("confirmed.json")
    }

    /// Where the administrators' way in by that policy is kept.
    fn way_in_path(&self) -> PathBuf {
        self.kept.join("way-in.json")
    }

    /// Waits until nobody else changes this air gap. `what` is being done, for
    /// others to read.
    ///
    /// # Errors
    /// [`Error::Locked`] when another holds the lock for too long; when there
    /// can be no lock.
    pub fn lock(&self, what: &str) -> Result<Lock, Error> {
        self.lock_within(what, PATIENCE)
    }

    /// The same, but waits for `patience` at most.
    ///
    /// # Errors
    /// As [`State::lock`].
    pub fn lock_within(&self, what: &str, patience: Duration) -> Result<Lock, Error> {
        self.make_run_folder()?;
        Lock::take(&self.run.join(LOCK), what, patience)
    }

    fn make_run_folder(&self) -> Result<(), Error> {
        file::make_folder(&self.run)
            .map_err(|source| Error::io(format!("make the folder {}", self.run.display()), source))
    }

    /// Takes the lock if nobody else changes this air gap.
    ///
    /// # Errors
    /// When there can be no lock.
    pub fn try_lock(&self, what: &str) -> Result<Option<Lock>, Error> {
        self.make_run_folder()?;
        Lock::try_take(&self.run.join(LOCK), what)
    }

    /// The process that changes this air gap, or was the last to do so.
    pub fn changer(&self) -> Option<u32> {
        lock::signer(&self.run.join(LOCK))
    }

    /// The right to watch this air gap, which one process has until it is
    /// dropped; none if another has it.
    ///
    /// # Errors
    /// When there can be no lock.
    pub fn try_watch(&self) -> Result<Option<Lock>, Error> {
        self.make_run_folder()?;
        for _ in 0..WATCH_TRIES {
            let lock = Lock::try_take(&self.run.join(WATCH_LOCK), "watch")?;
            if lock.is_some() {
                return Ok(lock);
            }
            // Perhaps somebody only asks, by `is_watched`.
            thread::sleep(WATCH_PAUSE);
        }
        Ok(None)
    }

    /// Whether a process has that right now.
    pub fn is_watched(&self) -> bool {
        lock::is_held(&self.run.join(WATCH_LOCK))
    }

    /// Where a watch that owns the tables takes the batches of others.
    pub fn relay_path(&self) -> PathBuf {
        self.run.join(RELAY)
    }

    /// What watches have seen and done; none if nobody ever watched.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn journal(&self) -> Result<Option<Journal>, Error> {
        file::read(&self.run.join(JOURNAL))
    }

    /// Keeps what a watch has seen and done. Only who watches does this.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn keep_journal(&self, journal: &Journal) -> Result<(), Error> {
        Draft::write(&self.run.join(JOURNAL), &[&file::json(journal)?])?.publish()
    }

    /// Tells whether another record was kept as loaded since: none while there
    /// is none.
    pub fn loaded_version(&self) -> Option<Version> {
        let file = fs::metadata(self.loaded_path()).ok()?;
        Some(Version(file.ino(), file.mtime(), file.mtime_nsec()))
    }

    /// What was loaded last, none if nothing was.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn loaded(&self) -> Result<Option<Record>, Error> {
        Record::read(&self.loaded_path())
    }

    /// The same without the policy, which can be long.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn loaded_head(&self) -> Result<Option<Head>, Error> {
        Head::read(&self.loaded_path())
    }

    /// Where it is kept when the kernel held that.
    fn moment_path(&self) -> PathBuf {
        self.run.join("moment.json")
    }

    /// Notes that at this moment the kernel holds all that is kept as loaded.
    /// Only who holds the lock does this.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn keep_moment(&self, moment: Moment) -> Result<(), Error> {
        let Some(record) = self.loaded_head()? else {
            return Ok(());
        };
        let held = Held {
            moment,
            record: record.checksum()?,
        };
        Draft::write(&self.moment_path(), &[&file::json(&held)?])?.publish()
    }

    /// The moment at which the kernel was last known to hold what is kept as
    /// loaded now; none if it never was.
    pub fn moment(&self) -> Option<Moment> {
        let held: Held = file::read(&self.moment_path()).ok()??;
        let record = self.loaded_head().ok()??;
        (held.record == record.checksum().ok()?).then_some(held.moment)
    }

    /// What was being loaded when whoever did it was stopped: the kernel may
    /// hold it. While one loads, what that is.
    pub fn loading(&self) -> Option<Record> {
        // A draft is not whole if its writer was stopped while it wrote, and
        // then nothing was loaded.
        Record::read(&Draft::of(&self.loaded_path())).ok().flatten()
    }

    /// The policy that was last confirmed, which counts after a reboot; none if
    /// there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn confirmed(&self) -> Result<Option<Record>, Error> {
        Record::read(&self.confirmed_path())
    }

    /// The administrators' way in by the policy that was last confirmed, for
    /// when that cannot be loaded; none if there never was one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn way_in(&self) -> Result<Option<Record>, Error> {
        Record::read(&self.way_in_path())
    }

    /// Keeps what is loaded already; what is confirmed stays as it is. Only who
    /// holds the lock does this.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn keep_loaded(&self, record: &Record) -> Result<(), Error> {
        record.draft(&self.loaded_path())?.publish()
    }

    /// Writes down what is about to be loaded, so that no change of the ruleset
    /// is without its record. It is brought to the disk while it is loaded, and
    /// takes the place of the old one by [`Drafts::publish`]. Only who holds the
    /// lock does this.
    ///
    /// # Errors
    /// When a folder cannot be written to.
    pub fn draft(&self, record: &Record) -> Result<Drafts, Error> {
        self.draft_both(record, record)
    }

    fn draft_both(&self, loaded: &Record, confirmed: &Record) -> Result<Drafts, Error> {
        let mut drafts = Vec::new();
        let written = (|| {
            drafts.push(loaded.draft(&self.loaded_path())?);
            drafts.push(confirmed.way_in()?.draft(&self.way_in_path())?);
            drafts.push(confirmed.draft(&self.confirmed_path())?);
            Ok(())
        })();
        if let Err(error) = written {
            drafts.into_iter().for_each(Draft::discard);
            return Err(error);
        }
        let kept = Lasting::begin(drafts.split_off(1))?;
        Ok(Drafts {
            loaded: drafts,
            kept,
        })
    }

    /// The same for what the loaded policy means by now. What counts after a
    /// reboot follows only if it is the same policy.
    ///
    /// # Errors
    /// When a folder cannot be written to, or what was confirmed is damaged.
    pub fn draft_adapted(&self, record: &Record) -> Result<Drafts, Error> {
        if let Some(before) = self.confirmed()?.filter(|kept| kept.hash == record.hash) {
            let mut confirmed = record.clone();
            // A daemon that is not running, as while the host goes down, is no
            // reason to let it reach the stub when the host comes up.
            if confirmed.surroundings.docker_resolver == DockerResolver::Contained {
                confirmed.surroundings.docker_resolver = before.into_surroundings().docker_resolver;
            }
            return self.draft_both(record, &confirmed);
        }
        Ok(Drafts {
            loaded: vec![record.draft(&self.loaded_path())?],
            kept: Lasting::begin(Vec::new())?,
        })
    }

    /// Forgets what was loaded and confirmed.
    ///
    /// # Errors
    /// When there is something that cannot be removed.
    pub fn clear(&self) -> Result<(), Error> {
        // The way in goes last: as long as it is there the host was sealed once,
        // and a boot without the policy leaves it closed.
        for path in [
            self.moment_path(),
            self.confirmed_path(),
            self.loaded_path(),
            self.way_in_path(),
        ] {
            file::remove(&Draft::of(&path))?;
            file::remove(&path)?;
        }
        Ok(())
    }
}

/// The records of a policy that is about to be loaded.
#[derive(Debug)]
pub(crate) struct Drafts {
    loaded: Vec<Draft>,
    /// The way in, and what is confirmed.
    kept: Lasting,
}

impl Drafts {
    /// The policy is loaded, and is what counts after a reboot unless another is
    /// and stays so.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn publish(self) -> Result<(), Error> {
        self.loaded.into_iter().try_for_each(Draft::publish)?;
        self.kept.publish()
    }

    /// The policy was not loaded.
    pub fn discard(self) {
        self.loaded.into_iter().for_each(Draft::discard);
        self.kept.discard();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use std::fs;

    use super::*;
    use crate::{FakeKernel, Host, Policy};

    fn policy(port: u16) -> Policy {
        Policy::from_toml(&format!(
            "version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = {port}\n"
        ))
        .unwrap()
    }

    fn state(kernel: &FakeKernel) -> State {
        kernel.enter(State::of_this_namespace).unwrap()
    }

    #[test]
    fn what_is_applied_is_loaded_and_confirmed() {
        let kernel = FakeKernel::new().unwrap();
        let (host, state) = (Host::fake(&kernel), state(&kernel));
        assert!(state.confirmed().unwrap().is_none());
        for port in [1, 2] {
            let policy = policy(port);
            host.apply(&host.plan(&policy).unwrap()).unwrap();
            assert_eq!(state.loaded().unwrap().unwrap().hash, policy.hash());
            assert_eq!(state.confirmed().unwrap(), state.loaded().unwrap());
        }
        host.remove().unwrap();
        assert!(state.confirmed().unwrap().is_none() && state.loaded().unwrap().is_none());
    }

    #[test]
    fn nothing_is_loaded_that_cannot_be_kept() {
        let kernel = FakeKernel::new().unwrap();
        let (host, state) = (Host::fake(&kernel), state(&kernel));
        // A file where a folder is needed.
        fs::write(&state.kept, "").unwrap();
        let error = host.apply(&host.plan(&policy(1)).unwrap()).unwrap_err();
        let folder = state.kept.display().to_string();
        assert!(error.to_string().contains(&folder), "{error}");
        assert!(host.live().unwrap().tables.is_empty());
        assert!(state.loading().is_none());
    }

    #[test]
    fn a_refused_policy_leaves_the_records_as_they_were() {
        let kernel = FakeKernel::new().unwrap();
        let (host, state) = (Host::fake(&kernel), state(&kernel));
        host.apply(&host.plan(&policy(1)).unwrap()).unwrap();
        let plan = host.plan(&policy(2)).unwrap();
        kernel.refuse(libc::ENOSPC, 1);
        host.apply(&plan).unwrap_err();
        assert_eq!(state.confirmed().unwrap().unwrap().hash, policy(1).hash());
        assert!(state.loading().is_none());
    }

    #[test]
    fn status_knows_a_policy_whose_loader_was_stopped() {
        let kernel = FakeKernel::new().unwrap();
        let (host, state) = (Host::fake(&kernel), state(&kernel));
        host.apply(&host.plan(&policy(1)).unwrap()).unwrap();
        let old = fs::read(state.loaded_path()).unwrap();
        host.apply(&host.plan(&policy(2)).unwrap()).unwrap();
        // As if killed before the records were published.
        fs::rename(state.loaded_path(), Draft::of(&state.loaded_path())).unwrap();
        fs::write(state.loaded_path(), old).unwrap();
        let status = host.status(false).unwrap();
        assert_eq!(status.drift, Vec::<String>::new());
        assert_eq!(status.hash.as_deref(), Some(policy(2).hash()));
    }

    #[test]
    fn a_daemon_that_went_down_is_closed_when_it_comes_up() {
        let kernel = FakeKernel::new().unwrap();
        let (host, state) = (Host::fake(&kernel), state(&kernel));
        host.apply(&host.plan(&policy(1)).unwrap()).unwrap();
        let mut record = state.loaded().unwrap().unwrap();
        let closed = DockerResolver::Closed(crate::graph::Cgroup {
            level: 2,
            id: 7,
            path: "system.slice/docker.service".to_owned(),
        });
        for (now, kept) in [
            (closed.clone(), closed.clone()),
            (DockerResolver::Contained, closed),
        ] {
            record.surroundings.docker_resolver = now;
            state.draft_adapted(&record).unwrap().publish().unwrap();
            let confirmed = state.confirmed().unwrap().unwrap();
            assert_eq!(state.loaded().unwrap().unwrap(), record);
            assert_eq!(confirmed.surroundings.docker_resolver, kept);
        }
    }

    #[test]
    fn a_damaged_record_is_told_and_replaced() {
        let kernel = FakeKernel::new().unwrap();
        let (host, state) = (Host::fake(&kernel), state(&kernel));
        host.apply(&host.plan(&policy(1)).unwrap()).unwrap();
        fs::write(state.confirmed_path(), "{").unwrap();
        let error = state.confirmed().unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        host.apply(&host.plan(&policy(1)).unwrap()).unwrap();
        assert_eq!(state.confirmed().unwrap(), state.loaded().unwrap());
    }
}
