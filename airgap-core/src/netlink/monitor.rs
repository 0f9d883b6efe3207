//! What the kernel tells of changes as they happen, whoever makes them: of the
//! ruleset, and of the network's devices, addresses and routes.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use mnl::{Bus, Socket};
use nftnl::nftnl_sys::libc;
use nix::sys::socket::{MsgFlags, recv};

use super::attr::Attributes;
use super::batch::attr;
use super::ffi;
use super::socket::messages;
use super::wire::raise_receive_queue;
use crate::error::Error;
use crate::graph::{Family, TABLE_NAME};

/// `NFNLGRP_NFTABLES` as a bit of a netlink address.
const RULESET: u32 = 1 << (7 - 1);
/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`,
/// `RTMGRP_IPV6_IFADDR` and `RTMGRP_IPV6_ROUTE`.
const DEVICES: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// Room for what is told while nobody listens. A transaction of a million
/// elements tells of each; what does not fit is lost, and that is told.
const QUEUE: usize = 16 << 20;
/// Room for one datagram.
const DATAGRAM: usize = 64 * 1024;

/// Who changed the ruleset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Author {
    /// The number of the thread.
    pub thread: u32,
    /// The kernel's name of it, of 15 bytes at most.
    pub name: String,
}

/// One transaction of anybody's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// The generation of the ruleset that it made.
    pub generation: u32,
    /// Who made it, where the kernel tells.
    pub author: Option<Author>,
    /// Whether it changed anything of the air gap.
    pub touches: bool,
    /// The sets of the air gap whose elements it changed.
    pub sets: BTreeSet<(Family, String)>,
}

/// What was told since the last time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// All of it.
    Transactions(Vec<Transaction>),
    /// More than the queue holds: anything may have changed.
    Lost,
}

/// Hears of changes of the ruleset.
pub(crate) struct RulesetEvents {
    listener: Listener,
    /// What the transaction did of which the end was not told yet.
    open: Transaction,
}

impl RulesetEvents {
    /// Listens in the network namespace of this thread.
    ///
    /// # Errors
    /// When the caller may not.
    pub fn open() -> Result<Self, Error> {
        let listener = Listener::open(Bus::Netfilter, RULESET)
            .map_err(|source| Error::io("listen to nf_tables", source))?;
        Ok(Self {
            listener,
            open: Transaction::default(),
        })
    }

    /// Takes what was told since the last time, without waiting.
    ///
    /// # Errors
    /// The operating system's.
    pub fn take(&mut self) -> Result<Told, Error> {
        let mut transactions = Vec::new();
        let lost = self.listener.drain(|datagram| {
            self.open.hear(datagram, &mut transactions);
        })?;
        if lost {
            self.open = Transaction::default();
            return Ok(Told::Lost);
        }
        Ok(Told::Transactions(transactions))
    }
}

impl AsFd for RulesetEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        ffi::borrow(&self.listener.0)
    }
}

impl Transaction {
    /// Adds what a datagram tells, and hands over each transaction that it
    /// ends.
    fn hear(&mut self, datagram: &[u8], ended: &mut Vec<Self>) {
        for message in messages(datagram) {
            if i32::from(message.kind >> 8) != libc::NFNL_SUBSYS_NFTABLES {
                continue;
            }
            let Some((head, attributes)) = message.payload.split_at_checked(4) else {
                continue;
            };
            let attributes = Attributes(attributes);
            let kind = i32::from(message.kind & 0xff);
            if kind == libc::NFT_MSG_NEWGEN {
                let mut transaction = std::mem::take(self);
                // NFTA_GEN_ID, NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME
                transaction.generation = attributes.be32(1).unwrap_or_default();
                transaction.author = attributes
                    .be32(2)
                    .zip(attributes.text(3))
                    .map(|(thread, name)| Author { thread, name });
                ended.push(transaction);
                continue;
            }
            let family = head.first().copied().and_then(Family::from_number);
            // In every other message attribute 1 is the name of the table.
            let (Some(family), Some(table)) = (family, attributes.text(attr::TABLE_NAME)) else {
                continue;
            };
            if table != TABLE_NAME {
                continue;
            }
            self.touches = true;
            if matches!(kind, libc::NFT_MSG_NEWSETELEM | libc::NFT_MSG_DELSETELEM)
                && let Some(set) = attributes.text(attr::ELEM_LIST_SET)
            {
                self.sets.insert((family, set));
            }
        }
    }
}

/// Hears of changes of the network's devices, addresses and routes.
pub(crate) struct DeviceEvents(Listener);

impl DeviceEvents {
    /// Listens in the network namespace of this thread.
    ///
    /// # Errors
    /// When the caller may not.
    pub fn open() -> Result<Self, Error> {
        Listener::open(Bus::Route, DEVICES)
            .map(Self)
            .map_err(|source| Error::io("listen to the network's devices over netlink", source))
    }

    /// Forgets what was told: whoever asks looks at the devices next.
    ///
    /// # Errors
    /// The operating system's.
    pub fn clear(&self) -> Result<(), Error> {
        self.0.drain(|_| {}).map(|_| ())
    }
}

impl AsFd for DeviceEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        ffi::borrow(&self.0.0)
    }
}

/// A socket that is told of changes.
struct Listener(Socket);

impl Listener {
    fn open(bus: Bus, groups: u32) -> io::Result<Self> {
        let socket = Socket::open(bus)?;
        // The kernel chooses the address.
        socket.bind(groups, 0)?;
        raise_receive_queue(&socket, QUEUE);
        Ok(Self(socket))
    }

    /// Takes all datagrams that are there, and says whether any were lost.
    fn drain(&self, mut each: impl FnMut(&[u8])) -> Result<bool, Error> {
        let mut buffer = vec![0; DATAGRAM];
        let mut lost = false;
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => each(buffer.get(..length).unwrap_or_default()),
                Err(nix::Error::EAGAIN) => return Ok(lost),
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::ENOBUFS) => lost = true,
                Err(source) => {
                    return Err(Error::io("hear of changes over netlink", source.into()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attr::Writer;
    use super::*;

    /// A message of nf_tables to its listeners.
    fn message(kind: i32, family: u8, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut attributes = Writer::default();
        fill(&mut attributes);
        let length = u32::try_from(20 + attributes.0.len()).unwrap_or_default();
        let kind = u16::try_from(libc::NFNL_SUBSYS_NFTABLES << 8 | kind).unwrap_or_default();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&[family, 0, 0, 0]);
        bytes.extend_from_slice(&attributes.0);
        bytes
    }

    fn end(generation: u32) -> Vec<u8> {
        message(libc::NFT_MSG_NEWGEN, 0, |a| {
            a.be32(1, generation).be32(2, 71).text(3, "nft");
        })
    }

    #[test]
    fn a_transaction_ends_with_its_generation_and_author() {
        let inet = Family::Inet.number();
        let mut bytes = message(libc::NFT_MSG_DELTABLE, inet, |a| {
            a.text(1, "docker");
        });
        bytes.extend(end(7));
        bytes.extend(message(libc::NFT_MSG_NEWSETELEM, inet, |a| {
            a.text(1, TABLE_NAME).text(2, "allow-tcp-v4");
        }));
        let (mut open, mut ended) = (Transaction::default(), Vec::new());
        open.hear(&bytes, &mut ended);
        // The second one has not ended yet: its datagrams may come apart.
        let author = Author {
            thread: 71,
            name: "nft".to_owned(),
        };
        assert_eq!(
            ended,
            [Transaction {
                generation: 7,
                author: Some(author.clone()),
                touches: false,
                sets: BTreeSet::new(),
            }]
        );
        ended.clear();
        open.hear(&end(8), &mut ended);
        assert_eq!(
            ended,
            [Transaction {
                generation: 8,
                author: Some(author),
                touches: true,
                sets: BTreeSet::from([(Family::Inet, "allow-tcp-v4".to_owned())]),
            }]
        );
        assert_eq!(open, Transaction::default());
    }

    #[test]
    fn what_does_not_hold_together_is_passed_over() {
        let whole = end(7);
        for length in 0..whole.len() {
            let (mut open, mut ended) = (Transaction::default(), Vec::new());
            open.hear(whole.get(..length).unwrap_or_default(), &mut ended);
            assert!(ended.is_empty());
        }
    }
}
