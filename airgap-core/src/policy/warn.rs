//! What is legal and likely wrong: openings that another makes pointless, and
//! openings of everything.
//!
//! An opening is cut into pieces, each one span of addresses by one span of
//! ports for one kind of traffic. A piece is pointless if a piece of the same
//! kind contains it, and an opening if all its pieces are. Of two that say the
//! same, the later one is pointless.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

mod exact;

use super::allow::{Allow, ExactPair};
use super::diagnostic::{Diagnostic, Related, Severity};
use super::model::{
    Address, AdmitProto, ContainerSource, Place, Policy, PortRange, Proto, Resolvers, User,
};

/// The port of DNS.
const DNS: u16 = 53;

/// No more pieces than these are compared: two lists of thousands in one
/// opening multiply. What is left out gets no warning, and works all the same.
const PIECES: usize = 2_000_000;

/// So many spans of addresses that may contain a given one are looked at. CIDRs
/// never nest deeper than 128; only contrived ranges do.
const NESTING: usize = 256;

/// Of a list of more addresses than these nobody is told which contain which:
/// it was not written by hand, and those that providers publish do all the time.
const JUDGED: usize = 1000;

/// Every warning about a policy.
pub(super) fn warnings(policy: &Policy) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let mut pieces = Pieces::default();
    for (index, pair) in exact::that_may_overlap(&policy.allow) {
        let opening = Opening {
            list: "allow",
            index,
            place: pair.place,
        };
        pieces.add_exact(opening, &pair);
    }
    for (index, allow) in policy.allow.listed() {
        let opening = Opening {
            list: "allow",
            index,
            place: allow.place,
        };
        let kind = Kind::Allow(allow.proto, allow.user.as_ref());
        pieces.add(opening, kind, &allow.to, &allow.port);
        within_list(&mut warnings, policy, opening, "to", &allow.to, &allow.port);
        everything(&mut warnings, policy, opening, "to", &allow.to);
    }
    for (index, admit) in policy.admit.iter().enumerate() {
        let opening = Opening {
            list: "admit",
            index,
            place: admit.place,
        };
        let kind = Kind::Admit(admit.proto, admit.via.as_ref().map(|via| via.as_str()));
        let every = [PortRange {
            first: 1,
            last: u16::MAX,
        }];
        pieces.add(
            opening,
            kind,
            &admit.from,
            if admit.port.is_empty() {
                &every
            } else {
                &admit.port
            },
        );
        within_list(
            &mut warnings,
            policy,
            opening,
            "from",
            &admit.from,
            &admit.port,
        );
        everything(&mut warnings, policy, opening, "from", &admit.from);
    }
    for (index, forward) in policy.forward.iter().enumerate() {
        let opening = Opening {
            list: "forward",
            index,
            place: forward.place,
        };
        if forward.listen.is_none() {
            let mut from: Vec<_> = forward.from.iter().collect();
            from.sort_unstable();
            from.dedup();
            pieces.add(
                opening,
                Kind::Forward(forward.proto, from),
                &forward.to,
                &forward.port,
            );
        }
        within_list(
            &mut warnings,
            policy,
            opening,
            "to",
            &forward.to,
            &forward.port,
        );
        everything(&mut warnings, policy, opening, "to", &forward.to);
    }
    pieces.judge(&mut warnings, policy);
    resolvers(&mut warnings, policy);
    bridges(&mut warnings, policy);
    warnings.sort_by(|a, b| (a.place, &a.path).cmp(&(b.place, &b.path)));
    warnings
}

/// An opening, by its position in the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opening {
    list: &'static str,
    index: usize,
    place: Place,
}

impl Opening {
    fn path(&self) -> String {
        format!("{}[{}]", self.list, self.index)
    }

    fn warning(&self, policy: &Policy, path: String, message: String, label: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            message,
            place: self.place,
            end: policy.source().end_of(self.place).unwrap_or(self.place),
            path,
            label: label.to_owned(),
            help: None,
            related: Vec::new(),
            file: None,
        }
    }

    fn related(&self, policy: &Policy, label: &str) -> Related {
        let end = policy.source().end_of(self.place).unwrap_or(self.place);
        Related {
            place: self.place,
            end,
            path: self.path(),
            label: label.to_owned(),
        }
    }
}

/// What two pieces must have in common for one to contain the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind<'p> {
    Allow(Proto, Option<&'p User>),
    Admit(AdmitProto, Option<&'p str>),
    Forward(Proto, Vec<&'p ContainerSource>),
}

impl Kind<'_> {
    /// The kind that contains this one beside itself: an allow pair for
    /// everybody contains one for a user.
    fn wider(&self) -> Option<Self> {
        match self {
            Self::Allow(proto, Some(_)) => Some(Self::Allow(*proto, None)),
            _ => None,
        }
    }
}

/// What addresses can be compared with: a number for IPv4, one for IPv6, and
/// one for each host name.
#[derive(Default)]
struct Spaces<'p>(HashMap<Cow<'p, str>, u32>);

const V4: u32 = 0;
const V6: u32 = 1;
const FIRST_NAME: u32 = 2;

/// Addresses of one space from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Extent {
    space: u32,
    first: u128,
    /// Counted down, so that the wider of two that begin alike comes first.
    below_last: u128,
}

impl Extent {
    fn new(space: u32, first: u128, last: u128) -> Self {
        Self {
            space,
            first,
            below_last: u128::MAX - last,
        }
    }

    fn last(&self) -> u128 {
        u128::MAX - self.below_last
    }
}

impl<'p> Spaces<'p> {
    fn extent(&mut self, address: &'p Address) -> Extent {
        let (first, last) = match address {
            Address::Net(net) => (net.network(), net.broadcast()),
            Address::Range(first, last) => (*first, *last),
            Address::Name(name) => {
                let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX - FIRST_NAME);
                let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    name.to_lowercase().into()
                } else {
                    Cow::Borrowed(&**name)
                };
                let space = *self.0.entry(name).or_insert(FIRST_NAME + next);
                return Extent::new(space, 0, 0);
            }
        };
        let space = if first.is_ipv4() { V4 } else { V6 };
        Extent::new(space, number(first), number(last))
    }

    fn extents(&mut self, addresses: &'p [Address]) -> Vec<Extent> {
        addresses
            .iter()
            .map(|address| self.extent(address))
            .collect()
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// Ports without overlaps and gaps that can be closed, so that `[80, 81]` and
/// `80-81` are the same.
fn merged(ports: &[PortRange]) -> Vec<PortRange> {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::new();
    for port in ports {
        match merged.last_mut() {
            Some(last) if u32::from(port.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(port.last)
            }
            _ => merged.push(port),
        }
    }
    merged
}

/// One span of addresses by one span of ports for one kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    extent: Extent,
    kind: u32,
    first_port: u16,
    /// Counted down, as in [`Extent`].
    below_last_port: u16,
    opening: u32,
    /// Of this and all before it with the same addresses and kind: the ports
    /// that reach furthest up, and their opening.
    reach: (u16, u32),
}

impl Piece {
    fn last_port(&self) -> u16 {
        u16::MAX - self.below_last_port
    }
}

/// All pieces of a policy.
#[derive(Default)]
struct Pieces<'p> {
    openings: Vec<Opening>,
    kinds: HashMap<Kind<'p>, u32>,
    /// For each kind the one that contains it.
    wider: Vec<Option<Kind<'p>>>,
    spaces: Spaces<'p>,
    pieces: Vec<Piece>,
}

impl<'p> Pieces<'p> {
    fn add(
        &mut self,
        opening: Opening,
        kind: Kind<'p>,
        addresses: &'p [Address],
        ports: &[PortRange],
    ) {
        let several;
        let ports = match ports {
            [_] => ports,
            _ => {
                several = merged(ports);
                &several
            }
        };
        let count = addresses.len().saturating_mul(ports.len());
        if self.pieces.len().saturating_add(count) > PIECES {
            return;
        }
        let (kind, number) = self.number(opening, kind);
        for address in addresses {
            let extent = self.spaces.extent(address);
            self.pieces.extend(ports.iter().map(|ports| Piece {
                extent,
                kind,
                first_port: ports.first,
                below_last_port: u16::MAX - ports.last,
                opening: number,
                reach: (0, 0),
            }));
        }
    }

    fn add_exact(&mut self, opening: Opening, pair: &ExactPair) {
        if self.pieces.len() >= PIECES {
            return;
        }
        let (kind, opening) = self.number(opening, Kind::Allow(pair.proto, None));
        let space = if pair.address.is_ipv4() { V4 } else { V6 };
        let address = number(pair.address);
        self.pieces.push(Piece {
            extent: Extent::new(space, address, address),
            kind,
            first_port: pair.port,
            below_last_port: u16::MAX - pair.port,
            opening,
            reach: (0, 0),
        });
    }

    /// The numbers of a kind and of a new opening.
    fn number(&mut self, opening: Opening, kind: Kind<'p>) -> (u32, u32) {
        let index = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let kind = match self.kinds.get(&kind) {
            Some(known) => *known,
            None => {
                let next = index(self.kinds.len());
                self.wider.push(kind.wider());
                self.kinds.insert(kind, next);
                next
            }
        };
        let number = index(self.openings.len());
        self.openings.push(opening);
        (kind, number)
    }

    fn judge(mut self, warnings: &mut Vec<Diagnostic>, policy: &Policy) {
        self.pieces.sort_unstable();
        let same_kind = |a: &Piece, b: &Piece| a.extent == b.extent && a.kind == b.kind;
        for pieces in self.pieces.chunk_by_mut(same_kind) {
            let mut reach = (0, 0);
            for piece in pieces {
                if piece.last_port() > reach.0 {
                    reach = (piece.last_port(), piece.opening);
                }
                piece.reach = reach;
            }
        }
        let wider: Vec<Option<u32>> = self
            .wider
            .iter()
            .map(|kind| kind.as_ref().and_then(|kind| self.kinds.get(kind)).copied())
            .collect();
        let wider_than = |kind: u32| *wider.get(usize::try_from(kind).ok()?)?;
        // For each opening: who contains its first piece, and whether a piece
        // stands on its own.
        let mut verdicts: Vec<(Option<u32>, bool)> = vec![(None, false); self.openings.len()];
        // The spans that go on around the one that is looked at.
        let mut open: Vec<&[Piece]> = Vec::new();
        for group in self.pieces.chunk_by(|a, b| a.extent == b.extent) {
            let Some(extent) = group.first().map(|piece| piece.extent) else {
                continue;
            };
            let goes_on = |other: &[Piece], to: u128| {
                other.first().is_some_and(|piece| {
                    piece.extent.space == extent.space && piece.extent.last() >= to
                })
            };
            while open
                .last()
                .is_some_and(|other| !goes_on(other, extent.first))
            {
                open.pop();
            }
            for pieces in group.chunk_by(|a, b| a.kind == b.kind) {
                for (position, piece) in pieces.iter().enumerate() {
                    let Some(verdict) = place(&mut verdicts, piece.opening) else {
                        continue;
                    };
                    if verdict.1 {
                        continue;
                    }
                    let wider = wider_than(piece.kind);
                    let own = pieces
                        .get(..position)
                        .and_then(|before| container(before, piece));
                    let found = own.or_else(|| containers(group, wider, piece)).or_else(|| {
                        let outer = open.iter().rev().take(NESTING);
                        outer
                            .filter(|other| goes_on(other, extent.last()))
                            .flat_map(|group| [(group, Some(piece.kind)), (group, wider)])
                            .find_map(|(group, kind)| containers(group, kind, piece))
                    });
                    match found {
                        // The larger piece of the same opening decides.
                        Some(found) if found == piece.opening => {}
                        Some(found) => verdict.0 = verdict.0.or(Some(found)),
                        None => verdict.1 = true,
                    }
                }
            }
            open.push(group);
        }
        for (opening, (container, alone)) in self.openings.iter().zip(&verdicts) {
            let container = container
                .filter(|_| !alone)
                .and_then(|container| self.openings.get(usize::try_from(container).ok()?));
            let Some(container) = container else { continue };
            let message = format!(
                "this opening is pointless: `{}` opens the same or more",
                container.path()
            );
            let mut warning =
                opening.warning(policy, opening.path(), message, "opens nothing of its own");
            warning
                .related
                .push(container.related(policy, "this opens it already"));
            warnings.push(warning);
        }
    }
}

fn place<T>(list: &mut [T], index: u32) -> Option<&mut T> {
    list.get_mut(usize::try_from(index).ok()?)
}

/// Who has a piece of a kind in this group that contains `piece`'s ports.
fn containers(group: &[Piece], kind: Option<u32>, piece: &Piece) -> Option<u32> {
    let kind = kind?;
    let start = group.partition_point(|other| other.kind < kind);
    let end = group.partition_point(|other| other.kind <= kind);
    container(group.get(start..end)?, piece)
}

/// `pieces` are sorted and know their reach: the last that does not begin
/// behind `piece` tells for all before it.
fn container(pieces: &[Piece], piece: &Piece) -> Option<u32> {
    let before = pieces.partition_point(|other| other.first_port <= piece.first_port);
    let (last, opening) = pieces.get(before.checked_sub(1)?)?.reach;
    (last >= piece.last_port()).then_some(opening)
}

/// Warns of values of one list that another value of it contains.
fn within_list(
    warnings: &mut Vec<Diagnostic>,
    policy: &Policy,
    opening: Opening,
    key: &str,
    addresses: &[Address],
    ports: &[PortRange],
) {
    let mut warn = |key: &str,
                    index: usize,
                    outer: usize,
                    inner_text: String,
                    outer_text: String| {
        let path = format!("{}.{key}[{index}]", opening.path());
        let message = if inner_text == outer_text {
            format!("`{inner_text}` stands twice in `{key}`")
        } else {
            format!(
                "`{inner_text}` is pointless in `{key}`: `{outer_text}` (position {outer}) contains it"
            )
        };
        warnings.push(opening.warning(policy, path, message, ""));
    };
    if (2..=JUDGED).contains(&addresses.len()) {
        let extents = Spaces::default().extents(addresses);
        for (inner, outer) in contained(extents) {
            if let (Some(a), Some(b)) = (addresses.get(inner), addresses.get(outer)) {
                warn(key, inner, outer, a.to_string(), b.to_string());
            }
        }
    }
    if ports.len() > 1 {
        let extents = ports
            .iter()
            .map(|ports| Extent::new(V4, ports.first.into(), ports.last.into()))
            .collect();
        for (inner, outer) in contained(extents) {
            if let (Some(a), Some(b)) = (ports.get(inner), ports.get(outer)) {
                warn("port", inner, outer, a.to_string(), b.to_string());
            }
        }
    }
}

/// Which of the extents another contains, and which that is.
fn contained(extents: Vec<Extent>) -> Vec<(usize, usize)> {
    let mut order: Vec<(Extent, usize)> = extents.into_iter().zip(0..).collect();
    order.sort_unstable();
    let mut found = Vec::new();
    // Of what begins no later, the one that ends last contains if any does.
    let mut widest: Option<(usize, Extent)> = None;
    for (extent, index) in order {
        match widest {
            Some((outer, other))
                if other.space == extent.space && other.last() >= extent.last() =>
            {
                found.push((index, outer));
            }
            _ => widest = Some((index, extent)),
        }
    }
    found
}

/// Warns of openings for every address of a family, in one piece or in several.
fn everything(
    warnings: &mut Vec<Diagnostic>,
    policy: &Policy,
    opening: Opening,
    key: &str,
    addresses: &[Address],
) {
    if addresses.iter().map(share).sum::<f64>() < 1.0 {
        return;
    }
    let mut extents = Spaces::default().extents(addresses);
    extents.sort_unstable();
    for (space, family, max) in [(V4, "IPv4", u128::from(u32::MAX)), (V6, "IPv6", u128::MAX)] {
        // The lowest address that is not covered yet; `None` past the highest.
        let mut next = Some(0);
        for extent in extents.iter().filter(|extent| extent.space == space) {
            let (first, last) = (extent.first, extent.last());
            if let Some(uncovered) =
                next.filter(|uncovered| first <= *uncovered && last >= *uncovered)
            {
                next = if last >= max {
                    None
                } else {
                    Some(uncovered.max(last + 1))
                };
            }
        }
        if next.is_none() {
            let message = format!("`{key}` of this opening is every {family} address");
            let path = format!("{}.{key}", opening.path());
            warnings.push(opening.warning(
                policy,
                path,
                message,
                "an air gap names who is on the other side",
            ));
        }
    }
}

/// How much of its family an address means, and never less than that.
fn share(address: &Address) -> f64 {
    match address {
        Address::Net(net) => 0.5_f64.powi(net.prefix_len().into()),
        Address::Range(..) => 1.0,
        Address::Name(_) => 0.0,
    }
}

/// Warns of allow pairs for a resolver, which is open already.
fn resolvers(warnings: &mut Vec<Diagnostic>, policy: &Policy) {
    let Resolvers::Servers(servers) = &policy.host.resolvers else {
        return;
    };
    let servers: HashSet<_> = servers.iter().copied().collect();
    let mut warn = |index: usize, place: Place, position: usize, address: IpAddr| {
        if !servers.contains(&address) {
            return;
        }
        let list = "allow";
        let opening = Opening { list, index, place };
        let path = format!("{}.to[{position}]", opening.path());
        let message = format!(
            "an allow pair for a resolver: `{address}` stands in `host.resolvers`, and its port 53 is open"
        );
        warnings.push(opening.warning(policy, path, message, "opens port 53 a second time"));
    };
    for (index, allow) in policy.allow.entries().enumerate() {
        match allow {
            Allow::Exact(pair) if pair.port == DNS => warn(index, pair.place, 0, pair.address),
            Allow::Exact(_) => {}
            Allow::Listed(allow) => {
                let dns = |ports: &PortRange| ports.first <= DNS && DNS <= ports.last;
                if !allow.port.iter().any(dns) {
                    continue;
                }
                for (position, address) in allow.to.iter().enumerate() {
                    if let Address::Net(net) = address
                        && net.prefix_len() == net.max_prefix_len()
                    {
                        warn(index, allow.place, position, net.addr());
                    }
                }
            }
        }
    }
}

/// Warns of bridges that a pattern meets too, and of uplinks that are bridges.
fn bridges(warnings: &mut Vec<Diagnostic>, policy: &Policy) {
    let patterns: HashMap<&str, usize> = policy
        .bridge
        .iter()
        .enumerate()
        .filter(|(_, bridge)| bridge.name.is_pattern())
        .map(|(index, bridge)| (bridge.name.stem(), index))
        .collect();
    for (index, bridge) in policy.bridge.iter().enumerate() {
        let stem = bridge.name.stem();
        let outer = stem
            .char_indices()
            .map(|(at, _)| at)
            .chain([stem.len()])
            .filter_map(|end| patterns.get(stem.get(..end)?));
        let Some((other, outer)) = outer
            .filter(|other| **other != index)
            .find_map(|other| Some((*other, policy.bridge.get(*other)?)))
        else {
            continue;
        };
        let opening = Opening {
            list: "bridge",
            index,
            place: bridge.place,
        };
        let message = format!(
            "the bridge `{}` is met by `{}` too",
            bridge.name, outer.name
        );
        let mut warning = opening.warning(
            policy,
            format!("{}.name", opening.path()),
            message,
            "has two exemptions",
        );
        warning.related.push(
            Opening {
                list: "bridge",
                index: other,
                place: outer.place,
            }
            .related(policy, "the other is this"),
        );
        warnings.push(warning);
    }
    let uplinks: HashSet<_> = policy
        .host
        .uplinks
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    for (index, bridge) in policy.bridge.iter().enumerate() {
        if !uplinks.contains(bridge.name.as_str()) {
            continue;
        }
        let opening = Opening {
            list: "bridge",
            index,
            place: bridge.place,
        };
        let message = format!("`{}` is an uplink and has a bridge exemption", bridge.name);
        let label = "whoever is on that network reaches the host as a container does";
        warnings.push(opening.warning(policy, format!("{}.name", opening.path()), message, label));
    }
}
