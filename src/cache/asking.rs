//! What any fetch asks, of one key or of many: what is there, whether that will do, and for a place among those
//! who wait for a load.

use std::any::TypeId;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fetched::{FetchOutcome, StaleBecause};
use super::loading::{Brought, LoadSays, lapse};
use super::{Cache, EntryOptions, deadline};
use crate::clock::Clock;
use crate::codec::Value;
use crate::entry::{Entry, Source};
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{
    Attempts, BACKGROUND_MAX, Brings, Chain, Claim, Classify, DEADLINE, Full, GRACE, Id, Landed,
    LoadSource, Pilot, Rank, Retry, Seat, THROTTLE, Terms, Urgency, Verdict, chain, judge,
};
use crate::outcome::ReadOutcome;
use crate::shelf::{Freshness, Look, Seen};
use crate::tiers::{Counts, Found, ReadOptions};

/// When to try again where there are as many loads as there may be.
const LOADS_RETRY_AFTER: Duration = Duration::from_millis(100);

/// What a fetch says beside its keys and its loader.
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

/// What waits for a load, and what has to bring something to those who wait.
pub(super) type Waits = Seat<Claim, Brings>;

/// A load that is to be made.
pub(super) struct Lead {
    pub id: Id,
    pub claim: Claim,
    pub pilot: Pilot<Claim, Brings>,
}

/// A place among those who wait, and for the first of them what it has to lead.
pub(super) struct Seated {
    pub seat: Waits,
    pub leads: Option<Lead>,
}

/// A fetch that memory could not answer at a glance.
pub(super) struct Asking<'a, V> {
    pub cache: &'a Cache<V>,
    pub says: Says,
    pub began: Instant,
}

impl<'a, V: Value> Asking<'a, V> {
    /// A fetch with these terms, if they make sense.
    pub fn new(cache: &'a Cache<V>, mut says: Says) -> Result<Self, Error> {
        let began = Clock::instant();
        let tiers = cache.tiers();
        tiers.check_open()?;
        says.terms.check()?;
        says.retry.check()?;
        cache.check_tags(&says.entry.tags)?;
        deadline("ttl", tiers.now_ms(), says.entry.ttl.flatten(), 0.0)?;
        let keep_for = says.terms.keep_for();
        says.entry.stale_for = (!keep_for.is_zero()).then(|| {
            // Other calls of the cache may count on more.
            keep_for.max(cache.inner.definition.defaults.stale_for)
        });
        Ok(Self { cache, says, began })
    }

    /// Whether what has expired, or is about to, matters: without that only the load itself looks below.
    pub fn shows_stale(&self) -> bool {
        let terms = &self.says.terms;
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
        let soft = self.says.terms.soft_timeout;
        soft.map_or(left, |soft| left.min(soft))
    }

    pub fn judged(&self, outcome: ReadOutcome<V>) -> Option<(Entry<V>, Verdict)> {
        let now_ms = self.cache.tiers().now_ms();
        outcome.entry.map(|entry| {
            let verdict = judge(&self.says.terms, lapse(&entry), now_ms);
            (entry, verdict)
        })
    }

    /// Whether a load has found that the source has nothing, so lately that nobody need ask again.
    pub fn is_missing(&self, key: &str) -> bool {
        self.cache.is_missing(&self.id(key))
    }

    /// Why the last load failed, if that was so lately that it is not to be tried again for what can be shown.
    pub fn failed(&self, key: &str) -> Option<Error> {
        let tiers = self.cache.tiers();
        tiers.fetches.notes.failed(&self.id(key), tiers.now_ms())
    }

    /// What a load brings, or that this call does not wait for it any longer.
    pub async fn wait(
        &self,
        seat: &mut Waits,
        is_soft: bool,
    ) -> Result<Result<Landed<Brings>, StaleBecause>, Error> {
        let soft = self.says.terms.soft_timeout.filter(|_| is_soft);
        let left = soft.map_or(self.left(), |soft| {
            soft.saturating_sub(self.began.elapsed())
        });
        let wait = self.cache.tiers().wait(Some(left));
        Chain::lend(chain().as_ref());
        match wait.until(&mut *seat, || self.exceeded()).await {
            Ok(Some(landed)) => Ok(Ok(landed)),
            Ok(None) => Err(Error::Closed),
            Err(Error::DeadlineExceeded { .. }) if soft.is_some() => {
                seat.warm(Clock::instant() + BACKGROUND_MAX);
                Ok(Err(StaleBecause::SoftTimeout))
            }
            Err(error) => Err(error),
        }
    }

    /// A place among those who wait.
    pub fn sit_down(&self, key: &str, rank: impl FnOnce() -> Arc<Rank>) -> Result<Seated, Error> {
        let (tiers, id, now) = (self.cache.tiers(), self.id(key), Clock::instant());
        let outer = chain();
        if Chain::has(outer.as_ref(), &id) {
            let reason = "the loader of this key fetches the key itself, which would never end";
            let error = LoadError::new(ErrorClass::Bug, reason);
            return Err(Error::Fetch(Arc::new(error)));
        }
        let mut claim = None;
        let joined = tiers.fetches.flights.join(
            &id,
            now + self.left() + GRACE,
            now,
            |claim| self.may_join(key, &claim) && claim.lifted(self.says.urgency),
            || claim.insert(self.claim(key, rank())).clone(),
        );
        let (seat, pilot) = joined.map_err(|Full| self.overloaded())?;
        if self.says.keeps_warm {
            seat.warm(now + BACKGROUND_MAX);
        }
        let leads = lead(id, pilot, claim);
        if leads.is_none() {
            Counts::add(&tiers.fetches.counts.coalesced);
        }
        Ok(Seated { seat, leads })
    }

    /// What a load has to bring that loads anew what is shown meanwhile. If that is under way, or there is no room
    /// for it, it is not now.
    pub fn refresh(&self, key: &str, rank: impl FnOnce() -> Arc<Rank>) -> Option<Lead> {
        let (tiers, id, now) = (self.cache.tiers(), self.id(key), Clock::instant());
        let mut claim = None;
        let begun = tiers.fetches.flights.begin(
            &id,
            now + BACKGROUND_MAX,
            now,
            |claim| self.may_join(key, &claim),
            || claim.insert(self.claim(key, rank())).clone(),
        );
        lead(id, begun.ok().flatten(), claim)
    }

    pub fn id(&self, key: &str) -> Id {
        Id {
            cache: self.cache.inner.scope.id,
            kind: TypeId::of::<V>(),
            schema: self.cache.place().schema,
            name: key.into(),
        }
    }

    /// Under the flights' lock, and so beside no other load of the key.
    fn claim(&self, key: &str, rank: Arc<Rank>) -> Claim {
        let (inner, now_ms) = (&*self.cache.inner, self.cache.tiers().now_ms());
        let hash = inner.shelf.hash(inner.scope.id, key);
        let (mark, began) = inner.shelf.claim(&inner.scope, hash, key, now_ms);
        Claim { mark, began, rank }
    }

    /// Whoever asks after a change of the key does not wait for what was loaded before it (the slot
    /// protocol, rule 4).
    fn may_join(&self, key: &str, claim: &Claim) -> bool {
        let inner = &*self.cache.inner;
        let hash = inner.shelf.hash(inner.scope.id, key);
        // A larder that keeps nothing does not know what has been changed.
        !inner.tiers.config.disabled
            && inner.scope.accepts_load(claim.began, &[])
            && inner.shelf.claims(&inner.scope, hash, key, claim.mark)
    }

    pub fn source(&self) -> Option<&LoadSource> {
        let defaults = &self.cache.inner.definition.defaults;
        self.says.source.as_ref().or(defaults.source.as_ref())
    }

    /// How urgent a load is that somebody waits for.
    pub fn rank(&self) -> Arc<Rank> {
        Arc::new(Rank::new(self.says.urgency))
    }

    /// How urgent a load is that nobody waits for.
    pub fn rank_behind(&self) -> Arc<Rank> {
        Arc::new(Rank::new(self.says.urgency.max(Urgency::Background)))
    }

    /// What loads are told.
    pub fn loads(&self, rank: &Arc<Rank>, chain: Arc<Chain>) -> LoadSays {
        let says = &self.says;
        LoadSays {
            attempts: Attempts {
                retry: says.retry.clone(),
                classify: says.classify.clone(),
                source: self.source().cloned(),
                rank: Arc::clone(rank),
                chain,
            },
            terms: says.terms.clone(),
            entry: says.entry.clone(),
            missing_ttl: says.missing_ttl,
            throttle: says.throttle,
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
        // The type is part of what a load is found by.
        let brought = landed.what?.downcast::<Brought<V>>();
        let brought = brought.map_err(|_| Error::Closed)?;
        let now_ms = self.cache.tiers().now_ms();
        if !has_led && brought.is_overtaken(self.cache, now_ms) {
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
            Counts::add(&self.cache.tiers().fetches.counts.stale);
            outcome.stale_because = Some(because);
        }
        outcome
    }

    fn deadline(&self) -> Duration {
        self.says.terms.deadline.unwrap_or(DEADLINE)
    }

    fn left(&self) -> Duration {
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

fn lead(id: Id, pilot: Option<Pilot<Claim, Brings>>, claim: Option<Claim>) -> Option<Lead> {
    let (pilot, claim) = pilot.zip(claim)?;
    Some(Lead { id, claim, pilot })
}
