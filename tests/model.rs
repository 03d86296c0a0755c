//! Random operations against a plain map: any read must be one that the laws allow.
//!
//! `LARDER_LONG=1` plays 10,000 sequences, `LARDER_SEQUENCES` any number, `LARDER_SEED` one again.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::clock::Clock;
use larder::drivers::Factory;
use larder::drivers::map::MapStore;
use larder::{
    Cache, CommitConfig, Durability, Error, Freshness, Larder, Limits, Priority, Version,
};

use plain_map::{Live, NEVER, PlainMap, Seen};
use sluice::Sluice;

#[path = "support/model_reads.rs"]
mod model_reads;
#[path = "support/model_steps.rs"]
mod model_steps;
#[path = "support/plain_map.rs"]
mod plain_map;
#[path = "support/sluice.rs"]
mod sluice;

const SEQUENCES: u64 = 400;
const SEQUENCES_LONG: u64 = 10_000;
const STEPS: usize = 60;
const SOON: Duration = Duration::from_secs(30);
const KEYS: [&str; 6] = ["a", "a/1", "a/2", "b", "\u{fc}", "z\u{1}"];
const TAGS: [&str; 2] = ["red", "blue"];

/// What stands below memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Below {
    Nothing,
    Map,
    Disk,
}

/// One sequence under way.
struct Play {
    rng: fastrand::Rng,
    clock: Clock,
    sluice: Sluice,
    store: Option<Factory>,
    larder: Larder,
    cache: Cache<String>,
    /// Pushes entries of the cache out of memory.
    filler: Cache<u64>,
    model: PlainMap,
    /// Some entries are for memory only.
    mixed: bool,
    held: bool,
    count: u64,
    log: Log,
}

/// What was done, outside of what a panic unwinds.
type Log = Arc<Mutex<Vec<String>>>;

impl Play {
    async fn begin(seed: u64, log: Log) -> (Self, Option<tempfile::TempDir>) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let below = match rng.u32(0..50) {
            0..5 => Below::Nothing,
            5 => Below::Disk,
            _ => Below::Map,
        };
        let dir = (below == Below::Disk).then(|| tempfile::tempdir().unwrap());
        let sluice = Sluice::default();
        let store = match (&dir, below) {
            (Some(dir), _) => Some(disk(dir.path())),
            (None, Below::Map) => Some(MapStore::new().factory()),
            (None, _) => None,
        };
        let store = store.map(|inner| sluice.factory(inner));
        let clock = Clock::manual(1_700_000_000_000);
        let mixed = rng.u32(0..4) == 0;
        let (larder, cache, filler) = start(&clock, store.as_ref()).await;
        let mut play = Self {
            log,
            rng,
            clock,
            sluice,
            store,
            larder,
            cache,
            filler,
            model: PlainMap::default(),
            mixed,
            held: false,
            count: 0,
        };
        play.note(format!("{below:?}, mixed: {mixed}"));
        (play, dir)
    }

    fn note(&mut self, what: impl std::fmt::Display) {
        self.log.lock().unwrap().push(what.to_string());
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn has_tier(&self) -> bool {
        self.store.is_some()
    }

    fn key(&mut self) -> &'static str {
        KEYS[self.rng.usize(..KEYS.len())]
    }

    /// A new value; what it weighs in memory stands behind the slash.
    fn value(&mut self) -> String {
        self.count += 1;
        let weights = [10, 10, 5_000, 20_000, 1 << 20];
        format!(
            "{}/{}",
            self.count,
            weights[self.rng.usize(..weights.len())]
        )
    }

    async fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..20 => self.set().await,
            20..38 => self.get().await,
            38..44 => self.remove().await,
            44..48 => self.touch().await,
            48..51 => self.expire().await,
            51..54 => self.update().await,
            54..56 => self.clear().await,
            56..59 => self.remove_tag().await,
            59..63 => self.set_many().await,
            63..65 => self.remove_many().await,
            65..68 => self.get_many().await,
            68..73 => self.scan().await,
            73..76 => self.flush().await,
            76..82 => self.evict().await,
            82..84 => self.resize().await,
            84..89 => self.let_time_pass(),
            89..92 => self.hold_or_release(),
            92..96 => self.read_beside_changes().await,
            96..98 => self.scan_beside_a_flush().await,
            _ => self.restart().await,
        }
    }

    /// Everything once more, from wherever it lies now.
    async fn end(mut self) {
        for _ in 0..2 {
            for key in KEYS {
                self.get_key(key).await;
            }
            self.scan().await;
            self.release();
            self.flush().await;
            self.evict().await;
        }
        if self.has_tier() {
            self.restart().await;
            for key in KEYS {
                self.get_key(key).await;
            }
        }
        self.larder.shutdown(SOON).await.unwrap();
    }
}

#[cfg(feature = "disk")]
fn disk(dir: &std::path::Path) -> Factory {
    use larder::drivers::disk::{DiskConfig, DiskDriver};
    DiskDriver::factory(dir, &DiskConfig::default())
}

#[cfg(not(feature = "disk"))]
fn disk(_: &std::path::Path) -> Factory {
    MapStore::new().factory()
}

async fn start(clock: &Clock, store: Option<&Factory>) -> (Larder, Cache<String>, Cache<u64>) {
    let mut limits = Limits::default();
    limits.value_bytes_max = 1_024;
    let mut commits = CommitConfig::default();
    // The clock jumps while calls are held: none of them is slow, or hangs, for that.
    commits.breaker.slow_ms = 86_400_000;
    commits.breaker.hung_ms = 86_400_000;
    (commits.read_threads, commits.commit_count_max) = (2, 3);
    let mut builder = Larder::builder()
        .memory_bytes(64 << 10)
        .limits(limits)
        .call_max(SOON)
        .clock(clock.clone());
    if let Some(store) = store {
        builder = builder.driver_factory("store", commits, store.clone());
    }
    let larder = builder.start().await.unwrap();
    let weigh = |value: &String| value.rsplit('/').next().unwrap().parse().unwrap();
    let cache = larder.cache_builder("plain").weigher(weigh).open().unwrap();
    let filler = larder.cache_builder("filler").drivers(["memory"]);
    let filler = filler.weigher(|_| 15_000).open();
    (larder, cache, filler.unwrap())
}

/// Plays one sequence; the log and the panic's message if it went wrong.
fn play(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let log = Log::default();
    let run = async {
        let (mut play, _dir) = Play::begin(seed, Arc::clone(&log)).await;
        for _ in 0..STEPS {
            play.step().await;
        }
        play.end().await;
    };
    let guarded = async { tokio::time::timeout(SOON * 2, run).await };
    let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(guarded)));
    let why = match result {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(_)) => "it hangs".to_owned(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap_or(&"?").to_string())
        }
    };
    let log = log.lock().unwrap();
    let last: Vec<_> = log.iter().rev().take(25).rev().cloned().collect();
    Err(format!(
        "LARDER_SEED={seed}: {why}\nafter {} steps; the last:\n  {}",
        log.len(),
        last.join("\n  ")
    ))
}

#[test]
fn every_read_is_one_that_the_laws_allow() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().unwrap());
    let is_long = number("LARDER_LONG").is_some_and(|long| long > 0);
    let usual = if is_long { SEQUENCES_LONG } else { SEQUENCES };
    let count = number("LARDER_SEQUENCES").unwrap_or(usual);
    let (first, count) = match number("LARDER_SEED") {
        Some(seed) => (seed, 1),
        None => (fastrand::u64(..u64::MAX / 2), count),
    };
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers * 2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    if let Err(failure) = play(first + at) {
                        next.store(count, Ordering::Relaxed);
                        panic!("{failure}");
                    }
                }
            });
        }
    });
}
