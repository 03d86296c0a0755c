//! fjall as larder sets it up, without larder.

use std::path::Path;
use std::time::{Duration, Instant};

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::records::Records;
use super::{CACHE_BYTES, Safety, Store};

pub struct Fjall {
    // Fields drop in this order, and the database waits for its workers.
    keyspace: Keyspace,
    db: Database,
}

impl Fjall {
    pub fn open(dir: &Path) -> Self {
        Self::open_keyspace(dir, "records")
    }

    /// Opens the database that a larder has made in `dir`.
    pub fn open_larders(dir: &Path) -> Self {
        Self::open_keyspace(&dir.join("store"), "larder")
    }

    fn open_keyspace(dir: &Path, name: &str) -> Self {
        let db = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .worker_threads(2)
            .max_journaling_size(128 << 20)
            .max_cached_files(Some(128))
            .journal_compression(CompressionType::None)
            .open()
            .expect("a database");
        let options = || KeyspaceCreateOptions::default().max_memtable_size(8 << 20);
        let keyspace = db.keyspace(name, options).expect("a keyspace");
        Self { keyspace, db }
    }

    /// Whether anything stands under a key, whatever it is.
    pub fn has(&self, key: &[u8]) -> bool {
        self.keyspace.get(key).expect("an answer").is_some()
    }
}

impl Store for Fjall {
    fn commit(&self, records: &Records, numbers: &[u32], safety: Safety) {
        let mode = match safety {
            Safety::Written => PersistMode::Buffer,
            Safety::Synced => PersistMode::SyncData,
        };
        let mut batch = self.db.batch().durability(Some(mode));
        for &n in numbers {
            batch.insert(&self.keyspace, records.key(n), records.value(n));
        }
        batch.commit().expect("a commit");
    }

    fn get(&self, key: &str) -> bool {
        let found = self.keyspace.get(key).expect("an answer");
        std::hint::black_box(found).is_some()
    }

    fn settle(&self) {
        let flushed = self.keyspace.rotate_memtable_and_wait();
        flushed.expect("a flush");
        self.keyspace.major_compact().expect("a compaction");
        let began = Instant::now();
        let is_busy = || self.db.outstanding_flushes() + self.db.active_compactions() > 0;
        while is_busy() && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
