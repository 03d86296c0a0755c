//! A hit and a set in memory, each through larder's typed handle and beside it through quick_cache.
//!
//! The two do not do the same work, which is the point of putting them side by side: a hit of larder
//! checks key, schema, fence and expiry and polls a future; a set draws a version, measures the value
//! and compares marks; quick_cache's `get` and `insert` do the bare table work. Both share a value by
//! reference count, both have room for every key, and both are asked for the same keys in the same
//! order.
//!
//! Samples are interleaved: before each timed run of one, the other makes the same run untimed. So
//! neither finds caches and frequency as its own last sample left them, and what the machine does
//! meanwhile hits both.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use larder::{Cache, Larder};

/// Keys in use; their values take far less than the budget.
const KEYS: usize = 10_000;
const MEMORY_BYTES: usize = 64 << 20;
const VALUE_BYTES: usize = 200;

type Value = Vec<u8>;
type Peer = quick_cache::sync::Cache<String, Arc<Value>>;

/// Everything that is measured, filled alike.
struct Both {
    runtime: tokio::runtime::Runtime,
    larder: Larder,
    cache: Cache<Value>,
    peer: Peer,
    /// In an order without a pattern.
    keys: Vec<String>,
}

impl Both {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let larder = Larder::builder()
            .memory_bytes(MEMORY_BYTES)
            .start_blocking()
            .expect("a larder");
        let cache = larder.cache("bench").expect("a cache");
        // 7,919 is prime and does not divide `KEYS`, so every key comes once.
        let keys = (0..KEYS).map(|n| format!("key/{:08}", n * 7_919 % KEYS));
        let both = Self {
            runtime,
            larder,
            cache,
            peer: Peer::new(2 * KEYS),
            keys: keys.collect(),
        };
        both.set_larder(KEYS);
        both.set_peer(KEYS);
        both
    }

    fn keys(&self, count: usize) -> impl Iterator<Item = &String> {
        self.keys.iter().cycle().take(count)
    }

    fn get_larder(&self, count: usize) {
        self.runtime.block_on(async {
            for key in self.keys(count) {
                let found = self.cache.get(key).await.expect("an answer");
                assert!(black_box(found).is_some(), "every key is there");
            }
        });
    }

    fn get_peer(&self, count: usize) {
        for key in self.keys(count) {
            let found = self.peer.get(key);
            assert!(black_box(found).is_some(), "every key is there");
        }
    }

    fn set_larder(&self, count: usize) {
        self.runtime.block_on(async {
            for key in self.keys(count) {
                let value = Arc::new(vec![7; VALUE_BYTES]);
                black_box(self.cache.set(key, value).await.expect("a version"));
            }
        });
    }

    fn set_peer(&self, count: usize) {
        for key in self.keys(count) {
            let value = Arc::new(vec![7; VALUE_BYTES]);
            self.peer.insert(key.clone(), value);
        }
    }
}

/// Times `count` calls of `timed` after `other` has made as many.
fn after(count: u64, other: impl Fn(usize), timed: impl Fn(usize)) -> Duration {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    other(count);
    let began = Instant::now();
    timed(count);
    began.elapsed()
}

fn memory(c: &mut Criterion) {
    let both = Both::new();
    let (get_larder, get_peer) = (|n| both.get_larder(n), |n| both.get_peer(n));
    let (set_larder, set_peer) = (|n| both.set_larder(n), |n| both.set_peer(n));

    let mut hit = c.benchmark_group("memory hit");
    hit.bench_function(BenchmarkId::from_parameter("larder"), |b| {
        b.iter_custom(|count| after(count, get_peer, get_larder));
    });
    hit.bench_function(BenchmarkId::from_parameter("quick_cache"), |b| {
        b.iter_custom(|count| after(count, get_larder, get_peer));
    });
    hit.finish();

    let mut set = c.benchmark_group("memory set");
    set.bench_function(BenchmarkId::from_parameter("larder"), |b| {
        b.iter_custom(|count| after(count, set_peer, set_larder));
    });
    set.bench_function(BenchmarkId::from_parameter("quick_cache"), |b| {
        b.iter_custom(|count| after(count, set_larder, set_peer));
    });
    set.finish();

    let stopped = both.larder.shutdown(Duration::from_secs(5));
    both.larder
        .block_on(stopped)
        .expect("a runtime")
        .expect("a clean end");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = memory
}
criterion_main!(benches);
