//! The graph as text that nft(8) reads.

use std::fmt::{self, Write as _};

use super::data::{protocol_name, write_hex, write_name};
use super::foreign::write_foreign;
use super::{
    Chain, Cmp, CtDirection, CtKey, Data, DataType, Exthdr, FibFlags, FibResult, MetaKey,
    PayloadBase, Rule, RuleGraph, Selector, Set, Statement, Table, Verdict,
};

impl fmt::Display for RuleGraph {
    /// Writes a file for `nft -f`: it replaces the tables that it names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            // A table must exist before it can be deleted without an error.
            writeln!(f, "table {} {}", table.family, table.name)?;
            writeln!(f, "delete table {} {}", table.family, table.name)?;
        }
        self.tables
            .iter()
            .try_for_each(|table| write!(f, "{table}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family, self.name)?;
        if let Some(comment) = &self.comment {
            writeln!(f, "\tcomment {}", quoted(comment))?;
        }
        for set in &self.sets {
            write!(f, "\n{set}")?;
        }
        // A chain must be declared before a rule can jump to it.
        for chain in &self.chains {
            write_chain(chain, f)?;
        }
        f.write_str("}\n")
    }
}

fn write_chain(chain: &Chain, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n\tchain {} {{", chain.name)?;
    if let Some(base) = &chain.base {
        write!(
            f,
            "\t\ttype {} hook {} ",
            base.kind.name(),
            base.hook.name()
        )?;
        match base.devices.as_slice() {
            [] => {}
            [device] => write!(f, "device \"{device}\" ")?,
            devices => {
                let names: Vec<_> = devices.iter().map(|name| format!("\"{name}\"")).collect();
                write!(f, "devices = {{ {} }} ", names.join(", "))?;
            }
        }
        writeln!(
            f,
            "priority {}; policy {};",
            base.priority,
            base.policy.name()
        )?;
    }
    for rule in &chain.rules {
        writeln!(f, "\t\t{}", rule_text(rule))?;
    }
    f.write_str("\t}\n")
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_map() { "map" } else { "set" };
        writeln!(f, "\t{word} {} {{", self.name)?;
        let types: Vec<_> = self.key.iter().map(|t| t.name()).collect();
        writeln!(f, "\t\ttype {}", types.join(" . "))?;
        if self.interval {
            f.write_str("\t\tflags interval\n")?;
        }
        if let Some(size) = self.size {
            writeln!(f, "\t\tsize {size}")?;
        }
        if let Some(comment) = &self.comment {
            writeln!(f, "\t\tcomment {}", quoted(comment))?;
        }
        if !self.elements.is_empty() {
            f.write_str("\t\telements = { ")?;
            for (n, (element, _)) in self.elements.iter().enumerate() {
                f.write_str(if n == 0 { "" } else { ",\n\t\t\t     " })?;
                f.write_str(&self.element_text(element))?;
                match self.elements.data(n) {
                    Data::Nothing => {}
                    Data::Verdict(verdict) => write!(f, " : {}", verdict_text(verdict))?,
                    Data::Value(value) => {
                        let mut text = String::new();
                        write_hex(value, &mut text);
                        write!(f, " : {text}")?;
                    }
                }
            }
            f.write_str(" }\n")?;
        }
        f.write_str("\t}\n")
    }
}

impl Set {
    /// An element as nft(8) reads it.
    #[must_use]
    pub fn element_text(&self, element: &[u8]) -> String {
        let mut out = String::new();
        let (first, last) = element
            .split_at_checked(self.key_width())
            .unwrap_or((element, &[]));
        let last = if last.is_empty() { first } else { last };
        for (n, ((kind, low), (_, high))) in self.fields(first).zip(self.fields(last)).enumerate() {
            out.push_str(if n == 0 { "" } else { " . " });
            kind.write(low, &mut out);
            if low != high {
                out.push('-');
                kind.write(high, &mut out);
            }
        }
        out
    }
}

/// A rule as nft(8) reads it, in one line.
#[must_use]
pub(crate) fn rule_text(rule: &Rule) -> String {
    let mut context = Context {
        network: None,
        transport: None,
    };
    let mut out = String::new();
    for statement in &rule.statements {
        if !out.is_empty() {
            out.push(' ');
        }
        write_statement(statement, &context, &mut out);
        context.learn(statement);
    }
    if let Some(comment) = &rule.comment {
        let _ = write!(out, " comment {}", quoted(comment));
    }
    out
}

/// What the rule has asked so far, which decides how bytes are named.
pub(super) struct Context {
    network: Option<u8>,
    transport: Option<u8>,
}

impl Context {
    fn learn(&mut self, statement: &Statement) {
        let Statement::Match {
            left,
            mask: None,
            op: Cmp::Eq,
            right,
        } = statement
        else {
            return;
        };
        match (left, right.as_slice()) {
            (Selector::Meta(MetaKey::NfProto), &[proto]) => self.network = Some(proto),
            (
                Selector::Payload {
                    base: PayloadBase::LinkLayer,
                    offset: 12,
                    len: 2,
                },
                &[8, 0],
            ) => self.network = Some(2),
            (
                Selector::Payload {
                    base: PayloadBase::LinkLayer,
                    offset: 12,
                    len: 2,
                },
                &[0x86, 0xdd],
            ) => {
                self.network = Some(10);
            }
            (Selector::Meta(MetaKey::L4Proto), &[proto]) => self.transport = Some(proto),
            _ => {}
        }
    }

    /// The name of bytes of the packet, and the type that their value has.
    fn payload_name(
        &self,
        base: PayloadBase,
        offset: u32,
        len: u32,
    ) -> Option<(&'static str, ValueKind)> {
        use ValueKind::{Address4, Address6, Number, Service};
        Some(match (base, self.network, self.transport, offset, len) {
            (PayloadBase::LinkLayer, _, _, 12, 2) => ("ether type", ValueKind::EtherType),
            (PayloadBase::Network, Some(2), _, 8, 1) => ("ip ttl", Number),
            (PayloadBase::Network, Some(2), _, 12, 4) => ("ip saddr", Address4),
            (PayloadBase::Network, Some(2), _, 16, 4) => ("ip daddr", Address4),
            (PayloadBase::Network, Some(10), _, 7, 1) => ("ip6 hoplimit", Number),
            (PayloadBase::Network, Some(10), _, 8, 16) => ("ip6 saddr", Address6),
            (PayloadBase::Network, Some(10), _, 24, 16) => ("ip6 daddr", Address6),
            (PayloadBase::Transport, _, Some(1), 0, 1) => ("icmp type", Number),
            (PayloadBase::Transport, _, Some(1), 1, 1) => ("icmp code", Number),
            (PayloadBase::Transport, _, Some(58), 0, 1) => ("icmpv6 type", Number),
            (PayloadBase::Transport, _, Some(58), 1, 1) => ("icmpv6 code", Number),
            (PayloadBase::Transport, _, Some(6), 13, 1) => ("tcp flags", Number),
            (PayloadBase::Transport, _, _, 0, 2) => ("th sport", Service),
            (PayloadBase::Transport, _, _, 2, 2) => ("th dport", Service),
            _ => return None,
        })
    }
}

/// How a value is written.
#[derive(Clone, Copy)]
pub(super) enum ValueKind {
    Address4,
    Address6,
    Service,
    Proto,
    Name,
    /// A number in the packet's byte order.
    Number,
    /// A number in the machine's byte order.
    HostNumber,
    /// The same, most significant byte first.
    NetworkNumber,
    NfProto,
    EtherType,
    Direction,
    State,
    Status,
    Label,
    AddressType,
    Presence,
    /// A mark, in the machine's byte order.
    Mark,
    Raw,
}

pub(super) fn selector_text(selector: &Selector, context: &Context) -> (String, ValueKind) {
    use ValueKind::{Address4, Address6, HostNumber, Name, Proto, Raw, Service};
    match selector {
        Selector::Meta(key) => match key {
            MetaKey::Protocol => ("meta protocol".into(), ValueKind::EtherType),
            MetaKey::Iif => ("meta iif".into(), HostNumber),
            MetaKey::Iifname => ("iifname".into(), Name),
            MetaKey::Oifname => ("oifname".into(), Name),
            MetaKey::SkUid => ("meta skuid".into(), HostNumber),
            MetaKey::NfProto => ("meta nfproto".into(), ValueKind::NfProto),
            MetaKey::L4Proto => ("meta l4proto".into(), Proto),
            MetaKey::IbrName => ("meta ibrname".into(), Name),
            MetaKey::IifKind => ("meta iifkind".into(), Name),
            MetaKey::Len => ("meta length".into(), HostNumber),
            MetaKey::Mark => ("meta mark".into(), ValueKind::Mark),
            MetaKey::Oif => ("meta oif".into(), HostNumber),
            MetaKey::IifType => ("meta iiftype".into(), Raw),
            MetaKey::OifType => ("meta oiftype".into(), Raw),
            MetaKey::SkGid => ("meta skgid".into(), HostNumber),
            MetaKey::ObrName => ("meta obrname".into(), Name),
            MetaKey::PktType => ("meta pkttype".into(), ValueKind::Number),
            MetaKey::IifGroup => ("meta iifgroup".into(), HostNumber),
            MetaKey::OifGroup => ("meta oifgroup".into(), HostNumber),
            MetaKey::Cgroup => ("meta cgroup".into(), HostNumber),
            MetaKey::OifKind => ("meta oifkind".into(), Name),
        },
        Selector::Ct(key, direction) => {
            let (name, kind) = match key {
                CtKey::State => ("state", ValueKind::State),
                CtKey::Direction => ("direction", ValueKind::Direction),
                CtKey::Status => ("status", ValueKind::Status),
                CtKey::Protocol => ("protocol", Proto),
                CtKey::ProtoSrc => ("proto-src", Service),
                CtKey::ProtoDst => ("proto-dst", Service),
                CtKey::Labels => ("label", ValueKind::Label),
                CtKey::Mark => ("mark", ValueKind::Mark),
                CtKey::L3Proto => ("l3proto", ValueKind::NfProto),
                CtKey::Zone => ("zone", Raw),
                CtKey::SrcIp => ("ip saddr", Address4),
                CtKey::DstIp => ("ip daddr", Address4),
                CtKey::SrcIp6 => ("ip6 saddr", Address6),
                CtKey::DstIp6 => ("ip6 daddr", Address6),
            };
            let direction = direction
                .map(CtDirection::name)
                .map(|d| format!("{d} "))
                .unwrap_or_default();
            (format!("ct {direction}{name}"), kind)
        }
        Selector::Payload { base, offset, len } => match context.payload_name(*base, *offset, *len)
        {
            Some((name, kind)) => (name.to_owned(), kind),
            None => {
                let base = match base {
                    PayloadBase::LinkLayer => "ll",
                    PayloadBase::Network => "nh",
                    PayloadBase::Transport => "th",
                };
                (format!("@{base},{},{}", offset * 8, len * 8), Raw)
            }
        },
        Selector::Fib(FibFlags(flags), result) => {
            let mut parts = Vec::new();
            for (bit, name) in [
                (FibFlags::SADDR, "saddr"),
                (FibFlags::DADDR, "daddr"),
                (FibFlags::IIF, "iif"),
                (FibFlags::OIF, "oif"),
                (FibFlags::MARK, "mark"),
            ] {
                if flags & bit != 0 {
                    parts.push(name);
                }
            }
            let (result, kind) = match result {
                FibResult::Oif if flags & FibFlags::PRESENT == 0 => ("oif", HostNumber),
                FibResult::Oif => ("oif", ValueKind::Presence),
                FibResult::OifName => ("oifname", Name),
                FibResult::AddrType => ("type", ValueKind::AddressType),
            };
            (format!("fib {} {result}", parts.join(" . ")), kind)
        }
        Selector::NetworkOrder(field) => {
            let (name, kind) = selector_text(&field.selector(), context);
            let kind = match kind {
                HostNumber | ValueKind::Mark => ValueKind::NetworkNumber,
                other => other,
            };
            (name, kind)
        }
        Selector::Exthdr(header) => {
            let (name, kind) = match header {
                Exthdr::Ip6Routing => ("exthdr rt", ValueKind::Presence),
                Exthdr::Ip6FragmentOffset => ("frag frag-off", Raw),
                Exthdr::IpLsrr => ("ip option lsrr", ValueKind::Presence),
                Exthdr::IpSsrr => ("ip option ssrr", ValueKind::Presence),
            };
            (name.to_owned(), kind)
        }
    }
}

/// A verdict as nft(8) writes it.
pub(super) fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
        Verdict::Other(number) => format!("# verdict {number}"),
    }
}

/// The fields of a key as nft(8) joins them.
pub(super) fn lookup_key(key: &[Selector], context: &Context) -> String {
    let fields: Vec<_> = key
        .iter()
        .map(|selector| selector_text(selector, context).0)
        .collect();
    fields.join(" . ")
}

fn host_number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

/// The names of the set bits, joined by `separator`.
fn flag_names(bits: u32, names: &[(u32, &str)], separator: &str) -> String {
    let known: Vec<_> = names
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    if known.is_empty() {
        format!("{bits:#x}")
    } else {
        known.join(separator)
    }
}

const STATES: [(u32, &str); 5] = [
    (1, "invalid"),
    (2, "established"),
    (4, "related"),
    (8, "new"),
    (64, "untracked"),
];
const STATUSES: [(u32, &str); 2] = [(16, "snat"), (32, "dnat")];

/// The numbers of the set bits of a label, as nft(8) joins them.
fn label_bits(label: u128) -> String {
    let bits: Vec<_> = (0..128)
        .filter(|bit| label >> bit & 1 == 1)
        .map(|bit| bit.to_string())
        .collect();
    bits.join("|")
}

fn label_of(value: &[u8]) -> u128 {
    value.try_into().map_or(0, u128::from_ne_bytes)
}

pub(super) fn write_value(value: &[u8], kind: ValueKind, out: &mut String) {
    match (kind, value) {
        (ValueKind::Address4, value) if value.len() == 4 => DataType::Ipv4Addr.write(value, out),
        (ValueKind::Address6, value) if value.len() == 16 => DataType::Ipv6Addr.write(value, out),
        (ValueKind::Service, value) => DataType::InetService.write(value, out),
        (ValueKind::Proto, &[proto]) => out.push_str(&protocol_name(proto)),
        (ValueKind::Name, value) => write_name(value, out),
        (ValueKind::Number, &[number]) => {
            let _ = write!(out, "{number}");
        }
        (ValueKind::HostNumber, value) => {
            let _ = write!(out, "{}", host_number(value).unwrap_or_default());
        }
        (ValueKind::NetworkNumber, value) => {
            let number = value
                .iter()
                .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            let _ = write!(out, "{number}");
        }
        (ValueKind::Mark, value) => {
            let _ = write!(out, "{:#x}", host_number(value).unwrap_or_default());
        }
        (ValueKind::NfProto, &[2]) => out.push_str("ipv4"),
        (ValueKind::NfProto, &[10]) => out.push_str("ipv6"),
        (ValueKind::EtherType, &[8, 0]) => out.push_str("ip"),
        (ValueKind::EtherType, &[8, 6]) => out.push_str("arp"),
        (ValueKind::EtherType, &[0x86, 0xdd]) => out.push_str("ip6"),
        (ValueKind::Direction, &[0]) => out.push_str("original"),
        (ValueKind::Direction, &[1]) => out.push_str("reply"),
        (ValueKind::State, value) => {
            out.push_str(&flag_names(
                host_number(value).unwrap_or_default(),
                &STATES,
                ",",
            ));
        }
        (ValueKind::Status, value) => {
            out.push_str(&flag_names(
                host_number(value).unwrap_or_default(),
                &STATUSES,
                ",",
            ));
        }
        (ValueKind::Label, value) => out.push_str(&label_bits(label_of(value))),
        (ValueKind::AddressType, value) => out.push_str(match host_number(value) {
            Some(1) => "unicast",
            Some(2) => "local",
            Some(3) => "broadcast",
            Some(5) => "multicast",
            _ => "unspec",
        }),
        (ValueKind::Presence, value) => {
            let absent = value.iter().all(|byte| *byte == 0);
            out.push_str(if absent { "missing" } else { "exists" });
        }
        (_, value) => write_hex(value, out),
    }
}

pub(super) fn write_statement(statement: &Statement, context: &Context, out: &mut String) {
    match statement {
        Statement::Match {
            left,
            mask,
            op,
            right,
        } => write_match(left, mask.as_deref(), *op, right, context, out),
        Statement::Range {
            left,
            negated,
            first,
            last,
        } => {
            let (name, kind) = selector_text(left, context);
            let _ = write!(out, "{name} {}", if *negated { "!= " } else { "" });
            write_value(first, kind, out);
            out.push('-');
            write_value(last, kind, out);
        }
        Statement::Lookup { key, set, negated } => {
            let _ = write!(
                out,
                "{} {}@{set}",
                lookup_key(key, context),
                if *negated { "!= " } else { "" }
            );
        }
        Statement::Foreign(foreign) => write_foreign(foreign, context, out),
        Statement::SocketCgroup(group) => {
            let _ = write!(out, "socket cgroupv2 level {} ", group.level);
            if group.path.is_empty() {
                let _ = write!(out, "{}", group.id);
            } else {
                out.push_str(&quoted(&group.path));
            }
        }
        Statement::Verdict(verdict) => out.push_str(&verdict_text(verdict)),
        Statement::Counter { .. } => out.push_str("counter"),
        Statement::Limit { rate, unit, burst } => {
            let unit = match unit {
                60 => "minute",
                3_600 => "hour",
                86_400 => "day",
                604_800 => "week",
                _ => "second",
            };
            let _ = write!(out, "limit rate {rate}/{unit} burst {burst} packets");
        }
        Statement::Log { prefix, group } => {
            let _ = write!(out, "log prefix {}", quoted(prefix));
            if let Some(group) = group {
                let _ = write!(out, " group {group}");
            }
        }
        Statement::SetLabel(label) => {
            let _ = write!(out, "ct label set {}", label_bits(*label));
        }
        Statement::Masquerade => out.push_str("masquerade"),
        Statement::Dnat(target) => {
            let family = if target.address.is_ipv4() {
                "ip"
            } else {
                "ip6"
            };
            let to = std::net::SocketAddr::new(target.address, target.port);
            let _ = write!(out, "dnat {family} to {to}");
        }
        Statement::Unknown { name, data } => {
            let _ = write!(out, "# {name} ");
            write_hex(data, out);
        }
    }
}

fn write_match(
    left: &Selector,
    mask: Option<&[u8]>,
    op: Cmp,
    right: &[u8],
    context: &Context,
    out: &mut String,
) {
    let (name, kind) = selector_text(left, context);
    // Fields that are no whole bytes: their names imply the mask.
    let part = match (left, mask) {
        (
            Selector::Payload {
                base: PayloadBase::Network,
                offset: 0,
                len: 1,
            },
            Some([0x0f]),
        ) => Some("ip hdrlength"),
        (Selector::Exthdr(Exthdr::Ip6FragmentOffset), Some([0xff, 0xf8])) => Some("frag frag-off"),
        _ => None,
    };
    if let Some(part) = part {
        let number = right
            .iter()
            .fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let _ = write!(out, "{part}{}{number}", operator(op));
        return;
    }
    out.push_str(&name);
    let flags_absent = right.iter().all(|byte| *byte == 0);
    match (kind, mask) {
        // nft(8) writes 'one of these bits is set' without an operator.
        (ValueKind::State | ValueKind::Status, Some(mask)) if flags_absent && op == Cmp::Neq => {
            out.push(' ');
            write_value(mask, kind, out);
        }
        (ValueKind::Address4 | ValueKind::Address6, Some(mask)) => {
            out.push_str(operator(op));
            write_value(right, kind, out);
            let _ = write!(
                out,
                "/{}",
                mask.iter().map(|byte| byte.count_ones()).sum::<u32>()
            );
        }
        (_, Some(mask)) => {
            out.push_str(" & ");
            let alternatives = matches!(kind, ValueKind::Label);
            if alternatives {
                out.push('(');
            }
            write_value(
                mask,
                if matches!(kind, ValueKind::Number) {
                    ValueKind::Raw
                } else {
                    kind
                },
                out,
            );
            if alternatives {
                out.push(')');
            }
            out.push_str(if op == Cmp::Eq { " == " } else { operator(op) });
            if flags_absent {
                out.push('0');
            } else {
                write_value(
                    right,
                    if matches!(kind, ValueKind::Number) {
                        ValueKind::Raw
                    } else {
                        kind
                    },
                    out,
                );
            }
        }
        (_, None) => {
            out.push_str(operator(op));
            write_value(right, kind, out);
        }
    }
}

/// A comparison between its operands; equality goes without saying.
fn operator(op: Cmp) -> &'static str {
    match op {
        Cmp::Eq => " ",
        Cmp::Neq => " != ",
        Cmp::Lt => " < ",
        Cmp::Lte => " <= ",
        Cmp::Gt => " > ",
        Cmp::Gte => " >= ",
    }
}

/// A comment in quotes. nft(8) knows no escapes, so a quote becomes another.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "'"))
}
