//! One load: its attempts, one after the other, until one succeeds or none may follow.
//!
//! A loader is a host's code: it may panic, never end, or fetch what it is loading.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use smol_str::SmolStr;

use super::GRACE;
use super::loaded::{LoadContext, Loaded};
use super::retry::Retry;
use super::table::Id;
use crate::clock::Clock;
use crate::entry::Entry;
use crate::error::{Error, ErrorClass, LoadError};
use crate::wait::Timer;

/// A host's loader.
pub(crate) type Loader<V> = Arc<dyn Fn(LoadContext<V>) -> Loading<V> + Send + Sync>;
/// One attempt of it.
pub(crate) type Loading<V> = Pin<Box<dyn Future<Output = Result<Loaded<V>, LoadError>> + Send>>;
/// A host's own idea of what kind of trouble an error is.
pub(crate) type Classify = Arc<dyn Fn(&LoadError) -> Option<ErrorClass> + Send + Sync>;

/// How a load is made.
pub(crate) struct Attempts<V> {
    pub loader: Loader<V>,
    pub retry: Retry,
    pub classify: Option<Classify>,
    pub id: Id,
    /// What is there already.
    pub there: Option<Entry<V>>,
    /// What it is loaded for, outermost last.
    pub chain: Option<Arc<Chain>>,
}

/// What the loads are about that this task is part of.
pub(crate) struct Chain {
    id: Id,
    outer: Option<Arc<Chain>>,
}

tokio::task_local! {
    static CHAIN: Arc<Chain>;
}

/// What the present task loads, if it does.
pub(crate) fn chain() -> Option<Arc<Chain>> {
    CHAIN.try_with(Arc::clone).ok()
}

/// Whether a load of this is waited for by itself.
pub(crate) fn is_within(chain: Option<&Arc<Chain>>, id: &Id) -> bool {
    let links = std::iter::successors(chain, |link| link.outer.as_ref());
    links.into_iter().any(|link| link.id == *id)
}

impl<V> Attempts<V> {
    /// Makes them, until `until` says that time is up. Returns how many there were.
    pub async fn make(
        &self,
        timer: &Timer,
        until: impl Fn() -> Option<Instant>,
    ) -> (Result<Loaded<V>, LoadError>, u32) {
        let mut rng = fastrand::Rng::new();
        let idempotency_key = format!("{:016x}{:016x}", rng.u64(..), rng.u64(..));
        let idempotency_key = SmolStr::from(idempotency_key);
        let mut attempt = 1;
        loop {
            let context = LoadContext {
                key: self.id.name.clone(),
                stale: self.there.clone(),
                attempt,
                until: until().unwrap_or_else(Clock::instant),
                idempotency_key: idempotency_key.clone(),
            };
            let Some(answer) = in_time(timer, &until, self.attempt(context)).await else {
                return (Err(late()), attempt);
            };
            let error = match answer {
                Ok(loaded) => return (Ok(loaded), attempt),
                Err(error) => self.classed(error),
            };
            let Some(wait) = self.retry.next(attempt, &error, &mut rng) else {
                return (Err(error), attempt);
            };
            // Whoever waits has no use for an attempt that begins too late.
            let now = Clock::instant() + GRACE;
            let left = until().map(|until| until.saturating_duration_since(now));
            if left.is_none_or(|left| left <= wait) {
                return (Err(error), attempt);
            }
            timer.wait(wait).out().await;
            if timer.is_closed() {
                return (Err(error), attempt);
            }
            attempt += 1;
        }
    }

    async fn attempt(&self, context: LoadContext<V>) -> Result<Loaded<V>, LoadError> {
        let own = Chain {
            id: self.id.clone(),
            outer: self.chain.clone(),
        };
        let call = async {
            let loading = (self.loader)(context);
            loading.await
        };
        match Guarded::new(CHAIN.scope(Arc::new(own), call)).await {
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

fn late() -> LoadError {
    LoadError::transient("the load took longer than anybody had time for")
}

/// `future`'s outcome, or nothing once time is up, which may become more meanwhile.
async fn in_time<T>(
    timer: &Timer,
    until: &impl Fn() -> Option<Instant>,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    loop {
        let left = until()?.saturating_duration_since(Clock::instant());
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
