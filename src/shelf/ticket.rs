//! A ticket: how a caller learns that what it wrote has been stored.
//!
//! One ticket may stand for one slot (`set`), a chunk (`set_many`) or the whole dirty set (`flush`).
//! It is done when every holder has said so; a holder that is dropped without a word means *unknown*,
//! never *stored*.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};

/// Held by each slot that the caller waits for.
pub struct Ticket(Arc<Inner>);

struct Inner {
    left: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<Result<(), Error>>>>,
}

/// The caller's end.
pub type Waiting = oneshot::Receiver<Result<(), Error>>;

impl Ticket {
    /// A ticket with one holder, and the end to wait on.
    pub fn new() -> (Self, Waiting) {
        let (done, waiting) = oneshot::channel();
        let inner = Inner {
            left: AtomicUsize::new(1),
            done: Mutex::new(Some(done)),
        };
        (Self(Arc::new(inner)), waiting)
    }

    /// One more holder.
    pub fn share(&self) -> Self {
        self.0.left.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }

    /// This holder's part is stored.
    pub fn done(self) {
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.answer(Ok(()));
        }
    }

    /// This holder's part cannot be kept; the caller hears of the first such.
    pub fn fail(self, error: Error) {
        self.answer(Err(error));
    }

    /// Whether it makes no difference any more: it is answered, or the caller has left.
    pub fn is_abandoned(&self) -> bool {
        let done = self.0.done.lock();
        done.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn answer(&self, result: Result<(), Error>) {
        // A statement of its own, so that the lock is released before the caller's waker runs.
        let done = self.0.done.lock().take();
        if let Some(done) = done {
            // The caller may have left; that changes nothing here. Nor does a waker that panics: others wait, too.
            let _ = catch_unwind(AssertUnwindSafe(|| done.send(result)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_done_when_every_holder_is() {
        let (first, mut waiting) = Ticket::new();
        let second = first.share();
        first.done();
        assert!(waiting.try_recv().is_err());
        second.done();
        assert!(matches!(waiting.try_recv(), Ok(Ok(()))));
    }

    /// A task that cannot be woken.
    struct Unwakeable;

    impl std::task::Wake for Unwakeable {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("by order");
        }
    }

    #[test]
    fn a_caller_that_panics_when_it_is_told_does_not_harm_who_tells_it() {
        let (ticket, mut waiting) = Ticket::new();
        let waker = std::sync::Arc::new(Unwakeable).into();
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(Future::poll(std::pin::pin!(&mut waiting), &mut cx).is_pending());
        ticket.done();
        assert!(matches!(waiting.try_recv(), Ok(Ok(()))));
    }

    #[test]
    fn the_first_failure_is_the_answer() {
        let (first, mut waiting) = Ticket::new();
        let second = first.share();
        first.fail(Error::Closed);
        second.done();
        assert!(matches!(waiting.try_recv(), Ok(Err(Error::Closed))));
    }

    #[test]
    fn a_holder_that_is_dropped_never_means_stored() {
        let (first, mut waiting) = Ticket::new();
        let second = first.share();
        drop(first);
        second.done();
        assert!(matches!(
            waiting.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
    }
}
