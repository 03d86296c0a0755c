//! The hub as an actor: what is delivered, and what its restart loses.

mod house;
mod recipients;

use tokio::time::timeout;

use super::*;
use crate::event::EntryEvent;
use crate::messages::hub::{Offer, Sink};
use crate::shelf::EventKind;
use crate::version::Version;
use crate::watch::fixture::{Answer, Told, event, put, shelf};
use house::{GUARD, House, key, next, read};

#[actix::test]
async fn while_nobody_watches_no_event_is_recorded() {
    let house = House::new(1_024);
    put(&house.shelf, "k", 1, 1);
    let mut events = Vec::new();
    assert_eq!(house.shelf.take_events(&mut events), 0);
    assert!(events.is_empty() && !house.shelf.is_watched());
}

#[actix::test]
async fn a_subscriber_hears_of_what_began_after_the_reply_and_of_nothing_before() {
    let house = House::new(1_024);
    let (early, _) = house.log(key("k")).await;
    put(&house.shelf, "k", 1, 1);
    let (late, _) = house.log(key("k")).await;
    put(&house.shelf, "k", 2, 2);
    house.settle().await;
    let event = |kind, n| Told::Event(kind, "k".into(), n);
    let second = event(EventKind::Updated, 2);
    assert_eq!(early.told(), [event(EventKind::Created, 1), second.clone()]);
    assert_eq!(late.told(), [second]);
}

#[actix::test]
async fn two_writers_of_a_key_are_told_in_the_order_of_their_versions() {
    let house = House::new(100_000);
    let mut watch = house.watch("k", 100_000).await;
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let shelf = Arc::clone(&house.shelf);
            std::thread::spawn(move || {
                for n in 0..5_000 {
                    put(&shelf, "k", n, 1);
                    put(&shelf, &format!("other:{n}"), n, 1);
                }
            })
        })
        .collect();
    let mut last = None;
    for _ in 0..10_000 {
        let Some(EntryEvent::Changed(change)) = next(&mut watch).await else {
            panic!("an event is missing");
        };
        assert!(Some(change.version) > last);
        last = Some(change.version);
        assert_eq!(change.key, "k");
    }
    assert_eq!(last, read(&house.shelf, "k").map(|entry| entry.version()));
    for writer in writers {
        writer.join().unwrap();
    }
}

#[actix::test]
async fn a_slow_subscriber_is_told_that_it_lags_and_gets_a_snapshot() {
    let house = House::new(1_024);
    let mut watch = house.watch("k", 4).await;
    for n in 1..=100 {
        put(&house.shelf, "k", n, n);
        if n % 10 == 0 {
            house.settle().await;
        }
        assert!(watch.buffered() <= 4);
    }
    for n in 1..=4 {
        let event = next(&mut watch).await;
        assert!(matches!(event, Some(EntryEvent::Changed(c)) if c.new.as_deref() == Some(&n)));
    }
    let event = next(&mut watch).await;
    assert!(
        matches!(event, Some(EntryEvent::Lagged { missed: 96 })),
        "{event:?}"
    );
    let event = next(&mut watch).await;
    let Some(EntryEvent::Snapshot { key, entry }) = event else {
        panic!("{event:?}");
    };
    assert_eq!((key.as_str(), entry.as_deref()), ("k", Some(&100)));
    put(&house.shelf, "k", 101, 101);
    let event = next(&mut watch).await;
    assert!(matches!(event, Some(EntryEvent::Changed(c)) if c.new.as_deref() == Some(&101)));
}

#[actix::test]
async fn dropping_the_stream_unsubscribes() {
    let house = House::new(1_024);
    let watch = house.watch("k", 4).await;
    assert!(house.shelf.is_watched());
    drop(watch);
    house.settle().await;
    assert!(house.registry.lock().is_empty() && !house.shelf.is_watched());
}

#[actix::test]
async fn a_restart_keeps_the_subscriptions_and_says_that_something_may_be_missing() {
    let mut house = House::new(1_024);
    let mut watch = house.watch("k", 16).await;
    put(&house.shelf, "k", 1, 1);
    assert!(matches!(
        next(&mut watch).await,
        Some(EntryEvent::Changed(_))
    ));
    house.restart().await;
    assert!(matches!(
        next(&mut watch).await,
        Some(EntryEvent::Lagged { missed: 0 })
    ));
    let event = next(&mut watch).await;
    assert!(matches!(
        event,
        Some(EntryEvent::Snapshot { entry: Some(_), .. })
    ));
    put(&house.shelf, "k", 2, 2);
    let event = next(&mut watch).await;
    assert!(matches!(event, Some(EntryEvent::Changed(c)) if c.new.as_deref() == Some(&2)));
}

#[actix::test]
async fn what_happens_while_no_hub_runs_is_delivered_by_the_next_one() {
    let mut house = House::new(1_024);
    let (sink, _) = house.log(key("k")).await;
    house.hub.send(Stop).await.unwrap();
    timeout(GUARD, house.deaths.recv()).await.unwrap();
    put(&house.shelf, "k", 1, 1);
    let guard = DeathGuard::new(2, Arc::clone(&house.tell));
    house.hub = start(Arc::clone(&house.shelf), Arc::clone(&house.registry), guard);
    house.settle().await;
    let event = Told::Event(EventKind::Created, "k".into(), 1);
    assert_eq!(sink.told(), [Told::Lagged(0), event]);
}

#[actix::test]
async fn events_that_the_shelf_had_to_drop_are_told_as_a_gap() {
    let house = House::new(8);
    let (sink, _) = house.log(key("k")).await;
    // On this thread, so the hub has no turn meanwhile.
    for n in 1..=100 {
        put(&house.shelf, "k", n, n);
    }
    house.settle().await;
    let told = sink.told();
    assert_eq!((told.first(), told.len()), (Some(&Told::Lagged(0)), 9));
    let stats = house.registry.lock().stats();
    assert_eq!((stats.lost, stats.delivered), (92, 8));
}

#[actix::test]
async fn more_events_than_a_turn_takes_are_all_delivered() {
    let house = House::new(100_000);
    let mut watch = house.watch("k", 100_000).await;
    let events = 3 * TURN_EVENTS_MAX as u64;
    for n in 1..=events {
        put(&house.shelf, "k", n, n);
    }
    for n in 1..=events + 1 {
        let event = next(&mut watch).await;
        if n == 1 {
            // The hub has had its first turn: this one rings while it has enough to do.
            assert!(watch.buffered() < TURN_EVENTS_MAX);
            put(&house.shelf, "k", events + 1, events + 1);
        }
        assert!(matches!(event, Some(EntryEvent::Changed(c)) if c.version == Version::at(n)));
    }
}

#[actix::test]
async fn a_sink_that_panics_ends_alone() {
    let house = House::new(1_024);
    let (bad, _) = house.log(key("k")).await;
    let (good, _) = house.log(key("k")).await;
    bad.answer(Answer::Panic);
    for n in 1..=2 {
        put(&house.shelf, "k", n, n);
        house.settle().await;
    }
    assert_eq!((good.calls(), bad.calls()), (2, 1));
    assert!(house.hub.connected());
}

#[actix::test]
async fn the_hub_ends_when_nobody_holds_it() {
    let mut house = House::new(1_024);
    house.hub = House::new(8).hub;
    assert_eq!(timeout(GUARD, house.deaths.recv()).await.unwrap(), Some(1));
}

/// Takes what waits in the shelf at the first event that it is offered.
struct Thief(Arc<Shelf>, Arc<Mutex<Vec<RawEvent>>>);

impl Sink for Thief {
    fn offer(&mut self, _: &RawEvent) -> Offer {
        self.0.take_events(&mut self.1.lock());
        Offer::Taken
    }

    fn lagged(&mut self, _: u64) -> Offer {
        Offer::Taken
    }

    fn is_gone(&self) -> bool {
        false
    }
}

#[test]
fn nothing_more_is_taken_while_something_is_pending() {
    let shelf = shelf(1_024);
    let stolen = Arc::default();
    let mut registry = Registry::new(1);
    let sink = Box::new(Thief(Arc::clone(&shelf), Arc::clone(&stolen)));
    registry.subscribe(key("k"), sink).unwrap();
    let mut hub = Hub {
        shelf: Arc::clone(&shelf),
        registry: Arc::new(Mutex::new(registry)),
        pending: [event("k", EventKind::Updated, 1)].into(),
        is_going_on: false,
        is_reminding: false,
        guard: DeathGuard::new(1, Arc::new(|_| ())),
    };
    shelf.watch(true);
    put(&shelf, "k", 2, 2);
    hub.catch_up();
    assert_eq!(stolen.lock().len(), 1);
    assert!(hub.pending.is_empty());
}
