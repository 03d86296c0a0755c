//! Which stored copies are not to be believed (the slot protocol, rule 11, SEMANTICS.md).
//!
//! Recorded before a dirty slot may go unstored, key by key up to a bound and whole caches beyond it;
//! ended only by a commit of something newer than the record, or by a store from which what is in doubt
//! was deleted since.

use hashbrown::HashTable;

use super::tier::{TierId, TierSet};
use crate::key::{CacheId, Key};
use crate::version::Version;

struct Doubt {
    hash: u64,
    key: Key,
    tiers: TierSet,
    /// The stripe's stamp when it was recorded. Only what was made later, and then stored, ends it: an
    /// older commit may still be under way, and it stores the very copy that must not be believed.
    stamp: u64,
    as_of: Version,
}

/// The distrusted keys of one stripe.
#[derive(Default)]
pub(super) struct Distrusts {
    keys: HashTable<Doubt>,
    /// Caches whose part of a store is distrusted as a whole, and as of when.
    wholes: Vec<(TierId, CacheId, Version)>,
}

/// A change that will not be stored.
pub(super) struct Unstored {
    pub hash: u64,
    pub key: Key,
    pub tiers: TierSet,
    pub stamp: u64,
    pub as_of: Version,
}

impl Distrusts {
    /// Tiers whose copy of this key is not to be believed.
    pub fn of(&self, hash: u64, cache: CacheId, name: &str) -> TierSet {
        let wholes = self.wholes.iter().filter(|(_, of, _)| *of == cache);
        let all = wholes.fold(TierSet::NONE, |set, (tier, ..)| set.with(*tier));
        if self.keys.is_empty() {
            return all;
        }
        let doubt = self.keys.find(hash, |d| is(&d.key, cache, name));
        all.or(doubt.map_or(TierSet::NONE, |d| d.tiers))
    }

    /// Records a change that will not be stored; beyond `count_max` keys all of its cache is distrusted.
    pub fn add(&mut self, new: Unstored, count_max: usize) {
        let (cache, name) = (new.key.cache, new.key.name.as_str());
        if let Some(doubt) = self.keys.find_mut(new.hash, |d| is(&d.key, cache, name)) {
            doubt.tiers = doubt.tiers.or(new.tiers);
            doubt.stamp = doubt.stamp.max(new.stamp);
            doubt.as_of = doubt.as_of.max(new.as_of);
        } else if self.keys.len() < count_max {
            let doubt = Doubt {
                hash: new.hash,
                key: new.key,
                tiers: new.tiers,
                stamp: new.stamp,
                as_of: new.as_of,
            };
            self.keys.insert_unique(new.hash, doubt, |d| d.hash);
        } else {
            for tier in new.tiers.iter() {
                let mut wholes = self.wholes.iter_mut();
                // What a lane gives up may be older than what is in doubt already.
                match wholes.find(|(t, of, _)| (*t, *of) == (tier, new.key.cache)) {
                    Some((.., since)) => *since = (*since).max(new.as_of),
                    None => self.wholes.push((tier, new.key.cache, new.as_of)),
                }
            }
        }
    }

    /// A tier has stored what was made at `stamp`: its copy of the key is believed again, if nothing
    /// that it lacks was made since.
    pub fn end(&mut self, hash: u64, key: &Key, tier: TierId, stamp: u64) {
        let found = self
            .keys
            .find_entry(hash, |d| is(&d.key, key.cache, &key.name));
        let Ok(mut found) = found else {
            return;
        };
        let doubt = found.get_mut();
        if doubt.stamp < stamp {
            doubt.tiers = doubt.tiers.without(tier);
            if doubt.tiers.is_empty() {
                found.remove();
            }
        }
    }

    /// A tier was emptied at `as_of`: nothing that was distrusted until then is in it any more.
    pub fn end_all(&mut self, tier: TierId, as_of: Version) {
        self.wholes
            .retain(|(t, _, since)| *t != tier || *since > as_of);
        self.keys.retain(|doubt| {
            if doubt.as_of <= as_of {
                doubt.tiers = doubt.tiers.without(tier);
            }
            !doubt.tiers.is_empty()
        });
    }

    /// A tier holds nothing of a cache any more that was in doubt at `as_of`: it is believed again, if no
    /// more has come to be in doubt since.
    pub fn end_whole(&mut self, tier: TierId, cache: CacheId, as_of: Version) {
        self.wholes
            .retain(|(t, of, since)| (*t, *of) != (tier, cache) || *since > as_of);
    }

    /// Caches whose part of a tier is distrusted as a whole, and as of when.
    pub fn wholes(&self, tier: TierId) -> impl Iterator<Item = (CacheId, Version)> {
        let wholes = self.wholes.iter().filter(move |(t, ..)| *t == tier);
        wholes.map(|(_, cache, as_of)| (*cache, *as_of))
    }

    /// What is distrusted in a tier is so up to `as_of` at least.
    pub fn redate(&mut self, tier: TierId, as_of: Version) {
        let wholes = self.wholes.iter_mut().filter(|(t, ..)| *t == tier);
        wholes.for_each(|(.., since)| *since = (*since).max(as_of));
        let doubts = self.keys.iter_mut().filter(|d| d.tiers.has(tier));
        doubts.for_each(|d| d.as_of = d.as_of.max(as_of));
    }

    /// Distrusted keys of these tiers, with their hashes and with those of the tiers that it is about.
    pub fn keys_of(&self, tiers: TierSet) -> impl Iterator<Item = (u64, &Key, TierSet)> {
        let doubts = self.keys.iter();
        let doubts = doubts.map(move |d| (d.hash, &d.key, d.tiers.and(tiers)));
        doubts.filter(|(.., tiers)| !tiers.is_empty())
    }

    /// How many keys are distrusted one by one.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Tiers of which a whole cache is distrusted.
    pub fn stores(&self) -> TierSet {
        let wholes = self.wholes.iter();
        wholes.fold(TierSet::NONE, |set, (tier, ..)| set.with(*tier))
    }
}

fn is(key: &Key, cache: CacheId, name: &str) -> bool {
    key.cache == cache && key.name == name
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: CacheId = CacheId(0);
    const A: TierId = TierId(0);
    const B: TierId = TierId(1);

    fn unstored(name: &str, tiers: u16, at: u64) -> Unstored {
        Unstored {
            hash: 7,
            key: Key::new(C, name),
            tiers: TierSet(tiers),
            stamp: at,
            as_of: Version::at(at),
        }
    }

    #[test]
    fn only_a_commit_of_something_newer_ends_it() {
        let mut all = Distrusts::default();
        all.add(unstored("k", 0b11, 5), 9);
        let key = Key::new(C, "k");
        all.end(7, &key, A, 4);
        all.end(7, &key, A, 5);
        assert_eq!(all.of(7, C, "k"), TierSet(0b11));
        all.end(7, &key, A, 6);
        assert_eq!(all.of(7, C, "k"), TierSet::NONE.with(B));
        assert_eq!(all.of(7, C, "other"), TierSet::NONE);
        all.end(7, &key, B, 6);
        assert_eq!(all.len(), 0);
        all.end(7, &key, B, 7);
    }

    #[test]
    fn a_second_overflow_begins_it_anew() {
        let mut all = Distrusts::default();
        all.add(unstored("k", 1, 5), 9);
        all.add(unstored("k", 2, 8), 9);
        all.end(7, &Key::new(C, "k"), A, 6);
        assert_eq!(all.of(7, C, "k"), TierSet(0b11));
        let of_b: Vec<_> = all.keys_of(TierSet::NONE.with(B)).collect();
        assert!(matches!(of_b.as_slice(), [(7, _, tiers)] if *tiers == TierSet::NONE.with(B)));
    }

    #[test]
    fn past_its_bound_whole_caches_are_distrusted_until_the_store_was_emptied_later() {
        let mut all = Distrusts::default();
        all.add(unstored("k", 1, 5), 1);
        all.add(unstored("m", 1, 6), 1);
        all.add(unstored("n", 1, 7), 1);
        assert_eq!(all.of(9, C, "anything"), TierSet(1));
        assert_eq!(all.of(9, CacheId(1), "another cache's"), TierSet::NONE);
        assert_eq!((all.len(), all.stores()), (1, TierSet(1)));
        all.end_all(A, Version::at(6));
        assert_eq!(all.len(), 0, "the key's own record is older than that");
        assert_eq!(all.stores(), TierSet(1));
        all.end_all(B, Version::at(9));
        assert_eq!(all.stores(), TierSet(1));
        all.end_all(A, Version::at(7));
        assert_eq!(all.of(9, C, "anything"), TierSet::NONE);
    }

    #[test]
    fn a_change_that_is_older_than_what_is_in_doubt_already_takes_nothing_from_it() {
        let mut all = Distrusts::default();
        all.add(unstored("k", 1, 9), 1);
        all.add(unstored("m", 1, 8), 1);
        all.add(unstored("n", 1, 6), 1);
        assert_eq!(all.wholes(A).collect::<Vec<_>>(), [(C, Version::at(8))]);
        all.add(unstored("k", 1, 7), 1);
        all.end(7, &Key::new(C, "k"), A, 8);
        all.end_all(A, Version::at(8));
        assert_eq!(all.of(7, C, "k"), TierSet::NONE.with(A));
    }

    #[test]
    fn a_cache_is_believed_again_unless_more_has_come_to_be_in_doubt() {
        let mut all = Distrusts::default();
        all.add(unstored("k", 0b11, 5), 0);
        all.end_whole(A, CacheId(1), Version::at(9));
        all.end_whole(A, C, Version::at(4));
        assert_eq!(all.of(7, C, "k"), TierSet(0b11));
        assert_eq!(all.wholes(A).collect::<Vec<_>>(), [(C, Version::at(5))]);
        all.end_whole(A, C, Version::at(5));
        assert_eq!(all.of(7, C, "k"), TierSet::NONE.with(B));
    }
}
