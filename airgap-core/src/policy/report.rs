//! Where mistakes are collected while a policy is read.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, PolicyError, Related, Severity};
use super::fault::Fault;
use super::node::{Node, Path};
use super::source::{Source, Span};

/// The most diagnostics that are kept: a file of a million wrong lines is
/// wrong as a whole.
const KEPT: usize = 10_000;

/// The mistakes found so far.
pub(super) struct Report {
    source: Arc<Source>,
    /// The list that is being read.
    file: Option<Arc<Source>>,
    diagnostics: Vec<Diagnostic>,
    omitted: usize,
}

impl Report {
    pub(super) fn new(source: Arc<Source>) -> Self {
        Self {
            source,
            file: None,
            diagnostics: Vec::new(),
            omitted: 0,
        }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// What is found from here on is in this list…
    pub(super) fn enter(&mut self, file: Arc<Source>) {
        self.file = Some(file);
    }

    /// …up to here.
    pub(super) fn leave(&mut self) {
        self.file = None;
    }

    /// Whether a list is being read.
    pub(super) fn is_in_list(&self) -> bool {
        self.file.is_some()
    }

    /// A mistake in the text, before there are any keys.
    pub(super) fn text(&mut self, span: Span, fault: Fault) {
        self.push(Some(span), String::new, fault);
    }

    /// A mistake at a value.
    pub(super) fn at(&mut self, path: &Path<'_>, span: Option<Span>, fault: Fault) {
        self.push(span, || path.to_string(), fault);
    }

    fn push(&mut self, span: Option<Span>, path: impl FnOnce() -> String, fault: Fault) {
        if self.diagnostics.len() >= KEPT {
            self.omitted += 1;
            return;
        }
        let own = self.file.as_ref().unwrap_or(&self.source);
        let (place, end) = places(own, span);
        let path = match &self.file {
            Some(file) => format!("{} in {}", path(), file.name()),
            None => path(),
        };
        let related = fault.related.into_iter().map(|elsewhere| {
            let (place, end) = places(&self.source, elsewhere.span);
            Related {
                place,
                end,
                path: elsewhere.path,
                label: elsewhere.label,
            }
        });
        self.diagnostics.push(Diagnostic {
            severity: Severity::Error,
            message: fault.message,
            place,
            end,
            path,
            label: fault.expected,
            help: fault.help,
            related: related.collect(),
            file: self.file.clone(),
        });
    }

    /// Whether no mistake was found.
    pub(super) fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// The text, if it has no mistakes.
    pub(super) fn finish_without_mistakes(self) -> Option<Arc<Source>> {
        self.diagnostics.is_empty().then_some(self.source)
    }

    /// The error, if there were mistakes, in the order of the text.
    pub(super) fn finish(mut self) -> Option<PolicyError> {
        if self.diagnostics.is_empty() {
            return None;
        }
        self.diagnostics.sort_by_key(|diagnostic| {
            // Those of lists behind those of the policy.
            let file = diagnostic.file.as_ref().map(|file| file.name().to_owned());
            (file, diagnostic.place, diagnostic.end)
        });
        Some(PolicyError::new(
            self.diagnostics,
            self.omitted,
            self.source,
        ))
    }
}

fn places(source: &Source, span: Option<Span>) -> (super::Place, super::Place) {
    span.map_or_else(Default::default, |span| {
        (source.place(span.start), source.place(span.end))
    })
}

/// A value on its way into the model.
#[derive(Clone, Copy)]
pub(super) struct Field<'p> {
    pub(super) node: &'p Node<'p>,
    pub(super) path: Path<'p>,
}

impl Field<'_> {
    pub(super) fn fault(&self, report: &mut Report, fault: Fault) {
        report.at(&self.path, self.node.span, fault);
    }

    /// Says that a value of another kind was expected.
    pub(super) fn wrong_kind(&self, report: &mut Report, expected: &str) {
        self.fault(
            report,
            Fault::new(format!("this is {}", self.node.value.called()), expected),
        );
    }

    /// Turns what a parser says into a value or a diagnostic.
    pub(super) fn judge<T>(&self, report: &mut Report, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.fault(report, fault)).ok()
    }
}
