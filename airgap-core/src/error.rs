//! What can go wrong between a policy and the kernel.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::graph::Origin;
use crate::host::Cut;
use crate::policy::{Diagnostic, PolicyError, Severity};
use crate::state::Rollback;

/// Why something could not be done. Whatever it is, the ruleset is as it was
/// before, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy is not well formed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy names something that is not to be had on this host now.
    #[error("{}", join(.0))]
    Unresolved(Vec<Unresolved>),
    /// The caller lacks a capability.
    #[error(
        "the capability CAP_NET_ADMIN in this network namespace is missing: run as root (`sudo airgap …`, in Ansible \
         `become: true`) or inside `unshare -Urn`"
    )]
    NotPermitted,
    /// The kernel has no nf_tables.
    #[error(
        "this kernel has no nf_tables: it needs CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET (module nf_tables)"
    )]
    NoNfTables,
    /// The kernel refused the batch.
    #[error("the kernel refused the ruleset, and nothing was changed:\n{}", join(.0))]
    Kernel(Vec<KernelError>),
    /// The batch does not fit into one message.
    #[error(
        "the kernel takes no batch of {bytes} bytes from this caller, and nothing was changed: raise \
         net.core.wmem_max, or run with CAP_NET_ADMIN of the initial user namespace"
    )]
    BatchTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Others kept changing the ruleset.
    #[error(
        "another program keeps changing the ruleset; every try to read or change it met a newer one, and nothing was \
         changed: wait until it is done and try again"
    )]
    Conflict,
    /// Another call that changes this air gap does not come to an end.
    #[error(
        "{} has held the lock of this air gap for more than {} s, and nothing was changed: end it and try again",
        named(.holder), .waited.as_secs()
    )]
    Locked {
        /// Who holds the lock, as far as it says so.
        holder: String,
        /// How long this call has waited.
        waited: Duration,
    },
    /// Another process watches this air gap.
    #[error("another process watches this air gap already: one is enough")]
    Watched,
    /// A policy waits to be confirmed already.
    #[error(
        "a policy is pending: {by} loaded it, and it is rolled back in {} s unless it is confirmed; nothing was \
         changed: `airgap confirm` keeps it, `airgap rollback` takes it back now",
        left.as_secs()
    )]
    Pending {
        /// Who loaded it.
        by: String,
        /// The time until it is rolled back.
        left: Duration,
    },
    /// The policy would cut the caller's own way to this host.
    #[error(
        "the policy would cut the connection over which you are here, and nothing was changed: {}; give it an \
         [[admit]], load it with --confirm-within so that it comes back by itself, or with --even-if-locked-out", join(.0)
    )]
    Lockout(Vec<Cut>),
    /// Nothing waits to be confirmed.
    #[error("nothing is pending{}", ended(.last.as_ref()))]
    NothingPending {
        /// The last policy that was pending and was taken back.
        last: Option<Rollback>,
    },
    /// What is loaded cannot be written down so that it could be loaded again.
    #[error(
        "the loaded air gap holds what this version could not load again as it is, so there would be no way back, and \
         nothing was changed: another program has changed it (`airgap status` shows what); apply a policy without a \
         time to confirm first"
    )]
    Irreversible,
    /// What was there before could not be loaded any more. The host stays
    /// sealed, as `now` says.
    #[error("what was there before could not be loaded any more: {cause}; {now}")]
    Rollback {
        /// Why.
        cause: Box<Error>,
        /// What is loaded.
        now: &'static str,
    },
    /// What is loaded is not what was meant. The ruleset was changed.
    #[error("the kernel holds something else than was sent:\n{}", .0.join("\n"))]
    ReadBack(Vec<String>),
    /// The kernel answered in a way that this version does not understand.
    #[error("nf_tables answered with something unexpected: {0}")]
    Protocol(&'static str),
    /// The operating system refused something else.
    #[error("could not {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES)
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                let action = action.into();
                if action.contains("netlink")
                    || action.contains("nf_tables")
                    || action.contains("batch")
                {
                    return Self::NotPermitted;
                }
                Self::Io { action, source }
            }
            _ => Self::Io {
                action: action.into(),
                source,
            },
        }
    }

    /// The error number of the kernel, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::NotPermitted => Some(libc::EPERM),
            Self::NoNfTables => Some(libc::EPROTONOSUPPORT),
            Self::Kernel(errors) => errors.first().map(|e| e.errno),
            Self::BatchTooLarge { .. } => Some(libc::EMSGSIZE),
            Self::Conflict => Some(libc::ERESTART),
            Self::Io { source, .. } => source.raw_os_error(),
            Self::Rollback { cause, .. } => cause.errno(),
            _ => None,
        }
    }

    /// What kind it is: the same in every language.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Policy(_) => ErrorKind::Policy,
            Self::Unresolved(_) => ErrorKind::Unresolved,
            Self::NotPermitted => ErrorKind::NotPermitted,
            Self::NoNfTables => ErrorKind::NoNfTables,
            Self::Kernel(_) => ErrorKind::Kernel,
            Self::BatchTooLarge { .. } => ErrorKind::BatchTooLarge,
            Self::Conflict => ErrorKind::Conflict,
            Self::Locked { .. } | Self::Watched => ErrorKind::Locked,
            Self::Pending { .. } => ErrorKind::Pending,
            Self::Lockout(_) => ErrorKind::Lockout,
            Self::NothingPending { .. } => ErrorKind::NothingPending,
            Self::Irreversible => ErrorKind::Irreversible,
            Self::Rollback { .. } => ErrorKind::Rollback,
            Self::ReadBack(_) => ErrorKind::ReadBack,
            Self::Protocol(_) => ErrorKind::Protocol,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    /// What it is about, one by one, each with its place in the policy where it
    /// has one. Empty where the message says it all.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Policy(error) => error.diagnostics().to_vec(),
            Self::Unresolved(all) => all
                .iter()
                .map(|one| diagnostic(one.message.clone(), Some(&one.origin)))
                .collect(),
            Self::Kernel(all) => all
                .iter()
                .map(|one| diagnostic(one.what(), one.origin.as_ref()))
                .collect(),
            Self::ReadBack(all) => all
                .iter()
                .map(|one| diagnostic(one.clone(), None))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Whether others kept changing the ruleset.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict)
    }
}

/// The kinds of [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // the variants of Error of the same names say it
pub enum ErrorKind {
    Policy,
    Unresolved,
    NotPermitted,
    NoNfTables,
    Kernel,
    BatchTooLarge,
    Conflict,
    Locked,
    Pending,
    Lockout,
    NothingPending,
    Irreversible,
    Rollback,
    ReadBack,
    Protocol,
    Io,
}

fn ended(last: Option<&Rollback>) -> String {
    match last {
        Some(last) => format!(": {last}"),
        None => String::new(),
    }
}

fn named(holder: &str) -> &str {
    if holder.is_empty() {
        "another process"
    } else {
        holder
    }
}

fn diagnostic(message: String, origin: Option<&Origin>) -> Diagnostic {
    let place = origin.map(|origin| origin.place).unwrap_or_default();
    Diagnostic {
        severity: Severity::Error,
        message,
        place,
        end: place,
        path: origin.map(Origin::path).unwrap_or_default(),
        label: String::new(),
        help: None,
        related: Vec::new(),
        file: None,
    }
}

fn join<T: fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Something that the kernel refused.
#[derive(Debug, Clone)]
pub struct KernelError {
    /// The error number.
    pub errno: i32,
    /// The kernel's own words, where it has any.
    pub text: Option<String>,
    /// What was refused, in the words of nft(8).
    pub operation: String,
    /// The line of the policy that it came from.
    pub origin: Option<Origin>,
}

impl KernelError {
    /// What was refused and why, without the place that it came from.
    fn what(&self) -> String {
        let error = io::Error::from_raw_os_error(self.errno);
        match &self.text {
            Some(text) => format!("{}: {error} ({text})", self.operation),
            None => format!("{}: {error}", self.operation),
        }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        match &self.origin {
            Some(origin) => write!(f, ", from {origin} of the policy"),
            None => Ok(()),
        }
    }
}

/// Something that the policy names and the host does not know.
#[derive(Debug, Clone)]
pub struct Unresolved {
    /// What, and why not.
    pub message: String,
    /// Where the policy names it.
    pub origin: Origin,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}
