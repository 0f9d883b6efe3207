//! The data types of set keys and how their values are written.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The type of one field of a set's key. The numbers are those that nft(8)
/// puts into `NFTA_SET_KEY_TYPE` (`enum datatypes` of its datatype.h); the
/// kernel only keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names of nft(8), DATA TYPES
pub enum DataType {
    Ipv4Addr,
    Ipv6Addr,
    EtherAddr,
    InetProto,
    InetService,
    Ifname,
    /// Another of nft(8), by its number and the bytes of a value; of other
    /// programs' sets.
    Other(u8, u8),
}

impl DataType {
    const ALL: [Self; 6] = [
        Self::Ipv4Addr,
        Self::Ipv6Addr,
        Self::EtherAddr,
        Self::InetProto,
        Self::InetService,
        Self::Ifname,
    ];

    /// The number of the type.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::EtherAddr => 9,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::Ifname => 41,
            Self::Other(number, _) => u32::from(number),
        }
    }

    /// The type of this number, where it is one that the air gap uses.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.number() == number)
    }

    /// The bytes of a value without padding.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::InetProto => 1,
            Self::InetService => 2,
            Self::Ipv4Addr => 4,
            Self::EtherAddr => 6,
            Self::Ipv6Addr | Self::Ifname => 16,
            Self::Other(_, width) => usize::from(width),
        }
    }

    /// As nft(8) names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::EtherAddr => "ether_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::Ifname => "ifname",
            Self::Other(1, _) => "verdict",
            Self::Other(14, _) => "icmp_type",
            Self::Other(15, _) => "tcp_flag",
            Self::Other(19, _) => "mark",
            Self::Other(20, _) => "iface_index",
            Self::Other(24, _) => "uid",
            Self::Other(25, _) => "gid",
            Self::Other(26, _) => "ct_state",
            Self::Other(29, _) => "icmpv6_type",
            Self::Other(..) => "integer",
        }
    }

    /// Writes a value of this type as nft(8) reads it.
    pub(crate) fn write(self, value: &[u8], out: &mut String) {
        match (self, value) {
            (Self::Ipv4Addr, &[a, b, c, d]) => {
                let _ = write!(out, "{}", Ipv4Addr::new(a, b, c, d));
            }
            (Self::Ipv6Addr, value) if value.len() == 16 => {
                let mut octets = [0; 16];
                octets.copy_from_slice(value);
                let _ = write!(out, "{}", Ipv6Addr::from(octets));
            }
            (Self::InetService, &[high, low]) => {
                let _ = write!(out, "{}", u16::from_be_bytes([high, low]));
            }
            (Self::InetProto, &[proto]) => out.push_str(&protocol_name(proto)),
            (Self::Ifname, value) => write_name(value, out),
            (_, value) => write_hex(value, out),
        }
    }
}

/// The bytes that a field of `len` bytes takes in a concatenated key: registers
/// are 4 bytes wide.
#[must_use]
pub fn field_width(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// A protocol number by its name where nft(8) is sure to know it.
pub(super) fn protocol_name(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        other => other.to_string(),
    }
}

/// An interface name, or a prefix of names with a star, in quotes.
pub(super) fn write_name(value: &[u8], out: &mut String) {
    let (name, star) = match value.iter().position(|b| *b == 0) {
        Some(end) => (value.get(..end).unwrap_or_default(), ""),
        None if value.len() == 16 => (value, ""),
        None => (value, "*"),
    };
    let _ = write!(out, "\"{}{star}\"", String::from_utf8_lossy(name));
}

/// A number in base 16, most significant byte first.
pub(super) fn write_hex(value: &[u8], out: &mut String) {
    out.push_str("0x");
    for byte in value {
        let _ = write!(out, "{byte:02x}");
    }
}
