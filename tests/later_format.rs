//! A record of a later layout is left for who can read it: not deleted, not believed, counted.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/mortal.rs"]
mod mortal;
#[path = "support/world.rs"]
mod world;

use bytes::Bytes;
use larder::DegradedReason;
use larder::config::CommitConfig;
use larder::record::{FORMAT, FORMAT_FLAGGED};
use larder::{Durability, Larder};
use mortal::Mortal;
use world::{SOON, cache, read, text};

async fn start(store: &Mortal) -> Larder {
    let builder = Larder::builder();
    let builder = builder.driver_factory("store", CommitConfig::default(), store.factory());
    builder.start().await.unwrap()
}

/// A store in which `users/k` is of the next layout.
async fn from_the_future() -> (Mortal, Bytes) {
    let store = Mortal::default();
    let larder = start(&store).await;
    cache(&larder).set("k", text("1")).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let mut record = store.get(b"users/k").unwrap().to_vec();
    assert_eq!(record[2], FORMAT);
    record[2] = FORMAT_FLAGGED + 1;
    let record = Bytes::from(record);
    store.plant(b"users/k", record.clone());
    (store, record)
}

/// Everything that waits in the commit lane, repairs too, has been carried out.
async fn settle(larder: &Larder) {
    cache(larder)
        .set("last in the lane", text("1"))
        .durability(Durability::Synced)
        .await
        .unwrap();
}

#[tokio::test]
async fn it_is_a_miss_that_says_why_and_is_counted() {
    let (store, _) = from_the_future().await;
    let larder = start(&store).await;
    let users = cache(&larder);
    let miss = users.get("k").outcome().await.unwrap();
    assert!(miss.entry.is_none());
    assert_eq!(miss.degraded[0].reason, DegradedReason::Damaged);
    assert!(users.get_many(["k"]).await.unwrap()[0].1.is_none());
    assert!(users.scan("").await.unwrap().entries.is_empty());
    assert!(larder.stats().await.unwrap().drivers[0].damaged >= 2);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn nothing_that_reads_it_deletes_it() {
    let (store, record) = from_the_future().await;
    let larder = start(&store).await;
    let users = cache(&larder);
    assert_eq!(read(&users, "k").await, None);
    assert!(!users.contains("k").await.unwrap());
    assert!(users.peek("k").await.unwrap().is_none());
    users.get_many(["k"]).await.unwrap();
    users.scan("").await.unwrap();
    larder.warm(["users/k"]).await.unwrap();
    settle(&larder).await;
    assert_eq!(store.get(b"users/k"), Some(record.clone()));
    larder.shutdown(SOON).await.unwrap();
    assert_eq!(store.get(b"users/k"), Some(record));
}

#[tokio::test]
async fn a_damaged_record_of_this_layout_is_deleted_by_who_reads_it() {
    let (store, record) = from_the_future().await;
    let mut damaged = record.to_vec();
    damaged[2] = FORMAT;
    *damaged.last_mut().unwrap() ^= 1;
    store.plant(b"users/k", damaged.into());
    let larder = start(&store).await;
    assert_eq!(read(&cache(&larder), "k").await, None);
    settle(&larder).await;
    assert_eq!(store.get(b"users/k"), None);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn it_is_replaced_by_who_sets_its_key() {
    let (store, _) = from_the_future().await;
    let larder = start(&store).await;
    cache(&larder).set("k", text("2")).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = start(&store).await;
    assert_eq!(read(&cache(&larder), "k").await, Some(text("2")));
    larder.shutdown(SOON).await.unwrap();
}
