//! Makes a [`Policy`] of a [`Node`], and finds every mistake in it in one run.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::net::IpAddr;
use std::sync::Arc;

use super::allow::{AllowPairs, ExactPair};
use super::diagnostic::PolicyError;
use super::fault::Fault;
use super::forwarder::{Forward, forward};
use super::load::Form;
use super::model::{
    Admit, AdmitProto, AllowPair, BridgeExemption, BridgeName, Dhcp, HostNeeds, Openings, Place,
    Policy, Resolvers, ServiceForwarder, VERSION, check_interface_name,
};
use super::node::{Node, Path, Value, quote};
use super::plain::{self, Section, Tables};
use super::report::{Field, Report};
use super::source::{Source, Span};
use super::table::TableReader;
use super::values::{
    FROM, TO, address, bare, boolean, bridge_name, comment, far, host_port, list, port, ports,
    server, string, suggest, transport, user, word,
};

/// Reads the tree of a whole policy.
pub(super) fn read(root: &Node<'_>, source: Arc<Source>) -> Result<Policy, PolicyError> {
    let mut report = Report::new(Arc::clone(&source));
    let openings = openings(&mut report, root);
    if let Some(error) = report.finish() {
        return Err(error);
    }
    match openings {
        Some(openings) => Ok(Policy::new(openings, source)),
        // Nothing is missing without a report; this is for the type alone.
        None => Err(PolicyError::unread(
            source.name(),
            "the policy cannot be read".to_owned(),
            None,
        )),
    }
}

/// The spans of the openings in the tree of a good policy: what a place in the
/// model is the start of.
pub(super) fn marks(root: &Node<'_>) -> Vec<Span> {
    let Value::Table(entries) = &root.value else {
        return Vec::new();
    };
    let lists = entries.iter().filter_map(|entry| match &entry.node.value {
        Value::Array(openings) => Some(openings),
        _ => None,
    });
    lists.flatten().filter_map(|opening| opening.span).collect()
}

/// Reads a policy whose text is plain and good. Otherwise there is none, and
/// the tree has to tell why.
pub(super) fn read_plain(source: &Arc<Source>, form: Form) -> Option<Policy> {
    let mut parts = Parts::new(Arc::clone(source));
    plain::read(source.text(), form, &mut parts)?;
    parts.finish()
}

/// What was read of a policy that is read table by table.
struct Parts {
    report: Report,
    version: Option<u32>,
    host: HostNeeds,
    allow: AllowPairs,
    admit: Vec<Admit>,
    bridge: Vec<Opening<Bridge>>,
    forward: Vec<Opening<Forward>>,
}

impl Parts {
    fn new(source: Arc<Source>) -> Self {
        Self {
            report: Report::new(source),
            version: None,
            host: HostNeeds::default(),
            allow: AllowPairs::default(),
            admit: Vec::new(),
            bridge: Vec::new(),
            forward: Vec::new(),
        }
    }

    fn finish(mut self) -> Option<Policy> {
        bridges_once(&mut self.report, &self.bridge);
        listeners_once(&mut self.report, &self.forward);
        let openings = Openings {
            version: self.version?,
            host: self.host,
            allow: self.allow,
            admit: self.admit,
            bridge: bridge_models(self.bridge),
            forward: forward_models(self.forward),
        };
        let source = self.report.finish_without_mistakes()?;
        Some(Policy::new(openings, source))
    }
}

impl Tables for Parts {
    fn table(&mut self, section: Section, table: &Node<'_>, place: Place) -> Option<()> {
        let report = &mut self.report;
        let field = |path| Field { node: table, path };
        let list = |key| Path::ROOT.key(key);
        match section {
            Section::Root => {
                let root = field(Path::ROOT);
                let mut table = TableReader::open(report, &root, "")?;
                if let Some(field) = table.optional("version") {
                    self.version = Some(version(report, &field)?);
                }
                table.finish(report);
            }
            Section::Host => self.host = host(report, &field(list("host")))?,
            Section::Allow => {
                let index = self.allow.len();
                let model = allow(report, &field(list("allow").index(index)), place)?;
                self.allow.push(model);
            }
            Section::Admit => {
                let index = self.admit.len();
                let model = admit(report, &field(list("admit").index(index)), place)?;
                self.admit.push(model);
            }
            Section::Bridge => {
                let index = self.bridge.len();
                let model = bridge(report, &field(list("bridge").index(index)), place)?;
                self.bridge.push(Opening { model, index });
            }
            Section::Forward => {
                let index = self.forward.len();
                let model = forward(report, &field(list("forward").index(index)), place)?;
                self.forward.push(Opening { model, index });
            }
        }
        report.is_empty().then_some(())
    }

    fn exact(&mut self, pair: ExactPair) {
        self.allow.push_exact(pair);
    }
}

fn openings(report: &mut Report, root: &Node<'_>) -> Option<Openings> {
    let root = Field {
        node: root,
        path: Path::ROOT,
    };
    let mut table = TableReader::open(report, &root, "expected a table with the key `version`")?;
    let version = table
        .required(report, "version", "expected `version`, which is 1")
        .and_then(|field| version(report, &field));
    let host = match table.optional("host") {
        Some(field) => host(report, &field),
        None => Some(HostNeeds::default()),
    };
    let allow = opening_list(report, table.optional("allow"), allow);
    let admit = opening_list(report, table.optional("admit"), admit);
    let bridge = opening_list(report, table.optional("bridge"), bridge);
    let forward = opening_list(report, table.optional("forward"), forward);
    table.finish(report);
    bridges_once(report, &bridge);
    listeners_once(report, &forward);
    Some(Openings {
        version: version?,
        host: host?,
        allow: allow.into_iter().map(|opening| opening.model).collect(),
        admit: models(admit),
        bridge: bridge_models(bridge),
        forward: forward_models(forward),
    })
}

fn version(report: &mut Report, field: &Field<'_>) -> Option<u32> {
    match field.node.value {
        Value::Integer(1) => Some(VERSION),
        Value::Integer(other) => {
            let fault = Fault::new(
                format!("version {other} is unknown"),
                "expected 1, the only version there is",
            );
            field.fault(report, fault);
            None
        }
        _ => {
            field.wrong_kind(report, "expected the number 1");
            None
        }
    }
}

/// An opening and its position in its list: a wrong one before it leaves a gap.
struct Opening<T> {
    model: T,
    index: usize,
}

fn models<T>(openings: Vec<Opening<T>>) -> Vec<T> {
    openings.into_iter().map(|opening| opening.model).collect()
}

fn bridge_models(bridges: Vec<Opening<Bridge>>) -> Vec<BridgeExemption> {
    let models = bridges.into_iter().filter_map(|bridge| bridge.model.model);
    models.collect()
}

fn forward_models(forwards: Vec<Opening<Forward>>) -> Vec<ServiceForwarder> {
    let models = forwards.into_iter();
    models.filter_map(|forward| forward.model.model).collect()
}

/// Reads the list of tables of one kind of opening.
fn opening_list<T>(
    report: &mut Report,
    field: Option<Field<'_>>,
    read: fn(&mut Report, &Field<'_>, Place) -> Option<T>,
) -> Vec<Opening<T>> {
    let Some(field) = field else {
        return Vec::new();
    };
    let Value::Array(nodes) = &field.node.value else {
        let fault = Fault::new(
            format!("this is {}", field.node.value.called()),
            "expected a list of tables",
        );
        let fault = match (&field.node.value, field.path.to_string()) {
            (Value::Table(_), path) => {
                fault.help(format!("in TOML, write `[[{path}]]` instead of `[{path}]`"))
            }
            _ => fault,
        };
        field.fault(report, fault);
        return Vec::new();
    };
    let mut openings = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let place = node
            .span
            .map_or_else(Place::default, |span| report.source().place(span.start));
        let field = Field {
            node,
            path: field.path.index(index),
        };
        openings.extend(read(report, &field, place).map(|model| Opening { model, index }));
    }
    openings
}

fn host(report: &mut Report, field: &Field<'_>) -> Option<HostNeeds> {
    let mut table = TableReader::open(report, field, "expected a table")?;
    let resolvers = table
        .optional("resolvers")
        .map(|field| resolvers(report, &field));
    let dhcp = table.optional("dhcp").map(|field| dhcp(report, &field));
    let uplinks = table
        .optional("uplinks")
        .map(|field| uplinks(report, &field));
    let strict = table
        .optional("strict")
        .map(|field| boolean(report, &field));
    table.finish(report);
    Some(HostNeeds {
        resolvers: resolvers.unwrap_or(Some(Resolvers::None))?,
        dhcp: dhcp.unwrap_or(Some(Dhcp::Off))?,
        uplinks: uplinks.map_or(Some(None), |uplinks| uplinks.map(Some))?,
        strict: strict.unwrap_or(Some(false))?,
    })
}

fn resolvers(report: &mut Report, field: &Field<'_>) -> Option<Resolvers> {
    const EXPECTED: &str = "expected \"system\" or a list of IP addresses";
    match &field.node.value {
        Value::String(text) if text == "system" => Some(Resolvers::System),
        Value::String(text) => {
            let fault = Fault::new(format!("{} is not a list", quote(text)), EXPECTED);
            let fault = if text.parse::<IpAddr>().is_ok() {
                fault.help(format!("write [\"{text}\"]"))
            } else {
                suggest(fault, text, &["system"])
            };
            field.fault(report, fault);
            None
        }
        Value::Array(_) => list(report, field, EXPECTED, bare(server)).map(Resolvers::Servers),
        _ => {
            field.wrong_kind(report, EXPECTED);
            None
        }
    }
}

fn dhcp(report: &mut Report, field: &Field<'_>) -> Option<Dhcp> {
    const EXPECTED: &str = "expected true, false or a list of the servers' IP addresses";
    match &field.node.value {
        Value::Boolean(true) => Some(Dhcp::On),
        Value::Boolean(false) => Some(Dhcp::Off),
        Value::Array(_) => list(report, field, EXPECTED, bare(server)).map(Dhcp::Servers),
        _ => {
            field.wrong_kind(report, EXPECTED);
            None
        }
    }
}

fn uplinks(report: &mut Report, field: &Field<'_>) -> Option<Vec<String>> {
    const EXPECTED: &str = "expected a list of interface names";
    if !matches!(field.node.value, Value::Array(_)) {
        field.wrong_kind(report, EXPECTED);
        return None;
    }
    // Where each name stood first.
    let mut first: HashMap<String, (Option<Span>, String)> = HashMap::new();
    list(report, field, EXPECTED, |report, field, _| {
        let name = string(
            report,
            field,
            "expected the name of an interface, such as \"eth0\"",
        )?;
        let judged = if name == "lo" {
            Err(Fault::new(
                "`lo` leads to no network",
                "expected an interface that leads to the network",
            ))
        } else if let Some((span, path)) = first.get(name) {
            Err(Fault::new(
                format!("the uplink {} stands twice", quote(name)),
                "expected each uplink once",
            )
            .elsewhere(*span, path.clone(), "it stands here already"))
        } else {
            check_interface_name(name).map_err(|what| {
                Fault::new(what, "expected the name of an interface, such as \"eth0\"")
            })
        };
        field.judge(report, judged)?;
        first.insert(name.to_owned(), (field.node.span, field.path.to_string()));
        Some(name.to_owned())
    })
}

fn allow(report: &mut Report, field: &Field<'_>, place: Place) -> Option<AllowPair> {
    let mut table = TableReader::open(report, field, "expected a table with `to` and `port`")?;
    let to = far(report, &mut table, TO, bare(address));
    let port = ports(report, &mut table, bare(port));
    let proto = transport(report, &mut table);
    let user = table.optional("user").map(|field| user(report, &field));
    let comment = comment(report, &mut table);
    table.finish(report);
    Some(AllowPair {
        to: to?,
        port: port?,
        proto: proto?,
        user: user.map_or(Some(None), |user| user.map(Some))?,
        comment: comment?,
        place,
    })
}

fn admit(report: &mut Report, field: &Field<'_>, place: Place) -> Option<Admit> {
    let mut table = TableReader::open(report, field, "expected a table with `from` and `port`")?;
    let from = far(report, &mut table, FROM, bare(address));
    let proto = match table.optional("proto") {
        None => Some(AdmitProto::Tcp),
        Some(field) => word(report, &field, &["tcp", "udp", "icmp"]).map(|word| match word {
            "udp" => AdmitProto::Udp,
            "icmp" => AdmitProto::Icmp,
            _ => AdmitProto::Tcp,
        }),
    };
    let icmp = proto == Some(AdmitProto::Icmp);
    let port = if icmp {
        if let Some(field) = table.optional("port") {
            field.fault(
                report,
                Fault::new(
                    "ping has no port",
                    "expected no `port` beside `proto = \"icmp\"`",
                ),
            );
        }
        Some(Vec::new())
    } else {
        ports(report, &mut table, bare(port))
    };
    let via = table.optional("via").map(|field| {
        if icmp {
            let fault = Fault::new(
                "ping has no port that a container could publish",
                "expected no `via` beside `proto = \"icmp\"`",
            );
            field.fault(report, fault);
            return None;
        }
        bridge_name(report, &field)
    });
    let comment = comment(report, &mut table);
    table.finish(report);
    Some(Admit {
        from: from?,
        port: port?,
        proto: proto?,
        via: via.map_or(Some(None), |via| via.map(Some))?,
        comment: comment?,
        place,
    })
}

/// A bridge exemption, its name, and where that stands. Its name can be judged
/// even where the rest is wrong.
struct Bridge {
    model: Option<BridgeExemption>,
    name: BridgeName,
    span: Option<Span>,
}

fn bridge(report: &mut Report, field: &Field<'_>, place: Place) -> Option<Bridge> {
    const PORTS: &str = "expected a list such as [\"tcp/8888\"]";
    let mut table = TableReader::open(report, field, "expected a table with `name`")?;
    let name_field = table.required(
        report,
        "name",
        "expected `name`: a bridge, or a pattern such as `br-*`",
    );
    let name = name_field.and_then(|field| bridge_name(report, &field));
    let ports = table
        .optional("ports")
        .map(|field| match &field.node.value {
            // No port at all is a thing to want: the containers are to reach each
            // other and be reached, not to reach the host.
            Value::Array(ports) if ports.is_empty() => Some(Vec::new()),
            Value::Array(_) => list(report, &field, PORTS, bare(host_port)),
            _ => {
                field.wrong_kind(report, PORTS);
                None
            }
        });
    let isolate = table
        .optional("isolate")
        .map(|field| boolean(report, &field));
    let comment = comment(report, &mut table);
    table.finish(report);
    let name = name?;
    let model = || {
        Some(BridgeExemption {
            name: name.clone(),
            ports: ports.map_or(Some(None), |ports| ports.map(Some))?,
            isolate: isolate.unwrap_or(Some(false))?,
            comment: comment?,
            place,
        })
    };
    Some(Bridge {
        model: model(),
        span: name_field.and_then(|field| field.node.span),
        name,
    })
}

/// One bridge has one exemption: with two, which of them is meant?
fn bridges_once(report: &mut Report, bridges: &[Opening<Bridge>]) {
    let mut first = HashMap::new();
    for bridge in bridges {
        match first.entry(&bridge.model.name) {
            Slot::Vacant(slot) => {
                slot.insert(bridge);
            }
            Slot::Occupied(before) => {
                let before = before.get();
                let list = Path::ROOT.key("bridge");
                let fault = Fault::new(
                    format!(
                        "the bridge {} is named twice",
                        quote(bridge.model.name.as_str())
                    ),
                    "expected one `[[bridge]]` for each bridge",
                )
                .elsewhere(
                    before.model.span,
                    list.index(before.index).key("name").to_string(),
                    "it is named here already",
                );
                report.at(
                    &list.index(bridge.index).key("name"),
                    bridge.model.span,
                    fault,
                );
            }
        }
    }
}

/// What arrives at one address and port can be sent on to one service only.
fn listeners_once(report: &mut Report, forwards: &[Opening<Forward>]) {
    let mut first = HashMap::new();
    for forward in forwards {
        let Some(listener) = &forward.model.listener else {
            continue;
        };
        match first.entry((listener.socket, listener.proto)) {
            Slot::Vacant(slot) => {
                slot.insert((forward.index, listener.span));
            }
            Slot::Occupied(before) => {
                let (index, span) = *before.get();
                let list = Path::ROOT.key("forward");
                let fault = Fault::new(
                    format!(
                        "two forwarders listen on {} {}",
                        listener.proto, listener.socket
                    ),
                    "expected an address and port that no other forwarder has",
                )
                .elsewhere(
                    span,
                    list.index(index).key("listen").to_string(),
                    "it is taken here",
                );
                report.at(
                    &list.index(forward.index).key("listen"),
                    listener.span,
                    fault,
                );
            }
        }
    }
}
