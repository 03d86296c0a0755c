//! Memory and dirty set stay within their bounds, with a million entries and a slow driver.
//!
//! `LARDER_LONG=1` writes the million over the disk as well.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder::drivers::map::MapStore;
use larder::{Cache, CommitConfig, Larder, Limits};

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
