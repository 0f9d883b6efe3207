//! The way back from a policy that nobody has confirmed. Whatever goes wrong on
//! it, the host ends sealed.

use super::Host;
use super::apply::{Fit, load, load_as};
use super::guard::loaded_hash;
use crate::error::Error;
use crate::graph::{Family, RuleGraph, TABLE_NAME};
use crate::netlink::{Depth, Kernel};
use crate::policy::Policy;
use crate::state::{Pending, Record, Rollback, RollbackReason, State, on_the_wall};
use crate::surroundings::Surroundings;

impl Host {
    /// Finishes what was decided before whoever did it was stopped, and takes
    /// back what nobody has confirmed in time, should nobody wait for it any
    /// more. Only who holds the lock does this, before anything else.
    pub(super) fn settle(&self, kernel: &Kernel, state: &State) -> Result<(), Error> {
        if let Some(pending) = state.confirming()? {
            state.finish_confirming(&pending)?;
        }
        let reason = RollbackReason::NotConfirmed;
        if let Some(pending) = state.leaving()? {
            finish(kernel, state, Some(&pending), reason)?;
        }
        let Some(pending) = state.pending()? else {
            return Ok(());
        };
        if pending.until.left().is_none() {
            roll_back(kernel, state, &pending, reason)?;
        } else if !state.is_waited_for(&pending.id) && !self.is_fake() {
            // Who was to wait was killed, or never begun to.
            if loaded_hash(&read_tables(kernel)?) == Some(&pending.hash) {
                self.arm(state, &pending.id)?;
            } else {
                roll_back(kernel, state, &pending, RollbackReason::NotLoaded)?;
            }
        }
        Ok(())
    }
}

/// Takes the pending policy back: what was there before it is loaded again,
/// exactly.
///
/// # Errors
/// [`Error::Conflict`] when others do not stop changing the ruleset, and the
/// policy is still pending; [`Error::Rollback`] when what was there before
/// cannot be loaded any more, and the host is sealed otherwise.
pub(super) fn roll_back(
    kernel: &Kernel,
    state: &State,
    pending: &Pending,
    reason: RollbackReason,
) -> Result<Rollback, Error> {
    state.leave()?;
    finish(kernel, state, Some(pending), reason)
}

/// The same for a policy that can no longer be confirmed. Without a `pending`
/// that can be read, the way back is taken all the same.
///
/// # Errors
/// As [`roll_back`].
pub(super) fn finish(
    kernel: &Kernel,
    state: &State,
    pending: Option<&Pending>,
    reason: RollbackReason,
) -> Result<Rollback, Error> {
    let result = state
        .way_back()
        .and_then(|before| put_back(kernel, before))
        .and_then(|()| state.put_record_back(pending));
    let failure = match result {
        Ok(()) => None,
        Err(error @ Error::Conflict) => {
            state.stay()?;
            return Err(error);
        }
        Err(cause) => Some(Error::Rollback {
            now: seal_otherwise(kernel, state, pending)?,
            cause: Box::new(cause),
        }),
    };
    let rollback = Rollback {
        at: on_the_wall(),
        reason,
        hash: pending.map(|pending| pending.hash.clone()),
        error: failure.as_ref().map(ToString::to_string),
    };
    // The ruleset is back; that it is written down comes second.
    let kept = state.set_last_rollback(&rollback);
    state.forget_pending(pending.map(|pending| pending.id.as_str()))?;
    match failure {
        Some(error) => Err(error),
        None => kept.map(|()| rollback),
    }
}

/// Loads what was there before.
fn put_back(kernel: &Kernel, mut before: RuleGraph) -> Result<(), Error> {
    match load_as(kernel, &mut before, Fit::Exact, None, |_, _| Ok(())) {
        Err(Error::Kernel(errors)) => {
            // An egress chain of a device that is gone guards nothing, and old
            // kernels refuse it.
            let mut now = Surroundings::default();
            now.observe_host()?;
            let is_there = |name: &String| now.devices.iter().any(|device| device.name == *name);
            let count = |graph: &RuleGraph| -> usize {
                graph.tables.iter().map(|table| table.chains.len()).sum()
            };
            let chains = count(&before);
            for table in before
                .tables
                .iter_mut()
                .filter(|t| t.family == Family::Netdev)
            {
                table.chains.retain(|chain| {
                    let base = chain.base.as_ref();
                    base.is_none_or(|base| base.devices.iter().any(is_there))
                });
            }
            if count(&before) == chains {
                return Err(Error::Kernel(errors));
            }
            load_as(kernel, &mut before, Fit::Exact, None, |_, _| Ok(())).map(|_| ())
        }
        result => result.map(|_| ()),
    }
}

/// Seals the host when what was there before cannot be loaded: by the policy
/// that was confirmed last, else by what is loaded, else by whatever can be.
/// Says by which.
fn seal_otherwise(
    kernel: &Kernel,
    state: &State,
    pending: Option<&Pending>,
) -> Result<&'static str, Error> {
    let try_to_load = |graph: Result<RuleGraph, Error>| match graph
        .and_then(|mut graph| load(kernel, &mut graph, None, |_| Ok(())))
    {
        Ok(_) => Ok(true),
        Err(error @ Error::Conflict) => Err(error),
        Err(_) => Ok(false),
    };
    // Where it cannot be kept, status tells drift.
    if let Ok(Some(record)) = state.confirmed()
        && try_to_load(compile_again(&record))?
    {
        let _ = state.keep_loaded(&record);
        return Ok("the policy that was confirmed last is loaded anew");
    }
    if read_tables(kernel)?
        .table(Family::Inet, TABLE_NAME)
        .is_some()
    {
        return Ok("the policy that nobody confirmed stays loaded");
    }
    // Another program has removed it meanwhile.
    if let Ok(Some(record)) = state.loaded()
        && pending.is_some_and(|pending| pending.hash == record.hash)
        && try_to_load(compile_again(&record))?
    {
        return Ok("the policy that nobody confirmed is loaded anew");
    }
    if try_to_load(RuleGraph::compile(&Policy::closed(false)))? {
        return Ok("an air gap without any opening is loaded");
    }
    Ok("the kernel takes no air gap at all, and the host is not sealed")
}

/// What is loaded, without the elements of sets.
pub(super) fn read_tables(kernel: &Kernel) -> Result<RuleGraph, Error> {
    Ok(kernel.read(true, Depth::Elements(&|_, _| false))?.0)
}

fn compile_again(record: &Record) -> Result<RuleGraph, Error> {
    let mut surroundings = record.surroundings.clone();
    surroundings.observe_host()?;
    RuleGraph::compile_in(&record.policy()?, &surroundings)
}
