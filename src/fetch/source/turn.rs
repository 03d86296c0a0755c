//! How urgent a load is, its turn in the queue of its source, and its place there.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::AtomicU8;
use std::task::{Context, Poll, Waker};

use super::{Entered, LoadSource, Ordering, Urgency};
use crate::sync::{Arc, Mutex};

/// What somebody who waits is told.
pub(super) enum Turn {
    /// It is its turn.
    Yours(Place),
    /// Others are more urgent, and there is no room for all.
    Away,
    /// Something has changed: it is to look again.
    Look,
}

/// Somebody who waits.
pub(super) struct Waiter {
    source: LoadSource,
    slot: Arc<Slot>,
}

/// Where somebody who waits finds its turn. Not a channel: what is told to somebody whose runtime stands still can
/// be taken back.
#[derive(Default)]
struct Slot(Mutex<Told>);

#[derive(Default)]
struct Told {
    turn: Option<Turn>,
    waker: Option<Waker>,
    is_closed: bool,
}

impl Slot {
    /// Nobody looks here any more. What is told already is the caller's to drop, without a lock.
    fn close(&self) -> Option<Turn> {
        let mut told = self.0.lock();
        told.is_closed = true;
        told.turn.take()
    }
}

impl Waiter {
    /// It has a place. IMPORTANT: without a lock held, here as below. If nobody takes it any more, it goes to the next.
    pub fn has_place(self) {
        let place = Place(self.source.clone());
        self.tell(Turn::Yours(place));
    }

    pub fn tell(self, turn: Turn) {
        let mut told = self.slot.0.lock();
        let (unwanted, waker) = match told.is_closed {
            true => (Some(turn), None),
            false => (told.turn.replace(turn), told.waker.take()),
        };
        drop(told);
        drop(unwanted);
        if let Some(waker) = waker {
            // Wakes a host's task: a waker that panics harms its own caller alone.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// One of the places of a source. Dropped, it goes to the next who waits.
pub(crate) struct Place(LoadSource);

impl Drop for Place {
    fn drop(&mut self) {
        let known = &*self.0.0;
        let next = known.shared.queue.lock().give_back(known.number);
        next.into_iter().for_each(Waiter::has_place);
    }
}

/// How urgent a load is: as the most urgent of those who wait for it.
pub(crate) struct Rank {
    urgency: AtomicU8,
    /// Where it waits.
    at: Mutex<Option<At>>,
}

#[derive(Clone)]
struct At {
    source: LoadSource,
    ticket: u64,
    slot: Arc<Slot>,
}

impl At {
    /// Leaves the queue, and what was told there.
    fn leave(&self) {
        let known = &*self.source.0;
        let left = known.shared.queue.lock().leave(known.number, self.ticket);
        let told = self.slot.close();
        // Not under a lock: a place goes to the next.
        drop((left, told));
    }
}

impl Rank {
    pub fn new(urgency: Urgency) -> Self {
        Self {
            urgency: AtomicU8::new(urgency.as_u8()),
            at: Mutex::new(None),
        }
    }

    /// Somebody joins who is as urgent as this.
    pub fn lift(&self, urgency: Urgency) {
        let before = self.urgency.fetch_min(urgency.as_u8(), Ordering::AcqRel);
        if before <= urgency.as_u8() {
            return;
        }
        if let Some(At { source, ticket, .. }) = &*self.at.lock() {
            let mut queue = source.0.shared.queue.lock();
            queue.lift(source.0.number, *ticket, urgency);
        }
    }

    /// Waits no more, wherever it does: its load is over, though whoever makes it may stand still.
    pub fn give_up(&self) {
        let at = self.at.lock().take();
        at.iter().for_each(At::leave);
    }

    /// Waits for a place of this source.
    pub(super) async fn turn(&self, source: &LoadSource, is_part: bool) -> Turn {
        let slot = Arc::new(Slot::default());
        let waiter = Waiter {
            source: source.clone(),
            slot: Arc::clone(&slot),
        };
        let entered = {
            // Held together, so that whoever lifts it does so before or after.
            let mut at = self.at.lock();
            let urgency = Urgency::from_u8(self.urgency.load(Ordering::Acquire));
            let mut queue = source.0.shared.queue.lock();
            let entered = queue.enter(source.0.number, urgency, waiter);
            if let Entered::Waits { ticket, .. } = &entered {
                *at = Some(At {
                    source: source.clone(),
                    ticket: *ticket,
                    slot: Arc::clone(&slot),
                });
            }
            entered
        };
        match entered {
            Entered::In(_) => Turn::Yours(Place(source.clone())),
            Entered::Full(_) => Turn::Away,
            Entered::Waits {
                ticket,
                turned_away,
            } => {
                let waiting = Waiting {
                    rank: self,
                    at: At {
                        source: source.clone(),
                        ticket,
                        slot,
                    },
                };
                turned_away
                    .into_iter()
                    .for_each(|waiter| waiter.tell(Turn::Away));
                // It may have been left alone since this load has looked.
                match source.refuses_for() {
                    Some(_) if !is_part => Turn::Look,
                    _ => waiting.await,
                }
            }
        }
    }
}

/// A place in the queue. Dropped, it is left.
struct Waiting<'a> {
    rank: &'a Rank,
    at: At,
}

impl Future for Waiting<'_> {
    type Output = Turn;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut told = self.at.slot.0.lock();
        match told.turn.take() {
            Some(turn) => Poll::Ready(turn),
            // Its load is over: whoever makes it is about to be dropped.
            None if told.is_closed => Poll::Ready(Turn::Away),
            None => {
                let before = told.waker.replace(cx.waker().clone());
                drop(told);
                drop(before);
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.rank.at.lock() = None;
        self.at.leave();
    }
}
