//! Which entry goes next: S3-FIFO in bytes.
//!
//! Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023: a small queue for
//! newcomers, a main queue for entries that were read again, and a memory of what left the small
//! queue lately. Queues hold table positions with a sequence number; an entry that has gone leaves a
//! stale place behind, which is skipped. This file moves numbers; it owns no entry.

use std::collections::VecDeque;

/// The share of the budget that newcomers get, as a divisor. The paper has a tenth; see benches/RESULTS.md.
const SMALL_SHARE: usize = 20;
/// How many of those that left are remembered, in percent of those that are resident. As many as in the paper
/// bring back all of a loop that is a little too large, and with that none of it.
const GHOST_PERCENT: usize = 65;
/// Reads beyond this are not counted.
pub(super) const FREQ_MAX: u8 = 3;
/// How often a newcomer must have been read to stay.
const PROMOTE_AT: u8 = 1;

/// A position in the table, with the sequence number that tells whether it still means the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub at: u32,
    pub seq: u32,
}

/// Which queue an entry stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Queue {
    Small,
    Main,
    /// In none: pinned entries are not up for eviction.
    None,
}

/// What the policy asks about an entry it is about to move.
pub(super) trait Residents {
    /// Weight and frequency of what stands at `place`; `None` if that entry has gone.
    fn look(&self, place: Place) -> Option<Resident>;
    /// The hash of its key.
    fn hash(&self, place: Place) -> u64;
    /// Sets how often it counts as read, and where it stands.
    fn set(&mut self, place: Place, freq: u8, queue: Queue);
}

/// One resident entry in the policy's eyes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    pub weight: usize,
    pub freq: u8,
    pub queue: Queue,
    /// Never gets a second chance.
    pub is_low: bool,
}

/// The queues of one stripe.
#[derive(Default)]
pub(super) struct Policy {
    small: VecDeque<Place>,
    main: VecDeque<Place>,
    small_bytes: usize,
    main_bytes: usize,
    ghosts: Ghosts,
    has_evicted: bool,
}

impl Policy {
    /// Takes a new entry in and says which queue it stands in.
    pub fn admit(
        &mut self,
        place: Place,
        weight: usize,
        hash: u64,
        high: bool,
        budget: usize,
    ) -> Queue {
        // Until the first eviction the main queue is filled too: else a working set that just fits
        // would stand in the small queue alone, and a loop over it would lose it entry by entry.
        let spills = !self.has_evicted && self.small_bytes + weight > budget / SMALL_SHARE;
        if high || spills || self.ghosts.take(hash) {
            self.main.push_back(place);
            self.main_bytes += weight;
            Queue::Main
        } else {
            self.small.push_back(place);
            self.small_bytes += weight;
            Queue::Small
        }
    }

    /// An entry of `queue` has become lighter or heavier.
    pub fn reweigh(&mut self, queue: Queue, from: usize, to: usize) {
        let bytes = match queue {
            Queue::Small => &mut self.small_bytes,
            Queue::Main => &mut self.main_bytes,
            Queue::None => return,
        };
        *bytes = bytes.saturating_sub(from).saturating_add(to);
    }

    /// Picks the entry that goes next: its place is out of the queues then, and the caller takes it
    /// out of the table and its weight off its queue. `None` if nothing may go.
    pub fn victim(&mut self, residents: &mut impl Residents, budget: usize) -> Option<Place> {
        self.has_evicted = true;
        // Each step takes a place from a queue, and each entry is put back at most FREQ_MAX + 1
        // times before its count is used up, so this ends.
        loop {
            // The latest newcomer stays as long as main has something, however heavy it is.
            let has_too_many = self.small_bytes > budget / SMALL_SHARE && self.small.len() > 1;
            let from_small = has_too_many || self.main.is_empty();
            let place = if from_small {
                self.small.pop_front().or_else(|| self.main.pop_front())
            } else {
                self.main.pop_front()
            }?;
            let Some(seen) = residents.look(place) else {
                continue;
            };
            match self.judge(place, seen) {
                Some(freq) => residents.set(place, freq, Queue::Main),
                None => {
                    if seen.queue == Queue::Small {
                        self.ghosts.remember(residents.hash(place));
                    }
                    return Some(place);
                }
            }
        }
    }

    /// What becomes of the entry at the head of a queue: another round in main, counted as read so
    /// often, or out.
    fn judge(&mut self, place: Place, seen: Resident) -> Option<u8> {
        let is_new = seen.queue == Queue::Small;
        let threshold = if is_new { PROMOTE_AT } else { 1 };
        if !seen.is_low && seen.freq >= threshold {
            self.reweigh(seen.queue, seen.weight, 0);
            self.reweigh(Queue::Main, 0, seen.weight);
            self.main.push_back(place);
            return Some(if is_new { 0 } else { seen.freq - 1 });
        }
        None
    }

    /// Drops stale places once they outnumber the living, so that a cache that is only ever written
    /// and removed from does not grow its queues.
    pub fn tidy(&mut self, residents: &impl Residents, living: usize) {
        if self.small.len() + self.main.len() > 2 * living + 64 {
            self.small.retain(|p| residents.look(*p).is_some());
            self.main.retain(|p| residents.look(*p).is_some());
        }
        self.ghosts.fit(living);
    }
}

/// What left the small queue lately: fingerprints in sets of four, oldest of a set forgotten first.
#[derive(Default)]
struct Ghosts {
    sets: Vec<[u32; 4]>,
}

impl Ghosts {
    /// Grows to remember so many as it should beside those that are resident. Growing forgets.
    fn fit(&mut self, living: usize) {
        let sets = (living * GHOST_PERCENT / 100).div_ceil(4).max(4);
        if sets > self.sets.len() + self.sets.len() / 4 {
            let mut grown = Vec::new();
            grown.resize(sets, [0; 4]);
            self.sets = grown;
        }
    }

    fn set_of(&mut self, hash: u64) -> Option<(&mut [u32; 4], u32)> {
        // Neither uses the bits that pick the stripe (47 and a few below): they are the same for all keys here.
        let spread = u64::from((hash as u32).rotate_left(22));
        let at = (spread * self.sets.len() as u64) >> 32;
        // Zero marks an empty place.
        let print = ((hash >> 10) as u32).max(1);
        self.sets.get_mut(at as usize).map(|set| (set, print))
    }

    fn remember(&mut self, hash: u64) {
        if let Some((set, print)) = self.set_of(hash) {
            set.rotate_right(1);
            set[0] = print;
        }
    }

    fn take(&mut self, hash: u64) -> bool {
        let Some((set, print)) = self.set_of(hash) else {
            return false;
        };
        let found = set.iter_mut().find(|p| **p == print);
        found.is_some_and(|p| {
            *p = 0;
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[derive(Default)]
    struct Fake(HashMap<u32, Resident>);

    fn hash_of(at: u32) -> u64 {
        u64::from(at) << 21 | u64::from(at + 1)
    }

    impl Residents for Fake {
        fn look(&self, place: Place) -> Option<Resident> {
            self.0.get(&place.at).copied()
        }
        fn hash(&self, place: Place) -> u64 {
            hash_of(place.at)
        }
        fn set(&mut self, place: Place, freq: u8, queue: Queue) {
            let resident = self.0.get_mut(&place.at).unwrap();
            resident.freq = freq;
            resident.queue = queue;
        }
    }

    struct Bench {
        policy: Policy,
        fake: Fake,
        budget: usize,
    }

    impl Bench {
        fn new(budget: usize) -> Self {
            let mut policy = Policy::default();
            policy.tidy(&Fake::default(), budget);
            Self {
                policy,
                fake: Fake::default(),
                budget,
            }
        }
        fn add(&mut self, at: u32, freq: u8) -> Queue {
            self.add_as(at, freq, false, false)
        }
        fn add_as(&mut self, at: u32, freq: u8, high: bool, is_low: bool) -> Queue {
            let queue = self
                .policy
                .admit(Place { at, seq: 0 }, 1, hash_of(at), high, self.budget);
            let resident = Resident {
                weight: 1,
                freq,
                queue,
                is_low,
            };
            self.fake.0.insert(at, resident);
            queue
        }
        fn evict(&mut self) -> Option<u32> {
            let place = self.policy.victim(&mut self.fake, self.budget)?;
            let gone = self.fake.0.remove(&place.at)?;
            self.policy.reweigh(gone.queue, gone.weight, 0);
            Some(place.at)
        }
    }

    #[test]
    fn newcomers_that_are_read_again_stay_and_others_go() {
        let mut bench = Bench::new(20);
        bench.policy.has_evicted = true;
        for at in 0..10 {
            bench.add(at, u8::from(at == 0));
        }
        assert_eq!(bench.evict(), Some(1), "0 was read again and moved to main");
        assert_eq!(bench.fake.0[&0].queue, Queue::Main);
    }

    #[test]
    fn what_left_lately_returns_to_main() {
        let mut bench = Bench::new(20);
        bench.policy.has_evicted = true;
        bench.add(7, 0);
        assert_eq!(bench.evict(), Some(7));
        assert_eq!(bench.add(7, 0), Queue::Main);
        assert_eq!(bench.add(8, 0), Queue::Small);
    }

    #[test]
    fn high_enters_main_and_low_gets_no_second_chance() {
        let mut bench = Bench::new(20);
        bench.policy.has_evicted = true;
        assert_eq!(bench.add_as(1, 0, true, false), Queue::Main);
        bench.add_as(2, 3, false, true);
        bench.add(3, 0);
        bench.policy.small_bytes += 100;
        assert_eq!(bench.evict(), Some(2));
    }

    #[test]
    fn a_newcomer_heavier_than_their_share_does_not_go_for_itself() {
        let mut bench = Bench::new(20);
        bench.policy.has_evicted = true;
        bench.add_as(1, 0, true, false);
        bench.add(2, 0);
        bench.policy.small_bytes += 100;
        assert_eq!(bench.evict(), Some(1));
        assert_eq!(bench.evict(), Some(2), "nothing else is left");
    }

    #[test]
    fn main_is_filled_before_the_first_eviction() {
        let mut bench = Bench::new(2 * SMALL_SHARE);
        let queues: Vec<_> = (0..5).map(|at| bench.add(at, 0)).collect();
        assert_eq!(queues[..2], [Queue::Small, Queue::Small]);
        assert_eq!(queues[2..], [Queue::Main, Queue::Main, Queue::Main]);
    }

    #[test]
    fn entries_in_main_live_as_often_as_they_were_read() {
        let mut bench = Bench::new(20);
        bench.add_as(1, 2, true, false);
        bench.add_as(2, 0, true, false);
        assert_eq!(bench.evict(), Some(2));
        assert_eq!(bench.evict(), Some(1));
        assert_eq!(bench.evict(), None);
    }

    #[test]
    fn stale_places_are_skipped_and_tidied_away() {
        let mut bench = Bench::new(20);
        for at in 0..200 {
            bench.add(at, 0);
            bench.fake.0.remove(&at);
        }
        bench.policy.tidy(&bench.fake, 0);
        assert!(bench.policy.small.is_empty() && bench.policy.main.is_empty());
        bench.add(1, 0);
        bench.fake.0.remove(&1);
        assert_eq!(bench.evict(), None);
    }
}
