//! No actor is an ornament: each one is stopped, what is gone without it is shown while the rest goes
//! on, and what is back with its successor.
//!
//! The clock stands still, so an actor that is down stays down until a test moves it.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::time::Duration;

use larder::clock::Clock;
use larder::messages::entry;
use larder::{
    ActorState, Builder, Cache, DegradedReason, Durability, EntryEvent, Error, EventKind, Larder,
};
use trial::{SOON, Trial, settle, until, until_actor};

const START_MS: u64 = 1_800_000_000_000;
/// Longer than any wait before a restart.
const A_MINUTE: Duration = Duration::from_secs(60);
/// For calls that are meant to run into their deadline.
const SHORT: Duration = Duration::from_millis(20);

struct House {
    larder: Larder,
    cache: Cache<u64>,
    clock: Clock,
    trial: Trial,
}

async fn house_of(configure: impl FnOnce(Builder) -> Builder) -> House {
    let (trial, clock) = (Trial::default(), Clock::manual(START_MS));
    let opening = trial.clone();
    let builder = Larder::builder()
        .driver("store", move || opening.open())
        .clock(clock.clone());
    let larder = configure(builder).start().await.unwrap();
    let cache = larder.cache("numbers").unwrap();
    House {
        larder,
        cache,
        clock,
        trial,
    }
}

async fn house() -> House {
    house_of(|builder| builder).await
}

impl House {
    async fn stop(&self, actor: &str) {
        self.larder.stop_actor(actor);
        until_actor(&self.larder, actor, ActorState::Down).await;
        for other in self.larder.actors() {
            let is_up = other.state == ActorState::Up;
            assert!(is_up || other.name == actor, "{} went too", other.name);
        }
    }

    async fn back(&self, actor: &str) {
        self.clock.advance(A_MINUTE);
        until_actor(&self.larder, actor, ActorState::Up).await;
    }

    /// Lets a supervisor go on if it waits for its time. Calls under way do not grow old by it, as they
    /// would if the clock were moved further.
    fn nudge(&self, actor: &str) {
        let actors = self.larder.actors();
        let found = actors.iter().find(|a| a.name == actor).unwrap();
        let now_ms = self.clock.now_ms();
        let wait_ms = found.next_ms.map_or(0, |next| next.saturating_sub(now_ms));
        self.clock.advance(Duration::from_millis(wait_ms));
    }

    fn generation(&self, actor: &str) -> u64 {
        let actors = self.larder.actors();
        actors.iter().find(|a| a.name == actor).unwrap().generation
    }

    /// What needs no actor but batch writer and store.
    async fn reads_and_writes_go_on(&self) {
        let version = self
            .cache
            .set("goes", 1)
            .durability(Durability::Written)
            .await
            .unwrap();
        let found = self.cache.get("goes").await.unwrap().unwrap();
        assert_eq!(found.version(), version);
        assert!(self.trial.has("numbers/goes"));
        self.cache.remove("goes").await.unwrap();
    }
}

#[tokio::test]
async fn without_the_memory_driver_nothing_is_resized_or_swept() {
    let house = house().await;
    for n in 0..50 {
        house.cache.set(&format!("{n}"), n).await.unwrap();
    }
    house.stop("memory").await;
    let refused = house.larder.resize_memory(1 << 20).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { ref driver, .. } if **driver == *"memory"));
    house.cache.clear().await.unwrap();
    settle(&house.larder).await;
    // Nothing that was cleared is shown, but it is still there.
    assert!(house.cache.get("7").await.unwrap().is_none());
    assert_eq!(house.larder.stats().await.unwrap().memory.entries, 50);
    house.reads_and_writes_go_on().await;
    house.back("memory").await;
    house.larder.resize_memory(1 << 20).await.unwrap();
    assert_eq!(
        house.larder.stats().await.unwrap().memory.bytes_max,
        1 << 20
    );
    settle(&house.larder).await;
    assert_eq!(house.larder.stats().await.unwrap().memory.entries, 0);
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn without_the_hub_no_event_is_delivered_and_nobody_can_subscribe() {
    let house = house().await;
    let mut watch = house.cache.watch("a").await.unwrap();
    house.stop("hub").await;
    house.cache.set("a", 1).await.unwrap();
    settle(&house.larder).await;
    assert_eq!(watch.buffered(), 0);
    let refused = house.cache.watch("b").await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { ref driver, .. } if **driver == *"hub"));
    house.reads_and_writes_go_on().await;
    house.back("hub").await;
    let lagged = watch.next().await.unwrap();
    assert!(matches!(lagged, EntryEvent::Lagged { missed: 0 }));
    let snapshot = watch.next().await.unwrap();
    assert!(matches!(snapshot, EntryEvent::Snapshot { entry: Some(e), .. } if *e == 1));
    house.cache.set("a", 2).await.unwrap();
    assert!(
        matches!(watch.next().await.unwrap(), EntryEvent::Changed(c) if c.kind == EventKind::Updated)
    );
    house.cache.watch("b").await.unwrap();
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn without_the_ttl_manager_no_expiry_is_announced_or_reclaimed() {
    // It is down for exactly so long: a wait of the backoff is any part of it.
    let (window, rest) = (Duration::from_secs(1), Duration::from_secs(10));
    let house = house_of(|builder| builder.restart_limit(0, window, rest)).await;
    let ttl = Duration::from_secs(1);
    let mut watch = house.cache.watch_all().await.unwrap();
    for n in 0..10 {
        house.cache.set(&format!("{n}"), n).ttl(ttl).await.unwrap();
        assert!(matches!(
            watch.next().await.unwrap(),
            EntryEvent::Changed(_)
        ));
    }
    house.larder.flush(Durability::Written).await.unwrap();
    house.larder.stop_actor("ttl");
    until_actor(&house.larder, "ttl", ActorState::Down).await;
    house.clock.advance(Duration::from_millis(40));
    let late = house.cache.set("late", 1).ttl(Duration::from_millis(5));
    late.await.unwrap();
    assert!(matches!(
        watch.next().await.unwrap(),
        EntryEvent::Changed(_)
    ));
    house.clock.advance(Duration::from_millis(5));
    settle(&house.larder).await;
    // A read decides by itself.
    assert!(house.cache.get("late").await.unwrap().is_none());
    assert_eq!(watch.buffered(), 0);
    house.reads_and_writes_go_on().await;
    for _ in 0..2 {
        assert!(matches!(
            watch.next().await.unwrap(),
            EntryEvent::Changed(_)
        ));
    }
    house.back("ttl").await;
    // Its successor found every deadline by itself.
    let mut expired = Vec::new();
    while expired.len() < 11 {
        match watch.next().await.unwrap() {
            EntryEvent::Changed(change) => {
                assert_eq!(change.kind, EventKind::Expired);
                expired.push(change.key);
            }
            other => panic!("{other:?}"),
        }
    }
    expired.sort_unstable();
    expired.dedup();
    assert_eq!(expired.len(), 11);
    until("the store's records are reclaimed", || {
        !house.trial.has("numbers/7")
    })
    .await;
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn without_the_batch_writer_nothing_is_stored_and_nothing_lost() {
    let house = house().await;
    house.stop("batch").await;
    house.cache.set("queued", 1).await.unwrap();
    let written = house
        .cache
        .set("written", 2)
        .durability(Durability::Written);
    let late = written.deadline(SHORT).await.unwrap_err();
    assert!(matches!(late, Error::DeadlineExceeded { .. }));
    let removed = house.cache.remove("gone").deadline(SHORT).outcome().await;
    let removed = removed.unwrap();
    assert_eq!(removed.durability, Durability::Queued);
    assert_eq!(removed.degraded[0].reason, DegradedReason::Late);
    assert!(!house.trial.has("numbers/queued") && !house.trial.has("numbers/written"));
    // Memory, store and scans answer as ever.
    assert_eq!(*house.cache.get("queued").await.unwrap().unwrap(), 1);
    assert!(house.cache.get("elsewhere").await.unwrap().is_none());
    assert_eq!(house.cache.scan("").await.unwrap().entries.len(), 2);
    assert_eq!(house.larder.stats().await.unwrap().dirty.slots, 3);
    let waiting = tokio::spawn({
        let cache = house.cache.clone();
        async move { cache.set("waits", 3).durability(Durability::Synced).await }
    });
    house.back("batch").await;
    waiting.await.unwrap().unwrap();
    house.larder.flush(Durability::Written).await.unwrap();
    for key in ["queued", "written", "waits"] {
        assert!(house.trial.has(&format!("numbers/{key}")), "{key}");
    }
    assert_eq!(house.larder.stats().await.unwrap().dirty.slots, 0);
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_batch_writer_that_dies_in_the_middle_of_a_commit_loses_nothing() {
    let house = house().await;
    house.trial.hold();
    let waiting = tokio::spawn({
        let cache = house.cache.clone();
        async move { cache.set("held", 1).durability(Durability::Written).await }
    });
    while house.larder.stats().await.unwrap().dirty.slots == 0 {
        tokio::task::yield_now().await;
    }
    house.stop("batch").await;
    house.cache.set("held", 2).await.unwrap();
    house.trial.release();
    // Else the commit would look like one that hangs when the clock is moved.
    let returned = || house.larder.health().drivers[0].oldest_call.is_none();
    until("the commit has returned", returned).await;
    house.back("batch").await;
    waiting.await.unwrap().unwrap();
    house.larder.shutdown(SOON).await.unwrap();
    let opening = house.trial.clone();
    let builder = Larder::builder().driver("store", move || opening.open());
    let larder = builder.start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    assert_eq!(*cache.get("held").await.unwrap().unwrap(), 2);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_flush_waits_for_the_batch_writers_successor() {
    let house = house().await;
    house.stop("batch").await;
    house.cache.set("a", 1).await.unwrap();
    let flush = tokio::spawn({
        let larder = house.larder.clone();
        async move { larder.flush(Durability::Synced).await }
    });
    settle(&house.larder).await;
    assert!(!flush.is_finished());
    house.back("batch").await;
    flush.await.unwrap().unwrap();
    assert!(house.trial.has("numbers/a"));
    house.stop("batch").await;
    house.cache.set("b", 1).await.unwrap();
    let shutdown = tokio::spawn({
        let larder = house.larder.clone();
        async move { larder.shutdown(SOON).await }
    });
    tokio::task::yield_now().await;
    house.clock.advance(A_MINUTE);
    shutdown.await.unwrap().unwrap();
    assert!(house.trial.has("numbers/b"));
}

#[tokio::test]
async fn without_the_desk_no_message_is_taken() {
    let house = house().await;
    let before = house.larder.desk().unwrap();
    house.stop("desk").await;
    let get = || entry::Get::<u64>::new("numbers", "a");
    assert!(before.send(get()).await.is_err());
    let down = house.larder.desk().err().unwrap();
    assert!(matches!(down, Error::Unavailable { ref driver, .. } if **driver == *"desk"));
    house.reads_and_writes_go_on().await;
    house.cache.set("a", 1).await.unwrap();
    house.back("desk").await;
    let found = house.larder.desk().unwrap().send(get()).await.unwrap();
    assert_eq!(*found.unwrap().unwrap(), 1);
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn without_a_driver_its_store_is_neither_read_nor_written() {
    let house = house().await;
    house.cache.set("both", 1).await.unwrap();
    // Memory does not have it.
    let below = house.cache.set("below", 2).drivers(["store"]);
    below.await.unwrap();
    house.larder.flush(Durability::Written).await.unwrap();
    house.stop("store").await;
    assert_eq!(*house.cache.get("both").await.unwrap().unwrap(), 1);
    let unknown = house.cache.get("unknown").outcome().await.unwrap();
    assert!(unknown.entry.is_none());
    assert_eq!(unknown.degraded[0].reason, DegradedReason::Down);
    house.cache.set("queued", 3).await.unwrap();
    let written = house
        .cache
        .set("written", 4)
        .durability(Durability::Written);
    let refused = written.await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { ref driver, .. } if **driver == *"store"));
    let removed = house.cache.remove("both").outcome().await.unwrap();
    assert_eq!(removed.durability, Durability::Queued);
    assert!(
        removed
            .degraded
            .iter()
            .any(|d| d.reason == DegradedReason::Down)
    );
    assert!(house.cache.get("both").await.unwrap().is_none());
    let unsure = house.cache.set("unknown", 5).if_absent().await.unwrap_err();
    assert!(matches!(unsure, Error::Unavailable { .. }));
    let refused = house.larder.flush(Durability::Written).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }));
    assert!(house.trial.has("numbers/both"));
    house.back("store").await;
    house.larder.flush(Durability::Written).await.unwrap();
    assert!(!house.trial.has("numbers/both"));
    assert!(house.trial.has("numbers/queued") && house.trial.has("numbers/written"));
    assert_eq!(*house.cache.get("below").await.unwrap().unwrap(), 2);
    assert_eq!(house.trial.opened(), 2);
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn the_disk_driver_is_rebuilt_on_the_same_store() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START_MS);
    let builder = Larder::builder().disk(dir.path()).clock(clock.clone());
    let larder = builder.start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    for round in 0..3u64 {
        let version = cache.set("a", round).durability(Durability::Synced).await;
        larder.stop_actor("disk");
        until_actor(&larder, "disk", ActorState::Down).await;
        let newer = cache.set("b", round).await.unwrap();
        assert!(newer > version.unwrap());
        clock.advance(A_MINUTE);
        until_actor(&larder, "disk", ActorState::Up).await;
        larder.flush(Durability::Synced).await.unwrap();
    }
    larder.shutdown(SOON).await.unwrap();
    let larder = Larder::builder().disk(dir.path()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    for key in ["a", "b"] {
        assert_eq!(*cache.get(key).await.unwrap().unwrap(), 2);
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_driver_that_panics_is_rebuilt_and_what_it_was_to_store_is_stored() {
    let house = house().await;
    house.trial.panic_at_next_commit();
    house.cache.set("a", 1).await.unwrap();
    until_actor(&house.larder, "store", ActorState::Down).await;
    assert_eq!(*house.cache.get("a").await.unwrap().unwrap(), 1);
    house.back("store").await;
    house.larder.flush(Durability::Written).await.unwrap();
    assert!(house.trial.has("numbers/a"));

    house.trial.panic_at_next_read();
    let outcome = house.cache.get("unknown").outcome().await.unwrap();
    assert_eq!(outcome.degraded[0].reason, DegradedReason::Failed);
    until_actor(&house.larder, "store", ActorState::Down).await;
    house.back("store").await;
    let outcome = house.cache.get("unknown").outcome().await.unwrap();
    assert!(outcome.degraded.is_empty());
    assert_eq!(house.generation("store"), 3);
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_factory_that_panics_or_refuses_is_tried_again() {
    let house = house().await;
    house.trial.panic_when_opened();
    house.stop("store").await;
    house.cache.set("a", 1).await.unwrap();
    let tries = |n| {
        let trial = house.trial.clone();
        move || trial.opened() == n
    };
    house.clock.advance(A_MINUTE);
    until("it panicked", tries(2)).await;
    until_actor(&house.larder, "store", ActorState::Down).await;
    let reason = |larder: &Larder| {
        let actors = larder.actors();
        let store = actors.iter().find(|a| a.name == "store").unwrap();
        store.reason.clone().unwrap_or_default()
    };
    until("it says why", || reason(&house.larder).contains("panicked")).await;
    house.trial.panic_when_asked_its_mark();
    house.clock.advance(A_MINUTE);
    until("it panicked again", tries(3)).await;
    until_actor(&house.larder, "store", ActorState::Down).await;
    house.trial.refuse_to_open(true);
    house.clock.advance(A_MINUTE);
    until("it refused", || {
        reason(&house.larder).contains("refused by the test")
    })
    .await;
    house.trial.refuse_to_open(false);
    house.back("store").await;
    house.larder.flush(Durability::Written).await.unwrap();
    assert!(house.trial.has("numbers/a"));
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn fifty_restarts_in_a_row_of_every_actor_lose_nothing() {
    let house = house().await;
    let mut watch = house.cache.watch("watched").await.unwrap();
    for round in 0..50u64 {
        for actor in ["memory", "hub", "ttl", "batch", "desk", "store"] {
            house.larder.stop_actor(actor);
        }
        house.cache.set(&format!("{round}"), round).await.unwrap();
        for actor in ["memory", "hub", "ttl", "batch", "desk", "store"] {
            let restarted = || {
                house.nudge(actor);
                house.generation(actor) >= round + 2
            };
            until(&format!("{actor} was restarted"), restarted).await;
            until_actor(&house.larder, actor, ActorState::Up).await;
        }
    }
    house.larder.flush(Durability::Written).await.unwrap();
    for round in 0..50 {
        assert!(house.trial.has(&format!("numbers/{round}")), "{round}");
    }
    house.cache.set("watched", 1).await.unwrap();
    // The set is told, or shown to a subscriber that lags.
    let news = async {
        loop {
            match watch.next().await.unwrap() {
                EntryEvent::Changed(change) => return change.new.map(|entry| *entry),
                EntryEvent::Snapshot { entry: Some(e), .. } => return Some(*e),
                _ => {}
            }
        }
    };
    assert_eq!(tokio::time::timeout(SOON, news).await.unwrap(), Some(1));
    let desk = house.larder.desk().unwrap();
    let get = entry::Get::<u64>::new("numbers", "49");
    assert!(desk.send(get).await.unwrap().unwrap().is_some());
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_fails_the_moment_it_is_up_is_rebuilt_every_time() {
    let house = house().await;
    let readers: Vec<_> = (0..4)
        .map(|n| {
            let cache = house.cache.clone();
            tokio::spawn(async move {
                loop {
                    let _ = cache.get(&format!("unknown{n}")).await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    house.trial.fail_every_read(true);
    let enough = || {
        house.nudge("store");
        house.generation("store") > 50
    };
    until("fifty generations have failed", enough).await;
    house.trial.fail_every_read(false);
    let is_well = || {
        house.nudge("store");
        let store = house.larder.actors().remove(0);
        assert_eq!(store.name, "store");
        store.state == ActorState::Up
    };
    until("it is up", is_well).await;
    for reader in readers {
        reader.abort();
    }
    let closed = || {
        house.nudge("store");
        let cache = house.cache.clone();
        async move { cache.get("a").outcome().await.unwrap().degraded.is_empty() }
    };
    let began = std::time::Instant::now();
    while !closed().await {
        assert!(began.elapsed() < SOON, "it stayed closed though it is up");
        tokio::task::yield_now().await;
    }
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn an_operator_need_not_wait_for_the_backoff() {
    let house = house().await;
    house.stop("store").await;
    house.larder.restart("store").unwrap();
    until_actor(&house.larder, "store", ActorState::Up).await;
    assert_eq!(house.clock.now_ms(), START_MS);
    assert_eq!(house.generation("store"), 2);
    // Of one that is up it changes nothing.
    house.larder.restart("store").unwrap();
    settle(&house.larder).await;
    assert_eq!(house.generation("store"), 2);
    let unknown = house.larder.restart("nobody").unwrap_err();
    assert!(matches!(unknown, Error::Invalid { field: "actor", .. }));
    assert!(unknown.to_string().contains("\"store\""));
    house.larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn the_wait_before_a_restart_is_the_one_that_was_asked_for() {
    let wait = Duration::from_secs(10);
    let house = house_of(|builder| builder.restart_backoff(wait, wait)).await;
    house.stop("desk").await;
    settle(&house.larder).await;
    assert!(house.larder.desk().is_err());
    // Anything up to that: the jitter is full.
    house.clock.advance(wait);
    until_actor(&house.larder, "desk", ActorState::Up).await;
    house.larder.shutdown(SOON).await.unwrap();
}
