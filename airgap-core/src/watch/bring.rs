//! Brings the kernel to what is meant.

use std::time::Instant;

use crate::delta::{add_table, adopt, operations};
use crate::difference::differences;
use crate::error::Error;
use crate::graph::{Family, RuleGraph};
use crate::host::reading::{READ_BACK_MAX, assume_unread, read_up_to};
use crate::netlink::{Batch, Kernel, Operation, Owner, judge};

/// How often what others keep changing is put back before the next pause.
const TRIES: usize = 20;

/// Something that was not as meant and is now.
pub(super) struct Brought {
    /// In what it was not.
    pub found: Vec<String>,
    /// Since when it is.
    pub at: Instant,
}

/// Makes what the kernel holds equal to `target`, until a read shows that it
/// is. Answers none if it was equal already. Tables that hold a `distrusted`
/// set are loaded anew. With `owning` the tables that are made become this
/// socket's.
///
/// # Errors
/// When the kernel refuses, or others do not stop changing the air gap.
pub(super) fn bring(
    kernel: &Kernel,
    owning: bool,
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
        let sent = if owning {
            kernel
                .send_owning(&mut batch.bytes())
                .and_then(|answers| judge(&answers, &batch, &operations, &target.origins))
        } else {
            kernel.transact(&batch, &operations, &target.origins)
        };
        match sent {
            Ok(()) => {}
            Err(Error::Conflict) => continue,
            Err(error) => return Err(error),
        }
        let at = Instant::now();
        brought.get_or_insert(Brought { found, at }).at = at;
    }
    Err(Error::Conflict)
}

/// Makes the tables this socket's own: those of a socket that is gone by a word,
/// everybody's by loading them anew.
///
/// # Errors
/// When the kernel refuses, as it does if they are another's.
pub(super) fn own(kernel: &Kernel, target: &mut RuleGraph) -> Result<(), Error> {
    for _ in 0..TRIES {
        let generation = kernel.generation()?;
        let owners = kernel.owners()?;
        if owners.iter().all(|(_, owner)| *owner == Owner::Own) {
            return Ok(());
        }
        let mut operations = Vec::new();
        for table in &target.tables {
            let owner = owners.iter().find(|(family, _)| *family == table.family);
            match owner.map(|(_, owner)| owner) {
                None | Some(Owner::Own) => {}
                Some(Owner::Nobody) => {
                    operations.push(Operation::DeleteTable(table.family));
                    add_table(table, &mut operations);
                }
                Some(Owner::Gone | Owner::Another) => {
                    operations.push(Operation::AddTable(table));
                }
            }
        }
        let batch = Batch::new(&operations, generation);
        let answers = kernel.send_owning(&mut batch.bytes())?;
        match judge(&answers, &batch, &operations, &target.origins) {
            Ok(()) | Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Conflict)
}

/// The sets that are not read when the air gap is.
pub(super) fn large_sets(graph: &RuleGraph) -> impl Iterator<Item = (Family, String)> {
    graph.tables.iter().flat_map(|table| {
        table
            .sets
            .iter()
            .filter(|set| set.elements.len() > READ_BACK_MAX)
            .map(|set| (table.family, set.name.clone()))
    })
}
