//! Whether the device has room for new values, and the store's directory is still there.
//!
//! Asked before values are written, so that a store is not caught in the middle of a write: fjall has
//! to be opened anew after that. It must not know what is written.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::open::STORE;
use super::store::say_io;
use crate::clock::Clock;
use crate::drivers::Failure;

/// Between two looks at the device, unless much is written.
const LOOK_INTERVAL_MS: u64 = 1_000;
/// The share of what is to stay free that may be written between two looks, as a divisor.
const LOOK_SHARE: u64 = 8;

/// What is known of the device.
pub struct Room {
    dir: PathBuf,
    free_bytes_min: u64,
    looked_at: Option<Instant>,
    /// Put since then.
    put_bytes: u64,
    is_full: bool,
}

impl Room {
    /// Of the device that holds `dir`.
    pub fn new(dir: &Path, free_bytes_min: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            free_bytes_min,
            looked_at: None,
            put_bytes: 0,
            is_full: false,
        }
    }

    /// Before `bytes` of records are put.
    ///
    /// # Errors
    ///
    /// [`Failure::Full`] if less would stay free than is to; [`Failure::Reopen`] if the directory is
    /// gone.
    pub fn check(&mut self, bytes: u64) -> Result<(), Failure> {
        self.put_bytes = self.put_bytes.saturating_add(bytes);
        if !self.is_due() {
            return Ok(());
        }
        self.looked_at = Some(Clock::instant());
        self.put_bytes = 0;
        let dir = self.dir.display();
        if let Err(error) = std::fs::metadata(self.dir.join(STORE)) {
            let error = say_io(&error);
            return Err(Failure::reopen(format!(
                "{dir}: the store is gone, {error}"
            )));
        }
        let wanted = self.free_bytes_min.saturating_add(bytes);
        // A device that cannot tell says so when it is written to.
        let free = free_bytes(&self.dir).filter(|_| self.free_bytes_min > 0);
        self.is_full = free.is_some_and(|free| free < wanted);
        match free {
            Some(free) if self.is_full => Err(Failure::full(format!(
                "{dir}: {} KiB are free on the disk, {} KiB are wanted before more is stored; make \
                 room, or lower disk_free_bytes_min",
                free >> 10,
                wanted >> 10
            ))),
            _ => Ok(()),
        }
    }

    fn is_due(&self) -> bool {
        let interval = Duration::from_millis(LOOK_INTERVAL_MS);
        let is_long_ago = |at| Clock::instant().saturating_duration_since(at) >= interval;
        // Without room each call is refused only by a look of its own.
        self.is_full
            || self.put_bytes > self.free_bytes_min / LOOK_SHARE
            || self.looked_at.is_none_or(is_long_ago)
    }
}

/// A store on a device with less room than this may have failed for want of it.
const SHORT_BYTES: u64 = 1 << 20;

/// Whether the device that holds `dir` may have run out of room a moment ago.
pub fn is_short(dir: &Path) -> bool {
    free_bytes(dir).is_some_and(|free| free < SHORT_BYTES)
}

/// Before all of a store's files are rewritten, which takes as much room again, and a journal.
pub fn check_scrub(dir: &Path, store_bytes: u64) -> Result<(), Failure> {
    let wanted = store_bytes.saturating_add(SCRUB_BYTES);
    match free_bytes(dir) {
        Some(free) if free < wanted => Err(Failure::full(format!(
            "{}: rewriting the store's files takes {wanted} bytes for a while, and {free} are free",
            dir.display()
        ))),
        _ => Ok(()),
    }
}

/// What rewriting takes beyond the tables.
const SCRUB_BYTES: u64 = 192 << 20;

/// Bytes that this process may still write; `None` if the system does not tell.
#[cfg(unix)]
fn free_bytes(dir: &Path) -> Option<u64> {
    let fs = rustix::fs::statvfs(dir).ok()?;
    Some(fs.f_bavail.saturating_mul(fs.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(STORE)).unwrap();
        dir
    }

    #[test]
    fn a_device_with_too_little_room_is_full_and_says_how_much_is_wanted() {
        let dir = store();
        let mut room = Room::new(dir.path(), u64::MAX - 10);
        let failure = room.check(1).unwrap_err();
        assert!(matches!(failure, Failure::Full { .. }));
        let text = failure.to_string();
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
        assert!(text.contains("KiB are free"), "{text}");
        room.free_bytes_min = 1;
        assert!(room.check(1).is_ok(), "it looks again at once");
    }

    #[test]
    fn zero_asks_for_no_room() {
        let dir = store();
        assert!(Room::new(dir.path(), 0).check(u64::MAX).is_ok());
    }

    #[test]
    fn it_looks_again_after_a_while_or_when_much_was_put() {
        let dir = store();
        let mut room = Room::new(dir.path(), 800);
        room.check(1).unwrap();
        std::fs::remove_dir(dir.path().join(STORE)).unwrap();
        room.check(100).unwrap();
        let gone = room.check(1).unwrap_err();
        assert!(gone.to_string().contains("gone"), "{gone}");
        assert!(matches!(gone, Failure::Reopen { .. }));
        room.check(1).unwrap();
        room.looked_at = Some(Clock::instant() - Duration::from_millis(LOOK_INTERVAL_MS));
        assert!(room.check(1).is_err());
    }
}
