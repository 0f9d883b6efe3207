//! A policy as a rule graph.
//!
//! Three base chains drop what nothing accepts: `input`, `forward` and
//! `output`. Each asks an opening for every packet of a flow, by the addresses
//! and the port to which the flow was *opened* and by the way the packet goes,
//! so that a flow which stood before the policy, or whose opening is withdrawn,
//! ends at once. Nothing is accepted by state or direction alone.

mod bridges;
mod denied;
mod forwarders;
mod headers;
mod host;
mod matches;
mod services;
mod strict;

use std::net::IpAddr;

use ipnet::IpNet;

use self::matches::{
    accept, destination_is_local, drop_counted, interface, ip_version, is, jump, not_translated,
};
use self::services::AddressRange;
use crate::error::{Error, Unresolved};
use crate::graph::{
    BaseChain, Chain, ChainPolicy, ChainType, DataType, Elements, Family, Hook, MetaKey, OriginId,
    Origins, Rule, RuleGraph, Selector, Set, Statement, Table,
};
use crate::policy::{Address, Policy};
use crate::surroundings::Surroundings;

/// The chain that decides about what is forwarded.
const ROUTED: &str = "routed";

/// Filter chains run behind those at the usual priority 0, so that they see
/// what other programs made of a packet.
const PRIORITY_FILTER: i32 = 10;
/// Behind every translation of sources (100), where the way out is certain.
const PRIORITY_LAST: i32 = 110;
/// Before Docker's translation of destinations (-100).
const PRIORITY_DNAT: i32 = -110;
/// Before Docker's translation of sources (100).
const PRIORITY_SNAT: i32 = 90;
/// `filter` of the bridge family.
const PRIORITY_BRIDGE: i32 = -200;

impl RuleGraph {
    /// Compiles a policy for the host and the network namespace in which the
    /// caller runs. Names are resolved now.
    ///
    /// # Errors
    /// When the policy names a host or a user that is not known here, or the
    /// kernel does not answer.
    pub fn compile(policy: &Policy) -> Result<Self, Error> {
        Self::compile_in(policy, &Surroundings::observe(policy)?)
    }

    /// Compiles a policy for these surroundings. The same input gives the same
    /// graph.
    ///
    /// # Errors
    /// When the surroundings lack a name or a user of the policy.
    pub fn compile_in(policy: &Policy, surroundings: &Surroundings) -> Result<Self, Error> {
        let mut compiler = Compiler::new(policy, surroundings);
        let table = compiler.inet_table();
        let mut tables = vec![table];
        tables.extend(compiler.netdev_table());
        tables.push(compiler.bridge_table());
        if !compiler.unresolved.is_empty() {
            return Err(Error::Unresolved(compiler.unresolved));
        }
        if let Some(log) = surroundings.denied_log {
            tables
                .iter_mut()
                .for_each(|table| denied::log_drops(table, log));
        }
        for table in &mut tables {
            table.sort();
        }
        tables.sort_by_key(|table| table.family);
        Ok(Self {
            tables,
            origins: compiler.origins,
        })
    }
}

/// What every stage of the compilation needs.
struct Compiler<'a> {
    policy: &'a Policy,
    surroundings: &'a Surroundings,
    origins: Origins,
    unresolved: Vec<Unresolved>,
}

/// The chains of the inet table that openings add to, while they are put
/// together.
struct Hooks {
    input: Chain,
    /// Frames inside one bridge, then on to `routed`.
    forward: Chain,
    /// What the host forwards from one interface to another.
    routed: Chain,
    output: Chain,
    postrouting: Chain,
}

impl Chain {
    fn rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    fn say(&mut self, statements: impl Into<Vec<Statement>>) {
        self.rules.push(Rule::new(statements.into()));
    }
}

fn filter(name: &str, hook: Hook, priority: i32, policy: ChainPolicy) -> Chain {
    Chain::base(
        name,
        BaseChain {
            kind: ChainType::Filter,
            hook,
            priority,
            policy,
            devices: Vec::new(),
        },
    )
}

/// A set of values that are known when it is declared.
fn small_set(name: &str, key: DataType, values: &[Vec<u8>]) -> Set {
    let width = crate::graph::field_width(key.width());
    let padded: Vec<Vec<u8>> = values
        .iter()
        .map(|value| {
            let mut value = value.clone();
            value.resize(width, 0);
            value
        })
        .collect();
    Set {
        name: name.to_owned(),
        key: vec![key],
        interval: false,
        other_flags: 0,
        size: Some(64),
        comment: None,
        elements: Elements::new(
            width,
            padded
                .iter()
                .map(|v| (v.as_slice(), OriginId::default()))
                .collect(),
        ),
    }
}

impl<'a> Compiler<'a> {
    fn new(policy: &'a Policy, surroundings: &'a Surroundings) -> Self {
        Self {
            policy,
            surroundings,
            origins: Origins::of(policy),
            unresolved: Vec::new(),
        }
    }

    /// The addresses that an entry of the policy means.
    fn ranges(&mut self, addresses: &[Address], origin: OriginId) -> Vec<AddressRange> {
        let mut ranges = Vec::with_capacity(addresses.len());
        for address in addresses {
            match address {
                Address::Net(net) => ranges.push(net_range(*net)),
                Address::Range(first, last) => ranges.push(AddressRange {
                    first: *first,
                    last: *last,
                }),
                Address::Name(name) => match self.surroundings.names.get(&**name) {
                    Some(found) => ranges.extend(found.iter().map(|a| single(*a))),
                    None => self.lacks(format!("the host name `{name}` was not resolved"), origin),
                },
            }
        }
        ranges
    }

    /// Notes something that the policy names and the surroundings lack.
    fn lacks(&mut self, message: String, origin: OriginId) {
        if let Some(origin) = self.origins.get(origin) {
            self.unresolved.push(Unresolved { message, origin });
        }
    }

    /// The comment that carries the policy's hash.
    fn hash_comment(&self) -> String {
        format!("policy sha256:{}", self.policy.hash())
    }

    fn inet_table(&mut self) -> Table {
        let mut table = Table::airgap(Family::Inet, format!("created by {}", self.hash_comment()));
        let mut hooks = Hooks {
            input: filter("input", Hook::Input, PRIORITY_FILTER, ChainPolicy::Drop),
            forward: filter("forward", Hook::Forward, PRIORITY_FILTER, ChainPolicy::Drop),
            routed: Chain::regular(ROUTED),
            output: filter("output", Hook::Output, PRIORITY_FILTER, ChainPolicy::Drop),
            postrouting: filter(
                "postrouting",
                Hook::Postrouting,
                PRIORITY_LAST,
                ChainPolicy::Accept,
            ),
        };
        self.docker_resolver(&mut hooks);
        // The host speaks to itself. What another program's rule sends from
        // there to somewhere else is not local any more, and must find an
        // opening.
        hooks
            .input
            .say([interface(MetaKey::Iifname, "lo"), accept()]);
        hooks.output.say([
            interface(MetaKey::Oifname, "lo"),
            destination_is_local(true),
            accept(),
        ]);
        hooks.output.say([
            interface(MetaKey::Oifname, "lo"),
            not_translated(),
            accept(),
        ]);

        self.same_bridge(&mut hooks, &mut table);
        self.headers(&mut hooks, &mut table);
        self.openings_of_host(&mut hooks, &mut table);
        self.published_ports(&mut hooks, &mut table);
        self.forwarders(&mut hooks, &mut table);
        self.bridge_exemptions(&mut hooks, &mut table);
        self.dhcp(&mut hooks, &mut table);

        for (chain, what) in [
            (&mut hooks.input, "in"),
            (&mut hooks.routed, "across"),
            (&mut hooks.output, "out"),
        ] {
            chain.rule(Rule::new(drop_counted().to_vec()).comment(format!("no opening {what}")));
        }
        table
            .chains
            .extend([hooks.input, hooks.forward, hooks.routed]);
        table.chains.extend([hooks.output, hooks.postrouting]);
        table
    }
}

fn single(address: IpAddr) -> AddressRange {
    AddressRange {
        first: address,
        last: address,
    }
}

fn net_range(net: IpNet) -> AddressRange {
    // The last address of a network, which for IPv4 ipnet calls its broadcast.
    AddressRange {
        first: net.network(),
        last: net.broadcast(),
    }
}

/// A name as part of the name of a chain or set. nft(8) takes letters, digits
/// and `_-./`; what else an interface name may hold is written in base 16
/// behind a `/`, which no interface name has.
fn identifier(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("/{byte:02x}"));
        }
    }
    out
}

/// Asks for ICMP or ICMPv6.
fn icmp(ip: matches::Ip) -> [Statement; 2] {
    [
        ip_version(ip),
        is(Selector::Meta(MetaKey::L4Proto), [ip.icmp()]),
    ]
}

/// A jump under a condition.
fn when(mut condition: Vec<Statement>, chain: &str) -> Vec<Statement> {
    condition.push(jump(chain));
    condition
}
