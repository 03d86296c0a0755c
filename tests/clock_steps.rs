//! The wall clock is a day off when the next process starts: versions go on increasing, nothing lives
//! for ever, and nothing expires wrongly by more than the step.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use larder::clock::Clock;
use larder::drivers::map::MapStore;
use larder::{Cache, CommitConfig, Durability, Larder, Version};
use world::{BEGIN_MS, SOON, World, cache, read, secs, text};

#[path = "support/world.rs"]
mod world;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// The next process finds its wall clock so many seconds off the beginning.
async fn begin(world: &mut World, off_secs: i64) -> (Larder, Cache<String>) {
    let wall_ms = BEGIN_MS.checked_add_signed(off_secs * 1_000).unwrap();
    world.clock = Clock::manual(wall_ms);
    let larder = world.start().await;
    let users = cache(&larder);
    (larder, users)
}

async fn set(users: &Cache<String>, key: &str, ttl_secs: Option<u64>) -> Version {
    let set = users.set(key, text(key));
    match ttl_secs {
        Some(ttl) => set.ttl(secs(ttl)).await.unwrap(),
        None => set.await.unwrap(),
    }
}

async fn is_shown(users: &Cache<String>, key: &str) -> bool {
    read(users, key).await.is_some()
}

/// Entries of one hour, of a day and an hour, and of no end.
async fn fill(users: &Cache<String>) -> Version {
    set(users, "hour", Some(HOUR)).await;
    set(users, "day and hour", Some(DAY + HOUR)).await;
    set(users, "ever", None).await
}

#[tokio::test]
async fn set_back_by_a_day_time_goes_on_where_the_store_last_saw_it() {
    for mut world in World::stored() {
        let name = world.name;
        let (larder, users) = begin(&mut world, 0).await;
        let before = fill(&users).await;
        larder.shutdown(SOON).await.unwrap();

        let (larder, users) = begin(&mut world, -(DAY as i64)).await;
        assert!(world.clock.now_ms() >= BEGIN_MS, "{name}");
        assert!(set(&users, "new", Some(HOUR)).await > before, "{name}");
        // What is there and what is new both have their hour, and no day besides.
        assert!(is_shown(&users, "hour").await, "{name}");
        world.advance(secs(HOUR));
        assert!(!is_shown(&users, "hour").await, "{name}");
        assert!(!is_shown(&users, "new").await, "{name}");
        world.advance(secs(DAY));
        assert!(!is_shown(&users, "day and hour").await, "{name}");
        assert!(is_shown(&users, "ever").await, "{name}");
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn set_forward_by_a_day_entries_expire_early_by_the_day_and_no_more() {
    for mut world in World::stored() {
        let name = world.name;
        let (larder, users) = begin(&mut world, 0).await;
        let before = fill(&users).await;
        larder.shutdown(SOON).await.unwrap();

        let (larder, users) = begin(&mut world, DAY as i64).await;
        assert!(!is_shown(&users, "hour").await, "{name}");
        assert!(is_shown(&users, "day and hour").await, "{name}");
        assert!(is_shown(&users, "ever").await, "{name}");
        let forward = set(&users, "new", Some(HOUR)).await;
        assert!(forward > before, "{name}");
        larder.shutdown(SOON).await.unwrap();

        // Somebody puts it right. Nothing that has expired comes back, and an hour stays an hour.
        let (larder, users) = begin(&mut world, 0).await;
        assert!(!is_shown(&users, "hour").await, "{name}");
        assert!(set(&users, "newer", Some(HOUR)).await > forward, "{name}");
        assert!(is_shown(&users, "new").await, "{name}");
        world.advance(secs(HOUR));
        for gone in ["new", "newer", "day and hour"] {
            assert!(!is_shown(&users, gone).await, "{name}: {gone}");
        }
        assert!(is_shown(&users, "ever").await, "{name}");
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn versions_increase_over_steps_of_the_clock_and_processes_that_die() {
    let store = MapStore::new();
    let (mut last, mut dead) = (Version::at(0), Vec::new());
    for off_secs in [0, -(DAY as i64), DAY as i64, 0, -(DAY as i64)] {
        let wall_ms = BEGIN_MS.checked_add_signed(off_secs * 1_000).unwrap();
        let clock = Clock::manual(wall_ms);
        let larder = Larder::builder()
            .clock(clock.clone())
            .driver_factory("map", CommitConfig::default(), store.factory())
            .start()
            .await
            .unwrap();
        let users = cache(&larder);
        for _ in 0..5 {
            let written = users.set("k", text("k")).durability(Durability::Written);
            let version = written.await.unwrap();
            assert!(version > last, "{off_secs}: {version} after {last}");
            last = version;
            clock.advance(Duration::from_secs(60));
        }
        // It never gets to end.
        dead.push(larder);
    }
    for larder in dead {
        let _ = larder.shutdown(SOON).await;
    }
}
