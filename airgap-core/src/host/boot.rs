//! The air gap of a host that has just started: the last confirmed policy, as
//! long as there is one, before there is a network.
//!
//! Nothing can be asked of the network here, and little of the host. What is
//! loaded therefore rests on what was kept, and whatever fails leaves the host
//! closed: the administrators' way in is all that is open then.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Host;
use super::apply::load;
use crate::error::Error;
use crate::graph::RuleGraph;
use crate::netlink::{Depth, Kernel, devices};
use crate::policy::Policy;
use crate::state::{Lock, Record, State};
use crate::surroundings::Surroundings;

/// How long network cards may take to appear. Drivers load while this runs; a
/// card that is gone for good delays each boot by so much.
const DEVICES_WAIT: Duration = Duration::from_secs(10);
/// How long between two looks.
const DEVICES_PAUSE: Duration = Duration::from_millis(20);

/// What [`Host::boot`] loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "loaded", rename_all = "kebab-case")]
pub enum Booted {
    /// Nothing: no policy was ever confirmed here.
    Nothing,
    /// The last confirmed policy.
    Policy {
        /// Its hash.
        hash: String,
        /// Where it was read from.
        source: String,
        /// In what the host is another than when it was confirmed.
        notes: Vec<String>,
    },
    /// Nothing: a policy is loaded, and waits to be confirmed.
    Pending {
        /// Its hash.
        hash: String,
        /// Where it was read from.
        source: String,
    },
    /// Only the administrators' way in: nothing else passes but what stays on
    /// the loopback interface.
    WayIn {
        /// Why the last confirmed policy could not be loaded.
        reason: String,
        /// How many admits of it are open; none where they are not known.
        admits: usize,
        /// What else went wrong.
        notes: Vec<String>,
    },
}

impl Host {
    /// Loads the last confirmed policy. Host names, users and name servers
    /// stand for what they did when it was confirmed, as nothing may resolve
    /// yet; devices are those that there are. If it cannot be loaded, only
    /// [the way in](Policy::way_in) of it is; if that is not known either,
    /// nothing passes. The policy that was confirmed stays confirmed.
    ///
    /// # Errors
    /// When the kernel takes not even that: then nothing was changed, and the
    /// host may be open.
    pub fn boot(&self) -> Result<Booted, Error> {
        self.enter(|| {
            let boot = Boot::begin()?;
            if let Some(pending) = boot.pending()? {
                return Ok(pending);
            }
            match boot.state.confirmed() {
                Ok(None) if boot.was_never_sealed() => Ok(Booted::Nothing),
                Ok(None) => {
                    boot.way_in("the record of the last confirmed policy is gone".to_owned())
                }
                Ok(Some(record)) => match boot.policy(&record) {
                    Ok(booted) => Ok(booted),
                    Err(error) => boot.way_in(error.to_string()),
                },
                Err(error) => boot.way_in(error.to_string()),
            }
        })
    }

    /// Loads only the administrators' way in of the last confirmed policy, as
    /// [`Host::boot`] does when it cannot load the whole.
    ///
    /// # Errors
    /// As [`Host::boot`].
    pub fn boot_way_in(&self) -> Result<Booted, Error> {
        self.enter(|| {
            let boot = Boot::begin()?;
            if let Some(pending) = boot.pending()? {
                return Ok(pending);
            }
            if matches!(boot.state.confirmed(), Ok(None)) && boot.was_never_sealed() {
                return Ok(Booted::Nothing);
            }
            boot.way_in("it was asked for".to_owned())
        })
    }
}

struct Boot {
    kernel: Kernel,
    state: State,
    /// Nobody else changes this air gap meanwhile. There is none where the lock
    /// cannot be kept: closed without it is better than open.
    _lock: Option<Lock>,
}

impl Boot {
    fn begin() -> Result<Self, Error> {
        let state = State::of_this_namespace()?;
        let lock = match state.lock("boot") {
            Ok(lock) => Some(lock),
            Err(error @ Error::Locked { .. }) => return Err(error),
            Err(_) => None,
        };
        Ok(Self {
            kernel: Kernel::open()?,
            state,
            _lock: lock,
        })
    }

    /// What is loaded and waits to be confirmed: whoever waits for its time does
    /// the rest. That is so where the unit is started again on a host that runs,
    /// as Docker does.
    fn pending(&self) -> Result<Option<Booted>, Error> {
        let Ok(Some(pending)) = self.state.pending() else {
            return Ok(None);
        };
        let (live, _) = self.kernel.read(true, Depth::Elements(&|_, _| false))?;
        Ok((!live.tables.is_empty()).then_some(Booted::Pending {
            hash: pending.hash,
            source: pending.source,
        }))
    }

    /// Whether nothing was ever kept. A way in without a policy, or one that
    /// cannot be read, is what is left of one.
    fn was_never_sealed(&self) -> bool {
        matches!(self.state.way_in(), Ok(None))
    }

    /// Loads the policy of a record.
    fn policy(&self, record: &Record) -> Result<Booted, Error> {
        let policy = record.policy()?;
        let mut notes = Vec::new();
        let mut surroundings = Surroundings::after_boot(&policy, &record.surroundings)?;
        self.load(&policy, &surroundings, &mut notes)?;
        // What can take its time comes when the host is closed already.
        let mut later = surroundings.clone();
        later.look_up_users_again(&policy, &mut notes);
        if policy.host.strict {
            wait_for_devices(&policy, &record.surroundings, &mut notes)?;
            later.devices = Surroundings::after_boot(&policy, &record.surroundings)?.devices;
        }
        if later != surroundings {
            surroundings = later;
            if let Err(error) = self.load(&policy, &surroundings, &mut notes) {
                notes.push(format!(
                    "what has changed on this host since is not loaded: {error}"
                ));
            }
        }
        Ok(Booted::Policy {
            hash: record.hash.clone(),
            source: record.source.clone(),
            notes,
        })
    }

    /// Loads the administrators' way in, or less where that fails too.
    fn way_in(&self, reason: String) -> Result<Booted, Error> {
        let mut notes = Vec::new();
        let kept = match self.state.way_in() {
            Ok(Some(record)) => record
                .policy()
                .map(|policy| (policy, record.into_surroundings()))
                .map_err(Error::from),
            Ok(None) => Err(Error::Protocol("no way in was kept")),
            Err(error) => Err(error),
        };
        let mut candidates = Vec::new();
        match kept {
            Ok(kept) => candidates.push(kept),
            Err(error) => notes.push(format!("the administrators' way in is not known: {error}")),
        }
        // Whether the policy was strict is not known here.
        for strict in [true, false] {
            candidates.push((Policy::closed(strict), Surroundings::default()));
        }
        let mut last = None;
        for (policy, kept) in candidates {
            let loaded = Surroundings::after_boot(&policy, &kept)
                .and_then(|surroundings| self.load(&policy, &surroundings, &mut notes));
            match loaded {
                Ok(()) => {
                    return Ok(Booted::WayIn {
                        reason,
                        admits: policy.admit.len(),
                        notes,
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(Error::Protocol("nothing could be loaded")))
    }

    /// Loads a policy, and keeps what is loaded. That it cannot be kept is only
    /// noted: closed and without a record is better than open.
    fn load(
        &self,
        policy: &Policy,
        surroundings: &Surroundings,
        notes: &mut Vec<String>,
    ) -> Result<(), Error> {
        let mut target = RuleGraph::compile_in(policy, surroundings)?;
        load(&self.kernel, &mut target, None, |_| Ok(()))?;
        let record = Record::new(policy, surroundings);
        if let Err(error) = self.state.keep_loaded(&record) {
            notes.push(error.to_string());
        }
        Ok(())
    }
}

/// Waits until the uplinks are there that there were when the policy was
/// confirmed: `strict` stops packet sockets on devices that exist.
fn wait_for_devices(
    policy: &Policy,
    kept: &Surroundings,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    let expected: Vec<&str> = kept
        .devices
        .iter()
        .filter(|device| match &policy.host.uplinks {
            Some(uplinks) => uplinks.contains(&device.name),
            // Programs make the others when they like.
            None => device.kind.is_none() && device.name != "lo",
        })
        .map(|device| device.name.as_str())
        .collect();
    let begun = Instant::now();
    loop {
        let now = devices()?;
        let missing: Vec<_> = expected
            .iter()
            .filter(|name| !now.iter().any(|device| device.name == **name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if begun.elapsed() >= DEVICES_WAIT {
            notes.extend(missing.iter().map(|name| {
                format!("there is no device {name}: when it appears, apply again, as `strict` does not cover it yet")
            }));
            return Ok(());
        }
        thread::sleep(DEVICES_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // a test may fail that way

    use super::*;
    use crate::FakeKernel;

    /// A host on which a policy with one admit was confirmed, switched on.
    fn switched_on() -> (FakeKernel, Host, Policy) {
        let kernel = FakeKernel::new().unwrap();
        let policy = Policy::from_toml(
            "version = 1\n[[allow]]\nto = \"203.0.113.9\"\nport = 443\n[[admit]]\nfrom = \"192.0.2.10\"\nport = 22\n",
        )
        .unwrap();
        let state = kernel.enter(State::of_this_namespace).unwrap();
        let record = Record::new(&policy, &Surroundings::default());
        state.draft(&record).unwrap().publish().unwrap();
        let host = Host::fake(&kernel);
        (kernel, host, policy)
    }

    fn loaded(host: &Host) -> String {
        host.live().unwrap().to_string()
    }

    #[test]
    fn the_confirmed_policy_is_loaded() {
        let (_kernel, host, policy) = switched_on();
        let booted = host.boot().unwrap();
        assert!(matches!(booted, Booted::Policy { hash, .. } if hash == policy.hash()));
        assert!(!host.plan(&policy).unwrap().changed());
    }

    #[test]
    fn what_the_kernel_refuses_leaves_the_way_in() {
        let (kernel, host, policy) = switched_on();
        kernel.refuse(libc::ENOSPC, 1);
        let Booted::WayIn { reason, admits, .. } = host.boot().unwrap() else {
            panic!("the policy was refused");
        };
        assert!(reason.contains("refused"), "{reason}");
        assert_eq!(admits, 1);
        assert!(!host.plan(&policy.way_in()).unwrap().changed());
        // It is still what counts.
        host.boot().unwrap();
        assert!(!host.plan(&policy).unwrap().changed());
    }

    #[test]
    fn what_waits_to_be_confirmed_is_left_alone() {
        let (_kernel, host, _) = switched_on();
        let other = Policy::closed(false);
        let plan = host.plan(&other).unwrap();
        let guard = host.apply_guarded(&plan, Duration::from_secs(60)).unwrap();
        for booted in [host.boot(), host.boot_way_in()] {
            let booted = booted.unwrap();
            assert!(matches!(booted, Booted::Pending { hash, .. } if hash == other.hash()));
            assert!(!host.plan(&other).unwrap().changed());
        }
        guard.rollback().unwrap();
    }

    #[test]
    fn what_is_refused_once_more_leaves_nothing_open() {
        let (kernel, host, _) = switched_on();
        kernel.refuse(libc::ENOSPC, 2);
        let booted = host.boot().unwrap();
        assert!(matches!(booted, Booted::WayIn { admits: 0, .. }));
        assert!(!loaded(&host).contains("192.0.2.10"));
        assert!(loaded(&host).contains("policy drop"));
    }

    #[test]
    fn a_kernel_that_takes_nothing_is_an_error() {
        let (kernel, host, _) = switched_on();
        kernel.refuse(libc::ENOSPC, 4);
        assert!(matches!(host.boot(), Err(Error::Kernel(_))));
    }
}
