//! Changing an entry's times and nothing else: `touch` and `expire`.

use std::future::IntoFuture;
use std::time::Duration;

use super::call::Call;
use super::{Cache, CallFuture, deadline};
use crate::clock::{Millis, millis};
use crate::codec::Value;
use crate::error::Error;
use crate::outcome::Durability;
use crate::shelf::{Condition, Slot};
use crate::tiers::{Intent, ReadOptions};
use crate::version::Version;

/// How often `touch` and `expire` begin again because somebody else changed the entry.
const RETIME_TRIES: usize = 8;

impl<V: Value> Cache<V> {
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
