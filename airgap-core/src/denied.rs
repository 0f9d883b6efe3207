//! Where what the air gap drops is logged.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Packets that each rule logs in a second; the others drop without a line, so
/// that a flood of them fills no disk.
pub(crate) const PER_SECOND: u64 = 10;
/// Packets that each rule logs at once.
pub(crate) const BURST: u32 = 20;

/// Where dropped packets are logged. A line begins with `airgap`, the family
/// and the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeniedLog {
    /// In the kernel's log. A network namespace other than the first logs there
    /// only if `net.netfilter.nf_log_all_netns` is 1.
    Kernel,
    /// To those who listen to this group (NFLOG), such as ulogd or tcpdump.
    Nflog(u16),
}

impl DeniedLog {
    /// The group of NFLOG.
    pub(crate) fn group(self) -> Option<u16> {
        match self {
            Self::Kernel => None,
            Self::Nflog(group) => Some(group),
        }
    }
}

impl fmt::Display for DeniedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel"),
            Self::Nflog(group) => write!(f, "nflog:{group}"),
        }
    }
}

impl FromStr for DeniedLog {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "kernel" {
            return Ok(Self::Kernel);
        }
        text.strip_prefix("nflog:")
            .and_then(|group| group.parse().ok())
            .map(Self::Nflog)
            .ok_or_else(|| {
                format!(
                    "expected `kernel`, or `nflog:` and a group from 0 to 65535; found `{text}`"
                )
            })
    }
}

impl TryFrom<String> for DeniedLog {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeniedLog> for String {
    fn from(log: DeniedLog) -> Self {
        log.to_string()
    }
}
