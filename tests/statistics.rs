//! Statistics: one serialisable snapshot in which each counter moves for what it names.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::time::Duration;

use larder::clock::Clock;
use larder::messages::entry;
use larder::{ActorState, Builder, Cache, Durability, Error, Larder, Stats};
use serde::{Deserialize, Serialize};
use trial::{SOON, Trial, settle, until, until_actor};

const START_MS: u64 = 1_800_000_000_000;

fn over(trial: &Trial) -> Builder {
    let trial = trial.clone();
    Larder::builder().driver("store", move || trial.open())
}

async fn stats(larder: &Larder) -> Stats {
    larder.stats().await.unwrap()
}

/// Encodes, but for one value, and decodes one only.
struct Stubborn(u8);

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            13 => Err(serde::ser::Error::custom("refused by the test")),
            n => serializer.serialize_u8(n),
        }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u8::deserialize(from)? {
            0 => Ok(Self(0)),
            _ => Err(serde::de::Error::custom("refused by the test")),
        }
    }
}

#[tokio::test]
async fn a_snapshot_is_serialisable_and_holds_the_configuration() {
    let larder = over(&Trial::default())
        .memory_bytes(8 << 20)
        .start()
        .await
        .unwrap();
    let json = serde_json::to_value(stats(&larder).await).unwrap();
    assert_eq!(json["config"]["memory_bytes"], 8 << 20);
    assert_eq!(json["memory"]["bytes_max"], 8 << 20);
    assert_eq!(json["drivers"][0]["name"], "store");
    assert_eq!(json["drivers"][0]["breaker"]["state"], "closed");
    assert_eq!(json["config"]["limits"]["dirty_bytes_max"], 16 << 20);
    let actors = json["actors"].as_array().unwrap();
    let names: Vec<_> = actors.iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["store", "memory", "hub", "ttl", "batch", "desk"]);
    assert!(
        actors
            .iter()
            .all(|a| a["state"] == "up" && a["generation"] == 1)
    );
    larder.shutdown(SOON).await.unwrap();
    assert!(matches!(larder.stats().await, Err(Error::Closed)));
}

#[tokio::test]
async fn hits_and_misses_are_counted_where_they_happen() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    cache.set("a", 1).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    cache.get("a").await.unwrap().unwrap();
    let now = stats(&larder).await;
    assert_eq!((now.drivers[0].hits, now.drivers[0].misses), (1, 0));
    assert_eq!((now.memory.hits, now.memory.misses), (0, 1));
    assert_eq!(now.memory.entries, 1);
    cache.get("a").await.unwrap().unwrap();
    cache.get("b").await.unwrap();
    cache.get_many(["a", "c", "d"]).await.unwrap();
    let now = stats(&larder).await;
    assert_eq!((now.drivers[0].hits, now.drivers[0].misses), (1, 3));
    assert_eq!((now.memory.hits, now.memory.misses), (2, 4));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_read_of_memory_is_counted_once_however_it_is_asked_for() {
    let (trial, clock) = (Trial::default(), Clock::manual(START_MS));
    let builder = || over(&trial).clock(clock.clone());
    let larder = builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let hour = Duration::from_secs(3_600);
    cache.set("kept", 1).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    // One that lies in memory as bytes, one whose reads renew it, one that has expired.
    larder.warm(["numbers/kept"]).await.unwrap();
    cache.set("sliding", 1).idle(hour).await.unwrap();
    let second = Duration::from_secs(1);
    let set = cache.set("stale", 1).ttl(second).stale_for(hour);
    set.await.unwrap();
    clock.advance(second);
    let desk = larder.desk().unwrap();
    let (mut hits, mut misses) = (0, 0);
    for (key, is_hit) in [
        ("kept", true),
        ("sliding", true),
        ("stale", false),
        ("nothing", false),
    ] {
        cache.get(key).outcome().await.unwrap();
        cache.get(key).await.unwrap();
        cache.peek(key).await.unwrap();
        cache.get_many([key]).await.unwrap();
        let explain = entry::Explain(entry::Get::<u64>::new("numbers", key));
        desk.send(explain).await.unwrap().unwrap();
        if is_hit {
            hits += 5;
        } else {
            misses += 5;
        }
        let now = stats(&larder).await;
        let counted = (now.memory.hits, now.memory.misses);
        assert_eq!(counted, (hits, misses), "{key}");
    }
    let stale = cache.get("stale").allow_stale().outcome().await.unwrap();
    assert!(stale.entry.is_some());
    assert_eq!(stats(&larder).await.memory.hits, hits + 1);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn commits_writes_usage_and_latencies_are_counted() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let before = stats(&larder).await;
    assert_eq!(before.drivers[0].entries, Some(0));
    for n in 0..20 {
        let key = n.to_string();
        let set = cache.set(&key, n).durability(Durability::Written);
        set.await.unwrap();
        cache.get("unknown").await.unwrap();
    }
    let now = stats(&larder).await;
    let store = &now.drivers[0];
    assert_eq!((store.commits, store.writes), (20, 20));
    assert_eq!(store.entries, Some(20));
    assert!(store.bytes.unwrap() > 20);
    assert_eq!(store.commit_latency.count, 20);
    assert_eq!(store.read_latency.count, 20);
    for latency in [&store.commit_latency, &store.read_latency] {
        assert!(latency.p50_us > 0 && latency.p50_us <= latency.p95_us);
        assert!(latency.p95_us <= latency.p99_us);
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_is_dirty_is_counted_until_it_is_stored() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<Vec<u8>> = larder.cache("bytes").unwrap();
    trial.hold();
    for n in 0..5 {
        let key = n.to_string();
        cache.set(&key, vec![0; 1_000]).await.unwrap();
    }
    let now = stats(&larder).await;
    assert_eq!((now.dirty.slots, now.memory.dirty_slots), (5, 5));
    assert!(now.dirty.bytes > 5_000 && now.dirty.bytes < 10_000);
    trial.release();
    larder.flush(Durability::Written).await.unwrap();
    let now = stats(&larder).await;
    assert_eq!((now.dirty.slots, now.dirty.bytes), (0, 0));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn failures_retries_and_memory_only_sets_are_counted() {
    let (trial, clock) = (Trial::default(), Clock::manual(START_MS));
    let mut limits = larder::Limits::default();
    limits.value_bytes_max = 1_000;
    limits.dirty_bytes_max = 2_000;
    let builder = over(&trial).clock(clock.clone()).limits(limits);
    let larder = builder.start().await.unwrap();
    let cache: Cache<Vec<u8>> = larder.cache("bytes").unwrap();
    trial.fail_commit(0);
    let set = cache.set("a", vec![0; 10]);
    set.durability(Durability::Written).await.unwrap();
    let now = stats(&larder).await;
    assert_eq!((now.drivers[0].failures, now.drivers[0].retries), (1, 1));
    trial.hold();
    cache.set("b", vec![0; 900]).await.unwrap();
    let refused = cache.set("c", vec![0; 900]).deadline(Duration::ZERO).await;
    assert!(matches!(
        refused,
        Err(Error::Overloaded {
            limit: "dirty_bytes_max",
            ..
        })
    ));
    let now = stats(&larder).await;
    assert_eq!((now.overloaded, now.dirty.memory_only_sets), (1, 0));
    trial.release();
    larder.flush(Durability::Written).await.unwrap();
    larder.stop_actor("store");
    until_actor(&larder, "store", ActorState::Down).await;
    cache.set("d", vec![0; 900]).await.unwrap();
    cache.set("e", vec![0; 900]).await.unwrap();
    let now = stats(&larder).await;
    assert_eq!(now.dirty.memory_only_sets, 1);
    assert_eq!(now.memory.distrusted, 1);
    assert_eq!((now.drivers[0].entries, now.drivers[0].bytes), (None, None));
    let store = now.actors.iter().find(|a| a.name == "store").unwrap();
    assert_eq!(store.state, ActorState::Down);
    assert!(store.reason.is_some());
    clock.advance(Duration::from_secs(60));
    until_actor(&larder, "store", ActorState::Up).await;
    larder.flush(Durability::Written).await.unwrap();
    settle(&larder).await;
    assert_eq!(stats(&larder).await.memory.distrusted, 0);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn values_that_do_not_encode_or_decode_or_fit_the_schema_are_counted() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<Stubborn> = larder.cache("stubborn").unwrap();
    let refused = cache.set("a", Stubborn(13)).await.unwrap_err();
    assert!(matches!(refused, Error::Encode { .. }));
    cache.set("readable", Stubborn(0)).await.unwrap();
    cache.set("a", Stubborn(1)).await.unwrap();
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    numbers.set("a", 1).await.unwrap();
    assert_eq!(stats(&larder).await.encode_errors, 1);
    larder.shutdown(SOON).await.unwrap();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<Stubborn> = larder.cache("stubborn").unwrap();
    assert!(cache.get("a").await.unwrap().is_none());
    let numbers = larder
        .cache_builder::<u64>("numbers")
        .schema(2)
        .open()
        .unwrap();
    assert!(numbers.get("a").await.unwrap().is_none());
    let now = stats(&larder).await;
    assert_eq!((now.decode_errors, now.schema_misses), (1, 1));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn expiry_reclaim_eviction_and_watching_are_counted() {
    let (trial, clock) = (Trial::default(), Clock::manual(START_MS));
    let larder = over(&trial).clock(clock.clone()).start().await.unwrap();
    let cache = larder
        .cache_builder::<u64>("numbers")
        .weigher(|_| 10_000)
        .open()
        .unwrap();
    let mut watch = cache.watch_all().await.unwrap();
    for n in 0..20 {
        let key = n.to_string();
        cache
            .set(&key, n)
            .ttl(Duration::from_secs(1))
            .await
            .unwrap();
        watch.next().await.unwrap();
    }
    larder.flush(Durability::Written).await.unwrap();
    let now = stats(&larder).await;
    assert_eq!((now.watch.subscriptions, now.watch.delivered), (1, 20));
    clock.advance(Duration::from_secs(2));
    for _ in 0..20 {
        watch.next().await.unwrap();
    }
    while stats(&larder).await.expiry.reclaimed < 20 {
        // A store is asked again after a pause.
        clock.advance(Duration::from_secs(1));
    }
    let now = stats(&larder).await;
    assert_eq!((now.expiry.expired, now.expiry.reclaimed), (20, 20));
    assert_eq!(now.watch.delivered, 40);
    for n in 0..20 {
        cache.set(&n.to_string(), n).await.unwrap();
    }
    larder.resize_memory(100_000).await.unwrap();
    assert!(stats(&larder).await.memory.evicted >= 10);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn refusals_of_every_gate_are_counted() {
    let trial = Trial::default();
    let mut limits = larder::Limits::default();
    (limits.caches_max, limits.subscriptions_max) = (1, 1);
    (limits.reads_in_flight_max, limits.messages_in_flight_max) = (1, 1);
    let larder = over(&trial).limits(limits).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let _watch = cache.watch("a").await.unwrap();
    assert!(cache.watch("b").await.is_err());
    assert_eq!(stats(&larder).await.overloaded, 1);
    let names = (0..5).map(|n| format!("cache{n}"));
    let refused = names
        .filter(|name| larder.cache::<u64>(name).is_err())
        .count();
    assert!(refused > 0);
    assert_eq!(stats(&larder).await.overloaded, 1 + refused as u64);
    let desk = larder.desk().unwrap();
    let get = entry::Get::<u64>::new("one too many", "a");
    assert!(desk.send(get).await.unwrap().is_err());
    assert_eq!(stats(&larder).await.overloaded, 2 + refused as u64);
    // A page under way takes the only place at the desk and the only place at the driver.
    trial.hold_scans();
    // The fences were read at the start.
    let before = trial.scans();
    let scan = desk.send(entry::Scan::<u64>::new("numbers", ""));
    let scan = tokio::spawn(async move { scan.await.unwrap().is_ok() });
    until("the page is read", || trial.scans() > before).await;
    let get = entry::Get::<u64>::new("numbers", "a");
    assert!(desk.send(get).await.unwrap().is_err());
    let late = cache.get("a").deadline(Duration::ZERO).await;
    assert!(matches!(late, Err(Error::Overloaded { .. })));
    // The snapshot finds no place either, and that is nobody's refusal.
    let before = stats(&larder).await;
    assert_eq!(before.drivers[0].entries, None);
    trial.release_scans();
    assert!(scan.await.unwrap());
    assert_eq!(before.overloaded, 4 + refused as u64);
    assert_eq!(stats(&larder).await.overloaded, before.overloaded);
    larder.shutdown(SOON).await.unwrap();
}
