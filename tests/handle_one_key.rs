//! One key: set, get, peek, contains, remove, over every kind of tier.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use std::sync::Arc;

use larder::{Cache, Freshness, Source};
use world::{World, cache, flush, ms, read, secs, text};

#[tokio::test]
async fn a_set_replaces_and_a_remove_ends_it() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        assert_eq!(read(&users, "k").await, None, "{}", world.name);
        let first = users.set("k", text("1")).await.unwrap();
        let second = users.set("k", text("2")).await.unwrap();
        let entry = users.get("k").await.unwrap().unwrap();
        assert_eq!((entry.as_str(), entry.version()), ("2", second));
        let removed = users.remove("k").await.unwrap();
        assert!(first < second && second < removed);
        assert_eq!(read(&users, "k").await, None);
        assert!(
            users.remove("k").await.unwrap() > removed,
            "also of nothing"
        );
    }
}

#[tokio::test]
async fn what_was_set_and_removed_is_so_after_a_restart() {
    for world in World::stored() {
        let larder = world.start().await;
        let users = cache(&larder);
        let version = users.set("kept", text("1")).ttl(secs(60)).await.unwrap();
        users.set("gone", text("1")).await.unwrap();
        flush(&larder).await;
        users.remove("gone").await.unwrap();
        let larder = world.restart(larder).await;
        let users = cache(&larder);
        let entry = users.get("kept").await.unwrap().unwrap();
        assert_eq!(
            (entry.as_str(), entry.version()),
            ("1", version),
            "{}",
            world.name
        );
        assert_eq!(entry.expires_in(), Some(secs(60)));
        assert_ne!(entry.source(), Source::Memory);
        assert_eq!(read(&users, "gone").await, None);
        let again = users.get("kept").await.unwrap().unwrap();
        assert_eq!(again.source(), Source::Memory, "it was promoted");
    }
}

#[tokio::test]
async fn peek_and_contains_see_what_get_sees_and_promote_nothing() {
    for world in World::stored() {
        let larder = world.start().await;
        cache(&larder).set("k", text("1")).await.unwrap();
        let larder = world.restart(larder).await;
        let users = cache(&larder);
        assert!(users.contains("k").await.unwrap());
        assert!(!users.contains("other").await.unwrap());
        for _ in 0..2 {
            let peeked = users.peek("k").await.unwrap().unwrap();
            assert_eq!(peeked.as_str(), "1");
            assert_ne!(peeked.source(), Source::Memory, "{}", world.name);
        }
        assert_eq!(larder.stats().await.unwrap().memory.entries, 0);
        users.remove("k").await.unwrap();
        assert!(!users.contains("k").await.unwrap());
    }
}

#[tokio::test]
async fn an_entry_shares_its_value_and_stays_as_it_was_read() {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    let value = Arc::new(text("1"));
    users.set("k", Arc::clone(&value)).await.unwrap();
    let entry = users.get("k").await.unwrap().unwrap();
    assert!(Arc::ptr_eq(entry.value(), &value), "no copy was made");
    users.set("k", text("2")).await.unwrap();
    assert_eq!(entry.as_str(), "1");
    assert_eq!(*entry.into_value(), "1");
}

#[tokio::test]
async fn an_entry_tells_its_age_and_how_long_it_stays() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        users.set("k", text("1")).ttl(ms(1_000)).await.unwrap();
        users.set("ever", text("1")).await.unwrap();
        world.advance(ms(400));
        let entry = users.get("k").await.unwrap().unwrap();
        assert_eq!(entry.age(), ms(400), "{}", world.name);
        assert_eq!(entry.expires_in(), Some(ms(600)));
        assert_eq!(entry.freshness(), Freshness::Fresh);
        assert_eq!(entry.created_ms(), world::BEGIN_MS);
        let ever = users.get("ever").await.unwrap().unwrap();
        assert_eq!(ever.expires_in(), None);
        assert!(!format!("{ever:?}").contains("\"1\""), "never the value");
    }
}

#[tokio::test]
async fn caches_of_different_names_do_not_meet() {
    for world in World::all() {
        let larder = world.start().await;
        let (a, b): (Cache<String>, Cache<u64>) =
            (larder.cache("a").unwrap(), larder.cache("b").unwrap());
        a.set("k", text("1")).await.unwrap();
        b.set("k", 2).await.unwrap();
        assert_eq!(read(&a, "k").await, Some(text("1")));
        a.clear().await.unwrap();
        assert_eq!(read(&a, "k").await, None);
        assert_eq!(*b.get("k").await.unwrap().unwrap(), 2, "{}", world.name);
        assert_eq!((a.name(), b.name()), ("a", "b"));
    }
}
