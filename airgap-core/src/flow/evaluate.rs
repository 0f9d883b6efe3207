//! Chains of nf_tables run on a packet. Where what is known of the packet does
//! not tell whether a rule matches, both are followed; an end is only told
//! where all that were followed agree.

use std::rc::Rc;

use super::field::{Reading, Spot, read};
use super::packet::{Address, IpVersion, Packet, Side, Tracking};
use super::packet::{STATUS_DST_NAT, STATUS_SRC_NAT};
use super::value::{Answer, Value};
use crate::graph::{
    Chain, ChainPolicy, Data, Family, Foreign, Operand, OriginId, Rule, Selector, Set, Settable,
    Statement, Table, Translation, TranslationKind, Verdict, field_width, is_mere_condition,
};

/// More possibilities than this at once are not followed.
const POSSIBILITIES_MAX: usize = 64;
/// `NFT_JUMP_STACK_SIZE`: the kernel loads no deeper jumps.
const DEPTH_MAX: usize = 16;

/// What a rule or a chain did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// A rule ended with this.
    Verdict(Verdict),
    /// A rule dropped the packet and told its sender.
    Reject,
    /// A rule changed something and went on, or translated.
    Changed,
    /// No rule decided.
    Policy(ChainPolicy),
    /// Whether a statement matched is not known; it was taken to, or not to.
    Unsure { statement: usize, taken: bool },
    /// What a statement does is not known.
    Unclear { statement: usize },
    /// There were too many possibilities.
    TooMany,
}

/// A step on a packet's way.
#[derive(Debug, Clone)]
pub(super) struct Step<'g> {
    pub table: &'g Table,
    pub chain: &'g Chain,
    pub rule: Option<&'g Rule>,
    /// The line that put the element into the set in which it was found.
    pub element: OriginId,
    pub act: Act,
    pub hook: &'static str,
}

#[derive(Debug)]
struct Link<'g> {
    step: Step<'g>,
    before: Trail<'g>,
}

/// The steps so far. Copies share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail<'g>(Option<Rc<Link<'g>>>);

impl<'g> Trail<'g> {
    fn push(&mut self, step: Step<'g>) {
        let before = std::mem::take(self);
        self.0 = Some(Rc::new(Link { step, before }));
    }

    /// From the first to the last.
    pub fn steps(&self) -> Vec<Step<'g>> {
        let mut steps = Vec::new();
        let mut here = &self.0;
        while let Some(link) = here {
            steps.push(link.step.clone());
            here = &link.before.0;
        }
        steps.reverse();
        steps
    }
}

/// A possibility: a packet as it is by now, and how it came to that.
#[derive(Debug, Clone)]
pub(super) struct State<'g> {
    pub packet: Packet,
    pub trail: Trail<'g>,
}

/// What became of a packet, in every possibility.
#[derive(Debug, Default)]
pub(super) struct Ends<'g> {
    /// It goes on.
    pub passed: Vec<State<'g>>,
    /// It is gone.
    pub dropped: Vec<State<'g>>,
    /// Nobody knows.
    pub lost: Vec<State<'g>>,
}

impl<'g> Ends<'g> {
    /// Adds what another found.
    pub fn add(&mut self, other: Self) {
        add_all(&mut self.passed, other.passed);
        add_all(&mut self.dropped, other.dropped);
        add_all(&mut self.lost, other.lost);
    }
}

/// Adds a possibility that is not there yet. How it came about is of one of
/// those that are alike.
fn add<'g>(states: &mut Vec<State<'g>>, state: State<'g>) {
    if !states.iter().any(|other| other.packet == state.packet) {
        states.push(state);
    }
}

fn add_all<'g>(states: &mut Vec<State<'g>>, more: Vec<State<'g>>) {
    more.into_iter().for_each(|state| add(states, state));
}

/// Of what is gone one possibility tells enough.
fn add_end<'g>(states: &mut Vec<State<'g>>, state: State<'g>) {
    if states.is_empty() {
        states.push(state);
    }
}

/// What became of a packet in a chain.
#[derive(Default)]
struct Exits<'g> {
    ends: Ends<'g>,
    /// It came to the end of the chain, or was told to return.
    returned: Vec<State<'g>>,
}

/// What a rule did.
enum Outcome<'g> {
    Next(State<'g>),
    Verdict(Verdict, State<'g>),
    Dropped(State<'g>),
    Lost(State<'g>),
}

/// A chain that is run, and where.
#[derive(Clone, Copy)]
struct Run<'a, 'g> {
    table: &'g Table,
    chain: &'g Chain,
    spot: &'a Spot<'a>,
}

impl<'g> Run<'_, 'g> {
    fn note(&self, state: &mut State<'g>, rule: Option<&'g Rule>, element: OriginId, act: Act) {
        state.trail.push(Step {
            table: self.table,
            chain: self.chain,
            rule,
            element,
            act,
            hook: self.spot.hook.name(),
        });
    }
}

/// Runs a base chain.
pub(super) fn base_chain<'g>(
    table: &'g Table,
    chain: &'g Chain,
    state: State<'g>,
    spot: &Spot,
) -> Ends<'g> {
    let run = Run { table, chain, spot };
    let mut exits = run_chain(run, vec![state], 0);
    let policy = chain.base.as_ref().map(|base| base.policy);
    for mut state in exits.returned {
        match policy {
            Some(policy @ ChainPolicy::Drop) => {
                run.note(&mut state, None, OriginId::default(), Act::Policy(policy));
                add_end(&mut exits.ends.dropped, state);
            }
            _ => add(&mut exits.ends.passed, state),
        }
    }
    exits.ends
}

fn run_chain<'g>(run: Run<'_, 'g>, mut states: Vec<State<'g>>, depth: usize) -> Exits<'g> {
    let mut exits = Exits::default();
    for rule in &run.chain.rules {
        let mut next = Vec::new();
        for state in states {
            for outcome in run_rule(run, rule, state) {
                conclude(run, outcome, depth, &mut next, &mut exits);
            }
        }
        if next.len() > POSSIBILITIES_MAX
            && let Some(mut state) = next.pop()
        {
            run.note(&mut state, Some(rule), OriginId::default(), Act::TooMany);
            add_end(&mut exits.ends.lost, state);
            return exits;
        }
        states = next;
        if states.is_empty() {
            break;
        }
    }
    add_all(&mut exits.returned, states);
    exits
}

/// Sorts out what a rule did: `next` are the possibilities in which the chain
/// goes on.
fn conclude<'g>(
    run: Run<'_, 'g>,
    outcome: Outcome<'g>,
    depth: usize,
    next: &mut Vec<State<'g>>,
    exits: &mut Exits<'g>,
) {
    let (verdict, state) = match outcome {
        Outcome::Next(state) => return add(next, state),
        Outcome::Dropped(state) => return add_end(&mut exits.ends.dropped, state),
        Outcome::Lost(state) => return add_end(&mut exits.ends.lost, state),
        Outcome::Verdict(verdict, state) => (verdict, state),
    };
    match &verdict {
        Verdict::Accept => add(&mut exits.ends.passed, state),
        Verdict::Drop => add_end(&mut exits.ends.dropped, state),
        Verdict::Return => add(&mut exits.returned, state),
        // To a queue, or stolen.
        Verdict::Other(_) => add_end(&mut exits.ends.lost, state),
        Verdict::Jump(name) | Verdict::Goto(name) => {
            let (Some(chain), true) = (run.table.chain(name), depth < DEPTH_MAX) else {
                return add_end(&mut exits.ends.lost, state);
            };
            let inner = run_chain(Run { chain, ..run }, vec![state], depth + 1);
            exits.ends.add(inner.ends);
            if matches!(verdict, Verdict::Jump(_)) {
                add_all(next, inner.returned);
            } else {
                add_all(&mut exits.returned, inner.returned);
            }
        }
    }
}

/// What a statement does to one possibility.
enum Done {
    /// It matched, or changed what it changes, with the line of the element
    /// that was found.
    Yes(OriginId),
    No,
    Maybe,
    Verdicts(Vec<(Verdict, OriginId)>, Answer),
    Reject,
    /// It translated, and the rule ends in acceptance.
    Translated,
    Unclear,
}

fn run_rule<'g>(run: Run<'_, 'g>, rule: &'g Rule, mut state: State<'g>) -> Vec<Outcome<'g>> {
    let mut outcomes = Vec::new();
    let mut element = OriginId::default();
    let mut changed = false;
    for (n, statement) in rule.statements.iter().enumerate() {
        let done = run_statement(run, statement, &mut state.packet);
        match done {
            Done::Yes(found) => {
                if found.is_some() {
                    element = found;
                }
                changed |= matches!(statement, Statement::SetLabel(_) | Statement::Foreign(_))
                    && condition(run, statement, &state.packet).is_none();
            }
            Done::No => {
                outcomes.push(Outcome::Next(state));
                return outcomes;
            }
            Done::Maybe => {
                let mut other = state.clone();
                let unsure = |taken| Act::Unsure {
                    statement: n,
                    taken,
                };
                run.note(&mut other, Some(rule), element, unsure(false));
                outcomes.push(Outcome::Next(other));
                run.note(&mut state, Some(rule), element, unsure(true));
            }
            Done::Verdicts(verdicts, certain) => {
                for (verdict, found) in verdicts {
                    let mut state = state.clone();
                    if certain == Answer::Maybe {
                        let unsure = Act::Unsure {
                            statement: n,
                            taken: true,
                        };
                        run.note(&mut state, Some(rule), found, unsure);
                    }
                    run.note(&mut state, Some(rule), found, Act::Verdict(verdict.clone()));
                    outcomes.push(Outcome::Verdict(verdict, state));
                }
                if certain == Answer::Maybe {
                    outcomes.push(Outcome::Next(state));
                }
                return outcomes;
            }
            Done::Reject => {
                run.note(&mut state, Some(rule), element, Act::Reject);
                outcomes.push(Outcome::Dropped(state));
                return outcomes;
            }
            Done::Translated => {
                run.note(&mut state, Some(rule), element, Act::Changed);
                outcomes.push(Outcome::Verdict(Verdict::Accept, state));
                return outcomes;
            }
            Done::Unclear => {
                run.note(
                    &mut state,
                    Some(rule),
                    element,
                    Act::Unclear { statement: n },
                );
                outcomes.push(Outcome::Lost(state));
                return outcomes;
            }
        }
        if let Statement::Verdict(verdict) = statement {
            run.note(
                &mut state,
                Some(rule),
                element,
                Act::Verdict(verdict.clone()),
            );
            outcomes.push(Outcome::Verdict(verdict.clone(), state));
            return outcomes;
        }
    }
    if changed {
        run.note(&mut state, Some(rule), element, Act::Changed);
    }
    outcomes.push(Outcome::Next(state));
    outcomes
}

/// Whether the packet fulfils a statement that is a mere condition; `None` for
/// one that is more.
fn condition(run: Run, statement: &Statement, packet: &Packet) -> Option<(Answer, OriginId)> {
    let answer = match statement {
        Statement::Match {
            left,
            mask,
            op,
            right,
        } => match read(left, packet, run.spot) {
            Reading::Absent => Answer::No,
            Reading::Unknown => Answer::Maybe,
            Reading::Value(value) => {
                let width = value.len();
                let mut value = value.resized(field_width(width));
                if let Some(mask) = mask {
                    value = value.and(mask);
                }
                value.compare(*op, right)
            }
        },
        Statement::Range {
            left,
            negated,
            first,
            last,
        } => match read(left, packet, run.spot) {
            Reading::Absent => Answer::No,
            Reading::Unknown => Answer::Maybe,
            Reading::Value(value) => {
                let width = value.len();
                let answer = value.resized(field_width(width)).is_within(first, last);
                if *negated { !answer } else { answer }
            }
        },
        Statement::Lookup { key, set, negated } => {
            let Some(set) = run.table.set(set) else {
                return Some((Answer::Maybe, OriginId::default()));
            };
            let key = match key_of(key, packet, run.spot) {
                Reading::Absent => return Some((Answer::No, OriginId::default())),
                Reading::Unknown => return Some((Answer::Maybe, OriginId::default())),
                Reading::Value(key) => key,
            };
            let found = is_in(set, &key);
            let origin = match (key.exact(), found) {
                (Some(key), Answer::Yes) => set.origin_of(key).unwrap_or_default(),
                _ => OriginId::default(),
            };
            return Some((if *negated { !found } else { found }, origin));
        }
        // As the user of a flow, who is one that no rule asks for.
        Statement::SocketCgroup(_) => Answer::No,
        Statement::Limit { .. } => Answer::Maybe,
        Statement::Foreign(foreign) => match &**foreign {
            Foreign::Any { ways, negated } => {
                let mut any = Answer::No;
                for way in ways {
                    let mut all = Answer::Yes;
                    for statement in way {
                        let (answer, _) = condition(run, statement, packet)?;
                        all = all.and(answer);
                    }
                    any = any.or(all);
                }
                if *negated { !any } else { any }
            }
            _ => return None,
        },
        Statement::Unknown { name, .. } if is_mere_condition(name) => Answer::Maybe,
        _ => return None,
    };
    Some((answer, OriginId::default()))
}

fn run_statement(run: Run, statement: &Statement, packet: &mut Packet) -> Done {
    if let Some((answer, element)) = condition(run, statement, packet) {
        return match answer {
            Answer::Yes => Done::Yes(element),
            Answer::No => Done::No,
            Answer::Maybe => Done::Maybe,
        };
    }
    let on = Done::Yes(OriginId::default());
    match statement {
        Statement::SetLabel(label) => {
            if let (Tracking::Of { .. }, Some(record)) = (&packet.tracking, &mut packet.record) {
                record.label = record.label.clone().or(&label.to_ne_bytes());
            }
            on
        }
        Statement::Masquerade => translate(
            run,
            &Translation {
                kind: TranslationKind::Masquerade,
                family: None,
                address: None,
                port: None,
            },
            packet,
        ),
        Statement::Dnat(target) => {
            if run.table.family == Family::Inet && IpVersion::of(target.address) != packet.version {
                return on;
            }
            let address = Address::from(target.address);
            let port = Value::known(target.port.to_be_bytes());
            give(packet, Side::Destination, Some(address), Some(port));
            Done::Translated
        }
        Statement::Foreign(foreign) => match &**foreign {
            Foreign::VerdictMap { key, set } => verdicts(run, key, set, packet),
            Foreign::Translate(translation) => translate(run, translation, packet),
            Foreign::Set { field, to } => {
                let value = match operand(run, to, packet) {
                    Reading::Absent => return Done::No,
                    Reading::Unknown => Value::unknown(4),
                    Reading::Value(value) => value.resized(4),
                };
                match (field, &packet.tracking, &mut packet.record) {
                    (Settable::MetaMark, ..) => packet.mark = value,
                    (Settable::CtMark, Tracking::Of { .. }, Some(record)) => record.mark = value,
                    (Settable::CtMark, ..) => {}
                }
                on
            }
            Foreign::Notrack => {
                if packet.tracking == Tracking::None {
                    packet.tracking = Tracking::Untracked;
                }
                on
            }
            Foreign::Reject => Done::Reject,
            Foreign::Note(_) | Foreign::Any { .. } => on,
        },
        Statement::Unknown { .. } => Done::Unclear,
        _ => on,
    }
}

/// The key that a lookup makes of fields, each padded to whole registers.
fn key_of(key: &[Selector], packet: &Packet, spot: &Spot) -> Reading {
    let mut whole = Value::known([]);
    let mut unknown = false;
    for selector in key {
        match read(selector, packet, spot) {
            Reading::Absent => return Reading::Absent,
            Reading::Unknown => unknown = true,
            Reading::Value(value) => {
                let width = value.len();
                whole.push(&value.resized(field_width(width)));
            }
        }
    }
    if unknown {
        return Reading::Unknown;
    }
    Reading::Value(whole)
}

/// `NFT_SET_TIMEOUT`
const TIMEOUT: u32 = 16;

/// Whether what a set holds now says nothing of what it holds later.
fn is_fleeting(set: &Set) -> bool {
    set.is_dynamic() || set.other_flags & TIMEOUT != 0
}

fn is_in(set: &Set, key: &Value) -> Answer {
    if is_fleeting(set) {
        return Answer::Maybe;
    }
    let key = key.clone().resized(set.key_width());
    if let Some(exact) = key.exact() {
        return set.find(exact).is_some().into();
    }
    if set.elements.catch_all().is_some() {
        return Answer::Yes;
    }
    let mut answer = Answer::No;
    for (element, _) in set.elements.iter() {
        match has(set, element, &key) {
            Answer::Yes => return Answer::Yes,
            Answer::Maybe => answer = Answer::Maybe,
            Answer::No => {}
        }
    }
    answer
}

/// Whether an element of a set has a key.
fn has(set: &Set, element: &[u8], key: &Value) -> Answer {
    if !set.interval {
        return key.equals(element);
    }
    let Some((first, last)) = element.split_at_checked(set.key_width()) else {
        return Answer::Maybe;
    };
    let mut answer = Answer::Yes;
    let mut offset = 0;
    for ((kind, first), (_, last)) in set.fields(first).zip(set.fields(last)) {
        let field = key.part(offset, kind.width());
        answer = answer.and(field.map_or(Answer::Maybe, |field| field.is_within(first, last)));
        offset += field_width(kind.width());
    }
    answer
}

fn verdicts(run: Run, key: &[Selector], name: &str, packet: &Packet) -> Done {
    let Some(set) = run.table.set(name) else {
        return Done::Unclear;
    };
    let of = |data: &Data, origin| match data {
        Data::Verdict(verdict) => Some((verdict.clone(), origin)),
        _ => None,
    };
    let all = || {
        let mut all: Vec<(Verdict, OriginId)> = Vec::new();
        for verdict in set.elements.verdicts() {
            if !all.iter().any(|(other, _)| other == verdict) {
                all.push((verdict.clone(), OriginId::default()));
            }
        }
        all
    };
    let key = match key_of(key, packet, run.spot) {
        Reading::Absent => return Done::No,
        Reading::Unknown => return Done::Verdicts(all(), Answer::Maybe),
        Reading::Value(key) => key.resized(set.key_width()),
    };
    if is_fleeting(set) {
        return Done::Verdicts(all(), Answer::Maybe);
    }
    let Some(exact) = key.exact() else {
        let mut found: Vec<(Verdict, OriginId)> = Vec::new();
        for (n, (element, origin)) in set.elements.iter().enumerate() {
            if has(set, element, &key) != Answer::No
                && let Some(one) = of(set.elements.data(n), origin)
                && !found.iter().any(|(other, _)| *other == one.0)
            {
                found.push(one);
            }
        }
        if let Some(one) = set
            .elements
            .catch_all()
            .and_then(|data| of(data, OriginId::default()))
        {
            found.push(one);
        }
        return match found.is_empty() {
            true => Done::No,
            false => Done::Verdicts(found, Answer::Maybe),
        };
    };
    let origin = set.origin_of(exact).unwrap_or_default();
    match set.find(exact) {
        None => Done::No,
        Some(data) => match of(data, origin) {
            Some(one) => Done::Verdicts(vec![one], Answer::Yes),
            None => Done::Unclear,
        },
    }
}

/// A value that a rule computes.
fn operand(run: Run, operand: &Operand, packet: &Packet) -> Reading {
    match operand {
        Operand::Value(value) => Reading::Value(Value::known(value.as_slice())),
        Operand::Field { field, mask, xor } => match read(field, packet, run.spot) {
            Reading::Value(mut value) => {
                if !mask.is_empty() {
                    value = value.and(mask);
                }
                Reading::Value(value.xor(xor))
            }
            other => other,
        },
        Operand::Mapped { key, map, offset } => {
            let Some(map) = run.table.set(map) else {
                return Reading::Unknown;
            };
            let key = match key_of(key, packet, run.spot) {
                Reading::Value(key) => key.resized(map.key_width()),
                other => return other,
            };
            let Some(exact) = key.exact().filter(|_| !is_fleeting(map)) else {
                return match is_in(map, &key) {
                    Answer::No => Reading::Absent,
                    _ => Reading::Unknown,
                };
            };
            match map.find(exact) {
                None => Reading::Absent,
                Some(Data::Value(value)) => match value.get(*offset..) {
                    Some(value) => Reading::Value(Value::known(value)),
                    None => Reading::Unknown,
                },
                Some(_) => Reading::Unknown,
            }
        }
    }
}

/// `nft_nat.c`, `nft_masq.c`, `nft_redir.c`
fn translate(run: Run, t: &Translation, packet: &mut Packet) -> Done {
    let version = packet.version;
    if run.table.family == Family::Inet
        && t.address.is_some()
        && t.family.is_some_and(|family| family != version.nfproto())
    {
        return Done::Yes(OriginId::default());
    }
    // Of a range the kernel takes one.
    let pick = |pair: &Option<(Operand, Operand)>, len: usize| -> Result<Option<Value>, Done> {
        let Some((first, last)) = pair else {
            return Ok(None);
        };
        match (operand(run, first, packet), operand(run, last, packet)) {
            (Reading::Absent, _) | (_, Reading::Absent) => Err(Done::No),
            (Reading::Value(a), Reading::Value(b)) if a == b => Ok(Some(a.resized(len))),
            (Reading::Value(_), Reading::Value(_)) => Ok(Some(Value::unknown(len))),
            // It may not even be there.
            _ => Err(Done::Unclear),
        }
    };
    let address = match pick(&t.address, version.address_len()) {
        Ok(value) => value.map(|value| Address { value, local: None }),
        Err(done) => return done,
    };
    let port = match pick(&t.port, 2) {
        Ok(port) => port,
        Err(done) => return done,
    };
    let own = |interface: Option<&super::world::Interface>| {
        interface
            .and_then(|interface| run.spot.world.address_on(interface, version))
            .map_or_else(
                || Address::some(version, true),
                |address| Address {
                    local: Some(true),
                    ..Address::from(address)
                },
            )
    };
    let (side, address) = match t.kind {
        TranslationKind::Snat => (Side::Source, address),
        TranslationKind::Dnat => (Side::Destination, address),
        TranslationKind::Masquerade => (Side::Source, Some(own(run.spot.oif.as_ref()))),
        TranslationKind::Redirect => {
            let loopback = match version {
                IpVersion::V4 => std::net::IpAddr::from([127, 0, 0, 1]),
                IpVersion::V6 => std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            };
            let to = match &run.spot.iif {
                None => Address::from(loopback),
                Some(interface) => own(Some(interface)),
            };
            (Side::Destination, Some(to))
        }
    };
    give(packet, side, address, port);
    Done::Translated
}

/// Has the flow answered from, or to, another address or port. The packet
/// itself changes once all chains of the hook were asked.
fn give(packet: &mut Packet, side: Side, address: Option<Address>, port: Option<Value>) {
    let Some(record) = &mut packet.record else {
        return;
    };
    *record.decided.of_mut(side) = true;
    let answering = side.other();
    let old = (
        record.reply.address(answering).clone(),
        record.reply.port(answering).clone(),
    );
    let has_ports = !matches!(record.proto, 1 | 58);
    let new = (
        address.unwrap_or_else(|| old.0.clone()),
        port.filter(|_| has_ports).unwrap_or_else(|| old.1.clone()),
    );
    let bit = match side {
        Side::Source => STATUS_SRC_NAT,
        Side::Destination => STATUS_DST_NAT,
    };
    match new.0.same(&old.0).and(new.1.same(&old.1)) {
        _ if new == old => {}
        Answer::Yes => {}
        Answer::No => record.set_status(bit),
        Answer::Maybe => record.status = record.status.clone().forget(&bit.to_ne_bytes()),
    }
    record.reply.set(answering, new.0, new.1);
}
