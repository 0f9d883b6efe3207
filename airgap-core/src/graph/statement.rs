//! What a rule asks of a packet and does with it.

use std::net::IpAddr;

use super::Foreign;

use serde::{Deserialize, Serialize};

/// A part of a rule. The kernel holds these as expressions over registers;
/// here each says what is compared with what.
#[derive(Debug, Clone)]
pub enum Statement {
    /// Compares a field, after masking it, with a value.
    Match {
        /// What is looked at.
        left: Selector,
        /// The bits that count; all where there is none.
        mask: Option<Vec<u8>>,
        /// How.
        op: Cmp,
        /// With what, in the byte order in which the kernel holds it.
        right: Vec<u8>,
    },
    /// Whether a field lies between two values, both included.
    Range {
        /// What is looked at.
        left: Selector,
        /// Whether it must lie outside.
        negated: bool,
        /// The lowest value.
        first: Vec<u8>,
        /// The highest value.
        last: Vec<u8>,
    },
    /// Whether fields, concatenated, are in a set.
    Lookup {
        /// What is looked up.
        key: Vec<Selector>,
        /// Where.
        set: String,
        /// Whether it must be absent.
        negated: bool,
    },
    /// Whether the packet's socket was made in this control group (`socket
    /// cgroupv2`). A packet of no socket does not match.
    SocketCgroup(Cgroup),
    /// Ends the rule with a verdict.
    Verdict(Verdict),
    /// Counts. The values take no part in equality.
    Counter {
        /// Packets so far.
        packets: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Lets the rest of the rule be reached only so often.
    Limit {
        /// Packets in each unit of time.
        rate: u64,
        /// The unit, in seconds.
        unit: u64,
        /// Packets that may come at once.
        burst: u32,
    },
    /// Writes a line about the packet to the kernel's log, or hands it to the
    /// listeners of a group (NFLOG).
    Log {
        /// What the line begins with.
        prefix: String,
        /// The group; the kernel's own log where there is none.
        group: Option<u16>,
    },
    /// Sets bits of the label of the packet's flow (`ct label set`).
    SetLabel(u128),
    /// Translates the source to the address of the outgoing interface.
    Masquerade,
    /// Translates the destination.
    Dnat(NatTarget),
    /// What only other programs' rules say.
    Foreign(Box<Foreign>),
    /// What this version has no word for: the name of the expression and its
    /// attributes as the kernel gave them.
    Unknown {
        /// The expression's name.
        name: String,
        /// Its attributes.
        data: Vec<u8>,
    },
}

impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Match {
                    left: a,
                    mask: b,
                    op: c,
                    right: d,
                },
                Self::Match {
                    left: e,
                    mask: f,
                    op: g,
                    right: h,
                },
            ) => (a, b, c, d) == (e, f, g, h),
            (
                Self::Range {
                    left: a,
                    negated: b,
                    first: c,
                    last: d,
                },
                Self::Range {
                    left: e,
                    negated: f,
                    first: g,
                    last: h,
                },
            ) => (a, b, c, d) == (e, f, g, h),
            (
                Self::Lookup {
                    key: a,
                    set: b,
                    negated: c,
                },
                Self::Lookup {
                    key: d,
                    set: e,
                    negated: f,
                },
            ) => (a, b, c) == (d, e, f),
            (Self::SocketCgroup(a), Self::SocketCgroup(b)) => a == b,
            (Self::Verdict(a), Self::Verdict(b)) => a == b,
            (
                Self::Limit {
                    rate: a,
                    unit: b,
                    burst: c,
                },
                Self::Limit {
                    rate: d,
                    unit: e,
                    burst: f,
                },
            ) => (a, b, c) == (d, e, f),
            (
                Self::Log {
                    prefix: a,
                    group: b,
                },
                Self::Log {
                    prefix: c,
                    group: d,
                },
            ) => (a, b) == (c, d),
            (Self::SetLabel(a), Self::SetLabel(b)) => a == b,
            (Self::Dnat(a), Self::Dnat(b)) => a == b,
            (Self::Foreign(a), Self::Foreign(b)) => a == b,
            (Self::Counter { .. }, Self::Counter { .. }) | (Self::Masquerade, Self::Masquerade) => {
                true
            }
            (Self::Unknown { name: a, data: b }, Self::Unknown { name: c, data: d }) => {
                (a, b) == (c, d)
            }
            _ => false,
        }
    }
}
impl Eq for Statement {}

impl From<Foreign> for Statement {
    fn from(foreign: Foreign) -> Self {
        Self::Foreign(Box::new(foreign))
    }
}

/// The end of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The packet leaves the base chain and goes on to the next.
    Accept,
    /// The packet is gone, whatever other chains say.
    Drop,
    /// Back to the rule after the jump.
    Return,
    /// On in that chain, and back here afterwards.
    Jump(String),
    /// On in that chain, and not back.
    Goto(String),
    /// Another, by its number in `linux/netfilter.h`.
    Other(i32),
}

/// A control group of version 2, `cgroups(7)`. The kernel compares its number
/// alone, which is its own for as long as it exists.
#[derive(Debug, Clone, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// How many steps its path has.
    pub level: u32,
    /// The number of its folder.
    pub id: u64,
    /// Its path below the root of the hierarchy, without a slash in front;
    /// empty where the kernel told only the number.
    pub path: String,
}

impl PartialEq for Cgroup {
    fn eq(&self, other: &Self) -> bool {
        (self.level, self.id) == (other.level, other.id)
    }
}

/// Where a translated flow goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatTarget {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// Comparisons; `NFTA_CMP_OP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // six comparisons
pub enum Cmp {
    Eq = 0,
    Neq = 1,
    Lt = 2,
    Lte = 3,
    Gt = 4,
    Gte = 5,
}

impl Cmp {
    /// The comparison of this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        [
            Self::Eq,
            Self::Neq,
            Self::Lt,
            Self::Lte,
            Self::Gt,
            Self::Gte,
        ]
        .into_iter()
        .find(|op| *op as u32 == number)
    }
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Something about the packet that is not in it.
    Meta(MetaKey),
    /// Something about its flow.
    Ct(CtKey, Option<CtDirection>),
    /// Bytes of the packet.
    Payload {
        /// Counted from the start of which header.
        base: PayloadBase,
        /// From which byte.
        offset: u32,
        /// How many.
        len: u32,
    },
    /// What the routing table says.
    Fib(FibFlags, FibResult),
    /// Whether a header that may be absent is there.
    Exthdr(Exthdr),
    /// A number that the kernel holds in the machine's byte order, turned into
    /// network byte order so that its size can be compared.
    NetworkOrder(HostOrdered),
}

/// A number in the machine's byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // as in Selector
pub enum HostOrdered {
    Meta(MetaKey),
    Ct(CtKey, Option<CtDirection>),
}

impl HostOrdered {
    /// As the kernel holds it.
    #[must_use]
    pub fn selector(self) -> Selector {
        match self {
            Self::Meta(key) => Selector::Meta(key),
            Self::Ct(key, direction) => Selector::Ct(key, direction),
        }
    }
}

/// Keys of `meta`, with their numbers in `enum nft_meta_keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names of nft(8), META EXPRESSIONS
pub enum MetaKey {
    Len = 0,
    Protocol = 1,
    Mark = 3,
    Iif = 4,
    Oif = 5,
    Iifname = 6,
    Oifname = 7,
    IifType = 8,
    OifType = 9,
    SkUid = 10,
    SkGid = 11,
    NfProto = 15,
    L4Proto = 16,
    IbrName = 17,
    ObrName = 18,
    PktType = 19,
    IifGroup = 21,
    OifGroup = 22,
    Cgroup = 23,
    IifKind = 26,
    OifKind = 27,
}

impl MetaKey {
    const ALL: [Self; 21] = [
        Self::Len,
        Self::Protocol,
        Self::Mark,
        Self::Iif,
        Self::Oif,
        Self::Iifname,
        Self::Oifname,
        Self::IifType,
        Self::OifType,
        Self::SkUid,
        Self::SkGid,
        Self::NfProto,
        Self::L4Proto,
        Self::IbrName,
        Self::ObrName,
        Self::PktType,
        Self::IifGroup,
        Self::OifGroup,
        Self::Cgroup,
        Self::IifKind,
        Self::OifKind,
    ];

    /// The key of this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|key| *key as u32 == number)
    }

    /// The bytes of its value.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::NfProto | Self::L4Proto | Self::PktType => 1,
            Self::Protocol | Self::IifType | Self::OifType => 2,
            Self::Len
            | Self::Mark
            | Self::Iif
            | Self::Oif
            | Self::SkUid
            | Self::SkGid
            | Self::IifGroup
            | Self::OifGroup
            | Self::Cgroup => 4,
            Self::Iifname
            | Self::Oifname
            | Self::IbrName
            | Self::ObrName
            | Self::IifKind
            | Self::OifKind => 16,
        }
    }
}

/// Keys of `ct`, with their numbers in `enum nft_ct_keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names of nft(8), CONNTRACK EXPRESSIONS
pub enum CtKey {
    State = 0,
    Direction = 1,
    Status = 2,
    Mark = 3,
    L3Proto = 7,
    Protocol = 10,
    ProtoSrc = 11,
    ProtoDst = 12,
    Labels = 13,
    Zone = 17,
    SrcIp = 19,
    DstIp = 20,
    SrcIp6 = 21,
    DstIp6 = 22,
}

impl CtKey {
    const ALL: [Self; 14] = [
        Self::State,
        Self::Direction,
        Self::Status,
        Self::Mark,
        Self::L3Proto,
        Self::Protocol,
        Self::ProtoSrc,
        Self::ProtoDst,
        Self::Labels,
        Self::Zone,
        Self::SrcIp,
        Self::DstIp,
        Self::SrcIp6,
        Self::DstIp6,
    ];

    /// The key of this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|key| *key as u32 == number)
    }

    /// The bytes of its value.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Direction | Self::Protocol | Self::L3Proto => 1,
            Self::ProtoSrc | Self::ProtoDst | Self::Zone => 2,
            Self::State | Self::Status | Self::Mark | Self::SrcIp | Self::DstIp => 4,
            Self::Labels | Self::SrcIp6 | Self::DstIp6 => 16,
        }
    }
}

/// A direction of a flow; `enum ip_conntrack_dir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // two words of nft(8)
pub enum CtDirection {
    Original = 0,
    Reply = 1,
}

impl CtDirection {
    /// As nft(8) names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Reply => "reply",
        }
    }
}

/// Where the bytes of a payload selector are counted from;
/// `enum nft_payload_bases`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the words of the kernel's header
pub enum PayloadBase {
    LinkLayer = 0,
    Network = 1,
    Transport = 2,
}

/// What the routing table is asked with; `NFTA_FIB_FLAGS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FibFlags(pub u32);

impl FibFlags {
    /// By the packet's source (`NFTA_FIB_F_SADDR`).
    pub const SADDR: u32 = 1;
    /// By its destination (`NFTA_FIB_F_DADDR`).
    pub const DADDR: u32 = 2;
    /// Only routes over the interface that it came by (`NFTA_FIB_F_IIF`).
    pub const IIF: u32 = 8;
    /// Only routes over the interface that it goes to (`NFTA_FIB_F_OIF`).
    pub const OIF: u32 = 16;
    /// By its mark too (`NFTA_FIB_F_MARK`).
    pub const MARK: u32 = 4;
    /// Only whether there is an answer (`NFTA_FIB_F_PRESENT`).
    pub const PRESENT: u32 = 32;
}

/// What the routing table answers; `enum nft_fib_result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FibResult {
    /// The outgoing interface.
    Oif = 1,
    /// Its name.
    OifName = 2,
    /// The type of the address, as in `linux/rtnetlink.h`: 2 is local.
    AddrType = 3,
}

/// A header or option that may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exthdr {
    /// Whether there is an IPv6 routing header, RFC 8200 section 4.4.
    Ip6Routing,
    /// The offset of an IPv6 fragment with its flags, RFC 8200 section 4.5.
    Ip6FragmentOffset,
    /// Whether there is the IPv4 option for a loose source route, RFC 791.
    IpLsrr,
    /// Whether there is the IPv4 option for a strict source route, RFC 791.
    IpSsrr,
}

/// How the kernel is asked for an [`Exthdr`]: `NFTA_EXTHDR_OP` (0 IPv6, 2
/// IPv4), `_TYPE`, `_OFFSET`, `_LEN` and `_FLAGS` (1: only whether it is there).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExthdrNumbers {
    pub op: u32,
    pub kind: u8,
    pub offset: u32,
    pub len: u32,
    pub flags: u32,
}

impl Exthdr {
    const ALL: [Self; 4] = [
        Self::Ip6Routing,
        Self::Ip6FragmentOffset,
        Self::IpLsrr,
        Self::IpSsrr,
    ];

    pub(crate) fn numbers(self) -> ExthdrNumbers {
        let presence = |op, kind| ExthdrNumbers {
            op,
            kind,
            offset: 0,
            len: 1,
            flags: 1,
        };
        match self {
            Self::Ip6Routing => presence(0, 43),
            Self::Ip6FragmentOffset => ExthdrNumbers {
                op: 0,
                kind: 44,
                offset: 2,
                len: 2,
                flags: 0,
            },
            Self::IpLsrr => presence(2, 131),
            Self::IpSsrr => presence(2, 137),
        }
    }

    pub(crate) fn from_numbers(numbers: ExthdrNumbers) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|header| header.numbers() == numbers)
    }
}

impl Selector {
    /// The bytes of its value.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Meta(key) => key.width(),
            Self::Ct(key, _) => key.width(),
            Self::Payload { len, .. } => *len as usize,
            Self::Fib(_, FibResult::OifName) => 16,
            Self::Fib(..) => 4,
            Self::NetworkOrder(field) => field.selector().width(),
            Self::Exthdr(header) => header.numbers().len as usize,
        }
    }
}
