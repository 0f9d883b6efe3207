//! Plain text read table by table is what the parsers of the whole languages
//! read.

use std::sync::Arc;

use proptest::prelude::*;

use super::FULL;
use crate::policy::load::{Form, tree};
use crate::policy::{Place, Policy, Source, reader};

/// The policy by its tree, if it is good.
fn by_tree(source: &Arc<Source>, form: Form) -> Option<Policy> {
    let root = tree(source.text(), form).ok()?;
    reader::read(&root, Arc::clone(source)).ok()
}

/// Where the openings were written, which policies do not compare.
fn places(policy: &Policy) -> Vec<Place> {
    let allow = policy.allow.iter().map(|opening| opening.place);
    let admit = policy.admit.iter().map(|opening| opening.place);
    let bridge = policy.bridge.iter().map(|opening| opening.place);
    let forward = policy.forward.iter().map(|opening| opening.place);
    allow.chain(admit).chain(bridge).chain(forward).collect()
}

/// Reads a text both ways, and says whether it was plain.
fn compare(text: &str, form: Form) -> bool {
    let source = Arc::new(Source::of_policy("p", text.to_owned(), form, None));
    let Some(policy) = reader::read_plain(&source, form) else {
        return false;
    };
    let tree = by_tree(&source, form);
    assert_eq!(Some(&policy), tree.as_ref(), "{text}");
    assert_eq!(tree.as_ref().map(places), Some(places(&policy)), "{text}");
    true
}

/// Pairs of one address and one port, which have a shorter way of their own.
const PAIRS: &str = "version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 443\n\n[[allow]]\nport=[53]\nproto = \"udp\"\nto = [\"2001:db8::1\"]\n\
    [[allow]]\nport = 1\nto=\"10.0.0.9\"\nproto = \"tcp\"\n[host]\n[[allow]]\nto = \"198.51.100.255\"\nport = 65535";

/// A policy of every kind of opening, and the same as JSON on many lines.
fn samples() -> [(String, Form); 6] {
    let policy = Policy::from_toml(FULL).unwrap();
    let pairs = Policy::from_toml(PAIRS).unwrap();
    [
        (PAIRS.to_owned(), Form::Toml),
        (pairs.to_json(), Form::Json),
        (serde_json::to_string_pretty(&pairs).unwrap(), Form::Json),
        (FULL.to_owned(), Form::Toml),
        (policy.to_json(), Form::Json),
        (serde_json::to_string_pretty(&policy).unwrap(), Form::Json),
    ]
}

#[test]
fn plain_text_is_read_table_by_table() {
    for (text, form) in samples() {
        assert!(compare(&text, form), "{text}");
        assert!(compare(&text.replace('\n', "\r\n"), form), "{text}");
        assert!(
            compare(&text.replace("billing", "Büro 😀 in"), form),
            "{text}"
        );
    }
    let odd = "\n# é\n version=1 # one\n\t[[allow]]#é\n to = [ # é\n\"192.0.2.1\" ,\n\n\"::1\", ] \n  port=1\n[host]";
    assert!(compare(odd, Form::Toml));
    assert!(compare("version = 1", Form::Toml));
    assert!(compare(
        " {\"allow\" : [ ] , \"host\":{}, \"version\":1}\n",
        Form::Json
    ));
}

#[test]
fn what_is_not_plain_is_left_to_the_parsers() {
    for text in [
        "version = 1\nversion = 1",
        "version = 1 host = 2",
        "version = 01",
        "version = 1_0",
        "version = +1",
        "version = 1.0",
        "\"version\" = 1",
        "version = 1\nhost.strict = true",
        "version = 1\nallow = []",
        "version = 1\n[host]\n[host]",
        "version = 1\n[[host]]",
        "version = 1\n[allow]\nto = \"192.0.2.1\"\nport = 1",
        "version = 1\n[[ allow ]]\nto = \"192.0.2.1\"\nport = 1",
        "version = 1\n[[allow]]\nto = '192.0.2.1'\nport = 1",
        "version = 1\n[[allow]]\nto = \"\"\"192.0.2.1\"\"\"\nport = 1",
        "version = 1\n[[allow]]\nto = \"192.0.2.\\u0031\"\nport = 1",
        "version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 1\nport = 2",
        "version = 1\n[[allow]]\nto = [\"192.0.2.1\",,]\nport = 1",
        "version = 1\n[[allow]]\nto = [[\"192.0.2.1\"]]\nport = 1",
        "version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 0",
        "version = 1\n# \u{1}",
        "version = 1\n\r",
        "version = 1\n\0",
    ] {
        assert!(!compare(text, Form::Toml), "{text}");
    }
    for text in [
        "{\"version\":1,\"version\":1}",
        "{\"version\":1,}",
        "{\"version\":1}}",
        "{\"version\":1} // one",
        "{\"version\":01}",
        "{\"version\":1.0}",
        "{\"version\":1e0}",
        "{\"versio\\u006e\":1}",
        "{\"version\":1,\"host\":{},\"host\":{}}",
        "{\"version\":1,\"allow\":[],\"allow\":[]}",
        "{\"version\":1,\"allow\":[{\"to\":[\"192.0.2.1\",],\"port\":1}]}",
        "{\"version\":1,\"allow\":[{\"to\":\"192.0.2.1\",\"port\":1},]}",
        "{\"version\":1,\"allow\":{}}",
        "{\"version\":1,\"host\":null}",
    ] {
        assert!(!compare(text, Form::Json), "{text}");
    }
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|a| std::net::Ipv4Addr::from(a).to_string()),
        any::<[u8; 16]>().prop_map(|a| std::net::Ipv6Addr::from(a).to_string()),
        (0_u8..=32).prop_map(|length| format!("0.0.0.0/{length}")),
        "[a-z]{1,8}\\.example",
        Just("10.0.0.1-10.0.0.9".to_owned()),
    ]
}

prop_compose! {
    /// Good and bad openings in plain and in odd layouts.
    fn opening()(
        list in prop::sample::select(vec!["[[allow]]", "[[admit]]", "[host]", "[[forward]]", "[[bridge]]"]),
        to in prop::collection::vec(address(), 1..4),
        port in 0_u32..70_000,
        alone: bool,
        keys in prop::sample::subsequence(vec![
            "proto = \"udp\"", "user = \"connector\"", "user = 7", "comment = \"a # b é\"", "strict = true", "dhcp = false",
            "name = \"br0\"", "isolate = true", "comment = 'x'", "resolvers = \"system\"", "# a comment",
        ], 0..4),
        between in prop::sample::select(vec!["\n", "\n\n", " # é\n", "\r\n", "  \n\t"]),
    ) -> String {
        let list_of = if alone { format!("{:?}", to[0]) } else { format!("[{}]", to.iter().map(|a| format!("{a:?}")).collect::<Vec<_>>().join(", ")) };
        let mut lines = vec![list.to_owned()];
        match list {
            "[[allow]]" => lines.extend([format!("to = {list_of}"), format!("port = {port}")]),
            "[[admit]]" => lines.extend([format!("from = {list_of}"), format!("port = \"{port}\"")]),
            "[[forward]]" => lines.extend([format!("from = {:?}", "docker0"), format!("to = {list_of}"), format!("port = {port}")]),
            _ => {}
        }
        lines.extend(keys.into_iter().map(str::to_owned));
        lines.push(String::new());
        lines.join(between)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_read_the_same(openings in prop::collection::vec(opening(), 0..5)) {
        let text = format!("version = 1\n{}", openings.concat());
        compare(&text, Form::Toml);
        if let Ok(policy) = Policy::from_toml(&text) {
            prop_assert!(compare(&policy.to_json(), Form::Json));
            prop_assert!(compare(&serde_json::to_string_pretty(&policy).unwrap(), Form::Json));
        }
    }

    #[test]
    fn damage_is_never_read_as_something_else(
        sample in 0_usize..6,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..3, prop::sample::select(b"\"\\[]{},:=#.-_ \n\r\t01ae\0\x7f".to_vec())), 1..4),
    ) {
        let (text, form) = samples().into_iter().nth(sample).unwrap();
        let mut bytes = text.into_bytes();
        for (index, kind, byte) in changes {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(text) = String::from_utf8(bytes) {
            compare(&text, form);
        }
    }
}
