//! Reading one key.

use std::sync::Arc;
use std::time::Duration;

use super::retime::Times;
use super::{Cache, Get};
use crate::codec::Value;
use crate::entry::{Entry, Source};
use crate::error::Error;
use crate::outcome::{Durability, ReadOutcome};
use crate::shelf::{Body, Change, Condition, Draft, Freshness, Glance, Look, Seen, Shared, Slot};
use crate::tiers::{Counts, Found, Order, ReadOptions};
use crate::typed::Mismatch;

impl<V: Value> Cache<V> {
    /// Reads an entry. Never fetches; a miss is `Ok(None)`.
    ///
    /// A value in memory is answered at once, on the calling thread.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] or [`Error::TooLarge`] for the key, [`Error::Overloaded`] if too many reads
    /// of a driver are under way until the deadline, [`Error::Closed`]. A driver that is down or
    /// fails is no error: see [`Get::outcome`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it changes nothing but what memory keeps.
    pub fn get<'a>(&'a self, key: &'a str) -> Get<'a, V> {
        Get::new(self, key)
    }

    /// As [`get`](Cache::get), but leaves memory as it is: what a driver has is not kept there.
    ///
    /// # Errors
    ///
    /// As [`get`](Cache::get).
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn peek(&self, key: &str) -> Result<Option<Entry<V>>, Error> {
        self.get(key).leaving_memory_alone().await
    }

    /// Whether there is an entry that [`get`](Cache::get) would show.
    ///
    /// # Errors
    ///
    /// As [`get`](Cache::get).
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn contains(&self, key: &str) -> Result<bool, Error> {
        Ok(self.peek(key).await?.is_some())
    }

    /// What memory says at a glance; whether that is the answer is the caller's to judge.
    #[inline(always)]
    pub(super) fn glance(&self, key: &str) -> Glance<Arc<V>> {
        let inner = &*self.inner;
        let cast = |any: Shared| any.downcast::<V>().ok();
        let of = (&*inner.scope, inner.definition.place.schema);
        let now = || inner.tiers.now_ms();
        inner.shelf.glance(of, key, now, cast)
    }

    /// Whether a key that memory does not know is nowhere else either.
    #[inline]
    pub(super) fn is_absent(&self, key: &str) -> bool {
        // A key that cannot be is an error.
        self.place().tiers.is_empty() && self.check_key(key).is_ok()
    }

    /// What memory alone can answer: a decoded value, or that there is none. Everything else is the slow
    /// path's.
    pub(super) fn fast(&self, key: &str, stale_ok: bool) -> Option<Option<Entry<V>>> {
        let (tiers, place) = (self.tiers(), self.place());
        let hash = tiers.shelf.hash(place.scope.id, key);
        let schema = place.schema;
        let now = || tiers.now_ms();
        let show = |slot: Look<'_>, freshness| match slot.body {
            Body::Decoded(any) if slot.schema == schema && slot.idle_ms() == 0 => {
                let value = Arc::clone(any).downcast::<V>().ok()?;
                let read_ms = if slot.expires_ms == crate::clock::NEVER {
                    0
                } else {
                    now()
                };
                Some(Entry::new(value, slot, freshness, Source::Memory, read_ms))
            }
            _ => None,
        };
        match tiers
            .shelf
            .read(&place.scope, hash, key, now, stale_ok, show)
        {
            Seen::Hit(entry) => entry.map(Some),
            // Nobody else is to be asked; but a key that cannot be is an error.
            Seen::Gone(_) | Seen::Unknown if place.tiers.is_empty() => {
                self.check_key(key).ok().map(|()| None)
            }
            _ => None,
        }
    }

    pub(super) async fn slow(
        &self,
        key: &str,
        options: ReadOptions,
    ) -> Result<ReadOutcome<V>, Error> {
        self.check_key(key)?;
        let found = self.tiers().read(self.place(), key, options).await?;
        self.renew(key, &found).await;
        Ok(self.outcome(key, found))
    }

    /// Casts what was found to what the host asked for.
    pub(super) fn outcome(&self, key: &str, found: Found) -> ReadOutcome<V> {
        let mut outcome = ReadOutcome {
            entry: None,
            source: None,
            freshness: found.expired_ms.map(|_| Freshness::Expired),
            age: None,
            expires_in: None,
            expired_ms: found.expired_ms,
            degraded: found.degraded,
        };
        let Some((slot, freshness, source)) = found.slot else {
            return outcome;
        };
        let (tiers, place) = (self.tiers(), self.place());
        match self.form().entry(&slot, freshness, source, tiers.now_ms()) {
            Ok(entry) => {
                if matches!(&slot.body, Body::Encoded(_)) || slot.schema != place.schema {
                    let (shelf, scope) = (&tiers.shelf, &*place.scope);
                    let hash = shelf.hash(scope.id, key);
                    if let Some(to) = self.form().body(entry.value()) {
                        shelf.decoded(scope, hash, key, slot.version, to);
                    }
                }
                outcome.source = Some(source);
                outcome.freshness = Some(freshness);
                outcome.age = Some(entry.age());
                outcome.expires_in = entry.expires_in();
                outcome.entry = Some(entry);
            }
            Err(Mismatch::Other) => Counts::add(&tiers.counts.schema_misses),
            Err(Mismatch::Broken(error)) => {
                Counts::add(&tiers.counts.decode_errors);
                tracing::warn!(cache = %place.scope.name, %error, "a stored value could not be decoded");
            }
        }
        outcome
    }

    /// Gives a sliding entry its time back.
    pub(super) async fn renew(&self, key: &str, found: &Found) {
        let Some((slot, Freshness::Fresh, _)) = &found.slot else {
            return;
        };
        let now_ms = self.tiers().now_ms();
        let expires_ms = (now_ms + u64::from(slot.idle_ms())).min(slot.ends_ms());
        // Near the end of its TTL there is nothing left to give.
        if !slot.wants_renewal(|| now_ms) || expires_ms <= slot.expires_ms || !self.reads(slot) {
            return;
        }
        let times = Times {
            expires_ms,
            keep_ms: expires_ms.saturating_add(slot.fallback_ms()),
            ends_ms: slot.ends_ms(),
        };
        let Ok(draft) = self.retimed(slot, times) else {
            return;
        };
        let order = Order {
            name: key,
            change: Change::Renew(draft),
            condition: Condition::Version(slot.version),
            targets: None,
            durability: Durability::Queued,
            by_name: false,
            ticket: None,
            wait: Some(Duration::ZERO),
        };
        // Somebody changed it, or there is no room: then it is not renewed this time.
        let _ = self.tiers().write(self.place(), order).await;
    }

    /// Whether a slot is a value of this cache's schema and type. Anything else is a miss.
    pub(super) fn reads(&self, slot: &Slot) -> bool {
        self.place().kind.is_none_or(|kind| kind.reads(slot.look()))
    }

    /// The same value with other times.
    pub(super) fn retimed(&self, slot: &Slot, times: Times) -> Result<Draft, Error> {
        let Times {
            expires_ms,
            keep_ms,
            ends_ms,
        } = times;
        let encoded = match &slot.body {
            Body::Decoded(_) if self.place().tiers.is_empty() => None,
            _ => Some(self.form().bytes(slot)?),
        };
        let old = slot.extra.as_deref();
        let is_plain = keep_ms <= expires_ms && old.is_none();
        Ok(Draft {
            body: slot.body.clone(),
            encoded,
            weight: slot.weight,
            created_ms: slot.created_ms,
            expires_ms,
            extra: (!is_plain).then(|| {
                Arc::new(crate::shelf::Extra {
                    keep_ms: keep_ms.max(expires_ms),
                    idle_ms: slot.idle_ms(),
                    ends_ms,
                    fingerprint: 0,
                    skipped: slot.skipped(),
                    tags: slot.tags().into(),
                })
            }),
            // Bytes that are not migrated yet stay what they are.
            schema: slot.schema,
            priority: slot.priority,
        })
    }
}
