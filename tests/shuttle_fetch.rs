//! The coalescing table, as it is shipped, over the shelf as it is shipped, under a scheduler that
//! explores interleavings.
//!
//! Fetchers join loads or lead them, as `cache/fetching.rs` and `cache/loading.rs` do, while others change
//! the key. A failure prints the schedule that broke it.
#![allow(dead_code, unused_imports)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Shuttle's atomics are large.
#![allow(clippy::large_enum_variant)]

#[path = "../src/bell.rs"]
mod bell;
#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/error.rs"]
mod error;
#[path = "../src/fetch/flights.rs"]
mod flights;
#[path = "../src/key.rs"]
mod key;
#[path = "../src/shelf/mod.rs"]
mod shelf;
#[path = "support/explored.rs"]
mod sync;
#[path = "../src/fetch/table.rs"]
mod table;
#[path = "../src/tally.rs"]
mod tally;
#[path = "../src/version.rs"]
mod version;

/// The shelf knows of drivers only how durable a commit is.
mod drivers {
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum StoreDurability {
        Written,
        Synced,
    }
}

use std::any::TypeId;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use flights::{Flights, Pilot, Seat};
use shelf::*;
use shuttle::thread;
use sync::{Arc, AtomicU64, Ordering, explore};
use table::Id;
use version::{Version, VersionClock};

const NOW: u64 = 1_000;
const K: &str = "k";
const ITERATIONS: usize = 1_000;
/// How often others have a turn while a source is asked.
const LOAD_STEPS: usize = 8;
/// What a fetcher is told whose load was lost.
const LOST: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct Claim {
    mark: MarkId,
    began: Version,
}

type Waits = Seat<Claim, u64>;
type Leads = (Pilot<Claim, u64>, Claim);

/// A cache in memory before a source whose value is a number that only grows.
struct World {
    shelf: Shelf,
    scope: Arc<Scope>,
    hash: u64,
    flights: Arc<Flights<Claim, u64>>,
    source: AtomicU64,
    /// No fetch that begins from here on may give less.
    floor: AtomicU64,
    loads: AtomicU64,
    room: std::sync::Arc<tokio::sync::Semaphore>,
}

fn world() -> Arc<World> {
    let bounds = Bounds {
        events_max: 64,
        events_bytes_max: usize::MAX,
        deadlines_max: 64,
        distrusted_max: 1,
    };
    let shelf = Shelf::new(1, 1 << 20, 2, bounds, Arc::new(VersionClock::new(0)));
    let scope = shelf.scope("users");
    Arc::new(World {
        hash: shelf.hash(scope.id, K),
        scope,
        shelf,
        flights: Arc::new(Flights::new(9)),
        source: AtomicU64::new(1),
        floor: AtomicU64::new(0),
        loads: AtomicU64::new(0),
        room: std::sync::Arc::new(tokio::sync::Semaphore::new(1_000)),
    })
}

fn draft(value: u64) -> Draft {
    Draft {
        body: Body::Decoded(Arc::new(value)),
        encoded: None,
        weight: 8,
        created_ms: 0,
        expires_ms: u64::MAX,
        extra: None,
        schema: 0,
        priority: Priority::Normal,
    }
}

impl World {
    fn apply(&self, change: Change, condition: Condition) -> Applied {
        self.shelf.apply(Ask {
            scope: &self.scope,
            hash: self.hash,
            name: K,
            now_ms: NOW,
            change,
            condition,
            brought: None,
            plan: Plan {
                memory: true,
                put: TierSet::NONE,
                delete: TierSet::NONE,
            },
            room: std::sync::Arc::clone(&self.room)
                .try_acquire_owned()
                .unwrap()
                .into(),
            kind: None,
            waiters: Vec::new(),
        })
    }

    fn get(&self) -> Option<u64> {
        let show = |slot: Look<'_>, _| match slot.body {
            Body::Decoded(value) => *value.downcast_ref::<u64>().unwrap(),
            Body::Encoded(_) => panic!("nothing is encoded here"),
        };
        let seen = self
            .shelf
            .read(&self.scope, self.hash, K, || NOW, false, show);
        match seen {
            Seen::Hit(value) => Some(value),
            _ => None,
        }
    }

    fn join(&self) -> (Waits, Option<Leads>) {
        let id = Id {
            cache: self.scope.id,
            kind: TypeId::of::<u64>(),
            schema: 0,
            name: K.into(),
        };
        let mut claim = None;
        let may_join = |claim: &Claim| {
            self.scope.accepts(claim.began, &[])
                && self.shelf.claims(&self.scope, self.hash, K, claim.mark)
        };
        let begin = || {
            let (mark, began) = self.shelf.claim(&self.scope, self.hash, K, NOW);
            *claim.insert(Claim { mark, began })
        };
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(600);
        let joined = self.flights.join(&id, later, now, may_join, begin);
        let (seat, pilot) = joined.unwrap();
        (seat, pilot.zip(claim))
    }

    /// What the pilot does: it looks once more, loads, and keeps what it may.
    fn load(&self, claim: Claim) -> u64 {
        let value = self.get().unwrap_or_else(|| {
            self.loads.fetch_add(1, Ordering::SeqCst);
            let value = self.source.load(Ordering::SeqCst);
            // A load takes its time.
            (0..LOAD_STEPS).for_each(|_| thread::yield_now());
            let fetched = Change::Fetched(draft(value), claim.began);
            self.apply(fetched, Condition::Flight(claim.mark));
            value
        });
        self.shelf.unclaim(&self.scope, self.hash, K, claim.mark);
        value
    }

    fn fetch(&self) -> u64 {
        if let Some(value) = self.get() {
            return value;
        }
        let (seat, pilot) = self.join();
        if let Some((pilot, claim)) = pilot {
            let value = self.load(claim);
            pilot.land(Some(value));
        }
        await_landing(seat)
    }

    /// A fetch that checks that it is not given less than it may be.
    fn fetch_something_new(&self) {
        let floor = self.floor.load(Ordering::SeqCst);
        let value = self.fetch();
        assert!((floor..LOST).contains(&value), "{value} after {floor}");
    }

    /// The source has changed, and whoever changed it has seen to it that nobody is shown less.
    fn after(&self, source: u64, invalidate: impl FnOnce()) {
        self.source.store(source, Ordering::SeqCst);
        invalidate();
        self.floor.fetch_max(source, Ordering::SeqCst);
    }

    fn check_end(&self) {
        let floor = self.floor.load(Ordering::SeqCst);
        let left = self.get();
        assert!(left.is_none_or(|value| value >= floor), "{left:?} is kept");
        assert_eq!(self.shelf.stats().marks, 0);
        assert_eq!(self.flights.under_way().0, 0);
    }
}

fn await_landing(mut seat: Seat<Claim, u64>) -> u64 {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match Pin::new(&mut seat).poll(&mut cx) {
            Poll::Ready(landed) => return landed.and_then(|landed| landed.what).unwrap_or(LOST),
            Poll::Pending => thread::yield_now(),
        }
    }
}

/// Runs each of `tasks` in a thread and waits for all.
fn together(tasks: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = tasks.into_iter().map(thread::spawn).collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
}

fn task(world: &Arc<World>, run: impl FnOnce(&World) + Send + 'static) -> Box<dyn FnOnce() + Send> {
    let world = Arc::clone(world);
    Box::new(move || run(&world))
}

fn fetchers_beside(change: fn(&World)) {
    explore(ITERATIONS, move || {
        let world = world();
        let fetcher = || {
            task(&world, |world| {
                world.fetch_something_new();
                world.fetch_something_new();
            })
        };
        let changes = task(&world, move |world| {
            // Not before there is something to overtake.
            while world.loads.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            change(world);
            // Others may still wait for what was begun before.
            world.fetch_something_new();
        });
        together(vec![fetcher(), fetcher(), changes]);
        world.check_end();
    });
}

#[test]
fn no_fetch_that_begins_after_a_removal_gives_what_was_loaded_before_it() {
    fetchers_beside(|world| {
        world.after(2, || {
            world.apply(Change::Remove, Condition::None);
        });
    });
}

#[test]
fn no_fetch_that_begins_after_a_clear_gives_what_was_loaded_before_it() {
    fetchers_beside(|world| {
        world.after(2, || {
            world.shelf.fence(&world.scope, Covers::All, NOW);
        });
    });
}

#[test]
fn what_is_set_during_a_load_stays() {
    fetchers_beside(|world| {
        // The source does not know it.
        world.apply(Change::Put(draft(9)), Condition::None);
        world.floor.fetch_max(9, Ordering::SeqCst);
    });
}

#[test]
fn without_a_change_there_is_one_load_whoever_asks() {
    explore(ITERATIONS, || {
        let world = world();
        let fetcher = || task(&world, |world| assert_eq!(world.fetch(), 1));
        together(vec![fetcher(), fetcher(), fetcher()]);
        assert_eq!(world.loads.load(Ordering::SeqCst), 1);
        world.check_end();
    });
}

#[test]
fn nobody_waits_for_a_load_that_is_lost_or_that_all_others_have_left() {
    explore(ITERATIONS, || {
        let world = world();
        let loses = task(&world, |world| {
            let (seat, pilot) = world.join();
            if let Some((pilot, claim)) = pilot {
                world.shelf.unclaim(&world.scope, world.hash, K, claim.mark);
                drop(pilot);
            }
            drop(seat);
        });
        let leaves = task(&world, |world| {
            let (seat, pilot) = world.join();
            drop(seat);
            if let Some((pilot, claim)) = pilot {
                world.load(claim);
                pilot.land(Some(1));
            }
        });
        let waits = task(&world, |world| {
            let value = world.fetch();
            assert!(value == 1 || value == LOST);
        });
        together(vec![loses, leaves, waits]);
        world.check_end();
    });
}
