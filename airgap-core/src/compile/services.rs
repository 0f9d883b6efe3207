//! Addresses and ports that open the same kind of flow, as sets and as the
//! rules that look into them.
//!
//! Exact pairs go into one hash set. Ranges of addresses go into a set of
//! intervals for each service, merged, since the kernel refuses overlaps. A
//! policy with very many services of ranges gets one set of two-dimensional
//! ranges instead of a rule for each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::matches::{
    DESTINATION_PORT, FLOW_PORT, Ip, SOURCE_PORT, destination_address, flow_destination,
    flow_protocol, flow_source, frame_of, in_set, ip_version, l4proto, octets, port_in,
    protocol_number, source_address,
};
use crate::graph::{DataType, Elements, Key, OriginId, Set, Statement, Table};
use crate::policy::{PortRange, Proto};

/// Addresses from the first to the last, both included, of one IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AddressRange {
    pub first: IpAddr,
    pub last: IpAddr,
}

impl AddressRange {
    pub fn ip(self) -> Ip {
        Ip::of(self.first)
    }
}

/// More services of address ranges than this share one set.
const SERVICES_MAX: usize = 16;

/// The services of one kind of opening, for one transport protocol.
pub(super) struct Services {
    /// What the names of its sets begin with.
    name: String,
    /// How one of its openings reads: `%a` stands for the address, `%p` for
    /// the port. None where another set's elements are the openings.
    comment: Option<String>,
    proto: Proto,
    exact_v4: Vec<([u8; 8], OriginId)>,
    exact_v6: Vec<([u8; 20], OriginId)>,
    ranges: BTreeMap<(Ip, PortRange), Vec<(AddressRange, OriginId)>>,
}

/// A set, and the services that an element of it stands for.
pub(super) struct Alternative {
    ip: Ip,
    proto: Proto,
    set: String,
    /// The ports, where the set holds addresses alone.
    ports: Option<PortRange>,
    /// Of a rule that all elements share: that of the first.
    pub origin: OriginId,
}

/// Which side of a packet or its flow is looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// The address and port that the flow was opened to.
    FlowDestination,
    /// The address that opened the flow, and the port it was opened to.
    FlowSource,
    /// The packet's own destination, where there is no connection tracking.
    PacketDestination,
    /// Of a packet that goes back: the address that it goes to, and the port
    /// that it comes from.
    PacketBack,
}

impl Services {
    pub fn new(name: impl Into<String>, comment: Option<String>, proto: Proto) -> Self {
        Self {
            name: name.into(),
            comment,
            proto,
            exact_v4: Vec::new(),
            exact_v6: Vec::new(),
            ranges: BTreeMap::new(),
        }
    }

    /// Adds a service.
    pub fn add(&mut self, addresses: AddressRange, ports: PortRange, origin: OriginId) {
        if addresses.first != addresses.last || ports.first != ports.last {
            let key = (addresses.ip(), ports);
            let ranges = self.ranges.entry(key).or_default();
            return ranges.push((addresses, origin));
        }
        self.add_exact(addresses.first, ports.first, origin);
    }

    /// Adds a service of one address and one port.
    pub fn add_exact(&mut self, address: IpAddr, port: u16, origin: OriginId) {
        match address {
            IpAddr::V4(address) => {
                let key = pair_key(&address.octets(), port);
                self.exact_v4.push((key, origin));
            }
            IpAddr::V6(address) => {
                let key = pair_key(&address.octets(), port);
                self.exact_v6.push((key, origin));
            }
        }
    }

    /// Adds the sets to the table, and says how to look into them.
    pub fn build(mut self, table: &mut Table) -> Vec<Alternative> {
        let mut alternatives = Vec::new();
        for ip in Ip::BOTH {
            let (origin, elements) = match ip {
                Ip::V4 => pairs(&mut self.exact_v4),
                Ip::V6 => pairs(&mut self.exact_v6),
            };
            if !elements.is_empty() {
                let name = format!("{}-{}", self.name, ip.suffix());
                table.sets.push(Set {
                    name: name.clone(),
                    key: vec![address_type(ip), DataType::InetService],
                    interval: false,
                    other_flags: 0,
                    size: Some(size_for(elements.len())),
                    comment: self.comment.clone(),
                    elements,
                });
                alternatives.push(Alternative {
                    ip,
                    proto: self.proto,
                    set: name,
                    ports: None,
                    origin,
                });
            }
            let ranges: Vec<_> = self
                .ranges
                .iter()
                .filter(|((version, _), _)| *version == ip)
                .map(|((_, ports), addresses)| (*ports, addresses.as_slice()))
                .collect();
            if ranges.len() > SERVICES_MAX {
                alternatives.extend(self.shared_set(ip, &ranges, table));
            } else {
                for (ports, addresses) in ranges {
                    alternatives.push(self.set_of_service(ip, ports, addresses, table));
                }
            }
        }
        alternatives
    }

    fn set_of_service(
        &self,
        ip: Ip,
        ports: PortRange,
        addresses: &[(AddressRange, OriginId)],
        table: &mut Table,
    ) -> Alternative {
        let name = format!("{}-{ports}-{}", self.name, ip.suffix());
        let comment = self
            .comment
            .as_ref()
            .map(|comment| comment.replace("%p", &ports.to_string()));
        let origin = addresses
            .first()
            .map(|(_, origin)| *origin)
            .unwrap_or_default();
        table.sets.push(address_set(&name, comment, ip, addresses));
        Alternative {
            ip,
            proto: self.proto,
            set: name,
            ports: Some(ports),
            origin,
        }
    }

    /// One set for all services: the ports are cut where any service begins or
    /// ends, and the addresses of each piece merged, so that nothing overlaps.
    fn shared_set(
        &self,
        ip: Ip,
        services: &[(PortRange, &[(AddressRange, OriginId)])],
        table: &mut Table,
    ) -> Option<Alternative> {
        let mut cuts: Vec<u32> = services
            .iter()
            .flat_map(|(ports, _)| [u32::from(ports.first), u32::from(ports.last) + 1])
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut boxes: Vec<(PortRange, AddressRange, OriginId)> = Vec::new();
        // The boxes of the piece before this one, which may go on.
        let mut open: BTreeMap<(IpAddr, IpAddr), usize> = BTreeMap::new();
        for piece in cuts.windows(2) {
            let [from, to] = piece else { continue };
            let first = u16::try_from(*from).ok()?;
            let last = u16::try_from(to - 1).ok()?;
            let here: Vec<_> = services
                .iter()
                .filter(|(ports, _)| ports.first <= first && last <= ports.last)
                .flat_map(|(_, addresses)| addresses.iter().copied())
                .collect();
            let mut still_open = BTreeMap::new();
            for (range, origin) in merged(&here) {
                let key = (range.first, range.last);
                let number = match open.get(&key).copied() {
                    Some(number)
                        if boxes
                            .get(number)
                            .is_some_and(|b| b.0.last.checked_add(1) == Some(first)) =>
                    {
                        if let Some(grown) = boxes.get_mut(number) {
                            grown.0.last = last;
                        }
                        number
                    }
                    _ => {
                        boxes.push((PortRange { first, last }, range, origin));
                        boxes.len() - 1
                    }
                };
                still_open.insert(key, number);
            }
            open = still_open;
        }
        let items: Vec<_> = boxes
            .iter()
            .map(|(ports, range, origin)| {
                let mut item = Vec::new();
                for (address, port) in [(range.first, ports.first), (range.last, ports.last)] {
                    item.extend_from_slice(&octets(address));
                    item.extend_from_slice(&port.to_be_bytes());
                    item.extend_from_slice(&[0, 0]);
                }
                (item, *origin)
            })
            .collect();
        let name = format!("{}-ranges-{}", self.name, ip.suffix());
        table.sets.push(Set {
            name: name.clone(),
            key: vec![address_type(ip), DataType::InetService],
            interval: true,
            other_flags: 0,
            size: None,
            comment: self.comment.clone(),
            elements: elements(&items),
        });
        let origin = items.first().map(|(_, origin)| *origin).unwrap_or_default();
        Some(Alternative {
            ip,
            proto: self.proto,
            set: name,
            ports: None,
            origin,
        })
    }
}

impl Alternative {
    /// The IP version that it is about.
    pub fn ip(&self) -> Ip {
        self.ip
    }

    /// The statements that ask whether a packet is of these services.
    pub fn matches(&self, view: View) -> Vec<Statement> {
        let number = protocol_number(self.proto);
        let (proto, address, port) = match view {
            View::FlowDestination => (flow_protocol(number), flow_destination(self.ip), FLOW_PORT),
            View::FlowSource => (flow_protocol(number), flow_source(self.ip), FLOW_PORT),
            View::PacketDestination => (
                l4proto(number),
                destination_address(self.ip),
                DESTINATION_PORT,
            ),
            View::PacketBack => (l4proto(number), destination_address(self.ip), SOURCE_PORT),
        };
        let mut statements = Vec::with_capacity(4);
        statements.push(match view {
            View::FlowDestination | View::FlowSource => ip_version(self.ip),
            View::PacketDestination | View::PacketBack => frame_of(self.ip),
        });
        statements.push(proto);
        match self.ports {
            Some(ports) => {
                statements.push(port_in(port, ports));
                statements.push(in_set(address, &self.set));
            }
            None => statements.push(Statement::Lookup {
                key: vec![address, port],
                set: self.set.clone(),
                negated: false,
            }),
        }
        statements
    }
}

/// Addresses without ports: a set of intervals for each IP version.
pub(super) struct Addresses {
    name: String,
    comment: Option<String>,
    ranges: BTreeMap<Ip, Vec<(AddressRange, OriginId)>>,
}

/// A set of addresses.
pub(super) struct AddressAlternative {
    pub ip: Ip,
    set: String,
    pub origin: OriginId,
}

impl Addresses {
    pub fn new(name: impl Into<String>, comment: Option<String>) -> Self {
        Self {
            name: name.into(),
            comment,
            ranges: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, addresses: AddressRange, origin: OriginId) {
        self.ranges
            .entry(addresses.ip())
            .or_default()
            .push((addresses, origin));
    }

    /// Adds the sets to the table.
    pub fn build(self, table: &mut Table) -> Vec<AddressAlternative> {
        let mut alternatives = Vec::new();
        for (ip, ranges) in self.ranges {
            let name = format!("{}-{}", self.name, ip.suffix());
            let origin = ranges
                .first()
                .map(|(_, origin)| *origin)
                .unwrap_or_default();
            table
                .sets
                .push(address_set(&name, self.comment.clone(), ip, &ranges));
            alternatives.push(AddressAlternative {
                ip,
                set: name,
                origin,
            });
        }
        alternatives
    }
}

impl AddressAlternative {
    /// The flow was opened from one of the addresses.
    pub fn opened_flow(&self) -> [Statement; 2] {
        [ip_version(self.ip), in_set(flow_source(self.ip), &self.set)]
    }

    /// The packet comes from one of the addresses.
    pub fn sent_packet(&self) -> [Statement; 2] {
        [
            ip_version(self.ip),
            in_set(source_address(self.ip), &self.set),
        ]
    }

    /// The packet, of a known IP version, goes to one of the addresses.
    pub fn is_destination(&self) -> Statement {
        in_set(destination_address(self.ip), &self.set)
    }
}

fn address_type(ip: Ip) -> DataType {
    match ip {
        Ip::V4 => DataType::Ipv4Addr,
        Ip::V6 => DataType::Ipv6Addr,
    }
}

/// A set of intervals of addresses.
fn address_set(
    name: &str,
    comment: Option<String>,
    ip: Ip,
    ranges: &[(AddressRange, OriginId)],
) -> Set {
    let items: Vec<_> = merged(ranges)
        .iter()
        .map(|(range, origin)| {
            let mut item = octets(range.first);
            item.extend_from_slice(&octets(range.last));
            (item, *origin)
        })
        .collect();
    Set {
        name: name.to_owned(),
        key: vec![address_type(ip)],
        interval: true,
        other_flags: 0,
        size: None,
        comment,
        elements: elements(&items),
    }
}

/// The key of an address and a port in a set: registers are 4 bytes wide.
fn pair_key<const A: usize, const N: usize>(address: &[u8; A], port: u16) -> [u8; N] {
    let mut key = [0; N];
    let bytes = address.iter().copied().chain(port.to_be_bytes());
    key.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    key
}

/// The elements of a set of pairs, and the origin of its rule: the first.
fn pairs<K: Key>(items: &mut Vec<(K, OriginId)>) -> (OriginId, Elements) {
    let origins = items.iter().map(|(_, origin)| *origin);
    let origin = origins.min_by_key(|origin| origin.number());
    (
        origin.unwrap_or_default(),
        Elements::of_keys(std::mem::take(items)),
    )
}

fn elements(items: &[(Vec<u8>, OriginId)]) -> Elements {
    let stride = items.first().map_or(0, |(item, _)| item.len());
    Elements::new(
        stride,
        items
            .iter()
            .map(|(item, origin)| (item.as_slice(), *origin))
            .collect(),
    )
}

/// The room of a hash set: with a size the kernel makes it of fixed width,
/// which loads four times as fast, and a full set takes nothing more. A
/// quarter is left free, and powers of two keep small changes from needing
/// another set.
fn size_for(count: usize) -> u32 {
    let with_room = count.saturating_add(count / 4).max(64).next_power_of_two();
    u32::try_from(with_room).unwrap_or(u32::MAX)
}

/// The same addresses in the fewest ranges. A merged range has the origin of
/// its first part.
fn merged(ranges: &[(AddressRange, OriginId)]) -> Vec<(AddressRange, OriginId)> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|(range, _)| (range.first, range.last));
    let mut out: Vec<(AddressRange, OriginId)> = Vec::with_capacity(sorted.len());
    for (range, origin) in sorted {
        match out.last_mut() {
            Some((before, _)) if touches(before.last, range.first) => {
                before.last = before.last.max(range.last)
            }
            _ => out.push((range, origin)),
        }
    }
    out
}

/// Whether a range that ends at `last` goes on without a gap in one that
/// begins at `first`, which is not lower than where the former began.
fn touches(last: IpAddr, first: IpAddr) -> bool {
    if first <= last {
        return true;
    }
    match (last, first) {
        (IpAddr::V4(last), IpAddr::V4(first)) => u32::from(last) + 1 == u32::from(first),
        (IpAddr::V6(last), IpAddr::V6(first)) => u128::from(last) + 1 == u128::from(first),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use super::*;
    use crate::graph::Family;

    fn range(first: &str, last: &str) -> AddressRange {
        AddressRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        }
    }

    fn texts(table: &Table, set: &str) -> Vec<String> {
        let set = table.set(set).unwrap();
        set.elements
            .iter()
            .map(|(element, _)| set.element_text(element))
            .collect()
    }

    #[test]
    fn overlapping_and_adjacent_ranges_become_one() {
        let mut services = Services::new("allow-tcp", None, Proto::Tcp);
        for (first, last) in [
            ("192.0.2.0", "192.0.2.9"),
            ("192.0.2.5", "192.0.2.20"),
            ("192.0.2.21", "192.0.2.30"),
            ("192.0.2.40", "192.0.2.41"),
            ("255.255.255.254", "255.255.255.255"),
        ] {
            services.add(range(first, last), 443.into(), OriginId::default());
        }
        let mut table = Table::airgap(Family::Inet, String::new());
        services.build(&mut table);
        assert_eq!(
            texts(&table, "allow-tcp-443-v4"),
            [
                "192.0.2.0-192.0.2.30",
                "192.0.2.40-192.0.2.41",
                "255.255.255.254-255.255.255.255"
            ]
        );
    }

    #[test]
    fn many_services_share_a_set_without_overlaps() {
        let mut services = Services::new("allow-tcp", None, Proto::Tcp);
        for n in 0..20 {
            let ports = PortRange {
                first: 1000 + n,
                last: 1100 + n,
            };
            services.add(range("192.0.2.0", "192.0.2.9"), ports, OriginId::default());
        }
        services.add(
            range("192.0.2.5", "192.0.2.20"),
            1050.into(),
            OriginId::default(),
        );
        let mut table = Table::airgap(Family::Inet, String::new());
        services.build(&mut table);
        assert_eq!(
            texts(&table, "allow-tcp-ranges-v4"),
            [
                "192.0.2.0-192.0.2.9 . 1000-1049",
                "192.0.2.0-192.0.2.20 . 1050",
                "192.0.2.0-192.0.2.9 . 1051-1119"
            ]
        );
    }

    #[test]
    fn exact_pairs_are_counted_once() {
        let mut services = Services::new("allow-tcp", None, Proto::Tcp);
        for _ in 0..3 {
            services.add(
                range("192.0.2.1", "192.0.2.1"),
                443.into(),
                OriginId::default(),
            );
        }
        let mut table = Table::airgap(Family::Inet, String::new());
        services.build(&mut table);
        assert_eq!(texts(&table, "allow-tcp-v4"), ["192.0.2.1 . 443"]);
    }
}
