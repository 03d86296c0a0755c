//! Data keys that are used up: another one begins by itself, none seals more often than it may, and no
//! nonce is used twice with one of them.
#![cfg(all(feature = "secure", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder::drivers::disk::DiskConfig;
use larder::drivers::map::{MapDriver, MapStore};
use larder::drivers::sealed::{Vault, over};
use larder::drivers::{
    Driver, Factory, Failure, PageLimit, Reclaimed, StoreDurability, Usage, Watermark, Write,
};
use larder::{
    Cache, CommitConfig, Condition, DegradedReason, Durability, EncryptionConfig, Larder,
};
use parking_lot::Mutex;

use sealed::{ALL, SOON, key, quick_dir, set};

#[path = "support/sealed.rs"]
mod sealed;

const SEALS_MAX: u64 = 50;
const WRITERS: u64 = 8;

/// Epoch and nonce of each seal.
type Seals = Arc<Mutex<Vec<(u32, [u8; 12])>>>;

/// What is done before each page is read below.
type Hook = Arc<Mutex<Option<Box<dyn FnMut() + Send>>>>;

/// A map that remembers each seal that it was given, also of what was overwritten since.
struct Spy(MapDriver, Seals, Hook);

/// Makes such drivers.
fn spied(map: &MapStore, seals: &Seals, hook: &Hook) -> Factory {
    let (map, seals, hook) = (map.clone(), Arc::clone(seals), Arc::clone(hook));
    Arc::new(move || {
        Ok(Box::new(Spy(
            map.open(),
            Arc::clone(&seals),
            Arc::clone(&hook),
        )))
    })
}

impl Driver for Spy {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        self.0.get(key)
    }

    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        self.0.get_many(keys)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        let mut seals = self.1.lock();
        for write in batch {
            if let Write::Put { record, .. } = write {
                let epoch = u32::from_le_bytes(record[24..28].try_into().unwrap());
                seals.push((epoch, record[28..40].try_into().unwrap()));
            }
        }
        drop(seals);
        self.0.commit(batch, durability)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        // Taken out meanwhile: it may read, too.
        let hook = self.2.lock().take();
        if let Some(mut hook) = hook {
            hook();
            *self.2.lock() = Some(hook);
        }
        self.0.scan(prefix, after, page)
    }

    fn reclaim(&self, now_ms: u64, count_max: usize) -> Result<Reclaimed, Failure> {
        self.0.reclaim(now_ms, count_max)
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.0.reserve(mark)
    }

    fn reserved(&self) -> Watermark {
        self.0.reserved()
    }
}

/// No key has sealed more often than it may, and no nonce is there twice.
fn check(seals: &Seals, seals_max: u64) -> usize {
    let seals = seals.lock();
    let mut epochs = BTreeMap::<u32, u64>::new();
    seals
        .iter()
        .for_each(|(epoch, _)| *epochs.entry(*epoch).or_default() += 1);
    for (epoch, count) in &epochs {
        assert!(
            *count <= seals_max,
            "epoch {epoch} has sealed {count} times"
        );
    }
    let distinct: HashSet<_> = seals.iter().collect();
    assert_eq!(distinct.len(), seals.len());
    epochs.len()
}

fn config() -> EncryptionConfig {
    EncryptionConfig::new(key(1)).seals_per_key_max(SEALS_MAX)
}

/// Writes and reads `name` in turn; each value is shown until it is overwritten.
async fn write(cache: Cache<u64>, writer: u64) {
    for n in 0..60 {
        for name in ["a", "b", "c", "d"] {
            let name = format!("{writer}{name}");
            let set = cache.set(&name, n).durability(Durability::Written);
            set.await.unwrap();
            assert_eq!(*cache.get(&name).await.unwrap().unwrap(), n, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_many_writers_and_readers_no_key_seals_more_often_than_it_may() {
    let dir = quick_dir();
    let (map, seals) = (MapStore::new(), Seals::default());
    let vault = Arc::new(Vault::new(dir.path(), config()));
    let builder = Larder::builder().call_max(SOON).driver_factory(
        "store",
        CommitConfig::default(),
        over(spied(&map, &seals, &Hook::default()), &vault),
    );
    let larder = builder.start().await.unwrap();
    let cache = larder.cache_builder::<u64>("numbers").drivers(["store"]);
    let cache = cache.open().unwrap();
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write(cache.clone(), writer)));
    let writers: Vec<_> = writers.collect();
    // Pages that are read meanwhile come to an end, and none is without what is there all the time.
    cache
        .set("still", 7)
        .durability(Durability::Written)
        .await
        .unwrap();
    let reading = async {
        while writers.iter().any(|writer| !writer.is_finished()) {
            let page = cache.scan("").page_size(100).await.unwrap();
            assert!(page.entries.iter().any(|(name, _)| name == "still"));
        }
    };
    tokio::time::timeout(SOON, reading).await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    let page = cache.scan("").page_size(100).await.unwrap();
    assert_eq!(page.entries.len(), 1 + 4 * WRITERS as usize);
    assert_eq!(vault.refused(), 0);
    larder.shutdown(SOON).await.unwrap();
    let epochs = check(&seals, SEALS_MAX);
    assert!(epochs > 30, "{epochs} epochs");
}

#[test]
fn the_seals_of_earlier_processes_count() {
    let dir = quick_dir();
    let (map, seals) = (MapStore::new(), Seals::default());
    for process in 0..20 {
        let config = EncryptionConfig::new(key(1)).seals_per_key_max(100_000);
        let vault = Arc::new(Vault::new(dir.path(), config));
        let driver = over(spied(&map, &seals, &Hook::default()), &vault)().unwrap();
        set(&*driver, "c/a", process + 1, "value");
    }
    // Two blocks fit into each: what a process has set aside nobody else uses.
    assert_eq!(check(&seals, 100_000), 10);
}

#[test]
fn pages_come_to_an_end_and_are_whole_though_another_key_comes_with_each_of_them() {
    let (dir, hook, seals) = (quick_dir(), Hook::default(), Seals::default());
    let config = EncryptionConfig::new(key(1)).seals_per_key_max(1);
    let vault = Arc::new(Vault::new(dir.path(), config));
    let driver = over(spied(&MapStore::new(), &seals, &hook), &vault)().unwrap();
    let driver: Arc<dyn Driver> = driver.into();
    set(&*driver, "c/still", 1, "value");
    let (writer, mut version) = (Arc::clone(&driver), 1);
    *hook.lock() = Some(Box::new(move || {
        version += 1;
        assert!(version < 100, "it has no end");
        set(&*writer, "c/changed", version, "value");
    }));
    let page = driver.scan(b"c/", b"", ALL).unwrap();
    assert_eq!(page.len(), 2);
    let walked = driver.walk(b"", ALL).unwrap();
    assert_eq!(walked.records.len(), 2);
    assert_eq!(vault.refused(), 0);
    // The driver is its own hook's.
    *hook.lock() = None;
}

#[tokio::test]
async fn a_larder_whose_keys_are_used_up_says_so_serves_reads_and_is_healed_by_a_rotation() {
    let dir = quick_dir();
    let config = EncryptionConfig::new(key(1)).seals_per_key_max(1);
    let builder = Larder::builder().secure_with(dir.path(), DiskConfig::default(), config);
    let larder = builder.start().await.unwrap();
    let cache: Cache<u64> = larder.secure("numbers").unwrap();
    cache
        .set("kept", 1)
        .durability(Durability::Written)
        .await
        .unwrap();
    let driver = larder.driver("secure").unwrap();
    let mut n = 0;
    let degraded = loop {
        n += 1;
        let set = cache.set("a", n).durability(Durability::Written);
        match set.outcome().await {
            Ok(outcome) if outcome.degraded.is_empty() => {}
            other => break other,
        }
        assert!(n < 2_000, "it has no end");
    };
    if let Ok(outcome) = &degraded {
        assert_eq!(outcome.degraded[0].reason, DegradedReason::Full);
    }
    let health = driver.health();
    let reason = health.reason.unwrap();
    assert!(reason.contains("rotate the master key"), "{reason}");
    assert_eq!(*cache.get("kept").await.unwrap().unwrap(), 1);
    cache.remove("none").await.unwrap();
    // It starts as ever.
    let _ = larder.shutdown(Duration::from_millis(100)).await;
    let config = EncryptionConfig::new(key(1)).seals_per_key_max(1);
    let builder = Larder::builder().secure_with(dir.path(), DiskConfig::default(), config);
    let larder = builder.start().await.unwrap();
    let cache: Cache<u64> = larder.secure("numbers").unwrap();
    let driver = larder.driver("secure").unwrap();
    assert_eq!(*cache.get("kept").await.unwrap().unwrap(), 1);
    let rotation = driver.rotate_key(key(2)).await.unwrap();
    tokio::time::timeout(SOON, rotation.finished())
        .await
        .unwrap()
        .unwrap();
    let up = async {
        while driver.health().condition != Condition::Up {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, up).await.unwrap();
    cache
        .set("a", 9_999)
        .durability(Durability::Written)
        .await
        .unwrap();
    larder.shutdown(SOON).await.unwrap();
}
