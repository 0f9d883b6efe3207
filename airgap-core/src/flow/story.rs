//! An explanation in words and as data.

use std::fmt;

use serde::Serialize;

use super::evaluate::{Act, Step};
use super::explain::{Fate, is_telling};
use super::nearest::Nearest;
use super::{Flow, opening};
use crate::graph::{Chain, Origin, Rule, RuleGraph, Statement, Table, Verdict, rule_text};
use crate::policy::Place;

/// What happens to a flow, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The flow.
    pub flow: Flow,
    /// What happens to it.
    pub verdict: FlowVerdict,
    /// Which of its packets decides: `the opening packet`, `the answer`, …
    pub packet: String,
    /// The rule that decides; none where no rule had a say.
    pub by: Option<DecidingRule>,
    /// The way of that packet through the chains.
    pub way: Vec<WayStep>,
    /// Of an undecided flow, what is not known.
    pub unsure: Vec<String>,
    /// What was taken for granted, since nothing tells.
    pub assumed: Vec<String>,
    /// Of a dropped flow, the opening that comes nearest to it.
    pub nearest: Option<Nearest>,
    /// Of a dropped flow, what a policy says that opens it, as TOML.
    pub opens: Option<String>,
}

impl Explanation {
    /// Leaves out in which lines the items of the policy were written: those of
    /// a policy's record are not those of the file that it was read from.
    pub(crate) fn forget_lines(&mut self) {
        let rules = self.way.iter_mut().map(|step| &mut step.rule);
        let origins = rules
            .chain(&mut self.by)
            .filter_map(|rule| rule.origin.as_mut());
        origins.for_each(|origin| origin.place = Place::default());
    }
}

/// What happens to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowVerdict {
    /// Its packets and the answers pass.
    Passes,
    /// One of them is dropped.
    Dropped,
    /// What is known of rules and flow leaves both.
    Undecided,
}

/// A rule, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DecidingRule {
    /// `airgap`, `docker`, or the table of another program.
    pub owner: String,
    /// The family and name of its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// The rule as nft(8) writes it, or the chain's policy.
    pub rule: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The line of the policy that asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A step of a packet's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WayStep {
    /// The hook.
    pub hook: String,
    /// The rule that did something.
    #[serde(flatten)]
    pub rule: DecidingRule,
}

/// A packet of a flow and its way.
#[derive(Clone)]
pub(super) struct Way<'g> {
    pub what: &'static str,
    pub steps: Vec<Step<'g>>,
}

/// An explanation while it is put together.
pub(super) struct Told<'g, 'f> {
    graph: &'g RuleGraph,
    flow: &'f Flow,
    fate: Fate,
    ways: Vec<Way<'g>>,
    assumed: Vec<String>,
    pub nearest: Option<Nearest>,
}

impl<'g, 'f> Told<'g, 'f> {
    pub fn new(
        graph: &'g RuleGraph,
        flow: &'f Flow,
        fate: Fate,
        ways: Vec<Way<'g>>,
        assumed: Vec<String>,
    ) -> Self {
        Self {
            graph,
            flow,
            fate,
            ways,
            assumed,
            nearest: None,
        }
    }

    pub fn explanation(self) -> Explanation {
        // A flow passes by what its first packet met, and is dropped where its
        // last came to an end.
        let way = match self.fate {
            Fate::Passes => self.ways.first(),
            _ => self.ways.last(),
        };
        let steps = way.map(|way| way.steps.as_slice()).unwrap_or_default();
        let by = match self.fate {
            Fate::Passes => self.opened_by(steps),
            _ => steps.last().map(|step| self.rule(step)),
        };
        let telling = steps.iter().filter(|step| is_telling(step));
        Explanation {
            flow: self.flow.clone(),
            verdict: match self.fate {
                Fate::Passes => FlowVerdict::Passes,
                Fate::Dropped => FlowVerdict::Dropped,
                Fate::Undecided => FlowVerdict::Undecided,
            },
            packet: way.map(|way| way.what).unwrap_or_default().to_owned(),
            by: by.filter(|_| self.fate != Fate::Undecided),
            way: telling
                .map(|step| WayStep {
                    hook: step.hook.to_owned(),
                    rule: self.rule(step),
                })
                .collect(),
            unsure: match self.fate {
                Fate::Undecided => self.unsure(),
                _ => Vec::new(),
            },
            opens: match self.fate {
                Fate::Dropped => opening::toml(self.graph, self.flow),
                _ => None,
            },
            nearest: self.nearest,
            assumed: self.assumed,
        }
    }

    /// Of the rules that let a packet pass the one that stands for a line of
    /// the policy, or else the last that accepted.
    fn opened_by(&self, steps: &[Step<'g>]) -> Option<DecidingRule> {
        let from_policy = steps.iter().rev().find(|step| self.origin(step).is_some());
        let accepted = || {
            let mut back = steps.iter().rev();
            back.find(|step| step.act == Act::Verdict(Verdict::Accept))
        };
        Some(self.rule(from_policy.or_else(accepted)?))
    }

    fn origin(&self, step: &Step) -> Option<Origin> {
        let of_element = self.graph.origins.get(step.element);
        let of_rule = step
            .rule
            .and_then(|rule| self.graph.origins.get(rule.origin));
        of_element.or(of_rule)
    }

    fn rule(&self, step: &Step) -> DecidingRule {
        DecidingRule {
            owner: owner(step.table, step.chain, step.rule),
            table: format!("{} {}", step.table.family, step.table.name),
            chain: step.chain.name.clone(),
            rule: match (step.rule, &step.act) {
                (Some(rule), _) => rule_text(rule),
                (None, Act::Policy(policy)) => format!("policy {}", policy.name()),
                (None, _) => String::new(),
            },
            comment: step.rule.and_then(|rule| rule.comment.clone()),
            origin: self.origin(step),
        }
    }

    /// What is not known of an undecided flow, each once.
    fn unsure(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for step in self.ways.iter().flat_map(|way| &way.steps) {
            let what = match step.act {
                Act::Unsure { .. } => "whether this matches",
                Act::Unclear { .. } => "what this does",
                Act::TooMany => "which of very many possibilities comes true at",
                Act::Verdict(Verdict::Other(_)) => "what becomes of a packet after",
                _ => continue,
            };
            let rule = step.rule.map(rule_text).unwrap_or_default();
            let text = match (step.rule, &step.act) {
                (Some(rule), Act::Unsure { statement, .. } | Act::Unclear { statement }) => {
                    statement_text(rule, *statement)
                }
                _ => rule.clone(),
            };
            let reason = format!(
                "{what}: `{text}`, in {} {} chain {}, rule `{rule}`",
                step.table.family, step.table.name, step.chain.name
            );
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        if reasons.is_empty() {
            reasons.push(
                "which way the packet takes: bridge filtering (br_netfilter), a port of a bridge, or the order of \
                 chains of one priority"
                    .to_owned(),
            );
        }
        reasons
    }
}

/// A statement as it reads in its rule, where those before it tell how.
fn statement_text(rule: &Rule, n: usize) -> String {
    let first = |count: usize| {
        let statements = rule.statements.get(..count).unwrap_or_default();
        rule_text(&Rule {
            statements: statements.to_vec(),
            ..Rule::default()
        })
    };
    let whole = first(n + 1);
    let text = whole.strip_prefix(&first(n)).unwrap_or(&whole);
    text.trim().to_owned()
}

/// Whose a rule is.
fn owner(table: &Table, chain: &Chain, rule: Option<&Rule>) -> String {
    let is_docker = |name: &str| name.starts_with("DOCKER");
    let jumps = rule.is_some_and(|rule| {
        rule.statements.iter().any(|statement| match statement {
            Statement::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => is_docker(to),
            _ => false,
        })
    });
    if table.is_airgap() {
        "airgap".to_owned()
    } else if is_docker(&chain.name) || jumps || table.name.starts_with("docker") {
        "docker".to_owned()
    } else {
        format!("{} {}", table.family, table.name)
    }
}

impl fmt::Display for FlowVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passes => "passes",
            Self::Dropped => "dropped",
            Self::Undecided => "undecided",
        })
    }
}

/// `owner`, the line of the policy, or the place of the rule.
impl fmt::Display for DecidingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}, ")?;
        }
        write!(f, "{} chain {}: {}", self.table, self.chain, self.rule)
    }
}

/// Several lines, without a line break behind the last.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verdict, self.flow)?;
        if self.verdict == FlowVerdict::Dropped && self.packet != "the opening packet" {
            write!(f, "\n  which packet: {}", self.packet)?;
        }
        if let Some(by) = &self.by {
            write!(f, "\n  by: {by}")?;
            if by.owner != "airgap" {
                write!(f, " (of {})", by.owner)?;
            }
        }
        if !self.way.is_empty() {
            f.write_str("\n  way:")?;
        }
        for step in &self.way {
            let rule = &step.rule;
            write!(
                f,
                "\n    {} {} {}: {}",
                step.hook, rule.table, rule.chain, rule.rule
            )?;
        }
        for reason in &self.unsure {
            write!(f, "\n  not known: {reason}")?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "\n  nearest: {nearest}")?;
        }
        if let Some(opens) = &self.opens {
            f.write_str("\n  what would open it:")?;
            for line in opens.lines() {
                write!(f, "\n    {line}")?;
            }
        }
        for what in &self.assumed {
            write!(f, "\n  assumed: {what}")?;
        }
        Ok(())
    }
}
