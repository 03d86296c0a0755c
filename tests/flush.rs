//! What a flush says is stored, is.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use larder::drivers::map::{MapDriver, MapStore};
use larder::drivers::{
    Driver, Emptied, Failure, Opening, PageLimit, StoreDurability, Watermark, Write,
};
use larder::{BreakerMode, Builder, Cache, Condition, Durability, Error, Larder, Limits};
use trial::{SOON, Trial, until};

const KEYS: usize = 300;

/// A driver that can be told to give up, and whose second store is another one.
struct Lossy {
    map: MapDriver,
    is_second: bool,
    gives_up: Arc<AtomicBool>,
}

impl Driver for Lossy {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        if self.gives_up.swap(false, Ordering::SeqCst) {
            return Err(Failure::reopen("by the test"));
        }
        self.map.get(key)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        self.map.commit(batch, durability)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        self.map.scan(prefix, after, page)
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.map.reserve(mark)
    }

    fn reserved(&self) -> Watermark {
        self.map.reserved()
    }

    fn opened(&self) -> Opening {
        Opening {
            emptied: self.is_second.then(|| Emptied {
                salvaged: 0,
                reason: "by the test".into(),
                kept: None,
            }),
        }
    }
}

/// A larder with so many entries stored, whose store has just been replaced by an empty one.
async fn replaced() -> (Larder, MapStore) {
    let stores = [MapStore::new(), MapStore::new()];
    let (opened, gives_up) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (under, count, dies) = (stores.clone(), Arc::clone(&opened), Arc::clone(&gives_up));
    let mut limits = Limits::default();
    limits.value_bytes_max = 16 << 10;
    limits.dirty_bytes_max = 64 << 10;
    let larder = quick()
        .limits(limits)
        .driver("store", move || {
            let is_second = count.fetch_add(1, Ordering::SeqCst) > 0;
            Ok(Lossy {
                map: under[usize::from(is_second)].open(),
                is_second,
                gives_up: Arc::clone(&dies),
            })
        })
        .start()
        .await
        .unwrap();
    let texts: Cache<String> = larder.cache("texts").unwrap();
    for n in 0..KEYS {
        let text = format!("{n:0>500}");
        texts.set(&n.to_string(), text).await.unwrap();
    }
    larder.flush(Durability::Synced).await.unwrap();
    gives_up.store(true, Ordering::SeqCst);
    assert!(texts.get("none").await.unwrap().is_none());
    let is_back =
        || opened.load(Ordering::SeqCst) == 2 && larder.health().condition == Condition::Up;
    until("it is back", is_back).await;
    let [_, second] = stores;
    (larder, second)
}

fn quick() -> Builder {
    let ms = Duration::from_millis;
    Larder::builder()
        .call_max(SOON)
        .restart_backoff(ms(1), ms(5))
}

fn stored(store: &MapStore) -> usize {
    let page = PageLimit {
        count_max: usize::MAX,
        bytes_max: usize::MAX,
    };
    store.open().scan(b"texts/", b"", page).unwrap().len()
}

#[tokio::test]
async fn a_flush_covers_what_a_store_that_was_emptied_gets_back_from_memory() {
    let (larder, store) = replaced().await;
    larder.flush(Durability::Synced).await.unwrap();
    assert_eq!(stored(&store), KEYS);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn so_does_a_shutdown() {
    let (larder, store) = replaced().await;
    larder.shutdown(SOON).await.unwrap();
    assert_eq!(stored(&store), KEYS);
}

#[tokio::test]
async fn what_is_owed_is_stored_when_a_breaker_that_was_forced_open_is_given_back() {
    let (larder, store) = replaced().await;
    let driver = larder.driver("store").unwrap();
    driver.set_breaker(BreakerMode::ForcedOpen);
    trial::settle(&larder).await;
    driver.set_breaker(BreakerMode::Auto);
    larder.flush(Durability::Written).await.unwrap();
    assert_eq!(stored(&store), KEYS);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn nothing_is_said_to_be_synced_while_a_driver_is_down() {
    let trial = Trial::default();
    let opening = trial.clone();
    // So long the first flush waits in vain, and no other call may come near it.
    let builder = Larder::builder().call_max(Duration::from_secs(2));
    let larder = builder.driver("store", move || opening.open());
    let larder = larder.start().await.unwrap();
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    let set = numbers.set("a", 1).durability(Durability::Written);
    set.await.unwrap();
    let driver = larder.driver("store").unwrap();
    driver.set_breaker(BreakerMode::ForcedOpen);
    let flushed = larder.flush(Durability::Synced).await;
    assert!(
        matches!(flushed, Err(Error::Unavailable { .. })),
        "{flushed:?}"
    );
    larder.flush(Durability::Written).await.unwrap();
    driver.set_breaker(BreakerMode::Auto);
    larder.flush(Durability::Synced).await.unwrap();
    assert_eq!(trial.durabilities().last(), Some(&StoreDurability::Synced));
    larder.shutdown(SOON).await.unwrap();
}
