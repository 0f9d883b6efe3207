//! Which packets of a case pass chains. A chain is read from its end: what
//! becomes of a packet at a rule is known once it is known what becomes of it
//! at the rules behind.

use std::collections::{BTreeSet, HashMap};

use super::conditions::{Conditions, SetCache, Tri, verdicts};
use super::diagram::{Diagrams, Full, NONE};
use super::fields::{Reader, Stage};
use super::interfaces::Interfaces;
use super::numbers::number;
use super::space::{Case, Kind, Var, Version};
use crate::graph::{
    BaseChain, Chain, ChainPolicy, ChainType, Data, Family, Foreign, Hook, Operand, Rule,
    RuleGraph, Settable, Statement, Table, Translation, TranslationKind, Verdict,
};

/// The kernel's own limit of jumps within jumps (`NFT_JUMP_STACK_SIZE`).
const JUMPS_MAX: usize = 16;

/// What is asked of chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal<'a> {
    /// Whether packets pass. Translations are what the case says they are.
    Pass,
    /// Whether the first packet of a flow gets this translation of its
    /// destination.
    Dnat(&'a Statement),
    /// Whether rules of the air gap translate its destination.
    OwnDnat,
    /// Whether its source becomes an address of the host's.
    Masquerade,
}

/// A rule about which not everything is known, by the numbers of its table, its
/// chain and itself.
pub(crate) type Unknowns = BTreeSet<(usize, usize, usize)>;

/// Where a packet goes that a chain lets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Exits {
    accepted: Tri,
    returned: Tri,
}

/// Walks chains for one case.
pub(crate) struct Walker<'a, 'd> {
    pub graph: &'a RuleGraph,
    pub case: Case,
    pub interfaces: &'a Interfaces,
    pub cgroups: &'a [u64],
    pub d: &'d mut Diagrams,
    pub cache: &'d mut SetCache,
    pub unknowns: &'d mut Unknowns,
    pub goal: Goal<'a>,
    memo: HashMap<(usize, usize, Stage, Exits), Tri>,
    jumps: usize,
}

impl<'a, 'd> Walker<'a, 'd> {
    #[allow(clippy::too_many_arguments)] // made in one place
    pub(crate) fn new(
        graph: &'a RuleGraph,
        case: Case,
        interfaces: &'a Interfaces,
        cgroups: &'a [u64],
        goal: Goal<'a>,
        d: &'d mut Diagrams,
        cache: &'d mut SetCache,
        unknowns: &'d mut Unknowns,
    ) -> Self {
        Self {
            graph,
            case,
            interfaces,
            cgroups,
            d,
            cache,
            unknowns,
            goal,
            memo: HashMap::new(),
            jumps: 0,
        }
    }

    /// What passes the base chains of these hooks that `meant` answers true
    /// for, in their order, and then goes on to `behind`.
    pub(crate) fn hooks(
        &mut self,
        hooks: &[Hook],
        behind: Tri,
        meant: &dyn Fn(&Table, &BaseChain) -> bool,
    ) -> Result<Tri, Full> {
        let mut passed = behind;
        for hook in hooks.iter().rev() {
            let mut chains: Vec<(i32, usize, usize, &BaseChain)> = Vec::new();
            for (t, table) in self.graph.tables.iter().enumerate() {
                for (c, chain) in table.chains.iter().enumerate() {
                    if let Some(base) = &chain.base
                        && base.hook == *hook
                        && table.flags & DORMANT == 0
                        && self.sees(table.family)
                        && meant(table, base)
                    {
                        chains.push((base.priority, t, c, base));
                    }
                }
            }
            chains.sort_by_key(|(priority, t, c, _)| (*priority, *t, *c));
            for (priority, t, c, base) in chains.into_iter().rev() {
                let Some(table) = self.graph.tables.get(t) else {
                    continue;
                };
                let stage = match base.kind {
                    // All translations are made in one place, whatever the
                    // priority of their chain: at -100, and at 100.
                    ChainType::Nat => Stage::of(table.family, *hook, translation(*hook)),
                    _ => Stage::of(table.family, *hook, priority),
                };
                let exits = Exits {
                    accepted: passed,
                    returned: match base.policy {
                        ChainPolicy::Accept => passed,
                        ChainPolicy::Drop => Tri::NONE,
                    },
                };
                passed = self.chain(t, c, stage, exits)?;
            }
        }
        Ok(passed)
    }

    /// Whether tables of this family see packets of the case.
    fn sees(&self, family: Family) -> bool {
        match family {
            Family::Inet | Family::Netdev => true,
            Family::Ip => self.case.version == Version::V4,
            Family::Ip6 => self.case.version == Version::V6,
            Family::Arp | Family::Bridge => false,
        }
    }

    fn chain(&mut self, t: usize, c: usize, stage: Stage, exits: Exits) -> Result<Tri, Full> {
        let graph = self.graph;
        let Some((table, chain)) = graph
            .tables
            .get(t)
            .and_then(|table| Some((table, table.chains.get(c)?)))
        else {
            return Ok(Tri::UNKNOWN);
        };
        if self.jumps > JUMPS_MAX {
            return Ok(Tri::UNKNOWN);
        }
        let key = (t, c, stage, exits);
        if let Some(known) = self.memo.get(&key) {
            return Ok(*known);
        }
        self.jumps += 1;
        let mut next = exits.returned;
        for (r, rule) in chain.rules.iter().enumerate().rev() {
            next = self.rule(table, (t, c, r), rule, stage, next, exits)?;
        }
        self.jumps -= 1;
        self.memo.insert(key, next);
        Ok(next)
    }

    /// What becomes of a packet that reaches a rule, if `next` becomes of it at
    /// the next one.
    fn rule(
        &mut self,
        table: &'a Table,
        place: (usize, usize, usize),
        rule: &Rule,
        stage: Stage,
        next: Tri,
        exits: Exits,
    ) -> Result<Tri, Full> {
        let Some(last) = rule.statements.iter().rposition(has_effect) else {
            return Ok(next);
        };
        // Forward first: most rules are not reached by any packet of a case.
        let mut asked = Vec::with_capacity(last + 1);
        let mut reached = Tri::ALL;
        for statement in rule.statements.iter().take(last + 1) {
            let condition = self.conditions(stage).condition(statement, &table.sets)?;
            if let Some(condition) = condition {
                reached = reached.and(self.d, condition)?;
                if reached.may == NONE {
                    return Ok(next);
                }
            }
            asked.push((statement, condition));
        }
        let mut passed = next;
        for (statement, condition) in asked.into_iter().rev() {
            passed = match condition {
                Some(condition) => {
                    if condition.must != condition.may && passed != next {
                        self.unknowns.insert(place);
                    }
                    Tri::choose(self.d, condition, passed, next)?
                }
                None => self.effect(table, place, statement, stage, (passed, next), exits)?,
            };
        }
        Ok(passed)
    }

    fn conditions(&mut self, stage: Stage) -> Conditions<'_, '_> {
        Conditions {
            reader: Reader {
                case: self.case,
                stage,
                interfaces: self.interfaces,
                cgroups: self.cgroups,
            },
            d: self.d,
            cache: self.cache,
        }
    }

    /// What becomes of a packet at a statement that asks nothing.
    fn effect(
        &mut self,
        table: &'a Table,
        place: (usize, usize, usize),
        statement: &Statement,
        stage: Stage,
        (behind, next): (Tri, Tri),
        exits: Exits,
    ) -> Result<Tri, Full> {
        match statement {
            Statement::Verdict(verdict) => self.verdict(verdict, table, place, stage, next, exits),
            Statement::Counter { .. } | Statement::Log { .. } => Ok(behind),
            Statement::SetLabel(_) => self.changed(Var::Label, behind),
            Statement::Masquerade => {
                Ok(self.translated(table, TranslationKind::Masquerade, None, exits))
            }
            Statement::Dnat(_) => {
                Ok(self.translated(table, TranslationKind::Dnat, Some(statement), exits))
            }
            Statement::Foreign(foreign) => match foreign.as_ref() {
                Foreign::VerdictMap { key, set } => {
                    let Some(set) = table.set(set) else {
                        return Ok(Tri::UNKNOWN);
                    };
                    let mut passed = behind;
                    for verdict in verdicts(set) {
                        let this = Data::Verdict(verdict.clone());
                        let meant = |data: &Data| *data == this;
                        let condition = self.conditions(stage).lookup(key, set, false, meant)?;
                        if condition.must != condition.may {
                            self.unknowns.insert(place);
                        }
                        let then = self.verdict(&verdict, table, place, stage, next, exits)?;
                        passed = Tri::choose(self.d, condition, then, passed)?;
                    }
                    Ok(passed)
                }
                Foreign::Translate(Translation { kind, .. }) => {
                    Ok(self.translated(table, *kind, Some(statement), exits))
                }
                Foreign::Set { field, to } => {
                    let var = match field {
                        Settable::MetaMark => Var::Mark,
                        Settable::CtMark => Var::CtMark,
                    };
                    let value = match to {
                        Operand::Value(value) => number(value, true),
                        _ => None,
                    };
                    match value {
                        Some(value) => Ok(Tri {
                            must: self.d.with_value(var, value, behind.must)?,
                            may: self.d.with_value(var, value, behind.may)?,
                        }),
                        None => self.changed(var, behind),
                    }
                }
                // Before conntrack it makes a packet one of no flow; those are
                // cases of their own.
                Foreign::Notrack if !stage.tracked && self.case.kind != Kind::Untracked => {
                    Ok(Tri::NONE)
                }
                Foreign::Notrack | Foreign::Note(_) | Foreign::Any { .. } => Ok(behind),
                Foreign::Reject => Ok(Tri::NONE),
            },
            // It may change the packet, or send it past all that is behind.
            _ => {
                self.unknowns.insert(place);
                Ok(Tri::UNKNOWN)
            }
        }
    }

    /// What passes with a field that has got another value, which is not known.
    fn changed(&mut self, var: Var, behind: Tri) -> Result<Tri, Full> {
        Ok(Tri {
            must: self.d.whatever(var, behind.must, false)?,
            may: self.d.whatever(var, behind.may, true)?,
        })
    }

    fn verdict(
        &mut self,
        verdict: &Verdict,
        table: &'a Table,
        place: (usize, usize, usize),
        stage: Stage,
        next: Tri,
        exits: Exits,
    ) -> Result<Tri, Full> {
        let to = |name: &str| table.chains.iter().position(|chain| chain.name == name);
        match verdict {
            Verdict::Accept => Ok(exits.accepted),
            Verdict::Drop => Ok(Tri::NONE),
            Verdict::Return => Ok(exits.returned),
            Verdict::Jump(name) => match to(name) {
                Some(c) => {
                    let returned = next;
                    self.chain(place.0, c, stage, Exits { returned, ..exits })
                }
                None => Ok(Tri::UNKNOWN),
            },
            Verdict::Goto(name) => match to(name) {
                Some(c) => self.chain(place.0, c, stage, exits),
                None => Ok(Tri::UNKNOWN),
            },
            Verdict::Other(_) => {
                self.unknowns.insert(place);
                Ok(Tri::UNKNOWN)
            }
        }
    }

    /// At a translation, which ends a chain as an accept does.
    fn translated(
        &mut self,
        table: &Table,
        kind: TranslationKind,
        statement: Option<&Statement>,
        exits: Exits,
    ) -> Tri {
        let of_destination = matches!(kind, TranslationKind::Dnat | TranslationKind::Redirect);
        match self.goal {
            Goal::Pass => exits.accepted,
            Goal::Dnat(wanted) if of_destination => known(statement == Some(wanted)),
            Goal::OwnDnat if of_destination => known(table.is_airgap()),
            Goal::Masquerade if kind == TranslationKind::Masquerade => Tri::ALL,
            Goal::Masquerade if kind == TranslationKind::Snat => Tri::UNKNOWN,
            _ => exits.accepted,
        }
    }
}

fn known(holds: bool) -> Tri {
    if holds { Tri::ALL } else { Tri::NONE }
}

/// The priority at which translations are made.
fn translation(hook: Hook) -> i32 {
    match hook {
        Hook::Prerouting | Hook::Output => -100,
        _ => 100,
    }
}

/// `NFT_TABLE_F_DORMANT`
const DORMANT: u32 = 1;

/// Whether anything can become of a packet at a rule with this statement.
fn has_effect(statement: &Statement) -> bool {
    match statement {
        Statement::Match { .. }
        | Statement::Range { .. }
        | Statement::Lookup { .. }
        | Statement::SocketCgroup(_)
        | Statement::Counter { .. }
        | Statement::Limit { .. }
        | Statement::Log { .. } => false,
        Statement::Foreign(foreign) => {
            !matches!(foreign.as_ref(), Foreign::Any { .. } | Foreign::Note(_))
        }
        Statement::Unknown { name, .. } => !crate::graph::is_mere_condition(name),
        Statement::Verdict(_)
        | Statement::SetLabel(_)
        | Statement::Masquerade
        | Statement::Dnat(_) => true,
    }
}

/// Whether a base chain decides which packets pass.
pub(crate) fn is_filter(_: &Table, base: &BaseChain) -> bool {
    base.kind != ChainType::Nat
}

/// Whether it translates.
pub(crate) fn is_nat(_: &Table, base: &BaseChain) -> bool {
    base.kind == ChainType::Nat
}

/// The chain of an [`Unknowns`] entry.
pub(crate) fn chain_at(graph: &RuleGraph, t: usize, c: usize) -> Option<(&Table, &Chain)> {
    let table = graph.tables.get(t)?;
    Some((table, table.chains.get(c)?))
}
