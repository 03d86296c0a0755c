//! What a read gives: the value, shared, with its version and times as they were read.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Millis, NEVER};
use crate::shelf::{Freshness, Look, Plain};
use crate::version::Version;

/// Which tier an answer came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Source {
    /// The shelf.
    Memory,
    /// The disk driver.
    Disk,
    /// The secure driver.
    Secure,
    /// A driver that the host registered; its number in the order of registration.
    Custom(u8),
    /// A host's loader, just now.
    Fetch,
}

/// One version of one entry, as it was when it was read.
///
/// It derefs to the value, clones for the price of an `Arc`, and does not change when the entry does.
/// `Debug` shows everything but the value.
pub struct Entry<V> {
    value: Arc<V>,
    version: Version,
    created_ms: Millis,
    expires_ms: Millis,
    read_ms: Millis,
    freshness: Freshness,
    source: Source,
}

impl<V> Entry<V> {
    /// An entry from what a slot says of itself.
    pub(crate) fn new(
        value: Arc<V>,
        slot: Look<'_>,
        freshness: Freshness,
        source: Source,
        read_ms: Millis,
    ) -> Self {
        Self {
            value,
            version: slot.version,
            created_ms: slot.created_ms,
            expires_ms: slot.expires_ms,
            read_ms,
            freshness,
            source,
        }
    }

    /// An entry as memory has it, fresh.
    #[inline]
    pub(crate) fn plain(value: Arc<V>, read: Plain) -> Self {
        Self {
            value,
            version: read.version,
            created_ms: read.created_ms,
            expires_ms: read.expires_ms,
            read_ms: read.read_ms,
            freshness: Freshness::Fresh,
            source: Source::Memory,
        }
    }

    /// An entry as it was just set.
    pub(crate) fn updated(
        value: Arc<V>,
        version: Version,
        created_ms: Millis,
        expires_ms: Millis,
    ) -> Self {
        Self {
            value,
            version,
            created_ms,
            expires_ms,
            read_ms: created_ms,
            freshness: Freshness::Fresh,
            source: Source::Memory,
        }
    }

    /// An entry as it was just loaded.
    pub(crate) fn fetched(
        value: Arc<V>,
        version: Version,
        created_ms: Millis,
        expires_ms: Millis,
    ) -> Self {
        Self {
            source: Source::Fetch,
            ..Self::updated(value, version, created_ms, expires_ms)
        }
    }

    /// The mutation that made it: hand it to `if_version` to change only what you have seen.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The value, shared.
    pub fn value(&self) -> &Arc<V> {
        &self.value
    }

    /// The value, shared, without the rest.
    pub fn into_value(self) -> Arc<V> {
        self.value
    }

    /// How long before the read it was set. Zero for entries whose age was not looked at: those
    /// without a TTL read no clock.
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.read_ms.saturating_sub(self.created_ms))
    }

    /// When it was set, in unix milliseconds.
    pub fn created_ms(&self) -> Millis {
        self.created_ms
    }

    /// Fresh until then; `NEVER` without a TTL.
    pub(crate) fn expires_ms(&self) -> Millis {
        self.expires_ms
    }

    /// How long it stays fresh, counted from the read; `None` without a TTL, zero when stale.
    pub fn expires_in(&self) -> Option<Duration> {
        let left = self.expires_ms.saturating_sub(self.read_ms);
        (self.expires_ms != NEVER).then(|| Duration::from_millis(left))
    }

    /// Whether it was within its TTL when it was read.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Which tier it came from.
    pub fn source(&self) -> Source {
        self.source
    }
}

impl<V> Deref for Entry<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

impl<V> fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("version", &self.version)
            .field("created_ms", &self.created_ms)
            .field("expires_in", &self.expires_in())
            .field("freshness", &self.freshness)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
