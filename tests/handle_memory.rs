//! Memory's budget through the handle: weights, priorities, pins, resizing, values too large for it.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use larder::{Builder, Cache, Error, Larder, Priority, Source};
use world::{SOON, World, cache, flush, read, secs, take_down, text};

const KIB: usize = 1 << 10;

/// As little memory as there can be: one stripe of 64 KiB.
async fn tiny(world: &World) -> Larder {
    limited(world.builder()).start().await.unwrap()
}

fn limited(builder: Builder) -> Builder {
    let mut limits = larder::config::Limits::default();
    limits.value_bytes_max = 64 * KIB;
    builder.memory_bytes(64 * KIB).limits(limits)
}

/// Sets `count` entries of a KiB that nobody reads.
async fn flood(users: &Cache<String>, count: usize) {
    for n in 0..count {
        users
            .set(&format!("flood{n}"), "x".repeat(KIB))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn memory_keeps_to_its_budget_and_the_rest_is_read_from_below() {
    for world in World::stored() {
        let larder = tiny(&world).await;
        let users = cache(&larder);
        flood(&users, 200).await;
        flush(&larder).await;
        let stats = larder.stats().await.unwrap().memory;
        assert!(stats.bytes <= stats.bytes_max && stats.evicted > 100);
        for n in 0..200 {
            assert!(
                read(&users, &format!("flood{n}")).await.is_some(),
                "{}",
                world.name
            );
        }
        let stats = larder.stats().await.unwrap().memory;
        assert!(stats.bytes <= stats.bytes_max);
        assert_eq!((stats.marks, stats.dirty_slots), (0, 0));
    }
}

#[tokio::test]
async fn over_memory_alone_what_does_not_fit_is_forgotten() {
    let larder = tiny(&World::memory()).await;
    let users = cache(&larder);
    flood(&users, 200).await;
    let mut found = 0;
    for n in 0..200 {
        found += usize::from(users.contains(&format!("flood{n}")).await.unwrap());
    }
    assert!((20..64).contains(&found), "{found} of 64 KiB");
}

#[tokio::test]
async fn a_pinned_entry_outlasts_a_flood_and_a_low_one_does_not() {
    let larder = tiny(&World::memory()).await;
    let users = cache(&larder);
    for (key, priority) in [("pinned", Priority::Pinned), ("low", Priority::Low)] {
        users
            .set(key, "x".repeat(KIB))
            .priority(priority)
            .await
            .unwrap();
    }
    flood(&users, 300).await;
    assert!(users.contains("pinned").await.unwrap());
    assert!(!users.contains("low").await.unwrap());
    users.remove("pinned").await.unwrap();
    assert!(
        !users.contains("pinned").await.unwrap(),
        "a pin keeps nothing that was removed"
    );
    assert_eq!(larder.stats().await.unwrap().memory.pinned_bytes, 0);
}

#[tokio::test]
async fn high_outlasts_normal() {
    let larder = tiny(&World::memory()).await;
    let builder = larder
        .cache_builder::<String>("high")
        .priority(Priority::High);
    let high = builder.open().unwrap();
    for n in 0..10 {
        high.set(&format!("h{n}"), "x".repeat(KIB)).await.unwrap();
    }
    flood(&cache(&larder), 300).await;
    let mut stayed = 0;
    for n in 0..10 {
        stayed += usize::from(high.contains(&format!("h{n}")).await.unwrap());
    }
    assert!(stayed >= 8, "{stayed} of 10");
}

#[tokio::test]
async fn pins_past_half_of_the_budget_are_not_honoured_and_counted() {
    let larder = tiny(&World::memory()).await;
    let users = cache(&larder);
    for n in 0..100 {
        let key = format!("p{n}");
        let set = users.set(&key, "x".repeat(KIB));
        set.priority(Priority::Pinned).await.unwrap();
    }
    let stats = larder.stats().await.unwrap().memory;
    assert!(stats.pins_refused > 60, "{stats:?}");
    assert!(stats.pinned_bytes <= stats.bytes_max / 2 && stats.bytes <= stats.bytes_max);
    assert!(
        users.contains("p0").await.unwrap(),
        "the first were honoured"
    );
}

#[tokio::test]
async fn a_pin_is_remembered_below_and_honoured_again() {
    let world = World::disk();
    let larder = tiny(&world).await;
    let users = cache(&larder);
    let set = users.set("p", "x".repeat(KIB)).priority(Priority::Pinned);
    set.await.unwrap();
    larder.shutdown(world::SOON).await.unwrap();
    let larder = tiny(&world).await;
    let users = cache(&larder);
    assert!(read(&users, "p").await.is_some());
    flood(&users, 200).await;
    flush(&larder).await;
    let entry = users.get("p").await.unwrap().unwrap();
    assert_eq!(entry.source(), Source::Memory);
}

#[tokio::test]
async fn a_weigher_says_how_much_a_value_counts_for() {
    let larder = tiny(&World::memory()).await;
    let builder = larder.cache_builder::<u64>("heavy").weigher(|_| 10 * KIB);
    let heavy = builder.open().unwrap();
    for n in 0..20 {
        heavy.set(&n.to_string(), n).await.unwrap();
    }
    let stats = larder.stats().await.unwrap().memory;
    assert!((3..=6).contains(&stats.entries), "{stats:?}");
    assert!(stats.bytes >= 10 * KIB * stats.entries);
}

#[tokio::test]
async fn the_budget_can_be_changed_while_it_runs() {
    for world in World::all() {
        let larder = world.builder().memory_bytes(8 << 20).start().await.unwrap();
        let users = cache(&larder);
        flood(&users, 1_000).await;
        flush(&larder).await;
        let before = larder.stats().await.unwrap().memory.entries;
        larder.resize_memory(256 * KIB).await.unwrap();
        let after = larder.stats().await.unwrap().memory;
        assert!(
            after.entries < before && after.bytes <= 256 * KIB,
            "{after:?}"
        );
        assert_eq!(after.bytes_max, 256 * KIB);
        larder.resize_memory(8 << 20).await.unwrap();
        flood(&users, 1_000).await;
        let grown = larder.stats().await.unwrap().memory;
        assert_eq!((grown.entries, grown.bytes_max), (1_000, 8 << 20));
        let refused = larder.resize_memory(1_000).await.unwrap_err();
        assert!(matches!(
            refused,
            Error::Invalid {
                field: "memory_bytes",
                ..
            }
        ));
        assert!(refused.to_string().contains("65536"), "{refused}");
    }
}

#[tokio::test]
async fn a_value_too_large_for_memory_lives_below() {
    for world in World::stored() {
        let larder = tiny(&world).await;
        let users = cache(&larder);
        users.set("big", "small".to_owned()).await.unwrap();
        let large = "x".repeat(64 * KIB - 8);
        users.set("big", large.clone()).await.unwrap();
        assert_eq!(
            read(&users, "big").await,
            Some(large.clone()),
            "not the older one"
        );
        flush(&larder).await;
        for _ in 0..2 {
            let entry = users.get("big").await.unwrap().unwrap();
            assert_eq!(*entry, large, "{}", world.name);
            assert_ne!(entry.source(), Source::Memory);
        }
        let updated = users
            .update("big", |old| old.unwrap()[1..].to_owned())
            .await
            .unwrap();
        assert_eq!(updated.len(), large.len() - 1);
        let stats = larder.stats().await.unwrap().memory;
        assert!(stats.refused_too_heavy > 0 && stats.marks == 0, "{stats:?}");
        users.remove("big").await.unwrap();
        assert_eq!(read(&users, "big").await, None);
    }
}

#[tokio::test]
async fn over_memory_alone_a_value_too_large_for_it_leaves_no_older_one_behind() {
    let larder = tiny(&World::memory()).await;
    let users = cache(&larder);
    users.set("big", "small".to_owned()).await.unwrap();
    users.set("big", "x".repeat(64 * KIB - 8)).await.unwrap();
    assert_eq!(read(&users, "big").await, None);
    assert_eq!(larder.stats().await.unwrap().memory.refused_too_heavy, 1);
}

/// What memory counts for one entry of no value to speak of.
async fn counted(larder: &Larder) -> usize {
    let memory = larder.stats().await.unwrap().memory;
    memory.bytes / memory.entries
}

#[tokio::test]
async fn tags_count_toward_the_budget_however_an_entry_came_into_memory() {
    let tags = || (0..16).map(|n| format!("{n:0>200}"));
    for world in World::stored() {
        let larder = world.start().await;
        let users = cache(&larder);
        users.set("k", text("1")).await.unwrap();
        let plain = counted(&larder).await;
        users.set("k", text("1")).tags(tags()).await.unwrap();
        let set = counted(&larder).await;
        assert!(set >= plain + 16 * 200, "{plain}, with tags {set}");
        users.touch("k", secs(60)).await.unwrap();
        assert_eq!(counted(&larder).await, set, "touched");
        let larder = world.restart(larder).await;
        assert!(read(&cache(&larder), "k").await.is_some());
        assert_eq!(
            counted(&larder).await,
            set,
            "{}: read from below",
            world.name
        );
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn tags_count_toward_what_waits_to_be_stored() {
    let world = World::map();
    let long = world::NEVER_BACK;
    let larder = world
        .builder()
        .restart_limit(0, long, long)
        .restart_backoff(long, long);
    let larder = larder.start().await.unwrap();
    let users = cache(&larder);
    take_down(&larder, "map").await;
    let tags = (0..16).map(|n| format!("{n:0>200}"));
    users.set("k", text("1")).tags(tags).await.unwrap();
    assert!(larder.stats().await.unwrap().dirty.bytes >= 16 * 200);
}
