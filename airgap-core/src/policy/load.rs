//! The ways to a [`Policy`], and what it can say about itself.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::diagnostic::{Diagnostic, PolicyError, Severity};
use super::fault::Fault;
use super::model::{Place, Policy};
use super::node::Node;
use super::render::{Style, render};
use super::report::Report;
use super::source::{Source, Span};
use super::{json_reader, reader, toml_reader, warn};

/// A policy of a million openings has a tenth of it. The bound keeps a device
/// or a wrong file from filling the memory.
const SIZE_MAX: u64 = 256 << 20;

/// What some editors put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The forms of a policy's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    Toml,
    Json,
}

impl Policy {
    /// Reads a policy from TOML.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        Self::from_toml_named(text, "<policy>")
    }

    /// Reads a policy from JSON.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        Self::from_json_named(text, "<policy>")
    }

    /// Reads a policy from TOML that messages call `name`.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_toml_named(text: &str, name: &str) -> Result<Self, PolicyError> {
        from_text(text.to_owned(), name, Form::Toml, None)
    }

    /// Reads a policy from JSON that messages call `name`.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_json_named(text: &str, name: &str) -> Result<Self, PolicyError> {
        from_text(text.to_owned(), name, Form::Json, None)
    }

    /// Reads a policy from a text that was kept of one.
    ///
    /// # Errors
    /// Every mistake in it.
    pub(crate) fn from_kept(text: &str, name: &str, form: Form) -> Result<Self, PolicyError> {
        from_text(text.to_owned(), name, form, None)
    }

    /// Reads a policy from the bytes of a file: JSON if `name` ends in
    /// `.json`, else TOML.
    ///
    /// # Errors
    /// Every mistake in it, and bytes that are no UTF-8.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, PolicyError> {
        Self::from_vec(name, bytes.to_vec(), None)
    }

    fn from_vec(name: &str, bytes: Vec<u8>, folder: Option<&Path>) -> Result<Self, PolicyError> {
        let form = if name.ends_with(".json") {
            Form::Json
        } else {
            Form::Toml
        };
        match String::from_utf8(bytes) {
            Ok(text) => from_text(text, name, form, folder),
            Err(error) => {
                let (error, bytes) = (error.utf8_error(), error.into_bytes());
                let text = String::from_utf8_lossy(&bytes);
                let source = Source::new(name, text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text));
                let start = error.valid_up_to() - (text.len() - source.text().len());
                let end = start + char::REPLACEMENT_CHARACTER.len_utf8();
                let bad = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
                let fault = Fault::new(
                    format!("the byte 0x{bad:02x} is not UTF-8"),
                    "expected text in UTF-8",
                );
                Err(refused(Arc::new(source), [(Span { start, end }, fault)]))
            }
        }
    }

    /// Reads a policy from a tree that a program made; messages call it `name`
    /// and give paths in place of lines.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_node(root: &Node<'_>, name: &str) -> Result<Self, PolicyError> {
        reader::read(root, Arc::new(Source::data(name)))
    }

    /// Reads a policy from a file; `-` is standard input. Lists that it names are
    /// looked for beside it, or for standard input in the working directory; the
    /// other ways to read a policy take absolute paths only.
    ///
    /// # Errors
    /// Every mistake in it, or why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let stdin = path.as_os_str() == "-";
        let name = if stdin {
            "<stdin>".to_owned()
        } else {
            path.to_string_lossy().into_owned()
        };
        let bytes = if stdin {
            read_bytes(io::stdin().lock())
        } else {
            File::open(path).and_then(read_bytes)
        };
        let folder = if stdin {
            Path::new("")
        } else {
            path.parent().unwrap_or(Path::new(""))
        };
        match bytes {
            Ok(bytes) => Self::from_vec(&name, bytes, Some(folder)),
            Err(error) => Err(PolicyError::unread(
                &name,
                format!("the policy cannot be read: {error}"),
                None,
            )),
        }
    }

    /// What is legal and likely wrong, in the order of the text.
    #[must_use]
    pub fn warnings(&self) -> Vec<Diagnostic> {
        warn::warnings(self)
    }

    /// The policy as JSON, which [`Policy::from_json`] reads back as the same
    /// policy.
    #[must_use]
    pub fn to_json(&self) -> String {
        // The types serialise to objects with text keys, which does not fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A message about the opening that was written at `place`.
    #[must_use]
    pub fn diagnostic_at(
        &self,
        place: Place,
        severity: Severity,
        message: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            severity,
            message: message.into(),
            place,
            end: self.source().end_of(place).unwrap_or(place),
            path: self.path_of(place),
            label: String::new(),
            help: None,
            related: Vec::new(),
            file: None,
        }
    }

    /// A message with the lines of this policy that it points at.
    #[must_use]
    pub fn render(&self, diagnostic: &Diagnostic, style: Style) -> String {
        render(diagnostic, self.source(), style)
    }

    /// The path of the opening at a place.
    fn path_of(&self, place: Place) -> String {
        if place == Place::default() {
            return String::new();
        }
        let found = |key: &str, index: Option<usize>| index.map(|index| format!("{key}[{index}]"));
        found(
            "allow",
            self.allow
                .entries()
                .position(|opening| opening.place() == place),
        )
        .or_else(|| {
            found(
                "admit",
                self.admit.iter().position(|opening| opening.place == place),
            )
        })
        .or_else(|| {
            found(
                "bridge",
                self.bridge
                    .iter()
                    .position(|opening| opening.place == place),
            )
        })
        .or_else(|| {
            found(
                "forward",
                self.forward
                    .iter()
                    .position(|opening| opening.place == place),
            )
        })
        .unwrap_or_default()
    }
}

fn from_text(
    mut text: String,
    name: &str,
    form: Form,
    folder: Option<&Path>,
) -> Result<Policy, PolicyError> {
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    let source = Arc::new(Source::of_policy(name, text, form, folder));
    if source.text().trim_start().is_empty() {
        let least = match form {
            Form::Toml => "version = 1",
            Form::Json => "{\"version\": 1}",
        };
        let fault = Fault::new("the policy is empty", format!("expected `{least}`"))
            .help(format!("a policy without openings is `{least}` alone"));
        return Err(refused(source, [(Span::default(), fault)]));
    }
    if let Some(policy) = reader::read_plain(&source, form) {
        return Ok(policy);
    }
    match tree(source.text(), form) {
        Ok(root) => reader::read(&root, Arc::clone(&source)),
        Err(faults) => Err(refused(source, faults)),
    }
}

pub(super) fn tree(text: &str, form: Form) -> Result<Node<'_>, Vec<(Span, Fault)>> {
    match form {
        Form::Toml => toml_reader::read(text),
        Form::Json => json_reader::read(text),
    }
}

/// The spans of the openings of a policy that was read from `text`.
pub(super) fn marks(text: &str, form: Form) -> Vec<Span> {
    tree(text, form).map_or_else(|_| Vec::new(), |root| reader::marks(&root))
}

fn refused(source: Arc<Source>, faults: impl IntoIterator<Item = (Span, Fault)>) -> PolicyError {
    let name = source.name().to_owned();
    let mut report = Report::new(source);
    for (span, fault) in faults {
        report.text(span, fault);
    }
    report
        .finish()
        .unwrap_or_else(|| PolicyError::unread(&name, "the policy cannot be read".to_owned(), None))
}

pub(super) fn read_bytes(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > SIZE_MAX {
        return Err(io::Error::other(format!(
            "it has more than {} MiB",
            SIZE_MAX >> 20
        )));
    }
    Ok(bytes)
}
