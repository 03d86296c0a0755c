//! How urgent a load is, its turn in the queue of its source, and its place there.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::AtomicU8;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::{Entered, LoadSource, Ordering, Urgency};
use crate::sync::Mutex;

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
    tell: oneshot::Sender<Turn>,
}

impl Waiter {
    /// It has a place. IMPORTANT: without a lock held, here as below. If nobody takes it any more, it goes to the next.
    pub fn has_place(self) {
        let place = Place(self.source.clone());
        self.tell(Turn::Yours(place));
    }

    pub fn tell(self, turn: Turn) {
        // Wakes a host's task: a waker that panics harms its own caller alone.
        let _ = catch_unwind(AssertUnwindSafe(|| self.tell.send(turn)));
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
    at: Mutex<Option<(LoadSource, u64)>>,
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
        if let Some((source, ticket)) = &*self.at.lock() {
            let mut queue = source.0.shared.queue.lock();
            queue.lift(source.0.number, *ticket, urgency);
        }
    }

    /// Waits for a place of this source.
    pub(super) async fn turn(&self, source: &LoadSource, is_part: bool) -> Turn {
        let (tell, turn) = oneshot::channel();
        let waiter = Waiter {
            source: source.clone(),
            tell,
        };
        let entered = {
            // Held together, so that whoever lifts it does so before or after.
            let mut at = self.at.lock();
            let urgency = Urgency::from_u8(self.urgency.load(Ordering::Acquire));
            let mut queue = source.0.shared.queue.lock();
            let entered = queue.enter(source.0.number, urgency, waiter);
            if let Entered::Waits { ticket, .. } = &entered {
                *at = Some((source.clone(), *ticket));
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
                    source,
                    ticket,
                    turn,
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
    source: &'a LoadSource,
    ticket: u64,
    turn: oneshot::Receiver<Turn>,
}

impl Future for Waiting<'_> {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn> {
        let turn = Pin::new(&mut self.turn).poll(cx);
        turn.map(|turn| turn.unwrap_or(Turn::Look))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.rank.at.lock() = None;
        let known = &*self.source.0;
        let left = known.shared.queue.lock().leave(known.number, self.ticket);
        // Not under the lock. A place that was given meanwhile is in the channel, and goes on from there.
        drop(left);
    }
}
