//! What calls and caches can be told beside the essentials, and that it is done.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/sluice.rs"]
mod sluice;
#[path = "support/world.rs"]
mod world;

use std::future::IntoFuture;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use larder::cache::Page;
use larder::config::{CommitConfig, Limits};
use larder::drivers::map::MapStore;
use larder::{BreakerState, Cache, Durability, EntryEvent, Error, Freshness, Larder};
use sluice::Sluice;
use world::{NEVER_BACK, SOON, World, cache, flush, ms, read, secs, take_down, text};

fn keys(page: &Page<String>) -> Vec<&str> {
    page.entries.iter().map(|(key, _)| key.as_str()).collect()
}

async fn behind(sluice: &Sluice, store: &MapStore) -> Larder {
    let factory = sluice.factory(store.factory());
    let builder = Larder::builder().driver_factory("map", CommitConfig::default(), factory);
    builder.start().await.unwrap()
}

#[tokio::test]
async fn a_scan_goes_on_after_any_key_whether_it_is_there_or_not() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        for key in ["a", "k1", "k3", "k5", "z"] {
            users.set(key, text("1")).await.unwrap();
        }
        flush(&larder).await;
        for (after, expected) in [
            ("k1", vec!["k3", "k5"]),
            ("k2", vec!["k3", "k5"]),
            ("a", vec!["k1", "k3", "k5"]),
            ("k5", vec![]),
            ("l", vec![]),
        ] {
            let page = users.scan("k").after_key(after).await.unwrap();
            assert_eq!(keys(&page), expected, "after {after} in {}", world.name);
        }
        let first = users.scan("k").page_size(1).await.unwrap();
        let after = first.next.clone().unwrap();
        let by_cursor = users.scan("k").after(after).await.unwrap();
        let by_key = users.scan("k").after_key(keys(&first)[0]).await.unwrap();
        assert_eq!(keys(&by_cursor), keys(&by_key));
        let long = users.scan("k").after_key(&"x".repeat(2_000)).await;
        assert!(matches!(long, Err(Error::TooLarge { .. })), "{long:?}");
    }
}

#[tokio::test]
async fn a_scan_of_a_store_that_does_not_answer_ends_at_its_deadline() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    let larder = behind(&sluice, &store).await;
    let users = cache(&larder);
    sluice.arm_scan();
    let late = users.scan("").deadline(ms(5)).await;
    assert!(
        matches!(late, Err(Error::DeadlineExceeded { after }) if after == ms(5)),
        "{late:?}"
    );
    sluice.release_scan();
    assert!(users.scan("").deadline(SOON).await.is_ok());
}

#[tokio::test]
async fn what_is_kept_as_a_fallback_is_shown_to_calls_that_ask_and_to_no_other() {
    for world in World::all() {
        let larder = world.start().await;
        let open = || larder.cache_builder::<String>("users").ttl(secs(10));
        let users = open().stale_for(secs(60)).open().unwrap();
        users.set("k", text("old")).await.unwrap();
        users.set("now", text("1")).ttl(secs(30)).await.unwrap();
        let own = users.set("short", text("1")).stale_for(secs(1));
        own.await.unwrap();
        world.advance(secs(15));
        let names = ["k", "now", "short"];
        let plain = users.get_many(names).await.unwrap();
        let shown = plain.iter().map(|(_, entry)| entry.is_some());
        assert_eq!(shown.collect::<Vec<_>>(), [false, true, false]);
        let many = users.get_many(names).allow_stale().await.unwrap();
        let shown: Vec<_> = many
            .iter()
            .map(|(_, entry)| entry.as_ref().map(|e| e.freshness()))
            .collect();
        let (stale, fresh) = (Some(Freshness::Stale), Some(Freshness::Fresh));
        assert_eq!(shown, [stale, fresh, None], "{}", world.name);
        world.advance(secs(60));
        let gone = users.get_many(["k"]).allow_stale().await.unwrap();
        assert!(gone[0].1.is_none(), "no longer than was said");
    }
}

#[tokio::test]
async fn a_disk_commits_as_much_at_a_time_as_it_was_told() {
    for commit_count_max in [1, 100] {
        let world = World::disk();
        let mut commits = CommitConfig::default();
        commits.commit_count_max = commit_count_max;
        let larder = world.builder().disk_commits(commits).start().await.unwrap();
        let users = cache(&larder);
        let items = (0..50).map(|n| (n.to_string(), text("1")));
        let set = users.set_many(items).durability(Durability::Written);
        assert_eq!(set.await.unwrap().applied, 50);
        let told = &larder.stats().await.unwrap().drivers[0];
        assert_eq!(
            (told.breaker.state, told.writes),
            (BreakerState::Closed, 50)
        );
        assert_eq!(told.commits == 50, commit_count_max == 1, "{told:?}");
    }
}

#[tokio::test]
async fn past_the_most_caches_a_new_name_is_refused_and_the_known_ones_go_on() {
    let mut limits = Limits::default();
    limits.caches_max = 2;
    let larder = Larder::builder().limits(limits).start().await.unwrap();
    for name in ["a", "b", "a"] {
        let cache: Cache<String> = larder.cache(name).unwrap();
        cache.set("k", text(name)).await.unwrap();
    }
    let third = larder.cache::<String>("c");
    let Err(Error::Overloaded { limit, retry_after }) = third else {
        panic!("{third:?}");
    };
    assert_eq!(limit, "caches_max");
    assert!(retry_after > secs(3_600), "waiting is of no use");
    assert!(larder.cache_builder::<String>("c").open().is_err());
    let known: Cache<String> = larder.cache("b").unwrap();
    assert_eq!(read(&known, "k").await, Some(text("b")));
    assert_eq!(format!("{known:?}"), "Cache { name: \"b\", .. }");
}

#[tokio::test]
async fn an_entry_that_may_lie_in_a_driver_that_is_down_is_not_touched_by_guess() {
    let world = World::disk();
    let builder = world
        .builder()
        .restart_limit(0, NEVER_BACK, NEVER_BACK)
        .restart_backoff(NEVER_BACK, NEVER_BACK);
    let larder = builder.start().await.unwrap();
    let users = cache(&larder);
    users.set("known", text("1")).await.unwrap();
    take_down(&larder, "disk").await;
    for asked in [
        users.touch("below", secs(5)).await,
        users.expire("below").await,
    ] {
        assert!(
            matches!(asked, Err(Error::Unavailable { ref driver, .. }) if &**driver == "disk"),
            "{asked:?}"
        );
    }
    assert!(users.touch("known", secs(5)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_touch_that_is_outrun_by_a_set_touches_what_was_set() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    let larder = behind(&sluice, &store).await;
    cache(&larder).set("k", text("old")).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = behind(&sluice, &store).await;
    let users = cache(&larder);
    sluice.arm_get();
    let (touched, set) = tokio::join!(users.touch("k", secs(60)).into_future(), async {
        sluice.entered().await;
        let set = users.set("k", text("new")).await.unwrap();
        sluice.release_get();
        set
    });
    assert!(touched.unwrap().unwrap() > set);
    let found = users.get("k").await.unwrap().unwrap();
    assert_eq!(*found, "new");
    assert!(found.expires_in().unwrap() > secs(50));
}

#[tokio::test]
async fn a_flush_that_promises_nothing_waits_for_nothing() {
    let world = World::disk();
    let builder = world
        .builder()
        .restart_limit(0, NEVER_BACK, NEVER_BACK)
        .restart_backoff(NEVER_BACK, NEVER_BACK);
    let larder = builder.start().await.unwrap();
    take_down(&larder, "disk").await;
    cache(&larder).set("k", text("1")).await.unwrap();
    larder.flush(Durability::Queued).await.unwrap();
    let refused = larder.flush(Durability::Written).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn a_read_that_is_polled_after_its_answer_has_nothing_more_to_say() {
    let larder = Larder::builder().start().await.unwrap();
    let users = cache(&larder);
    users.set("k", text("1")).await.unwrap();
    let mut read = pin!(users.get("k").into_future());
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(
        read.as_mut().poll(&mut context),
        Poll::Ready(Ok(Some(_)))
    ));
    assert!(read.as_mut().poll(&mut context).is_pending());
}

#[tokio::test]
async fn a_set_whose_weigher_panicked_is_no_removal_when_it_is_polled_again() {
    let larder = Larder::builder().start().await.unwrap();
    let weigh = |text: &String| match text.as_str() {
        "heavy" => panic!("as it is meant to"),
        text => text.len(),
    };
    let builder = larder.cache_builder::<String>("weighed").weigher(weigh);
    let cache = builder.open().unwrap();
    cache.set("k", text("1")).await.unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut set = Box::pin(cache.set("k", text("heavy")).into_future());
    let poll = std::panic::AssertUnwindSafe(|| set.as_mut().poll(&mut context).is_ready());
    assert!(std::panic::catch_unwind(poll).is_err());
    assert!(set.as_mut().poll(&mut context).is_pending());
    assert_eq!(cache.get("k").await.unwrap().as_deref(), Some(&text("1")));
}

#[tokio::test]
async fn a_snapshot_of_more_than_a_page_shows_every_key_once_and_in_order() {
    for world in World::all() {
        let mut limits = Limits::default();
        limits.page_size_max = 2;
        let larder = world.builder().limits(limits).start().await.unwrap();
        let users = cache(&larder);
        let mut watch = users.watch_prefix("k").await.unwrap();
        for n in 0..300 {
            users.set(&format!("k{}", n % 7), text("1")).await.unwrap();
        }
        world::until("everything was offered", async || {
            let told = larder.stats().await.unwrap().watch;
            told.delivered + told.missed >= 300
        })
        .await;
        let mut shown = Vec::new();
        let mut has_lagged = false;
        while shown.len() < 7 {
            let event = watch.next();
            let event = tokio::time::timeout(SOON, event).await.unwrap().unwrap();
            match event {
                EntryEvent::Changed(_) => assert!(!has_lagged),
                EntryEvent::Lagged { missed } => {
                    assert_eq!(missed, 300 - 256);
                    has_lagged = true;
                }
                EntryEvent::Snapshot { key, entry } => {
                    assert!(has_lagged && entry.is_some());
                    shown.push(key);
                }
                failed => panic!("{failed:?}"),
            }
        }
        let expected: Vec<_> = (0..7).map(|n| format!("k{n}")).collect();
        assert_eq!(shown, expected, "{}", world.name);
    }
}
