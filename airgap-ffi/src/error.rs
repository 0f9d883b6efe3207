//! Errors as objects of the caller's.

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use crate::boundary::{Failure, c_text, free, peek};
use crate::diagnostics::airgap_diagnostics_t;
use crate::status::airgap_status_t;

/// Why a call failed. Made by the failing call, owned by the caller.
pub struct airgap_error_t {
    status: airgap_status_t,
    error_number: c_int,
    message: CString,
    diagnostics: Option<airgap_diagnostics_t>,
}

impl airgap_error_t {
    pub(crate) fn new(failure: Failure) -> Self {
        match failure {
            Failure::Argument(message) => Self {
                status: airgap_status_t::AIRGAP_ERROR_ARGUMENT,
                error_number: 0,
                message: c_text(message),
                diagnostics: None,
            },
            Failure::Panic(message) => Self {
                status: airgap_status_t::AIRGAP_ERROR_PANIC,
                error_number: 0,
                message: c_text(format!(
                    "a defect of libairgap, please report it: it panicked, {message}"
                )),
                diagnostics: None,
            },
            Failure::Core(error) => {
                let diagnostics = airgap_diagnostics_t::of_error(&error);
                Self {
                    status: error.kind().into(),
                    error_number: error.errno().unwrap_or(0),
                    message: c_text(error.to_string()),
                    diagnostics: (!diagnostics.is_empty()).then_some(diagnostics),
                }
            }
        }
    }

    pub(crate) fn status(&self) -> airgap_status_t {
        self.status
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        self.message.to_str().unwrap_or_default()
    }
}

/// The status that the failing call returned. AIRGAP_OK for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_error_status(error: *const airgap_error_t) -> airgap_status_t {
    peek(error).map_or(airgap_status_t::AIRGAP_OK, |error| error.status)
}

/// The kernel's error number (errno(3)), 0 where there is none or for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_error_errno(error: *const airgap_error_t) -> c_int {
    peek(error).map_or(0, |error| error.error_number)
}

/// What went wrong, for a reader: what was expected, what was found, where,
/// and what to do; the text that the command `airgap` prints. Several lines
/// where there are several mistakes. Owned by the error; NULL for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_error_message(error: *const airgap_error_t) -> *const c_char {
    peek(error).map_or(ptr::null(), |error| error.message.as_ptr())
}

/// What the error is about one by one, with places in the policy. Owned by the
/// error, not to be freed; NULL where the message says it all, and for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_error_diagnostics(
    error: *const airgap_error_t,
) -> *const airgap_diagnostics_t {
    peek(error)
        .and_then(|error| error.diagnostics.as_ref())
        .map_or(ptr::null(), ptr::from_ref)
}

/// Frees an error with all that belongs to it. NULL is fine.
///
/// Threads: any, while no other uses the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_error_free(error: *mut airgap_error_t) {
    free(error);
}
