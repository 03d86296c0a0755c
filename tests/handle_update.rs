//! `update`: changes by what is there, none of them lost.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use std::sync::atomic::{AtomicU32, Ordering};

use larder::{Cache, Error, Larder};
use world::{World, bring_back, cache, ms, read, secs, take_down, text};

fn counters(larder: &Larder) -> Cache<u64> {
    larder.cache("counters").unwrap()
}

fn next(old: Option<&u64>) -> u64 {
    old.copied().unwrap_or(0) + 1
}

#[tokio::test]
async fn update_starts_from_nothing_and_from_what_is_there_in_memory_or_below() {
    for world in World::all() {
        let larder = world.start().await;
        let hits = counters(&larder);
        let first = hits.update("k", next).await.unwrap();
        let second = hits.update("k", next).ttl(secs(60)).await.unwrap();
        assert_eq!((*first, *second), (1, 2), "{}", world.name);
        assert!(second.version() > first.version());
        let entry = hits.get("k").await.unwrap().unwrap();
        assert_eq!((*entry, entry.version()), (2, second.version()));
        assert_eq!(entry.expires_in(), Some(secs(60)));
    }
    for world in World::stored() {
        let larder = world.start().await;
        counters(&larder).set("k", 41).await.unwrap();
        let larder = world.restart(larder).await;
        let entry = counters(&larder).update("k", next).await.unwrap();
        assert_eq!(*entry, 42, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_updates_none_is_lost() {
    for world in World::all() {
        let larder = world.start().await;
        let updaters = (0..8).map(|_| {
            let hits = counters(&larder);
            tokio::spawn(async move {
                for _ in 0..25 {
                    hits.update("k", next)
                        .retries(1_000)
                        .deadline(secs(60))
                        .await
                        .unwrap();
                }
            })
        });
        for updater in futures_util::future::join_all(updaters).await {
            updater.unwrap();
        }
        let counted = *counters(&larder).get("k").await.unwrap().unwrap();
        assert_eq!(counted, 200, "{}", world.name);
        assert_eq!(larder.stats().await.unwrap().memory.marks, 0);
    }
}

#[tokio::test]
async fn an_update_that_is_always_too_slow_is_a_conflict_after_its_retries() {
    let larder = World::memory().start().await;
    let hits = counters(&larder);
    for (retries, tries) in [(None, 4), (Some(0), 1), (Some(1), 2)] {
        let tried = AtomicU32::new(0);
        let overtaken = |old: Option<&u64>| {
            tried.fetch_add(1, Ordering::Relaxed);
            // Somebody else is faster, each time.
            futures_util::FutureExt::now_or_never(hits.set("k", 7).into_future())
                .unwrap()
                .unwrap();
            next(old)
        };
        let update = hits.update("k", overtaken);
        let done = match retries {
            Some(retries) => update.retries(retries).await,
            None => update.await,
        };
        let now = hits.get("k").await.unwrap().unwrap();
        match done {
            Err(Error::Conflict { current }) => assert_eq!(current, Some(now.version())),
            other => panic!("{other:?}"),
        }
        assert_eq!(*now, 7);
        assert_eq!(tried.into_inner(), tries);
    }
}

#[tokio::test]
async fn an_update_of_what_cannot_be_known_is_refused_and_changes_nothing() {
    let world = World::disk();
    let long = world::NEVER_BACK;
    let larder = world
        .builder()
        .restart_limit(0, long, long)
        .restart_backoff(long, long)
        .start()
        .await
        .unwrap();
    counters(&larder).set("k", 41).await.unwrap();
    let larder = {
        larder.shutdown(world::SOON).await.unwrap();
        world
            .builder()
            .restart_limit(0, long, long)
            .restart_backoff(long, long)
            .start()
            .await
            .unwrap()
    };
    take_down(&larder, "disk").await;
    let hits = counters(&larder);
    let refused = hits.update("k", next).await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    bring_back(&larder, "disk").await;
    assert_eq!(*hits.update("k", next).await.unwrap(), 42);
}

#[tokio::test]
async fn a_deadline_bounds_all_tries_of_an_update_together() {
    let larder = World::memory().start().await;
    let hits = counters(&larder);
    let overtaken = |old: Option<&u64>| {
        futures_util::FutureExt::now_or_never(hits.set("k", 7).into_future())
            .unwrap()
            .unwrap();
        next(old)
    };
    // A million retries of up to ten seconds each would take for ever.
    let update = hits.update("k", overtaken).retries(40).deadline(ms(1));
    let done = tokio::time::timeout(world::SOON, update.into_future()).await;
    assert!(matches!(done, Ok(Err(Error::Conflict { .. }))), "{done:?}");
}

#[tokio::test]
async fn an_update_keeps_the_tags_and_the_priority_of_what_it_changes() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        users.set("k", text("1")).tag("team:7").await.unwrap();
        users.update("k", |_| text("2")).await.unwrap();
        assert_eq!(read(&users, "k").await, Some(text("2")));
        users.remove_tag("team:7").await.unwrap();
        assert_eq!(read(&users, "k").await, None, "{}", world.name);
        larder.shutdown(world::SOON).await.unwrap();
    }
}
