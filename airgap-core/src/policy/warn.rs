//! What is legal and likely wrong: openings that another makes pointless, and
//! openings of everything.
//!
//! An opening is cut into pieces, each one span of addresses by one span of
//! ports for one kind of traffic. A piece is pointless if a piece of the same
//! kind contains it, and an opening if all its pieces are. Of two that say the
//! same, the later one is pointless.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

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

/// Every warning about a policy.
pub(super) fn warnings(policy: &Policy) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let mut pieces = Pieces::default();
    for (index, allow) in policy.allow.iter().enumerate() {
        let opening = Opening {
            list: "allow",
            index,
            place: allow.place,
        };
        let kind = Kind::Allow(allow.proto, allow.user.as_ref());
        pieces.add(opening, &kind, &allow.to, &allow.port);
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
            &kind,
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
                &Kind::Forward(forward.proto, from),
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

/// Addresses from one to another, in a space where they can be compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Space {
    V4,
    V6,
    Name(String),
}

fn extent(address: &Address) -> (Space, u128, u128) {
    let (first, last) = match address {
        Address::Net(net) => (net.network(), net.broadcast()),
        Address::Range(first, last) => (*first, *last),
        Address::Name(name) => return (Space::Name(name.to_lowercase()), 0, 0),
    };
    (
        if first.is_ipv4() {
            Space::V4
        } else {
            Space::V6
        },
        number(first),
        number(last),
    )
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

/// Where the pieces of one kind with one span of addresses are.
type Group<'a> = HashMap<usize, Vec<Ports>>;

/// The ports of a piece, and whose they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ports {
    first: u16,
    /// Counted down, so that the wider of two comes first.
    below_last: u16,
    opening: usize,
    /// The opening whose ports reach furthest up of this and all before it.
    reach: (u16, usize),
}

/// All pieces of a policy.
#[derive(Default)]
struct Pieces<'p> {
    openings: Vec<Opening>,
    kinds: HashMap<Kind<'p>, usize>,
    wider: Vec<Option<Kind<'p>>>,
    /// By space, then by where the addresses begin, then the widest first.
    groups: BTreeMap<(Space, u128, u128), Group<'p>>,
    count: usize,
}

impl<'p> Pieces<'p> {
    fn add(
        &mut self,
        opening: Opening,
        kind: &Kind<'p>,
        addresses: &'p [Address],
        ports: &[PortRange],
    ) {
        let ports = merged(ports);
        let count = self
            .count
            .saturating_add(addresses.len().saturating_mul(ports.len()));
        if count > PIECES {
            return;
        }
        self.count = count;
        let next = self.kinds.len();
        let kind_index = *self.kinds.entry(kind.clone()).or_insert(next);
        if kind_index == next {
            self.wider.push(kind.wider());
        }
        let number = self.openings.len();
        self.openings.push(opening);
        for address in addresses {
            let (space, first, last) = extent(address);
            let group = self
                .groups
                .entry((space, first, u128::MAX - last))
                .or_default()
                .entry(kind_index)
                .or_default();
            group.extend(ports.iter().map(|ports| Ports {
                first: ports.first,
                below_last: u16::MAX - ports.last,
                opening: number,
                reach: (0, 0),
            }));
        }
    }

    fn judge(mut self, warnings: &mut Vec<Diagnostic>, policy: &Policy) {
        for pieces in self.groups.values_mut().flat_map(HashMap::values_mut) {
            pieces.sort_unstable();
            let mut reach = (0, 0);
            for piece in pieces {
                let last = u16::MAX - piece.below_last;
                if last > reach.0 {
                    reach = (last, piece.opening);
                }
                piece.reach = reach;
            }
        }
        let wider: Vec<Option<usize>> = self
            .wider
            .iter()
            .map(|kind| kind.as_ref().and_then(|kind| self.kinds.get(kind)).copied())
            .collect();
        // For each opening: who contains its first piece, and whether a piece
        // stands on its own.
        let mut verdicts: Vec<(Option<usize>, bool)> = vec![(None, false); self.openings.len()];
        let mut open: Vec<(&Space, u128, &Group<'_>)> = Vec::new();
        for ((space, first, below_last), group) in &self.groups {
            let last = u128::MAX - below_last;
            while open
                .last()
                .is_some_and(|(other, end, _)| *other != space || end < first)
            {
                open.pop();
            }
            for (kind, pieces) in group {
                for (position, piece) in pieces.iter().enumerate() {
                    let Some(verdict) = verdicts.get_mut(piece.opening) else {
                        continue;
                    };
                    if verdict.1 {
                        continue;
                    }
                    let wider = wider.get(*kind).copied().flatten();
                    let own = pieces
                        .get(..position)
                        .and_then(|before| container(before, piece));
                    let found = own.or_else(|| containers(group, wider, piece)).or_else(|| {
                        let outer = open
                            .iter()
                            .rev()
                            .take(NESTING)
                            .filter(|(_, end, _)| *end >= last);
                        outer
                            .flat_map(|(_, _, group)| [(group, Some(*kind)), (group, wider)])
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
            open.push((space, last, group));
        }
        for (opening, (container, alone)) in self.openings.iter().zip(&verdicts) {
            let container = container
                .filter(|_| !alone)
                .and_then(|container| self.openings.get(container));
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

/// Who has a piece of a kind in this group that contains `piece`'s ports.
fn containers(group: &Group<'_>, kind: Option<usize>, piece: &Ports) -> Option<usize> {
    container(group.get(&kind?)?, piece)
}

/// `pieces` are sorted and know their reach: the last that does not begin
/// behind `piece` tells for all before it.
fn container(pieces: &[Ports], piece: &Ports) -> Option<usize> {
    let before = pieces.partition_point(|other| other.first <= piece.first);
    let (last, opening) = pieces.get(before.checked_sub(1)?)?.reach;
    (last >= u16::MAX - piece.below_last).then_some(opening)
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
    if addresses.len() > 1 {
        let extents = addresses.iter().map(extent).collect();
        for (inner, outer) in contained(extents) {
            if let (Some(a), Some(b)) = (addresses.get(inner), addresses.get(outer)) {
                warn(key, inner, outer, a.to_string(), b.to_string());
            }
        }
    }
    if ports.len() > 1 {
        let extents = ports
            .iter()
            .map(|ports| (Space::V4, ports.first.into(), ports.last.into()))
            .collect();
        for (inner, outer) in contained(extents) {
            if let (Some(a), Some(b)) = (ports.get(inner), ports.get(outer)) {
                warn("port", inner, outer, a.to_string(), b.to_string());
            }
        }
    }
}

/// Which of the extents another contains, and which that is.
fn contained(extents: Vec<(Space, u128, u128)>) -> Vec<(usize, usize)> {
    let mut order: Vec<_> = extents.into_iter().enumerate().collect();
    order.sort_by(|(i, a), (j, b)| (&a.0, a.1, b.2, i).cmp(&(&b.0, b.1, a.2, j)));
    let mut found = Vec::new();
    // Of what begins no later, the one that ends last contains if any does.
    let mut widest: Option<(usize, &Space, u128)> = None;
    for (index, (space, _, last)) in &order {
        match widest {
            Some((outer, other, end)) if other == space && end >= *last => {
                found.push((*index, outer))
            }
            _ => widest = Some((*index, space, *last)),
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
    let mut extents: Vec<_> = addresses.iter().map(extent).collect();
    extents.sort_unstable();
    for (space, family, max) in [
        (Space::V4, "IPv4", u128::from(u32::MAX)),
        (Space::V6, "IPv6", u128::MAX),
    ] {
        // The lowest address that is not covered yet; `None` past the highest.
        let mut next = Some(0);
        for (_, first, last) in extents.iter().filter(|extent| extent.0 == space) {
            if let Some(uncovered) =
                next.filter(|uncovered| first <= uncovered && last >= uncovered)
            {
                next = if *last >= max {
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

/// Warns of allow pairs for a resolver, which is open already.
fn resolvers(warnings: &mut Vec<Diagnostic>, policy: &Policy) {
    let Resolvers::Servers(servers) = &policy.host.resolvers else {
        return;
    };
    let servers: HashSet<_> = servers.iter().copied().collect();
    for (index, allow) in policy.allow.iter().enumerate() {
        if !allow
            .port
            .iter()
            .any(|ports| ports.first <= DNS && DNS <= ports.last)
        {
            continue;
        }
        let opening = Opening {
            list: "allow",
            index,
            place: allow.place,
        };
        for (position, address) in allow.to.iter().enumerate() {
            let Address::Net(net) = address else { continue };
            if net.prefix_len() != net.max_prefix_len() || !servers.contains(&net.addr()) {
                continue;
            }
            let path = format!("{}.to[{position}]", opening.path());
            let message = format!(
                "an allow pair for a resolver: `{address}` stands in `host.resolvers`, and its port 53 is open"
            );
            warnings.push(opening.warning(policy, path, message, "opens port 53 a second time"));
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
