//! What the coalescing table holds, under its lock: the loads of each key, and who waits for them.

use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use smol_str::SmolStr;
use tokio::sync::oneshot;

use crate::key::CacheId;

/// How often all loads are looked through at most, where there is no more room.
const SWEEP_EVERY: Duration = Duration::from_millis(10);

/// What is loaded: a key, as a value of this type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Id {
    /// The cache.
    pub cache: CacheId,
    /// The value's type.
    pub kind: TypeId,
    /// The schema number that is expected of it.
    pub schema: u32,
    /// The key.
    pub name: SmolStr,
}

/// All loads.
pub struct Table<C, T> {
    pub issued: u64,
    /// The one of each key that may be joined.
    pub joinable: HashMap<Id, u64>,
    pub flights: HashMap<u64, Flight<C, T>>,
    /// Loads that are made together, by the serial of the first of them.
    pub groups: HashMap<u64, Group>,
    /// When all were looked through for those whose time is up.
    pub swept: Option<Instant>,
}

/// Loads of several keys that one piece of work makes: it goes on while anybody waits for any of them.
pub struct Group {
    serials: Vec<u64>,
    /// Those that somebody waits for, or that go on without.
    awaited: usize,
    pub cancel: Option<Cancel>,
}

/// One load.
pub struct Flight<C, T> {
    serial: u64,
    pub id: Id,
    pub claim: C,
    pub began: Instant,
    pub until: Instant,
    /// The longest that anybody had time for when he came.
    patience: Duration,
    pub seats: u64,
    pub waiters: HashMap<u64, oneshot::Sender<Landed<T>>>,
    /// Goes on when nobody waits.
    pub is_warm: bool,
    /// What it is made together with.
    pub group: Option<u64>,
    pub cancel: Option<Cancel>,
}

/// Ends the work of a load.
pub type Cancel = Box<dyn FnOnce() + Send>;

/// What a load brought.
#[derive(Clone)]
pub struct Landed<T> {
    /// The same for all; nothing, if its time was up before.
    pub what: Option<T>,
    /// How many waited for it.
    pub waiters: usize,
}

/// There are as many loads as there may be.
#[derive(Debug)]
pub struct Full;

impl<C, T> Default for Table<C, T> {
    fn default() -> Self {
        Self {
            issued: 0,
            joinable: HashMap::new(),
            flights: HashMap::new(),
            groups: HashMap::new(),
            swept: None,
        }
    }
}

impl<C, T> Table<C, T> {
    pub fn joinable(&mut self, id: &Id) -> Option<(u64, &mut Flight<C, T>)> {
        let serial = *self.joinable.get(id)?;
        Some((serial, self.flights.get_mut(&serial)?))
    }

    /// The load of this key, if its time is up, with all that are made together with it; all such loads, where
    /// there is no more room.
    pub fn overdue(&mut self, id: &Id, now: Instant, count_max: usize) -> Vec<u64> {
        let is_full = self.flights.len() >= count_max;
        if is_full && self.swept.is_none_or(|swept| now >= swept + SWEEP_EVERY) {
            self.swept = Some(now);
            let all = self.flights.values();
            let over = all.filter(|flight| self.is_over(flight, now));
            return over.map(|flight| flight.serial).collect();
        }
        let own = self.joinable.get(id);
        let own = own.and_then(|serial| self.flights.get(serial));
        match own.filter(|own| self.is_over(own, now)) {
            Some(own) => self.together(own).map(|flight| flight.serial).collect(),
            None => Vec::new(),
        }
    }

    /// Loads that are made together have the time of the one that has the most.
    fn is_over(&self, flight: &Flight<C, T>, now: Instant) -> bool {
        flight.until <= now && self.together(flight).all(|other| other.until <= now)
    }

    /// A load and those that are made together with it.
    fn together<'a>(&'a self, flight: &'a Flight<C, T>) -> impl Iterator<Item = &'a Flight<C, T>> {
        let group = flight.group.and_then(|group| self.groups.get(&group));
        let others = group.map_or(&[][..], |group| &group.serials);
        let others = others.iter().filter_map(|serial| self.flights.get(serial));
        let others = others.filter(|other| other.serial != flight.serial);
        std::iter::once(flight).chain(others)
    }

    pub fn begin(
        &mut self,
        id: &Id,
        until: Instant,
        now: Instant,
        claim: impl FnOnce() -> C,
        count_max: usize,
    ) -> Result<u64, Full> {
        if self.flights.len() >= count_max {
            return Err(Full);
        }
        self.issued += 1;
        let serial = self.issued;
        let flight = Flight {
            serial,
            id: id.clone(),
            claim: claim(),
            began: now,
            until,
            patience: until.saturating_duration_since(now),
            seats: 0,
            waiters: HashMap::new(),
            is_warm: false,
            group: None,
            cancel: None,
        };
        self.flights.insert(serial, flight);
        self.joinable.insert(id.clone(), serial);
        Ok(serial)
    }

    pub fn sit_down(&mut self, serial: u64) -> (u64, oneshot::Receiver<Landed<T>>) {
        let (tell, waiting) = oneshot::channel();
        let Some(flight) = self.flights.get_mut(&serial) else {
            return (0, waiting);
        };
        let group = flight.group.filter(|_| !flight.is_awaited());
        if let Some(group) = group.and_then(|group| self.groups.get_mut(&group)) {
            group.awaited += 1;
        }
        flight.seats += 1;
        flight.waiters.insert(flight.seats, tell);
        (flight.seats, waiting)
    }

    /// Has these made together from now on.
    pub fn group(&mut self, serials: Vec<u64>) -> Option<u64> {
        let name = *serials.first()?;
        let mut awaited = 0;
        for serial in &serials {
            if let Some(flight) = self.flights.get_mut(serial) {
                flight.group = Some(name);
                awaited += usize::from(flight.is_awaited());
            }
        }
        if awaited > 0 {
            let group = Group {
                serials,
                awaited,
                cancel: None,
            };
            self.groups.insert(name, group);
        }
        Some(name)
    }

    /// Somebody who waits leaves; what is to be dropped without the lock.
    pub fn leave(&mut self, serial: u64, number: u64) -> Left<C, T> {
        let mut left = Left::default();
        let Some(flight) = self.flights.get_mut(&serial) else {
            return left;
        };
        left.own = flight.waiters.remove(&number);
        if left.own.is_none() || flight.is_awaited() {
            return left;
        }
        match flight.group {
            None => left.cancelled.extend(self.end(serial)),
            // The others' load brings it, too.
            Some(name) => self.count_down(name, &mut left),
        }
        left
    }

    /// A load ends; what is to be told and dropped without the lock.
    pub fn end_all(&mut self, serial: u64) -> (Option<Flight<C, T>>, Left<C, T>) {
        let mut left = Left::default();
        let flight = self.end(serial);
        if let Some(flight) = &flight
            && let Some(name) = flight.group
            && flight.is_awaited()
        {
            self.count_down(name, &mut left);
        }
        (flight, left)
    }

    /// One fewer of them is awaited. With the last the others end.
    fn count_down(&mut self, name: u64, left: &mut Left<C, T>) {
        let Some(group) = self.groups.get_mut(&name) else {
            return;
        };
        group.awaited = group.awaited.saturating_sub(1);
        if group.awaited > 0 {
            return;
        }
        if let Some(group) = self.groups.remove(&name) {
            let others = group.serials.iter();
            left.cancelled
                .extend(others.filter_map(|serial| self.end(*serial)));
            left.cancel = group.cancel;
        }
    }

    /// Takes a load out; what is in it is to be dropped without the lock.
    fn end(&mut self, serial: u64) -> Option<Flight<C, T>> {
        let flight = self.flights.remove(&serial)?;
        if self.joinable.get(&flight.id) == Some(&serial) {
            self.joinable.remove(&flight.id);
        }
        Some(flight)
    }
}

/// What is over, to be ended without the lock.
#[must_use = "it is to be ended without the lock"]
pub struct Left<C, T> {
    own: Option<oneshot::Sender<Landed<T>>>,
    cancelled: Vec<Flight<C, T>>,
    cancel: Option<Cancel>,
}

impl<C, T> Default for Left<C, T> {
    fn default() -> Self {
        Self {
            own: None,
            cancelled: Vec::new(),
            cancel: None,
        }
    }
}

impl<C, T> Left<C, T> {
    /// Tells those who wait that nothing will come, and ends the work.
    pub fn end(self) {
        // As in `tell_lost`.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self.own)));
        self.cancelled.into_iter().for_each(Flight::end);
        if let Some(cancel) = self.cancel {
            cancel();
        }
    }
}

impl<C, T> Flight<C, T> {
    /// Whether it is to go on for its own sake.
    fn is_awaited(&self) -> bool {
        self.is_warm || !self.waiters.is_empty()
    }

    /// Somebody who comes now has time until then. A load ends, though, once it has taken twice as long as the most
    /// patient of them had time for: those who come late to one that hangs add nothing.
    pub fn extend(&mut self, until: Instant, now: Instant) {
        self.patience = self.patience.max(until.saturating_duration_since(now));
        let last = self.began + self.patience * 2;
        self.until = self.until.max(until.min(last));
    }

    /// Tells those who wait that nothing will come, and ends the work.
    pub fn end(self) {
        if let Some(cancel) = self.tell_lost() {
            cancel();
        }
    }

    /// Tells those who wait what it brought; nothing, if its time is up. How many those are.
    pub fn tell(self, what: Option<T>) -> usize
    where
        T: Clone,
    {
        let waiters = self.waiters.len();
        for tell in self.waiters.into_values() {
            let what = what.clone();
            // Whoever has left meanwhile wants nothing. A waker that panics harms its own caller alone.
            let _ = catch_unwind(AssertUnwindSafe(|| tell.send(Landed { what, waiters })));
        }
        waiters
    }

    /// Tells those who wait that nothing will come. What ends the work is the caller's to use.
    pub fn tell_lost(self) -> Option<Cancel> {
        for tell in self.waiters.into_values() {
            // Wakes a host's task: a waker that panics harms its own caller alone.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(tell)));
        }
        self.cancel
    }
}
