//! Another schema, another type, bytes that cannot be read: a miss, counted, replaced, never a panic.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use larder::{Cache, Error, Larder};
use serde::{Deserialize, Deserializer, Serialize};
use world::{World, secs, text};

fn schema<V: larder::Value>(larder: &Larder, number: u32) -> Cache<V> {
    let builder = larder.cache_builder("users").schema(number);
    builder.open().unwrap()
}

async fn schema_misses(larder: &Larder) -> u64 {
    larder.stats().await.unwrap().schema_misses
}

/// Each world with `k` set as a string under schema 1, in memory, and again below only.
async fn each(check: impl AsyncFn(&Larder, &str)) {
    let below = World::stored().into_iter().map(|world| (world, true));
    for (world, below) in World::all().into_iter().map(|w| (w, false)).chain(below) {
        let mut larder = world.start().await;
        schema::<String>(&larder, 1)
            .set("k", text("1"))
            .ttl(secs(60))
            .await
            .unwrap();
        if below {
            larder = world.restart(larder).await;
        }
        check(&larder, world.name).await;
        assert_eq!(larder.stats().await.unwrap().memory.marks, 0);
    }
}

#[tokio::test]
async fn another_schema_is_a_miss_that_is_counted_and_replaced() {
    each(async |larder, world| {
        let users: Cache<String> = schema(larder, 2);
        assert!(users.get("k").await.unwrap().is_none(), "{world}");
        assert_eq!(schema_misses(larder).await, 1);
        users.set("k", text("2")).await.unwrap();
        assert_eq!(*users.get("k").await.unwrap().unwrap(), "2");
    })
    .await;
}

#[tokio::test]
async fn another_type_is_a_miss_that_is_counted_and_replaced() {
    each(async |larder, world| {
        let users: Cache<u64> = schema(larder, 1);
        assert!(users.get("k").await.unwrap().is_none(), "{world}");
        assert!(!users.contains("k").await.unwrap());
        assert_eq!(schema_misses(larder).await, 2);
        users.set("k", 2).await.unwrap();
        assert_eq!(*users.get("k").await.unwrap().unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_condition_takes_another_schema_or_type_for_absent() {
    each(async |larder, world| {
        let users: Cache<u64> = schema(larder, 1);
        let present = users.set("k", 2).if_present().await;
        assert!(
            matches!(present, Err(Error::Conflict { current: None })),
            "{world}"
        );
        users.set("k", 2).if_absent().await.unwrap();
        assert_eq!(*users.get("k").await.unwrap().unwrap(), 2);
    })
    .await;
    each(async |larder, world| {
        let users: Cache<String> = schema(larder, 2);
        users.set("k", text("2")).if_absent().await.unwrap();
        assert_eq!(*users.get("k").await.unwrap().unwrap(), "2", "{world}");
    })
    .await;
}

#[tokio::test]
async fn an_update_replaces_another_schema_or_type() {
    each(async |larder, world| {
        let users: Cache<u64> = schema(larder, 1);
        let first = |old: Option<&u64>| old.map_or(1, |old| old + 1);
        assert_eq!(*users.update("k", first).await.unwrap(), 1, "{world}");
        assert_eq!(*users.update("k", first).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn new_times_never_relabel_a_value_of_another_schema_or_type() {
    each(async |larder, world| {
        let users: Cache<String> = schema(larder, 2);
        assert_eq!(users.touch("k", secs(5)).await.unwrap(), None, "{world}");
        assert_eq!(users.expire("k").await.unwrap(), None);
        assert!(users.get("k").allow_stale().await.unwrap().is_none());
        let numbers: Cache<u64> = schema(larder, 1);
        assert_eq!(numbers.touch("k", secs(5)).await.unwrap(), None);
        // To those who can read it, it is what it was.
        let right: Cache<String> = schema(larder, 1);
        let entry = right.get("k").await.unwrap().unwrap();
        assert_eq!((entry.as_str(), entry.expires_in()), ("1", Some(secs(60))));
    })
    .await;
}

#[tokio::test]
async fn reading_a_sliding_value_of_another_schema_does_not_renew_it() {
    let world = World::memory();
    let larder = world.start().await;
    schema::<String>(&larder, 1)
        .set("k", text("1"))
        .idle(secs(8))
        .await
        .unwrap();
    world.advance(secs(5));
    let other: Cache<String> = schema(&larder, 2);
    assert!(other.get("k").await.unwrap().is_none());
    world.advance(secs(5));
    let right: Cache<String> = schema(&larder, 1);
    assert!(right.get("k").await.unwrap().is_none(), "it has expired");
}

/// Under one name two layouts, as when a host is rebuilt without raising the schema number.
#[derive(Serialize, Debug, PartialEq)]
#[serde(transparent)]
struct Strict(u64);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u64::deserialize(from)? {
            13 => Err(serde::de::Error::custom("no 13")),
            14 => panic!("on 14"),
            number => Ok(Self(number)),
        }
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_decoded_is_a_miss_that_is_counted_and_replaced() {
    for bad in [13, 14] {
        for world in World::stored() {
            let larder = world.start().await;
            let users: Cache<Strict> = larder.cache("users").unwrap();
            users.set("good", Strict(1)).await.unwrap();
            users.set("bad", Strict(bad)).await.unwrap();
            let larder = world.restart(larder).await;
            let users: Cache<Strict> = larder.cache("users").unwrap();
            assert!(users.get("bad").await.unwrap().is_none(), "{}", world.name);
            assert!(!users.contains("bad").await.unwrap());
            let stats = larder.stats().await.unwrap();
            assert_eq!((stats.decode_errors, stats.memory.marks), (2, 0));
            let updated = users.update("bad", |old| Strict(old.map_or(2, |_| 3)));
            assert_eq!(updated.await.unwrap().0, 2);
            assert_eq!(*users.get("bad").await.unwrap().unwrap(), Strict(2));
            assert_eq!(*users.get("good").await.unwrap().unwrap(), Strict(1));
        }
    }
}
