//! Setting and removing one key.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use smol_str::SmolStr;

use super::call::Call;
use super::{Cache, CallFuture, EntryOptions, PLAIN};
use crate::clock::Millis;
use crate::codec::Value;
use crate::error::Error;
use crate::outcome::{Durability, WriteOutcome};
use crate::shelf::{Change, Condition, Draft, Priority};
use crate::version::Version;

impl<V: Value> Cache<V> {
    /// Sets an entry. `value` is a `V` or an `Arc<V>`. Replies with the version of the mutation.
    ///
    /// Write the value out (`"Ada".to_owned()`): `"Ada".into()` leaves open which of the two is meant.
    ///
    /// Acknowledged as [`Durability::Queued`] unless the call asks for more.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] or [`Error::TooLarge`] for key, value, tags or times, [`Error::Encode`],
    /// [`Error::Conflict`] under a condition, [`Error::Overloaded`] if the dirty set has no room until
    /// the deadline: nothing was changed. [`Error::Unavailable`] and [`Error::DeadlineExceeded`]:
    /// the value stands in memory and may still be stored.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, the mutation has happened wholly or not at all; what has happened
    /// is stored like any other.
    pub fn set<'a>(&'a self, key: &'a str, value: impl Into<Arc<V>>) -> Set<'a, V> {
        Set {
            value: value.into(),
            entry: None,
            call: Call::new(self, key, Durability::Queued),
        }
    }

    /// Removes an entry. Within the process a removal is final at once; across a crash it holds up to
    /// its durability, by default [`Durability::Written`].
    ///
    /// # Errors
    ///
    /// As [`set`](Cache::set).
    ///
    /// # Cancel safety
    ///
    /// As [`set`](Cache::set).
    pub fn remove<'a>(&'a self, key: &'a str) -> Remove<'a, V> {
        Remove(Call::new(self, key, Durability::Written))
    }
}

/// A set that is about to be made.
#[must_use = "a set is made when it is awaited"]
pub struct Set<'a, V> {
    value: Arc<V>,
    /// Out of line: most sets leave all of it to the cache.
    entry: Option<Box<EntryOptions>>,
    call: Call<'a, V>,
}

impl<V: Value> Set<'_, V> {
    call_options!(Set);

    /// Sets only if the entry has this version.
    pub fn if_version(mut self, version: Version) -> Self {
        self.call.terms().condition = Condition::Version(version);
        self
    }

    /// Sets only if there is no live entry. Not a lock: a cache may forget.
    pub fn if_absent(mut self) -> Self {
        self.call.terms().condition = Condition::Absent;
        self
    }

    /// Sets only if there is a live entry.
    pub fn if_present(mut self) -> Self {
        self.call.terms().condition = Condition::Present;
        self
    }

    /// Expires so long after now (at least 1 ms).
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.entry().ttl = Some(Some(ttl));
        self
    }

    /// Never expires, whatever the cache's default is.
    pub fn no_ttl(mut self) -> Self {
        self.entry().ttl = Some(None);
        self
    }

    /// Expires so long after it was last read (1 ms to 49 days). Reads renew it once an eighth of the
    /// time has passed.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.entry().idle = Some(Some(idle));
        self
    }

    /// Keeps the value so long beyond its TTL, for calls that allow stale values.
    pub fn stale_for(mut self, stale_for: Duration) -> Self {
        self.entry().stale_for = Some(stale_for);
        self
    }

    /// How long it should outlast others when memory is short.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.entry().priority = Some(priority);
        self
    }

    /// A name under which it can be invalidated together with others.
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.entry().tags.push(SmolStr::new(tag));
        self
    }

    /// Several such names.
    pub fn tags<I: IntoIterator<Item: AsRef<str>>>(mut self, tags: I) -> Self {
        self.entry().tags.extend(tags.into_iter().map(SmolStr::new));
        self
    }

    /// Stores it in these drivers only (`"memory"` is one). What is left out does not keep an older
    /// copy either.
    pub fn drivers<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.call.terms().drivers = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Does it and explains it.
    ///
    /// # Errors
    ///
    /// As [`Cache::set`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::set`].
    pub async fn outcome(self) -> Result<WriteOutcome, Error> {
        // The key first: an error should name what is wrong with it, not with the value.
        self.call.cache.check_key(self.call.key)?;
        let entry = self.entry.as_deref().unwrap_or(&PLAIN);
        let now_ms = self.call.cache.tiers().now_ms();
        let draft = self.call.cache.prepare(self.value, entry, now_ms)?;
        self.call.write(Change::Put(draft)).await
    }

    fn entry(&mut self) -> &mut EntryOptions {
        self.entry.get_or_insert_default()
    }
}

impl<'a, V: Value> IntoFuture for Set<'a, V> {
    type Output = Result<Version, Error>;
    type IntoFuture = Mutation<'a, V>;

    fn into_future(self) -> Self::IntoFuture {
        Mutation {
            call: self.call,
            value: Some(self.value),
            entry: self.entry,
            state: State::Asked,
        }
    }
}

/// A removal that is about to be made.
#[must_use = "a removal is made when it is awaited"]
pub struct Remove<'a, V>(Call<'a, V>);

impl<V: Value> Remove<'_, V> {
    /// Removes only if the entry has this version.
    pub fn if_version(mut self, version: Version) -> Self {
        self.0.terms().condition = Condition::Version(version);
        self
    }

    /// Waits until the removal is this safe, or fails.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.0.durability = durability;
        self.0.by_name = true;
        self
    }

    /// How long the call may take; the larder's `call_ms_max` where nothing is said.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.0.terms().wait = Some(after);
        self
    }

    /// Does it and explains it.
    ///
    /// # Errors
    ///
    /// As [`Cache::remove`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::set`].
    pub async fn outcome(self) -> Result<WriteOutcome, Error> {
        self.0.write(Change::Remove).await
    }
}

impl<'a, V: Value> IntoFuture for Remove<'a, V> {
    type Output = Result<Version, Error>;
    type IntoFuture = Mutation<'a, V>;

    fn into_future(self) -> Self::IntoFuture {
        Mutation {
            call: self.0,
            value: None,
            entry: None,
            state: State::Asked,
        }
    }
}

/// The future of a [`Set`] or a [`Remove`]: ready at its first poll if nothing has to be waited for.
///
/// # Cancel safety
///
/// As [`Cache::set`]: not polled, it changes nothing; after its first poll the mutation has happened wholly
/// or not at all.
#[must_use = "futures do nothing unless awaited"]
pub struct Mutation<'a, V> {
    call: Call<'a, V>,
    /// What is set; `None` to remove.
    value: Option<Arc<V>>,
    entry: Option<Box<EntryOptions>>,
    state: State<'a>,
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
        let Some(value) = self.value.take() else {
            return self.prepare(now_ms);
        };
        let fresh = match cache.fresh(&value, now_ms) {
            Ok(fresh) => fresh,
            Err(error) => return self.refuse(error),
        };
        let inner = &*cache.inner;
        match inner.shelf.set(&inner.scope, key, value, &fresh) {
            Ok(version) => {
                self.state = State::Done;
                Some(version)
            }
            Err(value) => self.make(Change::Put(Draft::plain(value, &fresh)), now_ms),
        }
    }

    #[inline(never)]
    fn prepare(&mut self, now_ms: Millis) -> Option<Version> {
        let cache = self.call.cache;
        if let Err(error) = cache.check_key(self.call.key) {
            return self.refuse(error);
        }
        let Some(value) = self.value.take() else {
            return self.make(Change::Remove, now_ms);
        };
        let entry = self.entry.as_deref().unwrap_or(&PLAIN);
        match cache.prepare(value, entry, now_ms) {
            Ok(draft) => self.make(Change::Put(draft), now_ms),
            Err(error) => self.refuse(error),
        }
    }

    #[inline(never)]
    fn make(&mut self, change: Change, now_ms: Millis) -> Option<Version> {
        let (call, sets) = (&self.call, change.draft().is_some());
        let mut order = call.order(change);
        if call.terms.is_none() {
            let (tiers, place) = (call.cache.tiers(), call.cache.place());
            match tiers.write_at_once(place, &mut order, now_ms) {
                Some(Ok(version)) => {
                    self.state = State::Done;
                    return Some(version);
                }
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
