//! What the reader takes and refuses, word by word.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something else than it expects is to stop there"
)]

mod forms;
mod layout;
mod lists;
mod mistakes;
mod plain;
mod random;
mod schema;
mod warnings;

use super::{Diagnostic, Policy, PolicyError, Source};

/// A policy with one of everything.
const FULL: &str = r#"version = 1

[host]
resolvers = ["192.0.2.53", "2001:db8::53"]
dhcp = ["192.0.2.1"]
uplinks = ["eth0"]
strict = true

[[allow]]
to = "34.95.12.47"
port = 443
user = "connector"
comment = "www.agilicus.com"

[[allow]]
to = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.10-192.0.2.20", "www.example.com"]
port = [80, "8000-8099", "443"]
proto = "udp"
user = 1000

[[admit]]
from = "192.0.2.10"
port = 22
via = "docker0"

[[admit]]
from = ["192.0.2.0/24", "2001:db8::7"]
proto = "icmp"

[[bridge]]
name = "docker0"
ports = ["tcp/8888", "udp/5000-5009"]
isolate = true

[[bridge]]
name = "br-*"
ports = []

[[forward]]
from = "172.17.0.2"
to = "198.51.100.7"
port = 5432
proto = "tcp"
listen = "172.17.0.1:15432"
comment = "billing database"

[[forward]]
from = ["docker0", "br-*", "172.18.0.0/16", "2001:db8:1::/64"]
to = ["service.example.com", "198.51.100.0/24"]
port = "9000-9009"
"#;

/// The error of a policy that is refused.
fn refused(result: Result<Policy, PolicyError>) -> PolicyError {
    match result {
        Ok(policy) => panic!("taken: {policy:?}"),
        Err(error) => error,
    }
}

/// A diagnostic on one line: where, what is underlined, what is wrong.
fn brief(diagnostic: &Diagnostic, source: &Source) -> String {
    let start = source
        .offset(diagnostic.place)
        .expect("the place is in the text");
    let end = source
        .offset(diagnostic.end)
        .expect("the end is in the text");
    let underlined = source.text()[start..end].escape_debug();
    format!(
        "{}:{} <{underlined}> {}",
        diagnostic.place.line, diagnostic.place.column, diagnostic.message
    )
}

fn briefs(error: &PolicyError) -> Vec<String> {
    error
        .diagnostics()
        .iter()
        .map(|diagnostic| brief(diagnostic, error.policy_source()))
        .collect()
}
