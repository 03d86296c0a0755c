//! Seats of a fetch: a place among those who wait for a load, and what there is to lead for the first of them.

use std::any::TypeId;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use super::asking::Asking;
use super::fetched::StaleBecause;
use super::loading::LoadSays;
use crate::clock::Clock;
use crate::codec::Value;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{
    Attempts, BACKGROUND_MAX, Brings, Chain, Claim, Full, GRACE, Id, Landed, LoadSource, Pilot,
    Rank, Seat, Urgency, chain,
};
use crate::tiers::Counts;

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

impl<V: Value> Asking<'_, V> {
    /// What a load brings, if it was in time; or that this call does not wait for it any longer.
    pub async fn wait(
        &self,
        seat: &mut Waits,
        is_soft: bool,
    ) -> Result<Result<Landed<Brings>, StaleBecause>, Error> {
        let soft = self.says().terms.soft_timeout.filter(|_| is_soft);
        let timer = &self.cache.tiers().timer;
        let patience = timer.wait_since(self.began, self.deadline());
        let wait = match soft {
            None => &patience,
            // What others have waited for in vain is not waited for as long again.
            Some(soft) => {
                let began = seat.began().unwrap_or(self.began).min(self.began);
                &timer.wait_since(began, soft)
            }
        };
        let mut lent = None;
        let landing = poll_fn(|cx| {
            let landed = Pin::new(&mut *seat).poll(cx);
            if landed.is_pending() && lent.is_none() {
                lent = Some(Chain::lend(chain()));
            }
            landed
        });
        let landed = wait.until(landing, || self.exceeded()).await;
        if let Some(lent) = lent.flatten() {
            // Boxed, as only what a loader fetches comes this way. Past the call's time it goes on without a place.
            let _ = Box::pin(patience.until(lent.go_on(), || self.exceeded())).await;
        }
        match landed {
            Ok(Some(landed)) if self.is_late(&landed) => Err(self.exceeded()),
            Ok(Some(landed)) => Ok(Ok(landed)),
            Ok(None) => Err(Error::Closed),
            Err(Error::DeadlineExceeded { .. }) if soft.is_some() => {
                let now = Clock::instant();
                seat.warm(now + BACKGROUND_MAX, now);
                Ok(Err(StaleBecause::SoftTimeout))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the load failed for want of time, and this call has none either.
    fn is_late(&self, landed: &Landed<Brings>) -> bool {
        let is_transient = |error: &Error| error.class() == ErrorClass::Transient;
        let what = landed.what.as_ref();
        what.is_none_or(|what| what.as_ref().is_err_and(is_transient)) && self.left().is_zero()
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
            (self.began + self.deadline()).max(now) + GRACE,
            now,
            |claim| self.may_join(key, claim) && claim.lifted(self.says().urgency),
            || claim.insert(self.claim(key, rank())).clone(),
        );
        let (seat, pilot) = joined.map_err(|Full| self.overloaded())?;
        if self.says().keeps_warm {
            seat.warm(now + BACKGROUND_MAX, now);
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
            |claim| self.may_join(key, claim),
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
        self.says().source.as_ref().or(defaults.source.as_ref())
    }

    /// How urgent a load is that somebody waits for.
    pub fn rank(&self) -> Arc<Rank> {
        Arc::new(Rank::new(self.says().urgency))
    }

    /// How urgent a load is that nobody waits for.
    pub fn rank_behind(&self) -> Arc<Rank> {
        Arc::new(Rank::new(self.says().urgency.max(Urgency::Background)))
    }

    /// What loads are told.
    pub fn loads(&self, rank: &Arc<Rank>, chain: Arc<Chain>) -> LoadSays {
        let says = self.says();
        LoadSays {
            attempts: Attempts {
                retry: says.retry.clone(),
                classify: says.classify.clone(),
                source: self.source().cloned(),
                rank: Arc::clone(rank),
                chain,
            },
            terms: says.terms.clone(),
            entry: self.entry(),
            missing_ttl: says.missing_ttl,
            throttle: says.throttle,
        }
    }
}

fn lead(id: Id, pilot: Option<Pilot<Claim, Brings>>, claim: Option<Claim>) -> Option<Lead> {
    let (pilot, claim) = pilot.zip(claim)?;
    Some(Lead { id, claim, pilot })
}
