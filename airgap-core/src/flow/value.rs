//! Values of which some bits may be unknown, and answers that may be unknown.

use crate::graph::Cmp;

/// An answer of three: a guess is never taken for a yes or a no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    Yes,
    /// It is not so.
    No,
    /// What is known leaves both.
    Maybe,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl From<Option<bool>> for Answer {
    fn from(known: Option<bool>) -> Self {
        known.map_or(Self::Maybe, Self::from)
    }
}

impl std::ops::Not for Answer {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }
}

impl Answer {
    /// Whether both are so.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    /// Whether one is so.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        !(!self).and(!other)
    }
}

/// Bytes in the order in which the kernel compares them, of which some bits may
/// be unknown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Value {
    bytes: Vec<u8>,
    /// The bits that are known; as long as `bytes`, where unknown bits are 0.
    known: Vec<u8>,
}

impl Value {
    /// Bytes of which every bit is known.
    #[must_use]
    pub fn known(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let known = vec![0xff; bytes.len()];
        Self { bytes, known }
    }

    /// So many bytes of which nothing is known.
    #[must_use]
    pub fn unknown(len: usize) -> Self {
        Self {
            bytes: vec![0; len],
            known: vec![0; len],
        }
    }

    /// Bytes of which the bits of `known` are known. Bytes beyond the end of
    /// `known` are not.
    #[must_use]
    pub fn partly(bytes: impl Into<Vec<u8>>, known: impl Into<Vec<u8>>) -> Self {
        let mut bytes = bytes.into();
        let mut known = known.into();
        known.resize(bytes.len(), 0);
        bytes.iter_mut().zip(&known).for_each(|(b, k)| *b &= k);
        Self { bytes, known }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes, where every bit is known.
    #[must_use]
    pub fn exact(&self) -> Option<&[u8]> {
        let all = self.known.iter().all(|k| *k == 0xff);
        all.then_some(self.bytes.as_slice())
    }

    /// Its first `len` bytes; what it lacks are zeros, as in a register.
    #[must_use]
    pub fn resized(mut self, len: usize) -> Self {
        self.bytes.resize(len, 0);
        self.known.resize(len, 0xff);
        self
    }

    /// A part of it, where it is long enough.
    #[must_use]
    pub fn part(&self, offset: usize, len: usize) -> Option<Self> {
        let range = offset..offset.checked_add(len)?;
        Some(Self {
            bytes: self.bytes.get(range.clone())?.to_vec(),
            known: self.known.get(range)?.to_vec(),
        })
    }

    /// Puts a value in the place of some of its bytes; what does not fit is
    /// left out.
    pub fn put(&mut self, offset: usize, value: &Self) {
        let bytes = self.bytes.iter_mut().zip(&mut self.known).skip(offset);
        for ((byte, known), (b, k)) in bytes.zip(value.bytes.iter().zip(&value.known)) {
            (*byte, *known) = (*b, *k);
        }
    }

    /// Another behind it.
    pub fn push(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
        self.known.extend_from_slice(&other.known);
    }

    /// The bytes from the last to the first.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.bytes.reverse();
        self.known.reverse();
        self
    }

    /// Its bits that `mask` has too; those beyond the mask's end are 0.
    #[must_use]
    pub fn and(mut self, mask: &[u8]) -> Self {
        let masks = mask.iter().copied().chain(std::iter::repeat(0));
        for ((byte, known), mask) in self.bytes.iter_mut().zip(&mut self.known).zip(masks) {
            *byte &= mask;
            *known |= !mask;
        }
        self
    }

    /// With the bits of `bits` turned over.
    #[must_use]
    pub fn xor(mut self, bits: &[u8]) -> Self {
        for ((byte, known), bit) in self.bytes.iter_mut().zip(&self.known).zip(bits) {
            *byte ^= bit & known;
        }
        self
    }

    /// With the bits of `bits` set.
    #[must_use]
    pub fn or(mut self, bits: &[u8]) -> Self {
        for ((byte, known), bit) in self.bytes.iter_mut().zip(&mut self.known).zip(bits) {
            *byte |= bit;
            *known |= bit;
        }
        self
    }

    /// With the bits of `bits` not known any more.
    #[must_use]
    pub fn forget(mut self, bits: &[u8]) -> Self {
        for ((byte, known), bit) in self.bytes.iter_mut().zip(&mut self.known).zip(bits) {
            *byte &= !bit;
            *known &= !bit;
        }
        self
    }

    /// The least value that it may be.
    #[must_use]
    pub fn lowest(&self) -> &[u8] {
        &self.bytes
    }

    /// The greatest value that it may be.
    #[must_use]
    pub fn highest(&self) -> Vec<u8> {
        let bytes = self.bytes.iter().zip(&self.known);
        bytes.map(|(byte, known)| byte | !known).collect()
    }

    /// Whether it may be these bytes; where it is longer only the first count,
    /// as the kernel compares.
    #[must_use]
    pub fn equals(&self, other: &[u8]) -> Answer {
        if other.len() > self.len() {
            return Answer::No;
        }
        let mut answer = Answer::Yes;
        for ((byte, known), other) in self.bytes.iter().zip(&self.known).zip(other) {
            if (byte ^ other) & known != 0 {
                return Answer::No;
            }
            if *known != 0xff {
                answer = Answer::Maybe;
            }
        }
        answer
    }

    /// Whether the two may be the same.
    #[must_use]
    pub fn same(&self, other: &Self) -> Answer {
        if self.len() != other.len() {
            return Answer::No;
        }
        match (other.exact(), self.exact()) {
            (Some(other), _) => self.equals(other),
            (None, Some(own)) => other.equals(own),
            (None, None) => {
                let differ = self
                    .bytes
                    .iter()
                    .zip(&self.known)
                    .zip(other.bytes.iter().zip(&other.known))
                    .any(|((a, k), (b, l))| (a ^ b) & k & l != 0);
                if differ { Answer::No } else { Answer::Maybe }
            }
        }
    }

    /// Compares as `cmp` of nf_tables does: byte by byte, as many as the right
    /// side has.
    #[must_use]
    pub fn compare(&self, op: Cmp, right: &[u8]) -> Answer {
        match op {
            Cmp::Eq => self.equals(right),
            Cmp::Neq => !self.equals(right),
            Cmp::Lt => self.is_below(right, false),
            Cmp::Lte => self.is_below(right, true),
            Cmp::Gt => !self.is_below(right, true),
            Cmp::Gte => !self.is_below(right, false),
        }
    }

    fn is_below(&self, right: &[u8], or_equal: bool) -> Answer {
        let high = self.highest();
        let holds = |value: &[u8]| {
            let value = value.get(..right.len()).unwrap_or(value);
            value < right || (or_equal && value == right)
        };
        match (holds(self.lowest()), holds(&high)) {
            (true, true) => Answer::Yes,
            (false, false) => Answer::No,
            _ => Answer::Maybe,
        }
    }

    /// Whether it lies between two values, both included.
    #[must_use]
    pub fn is_within(&self, first: &[u8], last: &[u8]) -> Answer {
        if first > last {
            return Answer::No;
        }
        self.compare(Cmp::Gte, first)
            .and(self.compare(Cmp::Lte, last))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // a test may fail that way

    use proptest::prelude::*;

    use super::*;

    const OPERATORS: [Cmp; 6] = [Cmp::Eq, Cmp::Neq, Cmp::Lt, Cmp::Lte, Cmp::Gt, Cmp::Gte];

    /// All the values that it may be.
    fn possible(value: &Value) -> Vec<[u8; 2]> {
        (0..=u16::MAX)
            .map(u16::to_be_bytes)
            .filter(|bytes| value.equals(bytes) != Answer::No)
            .collect()
    }

    fn of(bytes: [u8; 2], known: [u8; 2]) -> Value {
        Value::partly(bytes, known)
    }

    fn holds(op: Cmp, left: [u8; 2], right: [u8; 2]) -> bool {
        match op {
            Cmp::Eq => left == right,
            Cmp::Neq => left != right,
            Cmp::Lt => left < right,
            Cmp::Lte => left <= right,
            Cmp::Gt => left > right,
            Cmp::Gte => left >= right,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn an_answer_is_sure_only_where_all_possible_values_agree(
            bytes in any::<[u8; 2]>(), known in any::<[u8; 2]>(),
            right in any::<[u8; 2]>(), mask in any::<[u8; 2]>(),
        ) {
            let value = of(bytes, known);
            let all = possible(&value);
            prop_assert!(all.contains(&[bytes[0] & known[0], bytes[1] & known[1]]));
            for op in OPERATORS {
                let masked = |v: &[u8; 2]| [v[0] & mask[0], v[1] & mask[1]];
                for (answer, truths) in [
                    (value.compare(op, &right), all.iter().map(|v| holds(op, *v, right)).collect::<Vec<_>>()),
                    (value.clone().and(&mask).compare(op, &right), all.iter().map(|v| holds(op, masked(v), right)).collect()),
                ] {
                    match answer {
                        Answer::Yes => prop_assert!(truths.iter().all(|t| *t)),
                        Answer::No => prop_assert!(truths.iter().all(|t| !t)),
                        Answer::Maybe => {
                            prop_assert!(truths.iter().any(|t| *t) && truths.iter().any(|t| !t));
                        }
                    }
                }
            }
            let (first, last) = (right.min(mask), right.max(mask));
            let within: Vec<_> = all.iter().map(|v| first <= *v && *v <= last).collect();
            match value.is_within(&first, &last) {
                Answer::Yes => prop_assert!(within.iter().all(|t| *t)),
                Answer::No => prop_assert!(within.iter().all(|t| !t)),
                Answer::Maybe => {}
            }
        }
    }

    #[test]
    fn a_longer_value_is_compared_by_its_first_bytes() {
        let name = Value::known(*b"br-x\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(name.equals(b"br-"), Answer::Yes);
        assert_eq!(name.equals(b"br-\0"), Answer::No);
        assert_eq!(Value::known(*b"br").equals(b"br-"), Answer::No);
    }

    #[test]
    fn bits_that_a_mask_clears_are_known() {
        assert_eq!(
            Value::unknown(2).and(&[0, 0]).exact(),
            Some([0, 0].as_slice())
        );
        assert_eq!(
            Value::unknown(1).or(&[0x20]).and(&[0x20]).equals(&[0x20]),
            Answer::Yes
        );
        assert_eq!(Value::unknown(1).xor(&[0xff]).exact(), None);
    }
}
