//! Named sets, and their elements packed for a million of them.

use super::{DataType, OriginId, field_width};

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
/// last value, both included.
#[derive(Debug, Clone, Default)]
pub struct Elements {
    stride: usize,
    bytes: Vec<u8>,
    origins: Vec<OriginId>,
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}
impl Eq for Elements {}

impl Elements {
    /// Takes elements of `stride` bytes each with the origins of each, in any
    /// order; of duplicates the first stays.
    pub(crate) fn new(stride: usize, mut items: Vec<(&[u8], OriginId)>) -> Self {
        items.sort_by(|a, b| a.0.cmp(b.0));
        items.dedup_by(|later, first| later.0 == first.0);
        let mut bytes = Vec::with_capacity(items.len() * stride);
        let mut origins = Vec::with_capacity(items.len());
        for (item, origin) in items {
            debug_assert_eq!(item.len(), stride, "an element of another width");
            bytes.extend_from_slice(item);
            origins.push(origin);
        }
        Self {
            stride,
            bytes,
            origins,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// The elements in their order, each with its origin.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], OriginId)> {
        self.bytes
            .chunks_exact(self.stride.max(1))
            .zip(self.origins.iter().copied())
    }

    /// What `self` has and `other` lacks, as elements of their own.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut theirs = other.iter().map(|(key, _)| key).peekable();
        let kept = self
            .iter()
            .filter(|(key, _)| {
                while theirs.next_if(|their| their < key).is_some() {}
                theirs.peek() != Some(key)
            })
            .collect();
        Self::new(self.stride.max(other.stride), kept)
    }
}
