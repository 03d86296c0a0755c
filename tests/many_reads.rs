//! Many reads in one call: their order, what a driver is asked, and what fails alone.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/gated.rs"]
mod gated;
#[path = "support/trial.rs"]
mod trial;

use std::time::Duration;

use futures_util::StreamExt;
use gated::Gated;
use larder::clock::Clock;
use larder::config::CommitConfig;
use larder::{ActorState, Builder, Cache, Durability, Error, Larder};
use trial::{SOON, Trial, until, until_actor};

const START_MS: u64 = 1_800_000_000_000;

fn over(trial: &Trial) -> Builder {
    let trial = trial.clone();
    Larder::builder().driver("store", move || trial.open())
}

async fn start(trial: &Trial) -> (Larder, Cache<u64>) {
    let larder = over(trial).start().await.unwrap();
    let cache = larder.cache("numbers").unwrap();
    (larder, cache)
}

fn numbered(range: std::ops::Range<u64>) -> impl Iterator<Item = (String, u64)> + Send {
    range.map(|n| (format!("{n:06}"), n))
}

#[tokio::test]
async fn get_many_keeps_the_order_and_asks_a_driver_once_per_chunk() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    cache
        .set_many(numbered(0..10))
        .durability(Durability::Written)
        .await
        .unwrap();
    larder.shutdown(SOON).await.unwrap();
    let (larder, cache) = start(&trial).await;
    let before = trial.many_reads();
    let keys = ["000003", "nothing", "000001", "000003", "000009"];
    let found = cache.get_many(keys).chunk(3).await.unwrap();
    assert_eq!(trial.many_reads() - before, 2);
    let found: Vec<_> = found
        .iter()
        .map(|(key, entry)| (key.as_str(), entry.as_deref().copied()))
        .collect();
    let expected = [
        ("000003", Some(3)),
        ("nothing", None),
        ("000001", Some(1)),
        ("000003", Some(3)),
        ("000009", Some(9)),
    ];
    assert_eq!(found, expected);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_bad_key_fails_alone_where_chunks_are_asked_for_and_ends_the_call_where_they_are_not() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    cache.set("a", 1).await.unwrap();
    let long = "k".repeat(5_000);
    let keys = ["a", "", long.as_str(), "b"];
    let chunks: Vec<_> = cache.get_many(keys).chunk(3).collect().await;
    let chunks: Result<Vec<_>, Error> = chunks.into_iter().collect();
    let chunks = chunks.unwrap();
    assert_eq!(chunks.len(), 2);
    let [a, empty, long] = &chunks[0].keys[..] else {
        panic!("{:?}", chunks[0]);
    };
    assert_eq!(a.1.as_ref().unwrap().as_deref(), Some(&1));
    assert!(matches!(empty.1, Err(Error::Invalid { .. })));
    assert!(matches!(long.1, Err(Error::TooLarge { .. })));
    assert!(matches!(chunks[1].keys[0].1, Ok(None)));
    let refused = cache.get_many(keys).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid { field: "key", .. }));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_read_of_many_says_which_driver_did_not_take_part() {
    let trial = Trial::default();
    let clock = Clock::manual(START_MS);
    let larder = over(&trial).clock(clock.clone()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    cache.set("a", 1).await.unwrap();
    larder.stop_actor("store");
    until_actor(&larder, "store", ActorState::Down).await;
    let chunk = cache.get_many(["a", "b", "c"]).next().await.unwrap();
    let degraded = chunk.unwrap().degraded;
    assert_eq!(degraded.len(), 1);
    assert_eq!(degraded[0].driver, "store");
    clock.advance(Duration::from_secs(60));
    until_actor(&larder, "store", ActorState::Up).await;
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn reading_many_gives_sliding_entries_their_time_back() {
    let clock = Clock::manual(START_MS);
    let larder = Larder::builder()
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let cache = larder
        .cache_builder::<u64>("sliding")
        .idle(Duration::from_secs(10))
        .open()
        .unwrap();
    cache.set("a", 1).await.unwrap();
    for _ in 0..5 {
        clock.advance(Duration::from_secs(8));
        let found = cache.get_many(["a"]).await.unwrap();
        assert!(found[0].1.is_some());
    }
    clock.advance(Duration::from_secs(11));
    let found = cache.get_many(["a"]).await.unwrap();
    assert!(found[0].1.is_none());
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_chunk_that_no_driver_has_room_for_is_the_error_of_its_keys_and_the_next_is_read() {
    let gate = Gated::default();
    let mut limits = larder::Limits::default();
    limits.reads_in_flight_max = 1;
    let builder = Larder::builder().limits(limits);
    let builder = builder.driver_factory("map", CommitConfig::default(), gate.factory());
    let larder = builder.start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    gate.shut_reads();
    let other = cache.clone();
    let other = tokio::spawn(async move { other.get("other").await });
    until("the driver is busy", || gate.waiting() == 1).await;
    let call = cache.get_many(["a", "b", "c", "d"]).chunk(2);
    let mut chunks = call.deadline(Duration::from_millis(20));
    let refused = chunks.next().await.unwrap().unwrap();
    assert_eq!(refused.keys.len(), 2);
    for (_, found) in refused.keys {
        assert!(matches!(
            found,
            Err(Error::Overloaded {
                limit: "reads_in_flight_max",
                ..
            })
        ));
    }
    gate.open();
    assert!(other.await.unwrap().unwrap().is_none());
    let read = chunks.deadline(SOON).next().await.unwrap().unwrap();
    assert_eq!((read.chunk, read.keys.len()), (1, 2));
    assert!(read.keys.iter().all(|(_, found)| matches!(found, Ok(None))));
    larder.shutdown(SOON).await.unwrap();
}
