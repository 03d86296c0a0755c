//! What a critical section leaves to be done after its lock is released.
//!
//! A host's destructor may panic, take long or call larder again, and a waker is a host's code too:
//! neither may run under a stripe's lock, so everything that might be the last reference goes through
//! here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::dirty::Dirty;
use super::event::RawEvent;
use super::slot::{Encoded, Slot};
use super::table::Left;
use super::taken::Waiter;
use crate::sync::Arc;

#[derive(Default)]
pub(super) struct Effects {
    /// What the table let go of or did not keep.
    pub table: Left,
    /// What the change was for, where nothing keeps it.
    pub unused: Option<Slot>,
    /// The bytes of a change that no tier stores.
    pub encoded: Option<Arc<Encoded>>,
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
}

impl Effects {
    /// Drops what may be a host's, one thing at a time. Mostly there is one.
    pub fn let_go(&mut self) {
        let Left { old, refused, .. } = &mut self.table;
        for slot in [old, refused, &mut self.unused] {
            empty(slot);
        }
        empty(&mut self.encoded);
        empty(&mut self.superseded);
        if !self.garbage.is_empty() {
            self.garbage.drain(..).for_each(let_go);
        }
        if !self.lost.is_empty() {
            self.lost.drain(..).for_each(let_go);
        }
    }
}

/// Drops what is in there, where it is, as [`let_go`] does.
pub(super) fn empty<T>(place: &mut Option<T>) {
    if place.is_some() {
        let _ = catch_unwind(AssertUnwindSafe(|| *place = None));
    }
}

/// Drops `what`. A destructor that panics must not take the caller along, who has nothing to do with
/// it: it may be another key's, or the batch writer with half of its answers to give.
pub(super) fn let_go<T>(what: T) {
    // The panic has been reported by the panic hook.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(what)));
}
