//! The schema and the reader agree.

use serde_json::{Map, Value, json};

use super::FULL;
use crate::policy::{Policy, schema};

/// Whether `value` fits `schema`. Knows the keywords that the schema of a
/// policy uses but for `pattern`, and stops at any other.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(schema) = schema else {
        return schema.as_bool().unwrap();
    };
    schema.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$ref" => {
            let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
            fits(root, &root["$defs"][name], value)
        }
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "boolean" => value.is_boolean(),
            other => panic!("type {other}"),
        },
        "const" => value == rule,
        "anyOf" => rule
            .as_array()
            .unwrap()
            .iter()
            .any(|one| fits(root, one, value)),
        "oneOf" => {
            rule.as_array()
                .unwrap()
                .iter()
                .filter(|one| fits(root, one, value))
                .count()
                == 1
        }
        "required" => value.as_object().is_none_or(|object| {
            rule.as_array()
                .unwrap()
                .iter()
                .all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            let rules = rule.as_object().unwrap();
            object
                .iter()
                .all(|(key, value)| rules.get(key).is_none_or(|rule| fits(root, rule, value)))
        }),
        "additionalProperties" => {
            assert_eq!(rule, &json!(false));
            let known = schema["properties"].as_object().unwrap();
            value
                .as_object()
                .is_none_or(|object| object.keys().all(|key| known.contains_key(key)))
        }
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| fits(root, rule, item))),
        "minItems" => value
            .as_array()
            .is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap()),
        "maxLength" => value
            .as_str()
            .is_none_or(|text| text.chars().count() as u64 <= rule.as_u64().unwrap()),
        "minimum" => value
            .as_f64()
            .is_none_or(|number| number >= rule.as_f64().unwrap()),
        "maximum" => value
            .as_f64()
            .is_none_or(|number| number <= rule.as_f64().unwrap()),
        "if" => {
            let branch = if fits(root, rule, value) {
                &schema["then"]
            } else {
                &schema["else"]
            };
            fits(root, branch, value)
        }
        "then" | "else" | "pattern" | "description" | "title" | "default" | "examples"
        | "$defs" | "$schema" => true,
        other => panic!("the test does not know the keyword {other}"),
    })
}

fn agrees(root: &Value, text: &str, good: bool) {
    let value = serde_json::from_str(text).unwrap();
    assert_eq!(fits(root, root, &value), good, "the schema on {text}");
    assert_eq!(
        Policy::from_json(text).is_ok(),
        good,
        "the reader on {text}"
    );
}

#[test]
fn examples_fit() {
    let root = schema();
    assert_eq!(
        root["$schema"],
        json!("https://json-schema.org/draft/2020-12/schema")
    );
    for example in root["examples"].as_array().unwrap() {
        agrees(&root, &example.to_string(), true);
    }
    agrees(&root, &Policy::from_toml(FULL).unwrap().to_json(), true);
    for (name, key, rest) in [
        ("Address", "to", json!({ "port": 1 })),
        (
            "ContainerSource",
            "from",
            json!({ "to": "a.example", "port": 1 }),
        ),
        ("BridgeName", "name", json!({})),
        (
            "Listen",
            "listen",
            json!({ "from": "docker0", "to": "a.example", "port": 1 }),
        ),
    ] {
        let list = match key {
            "to" => "allow",
            "name" => "bridge",
            _ => "forward",
        };
        for example in root["$defs"][name]["examples"].as_array().unwrap() {
            let mut opening: Map<String, Value> = rest.as_object().unwrap().clone();
            opening.insert(key.to_owned(), example.clone());
            agrees(
                &root,
                &json!({ "version": 1, list: [opening] }).to_string(),
                true,
            );
        }
    }
}

/// The keys that the reader lists when it meets one that it does not know.
fn known(policy: &Value) -> Vec<String> {
    let error = Policy::from_json(&policy.to_string()).unwrap_err();
    let label = error
        .diagnostics()
        .iter()
        .find(|d| d.message == "unknown key `zzzzzzzz`")
        .unwrap()
        .label
        .clone();
    let mut keys: Vec<_> = label
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    keys.sort();
    keys
}

#[test]
fn the_keys_are_the_same() {
    let root = schema();
    let keys = |schema: &Value| {
        let mut keys: Vec<_> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        keys.sort();
        keys
    };
    let odd = json!({ "zzzzzzzz": 1 });
    assert_eq!(keys(&root), known(&odd));
    let defs = &root["$defs"];
    for (name, policy) in [
        ("HostNeeds", json!({ "host": odd })),
        ("AllowPair", json!({ "allow": [odd] })),
        ("Admit", json!({ "admit": [odd] })),
        ("BridgeExemption", json!({ "bridge": [odd] })),
        ("ServiceForwarder", json!({ "forward": [odd] })),
    ] {
        assert_eq!(keys(&defs[name]), known(&policy), "{name}");
        assert_eq!(defs[name]["additionalProperties"], json!(false), "{name}");
    }
}

#[test]
fn the_required_keys_are_the_same() {
    let root = schema();
    let full: Value = serde_json::from_str(&Policy::from_toml(FULL).unwrap().to_json()).unwrap();
    // Without any one key, both say the same.
    for list in ["allow", "admit", "bridge", "forward"] {
        for (index, opening) in full[list].as_array().unwrap().iter().enumerate() {
            for key in opening.as_object().unwrap().keys() {
                let mut policy = full.clone();
                policy[list][index].as_object_mut().unwrap().remove(key);
                let text = policy.to_string();
                assert_eq!(
                    fits(&root, &root, &policy),
                    Policy::from_json(&text).is_ok(),
                    "{list}[{index}] without {key}"
                );
            }
        }
    }
    for key in ["version", "host", "allow", "admit", "bridge", "forward"] {
        let mut policy = full.clone();
        policy.as_object_mut().unwrap().remove(key);
        agrees(&root, &policy.to_string(), key != "version");
    }
}

#[test]
fn good_and_bad_policies() {
    let root = schema();
    for good in [
        r#"{"version": 1}"#,
        r#"{"version": 1, "host": {}}"#,
        r#"{"version": 1, "host": {"resolvers": "system", "dhcp": true}}"#,
        r#"{"version": 1, "allow": [{"to": "a.example", "port": [1, "2-3"]}]}"#,
        r#"{"version": 1, "admit": [{"from": "192.0.2.1", "proto": "icmp"}]}"#,
        r#"{"version": 1, "bridge": [{"name": "br-*", "ports": []}]}"#,
        r#"{"version": 1, "allow": []}"#,
    ] {
        agrees(&root, good, true);
    }
    for bad in [
        r#"{}"#,
        r#"[]"#,
        r#"{"version": 2}"#,
        r#"{"version": "1"}"#,
        r#"{"version": 1, "host": null}"#,
        r#"{"version": 1, "host": {"strict": null}}"#,
        r#"{"version": 1, "host": {"resolvers": "192.0.2.1"}}"#,
        r#"{"version": 1, "host": {"resolvers": []}}"#,
        r#"{"version": 1, "host": {"dhcp": "on"}}"#,
        r#"{"version": 1, "host": {"uplinks": []}}"#,
        r#"{"version": 1, "host": {"uplinks": ["averylongifname0"]}}"#,
        r#"{"version": 1, "host": {"colour": 1}}"#,
        r#"{"version": 1, "allow": {}}"#,
        r#"{"version": 1, "allow": [{"to": [], "port": 1}]}"#,
        r#"{"version": 1, "allow": [{"to": "a.example", "port": 0}]}"#,
        r#"{"version": 1, "allow": [{"to": "a.example", "port": 65536}]}"#,
        r#"{"version": 1, "allow": [{"to": "a.example", "port": 1, "proto": "icmp"}]}"#,
        r#"{"version": 1, "allow": [{"to": "a.example", "port": 1, "user": -1}]}"#,
        r#"{"version": 1, "allow": [{"to": "a.example", "port": 1, "user": 4294967295}]}"#,
        r#"{"version": 1, "allow": [{"to": "a.example", "port": 1, "comment": 1}]}"#,
        r#"{"version": 1, "admit": [{"from": "192.0.2.1"}]}"#,
        r#"{"version": 1, "admit": [{"from": "192.0.2.1", "proto": "icmp", "port": 1}]}"#,
        r#"{"version": 1, "admit": [{"from": "192.0.2.1", "proto": "icmp", "via": "docker0"}]}"#,
        r#"{"version": 1, "bridge": [{"name": ""}]}"#,
        r#"{"version": 1, "bridge": [{"name": "br0", "ports": "tcp/1"}]}"#,
        r#"{"version": 1, "forward": [{"from": "docker0", "to": "a.example", "port": 1, "listen": 80}]}"#,
    ] {
        agrees(&root, bad, false);
    }
}
