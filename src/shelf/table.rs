//! The table of one stripe: an index into a slab of nodes, bounded in bytes.
//!
//! It may forget any node at any time, except pinned ones within their share. It knows nothing of
//! versions, tiers or time.

use hashbrown::HashTable;

use super::policy::{FREQ_MAX, Place, Policy, Queue, Resident, Residents};
use super::slot::{Priority, Slot};
use crate::key::{CacheId, Key};
use crate::sync::{AtomicU8, Ordering};

/// What an entry costs beyond its key and value: its node and its share of the index.
pub const ENTRY_OVERHEAD_BYTES: usize = std::mem::size_of::<Node>() + 8;
/// The share of the budget that pinned entries may fill, as a divisor. What is pinned beyond it is
/// kept like `High`: it can be evicted, and `pins_refused` counts it.
pub const PINNED_SHARE: usize = 2;

/// Nodes are numbered by `u32`; one stripe never comes near, at some 600 GiB.
const NODES_MAX: usize = (u32::MAX - 1) as usize;

/// What a hit looks at comes first, so that it lies together.
#[repr(C)]
struct Node {
    key: Key,
    /// `None` while the node is free.
    slot: Option<Slot>,
    freq: AtomicU8,
    queue: Queue,
    seq: u32,
    hash: u64,
}

impl Node {
    /// What it counts for. A slot's weight is not changed in place.
    fn weight(&self) -> usize {
        self.slot.as_ref().map_or(0, |slot| weigh(&self.key.name, slot))
    }
}

fn weigh(name: &str, slot: &Slot) -> usize {
    ENTRY_OVERHEAD_BYTES + name.len() + slot.bytes()
}

/// What [`Table::put`] did besides putting.
#[derive(Default)]
pub(super) struct Put {
    /// The slot that was there.
    pub old: Option<Slot>,
    /// What was to be put, if it is heavier than the whole stripe: it was not kept, nor was an older copy.
    pub refused: Option<Slot>,
    /// Its pin was not honoured: pinned entries fill their share.
    pub pin_refused: bool,
}

#[derive(Default)]
pub(super) struct Table {
    index: HashTable<u32>,
    nodes: Nodes,
    free: Vec<u32>,
    policy: Policy,
    budget: usize,
    bytes: usize,
    pinned_bytes: usize,
}

impl Table {
    pub fn new(budget: usize) -> Self {
        Self {
            budget,
            ..Self::default()
        }
    }

    /// The slot of a key, without counting it as read.
    pub fn peek(&self, hash: u64, cache: CacheId, name: &str) -> Option<&Slot> {
        self.node(hash, cache, name)?.slot.as_ref()
    }

    /// The slot of a key, counted as read. Needs no exclusive access.
    #[inline]
    pub fn get(&self, hash: u64, cache: CacheId, name: &str) -> Option<&Slot> {
        let node = self.node(hash, cache, name)?;
        let freq = node.freq.load(Ordering::Relaxed);
        // A store only while it changes something, so that hot entries stay shared between cores.
        if freq < FREQ_MAX {
            node.freq.store(freq + 1, Ordering::Relaxed);
        }
        node.slot.as_ref()
    }

    /// The slot of a key, to be changed in place (not its weight).
    pub fn get_mut(&mut self, hash: u64, cache: CacheId, name: &str) -> Option<&mut Slot> {
        let at = self.find(hash, cache, name)?;
        self.nodes.0.get_mut(at as usize)?.slot.as_mut()
    }

    /// Puts a slot, replacing the key's older one. [`evict`](Table::evict) afterwards.
    pub fn put(&mut self, hash: u64, cache: CacheId, name: &str, slot: Slot) -> Put {
        let weight = weigh(name, &slot);
        if weight > self.budget || self.nodes.0.len() > NODES_MAX {
            return Put {
                old: self.remove(hash, cache, name),
                refused: Some(slot),
                pin_refused: false,
            };
        }
        let pinned = slot.priority == Priority::Pinned;
        let mut old = None;
        if let Some(at) = self.find(hash, cache, name) {
            if !pinned && let Some(node) = self.nodes.unpinned(at) {
                let before = node.weight();
                self.policy.reweigh(node.queue, before, weight);
                self.bytes = self.bytes.saturating_sub(before) + weight;
                let freq = node.freq.get_mut();
                *freq = (*freq + 1).min(FREQ_MAX);
                return Put {
                    old: node.slot.replace(slot),
                    ..Put::default()
                };
            }
            old = self.remove(hash, cache, name);
        }
        let key = Key::new(cache, name);
        let pin_refused = self.insert(hash, key, slot, weight, pinned);
        Put {
            old,
            refused: None,
            pin_refused,
        }
    }

    /// Files a new node; `true` if it was to be pinned and could not be.
    fn insert(&mut self, hash: u64, key: Key, slot: Slot, weight: usize, pinned: bool) -> bool {
        let fits = self.pinned_bytes + weight <= self.budget / PINNED_SHARE;
        let high = slot.priority >= Priority::High;
        let at = self.free.pop().unwrap_or(self.nodes.0.len() as u32);
        let seq = self.nodes.0.get(at as usize).map_or(0, |n| n.seq);
        let queue = if pinned && fits {
            self.pinned_bytes += weight;
            Queue::None
        } else {
            let place = Place { at, seq };
            self.policy.admit(place, weight, hash, high, self.budget)
        };
        let node = Node {
            key,
            slot: Some(slot),
            freq: AtomicU8::new(0),
            queue,
            seq,
            hash,
        };
        match self.nodes.0.get_mut(at as usize) {
            Some(place) => *place = node,
            None => self.nodes.0.push(node),
        }
        self.bytes += weight;
        let nodes = &self.nodes;
        self.index.insert_unique(hash, at, |at| nodes.hash(*at));
        self.policy.tidy(&self.nodes, self.index.len());
        pinned && !fits
    }

    /// Takes a key's slot out.
    pub fn remove(&mut self, hash: u64, cache: CacheId, name: &str) -> Option<Slot> {
        let nodes = &self.nodes;
        let found = self
            .index
            .find_entry(hash, |at| nodes.is(*at, cache, name))
            .ok()?;
        let (at, _) = found.remove();
        let (_, slot) = self.vacate(at)?;
        self.policy.tidy(&self.nodes, self.index.len());
        Some(slot)
    }

    /// Takes out every slot that `goes` says so of.
    pub fn remove_where(&mut self, goes: impl Fn(&Key, &Slot) -> bool) -> Vec<Slot> {
        let nodes = self.nodes.0.iter();
        let gone: Vec<(u64, Key)> = nodes
            .filter(|n| n.slot.as_ref().is_some_and(|slot| goes(&n.key, slot)))
            .map(|n| (n.hash, n.key.clone()))
            .collect();
        gone.iter()
            .filter_map(|(hash, key)| self.remove(*hash, key.cache, &key.name))
            .collect()
    }

    /// Frees a node that is in the index no more.
    fn vacate(&mut self, at: u32) -> Option<(Key, Slot)> {
        let node = self.nodes.0.get_mut(at as usize)?;
        let weight = node.weight();
        let slot = node.slot.take()?;
        self.policy.reweigh(node.queue, weight, 0);
        if node.queue == Queue::None {
            self.pinned_bytes = self.pinned_bytes.saturating_sub(weight);
        }
        self.bytes = self.bytes.saturating_sub(weight);
        node.seq = node.seq.wrapping_add(1);
        self.free.push(at);
        let nothing = Key::new(node.key.cache, "");
        Some((std::mem::replace(&mut node.key, nothing), slot))
    }

    /// Takes one entry out if the budget is passed; call until `None`.
    pub fn evict(&mut self) -> Option<(Key, Slot)> {
        if self.bytes <= self.budget {
            return None;
        }
        let place = self.policy.victim(&mut self.nodes, self.budget)?;
        let hash = self.nodes.hash(place.at);
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
        for (at, node) in (0..).zip(&mut self.nodes.0) {
            if self.pinned_bytes <= budget / PINNED_SHARE {
                break;
            }
            if node.slot.is_some() && node.queue == Queue::None {
                let (place, weight) = (Place { at, seq: node.seq }, node.weight());
                self.pinned_bytes = self.pinned_bytes.saturating_sub(weight);
                node.queue = self.policy.admit(place, weight, node.hash, true, budget);
                unpinned += 1;
            }
        }
        unpinned
    }

    /// Every resident entry with its hash.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Key, &Slot)> {
        let nodes = self.nodes.0.iter();
        nodes.filter_map(|n| n.slot.as_ref().map(|slot| (n.hash, &n.key, slot)))
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

    fn find(&self, hash: u64, cache: CacheId, name: &str) -> Option<u32> {
        let nodes = &self.nodes;
        self.index
            .find(hash, |at| nodes.is(*at, cache, name))
            .copied()
    }

    #[inline]
    fn node(&self, hash: u64, cache: CacheId, name: &str) -> Option<&Node> {
        self.nodes.0.get(self.find(hash, cache, name)? as usize)
    }
}

#[derive(Default)]
struct Nodes(Vec<Node>);

impl Nodes {
    #[inline]
    fn is(&self, at: u32, cache: CacheId, name: &str) -> bool {
        self.0
            .get(at as usize)
            .is_some_and(|n| n.key.cache == cache && n.key.name == name)
    }

    /// A node, unless it is pinned.
    fn unpinned(&mut self, at: u32) -> Option<&mut Node> {
        let node = self.0.get_mut(at as usize);
        node.filter(|node| node.queue != Queue::None)
    }

    fn hash(&self, at: u32) -> u64 {
        self.0.get(at as usize).map_or(0, |n| n.hash)
    }
}

impl Residents for Nodes {
    fn look(&self, place: Place) -> Option<Resident> {
        let node = self.0.get(place.at as usize)?;
        let slot = node.slot.as_ref()?;
        (node.seq == place.seq).then(|| Resident {
            weight: weigh(&node.key.name, slot),
            freq: node.freq.load(Ordering::Relaxed),
            hash: node.hash,
            queue: node.queue,
            is_low: slot.priority == Priority::Low,
        })
    }

    fn set(&mut self, place: Place, freq: u8, queue: Queue) {
        if let Some(node) = self.0.get_mut(place.at as usize) {
            node.freq.store(freq, Ordering::Relaxed);
            node.queue = queue;
        }
    }
}
