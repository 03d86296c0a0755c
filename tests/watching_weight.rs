//! Watching large values: what waits is bounded in bytes as well, for the hub and for each subscriber.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::Duration;

use larder::config::{WATCH_BUFFER_BYTES, WATCH_BUFFER_EVENTS};
use larder::watch::Watch;
use larder::{Cache, EntryEvent, Larder, Limits};
use peak_alloc::PeakAlloc;
use tokio::sync::{Mutex, MutexGuard};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// One test at a time: what is allocated is the whole process's.
static TURN: Mutex<()> = Mutex::const_new(());

const SOON: Duration = Duration::from_secs(60);
const VALUE_BYTES: usize = 1_000_000;

async fn start(limits: Limits) -> (Larder, Cache<String>, MutexGuard<'static, ()>) {
    let turn = TURN.lock().await;
    let builder = Larder::builder().memory_bytes(2 << 20).limits(limits);
    let larder = builder.start().await.unwrap();
    let cache = larder.cache("large").unwrap();
    (larder, cache, turn)
}

async fn next(watch: &mut Watch<String>) -> EntryEvent<String> {
    let next = tokio::time::timeout(SOON, watch.next()).await;
    next.expect("an event in time").expect("it goes on")
}

/// Returns once the hub has offered so many events.
async fn until_offered(larder: &Larder, events: u64) {
    let offered = || async {
        let watch = larder.stats().await.unwrap().watch;
        watch.delivered + watch.missed
    };
    let all = async {
        while offered().await < events {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, all)
        .await
        .expect("it is offered");
}

fn value(n: usize) -> String {
    let number = n.to_string();
    "0".repeat(VALUE_BYTES - number.len()) + &number
}

#[tokio::test]
async fn large_values_for_a_stalled_watcher_stay_within_the_bound_and_it_is_told_that_it_lags() {
    let mut limits = Limits::default();
    limits.distrusted_keys_max = 1;
    let before = ALLOCATED.current_usage();
    let (larder, cache, _turn) = start(limits).await;
    let mut stalled = cache.watch("k").await.unwrap();
    let config = larder.stats().await.unwrap().config;
    let bound = config.memory_bound(&[], 1, 1);
    let bound_bytes = usize::try_from(bound.storing_bytes() + bound.events_bytes).unwrap();
    // A bound that allowed everything would show nothing.
    assert!(2 * bound_bytes < WATCH_BUFFER_EVENTS * VALUE_BYTES);
    ALLOCATED.reset_peak_usage();
    for n in 0..WATCH_BUFFER_EVENTS {
        cache.set("k", value(n)).await.unwrap();
        until_offered(&larder, n as u64 + 1).await;
    }
    let peak = ALLOCATED.peak_usage() - before;
    assert!(peak <= bound_bytes, "{} KiB in use", peak >> 10);
    // One for the first, which replaces nothing, and two for each other.
    let buffered = (WATCH_BUFFER_BYTES / VALUE_BYTES).div_ceil(2);
    assert_eq!(stalled.buffered(), buffered);
    for n in 0..buffered {
        let event = next(&mut stalled).await;
        assert!(matches!(event, EntryEvent::Changed(c) if c.new.as_deref() == Some(&value(n))));
    }
    let missed = (WATCH_BUFFER_EVENTS - buffered) as u64;
    let event = next(&mut stalled).await;
    assert!(matches!(event, EntryEvent::Lagged { missed: m } if m == missed));
    let event = next(&mut stalled).await;
    let last = value(WATCH_BUFFER_EVENTS - 1);
    assert!(matches!(event, EntryEvent::Snapshot { entry: Some(e), .. } if *e == last));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn an_event_heavier_than_all_that_may_wait_is_missed_and_the_watcher_shown_what_is_there() {
    let mut limits = Limits::default();
    limits.events_waiting_bytes_max = VALUE_BYTES;
    let (larder, cache, _turn) = start(limits).await;
    let mut watch = cache.watch("k").await.unwrap();
    for round in 0..2 {
        // Set, then removed: an event with a heavy value after it, one with a heavy value before it.
        cache.set("k", value(round)).await.unwrap();
        let shown = lagged_and_shown(&mut watch).await;
        assert_eq!(shown, Some(value(round)));
        cache.remove("k").await.unwrap();
        assert_eq!(lagged_and_shown(&mut watch).await, None);
        // What is not too heavy is heard of as ever.
        cache.set("k", "small".to_owned()).await.unwrap();
        let event = next(&mut watch).await;
        assert!(
            matches!(&event, EntryEvent::Changed(c) if c.new.as_deref().is_some_and(|v| v == "small")),
            "{event:?}"
        );
        cache.remove("k").await.unwrap();
        let event = next(&mut watch).await;
        assert!(matches!(&event, EntryEvent::Changed(_)), "{event:?}");
    }
    larder.shutdown(SOON).await.unwrap();
}

/// What the snapshot of a key shows, which must come next, after a lag of unknown length.
async fn lagged_and_shown(watch: &mut Watch<String>) -> Option<String> {
    let event = next(watch).await;
    assert!(
        matches!(event, EntryEvent::Lagged { missed: 0 }),
        "{event:?}"
    );
    match next(watch).await {
        EntryEvent::Snapshot { entry, .. } => entry.map(|entry| (*entry).clone()),
        other => panic!("{other:?}"),
    }
}
