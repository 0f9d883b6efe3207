//! Reads a table key by key, and then says which keys it does not know.

use super::fault::Fault;
use super::node::{Entry, Path, Value, quote};
use super::report::{Field, Report};
use super::source::Span;

/// The most keys that a table of a policy knows.
const KNOWN_MAX: usize = 8;

/// How alike two words must be for one to be a slip of the other.
const ALIKE: f64 = 0.6;

/// Every key that is asked for becomes a known one; [`TableReader::finish`]
/// reports the others.
pub(super) struct TableReader<'p> {
    entries: &'p [Entry<'p>],
    path: &'p Path<'p>,
    span: Option<Span>,
    known: [&'static str; KNOWN_MAX],
    known_count: usize,
}

impl<'p> TableReader<'p> {
    /// Opens `field` as a table, or says that it is none.
    pub(super) fn open(report: &mut Report, field: &'p Field<'p>, expected: &str) -> Option<Self> {
        let Value::Table(entries) = &field.node.value else {
            field.wrong_kind(report, expected);
            return None;
        };
        Some(Self {
            entries,
            path: &field.path,
            span: field.node.span,
            known: [""; KNOWN_MAX],
            known_count: 0,
        })
    }

    /// The value of a key that may be left out.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<Field<'p>> {
        debug_assert!(self.known_count < KNOWN_MAX, "a table with more keys");
        if let Some(room) = self.known.get_mut(self.known_count) {
            *room = key;
            self.known_count += 1;
        }
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Field {
            node: &entry.node,
            path: self.path.key(key),
        })
    }

    /// The value of a key that must be there; `expected` says what it is for.
    pub(super) fn required(
        &mut self,
        report: &mut Report,
        key: &'static str,
        expected: &str,
    ) -> Option<Field<'p>> {
        let field = self.optional(key);
        if field.is_none() {
            report.at(
                &self.path.key(key),
                self.span,
                Fault::new(format!("the key `{key}` is missing"), expected),
            );
        }
        field
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, report: &mut Report) {
        let known = self.known.get(..self.known_count).unwrap_or_default();
        for entry in self.entries {
            if known.iter().any(|known| entry.key == *known) {
                continue;
            }
            let list: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
            let expected = format!("expected one of {}", list.join(", "));
            let mut fault = Fault::new(format!("unknown key {}", quote(&entry.key)), expected);
            if let Some(near) = near_miss(&entry.key, known) {
                fault = fault.help(format!("did you mean `{near}`?"));
            }
            report.at(&self.path.key(&entry.key), entry.key_span, fault);
        }
    }
}

/// The word that was probably meant.
pub(super) fn near_miss<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    // A word of a megabyte is a slip of nothing, and comparing it is slow.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let alike = |known: &&'w str| {
        let score = strsim::normalized_damerau_levenshtein(&word, known);
        let plural =
            known.strip_suffix('s') == Some(&word) || word.strip_suffix('s') == Some(known);
        (if plural { 1.0 } else { score }, *known)
    };
    known
        .iter()
        .map(alike)
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
