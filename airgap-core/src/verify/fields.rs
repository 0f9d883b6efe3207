//! What a rule reads, as the fields of a case: the same selector means another
//! field before and after a translation, and on the way back.

use std::rc::Rc;

use super::diagram::{ALL, Diagram, Diagrams, Full};
use super::interfaces::{Column, Interfaces};
use super::space::{
    Case, Journey, Kind, NO_SOCKET, ProtoClass, State, Var, Version, fragment, options,
};

use crate::graph::{
    CtDirection, CtKey, Exthdr, Family, FibFlags, FibResult, Hook, HostOrdered, MetaKey,
    PayloadBase, Selector,
};

/// Where a chain is called, seen from what has happened to the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stage {
    pub family: Family,
    pub hook: Hook,
    /// Whether conntrack has seen it.
    pub tracked: bool,
    /// Whether the translation of the destination is done.
    pub dst_done: bool,
    /// Whether that of the source is.
    pub src_done: bool,
}

/// `NF_IP_PRI_CONNTRACK`, `NF_IP_PRI_NAT_DST`, `NF_IP_PRI_NAT_SRC`
const CONNTRACK: i32 = -200;
const NAT_DST: i32 = -100;
const NAT_SRC: i32 = 100;

impl Stage {
    pub(crate) fn of(family: Family, hook: Hook, priority: i32) -> Self {
        let first = matches!(hook, Hook::Prerouting | Hook::Output);
        let on_device = matches!(hook, Hook::Ingress | Hook::Egress);
        Self {
            family,
            hook,
            tracked: !on_device && (!first || priority > CONNTRACK),
            dst_done: hook == Hook::Egress || !on_device && (!first || priority > NAT_DST),
            src_done: hook == Hook::Egress
                || matches!(hook, Hook::Postrouting | Hook::Input) && priority > NAT_SRC,
        }
    }
}

/// A field as a rule reads it.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub value: Value,
    /// The packets that have it; a rule about a field that is not there does
    /// not match.
    pub present: Diagram,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// No packet of the case has it.
    Absent,
    /// All packets of the case have this.
    Const(Vec<u8>),
    /// `bits` bits of a field, from bit `shift` on.
    Number {
        var: Var,
        shift: u32,
        bits: u32,
        host_order: bool,
    },
    /// What each value of a field stands for, where it stands for anything.
    Table(Var, Column),
    /// The status of the flow, of which only the translations are known.
    Status,
    /// Where in its datagram a fragment lies.
    FragmentOffset,
    /// Not known.
    Unknown,
}

fn whole(var: Var) -> Value {
    part(var, 0, var.bits(), false)
}

fn host_ordered(var: Var, bits: u32) -> Value {
    part(var, 0, bits, true)
}

fn part(var: Var, shift: u32, bits: u32, host_order: bool) -> Value {
    Value::Number {
        var,
        shift,
        bits,
        host_order,
    }
}

/// Bytes `offset..offset + len` of a field that begins at byte `start`.
fn bytes_of(var: Var, start: u32, offset: u32, len: u32) -> Value {
    let all = var.bits() / 8;
    let from = offset.checked_sub(start);
    match from.and_then(|from| all.checked_sub(from + len)) {
        Some(behind) if len > 0 => part(var, behind * 8, len * 8, false),
        _ => Value::Unknown,
    }
}

impl Case {
    pub(crate) fn packet_source(self, stage: Stage) -> Var {
        match self.kind {
            Kind::Untracked => self.source(),
            Kind::Error => self.reporter(),
            Kind::Flow if self.reply && stage.src_done => self.destination(),
            Kind::Flow if self.reply => self.answer(),
            Kind::Flow if stage.src_done => self.seen(),
            Kind::Flow => self.source(),
        }
    }

    pub(crate) fn packet_destination(self, stage: Stage) -> Var {
        match (self.kind, self.reply) {
            (Kind::Untracked, _) => self.destination(),
            (_, true) if stage.dst_done => self.source(),
            (_, true) => self.seen(),
            (_, false) if stage.dst_done => self.answer(),
            (_, false) => self.destination(),
        }
    }

    /// The source port of the packet, of a protocol with ports.
    fn packet_source_port(self, stage: Stage) -> Var {
        match (self.kind, self.reply) {
            (Kind::Flow, true) if stage.src_done => Var::Port,
            (Kind::Flow, true) => self.answer_port(),
            (Kind::Flow, false) if stage.src_done => self.seen_port(),
            _ => Var::SourcePort,
        }
    }

    fn packet_port(self, stage: Stage) -> Var {
        match (self.kind, self.reply) {
            (Kind::Flow, true) if stage.dst_done => Var::SourcePort,
            (Kind::Flow, true) => self.seen_port(),
            (Kind::Flow, false) if stage.dst_done => self.answer_port(),
            _ => Var::Port,
        }
    }
}

/// Reads selectors as fields.
pub(crate) struct Reader<'a> {
    pub case: Case,
    pub stage: Stage,
    pub interfaces: &'a Interfaces,
    /// The control groups that rules ask for, in the order of their numbers.
    pub cgroups: &'a [u64],
}

impl Reader<'_> {
    pub(crate) fn field(&self, d: &mut Diagrams, selector: &Selector) -> Result<Field, Full> {
        let mut present = ALL;
        let value = match *selector {
            Selector::Meta(key) => {
                if key == MetaKey::SkUid || key == MetaKey::SkGid {
                    let none = d.value(Var::Uid, NO_SOCKET)?;
                    present = d.not(none)?;
                }
                self.meta(key)
            }
            Selector::Ct(key, direction) => self.ct(key, direction),
            Selector::Payload { base, offset, len } => {
                if base == PayloadBase::Transport {
                    let later = d.value(Var::Fragment, fragment::LATER)?;
                    present = d.not(later)?;
                }
                self.payload(base, offset, len)
            }
            Selector::Fib(flags, result) => self.fib(flags, result),
            Selector::Exthdr(header) => {
                if header == Exthdr::Ip6FragmentOffset {
                    let wholes = d.value(Var::Fragment, fragment::WHOLE)?;
                    present = d.not(wholes)?;
                }
                self.exthdr(header)
            }
            Selector::NetworkOrder(field) => {
                let inner = self.field(d, &field.selector())?;
                let value = match inner.value {
                    Value::Number {
                        var, shift, bits, ..
                    } => part(var, shift, bits, false),
                    Value::Const(mut bytes) if cfg!(target_endian = "little") => {
                        bytes.reverse();
                        Value::Const(bytes)
                    }
                    Value::Const(bytes) => Value::Const(bytes),
                    Value::Absent => Value::Absent,
                    _ => Value::Unknown,
                };
                debug_assert!(matches!(field, HostOrdered::Meta(_) | HostOrdered::Ct(..)));
                return Ok(Field { value, ..inner });
            }
        };
        Ok(Field { value, present })
    }

    /// What every interface shows, of the one that the packet came by (`into`)
    /// or leaves by.
    fn interface(&self, into: bool, shows: &Column) -> Value {
        let journey = self.case.journey;
        let var = match (into, self.stage.hook) {
            (true, _) if journey == Journey::Out => None,
            (true, _) => Some(Var::Iif),
            (false, Hook::Prerouting | Hook::Input | Hook::Ingress) => None,
            (false, Hook::Output) => Some(self.case.oif_early()),
            (false, _) => Some(Var::Oif),
        };
        match var {
            None => match shows.first() {
                Some(Some(bytes)) => Value::Const(bytes.clone()),
                _ => Value::Absent,
            },
            Some(var) => Value::Table(var, Rc::clone(shows)),
        }
    }

    fn meta(&self, key: MetaKey) -> Value {
        let case = self.case;
        let Interfaces {
            names,
            indexes,
            kinds,
            ..
        } = self.interfaces;
        match key {
            MetaKey::Protocol => Value::Const(if case.is_v4() {
                vec![0x08, 0x00]
            } else {
                vec![0x86, 0xdd]
            }),
            MetaKey::NfProto if matches!(self.stage.family, Family::Netdev | Family::Bridge) => {
                Value::Const(vec![self.stage.family.number()])
            }
            // NFPROTO_IPV4, NFPROTO_IPV6
            MetaKey::NfProto => Value::Const(vec![if case.is_v4() { 2 } else { 10 }]),
            MetaKey::L4Proto => match case.packet_proto() {
                Some(number) => Value::Const(vec![number]),
                None => whole(Var::Proto),
            },
            MetaKey::Iifname => self.interface(true, names),
            MetaKey::Oifname => self.interface(false, names),
            MetaKey::Iif => self.interface(true, indexes),
            MetaKey::Oif => self.interface(false, indexes),
            MetaKey::IifKind => self.interface(true, kinds),
            MetaKey::OifKind => self.interface(false, kinds),
            MetaKey::Mark => host_ordered(Var::Mark, 32),
            MetaKey::SkUid => match case.journey {
                Journey::Out => host_ordered(Var::Uid, 32),
                Journey::Across => Value::Absent,
                Journey::In => Value::Unknown,
            },
            MetaKey::PktType if case.journey != Journey::Out => whole(Var::PacketType),
            _ => Value::Unknown,
        }
    }

    fn ct(&self, key: CtKey, direction: Option<CtDirection>) -> Value {
        let (case, stage) = (self.case, self.stage);
        if !stage.tracked {
            return match key {
                CtKey::State => Value::Const(State::Invalid.bit().to_ne_bytes().to_vec()),
                _ => Value::Absent,
            };
        }
        if key == CtKey::State {
            let bits = State::ALL.iter();
            let table = bits.map(|state| Some(state.bit().to_ne_bytes().to_vec()));
            return Value::Table(Var::State, table.collect());
        }
        if case.kind == Kind::Untracked {
            return Value::Absent;
        }
        let reply = match direction {
            Some(direction) => direction == CtDirection::Reply,
            None => case.reply,
        };
        // Before its translation a new flow has none to show, later ones have.
        let answer_is_known = !case.dnat || stage.dst_done;
        let seen_is_known = !case.snat || stage.src_done;
        let address = |var: Var, v4: bool| match (v4 == case.is_v4(), var) {
            (true, var) => whole(var),
            (false, _) => Value::Absent,
        };
        let known = |is_known: bool, value: Value| if is_known { value } else { Value::Unknown };
        match key {
            CtKey::Direction => Value::Const(vec![u8::from(case.reply)]),
            CtKey::Status => Value::Status,
            CtKey::Mark => host_ordered(Var::CtMark, 32),
            CtKey::L3Proto => Value::Const(vec![if case.is_v4() { 2 } else { 10 }]),
            CtKey::Protocol => match case.flow_proto() {
                Some(number) => Value::Const(vec![number]),
                None => whole(Var::Proto),
            },
            CtKey::Labels => host_ordered(Var::Label, 128),
            CtKey::SrcIp | CtKey::SrcIp6 => {
                let v4 = key == CtKey::SrcIp;
                if reply {
                    known(answer_is_known, address(case.answer(), v4))
                } else {
                    address(case.source(), v4)
                }
            }
            CtKey::DstIp | CtKey::DstIp6 => {
                let v4 = key == CtKey::DstIp;
                if reply {
                    known(seen_is_known, address(case.seen(), v4))
                } else {
                    address(case.destination(), v4)
                }
            }
            CtKey::ProtoSrc if !reply => whole(Var::SourcePort),
            CtKey::ProtoDst if !reply => whole(Var::Port),
            // Of pings back the identifier and the type of the answer.
            _ if case.proto == ProtoClass::Icmp => Value::Unknown,
            CtKey::ProtoSrc => known(answer_is_known, whole(case.answer_port())),
            CtKey::ProtoDst => known(seen_is_known, whole(case.seen_port())),
            _ => Value::Unknown,
        }
    }

    fn payload(&self, base: PayloadBase, offset: u32, len: u32) -> Value {
        let (case, stage) = (self.case, self.stage);
        match (base, case.version) {
            (PayloadBase::LinkLayer, _) if stage.family == Family::Netdev => match (offset, len) {
                (12, 2) => self.meta(MetaKey::Protocol),
                _ => Value::Unknown,
            },
            (PayloadBase::LinkLayer, _) => Value::Unknown,
            (PayloadBase::Network, Version::V4) => match (offset, len) {
                (0, 1) => self.options(|n| 0x40 | options::words(n)),
                (6, 2) => Value::FragmentOffset,
                (8, 1) => whole(Var::Hops),
                (9, 1) => self.meta(MetaKey::L4Proto),
                (12..16, _) => bytes_of(case.packet_source(stage), 12, offset, len),
                (16..20, _) => bytes_of(case.packet_destination(stage), 16, offset, len),
                _ => Value::Unknown,
            },
            (PayloadBase::Network, Version::V6) => match (offset, len) {
                (7, 1) => whole(Var::Hops),
                (8..24, _) => bytes_of(case.packet_source(stage), 8, offset, len),
                (24..40, _) => bytes_of(case.packet_destination(stage), 24, offset, len),
                _ => Value::Unknown,
            },
            (PayloadBase::Transport, _) => {
                let ported = matches!(case.proto, ProtoClass::Tcp | ProtoClass::Udp)
                    && case.kind != Kind::Error;
                let (first, second) = if ported {
                    (case.packet_source_port(stage), case.packet_port(stage))
                } else if case.packet_proto() == Some(case.version.icmp()) {
                    (case.icmp_header(), Var::Second)
                } else {
                    (Var::First, Var::Second)
                };
                match (offset, len) {
                    (0..2, _) => bytes_of(first, 0, offset, len),
                    (2..4, _) => bytes_of(second, 2, offset, len),
                    (13, 1) if case.packet_proto() == Some(6) => whole(Var::TcpFlags),
                    _ => Value::Unknown,
                }
            }
        }
    }

    fn options(&self, byte: impl Fn(u128) -> u8) -> Value {
        let table = (0..options::COUNT).map(|n| Some(vec![byte(n)]));
        Value::Table(Var::Options, table.collect())
    }

    fn exthdr(&self, header: Exthdr) -> Value {
        match (header, self.case.version) {
            (Exthdr::Ip6Routing, Version::V6) => whole_bit(Var::Routing),
            (Exthdr::Ip6FragmentOffset, Version::V6) => Value::FragmentOffset,
            (Exthdr::IpLsrr, Version::V4) => self.options(|n| u8::from(options::loose(n))),
            (Exthdr::IpSsrr, Version::V4) => self.options(|n| u8::from(options::strict(n))),
            (Exthdr::Ip6FragmentOffset, Version::V4) => Value::Absent,
            _ => Value::Const(vec![0]),
        }
    }

    fn fib(&self, flags: FibFlags, result: FibResult) -> Value {
        let from_source = FibFlags::SADDR | FibFlags::IIF | FibFlags::PRESENT;
        let to_destination = FibFlags::DADDR | FibFlags::IIF | FibFlags::PRESENT;
        let into = matches!(self.case.journey, Journey::In | Journey::Across);
        let settled = self.stage.dst_done || !(self.case.dnat || self.case.snat);
        match (flags.0, result) {
            (f, FibResult::Oif) if f == from_source && into => behind(Var::SourceBehind),
            (f, FibResult::Oif) if f == to_destination && into && settled => {
                behind(Var::DestinationBehind)
            }
            (FibFlags::DADDR, FibResult::AddrType) if settled => {
                host_ordered(Var::DestinationType, 32)
            }
            (FibFlags::DADDR, FibResult::AddrType) => host_ordered(Var::DialledType, 32),
            (FibFlags::SADDR, FibResult::AddrType) => host_ordered(Var::SourceType, 32),
            _ => Value::Unknown,
        }
    }

    /// The place of a control group among those that rules ask for.
    pub(crate) fn cgroup(&self, id: u64) -> Option<u128> {
        let at = self.cgroups.iter().position(|known| *known == id)?;
        Some(at as u128 + 1)
    }
}

/// A field of one bit as a byte of a rule.
fn whole_bit(var: Var) -> Value {
    Value::Table(var, [Some(vec![0]), Some(vec![1])].into())
}

/// A field of one bit as the kernel's 32-bit answer.
fn behind(var: Var) -> Value {
    let number = |n: u32| Some(n.to_ne_bytes().to_vec());
    Value::Table(var, [number(0), number(1)].into())
}
