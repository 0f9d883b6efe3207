//! What is legal and likely wrong.

use super::FULL;
use crate::policy::Policy;

/// The warnings of a policy: path and message, and the path of the other place.
#[track_caller]
fn check(openings: &str, expected: &[&str]) {
    let text = format!("version = 1\n{openings}");
    let policy = Policy::from_toml(&text).unwrap_or_else(|error| panic!("{error}"));
    let said: Vec<_> = policy
        .warnings()
        .iter()
        .map(|warning| {
            let other: Vec<_> = warning
                .related
                .iter()
                .map(|related| format!(" ({})", related.path))
                .collect();
            format!("{}: {}{}", warning.path, warning.message, other.concat())
        })
        .collect();
    assert_eq!(said, expected, "for:\n{text}");
}

fn allow(to: &str, rest: &str) -> String {
    format!("[[allow]]\nto = {to}\n{rest}\n")
}

#[test]
fn a_sound_policy_has_none() {
    check(FULL.strip_prefix("version = 1\n").unwrap(), &[]);
}

#[test]
fn duplicates() {
    let one = allow("\"192.0.2.1\"", "port = 443");
    check(
        &format!("{one}{one}"),
        &["allow[1]: this opening is pointless: `allow[0]` opens the same or more (allow[0])"],
    );
    let name = allow("\"a.example\"", "port = 443");
    let upper = allow("\"A.example\"", "port = 443");
    check(
        &format!("{name}{upper}"),
        &["allow[1]: this opening is pointless: `allow[0]` opens the same or more (allow[0])"],
    );
}

#[test]
fn contained() {
    let wide = allow("\"10.0.0.0/8\"", "port = \"1-1000\"");
    let narrow = allow(
        "[\"10.1.0.0/16\", \"10.2.0.1-10.2.0.9\"]",
        "port = [22, \"80-90\"]",
    );
    check(
        &format!("{narrow}{wide}"),
        &["allow[0]: this opening is pointless: `allow[1]` opens the same or more (allow[1])"],
    );
    // By several together.
    let parts = format!(
        "{}{}",
        allow("\"10.1.0.0/16\"", "port = [22, \"80-90\"]"),
        allow("\"10.2.0.0/16\"", "port = [80, 22]")
    );
    check(
        &format!(
            "{parts}{}",
            allow("[\"10.1.1.1\", \"10.2.1.1\"]", "port = 80")
        ),
        &["allow[2]: this opening is pointless: `allow[0]` opens the same or more (allow[0])"],
    );
    // What one piece of stands on its own is not pointless.
    check(
        &format!(
            "{wide}{}",
            allow("[\"10.1.0.0/16\", \"11.0.0.1\"]", "port = 80")
        ),
        &[],
    );
    check(
        &format!("{wide}{}", allow("\"10.1.0.0/16\"", "port = [80, 2000]")),
        &[],
    );
    check(
        &format!(
            "{wide}{}",
            allow("\"10.1.0.0/16\"", "port = 80\nproto = \"udp\"")
        ),
        &[],
    );
    // Ports that touch are as good as a range.
    check(
        &format!(
            "{}{}",
            allow("\"10.1.0.0/16\"", "port = [80, 81]"),
            allow("\"10.1.1.1\"", "port = \"80-81\"")
        ),
        &["allow[1]: this opening is pointless: `allow[0]` opens the same or more (allow[0])"],
    );
    // A wide span that ends early hides none that is wider.
    check(
        &format!(
            "{}{}{}",
            allow("\"10.0.0.0-10.0.0.99\"", "port = 80"),
            allow("\"10.0.0.1-10.0.0.5\"", "port = 81"),
            allow("\"10.0.0.50\"", "port = 80")
        ),
        &["allow[2]: this opening is pointless: `allow[0]` opens the same or more (allow[0])"],
    );
}

#[test]
fn users() {
    let everybody = allow("\"192.0.2.1\"", "port = 443");
    let one = allow("\"192.0.2.1\"", "port = 443\nuser = \"a\"");
    let other = allow("\"192.0.2.1\"", "port = 443\nuser = \"b\"");
    let said = "this opening is pointless: `allow[1]` opens the same or more (allow[1])";
    check(
        &format!("{one}{everybody}"),
        &[&format!("allow[0]: {said}")],
    );
    check(&format!("{one}{other}"), &[]);
}

#[test]
fn admits_and_forwarders() {
    let admit = |rest: &str| format!("[[admit]]\nfrom = \"192.0.2.0/24\"\n{rest}\n");
    let said = |list: &str| {
        format!(
            "{list}[1]: this opening is pointless: `{list}[0]` opens the same or more ({list}[0])"
        )
    };
    check(
        &format!("{}{}", admit("port = 22"), admit("port = 22")),
        &[&said("admit")],
    );
    check(
        &format!(
            "{}{}",
            admit("port = 22"),
            admit("port = 22\nvia = \"docker0\"")
        ),
        &[],
    );
    check(
        &format!("{}{}", admit("proto = \"icmp\""), admit("proto = \"icmp\"")),
        &[&said("admit")],
    );
    let forward = |from: &str, rest: &str| {
        format!("[[forward]]\nfrom = {from}\nto = \"192.0.2.7\"\nport = 1\n{rest}\n")
    };
    let (ab, ba) = ("[\"docker0\", \"br-*\"]", "[\"br-*\", \"docker0\"]");
    check(
        &format!("{}{}", forward(ab, ""), forward(ba, "")),
        &[&said("forward")],
    );
    check(
        &format!("{}{}", forward(ab, ""), forward("\"docker1\"", "")),
        &[],
    );
    check(
        &format!(
            "{}{}",
            forward(ab, ""),
            forward(ab, "listen = \"172.17.0.1:80\"")
        ),
        &[],
    );
}

#[test]
fn within_one_list() {
    check(
        &allow(
            "[\"10.1.1.1\", \"10.0.0.0/8\", \"192.0.2.1\", \"192.0.2.1\"]",
            "port = [80, \"1-100\"]",
        ),
        &[
            "allow[0].port[0]: `80` is pointless in `port`: `1-100` (position 1) contains it",
            "allow[0].to[0]: `10.1.1.1` is pointless in `to`: `10.0.0.0/8` (position 1) contains it",
            "allow[0].to[3]: `192.0.2.1` stands twice in `to`",
        ],
    );
}

#[test]
fn everything() {
    for all in [
        "\"0.0.0.0/0\"",
        "[\"0.0.0.0/1\", \"128.0.0.0/1\"]",
        "\"0.0.0.0-255.255.255.255\"",
        "[\"10.0.0.0-255.255.255.255\", \"0.0.0.0-11.0.0.0\"]",
    ] {
        check(
            &allow(all, "port = 1"),
            &["allow[0].to: `to` of this opening is every IPv4 address"],
        );
    }
    check(
        "[[admit]]\nfrom = \"::/0\"\nport = 22\n",
        &["admit[0].from: `from` of this opening is every IPv6 address"],
    );
    check(&allow("[\"0.0.0.0/1\", \"129.0.0.0/8\"]", "port = 1"), &[]);
    check(&allow("\"0.0.0.0-255.255.255.254\"", "port = 1"), &[]);
}

#[test]
fn resolvers() {
    let host = "[host]\nresolvers = [\"192.0.2.53\"]\n";
    let said = "an allow pair for a resolver: `192.0.2.53` stands in `host.resolvers`, and its port 53 is open";
    check(
        &format!(
            "{host}{}",
            allow(
                "[\"192.0.2.52\", \"192.0.2.53\"]",
                "port = \"50-60\"\nproto = \"udp\""
            )
        ),
        &[&format!("allow[0].to[1]: {said}")],
    );
    check(
        &format!(
            "{host}{}",
            allow("\"192.0.2.53\"", "port = [\"40-52\", 54, 853]")
        ),
        &[],
    );
}

#[test]
fn bridges() {
    check(
        "[[bridge]]\nname = \"br-*\"\n[[bridge]]\nname = \"br-1\"\n[[bridge]]\nname = \"br-1*\"\n[[bridge]]\nname = \"br\"\n",
        &[
            "bridge[1].name: the bridge `br-1` is met by `br-*` too (bridge[0])",
            "bridge[2].name: the bridge `br-1*` is met by `br-*` too (bridge[0])",
        ],
    );
    check(
        "[host]\nuplinks = [\"br0\"]\n[[bridge]]\nname = \"br0\"\n",
        &["bridge[0].name: `br0` is an uplink and has a bridge exemption"],
    );
}

#[test]
fn both_places_are_underlined() {
    let one = allow("\"192.0.2.1\"", "port = 443");
    let policy = Policy::from_toml_named(&format!("version = 1\n{one}{one}"), "p.toml").unwrap();
    let text = policy.render(&policy.warnings()[0], crate::policy::Style::Plain);
    assert!(
        text.contains("--> p.toml:5:1\n") && text.contains("--> p.toml:2:1\n"),
        "{text}"
    );
    assert_eq!(text.matches("^^^^^^^^^").count(), 2, "{text}");
}

/// What the sweep finds is what comparing all with all finds.
#[test]
fn the_sweep_agrees_with_comparing_all() {
    // A small generator of numbers, the same each time.
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..200 {
        let mut text = String::from("version = 1\n");
        let mut spans = Vec::new();
        for _ in 0..12 {
            let (first, port) = (random(8), 1 + random(6));
            let (last, end) = (first + random(4), port + random(3));
            let user = random(3);
            spans.push((first, last, port, end, user));
            text.push_str(&format!(
                "[[allow]]\nto = \"10.0.0.{first}-10.0.0.{last}\"\nport = \"{port}-{end}\"\n"
            ));
            if user > 0 {
                text.push_str(&format!("user = {user}\n"));
            }
        }
        let mut expected = Vec::new();
        for (i, a) in spans.iter().enumerate() {
            let inside = |(j, b): (usize, &(u64, u64, u64, u64, u64))| {
                let contains = b.0 <= a.0
                    && a.1 <= b.1
                    && b.2 <= a.2
                    && a.3 <= b.3
                    && (b.4 == 0 || b.4 == a.4);
                i != j && contains && (a != b || j < i)
            };
            if spans.iter().enumerate().any(inside) {
                expected.push(format!("allow[{i}]"));
            }
        }
        let policy = Policy::from_toml(&text).unwrap();
        let mut found: Vec<_> = policy
            .warnings()
            .into_iter()
            .map(|warning| warning.path)
            .collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "for:\n{text}");
    }
}
