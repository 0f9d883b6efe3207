//! The conversation with nf_tables over a netlink socket.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};

use mnl::Bus;
use nftnl::nftnl_sys::libc;

use super::attr::{Attributes, Writer};
use super::batch::{Batch, Operation, attr};
use super::decode::{self, ElementCollector};
use super::elements::element_at;
use super::wire::Wire;
use crate::error::{Error, KernelError};
use crate::graph::{Family, Origins, RuleGraph, Set, TABLE_NAME, Table};
use crate::state::Moment;

/// A socket to nf_tables of the network namespace in which it was opened.
pub(crate) struct Kernel {
    socket: Wire,
}

/// How much of a ruleset to read.
#[derive(Clone, Copy)]
pub(crate) enum Depth<'a> {
    /// Everything.
    Full,
    /// Everything but the elements of the sets for which this answers false.
    Elements(&'a dyn Fn(Family, &Set) -> bool),
}

/// How often a read begins again because the ruleset changed meanwhile.
const READ_TRIES: usize = 20;
/// Room for one datagram of a dump; the kernel fills 32 KiB at most.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// What the queue of answers must hold: the errors of a batch come all at once.
const RECEIVE_QUEUE: usize = 8 << 20;

impl Kernel {
    /// Opens a socket in the network namespace of this thread.
    ///
    /// # Errors
    /// When the kernel has no nf_tables, or the caller may not use it.
    pub fn open() -> Result<Self, Error> {
        let socket = Wire::open(Bus::Netfilter).map_err(|source| match source.raw_os_error() {
            Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => Error::NoNfTables,
            _ => Error::io("open a netlink socket", source),
        })?;
        // Without it a read of many errors ends with `ENOBUFS`, which is reported.
        socket.raise_receive_queue(RECEIVE_QUEUE);
        // Error messages then bring a text and the place of the bad attribute,
        // and leave out the message that they are about.
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            socket.enable(option);
        }
        Ok(Self { socket })
    }

    /// The generation of the ruleset: every change of anybody's raises it.
    ///
    /// # Errors
    /// When the caller may not ask, or there is no nf_tables.
    pub fn generation(&self) -> Result<u32, Error> {
        let mut generation = None;
        self.request(libc::NFT_MSG_GETGEN, 0, 0, &[], |_, a| {
            // NFTA_GEN_ID
            generation = a.be32(1);
        })?;
        generation.ok_or(Error::Protocol("no generation in the kernel's answer"))
    }

    /// The moment at which the ruleset is of a generation, where the kernel can
    /// tell the network namespace.
    pub fn moment(&self, generation: u32) -> Option<Moment> {
        Moment::new(self.socket.netns_cookie()?, generation)
    }

    /// Sends a batch in one message, as one transaction.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the ruleset is of another generation than the
    /// batch is for; else all that the kernel complained of.
    pub fn transact(
        &self,
        batch: &Batch,
        operations: &[Operation],
        origins: &Origins,
    ) -> Result<(), Error> {
        let answers = self.exchange(&batch.slices())?;
        judge(&answers, batch, operations, origins)
    }

    /// Sends the parts of a batch as one message, and answers what there is to
    /// hear of it.
    ///
    /// # Errors
    /// When the kernel does not take it, or more is to be heard than can be.
    pub(super) fn exchange(&self, parts: &[IoSlice]) -> Result<Vec<u8>, Error> {
        let length = parts.iter().map(|part| part.len()).sum();
        // The kernel charges more than the bytes; twice is enough.
        self.socket
            .raise_send_buffer(2 * length)
            .map_err(|e| Error::io("size the netlink socket", e.into()))?;
        match self.socket.send_parts(parts) {
            Ok(sent) if sent == length => {}
            Ok(_) => return Err(Error::Protocol("the kernel took only a part of the batch")),
            Err(nix::Error::EMSGSIZE) => return Err(Error::BatchTooLarge { bytes: length }),
            Err(source) => return Err(Error::io("send the batch", source.into())),
        }
        // The kernel has carried the batch out, or not, before `sendmsg`
        // returned: what there is to hear waits in the queue.
        let mut answers = Vec::new();
        let mut buffer = vec![0; RECEIVE_BUFFER];
        loop {
            match self.socket.receive_now(&mut buffer) {
                Ok(length) => {
                    answers.extend_from_slice(buffer.get(..length).unwrap_or_default());
                    answers.resize(answers.len().next_multiple_of(4), 0);
                }
                Err(nix::Error::EAGAIN) => return Ok(answers),
                Err(nix::Error::EINTR) => {}
                // Errors were lost, so there was one.
                Err(nix::Error::ENOBUFS) => {
                    return Err(Error::Protocol("more errors than the socket's queue holds"));
                }
                Err(source) => return Err(Error::io("hear of the batch", source.into())),
            }
        }
    }

    /// The address of this socket, by which the kernel knows it.
    pub(super) fn address(&self) -> u32 {
        self.socket.address()
    }

    /// Reads the tables of these families, or of all.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the ruleset changed during each of many tries.
    pub fn read(&self, own: bool, depth: Depth) -> Result<(RuleGraph, u32), Error> {
        for _ in 0..READ_TRIES {
            let before = self.generation()?;
            let read = self.read_once(own, depth);
            let unchanged = self.generation()? == before;
            match read {
                Ok(graph) if unchanged => return Ok((graph, before)),
                // Else what was asked for may be what went meanwhile.
                Err(error) if unchanged && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        Err(Error::Conflict)
    }

    /// Whether there is any table of the air gap.
    ///
    /// # Errors
    /// As [`Kernel::read`].
    pub fn has_air_gap(&self) -> Result<bool, Error> {
        let (graph, _) = self.read(true, Depth::Elements(&|_, _| false))?;
        Ok(!graph.tables.is_empty())
    }

    fn read_once(&self, own: bool, depth: Depth) -> Result<RuleGraph, Error> {
        let wanted = |family: Family, name: &str| {
            !own || (name == TABLE_NAME
                && matches!(family, Family::Inet | Family::Bridge | Family::Netdev))
        };
        let mut tables: BTreeMap<(Family, String), Table> = BTreeMap::new();
        self.dump(libc::NFT_MSG_GETTABLE, 0, &[], |family, a| {
            if let Some(table) = decode::table(family, a)
                && wanted(family, &table.name)
            {
                tables.insert((family, table.name.clone()), table);
            }
        })?;
        if tables.is_empty() {
            return Ok(RuleGraph::default());
        }
        self.dump(libc::NFT_MSG_GETCHAIN, 0, &[], |family, a| {
            let name = a.text(attr::CHAIN_TABLE).unwrap_or_default();
            if let (Some(table), Some(chain)) =
                (tables.get_mut(&(family, name)), decode::chain(family, a))
            {
                table.chains.push(chain);
            }
        })?;
        self.dump(libc::NFT_MSG_GETSET, 0, &[], |family, a| {
            let name = a.text(attr::SET_TABLE).unwrap_or_default();
            if let (Some(table), Some(set)) = (tables.get_mut(&(family, name)), decode::set(a)) {
                table.sets.push(set);
            }
        })?;
        for table in tables.values_mut() {
            table.sort();
            self.read_rules(table)?;
            for set in &mut table.sets {
                let read = match depth {
                    Depth::Full => true,
                    Depth::Elements(wanted) => wanted(table.family, set),
                };
                if read {
                    self.read_elements(table.family, &table.name, set)?;
                }
            }
        }
        Ok(RuleGraph {
            tables: tables.into_values().collect(),
            origins: Origins::default(),
        })
    }

    fn read_rules(&self, table: &mut Table) -> Result<(), Error> {
        let mut filter = Writer::default();
        filter.text(attr::RULE_TABLE, &table.name);
        let mut rules = Vec::new();
        let sets = &table.sets;
        self.dump(
            libc::NFT_MSG_GETRULE,
            table.family.number(),
            &filter.0,
            |family, a| {
                // Kernels before 4.12 do not filter.
                if family == table.family
                    && a.text(attr::RULE_TABLE).as_deref() == Some(&table.name)
                {
                    rules.extend(decode::rule(family, a, sets));
                }
            },
        )?;
        for (chain, rule) in rules {
            if let Some(chain) = table.chains.iter_mut().find(|c| c.name == chain) {
                chain.rules.push(rule);
            }
        }
        Ok(())
    }

    fn read_elements(&self, family: Family, table: &str, set: &mut Set) -> Result<(), Error> {
        let mut which = Writer::default();
        which
            .text(attr::ELEM_LIST_TABLE, table)
            .text(attr::ELEM_LIST_SET, &set.name);
        let mut collector = ElementCollector::default();
        self.dump(
            libc::NFT_MSG_GETSETELEM,
            family.number(),
            &which.0,
            |_, a| collector.message(set, a),
        )?;
        set.elements = collector.finish(set);
        Ok(())
    }

    pub(super) fn dump(
        &self,
        kind: i32,
        family: u8,
        attributes: &[u8],
        each: impl FnMut(Family, Attributes),
    ) -> Result<(), Error> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a flag of the kernel's header
        self.request(kind, libc::NLM_F_DUMP as u16, family, attributes, each)
    }

    /// Asks and hands over each object of the answer.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // types and flags of the kernel's header
    fn request(
        &self,
        kind: i32,
        flags: u16,
        family: u8,
        attributes: &[u8],
        mut each: impl FnMut(Family, Attributes),
    ) -> Result<(), Error> {
        let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
        let flags = flags | libc::NLM_F_REQUEST as u16;
        let multi = flags & libc::NLM_F_DUMP as u16 == libc::NLM_F_DUMP as u16;
        // A single answer is closed by an acknowledgement.
        let flags = if multi {
            flags
        } else {
            flags | libc::NLM_F_ACK as u16
        };
        self.socket
            .send(&message(kind, flags, family, attributes))
            .map_err(|source| Error::io("ask nf_tables", source))?;
        let mut buffer = vec![0; RECEIVE_BUFFER];
        loop {
            let length = match self.socket.receive(&mut buffer) {
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::io("hear from nf_tables", source)),
            };
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                if message.flags & libc::NLM_F_DUMP_INTR as u16 != 0 {
                    self.drain();
                    return Err(Error::Conflict);
                }
                if let Some(error) = message.error() {
                    self.drain();
                    return Err(refused(&error));
                }
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return Ok(()),
                    _ => {}
                }
                let Some((head, attributes)) = message.payload.split_at_checked(4) else {
                    continue;
                };
                let family = head.first().copied().unwrap_or_default();
                // The generation has no family; any will do.
                let family = if family == 0 {
                    Some(Family::Inet)
                } else {
                    Family::from_number(family)
                };
                if let Some(family) = family {
                    each(family, Attributes(attributes));
                }
            }
        }
    }

    /// Forgets the rest of an answer, so that the next is not mistaken for it.
    fn drain(&self) {
        let mut buffer = vec![0; RECEIVE_BUFFER];
        loop {
            match self.socket.receive_now(&mut buffer) {
                Ok(length) if length > 0 => {}
                Err(nix::Error::EINTR) => {}
                _ => return,
            }
        }
    }
}

/// What the answers to a batch say. No error is success; an acknowledgement of
/// the end comes even for a batch that was refused.
///
/// # Errors
/// [`Error::Conflict`] when the ruleset is of another generation than the batch
/// is for; else all that the kernel complained of.
pub(crate) fn judge(
    answers: &[u8],
    batch: &Batch,
    operations: &[Operation],
    origins: &Origins,
) -> Result<(), Error> {
    let mut errors = Vec::new();
    for error in messages(answers).filter_map(|message| message.error()) {
        if error.errno == libc::ERESTART {
            return Err(Error::Conflict);
        }
        errors.push(explain(&error, batch, operations, origins));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::Kernel(errors))
    }
}

/// A request to nf_tables, or another part of netfilter.
pub(super) fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(20 + attributes.len());
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[family, 0, 0, 0]);
    bytes.extend_from_slice(attributes);
    bytes
}

/// A message of the kernel.
pub(super) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

/// The messages of one datagram.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let (head, _) = bytes.split_first_chunk::<16>()?;
        let &[l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = head;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let payload = bytes.get(16..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload,
        })
    })
}

/// What an error message says.
pub(super) struct ErrorMessage {
    pub errno: i32,
    sequence: u32,
    text: Option<String>,
    /// The place of the attribute that the error is about.
    offset: Option<u32>,
}

impl Message<'_> {
    /// The error, if this is one and no acknowledgement.
    pub fn error(&self) -> Option<ErrorMessage> {
        if i32::from(self.kind) != libc::NLMSG_ERROR {
            // The end of a dump can bring an error too.
            let done = i32::from(self.kind) == libc::NLMSG_DONE;
            let errno = self
                .payload
                .first_chunk::<4>()
                .map(|code| i32::from_ne_bytes(*code))
                .filter(|_| done)?;
            return (errno < 0).then_some(ErrorMessage {
                errno: -errno,
                sequence: 0,
                text: None,
                offset: None,
            });
        }
        let errno = -i32::from_ne_bytes(*self.payload.first_chunk::<4>()?);
        if errno == 0 {
            return None;
        }
        // Behind the code stands the header of the message that failed, then
        // attributes: NLMSGERR_ATTR_MSG 1, NLMSGERR_ATTR_OFFS 2.
        let a = Attributes(self.payload.get(20..).unwrap_or_default());
        let offset = a
            .find(2)
            .and_then(|v| Some(u32::from_ne_bytes(v.try_into().ok()?)));
        Some(ErrorMessage {
            errno,
            sequence: self.sequence,
            text: a.text(1),
            offset,
        })
    }
}

/// The error of a request that is no batch.
fn refused(error: &ErrorMessage) -> Error {
    match error.errno {
        libc::EPERM | libc::EACCES => Error::NotPermitted,
        libc::EINTR => Error::Conflict,
        errno => Error::io("ask nf_tables", io::Error::from_raw_os_error(errno)),
    }
}

fn explain(
    error: &ErrorMessage,
    batch: &Batch,
    operations: &[Operation],
    origins: &Origins,
) -> KernelError {
    let found = batch
        .operation_of(error.sequence)
        .and_then(|(number, first)| Some((operations.get(number)?, first)));
    let mut kernel_error = KernelError {
        errno: error.errno,
        text: error.text.clone(),
        operation: "the batch".to_owned(),
        origin: None,
    };
    if let Some((operation, first)) = found {
        let mut element = first;
        kernel_error.operation = operation.describe();
        if let (Some(set), Some(offset)) = (operation.set(), error.offset) {
            element += element_at(set, usize::try_from(offset).unwrap_or(usize::MAX));
        }
        kernel_error.origin = origins.get(operation.origin(element));
    }
    kernel_error
}
