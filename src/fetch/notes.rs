//! What is remembered of loads that kept nothing, one note for a key: that its source has nothing (negative
//! caching; RFC 2308 is its best known form), or that it could not be loaded.
//!
//! A note is a hint, bounded and dropped at will. Whether a key is still missing is decided by the claim that
//! the note keeps.

use std::collections::VecDeque;

use hashbrown::HashMap;
use smol_str::SmolStr;

use super::table::Id;
use crate::clock::Millis;
use crate::error::Error;
use crate::shelf::{MarkId, Scope};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use crate::version::Version;

/// What is remembered of the last load of a key.
pub(crate) struct Note {
    pub what: Noted,
    /// What proves that nothing has happened to the key since.
    pub proof: Proof,
    pub until_ms: Millis,
}

/// What the last load of a key came to.
#[derive(Clone)]
pub(crate) enum Noted {
    /// The source has nothing.
    Missing,
    /// It could not be loaded.
    Failed(Error),
}

/// What proves that nothing has happened to a key since a load of it began.
#[derive(Clone)]
pub(crate) struct Proof {
    pub scope: Arc<Scope>,
    pub mark: MarkId,
    pub began: Version,
    pub tags: Arc<[SmolStr]>,
}

/// The notes of one larder.
pub(crate) struct Notes {
    table: Mutex<Table>,
    /// So that a fetch that finds nothing asks no lock where nothing is remembered.
    count: AtomicUsize,
    count_max: usize,
}

#[derive(Default)]
struct Table {
    notes: HashMap<Id, (u64, Note)>,
    /// In the order in which they were made. One that is no more, or was made again since, has another serial.
    order: VecDeque<(Id, u64)>,
    issued: u64,
}

/// Notes that are no more: the caller is to give back their claims. (It also drops them, which is a host's code,
/// without the lock.)
pub(crate) type Dropped = Vec<(Id, Note)>;

impl Notes {
    /// Room for so many.
    pub fn new(count_max: usize) -> Self {
        Self {
            table: Mutex::default(),
            count: AtomicUsize::new(0),
            count_max,
        }
    }

    /// Remembers this of the last load of a key. The oldest are forgotten where there is no more room.
    pub fn put(&self, id: Id, note: Note, now_ms: Millis) -> Dropped {
        let mut table = self.table.lock();
        table.issued += 1;
        let serial = table.issued;
        table.order.push_back((id.clone(), serial));
        let before = table.notes.insert(id.clone(), (serial, note));
        let mut dropped: Dropped = before.map(|(_, note)| (id, note)).into_iter().collect();
        while table.notes.len() > self.count_max || table.begins_with_one_that_is_over(now_ms) {
            let Some((id, serial)) = table.order.pop_front() else {
                break;
            };
            if table.notes.get(&id).is_some_and(|(own, _)| *own == serial)
                && let Some((_, note)) = table.notes.remove(&id)
            {
                dropped.push((id, note));
            }
        }
        if table.order.len() > 2 * table.notes.len() + 16 {
            let Table { notes, order, .. } = &mut *table;
            order.retain(|(id, serial)| notes.get(id).is_some_and(|(own, _)| own == serial));
        }
        self.count.store(table.notes.len(), Ordering::Release);
        dropped
    }

    /// What the last load of a key came to, if that is remembered; whether it still says anything is for the
    /// proof to show.
    pub fn of(&self, id: &Id, now_ms: Millis) -> Option<(Noted, Proof)> {
        if self.len() == 0 {
            return None;
        }
        let table = self.table.lock();
        let (_, note) = table.notes.get(id)?;
        (now_ms < note.until_ms).then(|| (note.what.clone(), note.proof.clone()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

impl Table {
    fn begins_with_one_that_is_over(&self, now_ms: Millis) -> bool {
        self.order.front().is_some_and(|(id, serial)| {
            let note = self.notes.get(id).filter(|(own, _)| own == serial);
            note.is_none_or(|(_, note)| note.until_ms <= now_ms)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::CacheId;
    use std::any::TypeId;

    fn id(name: u32) -> Id {
        Id {
            cache: CacheId(0),
            kind: TypeId::of::<u8>(),
            schema: 0,
            name: name.to_string().into(),
        }
    }

    fn failed(until_ms: Millis) -> Note {
        let bounds = crate::shelf::Bounds {
            events_max: 1,
            events_bytes_max: 1,
            deadlines_max: 1,
            distrusted_max: 1,
        };
        let versions = Arc::new(crate::version::VersionClock::new(0));
        let shelf = crate::shelf::Shelf::new(1, 1 << 16, 1, bounds, versions);
        let scope = shelf.scope("users");
        let (mark, began) = shelf.claim(&scope, 0, "k", 0);
        Note {
            what: Noted::Failed(Error::Closed),
            proof: Proof {
                scope,
                mark,
                began,
                tags: Arc::new([]),
            },
            until_ms,
        }
    }

    fn knows(notes: &Notes, name: u32, now_ms: Millis) -> bool {
        notes.of(&id(name), now_ms).is_some()
    }

    #[test]
    fn a_note_is_forgotten_when_its_time_is_over() {
        let notes = Notes::new(9);
        assert!(!knows(&notes, 1, 0));
        notes.put(id(1), failed(100), 0);
        assert!(knows(&notes, 1, 99) && !knows(&notes, 1, 100));
        let dropped = notes.put(id(2), failed(300), 200);
        assert_eq!((notes.len(), dropped.len()), (1, 1));
    }

    #[test]
    fn past_their_bound_the_oldest_are_forgotten_and_one_made_again_is_young() {
        let notes = Notes::new(3);
        let dropped = [1, 2, 3, 1, 4].map(|name| notes.put(id(name), failed(100), 0).len());
        assert_eq!(dropped, [0, 0, 0, 1, 1], "each claim is given back once");
        let known = [1, 2, 3, 4].map(|name| knows(&notes, name, 0));
        assert_eq!(known, [true, false, true, true]);
    }

    #[test]
    fn one_key_that_is_noted_again_and_again_takes_the_room_of_one() {
        let notes = Notes::new(3);
        for at_ms in 0..1_000 {
            notes.put(id(1), failed(at_ms + 100), at_ms);
        }
        assert_eq!(notes.len(), 1);
        assert!(notes.table.lock().order.len() <= 19);
    }
}
