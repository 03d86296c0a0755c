//! A driver of one's own: a log file. With the feature `test-util` it is put to the suite that every
//! driver must pass.
//!
//! A commit is one frame at the end of the file: length, checksum, changes. A frame that a crash cut
//! short is cut off at the next opening, so a batch is there as a whole or not at all. What is where
//! is kept in memory; larder needs no more of a driver than what is in `impl Driver`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "an example says what must be"
)]

#[path = "custom_driver/log.rs"]
mod log;

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use larder::clock::Millis;
use larder::drivers::{
    Driver, Failure, PageLimit, Reclaimed, StoreDurability, Usage, Watermark, Write,
};
use larder::{Cache, Larder, Source, Version};
use parking_lot::{Mutex, RwLock};

use log::Index;

/// The log is written anew when it is larger than this and more than half of it is of no use.
const TIDY_BYTES: u64 = 1 << 20;

/// Records in a log file.
struct LogDriver {
    path: PathBuf,
    /// Where the one commit lane writes.
    end: Mutex<File>,
    index: RwLock<Index>,
    /// Held for as long as the driver lives: one process per log.
    _lock: File,
}

impl LogDriver {
    fn open(directory: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(directory).map_err(Failure::fatal)?;
        let lock = File::create(directory.join("lock")).map_err(Failure::fatal)?;
        if lock.try_lock().is_err() {
            let path = directory.display();
            return Err(Failure::fatal(format!(
                "{path} is in use by another process"
            )));
        }
        let path = directory.join("log");
        let (end, index) = log::replay(&path).map_err(Failure::fatal)?;
        let (end, index) = (Mutex::new(end), RwLock::new(index));
        Ok(Self {
            path,
            end,
            index,
            _lock: lock,
        })
    }

    fn append(&self, changes: Vec<u8>, durability: StoreDurability) -> io::Result<()> {
        let mut end = self.end.lock();
        end.write_all(&log::frame(&changes))?;
        if durability == StoreDurability::Synced {
            end.sync_data()?;
        }
        // Readers wait for this only, not for the disk.
        self.index.write().apply(&changes);
        let index = self.index.read();
        if index.len > TIDY_BYTES && index.len > 2 * index.live {
            let new = self.path.with_extension("new");
            index.write_to(&new)?;
            std::fs::rename(&new, &self.path)?;
            log::sync_names(&self.path)?;
            drop(index);
            let tidied = log::replay(&self.path)?;
            (*end, *self.index.write()) = tidied;
        }
        Ok(())
    }
}

impl Driver for LogDriver {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let index = self.index.read();
        let place = index.records.get(key);
        place
            .map(|place| index.read(place))
            .transpose()
            .map_err(Failure::reopen)
    }

    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        let index = self.index.read();
        let places = keys.iter().map(|key| index.records.get(key));
        let records = places.map(|place| place.map(|place| index.read(place)).transpose());
        records.collect::<io::Result<_>>().map_err(Failure::reopen)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        // After a failure nobody knows how much of it is in the file: opened anew, it is cut off.
        self.append(log::changes(batch), durability)
            .map_err(Failure::reopen)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let index = self.index.read();
        let start = match after {
            after if !after.is_empty() && after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let range = index.records.range::<[u8], _>((start, Bound::Unbounded));
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (key, place) in range.take_while(|(key, _)| key.starts_with(prefix)) {
            if found.len() >= page.count_max.max(1) || (bytes >= page.bytes_max && bytes > 0) {
                break;
            }
            bytes += key.len() + place.len;
            found.push((key.clone(), index.read(place).map_err(Failure::reopen)?));
        }
        Ok(found)
    }

    fn reclaim(&self, now_ms: Millis, count_max: usize) -> Result<Reclaimed, Failure> {
        let due: Vec<(Bytes, Version)> = {
            let index = self.index.read();
            let due = index
                .expiry
                .iter()
                .take_while(|(keep_ms, _)| *keep_ms <= now_ms);
            let due = due
                .take(count_max)
                .map(|(_, key)| (key.clone(), index.records[key].version));
            due.collect()
        };
        let delete = |(key, _): &(Bytes, Version)| Write::Delete { key: key.clone() };
        let batch: Vec<Write> = due.iter().map(delete).collect();
        self.commit(&batch, StoreDurability::Written)?;
        let next_ms = self
            .index
            .read()
            .expiry
            .first()
            .map(|(keep_ms, _)| *keep_ms);
        Ok(Reclaimed {
            records: due,
            next_ms,
            ..Reclaimed::default()
        })
    }

    fn usage(&self) -> Usage {
        let index = self.index.read();
        Usage {
            entries: Some(index.records.len() as u64),
            bytes: index.len,
        }
    }

    fn reserve(&self, watermark: Watermark) -> Result<(), Failure> {
        let mut changes = Vec::new();
        log::mark(&mut changes, watermark);
        self.append(changes, StoreDurability::Synced)
            .map_err(Failure::reopen)
    }

    fn reserved(&self) -> Watermark {
        self.index.read().mark
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().to_owned();
    let open = move || LogDriver::open(&path);

    let larder = Larder::builder()
        .driver("log", open.clone())
        .start()
        .await?;
    let notes: Cache<String> = larder.cache("notes")?;
    for nth in 0..1_000 {
        notes
            .set(&format!("note/{nth}"), format!("the {nth}th"))
            .await?;
    }
    larder.shutdown(Duration::from_secs(5)).await?;

    let larder = Larder::builder().driver("log", open).start().await?;
    let notes: Cache<String> = larder.cache("notes")?;
    let note = notes.get("note/7").await?.expect("it was stored");
    assert_eq!((&**note, note.source()), ("the 7th", Source::Custom(0)));
    let page = notes.scan("note/99").await?;
    assert_eq!(page.entries.len(), 11);
    println!(
        "after a restart, from the log: {:?}, and {} more",
        *note,
        page.entries.len()
    );
    larder.shutdown(Duration::from_secs(5)).await?;

    #[cfg(feature = "test-util")]
    conforms()?;
    Ok(())
}

/// Puts the driver to the suite that larder's own pass.
#[cfg(feature = "test-util")]
fn conforms() -> io::Result<()> {
    use larder::drivers::{Factory, conformance};
    let root = tempfile::tempdir()?;
    let stores = std::cell::Cell::new(0);
    conformance::check(|| -> Factory {
        stores.set(stores.get() + 1);
        let path = root.path().join(stores.get().to_string());
        std::sync::Arc::new(move || Ok(Box::new(LogDriver::open(&path)?)))
    });
    println!("it behaves as a driver must, in {} ways", stores.get());
    Ok(())
}
