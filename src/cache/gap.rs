//! What a gap of a feed makes of what is there: a pass over the cache that expires whatever the feed may have missed
//! a change of, and a fence where that cannot be done.
//!
//! The pass begins by drawing a version, and by fencing loads at it: what a load that was begun before would keep
//! from here on is not kept, and what it has kept by now the pass comes by. A host's own changes during the pass stay if
//! they bring a value of their own; one that only gives an older value new times (`touch`) does not save it, so
//! both version and time of making decide ([`Cut::spares`]). An entry that is changed while it is being expired is looked at
//! again. So when the pass is through, nothing is shown as fresh that was made, or whose load was begun, before it
//! began.

use std::time::Duration;

use super::Cache;
use super::call::Call;
use super::retime::Times;
use crate::clock::Millis;
use crate::codec::Value;
use crate::error::Error;
use crate::outcome::Durability;
use crate::shelf::{Change, Slot};
use crate::tiers::PageAsk;
use crate::version::Version;

/// Most entries of one page of a pass.
const PASS_PAGE: usize = 4_096;
/// How many entries are expired before others have their turn.
pub(super) const PER_TURN: usize = 64;

/// What becomes of what a feed may have missed changes of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnGap {
    /// It expires, entry by entry, and its values are kept as fallbacks ([`CacheBuilder::expired_keep`](super::CacheBuilder::expired_keep))
    /// for calls that ask for stale ones. If that cannot be done, as with a driver that is down, the cache is cleared.
    #[default]
    Expire,
    /// The cache is cleared: one step, however much is there.
    Clear,
    /// It stays as it is, and so do loads that are under way: for sources that begin again where they left off.
    Keep,
}

/// How what was there has been dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outdated {
    AsAsked,
    /// It was to be expired, could not be, and has been cleared.
    Cleared,
}

/// Where what may be out of date ends.
#[derive(Clone, Copy)]
struct Cut {
    version: Version,
    at_ms: Millis,
    keep: Duration,
}

impl Cut {
    /// Whether an entry is from after it. A touch since then has given an older one a newer version, and a load that
    /// was begun before it has an older version and the time of its end.
    fn spares(&self, slot: &Slot) -> bool {
        slot.version > self.version && slot.created_ms > self.at_ms
    }
}

impl<V: Value> Cache<V> {
    /// Sees to it that nothing that is there by now, or whose load is under way, is shown as fresh.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub(super) async fn outdate(&self, on_gap: OnGap) -> Result<Outdated, Error> {
        match on_gap {
            OnGap::Keep => return Ok(Outdated::AsAsked),
            OnGap::Clear => {}
            OnGap::Expire => match self.expire_all().await {
                Ok(true) => return Ok(Outdated::AsAsked),
                Err(Error::Closed) => return Err(Error::Closed),
                Ok(false) | Err(_) => {}
            },
        }
        // Once larder is open a fence is never refused: after any other error it stands.
        if let Err(Error::Closed) = self.clear().await {
            return Err(Error::Closed);
        }
        Ok(match on_gap {
            OnGap::Expire => Outdated::Cleared,
            OnGap::Clear | OnGap::Keep => Outdated::AsAsked,
        })
    }

    /// Passes over all that is there. `false` if a tier could not say what that is.
    async fn expire_all(&self) -> Result<bool, Error> {
        let (inner, tiers) = (&*self.inner, self.tiers());
        let at_ms = tiers.now_ms();
        let cut = Cut {
            version: inner.shelf.versions().next(at_ms),
            at_ms,
            keep: inner.definition.defaults.expired_keep,
        };
        // IMPORTANT: before the first page.
        inner.scope.overtake_loads(cut.version);
        let count_max = PASS_PAGE.min(tiers.config.limits.page_size_max);
        let mut after = smol_str::SmolStr::default();
        loop {
            let ask = PageAsk {
                prefix: "",
                after: &after,
                count_max,
                wait: None,
            };
            let page = tiers.page(self.place(), ask).await?;
            if page.partial {
                return Ok(false);
            }
            for (nth, (name, slot, _)) in page.entries.iter().enumerate() {
                if nth % PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
                if !cut.spares(slot) {
                    self.expire_up_to(name, slot, cut).await?;
                }
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(true),
            }
        }
    }

    /// Expires one entry, whatever it is by now, if it is from before the cut.
    async fn expire_up_to(&self, name: &str, seen: &Slot, cut: Cut) -> Result<(), Error> {
        let call = Call::new(self, name, Durability::Queued);
        if !self.reads(seen) {
            // Of another type of the host's, which this handle cannot store anew.
            return call.write(Change::Remove).await.map(drop);
        }
        let times =
            |slot: &Slot, now_ms| Ok((!cut.spares(slot)).then(|| Times::over(now_ms, cut.keep)));
        self.retime(&call, times).await.map(drop)
    }
}
