//! Whether a ruleset opens exactly what a policy states.

use std::ffi::c_char;

use airgap::{RuleGraph, Verification};

use crate::boundary::{Out, borrow, call, free, peek};
use crate::error::airgap_error_t;
use crate::graph::json;
use crate::host::airgap_host_t;
use crate::policy::airgap_policy_t;
use crate::status::airgap_status_t;

/// What a verification found.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum airgap_result_t {
    /// A packet passes that the policy does not state, or the other way round.
    AIRGAP_RESULT_COUNTEREXAMPLE = 0,
    /// The openings are the policy's: none more, none missing.
    AIRGAP_RESULT_VERIFIED = 1,
    /// Nothing is proved.
    AIRGAP_RESULT_UNDECIDED = 2,
}

/// What a verification found, and why. It does not change; any number of
/// threads may use it at the same time.
pub struct airgap_verification_t(Verification);

/// Proves that what would be loaded opens exactly what a policy states: by a
/// host, or with NULL for `host` by the network namespace in which the caller
/// runs, which needs no rights. The caller frees `verification` by
/// airgap_verification_free.
///
/// Errors: AIRGAP_ERROR_UNRESOLVED, AIRGAP_ERROR_IO. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_verify(
    policy: *const airgap_policy_t,
    host: *const airgap_host_t,
    verification: *mut *mut airgap_verification_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(verification, "verification")?;
        let policy = &borrow(policy, "policy")?.0;
        out.give(airgap_verification_t(match peek(host) {
            Some(host) => host.0.verify_compiled(policy)?,
            None => airgap::verify(policy, &RuleGraph::compile(policy)?)?,
        }))
    })
}

/// Proves that what the kernel holds opens exactly what a policy states. The
/// caller frees `verification` by airgap_verification_free.
///
/// Errors: AIRGAP_ERROR_UNRESOLVED, AIRGAP_ERROR_NOT_PERMITTED,
/// AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_IO. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_verify(
    host: *const airgap_host_t,
    policy: *const airgap_policy_t,
    verification: *mut *mut airgap_verification_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(verification, "verification")?;
        let host = &borrow(host, "host")?.0;
        let policy = &borrow(policy, "policy")?.0;
        out.give(airgap_verification_t(host.verify(policy)?))
    })
}

/// What was found. AIRGAP_RESULT_COUNTEREXAMPLE for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_verification_result(
    verification: *const airgap_verification_t,
) -> airgap_result_t {
    match peek(verification).map(|known| &known.0) {
        None | Some(Verification::Counterexample(_)) => {
            airgap_result_t::AIRGAP_RESULT_COUNTEREXAMPLE
        }
        Some(Verification::Verified) => airgap_result_t::AIRGAP_RESULT_VERIFIED,
        Some(Verification::Undecided { .. }) => airgap_result_t::AIRGAP_RESULT_UNDECIDED,
    }
}

/// What was found as JSON, as `airgap verify --output json` prints it: with the
/// packet that differs, or with what could not be decided. The caller frees
/// `json` by airgap_string_free.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_verification_to_json(
    verification: *const airgap_verification_t,
    json: *mut *mut c_char,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(json, "json")?;
        out.give_text(self::json(&borrow(verification, "verification")?.0)?)
    })
}

/// Frees what a verification found. NULL is fine.
///
/// Threads: any, while no other uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_verification_free(verification: *mut airgap_verification_t) {
    free(verification);
}
