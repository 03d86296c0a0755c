//! Which record is to blame when a store refuses a batch: batches shrink until it stands alone, so that
//! one record keeps no other from being stored.
//!
//! Plain arithmetic; it knows slots by hash and stamp.

use std::collections::VecDeque;

/// Batches that succeed before they may grow again.
const GROW_AFTER: u32 = 4;
/// Records under suspicion at once.
const SUSPECTS_MAX: usize = 64;
/// What a record is refused at.
const GUILTY: u32 = 9;
/// For a record that failed alone while the store took something else right afterwards.
const PROVEN: u32 = 3;
/// For one that failed alone, and the driver with it.
const LIKELY: u32 = 1;

/// How large batches may be, and who is under suspicion.
#[derive(Debug)]
pub struct Blame {
    count_max: usize,
    count: usize,
    stored: u32,
    suspects: VecDeque<Suspect>,
    /// No value was stored since one was given up: it may be that the store takes none at all.
    is_unsure: bool,
}

#[derive(Debug)]
struct Suspect {
    hash: u64,
    stamp: u64,
    score: u32,
}

impl Blame {
    /// Nobody is; batches hold up to `count_max`.
    pub fn new(count_max: usize) -> Self {
        Self {
            count_max,
            count: count_max,
            stored: 0,
            suspects: VecDeque::new(),
            is_unsure: false,
        }
    }

    /// How many changes the next batch may hold.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A batch was stored.
    pub fn stored(&mut self) {
        self.stored += 1;
        if self.stored >= GROW_AFTER {
            self.stored = 0;
            self.count = self.count.saturating_mul(2).min(self.count_max);
        }
    }

    /// The store has taken a value.
    pub fn takes_values(&mut self) {
        self.is_unsure = false;
    }

    /// A batch of `count` changes was not stored.
    pub fn failed(&mut self, count: usize) {
        self.stored = 0;
        self.count = (count / 2).max(1);
    }

    /// A change failed alone, and the store did (`proven`) or did not take something else afterwards.
    /// `true` if it is to be given up; only one of those that stand between two values that are stored: a
    /// store that takes none would lose all that waits for it, one after the other.
    pub fn alone(&mut self, hash: u64, stamp: u64, proven: bool) -> bool {
        let at = self.suspects.iter().position(|s| s.hash == hash);
        let mut suspect = match at.and_then(|at| self.suspects.remove(at)) {
            // Another value of the same key is another record.
            Some(suspect) if suspect.stamp == stamp => suspect,
            _ => Suspect {
                hash,
                stamp,
                score: 0,
            },
        };
        let more = if proven { PROVEN } else { LIKELY };
        suspect.score = (suspect.score + more).min(GUILTY);
        if suspect.score == GUILTY && !self.is_unsure {
            self.is_unsure = true;
            return true;
        }
        if self.suspects.len() >= SUSPECTS_MAX {
            self.suspects.pop_front();
        }
        self.suspects.push_back(suspect);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_to_one_and_grow_again_when_some_were_stored() {
        let mut blame = Blame::new(1_000);
        let mut sizes = Vec::new();
        while blame.count() > 1 {
            blame.failed(blame.count());
            sizes.push(blame.count());
        }
        assert_eq!(sizes, [500, 250, 125, 62, 31, 15, 7, 3, 1]);
        blame.failed(1);
        assert_eq!(blame.count(), 1);
        (0..GROW_AFTER).for_each(|_| blame.stored());
        assert_eq!(blame.count(), 2);
        (0..100).for_each(|_| blame.stored());
        assert_eq!(blame.count(), 1_000);
    }

    #[test]
    fn a_record_is_given_up_when_it_alone_was_refused_again_and_again() {
        let mut blame = Blame::new(10);
        let proven: Vec<_> = (0..3).map(|_| blame.alone(7, 1, true)).collect();
        assert_eq!(proven, [false, false, true]);
        blame.takes_values();
        let likely: Vec<_> = (0..9).map(|_| blame.alone(7, 1, false)).collect();
        assert_eq!(likely.iter().filter(|guilty| **guilty).count(), 1);
        assert!(likely[8]);
    }

    #[test]
    fn a_second_record_is_given_up_only_if_a_value_was_stored_since_the_first_was() {
        let mut blame = Blame::new(10);
        let given_up = |blame: &mut Blame, hash| (0..20).any(|_| blame.alone(hash, 1, true));
        assert!(given_up(&mut blame, 7));
        assert!(!given_up(&mut blame, 8));
        blame.takes_values();
        assert!(blame.alone(8, 1, true) && !given_up(&mut blame, 9));
    }

    #[test]
    fn a_new_value_of_the_key_is_not_suspected() {
        let mut blame = Blame::new(10);
        assert!(!blame.alone(7, 1, true) && !blame.alone(7, 1, true));
        assert!(!blame.alone(7, 2, true));
    }

    #[test]
    fn suspects_are_bounded_and_the_oldest_is_forgotten_first() {
        let mut blame = Blame::new(10);
        for hash in 0..=SUSPECTS_MAX as u64 {
            blame.alone(hash, 1, true);
        }
        assert_eq!(blame.suspects.len(), SUSPECTS_MAX);
        blame.alone(0, 1, true);
        assert!(!blame.alone(0, 1, true), "its first time was forgotten");
    }
}
