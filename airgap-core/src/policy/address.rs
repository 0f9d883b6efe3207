//! Addresses as they are written in a policy.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::fault::Fault;
use super::model::{Address, BridgeName, ContainerSource};
use super::node::quote;

/// What stands for a far address.
pub(super) const ADDRESS: &str = "expected an address, a CIDR, a range `a-b` or a host name";
const SOURCE: &str = "expected a bridge, a pattern such as `br-*`, an address or a CIDR";
const IP: &str = "expected an IP address";
const CIDR: &str = "expected a network such as `10.0.0.0/8` or `2001:db8::/32`";
const RANGE: &str = "expected two addresses of one family, the lower one first";
const NAME: &str = "expected a host name of letters, digits and hyphens";
const LISTEN: &str =
    "expected an address with a port, such as `172.17.0.1:15432` or `[2001:db8::1]:15432`";

/// The longest host name, and the longest label in one (RFC 1035).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// One address, a CIDR, a range or a host name.
pub(super) fn address(text: &str) -> Result<Address, Fault> {
    common(text, ADDRESS)?;
    if text.contains('/') {
        return net(text).map(Address::Net);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return unmapped(address).map(|address| Address::Net(address.into()));
    }
    if let Some((first, last)) = text.split_once('-')
        && is_range(text, first, last)
    {
        return range(first, last);
    }
    if text.contains(':') {
        return Err(no_address(text, ADDRESS));
    }
    name(text).map(|()| Address::Name(text.into()))
}

/// One far address, if that is what this is and nothing is wrong with it.
pub(super) fn exact(text: &str) -> Option<IpAddr> {
    let address = match v4(text.as_bytes()) {
        Some(v4) => v4.into(),
        None => text.parse().ok()?,
    };
    let address = unmapped(address).ok()?;
    one_host(address, ADDRESS).ok()?;
    Some(address)
}

/// Four numbers without leading zeros: what the standard library takes, which
/// is slower, since it also counts what is wrong.
fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split(|byte| *byte == b'.');
    for octet in &mut octets {
        let digits = parts.next()?;
        let zeros = digits.first() == Some(&b'0');
        if digits.is_empty() || (zeros && digits.len() > 1) {
            return None;
        }
        for digit in digits {
            let value = digit.wrapping_sub(b'0');
            if value > 9 {
                return None;
            }
            *octet = octet.checked_mul(10)?.checked_add(value)?;
        }
    }
    parts.next().is_none().then(|| octets.into())
}

/// A bridge or its pattern, an address or a CIDR.
pub(super) fn container_source(text: &str) -> Result<ContainerSource, Fault> {
    common(text, SOURCE)?;
    if text.contains('/') {
        return net(text).map(ContainerSource::Net);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return unmapped(address).map(|address| ContainerSource::Net(address.into()));
    }
    if let Some((first, last)) = text.split_once('-')
        && is_range(text, first, last)
    {
        return Err(Fault::new(
            format!("{} is a range, and containers are no range", quote(text)),
            SOURCE,
        )
        .help("write a CIDR, or a list of addresses"));
    }
    if text.contains(':') || is_numeric(text) {
        return Err(no_address(text, SOURCE));
    }
    bridge(text).map(ContainerSource::Bridge)
}

/// A bridge or its pattern.
pub(super) fn bridge(text: &str) -> Result<BridgeName, Fault> {
    const BRIDGE: &str = "expected the name of a bridge, or a pattern such as `br-*`";
    if text == "lo" {
        return Err(Fault::new("`lo` is no bridge", BRIDGE));
    }
    BridgeName::new(text).map_err(|what| Fault::new(what, BRIDGE))
}

/// One address that can be somebody's: a resolver, a DHCP server.
pub(super) fn server(text: &str) -> Result<IpAddr, Fault> {
    common(text, IP)?;
    let address = text.parse::<IpAddr>().map_err(|_| {
        if text.contains('/') {
            Fault::new(format!("{} is a network, not one address", quote(text)), IP)
        } else {
            no_address(text, IP)
        }
    })?;
    let address = unmapped(address)?;
    one_host(address, IP)?;
    Ok(address)
}

/// Where a forwarder listens.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Fault> {
    common(text, LISTEN)?;
    let Ok(socket) = text.parse::<SocketAddr>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => {
                Fault::new("the port is missing", LISTEN).help(format!("write `{text}:PORT`"))
            }
            Ok(IpAddr::V6(_)) => {
                Fault::new("the port is missing", LISTEN).help(format!("write `[{text}]:PORT`"))
            }
            Err(_) => Fault::new(format!("{} is no address with a port", quote(text)), LISTEN),
        });
    };
    if socket.port() == 0 {
        return Err(Fault::new("port 0 cannot be dialled", LISTEN));
    }
    let address = unmapped(socket.ip())?;
    if address.is_loopback() {
        return Err(Fault::new(
            format!("containers cannot dial {address}: it is their own loopback"),
            LISTEN,
        )
        .help("name the host's address on the bridge"));
    }
    one_host(address, LISTEN)?;
    Ok(socket)
}

/// Refuses far addresses that no flow can have: a flow that goes to a group
/// has answers from others, which nothing can tell from new flows.
pub(super) fn unicast(address: &Address) -> Result<(), Fault> {
    let (first, last) = match address {
        Address::Net(net) => (net.network(), net.broadcast()),
        Address::Range(first, last) => (*first, *last),
        Address::Name(_) => return Ok(()),
    };
    if first == last {
        return one_host(first, ADDRESS);
    }
    if first.is_multicast() && last.is_multicast() {
        Err(multicast(address, ADDRESS))
    } else {
        Ok(())
    }
}

fn one_host(address: IpAddr, expected: &str) -> Result<(), Fault> {
    if address.is_multicast() {
        return Err(multicast(&address, expected));
    }
    if address.is_unspecified() {
        let every = if address.is_ipv4() {
            "0.0.0.0/0"
        } else {
            "::/0"
        };
        return Err(
            Fault::new(format!("`{address}` is nobody's address"), expected)
                .help(format!("every address would be `{every}`")),
        );
    }
    Ok(())
}

fn multicast(address: &dyn Display, expected: &str) -> Fault {
    Fault::new(
        format!(
            "`{address}` is multicast, and flows to groups cannot be tracked: answers come from other addresses"
        ),
        expected,
    )
}

/// What is wrong with any form of address.
fn common(text: &str, expected: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::new("an empty string is no address", expected));
    }
    if text.trim() != text {
        return Err(
            Fault::new(format!("{} has blanks around it", quote(text)), expected)
                .help(format!("write {}", quote(text.trim()))),
        );
    }
    if let Some((address, _)) = text.split_once('%') {
        return Err(Fault::new(
            format!("{} has a zone, which is a matter of one host", quote(text)),
            expected,
        )
        .help(format!("leave the zone out: {}", quote(address))));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return Err(Fault::new(format!("{} is a URL", quote(text)), expected)
            .help(format!("write the host alone: {}", quote(host))));
    }
    Ok(())
}

/// Takes an IPv6 address that stands for an IPv4 one for a slip: no packet
/// carries it, so an opening for it would open nothing.
fn unmapped(address: IpAddr) -> Result<IpAddr, Fault> {
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return Err(mapped(&address, &v4));
    }
    Ok(address)
}

fn mapped(written: &dyn Display, v4: &dyn Display) -> Fault {
    Fault::new(
        format!("`{written}` is an IPv4 address in the form of IPv6, which no packet carries"),
        IP,
    )
    .help(format!("write `{v4}`"))
}

fn net(text: &str) -> Result<IpNet, Fault> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(if is_numeric(address) || address.contains(':') {
            no_address(address, CIDR)
        } else {
            Fault::new(
                format!(
                    "{} is a name, and a name has no prefix length",
                    quote(address)
                ),
                CIDR,
            )
        });
    };
    let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
    let plain = !prefix.is_empty()
        && prefix.bytes().all(|b| b.is_ascii_digit())
        && (prefix == "0" || !prefix.starts_with('0'));
    let length = prefix
        .parse::<u8>()
        .ok()
        .filter(|length| plain && *length <= longest);
    let Some(net) = length.and_then(|length| IpNet::new(address, length).ok()) else {
        let fault = Fault::new(
            format!(
                "{} is no prefix length of {address}: it goes from 0 to {longest}",
                quote(prefix)
            ),
            CIDR,
        );
        return Err(match netmask(prefix) {
            Some(length) => fault.help(format!("write `{address}/{length}`")),
            None => fault,
        });
    };
    if let IpAddr::V6(v6) = address
        && net.prefix_len() >= 96
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return Err(mapped(&text, &format!("{v4}/{}", net.prefix_len() - 96)));
    }
    if net.trunc() != net {
        return Err(Fault::new(
            format!("{} has bits set behind its prefix", quote(text)),
            CIDR,
        )
        .help(format!("did you mean `{}` or `{address}`?", net.trunc())));
    }
    Ok(net)
}

/// The prefix length of a netmask such as 255.255.0.0.
fn netmask(text: &str) -> Option<u32> {
    let mask = u32::from(text.parse::<Ipv4Addr>().ok()?);
    (mask.leading_ones() + mask.trailing_zeros() >= 32).then_some(mask.leading_ones())
}

/// Host names have hyphens too: a range has an address at one end, or nothing
/// that a name could have.
fn is_range(text: &str, first: &str, last: &str) -> bool {
    let is_address = |end: &str| end.trim().parse::<IpAddr>().is_ok();
    is_address(first)
        || is_address(last)
        || text.contains(':')
        || (text.contains('.') && is_numeric(&text.replace('-', "")))
}

fn range(first: &str, last: &str) -> Result<Address, Fault> {
    let end = |text: &str| -> Result<IpAddr, Fault> {
        if text.trim() != text {
            return Err(Fault::new("a range has no blanks", RANGE).help(format!(
                "write {}",
                quote(&format!("{}-{}", first.trim(), last.trim()))
            )));
        }
        text.parse::<IpAddr>().map_err(|_| {
            let fault = Fault::new(
                format!("{} is no address for an end of a range", quote(text)),
                RANGE,
            );
            if text.bytes().all(|b| b.is_ascii_digit()) {
                fault.help("write both ends in full")
            } else {
                fault
            }
        })
    };
    let (first, last) = (unmapped(end(first)?)?, unmapped(end(last)?)?);
    if first.is_ipv4() != last.is_ipv4() {
        return Err(Fault::new(
            format!("`{first}` and `{last}` are of two families"),
            RANGE,
        ));
    }
    if first > last {
        return Err(Fault::new(
            format!("the range ends before it begins: {first} is above {last}"),
            RANGE,
        )
        .help(format!("did you mean `{last}-{first}`?")));
    }
    Ok(if first == last {
        Address::Net(first.into())
    } else {
        Address::Range(first, last)
    })
}

/// Digits and dots: somebody meant an IPv4 address.
fn is_numeric(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn no_address(text: &str, expected: &str) -> Fault {
    let fault = Fault::new(format!("{} is no IP address", quote(text)), expected);
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = inner.filter(|inner| inner.parse::<Ipv6Addr>().is_ok()) {
        return fault.help(format!("write it without brackets: `{inner}`"));
    }
    let has_port = text.parse::<SocketAddr>().is_ok();
    let name_with_port = text
        .split_once(':')
        .is_some_and(|(host, port)| name(host).is_ok() && port.parse::<u16>().is_ok());
    if has_port || name_with_port {
        return fault.help("the port stands in a key of its own, `port`");
    }
    if is_numeric(text)
        && text
            .split('.')
            .any(|part| part.len() > 1 && part.starts_with('0'))
    {
        return fault.help("the parts of an IPv4 address have no leading zeros");
    }
    fault
}

/// Checks a host name by RFC 1123. What the resolver would take for an address
/// in an old form (`127.1`, `0x7f000001`) is none.
fn name(text: &str) -> Result<(), Fault> {
    let bad = |what: String| Fault::new(what, NAME);
    let last = text.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    if (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
        || is_numeric(text)
        || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(no_address(text, ADDRESS));
    }
    if text.contains('*') {
        return Err(bad(format!(
            "{} is a pattern, and only whole names can be resolved",
            quote(text)
        )));
    }
    if !text.is_ascii() {
        return Err(bad(format!(
            "{} has characters that no host name has",
            quote(text)
        ))
        .help("write an international name in its ASCII form, `xn--...`"));
    }
    if let Some(odd) = text
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.'))
    {
        return Err(bad(format!(
            "{} is no address, and no host name has {odd:?}",
            quote(text)
        )));
    }
    if let Some(without) = text.strip_suffix('.').filter(|without| !without.is_empty()) {
        return Err(
            bad(format!("{} ends in a dot", quote(text))).help(format!("write {}", quote(without)))
        );
    }
    if text.len() > NAME_MAX {
        return Err(bad(format!(
            "a host name has at most {NAME_MAX} characters, this has {}",
            text.len()
        )));
    }
    for label in text.split('.') {
        if label.is_empty() {
            return Err(bad(format!(
                "{} has an empty part between its dots",
                quote(text)
            )));
        }
        if label.len() > LABEL_MAX {
            return Err(bad(format!(
                "a part of a host name has at most {LABEL_MAX} characters, {} has {}",
                quote(label),
                label.len()
            )));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(bad(format!(
                "no part of a host name begins or ends with a hyphen, as {} does",
                quote(label)
            )));
        }
    }
    Ok(())
}
