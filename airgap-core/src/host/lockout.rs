//! The connections that a policy would cut, and among them the administrator's
//! own way in: a policy that cuts it is refused unless somebody says that it
//! should not be, or it comes back by itself.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::error::Error;
use crate::flow::{End, Flow, FlowProto, World};
use crate::graph::RuleGraph;
use crate::netlink::{Connection, standing};

/// A TCP connection of this host that a policy would cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// Who opened it.
    pub from: SocketAddr,
    /// To where.
    pub to: SocketAddr,
    /// Whether the calling process is administered over it: it is that of
    /// `SSH_CONNECTION`, or this process or one that it descends from has its
    /// socket.
    pub own_way_in: bool,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp from {} to {}", self.from, self.to)?;
        if self.own_way_in {
            f.write_str(", over which you are here")?;
        }
        Ok(())
    }
}

/// The standing connections that `target` would drop and `live` does not, the
/// caller's own first.
pub(super) fn cuts(target: &RuleGraph, live: &RuleGraph) -> Result<Vec<Cut>, Error> {
    let standing = standing()?;
    if standing.is_empty() {
        return Ok(Vec::new());
    }
    let world = World::observe()?;
    let sockets = own_sockets();
    let session = ssh_connection();
    // Connections that differ in the port that they came from share a verdict.
    let mut passing = BTreeSet::new();
    let mut cuts = Vec::new();
    for connection in standing {
        let (from, to, user) = (connection.from.ip(), connection.to, connection.user);
        if passing.contains(&(from, to, user)) {
            continue;
        }
        let flow = flow(&connection);
        if target.drops(&flow, &world) && !live.drops(&flow, &world) {
            cuts.push(Cut {
                from: connection.from,
                to: connection.to,
                own_way_in: sockets.contains(&connection.inode)
                    || session == Some((connection.from, connection.to)),
            });
        } else {
            passing.insert((from, to, user));
        }
    }
    cuts.sort_by_key(|cut| !cut.own_way_in);
    Ok(cuts)
}

fn flow(connection: &Connection) -> Flow {
    let host = |address: IpAddr| End::Host {
        address: Some(address),
    };
    let other = |address: IpAddr| End::At {
        interface: None,
        address,
    };
    let (from, to) = (connection.from.ip(), connection.to.ip());
    let (from, to) = match connection.is_ours {
        true => (host(from), other(to)),
        false => (other(from), host(to)),
    };
    Flow {
        proto: FlowProto::Tcp,
        from,
        source_port: Some(connection.from.port()),
        to,
        port: Some(connection.to.port()),
        user: connection.is_ours.then_some(connection.user),
    }
}

/// The connection by which sshd says that this process came: client and server,
/// each an address and a port.
fn ssh_connection() -> Option<(SocketAddr, SocketAddr)> {
    let text = std::env::var("SSH_CONNECTION").ok()?;
    read_ssh_connection(&text)
}

fn read_ssh_connection(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = text.split_whitespace();
    let mut end = || {
        // A link-local address has its interface behind it.
        let address: IpAddr = words.next()?.split('%').next()?.parse().ok()?;
        Some(SocketAddr::new(
            address.to_canonical(),
            words.next()?.parse().ok()?,
        ))
    };
    Some((end()?, end()?))
}

/// The numbers of the sockets of this process and of those that it descends
/// from: sudo and the like forget `SSH_CONNECTION`, but sshd is among them.
fn own_sockets() -> BTreeSet<u32> {
    let mut sockets = BTreeSet::new();
    let mut process = std::process::id();
    while process > 1 {
        // What may not be looked at has nothing to tell.
        let files = fs::read_dir(format!("/proc/{process}/fd"));
        sockets.extend(files.into_iter().flatten().flatten().filter_map(|file| {
            let target = fs::read_link(file.path()).ok()?;
            let number = target.to_str()?.strip_prefix("socket:[")?;
            number.strip_suffix(']')?.parse::<u32>().ok()
        }));
        process = parent(process).unwrap_or_default();
    }
    sockets
}

/// The parent of a process, behind its name in parentheses and its state.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use super::*;

    #[test]
    fn the_words_of_sshd_are_read() {
        let found = read_ssh_connection("192.0.2.10 50000 192.0.2.1 22").unwrap();
        assert_eq!(found.0, "192.0.2.10:50000".parse().unwrap());
        assert_eq!(found.1, "192.0.2.1:22".parse().unwrap());
        let found = read_ssh_connection("fe80::1%eth0 50000 ::ffff:192.0.2.1 22").unwrap();
        assert_eq!(found.0, "[fe80::1]:50000".parse().unwrap());
        assert_eq!(found.1, "192.0.2.1:22".parse().unwrap());
        for text in ["", "192.0.2.10 50000 192.0.2.1", "a b c d"] {
            assert_eq!(read_ssh_connection(text), None);
        }
    }

    #[test]
    fn the_sockets_of_this_process_are_known() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        let number = link
            .to_str()
            .unwrap()
            .trim_matches(|c: char| !c.is_ascii_digit());
        assert!(own_sockets().contains(&number.parse().unwrap()));
    }
}
