//! Versions: one hybrid logical clock for every mutation of a process.
//!
//! A version is a `u64`: the upper 48 bits are milliseconds since 1970, the lower 16 a counter.
//! Versions strictly increase within a process, survive restarts above a reserved ceiling, and are
//! comparable across processes (Kulkarni et al., "Logical Physical Clocks", 2014). This file does
//! not read the time; it is told.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::sync::{AtomicU64, Ordering};

/// Bits of a version that count within one millisecond.
const COUNTER_BITS: u32 = 16;

/// How much of what is reserved is left to counting when nobody raises the ceiling: half a minute of
/// versions, which is two billion of them.
const SLACK: u64 = 30_000 << COUNTER_BITS;

/// Names one mutation of one entry, for ever. Never zero.
///
/// ```
/// use larder::Version;
/// let older = Version::at(1_000);
/// let newer = Version::at(2_000);
/// assert!(older < newer);
/// assert_eq!(newer.millis(), 2_000);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Version(NonZeroU64);

impl Version {
    /// The first version of a millisecond since 1970 (the lowest of all for 0).
    pub const fn at(millis: u64) -> Self {
        match NonZeroU64::new(millis << COUNTER_BITS) {
            Some(v) => Self(v),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// A version from its number; `None` for zero.
    pub const fn new(raw: u64) -> Option<Self> {
        match NonZeroU64::new(raw) {
            Some(v) => Some(Self(v)),
            None => None,
        }
    }

    /// The number, as it is stored.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The millisecond since 1970 in its upper bits: about when it was issued.
    pub const fn millis(self) -> u64 {
        self.0.get() >> COUNTER_BITS
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Issues versions. One per larder, shared by every thread.
#[derive(Debug)]
pub struct VersionClock {
    last: AtomicU64,
    /// Versions above this are not covered by what the store has recorded as reserved.
    ceiling: AtomicU64,
}

impl VersionClock {
    /// A clock whose first version is above `floor` and that needs no reservation yet.
    pub fn new(floor: u64) -> Self {
        Self {
            last: AtomicU64::new(floor),
            ceiling: AtomicU64::new(u64::MAX),
        }
    }

    /// Draws the next version. `now_ms` is the current time; it only pulls versions forward.
    ///
    /// Time close to the reserved ceiling or beyond is not used: versions then advance by one until the
    /// ceiling is raised, so that a restart, which begins above the ceiling, never issues one twice.
    pub fn next(&self, now_ms: u64) -> Version {
        let latest = self.ceiling.load(Ordering::Acquire).saturating_sub(SLACK);
        let by_time = (now_ms << COUNTER_BITS).min(latest);
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let next = by_time.max(last.saturating_add(1)).max(1);
            match self
                .last
                .compare_exchange_weak(last, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Version::new(next).unwrap_or(Version::at(0)),
                Err(seen) => last = seen,
            }
        }
    }

    /// The newest version issued so far, or the floor it began above.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// The newest version issued or begun above so far, which is no older than `version`.
    pub fn newest(&self, version: Version) -> Version {
        Version::new(self.last()).map_or(version, |last| last.max(version))
    }

    /// Starts above `floor`, if it is higher than where the clock stands.
    pub fn raise(&self, floor: u64) {
        self.last.fetch_max(floor, Ordering::AcqRel);
    }

    /// Sets the ceiling that a store has recorded.
    pub fn reserve(&self, ceiling: u64) {
        self.ceiling.store(ceiling, Ordering::Release);
    }

    /// Whether a version above the reserved ceiling has been issued.
    pub fn is_past_ceiling(&self) -> bool {
        self.last() > self.ceiling.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_strictly_increase_when_time_stands_or_goes_back() {
        let clock = VersionClock::new(0);
        let a = clock.next(1_000);
        let b = clock.next(1_000);
        let c = clock.next(10);
        assert!(a < b && b < c);
        assert_eq!(a, Version::at(1_000));
        assert!(!clock.is_past_ceiling());
    }

    #[test]
    fn the_first_version_is_above_the_floor() {
        let clock = VersionClock::new(Version::at(5_000).get());
        assert!(clock.next(1) > Version::at(5_000));
        clock.raise(Version::at(9_000).get());
        assert!(clock.next(1) > Version::at(9_000));
    }

    #[test]
    fn time_near_the_ceiling_is_not_used() {
        let clock = VersionClock::new(0);
        clock.reserve(Version::at(100_000).get());
        assert_eq!(clock.next(90_000), Version::at(70_000));
        assert!(clock.next(95_000) < Version::at(70_001));
        assert!(!clock.is_past_ceiling());
        clock.reserve(Version::at(200_000).get());
        assert_eq!(clock.next(95_000), Version::at(95_000));
        clock.reserve(Version::at(80_000).get());
        assert!(clock.next(95_000) > Version::at(95_000));
        assert!(clock.is_past_ceiling());
    }

    #[test]
    fn no_version_is_zero() {
        assert_eq!(Version::new(0), None);
        assert_eq!(Version::at(0).get(), 1);
        assert_eq!(VersionClock::new(0).next(0).get(), 1);
        assert_eq!(Version::at(1).to_string(), "v65536");
        assert_eq!(Version::new(7).map(Version::get), Some(7));
    }
}
