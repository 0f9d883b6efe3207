//! Hosts: what is done to them.

use std::ffi::c_char;
use std::path::Path;
use std::time::Duration;

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
    /// The milliseconds within which the policy must be confirmed by
    /// airgap_host_confirm, of any process; else what was there before is
    /// loaded again. 0 if it needs no confirmation.
    pub confirm_within: u64,
    /// Loads the policy even if it cuts the connection over which the caller is
    /// here and needs no confirmation.
    pub even_if_locked_out: bool,
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
/// With `confirm_within`, a process waits for the time before anything is
/// loaded. It outlives the caller: a copy of it in a session of its own, or a
/// transient unit of systemd that runs the command `airgap`. The caller need
/// not wait for it.
///
/// Errors: AIRGAP_ERROR_LOCKOUT, AIRGAP_ERROR_PENDING, AIRGAP_ERROR_IRREVERSIBLE, AIRGAP_ERROR_KERNEL, AIRGAP_ERROR_BATCH_TOO_LARGE,
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
        let (within, even_if_locked_out) = if options.is_null() {
            (0, false)
        } else {
            // SAFETY: as above.
            let options = unsafe { Sized::new(options.cast_mut(), "options") }?.read("options")?;
            (options.confirm_within, options.even_if_locked_out)
        };
        let host = borrow(host, "host")?.0.clone();
        let host = host.even_if_locked_out(even_if_locked_out);
        let plan = &borrow(plan, "plan")?.plan;
        let done = if within == 0 {
            host.apply(plan)?
        } else {
            let within = Duration::from_millis(within);
            host.apply_guarded(plan, within)?.applied()
        };
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

/// Keeps the policy that is pending: it counts after a reboot too.
///
/// Errors: AIRGAP_ERROR_NOTHING_PENDING; AIRGAP_ERROR_READ_BACK when it is no
/// longer what is loaded; AIRGAP_ERROR_IO when it cannot be kept on the disk,
/// and is still pending; AIRGAP_ERROR_NOT_PERMITTED. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_confirm(
    host: *const airgap_host_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || Ok(borrow(host, "host")?.0.confirm()?))
}

/// Takes the policy that is pending back now: what was there before is loaded
/// again, exactly.
///
/// Errors: AIRGAP_ERROR_NOTHING_PENDING; AIRGAP_ERROR_ROLLBACK when what was
/// there before can no longer be loaded; AIRGAP_ERROR_CONFLICT, and it is still
/// pending; AIRGAP_ERROR_NOT_PERMITTED. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_rollback(
    host: *const airgap_host_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        borrow(host, "host")?.0.rollback()?;
        Ok(())
    })
}

/// The state of the air gap as JSON, as `airgap status --output json` prints
/// it: whether the host is sealed, by which policy, since when, what was
/// dropped, drift, what is pending. With `full`, sets of more than 10,000 elements are compared
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

#[cfg(test)]
mod tests {
    use std::ptr::{null, null_mut};

    use airgap_status_t::*;

    use super::*;
    use crate::fake::{airgap_fake_kernel_free, airgap_fake_kernel_new, airgap_host_fake};
    use crate::plan::airgap_plan_free;
    use crate::policy::{airgap_policy_free, airgap_policy_from_toml};

    #[test]
    fn what_is_pending_is_confirmed_or_taken_back() {
        let (mut kernel, mut host, mut policy, mut plan) =
            (null_mut(), null_mut(), null_mut(), null_mut());
        let toml = "version = 1";
        let options = airgap_apply_options_t {
            size: size_of::<airgap_apply_options_t>(),
            confirm_within: 60_000,
            even_if_locked_out: false,
        };
        // SAFETY: as a program in C calls them.
        unsafe {
            assert_eq!(airgap_fake_kernel_new(&mut kernel, null_mut()), AIRGAP_OK);
            assert_eq!(airgap_host_fake(kernel, &mut host, null_mut()), AIRGAP_OK);
            assert_eq!(
                airgap_policy_from_toml(toml.as_ptr().cast(), toml.len(), &mut policy, null_mut()),
                AIRGAP_OK
            );
            assert_eq!(
                airgap_host_plan(host, policy, &mut plan, null_mut()),
                AIRGAP_OK
            );
            let apply = |options| airgap_host_apply(host, plan, options, null_mut(), null_mut());
            for end in [airgap_host_rollback, airgap_host_confirm] {
                assert_eq!(apply(&options), AIRGAP_OK);
                assert_eq!(apply(&options), AIRGAP_ERROR_PENDING);
                assert_eq!(apply(null()), AIRGAP_ERROR_PENDING);
                assert_eq!(end(host, null_mut()), AIRGAP_OK);
                assert_eq!(end(host, null_mut()), AIRGAP_ERROR_NOTHING_PENDING);
            }
            let mut removed = false;
            assert_eq!(
                airgap_host_remove(host, &mut removed, null_mut()),
                AIRGAP_OK
            );
            assert!(removed);
            airgap_plan_free(plan);
            airgap_policy_free(policy);
            airgap_host_free(host);
            airgap_fake_kernel_free(kernel);
        }
    }
}
