//! Named sets, and their elements packed for a million of them.

use std::sync::Arc;

use super::{DataType, OriginId, Verdict, field_width};

/// A named set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The types of the fields of its key; more than one is a concatenation.
    pub key: Vec<DataType>,
    /// Whether elements are ranges (`flags interval`).
    pub interval: bool,
    /// `NFTA_SET_FLAGS` that are not told by the other fields. Only a set that
    /// somebody else made has any.
    pub other_flags: u32,
    /// The most elements that it takes.
    pub size: Option<u32>,
    /// What it is for.
    pub comment: Option<String>,
    /// Its elements.
    pub elements: Elements,
}

impl Set {
    /// The width of a key in bytes.
    #[must_use]
    pub fn key_width(&self) -> usize {
        self.key.iter().map(|t| field_width(t.width())).sum()
    }

    /// Whether a key has more than one field.
    #[must_use]
    pub fn is_concatenation(&self) -> bool {
        self.key.len() > 1
    }

    /// Whether its elements carry data (`NFT_SET_MAP`).
    #[must_use]
    pub fn is_map(&self) -> bool {
        self.other_flags & 8 != 0
    }

    /// Whether rules change its elements (`NFT_SET_EVAL`), so that what it
    /// holds now says nothing of what it holds later.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.other_flags & 32 != 0
    }

    /// What it holds for a key of [`Set::key_width`] bytes; for a set that is
    /// no map [`Data::Nothing`]. `None` where no element has it.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&Data> {
        let elements = &self.elements;
        match self.place(key) {
            Some(n) => Some(elements.data(n)),
            None => elements.catch_all(),
        }
    }

    /// The line of the policy that put a key into it.
    #[must_use]
    pub fn origin_of(&self, key: &[u8]) -> Option<OriginId> {
        self.elements.packed.origins.get(self.place(key)?).copied()
    }

    /// The number of the element that has a key.
    fn place(&self, key: &[u8]) -> Option<usize> {
        let elements = &self.elements;
        let width = self.key_width();
        if !self.interval {
            elements.binary_search(key)
        } else if !self.is_concatenation() {
            // The ranges do not overlap: the last that begins before the key.
            let behind = elements.partition_point(|element| element.get(..width) <= Some(key));
            behind
                .checked_sub(1)
                .filter(|n| elements.get(*n).and_then(|e| e.get(width..)) >= Some(key))
        } else {
            let before = elements.partition_point(|element| element <= key);
            let candidates = elements.iter().take(before).enumerate();
            candidates
                .filter_map(|(n, (element, _))| Some((n, element.split_at_checked(width)?)))
                .find(|(_, (first, last))| {
                    let ends = self.fields(first).zip(self.fields(last));
                    self.fields(key)
                        .zip(ends)
                        .all(|((_, k), ((_, low), (_, high)))| low <= k && k <= high)
                })
                .map(|(n, _)| n)
        }
    }

    /// Whether two sets are declared alike, sizes aside: the kernel can turn
    /// one into the other by elements alone.
    #[must_use]
    pub fn same_declaration(&self, other: &Self) -> bool {
        self.name == other.name
            && self.key == other.key
            && self.interval == other.interval
            && self.other_flags == other.other_flags
            && self.comment == other.comment
    }

    /// Splits a key into its fields without their padding.
    pub(crate) fn fields<'a>(
        &'a self,
        key: &'a [u8],
    ) -> impl Iterator<Item = (DataType, &'a [u8])> {
        let mut offset = 0;
        self.key.iter().map(move |t| {
            let field = key.get(offset..offset + t.width()).unwrap_or_default();
            offset += field_width(t.width());
            (*t, field)
        })
    }
}

/// The elements of a set: keys of one width in one buffer, ordered, without
/// duplicates. An element of an interval set is two keys, its first and its
/// last value, both included. Copies share the buffer.
#[derive(Debug, Clone, Default)]
pub struct Elements {
    stride: usize,
    packed: Arc<Packed>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Packed {
    bytes: Vec<u8>,
    origins: Vec<OriginId>,
    /// Of a map the data of each element; else empty.
    data: Vec<Data>,
    /// What keys without an element get, where they do.
    catch_all: Option<Data>,
}

/// What an element of a map stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The set is no map.
    Nothing,
    /// Bytes, as they go into a register.
    Value(Vec<u8>),
    /// A verdict.
    Verdict(Verdict),
}

/// An element of a width that many have.
pub(crate) trait Key: Copy + PartialEq + AsRef<[u8]> {
    /// Numbers in the order of the bytes.
    type Order: Ord;

    /// The bytes as numbers.
    fn order(&self) -> Self::Order;
}

/// An IPv4 address and a port, or two IPv4 addresses.
impl Key for [u8; 8] {
    type Order = u64;

    fn order(&self) -> u64 {
        u64::from_be_bytes(*self)
    }
}

/// An IPv6 address and a port.
impl Key for [u8; 20] {
    type Order = (u32, u128);

    fn order(&self) -> (u32, u128) {
        let [a, b, c, d, rest @ ..] = *self;
        (u32::from_be_bytes([a, b, c, d]), u128::from_be_bytes(rest))
    }
}

/// Two IPv6 addresses.
impl Key for [u8; 32] {
    type Order = Option<[u128; 2]>;

    fn order(&self) -> Option<[u128; 2]> {
        let (halves, _) = self.as_chunks::<16>();
        halves
            .first_chunk::<2>()
            .map(|halves| halves.map(u128::from_be_bytes))
    }
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.packed, &other.packed) || self.packed == other.packed
    }
}
impl Eq for Elements {}

impl Elements {
    /// Takes elements of `stride` bytes each with the origins of each, in any
    /// order; of duplicates the first stays.
    pub(crate) fn new(stride: usize, mut items: Vec<(&[u8], OriginId)>) -> Self {
        items.sort_by(|a, b| a.0.cmp(b.0));
        items.dedup_by(|later, first| later.0 == first.0);
        Self::ordered(stride, items.len(), items)
    }

    /// The same for elements of a width that is known when this is compiled,
    /// which is faster. Of duplicates that of the first origin stays.
    pub(crate) fn of_keys<K: Key>(mut items: Vec<(K, OriginId)>) -> Self {
        items.sort_unstable_by_key(|(key, origin)| (key.order(), origin.number()));
        items.dedup_by(|later, first| later.0 == first.0);
        let count = items.len();
        Self::ordered(size_of::<K>(), count, items)
    }

    /// The same for elements that lie one behind the other and came from no
    /// policy.
    pub(crate) fn of_bytes(stride: usize, bytes: &[u8]) -> Self {
        fn keys<const N: usize>(bytes: &[u8]) -> Elements
        where
            [u8; N]: Key,
        {
            let keys = bytes.as_chunks::<N>().0.iter();
            Elements::of_keys(keys.map(|key| (*key, OriginId::default())).collect())
        }
        match stride {
            // IPv4 and IPv6: pairs, and ranges of addresses.
            8 => keys::<8>(bytes),
            20 => keys::<20>(bytes),
            32 => keys::<32>(bytes),
            _ => {
                let keys = bytes.chunks_exact(stride.max(1));
                Self::new(stride, keys.map(|key| (key, OriginId::default())).collect())
            }
        }
    }

    fn ordered(
        stride: usize,
        count: usize,
        items: impl IntoIterator<Item = (impl AsRef<[u8]>, OriginId)>,
    ) -> Self {
        let mut packed = Packed {
            bytes: Vec::with_capacity(count * stride),
            origins: Vec::with_capacity(count),
            ..Packed::default()
        };
        for (item, origin) in items {
            debug_assert_eq!(item.as_ref().len(), stride, "an element of another width");
            packed.bytes.extend_from_slice(item.as_ref());
            packed.origins.push(origin);
        }
        Self {
            stride,
            packed: Arc::new(packed),
        }
    }

    /// Takes elements of another program's set, each with what it stands for.
    pub(crate) fn foreign(
        stride: usize,
        mut items: Vec<(Vec<u8>, Data)>,
        catch_all: Option<Data>,
    ) -> Self {
        items.sort_by(|a, b| a.0.cmp(&b.0));
        items.dedup_by(|later, first| later.0 == first.0);
        let keys = items
            .iter()
            .map(|(key, _)| (key.as_slice(), OriginId::default()));
        let mut elements = Self::new(stride, keys.collect());
        let packed = Arc::make_mut(&mut elements.packed);
        if items.iter().any(|(_, data)| *data != Data::Nothing) {
            packed.data = items.into_iter().map(|(_, data)| data).collect();
        }
        packed.catch_all = catch_all;
        elements
    }

    /// What the element of this number stands for.
    #[must_use]
    pub fn data(&self, n: usize) -> &Data {
        self.packed.data.get(n).unwrap_or(&Data::Nothing)
    }

    /// What keys without an element stand for, where the set has an element
    /// for all of those.
    #[must_use]
    pub fn catch_all(&self) -> Option<&Data> {
        self.packed.catch_all.as_ref()
    }

    /// The verdicts that a map holds.
    pub fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.packed
            .data
            .iter()
            .chain(&self.packed.catch_all)
            .filter_map(|data| match data {
                Data::Verdict(verdict) => Some(verdict),
                _ => None,
            })
    }

    /// The element of this number, in their order.
    #[must_use]
    pub fn get(&self, n: usize) -> Option<&[u8]> {
        let range = n * self.stride..(n + 1) * self.stride;
        self.packed.bytes.get(range)
    }

    /// The number of the first element that is not below a key.
    #[must_use]
    pub fn position_of(&self, key: &[u8]) -> usize {
        self.partition_point(|element| element < key)
    }

    /// How many elements come before the first for which this answers false.
    fn partition_point(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(&is_before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The number of the element that is this key.
    fn binary_search(&self, key: &[u8]) -> Option<usize> {
        let n = self.position_of(key);
        (self.get(n) == Some(key)).then_some(n)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packed.origins.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.origins.is_empty()
    }

    /// The elements in their order, each with its origin.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], OriginId)> {
        self.packed
            .bytes
            .chunks_exact(self.stride.max(1))
            .zip(self.packed.origins.iter().copied())
    }

    /// What `self` has and `other` lacks, as elements of their own.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut theirs = other.iter().map(|(key, _)| key).peekable();
        let kept = self.iter().filter(|(key, _)| {
            while theirs.next_if(|their| their < key).is_some() {}
            theirs.peek() != Some(key)
        });
        Self::ordered(self.stride.max(other.stride), 0, kept)
    }

    /// Those for which `keep` answers true.
    pub(crate) fn filtered(&self, keep: impl Fn(&[u8]) -> bool) -> Self {
        Self::ordered(self.stride, 0, self.iter().filter(|(key, _)| keep(key)))
    }
}
