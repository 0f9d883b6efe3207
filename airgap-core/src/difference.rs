//! What two rulesets have that the other lacks, in words: object by object for
//! an error, and opening by opening for a plan.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::graph::{Chain, Origin, OriginId, RuleGraph, Set, Statement, Table, rule_text};

/// A change of what is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Whether it comes or goes.
    pub kind: ChangeKind,
    /// What, in words.
    pub opening: String,
    /// What it was before, of a changed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// The line of the policy that asks for it, of one that comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// One line: a sign, the opening, what it was, and the line of the policy.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.sign(), self.opening)?;
        if let Some(was) = &self.was {
            write!(f, " (was: {was})")?;
        }
        match &self.origin {
            Some(origin) => write!(f, "    {origin}"),
            None => Ok(()),
        }
    }
}

/// Whether something comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // three words
pub enum ChangeKind {
    Added,
    Removed,
    Changed,
}

impl ChangeKind {
    /// The sign that stands for it in a list of changes.
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}

/// The openings that come, go and change from `live` to `target`.
pub(crate) fn changes(target: &RuleGraph, live: &RuleGraph) -> Vec<Change> {
    let meant = openings(target, live);
    let loaded = openings(live, target);
    let mut removed: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for text in loaded.keys().filter(|text| !meant.contains_key(*text)) {
        removed.entry(subject(text)).or_default().push(text);
    }
    let mut changes = Vec::new();
    for (text, origin) in meant.iter().filter(|(text, _)| !loaded.contains_key(*text)) {
        let was = match removed.get_mut(subject(text)) {
            Some(texts) if texts.len() == 1 && subject(text) != text => texts.pop(),
            _ => None,
        };
        changes.push(Change {
            kind: if was.is_some() {
                ChangeKind::Changed
            } else {
                ChangeKind::Added
            },
            opening: text.clone(),
            was: was.cloned(),
            origin: target.origins.get(*origin).copied(),
        });
    }
    for text in removed.into_values().flatten() {
        changes.push(Change {
            kind: ChangeKind::Removed,
            opening: text.clone(),
            was: None,
            origin: None,
        });
    }
    changes.sort_by(|a, b| (a.kind, &a.opening).cmp(&(b.kind, &b.opening)));
    changes
}

/// What an opening is about: two openings of one bridge are one that changed.
fn subject(opening: &str) -> &str {
    match opening.split_once(", ") {
        Some((subject, _)) if opening.starts_with("bridge ") => subject,
        _ => opening,
    }
}

/// The openings of a graph in words. Sets that are equal in both graphs are
/// left out: a policy of a million pairs need not be written out for one.
fn openings(graph: &RuleGraph, other: &RuleGraph) -> BTreeMap<String, OriginId> {
    let mut openings = BTreeMap::new();
    for table in &graph.tables {
        let other_table = other.table(table.family, &table.name);
        for set in &table.sets {
            let same = other_table
                .and_then(|t| t.set(&set.name))
                .is_some_and(|o| o.elements == set.elements);
            // Sets without a comment belong to rules that have one.
            let (false, Some(template)) = (same, &set.comment) else {
                continue;
            };
            let there = other_table
                .and_then(|t| t.set(&set.name))
                .map(|o| &o.elements);
            let only_here =
                there.map_or_else(|| set.elements.clone(), |there| set.elements.without(there));
            for (element, origin) in only_here.iter() {
                openings
                    .entry(in_words(template, set, element))
                    .or_insert(origin);
            }
        }
        for chain in &table.chains {
            for rule in &chain.rules {
                let drops = rule
                    .statements
                    .iter()
                    .any(|s| matches!(s, Statement::Counter { .. }));
                if let (false, Some(comment)) = (drops, &rule.comment) {
                    openings.entry(comment.clone()).or_insert(rule.origin);
                }
            }
            for device in chain.base.iter().flat_map(|base| &base.devices) {
                openings
                    .entry(format!("strict: packet sockets on {device} closed"))
                    .or_default();
            }
        }
    }
    openings
}

/// An element of a set by the set's comment, which says where the address and
/// the port stand.
fn in_words(template: &str, set: &Set, element: &[u8]) -> String {
    let text = set.element_text(element);
    let (address, port) = match text.split_once(" . ") {
        Some((address, port)) => (address, port),
        None if template.contains("%p") => ("", text.as_str()),
        None => (text.as_str(), ""),
    };
    template.replace("%a", address).replace("%p", port)
}

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
