//! Set elements, written straight into attributes: libnftnl's objects would
//! cost ten times the memory of the keys.

use super::attr::Writer;
use super::batch::{FAMILY_HEADER, attr};
use super::ffi::MESSAGE_MAX;
use crate::graph::{Set, TABLE_NAME};

/// More than the longest element takes, both its ends included.
const ELEMENT_MAX: usize = 256;
/// What the elements of one message take, its heads aside.
const ROOM: usize = MESSAGE_MAX - FAMILY_HEADER - 2 * ELEMENT_MAX;

/// `NFT_SET_ELEM_INTERVAL_END`
pub(super) const ELEM_INTERVAL_END: u32 = 1;

/// Writes the messages that add elements to a set or delete them.
pub(super) struct ElementWriter<'s> {
    set: &'s Set,
    /// The attributes that every message begins with.
    head: usize,
    message: Writer,
}

impl<'s> ElementWriter<'s> {
    pub fn new(set: &'s Set) -> Self {
        let mut message = Writer(Vec::with_capacity(MESSAGE_MAX));
        write_head(set, &mut message);
        Self {
            set,
            head: message.0.len(),
            message,
        }
    }

    /// Writes a message with as many elements as it holds, and answers how many
    /// these are.
    pub fn fill<'e>(
        &mut self,
        elements: &mut std::iter::Peekable<impl Iterator<Item = &'e [u8]>>,
    ) -> usize {
        let mut count = 0;
        let set = self.set;
        self.message.0.truncate(self.head);
        self.message.nest(attr::ELEM_LIST_ELEMENTS, |list| {
            let exact = set.is_concatenation() && !set.interval;
            let head = exact.then(|| head_of_key(set.key_width()));
            while let Some(element) = elements.next_if(|_| list.0.len() < ROOM) {
                match &head {
                    Some(head) => write_key(head, element, list),
                    None => write_element(set, element, list),
                }
                count += 1;
            }
        });
        count
    }

    /// The message that was written last.
    pub fn attributes(&self) -> &[u8] {
        &self.message.0
    }
}

fn write_head(set: &Set, w: &mut Writer) {
    w.text(attr::ELEM_LIST_TABLE, TABLE_NAME)
        .text(attr::ELEM_LIST_SET, &set.name);
}

/// The three heads before a key that fills whole registers, as they are the
/// same for every element.
fn head_of_key(width: usize) -> [u8; 12] {
    let mut w = Writer::default();
    w.nest(attr::LIST_ELEM, |w| {
        w.nest(attr::ELEM_KEY, |w| {
            w.bytes(attr::DATA_VALUE, &vec![0; width]);
        });
    });
    w.0.first_chunk().copied().unwrap_or_default()
}

/// Writes an element of such a key. There can be a million, most of them an
/// IPv4 address and a port.
fn write_key(head: &[u8; 12], key: &[u8], list: &mut Writer) {
    list.0.extend_from_slice(head);
    match <&[u8; 8]>::try_from(key) {
        Ok(key) => list.0.extend_from_slice(key),
        Err(_) => list.0.extend_from_slice(key),
    }
}

fn write_element(set: &Set, element: &[u8], list: &mut Writer) {
    let (first, last) = element
        .split_at_checked(set.key_width())
        .unwrap_or((element, &[]));
    // A register holds a value that is shorter than 4 bytes without padding
    // when it is the whole key.
    let exact = |key| match set.key.as_slice() {
        [one] => <[u8]>::get(key, ..one.width()).unwrap_or_default(),
        _ => key,
    };
    let key = |w: &mut Writer, kind: u16, key: &[u8]| {
        w.nest(kind, |w| {
            w.bytes(attr::DATA_VALUE, key);
        });
    };
    list.nest(attr::LIST_ELEM, |w| {
        key(w, attr::ELEM_KEY, exact(first));
        if set.interval && set.is_concatenation() {
            key(w, attr::ELEM_KEY_END, last);
        }
    });
    if set.interval && !set.is_concatenation() {
        // The kernel takes the end of a range as the first value behind it; a
        // range up to the highest value has none.
        let mut room = [0; WIDEST];
        if let Some(end) = successor(exact(last), &mut room) {
            list.nest(attr::LIST_ELEM, |w| {
                key(w, attr::ELEM_KEY, end);
                w.be32(attr::ELEM_FLAGS, ELEM_INTERVAL_END);
            });
        }
    }
}

/// The widest single value that a range can be of: an IPv6 address, or the
/// name of an interface.
const WIDEST: usize = 16;

/// The number behind this one, both in network byte order.
fn successor<'r>(number: &[u8], room: &'r mut [u8; WIDEST]) -> Option<&'r [u8]> {
    let next = room.get_mut(..number.len())?;
    next.copy_from_slice(number);
    for byte in next.iter_mut().rev() {
        let (sum, carry) = byte.overflowing_add(1);
        *byte = sum;
        if !carry {
            return room.get(..number.len());
        }
    }
    None
}

/// The first element of those that an operation adds or deletes whose bytes
/// lie at this offset of a message, as its number among the message's.
pub(super) fn element_at(set: &Set, offset: usize) -> usize {
    let mut head = Writer::default();
    write_head(set, &mut head);
    let mut one = Writer::default();
    let stride = if set.interval {
        2 * set.key_width()
    } else {
        set.key_width()
    };
    write_element(set, &vec![0; stride], &mut one);
    offset.saturating_sub(FAMILY_HEADER + head.0.len() + 4) / one.0.len().max(1)
}
