//! What calls say about themselves: source, freshness, times, promise, and what was degraded.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use larder::config::Limits;
use larder::{
    Cache, Degraded, DegradedReason, Durability, Error, Freshness, Larder, ReadOutcome, Source,
};
use world::{NEVER_BACK, World, bring_back, cache, flush, ms, read, secs, take_down, text};

fn driver(driver: &str, reason: DegradedReason) -> Vec<Degraded> {
    let driver = driver.to_owned();
    vec![Degraded { driver, reason }]
}

async fn outcome(users: &Cache<String>, key: &str) -> ReadOutcome<String> {
    users.get(key).outcome().await.unwrap()
}

async fn start(world: &World) -> Larder {
    let builder = world
        .builder()
        .restart_limit(0, NEVER_BACK, NEVER_BACK)
        .restart_backoff(NEVER_BACK, NEVER_BACK);
    builder.start().await.unwrap()
}

#[tokio::test]
async fn a_read_says_where_it_comes_from_and_how_it_stands_to_its_time() {
    for (world, source) in [
        (World::disk(), Source::Disk),
        (World::map(), Source::Custom(0)),
        (World::both(), Source::Disk),
    ] {
        let larder = world.start().await;
        cache(&larder)
            .set("k", text("1"))
            .ttl(secs(10))
            .await
            .unwrap();
        let larder = world.restart(larder).await;
        let users = cache(&larder);
        world.advance(secs(4));
        for source in [source, Source::Memory] {
            let found = outcome(&users, "k").await;
            assert_eq!(*found.entry.unwrap(), "1");
            assert_eq!(found.source, Some(source), "{}", world.name);
            assert_eq!(found.freshness, Some(Freshness::Fresh));
            assert_eq!(
                (found.age, found.expires_in),
                (Some(secs(4)), Some(secs(6)))
            );
            assert_eq!((found.expired_ms, found.degraded), (None, vec![]));
        }
    }
}

#[tokio::test]
async fn a_miss_says_when_what_was_there_expired() {
    for below in [false, true] {
        let world = World::disk();
        let mut larder = world.start().await;
        let users = cache(&larder);
        let set = users.set("k", text("1")).ttl(secs(10));
        set.stale_for(secs(60)).await.unwrap();
        drop(users);
        if below {
            larder = world.restart(larder).await;
        }
        let users = cache(&larder);
        world.advance(secs(15));
        let missed = outcome(&users, "k").await;
        assert!(missed.entry.is_none());
        assert_eq!(missed.freshness, Some(Freshness::Expired));
        assert_eq!(missed.expired_ms, Some(world::BEGIN_MS + 10_000));
        let stale = users.get("k").allow_stale().outcome().await.unwrap();
        assert_eq!(*stale.entry.unwrap(), "1");
        assert_eq!(stale.freshness, Some(Freshness::Stale));
        assert_eq!((stale.age, stale.expires_in), (Some(secs(15)), Some(ms(0))));
        assert_eq!(stale.expired_ms, None, "it is no miss");
        let never = outcome(&users, "other").await;
        assert_eq!((never.freshness, never.expired_ms), (None, None));
        assert_eq!((never.source, never.degraded), (None, vec![]));
    }
}

#[tokio::test]
async fn a_write_says_what_it_promises_and_what_it_replaced() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        let first = users.set("k", text("1")).outcome().await.unwrap();
        assert_eq!(first.durability, Durability::Queued);
        assert_eq!((first.replaced, first.degraded), (None, vec![]));
        let second = users.set("k", text("2")).outcome().await.unwrap();
        assert_eq!(second.replaced, Some(first.version), "{}", world.name);
        let gone = users.remove("k").outcome().await.unwrap();
        assert_eq!(gone.replaced, Some(second.version));
        let stored = world.name != "memory";
        let promised = if stored {
            Durability::Written
        } else {
            Durability::Queued
        };
        assert_eq!((gone.durability, gone.degraded), (promised, vec![]));
        for wanted in [Durability::Written, Durability::Synced] {
            let done = users.set("k", text("3")).durability(wanted).outcome().await;
            match done {
                Ok(done) => assert_eq!((done.durability, stored), (wanted, true)),
                Err(Error::Invalid { field, .. }) => {
                    assert_eq!((field, stored), ("durability", false))
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn with_the_driver_down_every_answer_says_so() {
    let world = World::disk();
    let larder = start(&world).await;
    let users = cache(&larder);
    users.set("memory", text("1")).await.unwrap();
    flush(&larder).await;
    take_down(&larder, "disk").await;
    let down = driver("disk", DegradedReason::Down);
    let hit = outcome(&users, "memory").await;
    assert_eq!(
        (hit.source, hit.degraded),
        (Some(Source::Memory), vec![]),
        "nothing was asked"
    );
    let missed = outcome(&users, "below").await;
    assert!(missed.entry.is_none());
    assert_eq!(missed.degraded, down);
    let set = users.set("k", text("1")).outcome().await.unwrap();
    assert_eq!((set.durability, &set.degraded), (Durability::Queued, &down));
    let removed = users.remove("k").outcome().await.unwrap();
    assert_eq!(
        (removed.durability, &removed.degraded),
        (Durability::Queued, &down)
    );
    let cleared = users.clear().outcome().await.unwrap();
    assert_eq!(
        (cleared.durability, &cleared.degraded),
        (Durability::Queued, &down)
    );
    let gone = outcome(&users, "k").await;
    assert_eq!(
        (gone.entry.is_none(), gone.degraded),
        (true, vec![]),
        "that it is gone is known"
    );
    bring_back(&larder, "disk").await;
    flush(&larder).await;
    assert_eq!(outcome(&users, "below").await.degraded, vec![]);
}

#[tokio::test]
async fn a_lower_tier_answers_while_an_upper_one_is_down() {
    let world = World::both();
    let larder = start(&world).await;
    cache(&larder).set("k", text("1")).await.unwrap();
    larder.shutdown(world::SOON).await.unwrap();
    let larder = start(&world).await;
    take_down(&larder, "disk").await;
    let found = outcome(&cache(&larder), "k").await;
    assert_eq!(*found.entry.unwrap(), "1");
    assert_eq!(found.source, Some(Source::Custom(0)));
    assert_eq!(found.degraded, driver("disk", DegradedReason::Down));
}

#[tokio::test]
async fn a_promise_waits_for_every_tier_that_could_show_an_older_copy() {
    let world = World::both();
    let larder = start(&world).await;
    let users = cache(&larder);
    users.set("k", text("1")).await.unwrap();
    flush(&larder).await;
    take_down(&larder, "map").await;
    let set = users
        .set("k", text("2"))
        .durability(Durability::Written)
        .await;
    assert!(
        matches!(set, Err(Error::Unavailable { driver, .. }) if &*driver == "map"),
        "after a crash nothing would say that the lower tier is behind"
    );
    let removed = users.remove("k").outcome().await.unwrap();
    assert_eq!(removed.durability, Durability::Queued);
    assert_eq!(removed.degraded, driver("map", DegradedReason::Down));
    let by_name = users.remove("k").durability(Durability::Written).await;
    assert!(matches!(by_name, Err(Error::Unavailable { driver, .. }) if &*driver == "map"));
}

/// A larder whose disk is down and whose dirty budget is full, with `stored` on the disk.
async fn overflowing(world: &World) -> Larder {
    let mut limits = Limits::default();
    (limits.dirty_bytes_max, limits.value_bytes_max) = (1_024, 1_024);
    let builder = world.builder().limits(limits);
    let larder = builder
        .restart_limit(0, NEVER_BACK, NEVER_BACK)
        .restart_backoff(NEVER_BACK, NEVER_BACK)
        .start()
        .await
        .unwrap();
    let users = cache(&larder);
    users.set("stored", text("old")).await.unwrap();
    flush(&larder).await;
    take_down(&larder, "disk").await;
    for n in 0..4 {
        users.set(&format!("fill{n}"), text("1")).await.unwrap();
    }
    larder
}

#[tokio::test]
async fn past_the_dirty_budget_a_set_is_in_memory_only_and_says_so() {
    let world = World::disk();
    let larder = overflowing(&world).await;
    let users = cache(&larder);
    let before = larder.stats().await.unwrap().dirty.memory_only_sets;
    let set = users.set("stored", text("new")).outcome().await.unwrap();
    assert_eq!(set.durability, Durability::Queued);
    assert_eq!(set.degraded, driver("disk", DegradedReason::MemoryOnly));
    assert_eq!(read(&users, "stored").await, Some(text("new")));
    let by_name = users
        .set("stored", text("newer"))
        .durability(Durability::Written)
        .await;
    assert!(
        matches!(by_name, Err(Error::Unavailable { .. })),
        "{by_name:?}"
    );
    assert_eq!(
        read(&users, "stored").await,
        Some(text("newer")),
        "it stands in memory"
    );
    let after = larder.stats().await.unwrap().dirty.memory_only_sets;
    assert_eq!(after - before, 2);
}

#[tokio::test]
async fn the_stored_copy_of_what_is_in_memory_only_is_distrusted_until_it_is_deleted() {
    let world = World::disk();
    let larder = overflowing(&world).await;
    let users = cache(&larder);
    users.set("stored", text("new")).await.unwrap();
    users.remove("stored").await.unwrap();
    for up in [false, true] {
        let missed = outcome(&users, "stored").await;
        assert!(missed.entry.is_none(), "never the older one, {up}");
        if !up {
            assert_eq!(missed.degraded, driver("disk", DegradedReason::Distrusted));
            let many = users.get_many(["stored"]).next().await.unwrap().unwrap();
            assert_eq!(many.degraded, missed.degraded, "as a single read");
            // It is forgotten, so a condition takes it for absent and needs no driver.
            let told = users.set("stored", text("2")).if_present().await;
            assert!(
                matches!(told, Err(Error::Conflict { current: None })),
                "{told:?}"
            );
            bring_back(&larder, "disk").await;
            flush(&larder).await;
        }
    }
    larder.shutdown(world::SOON).await.unwrap();
    let larder = world.start().await;
    assert_eq!(read(&cache(&larder), "stored").await, None);
    assert_eq!(
        read(&cache(&larder), "fill0").await,
        Some(text("1")),
        "what was queued is stored"
    );
}
