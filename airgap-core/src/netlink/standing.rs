//! Connections that stand when the first policy comes, told to connection
//! tracking.
//!
//! Where no rule asked for it yet, the kernel tracks nothing, and takes the
//! first packet that it then sees of a standing connection for its opening.
//! That may be an answer of the host: an administrator's session, admitted by
//! the policy, would hang as a flow that the host had opened; and a connection
//! from outside would pass for one of an allow pair. Which side opened it, the
//! host's sockets tell. They also tell which connections a policy would cut.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use mnl::Bus;
use nftnl::nftnl_sys::libc;

use super::attr::Writer;
use super::fake;
use super::socket::{message, messages};
use super::wire::Wire;
use crate::error::Error;

/// `SOCK_DIAG_BY_FAMILY`
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `TCP_ESTABLISHED`, `TCP_FIN_WAIT1`, `TCP_FIN_WAIT2` and `TCP_CLOSE_WAIT` of
/// the kernel: the states in which one side still may send.
const STANDING: [u8; 4] = [1, 4, 5, 8];
/// `TCP_LISTEN`
const LISTEN: u8 = 10;
/// `struct inet_diag_msg`.
const DIAG_HEAD: usize = 72;
/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_NEW`
const CT_NEW: u16 = 1 << 8;
/// `IPS_SEEN_REPLY`, `IPS_ASSURED` and `IPS_CONFIRMED`
const STATUS: u32 = 0x2 | 0x4 | 0x8;
/// `TCP_CONNTRACK_ESTABLISHED`
const TRACKED_ESTABLISHED: u8 = 3;
/// Seconds after which a connection without a packet is forgotten: the kernel's
/// own `nf_conntrack_tcp_timeout_established`.
const TIMEOUT: u32 = 432_000;

/// A TCP connection of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connection {
    /// Who opened it.
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Whether that was the host.
    pub is_ours: bool,
    /// The user of the socket.
    pub user: u32,
    /// The number of the socket, by which `/proc/PID/fd` names it.
    pub inode: u32,
}

/// Has the kernel track the TCP connections of this network namespace that it
/// does not track yet, each as opened by the side that opened it: one to a
/// listening port of the host by the other side.
///
/// # Errors
/// When the kernel does not tell its sockets. One that cannot be told to
/// connection tracking, as where the kernel lacks `nf_conntrack_netlink`, is
/// known by its next packet, as ever.
pub(crate) fn track_standing() -> Result<(), Error> {
    // A fake kernel has no packets.
    if fake::current().is_some() {
        return Ok(());
    }
    let standing = standing()?;
    let wire = Wire::open(Bus::Netfilter).map_err(error)?;
    for connection in standing {
        // What is tracked already stays as it is (EEXIST).
        if wire.send(&creation(&connection)).is_err() {
            break;
        }
    }
    Ok(())
}

fn error(source: io::Error) -> Error {
    Error::io("ask for the sockets of this host", source)
}

/// The TCP connections that stand in this network namespace.
///
/// # Errors
/// When the kernel does not tell its sockets.
pub(crate) fn standing() -> Result<BTreeSet<Connection>, Error> {
    if fake::current().is_some() {
        return Ok(BTreeSet::new());
    }
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        sockets.extend(tcp_sockets(family).map_err(error)?);
    }
    Ok(connections(&sockets))
}

/// A TCP socket.
struct TcpSocket {
    state: u8,
    own: SocketAddr,
    other: SocketAddr,
    user: u32,
    inode: u32,
}

fn tcp_sockets(family: i32) -> io::Result<Vec<TcpSocket>> {
    let wire = Wire::open(Bus::SockDiag)?;
    wire.send(&request(family))?;
    let mut sockets = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = wire.receive(&mut buffer)?;
        for message in messages(buffer.get(..length).unwrap_or_default()) {
            match message.error() {
                // No IPv6 here, or no inet_diag.
                Some(error) if error.errno == libc::ENOENT => return Ok(sockets),
                Some(error) => return Err(io::Error::from_raw_os_error(error.errno)),
                None => {}
            }
            if i32::from(message.kind) == libc::NLMSG_DONE {
                return Ok(sockets);
            }
            sockets.extend(socket(message.payload));
        }
    }
}

/// Asks for all TCP sockets that are connected or that listen (`struct
/// inet_diag_req_v2`).
fn request(family: i32) -> Vec<u8> {
    let mut bytes = vec![0; 72];
    let put = |bytes: &mut Vec<u8>, at: usize, what: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + what.len()) {
            place.copy_from_slice(what);
        }
    };
    put(&mut bytes, 0, &72u32.to_ne_bytes());
    put(&mut bytes, 4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // flags and families of the kernel's header
    {
        put(
            &mut bytes,
            6,
            &((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes(),
        );
        put(&mut bytes, 16, &[family as u8, libc::IPPROTO_TCP as u8]);
    }
    let states = STANDING
        .iter()
        .fold(1u32 << LISTEN, |all, state| all | 1 << state);
    put(&mut bytes, 20, &states.to_ne_bytes());
    bytes
}

/// Reads a `struct inet_diag_msg`: family 0, state 1, ports 4 and 6, addresses
/// 8 and 24, user 64, inode 68.
fn socket(bytes: &[u8]) -> Option<TcpSocket> {
    let head = bytes.get(..DIAG_HEAD)?;
    let family = i32::from(*head.first()?);
    let end = |address: usize, port: usize| {
        let port = u16::from_be_bytes(head.get(port..port + 2)?.try_into().ok()?);
        let bytes: [u8; 16] = head.get(address..address + 16)?.try_into().ok()?;
        let address = match family {
            libc::AF_INET => IpAddr::from(*bytes.first_chunk::<4>()?),
            // A socket for both families has IPv4 in the clothes of IPv6.
            libc::AF_INET6 => Ipv6Addr::from(bytes).to_canonical(),
            _ => return None,
        };
        Some(SocketAddr::new(address, port))
    };
    let number = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
    Some(TcpSocket {
        state: *head.get(1)?,
        own: end(8, 4)?,
        other: end(24, 6)?,
        user: number(64)?,
        inode: number(68)?,
    })
}

/// The connections, as they were opened.
fn connections(sockets: &[TcpSocket]) -> BTreeSet<Connection> {
    let listening: BTreeSet<u16> = sockets
        .iter()
        .filter(|socket| socket.state == LISTEN)
        .map(|socket| socket.own.port())
        .collect();
    sockets
        .iter()
        .filter(|socket| STANDING.contains(&socket.state) && !socket.own.ip().is_loopback())
        .map(|socket| {
            let is_ours = !listening.contains(&socket.own.port());
            let (from, to) = match is_ours {
                true => (socket.own, socket.other),
                false => (socket.other, socket.own),
            };
            Connection {
                from,
                to,
                is_ours,
                user: socket.user,
                inode: socket.inode,
            }
        })
        .collect()
}

/// The message that has a connection tracked, unless it is already.
fn creation(connection: &Connection) -> Vec<u8> {
    // CTA_TUPLE_IP 1 { CTA_IP_V4_SRC 1, _DST 2, CTA_IP_V6_SRC 3, _DST 4 },
    // CTA_TUPLE_PROTO 2 { CTA_PROTO_NUM 1, _SRC_PORT 2, _DST_PORT 3 }
    let tuple = |a: &mut Writer, from: SocketAddr, to: SocketAddr| {
        a.nest(1, |a| {
            for (address, v4, v6) in [(from.ip(), 1, 3), (to.ip(), 2, 4)] {
                match address {
                    IpAddr::V4(address) => a.bytes(v4, &address.octets()),
                    IpAddr::V6(address) => a.bytes(v6, &address.octets()),
                };
            }
        });
        a.nest(2, |a| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 6
            a.bytes(1, &[libc::IPPROTO_TCP as u8]);
            a.bytes(2, &from.port().to_be_bytes());
            a.bytes(3, &to.port().to_be_bytes());
        });
    };
    let Connection { from, to, .. } = *connection;
    let mut a = Writer::default();
    // CTA_TUPLE_ORIG 1, CTA_TUPLE_REPLY 2, CTA_STATUS 3, CTA_PROTOINFO 4
    // { CTA_PROTOINFO_TCP 1 { CTA_PROTOINFO_TCP_STATE 1 } }, CTA_TIMEOUT 7
    a.nest(1, |a| tuple(a, from, to));
    a.nest(2, |a| tuple(a, to, from));
    a.be32(3, STATUS);
    a.nest(4, |a| {
        a.nest(1, |a| {
            a.bytes(1, &[TRACKED_ESTABLISHED]);
        });
    });
    a.be32(7, TIMEOUT);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // flags and families of the kernel's header
    let (flags, family) = (
        (libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16,
        match from.ip() {
            IpAddr::V4(_) => libc::AF_INET as u8,
            IpAddr::V6(_) => libc::AF_INET6 as u8,
        },
    );
    message(CT_NEW, flags, family, &a.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use std::net::Ipv4Addr;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_listening_port_tells_who_opened_a_connection() {
        let sockets = [
            (LISTEN, "[::]:22", "[::]:0"),
            (STANDING[0], "192.0.2.1:22", "192.0.2.10:50000"),
            (STANDING[0], "192.0.2.1:50001", "203.0.113.9:443"),
            (STANDING[0], "127.0.0.1:22", "127.0.0.1:50002"),
        ];
        let sockets = sockets.map(|(state, own, other)| TcpSocket {
            state,
            own: at(own),
            other: at(other),
            user: 7,
            inode: 9,
        });
        let expected = [
            ("192.0.2.1:50001", "203.0.113.9:443", true),
            ("192.0.2.10:50000", "192.0.2.1:22", false),
        ];
        let expected: BTreeSet<_> = expected
            .map(|(from, to, is_ours)| Connection {
                from: at(from),
                to: at(to),
                is_ours,
                user: 7,
                inode: 9,
            })
            .into();
        assert_eq!(connections(&sockets), expected);
    }

    #[test]
    fn ipv4_in_the_clothes_of_ipv6_is_ipv4() {
        let mapped = |last: u8| Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets();
        let ports = [0, 22, 0xc3, 0x50];
        let head = [10, STANDING[0], 0, 0];
        let numbers = [7u32.to_ne_bytes(), 9u32.to_ne_bytes()].concat();
        let bytes = [
            head.as_slice(),
            &ports,
            &mapped(1),
            &mapped(10),
            &[0; 24],
            &numbers,
        ]
        .concat();
        let found = socket(&bytes).unwrap();
        assert_eq!(
            (found.state, found.own, found.other),
            (STANDING[0], at("192.0.2.1:22"), at("192.0.2.10:50000"))
        );
        assert_eq!((found.user, found.inode), (7, 9));
        assert!(socket(bytes.split_last().unwrap().1).is_none());
    }
}
