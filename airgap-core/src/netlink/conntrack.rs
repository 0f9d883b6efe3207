//! The flows that connection tracking knows, over ctnetlink.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mnl::Bus;

use super::attr::Attributes;
use super::route::{address, dump};
use super::wire::Wire;
use crate::error::Error;

/// `IPCTNL_MSG_CT_GET` of `NFNL_SUBSYS_CTNETLINK`.
const GET: u16 = 1 << 8 | 1;
/// `CTA_TUPLE_ORIG` and `CTA_TUPLE_REPLY`, and in them `CTA_TUPLE_IP`.
const TUPLES: [u16; 2] = [1, 2];
const TUPLE_IP: u16 = 1;
/// `CTA_IP_V4_SRC`, `CTA_IP_V4_DST`, `CTA_IP_V6_SRC` and `CTA_IP_V6_DST`.
const ADDRESSES: [u16; 4] = [1, 2, 3, 4];

/// The addresses at both ends of all flows in the network namespace of this
/// thread, as both sides see them.
///
/// # Errors
/// When the kernel does not track connections, or does not tell.
pub(crate) fn addresses_in_use() -> Result<BTreeSet<IpAddr>, Error> {
    const WHAT: &str = "the tracked connections";
    let socket =
        Wire::open(Bus::Netfilter).map_err(|source| Error::io("open a netlink socket", source))?;
    let mut found = BTreeSet::new();
    // struct nfgenmsg: of all families
    let head = 4;
    dump(&socket, GET, head, WHAT, |_, a| {
        found.extend(ends(a));
        Some(())
    })?;
    Ok(found)
}

fn ends(flow: Attributes<'_>) -> impl Iterator<Item = IpAddr> {
    TUPLES.into_iter().flat_map(move |tuple| {
        let ip = flow.nested(tuple).nested(TUPLE_IP);
        ADDRESSES
            .into_iter()
            .filter_map(move |end| address(ip.find(end)?))
    })
}

#[cfg(test)]
mod tests {
    use super::super::attr::Writer;
    use super::*;

    #[test]
    fn both_ends_of_both_directions() {
        let mut flow = Writer::default();
        flow.nest(1, |tuple| {
            tuple.nest(1, |ip| {
                ip.bytes(1, &[192, 0, 2, 1]).bytes(2, &[192, 0, 2, 2]);
            });
        });
        flow.nest(2, |tuple| {
            tuple.nest(1, |ip| {
                ip.bytes(3, &[0; 16]).bytes(4, &[1; 3]);
            });
        });
        let found: Vec<_> = ends(Attributes(&flow.0)).map(|a| a.to_string()).collect();
        assert_eq!(found, ["192.0.2.1", "192.0.2.2", "::"]);
    }
}
