//! No bytes make the reader panic, and none take it long.

use proptest::prelude::*;

use super::{FULL, briefs, refused};
use crate::policy::{Policy, Style};

/// Reads, warns and renders, whatever comes of it.
fn exercise(bytes: &[u8]) {
    for name in ["p.toml", "p.json"] {
        match Policy::from_bytes(name, bytes) {
            Ok(policy) => {
                for warning in policy.warnings() {
                    let _ = policy.render(&warning, Style::Coloured);
                }
                let again =
                    Policy::from_json(&policy.to_json()).expect("what it wrote can be read");
                assert_eq!(policy, again);
            }
            Err(error) => {
                assert!(!error.diagnostics().is_empty());
                let _ = error.render(Style::Plain);
                for diagnostic in error.diagnostics() {
                    assert!(diagnostic.place <= diagnostic.end, "{diagnostic:?}");
                }
            }
        }
    }
}

/// Pieces that policies are made of, and pieces that break them.
const PIECES: &[&str] = &[
    "version = 1\n",
    "[host]\n",
    "[[allow]]\n",
    "[[admit]]\n",
    "[[bridge]]\n",
    "[[forward]]\n",
    "to = ",
    "from = ",
    "port = ",
    "name = ",
    "via = ",
    "listen = ",
    "proto = ",
    "user = ",
    "resolvers = ",
    "dhcp = ",
    "uplinks = ",
    "ports = ",
    "comment = ",
    "\"192.0.2.1\"",
    "\"10.0.0.0/8\"",
    "\"10.0.0.1-10.0.0.9\"",
    "\"::1\"",
    "\"2001:db8::/32\"",
    "\"a.example\"",
    "\"br-*\"",
    "\"*\"",
    "\"tcp/80\"",
    "\"172.17.0.1:80\"",
    "\"[::1]:80\"",
    "443",
    "0",
    "\"1-2\"",
    "-1",
    "1.5",
    "true",
    "1979-05-27",
    "[",
    "]",
    "{",
    "}",
    ",",
    "=",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "\n",
    "\r\n",
    "#",
    "\\u001b",
    "\u{1b}",
    "é",
    "😀",
    "\0",
    "null",
    "{\"version\":1,",
    "\"allow\":[",
    "\"to\":",
    "\"port\":",
    ":",
    "//",
    "/*",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
    }

    #[test]
    fn text(text in "\\PC{0,100}") {
        exercise(text.as_bytes());
    }

    #[test]
    fn pieces(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
        exercise(pieces.concat().as_bytes());
    }

    #[test]
    fn mutated(changes in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..3, any::<u8>()), 1..6), json: bool) {
        let mut bytes = if json { Policy::from_toml(FULL).unwrap().to_json().into_bytes() } else { FULL.as_bytes().to_vec() };
        for (index, kind, byte) in changes {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        exercise(&bytes);
    }

    #[test]
    fn values(to in "[0-9a-f.:/%-]{0,20}", port in "[0-9-]{0,8}", name in "[a-z0-9*. -]{0,18}") {
        let text = format!(
            "version = 1\n[[allow]]\nto = {to:?}\nport = {port:?}\n[[forward]]\nfrom = {name:?}\nto = {name:?}\nport = {port:?}\nlisten = {to:?}\n"
        );
        exercise(text.as_bytes());
    }
}

#[test]
fn depth_does_not_overflow_the_stack() {
    const DEEP: usize = 200_000;
    let keys = vec!["a"; 79].join(".");
    for text in [
        format!("a = {}", "[".repeat(DEEP)),
        format!("a = {}", "{a=".repeat(DEEP)),
        format!("{}a = 1", "a.".repeat(DEEP)),
        format!("[{}a]", "a.".repeat(DEEP)),
        // The deepest that the parser takes: dotted keys in nested tables.
        format!(
            "{keys} = {}1{}",
            format!("{{{keys} = ").repeat(79),
            "}".repeat(79)
        ),
        "[".repeat(DEEP),
        "{\"a\":".repeat(DEEP),
        format!("{}1{}", "{\"a\":".repeat(99), "}".repeat(99)),
        format!("'{}", "[".repeat(DEEP)),
        format!("/*\"*/{}", "[".repeat(DEEP)),
        format!("x\"{}", "[".repeat(DEEP)),
    ] {
        exercise(text.as_bytes());
    }
}

#[test]
fn depth_is_said_where_it_is_too_much() {
    let toml = Policy::from_toml(&format!("version = 1\na = {}", "[".repeat(200)));
    assert_eq!(briefs(&refused(toml)), ["2:105 <[> values nest too deep"]);
    let json = Policy::from_json(&"[".repeat(200));
    assert_eq!(briefs(&refused(json)), ["1:101 <[> values nest too deep"]);
    // Dots and brackets of many lines do not add up.
    let flat = format!(
        "version = 1\na = [\n{}]\n{}",
        "[1.5],\n".repeat(500),
        "[b.c]\n"
    );
    assert_eq!(
        briefs(&refused(Policy::from_toml(&flat))),
        ["2:1 <a> unknown key `a`", "504:2 <b> unknown key `b`"]
    );
}

#[test]
fn a_hundred_thousand_openings_take_no_time() {
    let openings = |line: &dyn Fn(usize) -> String| {
        let lines: Vec<_> = (0..100_000).map(line).collect();
        format!("version = 1\n{}", lines.concat())
    };
    let octets = |i: usize| format!("{}.{}.{}", i >> 16, i >> 8 & 255, i & 255);
    for text in [
        openings(&|i| format!("[[allow]]\nto = \"10.{}\"\nport = 443\n", octets(i))),
        openings(&|i| {
            format!(
                "[[allow]]\nto = \"0.0.0.0/0\"\nport = {}\nuser = {i}\n",
                i % 60_000 + 1
            )
        }),
        openings(&|i| {
            format!(
                "[[allow]]\nto = \"10.{0}-11.{0}\"\nport = {1}\n",
                octets(i),
                i % 60_000 + 1
            )
        }),
        openings(&|i| format!("[[bridge]]\nname = \"br{i}*\"\n")),
    ] {
        let start = std::time::Instant::now();
        let warnings = Policy::from_toml(&text).unwrap().warnings();
        drop(warnings);
        // Far more than it takes: what is quadratic takes minutes.
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    }
}
