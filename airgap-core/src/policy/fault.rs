//! A mistake before it has a place.

use super::source::Span;

/// What is wrong with one value, what was expected, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) expected: String,
    pub(super) help: Option<String>,
    pub(super) related: Vec<Elsewhere>,
}

/// Another value that a mistake is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elsewhere {
    pub(super) span: Option<Span>,
    pub(super) path: String,
    pub(super) label: String,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            expected: expected.into(),
            help: None,
            related: Vec::new(),
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points at text elsewhere.
    pub(super) fn related(self, span: Span, label: &str) -> Self {
        self.elsewhere(Some(span), String::new(), label)
    }

    /// Points at a value elsewhere.
    pub(super) fn elsewhere(mut self, span: Option<Span>, path: String, label: &str) -> Self {
        self.related.push(Elsewhere {
            span,
            path,
            label: label.to_owned(),
        });
        self
    }
}
