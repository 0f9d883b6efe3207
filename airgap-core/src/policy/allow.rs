//! The allow pairs of a policy, of which there can be a million: most of them
//! one address and one port, which are kept in a few bytes each.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::model::{Address, AllowPair, Place, PortRange, Proto};

/// An allow pair of one address and one port, for every user and without a
/// comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactPair {
    /// Where to.
    pub address: IpAddr,
    /// Which port there.
    pub port: u16,
    /// By which protocol.
    pub proto: Proto,
    /// Where it was written.
    pub place: Place,
}

/// One of the [`AllowPairs`], as it is kept.
#[derive(Debug, Clone, Copy)]
pub enum Allow<'p> {
    /// One address and one port.
    Exact(ExactPair),
    /// Any other.
    Listed(&'p AllowPair),
}

impl Allow<'_> {
    /// By which protocol.
    #[must_use]
    pub fn proto(&self) -> Proto {
        match self {
            Self::Exact(pair) => pair.proto,
            Self::Listed(pair) => pair.proto,
        }
    }

    /// Where it was written.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Exact(pair) => pair.place,
            Self::Listed(pair) => pair.place,
        }
    }
}

impl From<ExactPair> for AllowPair {
    fn from(pair: ExactPair) -> Self {
        Self {
            to: vec![Address::Net(pair.address.into())],
            port: vec![pair.port.into()],
            proto: pair.proto,
            user: None,
            comment: None,
            place: pair.place,
        }
    }
}

/// The pair as one address and one port, if it is no more than that.
fn exact(pair: &AllowPair) -> Option<ExactPair> {
    match (pair.to.as_slice(), pair.port.as_slice()) {
        ([Address::Net(net)], [PortRange { first, last }])
            if net.prefix_len() == net.max_prefix_len()
                && first == last
                && pair.user.is_none()
                && pair.comment.is_none() =>
        {
            Some(ExactPair {
                address: net.addr(),
                port: *first,
                proto: pair.proto,
                place: pair.place,
            })
        }
        _ => None,
    }
}

/// An [`ExactPair`] of one IP version.
#[derive(Clone, Copy)]
struct Packed<A> {
    address: A,
    port: u16,
    proto: Proto,
    place: Place,
}

impl<A: Into<IpAddr> + Copy> Packed<A> {
    fn pair(&self) -> ExactPair {
        ExactPair {
            address: self.address.into(),
            port: self.port,
            proto: self.proto,
            place: self.place,
        }
    }
}

/// Where they were written is not what they say.
impl<A: PartialEq> PartialEq for Packed<A> {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.port == other.port && self.proto == other.proto
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    V4,
    V6,
    Listed,
}

/// Pairs of one kind that follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Run {
    kind: Kind,
    /// The number of the first among all…
    start: usize,
    /// …and among those of its kind.
    first: usize,
    count: usize,
}

/// Allow pairs in their order. They are equal when they say the same, wherever
/// they were written.
#[derive(Clone, Default, PartialEq)]
pub struct AllowPairs {
    runs: Vec<Run>,
    v4: Vec<Packed<[u8; 4]>>,
    v6: Vec<Packed<[u8; 16]>>,
    listed: Vec<AllowPair>,
}

impl Eq for AllowPairs {}

impl AllowPairs {
    /// Adds a pair behind the others.
    pub fn push(&mut self, pair: AllowPair) {
        match exact(&pair) {
            Some(exact) => self.push_exact(exact),
            None => {
                self.listed.push(pair);
                self.count(Kind::Listed);
            }
        }
    }

    /// Adds a pair of one address and one port behind the others.
    pub fn push_exact(&mut self, pair: ExactPair) {
        let ExactPair {
            address,
            port,
            proto,
            place,
        } = pair;
        match address {
            IpAddr::V4(address) => {
                let address = address.octets();
                self.v4.push(Packed {
                    address,
                    port,
                    proto,
                    place,
                });
                self.count(Kind::V4);
            }
            IpAddr::V6(address) => {
                let address = address.octets();
                self.v6.push(Packed {
                    address,
                    port,
                    proto,
                    place,
                });
                self.count(Kind::V6);
            }
        }
    }

    /// Notes that the last one pushed is of this kind.
    fn count(&mut self, kind: Kind) {
        if let Some(run) = self.runs.last_mut().filter(|run| run.kind == kind) {
            run.count += 1;
            return;
        }
        let of_kind = match kind {
            Kind::V4 => self.v4.len(),
            Kind::V6 => self.v6.len(),
            Kind::Listed => self.listed.len(),
        };
        self.runs.push(Run {
            kind,
            start: self.len() - 1,
            first: of_kind - 1,
            count: 1,
        });
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len() + self.listed.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The pair of this number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<Allow<'_>> {
        let behind = self.runs.partition_point(|run| run.start <= number);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let within = number - run.start;
        (within < run.count).then(|| self.at(run.kind, run.first + within))?
    }

    /// All as they are kept, in their order.
    pub fn entries(&self) -> impl Iterator<Item = Allow<'_>> {
        self.runs.iter().flat_map(move |run| {
            let numbers = run.first..run.first + run.count;
            numbers.filter_map(move |n| self.at(run.kind, n))
        })
    }

    /// Those that are more than one address and one port, each with its number
    /// among all.
    pub fn listed(&self) -> impl Iterator<Item = (usize, &AllowPair)> {
        let runs = self.runs.iter().filter(|run| run.kind == Kind::Listed);
        let numbers = runs.flat_map(|run| run.start..run.start + run.count);
        numbers.zip(&self.listed)
    }

    /// All in their order, each written out.
    pub fn iter(&self) -> impl Iterator<Item = AllowPair> {
        self.entries().map(|entry| match entry {
            Allow::Exact(pair) => pair.into(),
            Allow::Listed(pair) => pair.clone(),
        })
    }

    /// The pair of this number among those of its kind.
    fn at(&self, kind: Kind, number: usize) -> Option<Allow<'_>> {
        Some(match kind {
            Kind::V4 => Allow::Exact(self.v4.get(number)?.pair()),
            Kind::V6 => Allow::Exact(self.v6.get(number)?.pair()),
            Kind::Listed => Allow::Listed(self.listed.get(number)?),
        })
    }
}

impl FromIterator<AllowPair> for AllowPairs {
    fn from_iter<I: IntoIterator<Item = AllowPair>>(pairs: I) -> Self {
        let mut all = Self::default();
        pairs.into_iter().for_each(|pair| all.push(pair));
        all
    }
}

impl fmt::Debug for AllowPairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A list of [`AllowPair`]s.
impl Serialize for AllowPairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::User;

    fn pair(n: u16) -> AllowPair {
        let address: IpAddr = match n % 3 {
            0 => [192, 0, 2, 1].into(),
            _ => [0x2001, 0xdb8, 0, 0, 0, 0, 0, n].into(),
        };
        AllowPair {
            to: vec![Address::Net(address.into())],
            port: vec![(n + 1).into()],
            proto: Proto::Udp,
            user: n.is_multiple_of(5).then_some(User::Uid(7)),
            comment: None,
            place: Place {
                line: n.into(),
                column: 1,
            },
        }
    }

    #[test]
    fn pairs_keep_their_order_and_all_that_they_say() {
        let written: Vec<AllowPair> = (0..40).map(pair).collect();
        let pairs: AllowPairs = written.iter().cloned().collect();
        assert_eq!(pairs.len(), 40);
        assert!(pairs.iter().eq(written.iter().cloned()));
        assert!(
            pairs
                .entries()
                .map(|e| e.place())
                .eq(written.iter().map(|p| p.place))
        );
        for (number, pair) in written.iter().enumerate() {
            assert_eq!(pairs.get(number).map(|p| p.place()), Some(pair.place));
        }
        assert!(pairs.get(40).is_none());
        let numbers: Vec<usize> = pairs.listed().map(|(number, _)| number).collect();
        assert_eq!(numbers, [0, 5, 10, 15, 20, 25, 30, 35]);
        for (number, pair) in pairs.listed() {
            assert_eq!(written.get(number), Some(pair));
        }
        let other: AllowPairs = (1..41).map(pair).collect();
        assert_ne!(pairs, other);
    }
}
