//! What a feed does: it deals with what is there, connects, deals with what has come meanwhile, and applies what is
//! pushed, change by change, until the connection is lost; and so on.
//!
//! Why that is enough. Let a connection be there at R: its stream promises every change of the source after R. The
//! pass after R leaves nothing fresh that was made, or whose load was begun, before it (`gap.rs`). What is made later
//! was loaded after R or is a host's own, and what changes of it comes through the stream, which is not looked at
//! until the pass is through. The pass when the connection is lost promises less and does so sooner: nothing from before
//! it is fresh any more, connection or not. Between the two nobody pushes anything, and what is loaded is as good as any load.

use std::future::{Future, poll_fn};
use std::mem::replace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::watch;

use super::Cache;
use super::feed::{FeedEnd, FeedState, FeedStats, FeedTerms};
use super::gap::{OnGap, Outdated, PER_TURN};
use super::pushed::FeedChange;
use crate::clock::{Clock, Millis};
use crate::codec::Value;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::Guarded;

/// The least time between two connections.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// A host's stream of changes.
pub(super) type Pushing<V> = Pin<Box<dyn Stream<Item = Result<FeedChange<V>, LoadError>> + Send>>;
type Connecting<V> = Pin<Box<dyn Future<Output = Result<Pushing<V>, LoadError>> + Send>>;
/// A host's way to get one.
pub(super) type Connect<V> = Box<dyn Fn() -> Connecting<V> + Send + Sync>;

/// A feed at work. Dropped, it says that it has ended.
pub(super) struct Feeding<V: Value> {
    pub cache: Cache<V>,
    pub connect: Connect<V>,
    pub terms: FeedTerms,
    pub told: Told,
}

impl<V: Value> Feeding<V> {
    /// Until it ends, or larder does.
    pub async fn run(self) {
        let wait = self.cache.tiers().timer.wait(Duration::MAX);
        let end = wait.until(self.feed(), || Error::Closed).await;
        self.told.end(end.unwrap_or(FeedEnd::Closed));
    }

    async fn feed(&self) -> FeedEnd {
        let (tiers, terms) = (self.cache.tiers(), &self.terms);
        let mut rng = fastrand::Rng::new();
        let mut failures = 0;
        let mut last: Option<Arc<LoadError>> = None;
        let mut pause = tiers.timer.wait(Duration::ZERO);
        // Whether what is there has been dealt with since the last connection.
        let mut is_outdated = false;
        loop {
            if !is_outdated && self.outdate().await.is_err() {
                return FeedEnd::Closed;
            }
            is_outdated = true;
            let gives_up = terms.give_up_after.is_some_and(|most| failures >= most);
            if let Some(error) = last.take().filter(|_| gives_up) {
                return FeedEnd::GaveUp(error);
            }
            pause.out().await;
            let (began, before) = (Clock::instant(), self.told.applied());
            let error = match self.connected().await {
                Ok(pushing) => {
                    is_outdated = false;
                    let held = Guarded::new(self.hold(pushing)).await;
                    // What holds for a while works, whether it has anything to say or not.
                    if self.told.applied() > before || began.elapsed() >= terms.retry.longest() {
                        failures = 0;
                    }
                    held.unwrap_or_else(panicked)
                }
                Err(error) => error,
            };
            // IMPORTANT: else it would go round without a pause: no wait waits any more.
            if tiers.timer.is_closed() || !tiers.is_open() {
                return FeedEnd::Closed;
            }
            failures += 1;
            pause = tiers
                .timer
                .wait(terms.retry.pace(failures, PAUSE_MIN, &error, &mut rng));
            let error = Arc::new(error);
            self.lose(&error);
            last = Some(error);
        }
    }

    /// A stream of changes, if the host gets one in time.
    async fn connected(&self) -> Result<Pushing<V>, LoadError> {
        let wait = self.cache.tiers().timer.wait(self.terms.connect_within);
        // Its future is dropped in there, too, which may panic as well.
        let connecting = async {
            let connecting = (self.connect)();
            wait.until(connecting, || wait.exceeded()).await
        };
        match Guarded::new(connecting).await {
            Some(Ok(connected)) => connected,
            Some(Err(Error::DeadlineExceeded { .. })) => {
                Err(LoadError::transient("connecting took longer than it may"))
            }
            Some(Err(error)) => Err(error.into()),
            None => Err(panicked()),
        }
    }

    /// Applies what is pushed for as long as that goes on; why it does not any longer.
    async fn hold(&self, mut pushing: Pushing<V>) -> LoadError {
        if self.outdate().await.is_err() {
            return Error::Closed.into();
        }
        self.told.connected();
        let mut nth = 0_usize;
        loop {
            nth = nth.wrapping_add(1);
            if nth.is_multiple_of(PER_TURN) {
                // A source that always has something, before a cache that never waits.
                tokio::task::yield_now().await;
            }
            let change = match poll_fn(|cx| pushing.as_mut().poll_next(cx)).await {
                Some(Ok(change)) => change,
                Some(Err(error)) => return error,
                None => return LoadError::transient("the stream of changes has ended"),
            };
            match self.cache.carry_out(change).await {
                Ok(is_applied) => self.told.change(is_applied),
                Err(error) => {
                    self.told.change(false);
                    return error.into();
                }
            }
        }
    }

    /// Deals with what is there: there may have been changes of it.
    async fn outdate(&self) -> Result<(), Error> {
        let outdated = Guarded::new(self.cache.outdate(self.terms.on_gap)).await;
        let outdated = match outdated {
            Some(outdated) => outdated?,
            // A host's value, as it was dropped.
            None if self.terms.on_gap == OnGap::Keep => Outdated::AsAsked,
            None => {
                self.cache.outdate(OnGap::Clear).await?;
                Outdated::Cleared
            }
        };
        if outdated == Outdated::Cleared {
            self.told.cleared();
            tracing::warn!(
                cache = self.cache.name(),
                "a feed could not expire what is there after a gap: the cache has been cleared"
            );
        }
        Ok(())
    }

    fn lose(&self, error: &Arc<LoadError>) {
        let (cache, class) = (self.cache.name(), error.class());
        // The host's error may name what is not for a log; `Feed::state` has it.
        match self.told.gap(error, self.cache.tiers().now_ms()) {
            true => tracing::warn!(cache, ?class, "a feed is not connected"),
            false => tracing::debug!(cache, ?class, "a feed could not be connected again"),
        }
    }
}

impl<V: Value> Drop for Feeding<V> {
    fn drop(&mut self) {
        self.told.end(match self.cache.tiers().is_open() {
            true => FeedEnd::Stopped,
            false => FeedEnd::Closed,
        });
    }
}

fn panicked() -> LoadError {
    LoadError::new(ErrorClass::Bug, "the feed's source panicked")
}

/// What a host is told of a feed.
pub(super) struct Progress {
    pub state: FeedState,
    pub stats: FeedStats,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            state: FeedState::Connecting,
            stats: FeedStats::default(),
        }
    }
}

/// Tells it. Those who wait for a state are woken, counts wake nobody.
pub(super) struct Told(pub watch::Sender<Progress>);

impl Told {
    fn applied(&self) -> u64 {
        self.0.borrow().stats.applied
    }

    fn change(&self, is_applied: bool) {
        self.count(|stats| match is_applied {
            true => &mut stats.applied,
            false => &mut stats.failed,
        });
    }

    fn cleared(&self) {
        self.count(|stats| &mut stats.cleared);
    }

    fn count(&self, which: impl FnOnce(&mut FeedStats) -> &mut u64) {
        self.0.send_if_modified(|at| {
            *which(&mut at.stats) += 1;
            false
        });
    }

    fn connected(&self) {
        let mut before = None;
        self.0.send_modify(|at| {
            if let FeedState::Gap { .. } = at.state {
                at.stats.reconnects += 1;
            }
            before = Some(replace(&mut at.state, FeedState::Connected));
        });
        let_go(before);
    }

    /// Whether it is a new one.
    fn gap(&self, error: &Arc<LoadError>, now_ms: Millis) -> bool {
        let (mut is_new, mut before) = (false, None);
        self.0.send_modify(|at| {
            let since_ms = match at.state {
                FeedState::Gap { since_ms, .. } => since_ms,
                _ => {
                    is_new = true;
                    at.stats.gaps += 1;
                    now_ms
                }
            };
            let gap = FeedState::Gap {
                since_ms,
                reason: Arc::clone(error),
            };
            before = Some(replace(&mut at.state, gap));
        });
        let_go(before);
        is_new
    }

    fn end(&self, end: FeedEnd) {
        let mut before = None;
        self.0.send_modify(|at| {
            if !matches!(at.state, FeedState::Ended(_)) {
                before = Some(replace(&mut at.state, FeedState::Ended(end)));
            }
        });
        let_go(before);
    }
}

/// Lets go of a state, and of a host's error with it, which may do anything: not under the lock of what it looks at.
fn let_go(before: Option<FeedState>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(before)));
}
