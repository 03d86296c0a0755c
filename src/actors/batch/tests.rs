//! A run down a lane to a driver that answers as a test says: what becomes of what it took.

mod supply;

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::breaker::{BreakerConfig, BreakerMode};
use crate::clock::NEVER;
use crate::drivers::lanes::lanes;
use crate::drivers::pulse::Pulse;
use crate::drivers::{Driver, Failure, PageLimit, Watermark};
use crate::entry::Source;
use crate::shelf::{
    Ask, Body, Bounds, Change, Condition, Draft, Encoded, Plan, Priority, Room, Scope, TierId,
    TierSet,
};
use crate::version::{Version, VersionClock};

const STORE: TierId = TierId(0);

/// What comes of a batch, by how many changes it has.
type Says = Box<dyn FnMut(usize) -> Result<(), Failure> + Send>;

struct Bench {
    shelf: Arc<Shelf>,
    scope: Arc<Scope>,
    port: Arc<Port>,
    hurry: Arc<Hurry>,
    clock: Clock,
    says: Arc<Mutex<Says>>,
}

/// A store that answers commits as it is told.
struct Told(Arc<Mutex<Says>>);

impl Driver for Told {
    fn get(&self, _: &[u8]) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }

    fn commit(&self, batch: &[Write], _: StoreDurability) -> Result<(), Failure> {
        (self.0.lock())(batch.len())
    }

    fn scan(&self, _: &[u8], _: &[u8], _: PageLimit) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        Ok(Vec::new())
    }

    fn reserve(&self, _: Watermark) -> Result<(), Failure> {
        Ok(())
    }

    fn reserved(&self) -> Watermark {
        Watermark::default()
    }
}

/// A driver that is up whatever comes.
fn bench() -> Bench {
    let bounds = Bounds {
        events_max: 8,
        events_bytes_max: 1 << 20,
        deadlines_max: 8,
        distrusted_max: 8,
    };
    let versions = Arc::new(VersionClock::new(0));
    let shelf = Shelf::new(1, 1 << 20, 4, bounds, versions);
    let (clock, breaker) = (Clock::manual(1_000), BreakerConfig::default());
    let port = Port::new(STORE, "store", Source::Custom(0), 1, breaker, clock);
    let (lanes, ends) = lanes(1, 8, Pulse::new(Clock::manual(1_000), 1, |_| ()));
    let says: Arc<Mutex<Says>> = Arc::new(Mutex::new(Box::new(|_| Ok(()))));
    let driver: Arc<dyn Driver> = Arc::new(Told(Arc::clone(&says)));
    // Ends with the port, which holds the lanes.
    std::thread::spawn(move || ends.commit_loop(&driver));
    port.half_open(1, lanes);
    port.force(BreakerMode::ForcedClosed);
    Bench {
        scope: shelf.scope("numbers"),
        shelf: Arc::new(shelf),
        port: Arc::new(port),
        hurry: Arc::default(),
        clock: Clock::manual(1_000),
        says,
    }
}

impl Bench {
    fn set(&self, name: &str) {
        self.set_in(name, room());
    }

    fn set_in(&self, name: &str, room: Room) {
        let encoded = Arc::new(Encoded {
            codec: 0,
            type_tag: 0,
            flags: 0,
            is_secret: false,
            payload: name.to_owned().into(),
        });
        self.shelf.apply(Ask {
            scope: &self.scope,
            hash: self.shelf.hash(self.scope.id, name),
            name,
            now_ms: 1_000,
            change: Change::Put(Draft {
                body: Body::Encoded(Arc::clone(&encoded)),
                encoded: Some(encoded),
                weight: 1,
                created_ms: 0,
                expires_ms: NEVER,
                extra: None,
                schema: 0,
                priority: Priority::Normal,
            }),
            condition: Condition::None,
            brought: None,
            plan: Plan {
                memory: true,
                put: TierSet::NONE.with(STORE),
                delete: TierSet::NONE,
            },
            room,
            kind: None,
            waiters: Vec::new(),
        });
    }

    /// Stores what is dirty; `answer` says what comes of each batch, by how many changes it has.
    async fn drain(
        &self,
        progress: Progress,
        answer: impl FnMut(usize) -> Result<(), Failure> + Send + 'static,
    ) -> Progress {
        *self.says.lock() = Box::new(answer);
        let home = self.home();
        Run { home, progress }.drain().await
    }

    fn home(&self) -> Arc<Home> {
        self.home_told(Box::new(|_| ()))
    }

    fn home_told(&self, noted: Noted) -> Arc<Home> {
        let lane = Lane {
            port: Arc::clone(&self.port),
            noted,
            config: CommitConfig::default(),
        };
        Arc::new(Home {
            shelf: Arc::clone(&self.shelf),
            clock: self.clock.clone(),
            hurry: Arc::clone(&self.hurry),
            lane: Arc::new(lane),
            ports: vec![Arc::clone(&self.port)],
        })
    }

    /// How often the batch writer was woken, from here on.
    fn rings(&self) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        self.shelf.bells.dirty.hang(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        count
    }
}

fn room() -> Room {
    let budget = Arc::new(tokio::sync::Semaphore::new(1));
    let permit = budget.try_acquire_owned();
    permit.map(Room::from).unwrap_or_default()
}

fn progress() -> Progress {
    Progress::new(100)
}

#[tokio::test]
async fn what_was_stored_in_a_store_that_is_gone_by_now_is_stored_in_its_successor() {
    let bench = bench();
    bench.set("a");
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (log, port) = (Arc::clone(&sent), Arc::clone(&bench.port));
    let answer = move |count| {
        // Its successor is opened before anybody hears of the answer.
        if log.lock().is_empty() {
            port.stats.emptied.fetch_add(1, Ordering::Relaxed);
        }
        log.lock().push(count);
        Ok(())
    };
    bench.drain(progress(), answer).await;
    assert_eq!(*sent.lock(), [1, 1]);
    assert!(!bench.shelf.is_dirty(STORE));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_value_at_all_loses_no_more_than_one() {
    let bench = bench();
    for name in ["a", "b", "c"] {
        bench.set(name);
    }
    let (port, mut failures) = (Arc::clone(&bench.port), 0);
    let answer = move |count| {
        if count == 0 {
            return Ok(());
        }
        failures += 1;
        if failures == 40 {
            port.force(BreakerMode::ForcedOpen);
        }
        Err(Failure::fatal("by order"))
    };
    let progress = bench.drain(progress(), answer).await;
    assert_eq!(bench.port.stats.refused.load(Ordering::Relaxed), 1);
    bench.port.force(BreakerMode::ForcedClosed);
    // The one that was given up is deleted there.
    let stored = Arc::new(Mutex::new(0));
    let sum = Arc::clone(&stored);
    let answer = move |count| {
        *sum.lock() += count;
        Ok(())
    };
    bench.drain(progress, answer).await;
    assert_eq!(*stored.lock(), 3);
    assert!(!bench.shelf.is_dirty(STORE));
}

/// A run that has not failed yet.
fn whole() -> Progress {
    Progress::new(CommitConfig::default().commit_count_max)
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_being_filed_is_stored_as_one() {
    let bench = bench();
    let files = bench.hurry.file();
    bench.set("a");
    let sent = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&sent);
    let run = bench.drain(whole(), move |count| {
        log.lock().push(count);
        Ok(())
    });
    let filing = async {
        tokio::task::yield_now().await;
        assert!(sent.lock().is_empty());
        bench.set("b");
        drop(files);
    };
    tokio::join!(run, filing);
    assert_eq!(*sent.lock(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_never_whole_is_waited_for_a_moment_and_not_while_somebody_waits() {
    let bench = bench();
    let _files = bench.hurry.file();
    bench.set("a");
    let began = tokio::time::Instant::now();
    // It looks twice: the second time there is nothing left.
    bench.drain(whole(), |_| Ok(())).await;
    let waited = began.elapsed();
    assert!((5..=15).contains(&waited.as_millis()), "{waited:?}");
    assert!(!bench.shelf.is_dirty(STORE));
    let _waits = bench.hurry.wait();
    bench.set("b");
    let began = tokio::time::Instant::now();
    bench.drain(whole(), |_| Ok(())).await;
    assert!(began.elapsed().is_zero() && !bench.shelf.is_dirty(STORE));
}
