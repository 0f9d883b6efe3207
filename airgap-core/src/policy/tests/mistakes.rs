//! Each kind of mistake: what is underlined and what is said.

use super::{FULL, briefs, refused};
use crate::policy::Policy;
use crate::policy::node::{Entry, Node, Value};

/// Refuses `text` and says exactly `expected`.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(
        briefs(&refused(Policy::from_toml(text))),
        expected,
        "for:\n{text}"
    );
}

/// As [`check`], for an allow pair to `to`, a TOML value.
#[track_caller]
fn check_to(to: &str, message: &str) {
    let text = format!("version = 1\n[[allow]]\nport = 443\nto = {to}\n");
    check(&text, &[&format!("4:6 <{}> {message}", to.escape_debug())]);
}

#[track_caller]
fn check_port(port: &str, message: &str) {
    let text = format!("version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = {port}\n");
    check(
        &text,
        &[&format!("4:8 <{}> {message}", port.escape_debug())],
    );
}

#[track_caller]
fn check_host(line: &str, expected: &[&str]) {
    check(&format!("version = 1\n[host]\n{line}\n"), expected);
}

#[track_caller]
fn check_forward(lines: &str, expected: &[&str]) {
    check(&format!("version = 1\n[[forward]]\n{lines}\n"), expected);
}

/// The help of the first mistake of an allow pair to `to`.
#[track_caller]
fn help_to(to: &str) -> String {
    let text = format!("version = 1\n[[allow]]\nport = 443\nto = \"{to}\"\n");
    refused(Policy::from_toml(&text)).diagnostics()[0]
        .help
        .clone()
        .unwrap_or_default()
}

#[test]
fn version() {
    check("[host]\n", &["1:1 <> the key `version` is missing"]);
    check("version = 2\n", &["1:11 <2> version 2 is unknown"]);
    check("version = \"1\"\n", &["1:11 <\\\"1\\\"> this is a string"]);
    check(
        "version = 1.0\n",
        &["1:11 <1.0> this is a number that is not whole"],
    );
    check(
        "version = 99999999999999999999\n",
        &["1:11 <99999999999999999999> version 9223372036854775807 is unknown"],
    );
}

#[test]
fn empty_policy() {
    for text in ["", " \n\t\n", "\u{feff}"] {
        let error = refused(Policy::from_toml(text));
        assert_eq!(error.diagnostics()[0].message, "the policy is empty");
        assert_eq!(error.diagnostics()[0].label, "expected `version = 1`");
    }
    assert_eq!(
        refused(Policy::from_json("")).diagnostics()[0].label,
        "expected `{\"version\": 1}`"
    );
}

#[test]
fn unknown_keys() {
    check(
        "version = 1\ncolour = 3\n",
        &["2:1 <colour> unknown key `colour`"],
    );
    let error = refused(Policy::from_toml("version = 1\n[host]\nresolver = []\n"));
    let diagnostic = &error.diagnostics()[0];
    assert_eq!(diagnostic.path, "host.resolver");
    assert_eq!(
        diagnostic.help.as_deref(),
        Some("did you mean `resolvers`?")
    );
    assert_eq!(
        diagnostic.label,
        "expected one of `resolvers`, `dhcp`, `uplinks`, `strict`"
    );
    for (key, near) in [
        ("Allow", "allow"),
        ("bridges", "bridge"),
        ("admitt", "admit"),
    ] {
        let error = refused(Policy::from_toml(&format!("version = 1\n{key} = []\n")));
        assert_eq!(
            error.diagnostics()[0].help,
            Some(format!("did you mean `{near}`?"))
        );
    }
    let error = refused(Policy::from_toml("version = 1\nx = 1\n"));
    assert_eq!(error.diagnostics()[0].help, None);
}

#[test]
fn wrong_kinds() {
    check("version = 1\nhost = 3\n", &["2:8 <3> this is a number"]);
    check(
        "version = 1\nallow = \"all\"\n",
        &["2:9 <\\\"all\\\"> this is a string"],
    );
    check("version = 1\nallow = [1]\n", &["2:10 <1> this is a number"]);
    check("version = 1\n[allow]\n", &["2:1 <[allow]> this is a table"]);
    check_host(
        "strict = \"true\"",
        &["3:10 <\\\"true\\\"> this is a string"],
    );
    check_host(
        "strict = 1979-05-27",
        &["3:10 <1979-05-27> this is a date or time"],
    );
    check_to("5", "this is a number");
    check_to("true", "this is `true`");
    check(
        "version = 1\n[[allow]]\nport = 443\nto = {a = 1}\n",
        &[
            "4:6 <{a = 1}> the key `file` is missing",
            "4:7 <a> unknown key `a`",
        ],
    );
    check_port("1.5", "this is a number that is not whole");
}

#[test]
fn missing_keys() {
    check(
        "version = 1\n[[allow]]\n[[admit]]\n[[bridge]]\n[[forward]]\n",
        &[
            "2:1 <[[allow]]> the key `to` is missing",
            "2:1 <[[allow]]> the key `port` is missing",
            "3:1 <[[admit]]> the key `from` is missing",
            "3:1 <[[admit]]> the key `port` is missing",
            "4:1 <[[bridge]]> the key `name` is missing",
            "5:1 <[[forward]]> the key `from` is missing",
            "5:1 <[[forward]]> the key `to` is missing",
            "5:1 <[[forward]]> the key `port` is missing",
        ],
    );
}

#[test]
fn ports() {
    check_port("0", "0 is no port");
    check_port("65536", "65536 is no port");
    check_port("-1", "-1 is no port");
    check_port("\"https\"", "`https` is no port");
    check_port("\"\"", "`` is no port");
    check_port("\"0\"", "`0` is no port");
    check_port("\"080\"", "`080` is no port");
    check_port("\"+80\"", "`+80` is no port");
    check_port(
        "\"9000-8000\"",
        "the range ends before it begins: 9000 is above 8000",
    );
    check_port("\"0-80\"", "`0` is no port, in `0-80`");
    check_port("\"80-\"", "`` is no port, in `80-`");
    check_port("\"1-2-3\"", "`2-3` is no port, in `1-2-3`");
    check_port("[]", "this list is empty");
    check(
        "version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = [1, 0, \"x\"]\n",
        &["4:12 <0> 0 is no port", "4:15 <\\\"x\\\"> `x` is no port"],
    );
}

#[test]
fn addresses() {
    for wrong in [
        "300.1.2.3",
        "1.2.3",
        "1.2.3.4.5",
        "127",
        "1.2.3.",
        "010.0.0.1",
        "0x7f000001",
        "2001:db8::g",
        "[2001:db8::1]",
        "1.2.3.4:80",
        "a:b",
    ] {
        check_to(
            &format!("\"{wrong}\""),
            &format!("`{wrong}` is no IP address"),
        );
    }
    check_to("\"\"", "an empty string is no address");
    check_to("\" 10.0.0.1\"", "` 10.0.0.1` has blanks around it");
    check_to("[]", "this list is empty");
    check_to(
        "\"::ffff:192.0.2.1\"",
        "`::ffff:192.0.2.1` is an IPv4 address in the form of IPv6, which no packet carries",
    );
    check_to(
        "\"fe80::1%eth0\"",
        "`fe80::1%eth0` has a zone, which is a matter of one host",
    );
    check_to(
        "\"https://example.com/x\"",
        "`https://example.com/x` is a URL",
    );
    assert_eq!(help_to("::ffff:192.0.2.1"), "write `192.0.2.1`");
    assert_eq!(help_to("fe80::1%eth0"), "leave the zone out: `fe80::1`");
    assert_eq!(
        help_to("https://example.com/x"),
        "write the host alone: `example.com`"
    );
    assert_eq!(
        help_to("[2001:db8::1]"),
        "write it without brackets: `2001:db8::1`"
    );
    assert_eq!(
        help_to("1.2.3.4:80"),
        "the port stands in a key of its own, `port`"
    );
    assert_eq!(
        help_to("example.com:80"),
        "the port stands in a key of its own, `port`"
    );
    assert_eq!(
        help_to("010.0.0.1"),
        "the parts of an IPv4 address have no leading zeros"
    );
}

#[test]
fn networks() {
    check_to(
        "\"10.0.0.1/8\"",
        "`10.0.0.1/8` has bits set behind its prefix",
    );
    assert_eq!(
        help_to("10.0.0.1/8"),
        "did you mean `10.0.0.0/8` or `10.0.0.1`?"
    );
    check_to(
        "\"2001:db8::1/32\"",
        "`2001:db8::1/32` has bits set behind its prefix",
    );
    check_to(
        "\"10.0.0.0/33\"",
        "`33` is no prefix length of 10.0.0.0: it goes from 0 to 32",
    );
    check_to(
        "\"10.0.0.0/\"",
        "`` is no prefix length of 10.0.0.0: it goes from 0 to 32",
    );
    check_to(
        "\"10.0.0.0/+8\"",
        "`+8` is no prefix length of 10.0.0.0: it goes from 0 to 32",
    );
    check_to(
        "\"10.0.0.0/08\"",
        "`08` is no prefix length of 10.0.0.0: it goes from 0 to 32",
    );
    check_to(
        "\"2001:db8::/129\"",
        "`129` is no prefix length of 2001:db8::: it goes from 0 to 128",
    );
    assert_eq!(help_to("10.0.0.0/255.0.0.0"), "write `10.0.0.0/8`");
    check_to("\"300.0.0.0/8\"", "`300.0.0.0` is no IP address");
    check_to(
        "\"example.com/8\"",
        "`example.com` is a name, and a name has no prefix length",
    );
    assert_eq!(help_to("::ffff:192.0.2.0/120"), "write `192.0.2.0/24`");
}

#[test]
fn ranges() {
    check_to(
        "\"10.0.0.9-10.0.0.1\"",
        "the range ends before it begins: 10.0.0.9 is above 10.0.0.1",
    );
    check_to(
        "\"10.0.0.1-2001:db8::1\"",
        "`10.0.0.1` and `2001:db8::1` are of two families",
    );
    check_to(
        "\"10.0.0.1-50\"",
        "`50` is no address for an end of a range",
    );
    check_to(
        "\"10.0.0.1-10.0.0.300\"",
        "`10.0.0.300` is no address for an end of a range",
    );
    check_to("\"10.0.0.1 - 10.0.0.3\"", "a range has no blanks");
    check_to(
        "\"::ffff:1.2.3.4-::ffff:1.2.3.5\"",
        "`::ffff:1.2.3.4` is an IPv4 address in the form of IPv6, which no packet carries",
    );
    check_to(
        "\"10.0.0.0/8-11.0.0.0\"",
        "`8-11.0.0.0` is no prefix length of 10.0.0.0: it goes from 0 to 32",
    );
    assert_eq!(help_to("10.0.0.1-50"), "write both ends in full");
    assert_eq!(help_to("10.0.0.1 - 10.0.0.3"), "write `10.0.0.1-10.0.0.3`");
}

#[test]
fn names() {
    let long_label = "a".repeat(64);
    let long_name = format!("{0}.{0}.{0}.{0}.com", "a".repeat(63));
    check_to(
        "\"a_b.example\"",
        "`a_b.example` is no address, and no host name has '_'",
    );
    check_to(
        "\"*.example.com\"",
        "`*.example.com` is a pattern, and only whole names can be resolved",
    );
    check_to(
        "\"-a.example\"",
        "no part of a host name begins or ends with a hyphen, as `-a` does",
    );
    check_to(
        "\"a-.example\"",
        "no part of a host name begins or ends with a hyphen, as `a-` does",
    );
    check_to(
        "\"a..example\"",
        "`a..example` has an empty part between its dots",
    );
    check_to("\"example.com.\"", "`example.com.` ends in a dot");
    check_to(
        "\"exämple.com\"",
        "`exämple.com` has characters that no host name has",
    );
    check_to("\"example.123\"", "`example.123` is no IP address");
    check_to(
        &format!("\"{long_label}.com\""),
        &format!("a part of a host name has at most 63 characters, `{long_label}` has 64"),
    );
    check_to(
        &format!("\"{long_name}\""),
        "a host name has at most 253 characters, this has 259",
    );
    for good in [
        "example.com",
        "EXAMPLE.com",
        "1-2.example.com",
        "localhost",
        "3com.net",
        "a-b-c",
        "xn--bcher-kva.example",
    ] {
        Policy::from_toml(&format!(
            "version = 1\n[[allow]]\nport = 443\nto = \"{good}\"\n"
        ))
        .unwrap();
    }
}

#[test]
fn addresses_of_nobody() {
    let groups =
        "is multicast, and flows to groups cannot be tracked: answers come from other addresses";
    for group in [
        "224.0.0.251",
        "ff02::fb",
        "224.0.0.0/4",
        "ff00::/8",
        "239.0.0.1-239.0.0.9",
    ] {
        check_to(&format!("\"{group}\""), &format!("`{group}` {groups}"));
    }
    check_to("\"0.0.0.0\"", "`0.0.0.0` is nobody's address");
    check_to("\"::\"", "`::` is nobody's address");
    assert_eq!(help_to("::"), "every address would be `::/0`");
    check(
        "version = 1\n[[admit]]\nfrom = \"ff02::1\"\nport = 22\n[[forward]]\nfrom = \"docker0\"\nto = \"224.0.0.1\"\nport = 1\nproto = \"udp\"\n",
        &[
            &format!("3:8 <\\\"ff02::1\\\"> `ff02::1` {groups}"),
            &format!("7:6 <\\\"224.0.0.1\\\"> `224.0.0.1` {groups}"),
        ],
    );
}

#[test]
fn users() {
    let check_user = |user: &str, message: &str| {
        let text = format!("version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 1\nuser = {user}\n");
        check(
            &text,
            &[&format!("5:8 <{}> {message}", user.escape_debug())],
        );
    };
    check_user("-1", "-1 is no uid");
    check_user("4294967295", "4294967295 is no uid");
    check_user("\"\"", "a user's name cannot be empty");
    check_user("\"1000\"", "`1000` is a number in quotes");
    check_user(
        "\"a:b\"",
        "no user's name has a colon, a control character, or a blank at an end",
    );
    check_user("[\"a\"]", "this is a list");
    Policy::from_toml("version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 1\nuser = 4294967294\n")
        .unwrap();
}

#[test]
fn words_and_comments() {
    let error = refused(Policy::from_toml(
        "version = 1\n[[allow]]\nto = \"a.example\"\nport = 1\nproto = \"TCP\"\n",
    ));
    assert_eq!(briefs(&error), ["5:9 <\\\"TCP\\\"> `TCP` is unknown here"]);
    assert_eq!(error.diagnostics()[0].label, "expected \"tcp\" or \"udp\"");
    assert_eq!(
        error.diagnostics()[0].help.as_deref(),
        Some("did you mean \"tcp\"?")
    );
    check(
        "version = 1\n[[bridge]]\nname = \"br0\"\ncomment = \"a\\u001bb\"\n",
        &["4:11 <\\\"a\\\\u001bb\\\"> a comment has no control characters, this has '\\u{1b}'"],
    );
}

#[test]
fn hosts() {
    check_host(
        "resolvers = \"sytem\"",
        &["3:13 <\\\"sytem\\\"> `sytem` is not a list"],
    );
    check_host(
        "resolvers = \"192.0.2.53\"",
        &["3:13 <\\\"192.0.2.53\\\"> `192.0.2.53` is not a list"],
    );
    check_host("resolvers = []", &["3:13 <[]> this list is empty"]);
    check_host(
        "resolvers = [\"192.0.2.0/24\", \"dns.example\", \"ff02::1\", \"0.0.0.0\", 1]",
        &[
            "3:14 <\\\"192.0.2.0/24\\\"> `192.0.2.0/24` is a network, not one address",
            "3:30 <\\\"dns.example\\\"> `dns.example` is no IP address",
            "3:45 <\\\"ff02::1\\\"> `ff02::1` is multicast, and flows to groups cannot be tracked: answers come from other addresses",
            "3:56 <\\\"0.0.0.0\\\"> `0.0.0.0` is nobody's address",
            "3:67 <1> this is a number",
        ],
    );
    check_host("dhcp = \"yes\"", &["3:8 <\\\"yes\\\"> this is a string"]);
    check_host("dhcp = []", &["3:8 <[]> this list is empty"]);
    check_host(
        "uplinks = \"eth0\"",
        &["3:11 <\\\"eth0\\\"> this is a string"],
    );
    check_host("uplinks = []", &["3:11 <[]> this list is empty"]);
    check_host(
        "uplinks = [\"lo\", \"eth0\", \"a/b\", \"eth*\", \"eth0\", \"waytoolonganame0\"]",
        &[
            "3:12 <\\\"lo\\\"> `lo` leads to no network",
            "3:26 <\\\"a/b\\\"> '/' cannot stand in an interface name",
            "3:33 <\\\"eth*\\\"> '*' cannot stand in an interface name",
            "3:41 <\\\"eth0\\\"> the uplink `eth0` stands twice",
            "3:49 <\\\"waytoolonganame0\\\"> an interface name has at most 15 bytes, this has 16",
        ],
    );
}

#[test]
fn admits() {
    check(
        "version = 1\n[[admit]]\nfrom = \"192.0.2.1\"\nproto = \"icmp\"\nport = 7\nvia = \"docker0\"\n",
        &[
            "5:8 <7> ping has no port",
            "6:7 <\\\"docker0\\\"> ping has no port that a container could publish",
        ],
    );
    check(
        "version = 1\n[[admit]]\nfrom = \"192.0.2.1\"\nproto = \"udp\"\n[[admit]]\nfrom = \"192.0.2.1\"\nport = 1\nvia = \"lo\"\n",
        &[
            "2:1 <[[admit]]> the key `port` is missing",
            "8:7 <\\\"lo\\\"> `lo` is no bridge",
        ],
    );
}

#[test]
fn bridges() {
    check(
        "version = 1\n[[bridge]]\nname = \"*\"\n",
        &[
            "3:8 <\\\"*\\\"> `*` alone would meet every interface; write the letters that the bridges' names begin with, as in `br-*`",
        ],
    );
    check(
        "version = 1\n[[bridge]]\nname = \"b*r\"\n",
        &["3:8 <\\\"b*r\\\"> '*' cannot stand in an interface name"],
    );
    check(
        "version = 1\n[[bridge]]\nname = \"br0\"\nports = [\"8888\", \"8888/tcp\", \"icmp/1\", \"tcp/0\", 8]\n",
        &[
            "4:10 <\\\"8888\\\"> `8888` names no protocol",
            "4:18 <\\\"8888/tcp\\\"> `8888` is no protocol with ports",
            "4:30 <\\\"icmp/1\\\"> `icmp` is no protocol with ports",
            "4:40 <\\\"tcp/0\\\"> `0` is no port",
            "4:49 <8> this is a number",
        ],
    );
    check(
        "version = 1\n[[bridge]]\nname = \"br0\"\nports = \"tcp/1\"\n",
        &["4:9 <\\\"tcp/1\\\"> this is a string"],
    );
}

#[test]
fn one_bridge_twice_points_at_both() {
    // The second is judged although it has another mistake.
    let error = refused(Policy::from_toml(
        "version = 1\n[[bridge]]\nname = \"br0\"\n[[bridge]]\nname = \"br0\"\nisolate = 1\n",
    ));
    assert_eq!(
        briefs(&error),
        [
            "5:8 <\\\"br0\\\"> the bridge `br0` is named twice",
            "6:11 <1> this is a number"
        ]
    );
    let related = &error.diagnostics()[0].related[0];
    assert_eq!(
        (
            related.place.line,
            related.place.column,
            related.path.as_str()
        ),
        (3, 8, "bridge[0].name")
    );
}

#[test]
fn forwarders() {
    check_forward(
        "from = [\"172.17.0.2-172.17.0.9\", \"1.2.3\", \"10.0.0.1/8\", \"*\", \"lo\"]\nto = \"192.0.2.1\"\nport = 1",
        &[
            "3:9 <\\\"172.17.0.2-172.17.0.9\\\"> `172.17.0.2-172.17.0.9` is a range, and containers are no range",
            "3:34 <\\\"1.2.3\\\"> `1.2.3` is no IP address",
            "3:43 <\\\"10.0.0.1/8\\\"> `10.0.0.1/8` has bits set behind its prefix",
            "3:57 <\\\"*\\\"> `*` alone would meet every interface; write the letters that the bridges' names begin with, as in `br-*`",
            "3:62 <\\\"lo\\\"> `lo` is no bridge",
        ],
    );
    let families = |from: &str, to: &str, expected: &[&str]| {
        check_forward(&format!("from = {from}\nto = {to}\nport = 1"), expected);
    };
    families(
        "\"172.17.0.2\"",
        "[\"192.0.2.1\", \"2001:db8::1\"]",
        &["4:20 <\\\"2001:db8::1\\\"> `2001:db8::1` is IPv6, and `from` has only IPv4"],
    );
    families(
        "\"172.17.0.2\"",
        "\"2001:db8::1\"",
        &["4:6 <\\\"2001:db8::1\\\"> `2001:db8::1` is IPv6, and `from` has only IPv4"],
    );
    families(
        "[\"172.17.0.2\", \"2001:db8::/64\"]",
        "\"192.0.2.1\"",
        &["3:23 <\\\"2001:db8::/64\\\"> `2001:db8::/64` is IPv6, and `to` has only IPv4"],
    );
    // Beside a bridge, an address of the other family is still there in vain.
    families(
        "[\"172.17.0.2\", \"docker0\"]",
        "\"2001:db8::1\"",
        &["3:9 <\\\"172.17.0.2\\\"> `172.17.0.2` is IPv4, and `to` has only IPv6"],
    );
    for (from, to) in [
        ("\"docker0\"", "[\"192.0.2.1\", \"2001:db8::1\"]"),
        (
            "[\"172.17.0.2\", \"2001:db8::/64\"]",
            "[\"192.0.2.1\", \"2001:db8::1\"]",
        ),
        ("\"172.17.0.2\"", "\"service.example\""),
    ] {
        let text = format!("version = 1\n[[forward]]\nport = 1\nfrom = {from}\nto = {to}\n");
        Policy::from_toml(&text).unwrap();
    }
}

#[test]
fn listeners() {
    let listen = |listen: &str, message: &str| {
        let text = format!(
            "from = \"docker0\"\nto = \"service.example\"\nport = 1\nlisten = \"{listen}\""
        );
        check_forward(&text, &[&format!("6:10 <\\\"{listen}\\\"> {message}")]);
    };
    listen("172.17.0.1", "the port is missing");
    listen("2001:db8::1", "the port is missing");
    listen("172.17.0.1:0", "port 0 cannot be dialled");
    listen(
        "172.17.0.1:65536",
        "`172.17.0.1:65536` is no address with a port",
    );
    listen("docker0:80", "`docker0:80` is no address with a port");
    listen(
        "127.0.0.1:80",
        "containers cannot dial 127.0.0.1: it is their own loopback",
    );
    listen(
        "[::1]:80",
        "containers cannot dial ::1: it is their own loopback",
    );
    listen("0.0.0.0:80", "`0.0.0.0` is nobody's address");
    listen("[::]:80", "`::` is nobody's address");
    listen(
        "224.0.0.1:80",
        "`224.0.0.1` is multicast, and flows to groups cannot be tracked: answers come from other addresses",
    );
    listen(
        "[fe80::1%2]:80",
        "`[fe80::1%2]:80` has a zone, which is a matter of one host",
    );
    listen(
        "[::ffff:192.0.2.1]:80",
        "`::ffff:192.0.2.1` is an IPv4 address in the form of IPv6, which no packet carries",
    );

    let fits = |from: &str, to: &str, port: &str, expected: &[&str]| {
        check_forward(
            &format!("from = {from}\nto = {to}\nport = {port}\nlisten = \"172.17.0.1:80\""),
            expected,
        );
    };
    let docker = "\"docker0\"";
    fits(
        docker,
        "\"192.0.2.0/24\"",
        "1",
        &["4:6 <\\\"192.0.2.0/24\\\"> `192.0.2.0/24` is more than one address"],
    );
    fits(
        docker,
        "\"192.0.2.1-192.0.2.2\"",
        "1",
        &["4:6 <\\\"192.0.2.1-192.0.2.2\\\"> `192.0.2.1-192.0.2.2` is more than one address"],
    );
    fits(
        docker,
        "[\"192.0.2.1\", \"192.0.2.2\"]",
        "1",
        &["4:20 <\\\"192.0.2.2\\\"> a forwarder with `listen` leads to one address"],
    );
    fits(
        docker,
        "\"2001:db8::1\"",
        "1",
        &["4:6 <\\\"2001:db8::1\\\"> `2001:db8::1` is IPv6, and `listen` is IPv4"],
    );
    fits(
        docker,
        "\"192.0.2.1\"",
        "\"1-2\"",
        &["5:8 <\\\"1-2\\\"> `1-2` is more than one port"],
    );
    fits(
        docker,
        "\"192.0.2.1\"",
        "[1, 2]",
        &["5:12 <2> a forwarder with `listen` leads to one port"],
    );
    fits(
        "\"2001:db8::/64\"",
        "\"service.example\"",
        "1",
        &["3:8 <\\\"2001:db8::/64\\\"> `2001:db8::/64` is IPv6, and `listen` is IPv4"],
    );
}

#[test]
fn one_listener_twice_points_at_both() {
    let one = "[[forward]]\nfrom = \"docker0\"\nto = \"192.0.2.1\"\nport = 1\nlisten = \"172.17.0.1:80\"\n";
    let error = refused(Policy::from_toml(&format!("version = 1\n{one}{one}")));
    assert_eq!(
        briefs(&error),
        ["11:10 <\\\"172.17.0.1:80\\\"> two forwarders listen on tcp 172.17.0.1:80"]
    );
    assert_eq!(error.diagnostics()[0].related[0].place.line, 6);
    Policy::from_toml(&format!("version = 1\n{one}{one}proto = \"udp\"\n")).unwrap();
}

#[test]
fn syntax() {
    check(
        "version = \nx = \"y\n[[allow]\n",
        &[
            "1:11 <> invalid TOML: the value is missing",
            "2:7 <> invalid TOML: invalid basic string",
            "3:9 <> invalid TOML: unclosed array table",
        ],
    );
    check(
        "version = 1\nversion = 1\n",
        &["2:1 <version> this key or table stands twice"],
    );
    let json = |text: &str, expected: &[&str]| {
        assert_eq!(
            briefs(&refused(Policy::from_json(text))),
            expected,
            "for: {text}"
        );
    };
    json(
        "{\"version\": 1,}",
        &["1:14 <,> invalid JSON: trailing commas are not allowed"],
    );
    json(
        "{\"version\": 1} // x",
        &["1:16 <// x> invalid JSON: comments are not allowed"],
    );
    json(
        "{\"version\": 1 \"host\": {}}",
        &["1:14 <> invalid JSON: expected comma"],
    );
    json(
        "{version: 1}",
        &["1:2 <version> invalid JSON: expected string for object property"],
    );
    json(
        "{\"version\": 01}",
        &["1:14 <> invalid JSON: expected comma"],
    );
    json(
        "{\"version\": 1, \"version\": 1}",
        &["1:16 <\\\"version\\\"> the key `version` stands twice in one object"],
    );
    json(
        "{\"version\": 1, \"host\": null}",
        &["1:24 <null> this is `null`"],
    );
    json(
        "{\"version\": 1} {}",
        &["1:16 <{> invalid JSON: text cannot contain more than one JSON value"],
    );
    json("[]", &["1:1 <[]> this is a list"]);
    json(
        "{\"version\": 1e0}",
        &["1:13 <1e0> this is a number that is not whole"],
    );
    json(
        "{\"version\": 1, \"bridge\": [{\"name\": \"br0\", \"comment\": \"a\nb\"}]}",
        &["1:56 <\\n> invalid JSON: a control character in a string"],
    );
}

#[test]
fn bytes_that_are_no_text() {
    let error = refused(Policy::from_bytes(
        "p.toml",
        b"version = 1\n# \xc3\xa9 \xff\n",
    ));
    assert_eq!(
        briefs(&error),
        ["2:5 <\u{fffd}> the byte 0xff is not UTF-8"]
    );
    let error = refused(Policy::from_bytes("p.toml", b"\xef\xbb\xbfversion = \xff"));
    assert_eq!(
        briefs(&error),
        ["1:11 <\u{fffd}> the byte 0xff is not UTF-8"]
    );
}

#[test]
fn files() {
    let error = refused(Policy::load(std::path::Path::new(
        "/nonexistent/policy.toml",
    )));
    assert_eq!(
        error.to_string(),
        "error: the policy cannot be read: No such file or directory (os error 2)\n --> /nonexistent/policy.toml"
    );
    assert!(
        refused(Policy::load(std::path::Path::new("/")))
            .to_string()
            .contains("Is a directory")
    );
    let endless = refused(Policy::load(std::path::Path::new("/proc/self/mem")));
    assert!(
        endless
            .to_string()
            .starts_with("error: the policy cannot be read")
    );
}

#[test]
fn every_mistake_in_one_run() {
    let text = FULL
        .replace("\"34.95.12.47\"", "\"34.95.12.470\"")
        .replace("port = 22", "prt = 22")
        .replace("isolate = true", "isolate = \"no\"")
        .replace("port = 5432", "port = 54320000")
        .replace("strict = true", "strickt = true");
    check(
        &text,
        &[
            "7:1 <strickt> unknown key `strickt`",
            "10:6 <\\\"34.95.12.470\\\"> `34.95.12.470` is no IP address",
            "21:1 <[[admit]]> the key `port` is missing",
            "23:1 <prt> unknown key `prt`",
            "33:11 <\\\"no\\\"> this is a string",
            "42:8 <54320000> 54320000 is no port",
        ],
    );
}

#[test]
fn paths_stand_for_lines_in_data() {
    let allow = Node::data(Value::Table(vec![
        Entry::data(
            "to",
            Value::Array(vec![
                Node::data(Value::String("192.0.2.1".into())),
                Node::data(Value::Null),
            ]),
        ),
        Entry::data("port", Value::Foreign("a set".into())),
        Entry::data("a b", Value::Float),
    ]));
    let root = Node::data(Value::Table(vec![
        Entry::data("version", Value::Integer(1)),
        Entry::data("allow", Value::Array(vec![allow])),
    ]));
    let error = refused(Policy::from_node(&root, "policy"));
    let said: Vec<_> = error
        .diagnostics()
        .iter()
        .map(|d| (d.path.as_str(), d.message.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("allow[0].to[1]", "this is `null`"),
            ("allow[0].port", "this is a set"),
            ("allow[0].\"a b\"", "unknown key `a b`"),
        ]
    );
    assert!(
        error.to_string().contains("--> policy at allow[0].port\n"),
        "{error}"
    );
}
