//! What the policy's host names stand for, while their answers change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::resolver::Answer;
use crate::state::NameStatus;

/// How long an address stays open at most for the flows that use it after its
/// name has ceased to stand for it: a flow that never ends must not keep it.
const KEPT_MAX: Duration = Duration::from_secs(3600);

/// The host names of a policy.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, Known>);

/// What is known of a name.
#[derive(Debug, Default)]
struct Known {
    /// The last answer.
    addresses: Vec<IpAddr>,
    /// Addresses of earlier answers, and until when they may stay.
    kept: BTreeMap<IpAddr, Instant>,
    /// Why it does not resolve, and since when in seconds since 1970 UTC.
    failure: Option<(u64, String)>,
}

impl Names {
    /// Names as they were resolved when the policy was loaded.
    pub fn new(loaded: &BTreeMap<String, Vec<IpAddr>>) -> Self {
        let known = |addresses: &Vec<IpAddr>| Known {
            addresses: addresses.clone(),
            ..Known::default()
        };
        Self(
            loaded
                .iter()
                .map(|(name, addresses)| (name.clone(), known(addresses)))
                .collect(),
        )
    }

    /// Notes an answer that came `now`, at `time` in seconds since 1970 UTC.
    pub fn heard(&mut self, answer: Answer, now: Instant, time: u64) {
        // One that is not known was asked for on behalf of an earlier policy.
        let Some(known) = self.0.get_mut(&answer.name) else {
            return;
        };
        match answer.addresses {
            Ok(addresses) => {
                known.failure = None;
                let former = std::mem::replace(&mut known.addresses, addresses);
                for address in former {
                    known.kept.entry(address).or_insert(now + KEPT_MAX);
                }
                known
                    .kept
                    .retain(|address, _| !known.addresses.contains(address));
            }
            // The last answer stays.
            Err(error) => {
                let since = known.failure.take().map_or(time, |(since, _)| since);
                known.failure = Some((since, error));
            }
        }
    }

    /// Whether any name has addresses of earlier answers.
    pub fn keeps_any(&self) -> bool {
        self.0.values().any(|known| !known.kept.is_empty())
    }

    /// Forgets addresses of earlier answers that no flow uses any more, or that
    /// have been kept long enough.
    pub fn forget(&mut self, now: Instant, is_used: impl Fn(&IpAddr) -> bool) {
        for known in self.0.values_mut() {
            known
                .kept
                .retain(|address, until| *until > now && is_used(address));
        }
    }

    /// What is to be open, each list ordered.
    pub fn addresses(&self) -> BTreeMap<String, Vec<IpAddr>> {
        self.0
            .iter()
            .map(|(name, known)| {
                let mut all = known.addresses.clone();
                all.extend(known.kept.keys());
                all.sort();
                (name.clone(), all)
            })
            .collect()
    }

    /// The names that are not simply what they were resolved to, for `status`.
    pub fn status(&self) -> BTreeMap<String, NameStatus> {
        self.0
            .iter()
            .filter(|(_, known)| known.failure.is_some() || !known.kept.is_empty())
            .map(|(name, known)| {
                let status = NameStatus {
                    kept: known.kept.keys().copied().collect(),
                    failing_since: known.failure.as_ref().map(|(since, _)| *since),
                    failure: known.failure.as_ref().map(|(_, error)| error.clone()),
                };
                (name.clone(), status)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // a test may fail that way

    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn answer(addresses: Result<&[u8], &str>) -> Answer {
        Answer {
            name: "a.example".to_owned(),
            addresses: addresses
                .map(|all| all.iter().map(|last| ip(*last)).collect())
                .map_err(str::to_owned),
        }
    }

    fn open(names: &Names) -> Vec<IpAddr> {
        names.addresses().remove("a.example").unwrap_or_default()
    }

    #[test]
    fn an_address_in_use_is_kept_until_its_flows_end_or_long_enough() {
        let loaded = BTreeMap::from([("a.example".to_owned(), vec![ip(1), ip(2)])]);
        let (mut names, begun) = (Names::new(&loaded), Instant::now());
        names.heard(answer(Ok(&[3])), begun, 7);
        names.forget(begun, |address| *address == ip(1));
        assert_eq!(open(&names), [ip(1), ip(3)]);
        assert_eq!(names.status()["a.example"].kept, [ip(1)]);
        // The same answer again starts no new time.
        let later = begun + KEPT_MAX / 2;
        names.heard(answer(Ok(&[3])), later, 8);
        names.forget(later, |_| true);
        assert_eq!(open(&names), [ip(1), ip(3)]);
        names.forget(begun + KEPT_MAX, |_| true);
        assert_eq!(open(&names), [ip(3)]);
        assert!(!names.keeps_any());
        assert!(names.status().is_empty());
    }

    #[test]
    fn an_address_that_comes_back_is_not_one_of_before() {
        let loaded = BTreeMap::from([("a.example".to_owned(), vec![ip(1)])]);
        let (mut names, now) = (Names::new(&loaded), Instant::now());
        names.heard(answer(Ok(&[2])), now, 7);
        names.heard(answer(Ok(&[1])), now, 8);
        names.forget(now, |_| false);
        assert_eq!(open(&names), [ip(1)]);
    }

    #[test]
    fn what_does_not_resolve_keeps_its_last_answer() {
        let loaded = BTreeMap::from([("a.example".to_owned(), vec![ip(1)])]);
        let (mut names, now) = (Names::new(&loaded), Instant::now());
        names.heard(answer(Err("no")), now, 7);
        names.heard(answer(Err("still no")), now, 9);
        assert_eq!(open(&names), [ip(1)]);
        let status = names.status().remove("a.example");
        assert_eq!(
            status.map(|s| (s.failing_since, s.failure)),
            Some((Some(7), Some("still no".to_owned())))
        );
        names.heard(answer(Ok(&[1])), now, 10);
        assert!(names.status().is_empty());
    }

    #[test]
    fn an_answer_for_another_policy_is_none() {
        let mut names = Names::default();
        names.heard(answer(Ok(&[1])), Instant::now(), 7);
        assert!(names.addresses().is_empty());
    }
}
