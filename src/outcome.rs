//! Explanations: what a call did, where its answer came from, and what was degraded on the way.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Millis;
use crate::entry::{Entry, Source};
use crate::shelf::Freshness;
use crate::version::Version;

/// How safe a mutation is when it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// In memory and accepted for writing. Lost if the process dies before it is stored.
    Queued,
    /// Handed to the operating system: survives `kill -9` of the process.
    Written,
    /// On the device: survives the loss of power.
    Synced,
}

/// A driver that did not take part in a call as it should have, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Degraded {
    /// The driver.
    pub driver: String,
    /// Why.
    pub reason: DegradedReason,
}

/// Why a driver did not take part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DegradedReason {
    /// It is not up.
    Down,
    /// It has no room for new values; reads and deletions go on.
    Full,
    /// It failed during this call.
    Failed,
    /// It did not answer in time.
    Late,
    /// Its stored copy of this key is not believed until it has been replaced.
    Distrusted,
    /// It holds a damaged record of this key, which is being removed.
    Damaged,
    /// It holds a sealed record of this key that does not open: somebody has moved or edited it, or put an
    /// old one back. It stays where it is until it is overwritten.
    Refused,
    /// It is down, and what waits for it fills `dirty_bytes_max`: it will not get this change, and its
    /// copy of the key is not believed. A change that no driver gets is in memory only.
    MemoryOnly,
}

impl Degraded {
    pub(crate) fn new(driver: &Arc<str>, reason: DegradedReason) -> Self {
        Self {
            driver: driver.to_string(),
            reason,
        }
    }
}

/// A read with its explanation.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReadOutcome<V> {
    /// The answer; `None` is a miss.
    pub entry: Option<Entry<V>>,
    /// Which tier it came from.
    pub source: Option<Source>,
    /// How it stands to its time. [`Freshness::Expired`] explains a miss.
    pub freshness: Option<Freshness>,
    /// Since it was set.
    pub age: Option<Duration>,
    /// Until it expires; `None` without a TTL.
    pub expires_in: Option<Duration>,
    /// For a miss: when the entry that is no longer shown expired, in unix milliseconds.
    pub expired_ms: Option<Millis>,
    /// What did not take part.
    pub degraded: Vec<Degraded>,
}

/// A mutation with its explanation.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct WriteOutcome {
    /// Its version.
    pub version: Version,
    /// The version it replaced, where larder knew without reading a store for it.
    pub replaced: Option<Version>,
    /// What is promised: at least what was asked for by name, or less where that was only the default
    /// and `degraded` says why.
    pub durability: Durability,
    /// What did not take part.
    pub degraded: Vec<Degraded>,
}
