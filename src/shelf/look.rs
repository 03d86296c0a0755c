//! A slot as it lies in memory, to be looked at: the same view of one that stands alone and of one that
//! the table has taken apart.

use smol_str::SmolStr;

use super::slot::{Body, Extra, Priority, Slot};
use super::tier::TierSet;
use crate::clock::{Millis, NEVER};
use crate::sync::Arc;
use crate::version::Version;

/// What a slot says of itself; its fields are [`Slot`]'s.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// The mutation that made it.
    pub version: Version,
    /// Fresh until then; `NEVER` without a TTL.
    pub expires_ms: Millis,
    /// When the value was set, in unix milliseconds.
    pub created_ms: Millis,
    /// The value.
    pub body: &'a Body,
    /// Tags, sliding expiry and how long to keep it as a fallback.
    pub extra: Option<&'a Arc<Extra>>,
    /// Bytes that the value counts for.
    pub weight: u32,
    /// The cache's schema number.
    pub schema: u32,
    /// How long it should outlast others.
    pub priority: Priority,
    /// Its `Expired` event has been sent.
    pub announced: bool,
}

impl Look<'_> {
    /// A slot of its own, which shares the value.
    pub fn to_slot(self) -> Slot {
        Slot {
            version: self.version,
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
            body: self.body.clone(),
            extra: self.extra.cloned(),
            weight: self.weight,
            schema: self.schema,
            priority: self.priority,
            announced: self.announced,
        }
    }

    /// Until when it is kept at all: as a fallback after it expired.
    pub fn keep_ms(&self) -> Millis {
        self.extra
            .map_or(self.expires_ms, |extra| extra.keep_ms.max(self.expires_ms))
    }

    /// Its tags.
    #[inline]
    pub fn tags(&self) -> &[SmolStr] {
        self.extra.map_or(&[], |extra| &extra.tags)
    }

    /// Tiers of its cache that must not store it.
    pub fn skipped(&self) -> TierSet {
        self.extra.map_or(TierSet::NONE, |extra| extra.skipped)
    }

    /// Its sliding expiry in milliseconds; 0 for none.
    #[inline]
    pub fn idle_ms(&self) -> u32 {
        self.extra.map_or(0, |extra| extra.idle_ms)
    }

    /// Whether it may be shown to a call that does not ask for stale values.
    #[inline]
    pub fn is_fresh(&self, now: impl FnOnce() -> Millis) -> bool {
        // Most entries of many caches have no TTL: those never read the clock.
        self.expires_ms == NEVER || now() < self.expires_ms
    }
}

impl Slot {
    /// The view of it.
    #[inline]
    pub fn look(&self) -> Look<'_> {
        Look {
            version: self.version,
            expires_ms: self.expires_ms,
            created_ms: self.created_ms,
            body: &self.body,
            extra: self.extra.as_ref(),
            weight: self.weight,
            schema: self.schema,
            priority: self.priority,
            announced: self.announced,
        }
    }
}
