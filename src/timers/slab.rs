//! Where timers lie: nodes of fixed size in chunks of fixed size.
//!
//! A vector that doubles would need half as much again just when there are most timers; a chunk more
//! never moves what is there. Nodes carry their own list links, so a list costs one number.

use smol_str::SmolStr;

use crate::clock::Millis;
use crate::key::{CacheId, Key};

/// No node.
pub const NIL: u32 = u32::MAX;
/// In `prev`: the node is not in use.
const FREE: u32 = u32::MAX;
/// Nodes per chunk.
const CHUNK: usize = 1_024;

/// One timer.
pub struct Node {
    /// Whose it is.
    pub key: Key,
    /// When it is due.
    pub at_ms: Millis,
    /// The node before it, or the list it is first in (see `wheel.rs`).
    pub prev: u32,
    /// The node after it, or [`NIL`].
    pub next: u32,
}

/// All timers, each by its number.
pub struct Slab {
    chunks: Vec<Vec<Node>>,
    free: u32,
    used: usize,
}

impl Slab {
    pub fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: NIL,
            used: 0,
        }
    }

    /// How many are in use.
    pub fn len(&self) -> usize {
        self.used
    }

    /// One more than the highest number in use.
    pub fn end(&self) -> u32 {
        let whole = self.chunks.len().saturating_sub(1) * CHUNK;
        (whole + self.chunks.last().map_or(0, Vec::len)) as u32
    }

    /// The timer with this number.
    pub fn get(&self, id: u32) -> Option<&Node> {
        let chunk = self.chunks.get(id as usize / CHUNK)?;
        let node = chunk.get(id as usize % CHUNK)?;
        (node.prev != FREE).then_some(node)
    }

    /// The timer with this number.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Node> {
        let node = self.node_mut(id)?;
        (node.prev != FREE).then_some(node)
    }

    fn node_mut(&mut self, id: u32) -> Option<&mut Node> {
        let chunk = self.chunks.get_mut(id as usize / CHUNK)?;
        chunk.get_mut(id as usize % CHUNK)
    }

    /// Keeps a timer, which is in no list yet, and returns its number.
    pub fn add(&mut self, key: Key, at_ms: Millis) -> u32 {
        let node = Node {
            key,
            at_ms,
            prev: NIL - 1,
            next: NIL,
        };
        self.used += 1;
        let id = self.free;
        if let Some(old) = self.node_mut(id) {
            let next = old.next;
            *old = node;
            self.free = next;
            return id;
        }
        let id = self.end();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(node),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(node);
                self.chunks.push(chunk);
            }
        }
        id
    }

    /// Forgets a timer, which is in no list any more, and returns its key.
    pub fn take(&mut self, id: u32) -> Option<Key> {
        let free = self.free;
        let node = self.get_mut(id)?;
        // A long name is shared memory: it must not be held by a node that nobody uses.
        let unnamed = Key {
            cache: CacheId(0),
            name: SmolStr::default(),
        };
        let key = std::mem::replace(&mut node.key, unnamed);
        node.prev = FREE;
        node.next = free;
        self.free = id;
        self.used -= 1;
        if self.used == 0 {
            *self = Self::new();
        }
        Some(key)
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let nodes: usize = self.chunks.iter().map(Vec::capacity).sum();
        nodes * size_of::<Node>() + self.chunks.capacity() * size_of::<Vec<Node>>()
    }
}
