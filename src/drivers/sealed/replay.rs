//! What was committed last for a key, for as long as it is remembered: an old sealed record that is put back
//! opens as well as it ever did, and only this tells.
//!
//! A table of a fixed size, in sets of eight: past it the longest unwritten are forgotten, and a replay of
//! those is not noticed. It outlives the driver's generations, not the process.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::version::Version;

/// So many keys are remembered.
pub const REPLAY_KEYS_MAX: usize = SHARDS * SETS * WAYS;
const SHARDS: usize = 16;
const SETS: usize = 1_024;
const WAYS: usize = 8;

/// What was committed last.
#[derive(Clone, Copy, Default)]
struct Known {
    /// What stands for the place; 0 for none.
    tag: u64,
    /// The version; 0 for a deletion.
    version: u64,
    /// When, in commits.
    tick: u64,
}

/// The table.
pub struct Replay {
    shards: [Mutex<Shard>; SHARDS],
    /// How often something was noted.
    tick: AtomicU64,
}

/// Made when it is first written to.
#[derive(Default)]
struct Shard {
    sets: Vec<[Known; WAYS]>,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            tick: AtomicU64::new(0),
        }
    }
}

impl Replay {
    /// Now: whatever was noted until then was committed before.
    pub fn now(&self) -> u64 {
        self.tick.load(Ordering::Acquire)
    }

    /// What was written to `place`, or that it was deleted. After it was committed.
    pub fn note(&self, place: &[u8], version: Option<Version>) {
        let tag = tag(place);
        let Some(shard) = self.shards.get(shard_of(tag)) else {
            return;
        };
        let mut shard = shard.lock();
        if shard.sets.is_empty() {
            shard.sets = vec![[Known::default(); WAYS]; SETS];
        }
        let tick = self.tick.fetch_add(1, Ordering::AcqRel) + 1;
        let Some(set) = shard.sets.get_mut(set_of(tag)) else {
            return;
        };
        let at = set.iter().position(|known| known.tag == tag);
        let known = match at {
            Some(at) => set.get_mut(at),
            None => set.iter_mut().min_by_key(|known| known.tick),
        };
        if let Some(known) = known {
            let version = version.map_or(0, Version::get);
            *known = Known { tag, version, tick };
        }
    }

    /// Nobody knows what is at `place`.
    pub fn forget(&self, place: &[u8]) {
        let tag = tag(place);
        let Some(shard) = self.shards.get(shard_of(tag)) else {
            return;
        };
        if let Some(set) = shard.lock().sets.get_mut(set_of(tag)) {
            let known = set.iter_mut().filter(|known| known.tag == tag);
            known.for_each(|known| *known = Known::default());
        }
    }

    /// Whether a record of this version, read after `as_of`, can be what was committed last to `place`. What was
    /// noted since says nothing: it may have been read before.
    pub fn believes(&self, place: &[u8], version: Version, as_of: u64) -> bool {
        let tag = tag(place);
        let Some(shard) = self.shards.get(shard_of(tag)) else {
            return true;
        };
        let shard = shard.lock();
        let set = shard.sets.get(set_of(tag));
        let known = set.and_then(|set| set.iter().find(|known| known.tag == tag));
        let known = known.filter(|known| known.tick <= as_of);
        known.is_none_or(|known| known.version != 0 && version.get() >= known.version)
    }
}

/// The end of a place is a hash already, but for plain keys.
fn tag(place: &[u8]) -> u64 {
    use std::hash::BuildHasher;
    foldhash::quality::FixedState::default()
        .hash_one(place)
        .max(1)
}

fn shard_of(tag: u64) -> usize {
    (tag % SHARDS as u64) as usize
}

fn set_of(tag: u64) -> usize {
    (tag / SHARDS as u64 % SETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_version_is_not_believed_nor_is_what_was_deleted() {
        let replay = Replay::default();
        let believes = |version| replay.believes(b"a", Version::at(version), replay.now());
        assert!(believes(1));
        replay.note(b"a", Some(Version::at(5)));
        assert!(!believes(4) && believes(5) && believes(6));
        assert!(replay.believes(b"b", Version::at(4), replay.now()));
        let before = replay.now();
        replay.note(b"a", None);
        assert!(replay.believes(b"a", Version::at(5), before), "read before");
        assert!(!believes(6));
        replay.forget(b"a");
        assert!(believes(1));
    }

    #[test]
    fn past_its_size_the_longest_unwritten_are_forgotten() {
        let replay = Replay::default();
        let place = |n: usize| n.to_le_bytes();
        let all = 4 * REPLAY_KEYS_MAX;
        (0..all).for_each(|n| replay.note(&place(n), Some(Version::at(9))));
        let knows = |n: usize| !replay.believes(&place(n), Version::at(1), replay.now());
        assert!((all - 100..all).all(knows));
        assert!(!(0..100).any(knows));
        let known = (0..all).filter(|n| knows(*n)).count();
        assert!(
            known <= REPLAY_KEYS_MAX && known > REPLAY_KEYS_MAX / 2,
            "{known}"
        );
    }
}
