//! The fields that a statement can read of a packet, at a place on its way:
//! what each holds there, and when the kernel finds none, so that the rule does
//! not match (`NFT_BREAK`). The sources are the files `nft_*.c` of the kernel.

use super::packet::{IpVersion, Packet, Sender, Side, Tracking};
use super::value::{Answer, Value};
use super::world::{AddressType, Interface, Lookup, World};
use crate::graph::{
    CtDirection, CtKey, Exthdr, Family, FibFlags, FibResult, Hook, MetaKey, Selector,
};

/// A place on the way of a packet: where rules are asked.
#[derive(Debug, Clone)]
pub struct Spot<'a> {
    /// The family of the hook; `Inet` for those of IP packets.
    pub family: Family,
    /// The hook.
    pub hook: Hook,
    /// The interface that the packet came by, where the hook tells it.
    pub iif: Option<Interface>,
    /// The interface that it goes to, where the hook tells it.
    pub oif: Option<Interface>,
    /// Of a frame that stays inside a bridge, the bridge.
    pub bridge: Option<&'a Interface>,
    /// Addresses, devices and routes.
    pub world: &'a World,
}

/// What is found where a statement reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// This.
    Value(Value),
    /// Nothing: the rule does not match.
    Absent,
    /// Nobody knows, not even whether there is anything.
    Unknown,
}

impl From<Option<Value>> for Reading {
    fn from(value: Option<Value>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }
}

fn number(value: u32) -> Reading {
    Reading::Value(Value::known(value.to_ne_bytes()))
}

fn byte(value: u8) -> Reading {
    Reading::Value(Value::known([value]))
}

/// A name as the kernel holds it.
fn name(name: &str) -> Reading {
    Reading::Value(Value::known(name.as_bytes()).resized(MetaKey::Iifname.width()))
}

/// What a packet holds at a place.
#[must_use]
pub fn read(selector: &Selector, packet: &Packet, spot: &Spot) -> Reading {
    match selector {
        Selector::Meta(key) => meta(*key, packet, spot),
        Selector::Ct(key, direction) => ct(*key, *direction, packet, spot),
        Selector::Payload { base, offset, len } => match packet.read(*base, *offset, *len) {
            Ok(value) => Reading::Value(value),
            Err(Answer::Yes) => Reading::Absent,
            Err(_) => Reading::Unknown,
        },
        Selector::Fib(flags, result) => fib(flags.0, *result, packet, spot),
        Selector::Exthdr(header) => exthdr(*header, packet),
        Selector::NetworkOrder(field) => match read(&field.selector(), packet, spot) {
            Reading::Value(value) => Reading::Value(value.reversed()),
            other => other,
        },
    }
}

/// `nft_meta.c` and `nft_meta_bridge.c`
fn meta(key: MetaKey, packet: &Packet, spot: &Spot) -> Reading {
    let interface = match key {
        MetaKey::Iif
        | MetaKey::Iifname
        | MetaKey::IifType
        | MetaKey::IifKind
        | MetaKey::IifGroup
        | MetaKey::IbrName => spot.iif.as_ref(),
        _ => spot.oif.as_ref(),
    };
    match key {
        MetaKey::Len => match packet.len() {
            Some(len) => number(u32::try_from(len).unwrap_or(u32::MAX)),
            None => Reading::Value(Value::unknown(4)),
        },
        MetaKey::Protocol => Reading::Value(Value::known(packet.version.ether_type())),
        MetaKey::Mark => Reading::Value(packet.mark.clone()),
        MetaKey::NfProto => byte(match spot.family {
            Family::Bridge | Family::Netdev | Family::Arp => spot.family.number(),
            _ => packet.version.nfproto(),
        }),
        MetaKey::L4Proto if packet.is_unclear() => Reading::Unknown,
        MetaKey::L4Proto => packet.proto().map(|proto| Value::known([proto])).into(),
        MetaKey::Iif | MetaKey::Oif => match interface {
            None => number(0),
            Some(interface) => match interface.index {
                Some(index) => number(index),
                None => Reading::Value(Value::unknown(4)),
            },
        },
        MetaKey::Iifname | MetaKey::Oifname => match interface {
            None => name(""),
            Some(interface) => match &interface.name {
                Some(text) => name(text),
                None => Reading::Value(Value::unknown(16)),
            },
        },
        MetaKey::IifKind | MetaKey::OifKind => match interface {
            None => Reading::Absent,
            Some(Interface {
                kind: Some(kind), ..
            }) => name(kind),
            // Hardware has no kind.
            Some(interface) if interface.index.is_some() => Reading::Absent,
            Some(_) => Reading::Unknown,
        },
        MetaKey::IbrName | MetaKey::ObrName => match interface {
            Some(Interface {
                bridge: Some(bridge),
                ..
            }) if spot.family == Family::Bridge => name(bridge),
            _ if spot.family == Family::Bridge => Reading::Unknown,
            _ => Reading::Absent,
        },
        MetaKey::SkUid => user(packet, spot),
        MetaKey::SkGid => match user(packet, spot) {
            Reading::Absent => Reading::Absent,
            _ => Reading::Unknown,
        },
        // The kernel tells packets to others apart by their frame's address.
        MetaKey::PktType => {
            let destination = packet.address(Side::Destination);
            match spot.world.address_type(&destination, packet.version, None) {
                Some(AddressType::Local | AddressType::Unicast)
                    if spot.family != Family::Netdev && spot.family != Family::Bridge =>
                {
                    byte(0)
                }
                _ => Reading::Value(Value::unknown(1)),
            }
        }
        // ARPHRD_ETHER and ARPHRD_LOOPBACK of `linux/if_arp.h`
        MetaKey::IifType | MetaKey::OifType => match interface {
            None => Reading::Absent,
            Some(Interface {
                kind: Some(kind), ..
            }) if kind == "bridge" || kind == "veth" => {
                Reading::Value(Value::known(1u16.to_ne_bytes()))
            }
            Some(Interface {
                name: Some(name), ..
            }) if name == "lo" => Reading::Value(Value::known(772u16.to_ne_bytes())),
            Some(_) => Reading::Unknown,
        },
        MetaKey::IifGroup | MetaKey::OifGroup | MetaKey::Cgroup => match interface {
            None if key != MetaKey::Cgroup => Reading::Absent,
            _ => Reading::Unknown,
        },
    }
}

/// The user of the packet's socket. On the way in the kernel may have found
/// the socket already, or not.
fn user(packet: &Packet, spot: &Spot) -> Reading {
    let is_sent_here = match spot.hook {
        Hook::Output | Hook::Postrouting | Hook::Egress => true,
        Hook::Input => return Reading::Unknown,
        _ => false,
    };
    match (&packet.sender, is_sent_here) {
        (Sender::User(user), true) => number(*user),
        (Sender::Unknown, true) => Reading::Unknown,
        _ => Reading::Absent,
    }
}

/// `nft_ct.c`
fn ct(key: CtKey, direction: Option<CtDirection>, packet: &Packet, spot: &Spot) -> Reading {
    // Only a part of the kernel that other programs may have loaded tells it.
    if spot.family == Family::Bridge {
        return Reading::Unknown;
    }
    let (going, state) = match (&packet.tracking, key) {
        (Tracking::None, CtKey::State) => return number(1),
        (Tracking::Untracked, CtKey::State) => return number(64),
        (Tracking::None | Tracking::Untracked, _) => return Reading::Absent,
        (Tracking::Of { direction, state }, _) => (*direction, *state),
    };
    let Some(record) = &packet.record else {
        return Reading::Unknown;
    };
    let tuple = record.tuple(direction.unwrap_or(going));
    let address = |version: IpVersion, side: Side| {
        if packet.version == version {
            Reading::Value(tuple.address(side).value.clone())
        } else {
            Reading::Absent
        }
    };
    match key {
        CtKey::State => number(state),
        CtKey::Direction => byte(going as u8),
        CtKey::Status => Reading::Value(record.status.clone()),
        CtKey::Mark => Reading::Value(record.mark.clone()),
        CtKey::L3Proto => byte(packet.version.nfproto()),
        CtKey::Protocol => byte(record.proto),
        CtKey::ProtoSrc => Reading::Value(tuple.source_port.clone()),
        CtKey::ProtoDst => Reading::Value(tuple.destination_port.clone()),
        CtKey::Labels => Reading::Value(record.label.clone()),
        CtKey::Zone => Reading::Value(Value::known([0, 0])),
        CtKey::SrcIp => address(IpVersion::V4, Side::Source),
        CtKey::DstIp => address(IpVersion::V4, Side::Destination),
        CtKey::SrcIp6 => address(IpVersion::V6, Side::Source),
        CtKey::DstIp6 => address(IpVersion::V6, Side::Destination),
    }
}

/// `nft_exthdr.c`
fn exthdr(header: Exthdr, packet: &Packet) -> Reading {
    let presence = |answer| match answer {
        Answer::Yes => byte(1),
        Answer::No => byte(0),
        Answer::Maybe => Reading::Value(Value::partly([0], [0xfe])),
    };
    match (header, packet.version) {
        (Exthdr::Ip6Routing, IpVersion::V6) => {
            let headers = packet.extension_headers();
            presence(headers.iter().any(|(kind, _)| *kind == 43).into())
        }
        (Exthdr::Ip6FragmentOffset, IpVersion::V6) => {
            let headers = packet.extension_headers();
            let Some((_, place)) = headers.iter().find(|(kind, _)| *kind == 44) else {
                return Reading::Absent;
            };
            let place = u32::try_from(place + 2).unwrap_or(u32::MAX);
            let value = packet.read(crate::graph::PayloadBase::Network, place, 2);
            value.ok().into()
        }
        (Exthdr::IpLsrr, IpVersion::V4) => presence(packet.has_option(131)),
        (Exthdr::IpSsrr, IpVersion::V4) => presence(packet.has_option(137)),
        _ => Reading::Absent,
    }
}

/// `nft_fib.c`, `nft_fib_ipv4.c`, `nft_fib_ipv6.c`
fn fib(flags: u32, result: FibResult, packet: &Packet, spot: &Spot) -> Reading {
    if matches!(spot.family, Family::Bridge | Family::Netdev | Family::Arp) {
        return Reading::Unknown;
    }
    let side = if flags & FibFlags::SADDR != 0 {
        Side::Source
    } else {
        Side::Destination
    };
    let address = packet.address(side);
    let only = match (flags & FibFlags::IIF != 0, flags & FibFlags::OIF != 0) {
        (true, _) => Some(spot.iif.as_ref()),
        (_, true) => Some(spot.oif.as_ref()),
        _ => None,
    };
    if result == FibResult::AddrType {
        // A hook that does not know the interface asks without.
        let only = only.flatten();
        let Some(kind) = spot.world.address_type(&address, packet.version, only) else {
            return Reading::Value(Value::unknown(4));
        };
        return number(kind as u32);
    }
    let present = flags & FibFlags::PRESENT != 0;
    let found = |interface: Option<&Interface>| match (interface, result, present) {
        (Some(_), FibResult::Oif, true) => number(1),
        (None, FibResult::Oif, _) => number(0),
        (None, _, _) => name(""),
        (Some(Interface { index: Some(n), .. }), FibResult::Oif, false) => number(*n),
        (Some(Interface { name: Some(n), .. }), FibResult::OifName, _) => name(n),
        (Some(_), FibResult::Oif, false) => Reading::Value(Value::unknown(4)),
        (Some(_), _, _) => Reading::Value(Value::unknown(16)),
    };
    // What came by the loopback interface is always from there.
    let is_loopback = |interface: Option<&Interface>| {
        interface.is_some_and(|interface| interface.name.as_deref() == Some("lo"))
    };
    if matches!(spot.hook, Hook::Prerouting | Hook::Ingress) && is_loopback(spot.iif.as_ref()) {
        return found(spot.iif.as_ref());
    }
    let unsure = || match (result, present) {
        (FibResult::Oif, true) => {
            Reading::Value(Value::partly(0u32.to_ne_bytes(), (!1u32).to_ne_bytes()))
        }
        (FibResult::Oif, false) => Reading::Value(Value::unknown(4)),
        _ => Reading::Value(Value::unknown(16)),
    };
    if flags & FibFlags::MARK != 0 && spot.world.has_policy_routes() {
        return unsure();
    }
    match (spot.world.route(&address, packet.version), only) {
        (Lookup::Unknown, _) => unsure(),
        (Lookup::Local | Lookup::Nowhere, _) => found(None),
        (Lookup::Over(interface), None | Some(None)) => found(Some(&interface)),
        (Lookup::Over(interface), Some(Some(wanted))) => match interface.is(wanted) {
            Answer::Yes => found(Some(wanted)),
            Answer::No => found(None),
            Answer::Maybe => unsure(),
        },
    }
}
