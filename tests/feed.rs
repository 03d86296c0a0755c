//! Feeds: what a source pushes is applied in its order, and what may have been missed is not shown as fresh.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/origin.rs"]
mod origin;
#[path = "support/pushes.rs"]
mod pushes;
#[path = "support/sluice.rs"]
mod sluice;
#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream;
use larder::config::CommitConfig;
use larder::drivers::map::MapStore;
use larder::{
    Admission, Cache, EntryEvent, Error, ErrorClass, FeedChange, FeedEnd, FeedState, Larder,
    Limits, LoadError, Loaded, OnGap, Retry,
};
use origin::{Origin, fetch, found, shown};
use pushes::{Push, Pushes, connected, dealt_with, lost, quick, start};
use sluice::Sluice;
use world::{NEVER_BACK, World, cache, flush, ms, read, secs, text, until};

/// What is there as a fallback.
async fn fallback(users: &Cache<String>, key: &str) -> Option<String> {
    let entry = users.get(key).allow_stale().await.unwrap();
    entry.map(|entry| String::clone(&entry))
}

async fn gone(users: &Cache<String>, key: &str) {
    until("it is not fresh", async || read(users, key).await.is_none()).await;
}

#[tokio::test]
async fn changes_are_applied_in_the_order_of_the_source() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        let (_source, line, feed) = connected(&users).await;
        let mut changes = users.watch("k").await.unwrap();
        for n in 0..200 {
            line.set("k", &n.to_string()).await;
            if let EntryEvent::Changed(change) = changes.next().await.unwrap() {
                assert_eq!(
                    change.new.as_deref(),
                    Some(&n.to_string()),
                    "{}",
                    world.name
                );
            }
        }
        line.push(FeedChange::set("a", text("1")).tag("t")).await;
        line.push(FeedChange::remove_tag("t")).await;
        line.push(FeedChange::set("a", text("2")).tag("t")).await;
        line.set("b", "1").await;
        line.push(FeedChange::remove("b")).await;
        line.push(FeedChange::set("c", text("1")).ttl(secs(5)))
            .await;
        line.push(FeedChange::expire("k")).await;
        dealt_with(&feed, 207).await;
        let there = [read(&users, "a").await, read(&users, "b").await];
        assert_eq!(there, [found("2"), None], "{}", world.name);
        assert_eq!(read(&users, "k").await, None);
        assert_eq!(fallback(&users, "k").await, found("199"));
        assert_eq!(read(&users, "c").await, found("1"));
        world.advance(secs(5));
        assert_eq!(read(&users, "c").await, None);
        line.push(FeedChange::clear()).await;
        line.set("d", "1").await;
        dealt_with(&feed, 209).await;
        let there = [fallback(&users, "a").await, read(&users, "d").await];
        assert_eq!(there, [None, found("1")]);
        assert_eq!((feed.stats().applied, feed.stats().failed), (209, 0));
    }
}

#[tokio::test]
async fn a_gap_expires_what_was_there_and_keeps_it_as_a_fallback() {
    for world in World::all() {
        let mut limits = Limits::default();
        limits.page_size_max = 2;
        let larder = world.builder().limits(limits).start().await.unwrap();
        let users = cache(&larder);
        let (source, line, feed) = connected(&users).await;
        for n in 0..9 {
            line.set(&format!("k{n}"), "fed").await;
        }
        users.set("own", text("set")).await.unwrap();
        dealt_with(&feed, 9).await;
        let began_ms = world.clock.now_ms();
        drop(line);
        source.is_asked(2).await;
        let FeedState::Gap { since_ms, reason } = feed.state() else {
            panic!("{:?}", feed.state())
        };
        assert_eq!(
            (since_ms, reason.class()),
            (began_ms, ErrorClass::Transient)
        );
        for n in 0..9 {
            let key = format!("k{n}");
            assert_eq!(read(&users, &key).await, None, "{}", world.name);
            assert_eq!(fallback(&users, &key).await, found("fed"));
        }
        assert_eq!(read(&users, "own").await, None);
        let failing = Origin::open().load_as(|_| Err::<String, _>(LoadError::device("no")));
        let stale = users
            .fetch("own", failing)
            .stale_if_error_for(secs(9))
            .await;
        assert_eq!(shown(stale).unwrap(), found("set"));
    }
}

#[tokio::test]
async fn what_an_earlier_process_stored_is_from_before_a_gap() {
    for world in World::stored() {
        let larder = world.start().await;
        cache(&larder).set("k", text("old")).await.unwrap();
        let larder = world.restart(larder).await;
        let users = cache(&larder);
        assert_eq!(read(&users, "k").await, found("old"));
        let source = Pushes::new();
        let feed = start(&users, &source);
        assert!(matches!(feed.state(), FeedState::Connecting));
        gone(&users, "k").await;
        assert_eq!(fallback(&users, "k").await, found("old"), "{}", world.name);
        let _line = source.accept();
        feed.connected().await.unwrap();
        assert_eq!((feed.stats().gaps, feed.stats().reconnects), (0, 0));
    }
}

#[tokio::test]
async fn what_was_loaded_in_a_gap_expires_after_it_and_what_is_fed_after_it_stays() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        let (source, line, feed) = connected(&users).await;
        drop(line);
        source.is_asked(2).await;
        let loaded = users.fetch("loaded", Origin::open().load()).await;
        assert_eq!(shown(loaded).unwrap(), found("loaded 1"));
        assert_eq!(read(&users, "loaded").await, found("loaded 1"));
        // One that is under way as the connection comes back, of a key that is not there.
        let slow = Origin::shut();
        let under_way = fetch(&users, &slow);
        slow.is_asked(1).await;
        let line = source.accept();
        feed.connected().await.unwrap();
        assert_eq!(read(&users, "loaded").await, None, "{}", world.name);
        assert_eq!(fallback(&users, "loaded").await, found("loaded 1"));
        // Who asks from here on does not join it.
        let anew = fetch(&users, &slow);
        slow.is_asked(2).await;
        slow.answer_one();
        assert_eq!(under_way.await.unwrap().unwrap(), found("loaded 1"));
        assert_eq!(read(&users, "k").await, None, "{}", world.name);
        slow.answer_one();
        assert_eq!(anew.await.unwrap().unwrap(), found("loaded 2"));
        assert_eq!(read(&users, "k").await, found("loaded 2"));
        line.set("loaded", "fed").await;
        dealt_with(&feed, 1).await;
        assert_eq!(read(&users, "loaded").await, found("fed"));
        assert_eq!((feed.stats().gaps, feed.stats().reconnects), (1, 1));
    }
}

#[tokio::test]
async fn what_a_source_did_not_have_before_a_gap_is_asked_for_after_it() {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    let (source, line, feed) = connected(&users).await;
    let origin = Origin::open();
    let none = origin.load_as(|_| Ok(Loaded::<String>::missing()));
    for _ in 0..2 {
        let missing = users.fetch("k", none.clone()).missing_ttl(secs(60)).await;
        assert_eq!(shown(missing).unwrap(), None);
    }
    assert_eq!(origin.asked(), 1);
    drop(line);
    let _line = source.accept();
    until("it is connected again", async || {
        feed.stats().reconnects == 1
    })
    .await;
    let anew = users.fetch("k", origin.load()).missing_ttl(secs(60)).await;
    assert_eq!(shown(anew).unwrap(), found("loaded 2"));
}

#[tokio::test]
async fn an_entry_that_is_given_new_times_during_a_pass_expires_all_the_same() {
    let world = World::memory();
    let mut limits = Limits::default();
    limits.page_size_max = 1;
    let larder = world.builder().limits(limits).start().await.unwrap();
    let users = cache(&larder);
    for key in ["a", "b", "c", "z"] {
        users.set(key, text("old")).await.unwrap();
    }
    world.advance(secs(1));
    let source = Pushes::new();
    let _line = source.accept();
    let feed = start(&users, &source);
    // The pass gives way at each of its pages.
    let mut touched = 0;
    while users.touch("z", secs(60)).await.unwrap().is_some() {
        world.advance(ms(1));
        touched += 1;
        tokio::task::yield_now().await;
        assert!(touched < 1_000, "it is never expired");
    }
    assert!(touched > 1);
    feed.connected().await.unwrap();
    assert_eq!(fallback(&users, "z").await, found("old"));
}

#[tokio::test]
async fn what_a_host_sets_during_a_pass_stays() {
    let (world, sluice, map) = (World::memory(), Sluice::default(), MapStore::new());
    let factory = sluice.factory(map.factory());
    let builder = world
        .builder()
        .driver_factory("map", CommitConfig::default(), factory);
    let users = cache(&builder.start().await.unwrap());
    users.set("a", text("old")).await.unwrap();
    sluice.arm_scan();
    let source = Pushes::new();
    // Nobody is let in: there is this one pass.
    let feed = start(&users, &source);
    sluice.entered().await;
    world.advance(secs(1));
    users.set("a", text("new")).await.unwrap();
    users.set("b", text("new")).await.unwrap();
    sluice.release_scan();
    source.is_asked(1).await;
    assert_eq!(read(&users, "b").await, found("new"));
    assert_eq!(read(&users, "a").await, found("new"));
    drop(feed);
}

#[tokio::test]
async fn a_feed_connects_again_after_an_end_an_error_and_a_panic() {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    let (source, mut line, feed) = connected(&users).await;
    for (nth, ends) in [None, Some(Push::Error), Some(Push::Panic)]
        .into_iter()
        .enumerate()
    {
        line.set("k", "before").await;
        if let Some(push) = ends {
            line.send(push).await;
            line.is_dropped().await;
        }
        drop(line);
        lost(&feed).await;
        gone(&users, "k").await;
        source.panic();
        source.refuse();
        line = source.accept();
        feed.connected().await.unwrap();
        line.set("k", "after").await;
        dealt_with(&feed, 2 * (nth as u64 + 1)).await;
        assert_eq!(read(&users, "k").await, found("after"));
        let stats = feed.stats();
        assert_eq!(
            (stats.gaps, stats.reconnects),
            (nth as u64 + 1, nth as u64 + 1)
        );
        assert_eq!(source.asked(), 1 + 3 * (nth + 1));
    }
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_given_up_and_asked_again() {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    let source = Pushes::new();
    source.hang();
    let feed = users.feed(source.connect()).retry(quick());
    let feed = feed.connect_within(ms(5)).start().unwrap();
    source.is_asked(2).await;
    assert!(matches!(feed.state(), FeedState::Gap { .. }));
    let _line = source.accept();
    let connected = tokio::time::timeout(world::SOON, feed.connected());
    connected.await.unwrap().unwrap();
}

#[tokio::test]
async fn dropped_or_stopped_a_feed_ends_and_lets_go_of_its_stream() {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    let (_source, line, feed) = connected(&users).await;
    drop(feed);
    line.is_dropped().await;
    let (_source, line, feed) = connected(&users).await;
    line.set("k", "kept").await;
    dealt_with(&feed, 1).await;
    feed.stop().await;
    assert!(line.has_been_dropped());
    assert_eq!(read(&users, "k").await, found("kept"), "that is no gap");
}

#[tokio::test]
async fn what_cannot_be_stored_leaves_nothing_older() {
    for world in World::all() {
        let mut limits = Limits::default();
        limits.value_bytes_max = 100;
        let larder = world.builder().limits(limits).start().await.unwrap();
        let users = cache(&larder);
        let (_source, line, feed) = connected(&users).await;
        let bad = [
            FeedChange::set("0", "x".repeat(101)),
            FeedChange::set("1", text("new")).ttl(Duration::ZERO),
            FeedChange::set("2", text("new")).tag(""),
        ];
        for (nth, bad) in bad.into_iter().enumerate() {
            let key = nth.to_string();
            line.set(&key, "old").await;
            line.push(bad).await;
            dealt_with(&feed, 2 * (nth as u64 + 1)).await;
            assert_eq!(fallback(&users, &key).await, None, "{} {key}", world.name);
        }
        // There can be nothing older of these.
        line.set(&"k".repeat(2_000), "new").await;
        line.push(FeedChange::remove_tag("")).await;
        line.set("k", "new").await;
        dealt_with(&feed, 9).await;
        assert_eq!(read(&users, "k").await, found("new"));
        let stats = feed.stats();
        assert_eq!((stats.applied, stats.failed, stats.gaps), (4, 5, 0));
    }
}

#[tokio::test]
async fn what_there_is_no_room_for_leaves_nothing_older() {
    let (world, sluice, map) = (World::memory(), Sluice::default(), MapStore::new());
    let factory = sluice.factory(map.factory());
    let mut limits = Limits::default();
    (limits.dirty_bytes_max, limits.value_bytes_max) = (4_096, 2_000);
    let builder = world
        .builder()
        .limits(limits)
        .admission(Admission::FailFast);
    let builder = builder.driver_factory("map", CommitConfig::default(), factory);
    let larder = builder.start().await.unwrap();
    let users = cache(&larder);
    let (_source, line, feed) = connected(&users).await;
    line.set("k", "old").await;
    dealt_with(&feed, 1).await;
    flush(&larder).await;
    sluice.hold_commits();
    for n in 0..9 {
        line.set(&n.to_string(), &"x".repeat(1_900)).await;
    }
    line.set("k", &"y".repeat(1_900)).await;
    dealt_with(&feed, 11).await;
    let stats = feed.stats();
    assert!(stats.failed > 1 && stats.gaps == 0, "{stats:?}");
    let after = fallback(&users, "k").await;
    assert_ne!(after, found("old"));
    sluice.release_commits();
    assert_eq!(after, None);
    assert_eq!(fallback(&users, "k").await, None);
}

#[tokio::test]
async fn a_slow_store_holds_back_the_stream() {
    let (world, sluice, map) = (World::memory(), Sluice::default(), MapStore::new());
    let factory = sluice.factory(map.factory());
    let builder = world
        .builder()
        .driver_factory("map", CommitConfig::default(), factory);
    let users = cache(&builder.start().await.unwrap());
    let (_source, line, feed) = connected(&users).await;
    sluice.hold_commits();
    line.push(FeedChange::remove("k")).await;
    sluice.committing().await;
    line.set("a", "1").await;
    assert_eq!(feed.stats().applied, 0);
    assert_eq!(read(&users, "a").await, None);
    sluice.release_commits();
    dealt_with(&feed, 2).await;
    assert_eq!(read(&users, "a").await, found("1"));
}

#[tokio::test]
async fn with_a_driver_down_what_is_there_is_cleared_instead() {
    for (world, driver) in [(World::disk(), "disk"), (World::map(), "map")] {
        let larder = world
            .builder()
            .restart_limit(0, NEVER_BACK, NEVER_BACK)
            .restart_backoff(NEVER_BACK, NEVER_BACK);
        let larder = larder.start().await.unwrap();
        let users = cache(&larder);
        users.set("k", text("old")).await.unwrap();
        flush(&larder).await;
        world::take_down(&larder, driver).await;
        let (_source, line, feed) = connected(&users).await;
        assert_eq!(feed.stats().cleared, 2, "at the start and once connected");
        assert_eq!(fallback(&users, "k").await, None);
        line.set("fed", "new").await;
        dealt_with(&feed, 1).await;
        world::bring_back(&larder, driver).await;
        assert_eq!(fallback(&users, "k").await, None, "{}", world.name);
        assert_eq!(read(&users, "fed").await, found("new"));
    }
}

#[tokio::test]
async fn a_gap_does_what_was_asked_for() {
    for (on_gap, kept) in [(OnGap::Clear, None), (OnGap::Keep, found("old"))] {
        let larder = World::memory().start().await;
        let users = cache(&larder);
        users.set("k", text("old")).await.unwrap();
        let source = Pushes::new();
        let line = source.accept();
        let feed = users.feed(source.connect()).retry(quick()).on_gap(on_gap);
        let feed = feed.start().unwrap();
        feed.connected().await.unwrap();
        assert_eq!(fallback(&users, "k").await, kept);
        users.set("k", text("old")).await.unwrap();
        drop(line);
        source.is_asked(2).await;
        assert_eq!(read(&users, "k").await, kept, "{on_gap:?}");
        assert_eq!(feed.stats().cleared, 0);
    }
}

#[tokio::test]
async fn a_shutdown_ends_a_feed() {
    for is_connected in [true, false] {
        let larder = World::memory().start().await;
        let users = cache(&larder);
        let source = Pushes::new();
        let feed = start(&users, &source);
        let line = is_connected.then(|| source.accept());
        if is_connected {
            feed.connected().await.unwrap();
        }
        larder.shutdown(world::SOON).await.unwrap();
        let is_over = async || matches!(feed.state(), FeedState::Ended(FeedEnd::Closed));
        until("the feed has ended", is_over).await;
        assert!(matches!(feed.connected().await, Err(Error::Closed)));
        if let Some(line) = line {
            line.is_dropped().await;
        }
        let late = users.feed(source.connect()).start();
        assert!(matches!(late, Err(Error::Closed)));
    }
}

#[tokio::test]
async fn what_always_fails_is_tried_at_a_pace() {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    for (retry, least) in [
        (Retry::default().base(ms(60)).cap(ms(60)), ms(30)),
        (Retry::default().base(ms(0)).cap(ms(0)), ms(10)),
    ] {
        let source = Pushes::new();
        for _ in 0..2 {
            source.refuse();
            source.panic();
            // One that ends at once.
            drop(source.accept());
        }
        let _feed = users.feed(source.connect()).retry(retry).start().unwrap();
        source.is_asked(7).await;
        let times = source.times();
        let waits = times.windows(2).map(|pair| pair[1] - pair[0]);
        let shortest = waits.min().unwrap();
        assert!(shortest >= least, "{shortest:?} {least:?}");
    }
}

#[tokio::test]
async fn a_feed_gives_up_only_if_it_is_asked_to() {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    users.set("k", text("old")).await.unwrap();
    let source = Pushes::new();
    let line = source.accept();
    let feed = users.feed(source.connect()).retry(quick().attempts(1));
    let feed = feed.give_up_after(2).start().unwrap();
    line.set("k", "fed").await;
    dealt_with(&feed, 1).await;
    drop(line);
    source.refuse();
    let is_over = async || matches!(feed.state(), FeedState::Ended(FeedEnd::GaveUp(_)));
    until("it has given up", is_over).await;
    assert_eq!(source.asked(), 2);
    let Err(Error::Fetch(error)) = feed.connected().await else {
        panic!("{feed:?}")
    };
    assert_eq!(error.to_string(), "not today");
    assert_eq!(read(&users, "k").await, None, "it may be out of date");
}

#[tokio::test]
async fn a_load_that_a_pushed_expiry_overtakes_is_not_kept_even_if_nothing_was_there() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        let (_source, line, feed) = connected(&users).await;
        let origin = Origin::shut();
        for (nth, change) in [
            FeedChange::expire("k"),
            FeedChange::remove("k"),
            FeedChange::clear(),
            FeedChange::set("k", text("fed")),
        ]
        .into_iter()
        .enumerate()
        {
            let under_way = fetch(&users, &origin);
            origin.is_asked(nth + 1).await;
            line.push(change).await;
            dealt_with(&feed, nth as u64 + 1).await;
            origin.answer_one();
            assert!(under_way.await.unwrap().unwrap().is_some());
            let kept = (nth == 3).then(|| text("fed"));
            assert_eq!(read(&users, "k").await, kept, "{} {nth}", world.name);
        }
    }
}

#[tokio::test]
async fn a_source_that_always_has_something_leaves_others_their_turn() {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    let stops = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&stops);
    let feed = users.feed(move || {
        let end = Arc::clone(&end);
        let next = move |_| {
            let more = !end.load(Ordering::SeqCst);
            more.then(|| Ok::<_, LoadError>(FeedChange::set("k", text("fed"))))
        };
        let changes = stream::iter((0..).map_while(next));
        async move { Ok::<_, LoadError>(changes) }
    });
    let feed = feed.start().unwrap();
    dealt_with(&feed, 10_000).await;
    stops.store(true, Ordering::SeqCst);
}

#[test]
fn without_a_runtime_of_the_hosts_it_runs_on_a_thread_of_larders() {
    let larder = Larder::builder().start_blocking().unwrap();
    let users = cache(&larder);
    let source = Pushes::new();
    let line = source.accept();
    let feed = start(&users, &source);
    let all = async {
        feed.connected().await.unwrap();
        line.set("k", "fed").await;
        dealt_with(&feed, 1).await;
        assert_eq!(read(&users, "k").await, found("fed"));
        larder.shutdown(world::SOON).await.unwrap();
        let is_over = async || matches!(feed.state(), FeedState::Ended(FeedEnd::Closed));
        until("the feed has ended", is_over).await;
    };
    larder.block_on(all).unwrap();
}

#[tokio::test]
async fn terms_that_make_no_sense_are_refused() {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    let source = Pushes::new();
    let feed = || users.feed(source.connect());
    for (feed, field) in [
        (feed().give_up_after(0), "give_up_after"),
        (feed().connect_within(Duration::ZERO), "connect_within"),
        (feed().connect_within(secs(86_401)), "connect_within"),
        (feed().retry(Retry::default().attempts(0)), "retry"),
    ] {
        let refused = feed.start().unwrap_err();
        assert!(matches!(refused, Error::Invalid { field: f, .. } if f == field));
    }
    assert_eq!(source.asked(), 0);
}
