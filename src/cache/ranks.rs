//! The urgency of loads that are begun together.

use std::cell::Cell;
use std::sync::Arc;

use crate::fetch::Rank;

/// How urgent the loads are that one call begins: those that are made together are one.
pub(super) struct Ranks<F> {
    chunk: usize,
    make: F,
    now: Cell<(usize, Option<Arc<Rank>>)>,
}

impl<F: Fn() -> Arc<Rank>> Ranks<F> {
    pub fn new(chunk: usize, make: F) -> Self {
        Self {
            chunk,
            make,
            now: Cell::new((0, None)),
        }
    }

    pub fn next(&self) -> Arc<Rank> {
        let (count, rank) = self.now.take();
        let rank = rank.filter(|_| !count.is_multiple_of(self.chunk));
        let rank = rank.unwrap_or_else(&self.make);
        self.now.set((count + 1, Some(Arc::clone(&rank))));
        rank
    }
}
