//! What the coalescing table holds, under its lock: the loads of each key, and who waits for them.

use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use hashbrown::HashMap;
use smol_str::SmolStr;
use tokio::sync::oneshot;

use crate::key::CacheId;

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
}

/// One load.
pub struct Flight<C, T> {
    pub id: Id,
    pub claim: C,
    pub began: Instant,
    pub until: Instant,
    pub seats: u64,
    pub waiters: HashMap<u64, oneshot::Sender<Landed<T>>>,
    /// Goes on when nobody waits.
    pub is_warm: bool,
    pub cancel: Option<Cancel>,
}

/// Ends the work of a load.
pub type Cancel = Box<dyn FnOnce() + Send>;

/// What a load brought.
#[derive(Clone)]
pub struct Landed<T> {
    /// The same for all.
    pub what: T,
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
        }
    }
}

impl<C, T> Table<C, T> {
    pub fn joinable(&mut self, id: &Id) -> Option<(u64, &mut Flight<C, T>)> {
        let serial = *self.joinable.get(id)?;
        Some((serial, self.flights.get_mut(&serial)?))
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
            id: id.clone(),
            claim: claim(),
            began: now,
            until,
            seats: 0,
            waiters: HashMap::new(),
            is_warm: false,
            cancel: None,
        };
        self.flights.insert(serial, flight);
        self.joinable.insert(id.clone(), serial);
        Ok(serial)
    }

    pub fn sit_down(&mut self, serial: u64) -> (u64, oneshot::Receiver<Landed<T>>) {
        let (tell, waiting) = oneshot::channel();
        let number = self.flights.get_mut(&serial).map_or(0, |flight| {
            flight.seats += 1;
            flight.waiters.insert(flight.seats, tell);
            flight.seats
        });
        (number, waiting)
    }

    /// Takes a load out; what is in it is to be dropped without the lock.
    pub fn end(&mut self, serial: u64) -> Option<Flight<C, T>> {
        let flight = self.flights.remove(&serial)?;
        if self.joinable.get(&flight.id) == Some(&serial) {
            self.joinable.remove(&flight.id);
        }
        Some(flight)
    }
}

impl<C, T> Flight<C, T> {
    /// Tells those who wait that nothing will come, and ends the work.
    pub fn end(self) {
        if let Some(cancel) = self.tell_lost() {
            cancel();
        }
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
