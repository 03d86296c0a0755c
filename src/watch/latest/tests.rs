//! What a watcher of the latest value sees, and when it is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use super::*;
use crate::error::Error;
use crate::messages::hub::{Offer, Sink};
use crate::shelf::EventKind::{Cleared, Expired, Updated};
use crate::shelf::{OldSlot, RawEvent};
use crate::watch::fixture::{event, form, page, script};
use crate::watch::{InboxSink, latest_inbox};

fn watch(answers: Vec<Result<SnapshotPage<u64>, Error>>) -> (InboxSink, WatchLatest<u64>) {
    let (sink, inbox) = latest_inbox();
    let (source, _) = script(answers);
    (
        sink,
        WatchLatest::new(inbox, form(), source, Box::new(|| ())),
    )
}

/// What the stream yields without waiting: kind, version, value.
fn yielded(watch: &mut WatchLatest<u64>) -> Vec<(EventKind, u64, Option<u64>)> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut told = Vec::new();
    while let Poll::Ready(Some(change)) = Pin::new(&mut *watch).poll_next(&mut cx) {
        let value = change.new.map(|entry| *entry);
        told.push((change.kind, change.version.millis(), value));
    }
    told
}

#[test]
fn a_slow_subscriber_gets_the_newest_change_only() {
    let (mut sink, mut watch) = watch(vec![]);
    for n in 1..=1_000 {
        assert_eq!(sink.offer(&event("k", Updated, n)), Offer::Taken);
    }
    assert_eq!(yielded(&mut watch), [(Updated, 1_000, None)]);
}

#[test]
fn after_lost_events_the_key_is_read_and_told_if_it_may_be_news() {
    let there = || Ok(page(5, &[("k", Some(4))], None));
    let absent = || Ok(page(7, &[("k", None)], None));
    let (mut sink, mut watch) = watch(vec![there(), there(), absent(), absent()]);
    let mut told = Vec::new();
    for _ in 0..4 {
        sink.lagged(0);
        told.extend(yielded(&mut watch));
    }
    let expected = [(Updated, 4, Some(4)), (EventKind::Removed, 7, None)];
    assert_eq!(told, expected);
    // The snapshot has overtaken what was still under way.
    sink.offer(&event("k", Updated, 7));
    assert!(yielded(&mut watch).is_empty());
    sink.offer(&event("k", Updated, 8));
    assert_eq!(yielded(&mut watch), [(Updated, 8, None)]);
}

#[test]
fn a_fence_of_a_tag_that_the_entry_does_not_carry_is_no_change_of_it() {
    let (mut sink, mut watch) = watch(vec![Ok(page(6, &[("k", Some(4))], None))]);
    let slot = {
        let shelf = crate::watch::fixture::shelf(8);
        crate::watch::fixture::put(&shelf, "k", 4, 4);
        let scope = shelf.scope("cache");
        let hash = shelf.hash(scope.id, "k");
        match shelf.read(&scope, hash, "k", || 4, false, |slot, _| slot.to_slot()) {
            crate::shelf::Seen::Hit(slot) => slot,
            _ => panic!("it was put"),
        }
    };
    sink.offer(&RawEvent {
        new: Some(slot),
        old: OldSlot::None,
        ..event("k", Updated, 4)
    });
    sink.offer(&event("tag", Cleared, 5));
    assert_eq!(yielded(&mut watch), [(Updated, 4, Some(4))]);
    sink.offer(&event("k", Expired, 4));
    assert_eq!(yielded(&mut watch), [(Expired, 4, None)]);
}

#[test]
fn a_read_that_fails_leaves_the_next_change_to_tell() {
    let (mut sink, mut watch) = watch(vec![Err(Error::Closed), Ok(page(1, &[], None))]);
    for n in [2, 3] {
        sink.lagged(0);
        assert!(yielded(&mut watch).is_empty());
        sink.offer(&event("k", Updated, n));
        assert_eq!(yielded(&mut watch), [(Updated, n, None)]);
    }
}

#[tokio::test]
async fn a_read_that_takes_its_time_is_waited_for() {
    let (mut sink, inbox) = latest_inbox();
    let source: SnapshotFn<u64> = Arc::new(|_| {
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(page(5, &[("k", Some(4))], None))
        })
    });
    let mut watch = WatchLatest::new(inbox, form(), source, Box::new(|| ()));
    sink.lagged(0);
    let change = watch.changed().await.unwrap();
    assert_eq!((change.kind, change.key.as_str()), (Updated, "k"));
}

#[tokio::test]
async fn it_ends_with_its_sink_and_dropping_it_unsubscribes() {
    let (sink, inbox) = latest_inbox();
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let on_drop = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let (source, _) = script(vec![]);
    let mut watch = WatchLatest::<u64>::new(inbox, form(), source, on_drop);
    assert_eq!(format!("{watch:?}"), "WatchLatest { .. }");
    drop(sink);
    assert!(watch.changed().await.is_none());
    drop(watch);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}
