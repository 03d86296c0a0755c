//! The way of a fetch that memory could not answer at a glance: what is there, the load, and what is there
//! if that fails.

use std::any::TypeId;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fetched::{FetchOutcome, StaleBecause};
use super::loading::{Brought, Load, lapse};
use super::{Cache, EntryOptions, deadline};
use crate::clock::Clock;
use crate::codec::Value;
use crate::entry::{Entry, Source};
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{
    Attempts, BACKGROUND_MAX, Brings, Chain, Claim, Classify, DEADLINE, Full, GRACE, Id, Landed,
    Loader, Pilot, Retry, Seat, Terms, Verdict, chain, is_within, judge,
};
use crate::outcome::ReadOutcome;
use crate::shelf::{Freshness, Look, Seen};
use crate::tiers::{Counts, Found, ReadOptions};

/// When to try again where there are as many loads as there may be.
const LOADS_RETRY_AFTER: Duration = Duration::from_millis(100);
/// How often one call waits for a load of somebody else's that a tag invalidation has overtaken.
const FOLLOWS_MAX: usize = 16;

/// What a fetch says beside its key and its loader.
#[derive(Default)]
pub(super) struct Says {
    pub terms: Terms,
    pub entry: EntryOptions,
    pub retry: Retry,
    pub classify: Option<Classify>,
    pub keeps_warm: bool,
}

impl<V: Value> Cache<V> {
    pub(super) async fn fetch_slow(
        &self,
        key: &str,
        loader: Loader<V>,
        mut says: Says,
    ) -> Result<FetchOutcome<V>, Error> {
        let began = Clock::instant();
        let tiers = self.tiers();
        tiers.check_open()?;
        self.check_key(key)?;
        says.terms.check()?;
        says.retry.check()?;
        self.check_tags(&says.entry.tags)?;
        deadline("ttl", tiers.now_ms(), says.entry.ttl.flatten(), 0.0)?;
        let keep_for = says.terms.keep_for();
        says.entry.stale_for = (!keep_for.is_zero()).then(|| {
            // Other calls of the cache may count on more.
            keep_for.max(self.inner.definition.defaults.stale_for)
        });
        let fetching = Fetching {
            cache: self,
            key,
            loader,
            says,
            began,
        };
        fetching.run().await
    }
}

/// What waits for a load, and what has to bring something to those who wait.
type Waits = Seat<Claim, Brings>;
type Leads = Pilot<Claim, Brings>;

/// A fetch that memory could not answer at a glance.
struct Fetching<'a, V> {
    cache: &'a Cache<V>,
    key: &'a str,
    loader: Loader<V>,
    says: Says,
    began: Instant,
}

impl<V: Value> Fetching<'_, V> {
    async fn run(self) -> Result<FetchOutcome<V>, Error> {
        let terms = &self.says.terms;
        // Without terms of the kind only the load itself looks below: once for all who wait.
        let is_shown_stale = !terms.keep_for().is_zero() || terms.refresh_ahead.is_some();
        let there = match self.look_in_memory().await {
            // Boxed, as few fetches come this way and all are moved about.
            None if is_shown_stale => Box::pin(self.look()).await?,
            there => there,
        };
        let mut has_fallback = false;
        if let Some((entry, verdict)) = there {
            match verdict {
                Verdict::Show => return Ok(FetchOutcome::of(Some(entry), self.began)),
                Verdict::ShowAndRefresh => {
                    self.refresh();
                    return Ok(self.shown(entry, StaleBecause::Refreshing));
                }
                Verdict::LoadOr => has_fallback = true,
                Verdict::Load => {}
            }
        }
        let because = match self.loaded(has_fallback).await {
            Ok(Ok(outcome)) => return Ok(outcome),
            Ok(Err(because)) => because,
            Err(error) => StaleBecause::Failed(error),
        };
        // IMPORTANT: looked for again. What was there when this began may have been removed since.
        let there = match is_shown_stale {
            true => Box::pin(self.look()).await.ok().flatten(),
            false => None,
        };
        match (there, because) {
            (Some((entry, Verdict::Show)), _) => Ok(FetchOutcome::of(Some(entry), self.began)),
            (Some((entry, Verdict::ShowAndRefresh | Verdict::LoadOr)), because) => {
                Ok(self.shown(entry, because))
            }
            (_, StaleBecause::Failed(error)) => Err(error),
            // It has gone meanwhile, or its time is over: there is nothing but the load.
            _ => Box::pin(self.loaded(false))
                .await?
                .map_err(|_| self.exceeded()),
        }
    }

    /// What memory has, and what is to be done about it.
    async fn look_in_memory(&self) -> Option<(Entry<V>, Verdict)> {
        let (cache, tiers) = (self.cache, self.cache.tiers());
        let (place, now) = (cache.place(), || tiers.now_ms());
        let hash = tiers.shelf.hash(place.scope.id, self.key);
        let show = |slot: Look<'_>, freshness| (slot.to_slot(), freshness, Source::Memory);
        let seen = tiers
            .shelf
            .read(&place.scope, hash, self.key, now, true, show);
        let Seen::Hit(slot) = seen else { return None };
        let slides = slot.0.idle_ms() > 0;
        let mut found = Found::default();
        found.slot = Some(slot);
        if slides {
            Box::pin(cache.renew(self.key, &found)).await;
        }
        self.judged(cache.outcome(self.key, found))
    }

    /// What is there, in memory or below, and what is to be done about it. A tier that cannot say is no reason
    /// not to ask the source.
    async fn look(&self) -> Result<Option<(Entry<V>, Verdict)>, Error> {
        let mut left = (self.left() / 2).min(self.cache.tiers().config.call_max());
        if let Some(soft) = self.says.terms.soft_timeout {
            left = left.min(soft);
        }
        let options = ReadOptions {
            stale_ok: true,
            wait: Some(left),
            ..ReadOptions::default()
        };
        match self.cache.slow(self.key, options).await {
            Ok(outcome) => Ok(self.judged(outcome)),
            Err(Error::Closed) => Err(Error::Closed),
            Err(_) => Ok(None),
        }
    }

    fn judged(&self, outcome: ReadOutcome<V>) -> Option<(Entry<V>, Verdict)> {
        let now_ms = self.cache.tiers().now_ms();
        outcome.entry.map(|entry| {
            let verdict = judge(&self.says.terms, lapse(&entry), now_ms);
            (entry, verdict)
        })
    }

    /// What a load brings, which it begins if there is none: the inner error is that of a call that does not
    /// wait any longer.
    async fn loaded(&self, is_soft: bool) -> Result<Result<FetchOutcome<V>, StaleBecause>, Error> {
        for _ in 0..FOLLOWS_MAX {
            let (seat, leads) = self.sit_down()?;
            let landed = match self.wait(seat, is_soft).await? {
                Ok(landed) => landed,
                Err(because) => return Ok(Err(because)),
            };
            let waiters = landed.waiters;
            // The type is part of what a load is found by.
            let brought = landed.what?.downcast::<Brought<V>>();
            let brought = brought.map_err(|_| Error::Closed)?;
            let now_ms = self.cache.tiers().now_ms();
            if !leads && brought.is_overtaken(self.cache, now_ms) {
                continue;
            }
            return Ok(Ok(FetchOutcome {
                attempts: brought.attempts,
                waiters,
                stored: Some(brought.stored.clone()),
                ..FetchOutcome::of(brought.entry.clone(), self.began)
            }));
        }
        Err(self.overloaded())
    }

    async fn wait(
        &self,
        mut seat: Waits,
        is_soft: bool,
    ) -> Result<Result<Landed<Brings>, StaleBecause>, Error> {
        let soft = self.says.terms.soft_timeout.filter(|_| is_soft);
        let left = soft.map_or(self.left(), |soft| {
            soft.saturating_sub(self.began.elapsed())
        });
        let wait = self.cache.tiers().wait(Some(left));
        match wait.until(&mut seat, || self.exceeded()).await {
            Ok(Some(landed)) => Ok(Ok(landed)),
            Ok(None) => Err(Error::Closed),
            Err(Error::DeadlineExceeded { .. }) if soft.is_some() => {
                seat.warm(Clock::instant() + BACKGROUND_MAX);
                Ok(Err(StaleBecause::SoftTimeout))
            }
            Err(error) => Err(error),
        }
    }

    /// A place among those who wait, and whether this is the first of them.
    fn sit_down(&self) -> Result<(Waits, bool), Error> {
        let (tiers, id, now) = (self.cache.tiers(), self.id(), Clock::instant());
        let outer = chain();
        if is_within(outer.as_ref(), &id) {
            let reason = "the loader of this key fetches the key itself, which would never end";
            let error = LoadError::new(ErrorClass::Bug, reason);
            return Err(Error::Fetch(Arc::new(error)));
        }
        let mut claim = None;
        let joined = tiers.fetches.flights.join(
            &id,
            now + self.left() + GRACE,
            now,
            |claim| self.may_join(claim),
            || *claim.insert(self.claim()),
        );
        let (seat, pilot) = joined.map_err(|Full| self.overloaded())?;
        if self.says.keeps_warm {
            seat.warm(now + BACKGROUND_MAX);
        }
        if let (Some(pilot), Some(claim)) = (pilot, claim) {
            self.lead(pilot, claim, id, outer);
            return Ok((seat, true));
        }
        Counts::add(&tiers.fetches.counts.coalesced);
        Ok((seat, false))
    }

    /// Loads anew what is shown meanwhile. If that is under way, or there is no room for it, it is not now.
    fn refresh(&self) {
        let (tiers, id, now) = (self.cache.tiers(), self.id(), Clock::instant());
        let mut claim = None;
        let begun = tiers.fetches.flights.begin(
            &id,
            now + BACKGROUND_MAX,
            now,
            |claim| self.may_join(claim),
            || *claim.insert(self.claim()),
        );
        if let (Ok(Some(pilot)), Some(claim)) = (begun, claim) {
            // Nobody waits for it, so it may be part of anything.
            self.lead(pilot, claim, id, None);
        }
    }

    fn lead(&self, pilot: Leads, claim: Claim, id: Id, chain: Option<Arc<Chain>>) {
        let says = &self.says;
        let load = Load {
            attempts: Attempts {
                loader: Arc::clone(&self.loader),
                retry: says.retry.clone(),
                classify: says.classify.clone(),
                id,
                there: None,
                chain,
            },
            terms: says.terms.clone(),
            entry: says.entry.clone(),
        };
        self.cache.lead(pilot, claim, load);
    }

    fn id(&self) -> Id {
        Id {
            cache: self.cache.inner.scope.id,
            kind: TypeId::of::<V>(),
            schema: self.cache.place().schema,
            name: self.key.into(),
        }
    }

    /// Under the flights' lock, and so beside no other load of the key.
    fn claim(&self) -> Claim {
        let (inner, now_ms) = (&*self.cache.inner, self.cache.tiers().now_ms());
        let hash = inner.shelf.hash(inner.scope.id, self.key);
        let (mark, began) = inner.shelf.claim(&inner.scope, hash, self.key, now_ms);
        Claim { mark, began }
    }

    /// Whoever asks after a change of the key does not wait for what was loaded before it (the slot
    /// protocol, rule 4).
    fn may_join(&self, claim: Claim) -> bool {
        let inner = &*self.cache.inner;
        let hash = inner.shelf.hash(inner.scope.id, self.key);
        // A larder that keeps nothing does not know what has been changed.
        !inner.tiers.config.disabled
            && inner.scope.accepts(claim.began, &[])
            && inner.shelf.claims(&inner.scope, hash, self.key, claim.mark)
    }

    fn shown(&self, entry: Entry<V>, because: StaleBecause) -> FetchOutcome<V> {
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

    fn exceeded(&self) -> Error {
        Error::DeadlineExceeded {
            after: self.deadline(),
        }
    }

    fn overloaded(&self) -> Error {
        let tiers = self.cache.tiers();
        tiers.overloaded("loads_in_flight_max", LOADS_RETRY_AFTER)
    }
}
