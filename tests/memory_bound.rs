//! Ten thousand tasks that write as fast as they can to a disk that has stopped: memory in use stays
//! under the bound that the configuration comes to.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::Duration;

use larder::drivers::faults::{Fault, Faults, Op, When};
use larder::drivers::map::MapStore;
use larder::{
    Cache, CommitConfig, DegradedReason, Durability, Error, Larder, Limits, WriteOutcome,
};
use peak_alloc::PeakAlloc;
use tokio::sync::{Mutex, MutexGuard};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// One test at a time: what is allocated is the whole process's.
static TURN: Mutex<()> = Mutex::const_new(());

const SOON: Duration = Duration::from_secs(60);
const TASKS: usize = 10_000;
/// Changes that each task makes. All values together are 600 MB.
const ROUNDS: usize = 20;
const VALUE_BYTES: usize = 3_000;

/// A larder with little of everything over a store whose calls can fail, and its bound.
struct Small {
    larder: Larder,
    cache: Cache<String>,
    faults: Faults,
    bound_bytes: usize,
    _turn: MutexGuard<'static, ()>,
}

/// A driver that hangs is not given up, however long a busy machine takes for the test.
fn commits() -> CommitConfig {
    let mut commits = CommitConfig::default();
    commits.breaker.hung_ms = 600_000;
    commits
}

impl Small {
    async fn start() -> Self {
        let _turn = TURN.lock().await;
        let mut limits = Limits::default();
        limits.key_bytes_max = 64;
        limits.value_bytes_max = 4 << 10;
        limits.dirty_bytes_max = 1 << 20;
        limits.distrusted_keys_max = 1_000;
        let faults = Faults::new();
        let (first, longest) = (Duration::from_millis(1), Duration::from_millis(5));
        let larder = Larder::builder()
            .memory_bytes(2 << 20)
            .limits(limits)
            .restart_backoff(first, longest)
            .driver_factory("store", commits(), faults.over(MapStore::new().factory()));
        let before = ALLOCATED.current_usage();
        let larder = larder.start().await.unwrap();
        let config = larder.stats().await.unwrap().config;
        let bound = config.memory_bound(&[commits()], TASKS, 0);
        ALLOCATED.reset_peak_usage();
        Self {
            cache: larder.cache("writes").unwrap(),
            larder,
            faults,
            bound_bytes: before + usize::try_from(bound.storing_bytes()).unwrap(),
            _turn,
        }
    }

    /// Every task makes its changes, one after the other. How many of them `counts` says so of.
    async fn write(
        &self,
        deadline: Duration,
        counts: fn(Result<WriteOutcome, Error>) -> bool,
    ) -> usize {
        let tasks = (0..TASKS).map(|task| {
            let cache = self.cache.clone();
            tokio::spawn(async move {
                let mut counted = 0;
                for round in 0..ROUNDS {
                    let key = format!("{task}/{round}");
                    let set = cache.set(&key, "7".repeat(VALUE_BYTES)).deadline(deadline);
                    counted += usize::from(counts(set.outcome().await));
                }
                counted
            })
        });
        let mut counted = 0;
        for task in tasks.collect::<Vec<_>>() {
            counted += task.await.unwrap();
        }
        counted
    }

    fn check(&self) {
        let peak = ALLOCATED.peak_usage();
        assert!(
            peak <= self.bound_bytes,
            "{} KiB in use, allowed are {}",
            peak >> 10,
            self.bound_bytes >> 10
        );
        // A bound that allowed everything would show nothing.
        assert!(self.bound_bytes < TASKS * ROUNDS * VALUE_BYTES / 2);
    }

    async fn end(self) {
        self.faults.repair();
        self.larder.flush(Durability::Written).await.unwrap();
        self.larder.shutdown(SOON).await.unwrap();
    }
}

fn is_memory_only(outcome: &WriteOutcome) -> bool {
    let mut reasons = outcome.degraded.iter().map(|d| d.reason);
    reasons.any(|reason| reason == DegradedReason::MemoryOnly)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_writers_to_a_disk_that_hangs_stay_within_the_bound() {
    let small = Small::start().await;
    small.faults.inject(Op::Commit, When::Always, Fault::Hang);
    let refused = small.write(Duration::from_millis(20), |set| match set {
        Ok(_) => false,
        Err(Error::Overloaded { limit, .. }) => limit == "dirty_bytes_max",
        Err(other) => panic!("{other:?}"),
    });
    let refused = refused.await;
    small.check();
    // A few hundred found room before it was full; everybody else waited, and was told.
    assert!(refused > TASKS * (ROUNDS - 1), "{refused}");
    let dirty = small.larder.stats().await.unwrap().dirty;
    assert!(dirty.bytes > 900 << 10, "{dirty:?}");
    small.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_writers_to_a_disk_that_is_down_stay_within_the_bound() {
    let small = Small::start().await;
    small.faults.inject(Op::Open, When::Always, Fault::Reopen);
    small.faults.inject(Op::Commit, When::Always, Fault::Reopen);
    let written = small.cache.set("first", "7".to_owned());
    let written = written.durability(Durability::Written).await;
    assert!(
        matches!(written, Err(Error::Unavailable { .. })),
        "{written:?}"
    );
    let memory_only = small.write(SOON, |set| is_memory_only(&set.unwrap())).await;
    small.check();
    assert!(memory_only > TASKS * (ROUNDS - 1), "{memory_only}");
    small.end().await;
}
