//! What the evaluator says of a packet beside what the kernel does to it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airgap::flow::packet::{IpVersion, Packet, Sender, Side};
use airgap::flow::value::{Answer, Value};
use airgap::flow::{Followed, Place, RuleStep, Start, World};
use airgap::graph::{CtDirection, Family, Statement};
use airgap::{Host, Policy, RuleGraph};

use crate::packets::{Probe, answer, build, fields_of, number_of};
use crate::rulesets::Ruleset;
use crate::stage::{Node, Stage, filter_bridges, forget_flows, run};

type Failure = Box<dyn std::error::Error>;

/// How long a packet that is to arrive may take.
const PATIENCE: Duration = Duration::from_millis(400);

/// What was found over many packets.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub packets: u64,
    pub passed: u64,
    pub dropped: u64,
    pub translated: u64,
    pub answers: u64,
    pub undecided: u64,
    /// How many of them had a rule to be told, whose counter was looked at.
    pub rules: u64,
}

/// A packet of which the two do not say the same.
#[derive(Debug)]
pub struct Mismatch {
    /// Which of the packets.
    pub probe: usize,
    pub text: String,
}

pub struct Tried<'a> {
    stage: &'a Stage,
    host: Host,
    world: World,
    counters: BTreeMap<(String, u64), u64>,
    next: u64,
}

/// Loads a ruleset; an error where a program refuses it.
pub fn load(ruleset: &Ruleset) -> Result<(), Failure> {
    filter_bridges(ruleset.bridge_filter)?;
    let (script, _) = script(ruleset)?;
    nft(&script)?;
    for line in &ruleset.iptables {
        run(line)?;
    }
    Ok(())
}

/// Leaves out the lines that the programs refuse: those that come about by
/// chance need not make sense.
pub fn trim(ruleset: &mut Ruleset) -> Result<(), Failure> {
    loop {
        let (script, before) = script(ruleset)?;
        let Err(error) = nft(&script) else { break };
        let text = error.to_string();
        let places = text.split("/dev/stdin:").skip(1);
        let mut bad: Vec<usize> = places
            .filter_map(|place| place.split(':').next()?.parse::<usize>().ok())
            .filter_map(|line| line.checked_sub(before + 1))
            .filter(|line| *line < ruleset.nft.len())
            .collect();
        bad.sort_unstable();
        bad.dedup();
        if bad.is_empty() {
            return Err(error);
        }
        bad.iter().rev().for_each(|line| {
            ruleset.nft.remove(*line);
        });
    }
    let mut kept = Vec::new();
    for line in std::mem::take(&mut ruleset.iptables) {
        if run(&line).is_ok() {
            kept.push(line);
        }
    }
    ruleset.iptables = kept;
    Ok(())
}

/// What nft(8) loads, and how many lines come before those of the ruleset's
/// own.
fn script(ruleset: &Ruleset) -> Result<(String, usize), Failure> {
    let mut script = String::from("flush ruleset\n");
    if !ruleset.policy.is_empty() {
        let policy = Policy::from_toml(&ruleset.policy.join("\n"))?;
        script += &RuleGraph::compile(&policy)?.to_string();
        script.push('\n');
    }
    let before = script.lines().count();
    for line in &ruleset.nft {
        script += line;
        script.push('\n');
    }
    Ok((script, before))
}

fn nft(script: &str) -> Result<(), Failure> {
    let mut nft = Command::new("nft")
        .args(["-f", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(script.as_bytes())?;
    }
    let done = nft.wait_with_output()?;
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned().into()),
    }
}

impl<'a> Tried<'a> {
    pub fn new(stage: &'a Stage) -> Result<Self, Failure> {
        Ok(Self {
            stage,
            host: Host::open()?,
            world: World::observe()?,
            counters: BTreeMap::new(),
            next: 1,
        })
    }

    /// Sends packets through the ruleset that is loaded, and compares.
    pub fn packets(
        &mut self,
        ruleset: &Ruleset,
        probes: &[Probe],
        tally: &mut Tally,
    ) -> Result<Option<Mismatch>, Failure> {
        // Of an earlier ruleset nothing may stand.
        forget_flows()?;
        self.world = World::observe()?;
        for node in Node::OTHERS {
            let Some(port) = self.world.interface(node.device()) else {
                continue;
            };
            if port.bridge.is_some() {
                for address in node.addresses() {
                    self.world.assume_at_port(address.parse()?, port.clone());
                }
            }
        }
        let graph = self.host.live()?;
        let mut meant = None;
        if !ruleset.policy.is_empty() && ruleset.nft.is_empty() && ruleset.iptables.is_empty() {
            let policy = Policy::from_toml(&ruleset.policy.join("\n"))?;
            meant = Some(RuleGraph::compile(&policy)?);
        }
        self.counters = counters(&graph);
        self.stage.received();
        for (n, probe) in probes.iter().enumerate() {
            if let Some(text) = self.flow(&graph, meant.as_ref(), probe, tally)? {
                return Ok(Some(Mismatch { probe: n, text }));
            }
        }
        // Nothing that was dropped may come late.
        std::thread::sleep(Duration::from_millis(2));
        let late = self.stage.received();
        let late = late.iter().find(|(_, _, bytes)| number_of(bytes).is_some());
        Ok(late.map(|(node, _, bytes)| Mismatch {
            probe: probes.len().saturating_sub(1),
            text: format!("a packet came late to {}: {}", node.name(), hex(bytes)),
        }))
    }

    /// Sends a packet, and what follows it in its flow.
    fn flow(
        &mut self,
        graph: &RuleGraph,
        meant: Option<&RuleGraph>,
        probe: &Probe,
        tally: &mut Tally,
    ) -> Result<Option<String>, Failure> {
        let (mut from, mut to) = (probe.from, probe.to);
        let Some(mut fields) = fields_of(&probe.packet) else {
            return Err("a probe that is no packet".into());
        };
        let mut last: Option<Packet> = None;
        for n in 0..=probe.more {
            let number = self.next;
            self.next += 1;
            let bytes = match n {
                0 => renumbered(&probe.packet, number),
                _ => build(&fields, number),
            };
            let is_v4 = bytes.first().is_some_and(|byte| byte >> 4 == 4);
            let frame = match from {
                Node::Host => Vec::new(),
                _ => self.stage.frame(from, to, is_v4)?,
            };
            let packet = self.packet(from, &frame, &bytes, last.as_ref(), n);
            let start = match from {
                Node::Host => Start::Host,
                _ => Start::Behind(
                    self.world
                        .interface(from.interface())
                        .ok_or("the stage lacks an interface")?,
                ),
            };
            let destination = fields_of(&bytes).map_or(fields.destination, |f| f.destination);
            let mut world = self.world.clone();
            // A frame comes by the port of who sends it, whosever address it has.
            if let (Some(port), Some(f)) = (world.interface(from.device()), fields_of(&bytes))
                && port.bridge.is_some()
            {
                world.assume_at_port(f.source, port);
            }
            let told = graph.follow(packet.clone(), &start, &world);
            if let Some(meant) = meant {
                let same = meant.follow(packet, &start, &world);
                if same.dropped != told.dropped || same.delivered.len() != told.delivered.len() {
                    return Ok(Some(
                        "the policy's rules and those that were read differ".into(),
                    ));
                }
            }
            self.stage.send(from, &frame, &bytes, destination)?;
            let arrived = self.arrival(number, &told);
            tally.packets += 1;
            if n > 0 {
                tally.answers += 1;
            }
            let what = || {
                format!(
                    "packet {n} of {} -> {}: {}",
                    from.name(),
                    to.name(),
                    hex(&bytes)
                )
            };
            if let Some(text) = self.judge(&told, arrived.as_ref(), tally) {
                return Ok(Some(format!("{}\n  {text}", what())));
            }
            if let Some(text) = self.counted(&told, arrived.as_ref(), tally)? {
                return Ok(Some(format!("{}\n  {text}", what())));
            }
            let (Some((node, _, received)), [(_, packet)]) = (arrived, told.delivered.as_slice())
            else {
                return Ok(None);
            };
            // Who dials himself cannot be told from his own answers.
            if node == from {
                return Ok(None);
            }
            // The host itself ends a flow of TCP that it does not know.
            let is_tcp = packet.proto() == Some(6);
            if !told.is_certain() || (is_tcp && (node == Node::Host || from == Node::Host)) {
                return Ok(None);
            }
            // At the host IPv6 shows no header, and the answer cannot be made.
            let seen = if node == Node::Host {
                &bytes
            } else {
                &received
            };
            let Some(next) = answer(seen).filter(|_| opens(seen) || n > 0) else {
                return Ok(None);
            };
            if node == Node::Host && is_translated(packet, &bytes) {
                return Ok(None);
            }
            fields = next;
            last = Some(packet.clone());
            (from, to) = (node, from);
        }
        Ok(None)
    }

    fn packet(
        &self,
        from: Node,
        frame: &[u8],
        bytes: &[u8],
        last: Option<&Packet>,
        n: u8,
    ) -> Packet {
        let version = match bytes.first().map(|byte| byte >> 4) {
            Some(4) => IpVersion::V4,
            _ => IpVersion::V6,
        };
        let mut packet = Packet::of(version, Value::known(bytes), true);
        if from == Node::Host {
            packet.sender = Sender::User(0);
        } else {
            packet.frame = Some(Value::known(frame));
        }
        if let Some(last) = last {
            packet.record = last.record.clone();
            let direction = match n % 2 {
                0 => CtDirection::Original,
                _ => CtDirection::Reply,
            };
            // NF_CT_STATE_BIT(IP_CT_ESTABLISHED)
            packet.known_as = packet.record.is_some().then_some((direction, 2));
        }
        packet
    }

    /// Waits for a packet, if it is to arrive.
    fn arrival(&self, number: u64, told: &Followed) -> Option<(Node, bool, Vec<u8>)> {
        let patience = match (told.delivered.is_empty(), told.dropped || told.lost) {
            (true, false) => Duration::ZERO,
            (true, true) => Duration::from_micros(300),
            (false, false) => PATIENCE,
            (false, true) => Duration::from_millis(5),
        };
        let until = Instant::now() + patience;
        loop {
            let all = self.stage.received();
            let found = all
                .into_iter()
                .find(|(_, _, bytes)| number_of(bytes) == Some(number));
            if found.is_some() || Instant::now() >= until {
                return found;
            }
            std::thread::yield_now();
        }
    }

    fn judge(
        &self,
        told: &Followed,
        arrived: Option<&(Node, bool, Vec<u8>)>,
        tally: &mut Tally,
    ) -> Option<String> {
        if !told.is_certain() {
            tally.undecided += 1;
        }
        let Some((node, _, bytes)) = arrived else {
            tally.dropped += 1;
            // Two flows without ports that are translated to one source are one
            // too many.
            let clashes = told.delivered.iter().any(|(_, packet)| {
                !matches!(packet.proto(), Some(1 | 6 | 17 | 58)) && is_marked_translated(packet)
            });
            let may = told.dropped || told.lost || clashes;
            return (!may).then(|| {
                format!(
                    "told to pass, and did not arrive; told: {}",
                    told_text(told)
                )
            });
        };
        tally.passed += 1;
        if told.lost {
            return None;
        }
        let fits = told.delivered.iter().any(|(place, packet)| {
            let there = match (place, node) {
                (Place::Host, Node::Host) => true,
                (Place::Behind(interface), node) => {
                    *node != Node::Host && interface.name.as_deref() == Some(node.interface())
                }
                _ => false,
            };
            there && (*node == Node::Host || looks(packet, bytes))
        });
        let translated = told
            .delivered
            .iter()
            .any(|(_, packet)| is_marked_translated(packet));
        tally.translated += u64::from(translated);
        (!fits).then(|| {
            format!(
                "arrived at {} as {}; told: {}",
                node.name(),
                hex(bytes),
                told_text(told)
            )
        })
    }

    /// Whether the rules that were told counted the packet, and no others.
    fn counted(
        &mut self,
        told: &Followed,
        arrived: Option<&(Node, bool, Vec<u8>)>,
        tally: &mut Tally,
    ) -> Result<Option<String>, Failure> {
        let now = counters(&self.host.live()?);
        let before = std::mem::replace(&mut self.counters, now);
        let Some(rules) = &told.counted else {
            return Ok(None);
        };
        if told.lost {
            return Ok(None);
        }
        let moved: Vec<_> = self
            .counters
            .iter()
            .filter(|(rule, count)| before.get(*rule) != Some(count))
            .map(|(rule, _)| rule.clone())
            .collect();
        let expected: Vec<_> = rules.iter().map(key).collect();
        tally.rules += u64::from(!expected.is_empty());
        if let Some(missed) = expected.iter().find(|rule| !moved.contains(rule)) {
            return Ok(Some(format!(
                "told to meet rule {} of {}, which did not count it",
                missed.1, missed.0
            )));
        }
        // What the host says itself, of rejected packets and of those that
        // arrived there, is counted too.
        let is_quiet = arrived.is_none_or(|(node, ..)| *node != Node::Host);
        if let Some(other) = moved.iter().find(|rule| !expected.contains(rule))
            && is_quiet
            && !self.rejects(&expected)
        {
            return Ok(Some(format!(
                "rule {} of {} counted it, which was not told",
                other.1, other.0
            )));
        }
        Ok(None)
    }

    fn rejects(&self, rules: &[(String, u64)]) -> bool {
        let graph = self.host.live().unwrap_or_default();
        graph.tables.iter().any(|table| {
            table.chains.iter().any(|chain| {
                chain.rules.iter().any(|rule| {
                    let name = name(table.family, &table.name, &chain.name);
                    rules.contains(&(name, rule.handle.0))
                        && format!("{:?}", rule.statements).contains("Reject")
                })
            })
        })
    }
}

fn told_text(told: &Followed) -> String {
    let mut parts = Vec::new();
    if told.dropped {
        parts.push("dropped".to_owned());
    }
    if told.lost {
        parts.push("lost".to_owned());
    }
    for (place, packet) in &told.delivered {
        let end = |side| packet.address(side).exact().map(|a: IpAddr| a.to_string());
        parts.push(format!(
            "{:?} {:?} -> {:?} {:?}",
            match place {
                Place::Host => "host".to_owned(),
                Place::Behind(interface) => interface.name.clone().unwrap_or_default(),
            },
            end(Side::Source),
            end(Side::Destination),
            packet.port(Side::Destination),
        ));
    }
    format!("{}; counted by {:?}", parts.join(", "), told.counted)
}

/// Whether a packet may look so on the wire: its addresses and ports.
fn looks(packet: &Packet, bytes: &[u8]) -> bool {
    let seen = Packet::of(packet.version, Value::known(bytes), true);
    [Side::Source, Side::Destination].into_iter().all(|side| {
        let address = packet.address(side).value.same(&seen.address(side).value) != Answer::No;
        let port = match (packet.port(side), seen.port(side)) {
            (Some(a), Some(b)) => a.same(&b) != Answer::No,
            (a, b) => a.is_some() == b.is_some(),
        };
        address && port
    })
}

/// Whether the record says that the flow is translated, at either end.
fn is_marked_translated(packet: &Packet) -> bool {
    // IPS_SRC_NAT and IPS_DST_NAT
    packet.record.as_ref().is_some_and(|record| {
        let status = record.status.clone().and(&48u32.to_ne_bytes());
        status.equals(&[0; 4]) == Answer::No
    })
}

fn is_translated(packet: &Packet, sent: &[u8]) -> bool {
    let sent = Packet::of(packet.version, Value::known(sent), true);
    [Side::Source, Side::Destination].into_iter().any(|side| {
        packet.address(side).value != sent.address(side).value
            || packet.port(side) != sent.port(side)
    })
}

/// Whether a packet opens a flow that can be answered.
fn opens(bytes: &[u8]) -> bool {
    fields_of(bytes).is_some_and(|f| match f.proto {
        6 => f.kind == 0x02,
        1 => f.kind == 8,
        58 => f.kind == 128,
        _ => true,
    })
}

/// The packet with another number in its mark. The checksum stays right by
/// building it anew.
fn renumbered(packet: &[u8], number: u64) -> Vec<u8> {
    fields_of(packet).map_or_else(|| packet.to_vec(), |fields| build(&fields, number))
}

fn name(family: Family, table: &str, chain: &str) -> String {
    format!("{family} {table} {chain}")
}

fn key(step: &RuleStep) -> (String, u64) {
    (name(step.family, &step.table, &step.chain), step.handle.0)
}

fn counters(graph: &RuleGraph) -> BTreeMap<(String, u64), u64> {
    let mut all = BTreeMap::new();
    for table in &graph.tables {
        for chain in &table.chains {
            for rule in &chain.rules {
                // Only what stands right before the end tells that it was met.
                let counter = rule
                    .statements
                    .iter()
                    .find_map(|statement| match statement {
                        Statement::Counter { packets, .. } => Some(*packets),
                        _ => None,
                    });
                if let Some(packets) = counter {
                    all.insert(
                        (name(table.family, &table.name, &chain.name), rule.handle.0),
                        packets,
                    );
                }
            }
        }
    }
    all
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
