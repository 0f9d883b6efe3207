//! One tree for every form of a policy: TOML, JSON and data of a program all
//! become [`Node`]s, and one reader makes the policy of them.

use std::borrow::Cow;
use std::fmt;

use super::source::Span;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'t> {
    /// What it is.
    pub value: Value<'t>,
    /// Where it was written; data of a program was written nowhere.
    pub span: Option<Span>,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'t> {
    /// Keys with values, in the order of the text or of the keys.
    Table(Vec<Entry<'t>>),
    /// Values in order.
    Array(Vec<Node<'t>>),
    /// Text.
    String(Cow<'t, str>),
    /// A whole number; one beyond the bounds of the type is at the bound.
    Integer(i64),
    /// A number with a fraction or an exponent, or none (`nan`).
    Float,
    /// True or false.
    Boolean(bool),
    /// A date, a time of day, or both.
    Datetime,
    /// JSON's `null` or Python's `None`.
    Null,
    /// What no policy holds anywhere, by what it is called (`a set`, `bytes`).
    Foreign(Cow<'t, str>),
}

/// A key of a table and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'t> {
    /// The key.
    pub key: Cow<'t, str>,
    /// Where the key was written.
    pub key_span: Option<Span>,
    /// Its value.
    pub node: Node<'t>,
}

impl<'t> Node<'t> {
    /// A value that was written nowhere.
    #[must_use]
    pub fn data(value: Value<'t>) -> Self {
        Self { value, span: None }
    }
}

impl<'t> Entry<'t> {
    /// A key and a value that were written nowhere.
    #[must_use]
    pub fn data(key: impl Into<Cow<'t, str>>, value: Value<'t>) -> Self {
        Self {
            key: key.into(),
            key_span: None,
            node: Node::data(value),
        }
    }
}

impl Value<'_> {
    /// What a policy's author would call it: `a string`, `a list`, …
    #[must_use]
    pub fn called(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Table(_) => "a table",
            Self::Array(_) => "a list",
            Self::String(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Float => "a number that is not whole",
            Self::Boolean(true) => "`true`",
            Self::Boolean(false) => "`false`",
            Self::Datetime => "a date or time",
            Self::Null => "`null`",
            Self::Foreign(name) => return Cow::Borrowed(name),
        })
    }
}

/// The way to a value through keys and positions, as a chain up to the root:
/// it costs nothing while all is well, and is written out for a diagnostic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    pub(super) const ROOT: Self = Path {
        parent: None,
        step: Step::Root,
    };

    pub(super) fn key(&'p self, key: &'p str) -> Self {
        Path {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    pub(super) fn index(&'p self, index: usize) -> Self {
        Path {
            parent: Some(self),
            step: Step::Index(index),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => {
                if self
                    .parent
                    .is_some_and(|parent| !matches!(parent.step, Step::Root))
                {
                    f.write_str(".")?;
                }
                let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
                if !key.is_empty() && key.chars().all(bare) {
                    f.write_str(key)
                } else {
                    write!(f, "{:?}", cut(key))
                }
            }
        }
    }
}

/// Text from a policy for a message: in backticks, without control characters,
/// and not endless.
pub(super) fn quote(text: &str) -> String {
    let text = cut(text);
    if text.chars().any(char::is_control) {
        format!("`{}`", text.escape_debug())
    } else {
        format!("`{text}`")
    }
}

/// At most eighty characters of a text.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}...", text.get(..end).unwrap_or_default())),
    }
}
