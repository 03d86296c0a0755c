//! The countdown: the Nth call of the driver fails, for N = 1, 2, ... until a whole day in the life of a
//! cache runs clean; once with that call alone and once with every call from it on. What larder says
//! meanwhile, and after the next start, is compared with a ledger.
//!
//! The default run takes some N only; `LARDER_LONG=1` takes each one (an hour; 25 minutes with `--release`), `LARDER_STRIDE` each so
//! many, `LARDER_N` a single one.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use larder::Error;
use larder::clock::Clock;
use larder::drivers::Factory;
use larder::drivers::faults::{Calls, Fault, Faults, When};
use larder::drivers::map::MapStore;

use tempfile::TempDir;

use scenario::{Day, STEPS, soon, start};

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/scenario.rs"]
mod scenario;

const BEGIN_MS: u64 = 1_700_000_000_000;
/// How long a shutdown may take that has nowhere to store anything.
const SHORT: Duration = Duration::from_millis(20);
/// Calls that a day makes at least, of those that a fault is about.
const DEPTH: u64 = 500;

/// What befalls the driver.
const FAULTS: [(Fault, Calls); 6] = [
    (Fault::Retry, Calls::Any),
    (Fault::Reopen, Calls::Any),
    (Fault::Panic, Calls::Any),
    (Fault::Unknown, Calls::Writes),
    (Fault::Full, Calls::Writes),
    (Fault::Poison, Calls::Writes),
];

/// One run of the scenario.
#[derive(Clone, Copy, Debug)]
struct Run {
    fault: Fault,
    calls: Calls,
    /// From the Nth call on, instead of that one alone.
    for_ever: bool,
    n: u64,
}

/// Makes an empty store, and keeps its directory if it has one.
type Fresh = dyn Fn() -> (Factory, Option<TempDir>) + Sync;

impl Run {
    /// Plays it on an empty store. How many calls it made, if none of them met the fault.
    async fn play(self, store: Factory) -> Option<u64> {
        let (faults, clock) = (Faults::new(), Clock::manual(BEGIN_MS));
        let store = faults.over(store);
        let when = if self.for_ever {
            When::From(self.n)
        } else {
            When::Nth(self.n)
        };
        faults.inject(self.calls, when, self.fault);
        let (larder, steps) = match start(&store, &clock).await {
            Ok(larder) => (larder, STEPS),
            Err(error) => {
                assert!(faults.struck() > 0, "{error}");
                faults.repair();
                // Nothing is wrong any more.
                (start(&store, &clock).await.unwrap(), STEPS / 20)
            }
        };
        let mut day = Day::new(larder, &clock);
        day.live(steps, async |day, step| {
            // Some steps meet the driver down, some meet it when it has just come back.
            if step % 15 == 0 && self.for_ever {
                day.nudge();
            } else if step % 15 == 0 {
                day.until_up().await;
            }
        })
        .await;
        // What is wrong for ever is put right before the end, or after it.
        let ends_well = !self.for_ever || self.n.is_multiple_of(2);
        if ends_well {
            faults.repair();
            day.larder.driver("store").unwrap().restart();
            day.until_up().await;
        }
        day.read_all().await;
        let stored = day.larder.shutdown(if ends_well { soon() } else { SHORT });
        let stored = stored.await;
        assert!(stored.is_ok() || !ends_well, "{stored:?}");
        faults.repair();
        let calls = faults.calls(self.calls);
        day.ledger.ended(stored.is_ok());
        let mut day = day.goes_on(reopen(&store, &clock).await);
        day.check_stored("the next process").await;
        day.larder.shutdown(soon()).await.unwrap();
        (faults.struck() == 0).then_some(calls)
    }

    /// Plays it in a runtime of its own.
    ///
    /// # Errors
    ///
    /// What went wrong.
    fn play_alone(self, fresh: &Fresh) -> Result<Option<u64>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (store, _dir) = fresh();
        let guarded = async { tokio::time::timeout(soon() * 10, self.play(store)).await };
        match catch_unwind(AssertUnwindSafe(|| runtime.block_on(guarded))) {
            Ok(Ok(clean)) => Ok(clean),
            Ok(Err(_)) => Err(format!("{self:?} hangs")),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.unwrap_or_else(|| format!("{:?}", panic.downcast_ref::<&str>()));
                Err(format!("{self:?}: {text}"))
            }
        }
    }

    /// Counts from here until a run is clean, in steps of `stride` but for the first few, which meet the
    /// start. `skew` lets each countdown meet other calls.
    fn count_down(mut self, stride: u64, skew: u64, fresh: &Fresh) -> Result<(), String> {
        loop {
            if let Some(calls) = self.play_alone(fresh)? {
                assert!(calls >= DEPTH, "{self:?}: only {calls} calls");
                return Ok(());
            }
            self.n += match self.n {
                0..3 => 1,
                3 => 1 + skew % stride,
                _ => stride,
            };
        }
    }
}

/// Opens the store again, as soon as the threads of the larder before have let it go.
async fn reopen(store: &Factory, clock: &Clock) -> larder::Larder {
    let opening = async {
        loop {
            match start(store, clock).await {
                Ok(larder) => return larder,
                Err(Error::Open { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(soon(), opening)
        .await
        .expect("it opens")
}

fn number(name: &str) -> Option<u64> {
    let given = std::env::var(name).ok();
    given.map(|n| n.parse().unwrap())
}

/// Each kind of fault, once and for ever.
fn all(stride: u64, fresh: &Fresh) {
    let is_long = number("LARDER_LONG").is_some_and(|long| long > 0);
    let stride = number("LARDER_STRIDE").unwrap_or(if is_long { 1 } else { stride });
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let modes = FAULTS.into_iter().flat_map(|of| [(of, false), (of, true)]);
        for (at, ((fault, calls), for_ever)) in modes.enumerate() {
            let failed = &failed;
            scope.spawn(move || {
                let run = |n| Run {
                    fault,
                    calls,
                    for_ever,
                    n,
                };
                let done = match number("LARDER_N") {
                    Some(n) => run(n).play_alone(fresh).map(drop),
                    None => run(1).count_down(stride, at as u64 * 37, fresh),
                };
                failed.lock().unwrap().extend(done.err());
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn over_a_map_any_call_may_fail() {
    all(290, &|| (MapStore::new().factory(), None));
}

#[cfg(feature = "disk")]
#[test]
fn over_a_disk_any_call_may_fail() {
    use larder::drivers::disk::{DiskConfig, DiskDriver};
    let config = DiskConfig {
        cache_bytes: 1 << 20,
        // So small that a day fills several, which are written to tables and merged.
        memtable_bytes: 64 << 10,
        journal_bytes_max: 64 << 20,
        worker_threads: 1,
        open_files_max: 32,
        ..DiskConfig::default()
    };
    all(370, &move || {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskDriver::factory(dir.path(), &config);
        (store, Some(dir))
    });
}
