//! Reading the shelf: one key, or the keys of a cache in order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::effects::let_go;
use super::look::Look;
use super::marks::MarkId;
use super::stripe::Known;
use super::tier::TierSet;
use super::{Scope, Shelf, Slot};
use crate::clock::Millis;
use crate::key::CacheId;

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

/// What to list.
pub struct Listing<'a> {
    /// The cache.
    pub scope: &'a Scope,
    /// What the keys begin with.
    pub prefix: &'a str,
    /// They are greater than this.
    pub after: &'a str,
    /// How many at most.
    pub count_max: usize,
    /// Whether the table may hold what no tier does, so that it is to be looked at too.
    pub table: bool,
    /// The tiers that are going to be read beside it.
    pub tiers: TierSet,
    /// The current time.
    pub now_ms: Millis,
}

/// One key of a listing with what memory knows about it.
#[derive(Clone)]
pub struct Listed {
    /// The key.
    pub name: SmolStr,
    /// What a read shows.
    pub slot: Option<Slot>,
    /// Memory knows what it is, or that it is gone: no tier's record is to be believed.
    pub is_known: bool,
    /// Of these tiers no record is.
    pub distrusted: TierSet,
}

impl Shelf {
    /// Looks a key up. With `stale_ok` a value past its TTL is shown while it is kept as a fallback.
    ///
    /// Allocates nothing. `now` and `show` run under the stripe's lock: they must not call the shelf.
    #[inline]
    pub fn read<R>(
        &self,
        scope: &Scope,
        hash: u64,
        name: &str,
        now: impl Fn() -> Millis,
        stale_ok: bool,
        show: impl FnOnce(Look<'_>, Freshness) -> R,
    ) -> Seen<R> {
        let stripe = self.cell(hash).stripe.read();
        let known = stripe.read(hash, scope.id, name);
        let seen = judge(known, scope, now, stale_ok, show);
        drop(stripe);
        self.reads.count(matches!(seen, Seen::Hit(_)));
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
        show: impl FnOnce(Look<'_>, Freshness) -> R,
    ) -> Seen<R> {
        let mut stripe = self.cell(hash).stripe.write();
        let known = stripe.known(hash, scope.id, name);
        let seen = judge(known, scope, now, stale_ok, show);
        if let Seen::Unknown = seen {
            let (mark, distrusted) = stripe.mark(hash, scope.id, name);
            return Seen::Below(mark, distrusted);
        }
        seen
    }

    /// The tiers whose stored copy of a key is not believed.
    pub fn distrusts(&self, scope: &Scope, hash: u64, name: &str) -> TierSet {
        self.cell(hash)
            .stripe
            .read()
            .distrusts
            .of(hash, scope.id, name)
    }

    /// The first `count_max` keys of a cache of which memory knows more than the tiers do: those of
    /// the dirty set, removed and expired ones too, those whose stored copies are distrusted, and, if
    /// asked for, those of the table. Locks one stripe at a time.
    ///
    /// IMPORTANT: what is to be stored is listed even if it shows nothing. Whoever reads a tier next may
    /// get a record from before that was stored, and find memory without a trace of it afterwards.
    pub fn list(&self, listing: &Listing<'_>) -> Vec<Listed> {
        let mut first = First::new(listing.count_max);
        for cell in &self.stripes {
            let stripe = cell.stripe.read();
            // What only heals is listed as what is in doubt.
            let dirty = stripe.dirty.iter().filter(|dirty| !dirty.heals);
            for dirty in dirty.filter(|d| listing.wants(d.key.cache, &d.key.name)) {
                let key = &dirty.key;
                let value = dirty.value.as_ref().map(|(slot, _)| slot.look());
                first.offer(&key.name, || {
                    let slot = stripe
                        .table
                        .peek(dirty.hash, key.cache, &key.name)
                        .or(value);
                    listing.listed(&key.name, slot, true, TierSet::NONE)
                });
            }
            let doubts = stripe.distrusts.keys_of(listing.tiers);
            for (hash, key, tiers) in doubts.filter(|d| listing.wants(d.1.cache, &d.1.name)) {
                first.offer(&key.name, || {
                    let slot = stripe.table.peek(hash, key.cache, &key.name);
                    listing.listed(&key.name, slot, slot.is_some(), tiers)
                });
            }
            let rows = listing.table.then(|| stripe.table.iter());
            for (cache, name, slot) in rows.into_iter().flatten() {
                if listing.wants(cache, name) && listing.shows(slot) {
                    first.offer(name, || {
                        listing.listed(name, Some(slot), true, TierSet::NONE)
                    });
                }
            }
            drop(stripe);
            first.drop_outside();
        }
        first.into_sorted()
    }
}

impl Listing<'_> {
    fn wants(&self, cache: CacheId, name: &str) -> bool {
        cache == self.scope.id && name > self.after && name.starts_with(self.prefix)
    }

    fn shows(&self, slot: Look<'_>) -> bool {
        slot.is_fresh(|| self.now_ms) && self.scope.accepts(slot.version, slot.tags())
    }

    fn listed(
        &self,
        name: &SmolStr,
        slot: Option<Look<'_>>,
        is_known: bool,
        distrusted: TierSet,
    ) -> Listed {
        Listed {
            name: name.clone(),
            slot: slot.filter(|slot| self.shows(*slot)).map(Look::to_slot),
            is_known,
            distrusted,
        }
    }
}

/// The first keys of a listing, each once: what is offered first of a key stays.
struct First {
    rows: BTreeMap<SmolStr, Listed>,
    dropped: Vec<Listed>,
    count_max: usize,
}

impl First {
    fn new(count_max: usize) -> Self {
        Self {
            rows: BTreeMap::new(),
            dropped: Vec::new(),
            count_max,
        }
    }

    fn offer(&mut self, name: &SmolStr, listed: impl FnOnce() -> Listed) {
        let full = self.rows.len() >= self.count_max;
        let is_beyond = || {
            let last = self.rows.last_key_value();
            last.is_none_or(|(last, _)| last < name)
        };
        if (full && is_beyond()) || self.rows.contains_key(name) {
            return;
        }
        self.rows.insert(name.clone(), listed());
        if full && let Some((_, last)) = self.rows.pop_last() {
            self.dropped.push(last);
        }
    }

    /// Drops what fell out, after the lock was released: it may have left its stripe since, and that
    /// makes this the last reference to a host's value.
    fn drop_outside(&mut self) {
        self.dropped.drain(..).for_each(let_go);
    }

    fn into_sorted(self) -> Vec<Listed> {
        self.rows.into_values().collect()
    }
}

#[inline]
fn judge<R>(
    known: Known<'_>,
    scope: &Scope,
    now: impl Fn() -> Millis,
    stale_ok: bool,
    show: impl FnOnce(Look<'_>, Freshness) -> R,
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
