//! What is left of a policy when it cannot be loaded: the administrator's way
//! in.

use std::sync::Arc;

use super::allow::AllowPairs;
use super::model::{Address, Dhcp, HostNeeds, Openings, Policy, Resolvers, VERSION};
use super::source::Source;

impl Policy {
    /// The part of this policy by which administrators get in, for a host on
    /// which the whole of it cannot be loaded: the admits to the host's own
    /// ports, and DHCP where there are any, since a host without an address is
    /// not reached. `strict` stays, as without it packet sockets would leak.
    #[must_use]
    pub fn way_in(&self) -> Self {
        let admit: Vec<_> = self
            .admit
            .iter()
            .filter(|admit| admit.via.is_none())
            .cloned()
            .collect();
        let dhcp = if admit.is_empty() {
            Dhcp::Off
        } else {
            self.host.dhcp.clone()
        };
        let openings = Openings {
            version: VERSION,
            host: HostNeeds {
                resolvers: Resolvers::None,
                dhcp,
                uplinks: self.host.uplinks.clone(),
                strict: self.host.strict,
            },
            allow: AllowPairs::default(),
            admit,
            bridge: Vec::new(),
            forward: Vec::new(),
        };
        Self::new(openings, Arc::clone(self.source()))
    }

    /// No opening at all. With `strict` none for packet sockets either.
    #[must_use]
    pub fn closed(strict: bool) -> Self {
        let openings = Openings {
            version: VERSION,
            host: HostNeeds {
                strict,
                ..HostNeeds::default()
            },
            allow: AllowPairs::default(),
            admit: Vec::new(),
            bridge: Vec::new(),
            forward: Vec::new(),
        };
        Self::new(openings, Arc::new(Source::new("nothing opens", "")))
    }

    /// The host names in its admits.
    pub(crate) fn admitted_names(&self) -> impl Iterator<Item = &str> {
        self.admit
            .iter()
            .flat_map(|admit| &admit.from)
            .filter_map(|address| match address {
                Address::Name(name) => Some(&**name),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use super::*;

    #[test]
    fn the_way_in_is_what_administrators_need() {
        let policy = Policy::from_toml(
            r#"
            version = 1
            [host]
            resolvers = ["192.0.2.53"]
            dhcp = true
            uplinks = ["eth0"]
            strict = true
            [[allow]]
            to = "203.0.113.9"
            port = 443
            [[admit]]
            from = ["192.0.2.10", "admin.example"]
            port = 22
            [[admit]]
            from = "192.0.2.10"
            port = 80
            via = "docker0"
            [[bridge]]
            name = "docker0"
            [[forward]]
            from = "docker0"
            to = "198.51.100.7"
            port = 5432
            "#,
        )
        .unwrap();
        let expected = Policy::from_toml(
            r#"
            version = 1
            [host]
            dhcp = true
            uplinks = ["eth0"]
            strict = true
            [[admit]]
            from = ["192.0.2.10", "admin.example"]
            port = 22
            "#,
        )
        .unwrap();
        let way_in = policy.way_in();
        assert_eq!(way_in, expected);
        assert_eq!(
            way_in.admitted_names().collect::<Vec<_>>(),
            ["admin.example"]
        );
        assert_eq!(Policy::from_json(&way_in.to_json()).unwrap(), expected);
    }

    #[test]
    fn without_an_admit_nothing_is_open() {
        let policy =
            Policy::from_toml("version = 1\n[host]\ndhcp = true\nresolvers = [\"192.0.2.53\"]\n")
                .unwrap();
        assert_eq!(policy.way_in(), Policy::closed(false));
    }
}
