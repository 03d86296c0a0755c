//! A larder whose store cannot be opened at start.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use larder::clock::Clock;
use larder::drivers::Driver;
use larder::drivers::faults::{Fault, Faults, Op, When};
use larder::drivers::map::MapStore;
use larder::{
    Builder, Cache, CommitConfig, Condition, DegradedReason, Durability, Error, Larder,
    OnOpenFailure,
};

#[path = "support/trial.rs"]
mod trial;

use trial::{Trial, until};

const START_MS: u64 = 1_700_000_000_000;
/// A guard only.
const SOON: Duration = Duration::from_secs(60);

fn builder(faults: &Faults, store: &MapStore, clock: &Clock) -> Builder {
    Larder::builder()
        .clock(clock.clone())
        .call_max(SOON)
        .driver_factory(
            "store",
            CommitConfig::default(),
            faults.over(store.factory()),
        )
}

async fn recover(larder: &Larder, clock: &Clock) {
    let recovered = async {
        while larder.health().condition != Condition::Up {
            // No further, so that no call grows old by it.
            let retry_in_ms = larder.health().drivers[0].retry_in_ms;
            clock.advance(Duration::from_millis(retry_in_ms.unwrap_or(0)));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, recovered).await.unwrap();
}

#[tokio::test]
async fn by_default_it_does_not_start_and_says_why() {
    let (faults, clock) = (Faults::new(), Clock::manual(START_MS));
    faults.inject(Op::Open, When::Always, Fault::Fatal);
    let start = builder(&faults, &MapStore::new(), &clock).start().await;
    assert!(matches!(start, Err(Error::Open { driver, .. }) if &*driver == "store"));
}

#[tokio::test]
async fn it_starts_without_it_serves_from_memory_and_stores_when_it_is_there() {
    let (faults, store, clock) = (Faults::new(), MapStore::new(), Clock::manual(START_MS));
    faults.inject(Op::Open, When::First(3), Fault::Fatal);
    let builder = builder(&faults, &store, &clock).on_open_failure(OnOpenFailure::StartDegraded);
    let larder = builder.start().await.unwrap();
    assert_eq!(larder.health().drivers[0].condition, Condition::Down);
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    let outcome = numbers.set("a", 1).outcome().await.unwrap();
    assert_eq!(outcome.degraded[0].reason, DegradedReason::Down);
    assert_eq!(*numbers.get("a").await.unwrap().unwrap(), 1);
    recover(&larder, &clock).await;
    larder.flush(Durability::Written).await.unwrap();
    assert!(store.open().get(b"numbers/a").unwrap().is_some());
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_was_cleared_before_the_store_was_there_does_not_come_back_with_it() {
    let (faults, store, clock) = (Faults::new(), MapStore::new(), Clock::manual(START_MS));
    // The process before this one ran ahead of the clock: its versions are above all of this one's.
    let ahead = Clock::manual(START_MS + 3_600_000);
    let before = builder(&faults, &store, &ahead).start().await.unwrap();
    let numbers: Cache<u64> = before.cache("numbers").unwrap();
    for key in ["cleared", "tagged", "kept"] {
        numbers.set(key, 1).tag(key).await.unwrap();
    }
    let others: Cache<u64> = before.cache("others").unwrap();
    others.set("cleared", 1).await.unwrap();
    before.shutdown(SOON).await.unwrap();

    faults.inject(Op::Open, When::First(1), Fault::Fatal);
    let builder = builder(&faults, &store, &clock).on_open_failure(OnOpenFailure::StartDegraded);
    let larder = builder.start().await.unwrap();
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    let others: Cache<u64> = larder.cache("others").unwrap();
    others.clear().await.unwrap();
    numbers.remove_tag("tagged").await.unwrap();
    recover(&larder, &clock).await;
    assert!(others.get("cleared").await.unwrap().is_none());
    assert!(numbers.get("tagged").await.unwrap().is_none());
    assert_eq!(*numbers.get("kept").await.unwrap().unwrap(), 1);
    let version = numbers.set("new", 2).await.unwrap();
    assert!(version > numbers.get("kept").await.unwrap().unwrap().version());
    larder.flush(Durability::Written).await.unwrap();
    larder.shutdown(SOON).await.unwrap();

    // Nor after a restart.
    let again = builder_again(&faults, &store, &clock).await;
    let others: Cache<u64> = again.cache("others").unwrap();
    assert!(others.get("cleared").await.unwrap().is_none());
    again.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_was_set_after_an_earlier_clear_is_there_when_its_store_is() {
    let (faults, store, clock) = (Faults::new(), MapStore::new(), Clock::manual(START_MS));
    let before = builder(&faults, &store, &clock).start().await.unwrap();
    let numbers: Cache<u64> = before.cache("numbers").unwrap();
    numbers.set("cleared", 1).tag("tag").await.unwrap();
    numbers.remove_tag("tag").await.unwrap();
    numbers.clear().await.unwrap();
    let set = numbers.set("kept", 2).tag("tag");
    set.durability(Durability::Synced).await.unwrap();
    before.shutdown(SOON).await.unwrap();

    faults.inject(Op::Open, When::First(1), Fault::Fatal);
    let builder = builder(&faults, &store, &clock).on_open_failure(OnOpenFailure::StartDegraded);
    let larder = builder.start().await.unwrap();
    recover(&larder, &clock).await;
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    assert_eq!(*numbers.get("kept").await.unwrap().unwrap(), 2);
    assert!(numbers.get("cleared").await.unwrap().is_none());
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_late_costs_nothing_that_another_one_has() {
    let (faults, clock) = (Faults::new(), Clock::manual(START_MS));
    let (first, late) = (MapStore::new(), MapStore::new());
    let builder = || {
        builder(&faults, &late, &clock)
            .driver_factory("first", CommitConfig::default(), first.factory())
            .on_open_failure(OnOpenFailure::StartDegraded)
    };
    let only_first = |larder: &Larder| {
        let cache = larder.cache_builder::<u64>("first");
        cache.drivers(["first"]).open().unwrap()
    };
    let before = builder().start().await.unwrap();
    for cache in [before.cache("both").unwrap(), only_first(&before)] {
        cache.clear().await.unwrap();
        cache.set("kept", 1).await.unwrap();
    }
    before.shutdown(SOON).await.unwrap();

    faults.inject(Op::Open, When::First(1), Fault::Fatal);
    let larder = builder().start().await.unwrap();
    let caches = [larder.cache("both").unwrap(), only_first(&larder)];
    recover(&larder, &clock).await;
    for cache in caches {
        assert!(cache.get("kept").await.unwrap().is_some(), "{cache:?}");
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_scan_that_read_a_late_store_before_a_removal_was_stored_in_it_does_not_show_what_was_removed()
 {
    let (trial, clock) = (Trial::default(), Clock::manual(START_MS));
    let builder = |clock: &Clock| {
        let trial = trial.clone();
        let builder = Larder::builder().clock(clock.clone()).call_max(SOON);
        builder.driver("store", move || trial.open())
    };
    // Its versions are above all of the process after it.
    let ahead = Clock::manual(START_MS + 3_600_000);
    let before = builder(&ahead).start().await.unwrap();
    let numbers: Cache<u64> = before.cache("numbers").unwrap();
    numbers.set("removed", 1).await.unwrap();
    before.shutdown(SOON).await.unwrap();

    trial.refuse_to_open(true);
    let late = builder(&clock).on_open_failure(OnOpenFailure::StartDegraded);
    let larder = late.start().await.unwrap();
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    numbers.remove("removed").await.unwrap();
    trial.hold();
    trial.refuse_to_open(false);
    until("the store is opened", || {
        let wait_ms = larder.health().drivers[0].retry_in_ms.unwrap_or(0);
        clock.advance(Duration::from_millis(wait_ms));
        larder.health().condition == Condition::Up
    })
    .await;
    trial.hold_scans();
    let scans = trial.scans();
    let scan = tokio::spawn(async move { numbers.scan("").await });
    until("the page is read", || trial.scans() > scans).await;
    trial.release();
    until("the removal is stored", || !trial.has("numbers/removed")).await;
    larder.flush(Durability::Written).await.unwrap();
    trial.release_scans();
    assert!(scan.await.unwrap().unwrap().entries.is_empty());
    larder.shutdown(SOON).await.unwrap();
}

async fn builder_again(faults: &Faults, store: &MapStore, clock: &Clock) -> Larder {
    builder(faults, store, clock).start().await.unwrap()
}
