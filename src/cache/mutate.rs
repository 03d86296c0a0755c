//! Setting and removing one key.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::call::Call;
use super::{Cache, EntryOptions, Mutation, PLAIN};
use crate::codec::Value;
use crate::error::Error;
use crate::outcome::{Durability, WriteOutcome};
use crate::shelf::{Change, Condition, Priority};
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
        Mutation::new(self.call, Some(self.value), self.entry)
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
        Mutation::new(self.0, None, None)
    }
}
