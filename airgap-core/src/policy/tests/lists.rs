//! Lists of addresses in files of their own.

use std::fs;
use std::path::Path;

use crate::policy::{Allow, Policy, PolicyError};

const POLICY: &str = "version = 1\n[[allow]]\nto = { file = \"lists/far.txt\" }\nport = 443\n";

/// Reads a policy whose list holds this.
fn with_list(policy: &str, list: impl AsRef<[u8]>) -> Result<Policy, PolicyError> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lists")).unwrap();
    fs::write(folder.path().join("lists/far.txt"), list).unwrap();
    let path = folder.path().join("policy.toml");
    fs::write(&path, policy).unwrap();
    Policy::load(&path)
}

fn addresses(policy: &Policy) -> Vec<String> {
    let pairs = policy.allow.iter();
    pairs
        .flat_map(|pair| pair.to)
        .map(|to| to.to_string())
        .collect()
}

#[test]
fn one_address_network_or_range_a_line() {
    let list = "# a list\r\n192.0.2.1\n\n  198.51.100.0/24  # a network\n2001:db8::1-2001:db8::9\n\t2001:db8:1::/48";
    let policy = with_list(POLICY, list).unwrap();
    let expected = [
        "192.0.2.1",
        "198.51.100.0/24",
        "2001:db8::1-2001:db8::9",
        "2001:db8:1::/48",
    ];
    assert_eq!(addresses(&policy), expected);
    // It is the same policy as one that says so itself.
    let own = format!("version = 1\n[[allow]]\nto = {expected:?}\nport = 443\n");
    let own = Policy::from_toml(&own).unwrap();
    assert_eq!(policy, own);
    assert_eq!(policy.hash(), own.hash());
    assert_eq!(Policy::from_json(&policy.to_json()).unwrap(), policy);
}

#[test]
fn a_list_of_one_address_is_that_address() {
    let policy = with_list(POLICY, "192.0.2.1").unwrap();
    assert!(matches!(policy.allow.get(0), Some(Allow::Exact(_))));
}

#[test]
fn admits_and_forwarders_take_lists_too() {
    let text = "version = 1\n[[admit]]\nfrom = { file = \"lists/far.txt\" }\nport = 22\n\
                [[forward]]\nfrom = \"docker0\"\nto = { file = \"lists/far.txt\" }\nport = 443\n";
    let policy = with_list(text, "192.0.2.1\n192.0.2.8/29").unwrap();
    assert_eq!(policy.admit[0].from, policy.forward[0].to);
    assert_eq!(policy.admit[0].from.len(), 2);
}

#[test]
fn mistakes_are_told_where_they_are_in_the_list() {
    let list = "192.0.2.1\n  192.0.2.300 # é\n# fine\nwww.example.com\n10.0.0.1/8\n239.0.0.1";
    let policy = POLICY.replace("443", "0");
    let error = with_list(&policy, list).unwrap_err();
    let found: Vec<_> = error
        .diagnostics()
        .iter()
        .map(|d| (d.file.is_some(), d.place.line, d.place.column, d.end.column))
        .collect();
    let expected = [
        (false, 4, 8, 9),
        (true, 2, 3, 14),
        (true, 4, 1, 16),
        (true, 5, 1, 11),
        (true, 6, 1, 10),
    ];
    assert_eq!(found, expected);
    let text = error.to_string();
    for part in [
        "policy.toml:4:8",
        "lists/far.txt:2:3",
        "  192.0.2.300 # é",
        "^^^^^^^^^^^",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let json = serde_json::to_value(error.diagnostics()).unwrap();
    assert!(json[1]["file"].as_str().unwrap().ends_with("lists/far.txt"));
    assert!(
        json[1]["path"]
            .as_str()
            .unwrap()
            .starts_with("allow[0].to in ")
    );
    assert!(json[0].get("file").is_none());
}

#[test]
fn lists_that_cannot_be_read() {
    let told = |policy: &str, list: &[u8]| with_list(policy, list).unwrap_err().to_string();
    for (policy, list, expected) in [
        (POLICY, b"# nothing\n".as_slice(), "is empty"),
        (POLICY, b"192.0.2.1\n\xff\n", "line 2 is not UTF-8"),
        (&POLICY.replace("far", "near"), b"", "No such file"),
        (&POLICY.replace("/far.txt", ""), b"", "Is a directory"),
        (&POLICY.replace("lists/far.txt", ""), b"", "no path"),
        (&POLICY.replace("file", "fiel"), b"", "did you mean `file`?"),
        (
            &POLICY.replace("\"lists/far.txt\"", "7"),
            b"",
            "this is a number",
        ),
    ] {
        let told = told(policy, list);
        assert!(told.contains(expected), "{expected} in\n{told}");
        assert!(told.contains("policy.toml:3:"), "{told}");
    }
}

#[test]
fn only_a_policy_in_a_file_has_lists_beside_it() {
    let error = Policy::from_toml(POLICY).unwrap_err().to_string();
    assert!(error.contains("absolute"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    fs::write(&list, "192.0.2.1\n192.0.2.2\n").unwrap();
    let text = POLICY.replace("lists/far.txt", &list.to_string_lossy());
    assert_eq!(addresses(&Policy::from_toml(&text).unwrap()).len(), 2);
}

#[test]
fn what_is_kept_does_not_need_the_list() {
    let policy = with_list(POLICY, "192.0.2.1\n192.0.2.2\n").unwrap();
    assert!(policy.source().form().is_none());
    assert!(Path::new(policy.source().name()).is_absolute());
}

#[test]
fn lists_of_many_nest_as_they_like() {
    let list: String = (0..2000)
        .map(|n| format!("10.0.0.0/{}\n", 8 + n % 24))
        .collect();
    let policy = with_list(POLICY, list).unwrap();
    assert!(policy.warnings().is_empty());
}
