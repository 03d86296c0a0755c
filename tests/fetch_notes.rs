//! What is remembered of loads that kept nothing: that a source has nothing, and that it failed.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/origin.rs"]
mod origin;
#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use larder::cache::StaleBecause;
use larder::{Cache, Error, Larder, Limits, LoadError, Loaded, Retry};
use origin::{Origin, expiring, found, larder, shown};
use world::{SOON, World, cache, read, secs, text, until};

const HOUR: Duration = Duration::from_secs(3_600);

/// A source that has nothing, each time it is asked.
fn nothing(
    origin: &Origin,
) -> impl Fn(larder::LoadContext<String>) -> origin::Answer + Clone + use<> {
    origin.load_as(|_| Ok(Loaded::missing()))
}

async fn is_missing(users: &Cache<String>, key: &str, origin: &Origin) -> bool {
    let fetch = users.fetch(key, nothing(origin)).missing_ttl(HOUR);
    fetch.await.unwrap().is_none()
}

async fn marks(larder: &Larder) -> usize {
    larder.stats().await.unwrap().memory.marks
}

#[tokio::test]
async fn what_a_source_does_not_have_is_not_asked_for_again_while_that_is_remembered() {
    for world in World::all() {
        let larder = world.start().await;
        let (users, origin) = (cache(&larder), Origin::open());
        assert!(is_missing(&users, "k", &origin).await);
        let again = users.fetch("k", nothing(&origin)).outcome().await.unwrap();
        assert!(again.entry.is_none() && again.was_known_missing);
        assert_eq!(origin.asked(), 1, "{}", world.name);
        assert_eq!(read(&users, "k").await, None);
        world.advance(HOUR);
        let later = users.fetch("k", nothing(&origin)).outcome().await.unwrap();
        assert!(!later.was_known_missing);
        assert_eq!(origin.asked(), 2);
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn without_a_time_of_its_own_nothing_is_remembered_and_a_loader_may_say_its_own() {
    let (larder, users) = larder().await;
    let origin = Origin::open();
    for _ in 0..2 {
        users.fetch("k", nothing(&origin)).await.unwrap();
    }
    assert_eq!((origin.asked(), marks(&larder).await), (2, 0));
    let for_long = origin.load_as(|_| Ok(Loaded::missing().ttl(HOUR)));
    let not_at_all = origin.load_as(|_| Ok(Loaded::missing().do_not_store()));
    for _ in 0..2 {
        users.fetch("long", for_long.clone()).await.unwrap();
        let fetch = users.fetch("never", not_at_all.clone());
        fetch.missing_ttl(HOUR).await.unwrap();
    }
    assert_eq!(origin.asked(), 2 + 1 + 2);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn whatever_happens_to_a_key_ends_that_it_is_known_to_be_missing() {
    for world in World::all() {
        let larder = world.start().await;
        let (users, origin) = (cache(&larder), Origin::open());
        for what in ["set", "remove", "clear", "tag", "set and remove"] {
            let tagged = origin.load_as(|_| Ok(Loaded::missing().tag("t")));
            let missing = users.fetch("k", tagged).missing_ttl(HOUR).await.unwrap();
            assert!(missing.is_none());
            match what {
                "set" => drop(users.set("k", text("set")).await.unwrap()),
                "remove" => drop(users.remove("k").await.unwrap()),
                "clear" => drop(users.clear().await.unwrap()),
                "tag" => drop(users.remove_tag("t").await.unwrap()),
                _ => {
                    users.set("k", text("set")).await.unwrap();
                    users.remove("k").await.unwrap();
                }
            }
            let asked = origin.asked();
            let after = users.fetch("k", nothing(&origin)).outcome().await.unwrap();
            match what {
                "set" => assert_eq!(after.entry.as_deref().map(String::as_str), Some("set")),
                _ => {
                    assert!(!after.was_known_missing, "{what}");
                    assert_eq!(origin.asked(), asked + 1, "{what}");
                }
            }
            users.remove("k").await.unwrap();
        }
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_change_while_the_source_says_that_it_has_nothing_is_what_counts() {
    let (larder, users) = larder().await;
    let origin = Origin::shut();
    let asked = tokio::spawn({
        let (users, origin) = (users.clone(), origin.clone());
        async move { is_missing(&users, "k", &origin).await }
    });
    origin.is_asked(1).await;
    users.set("k", text("new")).await.unwrap();
    users.remove("k").await.unwrap();
    origin.answer_one();
    assert!(asked.await.unwrap());
    origin.answer_one();
    assert!(is_missing(&users, "k", &origin).await);
    assert_eq!(
        origin.asked(),
        2,
        "the first one knew nothing of the change"
    );
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn an_older_value_that_the_source_does_not_have_any_more_is_removed_and_known_to_be_missing()
{
    for world in World::all() {
        let larder = world.start().await;
        let (users, origin) = (cache(&larder), Origin::open());
        let set = users.set("k", text("old")).ttl(secs(1));
        set.stale_for(HOUR).await.unwrap();
        world.advance(secs(2));
        assert!(is_missing(&users, "k", &origin).await);
        assert!(is_missing(&users, "k", &origin).await);
        assert_eq!(origin.asked(), 1, "{}", world.name);
        let stale = users.get("k").allow_stale().await.unwrap();
        assert!(stale.is_none());
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn past_the_bound_the_oldest_notes_are_forgotten_with_their_claims() {
    let world = World::memory();
    let mut limits = Limits::default();
    limits.load_notes_max = 2;
    let larder = world.builder().limits(limits).start().await.unwrap();
    let (users, origin) = (cache(&larder), Origin::open());
    for key in ["a", "b", "c"] {
        assert!(is_missing(&users, key, &origin).await);
    }
    assert_eq!(marks(&larder).await, 2);
    for key in ["c", "b", "a"] {
        assert!(is_missing(&users, key, &origin).await);
    }
    assert_eq!(origin.asked(), 3 + 1);
    larder.shutdown(SOON).await.unwrap();
}

/// A source that fails.
fn failing(
    origin: &Origin,
) -> impl Fn(larder::LoadContext<String>) -> origin::Answer + Clone + use<> {
    origin.load_as(|_| Err::<String, _>(LoadError::permanent("by order")))
}

#[tokio::test]
async fn what_is_shown_stale_is_not_loaded_again_right_after_a_failure() {
    let (world, larder, users) = expiring(HOUR).await;
    let origin = Origin::open();
    world.advance(secs(2));
    let ask = || users.fetch("k", failing(&origin)).stale_for(HOUR).outcome();
    let first = ask().await.unwrap();
    assert!(matches!(
        first.stale_because,
        Some(StaleBecause::Refreshing)
    ));
    until("the refresh has failed", async || {
        larder.stats().await.unwrap().fetch.failed == 1
    })
    .await;
    for _ in 0..3 {
        let shown = ask().await.unwrap();
        assert!(matches!(
            shown.stale_because,
            Some(StaleBecause::Failed(Error::Fetch(_)))
        ));
    }
    assert_eq!(origin.asked(), 1);
    world.advance(larder::fetch::THROTTLE);
    ask().await.unwrap();
    origin.is_asked(2).await;
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_fallback_is_shown_at_once_right_after_a_failure_for_as_long_as_the_call_or_the_source_says()
 {
    let (world, larder, users) = expiring(HOUR).await;
    let origin = Origin::open();
    world.advance(secs(2));
    let busy =
        origin.load_as(|_| Err::<String, _>(LoadError::business("429").retry_after(secs(20))));
    let ask = |seconds| {
        let fetch = users.fetch("k", busy.clone()).stale_if_error_for(HOUR);
        fetch.throttle(secs(seconds)).retry(Retry::never())
    };
    for (after, seconds, asked) in [
        (0, 5, 1),
        (19, 5, 1),
        (1, 30, 2),
        (29, 30, 2),
        (1, 0, 3),
        (0, 0, 4),
    ] {
        world.advance(secs(after));
        assert_eq!(shown(ask(seconds).await).unwrap(), found("old"));
        assert_eq!(origin.asked(), asked, "{after} {seconds}");
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_failure_is_no_answer_to_whom_nothing_can_be_shown() {
    let (larder, users) = larder().await;
    let origin = Origin::open();
    for nth in 1..3 {
        let fetch = users.fetch("k", failing(&origin)).stale_if_error_for(HOUR);
        assert!(matches!(fetch.await, Err(Error::Fetch(_))));
        assert_eq!(origin.asked(), nth);
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn whatever_happens_to_a_key_ends_that_its_load_is_known_to_have_failed() {
    let (world, larder, users) = expiring(HOUR).await;
    let origin = Origin::open();
    world.advance(secs(2));
    let ask = || {
        let fetch = users.fetch("k", failing(&origin)).stale_if_error_for(HOUR);
        fetch.throttle(HOUR).outcome()
    };
    for what in ["first", "set", "removed and set"] {
        if what != "first" {
            if what != "set" {
                users.remove("k").await.unwrap();
            }
            let set = users.set("k", text("old")).ttl(secs(1));
            set.stale_for(HOUR).await.unwrap();
            world.advance(secs(2));
        }
        let asked = origin.asked();
        assert!(ask().await.unwrap().stale_because.is_some());
        assert_eq!(origin.asked(), asked + 1, "{what}");
        assert!(ask().await.unwrap().stale_because.is_some());
        assert_eq!(origin.asked(), asked + 1, "{what}, and then it is known");
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_loader_may_say_that_what_is_missing_stays_missing() {
    let (world, larder, users) = expiring(HOUR).await;
    let origin = Origin::open();
    let for_ever = origin.load_as(|_| Ok(Loaded::missing().no_ttl()));
    users.fetch("never", for_ever.clone()).await.unwrap();
    world.advance(HOUR * 24 * 365);
    let later = users.fetch("never", for_ever).outcome().await.unwrap();
    assert!(later.was_known_missing);
    larder.shutdown(SOON).await.unwrap();
}
