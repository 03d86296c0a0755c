//! The coalescing table of fetches, as it is shipped: in all its states, and at random beside a model of it.
#![allow(dead_code, unused_imports)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../src/fetch/flights.rs"]
mod flights;
#[path = "../src/key.rs"]
mod key;
#[path = "../src/sync.rs"]
mod sync;
#[path = "../src/fetch/table.rs"]
mod table;

use std::any::TypeId;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use flights::{Flights, Joined, Pilot, Seat};
use key::CacheId;
use sync::{Arc, AtomicUsize, Mutex, Ordering};
use table::{Cancel, Full, Id};

type Table = Arc<Flights<u64, u64>>;

/// What those hear whose load had no more time.
const OVERDUE: u64 = u64::MAX;

fn room_for(count_max: usize) -> Table {
    Arc::new(Flights::new(count_max))
}

fn id(name: &str) -> Id {
    Id {
        cache: CacheId(0),
        kind: TypeId::of::<u64>(),
        schema: 0,
        name: name.into(),
    }
}

fn join(table: &Table, name: &str, claim: u64) -> Joined<u64, u64> {
    let (now, later) = now_and_later();
    table
        .join(&id(name), later, now, |_| true, || claim)
        .unwrap()
}

fn now_and_later() -> (Instant, Instant) {
    let now = Instant::now();
    (now, now + Duration::from_secs(600))
}

/// What a seat has heard: nothing yet, or its end.
fn heard(seat: &mut Seat<u64, u64>) -> Option<Option<(u64, usize)>> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    match Pin::new(seat).poll(&mut cx) {
        Poll::Pending => None,
        Poll::Ready(landed) => {
            Some(landed.map(|landed| (landed.what.unwrap_or(OVERDUE), landed.waiters)))
        }
    }
}

#[test]
fn the_first_is_the_pilot_and_all_who_wait_get_the_same() {
    let table = room_for(9);
    let (mut first, pilot) = join(&table, "k", 1);
    let (mut second, none) = join(&table, "k", 2);
    let (_other, another) = join(&table, "other", 3);
    assert!(none.is_none() && another.is_some());
    assert_eq!(heard(&mut first), None);
    assert_eq!(pilot.unwrap().land(Some(7)), 2);
    assert_eq!(heard(&mut first), Some(Some((7, 2))));
    assert_eq!(heard(&mut second), Some(Some((7, 2))));
    drop(another);
    assert_eq!(table.under_way().0, 0);
}

#[test]
fn one_that_may_not_be_joined_goes_on_beside_its_successor() {
    let table = room_for(9);
    let (mut before, pilot) = join(&table, "k", 1);
    let (now, later) = now_and_later();
    let joined = table.join(&id("k"), later, now, |claim| *claim != 1, || 2);
    let (mut after, successor) = joined.unwrap();
    let (mut third, none) = join(&table, "k", 3);
    assert!(none.is_none());
    assert_eq!(pilot.unwrap().land(Some(10)), 1);
    assert_eq!(heard(&mut before), Some(Some((10, 1))));
    assert_eq!((heard(&mut after), heard(&mut third)), (None, None));
    assert_eq!(successor.unwrap().land(Some(20)), 2);
    assert_eq!(heard(&mut third), Some(Some((20, 2))));
}

#[test]
fn what_is_made_together_goes_on_until_nobody_waits_for_any_of_it() {
    let table = room_for(9);
    let cancelled = Arc::new(AtomicUsize::new(0));
    let ((a, pilot_a), (b, pilot_b)) = (join(&table, "a", 1), join(&table, "b", 2));
    let pilots = [pilot_a.unwrap(), pilot_b.unwrap()];
    table.group(pilots.iter()).unwrap().set({
        let cancelled = Arc::clone(&cancelled);
        Box::new(move || {
            cancelled.fetch_add(1, Ordering::SeqCst);
        })
    });
    drop(a);
    let (late, none) = join(&table, "a", 3);
    assert!(none.is_none(), "it is brought for b's sake");
    drop(late);
    assert_eq!(
        (cancelled.load(Ordering::SeqCst), table.under_way().0),
        (0, 2)
    );
    let [_, pilot_b] = pilots;
    assert_eq!(pilot_b.land(Some(7)), 1);
    assert_eq!(
        (cancelled.load(Ordering::SeqCst), table.under_way().0),
        (1, 0)
    );
    drop(b);
    assert!(table.group([].iter()).is_none());
}

#[test]
fn the_last_who_leaves_cancels_and_who_comes_then_begins_anew() {
    let table = room_for(9);
    let cancelled = Arc::new(AtomicUsize::new(0));
    let cancel = || {
        let cancelled = Arc::clone(&cancelled);
        Box::new(move || {
            cancelled.fetch_add(1, Ordering::SeqCst);
        }) as Cancel
    };
    let (first, pilot) = join(&table, "k", 1);
    let (second, _) = join(&table, "k", 1);
    let pilot = pilot.unwrap();
    pilot.brake().set(cancel());
    drop(first);
    assert_eq!(cancelled.load(Ordering::SeqCst), 0);
    drop(second);
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
    assert_eq!(pilot.until(), None);
    let (mut third, anew) = join(&table, "k", 1);
    // One that is set too late is done at once.
    pilot.brake().set(cancel());
    assert_eq!(cancelled.load(Ordering::SeqCst), 2);
    assert_eq!(pilot.land(Some(1)), 0);
    assert_eq!(anew.unwrap().land(Some(2)), 1);
    assert_eq!(heard(&mut third), Some(Some((2, 1))));
}

#[test]
fn one_that_is_warm_goes_on_without_anybody() {
    let table = room_for(9);
    let (seat, pilot) = join(&table, "k", 1);
    let now = Instant::now();
    let later = now + Duration::from_secs(900);
    seat.warm(later, now);
    drop(seat);
    let pilot = pilot.unwrap();
    assert_eq!(pilot.until(), Some(later));
    let (now, then) = now_and_later();
    let begun = table.begin(&id("k"), then, now, |_| true, || 2).unwrap();
    assert!(begun.is_none(), "it is under way");
    let (mut joins, _) = join(&table, "k", 1);
    assert_eq!(pilot.land(Some(5)), 1);
    assert_eq!(heard(&mut joins), Some(Some((5, 1))));
    let begun = table.begin(&id("k"), then, now, |_| true, || 2).unwrap();
    drop(join(&table, "k", 1));
    assert!(
        begun.unwrap().until().is_some(),
        "nobody has to wait for it"
    );
}

#[test]
fn a_pilot_that_is_lost_leaves_nobody_waiting() {
    let table = room_for(9);
    let (mut seat, pilot) = join(&table, "k", 1);
    drop(pilot);
    assert_eq!(heard(&mut seat), Some(None));
    assert_eq!(table.under_way().0, 0);
    assert!(join(&table, "k", 1).1.is_some());
}

#[test]
fn there_are_no_more_than_there_may_be_and_room_comes_back() {
    let table = room_for(2);
    let (_a, a) = join(&table, "a", 1);
    let (_b, _kept) = join(&table, "b", 1);
    let (now, later) = now_and_later();
    let mut claimed = false;
    let claim = || {
        claimed = true;
        1
    };
    assert!(table.join(&id("c"), later, now, |_| true, claim).is_err());
    assert!(!claimed, "what does not begin claims nothing");
    assert!(join(&table, "b", 1).1.is_none(), "it may be joined");
    a.unwrap().land(Some(1));
    assert!(join(&table, "c", 1).1.is_some());
}

#[test]
fn a_load_has_time_until_the_latest_of_those_who_wait() {
    let table = room_for(9);
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let (_first, pilot) = table.join(&id("k"), at(5), now, |_| true, || 1).unwrap();
    let pilot = pilot.unwrap();
    let (later, _) = table.join(&id("k"), at(9), now, |_| true, || 1).unwrap();
    let (_sooner, _) = table.join(&id("k"), at(2), now, |_| true, || 1).unwrap();
    drop(later);
    assert_eq!(pilot.until(), Some(at(9)));
    assert_eq!(table.under_way(), (1, Some(now)));
}

#[test]
fn whoever_comes_late_to_a_load_that_hangs_gives_it_no_more_time() {
    let table = room_for(9);
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let come = |seconds, until| {
        let joined = table.join(&id("k"), at(until), at(seconds), |_| true, || 1);
        joined.unwrap()
    };
    let (mut first, pilot) = come(0, 10);
    let pilot = pilot.unwrap();
    let _second = come(8, 18);
    assert_eq!(pilot.until(), Some(at(18)));
    let _third = come(16, 26);
    assert_eq!(pilot.until(), Some(at(20)), "twice the time of the first");
    let (patient, none) = come(19, 31);
    assert!(none.is_none());
    assert_eq!(pilot.until(), Some(at(24)), "twice the time of that one");
    patient.warm(at(99), at(23));
    assert_eq!(pilot.until(), Some(at(99)), "it may take that long");
    let (_anew, begun) = come(99, 109);
    assert!(begun.is_some());
    assert_eq!(heard(&mut first), Some(Some((OVERDUE, 4))));
}

#[test]
fn loads_that_are_made_together_have_the_time_of_the_one_that_has_the_most() {
    let table = room_for(9);
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let come = |name, seconds, until| {
        let joined = table.join(&id(name), at(until), at(seconds), |_| true, || 1);
        joined.unwrap()
    };
    let ((mut a, pilot_a), (mut b, pilot_b)) = (come("a", 0, 10), come("b", 0, 30));
    let cancelled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&cancelled);
    let pilots = [pilot_a.unwrap(), pilot_b.unwrap()];
    let cancel = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    table.group(pilots.iter()).unwrap().set(cancel);
    assert!(come("a", 25, 35).1.is_none(), "its own time was up at 10");
    let (_anew, begun) = come("a", 31, 41);
    assert!(begun.is_some());
    assert_eq!(
        (heard(&mut a), heard(&mut b)),
        (Some(Some((OVERDUE, 1))), Some(Some((OVERDUE, 1))))
    );
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
}

#[test]
fn one_whose_time_is_up_is_ended_by_whoever_comes_next() {
    let table = room_for(2);
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let come = |name, seconds| table.join(&id(name), at(seconds + 10), at(seconds), |_| true, || 1);
    let (mut stuck, pilot) = come("k", 0).unwrap();
    let cancelled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&cancelled);
    pilot.as_ref().unwrap().brake().set(Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    let (_joins, none) = come("k", 9).unwrap();
    assert!(none.is_none(), "and gives it more time");
    let (_kept, anew) = come("k", 19).unwrap();
    assert!(anew.is_some());
    assert_eq!(
        (heard(&mut stuck), cancelled.load(Ordering::SeqCst)),
        (Some(Some((OVERDUE, 2))), 1)
    );
    assert_eq!(pilot.unwrap().land(Some(1)), 0);
    let _other = come("other", 20).unwrap();
    assert!(come("third", 21).is_err(), "there is no room");
    assert!(come("third", 29).is_ok(), "one of them is over by then");
}

#[test]
fn a_waker_that_panics_keeps_the_answer_from_nobody_else() {
    struct Unwakeable;
    impl std::task::Wake for Unwakeable {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("by order");
        }
    }
    let table = room_for(9);
    let (first, pilot) = join(&table, "k", 1);
    let mut seats = vec![first];
    seats.extend((0..9).map(|_| join(&table, "k", 1).0));
    let waker = std::sync::Arc::new(Unwakeable).into();
    let mut cx = Context::from_waker(&waker);
    for seat in &mut seats {
        assert!(Pin::new(seat).poll(&mut cx).is_pending());
    }
    pilot.unwrap().land(Some(3));
    for seat in &mut seats {
        assert_eq!(heard(seat), Some(Some((3, 10))));
    }
    let (mut first, lost) = join(&table, "k", 1);
    let (mut second, _) = join(&table, "k", 1);
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut first).poll(&mut cx).is_pending());
    assert!(Pin::new(&mut second).poll(&mut cx).is_pending());
    drop(lost);
    assert_eq!(
        (heard(&mut first), heard(&mut second)),
        (Some(None), Some(None))
    );
}

/// The table as it should be: for each key the loads under way, the last of which may be joined.
#[derive(Default)]
struct Model {
    flights: BTreeMap<u64, Modelled>,
    joinable: BTreeMap<usize, u64>,
    /// Those that are made together, by the first of them.
    groups: BTreeMap<u64, Vec<u64>>,
}

impl Model {
    fn group_of(&self, claim: u64) -> Option<u64> {
        let mut groups = self.groups.iter();
        groups.find_map(|(first, claims)| claims.contains(&claim).then_some(*first))
    }

    fn is_awaited(&self, claim: u64) -> bool {
        let flight = self.flights.get(&claim);
        flight.is_some_and(|flight| flight.waiters > 0 || flight.warm)
    }
}

struct Modelled {
    waiters: usize,
    warm: bool,
}

/// One who waits, with the claim of the load that it waits for.
struct Waits {
    claim: u64,
    seat: Seat<u64, u64>,
}

struct Play {
    table: Table,
    model: Model,
    waits: Vec<Waits>,
    pilots: BTreeMap<u64, Pilot<u64, u64>>,
    claims: u64,
    cancelled: Arc<Mutex<Vec<u64>>>,
    rng: fastrand::Rng,
}

const KEYS: [&str; 3] = ["a", "b", "c"];
const LOADS_MAX: usize = 4;

impl Play {
    fn joins(&mut self) {
        let key = self.rng.usize(..KEYS.len());
        let (may, next) = (self.rng.u8(..4) > 0, self.claims + 1);
        let joinable = self.model.joinable.get(&key).copied().filter(|_| may);
        let (now, later) = now_and_later();
        let joined = self
            .table
            .join(&id(KEYS[key]), later, now, |_| may, || next);
        match (joinable, joined) {
            (Some(claim), Ok((seat, None))) => {
                self.model.flights.get_mut(&claim).unwrap().waiters += 1;
                self.waits.push(Waits { claim, seat });
            }
            (None, Ok((seat, Some(pilot)))) => {
                self.begun(key, next, pilot, 1, false);
                self.waits.push(Waits { claim: next, seat });
            }
            (None, Err(Full)) => assert_eq!(self.model.flights.len(), LOADS_MAX),
            _ => panic!("joined what is not there, or not what is"),
        }
    }

    fn refreshes(&mut self) {
        let key = self.rng.usize(..KEYS.len());
        let next = self.claims + 1;
        let (now, later) = now_and_later();
        let begun = self
            .table
            .begin(&id(KEYS[key]), later, now, |_| true, || next);
        match (self.model.joinable.contains_key(&key), begun) {
            (true, Ok(None)) => {}
            (false, Ok(Some(pilot))) => self.begun(key, next, pilot, 0, true),
            (false, Err(Full)) => assert_eq!(self.model.flights.len(), LOADS_MAX),
            _ => panic!("begun what is under way, or not what is not"),
        }
    }

    fn begun(
        &mut self,
        key: usize,
        claim: u64,
        pilot: Pilot<u64, u64>,
        waiters: usize,
        warm: bool,
    ) {
        self.claims = claim;
        let cancelled = Arc::clone(&self.cancelled);
        pilot
            .brake()
            .set(Box::new(move || cancelled.lock().push(claim)));
        self.model.joinable.insert(key, claim);
        self.model.flights.insert(claim, Modelled { waiters, warm });
        self.pilots.insert(claim, pilot);
    }

    fn ended(&mut self, claim: u64) {
        self.model.flights.remove(&claim);
        self.model.joinable.retain(|_, joinable| *joinable != claim);
    }

    fn leaves(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        let Waits { claim, seat } = self.waits.swap_remove(self.rng.usize(..self.waits.len()));
        drop(seat);
        if let Some(flight) = self.model.flights.get_mut(&claim) {
            flight.waiters -= 1;
            match self.model.group_of(claim) {
                Some(group) => self.looks_after(group),
                None if self.model.is_awaited(claim) => {}
                None => {
                    self.ended(claim);
                    assert_eq!(self.cancelled.lock().pop(), Some(claim));
                }
            }
        }
        assert!(self.cancelled.lock().is_empty());
    }

    /// Several loads are begun that are made together.
    fn begins_together(&mut self) {
        let mut claims = Vec::new();
        for (key, name) in KEYS.iter().enumerate().take(self.rng.usize(1..=KEYS.len())) {
            let next = self.claims + 1;
            let (now, later) = now_and_later();
            let joined = self.table.join(&id(name), later, now, |_| false, || next);
            let Ok((seat, Some(pilot))) = joined else {
                break;
            };
            self.claims = next;
            self.model.joinable.insert(key, next);
            let flight = Modelled {
                waiters: 1,
                warm: false,
            };
            self.model.flights.insert(next, flight);
            self.pilots.insert(next, pilot);
            self.waits.push(Waits { claim: next, seat });
            claims.push(next);
        }
        let pilots = claims.iter().map(|claim| &self.pilots[claim]);
        let Some(brake) = self.table.group(pilots) else {
            assert!(claims.is_empty());
            return;
        };
        let (cancelled, first) = (Arc::clone(&self.cancelled), claims[0]);
        brake.set(Box::new(move || cancelled.lock().push(first)));
        self.model.groups.insert(first, claims);
    }

    /// Loads that are made together end together when nobody waits for any of them.
    fn looks_after(&mut self, group: u64) {
        let claims = self.model.groups[&group].clone();
        if claims.iter().any(|claim| self.model.is_awaited(*claim)) {
            return;
        }
        self.model.groups.remove(&group);
        claims.into_iter().for_each(|claim| self.ended(claim));
        assert_eq!(self.cancelled.lock().pop(), Some(group));
    }

    fn warms(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        let waits = &self.waits[self.rng.usize(..self.waits.len())];
        let now = Instant::now();
        waits.seat.warm(now, now);
        if let Some(flight) = self.model.flights.get_mut(&waits.claim) {
            flight.warm = true;
        }
    }

    /// A load ends, by landing or by being lost; those who wait hear it, once and nobody else.
    fn lands(&mut self) {
        let all: Vec<u64> = self.pilots.keys().copied().collect();
        if all.is_empty() {
            return;
        }
        let claim = all[self.rng.usize(..all.len())];
        let pilot = self.pilots.remove(&claim).unwrap();
        let waiters = self.model.flights.get(&claim).map_or(0, |f| f.waiters);
        let lands = self.rng.bool();
        let expected = if lands {
            assert_eq!(pilot.land(Some(claim)), waiters);
            Some((claim, waiters))
        } else {
            drop(pilot);
            None
        };
        let (group, was_awaited) = (self.model.group_of(claim), self.model.is_awaited(claim));
        self.ended(claim);
        if let Some(group) = group.filter(|_| was_awaited) {
            self.looks_after(group);
        }
        assert!(self.cancelled.lock().is_empty());
        let (told, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waits)
            .into_iter()
            .partition(|waits| waits.claim == claim);
        assert_eq!(told.len(), waiters);
        for mut waits in told {
            assert_eq!(heard(&mut waits.seat), Some(expected));
        }
        self.waits = others;
        for waits in &mut self.waits {
            assert_eq!(heard(&mut waits.seat), None);
        }
    }
}

#[test]
fn at_random_the_table_does_what_its_model_does() {
    for seed in 0..300 {
        let mut play = Play {
            table: room_for(LOADS_MAX),
            model: Model::default(),
            waits: Vec::new(),
            pilots: BTreeMap::new(),
            claims: 0,
            cancelled: Arc::default(),
            rng: fastrand::Rng::with_seed(seed),
        };
        for _ in 0..200 {
            match play.rng.u8(..10) {
                0..=3 => play.joins(),
                4 => play.refreshes(),
                5 | 6 => play.leaves(),
                7 if play.rng.bool() => play.warms(),
                7 => play.begins_together(),
                _ => play.lands(),
            }
            assert_eq!(play.table.under_way().0, play.model.flights.len());
        }
        play.pilots.clear();
        assert_eq!(play.table.under_way(), (0, None));
    }
}
