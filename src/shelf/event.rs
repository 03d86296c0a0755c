//! What happened to an entry, as the shelf records it under the slot's lock.
//!
//! Events wait in a bounded outbox per stripe until the hub takes them, so per key they keep the
//! order of versions. Nobody watching costs one load.

use std::collections::VecDeque;

use super::slot::Slot;
use crate::clock::Millis;
use crate::key::Key;
use crate::version::Version;

/// The kind of an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum EventKind {
    /// The key had no value that larder knew of without asking a store.
    Created,
    /// The key had another value, or other times.
    Updated,
    /// It was removed by a call.
    Removed,
    /// Its time was up.
    Expired,
    /// Memory let go of it; a store may still have it.
    Evicted,
    /// Its whole cache, or a tag of it, was invalidated.
    Cleared,
}

/// The value before a change.
#[derive(Clone)]
pub enum OldSlot {
    /// There was none.
    None,
    /// There may have been one in a store; it was not read for this.
    NotLoaded,
    /// It was this.
    Known(Slot),
}

impl OldSlot {
    pub(super) fn into_slot(self) -> Option<Slot> {
        match self {
            Self::Known(slot) => Some(slot),
            Self::None | Self::NotLoaded => None,
        }
    }
}

/// One event, not yet typed.
#[derive(Clone)]
pub struct RawEvent {
    /// The entry; for [`EventKind::Cleared`] the cache, with an empty name or the tag's.
    pub key: Key,
    /// What happened.
    pub kind: EventKind,
    /// The version of the mutation, or of the entry that expired or was evicted.
    pub version: Version,
    /// The value before it.
    pub old: OldSlot,
    /// The value after it.
    pub new: Option<Slot>,
    /// When, in unix milliseconds.
    pub at_ms: Millis,
}

/// The events of one stripe that the hub has not taken yet.
#[derive(Default)]
pub struct Outbox {
    events: VecDeque<RawEvent>,
    lost: u64,
}

impl Outbox {
    /// Adds an event; with `count_max` waiting the oldest one is counted as lost and handed out.
    pub fn push(&mut self, event: RawEvent, count_max: usize) -> Option<RawEvent> {
        self.events.push_back(event);
        if self.events.len() <= count_max {
            return None;
        }
        self.lost += 1;
        self.events.pop_front()
    }

    /// Moves everything to `into` and returns how many were dropped since the last time.
    pub fn take(&mut self, into: &mut Vec<RawEvent>) -> u64 {
        into.extend(self.events.drain(..));
        std::mem::take(&mut self.lost)
    }
}

/// The deadlines of one stripe that the TTL manager has not taken yet.
#[derive(Default)]
pub struct Deadlines {
    notes: Vec<(Key, Millis)>,
    overflowed: bool,
}

impl Deadlines {
    /// Notes that `key` has a deadline; with `count_max` waiting it asks for a pass over everything
    /// instead.
    pub fn push(&mut self, key: Key, at_ms: Millis, count_max: usize) {
        if self.notes.len() >= count_max {
            self.overflowed = true;
        } else {
            self.notes.push((key, at_ms));
        }
    }

    /// Moves everything to `into`; `true` if notes were dropped since the last time.
    pub fn take(&mut self, into: &mut Vec<(Key, Millis)>) -> bool {
        into.append(&mut self.notes);
        std::mem::take(&mut self.overflowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::CacheId;

    fn event(n: u64) -> RawEvent {
        RawEvent {
            key: Key::new(CacheId(0), "k"),
            kind: EventKind::Removed,
            version: Version::at(n),
            old: OldSlot::NotLoaded,
            new: None,
            at_ms: n,
        }
    }

    #[test]
    fn a_full_outbox_drops_the_oldest_and_counts() {
        let mut outbox = Outbox::default();
        for n in 1..=5 {
            let lost = outbox.push(event(n), 3);
            assert_eq!(lost.map(|e| e.at_ms), (n > 3).then(|| n - 3));
        }
        assert!(event(1).old.into_slot().is_none());
        let mut taken = Vec::new();
        assert_eq!(outbox.take(&mut taken), 2);
        let times: Vec<_> = taken.iter().map(|e| e.at_ms).collect();
        assert_eq!(times, [3, 4, 5]);
        assert_eq!(outbox.take(&mut taken), 0);
    }

    #[test]
    fn full_deadlines_ask_for_a_pass_over_everything() {
        let mut deadlines = Deadlines::default();
        for n in 0..3 {
            deadlines.push(Key::new(CacheId(0), "k"), n, 2);
        }
        let mut taken = Vec::new();
        assert!(deadlines.take(&mut taken));
        assert_eq!(taken.len(), 2);
        assert!(!deadlines.take(&mut taken));
    }
}
