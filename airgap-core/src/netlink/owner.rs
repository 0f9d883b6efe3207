//! Tables that belong to one socket. Where the kernel can (6.9 and later), it
//! refuses everybody else's changes of such a table with `EPERM`, a flush of
//! the ruleset passes it by, and it stays when the socket is closed, for another
//! one to claim.

use std::io::IoSlice;

use nftnl::nftnl_sys::libc;

use super::attr::{Attributes, Writer};
use super::batch::{attr, begin_message};
use super::socket::{Kernel, message, messages};
use crate::error::Error;
use crate::graph::{Family, TABLE_NAME};

/// `NFT_TABLE_F_OWNER`
const OWNER: u32 = 0x2;
/// `NFT_TABLE_F_PERSIST`
const PERSIST: u32 = 0x4;
/// The flags that say whose a table is, and nothing of what it does.
pub(super) const OWNERSHIP: u32 = OWNER | PERSIST;
/// `NFTA_TABLE_OWNER`
const TABLE_OWNER: u16 = 7;
/// The name of a table that no transaction ever makes.
const PROBE: &str = "airgap-probe";
/// A message's header with `struct nfgenmsg`, and an attribute's.
const MESSAGE: usize = 20;
const ATTRIBUTE: usize = 4;

/// Whose a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Everybody's, and cannot be claimed.
    Nobody,
    /// It was a socket's that is closed: it can be claimed.
    Gone,
    /// The asking socket's.
    Own,
    /// Another socket's.
    Another,
}

impl Kernel {
    /// Whether the kernel lets a socket own tables that outlive it. It is asked
    /// by a batch without an end, which it judges and does not carry out.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn can_own(&self) -> Result<bool, Error> {
        let mut table = Writer::default();
        table
            .text(attr::TABLE_NAME, PROBE)
            .be32(attr::TABLE_FLAGS, OWNERSHIP);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // numbers of the kernel's header
        let (kind, flags) = (
            (libc::NFNL_SUBSYS_NFTABLES << 8 | libc::NFT_MSG_NEWTABLE) as u16,
            (libc::NLM_F_REQUEST | libc::NLM_F_CREATE) as u16,
        );
        let mut batch = begin_message(self.generation()?);
        batch.extend(message(kind, flags, Family::Inet.number(), &table.0));
        let answers = self.exchange(&[IoSlice::new(&batch)])?;
        Ok(messages(&answers).all(|message| message.error().is_none()))
    }

    /// Whose the tables of the air gap are.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn owners(&self) -> Result<Vec<(Family, Owner)>, Error> {
        let own = self.address();
        let mut owners = Vec::new();
        self.dump(libc::NFT_MSG_GETTABLE, 0, &[], |family, table| {
            if table.text(attr::TABLE_NAME).as_deref() == Some(TABLE_NAME) {
                owners.push((family, owner(table, own)));
            }
        })?;
        Ok(owners)
    }

    /// Sends a batch by this socket, whose every table that is made or claimed
    /// by it becomes this socket's, and answers what the kernel says of it.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send_owning(&self, batch: &mut [u8]) -> Result<Vec<u8>, Error> {
        mark_tables(batch);
        self.exchange(&[IoSlice::new(batch)])
    }
}

fn owner(table: Attributes, own: u32) -> Owner {
    let flags = table.be32(attr::TABLE_FLAGS).unwrap_or_default();
    match flags & OWNERSHIP {
        PERSIST => Owner::Gone,
        0 => Owner::Nobody,
        _ if table.be32(TABLE_OWNER) == Some(own) => Owner::Own,
        _ => Owner::Another,
    }
}

/// Sets the flags of all tables of a batch. A batch that does not hold together
/// is left to the kernel to refuse.
fn mark_tables(batch: &mut [u8]) {
    let mut rest = batch;
    while let Some(length) = number(rest, 0).and_then(|n| usize::try_from(n).ok()) {
        if length < MESSAGE {
            return;
        }
        let Some((message, others)) = rest.split_at_mut_checked(length.next_multiple_of(4)) else {
            return;
        };
        let kind = number(message, 4).map(|kind| i32::from((kind & 0xffff) as u16));
        if kind == Some(libc::NFNL_SUBSYS_NFTABLES << 8 | libc::NFT_MSG_NEWTABLE)
            && let Some(attributes) = message.get_mut(MESSAGE..)
        {
            mark_table(attributes);
        }
        rest = others;
    }
}

fn mark_table(mut attributes: &mut [u8]) {
    while let Some(head) = number(attributes, 0) {
        // struct nlattr: length and type, of 2 bytes each
        let [l0, l1, k0, k1] = head.to_ne_bytes();
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let step = length.next_multiple_of(4).max(ATTRIBUTE);
        let Some((attribute, others)) = attributes.split_at_mut_checked(step) else {
            return;
        };
        if u16::from_ne_bytes([k0, k1]) == attr::TABLE_FLAGS
            && let Some(value) = attribute.get_mut(ATTRIBUTE..2 * ATTRIBUTE)
        {
            let [.., low] = value else { return };
            #[allow(clippy::cast_possible_truncation)] // two low bits
            {
                *low |= OWNERSHIP as u8;
            }
        }
        attributes = others;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Batch, Operation};
    use super::*;
    use crate::graph::Table;

    fn flags(batch: &[u8]) -> Vec<u32> {
        messages(batch)
            .filter_map(|message| Attributes(message.payload.get(4..)?).be32(attr::TABLE_FLAGS))
            .collect()
    }

    fn batch() -> Vec<u8> {
        let tables = [Family::Inet, Family::Bridge]
            .map(|family| Table::airgap(family, "a comment".to_owned()));
        let mut operations = vec![Operation::DeleteTable(Family::Inet)];
        operations.extend(tables.iter().map(Operation::AddTable));
        Batch::new(&operations, 7).bytes()
    }

    #[test]
    fn every_table_that_is_made_is_owned() {
        let mut batch = batch();
        assert_eq!(flags(&batch), [0, 0]);
        mark_tables(&mut batch);
        assert_eq!(flags(&batch), [OWNERSHIP, OWNERSHIP]);
    }

    #[test]
    fn what_does_not_hold_together_is_no_trouble() {
        let whole = batch();
        for length in 0..whole.len() {
            let mut part = whole.get(..length).unwrap_or_default().to_vec();
            mark_tables(&mut part);
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                if let Some(place) = damaged.get_mut(at) {
                    *place = byte;
                }
                mark_tables(&mut damaged);
            }
        }
    }

    #[test]
    fn flags_and_address_say_whose_a_table_is() {
        for (flags, address, expected) in [
            (0, None, Owner::Nobody),
            (1, None, Owner::Nobody),
            (PERSIST, None, Owner::Gone),
            (OWNERSHIP, Some(7), Owner::Own),
            (OWNERSHIP, Some(8), Owner::Another),
            (OWNER, Some(7), Owner::Own),
        ] {
            let mut table = Writer::default();
            table.be32(attr::TABLE_FLAGS, flags);
            if let Some(address) = address {
                table.be32(TABLE_OWNER, address);
            }
            assert_eq!(owner(Attributes(&table.0), 7), expected);
        }
    }
}
