//! Tables of other programs that could drop what the policy opens: an accept
//! of ours ends our chain only, and a later chain may still drop.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::graph::{Chain, ChainPolicy, Foreign, RuleGraph, Statement, Table, Verdict};

/// A chain of another program in which packets can be dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForeignDrop {
    /// The family and name of its table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The hook that calls it.
    pub hook: String,
    /// Whose it is, as far as its chains show it.
    pub owner: Option<String>,
    /// Whether it drops what none of its rules decides.
    pub policy_drop: bool,
}

/// The base chains of others that drop, by their policy or by a rule that can
/// be reached.
pub(crate) fn drops(graph: &RuleGraph) -> Vec<ForeignDrop> {
    let mut found = Vec::new();
    for table in graph.tables.iter().filter(|table| !table.is_airgap()) {
        for chain in &table.chains {
            let Some(base) = &chain.base else { continue };
            let policy_drop = base.policy == ChainPolicy::Drop;
            if policy_drop || reaches_drop(chain, table) {
                found.push(ForeignDrop {
                    table: format!("{} {}", table.family, table.name),
                    chain: chain.name.clone(),
                    hook: base.hook.name().to_owned(),
                    owner: owner(table).map(str::to_owned),
                    policy_drop,
                });
            }
        }
    }
    found
}

/// Whether a rule that drops can be reached from the chain.
fn reaches_drop(chain: &Chain, table: &Table) -> bool {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![chain];
    while let Some(chain) = waiting.pop() {
        if !seen.insert(chain.name.as_str()) {
            continue;
        }
        for statement in chain.rules.iter().flat_map(|rule| &rule.statements) {
            match statement {
                Statement::Verdict(Verdict::Drop) => return true,
                Statement::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => {
                    waiting.extend(table.chain(to))
                }
                Statement::Foreign(foreign) => match foreign.as_ref() {
                    Foreign::Reject => return true,
                    Foreign::VerdictMap { set, .. } => {
                        let set = table.set(set);
                        for verdict in set.into_iter().flat_map(|set| set.elements.verdicts()) {
                            match verdict {
                                Verdict::Drop => return true,
                                Verdict::Jump(to) | Verdict::Goto(to) => {
                                    waiting.extend(table.chain(to));
                                }
                                _ => {}
                            }
                        }
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    }
    false
}

/// Who made a table, by the names that programs give their chains.
fn owner(table: &Table) -> Option<&'static str> {
    let any = |prefix: &str| table.chains.iter().any(|c| c.name.starts_with(prefix));
    if any("ufw") {
        Some("ufw")
    } else if table.name == "firewalld" {
        Some("firewalld")
    } else if any("DOCKER") || table.name.starts_with("docker") {
        Some("Docker")
    } else {
        None
    }
}
