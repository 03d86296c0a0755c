//! Fetch: one load for all who ask, kept where it may be, tried again where that may help.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/gated.rs"]
mod gated;
#[path = "support/origin.rs"]
mod origin;
#[path = "support/world.rs"]
mod world;

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use larder::cache::Stored;
use larder::config::{CommitConfig, Limits};
use larder::{Error, ErrorClass, Freshness, Larder, LoadError, Retry, Source};
use origin::{Answer, Origin, fetch, found, larder};
use world::{NEVER_BACK, SOON, World, cache, flush, ms, read, secs, take_down, text, until};

#[tokio::test]
async fn a_thousand_callers_of_one_missing_key_cost_one_load() {
    let (larder, users) = larder().await;
    let origin = Origin::shut();
    let callers: Vec<_> = (0..1_000).map(|_| fetch(&users, &origin)).collect();
    until("all wait", async || {
        larder.stats().await.unwrap().fetch.coalesced == 999
    })
    .await;
    origin.answer_one();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), found("loaded 1"));
    }
    let fetched = larder.stats().await.unwrap().fetch;
    assert_eq!(
        (origin.asked(), fetched.loads, fetched.in_flight),
        (1, 1, 0)
    );
}

#[tokio::test]
async fn what_was_loaded_is_kept_and_says_where_it_comes_from() {
    let (_larder, users) = larder().await;
    let origin = Origin::open();
    let outcome = users
        .fetch("k", origin.load())
        .ttl(secs(60))
        .tag("t")
        .outcome()
        .await
        .unwrap();
    assert_eq!(outcome.source, Some(Source::Fetch));
    assert_eq!((outcome.attempts, outcome.waiters), (1, 1));
    assert!(matches!(outcome.stored, Some(Stored::Yes)));
    let loaded = outcome.entry.unwrap();
    let kept = users.get("k").await.unwrap().unwrap();
    assert_eq!((&*kept, kept.version()), (&*loaded, loaded.version()));
    assert_eq!(kept.expires_in(), Some(secs(60)));
    let again = users.fetch("k", origin.load()).outcome().await.unwrap();
    assert_eq!((again.source, again.waiters), (Some(Source::Memory), 0));
    assert_eq!(again.attempts, 0);
    assert!(users.fetch("k", origin.load()).await.unwrap().is_some());
    users.remove_tag("t").await.unwrap();
    assert_eq!(read(&users, "k").await, None);
    assert_eq!(origin.asked(), 1);
}

#[tokio::test]
async fn a_first_caller_who_leaves_does_not_strand_the_others_and_the_last_one_cancels() {
    let (larder, users) = larder().await;
    let origin = Origin::shut();
    let first = fetch(&users, &origin);
    origin.is_asked(1).await;
    let second = fetch(&users, &origin);
    until("both wait", async || {
        larder.stats().await.unwrap().fetch.coalesced == 1
    })
    .await;
    first.abort();
    origin.answer_one();
    assert_eq!(second.await.unwrap().unwrap(), found("loaded 1"));

    users.remove("k").await.unwrap();
    let last = fetch(&users, &origin);
    origin.is_asked(2).await;
    last.abort();
    until("it is cancelled", async || {
        larder.stats().await.unwrap().fetch.in_flight == 0
    })
    .await;
    // Its permit was not taken: the loader's future is gone.
    origin.answer_one();
    let third = fetch(&users, &origin);
    assert_eq!(third.await.unwrap().unwrap(), found("loaded 3"));
    until("no mark is left", async || {
        larder.stats().await.unwrap().memory.marks == 0
    })
    .await;
}

#[tokio::test]
async fn a_load_that_is_kept_warm_goes_on_without_anybody() {
    let (_larder, users) = larder().await;
    let origin = Origin::shut();
    let (other, load) = (users.clone(), origin.load());
    let caller = tokio::spawn(async move { other.fetch("k", load).keep_warm().await });
    origin.is_asked(1).await;
    caller.abort();
    assert!(caller.await.is_err());
    origin.answer_one();
    until("it is kept", async || {
        read(&users, "k").await == found("loaded 1")
    })
    .await;
}

#[tokio::test]
async fn what_is_changed_during_a_load_wins_and_its_callers_get_what_was_loaded() {
    for change in ["set", "remove", "clear", "remove_tag", "expire"] {
        let (larder, users) = larder().await;
        let origin = Origin::shut();
        let (other, load) = (users.clone(), origin.load());
        let caller =
            tokio::spawn(async move { other.fetch("k", load).tag("t").outcome().await.unwrap() });
        origin.is_asked(1).await;
        match change {
            "set" => drop(users.set("k", text("set")).await.unwrap()),
            "remove" => drop(users.remove("k").await.unwrap()),
            "clear" => drop(users.clear().await.unwrap()),
            "expire" => {
                users.set("k", text("set")).await.unwrap();
                users.expire("k").await.unwrap();
            }
            _ => drop(users.remove_tag("t").await.unwrap()),
        }
        // Who asks now does not wait for what was begun before.
        let later = fetch(&users, &origin);
        if change != "set" && change != "remove_tag" {
            origin.is_asked(2).await;
        }
        origin.answer_one();
        let outcome = caller.await.unwrap();
        assert_eq!(**outcome.entry.as_ref().unwrap(), "loaded 1", "{change}");
        assert!(
            matches!(outcome.stored, Some(Stored::Fenced)),
            "{change}: {outcome:?}"
        );
        if change == "set" {
            assert_eq!(later.await.unwrap().unwrap(), found("set"));
            continue;
        }
        assert_eq!(read(&users, "k").await, None, "{change}");
        origin.answer_one();
        let later = later.await.unwrap().unwrap();
        assert_eq!(later, found("loaded 2"), "{change}");
        assert_eq!(read(&users, "k").await, found("loaded 2"), "{change}");
        let stats = larder.stats().await.unwrap();
        assert_eq!((stats.fetch.fenced, stats.fetch.in_flight), (1, 0));
        assert_eq!(stats.memory.marks, 0);
    }
}

#[tokio::test]
async fn what_lies_below_memory_is_found_without_a_load() {
    for world in World::stored() {
        let larder = world.start().await;
        cache(&larder).set("k", text("stored")).await.unwrap();
        let larder = world.restart(larder).await;
        let users = cache(&larder);
        let origin = Origin::open();
        let outcome = users.fetch("k", origin.load()).outcome().await.unwrap();
        assert_eq!(**outcome.entry.as_ref().unwrap(), "stored");
        assert_ne!(outcome.source, Some(Source::Fetch));
        assert_eq!((outcome.attempts, origin.asked()), (0, 0));
        users.fetch("other", origin.load()).await.unwrap();
        let larder = world.restart(larder).await;
        assert_eq!(read(&cache(&larder), "other").await, found("loaded 1"));
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn transient_errors_are_tried_again_and_others_are_not() {
    let (larder, users) = larder().await;
    let retry = Retry::default().base(ms(1)).cap(ms(1));
    let failing = |class, times: usize| {
        let origin = Origin::open();
        let asked = Arc::clone(&origin.asked);
        let load = origin.load_as(move |value| match asked.load(Ordering::SeqCst) > times {
            true => Ok(value),
            false => Err(LoadError::new(class, "not now")),
        });
        (origin, load)
    };
    let (origin, load) = failing(ErrorClass::Transient, 2);
    let outcome = users.fetch("a", load).retry(retry.clone()).outcome().await;
    assert_eq!(outcome.unwrap().attempts, 3);
    assert_eq!(origin.asked(), 3);

    let (origin, load) = failing(ErrorClass::Transient, 9);
    let error = users
        .fetch("b", load)
        .retry(retry.clone())
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Fetch(error) if error.to_string() == "not now"));
    assert_eq!((error.class(), origin.asked()), (ErrorClass::Transient, 4));

    let (origin, load) = failing(ErrorClass::Business, 9);
    let error = users
        .fetch("c", load)
        .retry(retry.clone())
        .await
        .unwrap_err();
    assert_eq!((error.class(), origin.asked()), (ErrorClass::Business, 1));

    let (origin, load) = failing(ErrorClass::Transient, 9);
    let fetch = users.fetch("d", load).retry(retry);
    let error = fetch
        .classify(|_| Some(ErrorClass::Permanent))
        .await
        .unwrap_err();
    assert_eq!((error.class(), origin.asked()), (ErrorClass::Permanent, 1));
    let fetched = larder.stats().await.unwrap().fetch;
    assert_eq!((fetched.loads, fetched.failed, fetched.attempts), (4, 3, 9));
}

#[tokio::test]
async fn no_attempt_is_made_that_nobody_has_time_for() {
    let (_larder, users) = larder().await;
    let origin = Origin::open();
    let load = origin.load_as(|_| -> Result<String, _> {
        Err(LoadError::transient("429").retry_after(secs(600)))
    });
    let error = users.fetch("k", load).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(secs(600)));
    assert_eq!(origin.asked(), 1);
}

#[tokio::test]
async fn all_who_wait_share_the_loaders_error() {
    let (larder, users) = larder().await;
    let origin = Origin::shut();
    let load = origin.load_as(|_| -> Result<String, _> { Err(LoadError::business("no")) });
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (users, load) = (users.clone(), load.clone());
            tokio::spawn(async move { users.fetch("k", load).await.unwrap_err() })
        })
        .collect();
    until("all wait", async || {
        larder.stats().await.unwrap().fetch.coalesced == 2
    })
    .await;
    origin.answer_one();
    let mut shared = Vec::new();
    for caller in callers {
        let Error::Fetch(error) = caller.await.unwrap() else {
            panic!("another error")
        };
        shared.push(error);
    }
    assert!(shared.iter().all(|error| Arc::ptr_eq(error, &shared[0])));
    // And it is not remembered.
    let again = fetch(&users, &Origin::open()).await.unwrap().unwrap();
    assert_eq!(again, found("loaded 1"));
}

#[tokio::test]
async fn each_caller_waits_as_long_as_it_said_and_the_load_as_long_as_the_last() {
    let (_larder, users) = larder().await;
    let origin = Origin::shut();
    let patient = fetch(&users, &origin);
    origin.is_asked(1).await;
    let hasty = users.fetch("k", origin.load()).deadline(ms(5)).await;
    assert!(matches!(hasty, Err(Error::DeadlineExceeded { after }) if after == ms(5)));
    origin.answer_one();
    assert_eq!(patient.await.unwrap().unwrap(), found("loaded 1"));
    assert_eq!(origin.asked(), 1);
}

#[tokio::test]
async fn a_fetch_that_is_dropped_before_its_load_has_run_leaves_nothing() {
    let (larder, users) = larder().await;
    let origin = Origin::open();
    for _ in 0..3 {
        let mut fetch = std::pin::pin!(users.fetch("k", origin.load()).into_future());
        std::future::poll_fn(|cx| {
            assert!(fetch.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }
    until("nothing is left", async || {
        let stats = larder.stats().await.unwrap();
        (stats.fetch.in_flight, stats.memory.marks) == (0, 0)
    })
    .await;
}

#[tokio::test]
async fn without_room_to_store_it_what_was_loaded_is_shown() {
    let gate = gated::Gated::default();
    let mut limits = Limits::default();
    (limits.dirty_bytes_max, limits.value_bytes_max) = (4_096, 4_000);
    let builder = Larder::builder().limits(limits);
    let builder = builder.driver_factory("map", CommitConfig::default(), gate.factory());
    let larder = builder.start().await.unwrap();
    let users = cache(&larder);
    let older = users.set("k", text("old")).ttl(ms(1)).stale_for(secs(60));
    older.await.unwrap();
    flush(&larder).await;
    until("it has expired", async || read(&users, "k").await.is_none()).await;
    gate.shut_commits();
    users.set("full", "x".repeat(3_700)).await.unwrap();
    let outcome = users.fetch("k", Origin::open().load()).outcome().await;
    let outcome = outcome.unwrap();
    assert_eq!(**outcome.entry.unwrap(), *"loaded 1");
    let refused = outcome.stored.unwrap();
    assert!(
        matches!(refused, Stored::Refused(Error::Overloaded { .. })),
        "{refused:?}"
    );
    // And what is older is shown to nobody afterwards, in memory or below.
    let older = users.get("k").allow_stale().await.unwrap();
    assert!(older.is_none());
    gate.open();
}

#[tokio::test]
async fn a_driver_that_is_down_is_no_reason_not_to_ask_the_source() {
    let world = World::map();
    let builder = world
        .builder()
        .restart_limit(0, NEVER_BACK, NEVER_BACK)
        .restart_backoff(NEVER_BACK, NEVER_BACK);
    let larder = builder.start().await.unwrap();
    let users = cache(&larder);
    take_down(&larder, "map").await;
    let outcome = users.fetch("k", Origin::open().load()).outcome().await;
    let outcome = outcome.unwrap();
    assert!(matches!(outcome.stored, Some(Stored::Yes)), "{outcome:?}");
    assert_eq!(read(&users, "k").await, found("loaded 1"));
}

#[tokio::test]
async fn a_value_that_panics_when_it_is_weighed_is_an_error_for_its_callers() {
    let (larder, _users) = larder().await;
    let builder = larder.cache_builder::<String>("heavy");
    let heavy = builder.weigher(|_| panic!("by order")).open().unwrap();
    let fetch = heavy.fetch("k", Origin::open().load());
    let error = fetch.await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Bug);
    let stats = larder.stats().await.unwrap();
    assert_eq!((stats.fetch.in_flight, stats.memory.marks), (0, 0));
}

#[tokio::test]
async fn a_disabled_larder_loads_and_keeps_nothing() {
    let larder = Larder::builder().disabled().start().await.unwrap();
    let users = cache(&larder);
    let origin = Origin::open();
    for nth in 1..=2 {
        let outcome = users.fetch("k", origin.load()).outcome().await.unwrap();
        assert_eq!(**outcome.entry.unwrap(), format!("loaded {nth}"));
        assert!(matches!(outcome.stored, Some(Stored::No)));
    }
}

#[tokio::test]
async fn a_loader_that_panics_is_an_error_for_its_callers_and_nothing_else() {
    let (larder, users) = larder().await;
    let at_once = |_| -> Answer { panic!("by order") };
    let later = |_| async { panic!("by order") };
    let first = users.fetch("k", at_once).await.unwrap_err();
    let load = move |cx| -> Answer { Box::pin(later(cx)) };
    let second = users.fetch("k", load).await.unwrap_err();
    for error in [first, second] {
        assert_eq!(error.class(), ErrorClass::Bug);
        assert!(error.to_string().contains("panicked"), "{error}");
    }
    let stats = larder.stats().await.unwrap();
    assert_eq!((stats.fetch.in_flight, stats.memory.marks), (0, 0));
    assert!(fetch(&users, &Origin::open()).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_loader_that_fetches_its_own_key_is_told_so() {
    let (_larder, users) = larder().await;
    let (outer, inner) = (users.clone(), users.clone());
    // By way of another key.
    let load = move |_| {
        let (outer, inner) = (outer.clone(), inner.clone());
        async move {
            let load = move |_| {
                let inner = inner.clone();
                async move {
                    let load = |_| async { Ok::<_, LoadError>(text("never")) };
                    let found = inner.fetch("a", load).await?;
                    Ok::<_, LoadError>(found.map(|found| String::clone(&found)))
                }
            };
            let found = outer.fetch("b", load).await?;
            Ok::<_, LoadError>(found.map(|found| String::clone(&found)))
        }
    };
    let error = users.fetch("a", load).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Bug);
    assert!(
        error.to_string().contains("fetches the key itself"),
        "{error}"
    );
}

#[tokio::test]
async fn a_value_that_is_too_large_reaches_its_callers_and_is_not_kept() {
    let mut limits = Limits::default();
    limits.value_bytes_max = 1_000;
    let larder = World::memory().builder().limits(limits);
    let larder = larder.start().await.unwrap();
    let users = cache(&larder);
    let load = |_| async { Ok::<_, LoadError>("x".repeat(2_000)) };
    let outcome = users.fetch("k", load).outcome().await.unwrap();
    assert_eq!(outcome.entry.unwrap().len(), 2_000);
    let refused = outcome.stored.unwrap();
    assert!(matches!(refused, Stored::Refused(Error::TooLarge { .. })));
    assert_eq!(larder.stats().await.unwrap().fetch.not_stored, 1);
}

#[tokio::test]
async fn more_loads_than_there_may_be_are_refused() {
    let mut limits = Limits::default();
    limits.loads_in_flight_max = 1;
    let larder = World::memory().builder().limits(limits);
    let larder = larder.start().await.unwrap();
    let users = cache(&larder);
    let origin = Origin::shut();
    let first = fetch(&users, &origin);
    origin.is_asked(1).await;
    let second = users.fetch("other", origin.load()).await.unwrap_err();
    assert!(matches!(second, Error::Overloaded { limit, .. } if limit == "loads_in_flight_max"));
    origin.answer_one();
    first.await.unwrap().unwrap();
    assert!(users.fetch("other", Origin::open().load()).await.is_ok());
}

#[tokio::test]
async fn terms_that_make_no_sense_are_refused_before_anything_is_asked() {
    let (_larder, users) = larder().await;
    let origin = Origin::open();
    let fetch = || users.fetch("k", origin.load());
    let refused = [
        fetch().soft_timeout(ms(5)).await,
        fetch().retry(Retry::default().attempts(0)).await,
        fetch().refresh_ahead(2.0).await,
        fetch().deadline(Duration::MAX).await,
        fetch().ttl(ms(0)).await,
        fetch().tag("").await,
        users.fetch("", origin.load()).await,
    ];
    for error in refused {
        assert!(matches!(error, Err(Error::Invalid { .. })), "{error:?}");
    }
    assert_eq!(origin.asked(), 0);
}

#[test]
fn without_a_runtime_a_load_goes_on_after_its_call() {
    let larder = Larder::builder().start_blocking().unwrap();
    let users = cache(&larder);
    let origin = Origin::open();
    let found_first = larder.block_on(async { users.fetch("k", origin.load()).await });
    assert!(found_first.unwrap().unwrap().is_some());
    larder
        .block_on(async {
            users
                .set("k", text("old"))
                .ttl(ms(1))
                .stale_for(secs(60))
                .await
                .unwrap();
            until("it has expired", async || read(&users, "k").await.is_none()).await;
        })
        .unwrap();
    let stale = larder.block_on(async {
        let fetch = users.fetch("k", origin.load()).stale_for(secs(60));
        fetch.outcome().await.unwrap()
    });
    assert_eq!(stale.unwrap().freshness, Some(Freshness::Stale));
    larder
        .block_on(async {
            until("it is new", async || {
                read(&users, "k").await == found("loaded 2")
            })
            .await;
            larder.shutdown(SOON).await.unwrap();
        })
        .unwrap();
}

#[tokio::test]
async fn when_the_runtime_of_a_load_ends_those_who_wait_hear_it() {
    let (larder, users) = larder().await;
    let host = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let origin = Origin::shut();
    let (other, load) = (users.clone(), origin.load());
    let first = host.spawn(async move { other.fetch("k", load).await });
    origin.is_asked(1).await;
    let waiting = fetch(&users, &origin);
    until("it waits", async || {
        larder.stats().await.unwrap().fetch.coalesced == 1
    })
    .await;
    host.shutdown_background();
    assert!(first.await.is_err());
    assert!(matches!(waiting.await.unwrap(), Err(Error::Closed)));
    assert!(fetch(&users, &Origin::open()).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_shutdown_answers_those_who_wait_for_a_load() {
    let (larder, users) = larder().await;
    let origin = Origin::shut();
    let waiting = fetch(&users, &origin);
    origin.is_asked(1).await;
    larder.shutdown(SOON).await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(Error::Closed)));
    let after = users.fetch("k", origin.load()).await;
    assert!(matches!(after, Err(Error::Closed)));
}
