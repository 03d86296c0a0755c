//! The disk driver: records and their index of expiry in one fjall keyspace, with a watermark.
//!
//! What fjall does not promise is added here: a directory that is always usable, a store that
//! notices what it has lost, and a version ceiling that survives it. It must not decide what to do
//! about a failure; it says which kind it is.

use std::collections::HashSet;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use self::closing::Closing;
use self::layout::{Expiry, HEAD_KEY, Head, KEY_BYTES_MAX};
use self::reclaim::Floor;
use self::room::Room;
use self::store::{Changes, Store, Verdict};
pub(crate) use self::verify::Past;
use self::watermark::{Marks, Moved, SYNC_INTERVAL_MS, WatermarkFile};
use super::{
    Driver, Emptied, Failure, Opening, PageLimit, Reclaimed, StoreDurability, Usage, Watermark,
    Write,
};
use crate::clock::{Millis, NEVER};

mod aside;
mod closing;
mod config;
mod directory;
#[cfg(feature = "test-util")]
pub(crate) mod fuzzing;
mod layout;
mod open;
mod reclaim;
mod room;
mod salvage;
mod start;
mod store;
mod trust;
mod verify;
mod watermark;

#[cfg(feature = "secure")]
pub(crate) use self::{
    directory::{DirLock, erase, lock, sync_dir},
    open::path_failure,
};
pub use aside::Quarantine;
pub use config::{
    CACHE_BYTES, DISK_FREE_BYTES_MIN, DiskConfig, JOURNAL_BYTES_MAX, MEMTABLE_BYTES,
    OPEN_FILES_MAX, QUARANTINED_MAX, WORKER_THREADS,
};
pub use salvage::SALVAGE_MS_MAX;
pub use verify::VERIFY_MS_MAX;

/// A store in a directory. Dropping it releases the directory.
pub struct DiskDriver {
    dir: PathBuf,
    quarantined: Option<Quarantine>,
    is_sharing: bool,
    /// Where the index of expiry begins. Held by the writing thread for the length of a commit.
    floor: Mutex<Floor>,
    /// The writing thread's alone.
    room: Mutex<Room>,
    /// IMPORTANT: not held during a commit, so that no reader waits for one.
    marked: Mutex<Marked>,
    // IMPORTANT: the store is closed before the lock is given back.
    store: Store,
    _closing: Closing,
    lock: Arc<directory::DirLock>,
}

/// How far the store has come, in memory and in the file.
struct Marked {
    head: Head,
    file: WatermarkFile,
    marks: Marks,
    /// What is written is what a lost store had: the loss is still to be reported.
    is_salvaging: bool,
    /// The device has failed: that explains whatever else fails.
    is_explained: bool,
}

impl DiskDriver {
    /// Single records are given in the store's own memory from here on: for whoever keeps them for a moment only.
    #[cfg(feature = "secure")]
    pub(crate) fn sharing(self) -> Self {
        Self {
            is_sharing: true,
            ..self
        }
    }

    /// Commits `changes` as the next batch, and says so in the watermark.
    fn apply(
        &self,
        mut changes: Changes<'_>,
        head: Head,
        durability: StoreDurability,
    ) -> Result<(), Failure> {
        changes.put(HEAD_KEY.into(), &head.encode());
        changes.commit(durability).map_err(|e| self.failed(&e))?;
        let marked = &mut *self.marked.lock();
        marked.head = head;
        let is_salvaging = marked.is_salvaging;
        let Marked { file, marks, .. } = marked;
        marks.written_seq = head.seq;
        marks.is_lost &= is_salvaging;
        let moved = match durability {
            StoreDurability::Written => Moved::Cache,
            StoreDurability::Synced => {
                marks.synced_seq = head.seq;
                Moved::Device
            }
        };
        file.write(marks, moved).map_err(|e| self.unmarked(&e))
    }

    /// Drops what the index says of records that are gone: their names.
    fn drop_stale_entries(&self) -> Result<(), Failure> {
        let mut after = vec![layout::INDEX];
        loop {
            // IMPORTANT: with the floor: nobody else commits meanwhile.
            let _floor = self.floor.lock();
            let stale = reclaim::stale(&self.store, &after).map_err(|e| self.failed(&e))?;
            let Some(next) = stale.next else {
                return Ok(());
            };
            after = next;
            if stale.items > 0 {
                let mut head = self.marked.lock().head;
                head.seq += 1;
                head.items += stale.items + 1;
                self.apply(stale.changes, head, StoreDurability::Written)?;
            }
        }
    }

    /// Turns an error of the store into an instruction.
    fn failed(&self, error: &fjall::Error) -> Failure {
        let (verdict, reason) = store::judge(error);
        let marked = &mut *self.marked.lock();
        // Merging tables will stumble over damage again and again: the next opening gives the store
        // up, or looks whether it must. If this cannot be written, the next one who fails tries again.
        match verdict {
            Verdict::Damaged => marked.marks.is_damaged = true,
            Verdict::Poisoned if !marked.is_explained && !room::is_short(&self.dir) => {
                marked.marks.is_suspect = true;
            }
            _ => {
                marked.is_explained = true;
                return open::failure(&self.dir, verdict, &reason);
            }
        }
        if let Err(e) = marked.file.write_synced(&marked.marks) {
            tracing::warn!(error = %store::say_io(&e), "damage could not be recorded");
        }
        open::failure(&self.dir, verdict, &reason)
    }

    /// The watermark could not be written.
    fn unmarked(&self, error: &std::io::Error) -> Failure {
        let (dir, reason) = (self.dir.display(), store::say_io(error));
        Failure::Retry {
            reason: format!("{dir}: the watermark could not be written, {reason}"),
            after: Duration::from_millis(SYNC_INTERVAL_MS),
        }
    }

    /// Refuses what fjall would panic on.
    fn check(&self, write: &Write) -> Result<(), Failure> {
        let (key_bytes, bytes) = (write.key().len(), write.weight());
        if key_bytes > KEY_BYTES_MAX || bytes - key_bytes > u32::MAX as usize {
            return Err(Failure::fatal(format!(
                "a key of {key_bytes} bytes with a record of {} bytes is too large, limits are \
                 {KEY_BYTES_MAX} and {}",
                bytes - key_bytes,
                u32::MAX
            )));
        }
        Ok(())
    }
}

impl Driver for DiskDriver {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let key = layout::record_key(key);
        let found = match self.is_sharing {
            true => self.store.peek(&key),
            false => self.store.get(&key),
        };
        found.map_err(|e| self.failed(&e))
    }

    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        let view = self.store.view();
        let get = |key: &Bytes| view.get(&layout::record_key(key));
        let found: Result<_, _> = keys.iter().map(get).collect();
        found.map_err(|e| self.failed(&e))
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        batch.iter().try_for_each(|write| self.check(write))?;
        let puts = batch.iter().filter(|w| matches!(w, Write::Put { .. }));
        // Deletions make room in the end: they are taken while there is any.
        if let Some(bytes) = puts.map(Write::weight).reduce(|a, b| a + b) {
            self.room.lock().check(bytes as u64)?;
        }
        let mut floor = self.floor.lock();
        let mut changes = self.store.changes(2 * batch.len() + 1);
        let mut head = self.marked.lock().head;
        head.seq += 1;
        head.items += 1; // the head itself
        // The last write of a key is what the batch does to it; an empty batch still writes the
        // head, so that it syncs, and finds out whether the store takes writes at all.
        let mut seen = HashSet::with_capacity(batch.len());
        for write in batch.iter().rev().filter(|w| seen.insert(w.key())) {
            let place = layout::record_key(write.key()).into();
            head.items += 1;
            let Write::Put {
                key,
                record,
                version,
                keep_ms,
            } = write
            else {
                head.live = head.live.saturating_sub(1);
                changes.delete(place);
                continue;
            };
            head.live += 1;
            head.version_max = head.version_max.max(version.get());
            changes.put(place, record);
            if *keep_ms != NEVER {
                let entry = layout::index_key(layout::index_ms(*keep_ms, *version), key);
                let (version, keep_ms) = (*version, *keep_ms);
                floor.lower(&entry);
                head.items += 1;
                changes.put(entry.into(), &Expiry { version, keep_ms }.encode());
            }
        }
        self.apply(changes, head, durability)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let first = layout::record_key(prefix);
        let last_seen = layout::record_key(after);
        let start = if !after.is_empty() && last_seen >= first {
            Bound::Excluded(last_seen.as_slice())
        } else {
            Bound::Included(first.as_slice())
        };
        let view = self.store.view();
        let mut found: Vec<(Bytes, Bytes)> = Vec::new();
        let mut bytes = 0;
        for entry in view.range(start, &layout::end_of(&first)) {
            let (place, record) = entry.map_err(|e| self.failed(&e))?;
            let key = Bytes::copy_from_slice(place.get(1..).unwrap_or_default());
            bytes += key.len() + record.len();
            found.push((key, store::to_bytes(record)));
            if found.len() >= page.count_max || bytes >= page.bytes_max {
                break;
            }
        }
        Ok(found)
    }

    fn reclaim(&self, now_ms: Millis, count_max: usize) -> Result<Reclaimed, Failure> {
        let mut floor = self.floor.lock();
        let plan =
            reclaim::plan(&self.store, &floor, now_ms, count_max).map_err(|e| self.failed(&e))?;
        if plan.items > 0 {
            let mut head = self.marked.lock().head;
            head.seq += 1;
            head.items += plan.items + 1;
            head.live = head.live.saturating_sub(plan.records.len() as u64);
            self.apply(plan.changes, head, StoreDurability::Written)?;
            *floor = plan.floor;
        }
        let next_ms = floor.next_ms(&self.store.view());
        Ok(Reclaimed {
            records: plan.records,
            bodies: plan.bodies,
            next_ms: next_ms.map_err(|e| self.failed(&e))?,
        })
    }

    fn scrub(&self) -> Result<(), Failure> {
        let bytes = self.store.bytes();
        room::check_scrub(&self.dir, bytes)?;
        let scrub = || self.store.scrub().map_err(|e| self.failed(&e));
        let scrubbed = self.drop_stale_entries().and_then(|()| scrub());
        // Others may have taken the room meanwhile.
        let full = |failure| room::check_scrub(&self.dir, bytes).err().unwrap_or(failure);
        scrubbed.map_err(full)
    }

    fn usage(&self) -> Usage {
        let head = self.marked.lock().head;
        Usage {
            entries: self.store.records(&head),
            bytes: self.store.bytes() + watermark::FILE_BYTES,
        }
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        let Marked { file, marks, .. } = &mut *self.marked.lock();
        marks.ceiling = mark.ceiling;
        marks.clock_ms = mark.clock_ms;
        file.write_synced(marks).map_err(|e| self.unmarked(&e))
    }

    fn reserved(&self) -> Watermark {
        let Marked { marks, .. } = &*self.marked.lock();
        Watermark {
            ceiling: marks.ceiling,
            clock_ms: marks.clock_ms,
        }
    }

    fn opened(&self) -> Opening {
        let emptied = self.quarantined.as_ref().map(|lost| Emptied {
            reason: lost.reason.clone(),
            kept: lost.path.as_ref().map(|path| path.display().to_string()),
            salvaged: lost.salvaged,
        });
        Opening { emptied }
    }
}

#[cfg(test)]
mod tests;
