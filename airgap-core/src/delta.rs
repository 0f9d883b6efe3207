//! The way from one ruleset to another: the fewest operations that turn the
//! air gap that is loaded into the one that is meant.

use std::collections::BTreeSet;

use crate::graph::{Chain, Family, Rule, RuleGraph, Set, Statement, Table};
use crate::netlink::{Operation, Position};

/// Makes those parts of `target` that need not be exchanged equal to what is
/// loaded: the room of a set that suffices, and the comments of tables, which
/// the kernel cannot change. Only the table of family bridge is always loaded
/// anew for its comment; it is small, and carries the policy's hash.
pub(crate) fn adopt(target: &mut RuleGraph, live: &RuleGraph) {
    for table in &mut target.tables {
        let Some(loaded) = live.table(table.family, &table.name) else {
            continue;
        };
        if table.family != Family::Bridge {
            table.comment.clone_from(&loaded.comment);
        }
        for set in &mut table.sets {
            let Some(there) = loaded.set(&set.name) else {
                continue;
            };
            let needed = set.elements.len();
            if set.same_declaration(there)
                && let (Some(wanted), Some(room)) = (set.size, there.size)
                && usize::try_from(room).is_ok_and(|room| room >= needed)
                // A set that was once far larger gives its memory back.
                && room / 16 <= wanted
            {
                set.size = there.size;
            }
        }
    }
}

/// The operations that turn `live` into `target`, none if they are equal.
pub(crate) fn operations<'a>(target: &'a RuleGraph, live: &'a RuleGraph) -> Vec<Operation<'a>> {
    let mut operations = Vec::new();
    for loaded in &live.tables {
        if target.table(loaded.family, &loaded.name).is_none() {
            operations.push(Operation::DeleteTable(loaded.family));
        }
    }
    for table in &target.tables {
        match live.table(table.family, &table.name) {
            Some(loaded) if loaded == table => {}
            Some(loaded) if loaded.comment == table.comment && loaded.flags == table.flags => {
                change_table(table, loaded, &mut operations);
            }
            Some(_) => {
                operations.push(Operation::DeleteTable(table.family));
                add_table(table, &mut operations);
            }
            None => add_table(table, &mut operations),
        }
    }
    operations
}

/// Makes a table with all that is in it.
pub(crate) fn add_table<'a>(table: &'a Table, operations: &mut Vec<Operation<'a>>) {
    operations.push(Operation::AddTable(table));
    table
        .sets
        .iter()
        .for_each(|set| add_set(table.family, set, operations));
    // All chains before the first rule, since any rule may jump to any chain.
    operations.extend(
        table
            .chains
            .iter()
            .map(|chain| Operation::AddChain(table.family, chain)),
    );
    for chain in &table.chains {
        add_rules(table.family, chain, operations);
    }
}

fn add_set<'a>(family: Family, set: &'a Set, operations: &mut Vec<Operation<'a>>) {
    operations.push(Operation::AddSet(family, set));
    if !set.elements.is_empty() {
        operations.push(Operation::AddElements(family, set, set.elements.clone()));
    }
}

fn add_rules<'a>(family: Family, chain: &'a Chain, operations: &mut Vec<Operation<'a>>) {
    operations.extend(
        chain
            .rules
            .iter()
            .map(|rule| Operation::AddRule(family, &chain.name, rule, Position::Last)),
    );
}

fn change_table<'a>(table: &'a Table, loaded: &'a Table, operations: &mut Vec<Operation<'a>>) {
    let family = table.family;
    // A set of ranges whose elements change is exchanged: changing it in place
    // costs the kernel more, and old kernels mistake neighbours for overlaps.
    let keeps = |set: &Set, there: &Set| {
        set.same_declaration(there)
            && set.size == there.size
            && (!set.interval || set.elements == there.elements)
    };
    let exchanged: BTreeSet<&str> = loaded
        .sets
        .iter()
        .filter(|there| !table.set(&there.name).is_some_and(|set| keeps(set, there)))
        .map(|there| there.name.as_str())
        .collect();
    let kept_chain = |chain: &Chain| {
        loaded
            .chain(&chain.name)
            .filter(|there| there.base == chain.base)
    };

    // What refers to something goes before it, and comes after it.
    let mut additions = Vec::new();
    for there in &loaded.chains {
        match table
            .chain(&there.name)
            .filter(|chain| chain.base == there.base)
        {
            Some(chain) => {
                change_rules(family, chain, there, &exchanged, operations, &mut additions)
            }
            None => operations.push(Operation::FlushChain(family, &there.name)),
        }
    }
    for there in &loaded.chains {
        if table
            .chain(&there.name)
            .is_none_or(|chain| chain.base != there.base)
        {
            operations.push(Operation::DeleteChain(family, &there.name));
        }
    }
    operations.extend(
        exchanged
            .iter()
            .map(|name| Operation::DeleteSet(family, name)),
    );
    for set in &table.sets {
        match loaded.set(&set.name) {
            Some(there) if !exchanged.contains(set.name.as_str()) => {
                let gone = there.elements.without(&set.elements);
                if !gone.is_empty() {
                    operations.push(Operation::DeleteElements(family, set, gone));
                }
                let new = set.elements.without(&there.elements);
                if !new.is_empty() {
                    operations.push(Operation::AddElements(family, set, new));
                }
            }
            _ => add_set(family, set, operations),
        }
    }
    for chain in table
        .chains
        .iter()
        .filter(|chain| kept_chain(chain).is_none())
    {
        operations.push(Operation::AddChain(family, chain));
        add_rules(family, chain, &mut additions);
    }
    operations.append(&mut additions);
}

/// Deletes the rules that are no longer meant and adds the new ones between
/// those that stay.
fn change_rules<'a>(
    family: Family,
    chain: &'a Chain,
    there: &'a Chain,
    exchanged: &BTreeSet<&str>,
    deletions: &mut Vec<Operation<'a>>,
    additions: &mut Vec<Operation<'a>>,
) {
    let same = |meant: &Rule, loaded: &Rule| meant == loaded && !looks_into(meant, exchanged);
    let kept = common(&chain.rules, &there.rules, &same);
    for (number, rule) in there.rules.iter().enumerate() {
        if !kept.iter().any(|(_, loaded)| *loaded == number) {
            deletions.push(Operation::DeleteRule(family, &there.name, rule.handle.0));
        }
    }
    // Rules behind the same kept rule are added last first, each directly
    // behind it.
    let mut anchor = Position::First;
    let mut waiting: Vec<&Rule> = Vec::new();
    let mut flush = |waiting: &mut Vec<&'a Rule>, anchor: Position| {
        for rule in waiting.drain(..).rev() {
            additions.push(Operation::AddRule(family, &chain.name, rule, anchor));
        }
    };
    for (number, rule) in chain.rules.iter().enumerate() {
        let stays = kept
            .iter()
            .find(|(meant, _)| *meant == number)
            .and_then(|(_, n)| there.rules.get(*n));
        match stays {
            Some(loaded) => {
                flush(&mut waiting, anchor);
                anchor = Position::After(loaded.handle.0);
            }
            None => waiting.push(rule),
        }
    }
    flush(&mut waiting, anchor);
}

fn looks_into(rule: &Rule, sets: &BTreeSet<&str>) -> bool {
    rule.statements
        .iter()
        .any(|s| matches!(s, Statement::Lookup { set, .. } if sets.contains(set.as_str())))
}

/// Rules that both lists have, in the same order, as many as there are: pairs
/// of their places. The chains of an air gap are short.
fn common(
    meant: &[Rule],
    loaded: &[Rule],
    same: &dyn Fn(&Rule, &Rule) -> bool,
) -> Vec<(usize, usize)> {
    // longest[i][j]: of the rules from i and from j on
    let width = loaded.len() + 1;
    let mut longest = vec![0usize; (meant.len() + 1) * width];
    let at = |i: usize, j: usize| i * width + j;
    let get = |table: &[usize], index: usize| table.get(index).copied().unwrap_or_default();
    for (i, a) in meant.iter().enumerate().rev() {
        for (j, b) in loaded.iter().enumerate().rev() {
            let length = if same(a, b) {
                get(&longest, at(i + 1, j + 1)) + 1
            } else {
                get(&longest, at(i + 1, j)).max(get(&longest, at(i, j + 1)))
            };
            if let Some(cell) = longest.get_mut(at(i, j)) {
                *cell = length;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut pairs = Vec::new();
    while let (Some(a), Some(b)) = (meant.get(i), loaded.get(j)) {
        if same(a, b) {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if get(&longest, at(i + 1, j)) >= get(&longest, at(i, j + 1)) {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}
