//! The order of timers: a hierarchical timing wheel of linked lists.
//!
//! After Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987), scheme 6: a timer lies at
//! the level of the highest group of six bits in which its tick differs from the current one, and moves
//! down when time reaches its slot. Eleven levels hold every `u64` deadline, so nothing overflows.

use super::TICK_MS;
use super::slab::{NIL, Slab};
use crate::clock::{Millis, NEVER};

const LEVELS: usize = 11;
const SLOTS: usize = 64;
const GROUP_BITS: u32 = 6;

/// The list of timers whose time has come.
const DUE: u32 = (LEVELS * SLOTS) as u32;
/// The list of timers that are on their way to a finer level.
const MOVING: u32 = DUE + 1;
/// Marks a `prev` that is a list and no node.
const LIST: u32 = 1 << 31;

/// Timers by time, as lists through the nodes of a [`Slab`].
pub struct Wheel {
    /// Every tick up to this one has been looked at.
    elapsed: u64,
    heads: Box<[u32]>,
    /// One bit per slot that is not empty.
    occupied: [u64; LEVELS],
}

impl Wheel {
    pub fn new(now_ms: Millis) -> Self {
        Self {
            elapsed: reached(now_ms),
            heads: vec![NIL; MOVING as usize + 1].into(),
            occupied: [0; LEVELS],
        }
    }

    /// Files a node by its deadline.
    pub fn insert(&mut self, slab: &mut Slab, id: u32) {
        let Some(node) = slab.get(id) else { return };
        // Rounded up: a timer may be late, never early.
        let tick = node.at_ms.div_ceil(TICK_MS);
        self.link(slab, self.list_of(tick), id);
    }

    fn list_of(&self, tick: u64) -> u32 {
        if tick <= self.elapsed {
            return DUE;
        }
        let level = (self.elapsed ^ tick).ilog2() / GROUP_BITS;
        let slot = (tick >> (level * GROUP_BITS)) % SLOTS as u64;
        level * SLOTS as u32 + slot as u32
    }

    /// Takes a node out of whatever list it is in.
    pub fn unlink(&mut self, slab: &mut Slab, id: u32) {
        let Some(node) = slab.get(id) else { return };
        let (prev, next) = (node.prev, node.next);
        if let Some(after) = slab.get_mut(next) {
            after.prev = prev;
        }
        if prev & LIST != 0 {
            self.set_head(prev & !LIST, next);
        } else if let Some(before) = slab.get_mut(prev) {
            before.next = next;
        }
    }

    fn link(&mut self, slab: &mut Slab, list: u32, id: u32) {
        let first = self.head(list);
        if let Some(first) = slab.get_mut(first) {
            first.prev = id;
        }
        if let Some(node) = slab.get_mut(id) {
            node.prev = LIST | list;
            node.next = first;
        }
        self.set_head(list, id);
    }

    fn head(&self, list: u32) -> u32 {
        self.heads.get(list as usize).copied().unwrap_or(NIL)
    }

    fn set_head(&mut self, list: u32, id: u32) {
        if let Some(head) = self.heads.get_mut(list as usize) {
            *head = id;
        }
        if let Some(occupied) = self.occupied.get_mut(list as usize / SLOTS) {
            let bit = 1 << (list as usize % SLOTS);
            *occupied = if id == NIL {
                *occupied & !bit
            } else {
                *occupied | bit
            };
        }
    }

    /// A timer whose time has come by `now_ms`, still in its list. Each timer that is moved to a finer
    /// level on the way costs one of `steps`; without any left the answer is `None`.
    pub fn due(&mut self, slab: &mut Slab, now_ms: Millis, steps: &mut usize) -> Option<u32> {
        let now = reached(now_ms);
        loop {
            let due = self.head(DUE);
            if due != NIL {
                return Some(due);
            }
            let moving = self.head(MOVING);
            if moving != NIL {
                *steps = steps.checked_sub(1)?;
                self.unlink(slab, moving);
                self.insert(slab, moving);
                continue;
            }
            match self.next_slot() {
                Some((list, starts)) if starts <= now => {
                    self.elapsed = starts;
                    let to = if list < SLOTS as u32 { DUE } else { MOVING };
                    self.pour(slab, list, to);
                }
                _ => {
                    self.elapsed = self.elapsed.max(now);
                    return None;
                }
            }
        }
    }

    /// Moves a whole list to an empty one.
    fn pour(&mut self, slab: &mut Slab, from: u32, to: u32) {
        let first = self.head(from);
        if let Some(first) = slab.get_mut(first) {
            first.prev = LIST | to;
        }
        self.set_head(to, first);
        self.set_head(from, NIL);
    }

    /// The slot that comes next, and the tick at which it begins.
    ///
    /// Timers of a finer level are all before those of a coarser one, and no slot at or before the
    /// current one is occupied, so it is the first bit of the first level that has any.
    fn next_slot(&self) -> Option<(u32, u64)> {
        let (level, occupied) = self.occupied.iter().enumerate().find(|(_, o)| **o != 0)?;
        let slot = occupied.trailing_zeros();
        let shift = level as u32 * GROUP_BITS;
        let above = self.elapsed >> shift >> GROUP_BITS << GROUP_BITS << shift;
        let list = level as u32 * SLOTS as u32 + slot;
        Some((list, above | u64::from(slot) << shift))
    }

    /// When to look again: now, if there is anything left to do; else when the next slot begins.
    pub fn next_ms(&self) -> Option<Millis> {
        let tick = if self.head(DUE) != NIL || self.head(MOVING) != NIL {
            self.elapsed
        } else {
            self.next_slot()?.1
        };
        Some(tick.saturating_mul(TICK_MS))
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.heads)
    }
}

/// The last tick that has begun. At the end of time the last deadlines are due, although the tick that
/// they round up to would begin after it.
fn reached(now_ms: Millis) -> u64 {
    now_ms / TICK_MS + u64::from(now_ms == NEVER)
}
