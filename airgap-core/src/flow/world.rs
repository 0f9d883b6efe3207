//! What a packet's way takes from its host: devices, addresses and routes, as
//! they were observed, or as a flow assumes them where nothing was.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use super::packet::{Address, IpVersion};
use super::value::Answer;
use crate::error::Error;
use crate::netlink::{Device, Route, Routes, devices, routes};

/// An interface, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Its name.
    pub name: Option<String>,
    /// Its number.
    pub index: Option<u32>,
    /// What it is (`bridge`, `veth`, …); nothing of hardware.
    pub kind: Option<String>,
    /// The bridge that it is a port of.
    pub bridge: Option<String>,
}

impl Interface {
    /// The loopback interface, which has the number 1 in every namespace.
    #[must_use]
    pub fn loopback() -> Self {
        Self {
            name: Some("lo".to_owned()),
            index: Some(1),
            ..Self::default()
        }
    }

    /// An interface that was not seen. Its number is none that a rule can ask
    /// for, since rules ask for those of devices that are there.
    #[must_use]
    pub fn assumed(name: &str, is_bridge: bool) -> Self {
        Self {
            name: Some(name.to_owned()),
            index: Some(u32::MAX),
            kind: is_bridge.then(|| "bridge".to_owned()),
            bridge: None,
        }
    }

    /// Some port of a bridge.
    #[must_use]
    pub fn port_of(bridge: &Self) -> Self {
        Self {
            bridge: bridge.name.clone(),
            ..Self::default()
        }
    }

    /// Whether it is a bridge.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        self.kind.as_deref() == Some("bridge")
    }

    /// Whether the two are one.
    #[must_use]
    pub fn is(&self, other: &Self) -> Answer {
        match (&self.name, &other.name) {
            (Some(a), Some(b)) => (a == b).into(),
            _ => Answer::Maybe,
        }
    }
}

/// What the routes say of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It is one of the host's own.
    Local,
    /// It lies behind this interface.
    Over(Interface),
    /// No route leads there.
    Nowhere,
    /// What is known does not tell.
    Unknown,
}

/// Types of addresses; `RTN_*` of `linux/rtnetlink.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the words of the kernel's header
pub enum AddressType {
    Unicast = 1,
    Local = 2,
    Broadcast = 3,
    Multicast = 5,
    Unreachable = 7,
}

/// Devices, addresses and routes.
#[derive(Debug, Clone, Default)]
pub struct World {
    devices: Vec<Device>,
    /// Of a host that was observed.
    routes: Option<Routes>,
    /// Whether frames inside a bridge cross the hooks of IPv4 and of IPv6; not
    /// known where nothing was observed.
    bridge_filter: Option<[bool; 2]>,
    /// What a flow says of places that were not observed.
    assumed: Vec<(IpAddr, Interface)>,
    assumed_local: Vec<IpAddr>,
    /// The ports of bridges behind which addresses are known to be.
    at_ports: Vec<(IpAddr, Interface)>,
}

impl World {
    /// Observes the network namespace of this thread.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn observe() -> Result<Self, Error> {
        // The files are there only while br_netfilter is.
        let is_on = |file: &str| {
            fs::read_to_string(format!("/proc/sys/net/bridge/{file}"))
                .is_ok_and(|text| text.trim() == "1")
        };
        Ok(Self {
            devices: devices()?,
            routes: Some(routes()?),
            bridge_filter: Some([
                is_on("bridge-nf-call-iptables"),
                is_on("bridge-nf-call-ip6tables"),
            ]),
            ..Self::default()
        })
    }

    /// Whether this is a host that was looked at.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.routes.is_some()
    }

    /// Takes an address to be behind an interface, where what was observed
    /// does not know the interface.
    pub fn assume(&mut self, address: IpAddr, interface: Interface) {
        self.assumed.push((address, interface));
    }

    /// Takes an address to be one of the host's own.
    pub fn assume_local(&mut self, address: IpAddr) {
        self.assumed_local.push(address);
    }

    /// The devices that were observed.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Whether frames inside a bridge cross the hooks of this IP version.
    #[must_use]
    pub fn filters_bridges(&self, version: IpVersion) -> Answer {
        let [v4, v6] = match self.bridge_filter {
            Some(both) => both,
            None => return Answer::Maybe,
        };
        if version == IpVersion::V4 { v4 } else { v6 }.into()
    }

    /// The device of this name, if it was observed.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<Interface> {
        let device = self.devices.iter().find(|d| d.name == name)?;
        Some(self.of_device(device))
    }

    fn of_device(&self, device: &Device) -> Interface {
        let master = device.master.and_then(|master| {
            let master = self.devices.iter().find(|d| d.index == master)?;
            master.is_bridge().then(|| master.name.clone())
        });
        Interface {
            name: Some(device.name.clone()),
            index: Some(device.index),
            kind: device.kind.clone(),
            bridge: master,
        }
    }

    /// Takes an address to be behind this port of a bridge, whatever was said of
    /// it before.
    pub fn assume_at_port(&mut self, address: IpAddr, port: Interface) {
        self.at_ports.insert(0, (address, port));
    }

    /// The port of a bridge behind which an address is, where that is known.
    #[must_use]
    pub fn port_at(&self, address: &Address) -> Option<Interface> {
        let exact = address.exact()?;
        let (_, port) = self.at_ports.iter().find(|(a, _)| *a == exact)?;
        Some(port.clone())
    }

    /// The ports of a bridge that were observed.
    pub fn ports_of(&self, bridge: &str) -> impl Iterator<Item = Interface> {
        let index = self
            .devices
            .iter()
            .find(|d| d.name == bridge && d.is_bridge())
            .map(|d| d.index);
        self.devices
            .iter()
            .filter(move |d| index.is_some() && d.master == index)
            .map(|d| self.of_device(d))
    }

    /// The address that the host has on an interface, of this version; of
    /// several the first of the widest reach.
    #[must_use]
    pub fn address_on(&self, interface: &Interface, version: IpVersion) -> Option<IpAddr> {
        let name = interface.name.as_deref()?;
        let device = self.devices.iter().find(|d| d.name == name)?;
        let addresses = device.addresses.iter().map(ipnet::IpNet::addr);
        let mut of_version = addresses.filter(|a| IpVersion::of(*a) == version);
        of_version.find(|address| !is_link_local(*address))
    }

    /// The host's own addresses on this interface, or on any.
    fn own(&self, only: Option<&Interface>, address: IpAddr) -> bool {
        let devices = self.devices.iter().filter(|device| {
            only.is_none_or(|only| only.name.as_deref() == Some(device.name.as_str()))
        });
        let mut nets = devices.flat_map(|device| &device.addresses);
        nets.any(|net| net.addr() == address)
    }

    /// Whether an address is one of the host's own.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        is_loopback(address) || self.assumed_local.contains(&address) || self.own(None, address)
    }

    /// Whether the host chooses routes by more than the destination, so that
    /// what the main table says may not count.
    #[must_use]
    pub fn has_policy_routes(&self) -> bool {
        self.routes.as_ref().is_some_and(|routes| routes.by_policy)
    }

    /// Where an address is.
    #[must_use]
    pub fn route(&self, address: &Address, version: IpVersion) -> Lookup {
        if let Some(true) = address.local {
            return Lookup::Local;
        }
        let Some(exact) = address.exact() else {
            return Lookup::Unknown;
        };
        if self.is_local(exact) {
            return Lookup::Local;
        }
        let assumed = self.assumed.iter().find(|(a, _)| *a == exact);
        if let Some((_, interface)) = assumed {
            return Lookup::Over(interface.clone());
        }
        if exact.is_multicast() && version == IpVersion::V6 {
            return Lookup::Unknown;
        }
        if exact == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Lookup::Nowhere;
        }
        match &self.routes {
            None => Lookup::Unknown,
            Some(routes) if routes.by_policy => Lookup::Unknown,
            Some(routes) => self.over(routes.find(exact)),
        }
    }

    fn over(&self, routes: Vec<&Route>) -> Lookup {
        let mut over: Vec<_> = routes.iter().map(|route| route.device).collect();
        over.dedup();
        match over.as_slice() {
            [] => Lookup::Nowhere,
            [Some(index)] => match self.devices.iter().find(|d| d.index == *index) {
                Some(device) => Lookup::Over(self.of_device(device)),
                None => Lookup::Unknown,
            },
            // One that drops, or one with several ways.
            _ if routes.iter().all(|route| route.drops) => Lookup::Nowhere,
            _ => Lookup::Unknown,
        }
    }

    /// The type of an address, asked without an interface or on one; `None`
    /// where what is known does not tell.
    #[must_use]
    pub fn address_type(
        &self,
        address: &Address,
        version: IpVersion,
        only: Option<&Interface>,
    ) -> Option<AddressType> {
        let Some(exact) = address.exact() else {
            return match (address.local?, only) {
                (true, None) => Some(AddressType::Local),
                (true, Some(_)) => None,
                (false, _) => Some(AddressType::Unicast),
            };
        };
        match exact {
            IpAddr::V4(a) if a.octets().first() == Some(&0) || a == Ipv4Addr::BROADCAST => {
                return Some(AddressType::Broadcast);
            }
            _ if exact.is_multicast() => return Some(AddressType::Multicast),
            _ => {}
        }
        let is_local = address.local.unwrap_or_else(|| self.is_local(exact));
        if is_local {
            return match only {
                None => Some(AddressType::Local),
                Some(on) if is_loopback(exact) => Some(match on.name.as_deref() {
                    Some("lo") => AddressType::Local,
                    _ => AddressType::Unicast,
                }),
                Some(_) if self.assumed_local.contains(&exact) => None,
                Some(on) if self.own(Some(on), exact) => Some(AddressType::Local),
                // IPv6 has more ways to have an address than these.
                Some(_) if version == IpVersion::V6 => None,
                Some(_) => Some(AddressType::Unicast),
            };
        }
        match exact {
            IpAddr::V4(exact) => {
                let nets = self.devices.iter().flat_map(|device| &device.addresses);
                for net in nets {
                    if let ipnet::IpNet::V4(net) = net
                        && net.prefix_len() < 31
                    {
                        if net.broadcast() == exact {
                            return match only {
                                None => Some(AddressType::Broadcast),
                                Some(_) => None,
                            };
                        }
                        // Kernels before 5.14 take this for a broadcast.
                        if net.network() == exact {
                            return None;
                        }
                    }
                }
                Some(AddressType::Unicast)
            }
            IpAddr::V6(_) => match self.route(address, version) {
                Lookup::Over(_) => Some(AddressType::Unicast),
                Lookup::Nowhere => Some(AddressType::Unreachable),
                // What is not local, no matter where it is.
                _ if !self.is_observed() => Some(AddressType::Unicast),
                _ => None,
            },
        }
    }
}

/// Whether an address is one of the loopback interface.
fn is_loopback(address: IpAddr) -> bool {
    address.is_loopback()
}

/// Whether an address is of the link alone.
#[must_use]
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
