//! The fjall database: opened with a small footprint, written in batches with a stated durability.
//!
//! The only file that calls fjall. It must not know about directories, watermarks or trust.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    Readable, Slice, Snapshot,
};

use super::DiskConfig;
use super::layout::{FORMAT, FORMAT_KEY, HEAD_KEY, Head, ID_KEY};
use crate::drivers::StoreDurability;

/// The name of the one keyspace.
const KEYSPACE: &str = "larder";
/// fjall refuses less.
const JOURNAL_BYTES_FLOOR: u64 = 64 << 20;
/// What fills a journal that is to end.
const FILL_KEY: &[u8] = b"mfill";
/// Its length.
const FILL_BYTES: usize = 1 << 20;
/// How often it is looked whether memtables have become tables.
const FLUSH_LOOK: Duration = Duration::from_millis(5);
/// fjall refuses less.
const OPEN_FILES_FLOOR: usize = 10;
/// Records above this share fjall's memory instead of being copied out of it. A smaller one would
/// keep a whole block alive for as long as the value is cached.
const SHARE_BYTES_MIN: usize = 32 << 10;

/// An open database.
pub struct Store {
    // IMPORTANT: fields drop in this order, and the database waits for its workers.
    keyspace: Keyspace,
    db: Database,
    path: PathBuf,
}

/// Who a store is and how far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passport {
    /// The version of its layout.
    pub format: u32,
    /// The random number that it was given at its creation.
    pub id: u64,
    /// Its last batch.
    pub head: Head,
}

impl Store {
    /// Opens the database in `path`, creating what is missing.
    pub fn open(path: &Path, config: &DiskConfig) -> fjall::Result<Self> {
        // IMPORTANT: never one. fjall 3.1's workers send each other what is to be flushed over the bounded channel
        // that they read: one alone, behind a long merge, fills it and waits for ever (fjall's pull request 323).
        Self::open_with(path, config, config.worker_threads.max(2))
    }

    /// Opens a database of which nothing is to be changed: no thread writes or merges its tables.
    pub fn open_to_read(path: &Path, config: &DiskConfig) -> fjall::Result<Self> {
        Self::open_with(path, config, 0)
    }

    fn open_with(path: &Path, config: &DiskConfig, workers: usize) -> fjall::Result<Self> {
        let db = Database::builder(path)
            .cache_size(config.cache_bytes)
            .worker_threads_unchecked(workers)
            .max_journaling_size(config.journal_bytes_max.max(JOURNAL_BYTES_FLOOR))
            .max_cached_files(Some(config.open_files_max.max(OPEN_FILES_FLOOR)))
            // Payloads arrive compressed or sealed if that was asked for.
            .journal_compression(CompressionType::None)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(config.memtable_bytes);
        let keyspace = db.keyspace(KEYSPACE, options)?;
        let path = path.to_owned();
        Ok(Self { keyspace, db, path })
    }

    /// Makes a new database the store `id`, durably.
    pub fn found(&self, id: u64) -> fjall::Result<()> {
        let mut changes = self.changes(3);
        changes.put(FORMAT_KEY.into(), FORMAT.to_le_bytes().as_slice());
        changes.put(ID_KEY.into(), id.to_le_bytes().as_slice());
        changes.put(HEAD_KEY.into(), Head::default().encode().as_slice());
        changes.commit_with(PersistMode::SyncAll)
    }

    /// Who it is; `None` if it does not say so.
    pub fn passport(&self) -> fjall::Result<Option<Passport>> {
        let snapshot = self.db.snapshot();
        let meta = |key| snapshot.get(&self.keyspace, key);
        let (format, id, head) = (meta(FORMAT_KEY)?, meta(ID_KEY)?, meta(HEAD_KEY)?);
        let format = format.and_then(|b| b.as_ref().try_into().ok().map(u32::from_le_bytes));
        let id = id.and_then(|b| b.as_ref().try_into().ok().map(u64::from_le_bytes));
        let head = head.and_then(|b| Head::decode(&b));
        Ok(match (format, id, head) {
            (Some(format), Some(id), Some(head)) => Some(Passport { format, id, head }),
            _ => None,
        })
    }

    /// The value of one key.
    pub fn get(&self, key: &[u8]) -> fjall::Result<Option<Bytes>> {
        Ok(self.keyspace.get(key)?.map(to_bytes))
    }

    /// As [`get`](Self::get), in fjall's own memory whatever its size: for whoever keeps it for a moment only.
    pub fn peek(&self, key: &[u8]) -> fjall::Result<Option<Bytes>> {
        Ok(self.keyspace.get(key)?.map(Bytes::from_owner))
    }

    /// The whole store as it stands now. `get`, `range` and `prefix` of a keyspace would see half a
    /// batch.
    pub fn view(&self) -> View<'_> {
        View(&self.keyspace, self.db.snapshot())
    }

    /// A batch that nothing has happened to yet.
    pub fn changes(&self, capacity: usize) -> Changes<'_> {
        let batch = OwnedWriteBatch::with_capacity(self.db.clone(), capacity);
        Changes(&self.keyspace, batch)
    }

    /// Rewrites all tables, so that what was deleted or replaced is left in none, nor in a journal.
    ///
    /// fjall ends a journal when it holds 64 MB, and has no other way to be asked for it: so it is filled.
    pub fn scrub(&self) -> fjall::Result<()> {
        let fill = vec![0; FILL_BYTES];
        for _ in 0..=(JOURNAL_BYTES_FLOOR as usize / FILL_BYTES) {
            self.keyspace.insert(FILL_KEY, &*fill)?;
            // With more than that fjall itself waits, and for ever where nothing is flushed any more.
            self.flushed(2)?;
        }
        self.end_memtable()?;
        self.keyspace.remove(FILL_KEY)?;
        // What the journal held is in tables: with the next rotation it is deleted.
        self.end_memtable()?;
        self.keyspace.major_compact()?;
        // The tables before are kept for whoever may read them, until a memtable ends after the merge.
        self.keyspace.remove(FILL_KEY)?;
        self.end_memtable()
    }

    /// Begins another memtable, and waits until those before are in tables.
    fn end_memtable(&self) -> fjall::Result<()> {
        self.keyspace.rotate_memtable()?;
        self.flushed(0)
    }

    /// Waits until no more than so many memtables are to become tables.
    fn flushed(&self, most: usize) -> fjall::Result<()> {
        while self.keyspace.sealed_memtable_count() > most {
            // IMPORTANT: it fails where a worker has failed, which flushes no more.
            self.db.persist(PersistMode::Buffer)?;
            std::thread::sleep(FLUSH_LOOK);
        }
        Ok(())
    }

    /// Its directory, as the system names open files.
    pub fn files(&self) -> PathBuf {
        self.path
            .canonicalize()
            .unwrap_or_else(|_| self.path.clone())
    }

    /// About how many records it has, if it ends at `head`.
    pub fn records(&self, head: &Head) -> Option<u64> {
        let items = self.keyspace.approximate_len() as u128;
        let records = items * u128::from(head.live) / u128::from(head.items.max(1));
        u64::try_from(records).ok()
    }

    /// Bytes on the device: tables and journals.
    ///
    /// Not fjall's own figure: it counts a journal's length, which is 64 MiB of nothing at first.
    pub fn bytes(&self) -> u64 {
        let journals = std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten();
        let journals = journals.filter_map(|entry| entry.metadata().ok());
        self.keyspace.disk_space()
            + journals
                .filter(|m| m.is_file())
                .map(|m| taken(&m))
                .sum::<u64>()
    }
}

/// A store at one moment.
pub struct View<'a>(&'a Keyspace, Snapshot);

impl View<'_> {
    /// The value of one key.
    pub fn get(&self, key: &[u8]) -> fjall::Result<Option<Bytes>> {
        Ok(self.1.get(self.0, key)?.map(to_bytes))
    }

    /// Keys and values between two bounds, in order.
    pub fn range(
        &self,
        start: Bound<&[u8]>,
        end: &[u8],
    ) -> impl DoubleEndedIterator<Item = fjall::Result<(Slice, Slice)>> + use<> {
        let from = match start {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        // A range whose start lies behind its end is a panic in some maps: make it empty here.
        let end = from.max(end);
        let range: (Bound<&[u8]>, Bound<&[u8]>) = if from == end {
            (Bound::Included(from), Bound::Excluded(from))
        } else {
            (start, Bound::Excluded(end))
        };
        let is_empty = from == end;
        let found = (!is_empty).then(|| self.1.range::<&[u8], _>(self.0, range));
        found.into_iter().flatten().map(fjall::Guard::into_inner)
    }
}

/// A batch. All of it is applied or none. Each key may occur once: within a batch fjall keeps no
/// order between two writes of one key.
pub struct Changes<'a>(&'a Keyspace, OwnedWriteBatch);

impl Changes<'_> {
    /// Puts `value` under `key`.
    pub fn put(&mut self, key: Slice, value: &[u8]) {
        self.1.insert(self.0, key, value);
    }

    /// Deletes `key`.
    pub fn delete(&mut self, key: Slice) {
        self.1.remove(self.0, key);
    }

    /// Applies the batch.
    pub fn commit(self, durability: StoreDurability) -> fjall::Result<()> {
        self.commit_with(match durability {
            StoreDurability::Written => PersistMode::Buffer,
            StoreDurability::Synced => PersistMode::SyncData,
        })
    }

    fn commit_with(self, mode: PersistMode) -> fjall::Result<()> {
        // IMPORTANT: without this line the batch stays in fjall's own buffer.
        self.1.durability(Some(mode)).commit()
    }
}

/// What an error of fjall means for the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Somebody else has it open.
    Locked,
    /// It has lost data and will not heal.
    Damaged,
    /// Permissions or the path are wrong: somebody has to change something.
    Denied,
    /// It takes no more writes; only its own threads have seen why.
    Poisoned,
    /// Opening it again may help.
    Broken,
}

/// Judges an error, and says it without keys and values.
pub fn judge(error: &fjall::Error) -> (Verdict, String) {
    use fjall::{Error, LsmError};
    match error {
        Error::Locked => (Verdict::Locked, "the store is open elsewhere".into()),
        Error::Io(e) | Error::Storage(LsmError::Io(e)) => (judge_io(e), say_io(e)),
        Error::Poisoned => (
            Verdict::Poisoned,
            "the store takes no writes after an earlier failure, often a full disk".into(),
        ),
        Error::KeyspaceDeleted => (Verdict::Broken, "the keyspace was deleted".into()),
        Error::JournalRecovery(e) => (Verdict::Damaged, format!("damaged journal, {e:?}")),
        Error::Storage(LsmError::ChecksumMismatch { .. }) => {
            (Verdict::Damaged, "damaged table, checksum mismatch".into())
        }
        Error::InvalidVersion(_) => (Verdict::Damaged, "unknown version of fjall's format".into()),
        _ => (Verdict::Damaged, "damaged or missing files".into()),
    }
}

fn judge_io(error: &io::Error) -> Verdict {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::NotADirectory => Verdict::Denied,
        // In a store that exists: files missing, cut short (a seek before them), or left half made.
        Kind::NotFound
        | Kind::InvalidInput
        | Kind::UnexpectedEof
        | Kind::InvalidData
        | Kind::AlreadyExists
        | Kind::IsADirectory => Verdict::Damaged,
        _ => Verdict::Broken,
    }
}

/// An I/O error in the words of this crate.
pub fn say_io(error: &io::Error) -> String {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::StorageFull, _) => "no space left on the device".into(),
        (kind, Some(code)) => format!("{kind}, os error {code}"),
        (kind, None) => kind.to_string(),
    }
}

/// A value as the rest of larder holds it.
pub fn to_bytes(value: Slice) -> Bytes {
    if value.len() < SHARE_BYTES_MIN {
        Bytes::copy_from_slice(&value)
    } else {
        Bytes::from_owner(value)
    }
}

#[cfg(unix)]
fn taken(file: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(file) * 512
}

#[cfg(not(unix))]
fn taken(file: &std::fs::Metadata) -> u64 {
    file.len()
}

#[cfg(test)]
mod tests;
