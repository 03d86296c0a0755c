//! Concurrent histories on a few hot keys over a small memory and a disk: what every thread sees fits
//! one order of versions. `LARDER_SEED` plays the same operations again.
#![cfg(all(feature = "test-util", feature = "disk"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use larder::{Cache, Durability, Error, Larder, Limits, Priority};

const THREADS: usize = 6;
const STEPS: usize = 4_000;
const KEYS: usize = 4;
const SOON: Duration = Duration::from_secs(30);

/// What all threads know: each key's newest acknowledged or returned version, and whose value each
/// version is.
struct World {
    larder: Larder,
    cache: Cache<String>,
    filler: Cache<u64>,
    floors: [AtomicU64; KEYS],
    values: Mutex<HashMap<u64, String>>,
    done: AtomicBool,
}

async fn start(dir: &std::path::Path) -> Larder {
    let mut limits = Limits::default();
    limits.value_bytes_max = 16 << 10;
    let larder = Larder::builder()
        .memory_bytes(64 << 10)
        .limits(limits)
        .call_max(SOON)
        .disk(dir);
    larder.start().await.unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

fn seed() -> u64 {
    let given = std::env::var("LARDER_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap())
}

impl World {
    fn new(larder: Larder) -> Self {
        // Heavy enough that memory holds one or two of the hot keys at a time.
        let cache = larder.cache_builder("hot").weigher(|_: &String| 20_000);
        let filler = larder.cache_builder("filler").drivers(["memory"]);
        let filler = filler.priority(Priority::High).weigher(|_| 15_000).open();
        Self {
            cache: cache.open().unwrap(),
            filler: filler.unwrap(),
            larder,
            floors: Default::default(),
            values: Mutex::default(),
            done: AtomicBool::new(false),
        }
    }

    fn floor(&self, key: usize) -> u64 {
        self.floors[key].load(Ordering::SeqCst)
    }

    fn raise(&self, key: usize, version: u64) {
        self.floors[key].fetch_max(version, Ordering::SeqCst);
    }

    /// A version has one value, for ever.
    fn remember(&self, version: u64, value: &str) {
        let mut values = self.values.lock().unwrap();
        let known = values.entry(version).or_insert_with(|| value.to_owned());
        assert_eq!(known, value, "two values of v{version}");
    }

    /// A read that began when the key's floor stood at `floor` showed this.
    fn saw(&self, how: &str, key: usize, floor: u64, version: u64, value: &str) {
        assert!(
            version >= floor,
            "{how} of k{key} went back: v{version} after v{floor}"
        );
        assert!(
            value.starts_with(&format!("k{key}/")),
            "{how} of k{key} showed {value}"
        );
        self.remember(version, value);
        self.raise(key, version);
    }

    /// Eviction, flushes and live resizes under way all the time.
    async fn churn(&self, mut rng: fastrand::Rng) {
        while !self.done.load(Ordering::Relaxed) {
            for n in 0..16 {
                self.filler.set(&format!("f{n}"), n).await.unwrap();
            }
            match rng.u32(0..4) {
                0 => self.larder.flush(Durability::Written).await.unwrap(),
                1 => self
                    .larder
                    .resize_memory(rng.usize(64 << 10..128 << 10))
                    .await
                    .unwrap(),
                _ => tokio::task::yield_now().await,
            }
        }
    }
}

/// Runs a thread for each of `count`, and churns meanwhile.
fn beside_churn(
    world: &World,
    seed: u64,
    count: usize,
    body: impl Fn(usize, fastrand::Rng) + Sync,
) {
    let start = Barrier::new(count + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|thread| {
                let (body, start) = (&body, &start);
                let rng = fastrand::Rng::with_seed(seed.wrapping_add(thread as u64));
                scope.spawn(move || {
                    start.wait();
                    body(thread, rng);
                })
            })
            .collect();
        let churn = scope.spawn(|| {
            start.wait();
            block_on(world.churn(fastrand::Rng::with_seed(seed)));
        });
        let ends: Vec<_> = threads.into_iter().map(|t| t.join()).collect();
        world.done.store(true, Ordering::Relaxed);
        churn.join().unwrap();
        for end in ends {
            end.unwrap_or_else(|_| panic!("LARDER_SEED={seed}"));
        }
    });
}

#[test]
fn no_read_goes_back_and_versions_strictly_increase() {
    let (seed, dir) = (seed(), tempfile::tempdir().unwrap());
    let world = World::new(block_on(start(dir.path())));
    let issued = Mutex::new(Vec::new());
    beside_churn(&world, seed, THREADS, |thread, mut rng| {
        let mut mine = Vec::new();
        block_on(async {
            for step in 0..STEPS {
                let key = rng.usize(0..KEYS);
                one_step(
                    &world,
                    &mut rng,
                    key,
                    &format!("k{key}/{thread}/{step}"),
                    &mut mine,
                )
                .await;
            }
        });
        assert!(
            mine.is_sorted_by(|a, b| a < b),
            "a thread's own versions increase"
        );
        issued.lock().unwrap().extend(mine);
    });
    let mut issued = issued.into_inner().unwrap();
    let count = issued.len();
    issued.sort_unstable();
    issued.dedup();
    assert_eq!(issued.len(), count, "no version was issued twice");
    assert!(
        block_on(world.larder.stats()).unwrap().drivers[0].hits > 100,
        "reads went below"
    );
    block_on(world.larder.shutdown(SOON)).unwrap();
}

async fn one_step(
    world: &World,
    rng: &mut fastrand::Rng,
    key: usize,
    value: &str,
    mine: &mut Vec<u64>,
) {
    let (cache, name, floor) = (&world.cache, format!("k{key}"), world.floor(key));
    match rng.u32(0..20) {
        0..5 => {
            let durability = [Durability::Queued, Durability::Written][rng.usize(0..2)];
            let set = cache.set(&name, value.to_owned()).durability(durability);
            let version = set.await.unwrap().get();
            assert!(version > floor);
            world.remember(version, value);
            world.raise(key, version);
            mine.push(version);
        }
        5 => {
            let version = cache
                .remove(&name)
                .durability(Durability::Queued)
                .await
                .unwrap()
                .get();
            assert!(version > floor);
            // Whatever is read from now on is newer than the removal.
            world.raise(key, version);
            mine.push(version);
        }
        6 => {
            let floors: Vec<_> = (0..KEYS).map(|key| world.floor(key)).collect();
            let page = cache.scan("").await.unwrap();
            for (name, entry) in &page.entries {
                let key: usize = name.strip_prefix('k').unwrap().parse().unwrap();
                world.saw("a scan", key, floors[key], entry.version().get(), entry);
            }
        }
        7 => {
            let floors: Vec<_> = (0..KEYS).map(|key| world.floor(key)).collect();
            let names: Vec<_> = (0..KEYS).map(|key| format!("k{key}")).collect();
            for (key, (_, entry)) in cache.get_many(names).await.unwrap().iter().enumerate() {
                if let Some(entry) = entry {
                    world.saw("get_many", key, floors[key], entry.version().get(), entry);
                }
            }
        }
        _ => {
            if let Some(entry) = cache.get(&name).await.unwrap() {
                world.saw("get", key, floor, entry.version().get(), &entry);
            }
        }
    }
}

#[test]
fn compare_and_set_is_atomic() {
    let (seed, dir) = (seed(), tempfile::tempdir().unwrap());
    let world = World::new(block_on(start(dir.path())));
    let counters = world
        .larder
        .cache_builder::<u64>("counters")
        .weigher(|_| 20_000);
    let counters = counters.open().unwrap();
    let counted: [AtomicU64; KEYS] = Default::default();
    beside_churn(&world, seed, THREADS, |_, mut rng| {
        block_on(async {
            for _ in 0..STEPS / 4 {
                let key = rng.usize(0..KEYS);
                let name = format!("c{key}");
                let old = counters.get(&name).await.unwrap();
                let set = match &old {
                    Some(old) => counters.set(&name, **old + 1).if_version(old.version()),
                    None => counters.set(&name, 1).if_absent(),
                };
                match set.await {
                    Ok(_) => _ = counted[key].fetch_add(1, Ordering::Relaxed),
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    });
    let counts: Vec<u64> = counted.iter().map(|c| c.load(Ordering::Relaxed)).collect();
    assert!(counts.iter().sum::<u64>() > 100);
    block_on(async {
        world.larder.shutdown(SOON).await.unwrap();
        let larder = start(dir.path()).await;
        let counters: Cache<u64> = larder.cache("counters").unwrap();
        for (key, count) in counts.iter().enumerate() {
            let found = counters.get(&format!("c{key}")).await.unwrap();
            assert_eq!(found.as_deref(), Some(count), "LARDER_SEED={seed}");
        }
        larder.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn a_clear_is_final() {
    let (seed, dir) = (seed(), tempfile::tempdir().unwrap());
    let world = World::new(block_on(start(dir.path())));
    beside_churn(&world, seed, THREADS, |thread, mut rng| {
        let mut mine = Vec::new();
        block_on(async {
            for step in 0..STEPS / 4 {
                let key = rng.usize(0..KEYS);
                if rng.u32(0..40) == 0 {
                    let durability = [Durability::Queued, Durability::Written][rng.usize(0..2)];
                    let clear = world.cache.clear().durability(durability);
                    let version = clear.await.unwrap().get();
                    (0..KEYS).for_each(|key| world.raise(key, version));
                    continue;
                }
                one_step(
                    &world,
                    &mut rng,
                    key,
                    &format!("k{key}/{thread}/{step}"),
                    &mut mine,
                )
                .await;
            }
        });
    });
    block_on(async {
        let cleared = world.cache.clear().await.unwrap().get();
        world.larder.shutdown(SOON).await.unwrap();
        let larder = start(dir.path()).await;
        let cache: Cache<String> = larder.cache("hot").unwrap();
        for key in 0..KEYS {
            let found = cache.get(&format!("k{key}")).await.unwrap();
            assert!(
                found.is_none(),
                "LARDER_SEED={seed}: k{key} is back after v{cleared}"
            );
        }
        assert!(cache.scan("").await.unwrap().entries.is_empty());
        larder.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn of_clears_at_the_same_time_the_newest_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let larder = block_on(start(dir.path()));
        let cache: Cache<String> = larder.cache("cleared").unwrap();
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (cache, barrier) = (&cache, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    block_on(async {
                        for n in 0..20 {
                            let key = format!("{thread}/{n}");
                            let set = cache.set(&key, String::new());
                            set.durability(Durability::Written).await.unwrap();
                            cache.clear().await.unwrap();
                        }
                    });
                });
            }
        });
        block_on(async {
            // Each key was set before its own thread's clear, and is gone in the next process too.
            larder.shutdown(SOON).await.unwrap();
            let larder = start(dir.path()).await;
            let cache: Cache<String> = larder.cache("cleared").unwrap();
            let page = cache.scan("").await.unwrap();
            assert!(
                page.entries.is_empty(),
                "round {round}: {:?} came back",
                page.entries
            );
            larder.shutdown(SOON).await.unwrap();
        });
    }
}
