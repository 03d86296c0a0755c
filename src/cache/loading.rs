//! What a load does, beside those who wait for it: look once more under its claim, ask the host's loader,
//! keep what came of it if it may be kept, and answer.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smol_str::SmolStr;

use super::Cache;
use super::fetched::Stored;
use super::prepare::EntryOptions;
use crate::clock::Clock;
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{Attempts, Brings, Claim, Lapse, Loaded, Pilot, Terms, Verdict, What, judge};
use crate::outcome::Durability;
use crate::runtime::host;
use crate::shelf::{Change, Condition};
use crate::tiers::{Counts, Order, ReadOptions};

/// What a load is to do.
pub(super) struct Load<V> {
    pub attempts: Attempts<V>,
    pub terms: Terms,
    pub entry: EntryOptions,
}

/// What it brought, for all who waited.
pub(super) struct Brought<V> {
    /// `None`: the source has none.
    pub entry: Option<Entry<V>>,
    /// How often the loader was asked; not at all, if there was something by then.
    pub attempts: u32,
    /// What it carries, so that fences of these can be compared with it.
    pub tags: Arc<[SmolStr]>,
    pub stored: Stored,
}

/// The claim of a load, given back if nothing comes of it.
struct Claimed<'a, V> {
    cache: &'a Cache<V>,
    name: &'a str,
    hash: u64,
    claim: Claim,
}

impl<V> Drop for Claimed<'_, V> {
    fn drop(&mut self) {
        let inner = &*self.cache.inner;
        let (scope, mark) = (&inner.scope, self.claim.mark);
        inner.shelf.release(scope, self.hash, self.name, mark);
    }
}

impl<V: Value> Cache<V> {
    /// Has a load made, on the caller's runtime where there is one: a host's clients live there.
    pub(super) fn lead(&self, pilot: Pilot<Claim, Brings>, claim: Claim, load: Load<V>) {
        let (brake, load) = (pilot.brake(), self.load(pilot, claim, load));
        let own = || Some(self.tiers().lines().ok()?.loads.clone());
        // Dropped, it answers.
        let Some(runtime) = host().or_else(own) else {
            return;
        };
        let task = runtime.spawn(load).abort_handle();
        brake.set(Box::new(move || task.abort()));
    }

    /// Makes a load and answers those who wait. Dropped, it answers them that nothing will come.
    fn load(
        &self,
        pilot: Pilot<Claim, Brings>,
        claim: Claim,
        load: Load<V>,
    ) -> impl Future<Output = ()> + Send + use<V> {
        let cache = self.clone();
        async move {
            let name = load.attempts.id.name.clone();
            let hash = cache.inner.shelf.hash(cache.inner.scope.id, &name);
            let claimed = Claimed {
                cache: &cache,
                name: &name,
                hash,
                claim,
            };
            let brought = cache.bring(&pilot, &claimed, load).await;
            drop(claimed);
            let brings = match brought {
                Ok(brought) => Ok(Arc::new(brought) as _),
                Err(error) => {
                    Counts::add(&cache.tiers().fetches.counts.failed);
                    Err(Error::Fetch(Arc::new(error)))
                }
            };
            pilot.land(brings);
        }
    }

    async fn bring(
        &self,
        pilot: &Pilot<Claim, Brings>,
        claimed: &Claimed<'_, V>,
        mut load: Load<V>,
    ) -> Result<Brought<V>, LoadError> {
        let (tiers, name) = (self.tiers(), claimed.name);
        // IMPORTANT: under the claim. What was set before it is seen here, and what is set after it keeps
        // what is loaded from being stored.
        let options = ReadOptions {
            stale_ok: true,
            wait: pilot
                .until()
                .map(|until| until.saturating_duration_since(Clock::instant())),
            ..ReadOptions::default()
        };
        // A store that cannot say is no reason not to ask the source.
        let found = self.slow(name, options).await.ok();
        let there = found.and_then(|found| found.entry);
        if let Some(entry) = &there
            && judge(&load.terms, lapse(entry), tiers.now_ms()) == Verdict::Show
        {
            return Ok(Brought {
                entry: there,
                attempts: 0,
                // It was looked up after whoever waits had begun to.
                tags: [].into(),
                stored: Stored::Yes,
            });
        }
        load.attempts.stale = there;
        let counts = &tiers.fetches.counts;
        Counts::add(&counts.loads);
        let (answer, attempts) = load.attempts.make(&tiers.timer, || pilot.until()).await;
        counts
            .attempts
            .fetch_add(attempts.into(), Ordering::Relaxed);
        let brought = self.keep(claimed, load, answer?, pilot).await?;
        match &brought.stored {
            Stored::Fenced => Counts::add(&counts.fenced),
            Stored::Refused(_) => Counts::add(&counts.not_stored),
            Stored::Yes | Stored::No => {}
        }
        Ok(Brought {
            attempts,
            ..brought
        })
    }

    /// Stores what was loaded, if it may be.
    async fn keep(
        &self,
        claimed: &Claimed<'_, V>,
        load: Load<V>,
        loaded: Loaded<V>,
        pilot: &Pilot<Claim, Brings>,
    ) -> Result<Brought<V>, LoadError> {
        let (tiers, stale) = (self.tiers(), load.attempts.stale);
        let began = claimed.claim.began;
        let mut entry = load.entry;
        entry.ttl = loaded.ttl.or(entry.ttl);
        entry.tags.extend(loaded.tags);
        let brought = |entry, tags: &[SmolStr], stored| Brought {
            entry,
            attempts: 0,
            tags: tags.into(),
            stored,
        };
        let value = match (loaded.what, stale) {
            (What::Value(value), _) => value,
            (What::NotModified, Some(stale)) => stale.into_value(),
            (What::NotModified, None) => {
                let reason = "the loader says that nothing was modified, and there was nothing";
                return Err(LoadError::new(ErrorClass::Bug, reason));
            }
            (What::Missing, stale) => {
                Counts::add(&tiers.fetches.counts.missing);
                let stored = match stale {
                    Some(_) => self.store(claimed, Change::Remove, pilot).await,
                    None => Stored::No,
                };
                return Ok(brought(None, &[], stored));
            }
        };
        let now_ms = tiers.now_ms();
        let prepared = self.prepare(Arc::clone(&value), &entry, now_ms);
        let expires_ms = match &prepared {
            Ok(draft) => draft.expires_ms,
            // Nobody keeps it: what it says of its time is the host's own to believe.
            Err(_) => now_ms,
        };
        let shown = Entry::fetched(value, began, now_ms, expires_ms);
        let stored = match prepared {
            Ok(_) if !loaded.keeps => Stored::No,
            Ok(draft) => {
                let change = Change::Fetched(draft, began);
                self.store(claimed, change, pilot).await
            }
            Err(error) => Stored::Refused(error),
        };
        Ok(brought(Some(shown), &entry.tags, stored))
    }

    async fn store(
        &self,
        claimed: &Claimed<'_, V>,
        change: Change,
        pilot: &Pilot<Claim, Brings>,
    ) -> Stored {
        let until = pilot.until();
        let order = Order {
            name: claimed.name,
            change,
            condition: Condition::Flight(claimed.claim.mark),
            targets: None,
            durability: Durability::Queued,
            by_name: false,
            ticket: None,
            wait: until.map(|until| until.saturating_duration_since(Clock::instant())),
        };
        match self.tiers().write(self.place(), order).await {
            Ok(_) => Stored::Yes,
            Err(Error::Conflict { .. }) => Stored::Fenced,
            Err(error) => Stored::Refused(error),
        }
    }
}

/// The times of an entry.
pub(super) fn lapse<V>(entry: &Entry<V>) -> Lapse {
    Lapse {
        created_ms: entry.created_ms(),
        expires_ms: entry.expires_ms(),
    }
}
