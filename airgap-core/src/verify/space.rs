//! What a packet is, for a verification: the case that it belongs to, which is
//! looked at one by one, and the fields that diagrams ask.

use std::net::IpAddr;

/// A field of a packet or of what is known about it. Diagrams ask in this
/// order: what has few values first, so that large sets of addresses are held
/// once and not once for each value of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Var {
    /// The interface that it came by: a number of [`super::interfaces`].
    Iif,
    /// That by which it leaves, as the hook `output` shows it before a
    /// translation sends it elsewhere.
    OifEarly,
    /// That by which it leaves.
    Oif,
    /// What conntrack says: a number of [`State`].
    State,
    /// Whether its source lies behind the interface that it came by.
    SourceBehind,
    /// Whether its destination does.
    DestinationBehind,
    /// The kind of its destination's address, as in `linux/rtnetlink.h`.
    DestinationType,
    /// That of the address that was dialled.
    DialledType,
    /// That of its source's address.
    SourceType,
    /// The options of its IPv4 header: a number of [`options`].
    Options,
    /// Whether it has an IPv6 routing header.
    Routing,
    /// Whether it is a fragment: a number of [`fragment`].
    Fragment,
    /// The user of its socket, or [`NO_SOCKET`].
    Uid,
    /// The control group of its socket, by its place among those that rules ask
    /// for, from 1.
    Cgroup,
    /// Bits of the label of its flow.
    Label,
    /// Its mark.
    Mark,
    /// The mark of its flow.
    CtMark,
    /// `PACKET_HOST` and so on of `linux/if_packet.h`.
    PacketType,
    /// Its protocol, where the case leaves that open.
    Proto,
    /// The flags of TCP.
    TcpFlags,
    /// The hop limit of IPv6, the time to live of IPv4.
    Hops,
    /// The address that opened the flow.
    Source4,
    Source6,
    /// The address that was dialled.
    Destination4,
    Destination6,
    /// The address that answers, where the destination is translated.
    Answer4,
    Answer6,
    /// The address that the far side sees, where the source is translated.
    Seen4,
    Seen6,
    /// The router that reports an error about the flow.
    Reporter4,
    Reporter6,
    /// The port that was dialled; of ping the type and code.
    Port,
    /// The port that opened the flow; of ping the identifier.
    SourcePort,
    AnswerPort,
    SeenPort,
    /// The first two bytes behind the IP headers, where they are no port.
    First,
    /// The next two.
    Second,
    /// Behind all others: of the diagrams that ask nothing.
    Leaf,
}

impl Var {
    /// The bits of its values.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::SourceBehind | Self::DestinationBehind | Self::Routing => 1,
            Self::Proto | Self::TcpFlags | Self::Hops | Self::PacketType => 8,
            Self::Iif | Self::OifEarly | Self::Oif | Self::Cgroup => 16,
            Self::Port
            | Self::SourcePort
            | Self::AnswerPort
            | Self::SeenPort
            | Self::First
            | Self::Second => 16,
            Self::Mark | Self::CtMark => 32,
            Self::Source4 | Self::Destination4 | Self::Answer4 | Self::Seen4 | Self::Reporter4 => {
                32
            }
            Self::Source6
            | Self::Destination6
            | Self::Answer6
            | Self::Seen6
            | Self::Reporter6
            | Self::Label => 128,
            Self::DestinationType | Self::DialledType | Self::SourceType => 32,
            Self::State | Self::Options | Self::Fragment | Self::Leaf => 8,
            Self::Uid => 33,
        }
    }

    /// The highest value.
    pub(crate) fn highest(self) -> u128 {
        match self {
            Self::State => State::ALL.len() as u128 - 1,
            Self::Fragment => 2,
            Self::Options => options::COUNT - 1,
            Self::Uid => NO_SOCKET,
            _ => u128::MAX >> (128 - self.bits()),
        }
    }
}

/// Of [`Var::Uid`]: the packet belongs to no socket of a process.
pub(crate) const NO_SOCKET: u128 = 1 << 32;

/// What conntrack says of a packet. The order is that of [`Var::State`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    New,
    Established,
    Related,
    Invalid,
    Untracked,
}

impl State {
    pub(crate) const ALL: [Self; 5] = [
        Self::New,
        Self::Established,
        Self::Related,
        Self::Invalid,
        Self::Untracked,
    ];

    /// `NF_CT_STATE_BIT` of `linux/netfilter/nf_conntrack_common.h`.
    pub(crate) fn bit(self) -> u32 {
        match self {
            Self::Invalid => 1,
            Self::Established => 2,
            Self::Related => 4,
            Self::New => 8,
            Self::Untracked => 64,
        }
    }

    pub(crate) fn number(self) -> u128 {
        self as u128
    }
}

/// The values of [`Var::Fragment`].
pub(crate) mod fragment {
    pub(crate) const WHOLE: u128 = 0;
    /// It lacks the header of its transport protocol; 1 is a first one.
    pub(crate) const LATER: u128 = 2;
}

/// The values of [`Var::Options`]: 0 for a header without options, then for
/// each length from 6 to 15 words which source routes are in it.
pub(crate) mod options {
    pub(crate) const COUNT: u128 = 41;

    /// The length of the header in words.
    pub(crate) fn words(number: u128) -> u8 {
        u8::try_from(number.checked_sub(1).map_or(5, |n| 6 + n / 4)).unwrap_or(15)
    }

    /// Whether there is a loose source route.
    pub(crate) fn loose(number: u128) -> bool {
        number > 0 && (number - 1) & 1 != 0
    }

    /// Whether there is a strict source route.
    pub(crate) fn strict(number: u128) -> bool {
        number > 0 && (number - 1) & 2 != 0
    }
}

/// The way of a packet through the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Journey {
    /// From the host.
    Out,
    /// To the host.
    In,
    /// From one interface to another, or back.
    Across,
}

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Version {
    V4,
    V6,
}

impl Version {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// The number of ICMP or ICMPv6.
    pub(crate) fn icmp(self) -> u8 {
        if self == Self::V4 { 1 } else { 58 }
    }
}

/// What a packet is to conntrack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A packet of a flow.
    Flow,
    /// An ICMP error about a flow.
    Error,
    /// Of no flow.
    Untracked,
}

/// The protocol of a flow, or of a packet of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ProtoClass {
    Tcp,
    Udp,
    /// That of the IP version.
    Icmp,
    Other,
}

/// What is looked at case by case: all fields that decide which part of a
/// packet another field means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Case {
    pub kind: Kind,
    /// Whether it goes back to where its flow was opened.
    pub reply: bool,
    /// Whether the destination of the flow is translated.
    pub dnat: bool,
    /// Whether its source is.
    pub snat: bool,
    pub journey: Journey,
    pub proto: ProtoClass,
    pub version: Version,
}

impl Case {
    /// All of them, the plain ones first.
    pub(crate) fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for journey in [Journey::Out, Journey::In, Journey::Across] {
            for version in Version::BOTH {
                for proto in [
                    ProtoClass::Tcp,
                    ProtoClass::Udp,
                    ProtoClass::Icmp,
                    ProtoClass::Other,
                ] {
                    let plain = Self {
                        kind: Kind::Untracked,
                        reply: false,
                        dnat: false,
                        snat: false,
                        journey,
                        proto,
                        version,
                    };
                    cases.push(plain);
                    for kind in [Kind::Flow, Kind::Error] {
                        for bits in 0..8 {
                            cases.push(Self {
                                kind,
                                reply: bits & 1 != 0,
                                dnat: bits & 2 != 0,
                                snat: bits & 4 != 0,
                                ..plain
                            });
                        }
                    }
                }
            }
        }
        cases.sort();
        cases
    }

    pub(crate) fn is_v4(self) -> bool {
        self.version == Version::V4
    }

    fn pick(self, v4: Var, v6: Var) -> Var {
        if self.is_v4() { v4 } else { v6 }
    }

    /// The address that opened the flow; of a packet of none its source.
    pub(crate) fn source(self) -> Var {
        self.pick(Var::Source4, Var::Source6)
    }

    /// The address that was dialled; of a packet of no flow its destination.
    pub(crate) fn destination(self) -> Var {
        self.pick(Var::Destination4, Var::Destination6)
    }

    /// The address that answers.
    pub(crate) fn answer(self) -> Var {
        if self.dnat {
            self.pick(Var::Answer4, Var::Answer6)
        } else {
            self.destination()
        }
    }

    /// The port that answers.
    pub(crate) fn answer_port(self) -> Var {
        if self.dnat {
            Var::AnswerPort
        } else {
            Var::Port
        }
    }

    /// The address that the far side sees.
    pub(crate) fn seen(self) -> Var {
        if self.snat {
            self.pick(Var::Seen4, Var::Seen6)
        } else {
            self.source()
        }
    }

    /// The port that the far side sees.
    pub(crate) fn seen_port(self) -> Var {
        if self.snat {
            Var::SeenPort
        } else {
            Var::SourcePort
        }
    }

    /// Who reports an error.
    pub(crate) fn reporter(self) -> Var {
        self.pick(Var::Reporter4, Var::Reporter6)
    }

    /// The interface by which the hook `output` says that the packet leaves:
    /// another than it does where its destination is translated there, or back.
    pub(crate) fn oif_early(self) -> Var {
        if self.reply && self.snat || !self.reply && self.dnat {
            Var::OifEarly
        } else {
            Var::Oif
        }
    }

    /// The protocol of the flow, or `None` where it is left open.
    pub(crate) fn flow_proto(self) -> Option<u8> {
        match self.proto {
            ProtoClass::Tcp => Some(6),
            ProtoClass::Udp => Some(17),
            ProtoClass::Icmp => Some(self.version.icmp()),
            ProtoClass::Other => None,
        }
    }

    /// The protocol of the packet itself, or `None` where it is left open.
    pub(crate) fn packet_proto(self) -> Option<u8> {
        if self.kind == Kind::Error {
            Some(self.version.icmp())
        } else {
            self.flow_proto()
        }
    }

    /// The type and code of an ICMP packet.
    pub(crate) fn icmp_header(self) -> Var {
        // A ping is dialled by its type and code.
        if self.kind == Kind::Flow && self.proto == ProtoClass::Icmp && !self.reply {
            Var::Port
        } else {
            Var::First
        }
    }
}
