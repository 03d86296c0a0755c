//! `clear` and `remove_tag`: one step, every tier, and for ever.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use larder::config::Limits;
use larder::{Durability, Error};
use world::{World, bring_back, cache, flush, read, take_down, text};

#[tokio::test]
async fn a_clear_ends_what_was_set_before_and_not_what_is_set_after() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        users.set("memory", text("1")).await.unwrap();
        flush(&larder).await;
        users.set("dirty", text("1")).await.unwrap();
        let cleared = users.clear().await.unwrap();
        let after = users.set("after", text("1")).await.unwrap();
        assert!(after > cleared, "{}", world.name);
        for key in ["memory", "dirty"] {
            assert_eq!(read(&users, key).await, None, "{key} in {}", world.name);
        }
        assert_eq!(read(&users, "after").await, Some(text("1")));
        let page = users.scan("").await.unwrap();
        assert_eq!(page.entries.len(), 1);
    }
}

#[tokio::test]
async fn a_clear_holds_after_a_restart_for_what_lies_below() {
    for world in World::stored() {
        let larder = world.start().await;
        cache(&larder).set("k", text("1")).await.unwrap();
        let larder = world.restart(larder).await;
        cache(&larder).clear().await.unwrap();
        cache(&larder).set("after", text("1")).await.unwrap();
        let larder = world.restart(larder).await;
        let users = cache(&larder);
        assert_eq!(read(&users, "k").await, None, "{}", world.name);
        assert_eq!(read(&users, "after").await, Some(text("1")));
        let larder = world.restart(larder).await;
        assert_eq!(read(&cache(&larder), "k").await, None, "for ever");
    }
}

#[tokio::test]
async fn a_tag_ends_every_entry_that_has_it_and_no_other() {
    for world in World::stored() {
        let mut larder = world.start().await;
        let users = cache(&larder);
        users.set("a", text("1")).tag("red").await.unwrap();
        users
            .set("b", text("1"))
            .tags(["blue", "red"])
            .await
            .unwrap();
        users.set("c", text("1")).tag("blue").await.unwrap();
        users.set("d", text("1")).await.unwrap();
        larder = world.restart(larder).await;
        cache(&larder).remove_tag("red").await.unwrap();
        for restarted in [false, true] {
            let users = cache(&larder);
            for (key, stays) in [("a", false), ("b", false), ("c", true), ("d", true)] {
                let found = users.contains(key).await.unwrap();
                assert_eq!(found, stays, "{key} in {}, {restarted}", world.name);
            }
            larder = world.restart(larder).await;
        }
        cache(&larder).set("a", text("2")).tag("red").await.unwrap();
        assert_eq!(read(&cache(&larder), "a").await, Some(text("2")));
    }
}

#[tokio::test]
async fn more_tag_fences_than_are_kept_clear_the_whole_cache() {
    let mut limits = Limits::default();
    limits.tag_fences_max = 3;
    for world in World::stored() {
        let start = async || {
            world
                .builder()
                .limits(limits.clone())
                .start()
                .await
                .unwrap()
        };
        let larder = start().await;
        let users = cache(&larder);
        users.set("bystander", text("1")).await.unwrap();
        for tag in ["a", "b", "c"] {
            users.remove_tag(tag).await.unwrap();
        }
        assert!(users.contains("bystander").await.unwrap());
        users.set("tagged", text("1")).tag("d").await.unwrap();
        users.remove_tag("d").await.unwrap();
        assert!(!users.contains("tagged").await.unwrap(), "{}", world.name);
        assert!(
            !users.contains("bystander").await.unwrap(),
            "more is forgotten"
        );
        users.set("after", text("1")).tag("a").await.unwrap();
        larder.shutdown(world::SOON).await.unwrap();
        let larder = start().await;
        let users = cache(&larder);
        assert!(!users.contains("tagged").await.unwrap(), "nothing lies");
        assert!(!users.contains("bystander").await.unwrap());
        assert!(users.contains("after").await.unwrap());
    }
}

#[tokio::test]
async fn a_clear_is_acknowledged_as_what_it_is() {
    for world in World::stored() {
        let larder = world.start().await;
        let users = cache(&larder);
        let plain = users.clear().outcome().await.unwrap();
        assert_eq!(plain.durability, Durability::Written, "{}", world.name);
        for wanted in [Durability::Queued, Durability::Written, Durability::Synced] {
            let done = users.clear().durability(wanted).outcome().await.unwrap();
            assert_eq!(done.durability, wanted);
            assert!(done.degraded.is_empty());
        }
    }
}

#[tokio::test]
async fn over_memory_alone_a_clear_promises_nothing_and_can_be_asked_for_nothing_more() {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    users.set("k", text("1")).tag("t").await.unwrap();
    let refused = users.clear().durability(Durability::Written).await;
    assert!(matches!(
        refused,
        Err(Error::Invalid {
            field: "durability",
            ..
        })
    ));
    assert_eq!(
        read(&users, "k").await,
        Some(text("1")),
        "nothing was changed"
    );
    let done = users.clear().outcome().await.unwrap();
    assert_eq!(done.durability, Durability::Queued);
    assert_eq!(read(&users, "k").await, None);
}

#[tokio::test]
async fn clears_of_a_driver_that_is_down_are_stored_when_it_is_back_however_full_it_was() {
    let world = World::disk();
    let mut limits = Limits::default();
    (limits.dirty_bytes_max, limits.value_bytes_max) = (2_048, 1_024);
    let builder = || {
        let builder = world.builder().limits(limits.clone());
        builder
            .restart_limit(0, world::NEVER_BACK, world::NEVER_BACK)
            .restart_backoff(world::NEVER_BACK, world::NEVER_BACK)
    };
    let larder = builder().start().await.unwrap();
    let users = cache(&larder);
    users.set("first", text("1")).await.unwrap();
    users.clear().await.unwrap();
    users.set("second", text("1")).tag("t").await.unwrap();
    users.set("third", text("1")).await.unwrap();
    flush(&larder).await;
    take_down(&larder, "disk").await;
    while users
        .set("fill", "x".repeat(500))
        .outcome()
        .await
        .unwrap()
        .degraded
        .len()
        == 1
        && larder.stats().await.unwrap().dirty.memory_only_sets == 0
    {
        let n = larder.stats().await.unwrap().dirty.slots;
        users
            .set(&format!("fill{n}"), "x".repeat(500))
            .await
            .unwrap();
    }
    users.remove_tag("t").await.unwrap();
    assert_eq!(read(&users, "second").await, None);
    bring_back(&larder, "disk").await;
    flush(&larder).await;
    larder.shutdown(world::SOON).await.unwrap();
    let larder = builder().start().await.unwrap();
    let users = cache(&larder);
    assert_eq!(
        read(&users, "first").await,
        None,
        "the earlier fence still stands"
    );
    assert_eq!(
        read(&users, "second").await,
        None,
        "the later one was stored"
    );
    assert_eq!(read(&users, "third").await, Some(text("1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_clears_the_last_is_the_one_that_is_stored() {
    let world = World::map();
    for _ in 0..20 {
        let larder = world.start().await;
        let clears = (0..8).map(|n| {
            let users = cache(&larder);
            tokio::spawn(async move {
                let key = format!("k{n}");
                users.set(&key, text("1")).await.unwrap();
                users.clear().await.unwrap();
            })
        });
        for clear in futures_util::future::join_all(clears).await {
            clear.unwrap();
        }
        let larder = world.restart(larder).await;
        for n in 0..8 {
            assert_eq!(read(&cache(&larder), &format!("k{n}")).await, None);
        }
        larder.shutdown(world::SOON).await.unwrap();
    }
}
