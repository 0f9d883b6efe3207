//! Comparisons of numbers as the intervals of values that meet them.

use super::boxes::merged;
use super::diagram::Interval;
use crate::graph::Cmp;

/// More pieces than this are not written out; the comparison counts as not
/// understood.
const PIECES_MAX: u32 = 12;

/// The number that these bytes are, most significant first, or in the
/// machine's order.
pub(crate) fn number(bytes: &[u8], host_order: bool) -> Option<u128> {
    if bytes.len() > 16 {
        return None;
    }
    let add = |sum: u128, byte: &u8| sum << 8 | u128::from(*byte);
    Some(if host_order && cfg!(target_endian = "little") {
        bytes.iter().rev().fold(0, add)
    } else {
        bytes.iter().fold(0, add)
    })
}

/// The highest number of so many bits.
pub(crate) fn highest(bits: u32) -> u128 {
    u128::MAX.checked_shr(128 - bits.min(128)).unwrap_or(0)
}

/// The numbers of `bits` bits that, after masking, compare so with `right`.
/// `None` where they lie in too many pieces.
pub(crate) fn comparing(
    op: Cmp,
    mask: Option<u128>,
    right: u128,
    bits: u32,
) -> Option<Vec<Interval>> {
    let top = highest(bits);
    let mask = mask.unwrap_or(top) & top;
    match op {
        Cmp::Eq => equal(mask, right, bits),
        Cmp::Neq => Some(complement(&equal(mask, right, bits)?, top)),
        // Of masked numbers only those of which the lowest or the highest bits
        // count keep their order in pieces.
        _ => {
            let meets = match op {
                Cmp::Lt => right.checked_sub(1).map(|last| (0, last)),
                Cmp::Lte => Some((0, right)),
                Cmp::Gt => right.checked_add(1).map(|first| (first, u128::MAX)),
                _ => Some((right, u128::MAX)),
            };
            let Some((first, last)) = meets else {
                return Some(Vec::new());
            };
            masked_between(mask, first, last, bits)
        }
    }
}

/// The numbers that after masking lie between two values.
fn masked_between(mask: u128, first: u128, last: u128, bits: u32) -> Option<Vec<Interval>> {
    let top = highest(bits);
    if first > top {
        return Some(Vec::new());
    }
    let last = last.min(top);
    if mask == top {
        return Some(vec![(first, last)]);
    }
    let kept = mask.count_ones();
    if kept > PIECES_MAX {
        return None;
    }
    // Few values are left after masking: each on its own.
    let mut out = Vec::new();
    for n in 0..1u128 << kept {
        let value = deposit(n, mask);
        if (first..=last).contains(&value) {
            out.extend(equal(mask, value, bits)?);
        }
    }
    Some(merged(out))
}

/// The bits of `n` at the places that `mask` has.
fn deposit(mut n: u128, mask: u128) -> u128 {
    let mut out = 0;
    for bit in 0..128 {
        if mask >> bit & 1 != 0 {
            out |= (n & 1) << bit;
            n >>= 1;
        }
    }
    out
}

/// The numbers `x` with `x & mask == right`.
fn equal(mask: u128, right: u128, bits: u32) -> Option<Vec<Interval>> {
    let top = highest(bits);
    if right & !mask != 0 {
        return Some(Vec::new());
    }
    let free = !mask & top;
    // The free bits at the low end make a run of numbers, the others pieces.
    let low = free.trailing_ones();
    let run = highest(low);
    let scattered = free & !run;
    if scattered.count_ones() > PIECES_MAX {
        return None;
    }
    let mut out = Vec::new();
    for n in 0..1u128 << scattered.count_ones() {
        let first = right | deposit(n, scattered);
        out.push((first, first | run));
    }
    Some(merged(out))
}

/// The numbers up to `top` that lie in none of the intervals.
pub(crate) fn complement(intervals: &[Interval], top: u128) -> Vec<Interval> {
    let mut out = Vec::new();
    let mut next = Some(0u128);
    for (first, last) in intervals {
        if let Some(next) = next.filter(|next| next < first) {
            out.push((next, first - 1));
        }
        next = last.checked_add(1);
    }
    if let Some(next) = next.filter(|next| *next <= top) {
        out.push((next, top));
    }
    out
}

/// The numbers of `total` bits of which the `bits` bits from bit `shift` on lie
/// in one of the intervals.
pub(crate) fn sliced(
    intervals: &[Interval],
    shift: u32,
    bits: u32,
    total: u32,
) -> Option<Vec<Interval>> {
    let above = total.checked_sub(shift + bits)?;
    if above > 0 && (above > PIECES_MAX || intervals.len() << above > 1 << 16) {
        return None;
    }
    let mut out = Vec::new();
    for high in 0..1u128 << above {
        let high = if above == 0 {
            0
        } else {
            high << (shift + bits)
        };
        for (first, last) in intervals {
            out.push((high | first << shift, high | last << shift | highest(shift)));
        }
    }
    Some(merged(out))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use proptest::prelude::*;

    use super::*;

    fn has(intervals: &[Interval], x: u128) -> bool {
        intervals.iter().any(|(a, b)| *a <= x && x <= *b)
    }

    proptest! {
        #[test]
        fn comparisons_are_those_of_each_number(
            op in prop::sample::select(vec![Cmp::Eq, Cmp::Neq, Cmp::Lt, Cmp::Lte, Cmp::Gt, Cmp::Gte]),
            mask in prop::option::of(0u128..256),
            right in 0u128..256,
        ) {
            let found = comparing(op, mask, right, 8).unwrap();
            prop_assert_eq!(&merged(found.iter().copied()), &found);
            for x in 0..256u128 {
                let left = x & mask.unwrap_or(255);
                let expected = match op {
                    Cmp::Eq => left == right,
                    Cmp::Neq => left != right,
                    Cmp::Lt => left < right,
                    Cmp::Lte => left <= right,
                    Cmp::Gt => left > right,
                    Cmp::Gte => left >= right,
                };
                prop_assert_eq!(has(&found, x), expected, "{}", x);
            }
        }

        #[test]
        fn slices_are_those_of_each_number(first in 0u128..16, len in 0u128..16, shift in 0u32..8) {
            let last = (first + len).min(15);
            let found = sliced(&[(first, last)], shift, 4, 12).unwrap();
            for x in 0..4096u128 {
                let part = x >> shift & 15;
                prop_assert_eq!(has(&found, x), first <= part && part <= last);
            }
        }
    }

    #[test]
    fn all_128_bits_can_be_masked() {
        let mask = u128::MAX << 95;
        let value = 5u128 << 96 | 1 << 95;
        assert_eq!(
            comparing(Cmp::Eq, Some(mask), value, 128).unwrap(),
            [(value, value | highest(95))]
        );
        assert_eq!(comparing(Cmp::Gte, None, 0, 128).unwrap(), [(0, u128::MAX)]);
    }
}
