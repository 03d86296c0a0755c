//! What a load does, beside those who wait for it: look once more under its claim, ask the host's loader,
//! keep what came of it if it may be kept, and answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smol_str::SmolStr;

use super::Cache;
use super::fetched::Stored;
use super::prepare::EntryOptions;
use crate::clock::{Clock, Millis};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{
    Attempts, Brings, Claim, Guarded, Lapse, Loaded, Pilot, Terms, Verdict, What, judge,
};
use crate::outcome::Durability;
use crate::runtime::host;
use crate::shelf::{Change, Condition, Slot};
use crate::tiers::{Counts, Order, ReadOptions};
use crate::version::Version;

/// How long those who wait for a value wait for room to store it.
const ROOM_MAX: Duration = Duration::from_millis(100);

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
    /// Of the entry, or of the load where there is none.
    pub version: Version,
    /// What it carries, so that fences of these can be compared with it.
    pub tags: Arc<[SmolStr]>,
    pub stored: Stored,
}

/// The claim of a load, given back if nothing comes of it. It lets the load have the cache.
struct Claimed<V> {
    cache: Cache<V>,
    name: SmolStr,
    claim: Claim,
}

impl<V> Claimed<V> {
    fn hash(&self) -> u64 {
        let inner = &*self.cache.inner;
        inner.shelf.hash(inner.scope.id, &self.name)
    }
}

impl<V> Drop for Claimed<V> {
    fn drop(&mut self) {
        let (inner, hash) = (&*self.cache.inner, self.hash());
        let mark = self.claim.mark;
        inner.shelf.unclaim(&inner.scope, hash, &self.name, mark);
    }
}

/// What there is as a load begins.
struct There<V> {
    entry: Entry<V>,
    slot: Slot,
}

impl<V: Value> Cache<V> {
    /// Has a load made, on the caller's runtime where there is one: a host's clients live there.
    pub(super) fn lead(&self, pilot: Pilot<Claim, Brings>, claim: Claim, load: Load<V>) {
        // IMPORTANT: before the future, which may be dropped without having been polled.
        let claimed = Claimed {
            cache: self.clone(),
            name: load.attempts.id.name.clone(),
            claim,
        };
        let brake = pilot.brake();
        let own = || Some(self.tiers().lines().ok()?.loads.clone());
        // Dropped, it answers.
        let Some(runtime) = host().or_else(own) else {
            return;
        };
        let task = runtime.spawn(claimed.load(pilot, load)).abort_handle();
        brake.set(Box::new(move || task.abort()));
    }
}

impl<V: Value> Claimed<V> {
    /// Makes a load and answers those who wait. Dropped, it answers them that nothing will come.
    async fn load(self, pilot: Pilot<Claim, Brings>, load: Load<V>) {
        // A host's code, its values' too, may panic anywhere in there.
        let brought = Guarded::new(self.bring(&pilot, load)).await;
        let brought = brought
            .unwrap_or_else(|| Err(LoadError::new(ErrorClass::Bug, "what is loaded panicked")));
        let brings = match brought {
            Ok(brought) => Ok(Arc::new(brought) as _),
            Err(error) => {
                Counts::add(&self.cache.tiers().fetches.counts.failed);
                Err(Error::Fetch(Arc::new(error)))
            }
        };
        drop(self);
        pilot.land(brings);
    }

    async fn bring(
        &self,
        pilot: &Pilot<Claim, Brings>,
        mut load: Load<V>,
    ) -> Result<Brought<V>, LoadError> {
        let tiers = self.cache.tiers();
        let (there, is_unsure) = self.look(pilot).await;
        if let Some(there) = &there
            && judge(&load.terms, lapse(&there.entry), tiers.now_ms()) == Verdict::Show
        {
            return Ok(Brought {
                version: there.entry.version(),
                entry: Some(there.entry.clone()),
                attempts: 0,
                tags: there.slot.tags().into(),
                stored: Stored::Yes,
            });
        }
        load.attempts.there = there.as_ref().map(|there| there.entry.clone());
        let counts = &tiers.fetches.counts;
        Counts::add(&counts.loads);
        let (answer, attempts) = load.attempts.make(&tiers.timer, || pilot.until()).await;
        counts
            .attempts
            .fetch_add(attempts.into(), Ordering::Relaxed);
        let is_there = there.is_some() || is_unsure;
        let mut brought = self.keep(load.entry, answer?, there).await?;
        brought.attempts = attempts;
        // IMPORTANT: what is shown and not kept must not leave something older to be shown after it.
        let leaves_older = matches!(brought.stored, Stored::No | Stored::Refused(_));
        if leaves_older && is_there {
            let removed = self.remove().await;
            if brought.entry.is_none() {
                brought.stored = removed;
            }
        }
        match &brought.stored {
            Stored::Fenced => Counts::add(&counts.fenced),
            Stored::Refused(_) => Counts::add(&counts.not_stored),
            Stored::Yes | Stored::No => {}
        }
        Ok(brought)
    }

    /// What there is, in memory or below, and whether a tier could not say.
    ///
    /// IMPORTANT: under the claim. What was set before it is seen here, and what is set after it keeps
    /// what is loaded from being stored.
    async fn look(&self, pilot: &Pilot<Claim, Brings>) -> (Option<There<V>>, bool) {
        let (cache, tiers) = (&self.cache, self.cache.tiers());
        let left = pilot
            .until()
            .map(|until| until.saturating_duration_since(Clock::instant()));
        let options = ReadOptions {
            stale_ok: true,
            // The source is to have its time, too.
            wait: left.map(|left| (left / 2).min(tiers.config.call_max())),
            ..ReadOptions::default()
        };
        // A store that cannot say is no reason not to ask the source.
        let Ok(found) = tiers.read(cache.place(), &self.name, options).await else {
            return (None, true);
        };
        let is_unsure = found.unsure().is_some();
        let slot = found.slot.clone();
        let entry = cache.outcome(&self.name, found).entry;
        let there = entry.zip(slot);
        let there = there.map(|(entry, (slot, ..))| There { entry, slot });
        (there, is_unsure)
    }

    /// Stores what was loaded, if it may be.
    async fn keep(
        &self,
        mut entry: EntryOptions,
        loaded: Loaded<V>,
        there: Option<There<V>>,
    ) -> Result<Brought<V>, LoadError> {
        let (tiers, version) = (self.cache.tiers(), self.claim.began);
        entry.ttl = loaded.ttl.or(entry.ttl);
        entry.tags.extend(loaded.tags);
        let value = match (loaded.what, there) {
            (What::Value(value), _) => value,
            (What::NotModified, Some(there)) => {
                // It is the same entry with other times.
                entry.priority = entry.priority.or(Some(there.slot.priority));
                entry.tags.extend_from_slice(there.slot.tags());
                entry.tags.sort_unstable();
                entry.tags.dedup();
                there.entry.into_value()
            }
            (What::NotModified, None) => {
                let reason = "the loader says that nothing was modified, and there was nothing";
                return Err(LoadError::new(ErrorClass::Bug, reason));
            }
            (What::Missing, _) => {
                Counts::add(&tiers.fetches.counts.missing);
                return Ok(Brought {
                    entry: None,
                    attempts: 0,
                    version,
                    tags: entry.tags.into(),
                    stored: Stored::No,
                });
            }
        };
        let now_ms = tiers.now_ms();
        let prepared = self.cache.prepare(Arc::clone(&value), &entry, now_ms);
        let expires_ms = match &prepared {
            Ok(draft) => draft.expires_ms,
            // Nobody keeps it: what it says of its time is the host's own to believe.
            Err(_) => now_ms,
        };
        let shown = Entry::fetched(value, version, now_ms, expires_ms);
        let stored = match prepared {
            Ok(_) if !loaded.keeps => Stored::No,
            Ok(draft) => self.store(Change::Fetched(draft, version)).await,
            Err(error) => Stored::Refused(error),
        };
        Ok(Brought {
            entry: Some(shown),
            attempts: 0,
            version,
            tags: entry.tags.into(),
            stored,
        })
    }

    /// Removes what is older than what was loaded.
    async fn remove(&self) -> Stored {
        // A fence leaves the claim alone.
        if !self.cache.inner.scope.accepts(self.claim.began, &[]) {
            return Stored::Fenced;
        }
        match self.store(Change::Remove).await {
            Stored::Refused(_) => {
                let (tiers, place) = (self.cache.tiers(), self.cache.place());
                let order = self.order(Change::Remove);
                tiers
                    .without_room(place, order)
                    .map_or_else(Stored::Refused, |()| Stored::Yes)
            }
            stored => stored,
        }
    }

    fn order(&self, change: Change) -> Order<'_> {
        Order {
            name: &self.name,
            change,
            condition: Condition::Flight(self.claim.mark),
            targets: None,
            durability: Durability::Queued,
            by_name: false,
            ticket: None,
            wait: Some(ROOM_MAX),
        }
    }

    async fn store(&self, change: Change) -> Stored {
        let tiers = self.cache.tiers();
        if tiers.config.disabled {
            return Stored::No;
        }
        let order = self.order(change);
        match tiers.write(self.cache.place(), order).await {
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

impl<V> Brought<V> {
    /// Whether it is no more what may be shown to somebody who began to wait after it was begun.
    pub(super) fn is_overtaken(&self, cache: &Cache<V>, now_ms: Millis) -> bool {
        // IMPORTANT: the second look at the fences and the time (the slot protocol, rules 4 and 14). Which tags it
        // would have nobody knew when it was joined, and one may have been invalidated before that.
        // What was loaded was made after anybody had begun to wait for it.
        let was_found = self.attempts == 0;
        let has_expired = |entry: &Entry<V>| was_found && now_ms >= entry.expires_ms();
        !cache.inner.scope.accepts(self.version, &self.tags)
            || self.entry.as_ref().is_some_and(has_expired)
    }
}
