//! Reads a table key by key, and then says which keys it does not know.

use super::fault::Fault;
use super::node::{Entry, Path, Value, quote};
use super::report::{Field, Report};
use super::source::Span;

/// How alike two words must be for one to be a slip of the other.
const ALIKE: f64 = 0.6;

/// Every key that is asked for becomes a known one; [`TableReader::finish`]
/// reports the others.
pub(super) struct TableReader<'p> {
    entries: &'p [Entry<'p>],
    path: &'p Path<'p>,
    span: Option<Span>,
    known: Vec<&'static str>,
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
            known: Vec::new(),
        })
    }

    /// The value of a key that may be left out.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<Field<'p>> {
        self.known.push(key);
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
        for entry in self.entries {
            if self.known.iter().any(|known| entry.key == *known) {
                continue;
            }
            let list: Vec<_> = self.known.iter().map(|key| format!("`{key}`")).collect();
            let expected = format!("expected one of {}", list.join(", "));
            let mut fault = Fault::new(format!("unknown key {}", quote(&entry.key)), expected);
            if let Some(near) = near_miss(&entry.key, &self.known) {
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
