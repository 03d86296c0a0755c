//! Scanning what is sealed: in the order of names, which the store below does not have.
//!
//! A page opens every record of the cache and keeps the first ones: a scan of a sealed cache costs a pass over
//! it for each page. Places of older keys are read first, so that what is sealed anew meanwhile is seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::names::{is_reserved, split};
use super::open::MARKER;
use super::{Failure, Keys, PageLimit, SealedDriver, Walked};
use crate::key::{FENCES, SEPARATOR};
use crate::record::MAGIC;

/// How much is read from below at once.
const BELOW: PageLimit = PageLimit {
    count_max: 1_000,
    bytes_max: 1 << 20,
};

/// What is known before something is read below.
struct Moment {
    keys: Arc<Keys>,
    /// Of what was committed.
    tick: u64,
}

/// The first records of a page so far, by their names.
struct Rows {
    rows: BTreeMap<Bytes, Bytes>,
    bytes: usize,
    limit: PageLimit,
}

impl Rows {
    /// A later one of the same name takes its place.
    fn put(&mut self, key: Bytes, record: Bytes) {
        self.bytes += key.len() + record.len();
        if let Some((key, record)) = self.rows.get_key_value(&key) {
            self.bytes -= key.len() + record.len();
        }
        self.rows.insert(key, record);
        while self.is_over()
            && let Some((key, record)) = self.rows.pop_last()
        {
            self.bytes -= key.len() + record.len();
        }
    }

    /// One record more than makes the page full is not needed.
    fn is_over(&self) -> bool {
        let last = self.rows.last_key_value();
        let last_bytes = last.map_or(0, |(key, record)| key.len() + record.len());
        let is_full = self.bytes - last_bytes >= self.limit.bytes_max;
        self.rows.len() > self.limit.count_max.max(1) || (self.rows.len() > 1 && is_full)
    }
}

impl SealedDriver {
    /// The first records whose keys begin with `prefix` and are greater than `after`.
    pub(super) fn page(
        &self,
        prefix: &[u8],
        after: &[u8],
        limit: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        loop {
            let keys = self.vault.keys()?;
            let mut rows = Rows {
                rows: BTreeMap::new(),
                bytes: 0,
                limit,
            };
            for below in self.passes(&keys, prefix) {
                self.pass(&below, prefix, after, &mut rows)?;
            }
            // Changed at the two ends of a rotation. Other keys come as often as seals are used up, and
            // nothing has moved because of them.
            if self.vault.keys()?.knows_places_of(&keys) {
                return Ok(rows.rows.into_iter().collect());
            }
        }
    }

    /// What is to be read below, in this order.
    fn passes(&self, keys: &Keys, prefix: &[u8]) -> Vec<Bytes> {
        let mut passes = Vec::new();
        if keys.is_converting {
            passes.push(Bytes::copy_from_slice(prefix));
        }
        let (cache, _) = split(prefix);
        if prefix.contains(&(SEPARATOR as u8)) {
            passes.extend(keys.cache(cache));
        } else {
            // Old places lie before new ones, but for plain records.
            passes.push(Bytes::new());
        }
        passes
    }

    fn pass(
        &self,
        below: &Bytes,
        prefix: &[u8],
        after: &[u8],
        rows: &mut Rows,
    ) -> Result<(), Failure> {
        let mut from = Bytes::new();
        loop {
            let moment = self.moment()?;
            let records = self.inner.scan(below, &from, BELOW)?;
            let Some((last, _)) = records.last() else {
                return Ok(());
            };
            from = last.clone();
            // IMPORTANT: after the records: a key is there before what it has sealed.
            let keys = self.vault.keys()?;
            for (place, stored) in &records {
                let Some((key, record)) = self.shown(&keys, place, stored, &moment) else {
                    continue;
                };
                if key.starts_with(prefix) && *key > *after {
                    rows.put(key, record);
                }
            }
        }
    }

    /// What is known before something is read below.
    fn moment(&self) -> Result<Moment, Failure> {
        Ok(Moment {
            keys: self.vault.keys()?,
            tick: self.vault.replay.now(),
        })
    }

    /// Key and record of what is stored at a place, if it is to be shown at all.
    fn shown(
        &self,
        keys: &Keys,
        place: &Bytes,
        stored: &Bytes,
        before: &Moment,
    ) -> Option<(Bytes, Bytes)> {
        if *place == MARKER {
            return None;
        }
        match self.open_at(keys, place, stored) {
            Ok(found) if found.epoch < keys.floor => None,
            Ok(found)
                if self
                    .vault
                    .replay
                    .believes(place, found.stamp.version, before.tick) =>
            {
                Some((found.key, found.record))
            }
            // IMPORTANT: whoever reads the fences must know of one that is damaged, or of a later layout, and it has a
            // name. Shorter than any record: a sealed one takes its place.
            Err(_) if keys.is_converting && is_plain_fence(place, stored) => {
                Some((place.clone(), Bytes::new()))
            }
            // Its key was forgotten since it was read: it is sealed anew, in another place.
            Err(_) if !keys.knows_places_of(&before.keys) => None,
            // An old one that was put back, or one that was edited, or is damaged: it has no name.
            Ok(_) | Err(_) => {
                self.vault.refuse();
                None
            }
        }
    }

    /// All records once, in the order of their places, plain ones first: what is sealed anew meanwhile moves
    /// on, never back.
    pub(super) fn walk_on(&self, from: &[u8], page: PageLimit) -> Result<Walked, Failure> {
        let (wants_plain, from) = match from.split_first() {
            Some((&SEALED, from)) => (false, from),
            Some((_, from)) => (true, from),
            None => (self.vault.keys()?.is_converting, from),
        };
        let moment = self.moment()?;
        let below = self.inner.scan(b"", from, page)?;
        let keys = self.vault.keys()?;
        let next = match below.last() {
            Some((place, _)) if wants_plain => Some(cursor(PLAIN, place)),
            Some((place, _)) => Some(cursor(SEALED, place)),
            None if wants_plain => Some(cursor(SEALED, b"")),
            None => None,
        };
        let wanted = below
            .iter()
            .filter(|(_, stored)| stored.starts_with(&MAGIC) == wants_plain);
        let records = wanted.filter_map(|(place, stored)| {
            let is_own = is_reserved(split(place).0) && wants_plain;
            if is_own {
                return None;
            }
            self.shown(&keys, place, stored, &moment)
        });
        Ok(Walked {
            records: records.collect(),
            next,
        })
    }
}

/// First byte of where a walk goes on among plain records.
const PLAIN: u8 = b'p';
/// First byte of where it goes on among sealed ones.
const SEALED: u8 = b's';

fn cursor(kind: u8, place: &[u8]) -> Bytes {
    [&[kind], place].concat().into()
}

/// Whether a plain fence is stored at a place.
pub(super) fn is_plain_fence(place: &[u8], stored: &[u8]) -> bool {
    split(place).0 == FENCES.as_bytes() && stored.starts_with(&MAGIC)
}
