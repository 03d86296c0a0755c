//! Which expiries have been announced already: a bounded memory of keys and versions.
//!
//! A store reclaims a record some time after memory announced its expiry; without this the watcher
//! would hear of it twice. Forgetting means at worst that it does.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::version::Version;

/// The newest version per key of which nothing more is to be announced, for the last keys.
pub struct Announced {
    count_max: usize,
    up_to: HashMap<u64, Version>,
    oldest: VecDeque<u64>,
}

impl Announced {
    /// Remembers at most `count_max` keys.
    pub fn new(count_max: usize) -> Self {
        Self {
            count_max,
            up_to: HashMap::new(),
            oldest: VecDeque::new(),
        }
    }

    /// Nothing up to `version` of the key with this hash is to be announced any more.
    pub fn remember(&mut self, hash: u64, version: Version) {
        if let Some(known) = self.up_to.get_mut(&hash) {
            *known = version.max(*known);
            return;
        }
        if self.up_to.len() >= self.count_max
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.up_to.remove(&oldest);
        }
        if self.up_to.len() < self.count_max {
            self.up_to.insert(hash, version);
            self.oldest.push_back(hash);
        }
    }

    /// Whether this version needs no announcing.
    pub fn covers(&self, hash: u64, version: Version) -> bool {
        self.up_to.get(&hash).is_some_and(|known| version <= *known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_covers_what_it_remembers_and_older_versions() {
        let mut announced = Announced::new(2);
        announced.remember(1, Version::at(5));
        announced.remember(1, Version::at(3));
        assert!(announced.covers(1, Version::at(5)) && announced.covers(1, Version::at(4)));
        assert!(!announced.covers(1, Version::at(6)) && !announced.covers(2, Version::at(1)));
    }

    #[test]
    fn the_oldest_key_is_forgotten_first() {
        let mut announced = Announced::new(2);
        for hash in 1..=3 {
            announced.remember(hash, Version::at(5));
        }
        let covered = [1, 2, 3].map(|hash| announced.covers(hash, Version::at(5)));
        assert_eq!(covered, [false, true, true]);
        let mut nothing = Announced::new(0);
        nothing.remember(1, Version::at(5));
        assert!(!nothing.covers(1, Version::at(5)));
    }
}
