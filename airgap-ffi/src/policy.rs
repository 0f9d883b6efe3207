//! Policies.

use std::ffi::c_char;
use std::path::Path;

use airgap::Policy;

use crate::boundary::{Out, borrow, bytes, call, free, text};
use crate::diagnostics::airgap_diagnostics_t;
use crate::error::airgap_error_t;
use crate::status::airgap_status_t;

/// A policy that was read without a mistake. It does not change; any number of
/// threads may use it at the same time.
pub struct airgap_policy_t(pub(crate) Policy);

/// Reads a policy from `length` bytes of TOML. Messages call it `<policy>`.
/// The caller frees `policy` by airgap_policy_free.
///
/// Errors: AIRGAP_ERROR_POLICY with every mistake of the text, also where it
/// is not UTF-8. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_policy_from_toml(
    toml: *const c_char,
    length: usize,
    policy: *mut *mut airgap_policy_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(policy, "policy")?;
        let toml = bytes(toml, length, "toml")?;
        out.give(airgap_policy_t(Policy::from_bytes("<policy>", toml)?))
    })
}

/// Reads a policy from `length` bytes of JSON. Messages call it `<policy>`.
/// The caller frees `policy` by airgap_policy_free.
///
/// Errors: AIRGAP_ERROR_POLICY with every mistake of the text, also where it
/// is not UTF-8. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_policy_from_json(
    json: *const c_char,
    length: usize,
    policy: *mut *mut airgap_policy_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(policy, "policy")?;
        let json = bytes(json, length, "json")?;
        let read = match str::from_utf8(json) {
            Ok(json) => Policy::from_json(json),
            // Whatever the form, this says where the text is no UTF-8.
            Err(_) => Policy::from_bytes("<policy>", json),
        };
        out.give(airgap_policy_t(read?))
    })
}

/// Reads a policy from a file: JSON where the path ends in `.json`, else TOML;
/// `-` is standard input. The caller frees `policy` by airgap_policy_free.
///
/// Errors: AIRGAP_ERROR_POLICY with every mistake of the file, or why it cannot
/// be read. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_policy_load(
    path: *const c_char,
    length: usize,
    policy: *mut *mut airgap_policy_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(policy, "policy")?;
        let path = text(path, length, "path")?;
        out.give(airgap_policy_t(Policy::load(Path::new(path))?))
    })
}

/// What is legal and probably wrong in a policy; an empty list where nothing
/// is. What only the host can tell is in airgap_plan_warnings. The caller frees
/// `warnings` by airgap_diagnostics_free.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_policy_warnings(
    policy: *const airgap_policy_t,
    warnings: *mut *mut airgap_diagnostics_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(warnings, "warnings")?;
        let policy = &borrow(policy, "policy")?.0;
        out.give(airgap_diagnostics_t::of_policy(policy, &policy.warnings()))
    })
}

/// The policy as JSON, in the form that its hash is taken of. The caller frees
/// `json` by airgap_string_free.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_policy_to_json(
    policy: *const airgap_policy_t,
    json: *mut *mut c_char,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(json, "json")?;
        out.give_text(borrow(policy, "policy")?.0.to_json())
    })
}

/// The SHA-256 of the policy's JSON in lowercase hex, as airgap_host_status
/// tells it of the policy that is loaded. Policies that say the same in the
/// same order have the same hash. The caller frees `hash` by
/// airgap_string_free.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_policy_hash(
    policy: *const airgap_policy_t,
    hash: *mut *mut c_char,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(hash, "hash")?;
        out.give_text(borrow(policy, "policy")?.0.hash().to_owned())
    })
}

/// Frees a policy. NULL is fine. Plans that were made of it live on.
///
/// Threads: any, while no other uses the policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_policy_free(policy: *mut airgap_policy_t) {
    free(policy);
}
