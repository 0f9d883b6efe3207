//! What a policy's meaning takes from the host that it is compiled for: names,
//! users, name servers, devices, and what the kernel can do.
//!
//! A [`Surroundings`] is a record: with the same policy it always compiles to
//! the same graph, so that drift can be told from a world that has changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _};
use std::net::{IpAddr, ToSocketAddrs};

use serde::{Deserialize, Serialize};

use crate::denied::DeniedLog;
use crate::docker::DockerResolver;
use crate::error::{Error, Unresolved};
use crate::graph::{Origin, Section};
use crate::netlink::{Device, devices};
use crate::policy::{Address, Place, Policy, Resolvers, User};

/// What a policy's meaning takes from a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// The addresses of the host names in the policy, each list ordered.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// The numbers of the users in the policy.
    pub users: BTreeMap<String, u32>,
    /// The name servers of `/etc/resolv.conf`, where the policy means those.
    pub resolvers: Vec<IpAddr>,
    /// The network devices, where the policy needs them.
    pub devices: Vec<Device>,
    /// Whether rules of family bridge can ask for the bridge's name.
    pub bridge_names: bool,
    /// Where what is dropped is logged, if anywhere. No policy says so: it is
    /// asked for beside one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_log: Option<DeniedLog>,
    /// Whether containers can ask for names through Docker and a local stub.
    #[serde(default)]
    pub docker_resolver: DockerResolver,
}

impl Default for Surroundings {
    /// A host without devices and names, and a kernel that can do everything.
    fn default() -> Self {
        Self {
            names: BTreeMap::new(),
            users: BTreeMap::new(),
            resolvers: Vec::new(),
            devices: Vec::new(),
            bridge_names: true,
            denied_log: None,
            docker_resolver: DockerResolver::Contained,
        }
    }
}

/// The file that names the system's name servers.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Surroundings {
    /// Looks up what the policy names, in the network namespace of this
    /// thread.
    ///
    /// # Errors
    /// All names and users that do not resolve, together.
    pub fn observe(policy: &Policy) -> Result<Self, Error> {
        let mut observed = Self::default();
        let mut unresolved = Vec::new();
        observed.resolve_names(policy, &mut unresolved);
        observed.resolve_users(policy, &mut unresolved);
        if policy.host.resolvers == Resolvers::System {
            match fs::read_to_string(RESOLV_CONF) {
                Ok(text) => observed.resolvers = network_name_servers(&text),
                Err(error) => unresolved.push(Unresolved {
                    message: format!("`resolvers = \"system\"` needs {RESOLV_CONF}: {error}"),
                    origin: Origin {
                        section: Section::Host,
                        index: 0,
                        place: Place::default(),
                    },
                }),
            }
        }
        if !unresolved.is_empty() {
            return Err(Error::Unresolved(unresolved));
        }
        observed.observe_host()?;
        if policy.bridge.iter().any(|bridge| bridge.isolate) {
            observed.bridge_names = knows_bridge_names();
        }
        Ok(observed)
    }

    /// Looks at what can change while a policy stays loaded without anybody's
    /// saying so: the devices, and Docker's daemon.
    pub(crate) fn observe_host(&mut self) -> Result<(), Error> {
        self.devices = devices()?;
        self.docker_resolver = DockerResolver::observe();
        Ok(())
    }

    /// What a policy means on a host that has just started, where nothing
    /// resolves yet: names, users and name servers are as they were `kept`, and
    /// devices those that there are. Bridges that somebody has yet to make
    /// again stay what they were.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) fn after_boot(policy: &Policy, kept: &Self) -> Result<Self, Error> {
        let mut now = kept.clone();
        now.devices = devices()?;
        let absent: Vec<Device> = kept
            .devices
            .iter()
            .filter(|old| old.is_bridge() && !now.devices.iter().any(|d| d.name == old.name))
            .cloned()
            .collect();
        // Counted down, so that no device takes one of them for its master.
        for (index, bridge) in (0..=u32::MAX).rev().zip(absent) {
            now.devices.push(Device { index, ..bridge });
        }
        if policy.bridge.iter().any(|bridge| bridge.isolate) {
            now.bridge_names = knows_bridge_names();
        }
        now.docker_resolver = kept.docker_resolver.after_boot();
        Ok(now)
    }

    /// Looks the policy's users up again; who is not found keeps the number
    /// that is known, and is noted.
    pub(crate) fn look_up_users_again(&mut self, policy: &Policy, notes: &mut Vec<String>) {
        let mut now = Self::default();
        let mut unknown = Vec::new();
        now.resolve_users(policy, &mut unknown);
        self.users.extend(now.users);
        notes.extend(unknown.into_iter().map(|user| user.to_string()));
    }

    fn resolve_names(&mut self, policy: &Policy, unresolved: &mut Vec<Unresolved>) {
        let allow = policy
            .allow
            .listed()
            .map(|(i, a)| (Section::Allow, i, &a.to, a.place));
        let admit = policy
            .admit
            .iter()
            .enumerate()
            .map(|(i, a)| (Section::Admit, i, &a.from, a.place));
        let forward = policy
            .forward
            .iter()
            .enumerate()
            .map(|(i, f)| (Section::Forward, i, &f.to, f.place));
        for (section, index, addresses, place) in allow.chain(admit).chain(forward) {
            for address in addresses {
                let Address::Name(name) = address else {
                    continue;
                };
                if self.names.contains_key(&**name) {
                    continue;
                }
                match resolve(name) {
                    Ok(found) => {
                        self.names.insert(name.to_string(), found);
                    }
                    Err(error) => unresolved.push(Unresolved {
                        message: format!("the host name `{name}` does not resolve: {error}"),
                        origin: origin(section, index, place),
                    }),
                }
            }
        }
    }

    fn resolve_users(&mut self, policy: &Policy, unresolved: &mut Vec<Unresolved>) {
        for (index, allow) in policy.allow.listed() {
            let Some(User::Name(name)) = &allow.user else {
                continue;
            };
            if self.users.contains_key(&**name) {
                continue;
            }
            let problem = match nix::unistd::User::from_name(name) {
                Ok(Some(user)) => {
                    self.users.insert(name.to_string(), user.uid.as_raw());
                    continue;
                }
                Ok(None) => "there is no such user on this host".to_owned(),
                Err(error) => error.to_string(),
            };
            unresolved.push(Unresolved {
                message: format!("the user `{name}` is not known: {problem}"),
                origin: origin(Section::Allow, index, allow.place),
            });
        }
    }

    /// The devices that are ports of the bridges for which `is_meant` answers
    /// true.
    pub(crate) fn ports_of(
        &self,
        is_meant: impl Fn(&Device) -> bool,
    ) -> impl Iterator<Item = &Device> {
        let bridges: Vec<u32> = self
            .devices
            .iter()
            .filter(|d| is_meant(d))
            .map(|d| d.index)
            .collect();
        self.devices
            .iter()
            .filter(move |d| d.master.is_some_and(|master| bridges.contains(&master)))
    }
}

/// The part of the kernel by which rules of family bridge ask for the name of
/// the bridge.
const BRIDGE_NAMES: &str = "nft_meta_bridge";

/// Whether this kernel has that part, as a module or built in: by the lists
/// that come with its modules, else by its own symbols. Asked without sending
/// anything to nf_tables. If a list is wrong the kernel refuses the rules, and
/// nothing is loaded.
fn knows_bridge_names() -> bool {
    let lists = |release: &str| {
        ["modules.dep", "modules.builtin"].map(|list| format!("/lib/modules/{release}/{list}"))
    };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    lists(release.trim())
        .iter()
        .map(String::as_str)
        .chain(["/proc/kallsyms"])
        .any(|path| {
            fs::File::open(path).is_ok_and(|file| {
                let mut lines = io::BufReader::new(file).lines();
                lines.any(|line| line.is_ok_and(|line| line.contains(BRIDGE_NAMES)))
            })
        })
}

fn origin(section: Section, index: usize, place: Place) -> Origin {
    Origin {
        section,
        index: u32::try_from(index).unwrap_or(u32::MAX),
        place,
    }
}

/// All addresses of a host name, ordered, without duplicates.
pub(crate) fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = (name, 0)
        .to_socket_addrs()?
        .map(|a| a.ip().to_canonical())
        .collect();
    found.sort();
    found.dedup();
    if found.is_empty() {
        return Err(io::Error::other("it has no address"));
    }
    Ok(found)
}

/// The addresses of the lines `nameserver` of resolv.conf(5), in order.
pub(crate) fn name_servers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        line.strip_prefix("nameserver")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

/// Those without the loopback interface's, which needs no opening.
fn network_name_servers(text: &str) -> Vec<IpAddr> {
    let mut servers: Vec<IpAddr> = name_servers(text)
        .filter(|address| !address.is_loopback())
        .collect();
    servers.sort();
    servers.dedup();
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_those_of_the_network() {
        let text = "# a comment\nsearch lan\nnameserver 192.0.2.53\nnameserver\t2001:db8::53\nnameserver 127.0.0.53\n\
                    nameserver 192.0.2.53\nnameserver fe80::1%eth0\n";
        let expected: Vec<IpAddr> = ["192.0.2.53", "2001:db8::53"]
            .iter()
            .filter_map(|a| a.parse().ok())
            .collect();
        assert_eq!(network_name_servers(text), expected);
    }
}
