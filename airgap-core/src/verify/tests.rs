//! Policies verify against what they compile to, and not against anything else.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may fail that way

use super::*;
use crate::graph::{Rule, Statement, Verdict};

const LABORATORY: &str = include_str!("../../../tests/lab/policy.toml");

fn policy(text: &str) -> Policy {
    Policy::from_toml(&format!("version = 1\n{text}")).unwrap()
}

fn laboratory() -> Policy {
    Policy::from_toml(LABORATORY).unwrap()
}

fn compiled(policy: &Policy) -> RuleGraph {
    RuleGraph::compile_in(policy, &Surroundings::default()).unwrap()
}

fn verified(policy: &Policy, graph: &RuleGraph) -> Verification {
    verify_in(policy, &Surroundings::default(), graph)
}

/// The counterexample in one line.
fn counterexample(policy: &Policy, graph: &RuleGraph) -> String {
    match verified(policy, graph) {
        Verification::Counterexample(found) => {
            let kind = match found.kind {
                CounterexampleKind::OpenAndNotStated => "open",
                CounterexampleKind::StatedAndNotOpen => "closed",
            };
            let mut parts = vec![format!("{kind}: {}", found.flow)];
            parts.extend(found.packet.iter().cloned());
            parts.join("; ")
        }
        other => panic!("no counterexample: {other:?}"),
    }
}

fn chain<'g>(graph: &'g mut RuleGraph, name: &str) -> &'g mut Vec<Rule> {
    let tables = graph.tables.iter_mut();
    let mut chains = tables.flat_map(|table| &mut table.chains);
    &mut chains.find(|chain| chain.name == name).unwrap().rules
}

#[test]
fn policies_verify_against_what_they_compile_to() {
    let mut policies = vec![laboratory(), policy("")];
    for entry in std::fs::read_dir("../examples").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "toml") {
            policies.push(Policy::load(&path).unwrap());
        }
    }
    assert!(policies.len() > 7);
    for policy in policies {
        let mut surroundings = Surroundings::default();
        // Names and users as some host could know them.
        for (_, allow) in policy.allow.listed() {
            for address in &allow.to {
                if let crate::policy::Address::Name(name) = address {
                    let address = "203.0.113.77".parse().unwrap();
                    surroundings.names.insert(name.to_string(), vec![address]);
                }
            }
            if let Some(crate::policy::User::Name(name)) = &allow.user {
                surroundings.users.insert(name.to_string(), 977);
            }
        }
        let graph = RuleGraph::compile_in(&policy, &surroundings).unwrap();
        let found = verify_in(&policy, &surroundings, &graph);
        assert_eq!(
            found,
            Verification::Verified,
            "{:?}",
            policy.source().name()
        );
    }
}

#[test]
fn another_policy_is_a_counterexample() {
    let two = policy("[[allow]]\nto = [\"203.0.113.9\", \"203.0.113.10\"]\nport = 443\n");
    let one = policy("[[allow]]\nto = \"203.0.113.9\"\nport = 443\n");
    assert_eq!(
        counterexample(&one, &compiled(&two)),
        "open: host -> tcp 203.0.113.10:443"
    );
    assert_eq!(
        counterexample(&two, &compiled(&one)),
        "closed: host -> tcp 203.0.113.10:443"
    );
}

#[test]
fn a_rule_more_is_a_counterexample() {
    let policy = policy("[[allow]]\nto = \"203.0.113.9\"\nport = 443\n");
    let mut graph = compiled(&policy);
    let accept = Rule::new(vec![Statement::Verdict(Verdict::Accept)]);
    chain(&mut graph, "output").insert(0, accept);
    assert!(counterexample(&policy, &graph).starts_with("open: host -> tcp 203.0.113.9:"));
}

/// These change no flow of the policy: what they drop is dropped behind them,
/// and what they pass nothing of the policy asks for.
const REDUNDANT: [&str; 11] = [
    "allow-uid7-out: meta l4proto udp ct state new meta skuid 7 ct label set 95|96|97|98 jump allow-uid7",
    "arrive: jump source",
    "bridge-docker0-in: counter drop",
    "bridge-docker0-out: counter drop",
    "input: ct direction original ct status & dnat == 0 jump admit-in",
    "input: counter drop comment \"no opening in\"",
    "output: ct direction reply ct status & dnat == 0 jump admit-out",
    "output: counter drop comment \"no opening out\"",
    "routed: counter drop comment \"no opening across\"",
    "to-uplink: oifname @uplinks accept",
    "forward: meta ibrname \"docker0\" counter drop comment \"bridge docker0: containers not to each other\"",
];

#[test]
fn rules_missing_are_counterexamples() {
    let policy = policy(
        "[host]\nuplinks = [\"eth0\"]\n\
         [[allow]]\nto = \"203.0.113.9\"\nport = 443\nuser = 7\n\
         [[admit]]\nfrom = \"192.0.2.10\"\nport = 80\nvia = \"br0\"\n\
         [[bridge]]\nname = \"docker0\"\nports = [\"tcp/8888\"]\nisolate = true\n\
         [[forward]]\nfrom = \"docker0\"\nto = \"198.51.100.7\"\nport = 5432\nlisten = \"172.17.0.1:15432\"\n",
    );
    let graph = compiled(&policy);
    assert_eq!(verified(&policy, &graph), Verification::Verified);
    let mut redundant = Vec::new();
    for (t, table) in graph.tables.iter().enumerate() {
        for (c, chain) in table.chains.iter().enumerate() {
            for r in 0..chain.rules.len() {
                let mut broken = graph.clone();
                let rule = broken.tables[t].chains[c].rules.remove(r);
                match verified(&policy, &broken) {
                    Verification::Counterexample(_) => {}
                    Verification::Verified => {
                        let text = crate::graph::rule_text(&rule);
                        redundant.push(format!("{}: {text}", chain.name));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!(redundant, REDUNDANT);
}
