//! A host with an uplink and two bridges, in network namespaces of its own, and
//! everybody around it as packet sockets: nothing answers but what is sent here.

use std::fs;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use socket2::{Domain, Protocol, Socket, Type};

/// Where a packet starts or arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Host,
    /// On the uplink.
    World,
    /// Behind the first bridge.
    First,
    /// Behind the first bridge too.
    Second,
    /// Behind the second bridge.
    Third,
}

impl Node {
    pub const OTHERS: [Self; 4] = [Self::World, Self::First, Self::Second, Self::Third];

    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::World => "world",
            Self::First => "first",
            Self::Second => "second",
            Self::Third => "third",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Host]
            .into_iter()
            .chain(Self::OTHERS)
            .find(|node| node.name() == name)
    }

    /// The device of the host behind which it is.
    pub fn device(self) -> &'static str {
        match self {
            Self::Host => "lo",
            Self::World => "eth0",
            Self::First => "veth1",
            Self::Second => "veth2",
            Self::Third => "veth3",
        }
    }

    /// The interface of the host by which it sees the node.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Host => "lo",
            Self::World => "eth0",
            Self::First | Self::Second => "br0",
            Self::Third => "br1",
        }
    }

    /// Its addresses of IPv4 and IPv6, the first its own, the others of those
    /// behind it.
    pub fn addresses(self) -> &'static [&'static str] {
        match self {
            Self::Host => &[
                "192.0.2.1",
                "198.51.100.1",
                "198.51.100.65",
                "2001:db8:a::1",
                "2001:db8:b::1",
                "2001:db8:c::1",
            ],
            Self::World => &[
                "192.0.2.10",
                "192.0.2.11",
                "192.0.2.127",
                "192.0.2.128",
                "203.0.113.5",
                "203.0.113.128",
                "2001:db8:a::10",
                "2001:db8:a::11",
                "2001:db8:f::5",
            ],
            Self::First => &["198.51.100.2", "198.51.100.10", "2001:db8:b::2"],
            Self::Second => &["198.51.100.3", "198.51.100.11", "2001:db8:b::3"],
            Self::Third => &["198.51.100.66", "198.51.100.70", "2001:db8:c::66"],
        }
    }
}

/// Protocols whose packets to the host are listened for.
pub const PROTOCOLS: [u8; 4] = [6, 17, 47, 99];

struct Endpoint {
    node: Node,
    socket: OwnedFd,
    mac: [u8; 6],
    /// Ends its thread, and with it the namespace, when this is dropped.
    _leave: Sender<()>,
}

pub struct Stage {
    endpoints: Vec<Endpoint>,
    listeners: Vec<(bool, Socket)>,
    raw: (Socket, Socket),
}

type Failure = Box<dyn std::error::Error>;

impl Stage {
    /// Moves this thread into a new namespace, which becomes the host.
    pub fn enter() -> Result<Self, Failure> {
        let before = namespace()?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        if namespace()? == before {
            return Err("this is still the machine's own network namespace".into());
        }
        let mut endpoints = Vec::new();
        for command in [
            "ip link set lo up",
            "ip link add br0 type bridge mcast_snooping 0",
            "ip link add br1 type bridge mcast_snooping 0",
        ] {
            run(command)?;
        }
        quiet()?;
        for node in Node::OTHERS {
            endpoints.push(endpoint(node)?);
        }
        for (device, addresses) in [
            ("eth0", ["192.0.2.1/24", "2001:db8:a::1/64"]),
            ("br0", ["198.51.100.1/26", "2001:db8:b::1/64"]),
            ("br1", ["198.51.100.65/26", "2001:db8:c::1/64"]),
        ] {
            for address in addresses {
                let nodad = if address.contains("::") { "nodad" } else { "" };
                run(&format!("ip addr add {address} dev {device} {nodad}"))?;
            }
            run(&format!("ip link set {device} up"))?;
        }
        for endpoint in &endpoints {
            let node = endpoint.node;
            let mac = endpoint.mac.map(|byte| format!("{byte:02x}")).join(":");
            let on_link = |address: &str| {
                let far = address.starts_with("203.") || address.starts_with("2001:db8:f");
                (!far).then(|| address.to_owned())
            };
            let mut addresses: Vec<_> =
                node.addresses().iter().filter_map(|a| on_link(a)).collect();
            if node == Node::World {
                addresses.extend(["192.0.2.254".to_owned(), "2001:db8:a::fe".to_owned()]);
            }
            for address in addresses {
                let device = node.interface();
                run(&format!(
                    "ip neigh add {address} lladdr {mac} dev {device} nud permanent"
                ))?;
            }
        }
        run("ip route add default via 192.0.2.254")?;
        run("ip -6 route add default via 2001:db8:a::fe")?;
        let mut listeners = Vec::new();
        for (domain, is_v4, icmp) in [(Domain::IPV4, true, 1), (Domain::IPV6, false, 58)] {
            for proto in PROTOCOLS.into_iter().chain([icmp]) {
                let protocol = Protocol::from(i32::from(proto));
                let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
                socket.set_nonblocking(true)?;
                listeners.push((is_v4, socket));
            }
        }
        // Until the host has told the link which groups it listens to.
        thread::sleep(std::time::Duration::from_secs(4));
        // IPPROTO_RAW: what is written is the whole packet.
        let raw4 = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
        raw4.set_header_included_v4(true)?;
        let raw6 = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(255)))?;
        raw6.set_header_included_v6(true)?;
        Ok(Self {
            endpoints,
            listeners,
            raw: (raw4, raw6),
        })
    }

    /// The header of a frame from one node to another by IP version.
    pub fn frame(&self, from: Node, to: Node, is_v4: bool) -> Result<Vec<u8>, Failure> {
        let own = self.endpoint(from)?.mac;
        let same_link = from.interface() == to.interface() && from != to;
        let target = match same_link {
            true => self.endpoint(to)?.mac,
            false => mac_of(from.interface())?,
        };
        let ether_type: [u8; 2] = if is_v4 { [8, 0] } else { [0x86, 0xdd] };
        Ok([target.as_slice(), &own, &ether_type].concat())
    }

    fn endpoint(&self, node: Node) -> Result<&Endpoint, Failure> {
        let found = self.endpoints.iter().find(|endpoint| endpoint.node == node);
        Ok(found.ok_or("the host has no endpoint")?)
    }

    /// Sends a frame from a node, or a packet from the host.
    pub fn send(&self, from: Node, frame: &[u8], packet: &[u8], to: IpAddr) -> Result<(), Failure> {
        if from == Node::Host {
            let socket = if to.is_ipv4() {
                &self.raw.0
            } else {
                &self.raw.1
            };
            let address = std::net::SocketAddr::new(to, 0).into();
            return match socket.send_to(packet, &address) {
                Ok(_) => Ok(()),
                // What a rule drops on the way out, or a route leads nowhere.
                Err(error) if error.raw_os_error() == Some(1) => Ok(()),
                Err(error) => Err(format!("send to {to}: {error}").into()),
            };
        }
        let whole = [frame, packet].concat();
        let socket = self.endpoint(from)?.socket.as_raw_fd();
        send(socket, &whole, MsgFlags::empty())?;
        Ok(())
    }

    /// What has arrived since: where, and from the IP header on; at the host
    /// of IPv6 from the transport header on.
    pub fn received(&self) -> Vec<(Node, bool, Vec<u8>)> {
        let mut all = Vec::new();
        let mut buffer = vec![0; 65536];
        for endpoint in &self.endpoints {
            let socket = endpoint.socket.as_raw_fd();
            while let Ok(length) = recv(socket, &mut buffer, MsgFlags::MSG_DONTWAIT) {
                let frame = buffer.get(..length).unwrap_or_default();
                if let Some(packet) = frame.get(14..) {
                    all.push((endpoint.node, true, packet.to_vec()));
                }
            }
        }
        for (is_v4, socket) in &self.listeners {
            let mut reader = socket;
            while let Ok(length) = reader.read(&mut buffer) {
                let packet = buffer.get(..length).unwrap_or_default();
                all.push((Node::Host, *is_v4, packet.to_vec()));
            }
        }
        all
    }
}

/// The number of the network namespace of this thread.
fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}

/// Has conntrack forget all flows.
pub fn forget_flows() -> Result<(), Failure> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    // struct nlmsghdr and struct nfgenmsg: IPCTNL_MSG_CT_DELETE 2 of
    // NFNL_SUBSYS_CTNETLINK 1, without a flow; NLM_F_REQUEST 1 and NLM_F_ACK 4.
    let mut message = 20u32.to_ne_bytes().to_vec();
    message.extend(0x0102u16.to_ne_bytes());
    message.extend(5u16.to_ne_bytes());
    message.extend([0; 12]);
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 128];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match answer.get(16..20) {
        Some([0, 0, 0, 0]) if length >= 20 => Ok(()),
        other => Err(format!("conntrack does not forget: {other:?}").into()),
    }
}

/// Runs a program in the namespace of this thread.
pub fn run(command: &str) -> Result<(), Failure> {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    let done = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("`{command}`: {said}").into())
}

/// Keeps the host from saying anything by itself.
fn quiet() -> Result<(), Failure> {
    for (file, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        ("ipv4/conf/all/accept_local", "1"),
        ("ipv4/conf/default/accept_local", "1"),
        ("ipv4/icmp_echo_ignore_all", "1"),
        ("ipv6/icmp/echo_ignore_all", "1"),
        ("ipv4/icmp_ratelimit", "100000000"),
        ("ipv4/icmp_ratemask", "2147483647"),
        ("ipv6/icmp/ratelimit", "100000000"),
        ("ipv6/icmp/ratemask", "0-255"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/addr_gen_mode", "1"),
        ("ipv6/conf/br0/addr_gen_mode", "1"),
        ("ipv6/conf/br1/addr_gen_mode", "1"),
    ] {
        let path = format!("/proc/sys/net/{file}");
        fs::write(&path, value).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}

/// Has frames inside bridges cross the hooks of IP, or not.
pub fn filter_bridges(on: bool) -> Result<(), Failure> {
    for file in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        let path = format!("/proc/sys/net/bridge/{file}");
        fs::write(path, if on { "1" } else { "0" })?;
    }
    Ok(())
}

fn mac_of(device: &str) -> Result<[u8; 6], Failure> {
    let all = getifaddrs()?;
    let found = all
        .filter(|address| address.interface_name == device)
        .find_map(|address| address.address?.as_link_addr()?.addr());
    Ok(found.ok_or_else(|| format!("no device {device}"))?)
}

/// Makes a namespace with one device, whose other end is the host's.
fn endpoint(node: Node) -> Result<Endpoint, Failure> {
    let (tell, told) = channel::<Result<(OwnedFd, [u8; 6]), String>>();
    let (tell_id, id) = channel();
    let (go, going) = channel();
    let (leave, left) = channel::<()>();
    thread::spawn(move || {
        let made = inside(&tell_id, &going);
        let _ = tell.send(made.map_err(|error| error.to_string()));
        let _ = left.recv();
    });
    let id: i32 = id.recv()?;
    let device = node.device();
    run(&format!(
        "ip link add {device} type veth peer name ep netns {id}"
    ))?;
    if node.interface() != device {
        run(&format!("ip link set {device} master {}", node.interface()))?;
        fs::write(
            format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"),
            "1",
        )?;
    }
    run(&format!("ip link set {device} up"))?;
    go.send(())?;
    let (socket, mac) = told.recv()??;
    Ok(Endpoint {
        node,
        socket,
        mac,
        _leave: leave,
    })
}

fn inside(id: &Sender<i32>, going: &Receiver<()>) -> Result<(OwnedFd, [u8; 6]), Failure> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
    id.send(nix::unistd::gettid().as_raw())?;
    going.recv()?;
    run("ip link set ep arp off up")?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    let address: LinkAddr = getifaddrs()?
        .filter(|address| address.interface_name == "ep")
        .find_map(|address| Some(*address.address?.as_link_addr()?))
        .ok_or("no device ep")?;
    bind(socket.as_raw_fd(), &address)?;
    let mac = address.addr().ok_or("ep has no address")?;
    Ok((socket, mac))
}
