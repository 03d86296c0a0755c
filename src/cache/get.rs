//! A read of one key while it is being said, and its future.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Cache, CallFuture};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::outcome::ReadOutcome;
use crate::shelf::{Glance, TierSet};
use crate::tiers::ReadOptions;

/// A read that is about to be made. `.await` it, or ask for its [`outcome`](Get::outcome).
#[must_use = "a read is made when it is awaited"]
pub struct Get<'a, V> {
    cache: &'a Cache<V>,
    key: &'a str,
    stale_ok: bool,
    /// Out of line: few calls say more, and each is moved about.
    terms: Option<Box<Terms>>,
}

#[derive(Default)]
struct Terms {
    options: ReadOptions,
    wrong: Option<Error>,
}

impl<'a, V: Value> Get<'a, V> {
    pub(super) fn new(cache: &'a Cache<V>, key: &'a str) -> Self {
        Self {
            cache,
            key,
            stale_ok: false,
            terms: None,
        }
    }

    pub(super) fn leaving_memory_alone(mut self) -> Self {
        self.terms().options.no_promote = true;
        self
    }

    /// Shows a value past its TTL while it is kept as a fallback; the entry says that it is stale.
    pub fn allow_stale(mut self) -> Self {
        self.stale_ok = true;
        self
    }

    /// Asks only these drivers, besides memory, which is newer than any of them.
    pub fn drivers<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        match self.cache.targets(&names) {
            Ok(targets) => {
                let options = &mut self.terms().options;
                options.skip = TierSet(!targets.tiers.0);
                // What is skipped may hold something newer, of before a crash: memory, which
                // answers for all of them, must not take this for the truth.
                options.no_promote = true;
            }
            Err(error) => self.terms().wrong = Some(error),
        }
        self
    }

    /// How long it may take; the larder's `call_ms_max` where nothing is said.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.terms().options.wait = Some(after);
        self
    }

    fn terms(&mut self) -> &mut Terms {
        self.terms.get_or_insert_default()
    }

    /// The same answer with its explanation.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::get`].
    pub async fn outcome(self) -> Result<ReadOutcome<V>, Error> {
        self.answer(true).await
    }

    async fn answer(self, counts: bool) -> Result<ReadOutcome<V>, Error> {
        let Terms { options, wrong } = self.terms.map_or_else(Terms::default, |terms| *terms);
        let options = ReadOptions {
            stale_ok: self.stale_ok,
            counts,
            ..options
        };
        match wrong {
            Some(error) => Err(error),
            None => self.cache.slow(self.key, options).await,
        }
    }
}

impl<'a, V: Value> IntoFuture for Get<'a, V> {
    type Output = Result<Option<Entry<V>>, Error>;
    type IntoFuture = GetFuture<'a, V>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        GetFuture(State::Asked(self))
    }
}

/// The future of a [`Get`]: ready at its first poll if memory has the value.
#[must_use = "futures do nothing unless awaited"]
pub struct GetFuture<'a, V>(State<'a, V>);

enum State<'a, V> {
    Asked(Get<'a, V>),
    Slow(CallFuture<'a, Option<Entry<V>>>),
    /// Polled after it was ready: there is nothing more to come.
    Done,
}

impl<V: Value> Future for GetFuture<'_, V> {
    type Output = Result<Option<Entry<V>>, Error>;

    // Inlined, and with one way out for a hit: an entry that is handed on through memory costs more than
    // finding it.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut is_unknown = false;
        if let State::Asked(get) = &self.0
            && get.terms.is_none()
            && get.cache.tiers().is_open()
        {
            match get.cache.glance(get.key) {
                Glance::Hit(value, read) => {
                    self.end();
                    return Poll::Ready(Ok(Some(Entry::plain(value, read))));
                }
                Glance::Unknown if get.cache.is_absent(get.key) => {
                    self.end();
                    return Poll::Ready(Ok(None));
                }
                Glance::Unknown => is_unknown = true,
                Glance::Unclear => {}
            }
        }
        // Taken apart, so that the way out of a hit does not lead through memory that this call writes to.
        match self.look_closer(is_unknown, cx) {
            Poll::Ready(Ok(Some(entry))) => Poll::Ready(Ok(Some(entry))),
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(None)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<V: Value> GetFuture<'_, V> {
    /// It has answered, without ever having had anything of its own to drop.
    #[inline(always)]
    fn end(&mut self) {
        std::mem::forget(std::mem::replace(&mut self.0, State::Done));
    }

    #[cold]
    #[inline(never)]
    fn look_closer(
        &mut self,
        is_unknown: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Entry<V>>, Error>> {
        if let State::Asked(get) = &self.0 {
            let terms = get.terms.as_ref();
            let is_wrong = terms.is_some_and(|terms| terms.wrong.is_some());
            if !is_wrong
                && !is_unknown
                && let Some(entry) = get.cache.fast(get.key, get.stale_ok)
                && get.cache.tiers().is_open()
            {
                self.0 = State::Done;
                return Poll::Ready(Ok(entry));
            }
            if let State::Asked(get) = std::mem::replace(&mut self.0, State::Done) {
                self.0 = State::Slow(go_slow(get));
            }
        }
        match &mut self.0 {
            State::Slow(slow) => slow.as_mut().poll(cx),
            State::Asked(_) | State::Done => Poll::Pending,
        }
    }
}

#[cold]
#[inline(never)]
fn go_slow<V: Value>(get: Get<'_, V>) -> CallFuture<'_, Option<Entry<V>>> {
    let span = tracing::trace_span!("larder.get", cache = get.cache.name());
    let call = async move { Ok(get.answer(false).await?.entry) };
    Box::pin(tracing::Instrument::instrument(call, span))
}
