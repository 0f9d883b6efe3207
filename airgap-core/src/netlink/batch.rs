//! A batch: operations on the ruleset that the kernel carries out all together
//! or not at all.

use std::io::IoSlice;

use nftnl::nftnl_sys::{self as sys, libc};
use nftnl::{FinalizedBatch, MsgType, ProtoFamily};

use super::attr::Writer;
use super::elements::ElementWriter;
use super::encode::{c_string, encode};
use super::ffi::{RawMessage, RuleMessage};
use crate::graph::{
    Chain, ChainPolicy, Elements, Family, OriginId, Rule, Set, TABLE_NAME, Table, rule_text,
};

/// One change of the ruleset. All are about tables named [`TABLE_NAME`].
pub(crate) enum Operation<'a> {
    AddTable(&'a Table),
    DeleteTable(Family),
    AddSet(Family, &'a Set),
    DeleteSet(Family, &'a str),
    AddElements(Family, &'a Set, Elements),
    DeleteElements(Family, &'a Set, Elements),
    AddChain(Family, &'a Chain),
    DeleteChain(Family, &'a str),
    /// Removes all rules of a chain.
    FlushChain(Family, &'a str),
    AddRule(Family, &'a str, &'a Rule, Position),
    /// Removes the rule of this handle.
    DeleteRule(Family, &'a str, u64),
}

/// Where a rule goes in its chain.
#[derive(Clone, Copy)]
pub(crate) enum Position {
    First,
    Last,
    /// Behind the rule of this handle.
    After(u64),
}

impl Operation<'_> {
    /// What it does, for an error that is about it.
    pub fn describe(&self) -> String {
        match self {
            Self::AddTable(table) => format!("add table {} {}", table.family, table.name),
            Self::DeleteTable(family) => format!("delete table {family} {TABLE_NAME}"),
            Self::AddSet(family, set) => format!("add set {family} {TABLE_NAME} {}", set.name),
            Self::DeleteSet(family, name) => format!("delete set {family} {TABLE_NAME} {name}"),
            Self::AddElements(family, set, _) => {
                format!("add elements to set {family} {TABLE_NAME} {}", set.name)
            }
            Self::DeleteElements(family, set, _) => {
                format!("delete elements of set {family} {TABLE_NAME} {}", set.name)
            }
            Self::AddChain(family, chain) => {
                format!("add chain {family} {TABLE_NAME} {}", chain.name)
            }
            Self::DeleteChain(family, name) => format!("delete chain {family} {TABLE_NAME} {name}"),
            Self::FlushChain(family, name) => format!("flush chain {family} {TABLE_NAME} {name}"),
            Self::AddRule(family, chain, rule, _) => {
                format!("add rule {family} {TABLE_NAME} {chain} {}", rule_text(rule))
            }
            Self::DeleteRule(family, chain, handle) => {
                format!("delete rule {family} {TABLE_NAME} {chain} handle {handle}")
            }
        }
    }
}

/// A finished batch.
pub(crate) struct Batch {
    begin: Vec<u8>,
    pages: FinalizedBatch,
    /// For each message the operation that it belongs to, and for elements the
    /// number of its first.
    messages: Vec<(usize, usize)>,
}

/// The pages of a batch. Longer messages than a page are lost without a word,
/// so it is far above the longest.
const PAGE_SIZE: u32 = 1 << 20;
/// The header of a message, and that with `struct nfgenmsg` behind it.
const HEADER: usize = 16;
pub(super) const FAMILY_HEADER: usize = 20;
/// The sequence number of the first operation's message.
const FIRST_SEQUENCE: u32 = 1;
/// `NFNL_BATCH_GENID`
const BATCH_GENID: u16 = 1;

impl Batch {
    /// Encodes operations. The kernel refuses the batch with `ERESTART` if the
    /// ruleset is no longer of the generation `generation`.
    pub fn new(operations: &[Operation], generation: u32) -> Self {
        let mut encoder = Encoder {
            batch: nftnl::Batch::with_page_size(PAGE_SIZE),
            messages: Vec::new(),
            current: 0,
        };
        for (number, operation) in operations.iter().enumerate() {
            encoder.current = number;
            encoder.operation(operation);
        }
        Self {
            begin: begin_message(generation),
            pages: encoder.batch.finalize(),
            messages: encoder.messages,
        }
    }

    /// The bytes to send, in one call.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = vec![IoSlice::new(&self.begin)];
        for (number, page) in self.pages.iter().enumerate() {
            // The crate's own begin has no generation: ours stands for it.
            let page = if number == 0 {
                page.get(FAMILY_HEADER..).unwrap_or_default()
            } else {
                page
            };
            slices.push(IoSlice::new(page));
        }
        slices
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.slices().iter().map(|slice| slice.len()).sum()
    }

    /// The bytes in one piece, for somebody else to send.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        for slice in self.slices() {
            bytes.extend_from_slice(&slice);
        }
        bytes
    }

    /// The operation that an error is about, by the sequence number of the
    /// message, and for elements the place of its first one.
    pub fn operation_of(&self, sequence: u32) -> Option<(usize, usize)> {
        self.messages
            .get(usize::try_from(sequence.checked_sub(FIRST_SEQUENCE)?).ok()?)
            .copied()
    }
}

/// `NFNL_MSG_BATCH_BEGIN` for nf_tables and a generation.
pub(super) fn begin_message(generation: u32) -> Vec<u8> {
    let mut attributes = Writer::default();
    attributes.be32(BATCH_GENID, generation);
    let length = u32::try_from(FAMILY_HEADER + attributes.0.len()).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend_from_slice(&length.to_ne_bytes());
    // NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST
    message.extend_from_slice(&16u16.to_ne_bytes());
    message.extend_from_slice(&1u16.to_ne_bytes());
    message.extend_from_slice(&[0; HEADER - 8]);
    // struct nfgenmsg: AF_UNSPEC, NFNETLINK_V0, NFNL_SUBSYS_NFTABLES
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(&10u16.to_be_bytes());
    message.extend_from_slice(&attributes.0);
    message
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // flags and numbers of the kernel's header
mod flags {
    use nftnl::nftnl_sys::libc;

    pub const NONE: u16 = libc::NLM_F_REQUEST as u16;
    pub const CREATE: u16 = NONE | libc::NLM_F_CREATE as u16;
    pub const APPEND: u16 = CREATE | libc::NLM_F_APPEND as u16;
    pub const SET_INTERVAL: u32 = libc::NFT_SET_INTERVAL as u32;
    /// `NFT_SET_CONCAT`
    pub const SET_CONCAT: u32 = 0x80;
}
pub(super) use flags::{SET_CONCAT, SET_INTERVAL};

struct Encoder {
    batch: nftnl::Batch,
    messages: Vec<(usize, usize)>,
    current: usize,
}

impl Encoder {
    /// The number of the next message.
    fn next(&mut self, first_element: usize) -> u32 {
        self.messages.push((self.current, first_element));
        u32::try_from(self.messages.len()).unwrap_or(u32::MAX) - 1 + FIRST_SEQUENCE
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // message types fit a byte
    fn add(
        &mut self,
        kind: i32,
        flags: u16,
        family: Family,
        attributes: &[u8],
        first_element: usize,
    ) {
        let sequence = self.next(first_element);
        let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
        let message = RawMessage {
            kind,
            flags,
            family: family.number(),
            sequence,
            attributes,
        };
        // The kind is ours; what the crate passes does not matter.
        self.batch.add(&message, MsgType::Add);
    }

    fn operation(&mut self, operation: &Operation) {
        let mut w = Writer::default();
        match operation {
            Operation::AddTable(table) => {
                w.text(attr::TABLE_NAME, &table.name)
                    .be32(attr::TABLE_FLAGS, table.flags);
                if let Some(comment) = &table.comment {
                    w.bytes(
                        attr::TABLE_USERDATA,
                        &user_data(udata::TABLE_COMMENT, comment),
                    );
                }
                self.add(libc::NFT_MSG_NEWTABLE, flags::CREATE, table.family, &w.0, 0);
            }
            Operation::DeleteTable(family) => {
                w.text(attr::TABLE_NAME, TABLE_NAME);
                self.add(libc::NFT_MSG_DELTABLE, flags::NONE, *family, &w.0, 0);
            }
            Operation::AddSet(family, set) => {
                write_set(set, &mut w);
                self.add(libc::NFT_MSG_NEWSET, flags::CREATE, *family, &w.0, 0);
            }
            Operation::DeleteSet(family, name) => {
                w.text(attr::SET_TABLE, TABLE_NAME)
                    .text(attr::SET_NAME, name);
                self.add(libc::NFT_MSG_DELSET, flags::NONE, *family, &w.0, 0);
            }
            Operation::AddElements(family, set, elements) => {
                self.elements(
                    libc::NFT_MSG_NEWSETELEM,
                    flags::CREATE,
                    *family,
                    set,
                    elements,
                );
            }
            Operation::DeleteElements(family, set, elements) => {
                self.elements(
                    libc::NFT_MSG_DELSETELEM,
                    flags::NONE,
                    *family,
                    set,
                    elements,
                );
            }
            Operation::AddChain(family, chain) => {
                write_chain(chain, *family, &mut w);
                self.add(libc::NFT_MSG_NEWCHAIN, flags::CREATE, *family, &w.0, 0);
            }
            Operation::DeleteChain(family, name) => {
                w.text(attr::CHAIN_TABLE, TABLE_NAME)
                    .text(attr::CHAIN_NAME, name);
                self.add(libc::NFT_MSG_DELCHAIN, flags::NONE, *family, &w.0, 0);
            }
            Operation::FlushChain(family, chain) => {
                w.text(attr::RULE_TABLE, TABLE_NAME)
                    .text(attr::RULE_CHAIN, chain);
                self.add(libc::NFT_MSG_DELRULE, flags::NONE, *family, &w.0, 0);
            }
            Operation::AddRule(family, chain, rule, position) => {
                self.rule(*family, chain, rule, *position)
            }
            Operation::DeleteRule(family, chain, handle) => {
                w.text(attr::RULE_TABLE, TABLE_NAME)
                    .text(attr::RULE_CHAIN, chain)
                    .be64(attr::RULE_HANDLE, *handle);
                self.add(libc::NFT_MSG_DELRULE, flags::NONE, *family, &w.0, 0);
            }
        }
    }

    fn rule(&mut self, family: Family, chain: &str, rule: &Rule, position: Position) {
        let table = nftnl::Table::new(c_string(TABLE_NAME), proto_family(family));
        let chain = nftnl::Chain::new(c_string(chain), &table);
        let mut message = nftnl::Rule::new(&chain);
        let mut expressions = Vec::new();
        rule.statements
            .iter()
            .for_each(|statement| encode(statement, &mut expressions));
        expressions
            .iter()
            .for_each(|expression| message.add_expr(expression));
        if let Some(comment) = &rule.comment {
            // The compiler keeps comments below the kernel's limit; one that is
            // not would be left out, which the read-back would show.
            let _ = message.set_comment(c_string(comment));
        }
        let flags = match position {
            Position::First => flags::CREATE,
            Position::Last => flags::APPEND,
            Position::After(handle) => {
                message.set_position(handle);
                flags::APPEND
            }
        };
        let sequence = self.next(0);
        self.batch.add(
            &RuleMessage {
                rule: &message,
                flags,
                sequence,
            },
            MsgType::Add,
        );
    }

    fn elements(&mut self, kind: i32, flags: u16, family: Family, set: &Set, elements: &Elements) {
        let mut writer = ElementWriter::new(set);
        let mut items = elements.iter().map(|(element, _)| element).peekable();
        let mut sent = 0;
        while items.peek().is_some() {
            let first = sent;
            sent += writer.fill(&mut items);
            self.add(kind, flags, family, writer.attributes(), first);
        }
    }
}

fn write_set(set: &Set, w: &mut Writer) {
    let mut set_flags = set.other_flags;
    if set.interval {
        set_flags |= SET_INTERVAL;
        if set.is_concatenation() {
            set_flags |= SET_CONCAT;
        }
    }
    let key_type = set.key.iter().fold(0, |sum, t| sum << 6 | t.number());
    let key_len = match set.key.as_slice() {
        [one] => one.width(),
        _ => set.key_width(),
    };
    w.text(attr::SET_TABLE, TABLE_NAME)
        .text(attr::SET_NAME, &set.name)
        .be32(attr::SET_FLAGS, set_flags)
        .be32(attr::SET_KEY_TYPE, key_type)
        .be32(
            attr::SET_KEY_LEN,
            u32::try_from(key_len).unwrap_or(u32::MAX),
        )
        // The kernel wants a number by which the batch may name the set; the
        // rules here use its name.
        .be32(attr::SET_ID, 1)
        .nest(attr::SET_DESC, |w| {
            if let Some(size) = set.size {
                w.be32(attr::SET_DESC_SIZE, size);
            }
            if set.interval && set.is_concatenation() {
                w.nest(attr::SET_DESC_CONCAT, |w| {
                    for field in &set.key {
                        w.nest(attr::LIST_ELEM, |w| {
                            w.be32(
                                attr::SET_FIELD_LEN,
                                u32::try_from(field.width()).unwrap_or(u32::MAX),
                            );
                        });
                    }
                });
            }
        });
    let mut data = Vec::new();
    // Without the byte order nft(8) lists interface names as "".
    let byte_order: u32 = if set.key.contains(&crate::graph::DataType::Ifname) {
        1
    } else {
        2
    };
    data.extend_from_slice(&[udata::SET_KEYBYTEORDER, 4]);
    data.extend_from_slice(&byte_order.to_ne_bytes());
    if let Some(comment) = &set.comment {
        data.extend_from_slice(&user_data(udata::SET_COMMENT, comment));
    }
    w.bytes(attr::SET_USERDATA, &data);
}

fn write_chain(chain: &Chain, family: Family, w: &mut Writer) {
    w.text(attr::CHAIN_TABLE, TABLE_NAME)
        .text(attr::CHAIN_NAME, &chain.name);
    let Some(base) = &chain.base else { return };
    #[allow(clippy::cast_sign_loss)] // the kernel reads the priority as signed
    let priority = base.priority as u32;
    w.nest(attr::CHAIN_HOOK, |w| {
        w.be32(attr::HOOK_HOOKNUM, base.hook.number(family))
            .be32(attr::HOOK_PRIORITY, priority);
        // A chain of the air gap has one device at most.
        if let Some(device) = base.devices.first() {
            w.text(attr::HOOK_DEV, device);
        }
    });
    // NF_DROP is 0, NF_ACCEPT is 1.
    w.be32(
        attr::CHAIN_POLICY,
        u32::from(base.policy == ChainPolicy::Accept),
    );
    w.text(attr::CHAIN_TYPE, base.kind.name());
}

/// User data of one field as nft(8) writes it: type, length, text, zero.
fn user_data(kind: u8, text: &str) -> Vec<u8> {
    let text = text
        .get(..text.floor_char_boundary(usize::from(udata::COMMENT_MAX)))
        .unwrap_or_default();
    let len = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    let mut data = vec![kind, len];
    data.extend_from_slice(text.as_bytes());
    data.push(0);
    data
}

fn proto_family(family: Family) -> ProtoFamily {
    match family {
        Family::Inet => ProtoFamily::Inet,
        Family::Ip => ProtoFamily::Ipv4,
        Family::Arp => ProtoFamily::Arp,
        Family::Netdev => ProtoFamily::NetDev,
        Family::Bridge => ProtoFamily::Bridge,
        Family::Ip6 => ProtoFamily::Ipv6,
    }
}

impl Operation<'_> {
    /// The line of the policy that it came from, for elements that of the
    /// element of this number.
    pub fn origin(&self, element: usize) -> OriginId {
        match self {
            Self::AddRule(_, _, rule, _) => rule.origin,
            Self::AddElements(_, _, elements) => elements
                .iter()
                .nth(element)
                .map(|(_, origin)| origin)
                .unwrap_or_default(),
            _ => OriginId::default(),
        }
    }

    /// The set whose elements it changes.
    pub fn set(&self) -> Option<&Set> {
        match self {
            Self::AddElements(_, set, _) | Self::DeleteElements(_, set, _) => Some(set),
            _ => None,
        }
    }
}

/// Attributes, by the enums of `linux/netfilter/nf_tables.h`.
#[rustfmt::skip]
#[allow(dead_code)] // the decoder uses the others
pub(super) mod attr {
    pub const LIST_ELEM: u16 = 1;
    pub const TABLE_NAME: u16 = 1;
    pub const TABLE_FLAGS: u16 = 2;
    pub const TABLE_USERDATA: u16 = 6;
    pub const HOOK_HOOKNUM: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const HOOK_DEV: u16 = 3;
    pub const HOOK_DEVS: u16 = 4;
    pub const CHAIN_TABLE: u16 = 1;
    pub const CHAIN_NAME: u16 = 3;
    pub const CHAIN_HOOK: u16 = 4;
    pub const CHAIN_POLICY: u16 = 5;
    pub const CHAIN_TYPE: u16 = 7;
    pub const RULE_TABLE: u16 = 1;
    pub const RULE_CHAIN: u16 = 2;
    pub const RULE_HANDLE: u16 = 3;
    pub const RULE_EXPRESSIONS: u16 = 4;
    pub const RULE_USERDATA: u16 = 7;
    pub const SET_TABLE: u16 = 1;
    pub const SET_NAME: u16 = 2;
    pub const SET_FLAGS: u16 = 3;
    pub const SET_KEY_TYPE: u16 = 4;
    pub const SET_KEY_LEN: u16 = 5;
    pub const SET_DESC: u16 = 9;
    pub const SET_ID: u16 = 10;
    pub const SET_USERDATA: u16 = 13;
    pub const SET_DESC_SIZE: u16 = 1;
    pub const SET_DESC_CONCAT: u16 = 2;
    pub const SET_FIELD_LEN: u16 = 1;
    pub const ELEM_LIST_TABLE: u16 = 1;
    pub const ELEM_LIST_SET: u16 = 2;
    pub const ELEM_LIST_ELEMENTS: u16 = 3;
    pub const ELEM_KEY: u16 = 1;
    pub const ELEM_DATA: u16 = 2;
    pub const ELEM_FLAGS: u16 = 3;
    pub const ELEM_KEY_END: u16 = 10;
    pub const DATA_VALUE: u16 = 1;
}

/// Types of user data, by the enums of libnftnl's udata.h.
#[allow(clippy::cast_possible_truncation)] // all are small
pub(super) mod udata {
    use super::sys;

    pub const COMMENT_MAX: u8 = 127;
    pub const RULE_COMMENT: u8 = sys::NFTNL_UDATA_RULE_COMMENT as u8;
    pub const TABLE_COMMENT: u8 = sys::NFTNL_UDATA_TABLE_COMMENT as u8;
    pub const SET_KEYBYTEORDER: u8 = sys::NFTNL_UDATA_SET_KEYBYTEORDER as u8;
    pub const SET_COMMENT: u8 = sys::NFTNL_UDATA_SET_COMMENT as u8;
}
