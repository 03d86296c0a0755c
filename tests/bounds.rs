//! Memory, dirty set and outages stay within their bounds, with a million entries and 10,000 tasks.
//!
//! `LARDER_LONG=1` writes the million over the disk as well.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder::drivers::map::MapStore;
use larder::{
    Cache, CommitConfig, DegradedReason, Durability, Error, Larder, Limits, Priority, WriteOutcome,
};

use sluice::Sluice;

#[path = "support/sluice.rs"]
mod sluice;

const MEMORY_BYTES: usize = 2 << 20;
const SOON: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.value_bytes_max = 16 << 10;
    limits
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

/// Writes `count` entries from two threads and reads some, while a third samples the shelf.
async fn write_and_sample(larder: &Larder, count: u64) {
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let (done, samples) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|half| {
                let cache = &cache;
                scope.spawn(move || {
                    block_on(async {
                        for n in (half..count).step_by(2) {
                            cache.set(&format!("key/{n}"), n).await.unwrap();
                            if n % 8 == half {
                                let _ = cache.get(&format!("key/{}", n / 2)).await.unwrap();
                            }
                        }
                    });
                })
            })
            .collect();
        let sampler = scope.spawn(|| {
            block_on(async {
                while !done.load(Ordering::Relaxed) {
                    let stats = larder.stats().await.unwrap();
                    let (memory, limits) = (stats.memory, stats.config.limits);
                    assert!(memory.bytes <= MEMORY_BYTES, "{memory:?}");
                    assert!(
                        stats.dirty.bytes <= limits.dirty_bytes_max,
                        "{:?}",
                        stats.dirty
                    );
                    samples.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        let ends: Vec<_> = writers.into_iter().map(|w| w.join()).collect();
        done.store(true, Ordering::Relaxed);
        sampler.join().unwrap();
        ends.into_iter().for_each(|end| end.unwrap());
    });
    let memory = larder.stats().await.unwrap().memory;
    assert!(samples.load(Ordering::Relaxed) > 20, "{samples:?} samples");
    assert!(
        memory.evicted > count / 2 && memory.entries > 1_000,
        "{memory:?}"
    );
    assert!(
        memory.bytes > MEMORY_BYTES / 2,
        "the budget is used: {memory:?}"
    );
}

#[test]
fn a_million_entries_over_memory_alone_stay_within_its_budget() {
    block_on(async {
        let larder = Larder::builder()
            .memory_bytes(MEMORY_BYTES)
            .limits(limits());
        let larder = larder.start().await.unwrap();
        write_and_sample(&larder, 1_000_000).await;
        larder.shutdown(SOON).await.unwrap();
    });
}

#[cfg(feature = "disk")]
#[test]
fn entries_over_a_disk_stay_within_both_budgets() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let larder = Larder::builder()
            .memory_bytes(MEMORY_BYTES)
            .limits(limits());
        let larder = larder
            .call_max(SOON)
            .disk(dir.path())
            .start()
            .await
            .unwrap();
        let is_long = std::env::var("LARDER_LONG").is_ok();
        let count = if is_long { 1_000_000 } else { 100_000 };
        write_and_sample(&larder, count).await;
        let cache: Cache<u64> = larder.cache("numbers").unwrap();
        for n in (0..count).step_by(5_021) {
            let found = cache.get(&format!("key/{n}")).await.unwrap();
            assert_eq!(found.as_deref(), Some(&n));
        }
        larder.shutdown(SOON).await.unwrap();
    });
}

/// A larder over a map behind a sluice, with little memory and a small dirty set.
async fn start(sluice: &Sluice, store: &MapStore, distrusted_keys_max: usize) -> Larder {
    let mut limits = limits();
    limits.dirty_bytes_max = 64 << 10;
    limits.distrusted_keys_max = distrusted_keys_max;
    let (first, longest) = (Duration::from_millis(1), Duration::from_millis(5));
    let larder = Larder::builder()
        .memory_bytes(256 << 10)
        .limits(limits)
        .call_max(SOON)
        .restart_backoff(first, longest)
        .driver_factory(
            "store",
            CommitConfig::default(),
            sluice.factory(store.factory()),
        );
    larder.start().await.unwrap()
}

#[test]
fn writers_faster_than_the_driver_wait_for_room() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    sluice.slow_down(Duration::from_millis(1));
    block_on(async {
        let larder = start(&sluice, &store, 1_000).await;
        let cache: Cache<Vec<u8>> = larder.cache("fast").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let cache = &cache;
                    scope.spawn(move || {
                        block_on(async {
                            for n in 0..3_000 {
                                let key = format!("{writer}/{n}");
                                let set = cache.set(&key, vec![7; 1_000]).outcome().await.unwrap();
                                assert!(set.degraded.is_empty());
                            }
                        });
                    })
                })
                .collect();
            let sampler = scope.spawn(|| {
                block_on(async {
                    let mut fullest = 0;
                    while !done.load(Ordering::Relaxed) {
                        let dirty = larder.stats().await.unwrap().dirty;
                        assert!(dirty.bytes <= 64 << 10, "{dirty:?}");
                        // Counted by what is there, not by what was let in.
                        assert!(dirty.slots * 1_000 <= 64 << 10, "{dirty:?}");
                        fullest = fullest.max(dirty.bytes);
                    }
                    assert!(fullest > 60 << 10, "the bound was reached, not {fullest}");
                });
            });
            let ends: Vec<_> = writers.into_iter().map(|w| w.join()).collect();
            done.store(true, Ordering::Relaxed);
            sampler.join().unwrap();
            ends.into_iter().for_each(|end| end.unwrap());
        });
        larder.shutdown(SOON).await.unwrap();
    });
}

/// Makes a mutation until larder says of the driver what is waited for.
async fn until(larder: &Larder, up: bool) {
    let probe: Cache<u64> = larder.cache("probe").unwrap();
    let turns = async {
        loop {
            let set = probe
                .set("k", 0)
                .durability(Durability::Written)
                .deadline(SOON);
            match set.await {
                Ok(_) if up => return,
                Err(Error::Unavailable { .. }) if !up => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(SOON, turns).await.unwrap();
}

fn is_memory_only(outcome: &WriteOutcome) -> bool {
    let mut reasons = outcome.degraded.iter().map(|d| d.reason);
    reasons.any(|reason| reason == DegradedReason::MemoryOnly)
}

/// No key shows what it was before the driver stopped. Returns how many show something.
async fn check_none_is_old(when: &str, cache: &Cache<String>, count: usize) -> usize {
    let keys = (0..count).map(|n| format!("k{n}"));
    let found = cache.get_many(keys).await.unwrap();
    let old = found
        .iter()
        .filter(|(_, e)| e.as_ref().is_some_and(|e| **e == "old"));
    assert_eq!(old.count(), 0, "{when}: keys that are old again");
    for n in (0..count).step_by(97) {
        let found = cache.get(&format!("k{n}")).await.unwrap();
        assert!(found.is_none_or(|e| *e == "new"), "{when}: a get of k{n}");
    }
    let page = cache.scan("").page_size(10_000).await.unwrap();
    assert!(
        page.entries.iter().all(|(_, e)| **e == "new"),
        "{when}: a scan"
    );
    found.iter().filter(|(_, e)| e.is_some()).count()
}

/// Pushes everything out of memory, newcomers and what has proved itself.
async fn evict(larder: &Larder) {
    let filler = larder.cache_builder("filler").drivers(["memory"]);
    let filler = filler.weigher(|_: &u64| 8_000).open().unwrap();
    for n in 0..400 {
        let priority = [Priority::Normal, Priority::High][n as usize % 2];
        filler
            .set(&format!("f{n}"), n)
            .priority(priority)
            .await
            .unwrap();
    }
}

const TASKS: usize = 10_000;

/// Stores old values of all keys, stops the driver, and sets new ones from a task each.
async fn write_into_an_outage(sluice: &Sluice, larder: &Larder) -> Cache<String> {
    let cache: Cache<String> = larder.cache("outage").unwrap();
    let old = (0..TASKS).map(|n| (format!("k{n}"), "old".to_owned()));
    let report = cache
        .set_many(old)
        .durability(Durability::Written)
        .await
        .unwrap();
    assert_eq!((report.applied, report.chunks_unstored), (TASKS, 0));
    sluice.stop();
    until(larder, false).await;
    let sets = (0..TASKS).map(|n| {
        let cache = cache.clone();
        let key = format!("k{n}");
        tokio::spawn(async move { cache.set(&key, "new".to_owned()).outcome().await.unwrap() })
    });
    let mut memory_only = 0;
    for set in sets.collect::<Vec<_>>() {
        let outcome = set.await.unwrap();
        assert!(
            !outcome.degraded.is_empty(),
            "a driver that is down is named"
        );
        memory_only += u64::from(is_memory_only(&outcome));
    }
    let stats = larder.stats().await.unwrap();
    assert!(memory_only > 9_000, "only {memory_only}");
    assert_eq!(stats.dirty.memory_only_sets, memory_only);
    assert!(stats.dirty.bytes <= 64 << 10, "{:?}", stats.dirty);
    check_none_is_old("while it is down", &cache, TASKS).await;
    cache
}

#[test]
fn after_an_outage_that_overflowed_nothing_old_comes_back() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    block_on(async {
        let larder = start(&sluice, &store, 65_536).await;
        let cache = write_into_an_outage(&sluice, &larder).await;
        sluice.restore();
        until(&larder, true).await;
        check_none_is_old("at once", &cache, TASKS).await;
        evict(&larder).await;
        check_none_is_old("after eviction", &cache, TASKS).await;
        let healed = async {
            while larder.stats().await.unwrap().memory.distrusted > 0 {
                larder.flush(Durability::Written).await.unwrap();
            }
        };
        tokio::time::timeout(SOON, healed).await.unwrap();
        evict(&larder).await;
        let kept = check_none_is_old("when all is healed", &cache, TASKS).await;
        assert!(kept > 100, "what was queued is stored, not only {kept}");
        // It is a cache as before.
        cache.set("k1", "new".to_owned()).await.unwrap();
        larder.flush(Durability::Written).await.unwrap();
        evict(&larder).await;
        assert_eq!(*cache.get("k1").await.unwrap().unwrap(), "new");
        larder.shutdown(SOON).await.unwrap();
        let larder = start(&sluice, &store, 65_536).await;
        let cache: Cache<String> = larder.cache("outage").unwrap();
        assert!(check_none_is_old("in the next process", &cache, TASKS).await >= kept);
        larder.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn an_outage_with_more_keys_than_can_be_distrusted_one_by_one_brings_nothing_old_back() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    block_on(async {
        let larder = start(&sluice, &store, 100).await;
        let cache = write_into_an_outage(&sluice, &larder).await;
        sluice.restore();
        until(&larder, true).await;
        for _ in 0..3 {
            check_none_is_old("afterwards", &cache, TASKS).await;
            evict(&larder).await;
            larder.flush(Durability::Written).await.unwrap();
        }
        larder.shutdown(SOON).await.unwrap();
    });
}

/// Fills the dirty set of a driver that is down.
async fn fill_dirty_set(larder: &Larder) {
    let cache: Cache<Vec<u8>> = larder.cache("filling").unwrap();
    for n in 0.. {
        let outcome = cache
            .set(&format!("{n}"), vec![7; 10])
            .outcome()
            .await
            .unwrap();
        if is_memory_only(&outcome) {
            return;
        }
    }
}

#[test]
fn a_commit_that_ends_after_the_driver_is_given_up_earns_no_trust_for_what_came_since() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    block_on(async {
        let larder = start(&sluice, &store, 65_536).await;
        let cache: Cache<u64> = larder.cache("late").unwrap();
        sluice.hold_commits();
        cache.set("k", 1).await.unwrap();
        sluice.commit_entered().await;
        sluice.break_get();
        assert!(cache.get("other").outcome().await.unwrap().degraded.len() == 1);
        fill_dirty_set(&larder).await;
        assert!(is_memory_only(&cache.set("k", 2).outcome().await.unwrap()));
        sluice.release_commits();
        until(&larder, true).await;
        evict(&larder).await;
        let found = cache.get("k").outcome().await.unwrap();
        // Nothing, or what was set last; and memory was asked to forget it.
        assert!(
            found.entry.is_none_or(|entry| *entry == 2),
            "{:?}",
            found.source
        );
        larder.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn a_clear_while_the_dirty_set_is_full_and_the_driver_down_holds_in_the_next_process() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    block_on(async {
        let larder = start(&sluice, &store, 65_536).await;
        let cache: Cache<u64> = larder.cache("cleared").unwrap();
        cache.set("before the first", 1).await.unwrap();
        cache.clear().await.unwrap();
        cache
            .set("k", 1)
            .durability(Durability::Written)
            .await
            .unwrap();
        sluice.stop();
        until(&larder, false).await;
        fill_dirty_set(&larder).await;
        let cleared = cache.clear().outcome().await.unwrap();
        assert!(!is_memory_only(&cleared) && !cleared.degraded.is_empty());
        sluice.restore();
        until(&larder, true).await;
        larder.shutdown(SOON).await.unwrap();
        let larder = start(&sluice, &store, 65_536).await;
        let cache: Cache<u64> = larder.cache("cleared").unwrap();
        assert!(cache.get("k").await.unwrap().is_none());
        assert!(cache.get("before the first").await.unwrap().is_none());
        larder.shutdown(SOON).await.unwrap();
    });
}
