//! A platform's key-value store and three ways to use it: one call after the other is slow, many at once
//! fail or are lost, and a larder in front of it that is told the pace loses nothing and never trips it.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, join_all, select};
use larder::clock::{Clock, NEVER};
use larder::drivers::faults::Platform;
use larder::drivers::{Driver, Failure, StoreDurability, Write};
use larder::{Cache, CommitConfig, Condition, Durability, Larder, Limits, Version};

const BEGIN_MS: u64 = 1_700_000_000_000;
const SOON: Duration = Duration::from_secs(60);

fn platform() -> (Platform, Clock) {
    let clock = Clock::manual(BEGIN_MS);
    (Platform::new(clock.clone()), clock)
}

fn put(n: usize, bytes: usize) -> Write {
    Write::Put {
        key: format!("key {n}").into(),
        record: Bytes::from(vec![7; bytes]),
        version: Version::at(1),
        keep_ms: NEVER,
    }
}

/// One call of a bare client.
fn store(platform: &Platform, batch: &[Write]) -> Result<(), Failure> {
    platform.open().commit(batch, StoreDurability::Written)
}

fn stored(platform: &Platform) -> u64 {
    platform.store().open().usage().entries.unwrap()
}

/// Lets time pass whenever all calls wait for it, until `done`.
fn pass(platform: &Platform, clock: &Clock, done: impl Fn() -> bool) {
    while !done() {
        if let Some(end_ms) = platform.next_end_ms() {
            clock.raise(end_ms);
        }
        std::thread::yield_now();
    }
}

/// So many calls at once, on a clock that stands until each is in flight or refused. How many failed.
fn all_at_once(platform: &Platform, clock: &Clock, calls: usize, bytes: usize) -> usize {
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..calls)
            .map(|n| scope.spawn(move || store(platform, &[put(n, bytes)]).is_err()))
            .collect();
        let is_over = |failed: usize| failed + platform.in_flight() == calls.len();
        while !is_over(calls.iter().filter(|call| call.is_finished()).count()) {
            std::thread::yield_now();
        }
        pass(platform, clock, || calls.iter().all(|c| c.is_finished()));
        let failed = calls.into_iter().map(|call| call.join().unwrap());
        failed.filter(|failed| *failed).count()
    })
}

#[test]
fn one_call_after_the_other_loses_nothing_and_is_slow() {
    let (platform, clock) = platform();
    std::thread::scope(|scope| {
        let calls =
            scope.spawn(|| (0..100).for_each(|n| store(&platform, &[put(n, 100)]).unwrap()));
        pass(&platform, &clock, || calls.is_finished());
    });
    assert_eq!(stored(&platform), 100);
    assert!(!platform.counts().tripped());
    assert_eq!(clock.now_ms() - BEGIN_MS, 2_000, "20 ms each");
}

#[test]
fn of_many_calls_at_once_only_64_get_in() {
    let (platform, clock) = platform();
    assert_eq!(all_at_once(&platform, &clock, 200, 100), 136);
    assert_eq!(stored(&platform), 64);
    assert_eq!(platform.counts().refused_calls, 136);
}

#[test]
fn large_values_at_once_do_not_fit_into_the_transaction_buffer() {
    let (platform, clock) = platform();
    assert_eq!(all_at_once(&platform, &clock, 12, 200 << 10), 7);
    assert_eq!(platform.counts().refused_bytes, 7);
}

#[test]
fn more_writes_than_it_takes_in_a_second_are_refused() {
    let (platform, _) = platform();
    let all: Vec<_> = (0..101).map(|n| put(n, 100)).collect();
    assert!(matches!(store(&platform, &all), Err(Failure::Retry { .. })));
    assert_eq!(
        (stored(&platform), platform.counts().refused_writes),
        (0, 1)
    );
}

#[test]
fn as_many_writes_as_it_takes_are_acknowledged_and_some_are_lost() {
    let (platform, clock) = platform();
    let batches: Vec<Vec<_>> = (0..4)
        .map(|second| (0..100).map(|n| put(second * 100 + n, 100)).collect())
        .collect();
    for batch in &batches {
        std::thread::scope(|scope| {
            let call = scope.spawn(|| store(&platform, batch).unwrap());
            pass(&platform, &clock, || call.is_finished());
        });
        clock.advance(Duration::from_millis(980));
    }
    let lost = 400 - stored(&platform);
    assert!(lost > 100, "{lost}");
    assert_eq!(platform.counts().dropped_writes, lost);
}

/// A larder over a platform's store. Its time passes only while everybody waits for it.
struct Fronted {
    larder: Larder,
    cache: Cache<Vec<u8>>,
    platform: Platform,
    clock: Clock,
}

const KEYS: usize = 200;

impl Fronted {
    async fn start(commits: CommitConfig) -> Self {
        let (platform, clock) = platform();
        let mut limits = Limits::default();
        limits.value_bytes_max = 64 << 10;
        let start = Larder::builder()
            .memory_bytes(512 << 10)
            .limits(limits)
            .call_max(SOON)
            .clock(clock.clone())
            .driver_factory("platform", commits, platform.factory())
            .start();
        let opened = async {
            let mut start = pin!(start);
            loop {
                match select(start.as_mut(), pin!(tokio::task::yield_now())).await {
                    Either::Left((larder, _)) => return larder.unwrap(),
                    Either::Right(..) => end_calls(&platform, &clock),
                };
            }
        };
        let larder = tokio::time::timeout(SOON, opened).await.unwrap();
        Self {
            // As long below as it is here.
            cache: larder
                .cache_builder("values")
                .compression(larder::Compression::None)
                .open()
                .unwrap(),
            larder,
            platform,
            clock,
        }
    }

    /// Lets time pass until something is done.
    async fn pass<T>(&self, done: impl Future<Output = T>) -> T {
        let mut done = pin!(tokio::time::timeout(SOON, done));
        loop {
            match select(done.as_mut(), pin!(self.settle())).await {
                Either::Left((done, _)) => return done.expect("it ends"),
                Either::Right(..) => {}
            }
            if self.platform.in_flight() > 0 {
                end_calls(&self.platform, &self.clock);
            } else {
                // The pace.
                self.clock.advance(Duration::from_millis(50));
            }
        }
    }

    /// Some round trips through the arbiters and the driver's threads: whoever does not wait for the
    /// time has had its turn.
    async fn settle(&self) {
        for _ in 0..2 {
            // An error means that it is shut down.
            let _ = self.larder.stats().await;
            tokio::task::yield_now().await;
        }
    }

    /// Sets every key five times, all at once.
    async fn set_all(&self) {
        let sets = (0..KEYS * 5).map(|n| async move {
            let (key, fill) = (format!("{}", n % KEYS), u8::try_from(n / KEYS).unwrap());
            let set = self.cache.set(&key, vec![fill; 8 << 10]);
            set.await.unwrap();
        });
        // While the clock stands: the store has not been waited for.
        let sets = tokio::time::timeout(SOON, join_all(sets));
        sets.await.expect("nobody waits for the store");
    }

    /// Reads every key, all at once.
    async fn read_all(&self) -> usize {
        let gets = (0..KEYS).map(|n| {
            let cache = self.cache.clone();
            async move { cache.get(&format!("{n}")).outcome().await.unwrap() }
        });
        let found = self.pass(join_all(gets)).await;
        let newest = found.iter().filter_map(|found| found.entry.as_ref());
        newest.filter(|value| value[0] == 4).count()
    }
}

/// The calls in flight that end next do.
fn end_calls(platform: &Platform, clock: &Clock) {
    if let Some(end_ms) = platform.next_end_ms() {
        clock.raise(end_ms);
    }
}

#[tokio::test]
async fn a_larder_in_front_of_it_loses_nothing_and_never_trips_it() {
    let mut commits = CommitConfig::default();
    commits.writes_per_second_max = NonZeroU32::new(40);
    commits.commit_count_max = 32;
    commits.commit_bytes_max = 256 << 10;
    commits.read_threads = 8;
    let front = Fronted::start(commits).await;
    front.set_all().await;
    assert_eq!(front.read_all().await, KEYS, "while it is being stored");
    front
        .pass(front.larder.flush(Durability::Written))
        .await
        .unwrap();
    assert_eq!(front.read_all().await, KEYS, "from memory and from below");
    let health = front.larder.driver("platform").unwrap().health();
    assert_eq!(
        (health.condition, health.breaker.opened),
        (Condition::Up, 0)
    );
    let counts = front.platform.counts();
    assert!(!counts.tripped(), "{counts:?}");
    assert!((2..=9).contains(&counts.calls_in_flight), "{counts:?}");
    // Memory holds a part of it: everything is below, and of each key the newest.
    let larder = front.larder.clone();
    front.pass(larder.shutdown(SOON)).await.unwrap();
    let page = larder::drivers::PageLimit {
        count_max: 1_000,
        bytes_max: 64 << 20,
    };
    let stored = front.platform.store().open().scan(b"values/", b"", page);
    let stored = stored.unwrap();
    assert_eq!(stored.len(), KEYS);
    assert!(stored.iter().all(|(_, record)| record.ends_with(&[4; 64])));
}

#[tokio::test]
async fn a_larder_that_is_not_told_the_pace_trips_it() {
    let front = Fronted::start(CommitConfig::default()).await;
    front.set_all().await;
    let tripped = async {
        while !front.platform.counts().tripped() {
            tokio::task::yield_now().await;
        }
    };
    front.pass(tripped).await;
}
