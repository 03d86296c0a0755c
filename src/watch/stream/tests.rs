//! What a stream yields: changes, lags, snapshots and what they overtake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use super::*;
use crate::error::Error;
use crate::messages::hub::{Offer, Sink};
use crate::shelf::EventKind::{self, Removed, Updated};
use crate::watch::fixture::{Asked, event, form, page, script};
use crate::watch::{InboxSink, queue_inbox};

fn watch(events_max: usize, answers: Vec<Result<SnapshotPage<u64>, Error>>) -> Ends {
    let (sink, inbox) = queue_inbox(events_max, usize::MAX);
    let (source, asked) = script(answers);
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let on_drop = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let watch = Watch::new(inbox, form(), source, on_drop);
    Ends {
        sink,
        watch,
        asked,
        dropped,
    }
}

struct Ends {
    sink: InboxSink,
    watch: Watch<u64>,
    asked: Asked,
    dropped: Arc<AtomicUsize>,
}

impl Ends {
    fn offer(&mut self, name: &str, kind: EventKind, n: u64) -> Offer {
        self.sink.offer(&event(name, kind, n))
    }

    /// What the stream yields without waiting, in words.
    fn yielded(&mut self) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut told = Vec::new();
        while let Poll::Ready(event) = Pin::new(&mut self.watch).poll_next(&mut cx) {
            told.push(match event {
                Some(EntryEvent::Changed(c)) => {
                    format!("{:?} {} {}", c.kind, c.key, c.version.millis())
                }
                Some(EntryEvent::Lagged { missed }) => format!("lagged {missed}"),
                Some(EntryEvent::Snapshot { key, entry }) => {
                    format!("snapshot {key} {:?}", entry.map(|entry| *entry))
                }
                Some(EntryEvent::SnapshotFailed(_)) => "failed".to_owned(),
                None => {
                    told.push("end".to_owned());
                    return told;
                }
            });
        }
        told
    }
}

#[test]
fn a_slow_subscriber_gets_what_was_buffered_then_the_gap_then_what_is_there() {
    let mut ends = watch(2, vec![Ok(page(4, &[("k", Some(4))], None))]);
    for n in 1..=4 {
        ends.offer("k", Updated, n);
        assert!(ends.watch.buffered() <= 2);
    }
    let expected = [
        "Updated k 1",
        "Updated k 2",
        "lagged 2",
        "snapshot k Some(4)",
    ];
    assert_eq!(ends.yielded(), expected);
    ends.offer("k", Updated, 5);
    assert_eq!(ends.yielded(), ["Updated k 5"]);
}

#[test]
fn an_event_that_the_snapshot_has_overtaken_is_not_told_after_it() {
    let mut ends = watch(8, vec![Ok(page(5, &[("k", Some(5))], None))]);
    ends.sink.lagged(0);
    // The gap is taken, the snapshot is not: these were under way when it was read.
    let mut cx = Context::from_waker(Waker::noop());
    let lagged = Pin::new(&mut ends.watch).poll_next(&mut cx);
    assert!(matches!(
        lagged,
        Poll::Ready(Some(EntryEvent::Lagged { missed: 0 }))
    ));
    ends.offer("k", Updated, 4);
    ends.offer("k", Updated, 5);
    ends.offer("k", Removed, 6);
    assert_eq!(ends.yielded(), ["snapshot k Some(5)", "Removed k 6"]);
}

#[test]
fn a_key_that_is_gone_has_a_snapshot_that_says_so() {
    let mut ends = watch(8, vec![Ok(page(9, &[("k", None)], None))]);
    ends.sink.lagged(3);
    assert_eq!(ends.yielded(), ["lagged 3", "snapshot k None"]);
    ends.offer("k", Updated, 8);
    assert!(ends.yielded().is_empty());
}

#[test]
fn a_large_snapshot_comes_page_by_page() {
    let pages = vec![
        Ok(page(10, &[("a", Some(1)), ("b", Some(2))], Some("b"))),
        Ok(page(12, &[("c", Some(11))], None)),
    ];
    let mut ends = watch(8, pages);
    ends.sink.lagged(1);
    assert_eq!(
        ends.yielded(),
        [
            "lagged 1",
            "snapshot a Some(1)",
            "snapshot b Some(2)",
            "snapshot c Some(11)",
        ]
    );
    assert_eq!(*ends.asked.lock(), [None, Some("b".to_owned())]);
    ends.offer("a", Updated, 11);
    ends.offer("c", Updated, 11);
    ends.offer("d", Updated, 12);
    assert_eq!(ends.yielded(), ["Updated a 11"]);
}

#[test]
fn a_snapshot_that_fails_is_told_and_changes_go_on() {
    let pages = vec![
        Ok(page(10, &[("a", Some(1))], Some("a"))),
        Err(Error::Closed),
    ];
    let mut ends = watch(8, pages);
    ends.sink.lagged(1);
    assert_eq!(ends.yielded(), ["lagged 1", "snapshot a Some(1)", "failed"]);
    ends.offer("z", Updated, 2);
    assert_eq!(ends.yielded(), ["Updated z 2"]);
}

#[test]
fn the_stream_ends_with_its_sink_and_stays_ended() {
    let mut ends = watch(8, vec![]);
    ends.offer("k", Updated, 1);
    ends.sink = queue_inbox(1, usize::MAX).0;
    assert_eq!(ends.yielded(), ["Updated k 1", "end"]);
    assert_eq!(ends.yielded(), ["end"]);
}

#[test]
fn dropping_the_stream_unsubscribes_once() {
    let mut ends = watch(8, vec![]);
    assert_eq!(format!("{:?}", ends.watch), "Watch { buffered: 0, .. }");
    ends.watch = watch(8, vec![]).watch;
    assert_eq!(ends.dropped.load(Ordering::SeqCst), 1);
    assert_eq!(ends.offer("k", Updated, 1), Offer::Gone);
}

#[tokio::test]
async fn a_subscriber_that_waits_is_woken_by_an_event_a_lag_and_the_end() {
    let Ends {
        mut sink,
        mut watch,
        ..
    } = watch(8, vec![Ok(page(1, &[], None))]);
    let subscriber = tokio::spawn(async move {
        let mut told = Vec::new();
        while let Some(event) = watch.next().await {
            told.push(format!("{event:?}"));
        }
        told
    });
    tokio::task::yield_now().await;
    sink.offer(&event("secret", Updated, 1));
    tokio::task::yield_now().await;
    sink.lagged(7);
    tokio::task::yield_now().await;
    drop(sink);
    let told = subscriber.await.unwrap();
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("Change") && !told[0].contains("secret"));
    assert_eq!(told[1], "Lagged { missed: 7 }");
    let snapshot = EntryEvent::<u64>::Snapshot {
        key: "secret".into(),
        entry: None,
    };
    assert_eq!(format!("{snapshot:?}"), "Snapshot { entry: None, .. }");
    let failed = EntryEvent::<u64>::SnapshotFailed(Error::Closed);
    assert_eq!(format!("{failed:?}"), "SnapshotFailed(Closed)");
}
