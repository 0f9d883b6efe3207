//! What can go wrong between a policy and the kernel.

use std::fmt;
use std::io;

use crate::graph::Origin;
use crate::policy::PolicyError;

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
            _ => None,
        }
    }

    /// Whether others kept changing the ruleset.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict)
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

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.operation,
            io::Error::from_raw_os_error(self.errno)
        )?;
        if let Some(text) = &self.text {
            write!(f, " ({text})")?;
        }
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
