//! What a message leaves unsaid, or allows: the same as with the call that it stands for.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/world.rs"]
mod world;

use larder::messages::entry;
use larder::{Durability, Freshness};
use world::{World, cache, secs, text};

#[tokio::test]
async fn a_message_that_allows_stale_values_gets_them_and_is_told_so() {
    let world = World::disk();
    let larder = world.start().await;
    let users = cache(&larder);
    let set = users.set("k", text("old")).ttl(secs(10));
    set.stale_for(secs(60)).await.unwrap();
    world.advance(secs(15));
    let desk = larder.desk().unwrap();
    for allow_stale in [false, true] {
        let mut get = entry::Get::<String>::new("users", "k");
        get.allow_stale = allow_stale;
        let found = desk.send(entry::Explain(get)).await.unwrap().unwrap();
        let expected = match allow_stale {
            true => (Some("old"), Some(Freshness::Stale)),
            false => (None, Some(Freshness::Expired)),
        };
        let shown = found.entry.as_ref().map(|entry| entry.as_str());
        assert_eq!((shown, found.freshness), expected);
        let mut many = entry::GetMany::<String>::new("users", ["k"]);
        many.allow_stale = allow_stale;
        let found = desk.send(many).await.unwrap().unwrap();
        assert_eq!(found[0].1.is_some(), allow_stale);
    }
}

#[tokio::test]
async fn a_message_that_says_nothing_has_the_promise_of_its_call() {
    let world = World::disk();
    let larder = world.start().await;
    let desk = larder.desk().unwrap();
    let set = |key: &str| entry::Set::<String>::new("users", key, text("1"));
    let removal = || entry::Remove::<String>::new("users", "k");
    let told = desk.send(entry::Explain(set("k"))).await.unwrap().unwrap();
    assert_eq!(told.durability, Durability::Queued);
    let told = desk.send(entry::Explain(removal())).await.unwrap();
    assert_eq!(told.unwrap().durability, Durability::Written);
    for durability in [Durability::Queued, Durability::Synced] {
        let mut asked = removal();
        asked.durability = Some(durability);
        let told = desk.send(entry::Explain(asked)).await.unwrap().unwrap();
        assert_eq!(told.durability, durability);
    }
    for key in ["a", "b"] {
        desk.send(set(key)).await.unwrap().unwrap();
    }
    let many = entry::RemoveMany::<String>::new("users", ["a", "b"]);
    let report = desk.send(many).await.unwrap().unwrap();
    assert_eq!((report.applied, report.chunks_unstored), (2, 0));
}

#[tokio::test]
async fn an_expiry_by_message_keeps_the_value_as_long_as_the_cache_says() {
    let world = World::disk();
    let larder = world.start().await;
    let builder = larder.cache_builder::<String>("users");
    let users = builder.expired_keep(secs(30)).open().unwrap();
    users.set("k", text("1")).await.unwrap();
    let desk = larder.desk().unwrap();
    let expire = entry::Expire::<String>::new("users", "k");
    assert!(desk.send(expire).await.unwrap().unwrap().is_some());
    for (at, is_kept) in [(29, true), (2, false)] {
        world.advance(secs(at));
        let found = users.get("k").allow_stale().await.unwrap();
        assert_eq!(found.is_some(), is_kept);
    }
}
