//! A driver over a map: volatile, ordered, complete. For tests, and for hosts that want a second
//! tier which forgets when the process ends.
//!
//! It must not do what a real store cannot: everything goes through the [`Driver`] trait.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::{
    Driver, Factory, Failure, PageLimit, Reclaimed, StoreDurability, Usage, Watermark, Write,
};
use crate::clock::{Millis, NEVER};
use crate::version::Version;

/// Contents that outlive the driver: clones share them, so a driver made later finds what an
/// earlier one stored.
///
/// ```
/// use larder::drivers::map::MapStore;
/// let store = MapStore::new();
/// let driver = store.factory()()?;
/// assert_eq!(driver.get(b"users/42")?, None);
/// # Ok::<(), larder::drivers::Failure>(())
/// ```
#[derive(Clone, Default)]
pub struct MapStore(Arc<RwLock<Contents>>);

impl MapStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A driver on this store.
    pub fn open(&self) -> MapDriver {
        MapDriver(self.clone())
    }

    /// Makes drivers on this store.
    pub fn factory(&self) -> Factory {
        let store = self.clone();
        Arc::new(move || Ok(Box::new(store.open())))
    }
}

/// Shows how much it holds, never a key or a value.
impl fmt::Debug for MapStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = self.0.read();
        f.debug_struct("MapStore")
            .field("records", &contents.records.len())
            .field("bytes", &contents.bytes)
            .finish()
    }
}

/// A driver on a [`MapStore`].
pub struct MapDriver(MapStore);

impl Driver for MapDriver {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let contents = self.0.0.read();
        Ok(contents.records.get(key).map(|r| r.record.clone()))
    }

    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        let contents = self.0.0.read();
        let found = |key: &Bytes| contents.records.get(key).map(|r| r.record.clone());
        Ok(keys.iter().map(found).collect())
    }

    fn commit(&self, batch: &[Write], _durability: StoreDurability) -> Result<(), Failure> {
        let mut contents = self.0.0.write();
        for write in batch {
            contents.apply(write);
        }
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let contents = self.0.0.read();
        let start = if after >= prefix && !after.is_empty() {
            Bound::Excluded(after)
        } else {
            Bound::Included(prefix)
        };
        let mut found = Vec::new();
        let mut bytes = 0;
        for (key, stored) in contents.records.range::<[u8], _>((start, Bound::Unbounded)) {
            let is_full = found.len() >= page.count_max || bytes >= page.bytes_max;
            if !key.starts_with(prefix) || (is_full && !found.is_empty()) {
                break;
            }
            bytes += key.len() + stored.record.len();
            found.push((key.clone(), stored.record.clone()));
        }
        Ok(found)
    }

    fn reclaim(&self, now_ms: Millis, count_max: usize) -> Result<Reclaimed, Failure> {
        let mut contents = self.0.0.write();
        let due: Vec<Bytes> = contents
            .expiry
            .iter()
            .take_while(|(keep_ms, _)| *keep_ms <= now_ms)
            .take(count_max)
            .map(|(_, key)| key.clone())
            .collect();
        let mut reclaimed = Reclaimed::default();
        for key in due {
            if let Some(gone) = contents.remove(&key) {
                reclaimed.records.push((key, gone.version));
                reclaimed.bodies.push(gone.record);
            }
        }
        reclaimed.next_ms = contents.expiry.first().map(|(keep_ms, _)| *keep_ms);
        Ok(reclaimed)
    }

    fn usage(&self) -> Usage {
        let contents = self.0.0.read();
        Usage {
            entries: Some(contents.records.len() as u64),
            bytes: contents.bytes,
        }
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.0.0.write().mark = mark;
        Ok(())
    }

    fn reserved(&self) -> Watermark {
        self.0.0.read().mark
    }
}

#[derive(Default)]
struct Contents {
    records: BTreeMap<Bytes, Stored>,
    /// One entry for each record that does not stay for ever.
    expiry: BTreeSet<(Millis, Bytes)>,
    bytes: u64,
    mark: Watermark,
}

struct Stored {
    record: Bytes,
    version: Version,
    keep_ms: Millis,
}

impl Contents {
    fn apply(&mut self, write: &Write) {
        self.remove(write.key());
        let Write::Put {
            key,
            record,
            version,
            keep_ms,
        } = write
        else {
            return;
        };
        if *keep_ms != NEVER {
            self.expiry.insert((*keep_ms, key.clone()));
        }
        self.bytes += write.weight() as u64;
        let stored = Stored {
            record: record.clone(),
            version: *version,
            keep_ms: *keep_ms,
        };
        self.records.insert(key.clone(), stored);
    }

    fn remove(&mut self, key: &Bytes) -> Option<Stored> {
        let old = self.records.remove(key)?;
        self.expiry.remove(&(old.keep_ms, key.clone()));
        self.bytes -= (key.len() + old.record.len()) as u64;
        Some(old)
    }
}
