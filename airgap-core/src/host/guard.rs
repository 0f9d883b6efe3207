//! Changes that are rolled back unless somebody confirms them in time.

use std::time::Duration;

use super::apply::{Fit, keep_moment, load_as};
use super::rollback::{finish, read_tables, roll_back};
use super::{Applied, Host, Plan};
use crate::error::Error;
use crate::graph::{Family, RuleGraph, TABLE_NAME};
use crate::netlink::Kernel;
use crate::state::{Deadline, Draft, Pending, Record, Rollback, RollbackReason, State};

/// A policy that is loaded and waits to be confirmed. If nobody does in time,
/// what was there before is loaded again: also when this is dropped, and when
/// the process that holds it ends, however it ends.
#[derive(Debug)]
#[must_use = "what is not confirmed is rolled back"]
pub struct Guard {
    host: Host,
    id: String,
    until: Deadline,
    applied: Applied,
}

impl Guard {
    /// Keeps the policy: it counts after a reboot too.
    ///
    /// # Errors
    /// [`Error::NothingPending`] when the time was over, or somebody else has
    /// decided; else as [`Host::confirm`].
    pub fn confirm(self) -> Result<(), Error> {
        self.host.confirm_pending(Some(&self.id))
    }

    /// Takes the policy back now.
    ///
    /// # Errors
    /// [`Error::NothingPending`] when the time was over, or somebody else has
    /// decided; else as [`Host::rollback`].
    pub fn rollback(self) -> Result<Rollback, Error> {
        self.host.take_back(Some(&self.id))
    }

    /// The time that is left to confirm it; none when it is over.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.until.left()
    }

    /// What was done.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.applied
    }
}

impl Host {
    /// As [`Host::apply`], but what was there before is loaded again, exactly,
    /// unless the policy is confirmed `within` this time, by the guard or by
    /// [`Host::confirm`] of any process. Until then the last confirmed policy
    /// stays the one that counts after a reboot.
    ///
    /// The way back is on the disk, and another process waits for the time,
    /// before anything is loaded; that process outlives this one. It is a copy
    /// of this process in a session of its own, or a transient unit of systemd
    /// (see [`Host::command`]). The time passes while the machine sleeps, and
    /// does not follow the clock on the wall.
    ///
    /// # Errors
    /// As [`Host::apply`]; [`Error::Pending`] when a policy is pending already;
    /// [`Error::Irreversible`] when what is loaded could not be loaded again.
    pub fn apply_guarded(&self, plan: &Plan, within: Duration) -> Result<Guard, Error> {
        self.enter(|| {
            let kernel = Kernel::open()?;
            let state = State::of_this_namespace()?;
            let _lock = state.lock("apply")?;
            self.settle(&kernel, &state)?;
            refuse_pending(&state)?;
            let record = Record::new(&plan.policy, &plan.surroundings);
            let pending = Pending::new(&state, &record, within);
            let mut kept: Option<(RuleGraph, Draft)> = None;
            let mut target = plan.target.clone();
            let planned = Some((&plan.live, plan.generation));
            let result = load_as(&kernel, &mut target, Fit::Roomy, planned, |live, _| {
                match &mut kept {
                    Some((before, _)) if before == live => {}
                    Some((before, _)) => {
                        state.keep_way_back(live)?;
                        before.clone_from(live);
                    }
                    None => {
                        state.keep_way_back(live)?;
                        let draft = state.draft_pending(&record)?;
                        kept = Some((live.clone(), draft));
                        state.set_pending(&pending)?;
                        self.arm(&state, &pending.id)?;
                    }
                }
                Ok(())
            });
            let (applied, generation) = match result {
                Ok(loaded) => loaded,
                Err(error @ Error::ReadBack(_)) => {
                    roll_back(&kernel, &state, &pending, RollbackReason::NotLoaded)?;
                    return Err(error);
                }
                Err(error) => {
                    if let Some((_, draft)) = kept {
                        draft.discard();
                    }
                    state.forget_pending(Some(&pending.id))?;
                    return Err(error);
                }
            };
            // One that was stopped for longer than the time, and went on: the
            // way back was taken before there was anything to come back from.
            if state.pending()?.is_none_or(|now| now.id != pending.id) {
                return Err(self.undo_late(&kernel, &state, kept)?);
            }
            if let Some((_, draft)) = kept {
                draft.publish()?;
            }
            keep_moment(&kernel, &state, &target, generation)?;
            Ok(Guard {
                host: self.clone(),
                id: pending.id,
                until: pending.until,
                applied,
            })
        })
    }

    /// Keeps the policy that is pending: it counts after a reboot too.
    ///
    /// # Errors
    /// [`Error::NothingPending`]; [`Error::ReadBack`] when it is no longer what
    /// is loaded; when what is loaded cannot be kept on the disk, and the policy
    /// is still pending.
    pub fn confirm(&self) -> Result<(), Error> {
        self.confirm_pending(None)
    }

    /// Takes the pending policy back now: what was there before is loaded again,
    /// exactly.
    ///
    /// # Errors
    /// [`Error::NothingPending`]; [`Error::Rollback`] when what was there before
    /// can no longer be loaded; [`Error::Conflict`], and it is still pending.
    pub fn rollback(&self) -> Result<Rollback, Error> {
        self.take_back(None)
    }

    fn confirm_pending(&self, id: Option<&str>) -> Result<(), Error> {
        self.enter(|| {
            let kernel = Kernel::open()?;
            let state = State::of_this_namespace()?;
            let _lock = state.lock("confirm")?;
            self.settle(&kernel, &state)?;
            let pending = find(&state, id)?;
            if loaded_hash(&read_tables(&kernel)?) != Some(&pending.hash) {
                return Err(Error::ReadBack(vec![
                    "the policy that is pending is not what is loaded: it was not confirmed, and is rolled back when its \
                     time is over"
                        .to_owned(),
                ]));
            }
            state.confirm(&pending)
        })
    }

    fn take_back(&self, id: Option<&str>) -> Result<Rollback, Error> {
        self.enter(|| {
            let kernel = Kernel::open()?;
            let state = State::of_this_namespace()?;
            let _lock = state.lock("rollback")?;
            // What cannot be read can be taken back all the same: the way back
            // is kept apart.
            if id.is_none() && state.pending_is_damaged() {
                // It may be on its way already.
                let _ = state.leave();
                return finish(&kernel, &state, None, RollbackReason::Asked);
            }
            self.settle(&kernel, &state)?;
            let pending = find(&state, id)?;
            roll_back(&kernel, &state, &pending, RollbackReason::Asked)
        })
    }

    /// Loads what was there before, when the way back was taken too early.
    fn undo_late(
        &self,
        kernel: &Kernel,
        state: &State,
        kept: Option<(RuleGraph, Draft)>,
    ) -> Result<Error, Error> {
        if let Some((mut before, draft)) = kept {
            draft.discard();
            load_as(kernel, &mut before, Fit::Exact, None, |_, _| Ok(()))?;
        }
        Ok(nothing_pending(state))
    }
}

/// That nothing changes while a policy waits to be confirmed.
pub(super) fn refuse_pending(state: &State) -> Result<(), Error> {
    match state.pending()? {
        Some(pending) => Err(pending.refusal()),
        None => Ok(()),
    }
}

fn find(state: &State, id: Option<&str>) -> Result<Pending, Error> {
    state
        .pending()?
        .filter(|pending| id.is_none_or(|id| pending.id == id))
        .ok_or_else(|| nothing_pending(state))
}

/// That nothing is pending, and what became of the last that was.
fn nothing_pending(state: &State) -> Error {
    Error::NothingPending {
        last: state.last_rollback().ok().flatten(),
    }
}

/// The hash of the policy that is loaded, as the kernel holds it.
pub(super) fn loaded_hash(live: &RuleGraph) -> Option<&str> {
    let comment = live.table(Family::Bridge, TABLE_NAME)?.comment.as_deref()?;
    comment.rsplit_once(':').map(|(_, hash)| hash)
}
