//! Futures dropped at every poll: the change has happened wholly or not at all, and nothing is left.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/gated.rs"]
mod gated;
#[path = "support/world.rs"]
mod world;

use std::future::{Future, IntoFuture};
use std::task::{Context, Poll, Waker};

use gated::Gated;
use larder::config::{CommitConfig, Limits};
use larder::{Cache, Durability, Error, Larder};
use world::{SOON, World, cache, flush, ms, read, secs, text, until};

/// Polls `future` up to `count` times, as often as it is woken or not, and drops it. `true` if it was
/// ready.
fn polled(future: impl IntoFuture, count: usize) -> bool {
    let mut future = Box::pin(future.into_future());
    let mut context = Context::from_waker(Waker::noop());
    (0..count).any(|_| {
        let ready = matches!(future.as_mut().poll(&mut context), Poll::Ready(_));
        std::thread::yield_now();
        ready
    })
}

async fn marks(larder: &Larder) -> usize {
    larder.stats().await.unwrap().memory.marks
}

/// Drops what `call` makes after each number of polls until it gets ready, on a fresh key each time,
/// with the key below only. What is read afterwards is `old` or `new`.
async fn drop_at_each_poll<F: IntoFuture>(
    call: impl Fn(&'static Cache<String>, &'static str) -> F,
    old: Option<&str>,
    new: Option<&str>,
) {
    for world in [World::map(), World::both()] {
        let larder = world.start().await;
        for n in 0..40 {
            if let Some(old) = old {
                cache(&larder)
                    .set(&format!("k{n}"), text(old))
                    .await
                    .unwrap();
            }
        }
        let larder = world.restart(larder).await;
        // A future that borrows what lives as long as the test process.
        let users: &'static Cache<String> = Box::leak(Box::new(cache(&larder)));
        for n in 0..40 {
            let key: &'static str = Box::leak(format!("k{n}").into_boxed_str());
            let done = polled(call(users, key), n % 8);
            let found = read(users, key).await;
            let (is_old, is_new) = (found.as_deref() == old, found.as_deref() == new);
            assert!(
                is_new || (is_old && !done),
                "{found:?} after {} polls",
                n % 8
            );
            assert_eq!(marks(&larder).await, 0, "{} polls, {}", n % 8, world.name);
            flush(&larder).await;
            assert_eq!(read(users, key).await, found, "it stays what it was");
        }
        larder.shutdown(SOON).await.unwrap();
        let larder = world.start().await;
        assert_eq!(marks(&larder).await, 0);
    }
}

#[tokio::test]
async fn a_dropped_set_has_happened_or_not() {
    drop_at_each_poll(
        |users, key| users.set(key, text("new")),
        Some("old"),
        Some("new"),
    )
    .await;
    let written = |users: &'static Cache<String>, key| {
        users.set(key, text("new")).durability(Durability::Written)
    };
    drop_at_each_poll(written, Some("old"), Some("new")).await;
}

#[tokio::test]
async fn a_dropped_conditional_set_has_happened_or_not() {
    let absent = |users: &'static Cache<String>, key| users.set(key, text("new")).if_absent();
    drop_at_each_poll(absent, None, Some("new")).await;
    let present = |users: &'static Cache<String>, key| users.set(key, text("new")).if_present();
    drop_at_each_poll(present, Some("old"), Some("new")).await;
}

#[tokio::test]
async fn a_dropped_removal_has_happened_or_not() {
    drop_at_each_poll(|users, key| users.remove(key), Some("old"), None).await;
}

#[tokio::test]
async fn a_dropped_update_has_happened_or_not() {
    let update = |users: &'static Cache<String>, key| users.update(key, |_| text("new"));
    drop_at_each_poll(update, Some("old"), Some("new")).await;
}

#[tokio::test]
async fn a_dropped_change_of_times_has_happened_or_not() {
    let touch = |users: &'static Cache<String>, key| users.touch(key, secs(60));
    drop_at_each_poll(touch, Some("old"), Some("old")).await;
    drop_at_each_poll(|users, key| users.expire(key), Some("old"), None).await;
}

#[tokio::test]
async fn a_dropped_read_leaves_nothing() {
    drop_at_each_poll(|users, key| users.get(key), Some("old"), Some("old")).await;
    drop_at_each_poll(|users, key| users.get_many([key]), Some("old"), Some("old")).await;
}

/// A larder over a driver that waits at a gate.
async fn behind(gate: &Gated, dirty_bytes_max: usize) -> Larder {
    let mut limits = Limits::default();
    (limits.dirty_bytes_max, limits.value_bytes_max) = (dirty_bytes_max, 1_024);
    let builder = Larder::builder().limits(limits);
    let builder = builder.driver_factory("map", CommitConfig::default(), gate.factory());
    builder.start().await.unwrap()
}

#[tokio::test]
async fn a_read_that_is_dropped_while_its_driver_is_at_work_leaves_no_mark() {
    let gate = Gated::default();
    let larder = behind(&gate, 1 << 20).await;
    let users = cache(&larder);
    gate.shut_reads();
    assert!(!polled(users.get("k"), 1));
    until("the read is under way", async || gate.waiting() == 1).await;
    let (mut get, mut set) = (
        Box::pin(users.get("k").into_future()),
        Box::pin(users.set("k", text("1")).if_absent().into_future()),
    );
    let mut context = Context::from_waker(Waker::noop());
    assert!(get.as_mut().poll(&mut context).is_pending());
    assert!(set.as_mut().poll(&mut context).is_pending());
    assert_eq!(larder_marks(&larder), 1, "they share it");
    drop(get);
    assert_eq!(larder_marks(&larder), 1);
    drop(set);
    assert_eq!(larder_marks(&larder), 0);
    gate.open();
    assert_eq!(read(&users, "k").await, None);
}

/// As `marks`, but without asking the driver that stands at the gate.
fn larder_marks(larder: &Larder) -> usize {
    let stats = futures_util::future::FutureExt::now_or_never(larder.stats());
    match stats {
        Some(stats) => stats.unwrap().memory.marks,
        None => std::thread::scope(|scope| {
            let stats = scope.spawn(|| larder.block_on(larder.stats()));
            stats.join().unwrap().unwrap().unwrap().memory.marks
        }),
    }
}

#[tokio::test]
async fn a_set_that_is_dropped_while_it_waits_for_room_has_not_happened() {
    let gate = Gated::default();
    let larder = behind(&gate, 2_048).await;
    let users = cache(&larder);
    gate.shut_commits();
    let mut n = 0;
    while users
        .set(&format!("fill{n}"), "x".repeat(500))
        .deadline(ms(0))
        .await
        .is_ok()
    {
        n += 1;
    }
    assert!(!polled(users.set("k", "x".repeat(500)), 3));
    assert_eq!(read(&users, "k").await, None);
    gate.open();
    flush(&larder).await;
    assert_eq!(read(&users, "k").await, None);
    users.set("k", "x".repeat(500)).await.unwrap();
    flush(&larder).await;
    assert_eq!(
        larder.stats().await.unwrap().dirty.bytes,
        0,
        "all room was given back"
    );
}

#[tokio::test]
async fn a_set_that_is_dropped_while_it_waits_to_be_written_is_stored_all_the_same() {
    let gate = Gated::default();
    let larder = behind(&gate, 1 << 20).await;
    let users = cache(&larder);
    gate.shut_commits();
    assert!(!polled(
        users.set("k", text("1")).durability(Durability::Written),
        3
    ));
    assert!(!polled(users.clear(), 3), "a clear waits to be written too");
    assert_eq!(read(&users, "k").await, None);
    assert!(!polled(
        users.set("k", text("2")).durability(Durability::Synced),
        3
    ));
    gate.open();
    flush(&larder).await;
    larder.shutdown(SOON).await.unwrap();
    let larder = behind(&gate, 1 << 20).await;
    assert_eq!(read(&cache(&larder), "k").await, Some(text("2")));
}

#[tokio::test]
async fn a_deadline_ends_the_wait_and_says_so() {
    let gate = Gated::default();
    let larder = behind(&gate, 1 << 20).await;
    let users = cache(&larder);
    gate.shut_reads();
    gate.shut_commits();
    let late = users.get("k").deadline(ms(1)).outcome().await.unwrap();
    assert!(late.entry.is_none());
    assert_eq!(late.degraded[0].reason, larder::DegradedReason::Late);
    let unsure = users.set("k", text("1")).if_absent().deadline(ms(1)).await;
    assert!(
        matches!(unsure, Err(Error::Unavailable { .. })),
        "{unsure:?}"
    );
    let set = users.set("k", text("1")).durability(Durability::Written);
    let set = set.deadline(ms(1)).await;
    assert!(matches!(set, Err(Error::DeadlineExceeded { after }) if after == ms(1)));
    assert_eq!(
        read(&users, "k").await,
        Some(text("1")),
        "it stands in memory"
    );
    let removed = users.remove("k").deadline(ms(1)).outcome().await.unwrap();
    assert_eq!(removed.durability, Durability::Queued);
    assert_eq!(removed.degraded[0].reason, larder::DegradedReason::Late);
    gate.open();
    flush(&larder).await;
    assert_eq!(larder_marks(&larder), 0);
}
