//! Reclaiming: walks the index of expiry up to now and deletes the records it still speaks of.
//!
//! An index entry is a hint: it may be older than its record, or stand a little too early. Only
//! the record itself decides, and only the records of due entries are read.

use std::collections::HashSet;
use std::ops::Bound;

use bytes::Bytes;

use super::layout::{self, Expiry, INDEX, INDEX_END};
use super::store::{Changes, Store, View};
use crate::clock::Millis;
use crate::record;
use crate::version::Version;

/// Most index entries that are dropped or moved in one call, beside those of deleted records.
pub const STALE_PER_CALL_MAX: usize = 1_024;

/// Most entries that are looked at while nobody else can commit: each may be a record to be read.
const LOOKED_AT_MAX: usize = 64;

/// Where the index begins: nothing stands before it.
///
/// Kept in memory so that looking for the first entry does not walk over the graves of all the
/// entries deleted before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Floor(Vec<u8>);

impl Floor {
    /// Of a store just opened.
    pub fn new() -> Self {
        Self(vec![INDEX])
    }

    /// An entry was written.
    pub fn lower(&mut self, entry: &[u8]) {
        if entry < self.0.as_slice() {
            self.0 = entry.to_vec();
        }
    }

    /// When the first entry is due.
    pub fn next_ms(&self, view: &View<'_>) -> fjall::Result<Option<Millis>> {
        let mut entries = view.range(Bound::Included(&self.0), &INDEX_END);
        let Some((entry, _)) = entries.next().transpose()? else {
            return Ok(None);
        };
        // An entry that is none is due at once, and dropped then.
        Ok(Some(
            layout::split_index_key(&entry).map_or(0, |(at, _)| at),
        ))
    }
}

/// What is to be done.
pub struct Plan<'a> {
    /// Deletes the records and their entries, drops stale entries, moves early ones.
    pub changes: Changes<'a>,
    /// How many keys `changes` has; nothing needs to be done if it is 0.
    pub items: u64,
    /// The records to be deleted.
    pub records: Vec<(Bytes, Version)>,
    /// What they are.
    pub bodies: Vec<Bytes>,
    /// Where the index begins once `changes` are committed.
    pub floor: Floor,
}

/// Looks at what is due at `now_ms`; deletes at most `count_max` records.
pub fn plan<'a>(
    store: &'a Store,
    floor: &Floor,
    now_ms: Millis,
    count_max: usize,
) -> fjall::Result<Plan<'a>> {
    let view = store.view();
    let end = match now_ms.checked_add(1) {
        Some(after) => layout::index_key(after, b""),
        None => INDEX_END.to_vec(),
    };
    let mut plan = Plan {
        changes: store.changes(0),
        items: 0,
        records: Vec::new(),
        bodies: Vec::new(),
        floor: floor.clone(),
    };
    let mut stale = 0;
    // A record committed twice can have two entries that both speak the truth.
    let mut seen = HashSet::new();
    for entry in view.range(Bound::Included(&floor.0), &end) {
        if plan.records.len() >= count_max || stale >= STALE_PER_CALL_MAX {
            break;
        }
        let (entry, value) = entry?;
        plan.floor = Floor(entry.to_vec());
        plan.items += 1;
        match current(&view, &entry, &value)?.filter(|(key, ..)| seen.insert(key.clone())) {
            Some((key, expiry, record)) if expiry.keep_ms <= now_ms => {
                plan.changes.delete(layout::record_key(&key).into());
                plan.items += 1;
                plan.records.push((key, expiry.version));
                plan.bodies.push(record);
            }
            // It stood early. Its own place is behind now, and whatever stands there is older.
            Some((key, expiry, _)) => {
                let place = layout::index_key(expiry.keep_ms, &key);
                plan.changes.put(place.into(), &expiry.encode());
                plan.items += 1;
                stale += 1;
            }
            None => stale += 1,
        }
        plan.changes.delete(entry);
    }
    Ok(plan)
}

/// Entries that speak of no record any more, whenever they are due.
pub struct Stale<'a> {
    /// Drops them.
    pub changes: Changes<'a>,
    /// How many they are.
    pub items: u64,
    /// Where to go on; nothing at the end of the index.
    pub next: Option<Vec<u8>>,
}

/// Looks at the next entries behind `after`: they hold the names of records that are gone.
pub fn stale<'a>(store: &'a Store, after: &[u8]) -> fjall::Result<Stale<'a>> {
    let view = store.view();
    let mut stale = Stale {
        changes: store.changes(0),
        items: 0,
        next: None,
    };
    let entries = view.range(Bound::Excluded(after), &INDEX_END);
    for entry in entries.take(LOOKED_AT_MAX) {
        let (entry, value) = entry?;
        stale.next = Some(entry.to_vec());
        if is_stale(&view, &entry, &value)? {
            stale.changes.delete(entry);
            stale.items += 1;
        }
    }
    Ok(stale)
}

/// Whether an index entry speaks of a record that is gone, or of nothing.
fn is_stale(view: &View<'_>, entry: &[u8], value: &[u8]) -> fjall::Result<bool> {
    let (Some((_, key)), Some(expiry)) = (layout::split_index_key(entry), Expiry::decode(value))
    else {
        return Ok(true);
    };
    let Some(stored) = view.get(&layout::record_key(key))? else {
        return Ok(true);
    };
    // One that cannot be read may be the one.
    let is_other =
        |stamp: record::Stamp| (stamp.version, stamp.keep_ms) != (expiry.version, expiry.keep_ms);
    Ok(record::stamp(key, &stored).is_ok_and(is_other))
}

/// Key, expiry and bytes of the record that an index entry speaks of, if it is still that record.
fn current(
    view: &View<'_>,
    entry: &[u8],
    value: &[u8],
) -> fjall::Result<Option<(Bytes, Expiry, Bytes)>> {
    let (Some((_, key)), Some(expiry)) = (layout::split_index_key(entry), Expiry::decode(value))
    else {
        return Ok(None);
    };
    let Some(stored) = view.get(&layout::record_key(key))? else {
        return Ok(None);
    };
    // A record that cannot be read is left to the reader who finds it: it may be a newer one.
    let is_same = record::stamp(key, &stored)
        .is_ok_and(|stamp| stamp.version == expiry.version && stamp.keep_ms == expiry.keep_ms);
    Ok(is_same.then(|| (Bytes::copy_from_slice(key), expiry, stored)))
}
