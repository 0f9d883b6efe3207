//! What a watch tells.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::state::{Differences, Healed, NameStatus};

/// Something that a watch saw or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WatchEvent {
    /// The watch has begun: from now on nothing goes unnoticed.
    Watching {
        /// The hash of the policy that is loaded; none if there is no air gap.
        hash: Option<String>,
        /// Whether the kernel keeps others from changing the air gap.
        owns: bool,
    },
    /// Somebody loaded a policy, as `airgap apply` does.
    Loaded {
        /// Its hash.
        hash: String,
    },
    /// Somebody took the air gap away, as `airgap remove` does.
    Removed,
    /// The air gap was changed by others, and is as it was loaded again.
    Healed(Healed),
    /// The host has changed, and the air gap with it.
    Adapted {
        /// In what the air gap was not what the policy means on this host.
        changes: Differences,
    },
    /// A host name of the policy stands for something else, or does not resolve.
    Name {
        /// The name.
        name: String,
        /// All addresses that are open for it.
        addresses: Vec<IpAddr>,
        /// Why they are not simply its answer.
        #[serde(flatten)]
        status: NameStatus,
    },
    /// Something does not work, and is tried again.
    Failed {
        /// What and why.
        message: String,
    },
}

impl fmt::Display for WatchEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watching { hash, owns } => {
                match hash {
                    Some(hash) => write!(f, "watching policy sha256:{hash}")?,
                    None => f.write_str("watching; there is no air gap yet")?,
                }
                f.write_str(if *owns {
                    "; the kernel lets nobody else change it"
                } else {
                    "; others can change it, and are put right"
                })
            }
            Self::Loaded { hash } => write!(f, "policy sha256:{hash} was loaded"),
            Self::Removed => f.write_str("the air gap was removed"),
            Self::Healed(healed) => write!(f, "healed: {healed}"),
            Self::Adapted { changes } => write!(f, "adapted to the host: {changes}"),
            Self::Name {
                name,
                addresses,
                status,
            } => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                write!(f, "name {name} is {}{status}", addresses.join(", "))
            }
            Self::Failed { message } => write!(f, "failed, trying again: {message}"),
        }
    }
}
