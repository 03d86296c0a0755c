//! How much memory a configuration can come to, as arithmetic over its limits.
//!
//! Each figure is what larder itself allocates, at the worst moment: a table that grows has its old self
//! beside it. What drivers keep for themselves (fjall's buffers, a map) is theirs.

use serde::Serialize;

use super::{CommitConfig, Config, Limits, WATCH_BUFFER_BYTES, WATCH_BUFFER_EVENTS};
use crate::timers::TIMERS_MAX;

/// A table, per byte that is counted: rows that have just doubled, beside those they were.
const TABLE_FACTOR: u64 = 3;
/// A dirty slot, per byte that is counted: the value as the host has it and as it is stored, and its
/// place in a table that has just doubled.
const DIRTY_FACTOR: u64 = 3;
/// A batch, per byte: what was taken, the records that are made of it, and what the driver makes of those.
const BATCH_FACTOR: u64 = 3;
/// One change in a batch, or one read under way, beyond its key and value.
const FLIGHT_BYTES: u64 = 1_024;
/// A distrusted key: its record in a table that has just doubled, and the deletion that heals it.
const DOUBT_BYTES: u64 = 2_048;
/// A fence of a tag, and its record on the way down.
const FENCE_BYTES: u64 = 1_024;
/// A deadline that waits, in a list that has just doubled.
const DEADLINE_BYTES: u64 = 192;
/// A timer (`timers.rs` has the reckoning).
const TIMER_BYTES: u64 = 64;
/// An event without its key and values, in a list that has just doubled.
const EVENT_BYTES: u64 = 768;
/// A tag beyond its bytes.
const TAG_BYTES: u64 = 32;
/// Keys of a snapshot that its subscriber remembers, and ends of its pages.
const FLOORS_COUNT: usize = 8_192;
/// One of them, in a table that has just doubled, beyond the key.
const FLOOR_BYTES: u64 = 192;
/// The future of a call that waits, with its deadline, its place in the queue and its ticket.
const CALL_BYTES: u64 = 6_144;
/// Runtimes, actors, mailboxes, empty tables, statistics.
const OWN_BYTES: u64 = 4 << 20;

/// What a larder can come to in memory at most, in bytes, by what takes it.
///
/// Values count by their encoded length, or by what the host's weigher says. What a value takes beyond
/// that while it is decoded comes on top, here as in `memory_bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct MemoryBound {
    /// Entries: three times `memory_bytes`.
    pub entries_bytes: u64,
    /// What is acknowledged and not stored: three times `dirty_bytes_max` for each driver.
    pub dirty_bytes: u64,
    /// `distrusted_keys_max` keys, and the deletions that heal them.
    pub doubts_bytes: u64,
    /// For each driver a batch under way, and `reads_in_flight_max` values.
    pub lanes_bytes: u64,
    /// Calls that wait, each with a key and a value of the largest size, in both of its forms. A call
    /// about many keys counts as so many calls.
    pub calls_bytes: u64,
    /// `tag_fences_max` tags in each of `caches_max` caches that are open, and of as many that stores remember.
    pub fences_bytes: u64,
    /// Deadlines that wait, and timers. Nothing where no entry has a TTL.
    pub deadlines_bytes: u64,
    /// Events, each with the value before and the one after: twice `events_waiting_bytes_max` (they wait
    /// for the hub, or the hub has taken them), and for each subscriber `WATCH_BUFFER_BYTES` or a single
    /// event of the largest size, its places, and the keys that it remembers of a snapshot. Reading the
    /// snapshot is a call about as many keys as a page has.
    pub events_bytes: u64,
    /// Larder's own, whatever it holds.
    pub own_bytes: u64,
}

impl MemoryBound {
    /// What setting, reading and removing of entries without tags and TTL can come to, in bytes.
    pub fn storing_bytes(&self) -> u64 {
        sum(&[
            self.entries_bytes,
            self.dirty_bytes,
            self.doubts_bytes,
            self.lanes_bytes,
            self.calls_bytes,
            self.own_bytes,
        ])
    }

    /// All of it, in bytes.
    pub fn total_bytes(&self) -> u64 {
        sum(&[
            self.storing_bytes(),
            self.fences_bytes,
            self.deadlines_bytes,
            self.events_bytes,
        ])
    }
}

impl Config {
    /// What this configuration can come to in memory, with these drivers below, `calls` calls under way
    /// and `subscriptions` subscribers.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// let larder = larder::Larder::builder().memory_bytes(64 << 20).start().await?;
    /// let config = larder.stats().await?.config;
    /// let bound = config.memory_bound(&[], 100, 0);
    /// assert_eq!(bound.entries_bytes, 192 << 20);
    /// assert!(bound.storing_bytes() <= bound.total_bytes());
    /// # Ok(()) }
    /// ```
    pub fn memory_bound(
        &self,
        drivers: &[CommitConfig],
        calls: usize,
        subscriptions: usize,
    ) -> MemoryBound {
        let limits = &self.limits;
        let (key, value) = (wide(limits.key_bytes_max), wide(limits.value_bytes_max));
        let two_values = sum(&[value, value, key]);
        let lanes = drivers.iter().map(|driver| {
            let changes = times(driver.commit_count_max, FLIGHT_BYTES);
            let batch = sum(&[wide(driver.commit_bytes_max), value, changes]);
            let reads = times(limits.reads_in_flight_max, sum(&[two_values, FLIGHT_BYTES]));
            sum(&[batch.saturating_mul(BATCH_FACTOR), reads])
        });
        // Nothing is recorded while nobody watches.
        let for_the_hub = match subscriptions {
            0 => 0,
            _ => times(2, wide(limits.events_waiting_bytes_max)),
        };
        let fences = times(
            limits.tag_fences_max,
            FENCE_BYTES + wide(limits.tag_bytes_max),
        );
        MemoryBound {
            entries_bytes: times(self.memory_bytes, TABLE_FACTOR),
            dirty_bytes: times(drivers.len(), times(limits.dirty_bytes_max, DIRTY_FACTOR)),
            doubts_bytes: times(limits.distrusted_keys_max, sum(&[key, DOUBT_BYTES])),
            lanes_bytes: lanes.fold(0, u64::saturating_add),
            calls_bytes: times(calls, sum(&[two_values, CALL_BYTES])),
            fences_bytes: times(limits.caches_max.saturating_mul(2), fences),
            deadlines_bytes: sum(&[
                times(limits.deadlines_waiting_max, sum(&[key, DEADLINE_BYTES])),
                times(TIMERS_MAX, sum(&[key, TIMER_BYTES])),
            ]),
            events_bytes: sum(&[for_the_hub, times(subscriptions, watcher_bytes(limits))]),
            own_bytes: OWN_BYTES,
        }
    }
}

/// What waits for one subscriber, and what it remembers of a snapshot.
fn watcher_bytes(limits: &Limits) -> u64 {
    let (key, value) = (wide(limits.key_bytes_max), wide(limits.value_bytes_max));
    let tag = TAG_BYTES + wide(limits.tag_bytes_max);
    let slot = sum(&[value, times(limits.tags_per_entry_max, tag)]);
    let event = sum(&[slot, slot, key, EVENT_BYTES]);
    sum(&[
        event.max(wide(WATCH_BUFFER_BYTES)),
        times(WATCH_BUFFER_EVENTS, EVENT_BYTES),
        times(FLOORS_COUNT, sum(&[key, FLOOR_BYTES])),
    ])
}

fn times(count: usize, bytes: u64) -> u64 {
    wide(count).saturating_mul(bytes)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn sum(parts: &[u64]) -> u64 {
    parts.iter().copied().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_what_storing_takes_and_what_comes_on_top() {
        let bound = Config::default().memory_bound(&[CommitConfig::default()], 100, 2);
        let on_top = bound.fences_bytes + bound.deadlines_bytes + bound.events_bytes;
        assert_eq!(bound.total_bytes(), bound.storing_bytes() + on_top);
    }
}
