//! What is dropped, in a log.
//!
//! Each rule that drops gets one before it that asks the same and logs. It has
//! no verdict: nothing that a packet meets depends on the log, nor on its limit.
//! Without a log there are no such rules, and packets pay nothing for it.

use crate::denied::{BURST, DeniedLog, PER_SECOND};
use crate::graph::{Rule, Statement, Table, Verdict};

/// Puts a rule that logs before each rule of the table that drops.
pub(super) fn log_drops(table: &mut Table, log: DeniedLog) {
    for chain in &mut table.chains {
        let prefix = format!("airgap {} {}: ", table.family, chain.name);
        let mut rules = Vec::with_capacity(2 * chain.rules.len());
        for rule in chain.rules.drain(..) {
            if let [
                asked @ ..,
                Statement::Counter { .. },
                Statement::Verdict(Verdict::Drop),
            ] = rule.statements.as_slice()
            {
                let mut statements = asked.to_vec();
                statements.push(Statement::Limit {
                    rate: PER_SECOND,
                    unit: 1,
                    burst: BURST,
                });
                statements.push(Statement::Log {
                    prefix: prefix.clone(),
                    group: log.group(),
                });
                rules.push(Rule::new(statements).origin(rule.origin));
            }
            rules.push(rule);
        }
        chain.rules = rules;
    }
}
