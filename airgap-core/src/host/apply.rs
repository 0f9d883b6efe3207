//! Changes of an air gap.

use serde::Serialize;

use super::guard::refuse_pending;
use super::reading::{assume_unread, is_large, read_up_to};
use super::{Cut, Host, Plan};
use crate::delta::{adopt, operations};
use crate::difference::differences;
use crate::error::Error;
use crate::graph::{Origins, RuleGraph};
use crate::netlink::{Batch, Depth, Kernel, Operation, track_standing};
use crate::relay;
use crate::state::{Record, State};

/// How often an apply plans again when somebody else changed the ruleset.
const APPLY_TRIES: usize = 20;

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

impl Host {
    /// Loads what was planned, in one transaction, and reads it back. If
    /// somebody else changed the ruleset since, the difference is taken anew.
    /// What is loaded is confirmed by that: it counts after a reboot.
    ///
    /// Other calls that change this air gap wait until it is done, whoever
    /// makes them.
    ///
    /// # Errors
    /// [`Error::Lockout`] when it would cut the connection over which the caller
    /// was here when it was planned (see [`Host::even_if_locked_out`]); when the kernel refuses, others do not stop changing the ruleset, what
    /// was read back is not what was meant, or what is loaded cannot be kept on
    /// the disk; with the last nothing is loaded.
    pub fn apply(&self, plan: &Plan) -> Result<Applied, Error> {
        let own: Vec<Cut> = plan
            .cuts
            .iter()
            .filter(|cut| cut.own_way_in)
            .cloned()
            .collect();
        if !own.is_empty() && !self.even_if_locked_out {
            return Err(Error::Lockout(own));
        }
        self.enter(|| {
            let kernel = Kernel::open()?;
            let state = State::of_this_namespace()?;
            let _lock = state.lock("apply")?;
            self.settle(&kernel, &state)?;
            refuse_pending(&state)?;
            let record = Record::new(&plan.policy, &plan.surroundings);
            let mut target = plan.target.clone();
            let mut drafts = None;
            let planned = Some((&plan.live, plan.generation));
            let result = load(&kernel, &mut target, planned, |_| {
                if drafts.is_none() {
                    drafts = Some(state.draft(&record)?);
                }
                Ok(())
            });
            match (result, drafts) {
                (Ok((applied, generation)), drafts) => {
                    match drafts {
                        Some(drafts) => drafts.publish()?,
                        None => keep(&state, record)?,
                    }
                    keep_moment(&kernel, &state, &target, generation)?;
                    Ok(applied)
                }
                // The ruleset is another: the drafts stay to tell which.
                (Err(error @ Error::ReadBack(_)), _) | (Err(error), None) => Err(error),
                (Err(error), Some(drafts)) => {
                    drafts.discard();
                    Err(error)
                }
            }
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
            let state = State::of_this_namespace()?;
            let _lock = state.lock("remove")?;
            self.settle(&kernel, &state)?;
            refuse_pending(&state)?;
            for _ in 0..APPLY_TRIES {
                let (live, generation) = kernel.read(true, Depth::Elements(&|_, _| false))?;
                let operations: Vec<_> = live
                    .tables
                    .iter()
                    .map(|t| Operation::DeleteTable(t.family))
                    .collect();
                if !operations.is_empty() {
                    let batch = Batch::new(&operations, generation);
                    match relay::transact(&kernel, &batch, &operations, &Origins::default()) {
                        Ok(()) => {}
                        Err(Error::Conflict) => continue,
                        Err(error) => return Err(error),
                    }
                }
                state.clear()?;
                return Ok(!operations.is_empty());
            }
            Err(Error::Conflict)
        })
    }
}

/// Keeps the record of a policy that the kernel held already, where another or
/// none is kept.
fn keep(state: &State, mut record: Record) -> Result<(), Error> {
    let (loaded, confirmed) = (
        state.loaded().ok().flatten(),
        state.confirmed().ok().flatten(),
    );
    if let Some(loaded) = loaded.as_ref().filter(|kept| kept.hash == record.hash) {
        record.since = loaded.since;
    }
    let is_same = |kept: &Option<Record>| kept.as_ref() == Some(&record);
    let has_way_in = matches!(state.way_in(), Ok(Some(_)));
    if is_same(&loaded) && is_same(&confirmed) && has_way_in {
        return Ok(());
    }
    state.draft(&record)?.publish()
}

/// Keeps since when the kernel holds a large policy, for plans that then need
/// not read it.
pub(super) fn keep_moment(
    kernel: &Kernel,
    state: &State,
    target: &RuleGraph,
    generation: u32,
) -> Result<(), Error> {
    match kernel.moment(generation).filter(|_| is_large(target)) {
        Some(moment) => state.keep_moment(moment),
        None => Ok(()),
    }
}

/// Turns what is loaded into `target` in one transaction, and reads it back.
/// Answers the generation at which the kernel held just that. What is loaded is
/// read anew if the ruleset is not of the generation at which it was `known`.
/// `prepare` is called before anything is sent, each time with what is loaded
/// then.
///
/// # Errors
/// Those of `prepare` and of the kernel, with nothing changed;
/// [`Error::ReadBack`] with the ruleset changed.
pub(super) fn load(
    kernel: &Kernel,
    target: &mut RuleGraph,
    known: Option<(&RuleGraph, u32)>,
    mut prepare: impl FnMut(&RuleGraph) -> Result<(), Error>,
) -> Result<(Applied, u32), Error> {
    load_as(kernel, target, Fit::Roomy, known, |live, changes| {
        if changes { prepare(live) } else { Ok(()) }
    })
}

/// How closely what is loaded is to be what is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// Room in sets that is there already stays, as do comments that cannot be
    /// changed.
    Roomy,
    /// Everything.
    Exact,
}

/// The same as closely as is asked for. `prepare` is called also when there is
/// nothing to change, and told so.
///
/// # Errors
/// As [`load`].
pub(super) fn load_as(
    kernel: &Kernel,
    target: &mut RuleGraph,
    fit: Fit,
    mut known: Option<(&RuleGraph, u32)>,
    mut prepare: impl FnMut(&RuleGraph, bool) -> Result<(), Error>,
) -> Result<(Applied, u32), Error> {
    for retries in 0..APPLY_TRIES {
        let (live, generation) = match known.take() {
            Some((live, generation)) if kernel.generation()? == generation => {
                (live.clone(), generation)
            }
            _ => kernel.read(true, Depth::Full)?,
        };
        if fit == Fit::Roomy {
            adopt(target, &live);
        }
        let operations = operations(target, &live);
        prepare(&live, !operations.is_empty())?;
        if operations.is_empty() {
            let applied = Applied {
                changed: false,
                operations: 0,
                retries,
            };
            return Ok((applied, generation));
        }
        if live.tables.is_empty() {
            track_standing()?;
        }
        let batch = Batch::new(&operations, generation);
        match relay::transact(kernel, &batch, &operations, &target.origins) {
            Ok(()) => {}
            Err(Error::Conflict) => continue,
            Err(error) => return Err(error),
        }
        let operations = operations.len();
        read_back(kernel, target, generation)?;
        let applied = Applied {
            changed: true,
            operations,
            retries,
        };
        return Ok((applied, generation.wrapping_add(1)));
    }
    Err(Error::Conflict)
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
