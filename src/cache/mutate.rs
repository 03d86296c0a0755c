//! Changing one key, or all keys that a fence covers.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::{Cache, CallFuture, EntryOptions, deadline};
use crate::clock::{Millis, millis};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::outcome::{Durability, WriteOutcome};
use crate::shelf::{Condition, Covers, Priority, Slot};
use crate::tiers::{Intent, Order, ReadOptions};
use crate::version::Version;

/// How often `touch` and `expire` begin again because somebody else changed the entry.
const RETIME_TRIES: usize = 8;
/// How often [`Cache::update`] tries again by default.
pub(crate) const UPDATE_RETRIES: u32 = 3;
/// The wait before its first retry; it doubles, with half of it jitter.
const UPDATE_WAIT_MS: u64 = 10;

impl<V: Value> Cache<V> {
    /// Sets an entry. `value` is a `V` or an `Arc<V>`. Replies with the version of the mutation.
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
            entry: EntryOptions::default(),
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

    /// Gives a live entry a new TTL. A mutation: the entry gets a new version. Replies with it, or
    /// `None` if there is no live entry.
    ///
    /// # Errors
    ///
    /// As [`set`](Cache::set).
    ///
    /// # Cancel safety
    ///
    /// As [`set`](Cache::set).
    pub fn touch<'a>(&'a self, key: &'a str, ttl: Duration) -> Touch<'a, V> {
        Touch {
            ttl,
            call: Call::new(self, key, Durability::Queued),
        }
    }

    /// Lets an entry expire now but keeps its value as a fallback for calls that
    /// [`allow_stale`](super::Get::allow_stale). A mutation. `None` if there is no live entry.
    ///
    /// # Errors
    ///
    /// As [`set`](Cache::set).
    ///
    /// # Cancel safety
    ///
    /// As [`set`](Cache::set).
    pub fn expire<'a>(&'a self, key: &'a str) -> Expire<'a, V> {
        Expire {
            keep: None,
            call: Call::new(self, key, Durability::Queued),
        }
    }

    /// Changes an entry by what it is: `change` gets the value that is there, if any, and returns the
    /// new one. Tried again when somebody else was faster: by default 3 times, after 10, 20 and 40 ms
    /// with jitter.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// let counters = larder.cache::<u64>("counters")?;
    /// counters.update("hits", |old| old.copied().unwrap_or(0) + 1).await?;
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if it was too slow each time, and as [`set`](Cache::set).
    ///
    /// # Cancel safety
    ///
    /// As [`set`](Cache::set).
    pub fn update<'a, F>(&'a self, key: &'a str, change: F) -> Update<'a, V, F>
    where
        F: Fn(Option<&V>) -> V + Send + 'a,
    {
        Update {
            change,
            retries: UPDATE_RETRIES,
            entry: EntryOptions::default(),
            call: Call::new(self, key, Durability::Queued),
        }
    }

    /// Makes every entry of the cache a miss, in every tier, in one step. By default acknowledged as
    /// [`Durability::Written`]. Their space is freed in the background.
    ///
    /// # Errors
    ///
    /// As [`set`](Cache::set), for what can happen to it.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the entries are gone for this process; whether also after a crash is open.
    pub fn clear(&self) -> Clear<'_, V> {
        self.fence(None)
    }

    /// As [`clear`](Cache::clear), for the entries that were set with this tag.
    ///
    /// # Errors
    ///
    /// As [`clear`](Cache::clear); [`Error::Invalid`] or [`Error::TooLarge`] for the tag.
    ///
    /// # Cancel safety
    ///
    /// As [`clear`](Cache::clear).
    pub fn remove_tag<'a>(&'a self, tag: &'a str) -> Clear<'a, V> {
        self.fence(Some(tag))
    }

    fn fence<'a>(&'a self, tag: Option<&'a str>) -> Clear<'a, V> {
        Clear {
            tag,
            call: Call::new(self, "", Durability::Written),
        }
    }

    /// Sets other times for a live entry, whatever its value is.
    async fn retime(
        &self,
        call: &Call<'_, V>,
        times: impl Fn(Millis) -> Result<(Millis, Millis), Error>,
    ) -> Result<Option<Version>, Error> {
        self.check_key(call.key)?;
        for _ in 0..RETIME_TRIES {
            let options = ReadOptions {
                wait: call.wait,
                ..ReadOptions::default()
            };
            let found = self.tiers().read(self.place(), call.key, options).await?;
            let Some((slot, ..)) = found.slot else {
                return match found
                    .degraded
                    .first()
                    .and_then(|d| self.tiers().tier_named(&d.driver))
                {
                    // The entry may be there: a guess would be a lie.
                    Some(tier) => Err(self
                        .tiers()
                        .port(tier)
                        .map_or(Error::Closed, |p| p.unavailable())),
                    None => Ok(None),
                };
            };
            match self.retime_slot(call, &slot, &times).await {
                Err(Error::Conflict { .. }) => {}
                done => return done.map(Some),
            }
        }
        Err(Error::Conflict { current: None })
    }

    async fn retime_slot(
        &self,
        call: &Call<'_, V>,
        slot: &Slot,
        times: &impl Fn(Millis) -> Result<(Millis, Millis), Error>,
    ) -> Result<Version, Error> {
        let (expires_ms, keep_ms) = times(self.tiers().now_ms())?;
        let prepared = self.retimed(slot, expires_ms, keep_ms)?;
        let order = call.order(Intent::Put(prepared), Condition::Version(slot.version));
        Ok(self.tiers().write(self.place(), order).await?.version)
    }
}

/// What every mutation can say.
struct Call<'a, V> {
    cache: &'a Cache<V>,
    key: &'a str,
    condition: Condition,
    durability: Durability,
    by_name: bool,
    wait: Option<Duration>,
    drivers: Option<Vec<String>>,
}

impl<'a, V: Value> Call<'a, V> {
    fn new(cache: &'a Cache<V>, key: &'a str, durability: Durability) -> Self {
        Self {
            cache,
            key,
            condition: Condition::None,
            durability,
            by_name: false,
            wait: None,
            drivers: None,
        }
    }

    fn order(&self, intent: Intent, condition: Condition) -> Order<'a> {
        Order {
            name: self.key,
            intent,
            condition,
            targets: None,
            durability: self.durability,
            by_name: self.by_name,
            ticket: None,
            wait: self.wait,
        }
    }

    async fn write(&self, intent: Intent) -> Result<WriteOutcome, Error> {
        self.cache.check_key(self.key)?;
        let mut order = self.order(intent, self.condition);
        if let Some(names) = &self.drivers {
            order.targets = Some(self.cache.targets(names)?);
        }
        self.cache.tiers().write(self.cache.place(), order).await
    }
}

macro_rules! call_options {
    ($kind:ident) => {
        /// Waits until the mutation is this safe, or fails.
        pub fn durability(mut self, durability: Durability) -> Self {
            self.call.durability = durability;
            self.call.by_name = true;
            self
        }

        /// How long the call may take; the larder's `call_ms_max` where nothing is said.
        pub fn deadline(mut self, after: Duration) -> Self {
            self.call.wait = Some(after);
            self
        }
    };
}

macro_rules! into_future {
    ($kind:ident, $output:ty, $span:literal, $this:ident => $call:expr) => {
        impl<'a, V: Value> IntoFuture for $kind<'a, V> {
            type Output = Result<$output, Error>;
            type IntoFuture = CallFuture<'a, $output>;

            fn into_future(self) -> Self::IntoFuture {
                let $this = self;
                let span = tracing::trace_span!($span, cache = $this.call.cache.name());
                Box::pin(tracing::Instrument::instrument(async move { $call }, span))
            }
        }
    };
}

/// A set that is about to be made.
#[must_use = "a set is made when it is awaited"]
pub struct Set<'a, V> {
    value: Arc<V>,
    entry: EntryOptions,
    call: Call<'a, V>,
}

impl<V: Value> Set<'_, V> {
    call_options!(Set);

    /// Sets only if the entry has this version.
    pub fn if_version(mut self, version: Version) -> Self {
        self.call.condition = Condition::Version(version);
        self
    }

    /// Sets only if there is no live entry. Not a lock: a cache may forget.
    pub fn if_absent(mut self) -> Self {
        self.call.condition = Condition::Absent;
        self
    }

    /// Sets only if there is a live entry.
    pub fn if_present(mut self) -> Self {
        self.call.condition = Condition::Present;
        self
    }

    /// Expires so long after now (at least 1 ms).
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.entry.ttl = Some(Some(ttl));
        self
    }

    /// Never expires, whatever the cache's default is.
    pub fn no_ttl(mut self) -> Self {
        self.entry.ttl = Some(None);
        self
    }

    /// Expires so long after it was last read (1 ms to 49 days). Reads renew it once an eighth of the
    /// time has passed.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.entry.idle = Some(Some(idle));
        self
    }

    /// Keeps the value so long beyond its TTL, for calls that allow stale values.
    pub fn stale_for(mut self, stale_for: Duration) -> Self {
        self.entry.stale_for = Some(stale_for);
        self
    }

    /// How long it should outlast others when memory is short.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.entry.priority = Some(priority);
        self
    }

    /// A name under which it can be invalidated together with others.
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.entry.tags.push(SmolStr::new(tag));
        self
    }

    /// Several such names.
    pub fn tags<I: IntoIterator<Item: AsRef<str>>>(mut self, tags: I) -> Self {
        self.entry.tags.extend(tags.into_iter().map(SmolStr::new));
        self
    }

    /// Stores it in these drivers only (`"memory"` is one). What is left out does not keep an older
    /// copy either.
    pub fn drivers<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.call.drivers = Some(names.into_iter().map(Into::into).collect());
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
        let prepared = self.call.cache.prepare(self.value, &self.entry)?;
        self.call.write(Intent::Put(prepared)).await
    }
}

into_future!(Set, Version, "larder.set", set => Ok(set.outcome().await?.version));

/// A removal that is about to be made.
#[must_use = "a removal is made when it is awaited"]
pub struct Remove<'a, V>(Call<'a, V>);

impl<V: Value> Remove<'_, V> {
    /// Removes only if the entry has this version.
    pub fn if_version(mut self, version: Version) -> Self {
        self.0.condition = Condition::Version(version);
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
        self.0.wait = Some(after);
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
        self.0.write(Intent::Remove).await
    }
}

impl<'a, V: Value> IntoFuture for Remove<'a, V> {
    type Output = Result<Version, Error>;
    type IntoFuture = CallFuture<'a, Version>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::trace_span!("larder.remove", cache = self.0.cache.name());
        let call = async move { Ok(self.outcome().await?.version) };
        Box::pin(tracing::Instrument::instrument(call, span))
    }
}

/// A new TTL that is about to be given.
#[must_use = "it is done when it is awaited"]
pub struct Touch<'a, V> {
    ttl: Duration,
    call: Call<'a, V>,
}

impl<V: Value> Touch<'_, V> {
    call_options!(Touch);

    async fn run(self) -> Result<Option<Version>, Error> {
        let cache = self.call.cache;
        let stale_for = millis(cache.inner.definition.defaults.stale_for);
        let times = |now_ms| {
            let expires_ms = deadline("ttl", now_ms, Some(self.ttl), 0.0)?;
            Ok((expires_ms, expires_ms.saturating_add(stale_for)))
        };
        cache.retime(&self.call, times).await
    }
}

into_future!(Touch, Option<Version>, "larder.touch", touch => touch.run().await);

/// An expiry that is about to happen.
#[must_use = "it is done when it is awaited"]
pub struct Expire<'a, V> {
    keep: Option<Duration>,
    call: Call<'a, V>,
}

impl<V: Value> Expire<'_, V> {
    call_options!(Expire);

    /// How long to keep the value as a fallback; the cache's `expired_keep` where nothing is said.
    pub fn keep_for(mut self, keep: Duration) -> Self {
        self.keep = Some(keep);
        self
    }

    async fn run(self) -> Result<Option<Version>, Error> {
        let cache = self.call.cache;
        let keep = millis(
            self.keep
                .unwrap_or(cache.inner.definition.defaults.expired_keep),
        );
        let times = |now_ms: Millis| Ok((now_ms, now_ms.saturating_add(keep)));
        cache.retime(&self.call, times).await
    }
}

into_future!(Expire, Option<Version>, "larder.expire", expire => expire.run().await);

/// A clear or tag invalidation that is about to be made.
#[must_use = "it is done when it is awaited"]
pub struct Clear<'a, V> {
    tag: Option<&'a str>,
    call: Call<'a, V>,
}

impl<V: Value> Clear<'_, V> {
    call_options!(Clear);

    /// Does it and explains it.
    ///
    /// # Errors
    ///
    /// As [`Cache::clear`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::clear`].
    pub async fn outcome(self) -> Result<WriteOutcome, Error> {
        let (call, cache) = (&self.call, self.call.cache);
        let covers = match self.tag {
            None => Covers::All,
            Some(tag) => {
                cache.check_tag(tag)?;
                Covers::Tag(SmolStr::new(tag))
            }
        };
        let (durability, by_name) = (call.durability, call.by_name);
        let tiers = cache.tiers();
        tiers
            .invalidate(cache.place(), covers, durability, by_name, call.wait)
            .await
    }
}

into_future!(Clear, Version, "larder.clear", clear => Ok(clear.outcome().await?.version));

/// A change by what is there that is about to be made.
#[must_use = "it is done when it is awaited"]
pub struct Update<'a, V, F> {
    change: F,
    retries: u32,
    entry: EntryOptions,
    call: Call<'a, V>,
}

impl<'a, V: Value, F: Fn(Option<&V>) -> V + Send + 'a> Update<'a, V, F> {
    call_options!(Update);

    /// How often to try again (0 for never).
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The TTL of what is set; the cache's default where nothing is said.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.entry.ttl = Some(Some(ttl));
        self
    }

    async fn run(mut self) -> Result<Entry<V>, Error> {
        let (cache, key) = (self.call.cache, self.call.key);
        cache.check_key(key)?;
        for attempt in 0.. {
            let found = cache.peek(key).await?;
            let value = Arc::new((self.change)(found.as_deref()));
            self.call.condition = match &found {
                Some(entry) => Condition::Version(entry.version()),
                None => Condition::Absent,
            };
            let prepared = cache.prepare(Arc::clone(&value), &self.entry)?;
            let (created_ms, expires_ms) = (prepared.created_ms, prepared.expires_ms);
            match self.call.write(Intent::Put(prepared)).await {
                Ok(done) => return Ok(Entry::updated(value, done.version, created_ms, expires_ms)),
                Err(Error::Conflict { .. }) if attempt < self.retries => {
                    let wait_ms = UPDATE_WAIT_MS << attempt.min(10);
                    let jitter = fastrand::u64(0..=wait_ms / 2);
                    cache
                        .tiers()
                        .sleep(Duration::from_millis(wait_ms / 2 + jitter))
                        .await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict { current: None })
    }
}

impl<'a, V: Value, F: Fn(Option<&V>) -> V + Send + 'a> IntoFuture for Update<'a, V, F> {
    type Output = Result<Entry<V>, Error>;
    type IntoFuture = CallFuture<'a, Entry<V>>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::trace_span!("larder.update", cache = self.call.cache.name());
        Box::pin(tracing::Instrument::instrument(self.run(), span))
    }
}
