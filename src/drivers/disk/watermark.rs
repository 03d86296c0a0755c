//! The watermark file: what the last process knew, kept outside the store that it judges.
//!
//! A store can lose its tail and still open well (a cut journal, a flipped header). This file says
//! how far the store had come, so that such a store is noticed; it also keeps the version ceiling
//! and the time. It must not know what a store is. FORMAT.md has it byte by byte.
//!
//! The file has two slots. Only one of them is written between two syncs, so the other always
//! holds what was synced last, whatever a crash does to the one in use.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};

use crate::clock::{Clock, Millis};

/// First bytes of each slot.
pub const MAGIC: [u8; 4] = *b"LRWM";
/// The version of this layout.
pub const LAYOUT: u32 = 1;
/// Bytes of a slot that carry meaning.
pub const SLOT_BYTES: usize = 80;
/// Where the second slot begins: never in the same sector or page as the first.
pub const SLOT_STRIDE_BYTES: u64 = 4096;
/// Bytes of the file.
pub const FILE_BYTES: u64 = 2 * SLOT_STRIDE_BYTES;
/// At most one sync in this time for commits; reserving a ceiling always syncs.
pub const SYNC_INTERVAL_MS: u64 = 1_000;

/// What the file says.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Marks {
    /// Which store it speaks of.
    pub store_id: u64,
    /// No version issued so far is above it.
    pub ceiling: u64,
    /// The time when the ceiling was reserved.
    pub clock_ms: Millis,
    /// The last batch handed to the operating system.
    pub written_seq: u64,
    /// The last batch on the device.
    pub synced_seq: u64,
    /// The boot of the machine under which `written_seq` holds; 0 if it is not known.
    pub boot: u128,
    /// The store is not to be trusted: damage was found while it was in use, or at an opening.
    pub is_damaged: bool,
    /// A store was given up, and whoever did it may have died before it could say so.
    pub is_lost: bool,
    /// It stopped taking writes and nothing explains why: its own threads may have met damage. To be
    /// read through at the next opening.
    pub is_suspect: bool,
}

/// The open file.
#[derive(Debug)]
pub struct WatermarkFile {
    file: File,
    /// The last slot written; it counts up, and its parity names the slot.
    generation: u64,
    /// Whether the slot of `generation` is known to be on the device.
    is_synced: bool,
    synced_at: Option<Instant>,
}

impl WatermarkFile {
    /// Opens or creates the file; `None` if it holds no readable slot.
    ///
    /// # Errors
    ///
    /// What the file system answers.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Marks>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let mut newest: Option<(u64, Marks)> = None;
        for parity in 0..2 {
            let mut slot = [0; SLOT_BYTES];
            if read_at(&file, &mut slot, parity * SLOT_STRIDE_BYTES).is_err() {
                continue; // shorter than a watermark file: no slot there
            }
            if let Some((generation, marks)) = decode(&slot)
                && generation % 2 == parity
                && newest.is_none_or(|(other, _)| generation > other)
            {
                newest = Some((generation, marks));
            }
        }
        if newest.is_none() {
            // Real zeros, so that the space is taken now and a full disk later is no matter.
            write_at(&file, &[0; FILE_BYTES as usize], 0)?;
            file.set_len(FILE_BYTES)?;
        }
        // What a killed process left in the system's cache becomes the slot that is kept.
        file.sync_all()?;
        let (generation, marks) = newest.unzip();
        let opened = Self {
            file,
            generation: generation.unwrap_or(0),
            is_synced: true,
            synced_at: None,
        };
        Ok((opened, marks))
    }

    /// Whatever `file` is.
    #[cfg(test)]
    pub fn on(file: File) -> Self {
        Self {
            file,
            generation: 0,
            is_synced: true,
            synced_at: None,
        }
    }

    /// Writes `marks`; syncs them too if `device_moved` and the last sync is long enough ago.
    ///
    /// # Errors
    ///
    /// What the file system answers.
    pub fn write(&mut self, marks: &Marks, moved: Moved) -> io::Result<()> {
        self.put(marks)?;
        let due = || {
            let interval = Duration::from_millis(SYNC_INTERVAL_MS);
            self.synced_at
                .is_none_or(|at| Clock::instant().saturating_duration_since(at) >= interval)
        };
        if moved == Moved::Device && due() {
            self.sync()?;
        }
        Ok(())
    }

    /// Writes `marks` and returns when they are on the device.
    ///
    /// # Errors
    ///
    /// What the file system answers; the older marks are then still there.
    pub fn write_synced(&mut self, marks: &Marks) -> io::Result<()> {
        self.put(marks)?;
        self.sync()
    }

    fn put(&mut self, marks: &Marks) -> io::Result<()> {
        // IMPORTANT: a synced slot is left alone until the other one is synced.
        let generation = if self.is_synced {
            self.generation + 1
        } else {
            self.generation + 2
        };
        self.is_synced = false;
        self.generation = generation;
        let at = (generation % 2) * SLOT_STRIDE_BYTES;
        write_at(&self.file, &encode(generation, marks), at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.is_synced = true;
        self.synced_at = Some(Clock::instant());
        Ok(())
    }
}

/// How far a commit went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moved {
    /// Nothing new is on the device.
    Cache,
    /// `synced_seq` has moved.
    Device,
}

pub(super) fn encode(generation: u64, marks: &Marks) -> [u8; SLOT_BYTES] {
    let mut out = Vec::with_capacity(SLOT_BYTES);
    out.put_slice(&MAGIC);
    out.put_u32_le(LAYOUT);
    out.put_u64_le(generation);
    out.put_u64_le(marks.store_id);
    out.put_u64_le(marks.ceiling);
    out.put_u64_le(marks.clock_ms);
    out.put_u64_le(marks.written_seq);
    out.put_u64_le(marks.synced_seq);
    out.put_u128_le(marks.boot);
    let flags = [marks.is_damaged, marks.is_lost, marks.is_suspect];
    let flags = flags
        .iter()
        .rev()
        .fold(0, |all, flag| all << 1 | u32::from(*flag));
    out.put_u32_le(flags);
    let sum = crc32fast::hash(&out);
    out.put_u32_le(sum);
    let mut slot = [0; SLOT_BYTES];
    slot.copy_from_slice(&out);
    slot
}

pub(super) fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Marks)> {
    let (body, mut sum) = slot.split_at_checked(SLOT_BYTES - 4)?;
    if sum.get_u32_le() != crc32fast::hash(body) {
        return None;
    }
    let mut rest = body.strip_prefix(&MAGIC)?;
    if rest.get_u32_le() != LAYOUT {
        return None;
    }
    let generation = rest.get_u64_le();
    let mut marks = Marks {
        store_id: rest.get_u64_le(),
        ceiling: rest.get_u64_le(),
        clock_ms: rest.get_u64_le(),
        written_seq: rest.get_u64_le(),
        synced_seq: rest.get_u64_le(),
        boot: rest.get_u128_le(),
        ..Marks::default()
    };
    let flags = rest.get_u32_le();
    (marks.is_damaged, marks.is_lost) = (flags & 1 != 0, flags & 2 != 0);
    marks.is_suspect = flags & 4 != 0;
    Some((generation, marks))
}

#[cfg(unix)]
fn read_at(file: &File, buf: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, at)
}

#[cfg(unix)]
fn write_at(file: &File, buf: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, buf, at)
}

// Elsewhere the file's own position serves: the file is used by one thread at a time.
#[cfg(not(unix))]
fn read_at(mut file: &File, buf: &mut [u8], at: u64) -> io::Result<()> {
    use std::io::{Read, Seek};
    file.seek(io::SeekFrom::Start(at))?;
    file.read_exact(buf)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, buf: &[u8], at: u64) -> io::Result<()> {
    use std::io::{Seek, Write};
    file.seek(io::SeekFrom::Start(at))?;
    file.write_all(buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(seq: u64) -> Marks {
        Marks {
            store_id: 7,
            ceiling: 8,
            clock_ms: 9,
            written_seq: seq,
            synced_seq: seq / 2,
            boot: 10,
            is_damaged: seq == 3,
            is_lost: seq == 4,
            is_suspect: seq == 5,
        }
    }

    fn reopen(path: &Path) -> Option<Marks> {
        WatermarkFile::open(path).unwrap().1
    }

    /// A slot as this version writes it, with other bytes at `at` and a checksum that fits.
    fn slot_with(at: usize, bytes: &[u8]) -> [u8; SLOT_BYTES] {
        let mut slot = encode(2, &marks(5));
        slot[at..at + bytes.len()].copy_from_slice(bytes);
        let sum = crc32fast::hash(&slot[..SLOT_BYTES - 4]);
        slot[SLOT_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
        slot
    }

    #[test]
    fn a_whole_slot_of_another_kind_or_a_later_layout_is_none() {
        assert_eq!(decode(&slot_with(0, &MAGIC)), Some((2, marks(5))));
        assert_eq!(decode(&slot_with(0, b"LRWX")), None);
        assert_eq!(decode(&slot_with(4, &(LAYOUT + 1).to_le_bytes())), None);
    }

    fn tear(path: &Path, slot: u64) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        write_at(&file, &[0xee; 40], slot * SLOT_STRIDE_BYTES + 20).unwrap();
    }

    #[test]
    fn marks_read_back_and_a_fresh_file_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watermark");
        let (mut file, none) = WatermarkFile::open(&path).unwrap();
        assert_eq!(none, None);
        for seq in 1..6 {
            file.write(&marks(seq), Moved::Cache).unwrap();
            assert_eq!(reopen(&path), Some(marks(seq)));
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES);
    }

    #[test]
    fn a_torn_slot_leaves_what_was_synced_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watermark");
        let (mut file, _) = WatermarkFile::open(&path).unwrap();
        file.write_synced(&marks(1)).unwrap(); // slot 1
        for seq in 2..9 {
            file.write(&marks(seq), Moved::Cache).unwrap(); // slot 0, each of them
        }
        assert_eq!(reopen(&path), Some(marks(8)));
        tear(&path, 0);
        assert_eq!(reopen(&path), Some(marks(1)));
        tear(&path, 1);
        assert_eq!(reopen(&path), None);
    }

    #[test]
    fn commits_that_reach_the_device_sync_once_in_an_interval() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = WatermarkFile::open(&dir.path().join("watermark")).unwrap();
        file.write(&marks(1), Moved::Device).unwrap();
        assert!(file.is_synced);
        file.synced_at = Some(Clock::instant() + Duration::from_secs(3_600));
        file.write(&marks(2), Moved::Device).unwrap();
        assert!(!file.is_synced);
        file.synced_at = Some(Clock::instant() - Duration::from_millis(SYNC_INTERVAL_MS));
        file.write(&marks(3), Moved::Cache).unwrap();
        assert!(!file.is_synced);
        file.write(&marks(4), Moved::Device).unwrap();
        assert!(file.is_synced);
    }

    #[test]
    fn a_file_of_another_kind_or_length_has_no_marks() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("empty", vec![]), ("text", b"hello".repeat(2_000))] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(reopen(&path), None);
            assert_eq!(reopen(&path), None, "and is a clean one from then on");
        }
    }
}
