//! The text of a policy: from byte offsets to lines and columns, and back.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::load::{Form, marks};
use super::model::Place;

/// One count of characters is kept for every so many bytes, so that a column
/// in a line of megabytes (JSON is often one line) costs no walk through it.
const STRIDE: usize = 1024;

/// Bytes of a [`Source`], from `start` up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }
}

/// A policy's text and what it is called in messages.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    text: String,
    /// The language that the policy was read from it by; data has none.
    form: Option<Form>,
    /// What only messages need is found out when there is one.
    index: OnceLock<Index>,
    /// The spans whose start is a [`Place`] of the model, by start, so that a
    /// message at such a place can underline all of it.
    marks: OnceLock<Vec<Span>>,
    /// Where the lists are looked for that a policy names, if it came from a
    /// file.
    folder: Option<PathBuf>,
    /// Whether it names any, so that it does not say everything itself.
    has_lists: OnceLock<()>,
}

/// Where lines and characters of a text are.
#[derive(Debug, Clone)]
struct Index {
    /// Where each line begins.
    lines: Vec<usize>,
    /// How many characters begin before each multiple of [`STRIDE`].
    characters: Vec<usize>,
}

impl Index {
    fn new(text: &str) -> Self {
        let mut lines = vec![0];
        let mut characters = Vec::with_capacity(text.len() / STRIDE + 1);
        let mut count = 0;
        for (offset, byte) in text.bytes().enumerate() {
            if offset % STRIDE == 0 {
                characters.push(count);
            }
            if begins_character(byte) {
                count += 1;
            }
            if byte == b'\n' {
                lines.push(offset + 1);
            }
        }
        Self { lines, characters }
    }
}

impl Source {
    /// Text that is called `name` in messages.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            form: None,
            index: OnceLock::new(),
            marks: OnceLock::new(),
            folder: None,
            has_lists: OnceLock::new(),
        }
    }

    /// The text of a policy.
    pub(super) fn of_policy(name: &str, text: String, form: Form, folder: Option<&Path>) -> Self {
        Self {
            form: Some(form),
            folder: folder.map(Path::to_owned),
            ..Self::new(name, text)
        }
    }

    /// The source of a policy that is made of data: no text, and places
    /// without lines.
    #[must_use]
    pub fn data(name: impl Into<String>) -> Self {
        Self::new(name, "")
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::new(&self.text))
    }

    /// What it is called in messages: mostly a path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a list that a policy names.
    pub(super) fn list(name: String, text: String) -> Self {
        Self::new(name, text)
    }

    /// Where the lists are looked for that the policy names.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Notes that the policy names lists.
    pub(super) fn has_lists(&self) {
        self.has_lists.get_or_init(|| ());
    }

    /// The language by which the same policy can be read from this text alone;
    /// data has none, and the lists of a policy may change or go.
    pub(crate) fn form(&self) -> Option<Form> {
        self.form.filter(|_| self.has_lists.get().is_none())
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of a byte; past the end, the place behind the last one.
    #[must_use]
    pub fn place(&self, offset: usize) -> Place {
        if self.text.is_empty() && self.form.is_none() {
            return Place::default();
        }
        let lines = &self.index().lines;
        let offset = offset.min(self.text.len());
        let line = lines.partition_point(|start| *start <= offset);
        let start = lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.characters_before(offset) - self.characters_before(start) + 1;
        Place {
            line: number(line),
            column: number(column),
        }
    }

    /// The byte at a place, if the text has it.
    #[must_use]
    pub fn offset(&self, place: Place) -> Option<usize> {
        let line = self.line_range(place.line)?;
        let steps = usize::try_from(place.column).ok()?.checked_sub(1)?;
        let text = self.text.get(line.clone())?;
        match text.char_indices().nth(steps) {
            Some((at, _)) => Some(line.start + at),
            None if text.chars().count() == steps => Some(line.end),
            None => None,
        }
    }

    /// The text of a line, counted from 1, without its end.
    #[must_use]
    pub fn line(&self, line: u32) -> Option<&str> {
        self.text.get(self.line_range(line)?)
    }

    fn line_range(&self, line: u32) -> Option<Range<usize>> {
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        let lines = &self.index().lines;
        let start = *lines.get(index)?;
        let end = lines
            .get(index + 1)
            .map_or(self.text.len(), |next| next - 1);
        let line = self.text.get(start..end)?;
        Some(start..start + line.strip_suffix('\r').unwrap_or(line).len())
    }

    /// Where what begins at `place` ends, when the model has it from there.
    #[must_use]
    pub fn end_of(&self, place: Place) -> Option<Place> {
        let start = self.offset(place)?;
        let marks = self.marks.get_or_init(|| {
            let mut marks = self
                .form
                .map_or_else(Vec::new, |form| marks(&self.text, form));
            marks.sort_unstable_by_key(|mark| mark.start);
            marks
        });
        let mark = marks.binary_search_by_key(&start, |mark| mark.start).ok()?;
        marks.get(mark).map(|mark| self.place(mark.end))
    }

    fn characters_before(&self, offset: usize) -> usize {
        let block = offset / STRIDE;
        let characters = &self.index().characters;
        let (from, count) = match characters.get(block) {
            Some(count) => (block * STRIDE, *count),
            // The end of a text whose length is a multiple of the stride.
            None => match characters.last() {
                Some(count) => ((characters.len() - 1) * STRIDE, *count),
                None => (0, 0),
            },
        };
        let rest = self.text.as_bytes().get(from..offset).unwrap_or_default();
        count + rest.iter().filter(|byte| begins_character(**byte)).count()
    }
}

/// A source is where a policy came from, not what it says: see
/// [`Policy::source`](super::Policy).
impl PartialEq for Source {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Source {}

impl Default for Source {
    fn default() -> Self {
        Self::data("<policy>")
    }
}

/// Every byte of UTF-8 but a continuation byte.
fn begins_character(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
