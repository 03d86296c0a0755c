//! What a load does, beside those who wait for it: look once more under its claim, ask the host's loader,
//! keep what came of it if it may be kept, and answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use smol_str::SmolStr;

use super::Cache;
use super::fetched::Stored;
use super::keeping::ROOM_MAX;
use super::prepare::EntryOptions;
use super::seats::Lead;
use crate::clock::{Clock, Millis};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{
    Attempts, Brings, Claim, Guarded, Id, Lapse, LoadContext, LoadEventKind, Loader, Pilot, Stale,
    Terms, Verdict, judge,
};
use crate::runtime::host;
use crate::shelf::Slot;
use crate::tiers::{Counts, Found, ReadOptions};
use crate::version::Version;

/// What a load is to do.
pub(super) struct Load<V> {
    pub loader: Loader<V>,
    pub says: LoadSays,
}

/// What any load is told, of one key or of many.
pub(super) struct LoadSays {
    pub attempts: Attempts,
    pub terms: Terms,
    pub entry: EntryOptions,
    /// How long it is remembered that a source has nothing.
    pub missing_ttl: Duration,
    /// How long what can be shown is not loaded again after a failure.
    pub throttle: Duration,
}

/// What it brought, for all who waited.
pub(super) struct Brought<V> {
    /// `None`: the source has none.
    pub entry: Option<Entry<V>>,
    /// How often the loader was asked; not at all, if there was something by then.
    pub attempts: u32,
    /// How long the load waited for its turn at its source.
    pub queued: Duration,
    /// Of the entry, or of the load where there is none.
    pub version: Version,
    /// What it carries, so that fences of these can be compared with it.
    pub tags: Arc<[SmolStr]>,
    pub stored: Stored,
}

/// The claim of a load, given back if nothing comes of it. It lets the load have the cache.
pub(super) struct Claimed<V> {
    pub cache: Cache<V>,
    pub id: Id,
    pub claim: Claim,
    /// How long it waits for room to store what was loaded.
    pub room: Duration,
    /// Something was there already.
    is_refresh: bool,
    /// Whoever watches has been told that it began, and not yet how it ended.
    is_told: bool,
    /// Its time was up before its loader could say anything.
    pub is_late: bool,
}

impl<V> Claimed<V> {
    pub fn new(cache: &Cache<V>, id: Id, claim: Claim) -> Self {
        Self {
            cache: cache.clone(),
            id,
            claim,
            room: ROOM_MAX,
            is_refresh: false,
            is_told: false,
            is_late: false,
        }
    }

    pub fn hash(&self) -> u64 {
        let inner = &*self.cache.inner;
        inner.shelf.hash(inner.scope.id, &self.id.name)
    }
}

impl<V> Claimed<V> {
    fn tells(&self, kind: LoadEventKind) {
        let tiers = &self.cache.inner.tiers;
        let news = &tiers.fetches.news;
        news.tell(&self.id, kind, self.is_refresh, tiers.now_ms());
    }
}

impl<V> Drop for Claimed<V> {
    fn drop(&mut self) {
        if self.is_told {
            self.tells(LoadEventKind::Cancelled);
        }
        let (inner, hash) = (&*self.cache.inner, self.hash());
        let mark = self.claim.mark;
        inner.shelf.unclaim(&inner.scope, hash, &self.id.name, mark);
    }
}

/// What there is as a load begins.
pub(super) struct Looked<V> {
    pub there: Option<There<V>>,
    /// A tier could not say.
    pub is_unsure: bool,
}

pub(super) struct There<V> {
    pub entry: Entry<V>,
    pub slot: Slot,
}

impl<V> Looked<V> {
    /// No tier could say.
    pub fn unsure() -> Self {
        Self {
            there: None,
            is_unsure: true,
        }
    }

    /// The value that is there already.
    pub fn stale(&self) -> Stale<V> {
        let there = self.there.as_ref();
        Stale::of(there.map(|there| (there.entry.clone(), there.slot.tags())))
    }
}

impl<V: Value> Cache<V> {
    /// Has a load made, on the caller's runtime where there is one: a host's clients live there.
    pub(super) fn lead(&self, lead: Lead, load: Load<V>) {
        let Lead { id, claim, pilot } = lead;
        // IMPORTANT: before the future, which may be dropped without having been polled.
        let claimed = Claimed::new(self, id, claim);
        let brake = pilot.brake();
        let own = || Some(self.tiers().lines().ok()?.loads.clone());
        // Dropped, it answers.
        let Some(runtime) = host().or_else(own) else {
            return;
        };
        let held = load.says.attempts.chain.held.clone();
        let rank = Arc::clone(&load.says.attempts.rank);
        let task = runtime.spawn(claimed.load(pilot, load)).abort_handle();
        brake.set(Box::new(move || {
            task.abort();
            // Its runtime may stand still.
            rank.give_up();
            held.give_up();
        }));
    }
}

impl<V> Cache<V> {
    /// How a load that has time until then looks for what there is.
    pub(super) fn look_options(&self, until: Option<Instant>) -> ReadOptions {
        let left = until.map(|until| until.saturating_duration_since(Clock::instant()));
        let call_max = self.inner.tiers.config.call_max();
        ReadOptions {
            stale_ok: true,
            // The source is to have its time, too.
            wait: left.map(|left| (left / 2).min(call_max)),
            ..ReadOptions::default()
        }
    }
}

impl<V: Value> Claimed<V> {
    /// Makes a load and answers those who wait. Dropped, it answers them that nothing will come.
    async fn load(mut self, pilot: Pilot<Claim, Brings>, load: Load<V>) {
        // A host's code, its values' too, may panic anywhere in there.
        let brought = Guarded::new(self.bring(&pilot, load)).await;
        let brought = brought.unwrap_or_else(|| {
            Err(LoadError::new(ErrorClass::Bug, "what is loaded panicked").into())
        });
        self.land(pilot, brought);
    }

    /// Answers those who wait. Where its time was up some may have come lately: they begin anew.
    pub(super) fn land(mut self, pilot: Pilot<Claim, Brings>, brought: Result<Brought<V>, Error>) {
        self.tell(&brought);
        let brings = match brought {
            Ok(brought) => Some(Ok(Arc::new(brought) as _)),
            Err(error) => {
                Counts::add(&self.cache.tiers().fetches.counts.failed);
                (!self.is_late).then_some(Err(error))
            }
        };
        drop(self);
        pilot.land(brings);
    }

    async fn bring(
        &mut self,
        pilot: &Pilot<Claim, Brings>,
        load: Load<V>,
    ) -> Result<Brought<V>, Error> {
        let says = load.says;
        let seen = self.look(pilot).await;
        if let Some(brought) = self.found(&seen, &says.terms) {
            return Ok(brought);
        }
        if says.attempts.may_ask() {
            self.begins(&seen);
        }
        let tiers = self.cache.tiers();
        let counts = &tiers.fetches.counts;
        Counts::add(&counts.loads);
        let stale = seen.stale();
        let call = |attempt| {
            let (key, stale) = (self.id.name.clone(), stale.clone());
            (load.loader)(LoadContext::new(attempt, key, stale, &tiers.timer))
        };
        let until = || pilot.until();
        let made = says.attempts.make(&tiers.timer, until, call).await;
        counts
            .attempts
            .fetch_add(made.attempts.into(), Ordering::Relaxed);
        self.is_late = made.is_late;
        let mut brought = self.settle(&says, made.answer, seen).await?;
        (brought.attempts, brought.queued) = (made.attempts, made.queued);
        Ok(brought)
    }

    /// Tells whoever watches that a loader is about to be asked.
    pub(super) fn begins(&mut self, seen: &Looked<V>) {
        (self.is_refresh, self.is_told) = (seen.there.is_some(), true);
        self.tells(LoadEventKind::Began);
    }

    /// Tells whoever watches what the load has come to.
    fn tell(&mut self, brought: &Result<Brought<V>, Error>) {
        if !std::mem::take(&mut self.is_told) {
            // There was something by then: nobody was asked.
            return;
        }
        self.tells(match brought {
            Ok(brought) if brought.entry.is_none() => LoadEventKind::Missing,
            Ok(_) => LoadEventKind::Loaded,
            Err(error) => LoadEventKind::Failed(error.clone()),
        });
    }

    /// What there is already, if that will do: somebody else has stored it meanwhile.
    pub(super) fn found(&self, seen: &Looked<V>, terms: &Terms) -> Option<Brought<V>> {
        let there = seen.there.as_ref().filter(|_| !terms.is_forced)?;
        let now_ms = self.cache.tiers().now_ms();
        (judge(terms, lapse(&there.entry), now_ms) == Verdict::Show).then(|| Brought {
            version: there.entry.version(),
            entry: Some(there.entry.clone()),
            attempts: 0,
            queued: Duration::ZERO,
            tags: there.slot.tags().into(),
            stored: Stored::Yes,
        })
    }

    /// What there is, in memory or below.
    ///
    /// IMPORTANT: under the claim. What was set before it is seen here, and what is set after it keeps
    /// what is loaded from being stored.
    async fn look(&self, pilot: &Pilot<Claim, Brings>) -> Looked<V> {
        let (cache, tiers) = (&self.cache, self.cache.tiers());
        let options = cache.look_options(pilot.until());
        // A store that cannot say is no reason not to ask the source.
        let Ok(found) = tiers.read(cache.place(), &self.id.name, options).await else {
            return Looked::unsure();
        };
        self.seen(found)
    }

    /// What was found.
    pub(super) fn seen(&self, found: Found) -> Looked<V> {
        let is_unsure = found.unsure().is_some();
        let slot = found.slot.clone();
        let entry = self.cache.outcome(&self.id.name, found).entry;
        let there = entry.zip(slot);
        Looked {
            there: there.map(|(entry, (slot, ..))| There { entry, slot }),
            is_unsure,
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
        let scope = &cache.inner.scope;
        let is_accepted = match was_found {
            true => scope.accepts(self.version, &self.tags),
            false => scope.accepts_load(self.version, &self.tags),
        };
        !is_accepted || self.entry.as_ref().is_some_and(has_expired)
    }
}
