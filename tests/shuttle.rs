//! The shipped files of the shelf under a scheduler that explores interleavings.
//!
//! The same files as in the library are compiled here against shuttle's locks and atomics. Each
//! scenario is a law in a few threads over a fake store; a failure prints the schedule that broke it.
//! Not here: memory order weaker than sequential consistency, which shuttle does not explore.
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
#[path = "../src/key.rs"]
mod key;
#[path = "../src/shelf/mod.rs"]
mod shelf;
#[path = "support/explored.rs"]
mod sync;
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

use std::collections::HashMap;

use clock::Millis;
use clock::base::{Base, Reading};
use drivers::StoreDurability::Written;
use shelf::*;
use shuttle::thread;
use sync::{Arc, AtomicU64, Mutex, Ordering, RwLock, explore};
use version::{Version, VersionClock};

const DISK: TierId = TierId(0);
const NOW: u64 = 1_000;
const K: &str = "k";
const ITERATIONS: usize = 3_000;

/// A shelf over a store that is a map.
struct World {
    shelf: Shelf,
    scope: Arc<Scope>,
    hash: u64,
    store: RwLock<HashMap<String, Slot>>,
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
        store: RwLock::new(HashMap::new()),
        room: std::sync::Arc::new(tokio::sync::Semaphore::new(1_000)),
    })
}

fn stored() -> Arc<World> {
    let world = world();
    done(world.set(1));
    world.flush();
    world.evict();
    world
}

fn done(applied: Applied) -> Version {
    match applied {
        Applied::Done { version, .. } => version,
        other => panic!("{other:?}"),
    }
}

impl World {
    fn ask(&self, change: Change) -> Ask<'_> {
        Ask {
            scope: &self.scope,
            hash: self.hash,
            name: K,
            now_ms: NOW,
            change,
            condition: Condition::None,
            brought: None,
            plan: Plan {
                memory: true,
                put: TierSet::NONE.with(DISK),
                delete: TierSet::NONE,
            },
            room: std::sync::Arc::clone(&self.room)
                .try_acquire_owned()
                .unwrap()
                .into(),
            kind: None,
            waiters: Vec::new(),
        }
    }

    fn set(&self, value: u64) -> Applied {
        self.shelf.apply(self.ask(Change::Put(draft(value))))
    }

    /// Sets in memory alone, as most sets there are made.
    fn set_plainly(&self, value: u64) -> Version {
        let fresh = Fresh {
            created_ms: NOW,
            expires_ms: u64::MAX,
            weight: 8,
            schema: 0,
            priority: Priority::Normal,
        };
        let value = std::sync::Arc::new(value);
        self.shelf.set(&self.scope, K, value, &fresh).unwrap()
    }

    /// Sets with the dirty budget used up.
    fn overflow(&self, value: u64) {
        let mut ask = self.ask(Change::Put(draft(value)));
        ask.room = Room::default();
        done(self.shelf.apply(ask));
    }

    fn clear(&self) -> Version {
        self.shelf.fence(&self.scope, Covers::All, NOW).0
    }

    fn evict(&self) {
        self.shelf.resize(0, NOW);
        self.shelf.resize(1 << 20, NOW);
    }

    fn flush(&self) {
        let taken = self.shelf.take(DISK, 10, 1 << 20, NOW, &mut 0);
        for one in &taken {
            let mut store = self.store.write();
            match &one.value {
                Some((slot, _)) => store.insert(one.key.name.to_string(), slot.clone()),
                None => store.remove(one.key.name.as_str()),
            };
        }
        self.shelf.settle(DISK, &taken, Written);
    }

    fn look_below(&self, distrusted: TierSet) -> Option<Slot> {
        let store = self.store.read();
        let stored = store.get(K).filter(|_| !distrusted.has(DISK)).cloned();
        drop(store);
        stored.filter(|slot| self.scope.accepts(slot.version, slot.tags()))
    }

    /// A whole read: the version found and its value.
    fn get(&self) -> Option<(Version, u64)> {
        let show = |slot: Look<'_>, _| (slot.version, value_of(&slot.to_slot()));
        let seen = self
            .shelf
            .read_or_mark(&self.scope, self.hash, K, || NOW, false, show);
        match seen {
            Seen::Hit(found) => Some(found),
            Seen::Below(mark, distrusted) => {
                let found = self.look_below(distrusted);
                let seen = found.as_ref().map(|slot| (slot.version, value_of(slot)));
                match found {
                    Some(slot) => {
                        self.shelf
                            .promote(&self.scope, self.hash, K, mark, slot, NOW);
                    }
                    None => self.shelf.release(&self.scope, self.hash, K, mark),
                }
                seen.filter(|(version, _)| self.scope.accepts(*version, &[]))
            }
            _ => None,
        }
    }

    /// A conditional set that looks below as often as it is told to.
    fn set_if(&self, value: u64, condition: Condition) -> Applied {
        let mut brought = None;
        loop {
            let mut ask = self.ask(Change::Put(draft(value)));
            ask.condition = condition;
            ask.brought = brought.take();
            match self.shelf.apply(ask) {
                Applied::Below(mark, distrusted) => {
                    let found = self.look_below(distrusted);
                    brought = Some(Brought { mark, found });
                }
                applied => return applied,
            }
        }
    }
}

fn draft(value: u64) -> Draft {
    let encoded = Encoded {
        payload: value.to_le_bytes().to_vec().into(),
        ..Encoded::default()
    };
    Draft {
        body: Body::Decoded(Arc::new(value)),
        encoded: Some(Arc::new(encoded)),
        weight: 8,
        created_ms: 0,
        expires_ms: u64::MAX,
        extra: None,
        schema: 0,
        priority: Priority::Normal,
    }
}

fn value_of(slot: &Slot) -> u64 {
    match &slot.body {
        Body::Decoded(value) => *value.downcast_ref().unwrap(),
        Body::Encoded(_) => panic!("this store keeps values"),
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

#[test]
fn no_read_goes_back_while_values_are_set_stored_and_evicted() {
    explore(ITERATIONS, || {
        let world = stored();
        let floor = Arc::new(AtomicU64::new(0));
        let reader = |floor: Arc<AtomicU64>| {
            task(&world, move |world| {
                for _ in 0..2 {
                    let before = floor.load(Ordering::SeqCst);
                    let seen = world.get().map_or(0, |(version, _)| version.get());
                    assert!(seen >= before, "read v{seen} after v{before}");
                    floor.fetch_max(seen, Ordering::SeqCst);
                }
            })
        };
        let acknowledged = Arc::clone(&floor);
        together(vec![
            reader(Arc::clone(&floor)),
            reader(Arc::clone(&floor)),
            task(&world, move |world| {
                let version = done(world.set(2));
                acknowledged.fetch_max(version.get(), Ordering::SeqCst);
            }),
            task(&world, |world| {
                world.flush();
                world.evict();
            }),
        ]);
    });
}

#[test]
fn of_concurrent_compare_and_sets_exactly_one_wins() {
    explore(ITERATIONS, || {
        let world = stored();
        let one = world.store.read().get(K).unwrap().version;
        let wins = Arc::new(AtomicU64::new(0));
        let mut tasks: Vec<_> = (2..5)
            .map(|value| {
                let wins = Arc::clone(&wins);
                task(&world, move |world| {
                    let applied = world.set_if(value, Condition::Version(one));
                    if matches!(applied, Applied::Done { .. }) {
                        wins.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        tasks.push(task(&world, |world| {
            world.flush();
            world.evict();
        }));
        together(tasks);
        assert_eq!(wins.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_compare_and_set_never_survives_a_clear_that_it_has_not_seen() {
    explore(ITERATIONS, || {
        let world = stored();
        let one = world.store.read().get(K).unwrap().version;
        let set = Arc::new(Mutex::new(None));
        let outcome = Arc::clone(&set);
        together(vec![
            task(&world, move |world| {
                let applied = world.set_if(2, Condition::Version(one));
                if let Applied::Done { version, .. } = applied {
                    *outcome.lock() = Some(version);
                }
            }),
            task(&world, |world| {
                world.clear();
            }),
        ]);
        // If it succeeded the value it replaced was still there, so the clear came later.
        if let Some(version) = *set.lock() {
            assert!(version < world.scope.cleared().unwrap());
            assert_eq!(world.get(), None);
        }
    });
}

#[test]
fn what_is_set_while_an_older_value_is_being_stored_is_stored_and_answered() {
    explore(ITERATIONS, || {
        let world = world();
        let newest = Arc::new(Mutex::new((0, 0)));
        let answered = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for value in [2, 3] {
            let (newest, answered) = (Arc::clone(&newest), Arc::clone(&answered));
            tasks.push(task(&world, move |world| {
                let (ticket, mut waiting) = Ticket::new();
                let mut ask = world.ask(Change::Put(draft(value)));
                ask.waiters = vec![(DISK, Written, ticket)];
                let version = done(world.shelf.apply(ask)).get();
                let mut newest = newest.lock();
                *newest = (*newest).max((version, value));
                drop(newest);
                while waiting.try_recv().is_err() {
                    thread::yield_now();
                }
                assert!(world.store.read()[K].version.get() >= version);
                answered.fetch_add(1, Ordering::SeqCst);
            }));
        }
        let count = Arc::clone(&answered);
        tasks.push(task(&world, move |world| {
            while count.load(Ordering::SeqCst) < 2 || world.shelf.is_dirty(DISK) {
                world.flush();
                thread::yield_now();
            }
        }));
        together(tasks);
        assert_eq!(world.shelf.stats().dirty_slots, 0);
        let stored = world.store.read().get(K).map(value_of);
        assert_eq!(stored, Some(newest.lock().1));
    });
}

#[test]
fn nothing_below_a_fence_is_read_after_it_was_raised() {
    explore(ITERATIONS, || {
        let world = stored();
        together(vec![
            task(&world, |world| {
                world.get();
            }),
            task(&world, |world| {
                let fence = world.clear();
                let seen = world.get();
                assert!(seen.is_none_or(|(version, _)| version > fence), "{seen:?}");
            }),
            task(&world, |world| {
                world.get();
                world.evict();
            }),
        ]);
        assert_eq!(world.get(), None);
    });
}

#[test]
fn no_glance_goes_back_or_below_a_fence_while_values_are_set_plainly() {
    explore(ITERATIONS, || {
        let world = world();
        world.set_plainly(1);
        let floor = Arc::new(AtomicU64::new(0));
        let look = |world: &World, floor: &AtomicU64| {
            let before = floor.load(Ordering::SeqCst);
            let of = (&*world.scope, 0);
            let seen = match world.shelf.glance(of, K, || NOW, |_| Some(())) {
                Glance::Hit((), plain) => plain.version.get(),
                _ => 0,
            };
            assert!(seen == 0 || seen >= before, "read v{seen} after v{before}");
            floor.fetch_max(seen, Ordering::SeqCst);
        };
        let (one, other) = (Arc::clone(&floor), floor);
        together(vec![
            task(&world, move |world| {
                let version = world.set_plainly(2);
                one.fetch_max(version.get(), Ordering::SeqCst);
                look(world, &one);
            }),
            task(&world, move |world| {
                let fence = world.clear();
                other.fetch_max(fence.get(), Ordering::SeqCst);
                look(world, &other);
            }),
            task(&world, |world| _ = world.set_plainly(3)),
        ]);
    });
}

#[test]
fn an_entry_whose_tag_was_fenced_stays_fenced_while_fences_coalesce() {
    explore(ITERATIONS, || {
        let world = world();
        let tags = ["a".into()];
        let version = world.shelf.versions().next(NOW);
        let tag = |world: &World, tag: &str| {
            world
                .shelf
                .fence(&world.scope, Covers::Tag(tag.into()), NOW);
        };
        tag(&world, "a");
        let read = tags.clone();
        together(vec![
            task(&world, move |world| {
                assert!(!world.scope.accepts(version, &read));
                assert!(!world.scope.accepts(version, &read));
            }),
            task(&world, move |world| {
                tag(world, "b");
                tag(world, "c");
            }),
        ]);
        assert!(!world.scope.accepts(version, &tags));
    });
}

#[test]
fn a_fetch_never_undoes_a_removal_or_a_clear_that_came_after_it_began() {
    explore(ITERATIONS, || {
        let world = world();
        let removed = Arc::new(Mutex::new(None));
        let fence = Arc::clone(&removed);
        together(vec![
            task(&world, |world| {
                let (mark, began) = world.shelf.claim(&world.scope, world.hash, K, NOW);
                let mut ask = world.ask(Change::Fetched(draft(1), began));
                ask.condition = Condition::Flight(mark);
                world.shelf.apply(ask);
            }),
            task(&world, move |world| {
                done(world.shelf.apply(world.ask(Change::Remove)));
                *fence.lock() = Some(world.clear());
                let seen = world.get();
                let fence = fence.lock().unwrap();
                assert!(seen.is_none_or(|(version, _)| version > fence), "{seen:?}");
            }),
            task(&world, |world| {
                world.flush();
                world.evict();
            }),
        ]);
    });
}

#[test]
fn no_read_goes_back_when_the_dirty_budget_overflows_during_a_commit() {
    explore(ITERATIONS, || {
        let world = stored();
        done(world.set(2));
        together(vec![
            task(&world, |world| world.flush()),
            task(&world, |world| {
                world.overflow(3);
                let seen = world.get();
                assert!(seen.is_none_or(|(_, value)| value == 3), "{seen:?}");
            }),
            task(&world, |world| world.evict()),
        ]);
        world.shelf.heal(DISK, 10, NOW);
        world.flush();
        world.evict();
        assert_eq!(world.get(), None, "it may forget; it never lies");
        assert_eq!(world.shelf.stats().distrusted, 0);
    });
}

#[test]
fn what_is_taken_from_all_stripes_at_once_is_within_the_bound_of_their_bytes() {
    // Room for two events of a key of one letter.
    let events_bytes_max = 2 * (768 + 2 * 8 + 1);
    explore(ITERATIONS, move || {
        let bounds = Bounds {
            events_max: 64,
            events_bytes_max,
            deadlines_max: 64,
            distrusted_max: 1,
        };
        let shelf = Shelf::new(2, 1 << 20, 2, bounds, Arc::new(VersionClock::new(0)));
        shelf.watch(true);
        let (shelf, counted) = (Arc::new(shelf), Arc::new(AtomicU64::new(0)));
        let set = |name: &'static str| {
            let shelf = Arc::clone(&shelf);
            Box::new(move || {
                for value in 0..2 {
                    set_in_memory(&shelf, name, value);
                }
            })
        };
        let take = move |shelf: &Shelf| {
            let mut events = Vec::new();
            let lost = shelf.take_events(&mut events);
            let bytes: usize = events.iter().map(RawEvent::bytes).sum();
            assert!(bytes <= events_bytes_max, "{bytes} bytes were taken");
            (events.len() as u64, lost)
        };
        let [one, other] = names_of_two_stripes(&shelf);
        let (taker, total) = (Arc::clone(&shelf), Arc::clone(&counted));
        together(vec![
            set(one),
            set(other),
            Box::new(move || {
                for _ in 0..2 {
                    let (taken, lost) = take(&taker);
                    total.fetch_add(taken + lost, Ordering::SeqCst);
                }
            }),
        ]);
        let (taken, lost) = take(&shelf);
        let total = counted.load(Ordering::SeqCst) + taken + lost;
        assert_eq!(total, 4, "each event was taken or counted as lost");
        // Nothing is left counted: there is room for two again.
        set_in_memory(&shelf, one, 2);
        set_in_memory(&shelf, other, 2);
        assert_eq!(take(&shelf), (2, 0));
    });
}

/// Two names that lie in different stripes of two.
fn names_of_two_stripes(shelf: &Shelf) -> [&'static str; 2] {
    let cache = shelf.scope("users").id;
    let mut names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"].into_iter();
    let stripe = |name: &&str| (shelf.hash(cache, name) >> 47) & 1;
    let one = names.next().unwrap();
    let other = names.find(|name| stripe(name) != stripe(&one));
    [one, other.unwrap_or("b")]
}

fn set_in_memory(shelf: &Shelf, name: &str, value: u64) {
    let scope = shelf.scope("users");
    let ask = Ask {
        scope: &scope,
        hash: shelf.hash(scope.id, name),
        name,
        now_ms: NOW,
        change: Change::Put(draft(value)),
        condition: Condition::None,
        brought: None,
        plan: Plan {
            memory: true,
            put: TierSet::NONE,
            delete: TierSet::NONE,
        },
        room: Room::default(),
        kind: None,
        waiters: Vec::new(),
    };
    done(shelf.apply(ask));
}

#[test]
fn of_several_who_look_at_the_clock_none_is_shown_a_time_from_before_a_sleep() {
    explore(ITERATIONS, || {
        let at = |monotonic, wall| Reading { monotonic, wall };
        let base = Arc::new(Base::new(at(1_000, 500_000), 40));
        let lookers = (0..2).map(|_| {
            let base = Arc::clone(&base);
            thread::spawn(move || {
                let now_ms = base.now_ms(at(1_500, 3_600_500), || 3_100_040);
                assert_eq!(now_ms, 3_600_500);
            })
        });
        let lookers: Vec<_> = lookers.collect();
        lookers
            .into_iter()
            .for_each(|looker| looker.join().unwrap());
    });
}
