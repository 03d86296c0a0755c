//! Changing an entry's times and nothing else: `touch` and `expire`.

use std::future::IntoFuture;
use std::time::Duration;

use super::call::Call;
use super::{Cache, CallFuture, deadline};
use crate::clock::{Millis, NEVER, millis};
use crate::codec::Value;
use crate::error::Error;
use crate::outcome::Durability;
use crate::shelf::{Change, Condition, Slot};
use crate::tiers::{Counts, ReadOptions};
use crate::version::Version;

/// How often `touch` and `expire` begin again because somebody else changed the entry.
const RETIME_TRIES: usize = 8;

/// What `touch`, `expire` and sliding expiry change.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub expires_ms: Millis,
    pub keep_ms: Millis,
    /// Where the TTL of a sliding entry ends.
    pub ends_ms: Millis,
}

impl Times {
    /// Those of an entry that has just expired and is kept so long as a fallback.
    pub fn over(now_ms: Millis, keep: Duration) -> Self {
        Self {
            expires_ms: now_ms,
            keep_ms: now_ms.saturating_add(millis(keep)),
            ends_ms: now_ms,
        }
    }
}

impl<V: Value> Cache<V> {
    /// Gives a live entry a new TTL. A mutation: the entry gets a new version. Replies with it, or
    /// `None` if there is no live entry. It keeps its sliding expiry, which begins anew, and how long
    /// it serves as a fallback.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// use std::time::Duration;
    ///
    /// let sessions: larder::Cache<String> = larder.cache("sessions")?;
    /// sessions.set("s1", "Ada".to_owned()).ttl(Duration::from_secs(60)).await?;
    /// let touched = sessions.touch("s1", Duration::from_secs(600)).await?;
    /// assert!(touched.is_some(), "there was such a session");
    /// assert!(sessions.touch("s2", Duration::from_secs(600)).await?.is_none());
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
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
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// let prices: larder::Cache<u32> = larder.cache("prices")?;
    /// prices.set("shoes", 4_999).await?;
    /// prices.expire("shoes").await?;
    /// assert!(prices.get("shoes").await?.is_none());
    /// // Better an old price than none, says this caller.
    /// let old = prices.get("shoes").allow_stale().await?.expect("kept for a day");
    /// assert_eq!(*old, 4_999);
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
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

    /// Sets other times for a live entry, whatever its value is; not, if there are none to set.
    pub(super) async fn retime(
        &self,
        call: &Call<'_, V>,
        times: impl Fn(&Slot, Millis) -> Result<Option<Times>, Error>,
    ) -> Result<Option<Version>, Error> {
        self.check_key(call.key)?;
        let tiers = self.tiers();
        let wait = tiers.wait(call.wait());
        for _ in 0..RETIME_TRIES {
            let options = ReadOptions {
                wait: Some(wait.left()),
                ..ReadOptions::default()
            };
            let found = tiers.read(self.place(), call.key, options).await?;
            let Some((slot, ..)) = &found.slot else {
                return match found.unsure() {
                    // The entry may be there: a guess would be a lie.
                    Some(driver) => Err(tiers.unavailable(driver)),
                    None => Ok(None),
                };
            };
            if !self.reads(slot) {
                Counts::add(&tiers.counts.schema_misses);
                return Ok(None);
            }
            let Some(times) = times(slot, tiers.now_ms())? else {
                return Ok(None);
            };
            let draft = self.retimed(slot, times)?;
            let mut order = call.order(Change::Put(draft));
            order.condition = Condition::Version(slot.version);
            order.wait = Some(wait.left());
            match tiers.write(self.place(), order).await {
                Err(Error::Conflict { .. }) => {}
                done => return done.map(|done| Some(done.version)),
            }
        }
        Err(Error::Conflict { current: None })
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
        let times = |slot: &Slot, now_ms| {
            let ends_ms = deadline("ttl", now_ms, Some(self.ttl), 0.0)?;
            let expires_ms = match slot.idle_ms() {
                0 => ends_ms,
                idle_ms => ends_ms.min(now_ms + Millis::from(idle_ms)),
            };
            let fallback_ms = match slot.expires_ms {
                NEVER => stale_for,
                _ => slot.fallback_ms(),
            };
            Ok(Some(Times {
                expires_ms,
                keep_ms: expires_ms.saturating_add(fallback_ms),
                ends_ms,
            }))
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
        let keep = self
            .keep
            .unwrap_or(cache.inner.definition.defaults.expired_keep);
        let inner = &*cache.inner;
        let hash = inner.shelf.hash(inner.scope.id, self.call.key);
        // IMPORTANT: first, and whether there is anything to expire or not. A load that is under way, of a key
        // that is not there, would else be kept although it asked its source before this.
        inner.shelf.overtake(&inner.scope, hash, self.call.key);
        let times = |_: &Slot, now_ms| Ok(Some(Times::over(now_ms, keep)));
        cache.retime(&self.call, times).await
    }
}

into_future!(Expire, Option<Version>, "larder.expire", expire => expire.run().await);
