//! What two rulesets have that the other lacks, object by object, for an error
//! and for drift.

use crate::graph::{Chain, RuleGraph, Set, Table, rule_text};

/// Everything in which `found` is not `expected`.
pub(crate) fn differences(expected: &RuleGraph, found: &RuleGraph) -> Vec<String> {
    let mut out = Vec::new();
    for table in &expected.tables {
        match found.table(table.family, &table.name) {
            Some(there) => compare_tables(table, there, &mut out),
            None => out.push(format!("table {} {} is missing", table.family, table.name)),
        }
    }
    for table in &found.tables {
        if expected.table(table.family, &table.name).is_none() {
            out.push(format!(
                "table {} {} is there and was not meant",
                table.family, table.name
            ));
        }
    }
    out
}

fn compare_tables(table: &Table, there: &Table, out: &mut Vec<String>) {
    let place = format!("{} {}", table.family, table.name);
    if table.comment != there.comment || table.flags != there.flags {
        out.push(format!("table {place} has another comment or other flags"));
    }
    for set in &table.sets {
        match there.set(&set.name) {
            Some(found) => compare_sets(&place, set, found, out),
            None => out.push(format!("set {place} {} is missing", set.name)),
        }
    }
    for set in there
        .sets
        .iter()
        .filter(|set| table.set(&set.name).is_none())
    {
        out.push(format!(
            "set {place} {} is there and was not meant",
            set.name
        ));
    }
    for chain in &table.chains {
        match there.chain(&chain.name) {
            Some(found) => compare_chains(&place, chain, found, out),
            None => out.push(format!("chain {place} {} is missing", chain.name)),
        }
    }
    for chain in there
        .chains
        .iter()
        .filter(|chain| table.chain(&chain.name).is_none())
    {
        out.push(format!(
            "chain {place} {} is there and was not meant",
            chain.name
        ));
    }
}

/// The most elements of a set that a difference names.
const NAMED_MAX: usize = 5;

fn compare_sets(place: &str, set: &Set, found: &Set, out: &mut Vec<String>) {
    if !set.same_declaration(found) || set.size != found.size {
        out.push(format!("set {place} {} is declared otherwise", set.name));
    }
    for (elements, what) in [
        (set.elements.without(&found.elements), "lacks"),
        (
            found.elements.without(&set.elements),
            "has, and should not,",
        ),
    ] {
        if !elements.is_empty() {
            let mut names: Vec<_> = elements
                .iter()
                .take(NAMED_MAX)
                .map(|(e, _)| set.element_text(e))
                .collect();
            if elements.len() > NAMED_MAX {
                names.push(format!("{} more", elements.len() - NAMED_MAX));
            }
            out.push(format!(
                "set {place} {} {what} {}",
                set.name,
                names.join(", ")
            ));
        }
    }
}

fn compare_chains(place: &str, chain: &Chain, found: &Chain, out: &mut Vec<String>) {
    if chain.base != found.base {
        out.push(format!(
            "chain {place} {} has another hook, priority or policy",
            chain.name
        ));
    }
    if chain.rules == found.rules {
        return;
    }
    let before = out.len();
    for (rules, others, what) in [
        (&chain.rules, &found.rules, "lacks"),
        (&found.rules, &chain.rules, "has, and should not,"),
    ] {
        for rule in rules.iter().filter(|rule| !others.contains(rule)) {
            out.push(format!(
                "chain {place} {} {what} the rule `{}`",
                chain.name,
                rule_text(rule)
            ));
        }
    }
    if out.len() == before {
        out.push(format!(
            "chain {place} {} has its rules in another order or number",
            chain.name
        ));
    }
}
