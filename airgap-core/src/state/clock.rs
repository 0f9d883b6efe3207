//! The time that passes, whatever the clock on the wall is set to. It goes on
//! while the machine sleeps, and begins anew with each boot.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use serde::{Deserialize, Serialize};

/// The end of a time, in one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deadline {
    /// The boot, by `/proc/sys/kernel/random/boot_id`.
    boot: String,
    /// The time since then by `CLOCK_BOOTTIME`.
    since_boot: Duration,
}

fn boot() -> String {
    // Without it all boots are one, and a moment of the last may seem to come.
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The clock on the wall, in seconds since 1970 UTC, for people to read.
pub(crate) fn on_the_wall() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

impl Deadline {
    /// The end of a time that begins now.
    pub fn after(time: Duration) -> Self {
        Self {
            boot: boot(),
            since_boot: since_boot().saturating_add(time),
        }
    }

    /// The time from the boot until then.
    pub fn since_boot(&self) -> Duration {
        self.since_boot
    }

    /// Whether the machine has not booted since.
    pub fn is_of_this_boot(&self) -> bool {
        self.boot == boot()
    }

    /// The time until then; none if it has come.
    pub fn left(&self) -> Option<Duration> {
        if !self.is_of_this_boot() {
            return None;
        }
        self.since_boot
            .checked_sub(since_boot())
            .filter(|left| !left.is_zero())
    }

    /// Waits until then, but not much longer than `at_most`.
    pub fn wait(&self, at_most: Duration) {
        let until = self.since_boot.min(since_boot() + at_most).into();
        let flags = ClockNanosleepFlags::TIMER_ABSTIME;
        // A signal ends the sleep early, which the caller has to think of.
        let _ = clock_nanosleep(ClockId::CLOCK_BOOTTIME, flags, &until);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_time_ends() {
        let begun = Instant::now();
        let end = Deadline::after(Duration::from_millis(50));
        assert!(end.left().is_some_and(|left| left.as_millis() <= 50));
        while end.left().is_some() {
            end.wait(Duration::from_millis(20));
        }
        assert!(begun.elapsed().as_millis() >= 50);
        assert_eq!(end.left(), None);
    }

    #[test]
    fn a_time_of_another_boot_does_not_come() {
        let end = Deadline {
            boot: "another".to_owned(),
            ..Deadline::after(Duration::from_secs(60))
        };
        assert!(!end.is_of_this_boot() && end.left().is_none());
    }
}
