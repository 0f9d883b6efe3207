//! The network devices of a namespace, from rtnetlink(7).

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
    dump(&socket, libc::RTM_GETLINK, 16, |head, a| {
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
    dump(&socket, libc::RTM_GETADDR, 8, |head, a| {
        let device = devices.get_mut(&number(head, 4)?)?;
        // IFA_LOCAL 2 is the own address where IFA_ADDRESS 1 is the peer's
        let address = address(a.find(2).or_else(|| a.find(1))?)?;
        device
            .addresses
            .push(IpNet::new(address, *head.get(1)?).ok()?);
        Some(())
    })?;
    // struct rtmsg: destination length at 1
    dump(&socket, libc::RTM_GETROUTE, 12, |head, a| {
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

fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// Asks for all objects of a kind, which begin with a head of `head_len`
/// bytes.
fn dump(
    socket: &Wire,
    kind: u16,
    head_len: usize,
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
        .map_err(|source| Error::io("ask for the network devices", source))?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = socket
            .receive(&mut buffer)
            .map_err(|source| Error::io("hear of the network devices", source))?;
        for message in messages(buffer.get(..length).unwrap_or_default()) {
            if let Some(error) = message.error() {
                let source = io::Error::from_raw_os_error(error.errno);
                return Err(Error::io("ask for the network devices", source));
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
