//! One load: its attempts, one after the other, until one succeeds or none may follow.
//!
//! A loader is a host's code: it may panic, never end, or fetch what it is loading.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use smol_str::SmolStr;

use super::GRACE;
use super::chain::{CHAIN, Chain};
use super::loaded::{LoadContext, Loaded};
use super::retry::Retry;
use super::source::{LoadSource, Rank, Ticket};
use crate::clock::Clock;
use crate::error::{Error, ErrorClass, LoadError};
use crate::wait::Timer;

/// A host's loader.
pub(crate) type Loader<V> = Arc<dyn Fn(LoadContext<V>) -> Loading<Loaded<V>> + Send + Sync>;
/// One call of one.
pub(crate) type Loading<T> = Pin<Box<dyn Future<Output = Result<T, LoadError>> + Send>>;
/// A host's own idea of what kind of trouble an error is.
pub(crate) type Classify = Arc<dyn Fn(&LoadError) -> Option<ErrorClass> + Send + Sync>;

/// How a load is made.
pub(crate) struct Attempts {
    pub retry: Retry,
    pub classify: Option<Classify>,
    pub source: Option<LoadSource>,
    pub rank: Arc<Rank>,
    /// What it loads, and what for.
    pub chain: Arc<Chain>,
}

/// One attempt.
pub(crate) struct Attempt {
    pub number: u32,
    pub until: Instant,
    pub idempotency_key: SmolStr,
}

/// What all attempts together came to.
pub(crate) struct Made<T> {
    pub answer: Result<T, Error>,
    /// How often the loader was asked.
    pub attempts: u32,
    /// How long the load waited for its turn at its source.
    pub queued: Duration,
}

impl Attempts {
    /// Makes them, until `until` says that time is up.
    pub async fn make<T>(
        &self,
        timer: &Timer,
        until: impl Fn() -> Option<Instant>,
        call: impl Fn(Attempt) -> Loading<T>,
    ) -> Made<T> {
        let mut rng = fastrand::Rng::new();
        let idempotency_key = format!("{:016x}{:016x}", rng.u64(..), rng.u64(..));
        let idempotency_key = SmolStr::from(idempotency_key);
        let mut made = Made {
            answer: Err(late().into()),
            attempts: 0,
            queued: Duration::ZERO,
        };
        loop {
            let began = Clock::instant();
            let Some(ticket) = in_time(timer, &until, None, self.admitted()).await else {
                return made;
            };
            made.queued += began.elapsed();
            let ticket = match ticket {
                Ok(ticket) => ticket,
                Err(error) if made.attempts == 0 => {
                    made.answer = Err(error);
                    return made;
                }
                // It comes back when it was told to, and finds somebody else finding out.
                Err(Error::SourceUnavailable { retry_after, .. })
                    if made.pace().is_some() && has_time(&until, retry_after) =>
                {
                    timer.wait(retry_after).out().await;
                    continue;
                }
                // What the source said itself says more.
                Err(_) => return made,
            };
            // What waited for its turn may have come too late.
            if !has_time(&until, Duration::ZERO) {
                return made;
            }
            made.attempts += 1;
            let attempt = Attempt {
                number: made.attempts,
                until: until().unwrap_or_else(Clock::instant),
                idempotency_key: idempotency_key.clone(),
            };
            let cut = self.source.as_ref().map(LoadSource::call_max);
            let Some(answer) = in_time(timer, &until, cut, self.ask(|| call(attempt))).await else {
                let mut error = late();
                if let Some(ticket) = ticket.filter(|_| has_time(&until, Duration::ZERO)) {
                    // Cut by its source's bound: that is the source's failure.
                    error = LoadError::transient(format!(
                        "the source did not answer within call_ms_max, {} ms",
                        cut.unwrap_or_default().as_millis()
                    ));
                    ticket.failed(&error);
                }
                // It may be tried again then; else there is no time for that.
                let wait = self.again(&mut made, error, &until, &mut rng);
                match wait {
                    Some(wait) => timer.wait(wait).out().await,
                    None => return made,
                }
                continue;
            };
            let answer = answer.map_err(|error| self.classed(error));
            match (ticket, &answer) {
                (None, _) => {}
                (Some(ticket), Ok(_)) => ticket.answered(),
                (Some(ticket), Err(error)) => ticket.failed(error),
            }
            let error = match answer {
                Ok(loaded) => {
                    made.answer = Ok(loaded);
                    return made;
                }
                Err(error) => error,
            };
            let Some(wait) = self.again(&mut made, error, &until, &mut rng) else {
                return made;
            };
            timer.wait(wait).out().await;
            if timer.is_closed() {
                return made;
            }
        }
    }

    /// How long to wait before it is asked again; nothing, if this error is the answer.
    fn again<T>(
        &self,
        made: &mut Made<T>,
        error: LoadError,
        until: &impl Fn() -> Option<Instant>,
        rng: &mut fastrand::Rng,
    ) -> Option<Duration> {
        let (wait, pace) = (self.retry.next(made.attempts, &error, rng), error.pace());
        made.answer = Err(error.into());
        let mut wait = wait?;
        if let Some(closed) = self.source.as_ref().and_then(LoadSource::refuses_for) {
            // A source that is left alone is not waited for, unless it said for how long.
            pace?;
            wait = wait.max(closed);
        }
        has_time(until, wait).then_some(wait)
    }

    /// Leave to ask the source, where there is one.
    async fn admitted(&self) -> Result<Option<Ticket>, Error> {
        match &self.source {
            Some(source) => source.admit(&self.rank, &self.chain).await.map(Some),
            None => Ok(None),
        }
    }

    async fn ask<T>(&self, call: impl FnOnce() -> Loading<T>) -> Result<T, LoadError> {
        let call = async {
            let loading = call();
            loading.await
        };
        match Guarded::new(CHAIN.scope(Arc::clone(&self.chain), call)).await {
            Some(answer) => answer,
            None => Err(LoadError::new(ErrorClass::Bug, "the loader panicked")),
        }
    }

    fn classed(&self, error: LoadError) -> LoadError {
        let class = self.classify.as_ref().and_then(|classify| {
            // A host's code like the loader.
            catch_unwind(AssertUnwindSafe(|| classify(&error))).unwrap_or(None)
        });
        match class {
            Some(class) => error.classed(class),
            None => error,
        }
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        Self::Fetch(Arc::new(error))
    }
}

impl<T> Made<T> {
    /// When the source said that it may be asked again.
    fn pace(&self) -> Option<Duration> {
        self.answer.as_ref().err()?.retry_after()
    }
}

/// Whether there is more time than this: whoever waits has no use for an attempt that begins too late.
fn has_time(until: &impl Fn() -> Option<Instant>, wait: Duration) -> bool {
    let now = Clock::instant() + GRACE;
    until().is_some_and(|until| until.saturating_duration_since(now) > wait)
}

fn late() -> LoadError {
    LoadError::transient("the load took longer than anybody had time for")
}

/// `future`'s outcome, or nothing once time is up, which may become more meanwhile, or after `most`.
async fn in_time<T>(
    timer: &Timer,
    until: &impl Fn() -> Option<Instant>,
    most: Option<Duration>,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    let most = most.and_then(|most| Clock::instant().checked_add(most));
    loop {
        let until = until()?;
        let until = most.map_or(until, |most| most.min(until));
        let left = until.saturating_duration_since(Clock::instant());
        if left.is_zero() {
            return None;
        }
        let wait = timer.wait(left);
        match wait.until(future.as_mut(), || wait.exceeded()).await {
            Ok(done) => return Some(done),
            Err(Error::DeadlineExceeded { .. }) => {}
            // larder ends.
            Err(_) => return None,
        }
    }
}

/// A future that panics ends, with nothing.
pub(crate) struct Guarded<F>(Pin<Box<F>>);

impl<F> Guarded<F> {
    pub fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = AssertUnwindSafe(|| self.0.as_mut().poll(cx));
        match catch_unwind(poll) {
            Ok(poll) => poll.map(Some),
            Err(payload) => {
                // It may panic, too, and says what the host's code wanted to say in its hook already.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
                Poll::Ready(None)
            }
        }
    }
}
