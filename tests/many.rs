//! Many keys in one call: chunks, laziness, reports, retries, streams.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
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
async fn a_million_items_are_pulled_only_as_they_are_done_with() {
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
    let items = (0..1_000_000u64).map(|n| {
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
    assert_eq!((report.applied, report.refused), (1_000_000, 0));
    assert_eq!(report.chunks, 2_000);
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
async fn a_stream_is_taken_as_it_comes_and_acknowledged_before_more_is_waited_for() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    let (send, receive) = tokio::sync::mpsc::unbounded_channel::<(String, u64)>();
    let items = stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|item| (item, receive))
    });
    let (told, mut chunks) = tokio::sync::mpsc::unbounded_channel();
    let batch = tokio::spawn({
        let cache = cache.clone();
        async move {
            cache
                .set_stream(items)
                .durability(Durability::Written)
                .on_chunk(move |chunk| told.send(chunk.keys.len()).unwrap())
                .await
        }
    });
    let mut said = 0;
    for round in 0..3u64 {
        for n in 0..4 {
            send.send((format!("{round}/{n}"), n)).unwrap();
        }
        while said < 4 * (round as usize + 1) {
            said += chunks.recv().await.unwrap();
        }
        assert!(trial.has(&format!("numbers/{round}/3")));
    }
    drop(send);
    let report = batch.await.unwrap().unwrap();
    assert_eq!(report.applied, 12);

    let keys = stream::iter((0..3).map(|n| format!("0/{n}")));
    let found = cache.get_stream(keys.clone()).await.unwrap();
    assert_eq!(
        found
            .iter()
            .filter_map(|(_, entry)| entry.as_deref().copied())
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let report = cache.remove_stream(keys.boxed()).await.unwrap();
    assert_eq!(report.applied, 3);
    assert!(!trial.has("numbers/0/0"));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_is_dropped_in_the_middle_has_set_whole_items_and_no_more() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    let endless = stream::iter(numbered(0..70)).chain(stream::pending());
    let (told, mut chunks) = tokio::sync::mpsc::unbounded_channel();
    {
        let batch = cache
            .set_stream(endless)
            .chunk(30)
            .on_chunk(move |chunk| told.send(chunk.chunk).unwrap())
            .into_future();
        let last = async { while chunks.recv().await.unwrap() < 2 {} };
        tokio::select! {
            _ = batch => panic!("it has no end"),
            () = last => {}
        }
    }
    for (key, n) in numbered(0..70) {
        assert_eq!(*cache.get(&key).await.unwrap().unwrap(), n);
    }
    assert!(cache.get("000070").await.unwrap().is_none());
    larder.flush(Durability::Written).await.unwrap();
    assert_eq!(trial.stored().len(), 70);
    larder.shutdown(SOON).await.unwrap();
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
async fn a_bad_key_of_get_many_fails_alone_where_chunks_are_asked_for() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    cache.set("a", 1).await.unwrap();
    let long = "k".repeat(5_000);
    let keys = ["a", "", long.as_str(), "b"];
    let mut chunks = Vec::new();
    let all = cache.get_many(keys).chunk(3);
    all.for_each_chunk(|chunk| chunks.push(chunk))
        .await
        .unwrap();
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
    let mut degraded = Vec::new();
    cache
        .get_many(["a", "b", "c"])
        .for_each_chunk(|chunk| degraded.extend(chunk.degraded))
        .await
        .unwrap();
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
async fn a_chunk_of_nothing_or_of_everything_is_refused() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    for chunk in [0, usize::MAX] {
        let set = cache.set_many(numbered(0..1)).chunk(chunk).await;
        let get = cache.get_many(["a"]).chunk(chunk).await;
        let remove = cache.remove_many(["a"]).chunk(chunk).await;
        for error in [set.unwrap_err(), get.unwrap_err(), remove.unwrap_err()] {
            assert!(matches!(error, Error::Invalid { field: "chunk", .. }));
        }
    }
    assert!(cache.get("000000").await.unwrap().is_none());
    larder.shutdown(SOON).await.unwrap();
    let closed = cache.set_many(numbered(0..1)).await;
    assert!(matches!(closed, Err(Error::Closed)));
}
