//! What any fetch asks, of one key or of many: what is there, whether that will do, and for a place among those
//! who wait for a load.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::build::check_jitter;
use super::fetched::{FetchOutcome, StaleBecause};
use super::loading::{Brought, lapse};
use super::{Cache, EntryOptions, deadline};
use crate::clock::Clock;
use crate::codec::Value;
use crate::entry::{Entry, Source};
use crate::error::Error;
use crate::fetch::{
    Brings, Classify, DEADLINE, Landed, LoadSource, Noted, Retry, THROTTLE, Terms, Urgency,
    Verdict, judge,
};
use crate::outcome::ReadOutcome;
use crate::shelf::{Freshness, Look, Seen};
use crate::tiers::{Counts, Found, ReadOptions};

/// When to try again where there are as many loads as there may be.
const LOADS_RETRY_AFTER: Duration = Duration::from_millis(100);

/// What a fetch says beside its keys and its loader.
#[derive(Clone)]
pub(super) struct Says {
    pub terms: Terms,
    pub entry: EntryOptions,
    pub retry: Retry,
    pub classify: Option<Classify>,
    pub keeps_warm: bool,
    pub source: Option<LoadSource>,
    pub urgency: Urgency,
    pub missing_ttl: Duration,
    pub throttle: Duration,
}

impl Default for Says {
    fn default() -> Self {
        Self {
            terms: Terms::default(),
            entry: EntryOptions::default(),
            retry: Retry::default(),
            classify: None,
            keeps_warm: false,
            source: None,
            urgency: Urgency::default(),
            missing_ttl: Duration::ZERO,
            throttle: THROTTLE,
        }
    }
}

/// Of a call that says nothing.
static SILENT: LazyLock<Says> = LazyLock::new(Says::default);

/// A fetch that memory could not answer at a glance.
pub(super) struct Asking<'a, V> {
    pub cache: &'a Cache<V>,
    /// Out of line, as in [`Fetch`](super::Fetch): futures are moved about.
    says: Option<Box<Says>>,
    pub began: Instant,
}

impl<'a, V: Value> Asking<'a, V> {
    /// A fetch with these terms, if they make sense.
    pub fn new(cache: &'a Cache<V>, says: Option<Box<Says>>) -> Result<Self, Error> {
        let began = Clock::instant();
        let tiers = cache.tiers();
        tiers.check_open()?;
        let asking = Self { cache, says, began };
        let says = asking.says();
        says.terms.check()?;
        says.retry.check()?;
        cache.check_tags(&says.entry.tags)?;
        deadline("ttl", tiers.now_ms(), says.entry.ttl.flatten(), 0.0)?;
        let jitter = says.entry.ttl_jitter.unwrap_or(0.0);
        check_jitter(jitter).map_err(|reason| Error::Invalid {
            field: "ttl_jitter",
            reason,
        })?;
        Ok(asking)
    }

    pub fn says(&self) -> &Says {
        self.says.as_deref().unwrap_or(&SILENT)
    }

    /// How what is loaded is to be kept.
    pub fn entry(&self) -> EntryOptions {
        let (says, defaults) = (self.says(), &self.cache.inner.definition.defaults);
        let keep_for = says.terms.keep_for();
        // Other calls of the cache may count on more.
        let stale_for = keep_for.max(defaults.stale_for);
        EntryOptions {
            stale_for: (!keep_for.is_zero()).then_some(stale_for),
            ..says.entry.clone()
        }
    }

    /// Whether what has expired, or is about to, matters: without that only the load itself looks below.
    pub fn shows_stale(&self) -> bool {
        let terms = &self.says().terms;
        !terms.keep_for().is_zero() || terms.refresh_ahead.is_some()
    }

    /// What memory has, and what is to be done about it.
    pub async fn look_in_memory(&self, key: &str) -> Option<(Entry<V>, Verdict)> {
        let (cache, tiers) = (self.cache, self.cache.tiers());
        let (place, now) = (cache.place(), || tiers.now_ms());
        let hash = tiers.shelf.hash(place.scope.id, key);
        let show = |slot: Look<'_>, freshness| (slot.to_slot(), freshness, Source::Memory);
        let seen = tiers.shelf.read(&place.scope, hash, key, now, true, show);
        let Seen::Hit(slot) = seen else { return None };
        let slides = slot.0.idle_ms() > 0;
        let mut found = Found::default();
        found.slot = Some(slot);
        if slides {
            Box::pin(cache.renew(key, &found)).await;
        }
        self.judged(cache.outcome(key, found))
    }

    /// What is there, in memory or below, and what is to be done about it. A tier that cannot say is no reason
    /// not to ask the source.
    pub async fn look(&self, key: &str) -> Result<Option<(Entry<V>, Verdict)>, Error> {
        let options = ReadOptions {
            stale_ok: true,
            wait: Some(self.look_max()),
            ..ReadOptions::default()
        };
        match self.cache.slow(key, options).await {
            Ok(outcome) => Ok(self.judged(outcome)),
            Err(Error::Closed) => Err(Error::Closed),
            Err(_) => Ok(None),
        }
    }

    /// How long the tiers may take to say.
    pub fn look_max(&self) -> Duration {
        let left = (self.left() / 2).min(self.cache.tiers().config.call_max());
        let soft = self.says().terms.soft_timeout;
        soft.map_or(left, |soft| left.min(soft))
    }

    pub fn judged(&self, outcome: ReadOutcome<V>) -> Option<(Entry<V>, Verdict)> {
        let now_ms = self.cache.tiers().now_ms();
        outcome.entry.map(|entry| {
            let verdict = judge(&self.says().terms, lapse(&entry), now_ms);
            (entry, verdict)
        })
    }

    /// Whether a load has found that the source has nothing, so lately that nobody need ask again.
    pub fn is_missing(&self, key: &str) -> bool {
        matches!(self.cache.noted(&self.id(key)), Some(Noted::Missing))
    }

    /// Why what can be shown is not to be loaded now: its source is left alone, or the last load failed so lately.
    pub fn failed(&self, key: &str) -> Option<Error> {
        if let Some(error) = self.source().and_then(LoadSource::refuses) {
            return Some(error);
        }
        match self.cache.noted(&self.id(key))? {
            Noted::Failed(error) => Some(error),
            Noted::Missing => None,
        }
    }

    /// What can be shown although the load has brought nothing.
    ///
    /// IMPORTANT: looked for again. What was there when this began may have been removed since.
    pub async fn fallback(&self, key: &str, because: &StaleBecause) -> Option<FetchOutcome<V>> {
        if !self.shows_stale() {
            return None;
        }
        let (entry, verdict) = self.look(key).await.ok().flatten()?;
        match verdict {
            Verdict::Show => Some(FetchOutcome::of(Some(entry), self.began)),
            Verdict::ShowAndRefresh | Verdict::LoadOr => Some(self.shown(entry, because.clone())),
            Verdict::Load => None,
        }
    }

    /// What a load that somebody waited for has brought, for this call; nothing, if that is not what may be shown
    /// to it.
    pub fn taken(
        &self,
        landed: Landed<Brings>,
        has_led: bool,
    ) -> Result<Option<FetchOutcome<V>>, Error> {
        let waiters = landed.waiters;
        // The load was older than this call is, and its time was up: it is made anew.
        let Some(what) = landed.what else {
            self.cache.tiers().check_open()?;
            return Ok(None);
        };
        // The type is part of what a load is found by.
        let brought = what?.downcast::<Brought<V>>();
        let brought = brought.map_err(|_| Error::Closed)?;
        let now_ms = self.cache.tiers().now_ms();
        // A load that somebody else has begun may have found what was there.
        let was_found = self.says().terms.is_forced && brought.attempts == 0;
        if !has_led && (was_found || brought.is_overtaken(self.cache, now_ms)) {
            return Ok(None);
        }
        Ok(Some(FetchOutcome {
            attempts: brought.attempts,
            queued: brought.queued,
            waiters,
            stored: Some(brought.stored.clone()),
            ..FetchOutcome::of(brought.entry.clone(), self.began)
        }))
    }

    pub fn shown(&self, entry: Entry<V>, because: StaleBecause) -> FetchOutcome<V> {
        let mut outcome = FetchOutcome::of(Some(entry), self.began);
        if outcome.freshness == Some(Freshness::Stale) {
            outcome.stale_because = Some(because);
        }
        outcome
    }

    /// An answer that may have waited for others: what is stale by now is no answer any more if it has become too old.
    pub fn in_time(
        &self,
        answer: Result<FetchOutcome<V>, Error>,
    ) -> Result<FetchOutcome<V>, Error> {
        let now_ms = self.cache.tiers().now_ms();
        let outcome = answer?;
        let Some(because) = &outcome.stale_because else {
            return Ok(outcome);
        };
        let is_too_old = |entry| judge(&self.says().terms, lapse(entry), now_ms) == Verdict::Load;
        match (outcome.entry.as_ref().is_some_and(is_too_old), because) {
            (false, _) => Ok(outcome),
            (true, StaleBecause::Failed(error)) => Err(error.clone()),
            (true, _) => Err(self.exceeded()),
        }
    }

    /// Counts an answer that is given.
    pub fn count(&self, answer: &Result<FetchOutcome<V>, Error>) {
        if let Ok(outcome) = answer
            && outcome.stale_because.is_some()
        {
            Counts::add(&self.cache.tiers().fetches.counts.stale);
        }
    }

    pub fn deadline(&self) -> Duration {
        self.says().terms.deadline.unwrap_or(DEADLINE)
    }

    pub fn left(&self) -> Duration {
        self.deadline().saturating_sub(self.began.elapsed())
    }

    pub fn exceeded(&self) -> Error {
        Error::DeadlineExceeded {
            after: self.deadline(),
        }
    }

    pub fn overloaded(&self) -> Error {
        let tiers = self.cache.tiers();
        tiers.overloaded("loads_in_flight_max", LOADS_RETRY_AFTER)
    }
}
