//! What a policy says: the openings of an air gap, as data.
//!
//! The types here hold what was written, checked one value at a time. Nothing
//! in them depends on a host: names are not resolved, patterns not expanded.
//! They serialise to the JSON form of a policy, which reads back as the same
//! policy.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::allow::AllowPairs;
use super::hash;
use super::schema::{self, Far, OneOrMore};
use super::source::Source;

/// The only policy version there is.
pub const VERSION: u32 = 1;

/// The longest name of a network interface, in bytes: `IFNAMSIZ` of
/// `linux/if.h` less the closing zero.
pub const INTERFACE_NAME_MAX: usize = 15;

/// The openings of an air gap, as they were written. Copies share what they
/// hold: a policy never changes.
#[derive(Debug, Clone)]
pub struct Policy(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    openings: Openings,
    source: Arc<Source>,
    hash: OnceLock<String>,
}

impl Policy {
    pub(super) fn new(openings: Openings, source: Arc<Source>) -> Self {
        Self(Arc::new(Shared {
            openings,
            source,
            hash: OnceLock::new(),
        }))
    }

    /// The text it was read from, for messages that point into it.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.0.source
    }

    /// SHA-256 of what it says, in lowercase hex. Policies that say the same in
    /// the same order have the same hash, whatever their form and layout.
    #[must_use]
    pub fn hash(&self) -> &str {
        self.0.hash.get_or_init(|| hash::hash(self))
    }
}

impl Deref for Policy {
    type Target = Openings;

    fn deref(&self) -> &Openings {
        &self.0.openings
    }
}

/// Two policies that say the same are equal whatever their texts.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.openings == other.0.openings
    }
}

impl Eq for Policy {}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.openings.serialize(serializer)
    }
}

/// What a [`Policy`] says. Whatever it does not name is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Policy of an air gap", transform = schema::example)]
pub struct Openings {
    /// Always 1.
    #[schemars(transform = schema::only_version)]
    pub version: u32,
    /// What the host itself needs from its network.
    #[schemars(default)]
    pub host: HostNeeds,
    /// Flows that the host may open.
    #[serde(skip_serializing_if = "AllowPairs::is_empty")]
    #[schemars(default, with = "Vec<AllowPair>")]
    pub allow: AllowPairs,
    /// Flows that others may open to the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub admit: Vec<Admit>,
    /// Bridges whose containers reach the host and each other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub bridge: Vec<BridgeExemption>,
    /// Remote services that some containers reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub forward: Vec<ServiceForwarder>,
}

/// The table `[host]` of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HostNeeds {
    /// The name servers that the host may ask, by UDP and TCP on port 53.
    #[serde(skip_serializing_if = "Resolvers::is_none")]
    #[schemars(default)]
    pub resolvers: Resolvers,
    /// Whether the host's DHCP client works.
    #[serde(skip_serializing_if = "Dhcp::is_off")]
    #[schemars(default)]
    pub dhcp: Dhcp,
    /// The interfaces that lead to the network. Left out, they are every
    /// interface that is neither `lo` nor a bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "schema::Uplinks")]
    pub uplinks: Option<Vec<String>>,
    /// Whether packet sockets are stopped too.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default, extend("default" = false))]
    pub strict: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's `skip_serializing_if` passes references
fn is_false(value: &bool) -> bool {
    !value
}

/// The name servers of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Resolvers {
    /// None: the host resolves no names over the network.
    #[default]
    None,
    /// Those of `/etc/resolv.conf` when the policy is applied.
    System,
    /// These.
    Servers(Vec<IpAddr>),
}

impl Resolvers {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Serialize for Resolvers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.collect_seq::<[IpAddr; 0]>([]),
            Self::System => serializer.serialize_str("system"),
            Self::Servers(servers) => serializer.collect_seq(servers),
        }
    }
}

/// The DHCP client of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Dhcp {
    /// No exchange passes.
    #[default]
    Off,
    /// The exchange with broadcast and link-scope addresses passes.
    On,
    /// As [`Dhcp::On`], and unicast renewals with these servers.
    Servers(Vec<IpAddr>),
}

impl Dhcp {
    fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

impl Serialize for Dhcp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::On => serializer.serialize_bool(true),
            Self::Servers(servers) => serializer.collect_seq(servers),
        }
    }
}

/// An `[[allow]]`: the host may open flows to these addresses and ports.
#[derive(Debug, Clone, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AllowPair {
    /// Where to. Never empty.
    #[schemars(with = "Far")]
    pub to: Vec<Address>,
    /// Which ports there. Never empty.
    #[schemars(with = "OneOrMore<PortRange>")]
    pub port: Vec<PortRange>,
    /// By which protocol.
    #[schemars(default)]
    pub proto: Proto,
    /// Only for processes of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "User")]
    pub user: Option<User>,
    /// The administrator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "schema::Comment")]
    pub comment: Option<String>,
    /// Where it was written.
    #[serde(skip)]
    pub place: Place,
}

/// An `[[admit]]`: these addresses may open flows to the host.
#[derive(Debug, Clone, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, transform = schema::port_unless_icmp)]
pub struct Admit {
    /// Where from. Never empty.
    #[schemars(with = "Far")]
    pub from: Vec<Address>,
    /// To which ports, as the far side dials them. Empty exactly for ICMP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, with = "OneOrMore<PortRange>")]
    pub port: Vec<PortRange>,
    /// By which protocol.
    #[schemars(default)]
    pub proto: AdmitProto,
    /// Not the host's own port but one that a container behind this bridge
    /// publishes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "BridgeName")]
    pub via: Option<BridgeName>,
    /// The administrator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "schema::Comment")]
    pub comment: Option<String>,
    /// Where it was written.
    #[serde(skip)]
    pub place: Place,
}

/// A `[[bridge]]`: containers behind it reach the host and each other.
#[derive(Debug, Clone, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct BridgeExemption {
    /// Which bridge or bridges.
    pub name: BridgeName,
    /// The ports of the host that its containers may reach. Left out, they are
    /// all of TCP and UDP; an empty list means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "Vec<HostPort>")]
    pub ports: Option<Vec<HostPort>>,
    /// Whether the containers are kept from each other.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default, extend("default" = false))]
    pub isolate: bool,
    /// The administrator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "schema::Comment")]
    pub comment: Option<String>,
    /// Where it was written.
    #[serde(skip)]
    pub place: Place,
}

/// A `[[forward]]`: these containers reach this remote service.
#[derive(Debug, Clone, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ServiceForwarder {
    /// Which containers. Never empty.
    #[schemars(with = "OneOrMore<ContainerSource>")]
    pub from: Vec<ContainerSource>,
    /// The addresses of the service. Never empty.
    #[schemars(with = "Far")]
    pub to: Vec<Address>,
    /// Its ports. Never empty.
    #[schemars(with = "OneOrMore<PortRange>")]
    pub port: Vec<PortRange>,
    /// By which protocol.
    #[schemars(default)]
    pub proto: Proto,
    /// Where the containers connect to instead of the service's own address.
    /// Then `to` is one address or name, and `port` one port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "schema::Listen")]
    pub listen: Option<SocketAddr>,
    /// The administrator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "schema::Comment")]
    pub comment: Option<String>,
    /// Where it was written.
    #[serde(skip)]
    pub place: Place,
}

/// Openings are equal when they say the same, wherever they were written: the
/// TOML and the JSON form of a policy are the same policy. The pattern names
/// every field, so that a new one cannot be forgotten here.
macro_rules! equal_but_for_place {
    ($($type:ident { $($field:ident),* })*) => {$(
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                let Self { $($field,)* place: _ } = self;
                true $(&& *$field == other.$field)*
            }
        }
    )*};
}
equal_but_for_place! {
    AllowPair { to, port, proto, user, comment }
    Admit { from, port, proto, via, comment }
    BridgeExemption { name, ports, isolate, comment }
    ServiceForwarder { from, to, port, proto, listen, comment }
}

/// Far addresses: one, a network, a range, or a name for some.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A network without host bits; one address is a network of one.
    Net(IpNet),
    /// From the first to the last address, both included, of one family.
    Range(IpAddr, IpAddr),
    /// A host name, resolved when the policy is applied.
    Name(Box<str>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) => fmt_net(net, f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A network of one address prints as that address.
fn fmt_net(net: &IpNet, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if net.prefix_len() == net.max_prefix_len() {
        write!(f, "{}", net.addr())
    } else {
        write!(f, "{net}")
    }
}

/// Containers that use a service forwarder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerSource {
    /// All behind a bridge.
    Bridge(BridgeName),
    /// Those with an address of this network.
    Net(IpNet),
}

impl fmt::Display for ContainerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(name) => write!(f, "{name}"),
            Self::Net(net) => fmt_net(net, f),
        }
    }
}

/// The name of a bridge, or a pattern for names: a prefix and a closing `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BridgeName(Box<str>);

impl BridgeName {
    /// Takes `text` as it is written in a policy.
    ///
    /// # Errors
    /// Says what is wrong with `text`: empty, too long for the kernel, a bare
    /// `*`, a `*` elsewhere than at the end, or a character that no interface
    /// name has.
    pub fn new(text: &str) -> Result<Self, String> {
        let stem = text.strip_suffix('*').unwrap_or(text);
        if text == "*" {
            return Err("`*` alone would meet every interface; write the letters that the bridges' names begin with, as in `br-*`".to_owned());
        }
        check_interface_name(stem)?;
        Ok(Self(text.into()))
    }

    /// Whether this stands for every bridge whose name begins so.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.0.ends_with('*')
    }

    /// The name, or for a pattern the letters before the `*`.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.0.strip_suffix('*').unwrap_or(&self.0)
    }

    /// Whether the interface called `name` is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.is_pattern() {
            name.starts_with(self.stem())
        } else {
            name == &*self.0
        }
    }

    /// As it is written in a policy.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BridgeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a name by the kernel's rules for interfaces (`dev_valid_name` of
/// `net/core/dev.c`), and that it is no pattern.
///
/// # Errors
/// Says what is wrong with `name`.
pub fn check_interface_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("an interface name cannot be empty".to_owned());
    }
    if name.len() > INTERFACE_NAME_MAX {
        return Err(format!(
            "an interface name has at most {INTERFACE_NAME_MAX} bytes, this has {}",
            name.len()
        ));
    }
    if name == "." || name == ".." {
        return Err("`.` and `..` are no interface names".to_owned());
    }
    match name
        .chars()
        .find(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '*' | '"' | '\\'))
    {
        Some(c) => Err(format!("{c:?} cannot stand in an interface name")),
        None => Ok(()),
    }
}

/// A transport protocol with ports.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP, protocol number 6.
    #[default]
    Tcp,
    /// UDP, protocol number 17.
    Udp,
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A protocol by which others may open flows to the host.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AdmitProto {
    /// TCP, protocol number 6.
    #[default]
    Tcp,
    /// UDP, protocol number 17.
    Udp,
    /// The echo of ICMP and ICMPv6, that is ping.
    Icmp,
}

impl AdmitProto {
    /// The transport protocol, `None` for ICMP.
    #[must_use]
    pub fn transport(self) -> Option<Proto> {
        match self {
            Self::Tcp => Some(Proto::Tcp),
            Self::Udp => Some(Proto::Udp),
            Self::Icmp => None,
        }
    }
}

impl fmt::Display for AdmitProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport() {
            Some(proto) => proto.fmt(f),
            None => f.write_str("icmp"),
        }
    }
}

/// Ports from the first to the last, both included, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port, not below the lowest.
    pub last: u16,
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            serializer.serialize_u16(self.first)
        } else {
            serializer.collect_str(self)
        }
    }
}

/// A port of the host itself, written `tcp/8888` or `udp/5000-5009`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// By which protocol.
    pub proto: Proto,
    /// Which ports.
    pub ports: PortRange,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.proto, self.ports)
    }
}

/// A user of the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum User {
    /// By number.
    Uid(u32),
    /// By name, looked up when the policy is applied.
    Name(Box<str>),
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "{uid}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Serialize for User {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Uid(uid) => serializer.serialize_u32(*uid),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

/// Types that serialise as they print.
macro_rules! serialize_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
serialize_as_text!(Address, ContainerSource, BridgeName, HostPort);

/// Where in a policy something was written: for text the line and column,
/// both counted from 1. A policy made of data has no lines, and 0 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Place {
    /// The line, from 1; 0 where there is no text.
    pub line: u32,
    /// The column in characters, from 1; 0 where there is no text.
    pub column: u32,
}
