//! The contenders on disk, and the directories they work in.
//!
//! A bare store is a blocking one that is given batches; larder is asked as a host asks it, so it has no
//! place behind the trait. README.md beside `src` says how each is set up.

pub mod fjall;
pub mod group;
pub mod larder;
pub mod records;
mod redb;
mod sqlite;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use records::Records;

use crate::harness::median;

/// Memory for what each store has read, as larder's disk tier has it by default.
pub const CACHE_BYTES: u64 = 16 << 20;
pub const FJALL: &str = "fjall";
pub const REDB: &str = "redb";
pub const SQLITE: &str = "sqlite";

/// What a commit survives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// The end of the process.
    Written,
    /// The loss of power.
    Synced,
}

/// A store without larder.
pub trait Store: Send + Sync {
    /// Stores these records as one batch.
    fn commit(&self, records: &Records, numbers: &[u32], safety: Safety);

    /// Whether there is a record of this key. Its value is held in memory, as the store gives it.
    fn get(&self, key: &str) -> bool;

    /// Brings what it has into the order that it has when it was left alone for long.
    fn settle(&self) {}
}

/// Opens, or creates, the store of this name. `safety` is the highest that will be asked of it.
pub fn open(name: &str, dir: &Path, safety: Safety) -> Box<dyn Store> {
    match name {
        REDB => Box::new(redb::Redb::open(dir)),
        SQLITE => Box::new(sqlite::Sqlite::open(dir, safety)),
        _ => Box::new(fjall::Fjall::open(dir)),
    }
}

/// Does something in a fresh directory, and leaves nothing of it to whoever comes next: neither threads
/// that hold its files, nor pages that are to be written.
pub fn in_fresh<T>(work: impl FnOnce(&Path) -> T) -> T {
    let dir = tempfile::tempdir().expect("a directory");
    let done = work(dir.path());
    released(dir.path());
    dir.close().expect("a directory that can be removed");
    rustix::fs::sync();
    done
}

/// What a sync of one page takes just now, in microseconds: the median of a few.
pub fn sync_us() -> f64 {
    let mut file = tempfile::tempfile().expect("a file");
    let mut page = || {
        let began = Instant::now();
        file.write_all(&[7; 4096]).expect("a page");
        file.sync_data().expect("a sync");
        began.elapsed().as_secs_f64() * 1e6
    };
    median(&(0..21).map(|_| page()).collect::<Vec<_>>())
}

/// Waits until this process has no file below `dir` open: threads of a store end after it was dropped.
pub fn released(dir: &Path) {
    let is_open = || {
        let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
        open.flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .any(|file| file.starts_with(dir))
    };
    let began = Instant::now();
    while is_open() {
        let patience = Duration::from_secs(30);
        assert!(began.elapsed() < patience, "a store was not closed");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_store_gives_back_what_it_was_given_after_it_was_closed() {
        let records = Records::new(10);
        for name in [FJALL, REDB, SQLITE] {
            in_fresh(|dir| {
                let store = open(name, dir, Safety::Synced);
                store.commit(&records, &[3, 7], Safety::Synced);
                drop(store);
                released(dir);
                let store = open(name, dir, Safety::Synced);
                let found = [3, 4, 7].map(|n| store.get(records.key(n)));
                assert_eq!(found, [true, false, true], "{name}");
            });
        }
    }
}
