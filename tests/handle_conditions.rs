//! Conditional changes: decided atomically, by what memory knows or by what the tiers hold.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/world.rs"]
mod world;

use larder::{Cache, Error, Version};
use world::{World, cache, read, secs, text};

/// The version that a conflict tells.
fn current<T: std::fmt::Debug>(result: Result<T, Error>) -> Option<Version> {
    match result {
        Err(Error::Conflict { current }) => current,
        other => panic!("{other:?} is no conflict"),
    }
}

/// A cache with `k` in it, in memory or below only.
async fn with_entry(world: &World, below_only: bool) -> (larder::Larder, Cache<String>, Version) {
    let mut larder = world.start().await;
    let version = cache(&larder).set("k", text("1")).await.unwrap();
    if below_only {
        larder = world.restart(larder).await;
    }
    let users = cache(&larder);
    (larder, users, version)
}

/// Every world with the entry in memory, and every one that can have it below only.
fn places() -> impl Iterator<Item = (World, bool)> {
    let memory = World::all().into_iter().map(|world| (world, false));
    memory.chain(World::stored().into_iter().map(|world| (world, true)))
}

#[tokio::test]
async fn if_version_changes_only_the_version_that_was_seen() {
    for (world, below) in places() {
        let (larder, users, first) = with_entry(&world, below).await;
        let second = users.set("k", text("2")).if_version(first).await.unwrap();
        assert!(second > first, "{}", world.name);
        let told = current(users.set("k", text("3")).if_version(first).await);
        assert_eq!(told, Some(second), "{}", world.name);
        assert_eq!(read(&users, "k").await, Some(text("2")));
        let told = current(users.remove("k").if_version(first).await);
        assert_eq!(told, Some(second));
        users.remove("k").if_version(second).await.unwrap();
        assert_eq!(read(&users, "k").await, None);
        let told = current(users.set("k", text("4")).if_version(second).await);
        assert_eq!(told, None, "a removed entry has no version");
        drop(larder);
    }
}

#[tokio::test]
async fn a_conflict_on_an_entry_that_lies_below_tells_its_version() {
    for (world, below) in places() {
        let (_larder, users, version) = with_entry(&world, below).await;
        let wrong = Version::at(5);
        let told = current(users.set("k", text("2")).if_version(wrong).await);
        assert_eq!(told, Some(version), "{}", world.name);
        let told = current(users.remove("k").if_version(wrong).await);
        assert_eq!(told, Some(version));
        assert_eq!(read(&users, "k").await, Some(text("1")));
    }
}

#[tokio::test]
async fn if_absent_sets_only_where_nothing_is() {
    for (world, below) in places() {
        let (_larder, users, version) = with_entry(&world, below).await;
        let told = current(users.set("k", text("2")).if_absent().await);
        assert_eq!(told, Some(version), "{}", world.name);
        assert_eq!(read(&users, "k").await, Some(text("1")));
        users.set("new", text("1")).if_absent().await.unwrap();
        users.remove("k").await.unwrap();
        users.set("k", text("3")).if_absent().await.unwrap();
        assert_eq!(read(&users, "k").await, Some(text("3")));
    }
}

#[tokio::test]
async fn if_present_sets_only_where_something_is() {
    for (world, below) in places() {
        let (_larder, users, _) = with_entry(&world, below).await;
        assert_eq!(
            current(users.set("new", text("1")).if_present().await),
            None
        );
        assert_eq!(read(&users, "new").await, None);
        users.set("k", text("2")).if_present().await.unwrap();
        assert_eq!(read(&users, "k").await, Some(text("2")), "{}", world.name);
    }
}

#[tokio::test]
async fn an_expired_entry_is_absent_to_a_condition() {
    for (world, below) in places() {
        let mut larder = world.start().await;
        let ttl = cache(&larder).set("k", text("1")).ttl(secs(60)).await;
        let version = ttl.unwrap();
        if below {
            larder = world.restart(larder).await;
        }
        let users = cache(&larder);
        world.advance(secs(61));
        assert_eq!(current(users.set("k", text("2")).if_present().await), None);
        assert_eq!(
            current(users.set("k", text("2")).if_version(version).await),
            None
        );
        users.set("k", text("3")).if_absent().await.unwrap();
        assert_eq!(read(&users, "k").await, Some(text("3")), "{}", world.name);
    }
}

#[tokio::test]
async fn a_cleared_entry_is_absent_to_a_condition() {
    for (world, below) in places() {
        let (_larder, users, version) = with_entry(&world, below).await;
        users.clear().await.unwrap();
        assert_eq!(
            current(users.set("k", text("2")).if_version(version).await),
            None
        );
        users.set("k", text("2")).if_absent().await.unwrap();
        assert_eq!(read(&users, "k").await, Some(text("2")), "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_set_if_absent_exactly_one_wins() {
    for world in World::all() {
        let larder = world.start().await;
        for round in 0..20 {
            let key = format!("k{round}");
            let tries = (0..16).map(|n| {
                let (users, key) = (cache(&larder), key.clone());
                tokio::spawn(async move { users.set(&key, n.to_string()).if_absent().await })
            });
            let done = futures_util::future::join_all(tries).await;
            let won: Vec<_> = done.into_iter().filter_map(|d| d.unwrap().ok()).collect();
            assert_eq!(won.len(), 1, "{}", world.name);
            let entry = cache(&larder).get(&key).await.unwrap().unwrap();
            assert_eq!(entry.version(), won[0]);
        }
        assert_eq!(larder.stats().await.unwrap().memory.marks, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_change_one_version_below_exactly_one_wins() {
    for world in World::stored() {
        let mut larder = world.start().await;
        for round in 0..10 {
            cache(&larder)
                .set(&format!("k{round}"), text("old"))
                .await
                .unwrap();
        }
        larder = world.restart(larder).await;
        for round in 0..10 {
            let key = format!("k{round}");
            // `peek` leaves it below.
            let seen = cache(&larder).peek(&key).await.unwrap().unwrap().version();
            let tries = (0..16).map(|n| {
                let (users, key) = (cache(&larder), key.clone());
                tokio::spawn(async move { users.set(&key, n.to_string()).if_version(seen).await })
            });
            let done = futures_util::future::join_all(tries).await;
            let won = done
                .into_iter()
                .filter(|d| d.as_ref().unwrap().is_ok())
                .count();
            assert_eq!(won, 1, "{}", world.name);
        }
        assert_eq!(larder.stats().await.unwrap().memory.marks, 0);
    }
}
