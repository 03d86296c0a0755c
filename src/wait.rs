//! Waiting with a deadline, on any executor.
//!
//! A host may run larder's futures on a runtime of its own, on another executor, or on one without a
//! timer. So the timer is that of larder's own runtime, and a wait also ends when larder does: polled
//! after its runtime is gone, a timer would panic.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::error::Error;
use crate::gate::Standing;

/// No wait is longer than a year: there is no end to add up to what may be far away.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// Makes waits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Timer {
    runtime: tokio::runtime::Handle,
    /// Never has a permit; closed when larder ends.
    end: Arc<Semaphore>,
}

impl Timer {
    /// A timer on this runtime.
    pub fn new(runtime: tokio::runtime::Handle) -> Self {
        Self {
            runtime,
            end: Arc::new(Semaphore::new(0)),
        }
    }

    /// A wait that begins now and may take `after` in all.
    pub fn wait(&self, after: Duration) -> Wait<'_> {
        self.wait_since(Clock::instant(), after)
    }

    /// A wait that has begun then and may take `after` in all.
    pub fn wait_since(&self, began: Instant, after: Duration) -> Wait<'_> {
        Wait {
            timer: self,
            began,
            after,
            standing: Standing::default(),
        }
    }

    /// Ends every wait, now and later. IMPORTANT: before the runtime ends.
    pub fn close(&self) {
        self.end.close();
    }

    /// Whether it has been closed: larder ends.
    pub fn is_closed(&self) -> bool {
        self.end.is_closed()
    }

    /// The runtime that the timer belongs to.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }
}

/// How long a call may still take.
#[derive(Debug)]
pub struct Wait<'a> {
    timer: &'a Timer,
    began: Instant,
    after: Duration,
    standing: Standing,
}

impl Wait<'_> {
    /// The wait of a call that stands so when there is too much work.
    #[must_use]
    pub fn standing(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }

    /// Refuses a call at once that is not to wait for its turn.
    ///
    /// # Errors
    ///
    /// What `refusal` says.
    pub fn turn(&self, refusal: impl FnOnce() -> Error) -> Result<(), Error> {
        match self.standing.waits() {
            true => Ok(()),
            false => Err(refusal()),
        }
    }

    /// How the call stands.
    pub fn stands(&self) -> Standing {
        self.standing
    }

    /// `future`'s outcome, or `late()` once the call's time is up.
    ///
    /// # Errors
    ///
    /// What `late` says; [`Error::Closed`] if larder ends meanwhile.
    pub async fn until<T>(
        &self,
        future: impl Future<Output = T>,
        late: impl FnOnce() -> Error,
    ) -> Result<T, Error> {
        let sleep = {
            // A timer belongs to the runtime that is entered where it is made, not where it is polled.
            let _entered = self.timer.runtime.enter();
            let end = self.began + self.after.min(FOREVER);
            tokio::time::sleep_until(end.into())
        };
        let (mut future, mut sleep) = (pin!(future), pin!(sleep));
        let mut end = pin!(self.timer.end.acquire());
        let ended = std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(Ended::Done(done));
            }
            // IMPORTANT: before the timer, which must not be polled any more when this is ready.
            if end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ended::Closed);
            }
            sleep.as_mut().poll(cx).map(|()| Ended::Late)
        });
        match ended.await {
            Ended::Done(done) => Ok(done),
            Ended::Closed => Err(Error::Closed),
            Ended::Late => Err(late()),
        }
    }

    /// How much time is left.
    pub fn left(&self) -> Duration {
        self.after.saturating_sub(self.began.elapsed())
    }

    /// Waits until the time is up or larder ends.
    pub async fn out(&self) {
        let _ = self
            .until(std::future::pending::<()>(), || self.exceeded())
            .await;
    }

    /// What a caller gets whose time is up.
    pub fn exceeded(&self) -> Error {
        Error::DeadlineExceeded { after: self.after }
    }
}

enum Ended<T> {
    Done(T),
    Closed,
    Late,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_time().build().unwrap()
    }

    #[test]
    fn what_is_ready_is_answered_and_what_is_late_is_refused_without_a_runtime_of_the_hosts() {
        let own = runtime();
        let timer = Timer::new(own.handle().clone());
        let host = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        host.block_on(async {
            let wait = timer.wait(Duration::from_millis(5));
            assert_eq!(wait.until(async { 7 }, || Error::Closed).await.unwrap(), 7);
            let late = wait
                .until(std::future::pending::<()>(), || wait.exceeded())
                .await;
            assert!(matches!(late, Err(Error::DeadlineExceeded { .. })));
            wait.out().await;
        });
    }

    #[test]
    fn a_wait_that_outlives_its_runtime_ends_instead_of_panicking() {
        let own = runtime();
        let timer = Timer::new(own.handle().clone());
        let host = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        host.block_on(async {
            let wait = timer.wait(Duration::from_secs(60));
            let mut pending =
                Box::pin(wait.until(std::future::pending::<()>(), || wait.exceeded()));
            std::future::poll_fn(|cx| {
                assert!(pending.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            timer.close();
            own.shutdown_background();
            assert!(matches!(pending.await, Err(Error::Closed)));
            let after = timer.wait(Duration::from_secs(60));
            let closed = after
                .until(std::future::pending::<()>(), || after.exceeded())
                .await;
            assert!(matches!(closed, Err(Error::Closed)));
        });
    }
}
