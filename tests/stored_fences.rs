//! What a store remembers of clears and tags: what says nothing more is collected when it is opened,
//! what cannot be read counts as more than it was.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/mortal.rs"]
mod mortal;
#[path = "support/world.rs"]
mod world;

use bytes::Bytes;
use larder::config::{CommitConfig, Limits};
use larder::{Cache, Durability, Error, Larder};
use mortal::Mortal;
use world::{SOON, cache, read, text};

const FENCES: &str = "\u{0}fences/";

async fn start(store: &Mortal) -> Larder {
    let mut limits = Limits::default();
    (limits.tag_fences_max, limits.caches_max) = (4, 2);
    let builder = Larder::builder().limits(limits);
    let builder = builder.driver_factory("store", CommitConfig::default(), store.factory());
    builder.start().await.unwrap()
}

/// The tags and caches (an empty name) of `users` whose fences are stored.
fn fences(store: &Mortal) -> Vec<String> {
    let keys = store.keys(FENCES).into_iter();
    keys.map(|key| key.trim_start_matches(FENCES).replacen("users", "", 1))
        .collect()
}

/// A store whose only record is `k`, tagged `late`, and the fences of `tags` around a clear.
async fn fenced(early: &[&str], late: &[&str]) -> Mortal {
    let store = Mortal::default();
    let larder = start(&store).await;
    let users = cache(&larder);
    users.set("cleared", text("1")).await.unwrap();
    for tag in early {
        users.remove_tag(tag).await.unwrap();
    }
    larder.flush(Durability::Written).await.unwrap();
    users.clear().await.unwrap();
    users.set("k", text("1")).tag("late").await.unwrap();
    users.set("lives", text("1")).await.unwrap();
    larder.flush(Durability::Written).await.unwrap();
    for tag in late {
        users.remove_tag(tag).await.unwrap();
    }
    larder.shutdown(SOON).await.unwrap();
    store
}

#[tokio::test]
async fn tag_fences_below_their_caches_are_deleted_when_the_store_is_opened() {
    let store = fenced(&["a", "b"], &["late"]).await;
    assert_eq!(fences(&store), ["", "/a", "/b", "/late"]);
    let larder = start(&store).await;
    assert_eq!(fences(&store), ["", "/late"]);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_fences_hide_stays_hidden_over_restarts_that_collect_outdated_ones() {
    let store = fenced(&["a", "b"], &["late"]).await;
    for _ in 0..3 {
        let larder = start(&store).await;
        let users = cache(&larder);
        assert!(store.get(b"users/k").is_some(), "only a fence hides it");
        assert_eq!(read(&users, "k").await, None);
        assert_eq!(read(&users, "cleared").await, None);
        assert_eq!(read(&users, "lives").await, Some(text("1")));
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn tags_that_were_fenced_again_and_again_do_not_fill_the_store() {
    let store = Mortal::default();
    for round in 0..10 {
        let larder = start(&store).await;
        let users = cache(&larder);
        for n in 0..20 {
            users.remove_tag(&format!("{round}-{n}")).await.unwrap();
        }
        larder.shutdown(SOON).await.unwrap();
    }
    let larder = start(&store).await;
    let left = fences(&store);
    // The cache's own, and no more tags than are kept before they become one of the cache.
    assert!(left.len() <= 1 + 4, "{left:?}");
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_fence_that_cannot_be_read_hides_everything_older_once() {
    for (name, hidden) in [("users", &["k", "lives"][..]), ("users/late", &["k"])] {
        let store = fenced(&[], &[]).await;
        store.plant(
            format!("{FENCES}{name}").as_bytes(),
            Bytes::from_static(b"damaged"),
        );
        let larder = start(&store).await;
        let users = cache(&larder);
        for key in ["k", "lives"] {
            let is_hidden = read(&users, key).await.is_none();
            assert_eq!(is_hidden, hidden.contains(&key), "{name}: {key}");
        }
        let damaged = larder.stats().await.unwrap().drivers[0].damaged;
        assert_eq!(damaged, 1, "it is counted");
        users.set("new", text("1")).tag("late").await.unwrap();
        larder.shutdown(SOON).await.unwrap();
        let larder = start(&store).await;
        assert_eq!(read(&cache(&larder), "new").await, Some(text("1")));
        assert_eq!(read(&cache(&larder), "k").await, None);
        larder.shutdown(SOON).await.unwrap();
    }
}

fn named(larder: &Larder, name: &str) -> Cache<String> {
    larder.cache(name).unwrap()
}

#[tokio::test]
async fn caches_that_earlier_lives_have_cleared_take_no_place_from_new_ones() {
    let store = Mortal::default();
    for name in ["a", "b", "c", "d"] {
        let larder = start(&store).await;
        named(&larder, name).clear().await.unwrap();
        larder.shutdown(SOON).await.unwrap();
    }
    let larder = start(&store).await;
    for name in ["new", "newer"] {
        let cache = named(&larder, name);
        cache.set("k", text("1")).await.unwrap();
        assert_eq!(read(&cache, "k").await, Some(text("1")));
    }
    let third = larder.cache::<String>("newest").unwrap_err();
    assert!(matches!(third, Error::Overloaded { limit, .. } if limit == "caches_max"));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn more_cleared_caches_than_can_be_open_become_one_fence_of_all_that_are_not() {
    let store = Mortal::default();
    let larder = start(&store).await;
    let (cleared, other) = (named(&larder, "a"), named(&larder, "other"));
    cleared.set("k", text("1")).await.unwrap();
    other.set("before", text("1")).await.unwrap();
    larder.flush(Durability::Written).await.unwrap();
    cleared.clear().await.unwrap();
    other.set("after", text("1")).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    for name in ["b", "c"] {
        let larder = start(&store).await;
        named(&larder, name).clear().await.unwrap();
        larder.shutdown(SOON).await.unwrap();
    }
    assert!(store.get(b"a/k").is_some(), "only a fence hides it");
    let larder = start(&store).await;
    let (cleared, other) = (named(&larder, "a"), named(&larder, "other"));
    assert_eq!(read(&cleared, "k").await, None);
    assert_eq!(read(&other, "before").await, None, "more is forgotten");
    assert_eq!(read(&other, "after").await, Some(text("1")));
    larder.shutdown(SOON).await.unwrap();
}
