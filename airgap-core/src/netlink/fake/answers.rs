//! What the fake kernel answers, in the bytes of netlink(7).

use nftnl::nftnl_sys::libc;

use super::ruleset::{Ruleset, Table};
use crate::netlink::attr::{Attributes, Writer};
use crate::netlink::batch::{SET_INTERVAL, attr};
use crate::netlink::elements::ELEM_INTERVAL_END;
use crate::netlink::route::Device;

/// The longest datagram of a dump, as the kernel's.
const DATAGRAM_MAX: usize = 32 * 1024;
/// The longest list of elements in one message: an attribute's length is 16
/// bits.
const LIST_MAX: usize = 16 * 1024;
/// Attributes that only the kernel writes.
const TABLE_USE: u16 = 3;
const GEN_ID: u16 = 1;

/// The datagrams of one answer.
#[derive(Default)]
pub(super) struct Answers(Vec<Vec<u8>>);

impl Answers {
    /// All that was said.
    pub fn into_datagrams(self) -> Vec<Vec<u8>> {
        self.0
    }

    /// Adds a message.
    fn message(&mut self, kind: i32, flags: i32, sequence: u32, payload: &[u8]) {
        let length = u32::try_from(16 + payload.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_ne_bytes().to_vec();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // types and flags of the kernel's header
        {
            bytes.extend_from_slice(&(kind as u16).to_ne_bytes());
            bytes.extend_from_slice(&(flags as u16).to_ne_bytes());
        }
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        match self.0.last_mut() {
            Some(last) if last.len() + bytes.len() <= DATAGRAM_MAX => {
                last.extend_from_slice(&bytes);
            }
            _ => self.0.push(bytes),
        }
    }

    /// An error number for the message of this header, or with 0 an
    /// acknowledgement.
    pub fn error(&mut self, errno: i32, sequence: u32, header: &[u8]) {
        let mut payload = (-errno).to_ne_bytes().to_vec();
        payload.extend_from_slice(header);
        self.message(libc::NLMSG_ERROR, 0, sequence, &payload);
    }

    /// The end of a dump.
    pub fn done(&mut self) {
        self.message(libc::NLMSG_DONE, libc::NLM_F_MULTI, 0, &[0; 4]);
    }

    fn object(&mut self, kind: i32, family: u8, attributes: &Writer) {
        let mut payload = vec![family, 0, 0, 0];
        payload.extend_from_slice(&attributes.0);
        let kind = libc::NFNL_SUBSYS_NFTABLES << 8 | kind;
        self.message(kind, libc::NLM_F_MULTI, 0, &payload);
    }

    /// The generation of the ruleset.
    pub fn generation(&mut self, ruleset: &Ruleset) {
        let mut w = Writer::default();
        w.be32(GEN_ID, ruleset.generation);
        self.object(libc::NFT_MSG_NEWGEN, 0, &w);
    }

    /// A dump of nf_tables: the objects that the kind of the request asks for.
    ///
    /// # Errors
    /// The kernel's error number when it is about what is not there.
    pub fn dump(
        &mut self,
        ruleset: &Ruleset,
        kind: i32,
        family: u8,
        a: Attributes,
    ) -> Result<(), i32> {
        let tables = ruleset
            .tables
            .iter()
            .filter(|table| family == 0 || table.family == family);
        match kind {
            libc::NFT_MSG_GETTABLE => tables.for_each(|table| self.table(table)),
            libc::NFT_MSG_GETCHAIN => tables.for_each(|table| self.chains(table)),
            libc::NFT_MSG_GETSET => tables.for_each(|table| self.sets(table)),
            libc::NFT_MSG_GETRULE => {
                let wanted = a.text(attr::RULE_TABLE);
                tables
                    .filter(|table| wanted.as_ref().is_none_or(|name| *name == table.name))
                    .for_each(|table| self.rules(table));
            }
            libc::NFT_MSG_GETSETELEM => {
                let name = a.text(attr::ELEM_LIST_TABLE).unwrap_or_default();
                let table = ruleset.find(family, &name).ok_or(libc::ENOENT)?;
                self.elements(table, &a.text(attr::ELEM_LIST_SET).unwrap_or_default())?;
            }
            // No objects, flow tables and whatever else there may be.
            _ => {}
        }
        Ok(())
    }

    fn table(&mut self, table: &Table) {
        let mut w = Writer::default();
        let contents = table.chains.len() + table.sets.len();
        w.text(attr::TABLE_NAME, &table.name)
            .be32(attr::TABLE_FLAGS, table.flags)
            .be32(TABLE_USE, u32::try_from(contents).unwrap_or(u32::MAX));
        optional(&mut w, attr::TABLE_USERDATA, table.user_data.as_deref());
        self.object(libc::NFT_MSG_NEWTABLE, table.family, &w);
    }

    fn chains(&mut self, table: &Table) {
        for chain in &table.chains {
            let mut w = Writer::default();
            w.text(attr::CHAIN_TABLE, &table.name)
                .text(attr::CHAIN_NAME, &chain.name);
            if let Some(base) = &chain.base {
                w.nest(attr::CHAIN_HOOK, |w| w.0.extend_from_slice(&base.hook))
                    .be32(attr::CHAIN_POLICY, base.policy)
                    .text(attr::CHAIN_TYPE, &base.kind);
            }
            self.object(libc::NFT_MSG_NEWCHAIN, table.family, &w);
        }
    }

    fn rules(&mut self, table: &Table) {
        for chain in &table.chains {
            for rule in &chain.rules {
                let mut w = Writer::default();
                w.text(attr::RULE_TABLE, &table.name)
                    .text(attr::RULE_CHAIN, &chain.name)
                    .be64(attr::RULE_HANDLE, rule.handle)
                    .nest(attr::RULE_EXPRESSIONS, |w| {
                        w.0.extend_from_slice(&rule.expressions);
                    });
                optional(&mut w, attr::RULE_USERDATA, rule.user_data.as_deref());
                self.object(libc::NFT_MSG_NEWRULE, table.family, &w);
            }
        }
    }

    fn sets(&mut self, table: &Table) {
        for set in &table.sets {
            let mut w = Writer::default();
            w.text(attr::SET_TABLE, &table.name)
                .text(attr::SET_NAME, &set.name)
                .be32(attr::SET_FLAGS, set.flags)
                .be32(attr::SET_KEY_TYPE, set.key_type)
                .be32(attr::SET_KEY_LEN, set.key_len)
                .nest(attr::SET_DESC, |w| {
                    if let Some(size) = set.size {
                        w.be32(attr::SET_DESC_SIZE, size);
                    }
                    optional(w, attr::SET_DESC_CONCAT, set.concat.as_deref());
                });
            optional(&mut w, attr::SET_USERDATA, set.user_data.as_deref());
            self.object(libc::NFT_MSG_NEWSET, table.family, &w);
        }
    }

    fn elements(&mut self, table: &Table, name: &str) -> Result<(), i32> {
        let set = table
            .sets
            .iter()
            .find(|set| set.name == name)
            .ok_or(libc::ENOENT)?;
        let plain_ranges = set.flags & SET_INTERVAL != 0 && !set.is_concatenation();
        let mut items = set.elements.iter().peekable();
        while items.peek().is_some() {
            let mut w = Writer::default();
            w.text(attr::ELEM_LIST_TABLE, &table.name)
                .text(attr::ELEM_LIST_SET, &set.name)
                .nest(attr::ELEM_LIST_ELEMENTS, |list| {
                    while let Some((key, end)) = items.next_if(|_| list.0.len() < LIST_MAX) {
                        list.nest(attr::LIST_ELEM, |w| {
                            data(w, attr::ELEM_KEY, key);
                            if let (Some(end), false) = (end, plain_ranges) {
                                data(w, attr::ELEM_KEY_END, end);
                            }
                        });
                        if let (Some(end), true) = (end, plain_ranges) {
                            list.nest(attr::LIST_ELEM, |w| {
                                data(w, attr::ELEM_KEY, end);
                                w.be32(attr::ELEM_FLAGS, ELEM_INTERVAL_END);
                            });
                        }
                    }
                });
            self.object(libc::NFT_MSG_NEWSETELEM, table.family, &w);
        }
        Ok(())
    }

    /// A dump of rtnetlink(7): devices, addresses or routes.
    pub fn route(&mut self, kind: u16, devices: &[Device]) {
        for device in devices {
            let index = device.index.to_ne_bytes();
            let mut w = Writer::default();
            match kind {
                libc::RTM_GETLINK => {
                    // struct ifinfomsg: index at 4
                    w.0.extend_from_slice(&[0; 4]);
                    w.0.extend_from_slice(&index);
                    w.0.extend_from_slice(&[0; 8]);
                    // IFLA_IFNAME 3, IFLA_MASTER 10, IFLA_LINKINFO 18
                    w.text(3, &device.name);
                    if let Some(master) = device.master {
                        w.bytes(10, &master.to_ne_bytes());
                    }
                    if let Some(kind) = &device.kind {
                        w.nest(18, |w| {
                            w.text(1, kind);
                        });
                    }
                    self.message(libc::RTM_NEWLINK.into(), libc::NLM_F_MULTI, 0, &w.0);
                }
                libc::RTM_GETADDR => {
                    for address in &device.addresses {
                        // struct ifaddrmsg: prefix length at 1, index at 4
                        let mut w = Writer(vec![0, address.prefix_len(), 0, 0]);
                        w.0.extend_from_slice(&index);
                        // IFA_ADDRESS 1
                        match address.addr() {
                            std::net::IpAddr::V4(v4) => w.bytes(1, &v4.octets()),
                            std::net::IpAddr::V6(v6) => w.bytes(1, &v6.octets()),
                        };
                        self.message(libc::RTM_NEWADDR.into(), libc::NLM_F_MULTI, 0, &w.0);
                    }
                }
                libc::RTM_GETROUTE if device.default_route => {
                    // struct rtmsg with a destination of length 0, RTA_OIF 4
                    w.0.extend_from_slice(&[0; 12]);
                    w.bytes(4, &index);
                    self.message(libc::RTM_NEWROUTE.into(), libc::NLM_F_MULTI, 0, &w.0);
                }
                _ => {}
            }
        }
    }
}

fn data(w: &mut Writer, kind: u16, value: &[u8]) {
    w.nest(kind, |w| {
        w.bytes(attr::DATA_VALUE, value);
    });
}

fn optional(w: &mut Writer, kind: u16, bytes: Option<&[u8]>) {
    if let Some(bytes) = bytes {
        w.bytes(kind, bytes);
    }
}
