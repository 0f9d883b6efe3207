//! The way of a packet through the hooks of the kernel: which base chains it
//! meets in which order, conntrack and translation between them, and routing.

use std::cell::Cell;

use super::evaluate::{Ends, State, base_chain};
use super::field::Spot;
use super::packet::{Address, IpVersion, Packet, Record, Sender, Side, Tracking, Tuple};
use super::packet::{STATUS_DST_NAT, STATUS_SEEN_REPLY, STATUS_SRC_NAT};
use super::value::{Answer, Value};
use super::world::{Interface, Lookup, World};
use crate::graph::{Chain, ChainType, CtDirection, Family, Hook, PayloadBase, RuleGraph, Table};

/// Where conntrack and translation are called; `enum nf_ip_hook_priorities` of
/// `linux/netfilter_ipv4.h`.
const PRIORITY_CONNTRACK: i32 = -200;
const PRIORITY_NAT_DESTINATION: i32 = -100;
const PRIORITY_NAT_SOURCE: i32 = 100;
/// As many of the same priority are tried in every order.
const ORDERS_MAX: usize = 4;
/// Flags of a table, `NFT_TABLE_F_DORMANT`.
const DORMANT: u32 = 1;

/// Where br_netfilter calls the hooks of IP among those of a bridge.
const PRIORITY_BRIDGE_PREROUTING: i32 = 0;
const PRIORITY_BRIDGE_FORWARD: i32 = -1;
const PRIORITY_BRIDGE_POSTROUTING: i32 = i32::MAX;

/// What the kernel calls at a hook.
#[derive(Clone, Copy)]
enum Stop<'g> {
    Chain(&'g Table, &'g Chain),
    Conntrack,
    Nat,
    /// The hook of IP, for a frame inside a bridge.
    Filtered,
}

/// The ways of packets under a rule graph.
pub(super) struct Journey<'g, 'w> {
    pub graph: &'g RuleGraph,
    pub world: &'w World,
    /// Where packets go to that no known route leads to.
    pub uplink: Interface,
    /// Whether several chains had one priority somewhere on the way.
    pub reordered: Cell<bool>,
}

/// Where a packet starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At a process of the host, or its kernel.
    Host,
    /// Behind this interface.
    Behind(Interface),
}

impl<'g> Journey<'g, '_> {
    /// Sends a packet, as far as it goes. Where it `passed` it was delivered.
    pub fn send(&self, state: State<'g>, start: &Start) -> Ends<'g> {
        match start {
            Start::Host => self.leave_host(state),
            Start::Behind(interface) if self.stays_behind(interface, &state.packet) => {
                self.bridge(state, interface)
            }
            Start::Behind(interface) => self.arrive(state, interface),
        }
    }

    /// Whether a packet is a frame for somebody behind the same bridge.
    fn stays_behind(&self, bridge: &Interface, packet: &Packet) -> bool {
        let destination = packet.address(Side::Destination);
        bridge.is_bridge()
            && match self.world.route(&destination, packet.version) {
                Lookup::Over(interface) => interface.name == bridge.name,
                _ => false,
            }
    }

    fn leave_host(&self, state: State<'g>) -> Ends<'g> {
        let oif = self.way_out(&state.packet);
        let spot = self.spot(Hook::Output, None, Some(&oif));
        self.then(self.hook(state, &spot), |state| {
            // A translated destination is routed again, a mark too where it counts.
            let oif = self.way_out(&state.packet);
            self.postrouting(state, None, &oif)
        })
    }

    fn postrouting(&self, state: State<'g>, iif: Option<&Interface>, oif: &Interface) -> Ends<'g> {
        let spot = self.spot(Hook::Postrouting, iif, Some(oif));
        self.then(self.hook(state, &spot), |mut state| {
            if oif.name.as_deref() == Some("lo") {
                // Its frames are addressed to nobody, and belong to no socket.
                let mut frame = Value::known([0; 12]);
                frame.push(&Value::known(state.packet.version.ether_type()));
                state.packet.frame = Some(frame);
                state.packet.sender = Sender::Nobody;
                return self.arrive(state, oif);
            }
            self.leave_device(state, oif)
        })
    }

    /// The frame that a device sends.
    fn leave_device(&self, mut state: State<'g>, oif: &Interface) -> Ends<'g> {
        state.packet.frame = Some(frame(state.packet.version));
        // `nf_hook_egress` tells the device as that of ingress is told.
        let spot = Spot {
            family: Family::Netdev,
            ..self.spot(Hook::Egress, Some(oif), None)
        };
        let ends = self.hook(state, &spot);
        if !oif.is_bridge() {
            return ends;
        }
        self.then(ends, |state| {
            self.by_each_port(state, oif, Side::Destination, |state, port| {
                let bridge = |hook| Spot {
                    family: Family::Bridge,
                    ..self.spot(hook, None, Some(port))
                };
                let ends = self.hook(state, &bridge(Hook::Output));
                let ends = self.then(ends, |state| self.hook(state, &bridge(Hook::Postrouting)));
                self.then(ends, |state| self.leave_device(state, port))
            })
        })
    }

    /// The ports of a bridge by which a frame may come or go; mostly it is not
    /// known behind which one an end is.
    fn by_each_port(
        &self,
        state: State<'g>,
        bridge: &Interface,
        end: Side,
        go: impl Fn(State<'g>, &Interface) -> Ends<'g>,
    ) -> Ends<'g> {
        let address = state.packet.address(end);
        let mut ports: Vec<_> = match (self.world.port_at(&address), &bridge.name) {
            (Some(port), _) => vec![port],
            (None, Some(name)) => self.world.ports_of(name).collect(),
            (None, None) => Vec::new(),
        };
        if ports.is_empty() {
            ports.push(Interface::port_of(bridge));
        }
        let mut ends = Ends::default();
        for port in ports {
            ends.add(go(state.clone(), &port));
        }
        ends
    }

    fn arrive(&self, mut state: State<'g>, iif: &Interface) -> Ends<'g> {
        if state.packet.frame.is_none() {
            state.packet.frame = Some(frame(state.packet.version));
        }
        if !iif.is_bridge() {
            return self.then(self.ingress(state, iif), |state| {
                self.arrive_at_ip(state, iif)
            });
        }
        // The frame came by a port, and is for the bridge itself.
        self.by_each_port(state, iif, Side::Source, |state, port| {
            let ends = self.ingress(state, port);
            let bridge = |hook, bridge| Spot {
                family: Family::Bridge,
                bridge,
                ..self.spot(hook, Some(port), None)
            };
            let ends = self.then(ends, |state| {
                self.hook(state, &bridge(Hook::Prerouting, Some(iif)))
            });
            let ends = self.then(ends, |state| {
                // What br_netfilter sees translated to behind the same bridge
                // stays a frame of it.
                match self.stays_behind(iif, &state.packet) {
                    true => lost(state),
                    false => self.hook(state, &bridge(Hook::Input, None)),
                }
            });
            let ends = self.then(ends, |state| self.ingress(state, iif));
            self.then(ends, |state| self.arrive_at_ip(state, iif))
        })
    }

    fn ingress(&self, state: State<'g>, iif: &Interface) -> Ends<'g> {
        let spot = Spot {
            family: Family::Netdev,
            ..self.spot(Hook::Ingress, Some(iif), None)
        };
        self.hook(state, &spot)
    }

    fn arrive_at_ip(&self, state: State<'g>, iif: &Interface) -> Ends<'g> {
        let spot = self.spot(Hook::Prerouting, Some(iif), None);
        let crossed = match state.packet.prerouted {
            true => passed(state),
            false => self.hook(state, &spot),
        };
        self.then(crossed, |state| {
            if self.is_for_host(&state.packet) {
                let spot = self.spot(Hook::Input, Some(iif), None);
                return self.hook(state, &spot);
            }
            let oif = self.way_out(&state.packet);
            let spot = self.spot(Hook::Forward, Some(iif), Some(&oif));
            self.then(self.hook(state, &spot), |state| {
                self.postrouting(state, Some(iif), &oif)
            })
        })
    }

    /// Sends a frame from one port of a bridge to another.
    fn bridge(&self, state: State<'g>, bridge: &Interface) -> Ends<'g> {
        let version = state.packet.version;
        let destination = state.packet.address(Side::Destination);
        let to = self.world.port_at(&destination);
        let to = to.unwrap_or_else(|| Interface::port_of(bridge));
        self.by_each_port(state, bridge, Side::Source, |mut state, port| {
            if state.packet.frame.is_none() {
                state.packet.frame = Some(frame(version));
            }
            let mut ends = self.ingress(state, port);
            for (hook, iif, oif) in [
                (Hook::Prerouting, Some(port), None),
                (Hook::Forward, Some(port), Some(&to)),
                (Hook::Postrouting, None, Some(&to)),
            ] {
                let spot = Spot {
                    family: Family::Bridge,
                    bridge: Some(bridge),
                    ..self.spot(hook, iif, oif)
                };
                // What is translated to somewhere else takes another way.
                ends = self.then(ends, |state| {
                    match state.packet.address(Side::Destination) == destination {
                        true => self.hook(state, &spot),
                        false => lost(state),
                    }
                });
            }
            self.then(ends, |state| self.leave_device(state, &to))
        })
    }

    /// The hook of IP that a frame inside a bridge crosses where br_netfilter is
    /// on.
    fn filtered(&self, state: State<'g>, spot: &Spot) -> Ends<'g> {
        let on = self.world.filters_bridges(state.packet.version);
        let mut ends = Ends::default();
        if on != Answer::Yes {
            ends.passed.push(state.clone());
        }
        if on != Answer::No {
            let (iif, oif) = match spot.hook {
                Hook::Prerouting => (spot.bridge, None),
                Hook::Forward => (spot.bridge, spot.bridge),
                _ => (None, spot.bridge),
            };
            let mut crossed = self.hook(state, &self.spot(spot.hook, iif, oif));
            if spot.hook == Hook::Prerouting {
                let passed = crossed.passed.iter_mut();
                passed.for_each(|state| state.packet.prerouted = true);
            }
            ends.add(crossed);
        }
        ends
    }

    /// Goes on with every possibility that passed.
    fn then(&self, mut ends: Ends<'g>, mut go: impl FnMut(State<'g>) -> Ends<'g>) -> Ends<'g> {
        for state in std::mem::take(&mut ends.passed) {
            ends.add(go(state));
        }
        ends
    }

    fn spot(&self, hook: Hook, iif: Option<&Interface>, oif: Option<&Interface>) -> Spot<'_> {
        Spot {
            family: Family::Inet,
            hook,
            iif: iif.cloned(),
            oif: oif.cloned(),
            bridge: None,
            world: self.world,
        }
    }

    pub fn is_for_host(&self, packet: &Packet) -> bool {
        let destination = packet.address(Side::Destination);
        match self.world.route(&destination, packet.version) {
            Lookup::Local => true,
            Lookup::Over(_) | Lookup::Nowhere => false,
            // Groups and broadcasts are for whoever hears them.
            Lookup::Unknown => destination.exact().is_some_and(|a| a.is_multicast()),
        }
    }

    /// The interface to which a packet is routed.
    pub fn way_out(&self, packet: &Packet) -> Interface {
        let destination = packet.address(Side::Destination);
        match self.world.route(&destination, packet.version) {
            Lookup::Local => Interface::loopback(),
            Lookup::Over(interface) => interface,
            Lookup::Nowhere => self.uplink.clone(),
            Lookup::Unknown if self.world.has_policy_routes() => Interface::default(),
            Lookup::Unknown => self.uplink.clone(),
        }
    }

    /// Has every base chain of a hook run, in the order of their priorities.
    fn hook(&self, state: State<'g>, spot: &Spot) -> Ends<'g> {
        let mut stops = self.stops(spot, state.packet.version);
        stops.sort_by_key(|(priority, _)| *priority);
        let mut ends = passed(state);
        for group in stops.chunk_by(|(a, _), (b, _)| a == b) {
            let group: Vec<_> = group.iter().map(|(_, stop)| *stop).collect();
            ends = self.then(ends, |state| self.group(&group, state, spot));
        }
        ends
    }

    /// Stops of one priority run in an order that the kernel does not tell.
    fn group(&self, group: &[Stop<'g>], state: State<'g>, spot: &Spot) -> Ends<'g> {
        if group.len() > 1 {
            self.reordered.set(true);
        }
        let run = |order: &[Stop<'g>], state: State<'g>| {
            let mut ends = passed(state);
            for stop in order {
                ends = self.then(ends, |state| self.stop(*stop, state, spot));
            }
            ends
        };
        if group.len() > ORDERS_MAX {
            let before = state.packet.clone();
            let mut ends = run(group, state);
            // Where none changes the packet the order does not matter.
            let changed = ends.passed.iter().position(|s| s.packet != before);
            if let Some(n) = changed {
                let state = ends.passed.swap_remove(n);
                ends.lost.push(state);
            }
            return ends;
        }
        let mut ends = Ends::default();
        for order in orders(group) {
            ends.add(run(&order, state.clone()));
        }
        ends
    }

    fn stops(&self, spot: &Spot, version: IpVersion) -> Vec<(i32, Stop<'g>)> {
        let of_ip = spot.family == Family::Inet;
        let device = spot.iif.as_ref();
        let mut stops = Vec::new();
        if spot.bridge.is_some() {
            stops.push(match spot.hook {
                Hook::Prerouting => (PRIORITY_BRIDGE_PREROUTING, Stop::Filtered),
                Hook::Forward => (PRIORITY_BRIDGE_FORWARD, Stop::Filtered),
                _ => (PRIORITY_BRIDGE_POSTROUTING, Stop::Filtered),
            });
        }
        if of_ip {
            match spot.hook {
                Hook::Prerouting | Hook::Output => stops.extend([
                    (PRIORITY_CONNTRACK, Stop::Conntrack),
                    (PRIORITY_NAT_DESTINATION, Stop::Nat),
                ]),
                Hook::Postrouting | Hook::Input => stops.push((PRIORITY_NAT_SOURCE, Stop::Nat)),
                _ => {}
            }
        }
        for (table, chain) in self.base_chains(version, spot.family) {
            let Some(base) = &chain.base else { continue };
            let here = match spot.family {
                Family::Netdev => {
                    let name = device.and_then(|device| device.name.as_ref());
                    base.hook == spot.hook && name.is_some_and(|name| base.devices.contains(name))
                }
                _ => base.hook == spot.hook && base.hook != Hook::Ingress,
            };
            if here && base.kind != ChainType::Nat {
                stops.push((base.priority, Stop::Chain(table, chain)));
            }
        }
        stops
    }

    /// The base chains of the tables that see this hook.
    fn base_chains(
        &self,
        version: IpVersion,
        family: Family,
    ) -> impl Iterator<Item = (&'g Table, &'g Chain)> + use<'g> {
        let sees = move |table: &Table| match family {
            // An ingress chain may be of a table of family inet too.
            Family::Netdev => matches!(table.family, Family::Netdev | Family::Inet),
            Family::Inet => match table.family {
                Family::Inet => true,
                Family::Ip => version == IpVersion::V4,
                Family::Ip6 => version == IpVersion::V6,
                _ => false,
            },
            other => table.family == other,
        };
        let tables = self.graph.tables.iter();
        tables
            .filter(move |table| table.flags & DORMANT == 0 && sees(table))
            .flat_map(|table| {
                let base = table.chains.iter().filter(|chain| chain.base.is_some());
                base.map(move |chain| (table, chain))
            })
    }

    fn stop(&self, stop: Stop<'g>, mut state: State<'g>, spot: &Spot) -> Ends<'g> {
        match stop {
            Stop::Chain(table, chain) => base_chain(table, chain, state, spot),
            Stop::Conntrack => {
                track(&mut state.packet);
                passed(state)
            }
            Stop::Nat => self.nat(state, spot),
            Stop::Filtered => self.filtered(state, spot),
        }
    }

    /// Asks the chains of type nat, when a flow opens, and translates.
    fn nat(&self, state: State<'g>, spot: &Spot) -> Ends<'g> {
        let side = match spot.hook {
            Hook::Prerouting | Hook::Output => Side::Destination,
            _ => Side::Source,
        };
        let mut chains: Vec<_> = self
            .base_chains(state.packet.version, Family::Inet)
            .filter_map(|(table, chain)| {
                let base = chain.base.as_ref()?;
                let here = base.kind == ChainType::Nat && base.hook == spot.hook;
                here.then_some((base.priority, Stop::Chain(table, chain)))
            })
            .collect();
        let asks = |packet: &Packet| {
            matches!(packet.tracking, Tracking::Of { state: 8, .. })
                && packet
                    .record
                    .as_ref()
                    .is_some_and(|record| !record.decided.of(side))
        };
        chains.sort_by_key(|(priority, _)| *priority);
        let mut ends = passed(state);
        if !chains.is_empty() {
            for group in chains.chunk_by(|(a, _), (b, _)| a == b) {
                let group: Vec<_> = group.iter().map(|(_, stop)| *stop).collect();
                ends = self.then(ends, |state| {
                    if !asks(&state.packet) {
                        return passed(state);
                    }
                    self.nat_group(&group, state, spot, &asks)
                });
            }
        }
        for state in &mut ends.passed {
            if asks(&state.packet)
                && let Some(record) = &mut state.packet.record
            {
                *record.decided.of_mut(side) = true;
            }
            rewrite(&mut state.packet, side);
        }
        ends
    }

    fn nat_group(
        &self,
        group: &[Stop<'g>],
        state: State<'g>,
        spot: &Spot,
        asks: &dyn Fn(&Packet) -> bool,
    ) -> Ends<'g> {
        let mut ends = Ends::default();
        if group.len() > 1 {
            self.reordered.set(true);
        }
        let tried = match group.len() {
            0..=ORDERS_MAX => orders(group),
            _ => vec![group.to_vec(), group.iter().rev().copied().collect()],
        };
        for order in tried {
            let mut one = passed(state.clone());
            for stop in order {
                one = self.then(one, |state| {
                    if asks(&state.packet) {
                        self.stop(stop, state, spot)
                    } else {
                        passed(state)
                    }
                });
            }
            ends.add(one);
        }
        ends
    }
}

fn passed(state: State<'_>) -> Ends<'_> {
    Ends {
        passed: vec![state],
        ..Ends::default()
    }
}

fn lost(state: State<'_>) -> Ends<'_> {
    Ends {
        lost: vec![state],
        ..Ends::default()
    }
}

/// Every order of a few things.
fn orders<T: Copy>(things: &[T]) -> Vec<Vec<T>> {
    if things.len() <= 1 {
        return vec![things.to_vec()];
    }
    let mut all = Vec::new();
    for (n, first) in things.iter().enumerate() {
        let mut rest = things.to_vec();
        rest.remove(n);
        for mut order in orders(&rest) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}

/// The header of a frame of which only the type is known.
fn frame(version: IpVersion) -> Value {
    let mut frame = Value::unknown(14);
    frame.put(12, &Value::known(version.ether_type()));
    frame
}

/// Has conntrack place a packet, `nf_conntrack_in`.
fn track(packet: &mut Packet) {
    if packet.tracking != Tracking::None {
        return;
    }
    if let Some((direction, state)) = packet.known_as
        && let Some(record) = &mut packet.record
    {
        if direction == CtDirection::Reply {
            record.set_status(STATUS_SEEN_REPLY);
        }
        packet.tracking = Tracking::Of { direction, state };
        return;
    }
    if let Some(record) = opened(packet) {
        packet.record = Some(record);
        packet.tracking = Tracking::Of {
            direction: CtDirection::Original,
            state: 8,
        };
    } else if untracked(packet) {
        packet.tracking = Tracking::Untracked;
    }
}

/// The messages of ICMPv6 that belong to no flow: `nf_conntrack_proto_icmpv6.c`.
fn untracked(packet: &Packet) -> bool {
    let kind = packet.read(PayloadBase::Transport, 0, 1).ok();
    let kind = kind.as_ref().and_then(Value::exact);
    packet.proto() == Some(58) && matches!(kind, Some([130..=136 | 143]))
}

/// The record of the flow that a packet opens, if it opens one.
fn opened(packet: &Packet) -> Option<Record> {
    let proto = packet.proto()?;
    let byte = |offset| {
        let value = packet.read(PayloadBase::Transport, offset, 1).ok()?;
        value.exact()?.first().copied()
    };
    let none = || Value::known([0, 0]);
    let (mut ports, mut answer) = ((none(), none()), (none(), none()));
    match proto {
        6 => {
            // A SYN, or what may belong to a flow that stood before. FIN 1, SYN 2,
            // RST 4, ACK 16; a SYN may come with ECE and CWR.
            if !matches!(byte(13)? & 0x17, 0x02 | 0x10) {
                return None;
            }
            ports = (packet.port(Side::Source)?, packet.port(Side::Destination)?);
            answer = (ports.1.clone(), ports.0.clone());
        }
        17 | 33 | 132 | 136 => {
            ports = (packet.port(Side::Source)?, packet.port(Side::Destination)?);
            answer = (ports.1.clone(), ports.0.clone());
        }
        1 | 58 => {
            let (asks, answers) = match (proto, byte(0)?) {
                (1, 8) => (8, 0),
                (1, 13) => (13, 14),
                (1, 15) => (15, 16),
                (1, 17) => (17, 18),
                (58, 128) => (128, 129),
                (58, 139) => (139, 140),
                _ => return None,
            };
            let number = packet.port(Side::Source)?;
            let code = packet.read(PayloadBase::Transport, 1, 1).ok()?;
            let with_code = |kind: u8| {
                let mut value = Value::known([kind]);
                value.push(&code);
                value
            };
            ports = (number.clone(), with_code(asks));
            answer = (number, with_code(answers));
        }
        _ => {}
    }
    let (source, destination) = (
        packet.address(Side::Source),
        packet.address(Side::Destination),
    );
    let tuple = |source: &Address, destination: &Address, (a, b): (Value, Value)| Tuple {
        source: source.clone(),
        destination: destination.clone(),
        source_port: a,
        destination_port: b,
    };
    let original = tuple(&source, &destination, ports);
    let reply = tuple(&destination, &source, answer);
    Some(Record::new(proto, original, reply))
}

/// Makes of a packet what its flow's translation says, at one end;
/// `nf_nat_packet`.
fn rewrite(packet: &mut Packet, side: Side) {
    let (Tracking::Of { direction, .. }, Some(record)) = (&packet.tracking, &packet.record) else {
        return;
    };
    // What the one direction sends to, the other sends from.
    let translated = match (direction, side) {
        (CtDirection::Original, Side::Source) | (CtDirection::Reply, Side::Destination) => {
            STATUS_SRC_NAT
        }
        _ => STATUS_DST_NAT,
    };
    if record
        .status
        .clone()
        .and(&translated.to_ne_bytes())
        .equals(&[0; 4])
        == Answer::Yes
    {
        return;
    }
    let other = match direction {
        CtDirection::Original => &record.reply,
        CtDirection::Reply => &record.original,
    };
    let (address, port) = (
        other.address(side.other()).clone(),
        other.port(side.other()).clone(),
    );
    packet.rewrite(side, &address, &port);
}
