//! Feeds: a source that pushes its changes, and what a host says and sees of one. `feeding.rs` is what a feed does,
//! `gap.rs` what it makes of what it has missed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::feeding::{Connect, Feeding, Progress, Told};
use super::pushed::FeedChange;
use super::{Cache, OnGap};
use crate::clock::{Millis, millis};
use crate::codec::Value;
use crate::error::{Error, LoadError};
use crate::fetch::{DEADLINE, DEADLINE_MAX, Retry};
use crate::runtime::host;

impl<V: Value> Cache<V> {
    /// Applies the changes that a source pushes (a WebSocket, a queue, a change stream), in its order and each before the next is
    /// taken, connects again when the connection is lost, and lets expire what it may have missed meanwhile.
    ///
    /// `connect` gives a stream of [`FeedChange`]s. IMPORTANT: it is ready once the subscription is in force, so that whatever
    /// changes from then on comes through the stream. A source that cannot say so may lose a change between the two.
    ///
    /// What is promised: **while the feed is [`Connected`](FeedState::Connected), nothing is shown as fresh that was stored, or whose
    /// load was begun, before the connection was there**, but for what changes of the feed or calls of the host's have stored
    /// since, and but for the call that began such a load, which gets what it brings. As soon as the feed knows that the connection is lost it passes over the cache (a gap), and does so
    /// again when it is connected, for what was loaded in between, before it takes the first change. What
    /// is there at the start, from an earlier process for instance, is from before a gap. [`OnGap`] says what becomes of it.
    ///
    /// A change that cannot be carried out (too large, no room until the deadline) leaves no older value of its key either: the
    /// key is removed. Changes are acknowledged as those of [`set`](Cache::set), [`remove`](Cache::remove) and so on are, so a store that
    /// is slow holds back the stream.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # use std::time::Duration;
    /// # #[derive(Clone)] struct Client;
    /// # type Changes = futures_util::stream::Chain<
    /// #     futures_util::stream::Iter<std::vec::IntoIter<Result<FeedChange<String>, std::io::Error>>>,
    /// #     futures_util::stream::Pending<Result<FeedChange<String>, std::io::Error>>>;
    /// # impl Client { async fn subscribe(&self) -> Result<Changes, std::io::Error> {
    /// #     use futures_util::StreamExt;
    /// #     let changes = vec![Ok(FeedChange::set("42", "Ada".to_owned()).ttl(Duration::from_secs(60)))];
    /// #     Ok(futures_util::stream::iter(changes).chain(futures_util::stream::pending()))
    /// # } }
    /// # let client = Client;
    /// # let larder = larder::Larder::builder().start().await?;
    /// use larder::FeedChange;
    ///
    /// let users: larder::Cache<String> = larder.cache("users")?;
    /// let mut changes = users.watch("42").await?;
    /// let feed = users
    ///     .feed(move || {
    ///         let client = client.clone();
    ///         async move { client.subscribe().await }
    ///     })
    ///     .start()?;
    /// feed.connected().await?;
    /// println!("{:?}", changes.next().await);
    /// assert_eq!(users.get("42").await?.as_deref().map(String::as_str), Some("Ada"));
    /// feed.stop().await;
    /// # larder.shutdown(Duration::from_secs(5)).await }
    /// ```
    pub fn feed<F, R, S, C, E>(&self, connect: F) -> FeedBuilder<V>
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<S, C>> + Send + 'static,
        S: Stream<Item = Result<FeedChange<V>, E>> + Send + 'static,
        C: Into<LoadError>,
        E: Into<LoadError>,
    {
        let connect: Connect<V> = Box::new(move || {
            let connecting = connect();
            Box::pin(async move {
                let stream = connecting.await.map_err(Into::into)?;
                Ok(Box::pin(Pushed(Box::pin(stream))) as _)
            })
        });
        FeedBuilder {
            cache: self.clone(),
            connect,
            terms: FeedTerms::default(),
        }
    }
}

/// A host's stream, whatever its errors are.
struct Pushed<S>(Pin<Box<S>>);

impl<V, S, E> Stream for Pushed<S>
where
    S: Stream<Item = Result<FeedChange<V>, E>>,
    E: Into<LoadError>,
{
    type Item = Result<FeedChange<V>, LoadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.as_mut().poll_next(cx);
        next.map(|next| next.map(|change| change.map_err(Into::into)))
    }
}

/// What a feed keeps to.
pub(super) struct FeedTerms {
    pub retry: Retry,
    pub on_gap: OnGap,
    pub give_up_after: Option<u32>,
    pub connect_within: Duration,
}

impl Default for FeedTerms {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            on_gap: OnGap::default(),
            give_up_after: None,
            connect_within: DEADLINE,
        }
    }
}

/// A feed that is about to be started.
#[must_use = "a feed runs once it is started"]
pub struct FeedBuilder<V> {
    cache: Cache<V>,
    connect: Connect<V>,
    terms: FeedTerms,
}

impl<V: Value> FeedBuilder<V> {
    /// The pace of connecting again: after the n-th connection in a row that came to nothing between half of the base and
    /// `base * factor^(n-1)`, at most the cap, never less than 10 ms, nor than what the source asked for (up to a day). A
    /// connection that brought a change, or held for as long as the cap, begins anew. Neither the number of attempts nor the
    /// class of an error ends a feed: see [`give_up_after`](FeedBuilder::give_up_after).
    pub fn retry(mut self, retry: Retry) -> Self {
        self.terms.retry = retry;
        self
    }

    /// Ends the feed after so many connections in a row that came to nothing (at least 1). Default: never.
    pub fn give_up_after(mut self, connections: u32) -> Self {
        self.terms.give_up_after = Some(connections);
        self
    }

    /// How long connecting may take (1 ms to a day). Default: a minute. A connection that is dead without saying so is the
    /// host's to notice: end the stream when no heartbeat has come.
    pub fn connect_within(mut self, time: Duration) -> Self {
        self.terms.connect_within = time;
        self
    }

    /// What becomes of what the feed may have missed changes of. Default: [`OnGap::Expire`].
    pub fn on_gap(mut self, on_gap: OnGap) -> Self {
        self.terms.on_gap = on_gap;
        self
    }

    /// Starts it, on the tokio runtime that this is called on, or on a thread of larder's.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for terms that make no sense; [`Error::Closed`].
    pub fn start(self) -> Result<Feed, Error> {
        let Self {
            cache,
            connect,
            terms,
        } = self;
        let tiers = cache.tiers();
        tiers.check_open()?;
        terms.check()?;
        let own = || Some(tiers.lines().ok()?.loads.clone());
        let runtime = host().or_else(own).ok_or(Error::Closed)?;
        let (told, seen) = watch::channel(Progress::default());
        let feeding = Feeding {
            told: Told(told),
            cache,
            connect,
            terms,
        };
        let task = runtime.spawn(feeding.run());
        Ok(Feed { seen, task })
    }
}

impl FeedTerms {
    fn check(&self) -> Result<(), Error> {
        self.retry.check()?;
        if self.give_up_after == Some(0) {
            return Err(Error::Invalid {
                field: "give_up_after",
                reason: "is 0, allowed is 1 and more".into(),
            });
        }
        if millis(self.connect_within) == 0 || self.connect_within > DEADLINE_MAX {
            return Err(Error::Invalid {
                field: "connect_within",
                reason: format!("is {:?}, allowed is 1 ms to a day", self.connect_within),
            });
        }
        Ok(())
    }
}

/// A feed that is running. Dropping it ends it, and is no gap: what is there then stays as it is. It is a handle as a cache is, and
/// keeps larder running.
pub struct Feed {
    seen: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

impl Feed {
    /// Where it stands.
    pub fn state(&self) -> FeedState {
        self.seen.borrow().state.clone()
    }

    /// What it has come to.
    pub fn stats(&self) -> FeedStats {
        self.seen.borrow().stats
    }

    /// Waits until it is connected and what may have been missed before that has been dealt with.
    ///
    /// # Errors
    ///
    /// If it has ended: [`Error::Fetch`] with its last error if it has given up, else [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn connected(&self) -> Result<(), Error> {
        let mut seen = self.seen.clone();
        let is_over =
            |at: &Progress| matches!(at.state, FeedState::Connected | FeedState::Ended(_));
        let at = seen.wait_for(is_over).await.map_err(|_| Error::Closed)?;
        match &at.state {
            FeedState::Connected => Ok(()),
            FeedState::Ended(FeedEnd::GaveUp(error)) => Err(Error::Fetch(Arc::clone(error))),
            _ => Err(Error::Closed),
        }
    }

    /// Ends it. Once this returns, nothing more of it is applied and its stream has been dropped.
    ///
    /// # Cancel safety
    ///
    /// Once polled, or dropped, the feed ends.
    pub async fn stop(mut self) {
        self.task.abort();
        // It was cancelled, has ended before, or panicked as a host's stream was dropped.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.seen.borrow();
        f.debug_struct("Feed")
            .field("state", &at.state)
            .field("stats", &at.stats)
            .finish()
    }
}

/// Where a feed stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FeedState {
    /// It has not been connected yet, nor failed to.
    Connecting,
    /// What was there before has been dealt with, and changes are applied as they come.
    Connected,
    /// It does not know what changes.
    Gap {
        /// Since when, in unix milliseconds.
        since_ms: Millis,
        /// Why it is not connected: the latest reason.
        reason: Arc<LoadError>,
    },
    /// It is over.
    Ended(FeedEnd),
}

/// Why a feed has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FeedEnd {
    /// The host stopped it, or the runtime that it ran on has ended.
    Stopped,
    /// larder has been shut down.
    Closed,
    /// As many connections in a row came to nothing as were asked for; why the last one did.
    GaveUp(Arc<LoadError>),
}

/// What a feed has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct FeedStats {
    /// Changes that were carried out.
    pub applied: u64,
    /// Changes that could not be carried out; nothing older was left of their keys.
    pub failed: u64,
    /// How often it was not connected any more, or not at the first attempt.
    pub gaps: u64,
    /// How often it was connected again after one.
    pub reconnects: u64,
    /// How often the cache was cleared because it could not be expired.
    pub cleared: u64,
}
