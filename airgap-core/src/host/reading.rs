//! How much of an air gap is read from the kernel to compare it.

use crate::error::Error;
use crate::graph::{Family, RuleGraph, Set, TABLE_NAME};
use crate::netlink::{Depth, Kernel};
use crate::policy::Policy;
use crate::state::State;
use crate::surroundings::Surroundings;

/// Sets of up to so many elements are read back in full after every apply. A
/// larger one loads in the same transaction as what is read back, or not at
/// all; the kernel's own dump of it would cost more than the load.
pub(crate) const READ_BACK_MAX: usize = 10_000;

/// Reads the air gap; of sets that are expected to be large only with `full`
/// the elements.
pub(crate) fn read_up_to(
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

/// Reads the air gap with all its elements, those of large sets from the kernel
/// only where somebody may have changed them since they were loaded. `target`
/// is what the record's policy compiles to if it is this one.
pub(super) fn read_known(
    kernel: &Kernel,
    state: &State,
    policy: &Policy,
    surroundings: &Surroundings,
    target: &RuleGraph,
) -> Result<(RuleGraph, u32), Error> {
    if let Some(moment) = state.moment()
        && kernel.moment(kernel.generation()?).as_ref() == Some(&moment)
        && let Some(record) = state.loaded().ok().flatten()
    {
        let loaded = if record.hash == policy.hash() && record.surroundings == *surroundings {
            target.clone()
        } else {
            RuleGraph::compile_in(&record.policy()?, &record.surroundings)?
        };
        let (mut live, generation) = read_up_to(kernel, Some(&loaded), false)?;
        if generation == moment.generation() {
            assume_unread(&mut live, &loaded, false);
            return Ok((live, generation));
        }
    }
    kernel.read(true, Depth::Full)
}

/// Whether a graph has sets that are not read back.
pub(super) fn is_large(graph: &RuleGraph) -> bool {
    let mut sets = graph.tables.iter().flat_map(|table| &table.sets);
    sets.any(|set| set.elements.len() > READ_BACK_MAX)
}

/// Takes the elements that were not read for those that were meant.
pub(crate) fn assume_unread(live: &mut RuleGraph, expected: &RuleGraph, full: bool) {
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
