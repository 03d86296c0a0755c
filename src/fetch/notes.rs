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
pub(crate) enum Note {
    /// The source has nothing.
    Missing { missing: Missing, until_ms: Millis },
    /// It could not be loaded.
    Failed { error: Error, until_ms: Millis },
}

/// What proves that nothing has happened to a key since a load found it missing.
#[derive(Clone)]
pub(crate) struct Missing {
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

/// Claims of notes that are no more: the caller is to give them back.
pub(crate) type Dropped = Vec<(Id, Missing)>;

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
        let mut dropped: Dropped = before
            .and_then(|(_, note)| note.of(id))
            .into_iter()
            .collect();
        while table.notes.len() > self.count_max || table.begins_with_one_that_is_over(now_ms) {
            let Some((id, serial)) = table.order.pop_front() else {
                break;
            };
            if table.notes.get(&id).is_some_and(|(own, _)| *own == serial)
                && let Some((_, note)) = table.notes.remove(&id)
            {
                dropped.extend(note.of(id));
            }
        }
        if table.order.len() > 2 * table.notes.len() + 16 {
            let Table { notes, order, .. } = &mut *table;
            order.retain(|(id, serial)| notes.get(id).is_some_and(|(own, _)| own == serial));
        }
        self.count.store(table.notes.len(), Ordering::Release);
        dropped
    }

    /// That the source of a key has nothing, if that is remembered.
    pub fn missing(&self, id: &Id, now_ms: Millis) -> Option<Missing> {
        self.get(id, |note| match note {
            Note::Missing { missing, until_ms } if now_ms < *until_ms => Some(missing.clone()),
            _ => None,
        })
    }

    /// Why a key could not be loaded, if that is remembered.
    pub fn failed(&self, id: &Id, now_ms: Millis) -> Option<Error> {
        self.get(id, |note| match note {
            Note::Failed { error, until_ms } if now_ms < *until_ms => Some(error.clone()),
            _ => None,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn get<T>(&self, id: &Id, read: impl FnOnce(&Note) -> Option<T>) -> Option<T> {
        if self.len() == 0 {
            return None;
        }
        let table = self.table.lock();
        table.notes.get(id).and_then(|(_, note)| read(note))
    }
}

impl Table {
    fn begins_with_one_that_is_over(&self, now_ms: Millis) -> bool {
        self.order.front().is_some_and(|(id, serial)| {
            let note = self.notes.get(id).filter(|(own, _)| own == serial);
            note.is_none_or(|(_, note)| note.until_ms() <= now_ms)
        })
    }
}

impl Note {
    fn until_ms(&self) -> Millis {
        match self {
            Self::Missing { until_ms, .. } | Self::Failed { until_ms, .. } => *until_ms,
        }
    }

    fn of(self, id: Id) -> Option<(Id, Missing)> {
        match self {
            Self::Missing { missing, .. } => Some((id, missing)),
            Self::Failed { .. } => None,
        }
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
        let error = Error::Closed;
        Note::Failed { error, until_ms }
    }

    #[test]
    fn a_note_is_forgotten_when_its_time_is_over() {
        let notes = Notes::new(9);
        assert!(notes.failed(&id(1), 0).is_none());
        notes.put(id(1), failed(100), 0);
        assert!(notes.failed(&id(1), 99).is_some());
        assert!(notes.failed(&id(1), 100).is_none());
        assert!(notes.missing(&id(1), 0).is_none(), "it is none of these");
        notes.put(id(2), failed(300), 200);
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn past_their_bound_the_oldest_are_forgotten_and_one_made_again_is_young() {
        let notes = Notes::new(3);
        for name in [1, 2, 3, 1, 4] {
            notes.put(id(name), failed(100), 0);
        }
        let known = [1, 2, 3, 4].map(|name| notes.failed(&id(name), 0).is_some());
        assert_eq!(known, [true, false, true, true]);
    }

    #[test]
    fn one_key_that_is_noted_again_and_again_takes_the_room_of_one() {
        let notes = Notes::new(3);
        for at_ms in 0..10_000 {
            notes.put(id(1), failed(at_ms + 100), at_ms);
        }
        assert_eq!(notes.len(), 1);
        assert!(notes.table.lock().order.len() <= 19);
    }
}
