//! The shelf: the memory tier's table, the dirty set, marks and fences, shared by every thread.
//!
//! The memory driver owns it; handles read it and apply single-key changes through the narrow,
//! atomic operations here. It never waits, never calls a host's code under a lock and knows no
//! actor. The rules of the slot protocol (SEMANTICS.md) are kept in `stripe.rs` and beside it; this
//! file finds the stripe, drops what leaves outside of the lock and rings the bells.

mod aging;
mod apply;
mod ask;
mod dirty;
mod distrust;
mod effects;
mod event;
mod expiry;
mod fence;
mod look;
mod lookup;
mod marks;
mod news;
mod plain;
mod policy;
mod promote;
mod refile;
mod room;
mod row;
mod slot;
mod stats;
mod store;
mod stripe;
mod table;
mod taken;
#[cfg(test)]
mod tests;
mod ticket;
mod tier;

pub use ask::{Applied, Ask, Bounds, Brought, Change, Condition, Draft, Kind, Plan};
pub use event::{EventKind, OldSlot, RawEvent};
pub use expiry::Due;
pub use fence::{Covers, Scope};
pub use look::Look;
pub use lookup::{Freshness, Listed, Listing, Seen};
pub use marks::MarkId;
pub use plain::{Fresh, Glance, Plain};
pub use refile::Lost;
pub use room::Room;
pub use slot::{Body, Encoded, Extra, Priority, Shared, Slot};
pub use stats::{Owed, ShelfStats};
pub use table::{ENTRY_OVERHEAD_BYTES, PINNED_SHARE};
pub use taken::{Taken, Waiter};
pub use ticket::{Ticket, Waiting};
pub use tier::{TierId, TierSet};

use std::time::Duration;

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::bell::Bells;
use crate::clock::Millis;
use crate::error::Error;
use crate::key::CacheId;
use crate::sync::{Arc, AtomicU64, AtomicUsize, Ordering, RwLock};
use crate::tally::Tally;
use crate::version::{Version, VersionClock};
use ask::Call;
use effects::{Effects, let_go};
use event::Outbox;
use stripe::Stripe;

/// What those are told to wait whose change memory keeps and no tier will store.
const UNSTORED_RETRY: Duration = Duration::from_secs(1);

/// The shared table of the memory tier.
pub struct Shelf {
    stripes: Box<[Cell]>,
    hasher: table::Hasher,
    versions: Arc<VersionClock>,
    bounds: Bounds,
    tags_max: usize,
    tiers: RwLock<Vec<Arc<str>>>,
    scopes: RwLock<Scopes>,
    /// Whether anybody watches anything: events are recorded only then.
    watched: AtomicUsize,
    /// Bytes of the events in all stripes.
    events_bytes: Arc<AtomicUsize>,
    budget: AtomicUsize,
    /// Reads of memory that were made for a host.
    reads: Tally,
    /// Wakes those who take work from here.
    pub bells: Bells,
}

#[derive(Default)]
struct Scopes {
    /// Shared, so that a pass over many keys looks them up without the lock.
    by_id: Arc<Vec<Arc<Scope>>>,
    by_name: HashMap<SmolStr, Arc<Scope>>,
    /// What every cache that is made from here on has been fenced with; 0 for none.
    floor: u64,
}

/// A stripe with its counters beside the lock, on cache lines of its own.
#[repr(align(128))]
struct Cell {
    stripe: RwLock<Stripe>,
    evicted: AtomicU64,
    refused: AtomicU64,
    pins_refused: AtomicU64,
}

impl Shelf {
    /// A shelf of `stripes` stripes that share `budget_bytes` evenly.
    pub fn new(
        stripes: usize,
        budget_bytes: usize,
        tags_max: usize,
        bounds: Bounds,
        versions: Arc<VersionClock>,
    ) -> Self {
        let stripes = stripes.max(1);
        let share = budget_bytes / stripes;
        let events_bytes = Arc::new(AtomicUsize::new(0));
        let hasher = table::Hasher::default();
        let cell = |_| Cell {
            stripe: RwLock::new(Stripe::new(
                table::Table::new(share, hasher.clone()),
                Outbox::new(Arc::clone(&events_bytes)),
            )),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            pins_refused: AtomicU64::new(0),
        };
        Self {
            stripes: (0..stripes).map(cell).collect(),
            hasher,
            versions,
            bounds,
            tags_max,
            tiers: RwLock::new(Vec::new()),
            scopes: RwLock::new(Scopes::default()),
            watched: AtomicUsize::new(0),
            events_bytes,
            budget: AtomicUsize::new(budget_bytes),
            reads: Tally::new(),
            bells: Bells::default(),
        }
    }

    /// The scope of a cache, made on first use.
    pub fn scope(&self, name: &str) -> Arc<Scope> {
        if let Some(scope) = self.scopes.read().by_name.get(name) {
            return Arc::clone(scope);
        }
        let mut scopes = self.scopes.write();
        if let Some(scope) = scopes.by_name.get(name) {
            return Arc::clone(scope);
        }
        let id = CacheId(scopes.by_id.len() as u32);
        let scope = Arc::new(Scope::new(id, name, self.tags_max));
        if let Some(floor) = Version::new(scopes.floor) {
            scope.raise_to(Covers::All, floor);
        }
        Arc::make_mut(&mut scopes.by_id).push(Arc::clone(&scope));
        scopes
            .by_name
            .insert(SmolStr::new(name), Arc::clone(&scope));
        scope
    }

    /// The scope with this number.
    pub fn scope_by_id(&self, id: CacheId) -> Option<Arc<Scope>> {
        self.scopes.read().by_id.get(id.0 as usize).cloned()
    }

    /// The scope of a cache, if there is one.
    pub fn scope_named(&self, name: &str) -> Option<Arc<Scope>> {
        self.scopes.read().by_name.get(name).cloned()
    }

    /// Raises a fence that a store remembers. Past `scopes_max` scopes the fence of a cache that has none
    /// counts for all that have none: more is forgotten, nothing lies.
    pub fn recall(&self, cache: &str, covers: Covers, version: Version, scopes_max: usize) {
        if self.scope_named(cache).is_none() {
            let mut scopes = self.scopes.write();
            if scopes.by_id.len() >= scopes_max && !scopes.by_name.contains_key(cache) {
                scopes.floor = scopes.floor.max(version.get());
                return;
            }
        }
        let scope = self.scope(cache);
        // A tag's fence below its cache's says nothing more, and must not count.
        if covers == Covers::All || scope.cleared().is_none_or(|cleared| cleared < version) {
            scope.raise_to(covers, version);
        }
    }

    /// Every cache that anybody has opened, or that a store remembers.
    pub fn all_scopes(&self) -> Vec<Arc<Scope>> {
        self.scopes().to_vec()
    }

    fn scopes(&self) -> Arc<Vec<Arc<Scope>>> {
        Arc::clone(&self.scopes.read().by_id)
    }

    /// The hash by which a key is found here.
    #[inline]
    pub fn hash(&self, cache: CacheId, name: &str) -> u64 {
        table::hash_of(&self.hasher, cache, name)
    }

    /// The clock that versions are drawn from.
    pub fn versions(&self) -> &VersionClock {
        &self.versions
    }

    /// How many stripes there are.
    pub fn stripes(&self) -> usize {
        self.stripes.len()
    }

    /// Bits 32 to 47 pick the stripe, the upper ones of them first: what a remainder would do, without a
    /// division. The table inside uses the lower bits and the top seven.
    #[inline]
    fn stripe_of(&self, hash: u64) -> usize {
        (((hash >> 32) & 0xffff) as usize * self.stripes.len()) >> 16
    }

    #[inline]
    fn cell(&self, hash: u64) -> &Cell {
        match self.stripes.get(self.stripe_of(hash)) {
            Some(cell) => cell,
            // It is a part of the length, which is at least one.
            None => unreachable!("a shelf has at least one stripe"),
        }
    }

    /// The context of a critical section. To be called under the stripe's lock.
    fn call<'a>(&'a self, scope: &'a Scope, hash: u64, name: &'a str, now_ms: Millis) -> Call<'a> {
        Call {
            scope,
            hash,
            name,
            now_ms,
            watched: self.watches(scope),
            evictions_watched: self.is_watched(),
            bounds: &self.bounds,
        }
    }

    /// Carries out a change, or says why not.
    pub fn apply(&self, mut ask: Ask<'_>) -> Applied {
        let applied = self.apply_to(&mut ask);
        let_go(ask);
        applied
    }

    /// As [`apply`](Shelf::apply); a change that is not carried out stays in the ask.
    pub fn apply_to(&self, ask: &mut Ask<'_>) -> Applied {
        let cell = self.cell(ask.hash);
        let mut stripe = cell.stripe.write();
        let call = self.call(ask.scope, ask.hash, ask.name, ask.now_ms);
        let mut effects = Effects::default();
        let applied = stripe.apply(&call, ask, &self.versions, &mut effects);
        drop(stripe);
        self.finish(cell, &mut effects);
        // It may be the host's last reference.
        ask.leftovers().into_iter().for_each(let_go);
        applied
    }

    /// Keeps what a flight brought up, if the mark it went down under still stands. Ends the flight.
    pub fn promote(
        &self,
        scope: &Scope,
        hash: u64,
        name: &str,
        mark: MarkId,
        slot: Slot,
        now_ms: Millis,
    ) -> bool {
        let cell = self.cell(hash);
        let mut stripe = cell.stripe.write();
        let call = self.call(scope, hash, name, now_ms);
        let (kept, mut effects) = stripe.promote(&call, mark, slot);
        drop(stripe);
        self.finish(cell, &mut effects);
        kept
    }

    /// Keeps the decoded form of a slot whose bytes a reader has just decoded.
    pub fn decoded(&self, scope: &Scope, hash: u64, name: &str, as_of: Version, to: (u32, Body)) {
        let mut stripe = self.cell(hash).stripe.write();
        let unneeded = stripe.table.recast(hash, scope.id, name, as_of, to);
        drop(stripe);
        let_go(unneeded);
    }

    /// Raises a fence; the version and what it covers.
    pub fn fence(&self, scope: &Scope, covers: Covers, now_ms: Millis) -> (Version, Covers) {
        scope.raise(covers, || self.versions.next(now_ms))
    }

    /// Sets the budget; what no longer fits is evicted before this returns.
    pub fn resize(&self, budget_bytes: usize, now_ms: Millis) {
        self.budget.store(budget_bytes, Ordering::Relaxed);
        let share = budget_bytes / self.stripes.len().max(1);
        for cell in &self.stripes {
            let mut effects = Effects::default();
            let mut stripe = cell.stripe.write();
            let refused = stripe.table.resize(share);
            stripe.shrink(self.is_watched(), now_ms, &self.bounds, &mut effects);
            drop(stripe);
            cell.pins_refused.fetch_add(refused, Ordering::Relaxed);
            self.finish(cell, &mut effects);
        }
    }

    /// Outside of the lock: counts, rings, tells those whose change will not be stored, drops.
    fn finish(&self, cell: &Cell, effects: &mut Effects) {
        if effects.evicted > 0 {
            cell.evicted.fetch_add(effects.evicted, Ordering::Relaxed);
        }
        if effects.table.refused.is_some() {
            cell.refused.fetch_add(1, Ordering::Relaxed);
        }
        if effects.table.pin_refused {
            cell.pins_refused.fetch_add(1, Ordering::Relaxed);
        }
        if effects.dirtied {
            self.bells.dirty.ring();
        }
        if effects.told {
            self.bells.events.ring();
        }
        if effects.timed {
            self.bells.deadlines.ring();
        }
        for waiter in effects.unstored.drain(..) {
            // The change stands in memory.
            waiter.ticket.fail(Error::Unavailable {
                driver: self.tier_name(waiter.tier),
                retry_after: UNSTORED_RETRY,
            });
        }
        effects.let_go();
    }
}
