//! A packet with what the kernel knows about it: its bytes, of which some may be
//! unknown, its flow's record, and who sent it.

use std::net::IpAddr;

use super::value::{Answer, Value};
use crate::graph::{CtDirection, PayloadBase};

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // two numbers
pub enum IpVersion {
    V4,
    V6,
}

impl IpVersion {
    /// The version of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// The bytes of an address.
    #[must_use]
    pub fn address_len(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// Where an address stands in the header.
    #[must_use]
    pub fn address_offset(self, end: Side) -> usize {
        match (self, end) {
            (Self::V4, Side::Source) => 12,
            (Self::V4, Side::Destination) => 16,
            (Self::V6, Side::Source) => 8,
            (Self::V6, Side::Destination) => 24,
        }
    }

    /// Its EtherType.
    #[must_use]
    pub fn ether_type(self) -> [u8; 2] {
        match self {
            Self::V4 => [0x08, 0x00],
            Self::V6 => [0x86, 0xdd],
        }
    }

    /// `NFPROTO_IPV4` or `NFPROTO_IPV6` of `linux/netfilter.h`.
    #[must_use]
    pub fn nfproto(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}

/// An end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // two words
pub enum Side {
    Source,
    Destination,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// Something of both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // as in Side
pub struct Both<T> {
    pub source: T,
    pub destination: T,
}

impl<T> Both<T> {
    /// That of an end.
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// That of an end, to be changed.
    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Source => &mut self.source,
            Side::Destination => &mut self.destination,
        }
    }
}

/// An address, of which there may be known no more than whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its bytes.
    pub value: Value,
    /// Whether it is one of the host's own; by its bytes where this is `None`.
    pub local: Option<bool>,
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        let value = match address {
            IpAddr::V4(address) => Value::known(address.octets()),
            IpAddr::V6(address) => Value::known(address.octets()),
        };
        Self { value, local: None }
    }
}

impl Address {
    /// Some address of the host's own, or of nobody's here.
    #[must_use]
    pub fn some(version: IpVersion, local: bool) -> Self {
        Self {
            value: Value::unknown(version.address_len()),
            local: Some(local),
        }
    }

    /// Whether the two are one address.
    #[must_use]
    pub fn same(&self, other: &Self) -> Answer {
        match (self.local, other.local) {
            (Some(a), Some(b)) if a != b => Answer::No,
            _ => self.value.same(&other.value),
        }
    }

    /// The address, where it is known.
    #[must_use]
    pub fn exact(&self) -> Option<IpAddr> {
        crate::graph::address_of(self.value.exact()?)
    }
}

/// The ends of a flow in one direction, as conntrack keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuple {
    /// The address that sends.
    pub source: Address,
    /// The address that is sent to.
    pub destination: Address,
    /// The port that sends, of ICMP the number of the ping.
    pub source_port: Value,
    /// The port that is sent to, of ICMP the type and the code.
    pub destination_port: Value,
}

impl Tuple {
    /// The address of an end.
    #[must_use]
    pub fn address(&self, side: Side) -> &Address {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// The port of an end.
    #[must_use]
    pub fn port(&self, side: Side) -> &Value {
        match side {
            Side::Source => &self.source_port,
            Side::Destination => &self.destination_port,
        }
    }

    /// Gives an end another address and port.
    pub fn set(&mut self, side: Side, address: Address, port: Value) {
        match side {
            Side::Source => (self.source, self.source_port) = (address, port),
            Side::Destination => (self.destination, self.destination_port) = (address, port),
        }
    }
}

/// What conntrack keeps of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The protocol.
    pub proto: u8,
    /// As the flow was opened.
    pub original: Tuple,
    /// As it is answered, behind all translation.
    pub reply: Tuple,
    /// `enum ip_conntrack_status`
    pub status: Value,
    /// The flow's mark.
    pub mark: Value,
    /// The flow's label, in the machine's byte order.
    pub label: Value,
    /// Whether the source and the destination were decided on, so that no rule
    /// is asked for them again.
    pub decided: Both<bool>,
}

/// `IPS_SEEN_REPLY`, `IPS_SRC_NAT` and `IPS_DST_NAT` of
/// `linux/netfilter/nf_conntrack_common.h`
pub const STATUS_SEEN_REPLY: u32 = 2;
pub(super) const STATUS_SRC_NAT: u32 = 16;
pub(super) const STATUS_DST_NAT: u32 = 32;
/// The bits of the status that are known of a flow that was followed here.
const STATUS_KNOWN: u32 = 1 | STATUS_SEEN_REPLY | STATUS_SRC_NAT | STATUS_DST_NAT;

impl Record {
    /// The record of a flow that opens so.
    #[must_use]
    pub fn new(proto: u8, original: Tuple, reply: Tuple) -> Self {
        Self {
            proto,
            original,
            reply,
            status: Value::partly([0; 4], STATUS_KNOWN.to_ne_bytes()),
            mark: Value::known([0; 4]),
            label: Value::known([0; 16]),
            decided: Both::default(),
        }
    }

    /// Sets bits of the status.
    pub fn set_status(&mut self, bits: u32) {
        self.status = self.status.clone().or(&bits.to_ne_bytes());
    }

    /// The ends in a direction.
    #[must_use]
    pub fn tuple(&self, direction: CtDirection) -> &Tuple {
        match direction {
            CtDirection::Original => &self.original,
            CtDirection::Reply => &self.reply,
        }
    }
}

/// How conntrack sees a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tracking {
    /// Not at all: it was not there yet, does not run, or cannot place it.
    None,
    /// A rule told it not to.
    Untracked,
    /// As a packet of the flow with the record.
    Of {
        /// Which way it goes.
        direction: CtDirection,
        /// `NF_CT_STATE_BIT`: 2 established, 4 related, 8 new.
        state: u32,
    },
}

/// Who sent a packet, as its socket tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// It belongs to no socket of a process: others or the kernel sent it.
    Nobody,
    /// A process of this user.
    User(u32),
    /// A process of this host, of a user that is not known, or none.
    Unknown,
}

/// Where the transport header is, as nf_tables finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transport {
    proto: u8,
    offset: usize,
    /// Whether this is a fragment that begins behind the header.
    later_fragment: bool,
}

/// What nf_tables finds of the transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    At(Transport),
    Nothing,
    /// The bytes that tell are not known.
    Unclear,
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its IP version.
    pub version: IpVersion,
    /// From the IP header on.
    bytes: Value,
    /// Whether there are no more bytes than those.
    complete: bool,
    /// The header of its frame, where it has one.
    pub frame: Option<Value>,
    transport: Found,
    /// Whether its source and destination are the host's own; by their bytes
    /// where that is `None`.
    local: Both<Option<bool>>,
    /// `meta mark`, in the machine's byte order.
    pub mark: Value,
    /// Who sent it.
    pub sender: Sender,
    /// How conntrack sees it.
    pub tracking: Tracking,
    /// The record of its flow.
    pub record: Option<Record>,
    /// As what conntrack will take it, where its flow has a record already.
    pub known_as: Option<(CtDirection, u32)>,
    /// Whether it has crossed the prerouting hook of IP as a frame of a bridge,
    /// which then does not come again.
    pub(super) prerouted: bool,
}

impl Packet {
    /// A packet of these bytes, from the IP header on; `complete` where it has
    /// no others. `None` where they begin with no known version of IP.
    #[must_use]
    pub fn new(bytes: Value, complete: bool) -> Option<Self> {
        let first = bytes.part(0, 1)?.and(&[0xf0]);
        let version = match first.exact()? {
            [0x40] => IpVersion::V4,
            [0x60] => IpVersion::V6,
            _ => return None,
        };
        Some(Self::of(version, bytes, complete))
    }

    /// The same of a version that is known.
    #[must_use]
    pub fn of(version: IpVersion, bytes: Value, complete: bool) -> Self {
        let transport = match version {
            IpVersion::V4 => transport4(&bytes),
            IpVersion::V6 => walk6(&bytes, |_, _| {}),
        };
        Self {
            version,
            bytes,
            complete,
            frame: None,
            transport,
            local: Both::default(),
            mark: Value::known([0; 4]),
            sender: Sender::Nobody,
            tracking: Tracking::None,
            record: None,
            known_as: None,
            prerouted: false,
        }
    }

    /// The protocol behind all extension headers, where nf_tables finds one.
    #[must_use]
    pub fn proto(&self) -> Option<u8> {
        match self.transport {
            Found::At(transport) => Some(transport.proto),
            _ => None,
        }
    }

    /// Whether it cannot be told what nf_tables finds.
    #[must_use]
    pub fn is_unclear(&self) -> bool {
        self.transport == Found::Unclear
    }

    /// How many bytes it has from the IP header on, where that is known.
    #[must_use]
    pub fn len(&self) -> Option<usize> {
        self.complete.then_some(self.bytes.len())
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Some of its bytes. `Err` tells whether it certainly lacks them.
    ///
    /// # Errors
    /// [`Answer::Yes`] when it lacks them, [`Answer::Maybe`] when it may.
    pub fn read(&self, base: PayloadBase, offset: u32, len: u32) -> Result<Value, Answer> {
        let (offset, len) = (offset as usize, len as usize);
        let start = match base {
            PayloadBase::LinkLayer => {
                let frame = self.frame.as_ref().ok_or(Answer::Yes)?;
                // Behind the frame's header the packet goes on.
                let mut whole = frame.clone();
                whole.push(&self.bytes);
                return whole.part(offset, len).ok_or(self.lack());
            }
            PayloadBase::Network => 0,
            PayloadBase::Transport => match self.transport {
                Found::At(t) if !t.later_fragment => t.offset,
                Found::Unclear => return Err(Answer::Maybe),
                _ => return Err(Answer::Yes),
            },
        };
        let place = start.checked_add(offset).ok_or(Answer::Yes)?;
        self.bytes.part(place, len).ok_or(self.lack())
    }

    fn lack(&self) -> Answer {
        if self.complete {
            Answer::Yes
        } else {
            Answer::Maybe
        }
    }

    /// The address of an end.
    #[must_use]
    pub fn address(&self, side: Side) -> Address {
        let offset = self.version.address_offset(side);
        let len = self.version.address_len();
        let value = self.bytes.part(offset, len);
        Address {
            value: value.unwrap_or_else(|| Value::unknown(len)),
            local: *self.local.of(side),
        }
    }

    /// The port of an end, where it has ports, or the number of a ping.
    #[must_use]
    pub fn port(&self, side: Side) -> Option<Value> {
        self.read(PayloadBase::Transport, self.port_offset(side)?, 2)
            .ok()
    }

    fn port_offset(&self, side: Side) -> Option<u32> {
        match (self.proto()?, side) {
            (6 | 17 | 33 | 132 | 136, Side::Source) => Some(0),
            (6 | 17 | 33 | 132 | 136, Side::Destination) => Some(2),
            // The number of a ping.
            (1 | 58, Side::Source) => Some(4),
            _ => None,
        }
    }

    /// Gives an end another address and, of protocols with ports, another port.
    pub fn rewrite(&mut self, side: Side, address: &Address, port: &Value) {
        self.bytes
            .put(self.version.address_offset(side), &address.value);
        *self.local.of_mut(side) = address.local;
        if let (Some(offset), Found::At(transport)) = (self.port_offset(side), self.transport)
            && !transport.later_fragment
            && !matches!(transport.proto, 1 | 58)
        {
            self.bytes.put(transport.offset + offset as usize, port);
        }
    }

    /// The IPv6 headers between the first and the transport, as their kinds
    /// and places.
    pub(super) fn extension_headers(&self) -> Vec<(u8, usize)> {
        let mut found = Vec::new();
        if self.version == IpVersion::V6 {
            walk6(&self.bytes, |kind, place| found.push((kind, place)));
        }
        found
    }

    /// Whether the IPv4 header has an option of this kind.
    pub(super) fn has_option(&self, kind: u8) -> Answer {
        let Some(length) = header_length(&self.bytes) else {
            return Answer::Maybe;
        };
        let mut place = 20;
        while place < length {
            let byte = |n: usize| {
                let value = self.bytes.part(n, 1)?;
                value.exact()?.first().copied()
            };
            match (byte(place), byte(place + 1)) {
                (Some(0), _) => return Answer::No,
                (Some(1), _) => place += 1,
                (Some(found), Some(_)) if found == kind => return Answer::Yes,
                (Some(_), Some(len)) if len >= 2 => place += usize::from(len),
                _ => return Answer::Maybe,
            }
        }
        Answer::No
    }
}

/// The length of an IPv4 header, in bytes.
fn header_length(bytes: &Value) -> Option<usize> {
    let first = bytes.part(0, 1)?.and(&[0x0f]);
    Some(usize::from(*first.exact()?.first()?) * 4)
}

fn byte(bytes: &Value, place: usize) -> Option<u8> {
    bytes.part(place, 1)?.exact()?.first().copied()
}

fn transport4(bytes: &Value) -> Found {
    let (Some(proto), Some(offset)) = (byte(bytes, 9), header_length(bytes)) else {
        return Found::Unclear;
    };
    // IP_OFFSET
    let fragment = bytes.part(6, 2).map(|field| field.and(&[0x1f, 0xff]));
    match fragment.map(|fragment| fragment.equals(&[0, 0])) {
        None | Some(Answer::Maybe) => Found::Unclear,
        Some(answer) => Found::At(Transport {
            proto,
            offset,
            later_fragment: answer == Answer::No,
        }),
    }
}

const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT: u8 = 59;

/// Kinds of IPv6 extension headers, as `ipv6_ext_hdr` of the kernel knows them.
fn is_extension(kind: u8) -> bool {
    matches!(kind, 0 | 43 | FRAGMENT | AUTHENTICATION | NO_NEXT | 60)
}

/// As `ipv6_find_hdr` of the kernel, in the way in which `nft_set_pktinfo_ipv6`
/// calls it: an authentication header ends the walk.
fn walk6(bytes: &Value, mut each: impl FnMut(u8, usize)) -> Found {
    let Some(mut kind) = byte(bytes, 6) else {
        return Found::Unclear;
    };
    let mut place = 40;
    loop {
        if !is_extension(kind) || kind == NO_NEXT || kind == AUTHENTICATION {
            return Found::At(Transport {
                proto: kind,
                offset: place,
                later_fragment: false,
            });
        }
        if bytes.part(place, 2).is_none() {
            return Found::Nothing;
        }
        let (Some(next), Some(length)) = (byte(bytes, place), byte(bytes, place + 1)) else {
            return Found::Unclear;
        };
        each(kind, place);
        let mut skipped = (usize::from(length) + 1) * 8;
        if kind == FRAGMENT {
            let Some(field) = bytes.part(place + 2, 2) else {
                return Found::Nothing;
            };
            match field.and(&[0xff, 0xf8]).equals(&[0, 0]) {
                Answer::Yes => {}
                Answer::Maybe => return Found::Unclear,
                Answer::No if is_extension(next) && next != NO_NEXT => return Found::Nothing,
                Answer::No => {
                    return Found::At(Transport {
                        proto: next,
                        offset: 0,
                        later_fragment: true,
                    });
                }
            }
            skipped = 8;
        }
        kind = next;
        place += skipped;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use super::*;

    fn ipv6(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, first, 64];
        bytes.resize(40, 0);
        bytes.extend_from_slice(rest);
        bytes
    }

    fn read(packet: &Packet, offset: u32) -> Result<Vec<u8>, Answer> {
        let value = packet.read(PayloadBase::Transport, offset, 2)?;
        Ok(value.exact().unwrap().to_vec())
    }

    #[test]
    fn the_transport_lies_behind_extension_headers() {
        // Hop-by-hop options of eight bytes, then UDP.
        let bytes = ipv6(0, &[17, 0, 1, 4, 0, 0, 0, 0, 0x12, 0x34, 0, 53, 0, 8, 0, 0]);
        let packet = Packet::new(Value::known(bytes), true).unwrap();
        assert_eq!(packet.proto(), Some(17));
        assert_eq!(read(&packet, 2), Ok(vec![0, 53]));
        assert_eq!(packet.extension_headers(), [(0, 40)]);
        assert_eq!(read(&packet, 8), Err(Answer::Yes));
    }

    #[test]
    fn a_later_fragment_has_a_protocol_and_no_ports() {
        let bytes = ipv6(
            44,
            &[17, 0, 0, 8, 0, 0, 0, 1, 0x12, 0x34, 0, 53, 0, 8, 0, 0],
        );
        let packet = Packet::new(Value::known(bytes), true).unwrap();
        assert_eq!(packet.proto(), Some(17));
        assert_eq!(read(&packet, 2), Err(Answer::Yes));
        let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0, 1, 64, 17, 0, 0];
        bytes.resize(28, 7);
        let packet = Packet::new(Value::known(bytes), true).unwrap();
        assert_eq!(packet.proto(), Some(17));
        assert_eq!(read(&packet, 2), Err(Answer::Yes));
    }

    #[test]
    fn what_is_not_told_may_be_there() {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0];
        bytes.resize(20, 0);
        let packet = Packet::new(Value::known(bytes.clone()), false).unwrap();
        assert_eq!(read(&packet, 0), Err(Answer::Maybe));
        let packet = Packet::new(Value::known(bytes), true).unwrap();
        assert_eq!(read(&packet, 0), Err(Answer::Yes));
    }

    #[test]
    fn options_are_found_by_their_lengths() {
        let mut bytes = vec![0x48, 0, 0, 32, 0, 0, 0, 0, 64, 6, 0, 0];
        bytes.resize(20, 0);
        bytes.extend([1, 130, 3, 131, 131, 4, 4, 0, 0, 0, 0, 0]);
        let packet = Packet::new(Value::known(bytes), true).unwrap();
        assert_eq!(packet.has_option(131), Answer::Yes);
        assert_eq!(packet.has_option(137), Answer::No);
        // The third byte of the option before it is no option.
        assert_eq!(packet.has_option(4), Answer::No);
    }

    #[test]
    fn a_translation_moves_address_and_port() {
        let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
        bytes.resize(40, 0);
        let mut packet = Packet::new(Value::known(bytes), true).unwrap();
        let address = Address::from("192.0.2.7".parse::<IpAddr>().unwrap());
        packet.rewrite(Side::Destination, &address, &Value::known([0, 80]));
        assert_eq!(packet.address(Side::Destination), address);
        assert_eq!(packet.port(Side::Destination), Some(Value::known([0, 80])));
        assert_eq!(packet.port(Side::Source), Some(Value::known([0, 0])));
    }
}
