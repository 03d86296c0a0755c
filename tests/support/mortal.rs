//! A store in memory that dies like a real one: what was written survives a kill, what was synced the
//! loss of power.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers end in a panic, and not every test file uses each of them"
)]

use std::sync::Arc;

use bytes::Bytes;
use larder::drivers::map::{MapDriver, MapStore};
use larder::drivers::{
    Driver, Factory, Failure, PageLimit, Reclaimed, StoreDurability, Watermark, Write,
};
use larder::record;

/// All clones are the same store.
#[derive(Clone, Default)]
pub struct Mortal {
    written: MapStore,
    synced: MapStore,
}

impl Mortal {
    pub fn factory(&self) -> Factory {
        let store = self.clone();
        Arc::new(move || {
            Ok(Box::new(MortalDriver {
                written: store.written.open(),
                store: store.clone(),
            }))
        })
    }

    /// What the next process finds if this one is killed now.
    pub fn after_a_kill(&self) -> Self {
        Self {
            written: copy(&self.written),
            synced: copy(&self.synced),
        }
    }

    /// What the next process finds if the power goes now.
    pub fn after_a_power_loss(&self) -> Self {
        Self {
            written: copy(&self.synced),
            synced: copy(&self.synced),
        }
    }

    /// The record under a stored key.
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.written.open().get(key).unwrap()
    }

    /// Files bytes under a stored key, whatever they are.
    pub fn plant(&self, key: &[u8], record: Bytes) {
        let put = Write::Put {
            key: Bytes::copy_from_slice(key),
            record,
            version: larder::Version::at(1),
            keep_ms: u64::MAX,
        };
        let written = self.written.open();
        written.commit(&[put], StoreDurability::Synced).unwrap();
        copy_into(&self.written, &self.synced);
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        all(&self.written).len()
    }

    /// The stored keys that begin with `prefix`.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = all(&self.written).into_iter().map(|(key, _)| key);
        let keys = keys.filter(|key| key.starts_with(prefix.as_bytes()));
        keys.map(|key| String::from_utf8(key.to_vec()).unwrap())
            .collect()
    }
}

fn all(store: &MapStore) -> Vec<(Bytes, Bytes)> {
    let page = PageLimit {
        count_max: usize::MAX,
        bytes_max: usize::MAX,
    };
    store.open().scan(b"", b"", page).unwrap()
}

fn copy(from: &MapStore) -> MapStore {
    let to = MapStore::new();
    copy_into(from, &to);
    to
}

fn copy_into(from: &MapStore, to: &MapStore) {
    let (source, driver) = (from.open(), to.open());
    let old = all(to).into_iter().map(|(key, _)| Write::Delete { key });
    let new = all(from).into_iter().map(|(key, record)| {
        let header = record::decode(&key, &record).map(|(header, _)| header).ok();
        Write::Put {
            version: header
                .as_ref()
                .map_or(larder::Version::at(1), |h| h.version),
            keep_ms: header.map_or(u64::MAX, |h| h.keep_ms),
            key,
            record,
        }
    });
    let batch: Vec<_> = old.chain(new).collect();
    driver.commit(&batch, StoreDurability::Synced).unwrap();
    driver.reserve(source.reserved()).unwrap();
}

struct MortalDriver {
    written: MapDriver,
    store: Mortal,
}

impl Driver for MortalDriver {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        self.written.get(key)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        self.written.commit(batch, durability)?;
        if durability == StoreDurability::Synced {
            copy_into(&self.store.written, &self.store.synced);
        }
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        self.written.scan(prefix, after, page)
    }

    fn reclaim(&self, now_ms: u64, count_max: usize) -> Result<Reclaimed, Failure> {
        self.written.reclaim(now_ms, count_max)
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.written.reserve(mark)?;
        self.store.synced.open().reserve(mark)
    }

    fn reserved(&self) -> Watermark {
        self.written.reserved()
    }
}
