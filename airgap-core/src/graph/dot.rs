//! The graph as a picture: a digraph for Graphviz, with an edge from each
//! chain to the chains that it goes on to and the sets that it looks into.

use std::fmt::{self, Write as _};

use super::{RuleGraph, Statement, Table, Verdict};

/// Shows a graph in the language of dot(1).
struct Dot<'a>(&'a RuleGraph);

impl RuleGraph {
    /// The graph in the language of dot(1).
    #[must_use]
    pub fn to_dot(&self) -> String {
        Dot(self).to_string()
    }
}

impl fmt::Display for Dot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "digraph airgap {{\n\trankdir=LR;\n\tnode [fontname=\"monospace\"];"
        )?;
        for table in &self.0.tables {
            let cluster = format!("{} {}", table.family, table.name);
            writeln!(
                f,
                "\tsubgraph \"cluster {cluster}\" {{\n\t\tlabel=\"table {cluster}\";"
            )?;
            write_table(table, &cluster, f)?;
            f.write_str("\t}\n")?;
        }
        f.write_str("}\n")
    }
}

fn write_table(table: &Table, cluster: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for set in &table.sets {
        let count = set.elements.len();
        let plural = if count == 1 { "" } else { "s" };
        writeln!(
            f,
            "\t\t\"{cluster} @{}\" [shape=cylinder, label=\"@{}\\n{count} element{plural}\"];",
            set.name, set.name
        )?;
    }
    for chain in &table.chains {
        let mut label = chain.name.clone();
        if let Some(base) = &chain.base {
            let _ = write!(
                label,
                "\\nhook {} priority {}\\npolicy {}",
                base.hook.name(),
                base.priority,
                base.policy.name()
            );
        }
        let shape = if chain.base.is_some() { "box3d" } else { "box" };
        writeln!(
            f,
            "\t\t\"{cluster} {}\" [shape={shape}, label=\"{label}\"];",
            chain.name
        )?;
        let mut edges = Vec::new();
        for statement in chain.rules.iter().flat_map(|rule| &rule.statements) {
            match statement {
                Statement::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => {
                    edges.push((to.clone(), "solid"))
                }
                Statement::Lookup { set, .. } => edges.push((format!("@{set}"), "dashed")),
                _ => {}
            }
        }
        edges.sort();
        edges.dedup();
        for (to, style) in edges {
            writeln!(
                f,
                "\t\t\"{cluster} {}\" -> \"{cluster} {to}\" [style={style}];",
                chain.name
            )?;
        }
    }
    Ok(())
}
