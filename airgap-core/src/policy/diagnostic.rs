//! What is wrong with a policy, as data. How it looks is the matter of
//! [`render`](super::render).

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::model::Place;
use super::render::{self, Style};
use super::source::{Source, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// Legal, and probably not what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One mistake, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where it begins.
    pub place: Place,
    /// Where it ends: the place behind its last character.
    pub end: Place,
    /// The same as a path through the policy's keys, such as `allow[3].port`
    /// (lists count from 0). Empty where no value is meant.
    pub path: String,
    /// What was expected there, or what about it matters. May be empty.
    pub label: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The other places that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// The list that it is in, where that is not the policy itself.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "name_of")]
    pub file: Option<Arc<Source>>,
}

#[allow(clippy::ref_option)] // serde's `serialize_with` passes it so
fn name_of<S: Serializer>(file: &Option<Arc<Source>>, serializer: S) -> Result<S::Ok, S::Error> {
    file.as_ref().map(|file| file.name()).serialize(serializer)
}

/// Another place that a [`Diagnostic`] is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Where it begins.
    pub place: Place,
    /// The place behind its last character.
    pub end: Place,
    /// The path of the value.
    pub path: String,
    /// What it has to do with the mistake.
    pub label: String,
}

/// Why there is no policy: every mistake that was found in one run.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.render(Style::Plain))]
pub struct PolicyError {
    diagnostics: Vec<Diagnostic>,
    omitted: usize,
    source_text: Arc<Source>,
}

impl PolicyError {
    pub(super) fn new(
        diagnostics: Vec<Diagnostic>,
        omitted: usize,
        source_text: Arc<Source>,
    ) -> Self {
        Self {
            diagnostics,
            omitted,
            source_text,
        }
    }

    /// For a policy that could not even be read.
    pub(crate) fn unread(name: &str, message: String, help: Option<String>) -> Self {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            message,
            place: Place::default(),
            end: Place::default(),
            path: String::new(),
            label: String::new(),
            help,
            related: Vec::new(),
            file: None,
        };
        Self::new(vec![diagnostic], 0, Arc::new(Source::data(name)))
    }

    /// For a mistake in a short text that is called `name` in messages.
    pub(crate) fn of_text(
        name: &str,
        text: &str,
        span: Span,
        message: &str,
        expected: &str,
        help: Option<String>,
    ) -> Self {
        let source = Source::new(name, text);
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            message: message.to_owned(),
            place: source.place(span.start),
            end: source.place(span.end),
            path: String::new(),
            label: expected.to_owned(),
            help,
            related: Vec::new(),
            file: None,
        };
        Self::new(vec![diagnostic], 0, Arc::new(source))
    }

    /// The mistakes, in the order of the text.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many more there are than [`PolicyError::diagnostics`] holds. A file
    /// with so many is wrong as a whole, and its list would fill the memory.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// The text they are about.
    #[must_use]
    pub fn policy_source(&self) -> &Arc<Source> {
        &self.source_text
    }

    /// All of them for a reader, the first hundred in full.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        render::render_all(&self.diagnostics, self.omitted, &self.source_text, style)
    }
}
