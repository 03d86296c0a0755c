//! Batches from streams: taken as they come, and no faster than they are dealt with.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/gated.rs"]
mod gated;
#[path = "support/trial.rs"]
mod trial;

use std::future::{Future, IntoFuture};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{FutureExt, Stream, StreamExt, stream};
use gated::Gated;
use larder::config::CommitConfig;
use larder::{Cache, Durability, Error, Larder};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use trial::{SOON, Trial, until};

async fn start(trial: &Trial) -> (Larder, Cache<u64>) {
    let trial = trial.clone();
    let builder = Larder::builder().driver("store", move || trial.open());
    let larder = builder.start().await.unwrap();
    let cache = larder.cache("numbers").unwrap();
    (larder, cache)
}

fn numbered(range: std::ops::Range<u64>) -> impl Iterator<Item = (String, u64)> + Send {
    range.map(|n| (format!("{n:06}"), n))
}

/// What does not come is a failure, not a test without an end.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap()
}

fn received<T>(receive: UnboundedReceiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|item| (item, receive))
    })
}

#[tokio::test]
async fn a_stream_is_taken_as_it_comes_and_acknowledged_before_more_is_waited_for() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    let (send, items) = unbounded_channel::<(String, u64)>();
    let items = received(items);
    let (told, mut chunks) = unbounded_channel();
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
            said += soon(chunks.recv()).await.unwrap();
        }
        assert!(trial.has(&format!("numbers/{round}/3")));
    }
    drop(send);
    let report = batch.await.unwrap().unwrap();
    assert_eq!(report.applied, 12);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_is_dropped_in_the_middle_has_set_whole_items_and_no_more() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    let endless = stream::iter(numbered(0..70)).chain(stream::pending());
    let (told, mut chunks) = unbounded_channel();
    {
        let batch = cache
            .set_stream(endless)
            .chunk(30)
            .on_chunk(move |chunk| told.send(chunk.chunk).unwrap())
            .into_future();
        let last = soon(async { while chunks.recv().await.unwrap() < 2 {} });
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
async fn a_stream_is_asked_for_no_more_than_a_chunk_that_is_not_stored() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    let (pulled, stored) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let most = AtomicUsize::new(0);
    let items = stream::iter(numbered(0..500)).inspect(|_| {
        let pulled = pulled.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(pulled - stored.load(Ordering::SeqCst), Ordering::SeqCst);
    });
    let report = cache
        .set_stream(items)
        .chunk(20)
        .durability(Durability::Synced)
        .on_chunk(|chunk| {
            assert_eq!(chunk.durability, Durability::Synced);
            stored.fetch_add(chunk.keys.len(), Ordering::SeqCst);
        })
        .await
        .unwrap();
    assert_eq!((report.chunks, report.applied), (25, 500));
    assert_eq!(most.into_inner(), 20);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_stream_of_keys_is_removed_from_every_place() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    let sets = cache.set_many(numbered(0..100));
    sets.durability(Durability::Written).await.unwrap();
    let keys = stream::iter(numbered(0..70)).map(|(key, _)| key);
    let report = cache.remove_stream(keys).chunk(30).await.unwrap();
    assert_eq!((report.chunks, report.applied), (3, 70));
    for (key, n) in numbered(0..100) {
        assert_eq!(trial.has(&format!("numbers/{key}")), n >= 70);
        assert_eq!(cache.get(&key).await.unwrap().is_some(), n >= 70);
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_chunk_is_read_when_it_is_asked_for_and_no_sooner() {
    let trial = Trial::default();
    let (larder, cache) = start(&trial).await;
    cache.set_many(numbered(0..9)).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let (larder, cache) = start(&trial).await;
    let (pulled, before) = (AtomicUsize::new(0), trial.many_reads());
    let keys = stream::iter(numbered(0..9)).map(|(key, _)| {
        pulled.fetch_add(1, Ordering::SeqCst);
        key
    });
    let mut chunks = cache.get_stream(keys).chunk(3);
    for n in 0..3 {
        larder.stats().await.unwrap();
        assert_eq!(pulled.load(Ordering::SeqCst), 3 * n);
        assert_eq!(trial.many_reads() - before, n);
        let chunk = chunks.next().await.unwrap().unwrap();
        assert_eq!(chunk.chunk, n);
        let found = chunk.keys.iter().map(|(_, found)| found.as_ref().unwrap());
        let found: Vec<usize> = found.map(|e| **e.as_ref().unwrap() as usize).collect();
        assert_eq!(found, [3 * n, 3 * n + 1, 3 * n + 2]);
    }
    assert!(chunks.next().await.is_none());
    assert!(chunks.next().await.is_none());
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn keys_that_have_come_are_read_before_more_are_waited_for() {
    let (larder, cache) = start(&Trial::default()).await;
    cache.set("a", 1).await.unwrap();
    let (send, keys) = unbounded_channel::<&str>();
    let mut chunks = Box::pin(cache.get_stream(received(keys)));
    for round in [vec!["a", "b"], vec!["a"], vec!["b", "a", "c"]] {
        assert!(chunks.next().now_or_never().is_none());
        for key in &round {
            send.send(key).unwrap();
        }
        let chunk = soon(chunks.next()).await.unwrap().unwrap();
        let keys: Vec<&str> = chunk.keys.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, round);
    }
    drop(send);
    assert!(chunks.next().await.is_none());
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_chunk_that_nobody_waits_for_any_more_is_what_the_next_call_gives() {
    let gate = Gated::default();
    let builder = Larder::builder().driver_factory("map", CommitConfig::default(), gate.factory());
    let larder = builder.start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    gate.shut_reads();
    let keys = stream::iter(["a", "b", "c"]);
    let mut chunks = cache.get_stream(keys).chunk(2);
    assert!(chunks.next().now_or_never().is_none());
    until("it is under way", || gate.waiting() == 1).await;
    assert!(chunks.next().now_or_never().is_none());
    gate.open();
    for expected in [vec!["a", "b"], vec!["c"]] {
        let chunk = soon(chunks.next()).await.unwrap().unwrap();
        let keys: Vec<&str> = chunk.keys.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, expected);
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_is_left_of_a_stream_of_keys_can_be_awaited() {
    let (larder, cache) = start(&Trial::default()).await;
    cache.set_many(numbered(0..5)).await.unwrap();
    let keys = stream::iter(numbered(0..5)).map(|(key, _)| key);
    let mut chunks = cache.get_stream(keys).chunk(2);
    assert_eq!(chunks.next().await.unwrap().unwrap().keys.len(), 2);
    let left = chunks.await.unwrap();
    let left: Vec<u64> = left.iter().map(|(_, e)| **e.as_ref().unwrap()).collect();
    assert_eq!(left, [2, 3, 4]);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn an_error_of_the_whole_is_the_last_thing_that_a_stream_of_reads_gives() {
    let (larder, cache) = start(&Trial::default()).await;
    let mut none = cache.get_stream(stream::iter(["a"])).chunk(0);
    let refused = none.next().await.unwrap();
    assert!(matches!(
        refused,
        Err(Error::Invalid { field: "chunk", .. })
    ));
    assert!(none.next().await.is_none());
    let mut cut = cache.get_stream(stream::iter(["a", "b", "c"])).chunk(1);
    cut.next().await.unwrap().unwrap();
    larder.shutdown(SOON).await.unwrap();
    assert!(matches!(cut.next().await.unwrap(), Err(Error::Closed)));
    assert!(cut.next().await.is_none());
}
