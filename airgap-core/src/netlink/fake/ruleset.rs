//! What the fake kernel holds, and how it changes: the rules of nf_tables
//! (`net/netfilter/nf_tables_api.c`) about what may refer to what, in the error
//! numbers of the kernel.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use nftnl::nftnl_sys::libc::{
    self, EBUSY, EEXIST, EINVAL, EMLINK, ENFILE, ENOENT, EOPNOTSUPP, ERANGE,
};

use crate::netlink::attr::Attributes;
use crate::netlink::batch::{SET_CONCAT, SET_INTERVAL, attr};
use crate::netlink::elements::ELEM_INTERVAL_END;

/// An error number, or nothing.
pub(super) type Answer = Result<(), i32>;

/// An element of a set: its key, and of a range the end.
type Element = (Vec<u8>, Option<Vec<u8>>);

/// The longest name of a table, chain or set: `NFT_NAME_MAXLEN` less the zero.
const NAME_MAX: usize = 255;
/// How deep jumps may go: `NFT_JUMP_STACK_SIZE`.
const JUMPS_MAX: usize = 16;
/// Attributes and codes that only the kernel's side asks for.
const RULE_POSITION: u16 = 6;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const LOOKUP_SET: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CHAIN: u16 = 2;
/// The table flags that the kernel knows without an owner: `dormant`.
const TABLE_FLAGS: u32 = 1;

/// All tables.
#[derive(Debug, Clone)]
pub(super) struct Ruleset {
    /// Raised by every batch that is carried out.
    pub generation: u32,
    /// In the order in which they were made.
    pub tables: Vec<Table>,
    handles: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub family: u8,
    pub name: String,
    pub flags: u32,
    pub user_data: Option<Vec<u8>>,
    pub chains: Vec<Chain>,
    pub sets: Vec<Set>,
}

#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub name: String,
    /// Hook, policy and type as they were sent, of a base chain.
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub hook: Vec<u8>,
    pub policy: u32,
    pub kind: String,
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub handle: u64,
    pub expressions: Vec<u8>,
    pub user_data: Option<Vec<u8>>,
    /// The sets and chains that it names.
    sets: Vec<String>,
    jumps: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Set {
    pub name: String,
    pub flags: u32,
    pub key_type: u32,
    pub key_len: u32,
    /// How many elements it has room for.
    pub size: Option<u32>,
    /// The room that it has from the end of the batch on.
    next_size: Option<u32>,
    /// The fields of a concatenation of ranges, as they were sent.
    pub concat: Option<Vec<u8>>,
    pub user_data: Option<Vec<u8>>,
    /// The widths of the fields of a concatenation of ranges, padded.
    fields: Vec<usize>,
    /// By key, or by the first value of a range: the end of the range, which
    /// is the value behind it in a set of plain ranges (none up to the highest),
    /// and the last value in a concatenation.
    pub elements: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// A message of a batch.
pub(super) struct Request<'a> {
    pub kind: i32,
    pub flags: i32,
    pub family: u8,
    pub attributes: Attributes<'a>,
}

impl Request<'_> {
    fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }

    /// A name, which must be there.
    fn name(&self, kind: u16) -> Result<String, i32> {
        let bytes = self.attributes.find(kind).ok_or(EINVAL)?;
        let name = self.attributes.text(kind).ok_or(EINVAL)?;
        if name.len() > NAME_MAX || bytes.len() > NAME_MAX + 1 {
            return Err(ERANGE);
        }
        Ok(name)
    }
}

impl Default for Ruleset {
    fn default() -> Self {
        Self {
            generation: 1,
            tables: Vec::new(),
            handles: 0,
        }
    }
}

impl Ruleset {
    /// Carries one message of a batch out.
    pub fn change(&mut self, request: &Request) -> Answer {
        match request.kind {
            libc::NFT_MSG_NEWTABLE => self.new_table(request),
            libc::NFT_MSG_DELTABLE => {
                let name = request.name(attr::TABLE_NAME)?;
                let before = self.tables.len();
                self.tables
                    .retain(|t| (t.family, &t.name) != (request.family, &name));
                exists(before != self.tables.len())
            }
            libc::NFT_MSG_NEWCHAIN => self.new_chain(request),
            libc::NFT_MSG_DELCHAIN => self
                .table(request, attr::CHAIN_TABLE)?
                .delete_chain(&request.name(attr::CHAIN_NAME)?),
            libc::NFT_MSG_NEWRULE => self.new_rule(request),
            libc::NFT_MSG_DELRULE => self.delete_rules(request),
            libc::NFT_MSG_NEWSET => self.new_set(request),
            libc::NFT_MSG_DELSET => self
                .table(request, attr::SET_TABLE)?
                .delete_set(&request.name(attr::SET_NAME)?),
            libc::NFT_MSG_NEWSETELEM | libc::NFT_MSG_DELSETELEM => self.elements(request),
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Ends a batch.
    pub fn commit(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        for set in self.tables.iter_mut().flat_map(|table| &mut table.sets) {
            set.size = set.next_size.take().or(set.size);
        }
    }

    /// The table of this family and name.
    pub fn find(&self, family: u8, name: &str) -> Option<&Table> {
        self.tables
            .iter()
            .find(|t| t.family == family && t.name == name)
    }

    fn table(&mut self, request: &Request, kind: u16) -> Result<&mut Table, i32> {
        let name = request.name(kind)?;
        self.tables
            .iter_mut()
            .find(|t| t.family == request.family && t.name == name)
            .ok_or(ENOENT)
    }

    fn new_table(&mut self, request: &Request) -> Answer {
        let name = request.name(attr::TABLE_NAME)?;
        let flags = request
            .attributes
            .be32(attr::TABLE_FLAGS)
            .unwrap_or_default();
        if flags & !TABLE_FLAGS != 0 {
            return Err(EOPNOTSUPP);
        }
        if let Ok(table) = self.table(request, attr::TABLE_NAME) {
            if request.has(libc::NLM_F_EXCL) {
                return Err(EEXIST);
            }
            table.flags = flags;
            return Ok(());
        }
        self.tables.push(Table {
            family: request.family,
            name,
            flags,
            user_data: owned(request.attributes.find(attr::TABLE_USERDATA)),
            chains: Vec::new(),
            sets: Vec::new(),
        });
        Ok(())
    }

    fn new_chain(&mut self, request: &Request) -> Answer {
        let a = request.attributes;
        let table = self.table(request, attr::CHAIN_TABLE)?;
        let name = request.name(attr::CHAIN_NAME)?;
        let base = match a.find(attr::CHAIN_HOOK) {
            Some(hook) => Some(Base {
                hook: hook.to_vec(),
                policy: a.be32(attr::CHAIN_POLICY).unwrap_or(1),
                kind: a
                    .text(attr::CHAIN_TYPE)
                    .unwrap_or_else(|| "filter".to_owned()),
            }),
            None if a.find(attr::CHAIN_POLICY).is_some() => return Err(EOPNOTSUPP),
            None => None,
        };
        if let Some(chain) = table.chains.iter().find(|chain| chain.name == name) {
            if request.has(libc::NLM_F_EXCL) {
                return Err(EEXIST);
            }
            return match (&chain.base, &base) {
                (_, None) => Ok(()),
                (None, Some(_)) => Err(EOPNOTSUPP),
                (Some(there), Some(base)) if there.kind != base.kind => Err(EEXIST),
                (Some(there), Some(base)) if there.hook != base.hook => Err(EOPNOTSUPP),
                _ => Ok(()),
            };
        }
        table.chains.push(Chain {
            name,
            base,
            rules: Vec::new(),
        });
        Ok(())
    }

    fn new_rule(&mut self, request: &Request) -> Answer {
        let a = request.attributes;
        self.handles += 1;
        let handle = self.handles;
        let table = self.table(request, attr::RULE_TABLE)?;
        let name = request.name(attr::RULE_CHAIN)?;
        let expressions = a.find(attr::RULE_EXPRESSIONS).unwrap_or_default();
        let (mut sets, mut jumps) = (Vec::new(), Vec::new());
        for (_, expression) in Attributes(expressions) {
            let expression = Attributes(expression);
            let data = expression.nested(EXPR_DATA);
            match expression.text(EXPR_NAME).as_deref() {
                Some("lookup") => sets.extend(data.text(LOOKUP_SET)),
                Some("immediate") => jumps.extend(
                    data.nested(IMMEDIATE_DATA)
                        .nested(DATA_VERDICT)
                        .text(VERDICT_CHAIN),
                ),
                _ => {}
            }
        }
        let at = {
            let chain = table.chain(&name)?;
            let place = |handle| {
                let at = chain.rules.iter().position(|rule| rule.handle == handle);
                at.ok_or(ENOENT)
            };
            match (a.be64(RULE_POSITION), request.has(libc::NLM_F_APPEND)) {
                (Some(handle), true) => place(handle)? + 1,
                (Some(handle), false) => place(handle)?,
                (None, true) => chain.rules.len(),
                (None, false) => 0,
            }
        };
        if !request.has(libc::NLM_F_CREATE) {
            return Err(EINVAL);
        }
        exists(sets.iter().all(|set| table.set(set).is_ok()))?;
        for target in &jumps {
            if table.chain(target)?.base.is_some() {
                return Err(EOPNOTSUPP);
            }
        }
        let jumping = !jumps.is_empty();
        let rule = Rule {
            handle,
            expressions: expressions.to_vec(),
            user_data: owned(a.find(attr::RULE_USERDATA)),
            sets,
            jumps,
        };
        if let Some(chain) = table.chains.iter_mut().find(|chain| chain.name == name) {
            chain.rules.insert(at, rule);
        }
        if jumping && table.depth_exceeded() {
            return Err(EMLINK);
        }
        Ok(())
    }

    fn delete_rules(&mut self, request: &Request) -> Answer {
        let table = self.table(request, attr::RULE_TABLE)?;
        if request.attributes.find(attr::RULE_CHAIN).is_none() {
            table
                .chains
                .iter_mut()
                .for_each(|chain| chain.rules.clear());
            return Ok(());
        }
        let name = request.name(attr::RULE_CHAIN)?;
        let chain = table
            .chains
            .iter_mut()
            .find(|chain| chain.name == name)
            .ok_or(ENOENT)?;
        match request.attributes.be64(attr::RULE_HANDLE) {
            None => chain.rules.clear(),
            Some(handle) => {
                let before = chain.rules.len();
                chain.rules.retain(|rule| rule.handle != handle);
                exists(before != chain.rules.len())?;
            }
        }
        Ok(())
    }

    fn new_set(&mut self, request: &Request) -> Answer {
        let a = request.attributes;
        let needed = [
            attr::SET_TABLE,
            attr::SET_NAME,
            attr::SET_KEY_LEN,
            attr::SET_ID,
        ];
        if needed.iter().any(|kind| a.find(*kind).is_none()) {
            return Err(EINVAL);
        }
        let table = self.table(request, attr::SET_TABLE)?;
        let description = a.nested(attr::SET_DESC);
        let width = |field: &[u8]| {
            let width = Attributes(field).be32(attr::SET_FIELD_LEN);
            width.and_then(|w| usize::try_from(w).ok()).unwrap_or(0)
        };
        let set = Set {
            name: request.name(attr::SET_NAME)?,
            flags: a.be32(attr::SET_FLAGS).unwrap_or_default(),
            key_type: a.be32(attr::SET_KEY_TYPE).unwrap_or_default(),
            key_len: a.be32(attr::SET_KEY_LEN).unwrap_or_default(),
            size: description.be32(attr::SET_DESC_SIZE),
            next_size: None,
            concat: owned(description.find(attr::SET_DESC_CONCAT)),
            user_data: owned(a.find(attr::SET_USERDATA)),
            fields: description
                .nested(attr::SET_DESC_CONCAT)
                .map(|(_, field)| width(field).next_multiple_of(4))
                .collect(),
            elements: BTreeMap::new(),
        };
        if let Some(there) = table.sets.iter_mut().find(|there| there.name == set.name) {
            let same = (there.flags, there.key_type, there.key_len, &there.fields)
                == (set.flags, set.key_type, set.key_len, &set.fields);
            if request.has(libc::NLM_F_EXCL) || !same {
                return Err(EEXIST);
            }
            there.next_size = set.size.or(there.next_size);
            return Ok(());
        }
        if !request.has(libc::NLM_F_CREATE) {
            return Err(ENOENT);
        }
        table.sets.push(set);
        Ok(())
    }

    fn elements(&mut self, request: &Request) -> Answer {
        let new = request.kind == libc::NFT_MSG_NEWSETELEM;
        let table = self.table(request, attr::ELEM_LIST_TABLE)?;
        let name = request.name(attr::ELEM_LIST_SET)?;
        let set = table
            .sets
            .iter_mut()
            .find(|set| set.name == name)
            .ok_or(ENOENT)?;
        let Some(list) = request.attributes.find(attr::ELEM_LIST_ELEMENTS) else {
            if new {
                return Err(EINVAL);
            }
            set.elements.clear();
            return Ok(());
        };
        for (key, end) in set.parse(Attributes(list))? {
            if new {
                set.add(key, end, request.has(libc::NLM_F_EXCL))?;
            } else {
                exists(set.elements.get(&key) == Some(&end))?;
                set.elements.remove(&key);
            }
        }
        Ok(())
    }
}

impl Table {
    fn chain(&self, name: &str) -> Result<&Chain, i32> {
        self.chains
            .iter()
            .find(|chain| chain.name == name)
            .ok_or(ENOENT)
    }

    fn set(&self, name: &str) -> Result<&Set, i32> {
        self.sets.iter().find(|set| set.name == name).ok_or(ENOENT)
    }

    /// A chain goes with its rules, unless rules of others jump to it.
    fn delete_chain(&mut self, name: &str) -> Answer {
        self.chain(name)?;
        let mut others = self.chains.iter().filter(|chain| chain.name != name);
        if others.any(|chain| {
            let mut targets = chain.rules.iter().flat_map(|rule| &rule.jumps);
            targets.any(|target| target == name)
        }) {
            return Err(EBUSY);
        }
        self.chains.retain(|chain| chain.name != name);
        Ok(())
    }

    fn delete_set(&mut self, name: &str) -> Answer {
        self.set(name)?;
        let mut rules = self.chains.iter().flat_map(|chain| &chain.rules);
        if rules.any(|rule| rule.sets.iter().any(|set| set == name)) {
            return Err(EBUSY);
        }
        self.sets.retain(|set| set.name != name);
        Ok(())
    }

    /// Whether a packet could be sent through more chains than the kernel
    /// remembers, in a circle for one.
    fn depth_exceeded(&self) -> bool {
        let mut bases = self.chains.iter().filter(|chain| chain.base.is_some());
        bases.any(|base| self.too_deep(base, 0))
    }

    fn too_deep(&self, chain: &Chain, depth: usize) -> bool {
        depth >= JUMPS_MAX
            || chain.rules.iter().flat_map(|rule| &rule.jumps).any(|name| {
                self.chain(name)
                    .is_ok_and(|target| self.too_deep(target, depth + 1))
            })
    }
}

impl Set {
    /// Whether its ranges have several fields.
    pub fn is_concatenation(&self) -> bool {
        self.flags & SET_CONCAT != 0
    }

    /// The elements of a message. In a set of plain ranges an end follows its
    /// start.
    fn parse(&self, list: Attributes) -> Result<Vec<Element>, i32> {
        let mut elements: Vec<Element> = Vec::new();
        let ranges = self.flags & SET_INTERVAL != 0;
        for (_, element) in list {
            let element = Attributes(element);
            let value = |kind| owned(element.nested(kind).find(attr::DATA_VALUE));
            let key = value(attr::ELEM_KEY).ok_or(EINVAL)?;
            if u32::try_from(key.len()).ok() != Some(self.key_len) {
                return Err(EINVAL);
            }
            let flags = element.be32(attr::ELEM_FLAGS).unwrap_or_default();
            if flags & ELEM_INTERVAL_END != 0 {
                match elements.last_mut() {
                    Some((_, end @ None)) if ranges => *end = Some(key),
                    _ => return Err(EINVAL),
                }
            } else if self.is_concatenation() {
                elements.push((key.clone(), Some(value(attr::ELEM_KEY_END).unwrap_or(key))));
            } else {
                elements.push((key, None));
            }
        }
        Ok(elements)
    }

    fn add(&mut self, key: Vec<u8>, end: Option<Vec<u8>>, exclusive: bool) -> Answer {
        if self.elements.get(&key) == Some(&end) {
            return if exclusive { Err(EEXIST) } else { Ok(()) };
        }
        if self.overlaps(&key, end.as_deref()) {
            return Err(EEXIST);
        }
        // One too many is in the set until the batch, which has failed, ends.
        let full = self
            .size
            .and_then(|size| usize::try_from(size).ok())
            .is_some_and(|size| self.elements.len() >= size);
        self.elements.insert(key, end);
        if full { Err(ENFILE) } else { Ok(()) }
    }

    fn overlaps(&self, key: &[u8], end: Option<&[u8]>) -> bool {
        if self.flags & SET_INTERVAL == 0 {
            return false;
        }
        if self.is_concatenation() {
            return self.elements.iter().any(|(other, other_end)| {
                let last = end.unwrap_or(key);
                let other_last = other_end.as_deref().unwrap_or(other);
                let mut at = 0;
                self.fields.iter().all(|width| {
                    let field = at..at + width;
                    at += width;
                    key.get(field.clone()) <= other_last.get(field.clone())
                        && other.get(field.clone()) <= last.get(field)
                })
            });
        }
        let before = self
            .elements
            .range::<[u8], _>((Unbounded, Included(key)))
            .next_back();
        let reaches = |other: &Option<Vec<u8>>| other.as_deref().is_none_or(|end| end > key);
        let behind = self
            .elements
            .range::<[u8], _>((Excluded(key), Unbounded))
            .next();
        before.is_some_and(|(_, other)| reaches(other))
            || behind.is_some_and(|(start, _)| end.is_none_or(|end| start.as_slice() < end))
    }
}

fn exists(there: bool) -> Answer {
    there.then_some(()).ok_or(ENOENT)
}

fn owned(bytes: Option<&[u8]>) -> Option<Vec<u8>> {
    bytes.map(<[u8]>::to_vec)
}
