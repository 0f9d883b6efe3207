//! The kernel's dump as a graph. What the kernel says is input like any other:
//! whatever does not hold together becomes [`Statement::Unknown`] or is left
//! out, and then differs from what was meant.

use super::attr::Attributes;
use super::batch::{SET_CONCAT, SET_INTERVAL, attr, udata};
use super::elements::ELEM_INTERVAL_END;
use super::owner::OWNERSHIP;
use super::raise;
use crate::graph::{
    BaseChain, Chain, ChainPolicy, ChainType, Data, DataType, Elements, Family, Handle, Hook,
    OriginId, Rule, Set, Table, field_width,
};

/// A table from `NFT_MSG_NEWTABLE`, without its contents.
pub(super) fn table(family: Family, a: Attributes) -> Option<Table> {
    Some(Table {
        family,
        name: a.text(attr::TABLE_NAME)?,
        comment: a
            .find(attr::TABLE_USERDATA)
            .and_then(|data| comment(data, udata::TABLE_COMMENT)),
        // Whose it is, is no part of what it does.
        flags: a.be32(attr::TABLE_FLAGS).unwrap_or_default() & !OWNERSHIP,
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
            devices: match hook.text(attr::HOOK_DEV) {
                Some(device) => vec![device],
                None => {
                    let devices = hook.nested(attr::HOOK_DEVS);
                    devices.map(|(_, name)| text(name)).collect()
                }
            },
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
    let mut numbers = Vec::new();
    while types != 0 {
        numbers.push(types & 0x3f);
        types >>= 6;
    }
    numbers.reverse();
    let key = key(&numbers, a.be32(attr::SET_KEY_LEN).unwrap_or_default());
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

/// The fields of a key of `len` bytes. A type that has no word here is as wide
/// as the others leave it; if there are several, each takes one register.
fn key(numbers: &[u32], len: u32) -> Vec<DataType> {
    let known: usize = numbers
        .iter()
        .filter_map(|number| DataType::from_number(*number))
        .map(|kind| field_width(kind.width()))
        .sum();
    let len = usize::try_from(len).unwrap_or_default();
    let unknown = numbers
        .iter()
        .filter(|number| DataType::from_number(**number).is_none())
        .count();
    let width = match unknown {
        1 => len.saturating_sub(known),
        _ => 4,
    };
    let other = |number: u32| {
        DataType::Other(
            u8::try_from(number).unwrap_or_default(),
            u8::try_from(width).unwrap_or(u8::MAX),
        )
    };
    numbers
        .iter()
        .map(|number| DataType::from_number(*number).unwrap_or_else(|| other(*number)))
        .collect()
}

/// Collects the elements of a set from any number of `NFT_MSG_NEWSETELEM`.
#[derive(Default)]
pub(super) struct ElementCollector {
    /// Keys, or of ranges both ends as the kernel gives them.
    keys: Vec<u8>,
    /// Of a map, or of a set of plain ranges: the value, what it stands for,
    /// and whether it ends a range.
    bounds: Vec<(Vec<u8>, bool, Data)>,
    catch_all: Option<Data>,
}

/// `NFT_SET_ELEM_CATCHALL`
const ELEM_CATCHALL: u32 = 2;

impl ElementCollector {
    pub fn message(&mut self, set: &Set, a: Attributes) {
        let width = set.key_width();
        for (_, element) in a.nested(attr::ELEM_LIST_ELEMENTS) {
            let element = Attributes(element);
            let value = |kind: u16| {
                let value = element.nested(kind).find(attr::DATA_VALUE);
                let value = value.unwrap_or_default();
                value.get(..width).unwrap_or(value)
            };
            let flags = element.be32(attr::ELEM_FLAGS).unwrap_or_default();
            let data = || match (set.is_map(), element.nested(attr::ELEM_DATA)) {
                (false, _) => Data::Nothing,
                (true, data) => match (data.find(attr::DATA_VALUE), raise::verdict(data)) {
                    (Some(value), _) => Data::Value(value.to_vec()),
                    (None, Some(verdict)) => Data::Verdict(verdict),
                    (None, None) => Data::Nothing,
                },
            };
            if flags & ELEM_CATCHALL != 0 {
                self.catch_all = Some(data());
                continue;
            }
            let key = value(attr::ELEM_KEY);
            let start = self.keys.len();
            self.key(width, key);
            if set.interval && set.is_concatenation() {
                let has_end = element.find(attr::ELEM_KEY_END).is_some();
                let last = if has_end {
                    value(attr::ELEM_KEY_END)
                } else {
                    key
                };
                self.key(width, last);
            }
            if set.is_map() || (set.interval && !set.is_concatenation()) {
                let key = self.keys.split_off(start);
                let ends = set.interval && flags & ELEM_INTERVAL_END != 0;
                self.bounds.push((key, ends, data()));
            }
        }
    }

    /// Adds a key, padded to the width of its register.
    fn key(&mut self, width: usize, key: &[u8]) {
        let end = self.keys.len() + width;
        self.keys.extend_from_slice(key);
        self.keys.resize(end, 0);
    }

    pub fn finish(mut self, set: &Set) -> Elements {
        let width = set.key_width();
        let stride = if set.interval { 2 * width } else { width };
        let plain_ranges = set.interval && !set.is_concatenation();
        if set.is_map() || self.catch_all.is_some() {
            let items = if plain_ranges {
                ranges(std::mem::take(&mut self.bounds), set)
            } else {
                let keys = self.keys.chunks_exact(stride.max(1));
                let bare = keys.map(|key| (key.to_vec(), Data::Nothing));
                let with_data = self.bounds.into_iter().map(|(key, _, data)| (key, data));
                bare.chain(with_data).collect()
            };
            return Elements::foreign(stride, items, self.catch_all);
        }
        if plain_ranges {
            for (range, _) in ranges(std::mem::take(&mut self.bounds), set) {
                self.keys.extend_from_slice(&range);
            }
        }
        Elements::of_bytes(stride, &self.keys)
    }
}

/// The ranges of a set of plain ranges, each from its first to its last value,
/// of the bounds in any order.
fn ranges(mut bounds: Vec<(Vec<u8>, bool, Data)>, set: &Set) -> Vec<(Vec<u8>, Data)> {
    let width = set.key_width();
    let len = set.key.first().map_or(0, |t| t.width());
    // What ends before a value comes before what begins there.
    bounds.sort_by(|a, b| (&a.0, !a.1).cmp(&(&b.0, !b.1)));
    let mut ranges = Vec::new();
    let mut bounds = bounds.into_iter().peekable();
    while let Some((first, ends, data)) = bounds.next() {
        if ends {
            continue;
        }
        let mut last = vec![0xff; len];
        last.resize(width, 0);
        if let Some((next, _, _)) = bounds.peek() {
            last.clone_from(next);
            decrement(last.get_mut(..len).unwrap_or_default());
        }
        ranges.push(([first, last].concat(), data));
    }
    ranges
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
pub(super) fn rule(family: Family, a: Attributes, sets: &[Set]) -> Option<(String, Rule)> {
    let statements = raise::statements(family, sets, a.nested(attr::RULE_EXPRESSIONS))?;
    let rule = Rule {
        statements,
        comment: a
            .find(attr::RULE_USERDATA)
            .and_then(|data| comment(data, udata::RULE_COMMENT)),
        origin: OriginId::default(),
        handle: Handle(a.be64(attr::RULE_HANDLE).unwrap_or_default()),
    };
    Some((a.text(attr::RULE_CHAIN)?, rule))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may fail that way

    use proptest::prelude::*;

    use super::*;
    use crate::graph::{MetaKey, Statement};
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
        let _ = rule(Family::Inet, a, &sets);
        for message in messages(bytes) {
            let _ = message.error();
        }
    }

    #[test]
    fn a_rule_is_read_as_it_was_written() {
        let bytes = sample();
        let (chain, rule) = rule(Family::Inet, Attributes(&bytes), &[]).unwrap();
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
        let (_, rule) = rule(Family::Inet, Attributes(&w.0), &[]).unwrap();
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
