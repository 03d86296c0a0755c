//! The inbox: what waits, what is refused, and what its subscriber is told.

use super::*;
use crate::shelf::EventKind::Updated;
use crate::watch::fixture::event;

/// What can be taken without waiting: `n` for an event, `-n` for a lag.
fn received(inbox: &mut Inbox) -> Vec<i64> {
    let mut cx = Context::from_waker(Waker::noop());
    let next = || match inbox.poll(&mut cx) {
        Poll::Ready(Some(Received::Event(event))) => Some(event.version.millis() as i64),
        Poll::Ready(Some(Received::Lagged(missed))) => Some(-(missed as i64)),
        Poll::Ready(None) | Poll::Pending => None,
    };
    std::iter::from_fn(next).collect()
}

fn offer(sink: &mut InboxSink, numbers: std::ops::RangeInclusive<u64>) -> Vec<Offer> {
    numbers
        .map(|n| sink.offer(&event("k", Updated, n)))
        .collect()
}

#[test]
fn a_full_inbox_refuses_until_its_subscriber_knows_how_many_it_missed() {
    let (mut sink, mut inbox) = queue_inbox(2, usize::MAX);
    assert!(inbox.is_empty());
    use Offer::{Full, Taken};
    assert_eq!(offer(&mut sink, 1..=4), [Taken, Taken, Full, Full]);
    assert_eq!(inbox.len(), 2);
    assert_eq!(sink.lagged(2), Taken);
    assert_eq!(received(&mut inbox), [1, 2, -2]);
    assert_eq!(offer(&mut sink, 5..=5), [Taken]);
    assert_eq!(received(&mut inbox), [5]);
}

#[test]
fn an_inbox_with_too_many_bytes_refuses_as_a_full_one_does() {
    let one = event("k", Updated, 1).bytes();
    let (mut sink, mut inbox) = queue_inbox(100, 3 * one);
    use Offer::{Full, Taken};
    assert_eq!(offer(&mut sink, 1..=5), [Taken, Taken, Taken, Full, Full]);
    assert_eq!(sink.lagged(2), Taken);
    assert_eq!(received(&mut inbox), [1, 2, 3, -2]);
    // What was taken out has given its bytes back.
    assert_eq!(offer(&mut sink, 6..=8), [Taken, Taken, Taken]);
    assert_eq!(received(&mut inbox), [6, 7, 8]);
}

#[test]
fn an_event_heavier_than_the_whole_inbox_is_seen_by_a_subscriber_that_keeps_up() {
    let (mut sink, mut inbox) = queue_inbox(100, 1);
    for n in 1..=3 {
        assert_eq!(offer(&mut sink, n..=n), [Offer::Taken]);
        assert_eq!(received(&mut inbox), [n as i64]);
    }
    assert_eq!(offer(&mut sink, 4..=5), [Offer::Taken, Offer::Full]);
    assert_eq!(received(&mut inbox), [4, -1]);
    assert_eq!(offer(&mut sink, 6..=6), [Offer::Taken]);
    assert_eq!(received(&mut inbox), [6]);
}

#[test]
fn a_lag_is_told_once_however_late_the_registry_speaks_of_it() {
    let (mut sink, mut inbox) = queue_inbox(1, usize::MAX);
    offer(&mut sink, 1..=3);
    assert_eq!(received(&mut inbox), [1, -2]);
    assert_eq!(sink.lagged(2), Offer::Taken);
    assert!(received(&mut inbox).is_empty());
    assert_eq!(sink.lagged(7), Offer::Taken);
    offer(&mut sink, 4..=4);
    assert_eq!(received(&mut inbox), [-8]);
}

#[test]
fn an_unknown_number_stays_unknown() {
    let (mut sink, mut inbox) = queue_inbox(1, usize::MAX);
    offer(&mut sink, 1..=2);
    sink.lagged(0);
    offer(&mut sink, 3..=3);
    assert_eq!(received(&mut inbox), [1, 0]);
}

#[test]
fn the_latest_inbox_holds_the_newest_event_which_stands_for_those_missed() {
    let (mut sink, mut inbox) = latest_inbox();
    offer(&mut sink, 1..=1_000);
    assert_eq!(inbox.len(), 1);
    assert_eq!(received(&mut inbox), [1_000]);
    sink.lagged(0);
    assert_eq!(received(&mut inbox), [0]);
    sink.lagged(0);
    offer(&mut sink, 1_001..=1_001);
    assert_eq!(received(&mut inbox), [1_001]);
}

#[test]
fn a_fence_of_a_tag_replaces_no_event_of_the_key() {
    let (mut sink, mut inbox) = latest_inbox();
    offer(&mut sink, 1..=1);
    assert_eq!(
        sink.offer(&event("tag", EventKind::Cleared, 2)),
        Offer::Taken
    );
    assert_eq!(received(&mut inbox), [1, 0]);
    assert_eq!(sink.offer(&event("", EventKind::Cleared, 3)), Offer::Taken);
    assert_eq!(received(&mut inbox), [3]);
}

#[test]
fn either_end_learns_that_the_other_is_gone() {
    let (mut sink, inbox) = queue_inbox(1, usize::MAX);
    assert!(!sink.is_gone());
    drop(inbox);
    assert!(sink.is_gone());
    assert_eq!(offer(&mut sink, 1..=1), [Offer::Gone]);
    assert_eq!(sink.lagged(0), Offer::Gone);

    let (mut sink, mut inbox) = queue_inbox(1, usize::MAX);
    offer(&mut sink, 1..=1);
    drop(sink);
    assert_eq!(received(&mut inbox), [1]);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(inbox.poll(&mut cx), Poll::Ready(None)));
}
