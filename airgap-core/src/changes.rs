//! What opens and closes between two rulesets, opening by opening, in words.
//!
//! A policy of a million pairs need not be written out for a plan that nobody
//! prints in full: what sets hold stays packed until its text is asked for.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Serialize, Serializer};

use crate::graph::{Origin, OriginId, Origins, RuleGraph, Set, Statement};

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

/// All changes of a plan: what comes, then what goes, then what changes. Each
/// is put into words when it is reached.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    parts: Vec<Part>,
    origins: Origins,
}

#[derive(Debug, Clone)]
enum Part {
    One(Change),
    /// Openings that are elements of a set, which holds just these.
    Elements(ChangeKind, Set),
}

impl Part {
    fn kind(&self) -> ChangeKind {
        match self {
            Self::One(change) => change.kind,
            Self::Elements(kind, _) => *kind,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Elements(_, set) => set.elements.len(),
        }
    }

    fn changes<'a>(&'a self, origins: &'a Origins) -> Box<dyn Iterator<Item = Change> + 'a> {
        match self {
            Self::One(change) => Box::new(std::iter::once(change.clone())),
            Self::Elements(kind, set) => {
                Box::new(set.elements.iter().map(move |(element, origin)| Change {
                    kind: *kind,
                    opening: in_words(set, element),
                    was: None,
                    origin: origins.get(origin),
                }))
            }
        }
    }
}

impl Changes {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Change> {
        self.parts
            .iter()
            .flat_map(|part| part.changes(&self.origins))
    }

    /// How many are of a kind.
    #[must_use]
    pub fn count_of(&self, kind: ChangeKind) -> usize {
        let of_kind = self.parts.iter().filter(|part| part.kind() == kind);
        of_kind.map(Part::len).sum()
    }

    /// Those of a kind, in their order.
    pub fn of_kind(&self, kind: ChangeKind) -> impl Iterator<Item = Change> {
        let of_kind = self.parts.iter().filter(move |part| part.kind() == kind);
        of_kind.flat_map(|part| part.changes(&self.origins))
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = Change;
    type IntoIter = Box<dyn Iterator<Item = Change> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

/// A list of [`Change`]s.
impl Serialize for Changes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

/// The openings that come, go and change from `live` to `target`.
pub(crate) fn changes(target: &RuleGraph, live: &RuleGraph) -> Changes {
    let mut meant = Openings::of(target, live);
    let mut loaded = Openings::of(live, target);
    meant.leave_out_common(&mut loaded);
    let mut removed: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for text in loaded
        .texts
        .keys()
        .filter(|text| !meant.texts.contains_key(*text))
    {
        removed.entry(subject(text)).or_default().push(text);
    }
    let mut parts = Vec::new();
    for (text, origin) in meant
        .texts
        .iter()
        .filter(|(text, _)| !loaded.texts.contains_key(*text))
    {
        let was = match removed.get_mut(subject(text)) {
            Some(texts) if texts.len() == 1 && subject(text) != text => texts.pop(),
            _ => None,
        };
        parts.push(Part::One(Change {
            kind: if was.is_some() {
                ChangeKind::Changed
            } else {
                ChangeKind::Added
            },
            opening: text.clone(),
            was: was.cloned(),
            origin: target.origins.get(*origin),
        }));
    }
    for text in removed.into_values().flatten() {
        parts.push(Part::One(Change {
            kind: ChangeKind::Removed,
            opening: text.clone(),
            was: None,
            origin: None,
        }));
    }
    for (sets, kind) in [
        (meant.sets, ChangeKind::Added),
        (loaded.sets, ChangeKind::Removed),
    ] {
        let sets = sets.into_iter().filter(|set| !set.elements.is_empty());
        parts.extend(sets.map(|set| Part::Elements(kind, set)));
    }
    parts.sort_by_cached_key(|part| {
        let first = part.changes(&target.origins).next();
        (part.kind(), first.map(|change| change.opening))
    });
    Changes {
        parts,
        origins: target.origins.clone(),
    }
}

/// What an opening is about: two openings of one bridge are one that changed.
fn subject(opening: &str) -> &str {
    match opening.split_once(", ") {
        Some((subject, _)) if opening.starts_with(OF_A_BRIDGE) => subject,
        _ => opening,
    }
}

const OF_A_BRIDGE: &str = "bridge ";

/// What one graph opens and another does not: openings in words, and sets
/// whose elements are openings.
struct Openings {
    texts: BTreeMap<String, OriginId>,
    sets: Vec<Set>,
    /// Whether a set is there that the other graph lacks altogether.
    has_sets_alone: bool,
}

impl Openings {
    fn of(graph: &RuleGraph, other: &RuleGraph) -> Self {
        let mut openings = Self {
            texts: BTreeMap::new(),
            sets: Vec::new(),
            has_sets_alone: false,
        };
        for table in &graph.tables {
            let other_table = other.table(table.family, &table.name);
            for set in &table.sets {
                let there = other_table.and_then(|t| t.set(&set.name));
                openings.add_set(set, there);
            }
            for chain in &table.chains {
                for rule in &chain.rules {
                    let drops = rule
                        .statements
                        .iter()
                        .any(|s| matches!(s, Statement::Counter { .. }));
                    if let (false, Some(comment)) = (drops, &rule.comment) {
                        openings.add_text(comment.clone(), rule.origin);
                    }
                }
                for device in chain.base.iter().flat_map(|base| &base.devices) {
                    openings.add_text(
                        format!("strict: packet sockets on {device} closed"),
                        OriginId::default(),
                    );
                }
            }
        }
        openings
    }

    fn add_text(&mut self, text: String, origin: OriginId) {
        self.texts.entry(text).or_insert(origin);
    }

    /// Adds what a set has and its counterpart lacks. Sets without a comment
    /// belong to rules that have one.
    fn add_set(&mut self, set: &Set, there: Option<&Set>) {
        let Some(template) = &set.comment else { return };
        let elements = match there {
            Some(there) if there.elements == set.elements => return,
            Some(there) => set.elements.without(&there.elements),
            None => set.elements.clone(),
        };
        let only_here = Set {
            elements,
            ..set.clone()
        };
        if template.starts_with(OF_A_BRIDGE) {
            for (element, origin) in only_here.elements.iter() {
                self.add_text(in_words(&only_here, element), origin);
            }
        } else {
            self.has_sets_alone |= there.is_none();
            self.sets.push(only_here);
        }
    }

    /// An opening can move to another set, which changes nothing for anybody:
    /// a service more can give all of them a set of their own.
    fn leave_out_common(&mut self, other: &mut Self) {
        let none = self.sets.is_empty() || other.sets.is_empty();
        if none || !(self.has_sets_alone || other.has_sets_alone) {
            return;
        }
        let texts = |sets: &[Set]| -> HashSet<String> {
            let elements = sets.iter().flat_map(|set| {
                let elements = set.elements.iter();
                elements.map(|(element, _)| in_words(set, element))
            });
            elements.collect()
        };
        let (here, there) = (texts(&self.sets), texts(&other.sets));
        if here.is_disjoint(&there) {
            return;
        }
        for (sets, others) in [(&mut self.sets, &there), (&mut other.sets, &here)] {
            for set in sets {
                let keep = |element: &[u8]| !others.contains(&in_words(set, element));
                set.elements = set.elements.filtered(keep);
            }
        }
    }
}

/// An element of a set by the set's comment, which says where the address and
/// the port stand.
fn in_words(set: &Set, element: &[u8]) -> String {
    let template = set.comment.as_deref().unwrap_or_default();
    let text = set.element_text(element);
    let (address, port) = match text.split_once(" . ") {
        Some((address, port)) => (address, port),
        None if template.contains("%p") => ("", text.as_str()),
        None => (text.as_str(), ""),
    };
    template.replace("%a", address).replace("%p", port)
}
