//! Counting reads without a cache line that threads share.
//!
//! Each thread has a seat of its own, so that counting is a load and a store; an atomic addition would
//! make a read wait for the ones before it. Threads beyond the seats share one and do add. A seat that
//! is given back is taken over under a lock, so what was counted in it is seen.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Seats of one process. The last is everybody's who finds no other.
const SEATS: usize = 64;
/// A thread that has not counted anything yet.
const UNSEATED: usize = usize::MAX;
const SHARED: usize = SEATS - 1;

/// Seats that were given back, and the first that nobody has had yet.
static FREE: Mutex<(Vec<usize>, usize)> = Mutex::new((Vec::new(), 0));

thread_local! {
    static SEAT: Cell<usize> = const { Cell::new(UNSEATED) };
    static LEASE: Lease = const { Lease };
}

/// Gives the thread's seat back when the thread ends.
struct Lease;

impl Drop for Lease {
    fn drop(&mut self) {
        let seat = SEAT.replace(SHARED);
        if seat < SHARED {
            FREE.lock().0.push(seat);
        }
    }
}

#[cold]
fn take_seat() -> usize {
    // Without somebody who gives it back later there is none to be had.
    let seat = LEASE.try_with(|_| {
        let (free, fresh) = &mut *FREE.lock();
        free.pop().unwrap_or_else(|| {
            let seat = (*fresh).min(SHARED);
            *fresh = (*fresh + 1).min(SHARED);
            seat
        })
    });
    let seat = seat.unwrap_or(SHARED);
    SEAT.set(seat);
    seat
}

/// A line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Line {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What the reads of one shelf came to.
pub struct Tally(Box<[Line]>);

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self((0..SEATS).map(|_| Line::default()).collect())
    }

    /// Counts one read.
    #[inline]
    pub fn count(&self, is_hit: bool) {
        let mut seat = SEAT.get();
        if seat == UNSEATED {
            seat = take_seat();
        }
        let Some(line) = self.0.get(seat) else { return };
        let counter = if is_hit { &line.hits } else { &line.misses };
        if seat == SHARED {
            counter.fetch_add(1, Ordering::Relaxed);
        } else {
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Hits and misses so far.
    pub fn sum(&self) -> (u64, u64) {
        let sum = |of: fn(&Line) -> &AtomicU64| {
            let lines = self.0.iter().map(|line| of(line).load(Ordering::Relaxed));
            lines.sum()
        };
        (sum(|line| &line.hits), sum(|line| &line.misses))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn every_read_is_counted_with_more_threads_at_once_than_there_are_seats() {
        let (tally, begin) = (Tally::new(), Barrier::new(SEATS + 20));
        std::thread::scope(|scope| {
            for _ in 0..SEATS + 20 {
                scope.spawn(|| {
                    begin.wait();
                    (0..1_000).for_each(|n| tally.count(n % 4 == 0));
                    // Nobody's seat is free before all have counted.
                    begin.wait();
                });
            }
        });
        let threads = SEATS as u64 + 20;
        assert_eq!(tally.sum(), (threads * 250, threads * 750));
    }

    #[test]
    fn a_thread_that_ends_leaves_its_seat_and_its_count_to_the_next() {
        let tally = Tally::new();
        for _ in 0..3 * SEATS {
            std::thread::scope(|scope| {
                scope.spawn(|| tally.count(true));
            });
        }
        assert_eq!(tally.sum(), (3 * SEATS as u64, 0));
        let used = |line: &&Line| line.hits.load(Ordering::Relaxed) > 0;
        // Other tests may be seated just now, but not on all of them.
        let lines = tally.0.iter().filter(used).count();
        assert!(lines < SEATS, "{lines} seats for one thread at a time");
    }
}
