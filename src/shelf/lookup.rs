//! Reading the shelf: one key, or the keys of a cache in order.

use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::dirty::TierSet;
use super::marks::MarkId;
use super::stripe::Known;
use super::{Scope, Shelf, Slot};
use crate::clock::Millis;
use crate::sync::Ordering;

/// How an entry stands to its time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Freshness {
    /// Within its TTL.
    Fresh,
    /// Past its TTL and kept as a fallback.
    Stale,
    /// Past everything.
    Expired,
}

/// What memory says about a key.
pub enum Seen<R> {
    /// It has a value that may be shown.
    Hit(R),
    /// It is known to have none: removed, cleared, or expired at this time.
    Gone(Option<Millis>),
    /// Memory does not know. Under this mark the tiers may be asked, but not these.
    Below(MarkId, TierSet),
    /// Memory does not know, and no mark was asked for.
    Unknown,
}

/// One key of a listing with what memory knows about it.
#[derive(Clone)]
pub struct Listed {
    /// The key.
    pub name: SmolStr,
    /// Its slot.
    pub slot: Slot,
}

impl Shelf {
    /// Looks a key up. With `stale_ok` a value past its TTL is shown while it is kept as a fallback.
    #[inline]
    pub fn read<R>(
        &self,
        scope: &Scope,
        hash: u64,
        name: &str,
        now: impl Fn() -> Millis,
        stale_ok: bool,
        show: impl FnOnce(&Slot, Freshness) -> R,
    ) -> Seen<R> {
        let cell = self.cell(hash);
        let stripe = cell.stripe.read();
        let seen = judge(
            stripe.known(hash, scope.id, name),
            scope,
            now,
            stale_ok,
            show,
        );
        drop(stripe);
        let counter = match seen {
            Seen::Hit(_) => &cell.hits,
            _ => &cell.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        seen
    }

    /// As [`read`](Shelf::read), without counting it; where memory does not know, a mark is left in
    /// the same critical section.
    pub fn read_or_mark<R>(
        &self,
        scope: &Scope,
        hash: u64,
        name: &str,
        now: impl Fn() -> Millis,
        stale_ok: bool,
        show: impl FnOnce(&Slot, Freshness) -> R,
    ) -> Seen<R> {
        let mut stripe = self.cell(hash).stripe.write();
        let seen = judge(
            stripe.known(hash, scope.id, name),
            scope,
            now,
            stale_ok,
            show,
        );
        if let Seen::Unknown = seen {
            let (mark, distrusted) = stripe.mark(hash, scope.id, name);
            return Seen::Below(mark, distrusted);
        }
        seen
    }

    /// The tiers whose stored copy of a key is not believed.
    pub fn distrusts(&self, scope: &Scope, hash: u64, name: &str) -> TierSet {
        self.cell(hash).stripe.read().distrusts(scope.id, name)
    }

    /// The first `count_max` keys of a cache after `after` that begin with `prefix` and that memory
    /// alone knows a value of: all of the dirty set, and of the table too if `table` says that it may
    /// hold what no tier does. Locks one stripe at a time.
    ///
    /// `true` with it if memory knew of something that a tier may hold and must not show: a removal
    /// that is on its way down, or a distrusted copy. Once that is stored memory knows nothing of it,
    /// so a page that was read from the tier before may still show it.
    pub fn list(
        &self,
        scope: &Scope,
        prefix: &str,
        after: &str,
        count_max: usize,
        table: bool,
        now_ms: Millis,
    ) -> (Vec<Listed>, bool) {
        let mut first: BinaryHeap<ByName> = BinaryHeap::new();
        let mut hides = false;
        for cell in &self.stripes {
            let stripe = cell.stripe.read();
            hides |= stripe.distrusted() != (0, TierSet::NONE);
            hides |= stripe.dirty.iter().any(|d| {
                let shows = d.value.as_ref().is_some_and(|(slot, _)| {
                    slot.is_fresh(|| now_ms) && scope.accepts(slot.version, slot.tags())
                });
                d.key.cache == scope.id && !shows
            });
            let dirty = stripe.dirty.iter();
            let dirty = dirty.filter_map(|d| d.value.as_ref().map(|(slot, _)| (&d.key, slot)));
            let rows = table.then(|| stripe.table.iter()).into_iter().flatten();
            for (key, slot) in dirty.chain(rows) {
                let wanted = key.cache == scope.id
                    && key.name.as_str() > after
                    && key.name.starts_with(prefix)
                    && slot.is_fresh(|| now_ms)
                    && scope.accepts(slot.version, slot.tags());
                let full = first.len() >= count_max;
                if !wanted || full && first.peek().is_some_and(|last| last.0.name <= key.name) {
                    continue;
                }
                if first.iter().any(|listed| listed.0.name == key.name) {
                    continue;
                }
                first.push(ByName(Listed {
                    name: key.name.clone(),
                    slot: slot.clone(),
                }));
                if first.len() > count_max {
                    first.pop();
                }
            }
        }
        let listed = first.into_sorted_vec().into_iter().map(|b| b.0);
        (listed.collect(), hides)
    }
}

#[inline]
fn judge<R>(
    known: Known<'_>,
    scope: &Scope,
    now: impl Fn() -> Millis,
    stale_ok: bool,
    show: impl FnOnce(&Slot, Freshness) -> R,
) -> Seen<R> {
    match known {
        Known::Unknown => Seen::Unknown,
        Known::Tombstone => Seen::Gone(None),
        Known::Slot(slot) if !scope.accepts(slot.version, slot.tags()) => Seen::Gone(None),
        Known::Slot(slot) if slot.is_fresh(&now) => Seen::Hit(show(slot, Freshness::Fresh)),
        Known::Slot(slot) if stale_ok && now() < slot.keep_ms() => {
            Seen::Hit(show(slot, Freshness::Stale))
        }
        // The tiers' copies are no newer, so there is nothing to look for below.
        Known::Slot(slot) => Seen::Gone(Some(slot.expires_ms)),
    }
}

struct ByName(Listed);

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}
impl Eq for ByName {}
impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ByName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.name.cmp(&other.0.name)
    }
}
