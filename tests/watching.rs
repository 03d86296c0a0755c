//! Watching through the handle: what a subscriber is told, in which order, and what it costs others.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::collections::HashMap;
use std::time::Duration;

use larder::clock::Clock;
use larder::watch::Watch;
use larder::{
    ActorState, Builder, Cache, Change, Durability, EntryEvent, EventKind, Larder, Old, Version,
};
use trial::{SOON, Trial, settle, until_actor};

const START_MS: u64 = 1_800_000_000_000;

fn over(trial: &Trial) -> Builder {
    let trial = trial.clone();
    Larder::builder().driver("store", move || trial.open())
}

async fn next(watch: &mut Watch<u64>) -> EntryEvent<u64> {
    let next = tokio::time::timeout(SOON, watch.next()).await;
    next.expect("an event in time").expect("it goes on")
}

async fn change(watch: &mut Watch<u64>) -> Change<u64> {
    match next(watch).await {
        EntryEvent::Changed(change) => change,
        other => panic!("{other:?}"),
    }
}

/// Returns once the hub has offered so many events to watchers.
async fn until_offered(larder: &Larder, events: u64) {
    let offered = || async {
        let watch = larder.stats().await.unwrap().watch;
        watch.delivered + watch.missed
    };
    while offered().await < events {
        tokio::task::yield_now().await;
    }
}

/// The kind of a change, its old and its new value.
fn told(change: &Change<u64>) -> (EventKind, Option<u64>, Option<u64>) {
    let old = change.old.known().map(|entry| **entry);
    (change.kind, old, change.new.as_deref().copied())
}

#[tokio::test]
async fn a_watcher_sees_each_change_with_its_old_and_new_value() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    cache.set("other", 0).await.unwrap();
    let mut watch = cache.watch("a").await.unwrap();
    let created = cache.set("a", 1).await.unwrap();
    cache.set("other", 1).await.unwrap();
    let updated = cache.set("a", 2).await.unwrap();
    let touched = cache.touch("a", Duration::from_secs(9)).await.unwrap();
    let removed = cache.remove("a").await.unwrap();
    let first = change(&mut watch).await;
    assert_eq!(first.key, "a");
    assert_eq!(told(&first), (EventKind::Created, None, Some(1)));
    assert!(matches!(first.old, Old::None));
    assert_eq!(first.version, created);
    let second = change(&mut watch).await;
    assert_eq!(told(&second), (EventKind::Updated, Some(1), Some(2)));
    assert_eq!(second.version, updated);
    assert_eq!(second.old.known().unwrap().version(), created);
    let third = change(&mut watch).await;
    assert_eq!(told(&third), (EventKind::Updated, Some(2), Some(2)));
    assert_eq!(Some(third.version), touched);
    let fourth = change(&mut watch).await;
    assert_eq!(told(&fourth), (EventKind::Removed, Some(2), None));
    assert_eq!(fourth.version, removed);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_value_that_only_a_store_knows_is_not_loaded_for_an_event() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    cache.set("a", 1).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut watch = cache.watch_all().await.unwrap();
    cache.set("a", 2).await.unwrap();
    cache.remove("b").await.unwrap();
    let first = change(&mut watch).await;
    assert!(matches!(first.old, Old::NotLoaded));
    assert_eq!(told(&first), (EventKind::Created, None, Some(2)));
    let second = change(&mut watch).await;
    assert!(matches!(second.old, Old::NotLoaded));
    assert_eq!(second.kind, EventKind::Removed);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_prefix_hears_of_its_keys_and_a_cache_of_all_of_its_own() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let other: Cache<u64> = larder.cache("other").unwrap();
    let mut prefix = cache.watch_prefix("ü/").await.unwrap();
    let mut all = cache.watch_all().await.unwrap();
    for (n, key) in ["ü", "ü/", "ü/1", "v", "u/1", "ü/2"].iter().enumerate() {
        other.set(key, 99).await.unwrap();
        cache.set(key, n as u64).await.unwrap();
    }
    // There is no order across keys.
    let mut heard = [0; 3];
    for value in &mut heard {
        *value = told(&change(&mut prefix).await).2.unwrap();
    }
    heard.sort_unstable();
    assert_eq!(heard, [1, 2, 5]);
    let mut heard = [0; 6];
    for value in &mut heard {
        *value = told(&change(&mut all).await).2.unwrap();
    }
    heard.sort_unstable();
    assert_eq!(heard, [0, 1, 2, 3, 4, 5]);
    assert_eq!((prefix.buffered(), all.buffered()), (0, 0));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn with_many_writers_each_keys_changes_come_in_the_order_of_their_versions() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut watch = cache.watch_all().await.unwrap();
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for n in 0..400u64 {
                    let key = (n % 3).to_string();
                    match n % 7 {
                        0 => cache.remove(&key).durability(Durability::Queued).await,
                        _ => cache.set(&key, writer * 1_000 + n).await,
                    }
                    .unwrap();
                    if n % 8 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    let end = tokio::spawn({
        let cache = cache.clone();
        async move {
            for writer in writers {
                writer.await.unwrap();
            }
            cache.set("end", 0).await.unwrap();
        }
    });
    let mut newest: HashMap<String, Version> = HashMap::new();
    let mut values: HashMap<String, Option<u64>> = HashMap::new();
    let mut changes = 0;
    loop {
        match next(&mut watch).await {
            EntryEvent::Changed(change) if change.key == "end" => break,
            EntryEvent::Changed(change) => {
                changes += 1;
                let before = newest.insert(change.key.clone(), change.version);
                assert!(before.is_none_or(|before| before < change.version));
                // Without a gap the old value is the new one of the change before.
                let known = values.insert(change.key.clone(), change.new.as_deref().copied());
                if let (Some(before), Old::Known(old)) = (known, &change.old) {
                    assert_eq!(before, Some(**old));
                }
            }
            EntryEvent::Snapshot { key, .. } if key == "end" => break,
            EntryEvent::Snapshot { key, entry } => {
                values.clear();
                if let Some(entry) = entry {
                    let before = newest.insert(key, entry.version());
                    assert!(before.is_none_or(|before| before <= entry.version()));
                }
            }
            _ => values.clear(),
        }
    }
    assert!(changes > 0);
    end.await.unwrap();
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_stalled_watcher_costs_a_bounded_buffer_and_is_shown_what_is_there_when_it_wakes() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut stalled = cache.watch_prefix("k").await.unwrap();
    let mut awake = cache.watch("k999").await.unwrap();
    for n in 0..1_000u64 {
        cache.set(&format!("k{:03}", n % 50), n).await.unwrap();
        assert!(stalled.buffered() <= 256);
    }
    cache.remove("k049").await.unwrap();
    cache.set("k999", 1).await.unwrap();
    assert_eq!(told(&change(&mut awake).await).2, Some(1));
    until_offered(&larder, 1_003).await;
    let mut buffered = 0;
    let missed = loop {
        match next(&mut stalled).await {
            EntryEvent::Changed(_) => buffered += 1,
            EntryEvent::Lagged { missed } => break missed,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(buffered, 256);
    assert_eq!(missed, 1_002 - 256);
    let mut shown = Vec::new();
    for _ in 0..50 {
        match next(&mut stalled).await {
            EntryEvent::Snapshot {
                key,
                entry: Some(entry),
            } => shown.push((key, *entry)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(shown[0], ("k000".to_owned(), 950));
    assert_eq!(shown[48], ("k048".to_owned(), 998));
    assert_eq!(shown[49], ("k999".to_owned(), 1));
    cache.set("k001", 7).await.unwrap();
    assert_eq!(
        told(&change(&mut stalled).await),
        (EventKind::Updated, Some(951), Some(7))
    );
    assert_eq!(larder.stats().await.unwrap().watch.missed, missed);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn the_snapshot_of_a_watched_key_says_that_nothing_is_there() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut watch = cache.watch("a").await.unwrap();
    for n in 0..300 {
        cache.set("a", n).await.unwrap();
    }
    cache.remove("a").await.unwrap();
    until_offered(&larder, 301).await;
    let mut after_gap = None;
    while after_gap.is_none() {
        if let EntryEvent::Lagged { missed } = next(&mut watch).await {
            assert_eq!(missed, 301 - 256);
            after_gap = Some(next(&mut watch).await);
        }
    }
    let Some(EntryEvent::Snapshot { key, entry: None }) = after_gap else {
        panic!("{after_gap:?}");
    };
    assert_eq!(key, "a");
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn dropping_a_watch_ends_its_subscription() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let streams = (
        cache.watch("a").await.unwrap(),
        cache.watch_prefix("a").await.unwrap(),
        cache.watch_all().await.unwrap(),
        cache.watch_latest("a").await.unwrap(),
    );
    assert_eq!(larder.stats().await.unwrap().watch.subscriptions, 4);
    drop(streams);
    settle(&larder).await;
    assert_eq!(larder.stats().await.unwrap().watch.subscriptions, 0);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn beyond_the_most_subscriptions_one_is_refused_until_another_ends() {
    let mut limits = larder::Limits::default();
    limits.subscriptions_max = 2;
    let larder = Larder::builder().limits(limits).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let first = cache.watch("a").await.unwrap();
    let _second = cache.watch("b").await.unwrap();
    let refused = cache.watch("c").await.unwrap_err();
    assert!(matches!(
        refused,
        larder::Error::Overloaded {
            limit: "subscriptions_max",
            ..
        }
    ));
    drop(first);
    let _third = cache.watch("c").await.unwrap();
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn an_entry_that_lies_on_disk_only_is_announced_when_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START_MS);
    let start = || {
        let builder = Larder::builder().disk(dir.path());
        builder.clock(clock.clone()).start()
    };
    let larder = start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let minute = Duration::from_secs(60);
    let version = cache.set("a", 1).ttl(minute).await.unwrap();
    let prefixed = cache.set("p/1", 1).ttl(minute).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut watch = cache.watch("a").await.unwrap();
    let mut prefix = cache.watch_prefix("p/").await.unwrap();
    settle(&larder).await;
    assert_eq!(watch.buffered(), 0);
    // A timer fires less than 16 ms late.
    clock.advance(minute + Duration::from_millis(16));
    let expired = change(&mut watch).await;
    assert_eq!(
        (expired.kind, expired.version),
        (EventKind::Expired, version)
    );
    assert!(matches!(expired.old, Old::NotLoaded) && expired.new.is_none());
    // The disk says so when it reclaims the record, which it does again only after a pause.
    for _ in 0..600 {
        if prefix.buffered() > 0 {
            break;
        }
        clock.advance(Duration::from_millis(100));
        // Not faster than drivers answer: by this clock a call that lasts seconds hangs.
        settle(&larder).await;
    }
    let expired = change(&mut prefix).await;
    assert_eq!(
        (expired.kind, expired.version),
        (EventKind::Expired, prefixed)
    );
    // Once, however many look.
    clock.advance(minute);
    settle(&larder).await;
    assert_eq!((watch.buffered(), prefix.buffered()), (0, 0));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_watcher_hears_of_expiry_in_memory_eviction_and_clearing() {
    let clock = Clock::manual(START_MS);
    let larder = Larder::builder()
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut watch = cache.watch_all().await.unwrap();
    cache.set("a", 1).ttl(Duration::from_secs(1)).await.unwrap();
    assert_eq!(told(&change(&mut watch).await).0, EventKind::Created);
    // A timer fires less than 16 ms late.
    clock.advance(Duration::from_millis(1_016));
    assert_eq!(
        told(&change(&mut watch).await),
        (EventKind::Expired, Some(1), None)
    );
    let clear = cache.clear().await.unwrap();
    let cleared = change(&mut watch).await;
    assert_eq!((cleared.kind, cleared.version), (EventKind::Cleared, clear));
    assert_eq!(cleared.key, "");
    cache.remove_tag("t").await.unwrap();
    let cleared = change(&mut watch).await;
    assert_eq!(
        (cleared.kind, cleared.key.as_str()),
        (EventKind::Cleared, "t")
    );
    let heavy = larder
        .cache_builder::<u64>("heavy")
        .weigher(|_| 100_000)
        .open()
        .unwrap();
    let mut watch = heavy.watch_all().await.unwrap();
    for n in 0..100u64 {
        heavy.set(&n.to_string(), n).await.unwrap();
        assert_eq!(change(&mut watch).await.kind, EventKind::Created);
    }
    larder.resize_memory(1 << 20).await.unwrap();
    let evicted = change(&mut watch).await;
    assert_eq!(evicted.kind, EventKind::Evicted);
    assert_eq!(evicted.old.known().unwrap().to_string(), evicted.key);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn an_update_that_changes_nothing_can_be_left_unsaid() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let cache = larder
        .cache_builder::<u64>("numbers")
        .suppress_unchanged()
        .open()
        .unwrap();
    let mut watch = cache.watch("a").await.unwrap();
    let first = cache.set("a", 1).await.unwrap();
    let same = cache
        .set("a", 1)
        .durability(Durability::Written)
        .await
        .unwrap();
    assert!(same > first);
    cache.set("a", 2).await.unwrap();
    assert_eq!(
        told(&change(&mut watch).await),
        (EventKind::Created, None, Some(1))
    );
    assert_eq!(
        told(&change(&mut watch).await),
        (EventKind::Updated, Some(1), Some(2))
    );
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn the_latest_is_all_that_a_slow_watcher_of_one_key_is_told() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut latest = cache.watch_latest("a").await.unwrap();
    for n in 0..2_000 {
        cache.set("a", n).await.unwrap();
    }
    until_offered(&larder, 2_000).await;
    let change = latest.changed().await.unwrap();
    assert_eq!(
        told(&change),
        (EventKind::Updated, Some(1_998), Some(1_999))
    );
    cache.remove("a").await.unwrap();
    let change = latest.changed().await.unwrap();
    assert_eq!(told(&change).0, EventKind::Removed);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_restart_of_the_hub_keeps_subscriptions_and_says_that_they_lag() {
    let clock = Clock::manual(START_MS);
    let larder = Larder::builder()
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut watch = cache.watch("a").await.unwrap();
    let mut latest = cache.watch_latest("a").await.unwrap();
    larder.stop_actor("hub");
    until_actor(&larder, "hub", ActorState::Down).await;
    cache.set("a", 1).await.unwrap();
    clock.advance(Duration::from_secs(60));
    until_actor(&larder, "hub", ActorState::Up).await;
    assert!(matches!(
        next(&mut watch).await,
        EntryEvent::Lagged { missed: 0 }
    ));
    let EntryEvent::Snapshot {
        entry: Some(entry), ..
    } = next(&mut watch).await
    else {
        panic!("no snapshot");
    };
    assert_eq!(*entry, 1);
    assert_eq!(latest.changed().await.unwrap().new.as_deref(), Some(&1));
    cache.set("a", 2).await.unwrap();
    assert_eq!(
        told(&change(&mut watch).await),
        (EventKind::Updated, Some(1), Some(2))
    );
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_tells_what_has_happened_and_then_ends_every_watch() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let mut watch = cache.watch_all().await.unwrap();
    let mut latest = cache.watch_latest("a").await.unwrap();
    let waiting = tokio::spawn({
        let mut idle = cache.watch("nothing").await.unwrap();
        async move { idle.next().await.is_none() }
    });
    for n in 0..100 {
        cache.set("a", n).await.unwrap();
    }
    larder.shutdown(SOON).await.unwrap();
    for n in 0..100 {
        assert_eq!(told(&change(&mut watch).await).2, Some(n));
    }
    let end = tokio::time::timeout(SOON, watch.next()).await;
    assert!(end.expect("an end in time").is_none());
    assert_eq!(latest.changed().await.unwrap().new.as_deref(), Some(&99));
    assert!(latest.changed().await.is_none());
    assert!(waiting.await.unwrap());
    assert!(matches!(cache.watch("a").await, Err(larder::Error::Closed)));
}
