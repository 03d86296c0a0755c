//! The table of one stripe: an index into a slab of nodes, bounded in bytes.
//!
//! It may forget any node at any time, except pinned ones within their share. It knows nothing of
//! versions, tiers or time.

mod rows;

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::look::Look;
use super::plain::Fresh;
use super::policy::{Place, Policy, Queue};
use super::row::{Cold, Hot, Row};
use super::slot::{Body, Encoded, Priority, Shared, Slot};
use crate::key::{CacheId, Key};
use crate::sync::Arc;
use crate::version::Version;
use rows::Rows;

/// How keys are hashed.
pub(super) type Hasher = foldhash::quality::RandomState;

/// What an entry costs beyond its key and value: its row, its share of the index and its place in a queue.
pub const ENTRY_OVERHEAD_BYTES: usize = ROW_BYTES + 16;
const ROW_BYTES: usize = size_of::<Hot>() + size_of::<Cold>();
/// The share of the budget that pinned entries may fill, as a divisor. What is pinned beyond it is
/// kept like `High`: it can be evicted, and `pins_refused` counts it.
pub const PINNED_SHARE: usize = 2;

/// The index begins with a place for so much of the budget each, and at most so many: whenever it grows,
/// every row is looked at.
const BUDGET_BYTES_PER_PLACE: usize = 1 << 10;
const PLACES_MAX: usize = 1 << 12;

/// Rows are numbered by `u32`; one stripe never comes near, at some 400 GiB.
const ROWS_MAX: usize = (u32::MAX - 1) as usize;

fn weigh(name: &str, bytes: usize) -> usize {
    ENTRY_OVERHEAD_BYTES + name.len() + bytes
}

/// What leaves with [`Table::put`].
#[derive(Default)]
pub(super) struct Left {
    /// The slot that was there.
    pub old: Option<Slot>,
    /// What was to be put, if it is heavier than the whole stripe: it was not kept, nor was an older copy.
    pub refused: Option<Slot>,
    /// Its pin was not honoured: pinned entries fill their share.
    pub pin_refused: bool,
}

pub(super) struct Table {
    index: HashTable<u32>,
    rows: Rows,
    free: Vec<u32>,
    policy: Policy,
    /// Stands where there is no value.
    blank: Body,
    budget: usize,
    bytes: usize,
    pinned_bytes: usize,
}

impl Table {
    pub fn new(budget: usize, hasher: Hasher) -> Self {
        let nothing = Encoded {
            codec: 0,
            type_tag: 0,
            flags: 0,
            is_secret: false,
            payload: bytes::Bytes::new(),
        };
        Self {
            index: HashTable::with_capacity((budget / BUDGET_BYTES_PER_PLACE).min(PLACES_MAX)),
            rows: Rows {
                hots: Vec::new(),
                colds: Vec::new(),
                hasher,
            },
            free: Vec::new(),
            policy: Policy::default(),
            blank: Body::Encoded(Arc::new(nothing)),
            budget,
            bytes: 0,
            pinned_bytes: 0,
        }
    }

    /// The slot of a key, without counting it as read.
    pub fn peek(&self, hash: u64, cache: CacheId, name: &str) -> Option<Look<'_>> {
        let at = self.find(hash, cache, name)?;
        Some(self.rows.row(at)?.look())
    }

    /// The slot of a key, counted as read. Needs no exclusive access.
    #[inline]
    pub fn get(&self, hash: u64, cache: CacheId, name: &str) -> Option<Look<'_>> {
        let at = self.find(hash, cache, name)?;
        let row = self.rows.row(at)?;
        row.hot.touch();
        Some(row.look())
    }

    /// What a hit looks at of a key, not counted as read.
    #[inline]
    pub fn hot(&self, hash: u64, cache: CacheId, name: &str) -> Option<&Hot> {
        let at = self.find(hash, cache, name)?;
        self.rows.hots.get(at as usize)
    }

    /// The row of a key, to be changed in place (not its weight).
    pub fn get_mut(&mut self, hash: u64, cache: CacheId, name: &str) -> Option<&mut Hot> {
        let at = self.find(hash, cache, name)?;
        self.rows.hots.get_mut(at as usize)
    }

    /// Replaces the bytes of this very slot by the value that a reader made of them, under its schema number.
    /// Returns what is not needed any more.
    pub fn recast(
        &mut self,
        hash: u64,
        cache: CacheId,
        name: &str,
        version: Version,
        (schema, body): (u32, Body),
    ) -> Body {
        let at = self.find(hash, cache, name);
        match at.and_then(|at| self.rows.pair(at)) {
            Some((hot, cold)) if hot.version() == version => hot.recast(cold, schema, body),
            _ => body,
        }
    }

    /// Puts a slot, replacing the key's older one. [`evict`](Table::evict) afterwards.
    pub fn put(&mut self, hash: u64, cache: CacheId, name: &str, slot: Slot, left: &mut Left) {
        let weight = weigh(name, slot.bytes());
        if weight > self.budget || self.rows.hots.len() > ROWS_MAX {
            left.old = self.remove(hash, cache, name);
            left.refused = Some(slot);
            return;
        }
        let pinned = slot.priority == Priority::Pinned;
        if let Some(at) = self.find(hash, cache, name) {
            if !pinned && let Some((hot, cold)) = self.rows.unpinned(at) {
                let before = weigh(name, Row { hot, cold }.bytes());
                self.policy.reweigh(hot.queue(), before, weight);
                self.bytes = self.bytes.saturating_sub(before) + weight;
                hot.touch();
                left.old = Some(hot.exchange(cold, slot));
                return;
            }
            left.old = self.remove(hash, cache, name);
        }
        left.pin_refused = self.insert(hash, (cache, name), slot, weight);
    }

    /// Sets a plain value, if what it replaces is plain too and `draw` has a version for it; gives it back
    /// otherwise. Returns the version and what was there. [`evict`](Table::evict) afterwards.
    #[inline]
    pub fn set(
        &mut self,
        hash: u64,
        (cache, name): (CacheId, &str),
        value: Shared,
        fresh: &Fresh,
        draw: impl FnOnce(Option<&Hot>) -> Option<Version>,
    ) -> Result<(Version, Option<Body>), Shared> {
        let weight = weigh(name, fresh.weight as usize);
        if weight > self.budget || fresh.priority == Priority::Pinned {
            return Err(value);
        }
        let at = self.find(hash, cache, name);
        let Some((hot, cold)) = at.and_then(|at| self.rows.pair(at)) else {
            let Some(version) = draw(None).filter(|_| self.rows.hots.len() <= ROWS_MAX) else {
                return Err(value);
            };
            self.insert(hash, (cache, name), fresh.slot(version, value), weight);
            return Ok((version, None));
        };
        let Some(before) = hot.plain_weight(cold) else {
            return Err(value);
        };
        let Some(version) = draw(Some(hot)) else {
            return Err(value);
        };
        let old = hot.overwrite(cold, version, value, fresh)?;
        if fresh.weight != before {
            let before = weigh(name, before as usize);
            self.policy.reweigh(hot.queue(), before, weight);
            self.bytes = self.bytes.saturating_sub(before) + weight;
        }
        Ok((version, Some(old)))
    }

    /// Whether there is more in it than it has room for.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.bytes > self.budget
    }

    /// Files a new entry; `true` if it was to be pinned and could not be.
    fn insert(&mut self, hash: u64, key: (CacheId, &str), slot: Slot, weight: usize) -> bool {
        let pinned = slot.priority == Priority::Pinned;
        let fits = self.pinned_bytes + weight <= self.budget / PINNED_SHARE;
        let high = slot.priority >= Priority::High;
        let at = self.free.pop().unwrap_or(self.rows.hots.len() as u32);
        let seq = self.rows.colds.get(at as usize).map_or(0, |cold| cold.seq);
        let queue = if pinned && fits {
            self.pinned_bytes += weight;
            Queue::None
        } else {
            let place = Place { at, seq };
            self.policy.admit(place, weight, hash, high, self.budget)
        };
        // What kept the place is this table's own.
        drop(self.rows.stand(at, key, slot, queue));
        self.bytes += weight;
        let rows = &self.rows;
        self.index.insert_unique(hash, at, |at| rows.hash(*at));
        self.policy.tidy(&self.rows, self.index.len());
        pinned && !fits
    }

    /// Takes a key's slot out.
    pub fn remove(&mut self, hash: u64, cache: CacheId, name: &str) -> Option<Slot> {
        let rows = &self.rows;
        let found = self
            .index
            .find_entry(hash, |at| rows.is(*at, cache, name))
            .ok()?;
        let (at, _) = found.remove();
        let (_, slot) = self.vacate(at)?;
        self.policy.tidy(&self.rows, self.index.len());
        Some(slot)
    }

    /// Takes out every slot that `goes` says so of.
    pub fn remove_where(&mut self, goes: impl Fn(CacheId, Look<'_>) -> bool) -> Vec<Slot> {
        let gone = self.iter().filter(|(key, _, slot)| goes(*key, *slot));
        let gone: Vec<_> = gone.map(|(cache, name, _)| (cache, name.clone())).collect();
        gone.iter()
            .filter_map(|(cache, name)| {
                let hash = hash_of(&self.rows.hasher, *cache, name);
                self.remove(hash, *cache, name)
            })
            .collect()
    }

    /// Frees a row that is in the index no more.
    fn vacate(&mut self, at: u32) -> Option<(Key, Slot)> {
        let (hot, cold) = self.rows.pair(at)?;
        let (queue, weight) = (hot.queue(), weigh(hot.name(), Row { hot, cold }.bytes()));
        let gone = hot.free(cold, self.blank.clone());
        self.policy.reweigh(queue, weight, 0);
        if queue == Queue::None {
            self.pinned_bytes = self.pinned_bytes.saturating_sub(weight);
        }
        self.bytes = self.bytes.saturating_sub(weight);
        self.free.push(at);
        Some(gone)
    }

    /// Takes one entry out if the budget is passed; call until `None`.
    pub fn evict(&mut self) -> Option<(Key, Slot)> {
        if !self.is_over() {
            return None;
        }
        let place = self.policy.victim(&mut self.rows, self.budget)?;
        let hash = self.rows.hash(place.at);
        if let Ok(found) = self.index.find_entry(hash, |at| *at == place.at) {
            found.remove();
        }
        self.vacate(place.at)
    }

    /// Sets the budget in bytes; [`evict`](Table::evict) afterwards. Returns how many pins are not
    /// honoured any more because they fill more than their share of it.
    pub fn resize(&mut self, budget: usize) -> u64 {
        self.budget = budget;
        let mut unpinned = 0;
        for at in 0..self.rows.hots.len() as u32 {
            if self.pinned_bytes <= budget / PINNED_SHARE {
                break;
            }
            let hash = self.rows.hash(at);
            let Some((hot, cold)) = self.rows.pair(at) else {
                continue;
            };
            if !hot.is_free() && hot.queue() == Queue::None {
                let weight = weigh(hot.name(), Row { hot, cold }.bytes());
                let place = Place { at, seq: cold.seq };
                self.pinned_bytes = self.pinned_bytes.saturating_sub(weight);
                hot.stand(self.policy.admit(place, weight, hash, true, budget));
                unpinned += 1;
            }
        }
        unpinned
    }

    /// Every resident entry.
    pub fn iter(&self) -> impl Iterator<Item = (CacheId, &smol_str::SmolStr, Look<'_>)> {
        let rows = self.rows.hots.iter().zip(&self.rows.colds);
        let taken = rows.filter(|(hot, _)| !hot.is_free());
        taken.map(|(hot, cold)| (hot.cache(), hot.name(), Row { hot, cold }.look()))
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn pinned_bytes(&self) -> usize {
        self.pinned_bytes
    }

    #[inline]
    fn find(&self, hash: u64, cache: CacheId, name: &str) -> Option<u32> {
        let rows = &self.rows;
        self.index
            .find(hash, |at| rows.is(*at, cache, name))
            .copied()
    }
}

/// The hash by which a key is found.
#[inline]
pub(super) fn hash_of(hasher: &Hasher, cache: CacheId, name: &str) -> u64 {
    hasher.hash_one((cache.0, name))
}
