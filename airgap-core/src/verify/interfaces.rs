//! The interfaces that rules and a policy can tell apart. Each stands for all
//! that they cannot.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::graph::{Foreign, HostOrdered, MetaKey, RuleGraph, Selector, Set, Statement, Table};
use crate::netlink::Device;
use crate::policy::{ContainerSource, Policy};

use super::diagram::Interval;

/// An interface, or all interfaces that are alike to the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its name; empty where there is no interface.
    pub name: String,
    /// What it is, as in `meta iifkind`.
    pub kind: Option<String>,
    /// Its number.
    pub index: u32,
    /// Whether it is this one alone, and not all of a kind.
    pub is_one: bool,
}

impl Interface {
    /// Whether it is a bridge.
    pub(crate) fn is_bridge(&self) -> bool {
        self.kind.as_deref() == Some(BRIDGE)
    }
}

const BRIDGE: &str = "bridge";
const LOOPBACK: &str = "lo";

/// All interfaces. The first is none at all, the second `lo`.
pub(crate) struct Interfaces {
    all: Vec<Interface>,
    /// What rules read of each, made once.
    pub names: Column,
    pub indexes: Column,
    pub kinds: Column,
}

/// What each value of a field stands for, where it stands for anything.
pub(crate) type Column = Rc<[Option<Vec<u8>>]>;

/// A name as rules hold it.
fn padded(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

impl Interfaces {
    /// The interfaces that the policy and the graphs tell apart.
    pub(crate) fn of(policies: &[&Policy], graphs: &[&RuleGraph], devices: &[Device]) -> Self {
        let mut mentioned = Mentioned::default();
        let mut bridges = BTreeSet::new();
        for policy in policies {
            for name in policy.host.uplinks.iter().flatten() {
                mentioned.names.insert(name.clone());
            }
            let forwards = policy.forward.iter().flat_map(|f| &f.from);
            let of_forwards = forwards.filter_map(|from| match from {
                ContainerSource::Bridge(name) => Some(name),
                ContainerSource::Net(_) => None,
            });
            let of_admits = policy.admit.iter().filter_map(|admit| admit.via.as_ref());
            let exempt = policy.bridge.iter().map(|bridge| &bridge.name);
            for name in of_forwards.chain(of_admits).chain(exempt) {
                if name.is_pattern() {
                    mentioned.stems.insert(name.stem().to_owned());
                } else {
                    mentioned.names.insert(name.as_str().to_owned());
                    bridges.insert(name.as_str().to_owned());
                }
            }
        }
        for graph in graphs {
            graph.tables.iter().for_each(|table| mentioned.table(table));
        }
        for device in devices {
            if mentioned.indexes.contains(&device.index) {
                mentioned.names.insert(device.name.clone());
            }
        }
        mentioned.names.remove(LOOPBACK);
        let mut kinds: Vec<Option<String>> = vec![None, Some(BRIDGE.to_owned())];
        kinds.extend(
            mentioned
                .kinds
                .iter()
                .filter(|kind| *kind != BRIDGE)
                .cloned()
                .map(Some),
        );
        let mut all = vec![
            Interface {
                name: String::new(),
                kind: None,
                index: 0,
                is_one: true,
            },
            Interface {
                name: LOOPBACK.to_owned(),
                kind: None,
                index: 1,
                is_one: true,
            },
        ];
        for name in &mentioned.names {
            let device = devices.iter().find(|device| device.name == *name);
            let of_name: Vec<Option<String>> = match device {
                Some(device) => vec![device.kind.clone()],
                None if bridges.contains(name) => vec![Some(BRIDGE.to_owned())],
                None => kinds.clone(),
            };
            for kind in of_name {
                let index = device.map_or(NO_INDEX + all.len() as u32, |device| device.index);
                all.push(Interface {
                    name: name.clone(),
                    kind,
                    index,
                    is_one: true,
                });
            }
        }
        // What no rule names: with each of the prefixes that rules ask for, and
        // with none.
        let mut stems: Vec<String> = mentioned.stems.iter().cloned().collect();
        stems.push(String::new());
        for stem in stems {
            for kind in &kinds {
                let name = mentioned.unnamed(&stem, kind.as_deref(), devices);
                let device = devices.iter().find(|device| device.name == name);
                all.push(Interface {
                    index: device.map_or(NO_INDEX + all.len() as u32, |device| device.index),
                    name,
                    kind: kind.clone(),
                    is_one: false,
                });
            }
        }
        let index = |i: &Interface| Some(i.index.to_ne_bytes().to_vec());
        Self {
            names: all.iter().map(|i| Some(padded(&i.name))).collect(),
            indexes: all.iter().map(index).collect(),
            kinds: all.iter().map(|i| i.kind.as_deref().map(padded)).collect(),
            all,
        }
    }

    pub(crate) fn get(&self, number: u128) -> Option<&Interface> {
        self.all.get(usize::try_from(number).ok()?)
    }

    /// The numbers of those for which `holds` answers true.
    pub(crate) fn numbers(&self, holds: impl Fn(&Interface) -> bool) -> Vec<Interval> {
        let numbers = (0u128..).zip(&self.all);
        let found = numbers.filter(|(_, interface)| holds(interface));
        found.map(|(number, _)| (number, number)).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u128, &Interface)> {
        (0u128..).zip(&self.all)
    }
}

/// Numbers that no device has.
const NO_INDEX: u32 = 0x7fff_0000;

/// What rules ask about interfaces.
#[derive(Default)]
struct Mentioned {
    names: BTreeSet<String>,
    stems: BTreeSet<String>,
    kinds: BTreeSet<String>,
    indexes: BTreeSet<u32>,
}

impl Mentioned {
    fn table(&mut self, table: &Table) {
        for chain in &table.chains {
            for device in chain.base.iter().flat_map(|base| &base.devices) {
                self.names.insert(device.clone());
            }
            for rule in &chain.rules {
                for statement in &rule.statements {
                    self.statement(statement, table);
                }
            }
        }
    }

    fn statement(&mut self, statement: &Statement, table: &Table) {
        match statement {
            Statement::Match { left, right, .. } => self.value(left, right),
            Statement::Range {
                left, first, last, ..
            } => {
                self.value(left, first);
                self.value(left, last);
            }
            Statement::Lookup { key, set, .. } => self.lookup(key, set, table),
            Statement::Foreign(foreign) => match foreign.as_ref() {
                Foreign::Any { ways, .. } => {
                    let parts = ways.iter().flatten();
                    parts.for_each(|part| self.statement(part, table));
                }
                Foreign::VerdictMap { key, set } => self.lookup(key, set, table),
                _ => {}
            },
            _ => {}
        }
    }

    fn value(&mut self, selector: &Selector, value: &[u8]) {
        let key = match selector {
            Selector::Meta(key) | Selector::NetworkOrder(HostOrdered::Meta(key)) => *key,
            _ => return,
        };
        match key {
            MetaKey::Iifname | MetaKey::Oifname => {
                let end = value.iter().position(|byte| *byte == 0);
                let text = value.get(..end.unwrap_or(value.len())).unwrap_or_default();
                let text = String::from_utf8_lossy(text).into_owned();
                if text.is_empty() {
                } else if end.is_some() || value.len() >= key.width() {
                    self.names.insert(text);
                } else {
                    self.stems.insert(text);
                }
            }
            MetaKey::IifKind | MetaKey::OifKind => {
                let end = value.iter().position(|byte| *byte == 0);
                let text = value.get(..end.unwrap_or(value.len())).unwrap_or_default();
                self.kinds
                    .insert(String::from_utf8_lossy(text).into_owned());
            }
            MetaKey::Iif | MetaKey::Oif => {
                if let Ok(bytes) = <[u8; 4]>::try_from(value) {
                    self.indexes.insert(u32::from_ne_bytes(bytes));
                    self.indexes.insert(u32::from_be_bytes(bytes));
                }
            }
            _ => {}
        }
    }

    fn lookup(&mut self, key: &[Selector], set: &str, table: &Table) {
        let Some(set) = table.set(set) else { return };
        let asks_interface = |selector: &Selector| {
            matches!(
                selector,
                Selector::Meta(
                    MetaKey::Iifname
                        | MetaKey::Oifname
                        | MetaKey::IifKind
                        | MetaKey::OifKind
                        | MetaKey::Iif
                        | MetaKey::Oif
                )
            )
        };
        if !key.iter().any(asks_interface) {
            return;
        }
        for (element, _) in set.elements.iter() {
            for end in ends(set, element) {
                for (selector, (_, value)) in key.iter().zip(set.fields(end)) {
                    self.value(selector, value);
                    if set.interval && asks_interface(selector) {
                        // A range of names is a prefix.
                        let trimmed = value.iter().position(|byte| *byte == 0);
                        let stem = value.get(..trimmed.unwrap_or(value.len()));
                        self.value(selector, stem.unwrap_or_default());
                    }
                }
            }
        }
    }

    /// A name that begins so and is none of those that rules tell apart from
    /// it: that of a device, where there is one.
    fn unnamed(&self, stem: &str, kind: Option<&str>, devices: &[Device]) -> String {
        let fits = |name: &str| {
            let longer = |other: &&String| other.len() > stem.len() && name.starts_with(*other);
            name.starts_with(stem)
                && name != LOOPBACK
                && !self.names.contains(name)
                && !self.stems.iter().any(|other| longer(&other))
        };
        let alike = devices
            .iter()
            .find(|d| d.kind.as_deref() == kind && fits(&d.name));
        if let Some(device) = alike {
            return device.name.clone();
        }
        let taken = |name: &String| devices.iter().any(|device| device.name == *name);
        let likely = match (kind, stem) {
            (None, "") => vec!["eth0".to_owned(), "ens3".to_owned()],
            (Some(BRIDGE), "") => vec!["docker0".to_owned(), "br0".to_owned()],
            _ => Vec::new(),
        };
        let numbered = (0..10_000).map(|n| {
            let mut name = format!("{stem}x{n}");
            name.truncate(crate::policy::INTERFACE_NAME_MAX);
            name
        });
        likely
            .into_iter()
            .chain(numbered)
            .find(|name| fits(name) && !taken(name))
            .unwrap_or_else(|| format!("{stem}?"))
    }
}

/// The keys of an element: its first and last, or the one that it is.
fn ends<'a>(set: &Set, element: &'a [u8]) -> Vec<&'a [u8]> {
    match element.split_at_checked(set.key_width()) {
        Some((first, last)) if set.interval && last.len() == first.len() => vec![first, last],
        _ => vec![element],
    }
}
