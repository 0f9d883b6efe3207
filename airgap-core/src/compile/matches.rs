//! Statements in the words that the compiler uses, one function each.

use std::net::IpAddr;

use crate::graph::{
    Cmp, CtDirection, CtKey, Exthdr, FibFlags, FibResult, MetaKey, PayloadBase, Selector,
    Statement, Verdict,
};
use crate::policy::{BridgeName, PortRange, Proto};

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ip {
    V4,
    V6,
}

impl Ip {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// As it ends the name of a set.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    /// The number of ICMP or ICMPv6.
    pub fn icmp(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 58,
        }
    }
}

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

pub(super) fn protocol_number(proto: Proto) -> u8 {
    match proto {
        Proto::Tcp => TCP,
        Proto::Udp => UDP,
    }
}

pub(super) fn compare(left: Selector, op: Cmp, right: impl Into<Vec<u8>>) -> Statement {
    Statement::Match {
        left,
        mask: None,
        op,
        right: right.into(),
    }
}

pub(super) fn is(left: Selector, right: impl Into<Vec<u8>>) -> Statement {
    compare(left, Cmp::Eq, right)
}

pub(super) fn masked(
    left: Selector,
    mask: impl Into<Vec<u8>>,
    op: Cmp,
    right: impl Into<Vec<u8>>,
) -> Statement {
    Statement::Match {
        left,
        mask: Some(mask.into()),
        op,
        right: right.into(),
    }
}

pub(super) fn in_set(left: Selector, set: impl Into<String>) -> Statement {
    Statement::Lookup {
        key: vec![left],
        set: set.into(),
        negated: false,
    }
}

/// The packet is of this IP version.
pub(super) fn ip_version(ip: Ip) -> Statement {
    // NFPROTO_IPV4, NFPROTO_IPV6
    is(
        Selector::Meta(MetaKey::NfProto),
        [match ip {
            Ip::V4 => 2,
            Ip::V6 => 10,
        }],
    )
}

/// The EtherType in the frame itself. What a packet socket *says* its protocol
/// to be is another thing, and the kernel believes it; a VLAN tag shows here
/// too.
pub(super) const ETHER_TYPE: Selector = Selector::Payload {
    base: PayloadBase::LinkLayer,
    offset: 12,
    len: 2,
};

/// The frame holds a packet of this IP version.
pub(super) fn frame_of(ip: Ip) -> Statement {
    is(
        ETHER_TYPE,
        match ip {
            Ip::V4 => [0x08, 0x00],
            Ip::V6 => [0x86, 0xdd],
        },
    )
}

/// The packet's own transport protocol, behind all extension headers.
pub(super) fn l4proto(number: u8) -> Statement {
    is(Selector::Meta(MetaKey::L4Proto), [number])
}

pub(super) fn payload(base: PayloadBase, offset: u32, len: u32) -> Selector {
    Selector::Payload { base, offset, len }
}

pub(super) fn source_address(ip: Ip) -> Selector {
    match ip {
        Ip::V4 => payload(PayloadBase::Network, 12, 4),
        Ip::V6 => payload(PayloadBase::Network, 8, 16),
    }
}

pub(super) fn destination_address(ip: Ip) -> Selector {
    match ip {
        Ip::V4 => payload(PayloadBase::Network, 16, 4),
        Ip::V6 => payload(PayloadBase::Network, 24, 16),
    }
}

pub(super) const SOURCE_PORT: Selector = Selector::Payload {
    base: PayloadBase::Transport,
    offset: 0,
    len: 2,
};
pub(super) const DESTINATION_PORT: Selector = Selector::Payload {
    base: PayloadBase::Transport,
    offset: 2,
    len: 2,
};

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// An address lies in a network.
pub(super) fn in_network(left: Selector, address: IpAddr, prefix: u8) -> Statement {
    let address = octets(address);
    if usize::from(prefix) == address.len() * 8 {
        return is(left, address);
    }
    let mut mask = vec![0u8; address.len()];
    for bit in 0..usize::from(prefix) {
        if let Some(byte) = mask.get_mut(bit / 8) {
            *byte |= 0x80 >> (bit % 8);
        }
    }
    masked(left, mask, Cmp::Eq, address)
}

/// Ports of a range.
pub(super) fn port_in(left: Selector, ports: PortRange) -> Statement {
    if ports.first == ports.last {
        return is(left, ports.first.to_be_bytes());
    }
    Statement::Range {
        left,
        negated: false,
        first: ports.first.to_be_bytes().to_vec(),
        last: ports.last.to_be_bytes().to_vec(),
    }
}

/// A name padded with zeros to 16 bytes, as the kernel compares it.
pub(super) fn padded_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(MetaKey::Iifname.width(), 0);
    bytes
}

/// The interface of this key has a name that the policy means. A pattern is a
/// comparison of the letters before the star.
pub(super) fn named(key: MetaKey, name: &BridgeName) -> Statement {
    if name.is_pattern() {
        is(Selector::Meta(key), name.stem().as_bytes())
    } else {
        is(Selector::Meta(key), padded_name(name.as_str()))
    }
}

pub(super) fn interface(key: MetaKey, name: &str) -> Statement {
    is(Selector::Meta(key), padded_name(name))
}

/// The packet goes the way in which its flow was opened.
pub(super) fn original() -> Statement {
    is(
        Selector::Ct(CtKey::Direction, None),
        [CtDirection::Original as u8],
    )
}

/// The packet goes back to where its flow was opened.
pub(super) fn reply() -> Statement {
    is(
        Selector::Ct(CtKey::Direction, None),
        [CtDirection::Reply as u8],
    )
}

/// `IPS_DST_NAT` of `linux/netfilter/nf_conntrack_common.h`
const STATUS_DNAT: u32 = 32;

/// The flow goes to where it was dialled. A rule of another program that
/// translates destinations could else send an allowed flow anywhere.
pub(super) fn not_translated() -> Statement {
    masked(
        Selector::Ct(CtKey::Status, None),
        STATUS_DNAT.to_ne_bytes(),
        Cmp::Eq,
        0u32.to_ne_bytes(),
    )
}

/// The flow goes elsewhere than it was dialled.
pub(super) fn translated() -> Statement {
    masked(
        Selector::Ct(CtKey::Status, None),
        STATUS_DNAT.to_ne_bytes(),
        Cmp::Neq,
        0u32.to_ne_bytes(),
    )
}

/// `NF_CT_STATE_BIT` of these states
const STATE_RELATED: u32 = 4;
const STATE_NEW: u32 = 8;

fn state(bit: u32) -> Statement {
    masked(
        Selector::Ct(CtKey::State, None),
        bit.to_ne_bytes(),
        Cmp::Neq,
        0u32.to_ne_bytes(),
    )
}

/// The packet is an error about a flow, or opens one that another announced.
pub(super) fn state_related() -> Statement {
    state(STATE_RELATED)
}

/// No packet of the flow was answered yet.
pub(super) fn state_new() -> Statement {
    state(STATE_NEW)
}

/// The protocol of the flow. For an ICMP error that is the protocol of the
/// flow which the error is about.
pub(super) fn flow_protocol(number: u8) -> Statement {
    is(Selector::Ct(CtKey::Protocol, None), [number])
}

/// The address that opened the flow.
pub(super) fn flow_source(ip: Ip) -> Selector {
    Selector::Ct(
        if ip == Ip::V4 {
            CtKey::SrcIp
        } else {
            CtKey::SrcIp6
        },
        Some(CtDirection::Original),
    )
}

/// The address that was dialled.
pub(super) fn flow_destination(ip: Ip) -> Selector {
    Selector::Ct(
        if ip == Ip::V4 {
            CtKey::DstIp
        } else {
            CtKey::DstIp6
        },
        Some(CtDirection::Original),
    )
}

/// The port that was dialled.
pub(super) const FLOW_PORT: Selector = Selector::Ct(CtKey::ProtoDst, Some(CtDirection::Original));

/// The address that answers, behind all translation.
pub(super) fn answering_address(ip: Ip) -> Selector {
    Selector::Ct(
        if ip == Ip::V4 {
            CtKey::SrcIp
        } else {
            CtKey::SrcIp6
        },
        Some(CtDirection::Reply),
    )
}

/// The port that answers, behind all translation.
pub(super) const ANSWERING_PORT: Selector = Selector::Ct(CtKey::ProtoSrc, Some(CtDirection::Reply));

/// Whether the packet's source is one that the routes place behind the
/// interface that it came by.
pub(super) fn source_is_behind_interface(yes: bool) -> Statement {
    routed_back(FibFlags::SADDR, yes)
}

/// Whether the packet's destination lies behind the interface that it came by.
pub(super) fn destination_is_behind_interface(yes: bool) -> Statement {
    routed_back(FibFlags::DADDR, yes)
}

fn routed_back(by: u32, yes: bool) -> Statement {
    is(
        Selector::Fib(
            FibFlags(by | FibFlags::IIF | FibFlags::PRESENT),
            FibResult::Oif,
        ),
        u32::from(yes).to_ne_bytes(),
    )
}

/// `RTN_LOCAL` of `linux/rtnetlink.h`
const LOCAL: u32 = 2;

/// Whether the packet's destination is an address of the host's own.
pub(super) fn destination_is_local(yes: bool) -> Statement {
    let op = if yes { Cmp::Eq } else { Cmp::Neq };
    compare(
        Selector::Fib(FibFlags(FibFlags::DADDR), FibResult::AddrType),
        op,
        LOCAL.to_ne_bytes(),
    )
}

pub(super) fn has_header(header: Exthdr) -> Statement {
    is(Selector::Exthdr(header), [1])
}

/// The type of an ICMP or ICMPv6 message; the rule has asked for the protocol.
pub(super) const ICMP_TYPE: Selector = Selector::Payload {
    base: PayloadBase::Transport,
    offset: 0,
    len: 1,
};
/// Its code.
pub(super) const ICMP_CODE: Selector = Selector::Payload {
    base: PayloadBase::Transport,
    offset: 1,
    len: 1,
};

pub(super) fn accept() -> Statement {
    Statement::Verdict(Verdict::Accept)
}

pub(super) fn return_() -> Statement {
    Statement::Verdict(Verdict::Return)
}

pub(super) fn jump(chain: impl Into<String>) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.into()))
}

pub(super) fn goto(chain: impl Into<String>) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.into()))
}

/// Counts and drops: every drop is counted, so that status can tell where.
pub(super) fn drop_counted() -> [Statement; 2] {
    [
        Statement::Counter {
            packets: 0,
            bytes: 0,
        },
        Statement::Verdict(Verdict::Drop),
    ]
}
