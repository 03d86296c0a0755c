//! Who plays the traces. Each has room for exactly so many entries, as far as it counts in entries.

use larder::shelf::ENTRY_OVERHEAD_BYTES;
use larder::{Cache, Larder};

use super::exact;
use super::trace::Trace;
use crate::harness::drive;
use crate::peers::larder::{BUDGET_MIN, stop};

pub struct Policy {
    pub name: &'static str,
    /// How many requests of a trace hit at a capacity.
    pub hits: fn(&Trace, usize) -> usize,
}

/// Everybody; the constants are places in it.
pub const ALL: &[Policy] = &[
    Policy {
        name: crate::peers::LARDER,
        hits: larder,
    },
    Policy {
        name: "moka",
        hits: moka,
    },
    Policy {
        name: "quick_cache",
        hits: quick_cache,
    },
    Policy {
        name: "foyer",
        hits: foyer,
    },
    Policy {
        name: "LRU",
        hits: exact::lru,
    },
    Policy {
        name: "Belady",
        hits: exact::belady,
    },
];
pub const LARDER: usize = 0;
/// Those that larder is compared with.
pub const PEERS: std::ops::Range<usize> = 1..4;
pub const LRU: usize = 4;
pub const BELADY: usize = 5;

/// A value counts for this much, unless the whole would be less than the least budget.
const VALUE_BYTES: usize = 1 << 10;
const KEY_BYTES: usize = 12;

/// A larder with room for so many entries of equal weight, which has as many stripes as a host with
/// values of a KiB would get.
fn room_for(entries: usize) -> (Larder, Cache<u32>) {
    let least = BUDGET_MIN.div_ceil(entries);
    let weight = VALUE_BYTES.max(least);
    let larder = Larder::builder()
        .memory_bytes(entries * (ENTRY_OVERHEAD_BYTES + KEY_BYTES + weight))
        .start_blocking()
        .expect("a larder");
    let cache = larder.cache_builder("trace").weigher(move |_| weight);
    let cache = cache.open().expect("a cache");
    (larder, cache)
}

fn larder(trace: &Trace, capacity: usize) -> usize {
    let (larder, cache) = room_for(capacity);
    let keys: Vec<String> = (0..trace.distinct).map(|n| format!("{n:012}")).collect();
    let hits = drive(async {
        let mut hits = 0;
        for &request in &trace.requests {
            let key = &keys[request as usize];
            if cache.get(key).await.expect("an answer").is_some() {
                hits += 1;
            } else {
                cache.set(key, request).await.expect("a version");
            }
        }
        hits
    });
    stop(&larder);
    hits
}

/// Its upkeep is made after each insertion, so that it never has more than it may, nor forgets what was
/// read.
fn moka(trace: &Trace, capacity: usize) -> usize {
    let cache = moka::sync::Cache::new(capacity as u64);
    count(trace, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
            cache.run_pending_tasks();
        }
        hit
    })
}

fn quick_cache(trace: &Trace, capacity: usize) -> usize {
    let cache = quick_cache::sync::Cache::new(capacity);
    count(trace, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    })
}

fn foyer(trace: &Trace, capacity: usize) -> usize {
    let cache: foyer::Cache<u32, ()> = foyer::CacheBuilder::new(capacity).build();
    count(trace, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    })
}

fn count(trace: &Trace, mut is_hit: impl FnMut(u32) -> bool) -> usize {
    trace.requests.iter().filter(|key| is_hit(**key)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::larder::stats;

    #[test]
    fn a_larder_has_room_for_as_many_entries_as_asked_for() {
        for capacity in [250, 1_000, 15_000] {
            let (larder, cache) = room_for(capacity);
            drive(async {
                for n in 0..3 * capacity as u32 {
                    cache.set(&format!("{n:012}"), n).await.unwrap();
                }
            });
            let entries = stats(&larder).entries;
            // The budget is shared evenly; what is left over of a stripe's share is lost.
            assert!(
                (capacity - 64..=capacity).contains(&entries),
                "{entries} of {capacity}"
            );
            stop(&larder);
        }
    }
}
