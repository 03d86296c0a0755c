//! How much memory, disk and threads a store may take: plain data with defaults and ranges.

/// Default of [`DiskConfig::cache_bytes`].
pub const CACHE_BYTES: u64 = 16 << 20;
/// Default of [`DiskConfig::memtable_bytes`].
pub const MEMTABLE_BYTES: u64 = 8 << 20;
/// Default of [`DiskConfig::journal_bytes_max`].
pub const JOURNAL_BYTES_MAX: u64 = 128 << 20;
/// Default of [`DiskConfig::worker_threads`].
pub const WORKER_THREADS: usize = 2;
/// Default of [`DiskConfig::open_files_max`].
pub const OPEN_FILES_MAX: usize = 128;

/// Default of [`DiskConfig::quarantined_max`].
pub const QUARANTINED_MAX: usize = 3;
/// Default of [`DiskConfig::disk_free_bytes_min`].
pub const DISK_FREE_BYTES_MIN: u64 = 64 << 20;

/// How much memory, disk and threads a store may take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskConfig {
    /// Memory for blocks read from disk, up to 1 TiB. 16 MiB.
    pub cache_bytes: u64,
    /// Memory for what is not yet in a table; up to five of these are in use under load. A store
    /// keeps the size that it was created with. 4 KiB to 1 GiB; 8 MiB.
    pub memtable_bytes: u64,
    /// Disk for journals, 64 MiB to 1 TiB. 128 MiB.
    pub journal_bytes_max: u64,
    /// Threads that write and merge tables, 1 to 256; 1 counts as 2, since one alone may wait for itself. One keeps
    /// itself free for writing and, in fjall 3.1, takes a core while another one merges. 2.
    pub worker_threads: usize,
    /// Files kept open, 10 to 1,048,576. 128.
    pub open_files_max: usize,
    /// Stores that could not be trusted and are kept for whoever wants to look at them; beyond that the
    /// oldest is deleted. With 0 none is kept. 3.
    pub quarantined_max: usize,
    /// No new values are stored while the disk has less room than this; reads, removals and reclaiming
    /// go on. 0 takes what there is, until the disk is full. 64 MiB, since a store that runs out of room
    /// in the middle of a write has to be opened anew.
    pub disk_free_bytes_min: u64,
}

impl DiskConfig {
    /// Every problem of these settings, each with the field, its value and the range.
    pub fn problems(&self) -> Vec<String> {
        let fields = [
            ("cache_bytes", self.cache_bytes, 0, 1 << 40),
            ("memtable_bytes", self.memtable_bytes, 4 << 10, 1 << 30),
            (
                "journal_bytes_max",
                self.journal_bytes_max,
                64 << 20,
                1 << 40,
            ),
            ("worker_threads", self.worker_threads as u64, 1, 256),
            ("open_files_max", self.open_files_max as u64, 10, 1 << 20),
        ];
        let wrong = fields
            .into_iter()
            .filter(|(_, value, least, most)| !(least..=most).contains(&value));
        wrong
            .map(|(field, value, least, most)| {
                format!("disk.{field} is {value}, allowed is {least} to {most}")
            })
            .collect()
    }
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES,
            memtable_bytes: MEMTABLE_BYTES,
            journal_bytes_max: JOURNAL_BYTES_MAX,
            worker_threads: WORKER_THREADS,
            open_files_max: OPEN_FILES_MAX,
            quarantined_max: QUARANTINED_MAX,
            disk_free_bytes_min: DISK_FREE_BYTES_MIN,
        }
    }
}
