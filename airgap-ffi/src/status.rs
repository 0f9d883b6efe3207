//! How a call ended.

use std::ffi::c_char;

use airgap::ErrorKind;

/// How a call ended. The numbers stay; new ones may come.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum airgap_status_t {
    /// It did what it says.
    AIRGAP_OK = 0,
    /// An argument is not what the function takes: a pointer is NULL, a length
    /// impossible, a text no UTF-8, a size or number unknown. A mistake of the
    /// calling program.
    AIRGAP_ERROR_ARGUMENT = 1,
    /// The policy is not well formed; the diagnostics say where.
    AIRGAP_ERROR_POLICY = 2,
    /// The policy names a host or user that this host does not know now.
    AIRGAP_ERROR_UNRESOLVED = 3,
    /// The caller lacks CAP_NET_ADMIN in the network namespace.
    AIRGAP_ERROR_NOT_PERMITTED = 4,
    /// The kernel has no nf_tables.
    AIRGAP_ERROR_NO_NF_TABLES = 5,
    /// The kernel refused the ruleset; nothing was changed.
    AIRGAP_ERROR_KERNEL = 6,
    /// The ruleset does not fit into one message; nothing was changed.
    AIRGAP_ERROR_BATCH_TOO_LARGE = 7,
    /// Other programs kept changing the ruleset; nothing was changed.
    AIRGAP_ERROR_CONFLICT = 8,
    /// The ruleset was changed, and the kernel holds something else than was
    /// sent.
    AIRGAP_ERROR_READ_BACK = 9,
    /// The kernel answered in a way that this version does not understand.
    AIRGAP_ERROR_PROTOCOL = 10,
    /// The operating system refused something else.
    AIRGAP_ERROR_IO = 11,
    /// A defect of this library. Nothing is known of the state; the handles can
    /// still be freed.
    AIRGAP_ERROR_PANIC = 12,
    /// Another call that changes the air gap does not come to an end; nothing
    /// was changed.
    AIRGAP_ERROR_LOCKED = 13,
    /// A policy waits to be confirmed already; nothing was changed.
    AIRGAP_ERROR_PENDING = 14,
    /// Nothing waits to be confirmed.
    AIRGAP_ERROR_NOTHING_PENDING = 15,
    /// What is loaded could not be loaded again as it is, so that there would
    /// be no way back; nothing was changed.
    AIRGAP_ERROR_IRREVERSIBLE = 16,
    /// What was there before could not be loaded any more; the host is sealed
    /// all the same.
    AIRGAP_ERROR_ROLLBACK = 17,
    /// The policy would cut the connection over which the caller is here; nothing
    /// was changed.
    AIRGAP_ERROR_LOCKOUT = 18,
}

impl From<ErrorKind> for airgap_status_t {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Policy => Self::AIRGAP_ERROR_POLICY,
            ErrorKind::Unresolved => Self::AIRGAP_ERROR_UNRESOLVED,
            ErrorKind::NotPermitted => Self::AIRGAP_ERROR_NOT_PERMITTED,
            ErrorKind::NoNfTables => Self::AIRGAP_ERROR_NO_NF_TABLES,
            ErrorKind::Kernel => Self::AIRGAP_ERROR_KERNEL,
            ErrorKind::BatchTooLarge => Self::AIRGAP_ERROR_BATCH_TOO_LARGE,
            ErrorKind::Conflict => Self::AIRGAP_ERROR_CONFLICT,
            ErrorKind::ReadBack => Self::AIRGAP_ERROR_READ_BACK,
            ErrorKind::Protocol => Self::AIRGAP_ERROR_PROTOCOL,
            ErrorKind::Locked => Self::AIRGAP_ERROR_LOCKED,
            ErrorKind::Lockout => Self::AIRGAP_ERROR_LOCKOUT,
            ErrorKind::Pending => Self::AIRGAP_ERROR_PENDING,
            ErrorKind::NothingPending => Self::AIRGAP_ERROR_NOTHING_PENDING,
            ErrorKind::Irreversible => Self::AIRGAP_ERROR_IRREVERSIBLE,
            ErrorKind::Rollback => Self::AIRGAP_ERROR_ROLLBACK,
            ErrorKind::Io => Self::AIRGAP_ERROR_IO,
        }
    }
}

/// The name of a status in lowercase words, such as `ok` or `not-permitted`, as
/// in the `code` of the command's JSON. `unknown` for a number that is none of
/// this version. Owned by the library, never freed.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn airgap_status_name(status: i32) -> *const c_char {
    use airgap_status_t::*;
    const NAMES: [(airgap_status_t, &std::ffi::CStr); 19] = [
        (AIRGAP_OK, c"ok"),
        (AIRGAP_ERROR_ARGUMENT, c"argument"),
        (AIRGAP_ERROR_POLICY, c"policy"),
        (AIRGAP_ERROR_UNRESOLVED, c"unresolved"),
        (AIRGAP_ERROR_NOT_PERMITTED, c"not-permitted"),
        (AIRGAP_ERROR_NO_NF_TABLES, c"no-nf-tables"),
        (AIRGAP_ERROR_KERNEL, c"kernel"),
        (AIRGAP_ERROR_BATCH_TOO_LARGE, c"batch-too-large"),
        (AIRGAP_ERROR_CONFLICT, c"conflict"),
        (AIRGAP_ERROR_READ_BACK, c"read-back"),
        (AIRGAP_ERROR_PROTOCOL, c"protocol"),
        (AIRGAP_ERROR_IO, c"io"),
        (AIRGAP_ERROR_PANIC, c"panic"),
        (AIRGAP_ERROR_LOCKED, c"locked"),
        (AIRGAP_ERROR_PENDING, c"pending"),
        (AIRGAP_ERROR_NOTHING_PENDING, c"nothing-pending"),
        (AIRGAP_ERROR_IRREVERSIBLE, c"irreversible"),
        (AIRGAP_ERROR_ROLLBACK, c"rollback"),
        (AIRGAP_ERROR_LOCKOUT, c"lockout"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| *known as i32 == status)
        .map_or(c"unknown", |(_, name)| name)
        .as_ptr()
}
