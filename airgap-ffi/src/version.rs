//! Versions, and what belongs to no type.

use std::ffi::{CStr, CString, c_char};

use crate::boundary::{Out, call};
use crate::error::airgap_error_t;
use crate::status::airgap_status_t;

/// The ABI that this header describes. A program that was built with it runs
/// with every library whose airgap_abi_version() is the same number.
pub const AIRGAP_ABI_VERSION: u32 = 0;

/// The version of the library in use, such as `0.1.0`. Owned by the library,
/// never freed.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn airgap_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

/// The ABI of the library in use; the number in its soname. A program that
/// opens the library by dlopen(3) compares it with AIRGAP_ABI_VERSION.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn airgap_abi_version() -> u32 {
    AIRGAP_ABI_VERSION
}

/// The JSON Schema of policies, by which editors complete them. The caller
/// frees `json` by airgap_string_free.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_schema(
    json: *mut *mut c_char,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        Out::new(json, "json")?.give_text(airgap::policy::schema().to_string())
    })
}

/// Frees a text that a function gave to the caller. NULL is fine.
///
/// Threads: any, while no other uses the text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: the caller gives what `give_text` handed over, once.
        drop(unsafe { CString::from_raw(string) });
    }
}
