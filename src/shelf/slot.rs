//! A slot: one version of one entry as memory keeps it.
//!
//! A slot knows whether it may be shown at a given time; it does not know where it lies.

use std::any::Any;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::tier::TierSet;
use crate::clock::{Millis, NEVER};
use crate::sync::Arc;
use crate::version::Version;

/// A value of the host, decoded, shared by reference count.
pub type Shared = Arc<dyn Any + Send + Sync>;

/// How long an entry should outlast others when memory is short.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[non_exhaustive]
pub enum Priority {
    /// First to go, however often it is read.
    Low,
    /// Goes by how often and how recently it is read.
    #[default]
    Normal,
    /// Enters among the entries that have proved themselves.
    High,
    /// Stays until it is removed or expires, within the pinned share of the budget.
    Pinned,
}

impl Priority {
    /// As it is stored.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Low => 0,
            Self::Normal => 1,
            Self::High => 2,
            Self::Pinned => 3,
        }
    }

    /// From a stored byte; what is unknown is `Normal`.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Low,
            2 => Self::High,
            3 => Self::Pinned,
            _ => Self::Normal,
        }
    }
}

/// Bytes of a value with what is needed to read them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// Which codec wrote them.
    pub codec: u8,
    /// Which type they are, as a stable hash of its name.
    pub type_tag: u64,
    /// What was done to them since, as the flags of a record say it (`record::Header::flags`).
    pub flags: u8,
    /// They are a secret: whoever copies them does so into buffers that are overwritten when they are let go.
    pub is_secret: bool,
    /// The bytes.
    pub payload: Bytes,
}

/// Shows the length, never the bytes.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} bytes)", self.payload.len())
    }
}

/// A value, as the host sees it or as drivers do.
#[derive(Clone)]
pub enum Body {
    /// The host's own value.
    Decoded(Shared),
    /// Bytes, decoded by the first reader that knows the type.
    Encoded(Arc<Encoded>),
}

/// What few entries have: kept out of line so that the others stay small.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extra {
    /// Kept as a fallback until then; at least the slot's `expires_ms`.
    pub keep_ms: Millis,
    /// Sliding expiry in milliseconds; 0 for none.
    pub idle_ms: u32,
    /// Where its TTL ends: no renewal of a sliding entry goes beyond. `NEVER` without one.
    pub ends_ms: Millis,
    /// A hash of the encoded value, to tell whether an update changes anything; 0 for none.
    pub fingerprint: u64,
    /// Tiers of its cache that the call which set it left out: later changes of its times do too.
    pub skipped: TierSet,
    /// Names under which the entry can be invalidated.
    pub tags: Box<[SmolStr]>,
}

/// What a tag counts for beyond its bytes.
const TAG_BYTES: usize = 32;

impl Extra {
    /// Bytes that its tags count for, in memory and on their way down.
    pub fn tag_bytes(&self) -> usize {
        self.tags.iter().map(|tag| tag.len() + TAG_BYTES).sum()
    }
}

/// One version of one entry.
#[derive(Clone)]
pub struct Slot {
    /// The mutation that made it.
    pub version: Version,
    /// When the value was set, in unix milliseconds.
    pub created_ms: Millis,
    /// Fresh until then; `NEVER` without a TTL.
    pub expires_ms: Millis,
    /// The value.
    pub body: Body,
    /// Tags, sliding expiry and how long to keep it as a fallback.
    pub extra: Option<Arc<Extra>>,
    /// Bytes that the value counts for, without key, tags and the table's own.
    pub weight: u32,
    /// The cache's schema number.
    pub schema: u32,
    /// How long it should outlast others.
    pub priority: Priority,
    /// Its `Expired` event has been sent.
    pub announced: bool,
}

impl Slot {
    /// Until when it is kept at all: as a fallback after it expired.
    pub fn keep_ms(&self) -> Millis {
        self.look().keep_ms()
    }

    /// How long beyond its deadline it is kept as a fallback.
    pub fn fallback_ms(&self) -> Millis {
        self.keep_ms().saturating_sub(self.expires_ms)
    }

    /// Its tags.
    pub fn tags(&self) -> &[SmolStr] {
        self.extra.as_ref().map_or(&[], |extra| &extra.tags)
    }

    /// Bytes that it counts for, without the key and the table's own.
    pub fn bytes(&self) -> usize {
        let tags = self.extra.as_ref().map_or(0, |extra| extra.tag_bytes());
        self.weight as usize + tags
    }

    /// Tiers of its cache that must not store it.
    pub fn skipped(&self) -> TierSet {
        self.look().skipped()
    }

    /// Its sliding expiry in milliseconds; 0 for none.
    pub fn idle_ms(&self) -> u32 {
        self.look().idle_ms()
    }

    /// Where its TTL ends, however often a sliding entry is renewed; `NEVER` without one.
    pub fn ends_ms(&self) -> Millis {
        self.extra.as_ref().map_or(NEVER, |extra| extra.ends_ms)
    }

    /// Whether it may be shown to a call that does not ask for stale values.
    #[inline]
    pub fn is_fresh(&self, now: impl FnOnce() -> Millis) -> bool {
        self.look().is_fresh(now)
    }

    /// Whether a sliding entry has used up enough of its time that a read should renew it. An eighth
    /// of slack keeps most reads of a hot entry from being writes.
    #[inline]
    pub fn wants_renewal(&self, now: impl FnOnce() -> Millis) -> bool {
        let idle = u64::from(self.idle_ms());
        idle > 0 && self.expires_ms.saturating_sub(now()) < idle - idle / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(expires_ms: Millis, extra: Option<Extra>) -> Slot {
        Slot {
            version: Version::at(1),
            created_ms: 0,
            expires_ms,
            body: Body::Decoded(Arc::new(())),
            extra: extra.map(Arc::new),
            weight: 1,
            schema: 0,
            priority: Priority::Normal,
            announced: false,
        }
    }

    #[test]
    fn a_slot_without_a_ttl_never_asks_for_the_time() {
        assert!(slot(NEVER, None).is_fresh(|| unreachable!()));
        assert!(!slot(NEVER, None).wants_renewal(|| unreachable!()));
    }

    #[test]
    fn a_slot_is_fresh_strictly_before_its_deadline() {
        assert!(slot(10, None).is_fresh(|| 9));
        assert!(!slot(10, None).is_fresh(|| 10));
    }

    #[test]
    fn a_slot_is_kept_at_least_until_it_expires() {
        let extra = |keep_ms| Extra {
            keep_ms,
            idle_ms: 80,
            ends_ms: NEVER,
            fingerprint: 0,
            skipped: TierSet::NONE,
            tags: ["t".into()].into(),
        };
        assert_eq!(slot(10, None).keep_ms(), 10);
        assert_eq!(slot(10, Some(extra(5))).keep_ms(), 10);
        assert_eq!(slot(10, Some(extra(50))).keep_ms(), 50);
        assert_eq!(slot(10, Some(extra(50))).tags(), ["t"]);
        assert!(slot(10, None).tags().is_empty());
    }

    #[test]
    fn a_sliding_slot_is_renewed_after_an_eighth_of_its_time() {
        let sliding = slot(
            80,
            Some(Extra {
                keep_ms: 0,
                idle_ms: 80,
                ends_ms: NEVER,
                fingerprint: 0,
                skipped: TierSet::NONE,
                tags: [].into(),
            }),
        );
        assert!(!sliding.wants_renewal(|| 10));
        assert!(sliding.wants_renewal(|| 11));
    }

    #[test]
    fn priorities_survive_storage() {
        for p in [
            Priority::Low,
            Priority::Normal,
            Priority::High,
            Priority::Pinned,
        ] {
            assert_eq!(Priority::from_byte(p.to_byte()), p);
        }
        assert_eq!(Priority::from_byte(99), Priority::Normal);
    }
}
