//! What a batch promises is true of every driver of the cache, chunk by chunk, or is taken back aloud.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::time::Duration;

use larder::clock::Clock;
use larder::{ActorState, Cache, DegradedReason, Durability, Error, Larder};
use trial::{SOON, Trial, until, until_actor};

/// Two drivers; nothing that is stopped comes back by itself.
async fn start(first: &Trial, second: &Trial) -> (Larder, Cache<u64>) {
    let (first, second) = (first.clone(), second.clone());
    let larder = Larder::builder()
        .clock(Clock::manual(1_800_000_000_000))
        .driver("first", move || first.open())
        .driver("second", move || second.open())
        .start()
        .await
        .unwrap();
    let cache = larder.cache("numbers").unwrap();
    (larder, cache)
}

async fn take_down(larder: &Larder, driver: &str) {
    larder.stop_actor(driver);
    until_actor(larder, driver, ActorState::Down).await;
}

#[tokio::test]
async fn a_batch_that_a_lower_driver_cannot_store_says_so_at_once() {
    for down in ["first", "second"] {
        let (larder, cache) = start(&Trial::default(), &Trial::default()).await;
        cache.set("a", 1).await.unwrap();
        take_down(&larder, down).await;
        for durability in [Durability::Written, Durability::Synced] {
            let (mut said, mut chunks) = (Vec::new(), 0);
            let removal = cache.remove_many(["a", "b"]).durability(durability);
            let report = removal
                .on_chunk(|chunk| {
                    chunks += 1;
                    assert_eq!(chunk.durability, Durability::Queued);
                    if let Some(Error::Unavailable { driver, .. }) = &chunk.unstored {
                        said.push(driver.to_string());
                    }
                })
                .await
                .unwrap();
            assert_eq!((report.applied, report.chunks_unstored), (2, 1));
            assert_eq!((said, chunks), (vec![down.to_owned()], 1));
        }
    }
}

#[tokio::test]
async fn a_driver_that_is_down_is_not_waited_for_whether_or_not_the_batch_writer_says_so() {
    for down in ["first", "second"] {
        let (larder, cache) = start(&Trial::default(), &Trial::default()).await;
        take_down(&larder, "batch").await;
        take_down(&larder, down).await;
        let removal = cache.remove_many(["a"]).durability(Durability::Written);
        // With one to wait for, the wait would end as `DeadlineExceeded`.
        let removal = removal.deadline(Duration::from_millis(200));
        let mut unstored = None;
        removal
            .on_chunk(|chunk| unstored = chunk.unstored.clone())
            .await
            .unwrap();
        let Some(Error::Unavailable { driver, .. }) = unstored else {
            panic!("{unstored:?}");
        };
        assert_eq!(&*driver, down);
    }
}

#[tokio::test]
async fn a_promise_that_was_only_the_default_is_taken_back_aloud() {
    for down in ["first", "second"] {
        let (larder, cache) = start(&Trial::default(), &Trial::default()).await;
        take_down(&larder, down).await;
        let report = cache
            .remove_many(["a"])
            .on_chunk(|chunk| {
                assert_eq!(chunk.durability, Durability::Queued);
                let degraded = chunk.degraded.iter().map(|d| (&*d.driver, d.reason));
                assert_eq!(degraded.collect::<Vec<_>>(), [(down, DegradedReason::Down)]);
            })
            .await
            .unwrap();
        assert_eq!((report.applied, report.chunks_unstored), (1, 0));
    }
}

#[tokio::test]
async fn a_chunk_that_a_driver_is_late_with_says_so() {
    let trials = [Trial::default(), Trial::default()];
    for late in [0, 1] {
        let (larder, cache) = start(&trials[0], &trials[1]).await;
        trials[late].hold();
        let report = cache
            .remove_many(["a"])
            .deadline(Duration::from_millis(50))
            .on_chunk(|chunk| {
                assert_eq!(chunk.durability, Durability::Queued);
                assert!(!chunk.degraded.is_empty());
                assert!(
                    chunk
                        .degraded
                        .iter()
                        .all(|d| d.reason == DegradedReason::Late)
                );
            })
            .await
            .unwrap();
        assert_eq!((report.applied, report.chunks_unstored), (1, 0));
        trials[late].release();
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_chunk_waits_for_the_slowest_driver() {
    let trials = [Trial::default(), Trial::default()];
    for slow in [0, 1] {
        let (larder, cache) = start(&trials[0], &trials[1]).await;
        trials[slow].hold();
        let key = format!("of {slow}");
        let batch = tokio::spawn({
            let (cache, key) = (cache.clone(), key.clone());
            async move {
                let sets = cache.set_many([(key, 1)]);
                sets.durability(Durability::Written).await
            }
        });
        let stored = format!("numbers/{key}");
        until("the other has it", || trials[1 - slow].has(&stored)).await;
        assert!(!batch.is_finished());
        assert!(!trials[slow].has(&stored));
        trials[slow].release();
        let report = batch.await.unwrap().unwrap();
        assert_eq!((report.applied, report.chunks_unstored), (1, 0));
        assert!(trials[slow].has(&stored));
        larder.shutdown(SOON).await.unwrap();
    }
}
