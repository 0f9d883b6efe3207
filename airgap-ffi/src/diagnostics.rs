//! Mistakes and warnings, one by one.

use std::ffi::{CString, c_char};

use airgap::policy::{Diagnostic, Severity, Style};
use airgap::{Error, Policy};

use crate::boundary::{Sized, borrow, c_text, call, free, none_of, peek};
use crate::error::airgap_error_t;
use crate::status::airgap_status_t;

/// How bad a diagnostic is.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum airgap_severity_t {
    /// What was asked for cannot be done.
    AIRGAP_SEVERITY_ERROR = 0,
    /// Legal, and probably not what was meant.
    AIRGAP_SEVERITY_WARNING = 1,
}

/// One mistake or warning. Set `size` before the call; the texts are in UTF-8,
/// end with a zero, and belong to the list that they came from.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct airgap_diagnostic_t {
    /// The size of this struct, set by the caller.
    pub size: usize,
    /// How bad it is.
    pub severity: airgap_severity_t,
    /// The line of the policy where it begins, from 1; 0 where no line is
    /// meant.
    pub line: u32,
    /// The column in characters, from 1; 0 where no line is meant.
    pub column: u32,
    /// The line where it ends.
    pub end_line: u32,
    /// The column behind its last character.
    pub end_column: u32,
    /// The same as a path through the policy's keys, such as `allow[3].port`
    /// (lists count from 0). Empty where no value is meant.
    pub path: *const c_char,
    /// What is wrong.
    pub message: *const c_char,
    /// What was expected there. May be empty.
    pub label: *const c_char,
    /// How to mend it. May be empty.
    pub help: *const c_char,
    /// All of it for a reader, with the line underlined, as the command prints
    /// it.
    pub rendered: *const c_char,
}

/// A list of mistakes or warnings, in the order of the policy's text.
pub struct airgap_diagnostics_t(Vec<Owned>);

struct Owned {
    severity: airgap_severity_t,
    places: [u32; 4],
    path: CString,
    message: CString,
    label: CString,
    help: CString,
    rendered: CString,
}

impl airgap_diagnostics_t {
    /// What an error is about.
    pub(crate) fn of_error(error: &Error) -> Self {
        let render = |diagnostic: &Diagnostic| match error {
            Error::Policy(policy) => {
                airgap::policy::render(diagnostic, policy.policy_source(), Style::Plain)
            }
            _ => diagnostic.message.clone(),
        };
        Self::new(&error.diagnostics(), render)
    }

    /// Warnings about a policy.
    pub(crate) fn of_policy(policy: &Policy, diagnostics: &[Diagnostic]) -> Self {
        Self::new(diagnostics, |diagnostic| {
            policy.render(diagnostic, Style::Plain)
        })
    }

    fn new(diagnostics: &[Diagnostic], render: impl Fn(&Diagnostic) -> String) -> Self {
        let owned = |diagnostic: &Diagnostic| Owned {
            severity: match diagnostic.severity {
                Severity::Error => airgap_severity_t::AIRGAP_SEVERITY_ERROR,
                Severity::Warning => airgap_severity_t::AIRGAP_SEVERITY_WARNING,
            },
            places: [
                diagnostic.place.line,
                diagnostic.place.column,
                diagnostic.end.line,
                diagnostic.end.column,
            ],
            path: c_text(diagnostic.path.clone()),
            message: c_text(diagnostic.message.clone()),
            label: c_text(diagnostic.label.clone()),
            help: c_text(diagnostic.help.clone().unwrap_or_default()),
            rendered: c_text(render(diagnostic)),
        };
        Self(diagnostics.iter().map(owned).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How many diagnostics a list has; 0 for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_diagnostics_count(
    diagnostics: *const airgap_diagnostics_t,
) -> usize {
    peek(diagnostics).map_or(0, |list| list.0.len())
}

/// Reads one diagnostic of a list, counted from 0. The texts stay the list's,
/// and are valid until it is freed.
///
/// Errors: AIRGAP_ERROR_ARGUMENT when there is none of that number, or `size`
/// is not set. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_diagnostics_get(
    diagnostics: *const airgap_diagnostics_t,
    index: usize,
    diagnostic: *mut airgap_diagnostic_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        // SAFETY: the struct is repr(C), begins with its size, and takes zeros.
        let out = unsafe { Sized::new(diagnostic, "diagnostic") }?;
        let list = borrow(diagnostics, "diagnostics")?;
        let owned = list
            .0
            .get(index)
            .ok_or_else(|| none_of(index, list.0.len()))?;
        let [line, column, end_line, end_column] = owned.places;
        out.write(&airgap_diagnostic_t {
            size: 0,
            severity: owned.severity,
            line,
            column,
            end_line,
            end_column,
            path: owned.path.as_ptr(),
            message: owned.message.as_ptr(),
            label: owned.label.as_ptr(),
            help: owned.help.as_ptr(),
            rendered: owned.rendered.as_ptr(),
        });
        Ok(())
    })
}

/// Frees a list that a function gave to the caller, such as
/// airgap_policy_warnings. NULL is fine.
///
/// Threads: any, while no other uses the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_diagnostics_free(diagnostics: *mut airgap_diagnostics_t) {
    free(diagnostics);
}
