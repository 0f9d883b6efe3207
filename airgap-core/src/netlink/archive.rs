//! The air gap's tables as bytes, in the messages by which the kernel is told
//! of them: nothing that can be loaded gets lost on the way through a file.

use nftnl::nftnl_sys::libc;

use super::attr::Attributes;
use super::batch::{Batch, Operation, Position, attr};
use super::decode::{self, ElementCollector};
use super::socket::messages;
use crate::graph::{Family, Origins, RuleGraph, Table};

/// `NFNL_MSG_BATCH_END`
const BATCH_END: u16 = 17;

/// The tables of a graph, which are all the air gap's, as bytes.
pub(crate) fn pack(graph: &RuleGraph) -> Vec<u8> {
    let mut operations = Vec::new();
    for table in &graph.tables {
        let family = table.family;
        operations.push(Operation::AddTable(table));
        for set in &table.sets {
            operations.push(Operation::AddSet(family, set));
            let elements = set.elements.clone();
            operations.push(Operation::AddElements(family, set, elements));
        }
        for chain in &table.chains {
            operations.push(Operation::AddChain(family, chain));
            operations.extend(
                chain
                    .rules
                    .iter()
                    .map(|rule| Operation::AddRule(family, &chain.name, rule, Position::Last)),
            );
        }
    }
    let batch = Batch::new(&operations, 0);
    let mut bytes = Vec::with_capacity(batch.len());
    for part in batch.slices() {
        bytes.extend_from_slice(&part);
    }
    bytes
}

/// The graph that was packed; none if the bytes are not whole.
pub(crate) fn unpack(bytes: &[u8]) -> Option<RuleGraph> {
    let mut reader = Reader::default();
    let mut ended = false;
    for message in messages(bytes) {
        ended = message.kind == BATCH_END;
        let Some((head, attributes)) = message.payload.split_at_checked(4) else {
            continue;
        };
        if i32::from(message.kind >> 8) == libc::NFNL_SUBSYS_NFTABLES {
            let family = Family::from_number(*head.first()?)?;
            reader.message(
                i32::from(message.kind & 0xff),
                family,
                Attributes(attributes),
            )?;
        }
    }
    reader.finish_set();
    ended.then_some(RuleGraph {
        tables: reader.tables,
        origins: Origins::default(),
    })
}

#[derive(Default)]
struct Reader {
    tables: Vec<Table>,
    /// The elements of the last set of the last table.
    elements: Option<ElementCollector>,
}

impl Reader {
    /// Takes a message; each is about the table that came last.
    fn message(&mut self, kind: i32, family: Family, a: Attributes) -> Option<()> {
        if kind != libc::NFT_MSG_NEWSETELEM {
            self.finish_set();
        }
        if kind == libc::NFT_MSG_NEWTABLE {
            self.tables.push(decode::table(family, a)?);
            return Some(());
        }
        let table = self.tables.last_mut().filter(|t| t.family == family)?;
        match kind {
            libc::NFT_MSG_NEWSET => {
                table.sets.push(decode::set(a)?);
                self.elements = Some(ElementCollector::default());
            }
            libc::NFT_MSG_NEWSETELEM => {
                let set = table.sets.last()?;
                if a.text(attr::ELEM_LIST_SET).as_deref() != Some(&set.name) {
                    return None;
                }
                self.elements.as_mut()?.message(set, a);
            }
            libc::NFT_MSG_NEWCHAIN => table.chains.push(decode::chain(family, a)?),
            libc::NFT_MSG_NEWRULE => {
                let (chain, rule) = decode::rule(family, a, &table.sets)?;
                let last = table.chains.last_mut().filter(|c| c.name == chain)?;
                last.rules.push(rule);
            }
            _ => return None,
        }
        Some(())
    }

    fn finish_set(&mut self) {
        if let Some(elements) = self.elements.take()
            && let Some(set) = self.tables.last_mut().and_then(|t| t.sets.last_mut())
        {
            set.elements = elements.finish(set);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use super::*;
    use crate::Policy;
    use crate::graph::Statement;

    /// With sets of every kind, jumps, translations and logs.
    const POLICY: &str = r#"
        version = 1
        [host]
        resolvers = ["192.0.2.53"]
        dhcp = true
        uplinks = ["eth0"]
        strict = true
        [[allow]]
        to = ["192.0.2.1", "198.51.100.0/24", "203.0.113.7-203.0.113.9", "255.255.255.254/31", "2001:db8::/48"]
        port = [443, "8000-8099"]
        [[allow]]
        to = "192.0.2.2"
        port = 25
        user = 7
        [[admit]]
        from = "192.0.2.10"
        port = 22
        [[admit]]
        from = "192.0.2.11"
        port = 8080
        via = "docker0"
        [[bridge]]
        name = "docker0"
        ports = ["tcp/8888"]
        isolate = true
        [[bridge]]
        name = "br-*"
        [[forward]]
        from = "docker0"
        to = "198.51.100.7"
        port = 5432
        proto = "tcp"
        listen = "172.17.0.1:15432"
    "#;

    fn graph() -> RuleGraph {
        let mut graph = RuleGraph::compile(&Policy::from_toml(POLICY).unwrap()).unwrap();
        graph.tables.iter_mut().for_each(Table::sort);
        graph
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let graph = graph();
        assert!(graph.tables.len() == 3 && graph.element_count() > 5);
        let found = unpack(&pack(&graph)).unwrap();
        assert_eq!(found.to_string(), graph.to_string());
        assert_eq!(found, graph);
        let nothing = RuleGraph::default();
        assert_eq!(unpack(&pack(&nothing)), Some(nothing));
    }

    #[test]
    fn what_is_cut_off_is_not_whole() {
        let bytes = pack(&graph());
        for length in (0..bytes.len()).step_by(997).chain([bytes.len() - 1]) {
            assert_eq!(unpack(bytes.get(..length).unwrap()), None, "{length}");
        }
    }

    #[test]
    fn what_has_no_word_is_lost_and_told() {
        let mut graph = graph();
        let rule = graph
            .tables
            .iter_mut()
            .flat_map(|t| &mut t.chains)
            .find_map(|c| c.rules.first_mut())
            .unwrap();
        rule.statements.insert(
            0,
            Statement::Unknown {
                name: "quantum".to_owned(),
                data: vec![1, 2, 3, 4],
            },
        );
        assert_ne!(unpack(&pack(&graph)), Some(graph));
    }
}
