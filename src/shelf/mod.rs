//! The shelf: the memory tier's table, the dirty set, marks and fences, shared by every thread.
//!
//! The memory driver owns it; handles read it and apply single-key changes through the narrow,
//! atomic operations here. It never waits, never calls a host's code under a lock and knows no
//! actor. PROTOCOL rules 1 to 8 and 11 are kept in `stripe.rs`; this file finds the stripe, drops
//! what leaves outside of the lock and rings the bells.

mod dirty;
mod event;
mod expiry;
mod fence;
mod lookup;
mod marks;
mod policy;
mod slot;
mod store;
mod stripe;
mod table;
mod ticket;

pub use dirty::{Taken, TierId, TierSet, Waiter};
pub use event::{EventKind, OldSlot, RawEvent};
pub use expiry::Due;
pub use fence::{Covers, Scope};
pub use lookup::{Freshness, Listed, Listing, Seen};
pub use marks::MarkId;
pub use slot::{Body, Encoded, Extra, Priority, Shared, Slot};
pub use stripe::{Applied, Ask, Bounds, Brought, Change, Condition, Draft, Plan};
pub use table::{ENTRY_OVERHEAD_BYTES, PINNED_SHARE};
pub use ticket::{Ticket, Waiting};

use std::hash::BuildHasher;

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::bell::Bells;
use crate::clock::Millis;
use crate::key::{CacheId, Key};
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Ordering, RwLock};
use crate::version::{Version, VersionClock};
use stripe::{Effects, Stripe};

/// The shared table of the memory tier.
pub struct Shelf {
    stripes: Box<[Cell]>,
    hasher: foldhash::quality::RandomState,
    versions: Arc<VersionClock>,
    bounds: Bounds,
    tags_max: usize,
    scopes: RwLock<Scopes>,
    /// Whether anybody watches anything: events are recorded only then.
    watched: AtomicBool,
    dirty: AtomicUsize,
    budget: AtomicUsize,
    /// Wakes those who take work from here.
    pub bells: Bells,
}

#[derive(Default)]
struct Scopes {
    by_id: Vec<Arc<Scope>>,
    by_name: HashMap<SmolStr, Arc<Scope>>,
}

/// A stripe with its counters beside the lock: a reader has that cache line anyway.
struct Cell {
    stripe: RwLock<Stripe>,
    hits: AtomicU64,
    misses: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
    pins_refused: AtomicU64,
}

/// What the shelf counts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, serde::Serialize)]
pub struct ShelfStats {
    /// Resident entries.
    pub entries: usize,
    /// Their bytes, with overhead.
    pub bytes: usize,
    /// Bytes of pinned entries among them.
    pub pinned_bytes: usize,
    /// The budget in bytes.
    pub bytes_max: usize,
    /// Reads answered from memory.
    pub hits: u64,
    /// Reads that memory could not answer with a value.
    pub misses: u64,
    /// Entries evicted.
    pub evicted: u64,
    /// Values refused because one alone is heavier than a stripe of the budget.
    pub refused_too_heavy: u64,
    /// Pins not honoured because pinned entries fill their share.
    pub pins_refused: u64,
    /// Acknowledged and not yet stored.
    pub dirty_slots: usize,
    /// Flights that are looking below.
    pub marks: usize,
    /// Keys whose stored copies are not believed.
    pub distrusted: usize,
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
        let cell = |_| Cell {
            stripe: RwLock::new(Stripe::new(share)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            pins_refused: AtomicU64::new(0),
        };
        Self {
            stripes: (0..stripes).map(cell).collect(),
            hasher: foldhash::quality::RandomState::default(),
            versions,
            bounds,
            tags_max,
            scopes: RwLock::new(Scopes::default()),
            watched: AtomicBool::new(false),
            dirty: AtomicUsize::new(0),
            budget: AtomicUsize::new(budget_bytes),
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
        scopes.by_id.push(Arc::clone(&scope));
        scopes
            .by_name
            .insert(SmolStr::new(name), Arc::clone(&scope));
        scope
    }

    /// The scope with this number.
    pub fn scope_by_id(&self, id: CacheId) -> Option<Arc<Scope>> {
        self.scopes.read().by_id.get(id.0 as usize).cloned()
    }

    /// The hash by which a key is found here.
    #[inline]
    pub fn hash(&self, cache: CacheId, name: &str) -> u64 {
        self.hasher.hash_one((cache.0, name))
    }

    /// The clock that versions are drawn from.
    pub fn versions(&self) -> &VersionClock {
        &self.versions
    }

    #[inline]
    fn cell(&self, hash: u64) -> &Cell {
        // The upper half picks the stripe; the table inside uses the lower bits and the top seven.
        let at = ((hash >> 32) & 0xffff) as usize % self.stripes.len();
        match self.stripes.get(at) {
            Some(cell) => cell,
            // `at` is a remainder by the length, which is at least one.
            None => unreachable!("a shelf has at least one stripe"),
        }
    }

    /// Carries out a change, or says why not.
    pub fn apply(&self, ask: Ask<'_>) -> Applied {
        let watched = self.is_watched();
        let cell = self.cell(ask.hash);
        let (applied, effects) =
            cell.stripe
                .write()
                .apply(ask, &self.versions, watched, self.bounds);
        self.finish(cell, effects);
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
        let watched = self.is_watched();
        let cell = self.cell(hash);
        let (kept, effects) = cell.stripe.write().promote(
            hash,
            scope,
            name,
            mark,
            slot,
            watched,
            now_ms,
            self.bounds,
        );
        self.finish(cell, effects);
        kept
    }

    /// A flight ends without having brought anything.
    pub fn release(&self, scope: &Scope, hash: u64, name: &str, mark: MarkId) {
        let mut stripe = self.cell(hash).stripe.write();
        stripe.marks.release(hash, scope.id, name, mark);
    }

    /// Keeps the decoded form of a slot whose bytes a reader has just decoded.
    pub fn decoded(&self, scope: &Scope, hash: u64, name: &str, version: Version, body: Body) {
        let mut stripe = self.cell(hash).stripe.write();
        stripe.decoded(hash, scope.id, name, version, body);
    }

    /// Raises a fence; the version and what it covers.
    pub fn fence(&self, scope: &Scope, covers: Covers, now_ms: Millis) -> (Version, Covers) {
        scope.raise(covers, || self.versions.next(now_ms))
    }

    /// Tells those who watch that a fence was raised.
    pub fn announce_fence(&self, scope: &Scope, covers: &Covers, version: Version, now_ms: Millis) {
        if !self.is_watched() {
            return;
        }
        let name = match covers {
            Covers::All => "",
            Covers::Tag(tag) => tag,
        };
        let event = RawEvent {
            key: Key::new(scope.id, name),
            kind: EventKind::Cleared,
            version,
            old: OldSlot::NotLoaded,
            new: None,
            at_ms: now_ms,
        };
        // Any stripe will do: the hub takes from all of them and sorts by version.
        let mut stripe = self.cell(0).stripe.write();
        stripe.outbox.push(event, self.bounds.events_max);
        drop(stripe);
        self.bells.events.ring();
    }

    /// The timer of a key has fired.
    pub fn due(&self, scope: &Scope, name: &str, now_ms: Millis) -> Due {
        let hash = self.hash(scope.id, name);
        let watched = self.is_watched();
        let cell = self.cell(hash);
        let (due, effects) =
            cell.stripe
                .write()
                .due(hash, scope, name, now_ms, watched, self.bounds);
        self.finish(cell, effects);
        due
    }

    /// A tier says that a record has expired; `true` if that is news to memory.
    pub fn expired_below(
        &self,
        scope: &Scope,
        name: &str,
        version: Version,
        now_ms: Millis,
    ) -> bool {
        if !self.is_watched() {
            return false;
        }
        let hash = self.hash(scope.id, name);
        let mut stripe = self.cell(hash).stripe.write();
        let told = stripe.expired_below(hash, scope, name, version, now_ms, self.bounds);
        drop(stripe);
        if told {
            self.bells.events.ring();
        }
        told
    }

    /// Says whether events are to be recorded from now on.
    pub fn watch(&self, watched: bool) {
        self.watched.store(watched, Ordering::SeqCst);
    }

    /// Whether anybody watches.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Moves all waiting events to `into`; how many were dropped since the last time.
    pub fn take_events(&self, into: &mut Vec<RawEvent>) -> u64 {
        let cells = self.stripes.iter();
        let lost = cells
            .map(|cell| cell.stripe.write().outbox.take(into))
            .sum();
        into.sort_by_key(|event| event.version);
        lost
    }

    /// Moves all noted deadlines to `into`; `true` if some were dropped, so that only a pass over
    /// everything ([`deadlines_of`](Shelf::deadlines_of)) finds them all.
    pub fn take_deadlines(&self, into: &mut Vec<(Key, Millis)>) -> bool {
        let cells = self.stripes.iter();
        cells.fold(false, |lost, cell| {
            cell.stripe.write().deadlines.take(into) | lost
        })
    }

    /// The deadlines of everything in one stripe.
    pub fn deadlines_of(&self, stripe: usize, into: &mut Vec<(Key, Millis)>) {
        if let Some(cell) = self.stripes.get(stripe) {
            let stripe = cell.stripe.read();
            let table = stripe.table.iter();
            into.extend(
                table
                    .filter(|(_, s)| s.expires_ms != Millis::MAX)
                    .map(|(k, s)| (k.clone(), s.expires_ms)),
            );
        }
    }

    /// How many stripes there are.
    pub fn stripes(&self) -> usize {
        self.stripes.len()
    }

    /// Takes everything out of one stripe's table that no read would show. Returns how many.
    pub fn sweep(&self, stripe: usize, now_ms: Millis) -> u64 {
        let scopes = self.scopes.read().by_id.clone();
        let Some(cell) = self.stripes.get(stripe) else {
            return 0;
        };
        let (swept, effects) = cell.stripe.write().sweep(now_ms, |key, slot| {
            let scope = scopes.get(key.cache.0 as usize);
            scope.is_none_or(|scope| scope.accepts(slot.version, slot.tags()))
        });
        self.finish(cell, effects);
        swept
    }

    /// Sets the budget; what no longer fits is evicted before this returns.
    pub fn resize(&self, budget_bytes: usize, now_ms: Millis) {
        self.budget.store(budget_bytes, Ordering::Relaxed);
        let share = budget_bytes / self.stripes.len().max(1);
        let watched = self.is_watched();
        for cell in &self.stripes {
            let mut effects = Effects::default();
            let mut stripe = cell.stripe.write();
            stripe.table.resize(share);
            stripe.shrink(watched, now_ms, self.bounds, &mut effects);
            drop(stripe);
            self.finish(cell, effects);
        }
    }

    /// Outside of the lock: counts, rings, tells those whose change will not be stored, drops.
    fn finish(&self, cell: &Cell, effects: Effects) {
        let count = |counter: &AtomicU64, by: u64| {
            if by > 0 {
                counter.fetch_add(by, Ordering::Relaxed);
            }
        };
        count(&cell.evicted, effects.evicted);
        count(&cell.refused, effects.refused);
        count(&cell.pins_refused, effects.pins_refused);
        if effects.dirtied {
            self.bells.dirty.ring();
        }
        if effects.told {
            self.bells.events.ring();
        }
        if effects.timed {
            self.bells.deadlines.ring();
        }
        for waiter in effects.unstored {
            waiter.ticket.fail(crate::error::Error::Overloaded {
                limit: "dirty_bytes_max",
                retry_after: std::time::Duration::from_secs(1),
            });
        }
    }

    /// What the shelf counts, summed over its stripes.
    pub fn stats(&self) -> ShelfStats {
        let mut sum = ShelfStats {
            bytes_max: self.budget.load(Ordering::Relaxed),
            ..ShelfStats::default()
        };
        for cell in &self.stripes {
            let stripe = cell.stripe.read();
            sum.entries += stripe.table.len();
            sum.bytes += stripe.table.bytes();
            sum.pinned_bytes += stripe.table.pinned_bytes();
            sum.dirty_slots += stripe.dirty.len();
            sum.marks += stripe.marks.len();
            sum.distrusted += stripe.distrusted().0;
            sum.hits += cell.hits.load(Ordering::Relaxed);
            sum.misses += cell.misses.load(Ordering::Relaxed);
            sum.evicted += cell.evicted.load(Ordering::Relaxed);
            sum.refused_too_heavy += cell.refused.load(Ordering::Relaxed);
            sum.pins_refused += cell.pins_refused.load(Ordering::Relaxed);
        }
        sum
    }
}
