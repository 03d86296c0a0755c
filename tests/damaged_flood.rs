//! Damaged records that are read faster than they can be looked after keep nothing from being stored.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder::drivers::faults::{Fault, Faults, Op, When};
use larder::drivers::map::{MapDriver, MapStore};
use larder::drivers::{Driver, Failure, PageLimit, StoreDurability, Watermark, Write};
use larder::{Cache, CommitConfig, Durability, Larder};

/// Each read takes so long.
const READ: Duration = Duration::from_millis(1);
const READERS: usize = 64;
const SETS: u64 = 20;

/// Has a record of every key that nobody can read, and goes on having it.
struct Damaged(MapDriver);

impl Driver for Damaged {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let garbage = key
            .starts_with(b"damaged/")
            .then(|| Bytes::from_static(b"?"));
        garbage.map_or_else(|| self.0.get(key), |garbage| Ok(Some(garbage)))
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        self.0.commit(batch, durability)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        self.0.scan(prefix, after, page)
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.0.reserve(mark)
    }

    fn reserved(&self) -> Watermark {
        self.0.reserved()
    }
}

#[tokio::test]
async fn while_damaged_records_are_read_again_and_again_each_set_is_stored() {
    let store = MapStore::new();
    let faults = Faults::new();
    faults.inject(Op::Get, When::Always, Fault::Delay(READ));
    let factory = faults.over(Arc::new(move || Ok(Box::new(Damaged(store.open())))));
    let builder = Larder::builder().driver_factory("store", CommitConfig::default(), factory);
    let larder = builder.start().await.unwrap();
    let damaged: Cache<u64> = larder.cache("damaged").unwrap();
    let good: Cache<u64> = larder.cache("good").unwrap();
    let readers: Vec<_> = (0..READERS)
        .map(|n| {
            let damaged = damaged.clone();
            tokio::spawn(async move {
                loop {
                    assert!(damaged.get(&n.to_string()).await.unwrap().is_none());
                }
            })
        })
        .collect();
    for n in 0..SETS {
        let key = n.to_string();
        let set = good.set(&key, n).durability(Durability::Written);
        set.await.unwrap();
    }
    readers.iter().for_each(|reader| reader.abort());
    let stats = larder.stats().await.unwrap();
    let driver = stats.drivers.first().unwrap();
    assert!(driver.damaged > SETS, "{}", driver.damaged);
    assert_eq!((driver.retries, driver.refused), (0, 0));
    larder.shutdown(Duration::from_secs(20)).await.unwrap();
}
