//! What can be proven of a store that was given up for damage alone is taken over by its successor.
//!
//! It may forget, it never lies. Walking over the old store only finds keys. What is taken over is what a
//! read of that one key finds: it begins with the newest table and fails where that is damaged, so no
//! older value, and none that was removed, comes through. The fences go first, all or nothing at all: what
//! a lost one guarded would come back. FORMAT.md says what a crash leaves at each step.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::layout::{self, RECORD};
use super::open;
use super::store::{self, Store, View};
use super::verify::Past;
use super::{DiskConfig, DiskDriver, Quarantine};
use crate::clock::{Clock, Millis};
use crate::drivers::{Driver, Failure, StoreDurability, Write};
use crate::key::{FENCES, RESERVED, stored_key};
use crate::record;

/// How long an opening spends on it at most; what is not reached is forgotten.
pub const SALVAGE_MS_MAX: u64 = 20_000;
/// Most records of one batch.
const BATCH_COUNT_MAX: usize = 1_000;
/// About the most bytes of one batch.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// So many errors of one walk are passed over: each stands for a damaged block.
const ERRORS_MAX: usize = 1_000;

/// Why no more is taken over.
enum Stop {
    /// It has a reason.
    Enough(String),
    /// The new store failed.
    Failed(Failure),
}

impl DiskDriver {
    /// Takes over what can be proven of the store at `old`.
    ///
    /// # Errors
    ///
    /// What opening the directory again answers, if the new store fails meanwhile. It then has what it has.
    pub(super) fn salvage(self, old: &Path, config: &DiskConfig) -> Result<Self, Failure> {
        self.salvage_within(old, config, Duration::from_millis(SALVAGE_MS_MAX))
    }

    fn salvage_within(
        mut self,
        path: &Path,
        config: &DiskConfig,
        most: Duration,
    ) -> Result<Self, Failure> {
        let deadline = Clock::instant() + most;
        self.marked.lock().is_salvaging = true;
        let mut before = None;
        // Reading damaged tables may panic, as opening them may.
        let attempt = AssertUnwindSafe(|| {
            let old = Store::open_to_read(path, config).map_err(|e| unreadable(&e))?;
            let passport = old.passport().map_err(|e| unreadable(&e))?;
            before = passport.and_then(|passport| old.records(&passport.head));
            Run::new(&self, &old, deadline).all()
        });
        let panicked = |_| Err(Stop::Failed(Failure::reopen("it panicked")));
        let ended = match catch_unwind(attempt).unwrap_or_else(panicked) {
            Ok(()) => "all was looked at".into(),
            Err(Stop::Enough(why)) => why,
            Err(Stop::Failed(failure)) => {
                self = self.open_again(config)?;
                failure.to_string()
            }
        };
        self.marked.lock().is_salvaging = false;
        let head = self.marked.lock().head;
        let reason = self.quarantined.take().map(|lost| lost.reason);
        let reason = reason.unwrap_or_default();
        let lost = Quarantine::new(Some(path.to_owned()), &reason, &head);
        tracing::warn!(
            salvaged = lost.salvaged,
            forgotten_about = before.map(|before| before.saturating_sub(lost.salvaged)),
            ended,
            "what could be proven of a damaged store was taken over by its successor"
        );
        self.quarantined = Some(lost);
        Ok(self)
    }

    /// The same store with what it has by now.
    fn open_again(self, config: &DiskConfig) -> Result<Self, Failure> {
        let (dir, quarantined) = (self.dir.clone(), self.quarantined.clone());
        // IMPORTANT: the same lock: no other process is to find the directory free meanwhile.
        let lock = Arc::clone(&self.lock);
        drop(self);
        let again = Self::new(
            &dir,
            config,
            open::open_locked(lock, &dir, config, &mut Past::known(), |_, _| Ok(()))?,
        );
        Ok(Self {
            quarantined,
            ..again
        })
    }
}

fn unreadable(error: &fjall::Error) -> Stop {
    Stop::Enough(store::judge(error).1)
}

/// One attempt.
struct Run<'a> {
    driver: &'a DiskDriver,
    old: View<'a>,
    deadline: Instant,
    /// What had expired by then is left behind.
    now_ms: Millis,
    batch: Vec<Write>,
    batch_bytes: usize,
}

impl<'a> Run<'a> {
    fn new(driver: &'a DiskDriver, old: &'a Store, deadline: Instant) -> Self {
        let clock_ms = driver.marked.lock().marks.clock_ms;
        Self {
            driver,
            old: old.view(),
            deadline,
            now_ms: Clock::system().now_ms().max(clock_ms),
            batch: Vec::new(),
            batch_bytes: 0,
        }
    }

    fn all(mut self) -> Result<(), Stop> {
        // IMPORTANT: on the device before the first value that they may guard.
        self.fences()?;
        let walked = match self
            .walk()
            .and_then(|()| self.flush(StoreDurability::Written))
        {
            Err(Stop::Failed(failure)) => return Err(Stop::Failed(failure)),
            walked => walked,
        };
        // An empty batch syncs all before it, and takes no room.
        self.batch.clear();
        if self.driver.marked.lock().head.seq > 0 {
            self.flush(StoreDurability::Synced)?;
        }
        walked
    }

    /// All fences or, with an error, none.
    fn fences(&mut self) -> Result<(), Stop> {
        let first = layout::record_key(&stored_key(FENCES, ""));
        let damaged = || Stop::Enough("a fence is damaged, so nothing can be proven".into());
        let mut fences = Vec::new();
        for entry in self
            .old
            .range(Bound::Included(&first), &layout::end_of(&first))
        {
            self.check_time()?;
            let (place, bytes) = entry.map_err(|_| damaged())?;
            fences.push(put(&place, store::to_bytes(bytes)).ok_or_else(damaged)?);
        }
        for fences in fences.chunks(BATCH_COUNT_MAX) {
            self.batch = fences.to_vec();
            self.flush(StoreDurability::Synced)?;
        }
        Ok(())
    }

    /// Takes over values from the first to the last. A table that is found damaged takes no further part
    /// in a walk; so a second one comes from the other end.
    fn walk(&mut self) -> Result<(), Stop> {
        let (mut last, end) = (vec![RECORD], [RECORD + 1]);
        let mut errors = 0;
        for entry in self.old.range(Bound::Included(&[RECORD]), &end) {
            match entry {
                Ok((place, _)) if errors == 0 => {
                    self.take(&place, false)?;
                    last = place.to_vec();
                }
                Ok((place, _)) => self.take(&place, true)?,
                Err(_) if errors == ERRORS_MAX => break,
                Err(_) => errors += 1,
            }
        }
        if errors == 0 {
            return Ok(());
        }
        self.flush(StoreDurability::Written)?;
        errors = 0;
        for entry in self.old.range(Bound::Excluded(&last), &end).rev() {
            match entry {
                Ok((place, _)) => self.take(&place, true)?,
                Err(_) if errors == ERRORS_MAX => break,
                Err(_) => errors += 1,
            }
        }
        Ok(())
    }

    /// Takes over the record at `place`, if it can be proven and is not there already.
    fn take(&mut self, place: &[u8], may_be_there: bool) -> Result<(), Stop> {
        self.check_time()?;
        let is_reserved = place.get(1).copied() == Some(RESERVED as u8);
        if is_reserved || (may_be_there && self.is_there(place)?) {
            return Ok(());
        }
        // IMPORTANT: not what the walk has found, which may be an older one.
        let Ok(Some(bytes)) = self.old.get(place) else {
            return Ok(());
        };
        let is_kept = |write: &Write| match write {
            Write::Put { keep_ms, .. } => *keep_ms > self.now_ms,
            Write::Delete { .. } => false,
        };
        let Some(write) = put(place, bytes).filter(is_kept) else {
            return Ok(());
        };
        self.batch_bytes += write.weight();
        self.batch.push(write);
        let is_full = self.batch.len() >= BATCH_COUNT_MAX || self.batch_bytes >= BATCH_BYTES_MAX;
        match is_full {
            true => self.flush(StoreDurability::Written),
            false => Ok(()),
        }
    }

    fn is_there(&self, place: &[u8]) -> Result<bool, Stop> {
        let found = self.driver.store.get(place);
        let failed = |e| Stop::Failed(self.driver.failed(&e));
        found.map(|found| found.is_some()).map_err(failed)
    }

    /// By the usual way, so that the index of expiry and all counts are right.
    fn flush(&mut self, durability: StoreDurability) -> Result<(), Stop> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.driver
            .commit(&batch, durability)
            .map_err(|failure| match failure {
                Failure::Full { reason } => Stop::Enough(reason),
                failure => Stop::Failed(failure),
            })
    }

    fn check_time(&self) -> Result<(), Stop> {
        match Clock::instant() > self.deadline {
            true => Err(Stop::Enough("it takes too long".into())),
            false => Ok(()),
        }
    }
}

/// The record at `place`, if it is whole.
fn put(place: &[u8], record: Bytes) -> Option<Write> {
    let key = place.get(1..)?;
    let stamp = record::stamp(key, &record).ok()?;
    Some(Write::Put {
        key: Bytes::copy_from_slice(key),
        record,
        version: stamp.version,
        keep_ms: stamp.keep_ms,
    })
}

#[cfg(test)]
mod tests;
