//! What a policy states: the packets that pass under it, read from the policy
//! alone. This is the other side of a verification, and so shares nothing with
//! the compiler: every sentence here is one of the policy's meaning.
//!
//! There are two answers. What *must* pass are the packets of ordinary flows;
//! nothing *may* pass beyond the second, which holds odd packets of open flows
//! too, such as errors about them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::boxes::{merged, union};
use super::diagram::{ALL, Diagram, Diagrams, Full, Interval, NONE};
use super::interfaces::{Interface, Interfaces};
use super::numbers::{comparing, complement, highest};
use super::space::{Case, Journey, Kind, NO_SOCKET, ProtoClass, State, Var, Version, options};
use crate::docker::DockerResolver;
use crate::graph::{Cmp, NatTarget};
use crate::netlink::Device;
use crate::policy::{
    Address, Allow, BridgeExemption, BridgeName, ContainerSource, Dhcp, Policy, PortRange, Proto,
    Resolvers, ServiceForwarder, User,
};
use crate::surroundings::Surroundings;

/// What must pass, and what may.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stated {
    pub must: Diagram,
    pub may: Diagram,
    /// What is no opening, and free as far as the air gap goes: its own tables
    /// pass it. Frames inside a bridge that the policy does not name.
    pub free: Diagram,
}

/// Addresses and ports, as they are written in the policy.
#[derive(Default, Clone)]
struct Pairs(Vec<(Interval, Interval)>);

/// The pairs of each IP version and protocol.
#[derive(Default)]
struct Openings(BTreeMap<(Version, Proto), Pairs>);

/// Reads a policy, for case after case.
pub(crate) struct Statement<'a> {
    policy: &'a Policy,
    surroundings: &'a Surroundings,
    interfaces: &'a Interfaces,
    cgroups: &'a [u64],
    /// Of `[[allow]]` and the resolvers, by user.
    allowed: BTreeMap<Option<u32>, Openings>,
    /// Of `[[admit]]`, by the bridge behind which the port is published.
    admitted: BTreeMap<Option<&'a BridgeName>, Openings>,
    /// Who may ping.
    pinging: BTreeMap<Version, Vec<Interval>>,
    known: BTreeMap<(Which, Version, Proto), Diagram>,
}

/// Which pairs a diagram was made of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Allowed(Option<u32>),
    Admitted(Option<BridgeName>),
}

/// The label by which a flow shows, in its upper 33 bits, that a user opened it
/// under a policy: bit 95, and the number of the user above.
const OPENED_BIT: u32 = 95;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// `RTN_LOCAL` of `linux/rtnetlink.h`
const LOCAL: u128 = 2;

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

fn net_interval(net: IpNet) -> Interval {
    (number(net.network()), number(net.broadcast()))
}

fn port_interval(ports: PortRange) -> Interval {
    (u128::from(ports.first), u128::from(ports.last))
}

fn transport(case: Case) -> Option<Proto> {
    match case.proto {
        ProtoClass::Tcp => Some(Proto::Tcp),
        ProtoClass::Udp => Some(Proto::Udp),
        _ => None,
    }
}

impl<'a> Statement<'a> {
    pub(crate) fn new(
        policy: &'a Policy,
        surroundings: &'a Surroundings,
        interfaces: &'a Interfaces,
        cgroups: &'a [u64],
    ) -> Self {
        let mut statement = Self {
            policy,
            surroundings,
            interfaces,
            cgroups,
            allowed: BTreeMap::new(),
            admitted: BTreeMap::new(),
            pinging: BTreeMap::new(),
            known: BTreeMap::new(),
        };
        statement.read();
        statement
    }

    fn read(&mut self) {
        let (policy, surroundings) = (self.policy, self.surroundings);
        let servers = match &policy.host.resolvers {
            Resolvers::None => &[],
            Resolvers::System => surroundings.resolvers.as_slice(),
            Resolvers::Servers(servers) => servers.as_slice(),
        };
        let of_host = self.allowed.entry(None).or_default();
        for server in servers {
            for proto in [Proto::Tcp, Proto::Udp] {
                let address = number(*server);
                let key = (Version::of(*server), proto);
                let pairs = of_host.0.entry(key).or_default();
                pairs.0.push(((address, address), (53, 53)));
            }
        }
        for allow in policy.allow.entries() {
            let pair = match allow {
                Allow::Exact(pair) => {
                    let address = number(pair.address);
                    let key = (Version::of(pair.address), pair.proto);
                    let pairs = self.allowed.entry(None).or_default().0.entry(key);
                    let port = u128::from(pair.port);
                    let opened = ((address, address), (port, port));
                    pairs.or_default().0.push(opened);
                    continue;
                }
                Allow::Listed(pair) => pair,
            };
            let user = match &pair.user {
                None => None,
                Some(User::Uid(uid)) => Some(*uid),
                // Nobody may open what only an unknown user may.
                Some(User::Name(name)) => match surroundings.users.get(&**name) {
                    Some(uid) => Some(*uid),
                    None => continue,
                },
            };
            let openings = self.allowed.entry(user).or_default();
            for (version, addresses) in intervals(&pair.to, surroundings) {
                openings.add(version, pair.proto, addresses, &pair.port);
            }
        }
        for admit in &policy.admit {
            for (version, addresses) in intervals(&admit.from, surroundings) {
                match admit.proto.transport() {
                    Some(proto) => self.admitted.entry(admit.via.as_ref()).or_default().add(
                        version,
                        proto,
                        addresses,
                        &admit.port,
                    ),
                    None => self.pinging.entry(version).or_default().push(addresses),
                }
            }
        }
    }

    /// What the policy states of the packets of a case.
    pub(crate) fn of(&mut self, d: &mut Diagrams, case: Case) -> Result<Stated, Full> {
        match case.journey {
            Journey::Out => self.out(d, case),
            Journey::In => self.into(d, case),
            Journey::Across => self.across(d, case),
        }
    }

    // What is opened, by the addresses and the port of the flow.

    /// The flow was opened by the host to an allow pair.
    fn allowed(
        &mut self,
        d: &mut Diagrams,
        case: Case,
        user: Option<u32>,
    ) -> Result<Diagram, Full> {
        let Some(proto) = transport(case).filter(|_| is_flow(case) && !case.dnat) else {
            return Ok(NONE);
        };
        let key = (Which::Allowed(user), case.version, proto);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let openings = self.allowed.get(&user);
        let pairs = openings.and_then(|o| o.0.get(&(case.version, proto)));
        let made = pair_diagram(d, case.destination(), pairs)?;
        self.known.insert(key, made);
        Ok(made)
    }

    /// The flow was opened by one who is admitted, to the port that it dialled.
    fn admitted(
        &mut self,
        d: &mut Diagrams,
        case: Case,
        via: Option<&BridgeName>,
    ) -> Result<Diagram, Full> {
        let Some(proto) = transport(case).filter(|_| is_flow(case)) else {
            return Ok(NONE);
        };
        let key = (Which::Admitted(via.cloned()), case.version, proto);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let openings = self.admitted.get(&via);
        let pairs = openings.and_then(|o| o.0.get(&(case.version, proto)));
        let made = pair_diagram(d, case.source(), pairs)?;
        self.known.insert(key, made);
        Ok(made)
    }

    /// What others may open at the host's own addresses: also published ports
    /// over IPv6, at which docker-proxy listens.
    fn admitted_at_host(&mut self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        if case.dnat || !is_flow(case) {
            return Ok(NONE);
        }
        if case.proto == ProtoClass::Icmp {
            let from = self.pinging.get(&case.version).cloned().unwrap_or_default();
            return d.values(case.source(), merged(from));
        }
        let mut any = self.admitted(d, case, None)?;
        if case.version == Version::V6 {
            for via in self.published_behind() {
                let more = self.admitted(d, case, Some(via))?;
                any = d.or(any, more)?;
            }
        }
        Ok(any)
    }

    /// The bridges behind which ports are published that others may dial.
    fn published_behind(&self) -> Vec<&'a BridgeName> {
        self.admitted.keys().copied().flatten().collect()
    }

    // Where packets come from and go to.

    fn interfaces(
        &self,
        d: &mut Diagrams,
        var: Var,
        holds: impl Fn(&Interface) -> bool,
    ) -> Result<Diagram, Full> {
        d.values(var, merged(self.interfaces.numbers(holds)))
    }

    /// Whether an interface leads to the network.
    fn is_uplink(&self, interface: &Interface) -> bool {
        match &self.policy.host.uplinks {
            Some(uplinks) => uplinks.contains(&interface.name),
            None => {
                let named = |bridge: &BridgeExemption| bridge.name.matches(&interface.name);
                !interface.is_bridge() && !self.policy.bridge.iter().any(named)
            }
        }
    }

    /// The exemption that an interface has: of several the one that names it,
    /// or begins most like it.
    fn exemption(&self, interface: &Interface) -> Option<&'a BridgeExemption> {
        let meant = self.policy.bridge.iter();
        meant
            .filter(|bridge| bridge.name.matches(&interface.name))
            .max_by_key(|bridge| (!bridge.name.is_pattern(), bridge.name.stem().len()))
    }

    /// The source of a new flow lies behind the interface that it came by. The
    /// uplinks are trusted with that.
    fn comes_from_its_place(&self, d: &mut Diagrams) -> Result<Diagram, Full> {
        let uplinks = self.interfaces(d, Var::Iif, |i| self.is_uplink(i))?;
        let behind = d.value(Var::SourceBehind, 1)?;
        d.or(uplinks, behind)
    }

    /// A flow that is opened to the host is dialled at an address of its own,
    /// and at none that only the host itself may dial.
    fn arrives(&self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        let local = d.value(Var::DestinationType, LOCAL)?;
        let place = self.comes_from_its_place(d)?;
        let mut arrives = d.and(local, place)?;
        if case.is_v4() {
            let loopback = net_of(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
            let loopback = d.values(case.answer(), [loopback])?;
            arrives = d.without(arrives, loopback)?;
        }
        Ok(arrives)
    }

    // What an odd packet must be, beside having an opening.

    /// Without source route, which makes the destination a mere stop.
    fn unrouted(&self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        let routed = if case.is_v4() {
            let numbers = 0..options::COUNT;
            let routed = numbers.filter(|n| options::loose(*n) || options::strict(*n));
            let routed = merged(routed.map(|n| (n, n)));
            d.values(Var::Options, routed)?
        } else {
            d.value(Var::Routing, 1)?
        };
        d.not(routed)
    }

    /// Without source route; of ICMP only ping, and errors about the path of a
    /// flow.
    fn plain(&self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        let mut plain = self.unrouted(d, case)?;
        if case.packet_proto() == Some(case.version.icmp()) {
            let (pings, too_big) = if case.is_v4() {
                ([0, 8], (3 << 8 | 4, 3 << 8 | 4))
            } else {
                ([128, 129], (2 << 8, 2 << 8 | 0xff))
            };
            let header = case.icmp_header();
            let pings = d.values(header, pings.map(|kind| (kind << 8, kind << 8 | 0xff)))?;
            let too_big = d.values(header, [too_big])?;
            let related = d.value(Var::State, State::Related.number())?;
            let errors = d.and(too_big, related)?;
            let passing = d.or(pings, errors)?;
            plain = d.and(plain, passing)?;
        }
        Ok(plain)
    }

    // The journeys.

    fn out(&mut self, d: &mut Diagrams, case: Case) -> Result<Stated, Full> {
        let mut may = Vec::new();
        let mut must = Vec::new();
        if !case.reply {
            may.push(self.allowed(d, case, None)?);
            may.push(self.allowed_to_users(d, case)?);
            may.push(self.docker_proxy(d, case, Var::Oif)?);
        } else {
            may.push(self.admitted_at_host(d, case)?);
            if case.dnat && case.kind == Kind::Error {
                // The host's own errors to those who dialled a published port.
                for via in self.published_behind() {
                    may.push(self.admitted(d, case, Some(via))?);
                }
            }
            if case.kind == Kind::Error {
                // And to the containers of a forwarder.
                may.push(self.forwarded(d, case)?);
            }
        }
        must.extend_from_slice(&may);
        let (to_containers, surely) = self.to_containers(d, case)?;
        may.push(to_containers);
        must.push(surely);
        let dhcp = self.dhcp(d, case)?;
        may.push(dhcp);
        if !case.dnat {
            must.push(dhcp);
        }
        let plain = self.plain(d, case)?;
        let discovery = self.neighbours_out(d, case)?;
        let (mut may, mut must) = (d.any_of(&may)?, d.any_of(&must)?);
        may = d.and(may, plain)?;
        may = d.or(may, discovery)?;
        must = d.and(must, plain)?;
        must = d.or(must, discovery)?;
        // The host speaks to itself.
        let way = if case.reply {
            case.oif_early()
        } else {
            Var::Oif
        };
        let to_itself = self.interfaces(d, way, is_loopback)?;
        let asked = self.asked_for_containers(d, case)?;
        let to_itself = d.without(to_itself, asked)?;
        may = d.or(may, to_itself)?;
        if case.kind == Kind::Flow {
            let early = self.interfaces(d, case.oif_early(), is_loopback)?;
            let mut surely = d.and(to_itself, early)?;
            if case.dnat {
                let local = d.value(Var::DestinationType, LOCAL)?;
                surely = d.and(surely, local)?;
            }
            must = d.or(must, surely)?;
        }
        // Docker's questions for containers do not pass whatever else is open.
        must = d.without(must, asked)?;
        let must = self.ordinary(d, case, must)?;
        Ok(Stated {
            must,
            may,
            free: NONE,
        })
    }

    fn into(&mut self, d: &mut Diagrams, case: Case) -> Result<Stated, Full> {
        let mut may = Vec::new();
        if case.reply {
            may.push(self.allowed(d, case, None)?);
            may.push(self.allowed_to_users(d, case)?);
            may.push(self.docker_proxy(d, case, Var::Iif)?);
        } else {
            let admitted = self.admitted_at_host(d, case)?;
            let arrives = self.arrives(d, case)?;
            may.push(d.and(admitted, arrives)?);
        }
        may.push(self.of_containers(d, case)?);
        may.push(self.dhcp(d, case)?);
        let plain = self.plain(d, case)?;
        let any = d.any_of(&may)?;
        let passing = d.and(any, plain)?;
        let discovery = self.neighbours_in(d, case)?;
        let passing = d.or(passing, discovery)?;
        let from_itself = self.interfaces(d, Var::Iif, is_loopback)?;
        let may = d.or(passing, from_itself)?;
        let must = self.ordinary(d, case, may)?;
        Ok(Stated {
            must,
            may,
            free: NONE,
        })
    }

    fn across(&mut self, d: &mut Diagrams, case: Case) -> Result<Stated, Full> {
        let mut opened = vec![self.forwarded(d, case)?];
        if case.dnat {
            for via in self.published_behind() {
                let pairs = self.admitted(d, case, Some(via))?;
                let var = if case.reply { Var::Iif } else { Var::Oif };
                let behind = self.interfaces(d, var, |i| via.matches(&i.name))?;
                let mut opening = d.and(pairs, behind)?;
                if !case.reply {
                    let place = self.comes_from_its_place(d)?;
                    opening = d.and(opening, place)?;
                }
                opened.push(opening);
            }
        }
        let opened = d.any_of(&opened)?;
        let plain = self.plain(d, case)?;
        let opened = d.and(opened, plain)?;
        let inside = self.inside_a_bridge(d, case)?;
        let may = d.or(opened, inside.free)?;
        let may = d.without(may, inside.isolated)?;
        // Frames inside a bridge that is not named are free, and no opening.
        let mut must = opened;
        if case.kind == Kind::Flow && case.proto != ProtoClass::Other {
            must = d.or(must, inside.opened)?;
        }
        let must = d.without(must, inside.isolated)?;
        let must = self.ordinary(d, case, must)?;
        let must = self.in_their_places(d, case, must)?;
        let free = if case.kind == Kind::Flow {
            self.ordinary(d, case, inside.free)?
        } else {
            NONE
        };
        Ok(Stated { must, may, free })
    }

    /// Of what must pass what can be: containers are behind the device whose
    /// networks they are of, where the host has such a device.
    fn in_their_places(
        &self,
        d: &mut Diagrams,
        case: Case,
        must: Diagram,
    ) -> Result<Diagram, Full> {
        let mut placed = must;
        for (var, address) in [
            (Var::Iif, packet_source(case)),
            (Var::Oif, packet_destination(case)),
        ] {
            let mut pieces = Vec::new();
            for (number, interface) in self.interfaces.iter() {
                let place = match self.place(interface, case.version) {
                    Some(networks) => d.values(address, networks)?,
                    // A device that there is not has nobody behind it, if no
                    // line of the policy or rule says its name.
                    None if interface.is_one || self.surroundings.devices.is_empty() => ALL,
                    None => NONE,
                };
                pieces.push(((number, number), place));
            }
            let places = d.pieces(var, pieces)?;
            placed = d.and(placed, places)?;
        }
        Ok(placed)
    }

    /// The addresses behind a device of the host.
    fn place(&self, interface: &Interface, version: Version) -> Option<Vec<Interval>> {
        let devices = &self.surroundings.devices;
        let device = devices.iter().find(|d| d.name == interface.name)?;
        let networks = |device: &Device| -> Vec<Interval> {
            let nets = device.addresses.iter();
            nets.filter(|net| Version::of(net.addr()) == version)
                .map(|net| net_interval(*net))
                .collect()
        };
        let own = networks(device);
        if !device.default_route {
            return Some(merged(own));
        }
        let others = devices.iter().filter(|other| other.name != device.name);
        let others = merged(others.flat_map(networks));
        let bits = if version == Version::V4 { 32 } else { 128 };
        let elsewhere = complement(&others, highest(bits));
        Some(merged(elsewhere.into_iter().chain(own)))
    }

    // What the parts of a policy mean.

    /// An `[[allow]]` with `user`: judged when the flow opens, and remembered by
    /// its label. Later packets may belong to no socket any more, and none may
    /// belong to another's.
    fn allowed_to_users(&mut self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        let users: Vec<u32> = self.allowed.keys().copied().flatten().collect();
        let mut any = NONE;
        for uid in users {
            let pairs = self.allowed(d, case, Some(uid))?;
            if pairs == NONE {
                continue;
            }
            let mask = u128::MAX << OPENED_BIT;
            let label = u128::from(uid) << (OPENED_BIT + 1) | 1 << OPENED_BIT;
            let labels = comparing(Cmp::Eq, Some(mask), label, 128).unwrap_or_default();
            let remembered = d.values(Var::Label, labels)?;
            let mut passing = remembered;
            if !case.reply {
                let his = d.value(Var::Uid, u128::from(uid))?;
                let nobodys = d.value(Var::Uid, NO_SOCKET)?;
                let not_others = d.or(his, nobodys)?;
                let later = d.and(remembered, not_others)?;
                let new = d.value(Var::State, State::New.number())?;
                let mut opens = d.and(his, new)?;
                if case.proto == ProtoClass::Tcp {
                    // A later segment may be of a flow that stood before. The
                    // flags of SYN, ACK, RST and FIN count.
                    let syn = comparing(Cmp::Eq, Some(0x17), u128::from(SYN), 8);
                    let syn = d.values(Var::TcpFlags, syn.unwrap_or_default())?;
                    opens = d.and(opens, syn)?;
                }
                passing = d.or(later, opens)?;
            }
            let passing = d.and(passing, pairs)?;
            any = d.or(any, passing)?;
        }
        Ok(any)
    }

    /// The leg of docker-proxy to a container whose port is published, where
    /// its bridge is not exempt: of the superuser, or of no process any more.
    fn docker_proxy(&self, d: &mut Diagrams, case: Case, var: Var) -> Result<Diagram, Full> {
        if case.dnat || !is_flow(case) || transport(case).is_none() {
            return Ok(NONE);
        }
        let exempt = |via: &BridgeName| self.policy.bridge.iter().any(|b| b.name == *via);
        let vias: Vec<_> = self.published_behind();
        let leg = self.interfaces(d, var, |i| {
            vias.iter().any(|via| !exempt(via) && via.matches(&i.name))
        })?;
        if case.reply {
            let behind = d.value(Var::SourceBehind, 1)?;
            return d.and(leg, behind);
        }
        let superuser = d.values(Var::Uid, [(0, 0), (NO_SOCKET, NO_SOCKET)])?;
        d.and(leg, superuser)
    }

    /// What containers behind an exempt bridge open at the host: to all its
    /// ports or some, and ping. `what` shows the interface that is theirs.
    fn opened_by_containers(
        &self,
        d: &mut Diagrams,
        case: Case,
        what: Var,
    ) -> Result<Diagram, Full> {
        if case.dnat || !is_flow(case) || case.proto == ProtoClass::Other {
            return Ok(NONE);
        }
        let mut pieces = Vec::new();
        for (number, interface) in self.interfaces.iter() {
            let Some(bridge) = self.exemption(interface) else {
                continue;
            };
            let ports = match (&bridge.ports, transport(case)) {
                (None, _) | (_, None) => ALL,
                (Some(ports), Some(proto)) => {
                    let ports = ports.iter().filter(|port| port.proto == proto);
                    let ports = merged(ports.map(|port| port_interval(port.ports)));
                    d.values(Var::Port, ports)?
                }
            };
            pieces.push(((number, number), ports));
        }
        d.pieces(what, pieces)
    }

    /// From the containers of an exempt bridge to the host. Only addresses that
    /// can be behind the bridge are accepted from it.
    fn of_containers(&self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        if !is_flow(case) || case.proto == ProtoClass::Other {
            return Ok(NONE);
        }
        let theirs = if case.reply {
            // The host opens all flows to them.
            self.interfaces(d, Var::Iif, |i| self.exemption(i).is_some())?
        } else {
            let opened = self.opened_by_containers(d, case, Var::Iif)?;
            let arrives = self.arrives(d, case)?;
            d.and(opened, arrives)?
        };
        let behind = d.value(Var::SourceBehind, 1)?;
        d.and(theirs, behind)
    }

    /// From the host to the containers of an exempt bridge: what may go there,
    /// and what must be able to.
    fn to_containers(&self, d: &mut Diagrams, case: Case) -> Result<(Diagram, Diagram), Full> {
        if !is_flow(case) || case.proto == ProtoClass::Other {
            return Ok((NONE, NONE));
        }
        if case.reply {
            let opened = self.opened_by_containers(d, case, case.oif_early())?;
            return Ok((opened, opened));
        }
        let theirs = self.interfaces(d, Var::Oif, |i| self.exemption(i).is_some())?;
        if !case.dnat {
            return Ok((theirs, theirs));
        }
        // What the host dials at its own published port Docker sends on to a
        // container: first it was on its way to the loopback.
        let early = self.interfaces(d, Var::OifEarly, is_loopback)?;
        let surely = d.and(theirs, early)?;
        Ok((theirs, surely))
    }

    /// Flows of service forwarders, by the containers that opened them and the
    /// service.
    pub(crate) fn forwarded(&self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        let Some(proto) = transport(case).filter(|_| is_flow(case)) else {
            return Ok(NONE);
        };
        let mut any = NONE;
        for forward in self.policy.forward.iter().filter(|f| f.proto == proto) {
            let service = self.service(d, case, forward)?;
            if service == NONE {
                continue;
            }
            let containers = self.containers(d, case, forward)?;
            let mut passing = d.and(service, containers)?;
            if !case.reply && case.journey == Journey::Across {
                let behind = d.value(Var::SourceBehind, 1)?;
                passing = d.and(passing, behind)?;
            }
            any = d.or(any, passing)?;
        }
        Ok(any)
    }

    /// The containers of a forwarder: by where they are, or by the address that
    /// opened the flow.
    pub(crate) fn containers(
        &self,
        d: &mut Diagrams,
        case: Case,
        forward: &ServiceForwarder,
    ) -> Result<Diagram, Full> {
        let var = match (case.journey, case.reply) {
            (Journey::Out, _) => case.oif_early(),
            (_, true) => Var::Oif,
            (_, false) => Var::Iif,
        };
        let mut any = NONE;
        let mut addresses = Vec::new();
        for from in &forward.from {
            match from {
                ContainerSource::Bridge(name) => {
                    let behind = self.interfaces(d, var, |i| name.matches(&i.name))?;
                    any = d.or(any, behind)?;
                }
                ContainerSource::Net(net) if Version::of(net.addr()) == case.version => {
                    addresses.push(net_interval(*net));
                }
                ContainerSource::Net(_) => {}
            }
        }
        let by_address = d.values(case.source(), merged(addresses))?;
        d.or(any, by_address)
    }

    /// The service of a forwarder: dialled at its own address, or where the
    /// forwarder listens and then translated to it.
    fn service(
        &self,
        d: &mut Diagrams,
        case: Case,
        forward: &ServiceForwarder,
    ) -> Result<Diagram, Full> {
        let Some(listen) = forward.listen else {
            if case.dnat {
                return Ok(NONE);
            }
            let mut openings = Openings::default();
            for (version, addresses) in intervals(&forward.to, self.surroundings) {
                openings.add(version, forward.proto, addresses, &forward.port);
            }
            let pairs = openings.0.get(&(case.version, forward.proto));
            return pair_diagram(d, case.destination(), pairs);
        };
        if !case.dnat || Version::of(listen.ip()) != case.version {
            return Ok(NONE);
        }
        let Some((target, port)) = self.target(forward) else {
            return Ok(NONE);
        };
        let dialled = d.value(case.destination(), number(listen.ip()))?;
        let dialled_port = d.value(Var::Port, u128::from(listen.port()))?;
        let answers = d.value(case.answer(), target)?;
        let answers_port = d.value(Var::AnswerPort, u128::from(port))?;
        d.all_of(&[dialled, dialled_port, answers, answers_port])
    }

    /// What is dialled where a forwarder listens, before it is translated, and
    /// the service that it goes to. None for other forwarders and cases.
    pub(crate) fn listens(
        &self,
        d: &mut Diagrams,
        case: Case,
        forward: &ServiceForwarder,
    ) -> Result<Option<(Diagram, NatTarget)>, Full> {
        let (Some(listen), Some((target, port))) = (forward.listen, self.target(forward)) else {
            return Ok(None);
        };
        if Version::of(listen.ip()) != case.version || transport(case) != Some(forward.proto) {
            return Ok(None);
        }
        let address = d.value(case.destination(), number(listen.ip()))?;
        let dialled = d.value(Var::Port, u128::from(listen.port()))?;
        let target = NatTarget {
            address: match u32::try_from(target) {
                Ok(target) if case.is_v4() => IpAddr::V4(Ipv4Addr::from(target)),
                _ => IpAddr::V6(Ipv6Addr::from(target)),
            },
            port,
        };
        Ok(Some((d.and(address, dialled)?, target)))
    }

    /// Where a forwarder with `listen` translates to.
    fn target(&self, forward: &ServiceForwarder) -> Option<(u128, u16)> {
        let listen = forward.listen?;
        let (_, (first, _)) = intervals(&forward.to, self.surroundings)
            .into_iter()
            .find(|(version, _)| *version == Version::of(listen.ip()))?;
        Some((first, forward.port.first()?.first))
    }

    /// Frames between containers of one bridge. Where br_netfilter is on they
    /// cross the hook `forward`.
    fn inside_a_bridge(&self, d: &mut Diagrams, case: Case) -> Result<Inside, Full> {
        let (mut free, mut opened, mut isolated) = (Vec::new(), Vec::new(), Vec::new());
        let both = self.both_behind(d)?;
        let stays = self.stays_inside(d, case)?;
        for (number, interface) in self.interfaces.iter() {
            let leaves = d.value(Var::Oif, number)?;
            let this = (number, number);
            let exemption = self.exemption(interface);
            let is_exact = exemption.is_some_and(|bridge| !bridge.name.is_pattern());
            match exemption {
                // Of a pattern two different bridges may be meant, which a
                // frame does not show.
                Some(bridge) if bridge.isolate && is_exact => isolated.push((this, leaves)),
                Some(bridge) if bridge.isolate => {}
                Some(_) => {
                    let inside = if is_exact { ALL } else { stays };
                    free.push((this, d.and(leaves, inside)?));
                    opened.push((this, d.and(leaves, both)?));
                }
                // What was dialled at the host and translated back into the
                // bridge is no frame inside it.
                None if interface.is_bridge() && !case.dnat => {
                    free.push((this, d.and(leaves, stays)?));
                }
                None => {}
            }
        }
        Ok(Inside {
            free: d.pieces(Var::Iif, free)?,
            opened: d.pieces(Var::Iif, opened)?,
            isolated: d.pieces(Var::Iif, isolated)?,
        })
    }

    fn both_behind(&self, d: &mut Diagrams) -> Result<Diagram, Full> {
        let source = d.value(Var::SourceBehind, 1)?;
        let destination = d.value(Var::DestinationBehind, 1)?;
        d.and(source, destination)
    }

    /// The packet stays in the bridge that it came by: both ends are behind it,
    /// or it goes where no router sends anything.
    fn stays_inside(&self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        let both = self.both_behind(d)?;
        let groups = link_groups(case.version);
        let link = d.values(packet_destination(case), groups)?;
        d.or(both, link)
    }

    /// The exchange of the DHCP client over the uplinks.
    fn dhcp(&self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        let servers = match &self.policy.host.dhcp {
            Dhcp::Off => return Ok(NONE),
            Dhcp::On => &[],
            Dhcp::Servers(servers) => servers.as_slice(),
        };
        if case.proto != ProtoClass::Udp || case.kind == Kind::Error {
            return Ok(NONE);
        }
        let out = case.journey == Journey::Out;
        let (client, server) = if case.is_v4() { (68, 67) } else { (546, 547) };
        let (from, to) = if out {
            (client, server)
        } else {
            (server, client)
        };
        let (source, destination) = (packet_source(case), packet_destination(case));
        let mut ways = Vec::new();
        let link_local = net_of(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10);
        if case.is_v4() {
            ways.push(d.value(destination, u128::from(u32::MAX))?);
        } else {
            let far = if out {
                let all = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2));
                net_of(all, 128)
            } else {
                link_local
            };
            let near = d.values(source, [link_local])?;
            let far = d.values(destination, [far])?;
            ways.push(d.and(near, far)?);
        }
        for server in servers.iter().filter(|s| Version::of(**s) == case.version) {
            let var = if out { destination } else { source };
            ways.push(d.value(var, number(*server))?);
        }
        let ways = d.any_of(&ways)?;
        let from = d.value(packet_source_port(case), from)?;
        let to = d.value(packet_port(case), to)?;
        let var = if out { case.oif_early() } else { Var::Iif };
        let uplink = |i: &Interface| self.is_uplink(i) && self.exemption(i).is_none();
        let uplinks = self.interfaces(d, var, uplink)?;
        d.all_of(&[ways, from, to, uplinks])
    }

    /// Neighbour discovery to the link (RFC 4861). To other addresses only the
    /// kernel itself sends it on the link.
    fn neighbours_out(&self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        let net = |a: [u16; 8], len| net_of(IpAddr::V6(Ipv6Addr::from(a)), len);
        let all_nodes = net([0xff02, 0, 0, 0, 0, 0, 0, 1], 128);
        let all_routers = net([0xff02, 0, 0, 0, 0, 0, 0, 2], 128);
        let solicited = net([0xff02, 0, 0, 0, 0, 1, 0xff00, 0], 104);
        let link_local = net([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10);
        let destination = packet_destination(case);
        let mut ways = Vec::new();
        for (kind, to) in [
            (133, vec![all_routers]),
            (135, vec![link_local, solicited]),
            (136, vec![link_local, all_nodes]),
        ] {
            let message = self.discovery(d, case, kind)?;
            let to = d.values(destination, merged(to))?;
            ways.push(d.and(message, to)?);
            if kind != 133 {
                // No user has the number -1.
                let kernel = d.values(Var::Uid, [(u128::from(u32::MAX), NO_SOCKET)])?;
                ways.push(d.and(message, kernel)?);
            }
        }
        d.any_of(&ways)
    }

    /// Neighbour discovery from the link, and routers that advertise themselves
    /// there.
    fn neighbours_in(&self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        let solicitation = self.discovery(d, case, 135)?;
        let advertisement = self.discovery(d, case, 136)?;
        let router = self.discovery(d, case, 134)?;
        let link_local = net_of(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10);
        let link_local = d.values(packet_source(case), [link_local])?;
        let uplinks = self.interfaces(d, Var::Iif, |i| self.is_uplink(i))?;
        let router = d.all_of(&[router, link_local, uplinks])?;
        d.any_of(&[solicitation, advertisement, router])
    }

    /// A message of neighbour discovery that no router has passed on.
    fn discovery(&self, d: &mut Diagrams, case: Case, kind: u128) -> Result<Diagram, Full> {
        if case.is_v4() || case.packet_proto() != Some(case.version.icmp()) {
            return Ok(NONE);
        }
        let header = d.value(case.icmp_header(), kind << 8)?;
        let hops = d.value(Var::Hops, 255)?;
        let unrouted = self.unrouted(d, case)?;
        d.all_of(&[header, hops, unrouted])
    }

    /// Docker's daemon asks a name server on the loopback interface, on behalf
    /// of containers.
    fn asked_for_containers(&self, d: &mut Diagrams, case: Case) -> Result<Diagram, Full> {
        let DockerResolver::Closed(group) = &self.surroundings.docker_resolver else {
            return Ok(NONE);
        };
        let place = self.cgroups.iter().position(|known| *known == group.id);
        let Some(place) = place.filter(|_| transport(case).is_some() && case.kind != Kind::Error)
        else {
            return Ok(NONE);
        };
        let daemon = d.value(Var::Cgroup, place as u128 + 1)?;
        let port = d.value(packet_port(case), 53)?;
        let loopback = self.interfaces(d, case.oif_early(), is_loopback)?;
        d.all_of(&[daemon, port, loopback])
    }

    /// Of what may pass what must: packets as ordinary flows have them.
    fn ordinary(&self, d: &mut Diagrams, case: Case, may: Diagram) -> Result<Diagram, Full> {
        let mut parts = vec![may];
        parts.push(d.value(Var::Options, 0)?);
        parts.push(d.value(Var::Routing, 0)?);
        parts.push(d.value(Var::Fragment, 0)?);
        parts.push(d.value(Var::Mark, 0)?);
        parts.push(d.value(Var::CtMark, 0)?);
        let new = d.value(Var::State, State::New.number())?;
        let established = d.value(Var::State, State::Established.number())?;
        if case.kind == Kind::Flow {
            parts.push(d.or(new, established)?);
        }
        if case.proto == ProtoClass::Tcp && case.kind == Kind::Flow {
            let syn = d.value(Var::TcpFlags, u128::from(SYN))?;
            // ACK, with FIN, PSH or both; SYN-ACK.
            let ack = u128::from(ACK);
            let later = [ack, ack | 1, ack | u128::from(SYN), ack | 8, ack | 9];
            let later = merged(later.map(|flags| (flags, flags)));
            let later = d.values(Var::TcpFlags, later)?;
            parts.push(d.choose(new, syn, later)?);
        }
        if case.proto == ProtoClass::Icmp && case.kind == Kind::Flow {
            let echo: u128 = match (case.is_v4(), case.reply) {
                (true, false) => 8,
                (true, true) => 0,
                (false, false) => 128,
                (false, true) => 129,
            };
            parts.push(d.value(case.icmp_header(), echo << 8)?);
            if case.reply {
                let dialled: u128 = if case.is_v4() { 8 } else { 128 };
                parts.push(d.value(Var::Port, dialled << 8)?);
            }
        }
        d.all_of(&parts)
    }
}

/// Frames between containers of one bridge.
struct Inside {
    /// What passes inside bridges.
    free: Diagram,
    /// Of that what an exemption opens.
    opened: Diagram,
    /// What an exemption keeps from each other.
    isolated: Diagram,
}

/// Of a flow, or about one.
fn is_flow(case: Case) -> bool {
    case.kind != Kind::Untracked
}

fn is_loopback(interface: &Interface) -> bool {
    interface.name == "lo"
}

fn net_of(address: IpAddr, prefix: u8) -> Interval {
    IpNet::new(address, prefix).map_or((1, 0), net_interval)
}

/// Addresses that no router forwards to: limited broadcast and the groups of
/// the link.
pub(crate) fn link_groups(version: Version) -> Vec<Interval> {
    match version {
        Version::V4 => vec![
            net_of(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 24),
            net_of(IpAddr::V4(Ipv4Addr::BROADCAST), 32),
        ],
        Version::V6 => vec![net_of(
            IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0)),
            16,
        )],
    }
}

// The packet itself, where the filters meet it: behind the translation of
// destinations, before that of sources.

fn packet_source(case: Case) -> Var {
    match case.kind {
        Kind::Error => case.reporter(),
        Kind::Flow if case.reply => case.answer(),
        _ => case.source(),
    }
}

/// Where the packet goes.
pub(crate) fn packet_destination(case: Case) -> Var {
    match case.kind {
        Kind::Untracked => case.destination(),
        _ if case.reply => case.source(),
        _ => case.answer(),
    }
}

fn packet_source_port(case: Case) -> Var {
    if case.kind == Kind::Flow && case.reply {
        case.answer_port()
    } else {
        Var::SourcePort
    }
}

fn packet_port(case: Case) -> Var {
    match case.kind {
        Kind::Flow if case.reply => Var::SourcePort,
        Kind::Flow => case.answer_port(),
        _ => Var::Port,
    }
}

/// The addresses that an entry of a policy means.
fn intervals(addresses: &[Address], surroundings: &Surroundings) -> Vec<(Version, Interval)> {
    let mut out = Vec::with_capacity(addresses.len());
    for address in addresses {
        match address {
            Address::Net(net) => out.push((Version::of(net.addr()), net_interval(*net))),
            Address::Range(first, last) => {
                out.push((Version::of(*first), (number(*first), number(*last))));
            }
            Address::Name(name) => {
                let found = surroundings.names.get(&**name).into_iter().flatten();
                out.extend(found.map(|a| (Version::of(*a), (number(*a), number(*a)))));
            }
        }
    }
    out
}

impl Openings {
    fn add(&mut self, version: Version, proto: Proto, addresses: Interval, ports: &[PortRange]) {
        let pairs = self.0.entry((version, proto)).or_default();
        let ports = ports.iter().map(|ports| port_interval(*ports));
        pairs.0.extend(ports.map(|ports| (addresses, ports)));
    }
}

/// The flows between these addresses and the ports that were dialled.
fn pair_diagram(d: &mut Diagrams, var: Var, pairs: Option<&Pairs>) -> Result<Diagram, Full> {
    let Some(pairs) = pairs else { return Ok(NONE) };
    let boxes = pairs
        .0
        .iter()
        .map(|(addresses, ports)| [*addresses, *ports]);
    union(d, &[var, Var::Port], boxes.collect())
}
