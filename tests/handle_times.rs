//! Times of entries: TTL and its precedence, jitter, sliding expiry, fallbacks, `touch`, `expire`.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeSet;

use larder::{Cache, Error, Freshness, Larder};
use world::{World, cache, ms, read, secs, text};

fn with_ttl(larder: &Larder) -> Cache<String> {
    let builder = larder.cache_builder("users").ttl(secs(60));
    builder.open().unwrap()
}

async fn expires_in(cache: &Cache<String>, key: &str) -> Option<u128> {
    let entry = cache.get(key).await.unwrap().unwrap();
    entry.expires_in().map(|left| left.as_millis())
}

#[tokio::test]
async fn an_entry_is_gone_from_every_tier_the_moment_its_ttl_ends() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        users.set("k", text("1")).ttl(ms(100)).await.unwrap();
        world.advance(ms(99));
        assert_eq!(read(&users, "k").await, Some(text("1")), "{}", world.name);
        world.advance(ms(1));
        assert_eq!(read(&users, "k").await, None);
        assert!(!users.contains("k").await.unwrap());
        assert!(users.get("k").allow_stale().await.unwrap().is_none());
        let larder = world.restart(larder).await;
        assert_eq!(read(&cache(&larder), "k").await, None, "{}", world.name);
    }
}

#[tokio::test]
async fn the_call_goes_before_the_cache_and_the_cache_before_larder() {
    let larder = World::memory().start().await;
    let users = with_ttl(&larder);
    users.set("default", text("1")).await.unwrap();
    users.set("call", text("1")).ttl(secs(5)).await.unwrap();
    users.set("never", text("1")).no_ttl().await.unwrap();
    users
        .set("last", text("1"))
        .no_ttl()
        .ttl(secs(7))
        .await
        .unwrap();
    assert_eq!(expires_in(&users, "default").await, Some(60_000));
    assert_eq!(expires_in(&users, "call").await, Some(5_000));
    assert_eq!(expires_in(&users, "never").await, None);
    assert_eq!(expires_in(&users, "last").await, Some(7_000));
    let plain: Cache<String> = larder.cache("plain").unwrap();
    plain.set("k", text("1")).await.unwrap();
    assert_eq!(expires_in(&plain, "k").await, None);
}

#[tokio::test]
async fn jitter_spreads_deadlines_and_makes_none_later() {
    let larder = World::memory().start().await;
    let builder = larder.cache_builder::<String>("users").ttl(secs(100));
    let users = builder.ttl_jitter(0.5).open().unwrap();
    let mut ends = BTreeSet::new();
    for n in 0..200 {
        let key = n.to_string();
        users.set(&key, text("1")).await.unwrap();
        ends.insert(expires_in(&users, &key).await.unwrap());
    }
    assert!(ends.len() > 150, "only {} different deadlines", ends.len());
    assert!(*ends.last().unwrap() <= 100_000, "never later");
    assert!(
        *ends.first().unwrap() >= 50_000,
        "never more than the share"
    );
    assert!(ends.last().unwrap() - ends.first().unwrap() > 25_000);
}

#[tokio::test]
async fn reading_keeps_a_sliding_entry_alive_and_silence_ends_it() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        users.set("k", text("1")).idle(secs(8)).await.unwrap();
        for _ in 0..5 {
            world.advance(secs(5));
            assert_eq!(read(&users, "k").await, Some(text("1")), "{}", world.name);
        }
        world.advance(secs(8));
        assert_eq!(read(&users, "k").await, None);
    }
}

#[tokio::test]
async fn a_renewal_is_stored_and_keeps_the_version() {
    for world in World::stored() {
        let larder = world.start().await;
        let version = cache(&larder)
            .set("k", text("1"))
            .idle(secs(8))
            .await
            .unwrap();
        world::flush(&larder).await;
        world.advance(secs(5));
        read(&cache(&larder), "k").await.unwrap();
        let larder = world.restart(larder).await;
        world.advance(secs(5));
        let entry = cache(&larder).get("k").await.unwrap().unwrap();
        assert_eq!(entry.version(), version, "{}", world.name);
        let users = cache(&larder);
        users.set("k", text("2")).if_version(version).await.unwrap();
    }
}

#[tokio::test]
async fn a_ttl_ends_a_sliding_entry_however_often_it_is_read() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        let set = users.set("k", text("1"));
        set.idle(secs(8)).ttl(secs(20)).await.unwrap();
        for _ in 0..3 {
            world.advance(secs(5));
            assert_eq!(read(&cache(&larder), "k").await, Some(text("1")));
        }
        let larder = match world.name {
            "memory" => larder,
            _ => world.restart(larder).await,
        };
        world.advance(secs(4));
        assert_eq!(
            expires_in(&cache(&larder), "k").await,
            Some(1_000),
            "{}",
            world.name
        );
        world.advance(secs(1));
        assert_eq!(read(&cache(&larder), "k").await, None, "{}", world.name);
    }
}

#[tokio::test]
async fn a_cache_can_be_sliding_as_a_whole_and_peeking_is_reading() {
    let world = World::memory();
    let larder = world.start().await;
    let users = larder
        .cache_builder::<String>("users")
        .idle(secs(8))
        .open()
        .unwrap();
    users.set("k", text("1")).await.unwrap();
    world.advance(secs(5));
    assert!(users.contains("k").await.unwrap());
    world.advance(secs(5));
    assert!(users.contains("k").await.unwrap());
    world.advance(secs(8));
    assert!(!users.contains("k").await.unwrap());
}

#[tokio::test]
async fn a_value_is_kept_as_a_fallback_for_those_who_ask_and_no_longer() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        let set = users.set("k", text("1"));
        set.ttl(secs(10)).stale_for(secs(30)).await.unwrap();
        world.advance(secs(10));
        let larder = match world.name {
            "memory" => larder,
            _ => world.restart(larder).await,
        };
        let users = cache(&larder);
        assert_eq!(read(&users, "k").await, None, "{}", world.name);
        let stale = users.get("k").allow_stale().await.unwrap().unwrap();
        assert_eq!((stale.as_str(), stale.freshness()), ("1", Freshness::Stale));
        assert_eq!(stale.expires_in(), Some(ms(0)));
        world.advance(secs(29));
        assert!(users.get("k").allow_stale().await.unwrap().is_some());
        world.advance(secs(1));
        assert!(users.get("k").allow_stale().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_sliding_entry_keeps_its_fallback_when_it_is_renewed() {
    let world = World::memory();
    let larder = world.start().await;
    let users = cache(&larder);
    let set = users.set("k", text("1")).idle(secs(8));
    set.stale_for(secs(30)).await.unwrap();
    world.advance(secs(5));
    read(&users, "k").await.unwrap();
    world.advance(secs(9));
    assert_eq!(read(&users, "k").await, None);
    assert!(users.get("k").allow_stale().await.unwrap().is_some());
}

#[tokio::test]
async fn touch_gives_a_new_ttl_and_a_new_version() {
    for world in World::all() {
        for below in [false, true] {
            let mut larder = world.start().await;
            let users = cache(&larder);
            let set = users.set("k", text("1"));
            let held = set.ttl(secs(10)).stale_for(secs(5)).tag("t").await.unwrap();
            if below && world.name != "memory" {
                larder = world.restart(larder).await;
            }
            let users = cache(&larder);
            world.advance(secs(9));
            let touched = users.touch("k", secs(60)).await.unwrap().unwrap();
            assert!(touched > held, "{}", world.name);
            assert_eq!(expires_in(&users, "k").await, Some(60_000));
            let conflict = users.set("k", text("2")).if_version(held).await;
            assert!(
                matches!(conflict, Err(Error::Conflict { current }) if current == Some(touched))
            );
            world.advance(secs(64));
            assert!(
                users.get("k").allow_stale().await.unwrap().is_some(),
                "its fallback stays"
            );
            assert_eq!(
                users.touch("k", secs(60)).await.unwrap(),
                None,
                "no live entry"
            );
            assert_eq!(users.touch("other", secs(60)).await.unwrap(), None);
            larder.shutdown(world::SOON).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_touched_entry_keeps_its_tags_and_its_age() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        users.set("k", text("1")).tag("t").await.unwrap();
        world.advance(secs(5));
        users.touch("k", secs(60)).await.unwrap();
        let entry = users.get("k").await.unwrap().unwrap();
        assert_eq!(entry.age(), secs(5), "{}", world.name);
        users.remove_tag("t").await.unwrap();
        assert_eq!(read(&users, "k").await, None);
    }
}

#[tokio::test]
async fn a_touched_sliding_entry_goes_on_sliding_until_its_new_ttl() {
    let world = World::memory();
    let larder = world.start().await;
    let users = cache(&larder);
    users.set("k", text("1")).idle(secs(8)).await.unwrap();
    users.touch("k", secs(12)).await.unwrap();
    assert_eq!(expires_in(&users, "k").await, Some(8_000));
    world.advance(secs(6));
    assert!(read(&users, "k").await.is_some());
    assert_eq!(expires_in(&users, "k").await, Some(6_000));
    world.advance(secs(6));
    assert_eq!(read(&users, "k").await, None);
}

#[tokio::test]
async fn expire_keeps_the_value_as_a_fallback_under_a_new_version() {
    for world in World::all() {
        let mut larder = world.start().await;
        let held = cache(&larder).set("k", text("1")).await.unwrap();
        let expired = cache(&larder).expire("k").await.unwrap().unwrap();
        assert!(expired > held, "{}", world.name);
        for _ in 0..2 {
            let users = cache(&larder);
            assert_eq!(read(&users, "k").await, None);
            let stale = users.get("k").allow_stale().await.unwrap().unwrap();
            assert_eq!((stale.as_str(), stale.version()), ("1", expired));
            let conflict = users.set("k", text("2")).if_version(held).await;
            assert!(matches!(conflict, Err(Error::Conflict { current: None })));
            assert_eq!(
                users.expire("k").await.unwrap(),
                None,
                "it is no live entry"
            );
            if world.name != "memory" {
                larder = world.restart(larder).await;
            }
        }
        world.advance(secs(86_401));
        assert!(
            cache(&larder)
                .get("k")
                .allow_stale()
                .await
                .unwrap()
                .is_none()
        );
    }
}

#[tokio::test]
async fn expire_keeps_it_as_long_as_the_call_or_the_cache_says() {
    let world = World::memory();
    let larder = world.start().await;
    let builder = larder
        .cache_builder::<String>("users")
        .expired_keep(secs(20));
    let users = builder.open().unwrap();
    users.set("cache", text("1")).await.unwrap();
    users.set("call", text("1")).await.unwrap();
    users.expire("cache").await.unwrap();
    users.expire("call").keep_for(secs(5)).await.unwrap();
    world.advance(secs(6));
    assert!(users.get("call").allow_stale().await.unwrap().is_none());
    assert!(users.get("cache").allow_stale().await.unwrap().is_some());
    world.advance(secs(14));
    assert!(users.get("cache").allow_stale().await.unwrap().is_none());
}

#[tokio::test]
async fn an_older_copy_never_comes_back_from_below_when_a_newer_one_expires() {
    for world in World::stored() {
        let larder = world.start().await;
        let users = cache(&larder);
        users.set("k", text("old")).await.unwrap();
        world::flush(&larder).await;
        users.set("k", text("new")).ttl(secs(1)).await.unwrap();
        world.advance(secs(2));
        assert_eq!(read(&users, "k").await, None, "{}", world.name);
        world::flush(&larder).await;
        assert_eq!(read(&users, "k").await, None);
        let larder = world.restart(larder).await;
        assert_eq!(read(&cache(&larder), "k").await, None, "{}", world.name);
    }
}

#[tokio::test]
async fn a_tier_that_missed_a_change_does_not_bring_the_older_copy_back_when_the_newer_expires() {
    let world = World::both();
    let long = world::NEVER_BACK;
    let builder = world
        .builder()
        .restart_limit(0, long, long)
        .restart_backoff(long, long);
    let larder = builder.start().await.unwrap();
    let users = cache(&larder);
    users.set("k", text("old")).await.unwrap();
    world::flush(&larder).await;
    world::take_down(&larder, "map").await;
    let set = users.set("k", text("new")).ttl(secs(1)).stale_for(secs(60));
    // Only queued: what is promised as written is written to both.
    set.await.unwrap();
    while larder.stats().await.unwrap().drivers[0].writes < 2 {
        tokio::task::yield_now().await;
    }
    drop(users);
    let lost = larder.shutdown(ms(200)).await;
    assert!(
        matches!(
            lost,
            Err(Error::Unavailable { .. } | Error::DeadlineExceeded { .. })
        ),
        "{lost:?}"
    );
    world.advance(secs(2));
    let larder = world.start_when_free().await;
    let users = cache(&larder);
    assert_eq!(read(&users, "k").await, None);
    let many = users.get_many(["k"]).await.unwrap();
    assert!(many[0].1.is_none());
    assert!(!users.contains("k").await.unwrap());
}
