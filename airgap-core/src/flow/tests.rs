//! Flows under policies: the verdict, the line that decides, what comes nearest
//! and what would open it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may fail that way

use super::{Explanation, Flow, FlowVerdict, World};
use crate::graph::{Family, RuleGraph};
use crate::policy::Policy;
use crate::surroundings::Surroundings;

const POLICY: &str = r#"version = 1

[host]
resolvers = ["192.0.2.53"]
dhcp = true

[[allow]]
to = "34.95.12.47"
port = 443

[[allow]]
to = ["198.51.100.0/24", "2001:db8::/64"]
port = "8000-8099"
proto = "udp"
user = 1000

[[admit]]
from = ["192.0.2.10", "2001:db8:1::9"]
port = 22

[[admit]]
from = "192.0.2.10"
port = 8080
via = "docker0"

[[admit]]
from = "192.0.2.0/28"
proto = "icmp"

[[bridge]]
name = "docker0"
ports = ["tcp/8888"]

[[bridge]]
name = "br-iso"
isolate = true

[[forward]]
from = "docker0"
to = "198.51.100.7"
port = 5432

[[forward]]
from = "172.17.0.0/16"
to = "198.51.100.8"
port = 5432
listen = "172.17.0.1:15432"
"#;

fn graph(policy: &str) -> RuleGraph {
    let policy = Policy::from_toml(policy).unwrap();
    RuleGraph::compile_in(&policy, &Surroundings::default()).unwrap()
}

fn explain(graph: &RuleGraph, flow: &str) -> Explanation {
    graph.explain(&flow.parse::<Flow>().unwrap())
}

fn decided_by(explanation: &Explanation) -> String {
    let by = explanation.by.as_ref();
    let origin = by.and_then(|by| by.origin);
    origin.map(|origin| origin.path()).unwrap_or_default()
}

#[test]
fn a_flow_with_an_opening_passes_by_its_line() {
    let graph = graph(POLICY);
    for (flow, by) in [
        ("host -> tcp 34.95.12.47:443", "allow[0]"),
        ("host 192.0.2.1:4000 -> tcp 34.95.12.47:443", "allow[0]"),
        ("host -> tcp 34.95.12.47:443 as 1000", "allow[0]"),
        ("host -> udp 198.51.100.3:8099 as 1000", "allow[1]"),
        ("host -> udp [2001:db8::3]:8000 as 1000", "allow[1]"),
        ("host -> udp 192.0.2.53:53", "host"),
        ("host -> tcp 192.0.2.53:53", "host"),
        ("tcp 192.0.2.10 -> host:22", "admit[0]"),
        ("tcp 2001:db8:1::9 -> host:22", "admit[0]"),
        ("tcp 192.0.2.10 -> host:8080", "admit[1]"),
        ("ping 192.0.2.15 -> host", "admit[2]"),
        ("docker0 172.17.0.2 -> tcp host:8888", "bridge[0]"),
        ("docker0 172.17.0.2 -> icmp host", "bridge[0]"),
        ("host -> tcp docker0 172.17.0.2:80", "bridge[0]"),
        ("docker0 172.17.0.2 -> gre docker0 172.17.0.3", "bridge[0]"),
        ("br-iso 172.18.0.2 -> udp host:9", "bridge[1]"),
        ("docker0 172.17.0.2 -> tcp 198.51.100.7:5432", "forward[0]"),
        (
            "docker0 172.17.0.2 -> tcp host 172.17.0.1:15432",
            "forward[1]",
        ),
        ("host -> tcp 127.0.0.1:25", ""),
        ("host -> tcp host:25", ""),
    ] {
        let found = explain(&graph, flow);
        assert_eq!(found.verdict, FlowVerdict::Passes, "{found}");
        assert_eq!(decided_by(&found), by, "{found}");
        assert!(found.opens.is_none() && found.nearest.is_none(), "{found}");
    }
}

#[test]
fn a_flow_without_one_is_dropped_and_what_is_told_would_open_it() {
    let loaded = graph(POLICY);
    let none = "";
    for (flow, nearest, opens) in [
        (
            "host -> tcp 34.95.12.47:80",
            "34.95.12.47 is open on 443, not on 80",
            true,
        ),
        (
            "host -> udp 34.95.12.47:443",
            "34.95.12.47 is open on 443 by tcp, not by udp",
            true,
        ),
        (
            "host -> tcp 34.95.12.46:443",
            "tcp 443 is open to 34.95.12.47, not to 34.95.12.46",
            true,
        ),
        (
            "host -> udp 198.51.100.3:8001",
            "198.51.100.3 is open to processes of user 1000, not to others",
            true,
        ),
        (
            "host -> udp 198.51.100.3:8100 as 1000",
            "198.51.100.3 is open on 8099, not on 8100",
            true,
        ),
        (
            "host -> udp 198.51.101.0:8000 as 1000",
            "udp 8000 is open to 198.51.100.255, not to 198.51.101.0",
            true,
        ),
        (
            "tcp 192.0.2.11 -> host:22",
            "tcp 22 is admitted from 192.0.2.10, not from 192.0.2.11",
            true,
        ),
        (
            "tcp 192.0.2.10 -> host:23",
            "192.0.2.10 is admitted to 22, not to 23",
            true,
        ),
        ("udp 203.0.113.9 -> host:5353", none, true),
        (
            "ping 192.0.2.16 -> host",
            "icmp is admitted from 192.0.2.15, not from 192.0.2.16",
            true,
        ),
        ("host -> icmp 34.95.12.47", none, false),
        ("gre 192.0.2.10 -> host", none, false),
        (
            "docker0 172.17.0.2 -> tcp 198.51.100.7:5433",
            "198.51.100.7 is open on 5432, not on 5433",
            true,
        ),
        (
            "docker0 172.17.0.2 -> tcp br-iso 172.18.0.2:80",
            none,
            false,
        ),
        ("tcp 192.0.2.10 -> docker0 172.17.0.2:8080", none, false),
    ] {
        let found = explain(&loaded, flow);
        assert_eq!(found.verdict, FlowVerdict::Dropped, "{found}");
        let told = found.nearest.as_ref().map(|n| n.text.as_str());
        assert_eq!(told.unwrap_or_default(), nearest, "{found}");
        if let Some(near) = &found.nearest {
            let near = loaded.explain(&near.flow);
            assert_eq!(near.verdict, FlowVerdict::Passes, "{near}");
        }
        assert_eq!(found.opens.is_some(), opens, "{found}");
        if let Some(lines) = &found.opens {
            let with = graph(&format!("{POLICY}\n{lines}"));
            let opened = explain(&with, flow);
            assert_eq!(opened.verdict, FlowVerdict::Passes, "{opened}");
        }
    }
}

#[test]
fn what_adds_to_an_exemption_that_is_there_says_so() {
    let loaded = graph(POLICY);
    for (flow, lines, from, to) in [
        (
            "docker0 172.17.0.2 -> tcp host:8889",
            "# in the [[bridge]] of docker0\nports = [\"tcp/8889\"]\n",
            "ports = [\"tcp/8888\"]",
            "ports = [\"tcp/8889\"]",
        ),
        (
            "br-iso 172.18.0.2 -> tcp br-iso 172.18.0.3:80",
            "# in the [[bridge]] of br-iso\nisolate = false\n",
            "isolate = true",
            "isolate = false",
        ),
    ] {
        let found = explain(&loaded, flow);
        assert_eq!(found.verdict, FlowVerdict::Dropped, "{found}");
        assert_eq!(found.opens.as_deref(), Some(lines));
        let opened = explain(&graph(&POLICY.replace(from, to)), flow);
        assert_eq!(opened.verdict, FlowVerdict::Passes, "{opened}");
    }
    let found = explain(&loaded, "docker1 172.19.0.2 -> tcp host:8889");
    let with = graph(&format!("{POLICY}\n{}", found.opens.unwrap()));
    let opened = explain(&with, "docker1 172.19.0.2 -> tcp host:8889");
    assert_eq!(opened.verdict, FlowVerdict::Passes, "{opened}");
}

#[test]
fn an_answer_that_is_dropped_is_told() {
    let mut graph = graph(POLICY);
    for table in &mut graph.tables {
        if let Some(chain) = table.chains.iter_mut().find(|chain| chain.name == "input") {
            chain
                .rules
                .retain(|rule| rule.comment.is_some() || rule.statements.len() < 3);
        }
    }
    let found = explain(&graph, "host -> tcp 34.95.12.47:443");
    assert_eq!(found.verdict, FlowVerdict::Dropped, "{found}");
    assert_eq!(found.packet, "the answer");
}

#[test]
fn what_nobody_knows_is_undecided_only_where_it_matters() {
    use crate::graph::{
        BaseChain, Chain, ChainPolicy, ChainType, Hook, Rule, Statement, Table, Verdict,
    };
    let unknown = |name: &str| Statement::Unknown {
        name: name.to_owned(),
        data: Vec::new(),
    };
    let with = |statements: Vec<Statement>, hook| {
        let mut graph = graph(POLICY);
        let mut chain = Chain::base(
            "any",
            BaseChain {
                kind: ChainType::Filter,
                hook,
                priority: 0,
                policy: ChainPolicy::Accept,
                devices: Vec::new(),
            },
        );
        chain.rules.push(Rule::new(statements));
        let mut table = Table::airgap(Family::Ip, String::new());
        table.name = "other".to_owned();
        table.chains.push(chain);
        graph.tables.push(table);
        graph
    };
    let drop = || Statement::Verdict(Verdict::Drop);
    let open = "host -> tcp 34.95.12.47:443";
    let shut = "host -> tcp 34.95.12.47:444";
    for (statements, hook, of_open, of_shut) in [
        // Whatever it says, what has no opening is dropped.
        (
            vec![unknown("match"), drop()],
            Hook::Output,
            FlowVerdict::Undecided,
            FlowVerdict::Dropped,
        ),
        (
            vec![unknown("match"), Statement::Verdict(Verdict::Accept)],
            Hook::Output,
            FlowVerdict::Passes,
            FlowVerdict::Dropped,
        ),
        // A target may do anything to a packet.
        (
            vec![unknown("target")],
            Hook::Output,
            FlowVerdict::Undecided,
            FlowVerdict::Undecided,
        ),
        (
            vec![drop()],
            Hook::Output,
            FlowVerdict::Dropped,
            FlowVerdict::Dropped,
        ),
        (
            vec![drop()],
            Hook::Forward,
            FlowVerdict::Passes,
            FlowVerdict::Dropped,
        ),
        (
            vec![Statement::Verdict(Verdict::Other(3))],
            Hook::Input,
            FlowVerdict::Undecided,
            FlowVerdict::Dropped,
        ),
    ] {
        let graph = with(statements, hook);
        let found = explain(&graph, open);
        assert_eq!(found.verdict, of_open, "{found}");
        assert_eq!(
            found.unsure.is_empty(),
            of_open != FlowVerdict::Undecided,
            "{found}"
        );
        let found = explain(&graph, shut);
        assert_eq!(found.verdict, of_shut, "{found}");
    }
}

#[test]
fn an_explanation_is_data_too() {
    let found = explain(&graph(POLICY), "host -> tcp 34.95.12.47:80");
    let data = serde_json::to_value(&found).unwrap();
    assert_eq!(data["verdict"], "dropped");
    assert_eq!(data["flow"], "host -> tcp 34.95.12.47:80");
    assert_eq!(data["nearest"]["flow"], "host -> tcp 34.95.12.47:443");
    assert_eq!(data["by"]["comment"], "no opening out");
    assert!(!World::default().is_observed());
}
