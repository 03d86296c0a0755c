//! Scanning what is sealed: in the order of names, which the store below does not have.
//!
//! A page opens every record of the cache and keeps the first ones: a scan of a sealed cache costs a pass over
//! it for each page. Places of older keys are read first, so that what is sealed anew meanwhile is seen.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::names::{is_reserved, split};
use super::open::MARKER;
use super::{Failure, Keys, PageLimit, SealedDriver, Walked};
use crate::key::SEPARATOR;
use crate::record::MAGIC;

/// How much is read from below at once.
const BELOW: PageLimit = PageLimit {
    count_max: 1_000,
    bytes_max: 1 << 20,
};

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
            let as_of = self.vault.replay.now();
            let records = self.inner.scan(below, &from, BELOW)?;
            let Some((last, _)) = records.last() else {
                return Ok(());
            };
            from = last.clone();
            // IMPORTANT: after the records: a key is there before what it has sealed.
            let keys = self.vault.keys()?;
            for (place, stored) in &records {
                let Some((key, record)) = self.shown(&keys, place, stored, as_of) else {
                    continue;
                };
                if key.starts_with(prefix) && *key > *after {
                    rows.put(key, record);
                }
            }
        }
    }

    /// Key and record of what is stored at a place, if it is to be shown at all.
    fn shown(
        &self,
        keys: &Keys,
        place: &Bytes,
        stored: &Bytes,
        as_of: u64,
    ) -> Option<(Bytes, Bytes)> {
        if *place == MARKER {
            return None;
        }
        match self.open_at(keys, place, stored) {
            Ok(found) if found.stamp.version.get() <= keys.floor => None,
            Ok(found)
                if self
                    .vault
                    .replay
                    .believes(place, found.stamp.version, as_of) =>
            {
                Some((found.key, found.record))
            }
            // An old one that was put back, or one that was edited, or is damaged: it has no name.
            Ok(_) | Err(_) => {
                self.vault.refuse();
                None
            }
        }
    }

    /// Records in the order of their places: for those who want all of them, once.
    pub(super) fn walk_on(&self, from: &[u8], page: PageLimit) -> Result<Walked, Failure> {
        let as_of = self.vault.replay.now();
        let below = self.inner.scan(b"", from, page)?;
        let keys = self.vault.keys()?;
        let next = below.last().map(|(place, _)| place.clone());
        let mut records = Vec::with_capacity(below.len());
        for (place, stored) in &below {
            let is_own = is_reserved(split(place).0) && stored.starts_with(&MAGIC);
            if !is_own && let Some(record) = self.shown(&keys, place, stored, as_of) {
                records.push(record);
            }
        }
        Ok(Walked { records, next })
    }
}
