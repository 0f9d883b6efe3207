//! The graph as JSON: the objects of the ruleset, each rule as text and with
//! the line of the policy that it came from.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::text::rule_text;
use super::{Chain, Origins, RuleGraph, Set, Table};

impl Serialize for RuleGraph {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tables: Vec<_> = self
            .tables
            .iter()
            .map(|table| table_json(table, &self.origins))
            .collect();
        let mut object = serializer.serialize_struct("RuleGraph", 1)?;
        object.serialize_field("tables", &tables)?;
        object.end()
    }
}

fn table_json(table: &Table, origins: &Origins) -> Value {
    json!({
        "family": table.family.to_string(),
        "name": table.name,
        "comment": table.comment,
        "sets": table.sets.iter().map(set_json).collect::<Vec<_>>(),
        "chains": table.chains.iter().map(|chain| chain_json(chain, origins)).collect::<Vec<_>>(),
    })
}

fn set_json(set: &Set) -> Value {
    json!({
        "name": set.name,
        "type": set.key.iter().map(|t| t.name()).collect::<Vec<_>>(),
        "flags": if set.interval { vec!["interval"] } else { vec![] },
        "size": set.size,
        "comment": set.comment,
        "elements": set.elements.iter().map(|(element, _)| set.element_text(element)).collect::<Vec<_>>(),
    })
}

fn chain_json(chain: &Chain, origins: &Origins) -> Value {
    let rules: Vec<_> = chain
        .rules
        .iter()
        .map(|rule| json!({ "rule": rule_text(rule), "origin": origins.get(rule.origin) }))
        .collect();
    let mut object = json!({ "name": chain.name, "rules": rules });
    if let (Some(base), Some(fields)) = (&chain.base, object.as_object_mut()) {
        fields.insert("type".into(), base.kind.name().into());
        fields.insert("hook".into(), base.hook.name().into());
        fields.insert("priority".into(), base.priority.into());
        fields.insert("policy".into(), base.policy.name().into());
        fields.insert("devices".into(), base.devices.clone().into());
    }
    object
}
