//! Get-or-fetch of one key while it is being said, and its future.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::asking::Says;
use super::{Cache, CallFuture, FetchOutcome};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{LoadContext, LoadSource, Loaded, Loader, Retry, Urgency};
use crate::shelf::{Glance, Priority};

impl<V: Value> Cache<V> {
    /// Reads an entry, or loads it: one load for all who ask, however many they are. What was loaded is kept
    /// unless the key was set, removed or invalidated meanwhile. `None` if the loader says that there is none.
    ///
    /// The loader gets a [`LoadContext`] and returns a value, an `Option` of one or a [`Loaded`]. It may be called several
    /// times ([`Fetch::retry`]), so it keeps what it needs and hands out clones. It runs on the tokio runtime that the
    /// first who asks is on, or on a thread of larder's, and goes on when they leave as long as somebody
    /// waits.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # use std::time::Duration;
    /// # #[derive(Clone)] struct Api;
    /// # impl Api { async fn user(&self, _: &str) -> Result<String, std::io::Error> { Ok("Ada".into()) } }
    /// # let api = Api;
    /// # let larder = larder::Larder::builder().start().await?;
    /// let users = larder.cache::<String>("users")?;
    /// let load = move |cx: larder::LoadContext<String>| {
    ///     let api = api.clone();
    ///     async move { api.user(cx.key()).await }
    /// };
    /// let ada = users
    ///     .fetch("42", load)
    ///     .ttl(Duration::from_secs(60))
    ///     .stale_for(Duration::from_secs(3_600))
    ///     .await?;
    /// assert_eq!(ada.as_deref().map(String::as_str), Some("Ada"));
    /// assert!(users.get("42").await?.is_some(), "and it is kept");
    /// # larder.shutdown(Duration::from_secs(5)).await }
    /// ```
    ///
    /// If it does not compile: a loader that is kept in a variable names what it gets (`|cx: LoadContext<String>|`); an `async` block
    /// that only ever succeeds, or uses `?`, names its error (`Ok::<_, E>(value)`); what it uses is cloned before `async move`.
    ///
    /// What is said of the value (`ttl`, `tag`, `priority`) and of the load (`retry`, `classify`) is that of the call that
    /// begins the load.
    ///
    /// # Errors
    ///
    /// [`Error::Fetch`] with the loader's error, which all who wait share; [`Error::DeadlineExceeded`] if it took longer than
    /// this call may; [`Error::SourceUnavailable`] if its source is left alone; [`Error::Overloaded`] past `loads_in_flight_max`, or
    /// if too many wait for its source; [`Error::Invalid`] or [`Error::TooLarge`] for the key or
    /// for terms that make no sense; [`Error::Closed`], also if the runtime that the load runs on ends.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves those who wait; the last one who leaves cancels the load, unless it is to go on
    /// ([`Fetch::keep_warm`]).
    pub fn fetch<'a, F, R, A, E>(&'a self, key: &'a str, loader: F) -> Fetch<'a, V, F>
    where
        F: Fn(LoadContext<V>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, E>> + Send + 'static,
        A: Into<Loaded<V>>,
        E: Into<LoadError>,
    {
        Fetch {
            cache: self,
            key,
            loader,
            says: None,
        }
    }
}

/// A fetch that is about to be made. `.await` it, or ask for its [`outcome`](Fetch::outcome).
#[must_use = "it is done when it is awaited"]
pub struct Fetch<'a, V, F> {
    cache: &'a Cache<V>,
    key: &'a str,
    loader: F,
    /// Out of line: it is moved about.
    says: Option<Box<Says>>,
}

impl<V: Value, F> Fetch<'_, V, F> {
    fn says(&mut self) -> &mut Says {
        self.says.get_or_insert_default()
    }

    fetch_options!();
}

impl<'a, V, F, R, A, E> Fetch<'a, V, F>
where
    V: Value,
    F: Fn(LoadContext<V>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<A, E>> + Send + 'static,
    A: Into<Loaded<V>>,
    E: Into<LoadError>,
{
    /// The same answer with its explanation.
    ///
    /// # Errors
    ///
    /// As [`Cache::fetch`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::fetch`].
    pub async fn outcome(self) -> Result<FetchOutcome<V>, Error> {
        let loader = erase(self.loader);
        self.cache.fetch_slow(self.key, loader, self.says).await
    }
}

impl<'a, V, F, R, A, E> IntoFuture for Fetch<'a, V, F>
where
    V: Value,
    F: Fn(LoadContext<V>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<A, E>> + Send + 'static,
    A: Into<Loaded<V>>,
    E: Into<LoadError>,
{
    type Output = Result<Option<Entry<V>>, Error>;
    type IntoFuture = FetchFuture<'a, V, F>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        FetchFuture(State::Asked(self))
    }
}

/// The future of a [`Fetch`]: ready at its first poll if memory has a fresh value with nothing that few entries
/// have (tags, sliding expiry, a fallback).
#[must_use = "futures do nothing unless awaited"]
pub struct FetchFuture<'a, V, F>(State<'a, V, F>);

enum State<'a, V, F> {
    Asked(Fetch<'a, V, F>),
    Slow(CallFuture<'a, Option<Entry<V>>>),
    /// Polled after it was ready: there is nothing more to come.
    Done,
}

// Nothing in it is pinned.
impl<V, F> Unpin for FetchFuture<'_, V, F> {}

impl<'a, V, F, R, A, E> Future for FetchFuture<'a, V, F>
where
    V: Value,
    F: Fn(LoadContext<V>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<A, E>> + Send + 'static,
    A: Into<Loaded<V>>,
    E: Into<LoadError>,
{
    type Output = Result<Option<Entry<V>>, Error>;

    // As in `Get`: inlined, and with one way out for a hit.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Asked(fetch) = &self.0
            && fetch.is_plain()
            && fetch.cache.tiers().is_open()
            && let Glance::Hit(value, read) = fetch.cache.glance(fetch.key)
        {
            self.end();
            return Poll::Ready(Ok(Some(Entry::plain(value, read))));
        }
        match self.go_on(cx) {
            Poll::Ready(Ok(Some(entry))) => Poll::Ready(Ok(Some(entry))),
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(None)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<V, F> FetchFuture<'_, V, F> {
    /// It has answered, mostly without having had anything of its own to drop.
    #[inline(always)]
    fn end(&mut self) {
        let state = std::mem::replace(&mut self.0, State::Done);
        match &state {
            State::Asked(fetch) if fetch.says.is_none() && !std::mem::needs_drop::<F>() => {
                std::mem::forget(state);
            }
            _ => drop(state),
        }
    }
}

impl<V, F> Fetch<'_, V, F> {
    /// Whether what is fresh is shown as it is.
    #[inline]
    fn is_plain(&self) -> bool {
        let says = self.says.as_ref();
        says.is_none_or(|says| says.terms.refresh_ahead.is_none())
    }
}

impl<'a, V, F, R, A, E> FetchFuture<'a, V, F>
where
    V: Value,
    F: Fn(LoadContext<V>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<A, E>> + Send + 'static,
    A: Into<Loaded<V>>,
    E: Into<LoadError>,
{
    #[cold]
    #[inline(never)]
    fn go_on(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Entry<V>>, Error>> {
        if let State::Asked(_) = &self.0
            && let State::Asked(fetch) = std::mem::replace(&mut self.0, State::Done)
        {
            let span = tracing::trace_span!("larder.fetch", cache = fetch.cache.name());
            let call = async move { Ok(fetch.outcome().await?.entry) };
            self.0 = State::Slow(Box::pin(tracing::Instrument::instrument(call, span)));
        }
        match &mut self.0 {
            State::Slow(slow) => slow.as_mut().poll(cx),
            State::Asked(_) | State::Done => Poll::Pending,
        }
    }
}

/// A host's loader, whatever it returns.
pub(super) fn erase<V, F, R, A, E>(loader: F) -> Loader<V>
where
    V: Value,
    F: Fn(LoadContext<V>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<A, E>> + Send + 'static,
    A: Into<Loaded<V>>,
    E: Into<LoadError>,
{
    Arc::new(move |context| {
        let loading = loader(context);
        Box::pin(async move { loading.await.map(Into::into).map_err(Into::into) })
    })
}
