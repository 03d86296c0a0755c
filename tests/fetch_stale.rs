//! Fetch: what is shown after it has expired, and what a loader may say of what it found.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/origin.rs"]
mod origin;
#[path = "support/world.rs"]
mod world;

use larder::cache::{StaleBecause, Stored};
use larder::{Error, ErrorClass, Freshness, LoadContext, LoadError, Loaded, Source};
use origin::{Origin, expiring, found, shown};
use world::{SOON, World, cache, ms, read, secs, text, until};

#[tokio::test]
async fn what_has_expired_is_shown_at_once_and_loaded_anew_meanwhile() {
    let (world, larder, users) = expiring(secs(100)).await;
    world.advance(secs(2));
    let origin = Origin::shut();
    for _ in 0..3 {
        let fetch = users.fetch("k", origin.load()).stale_for(secs(10));
        let outcome = fetch.outcome().await.unwrap();
        assert_eq!(**outcome.entry.as_ref().unwrap(), "old");
        assert_eq!(outcome.freshness, Some(Freshness::Stale));
        assert!(matches!(
            outcome.stale_because,
            Some(StaleBecause::Refreshing)
        ));
    }
    origin.answer_one();
    until("it is fresh", async || {
        read(&users, "k").await == found("loaded 1")
    })
    .await;
    let fetched = larder.stats().await.unwrap().fetch;
    assert_eq!((fetched.stale, fetched.loads, origin.asked()), (3, 1, 1));
}

#[tokio::test]
async fn what_has_expired_for_longer_than_allowed_is_waited_for() {
    let (world, _larder, users) = expiring(secs(100)).await;
    world.advance(secs(12));
    let fetch = users.fetch("k", Origin::open().load()).stale_for(secs(10));
    assert_eq!(shown(fetch.await).unwrap(), found("loaded 1"));
}

#[tokio::test]
async fn what_has_expired_is_shown_if_it_cannot_be_loaded() {
    let (world, larder, users) = expiring(secs(100)).await;
    world.advance(secs(2));
    let load = || Origin::open().load_as(|_| Err::<String, _>(LoadError::device("no network")));
    let fetch = users.fetch("k", load()).stale_if_error_for(secs(10));
    let outcome = fetch.throttle(secs(0)).outcome().await.unwrap();
    assert_eq!(**outcome.entry.as_ref().unwrap(), "old");
    let Some(StaleBecause::Failed(error)) = outcome.stale_because else {
        panic!("{:?}", outcome.stale_because)
    };
    assert_eq!(error.class(), ErrorClass::Device);
    let hung = Origin::shut();
    let fetch = users.fetch("k", hung.load()).deadline(ms(5));
    let outcome = fetch.stale_if_error_for(secs(10)).outcome().await.unwrap();
    let late = outcome.stale_because.unwrap();
    assert!(matches!(
        late,
        StaleBecause::Failed(Error::DeadlineExceeded { .. })
    ));
    world.advance(secs(10));
    let fetch = users.fetch("k", load()).stale_if_error_for(secs(10));
    assert!(matches!(fetch.await, Err(Error::Fetch(_))));
    assert_eq!(larder.stats().await.unwrap().fetch.stale, 2);
}

#[tokio::test]
async fn what_was_removed_while_a_load_failed_is_not_shown() {
    let (world, _larder, users) = expiring(secs(100)).await;
    world.advance(secs(2));
    let origin = Origin::shut();
    let load = origin.load_as(|_| Err::<String, _>(LoadError::device("no network")));
    let other = users.clone();
    let caller = tokio::spawn(async move {
        let fetch = other.fetch("k", load).stale_if_error_for(secs(10));
        fetch.await
    });
    origin.is_asked(1).await;
    users.remove("k").await.unwrap();
    origin.answer_one();
    assert!(matches!(caller.await.unwrap(), Err(Error::Fetch(_))));
}

#[tokio::test]
async fn with_a_soft_timeout_what_has_expired_is_shown_and_the_load_goes_on() {
    let (world, _larder, users) = expiring(secs(100)).await;
    world.advance(secs(2));
    let origin = Origin::shut();
    let soft = |after| {
        let fetch = users.fetch("k", origin.load()).stale_for(secs(10));
        fetch.soft_timeout(after).outcome()
    };
    let outcome = soft(ms(5)).await.unwrap();
    assert_eq!(**outcome.entry.as_ref().unwrap(), "old");
    assert!(matches!(
        outcome.stale_because,
        Some(StaleBecause::SoftTimeout)
    ));
    origin.answer_one();
    let outcome = soft(secs(30)).await.unwrap();
    assert_eq!(**outcome.entry.as_ref().unwrap(), "loaded 1");
    assert_eq!((outcome.stale_because.is_none(), origin.asked()), (true, 1));
}

#[tokio::test]
async fn what_is_about_to_expire_is_loaded_anew_by_one() {
    let (world, _larder, users) = expiring(secs(100)).await;
    let origin = Origin::shut();
    let ahead = || {
        users
            .fetch("k", origin.load())
            .ttl(secs(1))
            .refresh_ahead(0.8)
    };
    world.advance(ms(799));
    assert_eq!(shown(ahead().await).unwrap(), found("old"));
    assert_eq!(origin.asked(), 0);
    world.advance(ms(1));
    for _ in 0..3 {
        let outcome = ahead().outcome().await.unwrap();
        assert_eq!(**outcome.entry.as_ref().unwrap(), "old");
        assert!(outcome.stale_because.is_none(), "it is fresh");
    }
    origin.answer_one();
    until("it is new", async || {
        read(&users, "k").await == found("loaded 1")
    })
    .await;
    assert_eq!(origin.asked(), 1);
}

#[tokio::test]
async fn a_loader_sees_what_has_expired_and_may_say_that_it_is_still_right() {
    let (world, _larder, users) = expiring(secs(100)).await;
    world.advance(secs(2));
    let load = |cx: LoadContext<String>| async move {
        let stale = cx.stale().map(|stale| String::clone(stale));
        assert_eq!((stale, cx.attempt(), cx.key()), (found("old"), 1, "k"));
        assert!(cx.left() > secs(50) && cx.idempotency_key().len() == 32);
        Ok::<_, LoadError>(Loaded::not_modified())
    };
    let kept = users.fetch("k", load).ttl(secs(5)).await.unwrap().unwrap();
    assert_eq!((&**kept, kept.expires_in()), ("old", Some(secs(5))));
    world.advance(secs(4));
    assert_eq!(read(&users, "k").await, found("old"));
    let nothing = |_| async { Ok::<_, LoadError>(Loaded::<String>::not_modified()) };
    let error = users.fetch("other", nothing).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Bug);
}

#[tokio::test]
async fn what_was_not_modified_keeps_its_tags_and_is_fenced_by_them() {
    let (world, _larder, users) = expiring(secs(100)).await;
    let tagged = users.set("k", text("old")).ttl(secs(1)).tag("t");
    tagged.stale_for(secs(100)).await.unwrap();
    world.advance(secs(2));
    let load = |_| async { Ok::<_, LoadError>(Loaded::not_modified()) };
    users
        .fetch("k", load)
        .ttl(secs(1))
        .stale_if_error_for(secs(100))
        .await
        .unwrap();
    assert_eq!(users.get("k").await.unwrap().unwrap().version(), {
        let again = users.fetch("k", load).outcome().await.unwrap();
        assert_eq!(again.attempts, 0);
        again.entry.unwrap().version()
    });
    world.advance(secs(2));
    let origin = Origin::shut();
    let load = origin.load_as(|_| Ok(Loaded::not_modified()));
    let other = users.clone();
    let caller = tokio::spawn(async move { other.fetch("k", load).outcome().await.unwrap() });
    origin.is_asked(1).await;
    users.remove_tag("t").await.unwrap();
    origin.answer_one();
    assert!(matches!(caller.await.unwrap().stored, Some(Stored::Fenced)));
    assert_eq!(read(&users, "k").await, None);
}

#[tokio::test]
async fn what_is_shown_and_not_kept_leaves_nothing_older_behind() {
    let (world, _larder, users) = expiring(secs(100)).await;
    world.advance(secs(2));
    let load = |_| async { Ok::<_, LoadError>(Loaded::value(text("new")).do_not_store()) };
    users.fetch("k", load).await.unwrap();
    let older = users.get("k").allow_stale().await.unwrap();
    assert!(older.is_none());
}

#[tokio::test]
async fn what_has_expired_below_memory_is_replaced_by_what_is_loaded() {
    for world in World::stored() {
        let larder = world.start().await;
        let users = cache(&larder);
        let set = users
            .set("k", text("old"))
            .ttl(secs(1))
            .stale_for(secs(100));
        set.await.unwrap();
        let larder = world.restart(larder).await;
        world.advance(secs(2));
        let users = cache(&larder);
        let outcome = users.fetch("k", Origin::open().load()).outcome().await;
        assert!(matches!(outcome.unwrap().stored, Some(Stored::Yes)));
        let other = larder.cache_builder::<String>("users").schema(7);
        let other = other.open().unwrap();
        let outcome = other.fetch("k", Origin::open().load()).outcome().await;
        let outcome = outcome.unwrap();
        assert_eq!(outcome.attempts, 1, "of another schema");
        assert!(matches!(outcome.stored, Some(Stored::Yes)));
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_fresh_is_shown_while_it_is_loaded_anew() {
    let (world, _larder, users) = expiring(secs(100)).await;
    world.advance(ms(900));
    let origin = Origin::shut();
    let ahead = users.fetch("k", origin.load()).refresh_ahead(0.8);
    assert_eq!(shown(ahead.await).unwrap(), found("old"));
    origin.is_asked(1).await;
    let outcome = users.fetch("k", origin.load()).outcome().await.unwrap();
    assert_eq!((outcome.source, outcome.waiters), (Some(Source::Memory), 0));
    origin.answer_one();
}

#[tokio::test]
async fn what_a_source_has_no_more_is_shown_to_nobody() {
    let (world, larder, users) = expiring(secs(100)).await;
    world.advance(secs(2));
    let nobody = |_| async { Ok::<_, LoadError>(None::<String>) };
    assert!(users.fetch("k", nobody).await.unwrap().is_none());
    let fails = |_| async { Err::<String, _>(LoadError::device("no network")) };
    let fetch = users.fetch("k", fails).stale_if_error_for(secs(100));
    assert!(matches!(fetch.await, Err(Error::Fetch(_))));
    assert!(users.fetch("other", nobody).await.unwrap().is_none());
    assert_eq!(larder.stats().await.unwrap().fetch.missing, 2);
}

#[tokio::test]
async fn a_loader_says_how_its_value_is_kept() {
    let (world, _larder, users) = expiring(secs(100)).await;
    let load = |_| async {
        let value = Loaded::value(text("mine")).ttl(secs(3)).tag("t");
        Ok::<_, LoadError>(value)
    };
    users.fetch("a", load).ttl(secs(600)).await.unwrap();
    let kept = users.get("a").await.unwrap().unwrap();
    assert_eq!(kept.expires_in(), Some(secs(3)));
    users.remove_tag("t").await.unwrap();
    assert_eq!(read(&users, "a").await, None);
    let load = |_| async { Ok::<_, LoadError>(Loaded::value(text("once")).do_not_store()) };
    let outcome = users.fetch("b", load).outcome().await.unwrap();
    assert_eq!(**outcome.entry.unwrap(), *"once");
    assert!(matches!(outcome.stored, Some(Stored::No)));
    assert_eq!(read(&users, "b").await, None);
    drop(world);
}
