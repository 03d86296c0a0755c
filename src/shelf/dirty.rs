//! The dirty set of one stripe: what is acknowledged and not yet stored, one slot per key.
//!
//! It is the queue to the tiers (PROTOCOL rule 8): a slot leaves it when every tier it concerns has
//! confirmed the very stamp that its lane took, and never otherwise. Nothing here evicts.

use std::collections::VecDeque;

use hashbrown::HashTable;
use tokio::sync::OwnedSemaphorePermit;

use super::slot::{Encoded, Slot};
use super::ticket::Ticket;
use crate::drivers::StoreDurability;
use crate::error::Error;
use crate::key::{CacheId, Key};
use crate::sync::Arc;
use crate::version::Version;

/// A set of tiers, one bit per driver.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TierSet(pub u16);

/// One driver's number within a larder; at most 16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TierId(pub u8);

impl TierSet {
    /// No tier.
    pub const NONE: Self = Self(0);

    /// Whether `tier` is in it.
    pub fn has(self, tier: TierId) -> bool {
        self.0 & (1 << tier.0) != 0
    }

    /// This set and `tier`.
    #[must_use]
    pub fn with(self, tier: TierId) -> Self {
        Self(self.0 | 1 << tier.0)
    }

    /// This set without `tier`.
    #[must_use]
    pub fn without(self, tier: TierId) -> Self {
        Self(self.0 & !(1 << tier.0))
    }

    /// What is in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its tiers, lowest first.
    pub fn iter(self) -> impl Iterator<Item = TierId> {
        (0..16).map(TierId).filter(move |tier| self.has(*tier))
    }
}

/// Somebody waits until a tier has stored a slot.
pub struct Waiter {
    /// The tier.
    pub tier: TierId,
    /// The change they wait for: a commit of this stamp or a later one answers them.
    pub stamp: u64,
    /// What the commit must survive.
    pub durability: StoreDurability,
    /// How to tell them.
    pub ticket: Ticket,
}

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
    queued: TierSet,
    pub waiters: Vec<Waiter>,
    /// Its part of the dirty budget, given back when it leaves.
    _room: Option<OwnedSemaphorePermit>,
}

/// A dirty slot before it is filed.
pub(super) struct NewDirty {
    pub key: Key,
    pub version: Version,
    pub stamp: u64,
    pub value: Option<(Slot, Arc<Encoded>)>,
    pub put: TierSet,
    pub delete: TierSet,
    pub waiters: Vec<Waiter>,
    pub room: Option<OwnedSemaphorePermit>,
}

/// What a lane took: one slot as it was.
pub struct Taken {
    /// The slot's hash and name.
    pub hash: u64,
    /// The entry.
    pub key: Key,
    /// The mutation.
    pub version: Version,
    /// The slot's stamp when it was taken; it is clean only if it is still this.
    pub stamp: u64,
    /// The value to store; `None` deletes.
    pub value: Option<(Slot, Arc<Encoded>)>,
    /// What the commit must survive for those who wait.
    pub durability: StoreDurability,
}

impl Taken {
    /// About how many bytes it adds to a batch.
    pub fn weight(&self) -> usize {
        let payload = self.value.as_ref().map_or(0, |(_, e)| e.payload.len());
        self.key.name.len() + payload
    }
}

#[derive(Default)]
pub(super) struct DirtySet {
    slots: HashTable<Dirty>,
    queues: Vec<VecDeque<(u64, Key)>>,
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

    /// Files a change. Who waited for an older one of the key now waits for this: it supersedes it.
    pub fn put(&mut self, hash: u64, new: NewDirty) {
        let mut new = Dirty {
            hash,
            key: new.key,
            version: new.version,
            stamp: new.stamp,
            value: new.value,
            put: new.put,
            delete: new.delete,
            queued: TierSet::NONE,
            waiters: new.waiters,
            _room: new.room,
        };
        let (cache, name) = (new.key.cache, new.key.name.clone());
        if let Some(old) = self.slots.find_mut(hash, |d| is(&d.key, cache, &name)) {
            new.queued = old.queued;
            new.waiters.append(&mut old.waiters);
            *old = new;
        } else {
            self.slots.insert_unique(hash, new, |d| d.hash);
        }
        self.queue(hash, cache, &name);
    }

    /// Puts a key into the queue of every tier that it concerns and in which it does not stand.
    pub fn queue(&mut self, hash: u64, cache: CacheId, name: &str) {
        let Some(dirty) = self.slots.find_mut(hash, |d| is(&d.key, cache, name)) else {
            return;
        };
        for tier in dirty.put.or(dirty.delete).iter() {
            if !dirty.queued.has(tier) {
                dirty.queued = dirty.queued.with(tier);
                let at = usize::from(tier.0);
                if self.queues.len() <= at {
                    self.queues.resize_with(at + 1, VecDeque::new);
                }
                if let Some(queue) = self.queues.get_mut(at) {
                    queue.push_back((hash, dirty.key.clone()));
                }
            }
        }
    }

    /// Takes the oldest queued slot of a tier, as it is now.
    pub fn take(&mut self, tier: TierId) -> Option<Taken> {
        loop {
            let (hash, key) = self.queues.get_mut(usize::from(tier.0))?.pop_front()?;
            let Some(dirty) = self.get_mut(hash, key.cache, &key.name) else {
                continue;
            };
            dirty.queued = dirty.queued.without(tier);
            let stores = dirty.put.has(tier);
            if !stores && !dirty.delete.has(tier) {
                continue;
            }
            let wanted = dirty.waiters.iter().filter(|w| w.tier == tier);
            let durability = wanted.map(|w| w.durability).max();
            return Some(Taken {
                hash,
                version: dirty.version,
                stamp: dirty.stamp,
                value: if stores { dirty.value.clone() } else { None },
                durability: durability.unwrap_or(StoreDurability::Written),
                key,
            });
        }
    }

    /// A tier has stored what it took. Returns who has been waiting for just that, and `true` if the
    /// slot is clean in every tier and has left.
    pub fn settle(
        &mut self,
        tier: TierId,
        taken: &Taken,
        stored: StoreDurability,
    ) -> (Vec<Ticket>, bool) {
        let (cache, name) = (taken.key.cache, &taken.key.name);
        let Some(dirty) = self.get_mut(taken.hash, cache, name) else {
            return (Vec::new(), false);
        };
        // A commit of a newer slot covers those who wait for an older one. Without that, a key that is
        // written faster than its lane commits would never answer anybody.
        let (done, keep) = std::mem::take(&mut dirty.waiters)
            .into_iter()
            .partition::<Vec<_>, _>(|w| {
                w.tier == tier && w.stamp <= taken.stamp && w.durability <= stored
            });
        dirty.waiters = keep;
        let unanswered = dirty.waiters.iter().any(|w| w.tier == tier);
        if dirty.stamp == taken.stamp && !unanswered {
            dirty.put = dirty.put.without(tier);
            dirty.delete = dirty.delete.without(tier);
        }
        let done = done.into_iter().map(|w| w.ticket).collect();
        if dirty.put.or(dirty.delete).is_empty() {
            self.forget(taken.hash, cache, name);
            return (done, true);
        }
        self.queue(taken.hash, cache, name);
        (done, false)
    }

    /// Takes a slot out without storing it: its change is superseded by one that is not to be
    /// stored. Those who waited for it are returned.
    pub fn forget(&mut self, hash: u64, cache: CacheId, name: &str) -> Vec<Waiter> {
        match self.slots.find_entry(hash, |d| is(&d.key, cache, name)) {
            Ok(found) => found.remove().0.waiters,
            Err(_) => Vec::new(),
        }
    }

    /// Tells everybody who waits for a tier that it cannot be.
    pub fn fail_waiters(&mut self, tier: TierId, error: &Error) {
        for dirty in self.slots.iter_mut() {
            let waiters = std::mem::take(&mut dirty.waiters);
            for waiter in waiters {
                if waiter.tier == tier {
                    waiter.ticket.fail(error.clone());
                } else {
                    dirty.waiters.push(waiter);
                }
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Dirty> {
        self.slots.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Dirty> {
        self.slots.iter_mut()
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }
}

fn is(key: &Key, cache: CacheId, name: &str) -> bool {
    key.cache == cache && key.name == name
}
