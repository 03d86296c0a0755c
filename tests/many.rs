//! Many changes in one call: chunks, laziness, what each chunk reports, retries.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::collections::BTreeSet;
use std::future::{Future, IntoFuture};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use larder::cache::{CHUNK_COUNT_MAX, FAILURES_BYTES_MAX, FAILURES_MAX};
use larder::clock::Clock;
use larder::drivers::StoreDurability;
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
async fn a_hundred_thousand_items_are_pulled_only_as_they_are_done_with() {
    let larder = Larder::builder()
        .memory_bytes(4 << 20)
        .start()
        .await
        .unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let (pulled, reported, most) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let items = (0..100_000u64).map(|n| {
        let pulled = pulled.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(pulled - reported.load(Ordering::SeqCst), Ordering::SeqCst);
        (n.to_string(), n)
    });
    let report = cache
        .set_many(items)
        .chunk(500)
        .on_chunk(|chunk| {
            reported.fetch_add(chunk.keys.len(), Ordering::SeqCst);
        })
        .await
        .unwrap();
    assert_eq!((report.applied, report.refused), (100_000, 0));
    assert_eq!(report.chunks, 200);
    assert_eq!(most.load(Ordering::SeqCst), 500);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_chunk_ends_at_its_count_and_at_a_quarter_of_the_dirty_budget() {
    let trial = Trial::default();
    let mut limits = larder::Limits::default();
    limits.value_bytes_max = 4_000;
    limits.dirty_bytes_max = 16_000;
    let larder = over(&trial).limits(limits).start().await.unwrap();
    let cache: Cache<Vec<u8>> = larder.cache("bytes").unwrap();
    let sizes = Mutex::new(Vec::new());
    let light = (0..25).map(|n| (format!("light{n}"), vec![0u8; 10]));
    let note = |chunk: &larder::cache::ChunkReport| {
        sizes.lock().unwrap().push((chunk.chunk, chunk.keys.len()));
    };
    cache
        .set_many(light)
        .chunk(10)
        .on_chunk(note)
        .await
        .unwrap();
    let heavy = (0..5).map(|n| (format!("heavy{n}"), vec![0u8; 3_000]));
    cache.set_many(heavy).on_chunk(note).await.unwrap();
    let sizes = sizes.into_inner().unwrap();
    assert_eq!(sizes, [(0, 10), (1, 10), (2, 5), (0, 2), (1, 2), (2, 1)]);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn without_a_word_a_chunk_is_what_suits_the_slowest_driver() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    let report = cache.set_many(numbered(0..120)).await.unwrap();
    assert_eq!(report.chunks, 3);
    let larder2 = Larder::builder().start().await.unwrap();
    let memory: Cache<u64> = larder2.cache("numbers").unwrap();
    let report = memory.set_many(numbered(0..120)).await.unwrap();
    assert_eq!(report.chunks, 2);
    larder.shutdown(SOON).await.unwrap();
    larder2.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_bad_item_in_the_middle_fails_alone() {
    let trial = Trial::default();
    let mut limits = larder::Limits::default();
    limits.value_bytes_max = 1_000;
    let larder = over(&trial).limits(limits).start().await.unwrap();
    let cache: Cache<String> = larder.cache("texts").unwrap();
    let items = [
        ("a", "fine".to_owned()),
        ("", "no key".to_owned()),
        ("b", "x".repeat(5_000)),
        ("c", "fine too".to_owned()),
    ];
    let chunks = Mutex::new(Vec::new());
    let report = cache
        .set_many(items)
        .durability(Durability::Written)
        .on_chunk(|chunk| {
            let kinds = chunk.keys.iter().map(|(key, r)| (key.clone(), r.is_ok()));
            chunks
                .lock()
                .unwrap()
                .push((chunk.durability, kinds.collect::<Vec<_>>()));
        })
        .await
        .unwrap();
    assert_eq!(
        (report.applied, report.refused, report.chunks_unstored),
        (2, 2, 0)
    );
    assert!(matches!(
        &report.failures[0],
        (key, Error::Invalid { field: "key", .. }) if key.is_empty()
    ));
    assert!(matches!(
        &report.failures[1],
        (key, Error::TooLarge { what: "value", .. }) if key == "b"
    ));
    let chunks = chunks.into_inner().unwrap();
    let keys = [("a", true), ("", false), ("b", false), ("c", true)];
    let keys = keys.map(|(key, ok)| (key.to_owned(), ok));
    assert_eq!(chunks, [(Durability::Written, keys.to_vec())]);
    assert!(trial.has("texts/a") && trial.has("texts/c") && !trial.has("texts/b"));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_chunk_is_as_safe_as_it_was_asked_to_be_before_the_next_begins() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    for durability in [Durability::Written, Durability::Synced] {
        let base = if durability == Durability::Written {
            0
        } else {
            1_000
        };
        let seen = Mutex::new(0);
        cache
            .set_many(numbered(base..base + 100))
            .chunk(20)
            .durability(durability)
            .on_chunk(|chunk| {
                assert_eq!(chunk.durability, durability);
                assert!(chunk.unstored.is_none());
                let stored = |(key, _): &(String, _)| trial.has(&format!("numbers/{key}"));
                assert!(chunk.keys.iter().all(stored));
                *seen.lock().unwrap() += chunk.keys.len();
                let next = base + *seen.lock().unwrap() as u64;
                assert!(!trial.has(&format!("numbers/{next:06}")));
            })
            .await
            .unwrap();
        assert_eq!(*seen.lock().unwrap(), 100);
    }
    assert!(trial.durabilities().contains(&StoreDurability::Synced));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_chunk_whose_commit_fails_is_committed_again_and_no_other_is() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    trial.fail_commit(3);
    let report = cache
        .set_many(numbered(0..200))
        .chunk(50)
        .durability(Durability::Written)
        .await
        .unwrap();
    assert_eq!(
        (report.applied, report.chunks, report.chunks_unstored),
        (200, 4, 0)
    );
    let failed: BTreeSet<String> = trial.batches()[3].iter().cloned().collect();
    assert!(!failed.is_empty());
    let attempts = trial.attempts();
    assert_eq!(attempts.len(), 200);
    for (key, count) in attempts {
        assert_eq!(count, 1 + usize::from(failed.contains(&key)), "{key}");
    }
    assert!(trial.stored().values().all(|count| *count == 1));
    assert_eq!(larder.stats().await.unwrap().drivers[0].retries, 1);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_stored_is_said_chunk_by_chunk_and_stands_in_memory() {
    let trial = Trial::default();
    let clock = Clock::manual(START_MS);
    let larder = over(&trial).clock(clock.clone()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    larder.stop_actor("store");
    until_actor(&larder, "store", ActorState::Down).await;
    let chunks = AtomicUsize::new(0);
    let report = cache
        .set_many(numbered(0..30))
        .chunk(10)
        .durability(Durability::Written)
        .on_chunk(|chunk| {
            chunks.fetch_add(1, Ordering::SeqCst);
            assert!(matches!(chunk.unstored, Some(Error::Unavailable { .. })));
            assert_eq!(chunk.durability, Durability::Queued);
            assert_eq!(chunk.degraded.len(), 1);
            assert!(chunk.keys.iter().all(|(_, result)| result.is_ok()));
        })
        .await
        .unwrap();
    assert_eq!((report.applied, report.chunks_unstored), (30, 3));
    assert_eq!(chunks.into_inner(), 3);
    assert_eq!(**cache.get("000007").await.unwrap().unwrap().value(), 7);
    clock.advance(Duration::from_secs(60));
    until("all are stored", || trial.stored().len() == 30).await;
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_chunk_of_nothing_or_of_everything_is_refused() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    for chunk in [0, CHUNK_COUNT_MAX + 1, usize::MAX] {
        let set = cache.set_many(numbered(0..1)).chunk(chunk).await;
        let get = cache.get_many(["a"]).chunk(chunk).await;
        let remove = cache.remove_many(["a"]).chunk(chunk).await;
        for error in [set.unwrap_err(), get.unwrap_err(), remove.unwrap_err()] {
            assert!(matches!(error, Error::Invalid { field: "chunk", .. }));
        }
    }
    assert!(cache.get("000000").await.unwrap().is_none());
    let most = cache.set_many(numbered(0..1)).chunk(CHUNK_COUNT_MAX);
    assert_eq!(most.await.unwrap().applied, 1);
    larder.shutdown(SOON).await.unwrap();
    let closed = cache.set_many(numbered(0..1)).await;
    assert!(matches!(closed, Err(Error::Closed)));
}

#[tokio::test]
async fn keys_count_for_the_bytes_of_a_chunk_whatever_becomes_of_them() {
    let mut limits = larder::Limits::default();
    limits.key_bytes_max = 1_000;
    limits.value_bytes_max = 4_000;
    limits.dirty_bytes_max = 16_000;
    let larder = Larder::builder().limits(limits).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let keys = |length| (0..12).map(move |n| format!("{n:0length$}"));
    let removed = cache.remove_many(keys(1_000)).await.unwrap();
    assert_eq!((removed.chunks, removed.applied), (3, 12));
    let refused = cache.remove_many(keys(2_000)).await.unwrap();
    assert_eq!((refused.chunks, refused.refused), (6, 12));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_report_lists_so_many_failures_and_counts_the_rest() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let many = cache.set_many((0..FAILURES_MAX + 5).map(|_| ("", 0u64)));
    let report = many.await.unwrap();
    assert_eq!(report.refused, FAILURES_MAX + 5);
    assert_eq!(report.failures.len(), FAILURES_MAX);
    let long = "k".repeat(FAILURES_BYTES_MAX / 4);
    let report = cache.remove_many((0..6).map(|_| &long)).await.unwrap();
    assert_eq!((report.refused, report.failures.len()), (6, 4));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_batch_gives_way_to_others_between_its_chunks() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let pulled = AtomicUsize::new(0);
    let count = |item| {
        pulled.fetch_add(1, Ordering::SeqCst);
        item
    };
    let most_at_once = |future: std::pin::Pin<Box<dyn Future<Output = ()> + '_>>| {
        let (mut future, mut most) = (future, 0);
        loop {
            let before = pulled.load(Ordering::SeqCst);
            let done = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            most = most.max(pulled.load(Ordering::SeqCst) - before);
            if done.is_ready() {
                break most;
            }
        }
    };
    let sets = cache.set_many(numbered(0..1_000).map(count)).chunk(10);
    let sets = async { drop(sets.await.unwrap()) };
    assert_eq!(most_at_once(Box::pin(sets)), 11);
    let keys = numbered(0..1_000).map(count).map(|(key, _)| key);
    let gets = cache.get_many(keys).chunk(10);
    let gets = async { drop(gets.await.unwrap()) };
    assert_eq!(most_at_once(Box::pin(gets)), 11);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_memory_answers_in_one_chunk_is_ready_at_once() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut sets = cache.set_many(numbered(0..10)).into_future();
    assert!(matches!(sets.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    let keys = numbered(0..10).map(|(key, _)| key);
    let mut gets = cache.get_many(keys).into_future();
    assert!(matches!(gets.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_larder_that_is_disabled_acknowledges_a_batch_as_it_was_asked_to() {
    let larder = over(&Trial::default()).disabled().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut said = Vec::new();
    let sets = cache
        .set_many(numbered(0..3))
        .durability(Durability::Synced);
    let sets = sets.on_chunk(|chunk| said.push((chunk.durability, chunk.unstored.is_none())));
    assert_eq!(sets.await.unwrap().applied, 3);
    assert_eq!(said, [(Durability::Synced, true)]);
    larder.shutdown(SOON).await.unwrap();
}
