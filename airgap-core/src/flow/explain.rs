//! What happens to a flow under a rule graph, and why: its packets, one after
//! the other, on their way through the hooks.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::evaluate::{Act, Ends, State, Step, Trail};
use super::journey::{Journey, Start};
use super::packet::{Address, IpVersion, Packet, Sender, Side};
use super::story::{Explanation, Told, Way};
use super::value::Value;
use super::world::{Interface, Lookup, World};
use super::{End, Flow, FlowProto, nearest, published};
use crate::graph::{CtDirection, Family, MetaKey, RuleGraph, Selector, Statement, TABLE_NAME};

/// What the name of an interface begins with that is most likely a bridge.
const BRIDGES: [&str; 5] = ["docker", "br-", "virbr", "lxcbr", "podman"];
/// An interface that nobody named.
const SOME_UPLINK: &str = "eth0";

/// The packets of a flow that are followed, in their order.
const PACKETS: [Sent; 4] = [
    Sent {
        what: "the opening packet",
        direction: CtDirection::Original,
        opens: true,
        flags: 0x02,
    },
    Sent {
        what: "the answer",
        direction: CtDirection::Reply,
        opens: false,
        flags: 0x12,
    },
    Sent {
        what: "a later packet",
        direction: CtDirection::Original,
        opens: false,
        flags: 0x10,
    },
    Sent {
        what: "a later answer",
        direction: CtDirection::Reply,
        opens: false,
        flags: 0x18,
    },
];

/// A packet of a flow.
struct Sent {
    what: &'static str,
    direction: CtDirection,
    opens: bool,
    /// Of TCP.
    flags: u8,
}

/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED)`
const ESTABLISHED: u32 = 2;

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Passes,
    Dropped,
    Undecided,
}

impl RuleGraph {
    /// What happens to a flow under these rules, and why. Nothing is asked of
    /// a host: the flow's ends are taken to be where it says they are, and an
    /// end without an interface to be behind an uplink.
    #[must_use]
    pub fn explain(&self, flow: &Flow) -> Explanation {
        self.explain_in(flow, &World::default())
    }

    /// The same with the devices, addresses and routes of a host; what those do
    /// not tell is taken as [`RuleGraph::explain`] does.
    #[must_use]
    pub fn explain_in(&self, flow: &Flow, world: &World) -> Explanation {
        let simulation = Simulation::new(self, flow, world);
        let (fate, ways) = simulation.run();
        if fate == Fate::Dropped
            && let Some(explanation) = published::explain(self, flow, world)
        {
            return explanation;
        }
        let mut told = Told::new(self, flow, fate, ways, simulation.assumed.clone());
        if fate == Fate::Dropped {
            told.nearest = nearest::nearest(self, flow, world);
        }
        told.explanation()
    }

    /// What happens to a flow, without looking for more.
    pub(super) fn explain_plainly(&self, flow: &Flow, world: &World) -> Explanation {
        let simulation = Simulation::new(self, flow, world);
        let (fate, ways) = simulation.run();
        Told::new(self, flow, fate, ways, simulation.assumed).explanation()
    }

    /// Whether a flow is certainly dropped.
    pub(crate) fn drops(&self, flow: &Flow, world: &World) -> bool {
        Simulation::new(self, flow, world).run().0 == Fate::Dropped
    }

    /// Whether a flow certainly passes.
    pub(super) fn passes(&self, flow: &Flow, world: &World) -> bool {
        Simulation::new(self, flow, world).run().0 == Fate::Passes
    }
}

/// A flow's ends on a host, and the packets between them.
struct Simulation<'g> {
    graph: &'g RuleGraph,
    flow: Flow,
    version: IpVersion,
    world: World,
    uplink: Interface,
    assumed: Vec<String>,
}

/// How far a flow got in one possibility.
struct Reached<'g> {
    state: State<'g>,
    /// The way of the opening packet, of which the verdict on a flow that
    /// passes tells.
    ways: Vec<Way<'g>>,
}

impl<'g> Simulation<'g> {
    fn new(graph: &'g RuleGraph, flow: &Flow, world: &World) -> Self {
        let version = match flow.is_ipv4() {
            true => IpVersion::V4,
            false => IpVersion::V6,
        };
        let mut simulation = Self {
            graph,
            flow: flow.clone(),
            version,
            world: world.clone(),
            uplink: uplink(graph, world),
            assumed: Vec::new(),
        };
        for end in [&flow.from, &flow.to] {
            simulation.place(end);
        }
        simulation.world.assume_local(nameless(version));
        simulation
    }

    /// Puts an end where the flow says it is.
    fn place(&mut self, end: &End) {
        match end {
            End::Host { address: None } => {}
            End::Host {
                address: Some(address),
            } => {
                if !self.world.is_local(*address) {
                    self.world.assume_local(*address);
                    self.assume(format!("{address} is an address of the host"));
                }
            }
            End::At {
                interface: Some(name),
                address,
            } => {
                if self.world.interface(name).is_none() {
                    let interface = Interface::assumed(name, names_bridge(self.graph, name));
                    let kind = if interface.is_bridge() {
                        "a bridge"
                    } else {
                        "no bridge"
                    };
                    self.assume(format!("{name} is {kind}, and {address} is behind it"));
                    self.world.assume(*address, interface);
                }
            }
            End::At {
                interface: None,
                address,
            } => {
                if matches!(self.route(*address), Lookup::Unknown | Lookup::Nowhere)
                    && !self.world.has_policy_routes()
                {
                    let name = self.uplink.name.clone().unwrap_or_default();
                    self.assume(format!("{address} is behind {name}, an uplink"));
                    let uplink = self.uplink.clone();
                    self.world.assume(*address, uplink);
                }
            }
        }
    }

    fn assume(&mut self, what: String) {
        if !self.assumed.contains(&what) {
            self.assumed.push(what);
        }
    }

    fn route(&self, address: IpAddr) -> Lookup {
        self.world.route(&Address::from(address), self.version)
    }

    /// The interface behind which somebody is.
    fn behind(&self, end: &End) -> Interface {
        match end {
            End::At {
                interface: Some(name),
                ..
            } => self
                .world
                .interface(name)
                .unwrap_or_else(|| Interface::assumed(name, names_bridge(self.graph, name))),
            End::At { address, .. } => match self.route(*address) {
                Lookup::Over(interface) => interface,
                _ => self.uplink.clone(),
            },
            End::Host { .. } => Interface::loopback(),
        }
    }

    fn run(&self) -> (Fate, Vec<Way<'g>>) {
        let journey = Journey {
            graph: self.graph,
            world: &self.world,
            uplink: self.uplink.clone(),
            reordered: Cell::new(false),
        };
        let mut dropped: Option<Vec<Way<'g>>> = None;
        let mut lost: Option<Vec<Way<'g>>> = None;
        let mut reached = vec![Reached {
            state: State {
                packet: self.opening(&journey),
                trail: Trail::default(),
            },
            ways: Vec::new(),
        }];
        for sent in &PACKETS {
            let mut next = Vec::new();
            for one in reached {
                let (start, packet) = self.packet(sent, &one.state.packet);
                let ends = self.send(&journey, packet, &start);
                let with = |state: &State<'g>| {
                    let mut ways = one.ways.clone();
                    ways.push(Way {
                        what: sent.what,
                        steps: state.trail.steps(),
                    });
                    ways
                };
                dropped = dropped.or(ends.dropped.first().map(with));
                lost = lost.or(ends.lost.first().map(with));
                next.extend(ends.passed.into_iter().map(|state| Reached {
                    ways: with(&state),
                    state,
                }));
            }
            reached = next;
        }
        let passed = reached.into_iter().next().map(|one| one.ways);
        match (passed, dropped, lost) {
            (Some(ways), None, None) => (Fate::Passes, ways),
            (None, Some(ways), None) => (Fate::Dropped, ways),
            (passed, dropped, lost) => {
                let all = [lost, dropped, passed].into_iter().flatten();
                (Fate::Undecided, all.flatten().collect())
            }
        }
    }

    fn send(&self, journey: &Journey<'g, '_>, packet: Packet, start: &Start) -> Ends<'g> {
        journey.send(
            State {
                packet,
                trail: Trail::default(),
            },
            start,
        )
    }

    /// The packet that opens the flow.
    fn opening(&self, journey: &Journey) -> Packet {
        let port = |port: Option<u16>| {
            port.map_or_else(
                || Value::unknown(2),
                |port| Value::known(port.to_be_bytes()),
            )
        };
        let proto = self.flow.proto.number(self.version == IpVersion::V4);
        let mut packet = bare(self.version, self.flow.proto, proto, 0x02, true);
        let destination = match &self.flow.from {
            End::Host { .. } if self.flow.to.is_host() => Address::from(match self.version {
                IpVersion::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpVersion::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            }),
            from => self.address(&self.flow.to, Some(&self.behind(from))),
        };
        packet.rewrite(Side::Destination, &destination, &port(self.flow.port));
        let source = match &self.flow.from {
            End::Host { address: None } => {
                let oif = journey.way_out(&packet);
                self.address(&self.flow.from, Some(&oif))
            }
            end => self.address(end, None),
        };
        packet.rewrite(Side::Source, &source, &port(self.flow.source_port));
        packet
    }

    fn address(&self, end: &End, interface: Option<&Interface>) -> Address {
        if let Some(address) = end.address() {
            return Address::from(address);
        }
        let known = interface.and_then(|on| self.world.address_on(on, self.version));
        Address::from(known.unwrap_or_else(|| nameless(self.version)))
    }

    /// The next packet of a flow of which `last` was the last, as it arrived;
    /// and where it starts.
    fn packet(&self, sent: &Sent, last: &Packet) -> (Start, Packet) {
        let user = self.flow.user.unwrap_or(NO_USER);
        let start = |of: &Address, end: &End| {
            let is_local = |address: IpAddr| self.world.is_local(address);
            match of.local.or(of.exact().map(is_local)) {
                Some(true) => Start::Host,
                _ => Start::Behind(match self.world.route(of, self.version) {
                    Lookup::Over(interface) => interface,
                    _ => self.behind(end),
                }),
            }
        };
        if sent.opens {
            let mut packet = last.clone();
            let start = match &self.flow.from {
                End::Host { .. } => Start::Host,
                end => Start::Behind(self.behind(end)),
            };
            if matches!(start, Start::Host) {
                packet.sender = Sender::User(user);
            }
            return (start, packet);
        }
        let proto = self.flow.proto.number(self.version == IpVersion::V4);
        let original = sent.direction == CtDirection::Original;
        let mut packet = bare(self.version, self.flow.proto, proto, sent.flags, original);
        let ends = match &last.record {
            Some(record) => {
                let tuple = record.tuple(sent.direction);
                [Side::Source, Side::Destination]
                    .map(|side| (side, tuple.address(side).clone(), tuple.port(side).clone()))
            }
            // Without a record the packet turns around as it is.
            None => [Side::Source, Side::Destination].map(|side| {
                let from = side.other();
                let port = last.port(from).unwrap_or_else(|| Value::unknown(2));
                (side, last.address(from), port)
            }),
        };
        for (side, address, port) in &ends {
            packet.rewrite(*side, address, port);
        }
        packet.record = last.record.clone();
        packet.known_as = packet
            .record
            .is_some()
            .then_some((sent.direction, ESTABLISHED));
        let [(_, source, _), _] = &ends;
        let start = match (original, &self.flow.from) {
            (true, End::Host { .. }) => Start::Host,
            (true, end) => Start::Behind(self.behind(end)),
            (false, _) => start(source, &self.flow.to),
        };
        packet.sender = match (&start, original) {
            (Start::Host, true) => Sender::User(user),
            (Start::Host, false) => Sender::Unknown,
            _ => Sender::Nobody,
        };
        (start, packet)
    }
}

/// An address of the host where none is known: of the networks for benchmarks
/// (RFC 2544, RFC 5180), which no policy names.
fn nameless(version: IpVersion) -> IpAddr {
    match version {
        IpVersion::V4 => IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
        IpVersion::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1)),
    }
}

/// A user that no rule is likely to ask for: the greatest that there can be.
const NO_USER: u32 = u32::MAX - 1;

/// A packet of which nothing is known but what the flow says.
fn bare(version: IpVersion, kind: FlowProto, proto: u8, flags: u8, original: bool) -> Packet {
    let mut bytes;
    let transport = match version {
        IpVersion::V4 => {
            // No options, no fragment.
            bytes = Value::unknown(20);
            bytes.put(0, &Value::known([0x45]));
            bytes.put(6, &Value::partly([0, 0], [0xbf, 0xff]));
            bytes.put(9, &Value::known([proto]));
            20
        }
        IpVersion::V6 => {
            bytes = Value::unknown(40);
            bytes.put(0, &Value::partly([0x60], [0xf0]));
            bytes.put(6, &Value::known([proto]));
            40
        }
    };
    match kind {
        FlowProto::Tcp => {
            bytes.push(&Value::unknown(20));
            bytes.put(transport + 13, &Value::known([flags]));
        }
        FlowProto::Icmp => {
            bytes.push(&Value::unknown(8));
            let kind = match (version, original) {
                (IpVersion::V4, true) => 8,
                (IpVersion::V4, false) => 0,
                (IpVersion::V6, true) => 128,
                (IpVersion::V6, false) => 129,
            };
            bytes.put(transport, &Value::known([kind, 0]));
        }
        _ => bytes.push(&Value::unknown(8)),
    }
    Packet::of(version, bytes, false)
}

/// The interface behind which everything is that nobody placed.
pub(super) fn uplink(graph: &RuleGraph, world: &World) -> Interface {
    let named = graph
        .table(Family::Inet, TABLE_NAME)
        .and_then(|table| table.set("uplinks")?.elements.get(0))
        .map(|name| {
            let end = name.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(name.get(..end.unwrap_or(name.len())).unwrap_or(name))
                .into_owned()
        });
    if let Some(name) = named {
        let seen = world.interface(&name);
        return seen.unwrap_or_else(|| Interface::assumed(&name, false));
    }
    let devices = world.devices();
    let leads_out = devices
        .iter()
        .filter(|d| d.name != "lo" && !d.is_bridge() && d.master.is_none());
    let by_default = leads_out.clone().find(|d| d.default_route);
    match by_default.or(leads_out.clone().next()) {
        Some(device) => world.interface(&device.name).unwrap_or_default(),
        None => Interface::assumed(SOME_UPLINK, false),
    }
}

/// Whether a name is that of a bridge: the air gap's rules name no other
/// interfaces but the uplinks and the loopback.
fn names_bridge(graph: &RuleGraph, name: &str) -> bool {
    let asks = |statement: &Statement| match statement {
        Statement::Match {
            left: Selector::Meta(MetaKey::Iifname | MetaKey::Oifname | MetaKey::IbrName),
            mask: None,
            right,
            ..
        } => {
            let mut padded = name.as_bytes().to_vec();
            padded.resize(MetaKey::Iifname.width(), 0);
            padded.starts_with(right)
        }
        _ => false,
    };
    let own = graph.tables.iter().filter(|table| table.is_airgap());
    let mut rules = own.flat_map(|table| &table.chains).flat_map(|c| &c.rules);
    BRIDGES.iter().any(|start| name.starts_with(start))
        || (name != "lo" && rules.any(|rule| rule.statements.iter().any(asks)))
}

/// Whether a step tells something to a reader: what a rule did, not that it
/// was passed by.
pub(super) fn is_telling(step: &Step) -> bool {
    !matches!(step.act, Act::Unsure { taken: false, .. })
}
