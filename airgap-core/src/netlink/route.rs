//! The network devices of a namespace, from rtnetlink(7).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use mnl::Bus;
use nftnl::nftnl_sys::libc;
use serde::{Deserialize, Serialize};

use super::attr::Attributes;
use super::socket::messages;
use super::wire::Wire;
use crate::error::Error;

/// What is asked for, in errors.
const DEVICES: &str = "the network devices";
/// What is asked for, in errors.
const ROUTES: &str = "the routes";

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// What it is (`bridge`, `veth`, …); none for hardware.
    pub kind: Option<String>,
    /// The number of the bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// Its addresses with their networks.
    pub addresses: Vec<IpNet>,
    /// Whether a default route leads over it.
    pub default_route: bool,
}

impl Device {
    /// Whether it is a bridge.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        self.kind.as_deref() == Some("bridge")
    }
}

/// The devices of the network namespace of this thread, by their numbers.
///
/// # Errors
/// When the kernel does not answer.
pub(crate) fn devices() -> Result<Vec<Device>, Error> {
    let socket =
        Wire::open(Bus::Route).map_err(|source| Error::io("open a netlink socket", source))?;
    let mut devices = BTreeMap::new();
    // struct ifinfomsg: index at 4
    dump(&socket, libc::RTM_GETLINK, 16, DEVICES, |head, a| {
        let index = number(head, 4)?;
        // IFLA_IFNAME 3, IFLA_MASTER 10, IFLA_LINKINFO 18 { IFLA_INFO_KIND 1 }
        let master = a.find(10).and_then(|v| number(v, 0));
        let (name, kind) = (a.text(3)?, a.nested(18).text(1));
        let device = Device {
            name,
            index,
            kind,
            master,
            addresses: Vec::new(),
            default_route: false,
        };
        devices.insert(index, device);
        Some(())
    })?;
    // struct ifaddrmsg: prefix length at 1, index at 4
    dump(&socket, libc::RTM_GETADDR, 8, DEVICES, |head, a| {
        let device = devices.get_mut(&number(head, 4)?)?;
        // IFA_LOCAL 2 is the own address where IFA_ADDRESS 1 is the peer's
        let address = address(a.find(2).or_else(|| a.find(1))?)?;
        device
            .addresses
            .push(IpNet::new(address, *head.get(1)?).ok()?);
        Some(())
    })?;
    // struct rtmsg: destination length at 1
    dump(&socket, libc::RTM_GETROUTE, 12, DEVICES, |head, a| {
        // RTA_OIF 4
        if head.get(1) == Some(&0) {
            devices
                .get_mut(&a.find(4).and_then(|v| number(v, 0))?)?
                .default_route = true;
        }
        Some(())
    })?;
    Ok(devices.into_values().collect())
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// To where.
    pub destination: IpNet,
    /// The number of the device; none where it drops or has several ways.
    pub device: Option<u32>,
    /// The kernel takes the lowest of several.
    pub metric: u32,
    /// Whether what goes there is dropped (`RTN_BLACKHOLE` and the like).
    pub drops: bool,
}

/// The routes of the main table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    all: Vec<Route>,
    /// Whether rules (ip-rule(8)) send some packets to other tables.
    pub by_policy: bool,
}

impl Routes {
    /// The best routes to an address; the kernel takes one of them.
    pub fn find(&self, address: IpAddr) -> Vec<&Route> {
        let fitting = self.all.iter().filter(|r| r.destination.contains(&address));
        let rank = |route: &Route| (Reverse(route.destination.prefix_len()), route.metric);
        let best = fitting.clone().map(rank).min();
        fitting.filter(|route| Some(rank(route)) == best).collect()
    }
}

/// `RT_TABLE_DEFAULT`, `_MAIN` and `_LOCAL`
const USUAL_TABLES: std::ops::RangeInclusive<u8> = 253..=255;
/// `RT_TABLE_MAIN`
const MAIN_TABLE: u8 = 254;

/// The routes of the network namespace of this thread.
///
/// # Errors
/// When the kernel does not answer.
pub(crate) fn routes() -> Result<Routes, Error> {
    let socket =
        Wire::open(Bus::Route).map_err(|source| Error::io("open a netlink socket", source))?;
    let mut routes = Routes::default();
    // struct rtmsg: family 0, destination length 1, table 4, type 7, flags 8
    dump(&socket, libc::RTM_GETROUTE, 12, ROUTES, |head, a| {
        let (family, length) = (*head.first()?, *head.get(1)?);
        // RTM_F_CLONED: a cached decision, no route
        if *head.get(4)? != MAIN_TABLE || number(head, 8)? & 0x200 != 0 {
            return None;
        }
        // RTA_DST 1, RTA_OIF 4, RTA_PRIORITY 6
        let destination = match a.find(1) {
            Some(bytes) => address(bytes)?,
            None if i32::from(family) == libc::AF_INET => IpAddr::from([0; 4]),
            None if i32::from(family) == libc::AF_INET6 => IpAddr::from([0; 16]),
            None => return None,
        };
        let drops = *head.get(7)? != libc::RTN_UNICAST;
        routes.all.push(Route {
            destination: IpNet::new(destination, length).ok()?,
            device: a.find(4).and_then(|v| number(v, 0)).filter(|_| !drops),
            metric: a.find(6).and_then(|v| number(v, 0)).unwrap_or(0),
            drops,
        });
        Some(())
    })?;
    // struct fib_rule_hdr: table at 4
    dump(&socket, libc::RTM_GETRULE, 12, ROUTES, |head, _| {
        if !USUAL_TABLES.contains(head.get(4)?) {
            routes.by_policy = true;
        }
        Some(())
    })?;
    Ok(routes)
}

fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}

pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// Asks for all objects of a kind, which begin with a head of `head_len`
/// bytes; `what` they are, for an error.
pub(super) fn dump(
    socket: &Wire,
    kind: u16,
    head_len: usize,
    what: &str,
    mut each: impl FnMut(&[u8], Attributes) -> Option<()>,
) -> Result<(), Error> {
    let length = u32::try_from(16 + head_len).unwrap_or(u32::MAX);
    let mut request = length.to_ne_bytes().to_vec();
    request.extend_from_slice(&kind.to_ne_bytes());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // flags of the kernel's header
    request.extend_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request.resize(16 + head_len, 0);
    socket
        .send(&request)
        .map_err(|source| Error::io(format!("ask for {what}"), source))?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = socket
            .receive(&mut buffer)
            .map_err(|source| Error::io(format!("hear of {what}"), source))?;
        for message in messages(buffer.get(..length).unwrap_or_default()) {
            if let Some(error) = message.error() {
                let source = io::Error::from_raw_os_error(error.errno);
                return Err(Error::io(format!("ask for {what}"), source));
            }
            if i32::from(message.kind) == libc::NLMSG_DONE {
                return Ok(());
            }
            if let Some((head, attributes)) = message.payload.split_at_checked(head_len) {
                // An object without what is asked for is none of ours.
                let _ = each(head, Attributes(attributes));
            }
        }
    }
}
