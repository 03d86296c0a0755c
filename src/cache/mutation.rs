//! The future of a set or a removal: made at its first poll, if nothing has to be waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::call::Call;
use super::{CallFuture, EntryOptions, PLAIN};
use crate::clock::Millis;
use crate::codec::Value;
use crate::error::Error;
use crate::shelf::{Change, Draft};
use crate::version::Version;

/// The future of a [`Set`](super::Set) or a [`Remove`](super::Remove): ready at its first poll if nothing has to be waited for.
///
/// # Cancel safety
///
/// As [`Cache::set`](super::Cache::set): not polled, it changes nothing; after its first poll the mutation has happened wholly
/// or not at all.
#[must_use = "futures do nothing unless awaited"]
pub struct Mutation<'a, V> {
    call: Call<'a, V>,
    /// What is set; `None` to remove.
    value: Option<Arc<V>>,
    entry: Option<Box<EntryOptions>>,
    state: State<'a>,
}

impl<'a, V> Mutation<'a, V> {
    pub(super) fn new(
        call: Call<'a, V>,
        value: Option<Arc<V>>,
        entry: Option<Box<EntryOptions>>,
    ) -> Self {
        Self {
            call,
            value,
            entry,
            state: State::Asked,
        }
    }
}

enum State<'a> {
    Asked,
    Slow(CallFuture<'a, Version>),
    Refused(Error),
    Done,
}

impl<V: Value> Future for Mutation<'_, V> {
    type Output = Result<Version, Error>;

    // As in `Get`: one way out for what most sets are.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Asked = self.state
            && let Some(version) = self.begin()
        {
            return Poll::Ready(Ok(version));
        }
        self.go_on(cx)
    }
}

impl<V: Value> Mutation<'_, V> {
    /// Begins, and is done if nothing is to be waited for or refused.
    #[inline]
    fn begin(&mut self) -> Option<Version> {
        let (cache, key) = (self.call.cache, self.call.key);
        let tiers = cache.tiers();
        let now_ms = tiers.now_ms();
        let says_more = self.call.terms.is_some() || self.call.by_name || self.entry.is_some();
        // The key first: an error should name what is wrong with it, not with the value.
        if says_more || !cache.is_plain() || !tiers.is_open() || cache.check_key(key).is_err() {
            return self.prepare(now_ms);
        }
        // IMPORTANT: before any code of the host, which may panic: asked again, it does nothing more.
        self.state = State::Done;
        let Some(value) = self.value.take() else {
            return self.make(Change::Remove);
        };
        let fresh = match cache.fresh(&value, now_ms) {
            Ok(fresh) => fresh,
            Err(error) => return self.refuse(error),
        };
        let inner = &*cache.inner;
        match inner.shelf.set(&inner.scope, key, value, &fresh) {
            Ok(version) => Some(version),
            Err(value) => self.make(Change::Put(Draft::plain(value, &fresh))),
        }
    }

    #[inline(never)]
    fn prepare(&mut self, now_ms: Millis) -> Option<Version> {
        self.state = State::Done;
        let cache = self.call.cache;
        if let Err(error) = cache.check_key(self.call.key) {
            return self.refuse(error);
        }
        let Some(value) = self.value.take() else {
            return self.make(Change::Remove);
        };
        let entry = self.entry.as_deref().unwrap_or(&PLAIN);
        match cache.prepare(value, entry, now_ms) {
            Ok(draft) => self.make(Change::Put(draft)),
            Err(error) => self.refuse(error),
        }
    }

    #[inline(never)]
    fn make(&mut self, change: Change) -> Option<Version> {
        let (call, sets) = (&self.call, change.draft().is_some());
        let mut order = call.order(change);
        let terms = call.terms.as_ref();
        if terms.is_none_or(|terms| terms.drivers.is_none()) {
            let (tiers, place) = (call.cache.tiers(), call.cache.place());
            match tiers.write_at_once(place, &mut order) {
                Some(Ok(version)) => return Some(version),
                Some(Err(error)) => return self.refuse(error),
                None => {}
            }
        }
        let change = order.change;
        self.state = State::Slow(go_slow(self.call.take(), change, sets));
        None
    }

    #[cold]
    fn refuse(&mut self, error: Error) -> Option<Version> {
        self.state = State::Refused(error);
        None
    }

    #[inline(never)]
    fn go_on(&mut self, cx: &mut Context<'_>) -> Poll<Result<Version, Error>> {
        if let State::Slow(slow) = &mut self.state {
            return slow.as_mut().poll(cx);
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Refused(error) => Poll::Ready(Err(error)),
            // Polled after it was ready: there is nothing more to come.
            _ => Poll::Pending,
        }
    }
}

#[cold]
#[inline(never)]
fn go_slow<V: Value>(call: Call<'_, V>, change: Change, sets: bool) -> CallFuture<'_, Version> {
    let span = match sets {
        true => tracing::trace_span!("larder.set", cache = call.cache.name()),
        false => tracing::trace_span!("larder.remove", cache = call.cache.name()),
    };
    let write = async move { Ok(call.write(change).await?.version) };
    Box::pin(tracing::Instrument::instrument(write, span))
}
