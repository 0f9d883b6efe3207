//! The packets that pass against those that the policy states, case by case.

use super::chains::{Goal, Unknowns, Walker, chain_at, is_filter};
use super::conditions::{SetCache, Tri};
use super::diagram::{Diagram, Diagrams, Full, NONE};
use super::interfaces::Interfaces;
use super::space::{Case, Journey};
use super::stated::{Stated, Statement};
use super::universe::universe;
use super::witness::Witness;
use super::{Counterexample, CounterexampleKind, Verification};
use crate::graph::{self, BaseChain, Foreign, Hook, RuleGraph, Table};
use crate::policy::Policy;
use crate::surroundings::Surroundings;

/// A ruleset and a policy that are compared.
pub(super) struct Comparison<'a> {
    pub policy: &'a Policy,
    pub surroundings: &'a Surroundings,
    pub graph: &'a RuleGraph,
    pub d: Diagrams,
    pub cache: SetCache,
    pub unknowns: Unknowns,
}

/// What sets of packets say of the difference.
pub(super) enum Found {
    /// There is none.
    Nothing,
    Counterexample(Box<Counterexample>),
    /// There may be some.
    Unknown,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        surroundings: &'a Surroundings,
        graph: &'a RuleGraph,
        edges_max: usize,
    ) -> Self {
        Self {
            policy,
            surroundings,
            graph,
            d: Diagrams::new(edges_max),
            cache: SetCache::default(),
            unknowns: Unknowns::new(),
        }
    }

    pub(super) fn verify(mut self) -> Result<Verification, Full> {
        let (policy, surroundings, graph) = (self.policy, self.surroundings, self.graph);
        let interfaces = Interfaces::of(&[policy], &[graph], &surroundings.devices);
        let cgroups = cgroups(&[graph], &[surroundings]);
        let mut statement = Statement::new(policy, surroundings, &interfaces, &cgroups);
        let mut open: Option<Unknowns> = None;
        for case in Case::all() {
            self.unknowns.clear();
            let stated = statement.of(&mut self.d, case)?;
            let universe = universe(&mut self.d, case, &interfaces, &cgroups)?;
            let must = self.d.and(stated.must, universe)?;
            let free = self.d.and(stated.free, universe)?;
            let stated = Stated {
                must,
                free,
                ..stated
            };
            let parts = Parts {
                case,
                universe,
                interfaces: &interfaces,
                cgroups: &cgroups,
            };
            for found in [
                self.filters(&parts, stated)?,
                self.translations(&parts, &statement, stated)?,
            ] {
                match found {
                    Found::Nothing => {}
                    Found::Unknown => {
                        let rules = std::mem::take(&mut self.unknowns);
                        open.get_or_insert_default().extend(rules);
                    }
                    Found::Counterexample(found) => {
                        return Ok(Verification::Counterexample(found));
                    }
                }
            }
        }
        Ok(match open {
            Some(rules) => Verification::Undecided {
                reasons: self.reasons(&rules),
            },
            None => Verification::Verified,
        })
    }

    /// Whether what passes is what is stated.
    fn filters(&mut self, parts: &Parts, stated: Stated) -> Result<Found, Full> {
        let passing = self.passing(parts, &is_filter)?;
        let mut kept = NONE;
        if stated.free != NONE {
            let own = |table: &Table, base: &BaseChain| table.is_airgap() && is_filter(table, base);
            let passing = self.passing(parts, &own)?;
            kept = self.d.without(stated.free, passing.may)?;
        }
        let d = &mut self.d;
        let more = outside(d, passing.must, parts.universe, stated.may)?;
        let missing = d.without(stated.must, passing.may)?;
        let missing = d.or(missing, kept)?;
        for (kind, set) in [
            (CounterexampleKind::OpenAndNotStated, more),
            (CounterexampleKind::StatedAndNotOpen, missing),
        ] {
            if set == NONE {
                continue;
            }
            let witness = Witness::of(&self.d, parts.case, set, parts.interfaces);
            let dropped_by = match kind {
                CounterexampleKind::StatedAndNotOpen => self.dropped_by(parts, &witness)?,
                CounterexampleKind::OpenAndNotStated => None,
            };
            return Ok(Found::Counterexample(Box::new(Counterexample {
                kind,
                flow: witness.flow(parts.interfaces),
                packet: witness.particulars(parts.interfaces),
                dropped_by,
            })));
        }
        let d = &mut self.d;
        let maybe_more = outside(d, passing.may, parts.universe, stated.may)?;
        let maybe_missing = d.without(stated.must, passing.must)?;
        Ok(if (maybe_more, maybe_missing) == (NONE, NONE) {
            Found::Nothing
        } else {
            Found::Unknown
        })
    }

    /// The packets that pass all hooks that they meet, of the base chains that
    /// are meant.
    fn passing(
        &mut self,
        parts: &Parts,
        meant: &dyn Fn(&Table, &BaseChain) -> bool,
    ) -> Result<Tri, Full> {
        self.walk(
            parts,
            parts.case,
            Goal::Pass,
            hooks(parts.case.journey),
            Tri::ALL,
            meant,
        )
    }

    /// Walks the chains of these hooks.
    pub(super) fn walk(
        &mut self,
        parts: &Parts,
        case: Case,
        goal: Goal,
        hooks: &[Hook],
        behind: Tri,
        meant: &dyn Fn(&Table, &BaseChain) -> bool,
    ) -> Result<Tri, Full> {
        let mut walker = Walker::new(
            self.graph,
            case,
            parts.interfaces,
            parts.cgroups,
            goal,
            &mut self.d,
            &mut self.cache,
            &mut self.unknowns,
        );
        walker.hooks(hooks, behind, meant)
    }

    /// The base chain that drops a packet by itself, where there is one.
    fn dropped_by(&mut self, parts: &Parts, witness: &Witness) -> Result<Option<String>, Full> {
        let graph = self.graph;
        for hook in hooks(parts.case.journey) {
            for table in &graph.tables {
                for chain in &table.chains {
                    let Some(base) = chain.base.as_ref().filter(|base| base.hook == *hook) else {
                        continue;
                    };
                    let alone = |_: &Table, other: &BaseChain| std::ptr::eq(base, other);
                    if !is_filter(table, base) {
                        continue;
                    }
                    let passing = self.passing(parts, &alone)?;
                    let value = |var| witness.value(var, parts.interfaces);
                    if !self.d.holds(passing.may, value) {
                        return Ok(Some(format!(
                            "{} {} {}",
                            table.family, table.name, chain.name
                        )));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The rules about which not everything is known.
    fn reasons(&self, rules: &Unknowns) -> Vec<String> {
        let rules = rules.iter().filter_map(|(t, c, r)| {
            let (table, chain) = chain_at(self.graph, *t, *c)?;
            let rule = graph::rule_text(chain.rules.get(*r)?);
            let (family, name, chain) = (table.family, &table.name, &chain.name);
            Some(format!("{family} {name} {chain}: {rule}"))
        });
        rules.collect()
    }
}

/// A case, with what all its comparisons need.
pub(super) struct Parts<'i> {
    pub case: Case,
    /// The packets that there can be.
    pub universe: Diagram,
    pub interfaces: &'i Interfaces,
    pub cgroups: &'i [u64],
}

/// The hooks that a packet meets, in their order.
pub(super) fn hooks(journey: Journey) -> &'static [Hook] {
    match journey {
        Journey::Out => &[Hook::Output, Hook::Postrouting],
        Journey::In => &[Hook::Prerouting, Hook::Input],
        Journey::Across => &[Hook::Prerouting, Hook::Forward, Hook::Postrouting],
    }
}

/// What is in `a` and in `b`, and not in `c`.
fn outside(d: &mut Diagrams, a: Diagram, b: Diagram, c: Diagram) -> Result<Diagram, Full> {
    let rest = d.without(a, c)?;
    d.and(rest, b)
}

/// The control groups that rules and surroundings name, in the order of their
/// numbers.
pub(super) fn cgroups(graphs: &[&RuleGraph], surroundings: &[&Surroundings]) -> Vec<u64> {
    let mut found = Vec::new();
    for graph in graphs {
        let rules = graph
            .tables
            .iter()
            .flat_map(|t| &t.chains)
            .flat_map(|c| &c.rules);
        for statement in rules.flat_map(|rule| &rule.statements) {
            collect_cgroups(statement, &mut found);
        }
    }
    for surroundings in surroundings {
        if let crate::docker::DockerResolver::Closed(group) = &surroundings.docker_resolver {
            found.push(group.id);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn collect_cgroups(statement: &graph::Statement, found: &mut Vec<u64>) {
    match statement {
        graph::Statement::SocketCgroup(group) => found.push(group.id),
        graph::Statement::Foreign(foreign) => {
            if let Foreign::Any { ways, .. } = foreign.as_ref() {
                let parts = ways.iter().flatten();
                parts.for_each(|part| collect_cgroups(part, found));
            }
        }
        _ => {}
    }
}
