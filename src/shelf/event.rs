//! What happened to an entry, as the shelf records it under the slot's lock.
//!
//! Events wait in a bounded outbox per stripe until the hub takes them, so per key they keep the
//! order of versions. Nobody watching costs one load.

use std::collections::VecDeque;

use super::ask::Bounds;
use super::slot::Slot;
use crate::clock::Millis;
use crate::key::Key;
use crate::sync::{Arc, AtomicUsize, Ordering};
use crate::version::Version;

/// What an event counts for beyond its key and values: its place in the list of a stripe, or of the
/// hub, that has just doubled.
pub const EVENT_OVERHEAD_BYTES: usize = 768;
/// Places that an empty outbox keeps for the next events.
const PLACES_KEPT: usize = 16;

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

impl RawEvent {
    /// Bytes that it counts for while it waits. Both values count in full, whoever else has them.
    pub fn bytes(&self) -> usize {
        let old = match &self.old {
            OldSlot::Known(slot) => slot.bytes(),
            OldSlot::None | OldSlot::NotLoaded => 0,
        };
        let new = self.new.as_ref().map_or(0, Slot::bytes);
        EVENT_OVERHEAD_BYTES + self.key.name.len() + old + new
    }
}

/// The events of one stripe that the hub has not taken yet.
pub struct Outbox {
    events: VecDeque<RawEvent>,
    lost: u64,
    /// Bytes of the events of all outboxes together. A share for each would be too little for one large
    /// event where there are many stripes.
    waiting: Arc<AtomicUsize>,
}

impl Outbox {
    /// An empty one, which counts its bytes in `waiting` with all the others of the shelf.
    pub fn new(waiting: Arc<AtomicUsize>) -> Self {
        Self {
            events: VecDeque::new(),
            lost: 0,
            waiting,
        }
    }

    /// Adds an event. With too many here, or too many bytes in all outboxes, the oldest ones are counted
    /// as lost and moved to `lost`: all of them, if nothing less makes room.
    pub fn push(&mut self, event: RawEvent, bounds: &Bounds, lost: &mut Vec<RawEvent>) {
        self.waiting.fetch_add(event.bytes(), Ordering::Relaxed);
        self.events.push_back(event);
        while self.is_over(bounds)
            && let Some(oldest) = self.events.pop_front()
        {
            self.waiting.fetch_sub(oldest.bytes(), Ordering::Relaxed);
            self.lost += 1;
            lost.push(oldest);
        }
    }

    fn is_over(&self, bounds: &Bounds) -> bool {
        self.events.len() > bounds.events_max
            || self.waiting.load(Ordering::Relaxed) > bounds.events_bytes_max
    }

    /// Moves everything to `into` and returns how many were dropped since the last time. The bytes stay
    /// counted; whoever takes gives them back when it has taken from every outbox, so that what it takes
    /// is within the bound too.
    pub fn take(&mut self, into: &mut Vec<RawEvent>) -> u64 {
        into.extend(self.events.drain(..));
        self.events.shrink_to(PLACES_KEPT);
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
    use crate::clock::NEVER;
    use crate::key::CacheId;
    use crate::shelf::{Body, Priority};

    /// What [`event`] counts for.
    const EVENT_BYTES: usize = EVENT_OVERHEAD_BYTES + 1;

    fn bounds(events_max: usize, events_bytes_max: usize) -> Bounds {
        Bounds {
            events_max,
            events_bytes_max,
            deadlines_max: 1,
            distrusted_max: 1,
        }
    }

    /// The times of the events that were lost for this one.
    fn push(outbox: &mut Outbox, event: RawEvent, bounds: Bounds) -> Vec<u64> {
        let mut lost = Vec::new();
        outbox.push(event, &bounds, &mut lost);
        lost.iter().map(|event| event.at_ms).collect()
    }

    /// An event with two values that weigh `bytes` together.
    fn heavy(n: u64, bytes: usize) -> RawEvent {
        let slot = |weight: usize| Slot {
            version: Version::at(n),
            created_ms: 0,
            expires_ms: NEVER,
            body: Body::Decoded(Arc::new(())),
            extra: None,
            weight: weight as u32,
            schema: 0,
            priority: Priority::Normal,
            announced: false,
        };
        RawEvent {
            old: OldSlot::Known(slot(bytes / 3)),
            new: Some(slot(bytes - bytes / 3)),
            ..event(n)
        }
    }

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
        let mut outbox = Outbox::new(Arc::default());
        for n in 1..=5 {
            let lost = push(&mut outbox, event(n), bounds(3, usize::MAX));
            assert_eq!(lost, Vec::from_iter((n > 3).then(|| n - 3)));
        }
        assert!(event(1).old.into_slot().is_none());
        let mut taken = Vec::new();
        assert_eq!(outbox.take(&mut taken), 2);
        let times: Vec<_> = taken.iter().map(|e| e.at_ms).collect();
        assert_eq!(times, [3, 4, 5]);
        assert_eq!(outbox.take(&mut taken), 0);
    }

    #[test]
    fn an_outbox_with_too_many_bytes_drops_the_oldest_until_the_newest_fits() {
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut outbox = Outbox::new(Arc::clone(&waiting));
        let bounds = bounds(100, 10 * EVENT_BYTES);
        for n in 1..=9 {
            assert!(push(&mut outbox, event(n), bounds).is_empty());
        }
        let heavy = heavy(10, 3 * EVENT_BYTES);
        assert_eq!(heavy.bytes(), 4 * EVENT_BYTES);
        assert_eq!(push(&mut outbox, heavy, bounds), [1, 2, 3]);
        assert_eq!(waiting.load(Ordering::Relaxed), 10 * EVENT_BYTES);
        assert_eq!(outbox.take(&mut Vec::new()), 3);
    }

    #[test]
    fn an_event_heavier_than_the_bound_is_lost_and_the_next_one_is_not() {
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut outbox = Outbox::new(Arc::clone(&waiting));
        let bounds = bounds(100, 10 * EVENT_BYTES);
        assert_eq!(push(&mut outbox, heavy(1, 10 * EVENT_BYTES), bounds), [1]);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
        assert!(push(&mut outbox, event(2), bounds).is_empty());
        assert_eq!(outbox.take(&mut Vec::new()), 1);
    }

    #[test]
    fn what_an_event_takes_is_no_more_than_it_counts_for() {
        // A list that has just doubled: its places, half of them free, beside those it had.
        assert!(3 * size_of::<RawEvent>() <= EVENT_OVERHEAD_BYTES);
        let mut outbox = Outbox::new(Arc::default());
        for n in 0..1_000 {
            push(&mut outbox, event(n), bounds(1_000, usize::MAX));
        }
        assert_eq!(outbox.take(&mut Vec::new()), 0);
        assert!(outbox.events.capacity() <= PLACES_KEPT);
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
