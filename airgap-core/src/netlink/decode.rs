//! The kernel's dump as a graph. What the kernel says is input like any other:
//! whatever does not hold together becomes [`Statement::Unknown`] or is left
//! out, and then differs from what was meant.

use std::net::IpAddr;

use nftnl::nftnl_sys::libc;

use super::attr::Attributes;
use super::batch::{ELEM_INTERVAL_END, SET_CONCAT, SET_INTERVAL, attr, udata};
use super::encode::SOCKET_CGROUPV2;
use super::registers::slot_of;
use crate::graph::{
    BaseChain, Cgroup, Chain, ChainPolicy, ChainType, Cmp, CtDirection, CtKey, DataType, Elements,
    Exthdr, ExthdrNumbers, Family, FibFlags, FibResult, Handle, Hook, MetaKey, NatTarget, OriginId,
    PayloadBase, Rule, Selector, Set, Statement, Table, Verdict, field_width,
};

/// A table from `NFT_MSG_NEWTABLE`, without its contents.
pub(super) fn table(family: Family, a: Attributes) -> Option<Table> {
    Some(Table {
        family,
        name: a.text(attr::TABLE_NAME)?,
        comment: a
            .find(attr::TABLE_USERDATA)
            .and_then(|data| comment(data, udata::TABLE_COMMENT)),
        flags: a.be32(attr::TABLE_FLAGS).unwrap_or_default(),
        sets: Vec::new(),
        chains: Vec::new(),
    })
}

/// The text of this type in user data as nft(8) writes it.
fn comment(mut data: &[u8], kind: u8) -> Option<String> {
    while let Some((&[k, len], rest)) = data.split_first_chunk::<2>() {
        let (value, behind) = rest.split_at_checked(usize::from(len))?;
        if k == kind {
            let value = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        data = behind;
    }
    None
}

/// A chain from `NFT_MSG_NEWCHAIN`, without its rules.
pub(super) fn chain(family: Family, a: Attributes) -> Option<Chain> {
    let mut chain = Chain {
        name: a.text(attr::CHAIN_NAME)?,
        base: None,
        rules: Vec::new(),
    };
    if let Some(hook) = a.find(attr::CHAIN_HOOK).map(Attributes) {
        #[allow(clippy::cast_possible_wrap)] // a signed number on the wire
        let priority = hook.be32(attr::HOOK_PRIORITY)? as i32;
        chain.base = Some(BaseChain {
            kind: match a.text(attr::CHAIN_TYPE)?.as_str() {
                "nat" => ChainType::Nat,
                "route" => ChainType::Route,
                _ => ChainType::Filter,
            },
            hook: Hook::from_number(hook.be32(attr::HOOK_HOOKNUM)?, family)?,
            priority,
            policy: match a.be32(attr::CHAIN_POLICY) {
                Some(0) => ChainPolicy::Drop,
                _ => ChainPolicy::Accept,
            },
            device: hook.text(attr::HOOK_DEV).or_else(|| {
                let devices = hook.nested(attr::HOOK_DEVS);
                devices.into_iter().next().map(|(_, name)| text(name))
            }),
        });
    }
    Some(chain)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

/// A set from `NFT_MSG_NEWSET`, without its elements.
pub(super) fn set(a: Attributes) -> Option<Set> {
    let flags = a.be32(attr::SET_FLAGS).unwrap_or_default();
    let mut types = a.be32(attr::SET_KEY_TYPE)?;
    let mut key = Vec::new();
    // A type of another program's set that has no word here makes the key
    // shorter than it is, so that the set equals none of ours.
    while types != 0 {
        key.extend(DataType::from_number(types & 0x3f));
        types >>= 6;
    }
    key.reverse();
    Some(Set {
        name: a.text(attr::SET_NAME)?,
        key,
        interval: flags & SET_INTERVAL != 0,
        other_flags: flags & !(SET_INTERVAL | SET_CONCAT),
        size: a.nested(attr::SET_DESC).be32(attr::SET_DESC_SIZE),
        comment: a
            .find(attr::SET_USERDATA)
            .and_then(|data| comment(data, udata::SET_COMMENT)),
        elements: Elements::default(),
    })
}

/// Collects the elements of a set from any number of `NFT_MSG_NEWSETELEM`.
#[derive(Default)]
pub(super) struct ElementCollector {
    /// Keys, or of ranges both ends as the kernel gives them.
    keys: Vec<u8>,
    /// Of a set of plain ranges: the value, and whether it ends a range.
    bounds: Vec<(Vec<u8>, bool)>,
}

impl ElementCollector {
    pub fn message(&mut self, set: &Set, a: Attributes) {
        let width = set.key_width();
        for (_, element) in a.nested(attr::ELEM_LIST_ELEMENTS) {
            let element = Attributes(element);
            let padded = |kind: u16| {
                let mut key = element
                    .nested(kind)
                    .find(attr::DATA_VALUE)
                    .unwrap_or_default()
                    .to_vec();
                key.resize(width, 0);
                key
            };
            let key = padded(attr::ELEM_KEY);
            if set.interval && !set.is_concatenation() {
                let flags = element.be32(attr::ELEM_FLAGS).unwrap_or_default();
                self.bounds.push((key, flags & ELEM_INTERVAL_END != 0));
            } else {
                self.keys.extend_from_slice(&key);
                if set.interval {
                    let has_end = element.find(attr::ELEM_KEY_END).is_some();
                    self.keys.extend_from_slice(&if has_end {
                        padded(attr::ELEM_KEY_END)
                    } else {
                        key
                    });
                }
            }
        }
    }

    pub fn finish(mut self, set: &Set) -> Elements {
        let width = set.key_width();
        let len = set.key.first().map_or(0, |t| t.width());
        let stride = if set.interval { 2 * width } else { width };
        self.bounds.sort();
        let mut bounds = self.bounds.iter().peekable();
        while let Some((first, ends)) = bounds.next() {
            if *ends {
                continue;
            }
            let mut last = vec![0xff; len];
            last.resize(width, 0);
            if let Some((next, _)) = bounds.peek() {
                last.clone_from(next);
                decrement(last.get_mut(..len).unwrap_or_default());
            }
            self.keys.extend_from_slice(first);
            self.keys.extend_from_slice(&last);
        }
        let items = self
            .keys
            .chunks_exact(stride.max(1))
            .map(|key| (key, OriginId::default()))
            .collect();
        Elements::new(stride, items)
    }
}

/// The number before this one, in network byte order.
fn decrement(number: &mut [u8]) {
    for byte in number.iter_mut().rev() {
        let (difference, borrow) = byte.overflowing_sub(1);
        *byte = difference;
        if !borrow {
            return;
        }
    }
}

/// A rule from `NFT_MSG_NEWRULE`, and the name of its chain. `sets` are those
/// of its table.
pub(super) fn rule(a: Attributes, sets: &[Set]) -> Option<(String, Rule)> {
    let mut raiser = Raiser {
        sets,
        registers: Default::default(),
        statements: Vec::new(),
    };
    for (_, expression) in a.nested(attr::RULE_EXPRESSIONS) {
        let expression = Attributes(expression);
        // NFTA_EXPR_NAME, NFTA_EXPR_DATA
        let name = expression.text(1)?;
        let data = expression.find(2).unwrap_or_default();
        if raiser.expression(&name, Attributes(data)).is_none() {
            // Nothing that it may have left in a register can be relied on.
            raiser.registers = Default::default();
            raiser.statements.push(Statement::Unknown {
                name,
                data: data.to_vec(),
            });
        }
    }
    let rule = Rule {
        statements: raiser.statements,
        comment: a
            .find(attr::RULE_USERDATA)
            .and_then(|data| comment(data, udata::RULE_COMMENT)),
        origin: OriginId::default(),
        handle: Handle(a.be64(attr::RULE_HANDLE).unwrap_or_default()),
    };
    Some((a.text(attr::RULE_CHAIN)?, rule))
}

/// What a register holds while a rule is read.
#[derive(Clone)]
enum Held {
    Selected(Selector, Option<Vec<u8>>),
    /// The number of the control group at this level.
    SocketCgroup(u32),
    Value(Vec<u8>),
}

/// Turns expressions over registers back into statements.
struct Raiser<'a> {
    sets: &'a [Set],
    registers: [Option<Held>; 16],
    statements: Vec<Statement>,
}

impl Raiser<'_> {
    /// Takes an expression; `None` if it is not understood in full.
    fn expression(&mut self, name: &str, a: Attributes) -> Option<()> {
        match name {
            "meta" => {
                // DREG 1, KEY 2; a set of a field has SREG 3
                let selector = Selector::Meta(MetaKey::from_number(a.be32(2)?)?);
                self.load(a.be32(1)?, selector)
            }
            "ct" => self.ct(a),
            "payload" => {
                // DREG 1, BASE 2, OFFSET 3, LEN 4
                let base = match a.be32(2)? {
                    0 => PayloadBase::LinkLayer,
                    1 => PayloadBase::Network,
                    2 => PayloadBase::Transport,
                    _ => return None,
                };
                self.load(
                    a.be32(1)?,
                    Selector::Payload {
                        base,
                        offset: a.be32(3)?,
                        len: a.be32(4)?,
                    },
                )
            }
            "fib" => {
                // DREG 1, RESULT 2, FLAGS 3
                let result = match a.be32(2)? {
                    1 => FibResult::Oif,
                    3 => FibResult::AddrType,
                    _ => return None,
                };
                self.load(a.be32(1)?, Selector::Fib(FibFlags(a.be32(3)?), result))
            }
            "exthdr" => {
                // DREG 1, TYPE 2, OFFSET 3, LEN 4, FLAGS 5, OP 6
                let numbers = ExthdrNumbers {
                    op: a.be32(6).unwrap_or_default(),
                    kind: a.byte(2)?,
                    offset: a.be32(3)?,
                    len: a.be32(4)?,
                    flags: a.be32(5).unwrap_or_default(),
                };
                let header = Exthdr::from_numbers(numbers)?;
                self.load(a.be32(1)?, Selector::Exthdr(header))
            }
            "bitwise" => self.bitwise(a),
            "socket" => {
                // KEY 1, DREG 2, LEVEL 3
                if a.be32(1)? != SOCKET_CGROUPV2 {
                    return None;
                }
                *self.registers.get_mut(slot_of(a.be32(2)?)?)? =
                    Some(Held::SocketCgroup(a.be32(3)?));
                Some(())
            }
            "cmp" => {
                // SREG 1, OP 2, DATA 3
                if let Some(Held::SocketCgroup(level)) = self.registers.get(slot_of(a.be32(1)?)?)? {
                    let level = *level;
                    let id = a.nested(3).find(attr::DATA_VALUE)?.try_into().ok()?;
                    return match Cmp::from_number(a.be32(2)?)? {
                        Cmp::Eq => self.say(Statement::SocketCgroup(Cgroup {
                            level,
                            id: u64::from_ne_bytes(id),
                            path: String::new(),
                        })),
                        _ => None,
                    };
                }
                let (left, mask) = self.selected(a.be32(1)?)?;
                let op = Cmp::from_number(a.be32(2)?)?;
                let right = a.nested(3).find(attr::DATA_VALUE)?.to_vec();
                self.say(Statement::Match {
                    left,
                    mask,
                    op,
                    right,
                })
            }
            "range" => {
                // SREG 1, OP 2, FROM_DATA 3, TO_DATA 4
                let (left, None) = self.selected(a.be32(1)?)? else {
                    return None;
                };
                let value = |kind| Some(a.nested(kind).find(attr::DATA_VALUE)?.to_vec());
                self.say(Statement::Range {
                    left,
                    negated: a.be32(2)? == 1,
                    first: value(3)?,
                    last: value(4)?,
                })
            }
            "lookup" => self.lookup(a),
            "immediate" => self.immediate(a),
            "counter" => {
                // BYTES 1, PACKETS 2
                self.say(Statement::Counter {
                    packets: a.be64(2)?,
                    bytes: a.be64(1)?,
                })
            }
            "limit" => self.limit(a),
            "log" => self.log(a),
            "masq" if a.find(1).is_none() && a.find(2).is_none() => self.say(Statement::Masquerade),
            "nat" => self.nat(a),
            _ => None,
        }
    }

    #[allow(clippy::unnecessary_wraps)] // so that the calls above read alike
    fn say(&mut self, statement: Statement) -> Option<()> {
        self.statements.push(statement);
        Some(())
    }

    fn load(&mut self, register: u32, selector: Selector) -> Option<()> {
        *self.registers.get_mut(slot_of(register)?)? = Some(Held::Selected(selector, None));
        Some(())
    }

    fn selected(&self, register: u32) -> Option<(Selector, Option<Vec<u8>>)> {
        match self.registers.get(slot_of(register)?)? {
            Some(Held::Selected(selector, mask)) => Some((*selector, mask.clone())),
            _ => None,
        }
    }

    fn value(&self, register: u32) -> Option<&[u8]> {
        match self.registers.get(slot_of(register)?)? {
            Some(Held::Value(value)) => Some(value),
            _ => None,
        }
    }

    fn ct(&mut self, a: Attributes) -> Option<()> {
        // DREG 1, KEY 2, DIRECTION 3, SREG 4
        let key = CtKey::from_number(a.be32(2)?)?;
        if let Some(source) = a.be32(4) {
            let label = u128::from_ne_bytes(self.value(source)?.try_into().ok()?);
            return if key == CtKey::Labels {
                self.say(Statement::SetLabel(label))
            } else {
                None
            };
        }
        let direction = match a.byte(3) {
            None => None,
            Some(0) => Some(CtDirection::Original),
            Some(1) => Some(CtDirection::Reply),
            Some(_) => return None,
        };
        self.load(a.be32(1)?, Selector::Ct(key, direction))
    }

    fn bitwise(&mut self, a: Attributes) -> Option<()> {
        // SREG 1, DREG 2, LEN 3, MASK 4, XOR 5, OP 6
        let xor = a.nested(5).find(attr::DATA_VALUE)?;
        if a.be32(6).unwrap_or_default() != 0 || xor.iter().any(|byte| *byte != 0) {
            return None;
        }
        let (selector, None) = self.selected(a.be32(1)?)? else {
            return None;
        };
        let mask = a.nested(4).find(attr::DATA_VALUE)?.to_vec();
        *self.registers.get_mut(slot_of(a.be32(2)?)?)? = Some(Held::Selected(selector, Some(mask)));
        Some(())
    }

    fn lookup(&mut self, a: Attributes) -> Option<()> {
        // SET 1, SREG 2, DREG 3, SET_ID 4, FLAGS 5
        if a.find(3).is_some() {
            return None;
        }
        let name = a.text(1)?;
        let width = self.sets.iter().find(|set| set.name == name)?.key_width() / 4;
        let mut slot = slot_of(a.be32(2)?)?;
        let end = slot + width;
        let mut key = Vec::new();
        while slot < end {
            let Some(Held::Selected(selector, None)) = self.registers.get(slot)? else {
                return None;
            };
            key.push(*selector);
            slot += field_width(selector.width()) / 4;
        }
        self.say(Statement::Lookup {
            key,
            set: name,
            negated: a.be32(5).unwrap_or_default() & 1 != 0,
        })
    }

    fn immediate(&mut self, a: Attributes) -> Option<()> {
        // DREG 1, DATA 2
        let register = a.be32(1)?;
        let data = a.nested(2);
        if let Some(slot) = slot_of(register) {
            let value = data.find(attr::DATA_VALUE)?.to_vec();
            *self.registers.get_mut(slot)? = Some(Held::Value(value));
            return Some(());
        }
        // NFTA_DATA_VERDICT 2: CODE 1, CHAIN 2
        let verdict = data.nested(2);
        #[allow(clippy::cast_possible_wrap)] // verdicts are signed
        let code = verdict.be32(1)? as i32;
        self.say(Statement::Verdict(match code {
            libc::NF_ACCEPT => Verdict::Accept,
            libc::NF_DROP => Verdict::Drop,
            libc::NFT_RETURN => Verdict::Return,
            libc::NFT_JUMP => Verdict::Jump(verdict.text(2)?),
            libc::NFT_GOTO => Verdict::Goto(verdict.text(2)?),
            other => Verdict::Other(other),
        }))
    }

    fn limit(&mut self, a: Attributes) -> Option<()> {
        // RATE 1, UNIT 2, BURST 3, TYPE 4 (0 packets), FLAGS 5 (1 over the rate)
        if a.be32(4).unwrap_or_default() != 0 || a.be32(5).unwrap_or_default() != 0 {
            return None;
        }
        self.say(Statement::Limit {
            rate: a.be64(1)?,
            unit: a.be64(2)?,
            burst: a.be32(3).unwrap_or_default(),
        })
    }

    fn log(&mut self, a: Attributes) -> Option<()> {
        // GROUP 1, PREFIX 2, SNAPLEN 3, QTHRESHOLD 4, LEVEL 5 (4 a warning), FLAGS 6
        let group = match a.find(1) {
            None => None,
            Some(group) => Some(u16::from_be_bytes(group.try_into().ok()?)),
        };
        if a.be32(3).unwrap_or_default() != 0
            || a.find(4).is_some_and(|queue| queue != [0, 0])
            || a.be32(5).is_some_and(|level| level != 4)
            || a.be32(6).unwrap_or_default() != 0
        {
            return None;
        }
        self.say(Statement::Log {
            prefix: a.text(2).unwrap_or_default(),
            group,
        })
    }

    fn nat(&mut self, a: Attributes) -> Option<()> {
        // TYPE 1, FAMILY 2, ADDR_MIN 3, ADDR_MAX 4, PROTO_MIN 5, PROTO_MAX 6, FLAGS 7
        // The kernel answers with a maximum equal to the minimum, and with the
        // flags that it derives from both (1 addresses, 2 ports).
        #[allow(clippy::cast_sign_loss)]
        if a.be32(1)? != libc::NFT_NAT_DNAT as u32
            || a.be32(4).is_some_and(|max| Some(max) != a.be32(3))
            || a.be32(6).is_some_and(|max| Some(max) != a.be32(5))
            || a.be32(7).unwrap_or_default() & !3 != 0
        {
            return None;
        }
        let address = self.value(a.be32(3)?)?;
        let address = match address.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
            16 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
            _ => return None,
        };
        let port = u16::from_be_bytes(self.value(a.be32(5)?)?.try_into().ok()?);
        self.say(Statement::Dnat(NatTarget { address, port }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may fail that way

    use proptest::prelude::*;

    use super::*;
    use crate::netlink::attr::Writer;
    use crate::netlink::socket::messages;

    /// A rule as the kernel sends it: `meta l4proto tcp accept`.
    fn sample() -> Vec<u8> {
        let mut w = Writer::default();
        w.text(attr::RULE_TABLE, "airgap")
            .text(attr::RULE_CHAIN, "input")
            .be64(attr::RULE_HANDLE, 7)
            .nest(attr::RULE_EXPRESSIONS, |w| {
                w.nest(attr::LIST_ELEM, |w| {
                    w.text(1, "meta").nest(2, |w| {
                        w.be32(1, 1).be32(2, MetaKey::L4Proto as u32);
                    });
                });
                w.nest(attr::LIST_ELEM, |w| {
                    w.text(1, "cmp").nest(2, |w| {
                        w.be32(1, 1).be32(2, 0).nest(3, |w| {
                            w.bytes(attr::DATA_VALUE, &[6]);
                        });
                    });
                });
                w.nest(attr::LIST_ELEM, |w| {
                    w.text(1, "immediate").nest(2, |w| {
                        w.be32(1, 0).nest(2, |w| {
                            w.nest(2, |w| {
                                w.be32(1, 1);
                            });
                        });
                    });
                });
            });
        w.0
    }

    fn decode_all(bytes: &[u8]) {
        let a = Attributes(bytes);
        let _ = table(Family::Inet, a);
        let _ = chain(Family::Inet, a);
        let mut sets = Vec::new();
        if let Some(set) = set(a) {
            let mut collector = ElementCollector::default();
            collector.message(&set, a);
            let _ = collector.finish(&set);
            sets.push(set);
        }
        let _ = rule(a, &sets);
        for message in messages(bytes) {
            let _ = message.error();
        }
    }

    #[test]
    fn a_rule_is_read_as_it_was_written() {
        let bytes = sample();
        let (chain, rule) = rule(Attributes(&bytes), &[]).unwrap();
        assert_eq!(chain, "input");
        assert_eq!(rule.handle.0, 7);
        assert_eq!(crate::graph::rule_text(&rule), "meta l4proto tcp accept");
    }

    #[test]
    fn an_expression_without_a_word_is_kept_as_unknown() {
        let mut w = Writer::default();
        w.text(attr::RULE_CHAIN, "input")
            .nest(attr::RULE_EXPRESSIONS, |w| {
                w.nest(attr::LIST_ELEM, |w| {
                    w.text(1, "quantum").bytes(2, &[1, 2, 3, 4]);
                });
            });
        let (_, rule) = rule(Attributes(&w.0), &[]).unwrap();
        let expected = Statement::Unknown {
            name: "quantum".to_owned(),
            data: vec![1, 2, 3, 4],
        };
        assert_eq!(rule.statements, [expected]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            decode_all(&bytes);
        }

        #[test]
        fn no_damage_makes_the_decoder_panic(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = sample();
            for (place, value) in damage {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            decode_all(&bytes);
        }
    }
}
