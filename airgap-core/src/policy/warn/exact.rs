//! Which allow pairs of one address and one port can be pointless, or make
//! others so: of a million mostly none, and the rest need not be compared.

use crate::policy::allow::{Allow, AllowPairs, ExactPair};
use crate::policy::model::{Address, Proto};

use super::number;

/// The pairs that stand twice, and those to addresses that a pair of another
/// form is for too, each with its number among all.
pub(super) fn that_may_overlap(pairs: &AllowPairs) -> impl Iterator<Item = (usize, ExactPair)> {
    let twice = Twice::among(pairs);
    let spans = spans(pairs);
    let entries = pairs.entries().enumerate();
    entries.filter_map(move |(index, entry)| match entry {
        Allow::Exact(pair) if twice.has(&pair) || covers(&spans, &pair) => Some((index, pair)),
        _ => None,
    })
}

/// The pairs that stand more than once.
struct Twice {
    v4: Vec<u64>,
    v6: Vec<(u128, u32)>,
}

impl Twice {
    fn among(pairs: &AllowPairs) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for entry in pairs.entries() {
            match entry {
                Allow::Exact(pair) if pair.address.is_ipv4() => v4.push(key_v4(&pair)),
                Allow::Exact(pair) => v6.push(key(&pair)),
                Allow::Listed(_) => {}
            }
        }
        Self {
            v4: repeated(v4),
            v6: repeated(v6),
        }
    }

    fn has(&self, pair: &ExactPair) -> bool {
        if pair.address.is_ipv4() {
            self.v4.binary_search(&key_v4(pair)).is_ok()
        } else {
            self.v6.binary_search(&key(pair)).is_ok()
        }
    }
}

/// All that a pair says, in an order.
fn key(pair: &ExactPair) -> (u128, u32) {
    let protocol = u32::from(pair.proto == Proto::Udp);
    (number(pair.address), u32::from(pair.port) << 1 | protocol)
}

/// The same of an IPv4 pair, in fewer bits.
fn key_v4(pair: &ExactPair) -> u64 {
    let (address, rest) = key(pair);
    u64::try_from(address).unwrap_or(u64::MAX) << 17 | u64::from(rest)
}

/// What stands more than once, ordered.
fn repeated<T: Ord + Copy>(mut keys: Vec<T>) -> Vec<T> {
    keys.sort_unstable();
    keys.windows(2)
        .filter_map(|pair| match pair {
            [a, b] if a == b => Some(*a),
            _ => None,
        })
        .collect()
}

/// The addresses of pairs of another form, first and last, merged and in order.
fn spans(pairs: &AllowPairs) -> Vec<(bool, u128, u128)> {
    let mut spans: Vec<_> = pairs
        .listed()
        .flat_map(|(_, pair)| &pair.to)
        .filter_map(|address| {
            let (first, last) = match address {
                Address::Net(net) => (net.network(), net.broadcast()),
                Address::Range(first, last) => (*first, *last),
                Address::Name(_) => return None,
            };
            Some((first.is_ipv6(), number(first), number(last)))
        })
        .collect();
    spans.sort_unstable();
    spans.dedup_by(|next, before| {
        let joins = next.0 == before.0 && next.1 <= before.2;
        if joins {
            before.2 = before.2.max(next.2);
        }
        joins
    });
    spans
}

fn covers(spans: &[(bool, u128, u128)], pair: &ExactPair) -> bool {
    let (family, address) = (pair.address.is_ipv6(), number(pair.address));
    let behind = spans.partition_point(|(of, first, _)| (*of, *first) <= (family, address));
    let last = behind.checked_sub(1).and_then(|n| spans.get(n));
    last.is_some_and(|(of, _, last)| *of == family && address <= *last)
}
