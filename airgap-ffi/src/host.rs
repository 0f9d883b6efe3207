//! Hosts: what is done to them.

use std::ffi::c_char;
use std::path::Path;

use airgap::Host;

use crate::boundary::{Failure, Out, Sized, borrow, call, free, text};
use crate::error::airgap_error_t;
use crate::graph::{airgap_graph_t, json};
use crate::plan::airgap_plan_t;
use crate::policy::airgap_policy_t;
use crate::status::airgap_status_t;

/// A host, or one network namespace of it. Any number of threads may use it at
/// the same time; each call opens a socket of its own.
pub struct airgap_host_t(pub(crate) Host);

/// What an apply did. Set `size` before the call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct airgap_applied_t {
    /// The size of this struct, set by the caller.
    pub size: usize,
    /// Whether anything was sent.
    pub changed: bool,
    /// How many operations were sent.
    pub operations: usize,
    /// How often another program changed the ruleset meanwhile.
    pub retries: usize,
}

/// How to apply a plan. Set all of it to zero, then `size`, then what is
/// wanted.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct airgap_apply_options_t {
    /// The size of this struct, set by the caller.
    pub size: usize,
}

/// Opens the network namespace in which the caller runs. The caller frees
/// `host` by airgap_host_free.
///
/// Errors: AIRGAP_ERROR_NO_NF_TABLES, AIRGAP_ERROR_NOT_PERMITTED. Threads: any;
/// a thread that entered another namespace opens that one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_open(
    host: *mut *mut airgap_host_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        Out::new(host, "host")?.give(airgap_host_t(Host::open()?))
    })
}

/// Opens another network namespace: a name of ip-netns(8), or a path such as
/// `/proc/PID/ns/net`. Calls on it leave the caller's threads where they are.
/// The caller frees `host` by airgap_host_free.
///
/// Errors: AIRGAP_ERROR_IO when there is no such namespace,
/// AIRGAP_ERROR_NO_NF_TABLES, AIRGAP_ERROR_NOT_PERMITTED. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_open_netns(
    netns: *const c_char,
    length: usize,
    host: *mut *mut airgap_host_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(host, "host")?;
        let netns = text(netns, length, "netns")?;
        if netns.is_empty() {
            return Err(Failure::Argument("netns is empty".to_owned()));
        }
        out.give(airgap_host_t(Host::in_netns(Path::new(netns))?))
    })
}

/// What would change if the policy were applied. Nothing is changed. The caller
/// frees `plan` by airgap_plan_free.
///
/// Errors: AIRGAP_ERROR_UNRESOLVED, AIRGAP_ERROR_NOT_PERMITTED,
/// AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_IO. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_plan(
    host: *const airgap_host_t,
    policy: *const airgap_policy_t,
    plan: *mut *mut airgap_plan_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(plan, "plan")?;
        let host = &borrow(host, "host")?.0;
        let policy = &borrow(policy, "policy")?.0;
        out.give(airgap_plan_t::new(host.plan(policy)?))
    })
}

/// Loads what was planned in one transaction, and reads it back. If another
/// program changed the ruleset since the plan, the difference is taken anew.
/// `options` may be NULL; `applied` may be NULL where nobody asks.
///
/// Errors: AIRGAP_ERROR_KERNEL, AIRGAP_ERROR_BATCH_TOO_LARGE,
/// AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_NOT_PERMITTED with nothing changed;
/// AIRGAP_ERROR_READ_BACK with the ruleset changed; AIRGAP_ERROR_IO says itself
/// which. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_apply(
    host: *const airgap_host_t,
    plan: *const airgap_plan_t,
    options: *const airgap_apply_options_t,
    applied: *mut airgap_applied_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        // SAFETY: both structs are repr(C), begin with their size, and take
        // zeros; the options are only read.
        let out = (!applied.is_null())
            .then(|| unsafe { Sized::new(applied, "applied") })
            .transpose()?;
        if !options.is_null() {
            // SAFETY: as above.
            unsafe { Sized::new(options.cast_mut(), "options") }?.read("options")?;
        }
        let host = &borrow(host, "host")?.0;
        let done = host.apply(&borrow(plan, "plan")?.plan)?;
        if let Some(out) = out {
            out.write(&airgap_applied_t {
                size: 0,
                changed: done.changed,
                operations: done.operations,
                retries: done.retries,
            });
        }
        Ok(())
    })
}

/// The state of the air gap as JSON, as `airgap status --output json` prints
/// it: whether the host is sealed, by which policy, since when, what was
/// dropped, drift. With `full`, sets of more than 10,000 elements are compared
/// one by one too. The caller frees `json` by airgap_string_free.
///
/// Errors: AIRGAP_ERROR_NOT_PERMITTED, AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_IO.
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_status(
    host: *const airgap_host_t,
    full: bool,
    json: *mut *mut c_char,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(json, "json")?;
        let status = borrow(host, "host")?.0.status(full)?;
        out.give_text(self::json(&status)?)
    })
}

/// The whole ruleset that is loaded, tables of other programs too. The caller
/// frees `graph` by airgap_graph_free.
///
/// Errors: AIRGAP_ERROR_NOT_PERMITTED, AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_IO.
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_live(
    host: *const airgap_host_t,
    graph: *mut *mut airgap_graph_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(graph, "graph")?;
        out.give(airgap_graph_t(borrow(host, "host")?.0.live()?))
    })
}

/// Takes the air gap away; the host is then as open as its other tables leave
/// it. `removed` tells whether there was one; NULL where nobody asks.
///
/// Errors: AIRGAP_ERROR_KERNEL, AIRGAP_ERROR_NOT_PERMITTED,
/// AIRGAP_ERROR_CONFLICT with nothing changed; AIRGAP_ERROR_IO. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_remove(
    host: *const airgap_host_t,
    removed: *mut bool,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let was_there = borrow(host, "host")?.0.remove()?;
        if removed.is_null() {
            return Ok(());
        }
        Out::new(removed, "removed")?.write(was_there)
    })
}

/// Frees a host. NULL is fine. What is loaded stays loaded.
///
/// Threads: any, while no other uses the host.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_free(host: *mut airgap_host_t) {
    free(host);
}
