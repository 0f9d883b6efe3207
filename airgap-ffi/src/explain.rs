//! What happens to a flow, and why.

use std::ffi::{CString, c_char};
use std::ptr;

use airgap::{Explanation, FlowVerdict};

use crate::boundary::{Out, borrow, c_text, call, free, peek, text};
use crate::error::airgap_error_t;
use crate::graph::json;
use crate::host::airgap_host_t;
use crate::policy::airgap_policy_t;
use crate::status::airgap_status_t;

/// What happens to a flow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum airgap_verdict_t {
    /// It is dropped.
    AIRGAP_VERDICT_DROPPED = 0,
    /// It passes.
    AIRGAP_VERDICT_PASSES = 1,
    /// The rules ask for something that a flow's text does not tell.
    AIRGAP_VERDICT_UNDECIDED = 2,
}

/// What happens to a flow, and why. It does not change; any number of threads
/// may use it at the same time.
pub struct airgap_explanation_t {
    explanation: Explanation,
    words: CString,
}

impl airgap_explanation_t {
    fn new(explanation: Explanation) -> Self {
        let words = c_text(explanation.to_string());
        Self { explanation, words }
    }
}

/// What would happen to a flow if a policy were loaded by a host, or with NULL
/// for `host` by the network namespace in which the caller runs, which needs no
/// rights; beside no rules of other programs. A flow is a text such as
/// `host -> tcp 203.0.113.9:443` or `docker0 172.17.0.2 -> udp 192.0.2.53:53`,
/// as airgap(8) explains. The caller frees `explanation` by
/// airgap_explanation_free.
///
/// Errors: AIRGAP_ERROR_POLICY where the text is no flow,
/// AIRGAP_ERROR_UNRESOLVED, AIRGAP_ERROR_IO. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_explain(
    policy: *const airgap_policy_t,
    host: *const airgap_host_t,
    flow: *const c_char,
    length: usize,
    explanation: *mut *mut airgap_explanation_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(explanation, "explanation")?;
        let policy = &borrow(policy, "policy")?.0;
        let flow = text(flow, length, "flow")?;
        let explained = match peek(host) {
            Some(host) => host.0.explain(policy, flow)?,
            None => airgap::explain(policy, flow)?,
        };
        out.give(airgap_explanation_t::new(explained))
    })
}

/// What happens to a flow now, under all rules that are loaded, those of other
/// programs too. The flow reads as that of airgap_explain. The caller frees
/// `explanation` by airgap_explanation_free.
///
/// Errors: AIRGAP_ERROR_POLICY where the text is no flow,
/// AIRGAP_ERROR_NOT_PERMITTED, AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_IO.
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_explain(
    host: *const airgap_host_t,
    flow: *const c_char,
    length: usize,
    explanation: *mut *mut airgap_explanation_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(explanation, "explanation")?;
        let host = &borrow(host, "host")?.0;
        let flow = text(flow, length, "flow")?;
        out.give(airgap_explanation_t::new(host.explain_live(flow)?))
    })
}

/// Whether the flow passes. AIRGAP_VERDICT_DROPPED for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_explanation_verdict(
    explanation: *const airgap_explanation_t,
) -> airgap_verdict_t {
    match peek(explanation).map(|known| known.explanation.verdict) {
        None | Some(FlowVerdict::Dropped) => airgap_verdict_t::AIRGAP_VERDICT_DROPPED,
        Some(FlowVerdict::Passes) => airgap_verdict_t::AIRGAP_VERDICT_PASSES,
        Some(FlowVerdict::Undecided) => airgap_verdict_t::AIRGAP_VERDICT_UNDECIDED,
    }
}

/// The explanation for a reader, as `airgap explain` prints it. Owned by the
/// explanation; NULL for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_explanation_text(
    explanation: *const airgap_explanation_t,
) -> *const c_char {
    peek(explanation).map_or(ptr::null(), |known| known.words.as_ptr())
}

/// The explanation as JSON, as `airgap explain --output json` prints it: the
/// verdict, the way through the chains, and the line or rule that decides. The
/// caller frees `json` by airgap_string_free.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_explanation_to_json(
    explanation: *const airgap_explanation_t,
    json: *mut *mut c_char,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(json, "json")?;
        let known = borrow(explanation, "explanation")?;
        out.give_text(self::json(&known.explanation)?)
    })
}

/// Frees an explanation. NULL is fine.
///
/// Threads: any, while no other uses the explanation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_explanation_free(explanation: *mut airgap_explanation_t) {
    free(explanation);
}
