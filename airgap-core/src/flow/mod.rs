//! Flows: what happens to one under a rule graph, and why.

mod evaluate;
mod explain;
pub mod field;
mod follow;
mod journey;
pub(crate) mod names;
mod nearest;
mod opening;
pub mod packet;
mod published;
mod story;
#[cfg(test)]
mod tests;
mod text;
pub mod value;
pub mod world;

use std::net::IpAddr;

use serde::Serialize;

pub use follow::{Followed, Place, RuleStep};
pub use journey::Start;
pub use nearest::Nearest;
pub use story::{DecidingRule, Explanation, FlowVerdict, WayStep};
pub use text::{Named, Names};
pub use world::World;

/// A flow: who opens it to where. Read from text and written as text:
/// `host -> tcp 203.0.113.9:443`, `tcp 203.0.113.9 -> host:22`,
/// `docker0 172.17.0.2 -> udp 192.0.2.53:53`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The protocol.
    pub proto: FlowProto,
    /// Who opens it.
    pub from: End,
    /// The port that it comes from; any where there is none.
    pub source_port: Option<u16>,
    /// To whom it is opened.
    pub to: End,
    /// The port that it is opened to; none of protocols without ports.
    pub port: Option<u16>,
    /// The user whose process opens it, of a flow of the host. Without one, a
    /// process of a user that no rule asks for.
    pub user: Option<u32>,
}

/// The protocol of a [`Flow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // names of protocols
pub enum FlowProto {
    Tcp,
    Udp,
    /// Ping: an echo request of ICMP or ICMPv6.
    Icmp,
    /// Another, by its number.
    Other(u8),
}

/// An end of a [`Flow`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum End {
    /// The host itself.
    Host {
        /// Which of its addresses; the one that suits where there is none.
        address: Option<IpAddr>,
    },
    /// Somebody else.
    At {
        /// The interface of the host behind which this is; by the routes where
        /// there is none.
        interface: Option<String>,
        /// The address.
        address: IpAddr,
    },
}

impl End {
    /// Its address, where one is named.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Host { address } => *address,
            Self::At { address, .. } => Some(*address),
        }
    }

    /// Whether this is the host.
    #[must_use]
    pub fn is_host(&self) -> bool {
        matches!(self, Self::Host { .. })
    }
}

impl FlowProto {
    /// Its number in packets of this IP version.
    #[must_use]
    pub fn number(self, ipv4: bool) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp if ipv4 => 1,
            Self::Icmp => 58,
            Self::Other(number) => number,
        }
    }

    /// Whether its flows are told apart by ports.
    #[must_use]
    pub fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Other(33 | 132 | 136))
    }
}

impl Flow {
    /// Whether it is of IPv4; the ends have one version.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        let address = self.from.address().or(self.to.address());
        address.is_none_or(|address| address.is_ipv4())
    }
}

impl Serialize for Flow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
