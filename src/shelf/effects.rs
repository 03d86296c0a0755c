//! What a critical section leaves to be done after its lock is released.
//!
//! A host's destructor may panic, take long or call larder again, and a waker is a host's code too:
//! neither may run under a stripe's lock, so everything that might be the last reference goes through
//! here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::dirty::Dirty;
use super::event::RawEvent;
use super::slot::Slot;
use super::taken::Waiter;

#[derive(Default)]
pub(super) struct Effects {
    /// A slot that the table was given and did not keep.
    pub unkept: Option<Slot>,
    /// The slot that the table let go of.
    pub replaced: Option<Slot>,
    /// What the change was for, where nothing keeps it.
    pub unused: Option<Slot>,
    /// The dirty slot that was replaced or taken out, with its part of the budget.
    pub superseded: Option<Dirty>,
    /// Whatever else has left.
    pub garbage: Vec<Slot>,
    /// Events that found no place.
    pub lost: Vec<RawEvent>,
    /// Who waited for a change that will not be stored.
    pub unstored: Vec<Waiter>,
    /// Something to store was added.
    pub dirtied: bool,
    /// An event was added.
    pub told: bool,
    /// A deadline was added.
    pub timed: bool,
    /// Entries evicted.
    pub evicted: u64,
    /// Values refused because they are heavier than the stripe.
    pub refused: u64,
    /// Pins that were not honoured.
    pub pins_refused: u64,
}

impl Effects {
    /// Drops what may be a host's, one thing at a time.
    pub fn let_go(&mut self) {
        for slot in [&mut self.unkept, &mut self.replaced, &mut self.unused] {
            slot.take().into_iter().for_each(let_go);
        }
        self.garbage.drain(..).for_each(let_go);
        self.superseded.take().into_iter().for_each(let_go);
        self.lost.drain(..).for_each(let_go);
    }
}

/// Drops `what`. A destructor that panics must not take the caller along, who has nothing to do with
/// it: it may be another key's, or the batch writer with half of its answers to give.
pub(super) fn let_go<T>(what: T) {
    // The panic has been reported by the panic hook.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(what)));
}
