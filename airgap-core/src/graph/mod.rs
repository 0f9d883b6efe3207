//! The rule graph: tables, chains, rules and sets of nf_tables as typed data.
//!
//! A policy compiles to a [`RuleGraph`], the kernel's dump decodes to one, two
//! of them differ in a plan. Names and terms are those of nft(8). Equality
//! means 'the same ruleset': counters, handles and places of origin do not
//! take part in it.

mod data;
mod dot;
mod foreign;
mod json;
mod set;
mod statement;
mod text;

use std::fmt;

use serde::Serialize;

use crate::policy::{Place, Policy};

pub(crate) use text::rule_text;

pub use data::{DataType, field_width};
pub use foreign::{
    Foreign, Operand, Settable, Translation, TranslationKind, address_of, is_mere_condition,
};
pub(crate) use set::Key;
pub use set::{Data, Elements, Set};
pub(crate) use statement::ExthdrNumbers;
pub use statement::{
    Cgroup, Cmp, CtDirection, CtKey, Exthdr, FibFlags, FibResult, HostOrdered, MetaKey, NatTarget,
    PayloadBase, Selector, Statement, Verdict,
};

/// The name of every table of the air gap.
pub const TABLE_NAME: &str = "airgap";

/// A whole ruleset, or the part of one that is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleGraph {
    /// Ordered by family and name.
    pub tables: Vec<Table>,
    /// The lines of the policy that the graph came from; an [`Origin`] points
    /// into it. Empty for a graph that was read from the kernel.
    pub origins: Origins,
}

impl RuleGraph {
    /// The table of this family and name.
    #[must_use]
    pub fn table(&self, family: Family, name: &str) -> Option<&Table> {
        self.tables
            .iter()
            .find(|t| t.family == family && t.name == name)
    }

    /// The graph of the air gap's own tables alone.
    #[must_use]
    pub fn only_airgap(mut self) -> Self {
        self.tables.retain(Table::is_airgap);
        self
    }

    /// How many elements the graph's sets hold together.
    #[must_use]
    pub fn element_count(&self) -> usize {
        self.tables
            .iter()
            .flat_map(|t| &t.sets)
            .map(|s| s.elements.len())
            .sum()
    }
}

/// The items of a policy that a graph came from. All are equal to each other:
/// where a rule was written does not change what it does. Copies share them.
#[derive(Clone, Default)]
pub struct Origins(Option<Policy>);

impl PartialEq for Origins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Origins {}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.0.as_ref().map(|policy| policy.source().name());
        f.debug_tuple("Origins").field(&source).finish()
    }
}

impl Origins {
    /// The items of this policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        Self(Some(policy.clone()))
    }

    /// The origin of this number, if the graph came from a policy.
    #[must_use]
    pub fn get(&self, id: OriginId) -> Option<Origin> {
        let policy = self.0.as_ref()?;
        let (section, index) = id.item()?;
        let number = usize::try_from(index).ok()?;
        let place = match section {
            Section::Host => Place::default(),
            Section::Allow => policy.allow.get(number)?.place(),
            Section::Admit => policy.admit.get(number)?.place,
            Section::Bridge => policy.bridge.get(number)?.place,
            Section::Forward => policy.forward.get(number)?.place,
        };
        Some(Origin {
            section,
            index,
            place,
        })
    }
}

/// An item of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The table of the policy.
    pub section: Section,
    /// Which of its entries, from 0.
    pub index: u32,
    /// Where it was written.
    #[serde(flatten)]
    pub place: Place,
}

impl Origin {
    /// The path of the item through the policy's keys, such as `allow[3]`.
    #[must_use]
    pub fn path(&self) -> String {
        match self.section {
            Section::Host => "host".to_owned(),
            Section::Allow => format!("allow[{}]", self.index),
            Section::Admit => format!("admit[{}]", self.index),
            Section::Bridge => format!("bridge[{}]", self.index),
            Section::Forward => format!("forward[{}]", self.index),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())?;
        if self.place.line > 0 {
            write!(f, " (line {})", self.place.line)
        } else {
            Ok(())
        }
    }
}

/// The tables of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// `[host]`
    Host,
    /// `[[allow]]`
    Allow,
    /// `[[admit]]`
    Admit,
    /// `[[bridge]]`
    Bridge,
    /// `[[forward]]`
    Forward,
}

/// An item of the graph's policy; the default means 'none', for rules that
/// every air gap has.
#[derive(Debug, Clone, Copy, Default)]
pub struct OriginId(u32);

impl OriginId {
    /// The bits that tell the item of a section; those above tell the section.
    const INDEX_BITS: u32 = 29;

    /// Entry `index` of a section; past half a milliard, which no text of a
    /// policy holds, none.
    pub(crate) fn new(section: Section, index: usize) -> Self {
        match u32::try_from(index) {
            Ok(index) if index < 1 << Self::INDEX_BITS => {
                Self((section as u32 + 1) << Self::INDEX_BITS | index)
            }
            _ => Self::default(),
        }
    }

    /// A number that is higher for a later item.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    fn item(self) -> Option<(Section, u32)> {
        let section = match self.0 >> Self::INDEX_BITS {
            1 => Section::Host,
            2 => Section::Allow,
            3 => Section::Admit,
            4 => Section::Bridge,
            5 => Section::Forward,
            _ => return None,
        };
        Some((section, self.0 & ((1 << Self::INDEX_BITS) - 1)))
    }

    /// Whether there is one.
    pub(crate) fn is_some(self) -> bool {
        self.0 != 0
    }
}

impl PartialEq for OriginId {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for OriginId {}

/// The number that the kernel gave an object; 0 before it was loaded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Handle(pub u64);

impl PartialEq for Handle {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Handle {}

/// An address family of nf_tables, with its number in `linux/netfilter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the names of nft(8), ADDRESS FAMILIES
pub enum Family {
    Inet = 1,
    Ip = 2,
    Arp = 3,
    Netdev = 5,
    Bridge = 7,
    Ip6 = 10,
}

impl Family {
    /// The family of this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::Inet,
            Self::Ip,
            Self::Arp,
            Self::Netdev,
            Self::Bridge,
            Self::Ip6,
        ]
        .into_iter()
        .find(|family| family.number() == number)
    }

    /// The number of this family.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Arp => "arp",
            Self::Netdev => "netdev",
            Self::Bridge => "bridge",
            Self::Ip6 => "ip6",
        })
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its address family.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: Option<String>,
    /// `NFTA_TABLE_FLAGS`: 1 dormant, 2 owner, 4 persist.
    pub flags: u32,
    /// Its sets, ordered by name.
    pub sets: Vec<Set>,
    /// Its chains, ordered by name.
    pub chains: Vec<Chain>,
}

impl Table {
    /// An empty table of the air gap.
    pub(crate) fn airgap(family: Family, comment: String) -> Self {
        Self {
            family,
            name: TABLE_NAME.to_owned(),
            comment: Some(comment),
            flags: 0,
            sets: Vec::new(),
            chains: Vec::new(),
        }
    }

    /// Whether this is one of the air gap's own tables.
    #[must_use]
    pub fn is_airgap(&self) -> bool {
        self.name == TABLE_NAME
            && matches!(self.family, Family::Inet | Family::Bridge | Family::Netdev)
    }

    /// The chain of this name.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|c| c.name == name)
    }

    /// The set of this name.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|s| s.name == name)
    }

    /// Puts sets and chains into the order in which tables compare.
    pub(crate) fn sort(&mut self) {
        self.sets.sort_by(|a, b| a.name.cmp(&b.name));
        self.chains.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets enter it; `None` for a chain that is only jumped to.
    pub base: Option<BaseChain>,
    /// Its rules, in the order in which they are tried.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// A chain that is only jumped to.
    pub(crate) fn regular(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            base: None,
            rules: Vec::new(),
        }
    }

    /// A chain that the kernel calls.
    pub(crate) fn base(name: impl Into<String>, base: BaseChain) -> Self {
        Self {
            name: name.into(),
            base: Some(base),
            rules: Vec::new(),
        }
    }
}

/// How a chain is attached to a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// Its type.
    pub kind: ChainType,
    /// The hook that calls it.
    pub hook: Hook,
    /// Its place among the chains of the hook; lower runs earlier.
    pub priority: i32,
    /// What happens to a packet that no rule decides.
    pub policy: ChainPolicy,
    /// The devices of a chain at ingress or egress; one, where it is ours.
    pub devices: Vec<String>,
}

/// The type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names of nft(8), CHAINS
pub enum ChainType {
    Filter,
    Nat,
    Route,
}

impl ChainType {
    /// As the kernel names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

/// Where the kernel calls a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the names of nft(8), ADDRESS FAMILIES
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    Ingress,
    Egress,
}

impl Hook {
    /// Its number, which depends on the family: `enum nf_inet_hooks` and
    /// `enum nf_dev_hooks` of `linux/netfilter.h`.
    #[must_use]
    pub fn number(self, family: Family) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
            Self::Ingress if family == Family::Netdev => 0,
            Self::Ingress => 5,
            Self::Egress => 1,
        }
    }

    /// The hook of this number in this family.
    #[must_use]
    pub fn from_number(number: u32, family: Family) -> Option<Self> {
        Some(match (family, number) {
            (Family::Netdev, 0) | (Family::Inet, 5) => Self::Ingress,
            (Family::Netdev, 1) => Self::Egress,
            (Family::Arp, 0) => Self::Input,
            (Family::Arp, 1) => Self::Output,
            (_, 0) => Self::Prerouting,
            (_, 1) => Self::Input,
            (_, 2) => Self::Forward,
            (_, 3) => Self::Output,
            (_, 4) => Self::Postrouting,
            _ => return None,
        })
    }

    /// As nft(8) names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// What happens to a packet that no rule of a base chain decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // two words of nft(8)
pub enum ChainPolicy {
    Accept,
    Drop,
}

impl ChainPolicy {
    /// As nft(8) names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
        }
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// What it asks and does, in order. A statement that does not match ends
    /// the rule.
    pub statements: Vec<Statement>,
    /// What it is for.
    pub comment: Option<String>,
    /// The line of the policy that it came from.
    pub origin: OriginId,
    /// Its number in the kernel.
    pub handle: Handle,
}

impl Rule {
    /// A rule without comment or origin.
    pub(crate) fn new(statements: Vec<Statement>) -> Self {
        Self {
            statements,
            ..Self::default()
        }
    }

    /// The same with a comment.
    pub(crate) fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// The same with the place that it came from.
    pub(crate) fn origin(mut self, origin: OriginId) -> Self {
        self.origin = origin;
        self
    }
}
