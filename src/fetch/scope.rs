//! Calls that end with what they are made for, and of which the newest takes the place of the one before.
//!
//! A scope begins nothing and polls nothing. A call holds when it is to end, never its scope: it could not end by
//! the scope's being dropped otherwise.

#[cfg(test)]
mod tests;

use std::future::{Future, IntoFuture};
use std::mem;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::DEADLINE_MAX;
use crate::clock::Clock;
use crate::error::Error;
use crate::sync::{Arc, Mutex};
use crate::wait::{Timer, Wait};

/// Ties calls to the life of something, such as a search box or a view: dropped, it ends what runs in it. Got from
/// [`Larder::fetch_scope`](crate::Larder::fetch_scope), for whatever answers as larder does, above all
/// [`Cache::fetch`](crate::Cache::fetch). Works on any executor.
///
/// It is not `Clone`, so that it is plain when it is dropped; its methods take `&self`, and the futures that they give do
/// not keep it. Nor does it keep larder.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// # use std::time::Duration;
/// # let larder = larder::Larder::builder().start().await?;
/// # let pages = larder.cache::<String>("pages")?;
/// use larder::Error;
///
/// # async fn search(words: &str) -> Result<String, std::io::Error> { Ok(format!("about {words}")) }
/// let load = |cx: larder::LoadContext<String>| async move { search(cx.key()).await };
/// let search_box = larder.fetch_scope().debounce(Duration::from_millis(20));
/// // Two keys are struck one soon after the other: only the second is asked for.
/// let first = search_box.latest(pages.fetch("c", load));
/// let second = search_box.latest(pages.fetch("ca", load));
/// assert!(matches!(first.await, Err(Error::Superseded)));
/// assert_eq!(*second.await?.expect("the source has it"), "about ca");
/// // What is asked for ends with the box.
/// let third = search_box.latest(pages.fetch("cat", load));
/// drop(search_box);
/// assert!(matches!(third.await, Err(Error::Superseded)));
/// # larder.shutdown(Duration::from_secs(5)).await }
/// ```
#[derive(Debug)]
pub struct FetchScope {
    timer: Timer,
    debounce: Duration,
    lives: Mutex<Lives>,
}

impl FetchScope {
    pub(crate) fn new(timer: Timer) -> Self {
        Self {
            timer,
            debounce: Duration::ZERO,
            lives: Mutex::default(),
        }
    }

    /// How long nothing newer may have come before [`latest`](FetchScope::latest) begins what it is given, a day at most.
    /// Default: zero, at once. Calls that were made before keep theirs.
    #[must_use]
    pub fn debounce(mut self, debounce: Duration) -> Self {
        self.debounce = debounce.min(DEADLINE_MAX);
        self
    }

    /// What `call` gives, unless a newer one takes its place. The one before it ends by this being called, polled or
    /// not; those of [`run`](FetchScope::run) go on. Nothing of `call` is begun before the
    /// [`debounce`](FetchScope::debounce) is over, which counts from here.
    ///
    /// An answer that is ready when a newer call has been made is not given any more. If it was loaded, it is kept.
    ///
    /// # Errors
    ///
    /// [`Error::Superseded`] as soon as `latest` is called again, or the scope is cancelled or dropped: then `call` has been
    /// dropped, which for a fetch means that it leaves its load. [`Error::Closed`] if larder ends during the debounce. And
    /// what `call` says.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops `call`; what it ended has ended. A call that was superseded is dropped when its future is polled, as
    /// it is woken for, or dropped: one that nobody polls goes on holding its load.
    pub fn latest<T, C>(&self, call: C) -> impl Future<Output = Result<T, Error>> + use<T, C>
    where
        C: IntoFuture<Output = Result<T, Error>>,
    {
        let (life, older) = {
            let mut lives = self.lives.lock();
            let older = mem::take(&mut lives.latest);
            (lives.latest.clone(), older)
        };
        // Not under the lock: it wakes, and who is woken may be quick.
        older.end();
        let (timer, debounce, called) = (self.timer.clone(), self.debounce, Clock::instant());
        async move {
            let left = debounce.saturating_sub(called.elapsed());
            if !left.is_zero() {
                life.quiet(&timer.wait(left)).await?;
            }
            life.bind(call).await
        }
    }

    /// What `call` gives, unless the scope ends: as [`latest`](FetchScope::latest), without debounce, beside any others, and
    /// without taking anybody's place.
    ///
    /// # Errors
    ///
    /// [`Error::Superseded`] as soon as the scope is cancelled or dropped: then `call` has been dropped. And what `call` says.
    ///
    /// # Cancel safety
    ///
    /// As [`latest`](FetchScope::latest).
    pub fn run<T, C>(&self, call: C) -> impl Future<Output = Result<T, Error>> + use<T, C>
    where
        C: IntoFuture<Output = Result<T, Error>>,
    {
        let life = self.lives.lock().beside.clone();
        async move { life.bind(call).await }
    }

    /// Ends what runs in it, as dropping it does. It can be used again: for a search box that was emptied.
    pub fn cancel(&self) {
        let ended = mem::take(&mut *self.lives.lock());
        ended.end();
    }
}

impl Drop for FetchScope {
    fn drop(&mut self) {
        self.lives.get_mut().end();
    }
}

/// Those of the calls that are not to end yet.
#[derive(Debug, Default)]
struct Lives {
    latest: Life,
    beside: Life,
}

impl Lives {
    fn end(&self) {
        self.latest.end();
        self.beside.end();
    }
}

/// Until when a call may run.
#[derive(Clone, Debug)]
struct Life {
    /// Never has a permit; closed at the end.
    end: Arc<Semaphore>,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            end: Arc::new(Semaphore::new(0)),
        }
    }
}

impl Life {
    fn end(&self) {
        self.end.close();
    }

    fn is_over(&self) -> bool {
        self.end.is_closed()
    }

    async fn ended(&self) {
        // It gives no permit, so what comes is the end.
        let _ = self.end.acquire().await;
    }

    /// Waits until the time is up.
    async fn quiet(&self, wait: &Wait<'_>) -> Result<(), Error> {
        match wait.until(self.ended(), || wait.exceeded()).await {
            Ok(()) => Err(Error::Superseded),
            Err(Error::Closed) => Err(Error::Closed),
            Err(_) => Ok(()),
        }
    }

    /// What `call` gives, if it does so before the end.
    async fn bind<T, C>(&self, call: C) -> Result<T, Error>
    where
        C: IntoFuture<Output = Result<T, Error>>,
    {
        if self.is_over() {
            return Err(Error::Superseded);
        }
        let mut ended = pin!(self.ended());
        let mut call = pin!(call.into_future());
        std::future::poll_fn(|cx| {
            // So that no end is missed from here on. Whether it has come is asked of the life: a task that has used up
            // its turn is told that nothing is ready.
            let _ = ended.as_mut().poll(cx);
            if self.is_over() {
                return Poll::Ready(Err(Error::Superseded));
            }
            let answer = call.as_mut().poll(cx);
            // IMPORTANT: looked at after the call was: an older answer must not come once a newer call was made.
            if self.is_over() {
                return Poll::Ready(Err(Error::Superseded));
            }
            answer
        })
        .await
    }
}
