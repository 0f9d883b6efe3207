//! TOML, JSON and what the policy serialises to say the same.

use super::FULL;
use crate::policy::{Address, ContainerSource, Place, Policy, Resolvers, User};

const FULL_JSON: &str = r#"{
  "version": 1,
  "host": {"resolvers": ["192.0.2.53", "2001:db8::53"], "dhcp": ["192.0.2.1"], "uplinks": ["eth0"], "strict": true},
  "allow": [
    {"to": ["34.95.12.47/32"], "port": "443", "user": "connector", "comment": "www.agilicus.com"},
    {"to": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.10-192.0.2.20", "www.example.com"],
     "port": [80, "8000-8099", 443], "proto": "udp", "user": 1000}
  ],
  "admit": [
    {"from": "192.0.2.10", "port": [22], "proto": "tcp", "via": "docker0"},
    {"from": ["192.0.2.0/24", "2001:db8::7"], "proto": "icmp"}
  ],
  "bridge": [
    {"name": "docker0", "ports": ["tcp/8888", "udp/5000-5009"], "isolate": true},
    {"name": "br-*", "ports": []}
  ],
  "forward": [
    {"from": ["172.17.0.2"], "to": "198.51.100.7", "port": 5432, "listen": "172.17.0.1:15432", "comment": "billing database"},
    {"from": ["docker0", "br-*", "172.18.0.0/16", "2001:db8:1::/64"], "to": ["service.example.com", "198.51.100.0/24"], "port": "9000-9009"}
  ]
}"#;

#[test]
fn toml_and_json_are_the_same_policy() {
    let toml = Policy::from_toml(FULL).unwrap();
    let json = Policy::from_bytes("p.json", FULL_JSON.as_bytes()).unwrap();
    assert_eq!(toml, json);
    assert_eq!(toml.hash(), json.hash());
    assert_ne!(
        toml,
        Policy::from_toml(&FULL.replace("billing", "Billing")).unwrap()
    );
}

#[test]
fn what_it_serialises_to_reads_back() {
    for text in [
        FULL,
        "version = 1",
        "version = 1\n[host]\nresolvers = \"system\"\ndhcp = true\n",
    ] {
        let policy = Policy::from_toml(text).unwrap();
        let again = Policy::from_json(&policy.to_json()).unwrap();
        assert_eq!(policy, again);
        assert_eq!(policy.to_json(), again.to_json());
    }
}

#[test]
fn the_hash_is_of_a_form_that_stays() {
    let policy = Policy::from_toml("version = 1").unwrap();
    assert_eq!(policy.to_json(), r#"{"version":1,"host":{}}"#);
    // Computed with another program by what the module says; the kernel and the
    // host keep hashes, so that another form would look like another policy.
    assert_eq!(
        policy.hash(),
        "ca4e11a816f4dfb7b2733d7fe3092042ac2db647cdc9b7932c5ce7db1de824b3"
    );
    let policy =
        Policy::from_toml("version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 443").unwrap();
    assert_eq!(
        policy.hash(),
        "10a1de6b9242c8e7428e35101242ea628becbe270029877d36f1669aa73c7336"
    );
}

#[test]
fn what_a_policy_says_is_in_its_hash() {
    let pair = |to: &str, rest: &str| format!("[[allow]]\nto = {to}\n{rest}\n");
    let a = pair("\"192.0.2.1\"", "port = 443");
    let b = pair("\"192.0.2.2\"", "port = 443");
    let mut hashes: Vec<_> = [
        String::new(),
        a.clone(),
        b.clone(),
        a.clone() + &b,
        b.clone() + &a,
        a.clone() + &a,
        pair("\"192.0.2.1\"", "port = 444"),
        pair("\"192.0.2.1\"", "port = 443\nproto = \"udp\""),
        pair("\"192.0.2.1\"", "port = 443\nuser = 0"),
        pair("\"192.0.2.1\"", "port = 443\ncomment = \"\""),
        pair("\"2001:db8::1\"", "port = 443"),
        pair("[\"192.0.2.1\", \"192.0.2.2\"]", "port = 443"),
        "[host]\ndhcp = true\n".to_owned(),
        "[[bridge]]\nname = \"br0\"\n".to_owned(),
    ]
    .iter()
    .map(|text| {
        let policy = Policy::from_toml(&format!("version = 1\n{text}")).unwrap();
        policy.hash().to_owned()
    })
    .collect();
    let count = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

#[test]
fn values_are_what_was_written() {
    let policy = Policy::from_toml(FULL).unwrap();
    let Resolvers::Servers(servers) = &policy.host.resolvers else {
        panic!("{:?}", policy.host)
    };
    assert_eq!(servers.len(), 2);
    let allow: Vec<_> = policy.allow.iter().collect();
    assert_eq!(
        allow[1].to[2],
        Address::Range("192.0.2.10".parse().unwrap(), "192.0.2.20".parse().unwrap())
    );
    assert_eq!(allow[1].to[3], Address::Name("www.example.com".into()));
    assert_eq!(allow[1].user, Some(User::Uid(1000)));
    assert_eq!(allow[0].user, Some(User::Name("connector".into())));
    assert!(
        matches!(&policy.forward[1].from[1], ContainerSource::Bridge(name) if name.is_pattern())
    );
    assert!(policy.admit[1].port.is_empty());
    assert_eq!(policy.bridge[1].ports.as_deref(), Some([].as_slice()));
    // A range of one address is that address.
    let one = Policy::from_toml("version = 1\n[[allow]]\nto = \"10.0.0.1-10.0.0.1\"\nport = 1\n")
        .unwrap();
    assert_eq!(
        one.allow.iter().next().unwrap().to[0].to_string(),
        "10.0.0.1"
    );
}

#[test]
fn openings_know_their_lines() {
    let policy = Policy::from_toml(FULL).unwrap();
    let lines: Vec<_> = policy.allow.iter().map(|allow| allow.place).collect();
    assert_eq!(
        lines,
        [
            Place { line: 9, column: 1 },
            Place {
                line: 15,
                column: 1
            }
        ]
    );
    let json = Policy::from_json(FULL_JSON).unwrap();
    assert_eq!(
        json.forward[1].place,
        Place {
            line: 19,
            column: 5
        }
    );
}

#[test]
fn columns_count_characters() {
    let text = "version = 1\nbridge = [{comment = \"é😀\", name = \"*\"}]\n";
    let error = super::refused(Policy::from_toml(text));
    assert_eq!(super::briefs(&error)[0].split(' ').next(), Some("2:35"));
    // On a line of its own far into the text as well.
    let far = format!("# {}\n{text}", "é".repeat(5000));
    let error = super::refused(Policy::from_toml(&far));
    assert_eq!(super::briefs(&error)[0].split(' ').next(), Some("3:35"));
    // And on one line behind many bytes.
    let long = format!(
        "version = 1\nbridge = [{{comment = \"{}\", name = \"*\"}}]\n",
        "é".repeat(5000)
    );
    let error = super::refused(Policy::from_toml(&long));
    assert_eq!(super::briefs(&error)[0].split(' ').next(), Some("2:5033"));
}

#[test]
fn a_byte_order_mark_and_carriage_returns_change_nothing() {
    let windows = format!("\u{feff}{}", FULL.replace('\n', "\r\n"));
    assert_eq!(
        Policy::from_toml(&windows).unwrap(),
        Policy::from_toml(FULL).unwrap()
    );
    let error = super::refused(Policy::from_toml(
        &windows.replace("strict = true", "strict = 1"),
    ));
    assert_eq!(super::briefs(&error), ["7:10 <1> this is a number"]);
}
