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

/// The least wait before a source is looked at again; twice that each time.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// How often it is looked at whether a loader that waits for another load still does.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
    /// Its time was up before anything else could be said.
    pub is_late: bool,
    refusals: u32,
}

/// What comes after an attempt.
enum Next {
    /// Another one, after so long.
    After(Duration),
    /// Nothing.
    Nothing,
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
            is_late: true,
            refusals: 0,
        };
        let call = |number| {
            call(Attempt {
                number,
                until: until().unwrap_or_else(Clock::instant),
                idempotency_key: idempotency_key.clone(),
            })
        };
        while let Next::After(wait) = self
            .attempt(timer, &until, &call, &mut made, &mut rng)
            .await
        {
            timer.wait(wait).out().await;
            // IMPORTANT: or nothing would ever be waited for again.
            if timer.is_closed() {
                break;
            }
        }
        made
    }

    /// Makes one, when it is its turn.
    async fn attempt<T>(
        &self,
        timer: &Timer,
        until: &impl Fn() -> Option<Instant>,
        call: &impl Fn(u32) -> Loading<T>,
        made: &mut Made<T>,
        rng: &mut fastrand::Rng,
    ) -> Next {
        let began = Clock::instant();
        let admitted = in_time(timer, until, || None, self.admitted()).await;
        made.queued += began.elapsed();
        let ticket = match admitted {
            Some(Ok(ticket)) => ticket,
            Some(Err(error)) => return made.refused(error, until),
            None => return Next::Nothing,
        };
        // What waited for its turn may have come too late.
        if !has_time(until, Duration::ZERO) {
            return Next::Nothing;
        }
        made.attempts += 1;
        let cut = self.source.as_ref().map(LoadSource::call_max);
        let asked = self.ask(|| call(made.attempts));
        let began = Clock::instant();
        // What it waits for other loads is not its source's time.
        let most = || {
            let held = &self.chain.held;
            let most = began.checked_add(cut? + held.waited())?;
            // While it waits, its time stands still: looked at again now and then.
            Some(match held.is_waiting() {
                true => most.max(Clock::instant() + LOOK_EVERY),
                false => most,
            })
        };
        let asked = in_time(timer, until, most, asked).await;
        let had_time = has_time(until, Duration::ZERO) && !timer.is_closed();
        let is_late = asked.is_none() && (ticket.is_none() || !had_time);
        made.is_late = is_late;
        let answer = match asked {
            Some(answer) => answer.map_err(|error| self.classed(error)),
            // Nobody could wait for it any longer.
            None if is_late => Err(late()),
            // The source's own bound: its failure.
            None => Err(LoadError::transient(format!(
                "the source did not answer within call_ms_max, {} ms",
                cut.unwrap_or_default().as_millis()
            ))),
        };
        match (ticket, &answer) {
            (Some(ticket), Ok(_)) => ticket.answered(),
            (Some(ticket), Err(error)) if !is_late => ticket.failed(error),
            _ => {}
        }
        match answer {
            Ok(loaded) => {
                made.answer = Ok(loaded);
                Next::Nothing
            }
            Err(error) => match self.again(made, error, until, rng) {
                Some(wait) => Next::After(wait),
                None => Next::Nothing,
            },
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
        if let Some(closed) = self.refused_for() {
            // A source that is left alone is not waited for, unless it said for how long.
            pace?;
            wait = wait.max(closed);
        }
        has_time(until, wait).then_some(wait)
    }

    /// Whether it would not be refused at once.
    pub fn may_ask(&self) -> bool {
        self.refused_for().is_none()
    }

    /// For how long it would be refused.
    fn refused_for(&self) -> Option<Duration> {
        let source = self.source.as_ref()?;
        match self.chain.is_part_of_asking(source) {
            true => None,
            false => source.refuses_for(),
        }
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
    /// The source is not asked now, or too many wait for it.
    fn refused(&mut self, error: Error, until: &impl Fn() -> Option<Instant>) -> Next {
        if self.attempts == 0 {
            (self.answer, self.is_late) = (Err(error), false);
            return Next::Nothing;
        }
        // What the source said itself says more.
        let said = self.answer.as_ref().err().and_then(Error::retry_after);
        match (said, error) {
            // It comes back when it was told to, and finds somebody else finding out.
            (Some(_), Error::SourceUnavailable { retry_after, .. })
                if has_time(until, retry_after) =>
            {
                self.refusals += 1;
                Next::After(retry_after.max(LEAST_WAIT * (1 << self.refusals.min(12))))
            }
            _ => Next::Nothing,
        }
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

/// `future`'s outcome, or nothing once time is up, which may become more meanwhile, as may what `most` says.
async fn in_time<T>(
    timer: &Timer,
    until: &impl Fn() -> Option<Instant>,
    most: impl Fn() -> Option<Instant>,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    loop {
        let until = until()?;
        let until = most().map_or(until, |most| most.min(until));
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
