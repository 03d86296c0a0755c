//! The timers of entries: at most one per key, in at most 64 bytes.
//!
//! Pure: it is told the time and says which keys are due; what that means is the TTL manager's to
//! find out.
//!
//! **Precision.** A timer never fires early. It fires at the first look at or after its deadline
//! rounded up to [`TICK_MS`], so less than 16 ms late, plus the clock's own tick (4 ms on Linux).
//!
//! **Memory.** A node is 48 bytes (key 32, deadline 8, two links 8). Its number in the index is 4
//! bytes and a control byte per bucket; a table that grows is between 3/8 and 7/8 full, which makes 5.7 to
//! 13.3 bytes. So a timer takes 54 to 61.4 bytes at the time when there are most of them, beside 60 KB
//! for one. A name over 23 bytes is shared with the entry. Nodes of timers that are gone are used again, and given back when
//! there are none.

mod index;
mod slab;
#[cfg(test)]
mod tests;
mod wheel;

use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use crate::clock::{Millis, NEVER};
use crate::key::Key;
use index::Index;
use slab::Slab;
use wheel::Wheel;

/// Most keys with a timer: a quarter of a gigabyte of timers.
pub const TIMERS_MAX: usize = 4_194_304;

/// What deadlines are rounded up to.
const TICK_MS: Millis = 16;
/// Node numbers stay below the bit that marks a list.
const NODES_MAX: usize = 1 << 30;

/// Which keys are due when.
pub struct Timers<S = RandomState> {
    hasher: S,
    index: Index,
    slab: Slab,
    wheel: Wheel,
    timers_max: usize,
    trim: Option<Trim>,
}

/// A search for timers of keys that nobody has asked for lately.
struct Trim {
    /// A bit per node that was asked for since the search began.
    seen: Vec<u64>,
    /// The next node to look at.
    at: u32,
}

impl Timers {
    /// No timers, and at most `timers_max` of them later.
    pub fn new(timers_max: usize, now_ms: Millis) -> Self {
        Self::with_hasher(timers_max, now_ms, RandomState::default())
    }
}

impl<S: BuildHasher> Timers<S> {
    /// As [`new`](Timers::new), with a way to hash keys.
    pub fn with_hasher(timers_max: usize, now_ms: Millis, hasher: S) -> Self {
        Self {
            hasher,
            index: Index::new(),
            slab: Slab::new(),
            wheel: Wheel::new(now_ms),
            timers_max: timers_max.min(NODES_MAX),
            trim: None,
        }
    }

    /// How many keys have a timer.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Sees to it that the timer of `key` fires at `at_ms` or earlier; `false` if there are too many.
    ///
    /// A later deadline changes nothing: whoever is told that the key is due looks, finds the later
    /// one, and arms it then. That makes rewriting a hot key free.
    pub fn arm(&mut self, key: Key, at_ms: Millis) -> bool {
        if at_ms == NEVER {
            return true;
        }
        let hash = self.hasher.hash_one(&key);
        let slab = &self.slab;
        let is = |id| slab.get(id).is_some_and(|node| node.key == key);
        let id = match self.index.find(hash, is) {
            Some(id) => {
                self.move_up(id, at_ms);
                id
            }
            None if self.slab.len() >= self.timers_max => return false,
            None => {
                let id = self.slab.add(key, at_ms);
                let (slab, hasher) = (&self.slab, &self.hasher);
                self.index.add(hash, id, |id| hash_of(slab, hasher, id));
                self.wheel.insert(&mut self.slab, id);
                id
            }
        };
        if let Some(trim) = &mut self.trim {
            trim.saw(id);
        }
        true
    }

    fn move_up(&mut self, id: u32, at_ms: Millis) {
        let node = self.slab.get_mut(id).filter(|node| node.at_ms > at_ms);
        if let Some(node) = node {
            node.at_ms = at_ms;
            self.wheel.unlink(&mut self.slab, id);
            self.wheel.insert(&mut self.slab, id);
        }
    }

    /// Moves the keys whose time has come to `into`; their timers are gone. At most `count_max` timers
    /// are fired and as many are moved within the wheel, so [`next_ms`](Timers::next_ms) may say that
    /// there is more to do at once. `now_ms` never goes back.
    pub fn fire(&mut self, now_ms: Millis, count_max: usize, into: &mut Vec<Key>) {
        let mut steps = count_max;
        for _ in 0..count_max {
            let Some(id) = self.wheel.due(&mut self.slab, now_ms, &mut steps) else {
                return;
            };
            into.extend(self.forget(id));
        }
    }

    /// When [`fire`](Timers::fire) is to be called again: exact for what is due within a second,
    /// else now and then earlier than the first deadline (at most once per level of the wheel).
    pub fn next_ms(&self) -> Option<Millis> {
        self.wheel.next_ms()
    }

    fn forget(&mut self, id: u32) -> Option<Key> {
        let (slab, hasher) = (&self.slab, &self.hasher);
        let of = |id| hash_of(slab, hasher, id);
        self.index.remove(of(id), id, of);
        self.wheel.unlink(&mut self.slab, id);
        self.slab.take(id)
    }

    /// Begins a search for timers that are of no more use: keys that are not armed again between
    /// this and [`trim`](Timers::trim).
    pub fn begin_trim(&mut self) {
        let seen = Vec::new();
        self.trim = Some(Trim { seen, at: 0 });
    }

    /// Looks at up to `count_max` timers and disarms those that were not armed again since the search
    /// began, but what `keep` says yes to. `true` once it has seen all of them.
    pub fn trim(&mut self, count_max: usize, keep: impl Fn(&Key) -> bool) -> bool {
        let Some(mut trim) = self.trim.take() else {
            return true;
        };
        for _ in 0..count_max {
            if trim.at >= self.slab.end() {
                return true;
            }
            let id = trim.at;
            trim.at += 1;
            let node = self.slab.get(id).filter(|_| !trim.has_seen(id));
            if node.is_some_and(|node| !keep(&node.key)) {
                self.forget(id);
            }
        }
        self.trim = Some(trim);
        false
    }

    /// Bytes taken from the allocator.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.slab.bytes() + self.index.bytes() + self.wheel.bytes()
    }
}

impl Trim {
    fn saw(&mut self, id: u32) {
        let at = id as usize / 64;
        if self.seen.len() <= at {
            self.seen.resize(at + 1, 0);
        }
        if let Some(word) = self.seen.get_mut(at) {
            *word |= 1 << (id % 64);
        }
    }

    fn has_seen(&self, id: u32) -> bool {
        let word = self.seen.get(id as usize / 64);
        word.is_some_and(|word| word >> (id % 64) & 1 == 1)
    }
}

fn hash_of(slab: &Slab, hasher: &impl BuildHasher, id: u32) -> u64 {
    slab.get(id).map_or(0, |node| hasher.hash_one(&node.key))
}
