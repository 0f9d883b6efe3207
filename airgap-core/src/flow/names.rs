//! What names in a flow stand for on this host: running containers, then hosts
//! by the system's resolver, and users.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::text::{Named, Names};

/// Where Docker's daemon answers, where `DOCKER_HOST` names no other socket.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// The daemon is local: longer than this it does not need.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer of more bytes than this is not read.
const ANSWER_MAX: u64 = 64 << 20;
/// The option by which a network of Docker names its bridge.
const DEFAULT_BRIDGE: &str = "docker0";

/// Names as this host knows them.
#[derive(Debug, Default)]
pub(crate) struct HostNames;

impl Names for HostNames {
    fn find(&self, name: &str) -> Vec<Named> {
        let containers = containers();
        let named: Vec<_> = containers
            .into_iter()
            .filter(|(container, _)| container == name)
            .map(|(_, named)| named)
            .collect();
        if !named.is_empty() {
            return named;
        }
        let Ok(found) = (name, 0).to_socket_addrs() else {
            return Vec::new();
        };
        found
            .map(|address| Named {
                interface: None,
                address: address.ip().to_canonical(),
            })
            .collect()
    }

    fn known(&self) -> Vec<String> {
        let mut names: Vec<_> = containers().into_iter().map(|(name, _)| name).collect();
        names.dedup();
        names
    }

    fn user(&self, name: &str) -> Option<u32> {
        let user = nix::unistd::User::from_name(name).ok()??;
        Some(user.uid.as_raw())
    }
}

/// The running containers with their addresses, one by one; none where no
/// daemon answers.
fn containers() -> Vec<(String, Named)> {
    ask("/containers/json")
        .and_then(|answer| serde_json::from_str(&answer).ok())
        .map(|answer: Value| addresses(&answer))
        .unwrap_or_default()
}

/// Asks the daemon, by HTTP over its socket.
fn ask(path: &str) -> Option<String> {
    let named = std::env::var("DOCKER_HOST").ok();
    let socket = named
        .as_deref()
        .and_then(|host| host.strip_prefix("unix://"))
        .unwrap_or(DOCKER_SOCKET);
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    // By version 1.0 the answer comes in one piece and ends with the connection.
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.lines().next()?.split_whitespace().nth(1)?;
    (status == "200").then(|| body.to_owned())
}

/// The names and addresses in the daemon's list of containers.
fn addresses(list: &Value) -> Vec<(String, Named)> {
    let mut found = Vec::new();
    for container in list.as_array().into_iter().flatten() {
        let names = container.get("Names").and_then(Value::as_array);
        let networks = container.pointer("/NetworkSettings/Networks");
        let networks = networks.and_then(Value::as_object);
        for (name, network) in networks.into_iter().flatten() {
            let interface = bridge(name, network);
            for key in ["IPAddress", "GlobalIPv6Address"] {
                let address = network.get(key).and_then(Value::as_str);
                let Some(address) = address.and_then(|a| a.parse::<IpAddr>().ok()) else {
                    continue;
                };
                let names = names.into_iter().flatten().filter_map(Value::as_str);
                found.extend(names.map(|name| {
                    let named = Named {
                        interface: interface.clone(),
                        address,
                    };
                    (name.trim_start_matches('/').to_owned(), named)
                }));
            }
        }
    }
    found
}

/// The bridge of a network, by the names that Docker gives them where nobody
/// else does.
fn bridge(name: &str, network: &Value) -> Option<String> {
    if name == "bridge" {
        return Some(DEFAULT_BRIDGE.to_owned());
    }
    let id = network.get("NetworkID").and_then(Value::as_str)?;
    Some(format!("br-{}", id.get(..12)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use super::*;

    #[test]
    fn containers_are_found_by_their_names_and_behind_their_bridges() {
        let list = serde_json::json!([{
            "Names": ["/web"],
            "NetworkSettings": { "Networks": {
                "bridge": { "NetworkID": "0123456789abcdef", "IPAddress": "172.17.0.2", "GlobalIPv6Address": "" },
                "own": { "NetworkID": "0123456789abcdef", "IPAddress": "172.18.0.2",
                         "GlobalIPv6Address": "2001:db8::2" },
            }},
        }, { "Names": null }]);
        let text: Vec<_> = addresses(&list)
            .into_iter()
            .map(|(name, n)| format!("{name} {} {}", n.interface.unwrap(), n.address))
            .collect();
        assert_eq!(
            text,
            [
                "web docker0 172.17.0.2",
                "web br-0123456789ab 172.18.0.2",
                "web br-0123456789ab 2001:db8::2"
            ]
        );
        assert!(addresses(&Value::Null).is_empty());
    }
}
