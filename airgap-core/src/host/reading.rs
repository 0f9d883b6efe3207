//! How much of an air gap is read from the kernel to compare it.

use crate::error::Error;
use crate::graph::{Family, RuleGraph, Set, TABLE_NAME};
use crate::netlink::{Depth, Kernel};

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
