//! A record that a store refuses each time keeps no other from being stored.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use larder::drivers::map::{MapDriver, MapStore};
use larder::drivers::{Driver, Failure, PageLimit, StoreDurability, Watermark, Write};
use larder::{Cache, CommitConfig, Durability, Error, Larder};

/// A guard only.
const SOON: Duration = Duration::from_secs(60);

/// Refuses every batch with this key, and counts how often.
struct Picky(MapDriver, &'static [u8], Arc<AtomicUsize>);

impl Driver for Picky {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        self.0.get(key)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        let is_refused = |write: &Write| matches!(write, Write::Put { key, .. } if key == self.1);
        if batch.iter().any(is_refused) {
            self.2.fetch_add(1, Ordering::SeqCst);
            return Err(Failure::Retry {
                reason: "not this one".into(),
                after: Duration::ZERO,
            });
        }
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
async fn it_stays_in_memory_its_older_copy_goes_and_all_others_are_stored() {
    let store = MapStore::new();
    let builder =
        Larder::builder().driver_factory("store", CommitConfig::default(), store.factory());
    let larder = builder.start().await.unwrap();
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    numbers
        .set("13", 0)
        .durability(Durability::Written)
        .await
        .unwrap();
    larder.shutdown(SOON).await.unwrap();

    let under = store.clone();
    let builder = Larder::builder()
        .call_max(SOON)
        .restart_backoff(Duration::from_millis(1), Duration::from_millis(5))
        .driver("store", move || {
            Ok(Picky(under.open(), b"numbers/13", Arc::default()))
        });
    let larder = builder.start().await.unwrap();
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    let refused = numbers.set("13", 13).durability(Durability::Written);
    let (refused, others) = tokio::join!(refused, async {
        for n in 100..200 {
            numbers.set(&n.to_string(), n).await.unwrap();
        }
    });
    let () = others;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(*numbers.get("13").await.unwrap().unwrap(), 13);
    larder.flush(Durability::Written).await.unwrap();
    let driver = |stats: larder::Stats| stats.drivers.into_iter().next().unwrap();
    assert_eq!(driver(larder.stats().await.unwrap()).refused, 1);
    larder.shutdown(SOON).await.unwrap();
    let stored = store.open();
    assert!(
        stored.get(b"numbers/13").unwrap().is_none(),
        "the older one"
    );
    let page = PageLimit {
        count_max: 1_000,
        bytes_max: 1 << 20,
    };
    assert_eq!(stored.scan(b"numbers/", b"", page).unwrap().len(), 100);
}

#[tokio::test]
async fn its_older_copy_goes_though_nobody_writes_any_more() {
    let store = MapStore::new();
    let under = store.clone();
    let builder = Larder::builder().call_max(SOON).driver("store", move || {
        Ok(Picky(under.open(), b"numbers/13", Arc::default()))
    });
    let larder = builder.start().await.unwrap();
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    let refused = numbers.set("13", 13).durability(Durability::Written).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })));
    let believed = async {
        while larder.driver("store").unwrap().health().distrusted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, believed).await.unwrap();
    assert_eq!(*numbers.get("13").await.unwrap().unwrap(), 13);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_fence_is_never_given_up_and_what_was_cleared_before_stays_away_after_a_restart() {
    const FENCE: &[u8] = b"\0fences/numbers";
    let store = MapStore::new();
    let builder =
        || Larder::builder().driver_factory("store", CommitConfig::default(), store.factory());
    let larder = builder().start().await.unwrap();
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    numbers.set("cleared", 1).await.unwrap();
    larder.flush(Durability::Written).await.unwrap();
    numbers
        .clear()
        .durability(Durability::Synced)
        .await
        .unwrap();
    larder.shutdown(SOON).await.unwrap();

    let (under, refused) = (store.clone(), Arc::new(AtomicUsize::new(0)));
    let counts = Arc::clone(&refused);
    let picky = move || Ok(Picky(under.open(), FENCE, Arc::clone(&counts)));
    let larder = Larder::builder().driver("store", picky).start();
    let larder = larder.await.unwrap();
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    numbers
        .clear()
        .durability(Durability::Queued)
        .await
        .unwrap();
    // More often than any value is tried again.
    let tried = async {
        while refused.load(Ordering::SeqCst) < 6 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, tried).await.unwrap();
    larder.shutdown(Duration::from_millis(1)).await.unwrap_err();
    assert!(store.open().get(FENCE).unwrap().is_some(), "the older one");
    let larder = builder().start().await.unwrap();
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    assert!(numbers.get("cleared").await.unwrap().is_none());
    larder.shutdown(SOON).await.unwrap();
}
