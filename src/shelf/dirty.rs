//! The dirty set of one stripe: what is acknowledged and not yet stored, one slot per key.
//!
//! It is the queue to the tiers (the slot protocol, rule 8, SEMANTICS.md): a slot leaves it when every
//! tier it concerns has confirmed the very stamp that its lane took, and never otherwise. Nothing here
//! evicts, and nothing here drops a value or answers a ticket: both are handed out.

use std::collections::VecDeque;

use super::room::Room;
use super::slot::{Encoded, Slot};
use super::taken::{NewDirty, Settled, Taken, Waiter};
use super::tier::{TierId, TierSet};
use crate::drivers::StoreDurability;
use crate::key::{CacheId, Key};
use crate::sync::Arc;
use crate::version::Version;
use hashbrown::HashTable;

/// Stale places a queue may hold beyond twice the living ones.
const STALE_MAX: usize = 64;

/// One acknowledged change on its way down.
pub(super) struct Dirty {
    pub hash: u64,
    pub key: Key,
    pub version: Version,
    pub stamp: u64,
    /// The value; `None` is a tombstone.
    pub value: Option<(Slot, Arc<Encoded>)>,
    /// Tiers that are to hold the value.
    pub put: TierSet,
    /// Tiers that are to hold nothing: all of a tombstone's, and those a call has skipped.
    pub delete: TierSet,
    /// It only deletes what some tiers must not show: what the others have is none the older.
    pub heals: bool,
    queued: TierSet,
    /// Tells its places in the queues from those of an earlier slot of the key.
    born: u64,
    pub waiters: Vec<Waiter>,
    /// Its part of the dirty budgets, given back tier by tier.
    pub room: Room,
}

impl Dirty {
    /// Every tier that has not confirmed it yet.
    pub fn tiers(&self) -> TierSet {
        self.put.or(self.delete)
    }

    /// Adds somebody who waits. Before the list grows, those leave who have gone meanwhile: calls that
    /// gave up on a driver that hangs must not pile up.
    pub fn wait(&mut self, waiter: Waiter) {
        if self.waiters.len() == self.waiters.capacity() {
            // Nobody hears of these any more, so that dropping them here wakes nobody.
            self.waiters.retain(|waiter| !waiter.ticket.is_abandoned());
            self.waiters.reserve(self.waiters.len() + 1);
        }
        self.waiters.push(waiter);
    }
}

#[derive(Default)]
pub(super) struct DirtySet {
    slots: HashTable<Dirty>,
    lanes: Vec<Lane>,
    born: u64,
}

/// What waits for one tier.
#[derive(Default)]
struct Lane {
    queue: VecDeque<Place>,
    /// Slots that concern the tier.
    count: usize,
}

struct Place {
    hash: u64,
    key: Key,
    born: u64,
}

impl DirtySet {
    pub fn get(&self, hash: u64, cache: CacheId, name: &str) -> Option<&Dirty> {
        if self.slots.is_empty() {
            return None;
        }
        self.slots.find(hash, |d| is(&d.key, cache, name))
    }

    pub fn get_mut(&mut self, hash: u64, cache: CacheId, name: &str) -> Option<&mut Dirty> {
        self.slots.find_mut(hash, |d| is(&d.key, cache, name))
    }

    /// Files a change and returns the one it supersedes. Who waited for that now waits for this.
    pub fn put(&mut self, hash: u64, new: NewDirty) -> Option<Dirty> {
        self.born += 1;
        let mut new = Dirty {
            hash,
            key: new.key,
            version: new.version,
            stamp: new.stamp,
            value: new.value,
            put: new.put,
            delete: new.delete,
            heals: new.heals,
            queued: TierSet::NONE,
            born: self.born,
            waiters: new.waiters,
            room: new.room,
        };
        let (cache, name, tiers) = (new.key.cache, new.key.name.clone(), new.tiers());
        let old = match self.slots.find_mut(hash, |d| is(&d.key, cache, &name)) {
            Some(old) => {
                (new.queued, new.born) = (old.queued, old.born);
                let later = std::mem::replace(&mut new.waiters, std::mem::take(&mut old.waiters));
                later.into_iter().for_each(|waiter| new.wait(waiter));
                Some(std::mem::replace(old, new))
            }
            None => {
                self.slots.insert_unique(hash, new, |d| d.hash);
                None
            }
        };
        self.leaves(old.as_ref().map_or(TierSet::NONE, Dirty::tiers));
        self.enters(tiers);
        self.queue(hash, cache, &name, tiers);
        old
    }

    /// Has a slot deleted from one more tier; `false` if there is none. With a new stamp: the deletion ends
    /// only a doubt that is older than it, and would be filed again and again.
    pub fn delete_too(
        &mut self,
        hash: u64,
        cache: CacheId,
        name: &str,
        tier: TierId,
        stamp: u64,
    ) -> bool {
        let tier = TierSet::NONE.with(tier);
        let Some(dirty) = self.get_mut(hash, cache, name) else {
            return false;
        };
        let added = tier.minus(dirty.tiers());
        dirty.delete = dirty.delete.or(added);
        dirty.stamp = stamp;
        self.enters(added);
        self.queue(hash, cache, name, tier)
    }

    /// Puts a key into the queue of each of these tiers that it concerns and in which it does not
    /// stand; `true` if there is one.
    pub fn queue(&mut self, hash: u64, cache: CacheId, name: &str, tiers: TierSet) -> bool {
        let Some(dirty) = self.slots.find_mut(hash, |d| is(&d.key, cache, name)) else {
            return false;
        };
        let wanted = TierSet(dirty.tiers().0 & tiers.0);
        let missing = wanted.minus(dirty.queued);
        dirty.queued = dirty.queued.or(wanted);
        for tier in missing.iter() {
            if let Some(lane) = self.lanes.get_mut(usize::from(tier.0)) {
                let (key, born) = (dirty.key.clone(), dirty.born);
                lane.queue.push_back(Place { hash, key, born });
            }
        }
        missing.iter().for_each(|tier| self.tidy(tier));
        !wanted.is_empty()
    }

    /// Queues everything again that stands in no queue.
    pub fn queue_all(&mut self) {
        let all = self.slots.iter();
        let all: Vec<_> = all.map(|d| (d.hash, d.key.clone())).collect();
        for (hash, key) in all {
            self.queue(hash, key.cache, &key.name, TierSet(u16::MAX));
        }
    }

    /// Drops stale places once they outnumber the living: while a tier is down nobody takes them, and
    /// slots that are superseded by memory-only ones leave one each.
    fn tidy(&mut self, tier: TierId) {
        let slots = &self.slots;
        if let Some(lane) = self.lanes.get_mut(usize::from(tier.0))
            && lane.queue.len() > 2 * lane.count + STALE_MAX
        {
            lane.queue.retain(|place| stands(slots, place, tier));
        }
    }

    /// Takes the oldest queued slot of a tier, as it is now.
    pub fn take(&mut self, tier: TierId) -> Option<Taken> {
        loop {
            let place = self.lanes.get_mut(usize::from(tier.0))?.queue.pop_front()?;
            if !stands(&self.slots, &place, tier) {
                continue;
            }
            let dirty = self.get_mut(place.hash, place.key.cache, &place.key.name)?;
            dirty.queued = dirty.queued.without(tier);
            if !dirty.tiers().has(tier) {
                continue;
            }
            let stores = dirty.put.has(tier);
            let wanted = dirty.waiters.iter().filter(|w| w.tier == tier);
            let durability = wanted.map(|w| w.durability).max();
            return Some(Taken {
                hash: place.hash,
                version: dirty.version,
                stamp: dirty.stamp,
                value: if stores { dirty.value.clone() } else { None },
                durability: durability.unwrap_or(StoreDurability::Written),
                key: place.key,
            });
        }
    }

    /// A tier has stored what it took.
    pub fn settle(&mut self, tier: TierId, taken: &Taken, stored: StoreDurability) -> Settled {
        let (cache, name) = (taken.key.cache, &taken.key.name);
        let Some(dirty) = self.get_mut(taken.hash, cache, name) else {
            return Settled::default();
        };
        // A commit of a newer slot covers those who wait for an older one. Without that, a key that is
        // written faster than its lane commits would never answer anybody.
        let (done, keep) = std::mem::take(&mut dirty.waiters)
            .into_iter()
            .partition::<Vec<_>, _>(|w| {
                w.tier == tier && w.stamp <= taken.stamp && w.durability <= stored
            });
        dirty.waiters = keep;
        let mut settled = Settled {
            done: done.into_iter().map(|w| w.ticket).collect(),
            ..Settled::default()
        };
        let unanswered = dirty.waiters.iter().any(|w| w.tier == tier);
        if dirty.stamp == taken.stamp && !unanswered {
            let before = dirty.tiers();
            dirty.put = dirty.put.without(tier);
            dirty.delete = dirty.delete.without(tier);
            let left = dirty.tiers();
            settled.freed = dirty.room.shrink(left);
            self.leaves(before.minus(left));
            if left.is_empty() {
                settled.gone = self.forget(taken.hash, cache, name);
                return settled;
            }
        }
        // Only this tier: another one may have the slot on its way just now.
        settled.again = self.queue(taken.hash, cache, name, TierSet::NONE.with(tier));
        settled
    }

    /// A tier will not store what it took; nobody waits for that any more. Nothing if the slot has changed.
    pub fn give_up(&mut self, tier: TierId, taken: &Taken) -> Option<Settled> {
        let (cache, name) = (taken.key.cache, &taken.key.name);
        let dirty = self.get_mut(taken.hash, cache, name)?;
        if dirty.stamp != taken.stamp {
            return None;
        }
        let waiters = dirty.waiters.extract_if(.., |w| w.tier == tier);
        let done = waiters.map(|w| w.ticket).collect();
        let before = dirty.tiers();
        dirty.put = dirty.put.without(tier);
        let left = dirty.tiers();
        let freed = dirty.room.shrink(left);
        self.leaves(before.minus(left));
        let gone = left
            .is_empty()
            .then(|| self.forget(taken.hash, cache, name));
        Some(Settled {
            done,
            gone: gone.flatten(),
            freed,
            again: false,
        })
    }

    /// Takes a slot out without its having been stored: its change is superseded by one that is not to
    /// be stored.
    pub fn forget(&mut self, hash: u64, cache: CacheId, name: &str) -> Option<Dirty> {
        let found = self.slots.find_entry(hash, |d| is(&d.key, cache, name));
        let (gone, _) = found.ok()?.remove();
        self.leaves(gone.tiers());
        Some(gone)
    }

    /// Takes out everybody who waits for a tier to store a slot that `of` says so of.
    pub fn take_waiters(&mut self, tier: TierId, of: impl Fn(&Dirty) -> bool) -> Vec<Waiter> {
        let slots = self.slots.iter_mut().filter(|dirty| of(dirty));
        let waiting = slots.flat_map(|d| d.waiters.extract_if(.., |w| w.tier == tier));
        waiting.collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Dirty> {
        self.slots.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Dirty> {
        self.slots.iter_mut()
    }

    /// How many slots are dirty.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many of them concern a tier.
    pub fn count(&self, tier: TierId) -> usize {
        let lane = self.lanes.get(usize::from(tier.0));
        lane.map_or(0, |lane| lane.count)
    }

    /// How long a tier's queue is, stale places included.
    pub fn places(&self, tier: TierId) -> usize {
        let lane = self.lanes.get(usize::from(tier.0));
        lane.map_or(0, |lane| lane.queue.len())
    }

    fn enters(&mut self, tiers: TierSet) {
        for tier in tiers.iter() {
            let at = usize::from(tier.0);
            if self.lanes.len() <= at {
                self.lanes.resize_with(at + 1, Lane::default);
            }
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.count += 1;
            }
        }
    }

    fn leaves(&mut self, tiers: TierSet) {
        for tier in tiers.iter() {
            if let Some(lane) = self.lanes.get_mut(usize::from(tier.0)) {
                lane.count = lane.count.saturating_sub(1);
            }
        }
    }
}

/// Whether a place in a tier's queue still means a slot.
fn stands(slots: &HashTable<Dirty>, place: &Place, tier: TierId) -> bool {
    let (cache, name) = (place.key.cache, place.key.name.as_str());
    slots
        .find(place.hash, |d| is(&d.key, cache, name))
        .is_some_and(|d| d.born == place.born && d.queued.has(tier))
}

fn is(key: &Key, cache: CacheId, name: &str) -> bool {
    key.cache == cache && key.name == name
}
