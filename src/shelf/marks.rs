//! Marks: the claim of a flight that goes down to a tier for a key (the slot protocol, rule 4,
//! SEMANTICS.md).
//!
//! A mark is left in the same critical section as the miss, has an identity of its own, is shared by
//! later flights for the same key, and is taken away by any mutation. What comes up from below may
//! be kept only while the very mark it went down under still stands.

use hashbrown::HashTable;

use crate::key::{CacheId, Key};

/// Names one mark, for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MarkId(u64);

struct Mark {
    hash: u64,
    key: Key,
    id: MarkId,
    flights: u32,
}

/// The marks of one stripe.
#[derive(Default)]
pub(super) struct Marks {
    table: HashTable<Mark>,
    issued: u64,
}

impl Marks {
    /// Leaves a mark, or shares the one that stands.
    pub fn leave(&mut self, hash: u64, cache: CacheId, name: &str) -> MarkId {
        if let Some(mark) = self.table.find_mut(hash, |m| is(&m.key, cache, name)) {
            mark.flights += 1;
            return mark.id;
        }
        self.issued += 1;
        let id = MarkId(self.issued);
        let mark = Mark {
            hash,
            key: Key::new(cache, name),
            id,
            flights: 1,
        };
        self.table.insert_unique(hash, mark, |m| m.hash);
        id
    }

    /// Whether this very mark still stands.
    pub fn stands(&self, hash: u64, cache: CacheId, name: &str, id: MarkId) -> bool {
        self.table
            .find(hash, |m| is(&m.key, cache, name))
            .is_some_and(|m| m.id == id)
    }

    /// Takes the key's mark away, whoever shares it: a mutation, or a promotion.
    pub fn strike(&mut self, hash: u64, cache: CacheId, name: &str) {
        // Asking whether there is any mark at all first keeps a plain set from a second look-up.
        if self.table.is_empty() {
            return;
        }
        if let Ok(found) = self.table.find_entry(hash, |m| is(&m.key, cache, name)) {
            found.remove();
        }
    }

    /// One flight ends; the mark goes with its last one.
    pub fn release(&mut self, hash: u64, cache: CacheId, name: &str, id: MarkId) {
        let Ok(mut found) = self.table.find_entry(hash, |m| is(&m.key, cache, name)) else {
            return;
        };
        let mark = found.get_mut();
        if mark.id != id {
            return;
        }
        mark.flights = mark.flights.saturating_sub(1);
        if mark.flights == 0 {
            found.remove();
        }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }
}

fn is(key: &Key, cache: CacheId, name: &str) -> bool {
    key.cache == cache && key.name == name
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: CacheId = CacheId(0);

    #[test]
    fn a_second_flight_shares_the_standing_mark() {
        let mut marks = Marks::default();
        let first = marks.leave(1, C, "k");
        assert_eq!(marks.leave(1, C, "k"), first);
        marks.release(1, C, "k", first);
        assert!(marks.stands(1, C, "k", first), "one flight is still down");
        marks.release(1, C, "k", first);
        assert_eq!(marks.len(), 0);
    }

    #[test]
    fn a_mark_left_after_a_mutation_is_another_one() {
        let mut marks = Marks::default();
        let first = marks.leave(1, C, "k");
        marks.strike(1, C, "k");
        let second = marks.leave(1, C, "k");
        assert_ne!(first, second);
        assert!(!marks.stands(1, C, "k", first));
        marks.release(1, C, "k", first);
        assert!(
            marks.stands(1, C, "k", second),
            "a late release is not its own"
        );
    }

    #[test]
    fn marks_of_two_keys_with_one_hash_are_two() {
        let mut marks = Marks::default();
        let a = marks.leave(1, C, "a");
        marks.leave(1, C, "b");
        marks.strike(1, C, "b");
        marks.strike(1, C, "c");
        assert!(marks.stands(1, C, "a", a));
        assert_eq!(marks.len(), 1);
    }
}
