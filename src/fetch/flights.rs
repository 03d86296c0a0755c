//! The coalescing table: which loads are under way, and who waits for each.
//!
//! One load at a time may be joined for a key. One that may not be joined any more, since its key was
//! changed meanwhile, goes on for those who wait already, beside its successor. A load ends once: it lands
//! with what it brought, is cancelled by the last who leaves, or is lost with whoever ran it, and then
//! those who wait hear that nothing more will come. No host's code runs under the lock.

use std::future::Future;
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::oneshot;

use super::table::{Cancel, Full, Id, Landed, Table};
use crate::sync::{Arc, Mutex};

/// Loads under way. `C` is what a load claimed when it began, `T` what it brings.
pub struct Flights<C, T> {
    table: Mutex<Table<C, T>>,
    count_max: usize,
}

/// A place among those who wait; for the first of them, with a pilot.
pub type Joined<C, T> = (Seat<C, T>, Option<Pilot<C, T>>);

/// A place among those who wait. Dropped, it leaves; the last one who leaves cancels the load.
pub struct Seat<C, T> {
    flights: Arc<Flights<C, T>>,
    serial: u64,
    number: u64,
    waiting: oneshot::Receiver<Landed<T>>,
}

/// The duty to bring something to those who wait. Dropped, they hear that nothing will come.
pub struct Pilot<C, T> {
    flights: Arc<Flights<C, T>>,
    serial: u64,
}

/// Ends the work of a load that nobody waits for any more.
pub struct Brake<C, T> {
    flights: Arc<Flights<C, T>>,
    serial: u64,
}

impl<C: Clone, T: Clone> Flights<C, T> {
    /// Room for so many loads.
    pub fn new(count_max: usize) -> Self {
        Self {
            table: Mutex::new(Table::default()),
            count_max,
        }
    }

    /// Waits for the load that is under way, if `may_join` says of its claim that it may be joined, or
    /// begins one under the claim that `claim` makes: then there is a pilot, too. The load has time until the
    /// latest of those who wait has to have an answer, but no more than twice what the most patient of them had.
    ///
    /// `may_join` and `claim` run under the table's lock: they must not call it.
    pub fn join(
        self: &Arc<Self>,
        id: &Id,
        until: Instant,
        now: Instant,
        may_join: impl FnOnce(&C) -> bool,
        claim: impl FnOnce() -> C,
    ) -> Result<Joined<C, T>, Full> {
        let mut table = self.without_overdue(id, now);
        let under_way = table
            .joinable(id)
            .filter(|(_, flight)| may_join(&flight.claim));
        let (serial, is_new) = match under_way {
            Some((serial, flight)) => {
                flight.extend(until, now);
                (serial, false)
            }
            None => (table.begin(id, until, now, claim, self.count_max)?, true),
        };
        let (number, waiting) = table.sit_down(serial);
        drop(table);
        let seat = Seat {
            flights: Arc::clone(self),
            serial,
            number,
            waiting,
        };
        let pilot = is_new.then(|| Pilot {
            flights: Arc::clone(self),
            serial,
        });
        Ok((seat, pilot))
    }

    /// Begins a load that nobody waits for; nothing, if one may be joined.
    pub fn begin(
        self: &Arc<Self>,
        id: &Id,
        until: Instant,
        now: Instant,
        may_join: impl FnOnce(&C) -> bool,
        claim: impl FnOnce() -> C,
    ) -> Result<Option<Pilot<C, T>>, Full> {
        let mut table = self.without_overdue(id, now);
        if let Some((_, flight)) = table.joinable(id)
            && may_join(&flight.claim)
        {
            return Ok(None);
        }
        let serial = table.begin(id, until, now, claim, self.count_max)?;
        if let Some(flight) = table.flights.get_mut(&serial) {
            flight.is_warm = true;
        }
        drop(table);
        Ok(Some(Pilot {
            flights: Arc::clone(self),
            serial,
        }))
    }

    /// The table, once loads have ended whose time is up and that have not ended by themselves, as their runtime
    /// may stand still: the one of this key, and all where there is no more room.
    fn without_overdue(&self, id: &Id, now: Instant) -> impl DerefMut<Target = Table<C, T>> {
        let mut table = self.table.lock();
        let over = table.overdue(id, now, self.count_max);
        if over.is_empty() {
            return table;
        }
        let mut ended: Vec<_> = over.iter().map(|serial| table.end_all(*serial)).collect();
        drop(table);
        for (flight, left) in &mut ended {
            // IMPORTANT: all of it before anybody is told, who then looks for a place of his own.
            let cancel = flight.as_mut().and_then(|flight| flight.cancel.take());
            cancel.into_iter().for_each(|cancel| cancel());
            std::mem::take(left).end();
        }
        for flight in ended.into_iter().filter_map(|(flight, _)| flight) {
            flight.tell(None);
        }
        self.table.lock()
    }

    /// How many loads are under way, and when the oldest of them began.
    pub fn under_way(&self) -> (usize, Option<Instant>) {
        let table = self.table.lock();
        let oldest = table.flights.values().map(|flight| flight.began).min();
        (table.flights.len(), oldest)
    }
}

impl<C, T> Flights<C, T> {
    fn leave(&self, serial: u64, number: u64) {
        let left = self.table.lock().leave(serial, number);
        left.end();
    }
}

impl<C: Clone, T: Clone> Flights<C, T> {
    /// Has the loads of these pilots made together: nobody's leaving ends one of them while anybody waits for
    /// any. Where it is said what ends the work; nothing, if there are none.
    pub fn group<'a>(
        self: &Arc<Self>,
        pilots: impl Iterator<Item = &'a Pilot<C, T>>,
    ) -> Option<GroupBrake<C, T>>
    where
        C: 'a,
        T: 'a,
    {
        let serials = pilots.map(|pilot| pilot.serial).collect();
        Some(GroupBrake {
            name: self.table.lock().group(serials)?,
            flights: Arc::clone(self),
        })
    }
}

impl<C: Clone, T: Clone> Pilot<C, T> {
    /// Until when the load has time; nothing once it is cancelled.
    pub fn until(&self) -> Option<Instant> {
        let table = self.flights.table.lock();
        Some(table.flights.get(&self.serial)?.until)
    }

    /// Where it is said what ends the work.
    pub fn brake(&self) -> Brake<C, T> {
        Brake {
            flights: Arc::clone(&self.flights),
            serial: self.serial,
        }
    }

    /// Answers all who wait: with nothing, if its time was up before. Returns how many those were.
    pub fn land(self, what: Option<T>) -> usize {
        let (flight, left) = self.flights.table.lock().end_all(self.serial);
        left.end();
        flight.map_or(0, |flight| flight.tell(what))
    }
}

/// Ends the work of loads that are made together, when nobody waits for any of them any more.
pub struct GroupBrake<C, T> {
    flights: Arc<Flights<C, T>>,
    name: u64,
}

impl<C, T> GroupBrake<C, T> {
    /// What ends the work: at once, if nobody waits any more.
    pub fn set(self, cancel: Cancel) {
        let mut table = self.flights.table.lock();
        if let Some(group) = table.groups.get_mut(&self.name) {
            group.cancel = Some(cancel);
            return;
        }
        drop(table);
        cancel();
    }
}

impl<C, T> Brake<C, T> {
    /// What ends the work when nobody waits any more: at once, if that is so already.
    pub fn set(self, cancel: Cancel) {
        let mut table = self.flights.table.lock();
        if let Some(flight) = table.flights.get_mut(&self.serial) {
            flight.cancel = Some(cancel);
            return;
        }
        drop(table);
        cancel();
    }
}

impl<C, T> Drop for Pilot<C, T> {
    fn drop(&mut self) {
        let (flight, left) = self.flights.table.lock().end_all(self.serial);
        if let Some(flight) = flight {
            // There is no work to end: whoever did it is gone.
            drop(flight.tell_lost());
        }
        left.end();
    }
}

impl<C: Clone, T: Clone> Seat<C, T> {
    /// When the load began; nothing, if it is over.
    pub fn began(&self) -> Option<Instant> {
        let table = self.flights.table.lock();
        Some(table.flights.get(&self.serial)?.began)
    }

    /// Lets the load go on without anybody, until then if it is not too old by now.
    pub fn warm(&self, until: Instant, now: Instant) {
        let mut table = self.flights.table.lock();
        if let Some(flight) = table.flights.get_mut(&self.serial) {
            flight.is_warm = true;
            flight.extend(until, now);
        }
    }
}

impl<C, T> Future for Seat<C, T> {
    /// Nothing, if whoever ran the load is gone.
    type Output = Option<Landed<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.waiting).poll(cx).map(Result::ok)
    }
}

impl<C, T> Drop for Seat<C, T> {
    fn drop(&mut self) {
        self.flights.leave(self.serial, self.number);
    }
}
