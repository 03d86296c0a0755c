//! Many reads at once, while a driver is down, fails, is late or full: the others answer, what nobody
//! can say is a miss, and only a refusal is an error.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/gated.rs"]
mod gated;
#[path = "support/trial.rs"]
mod trial;
#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use gated::Gated;
use larder::config::{CommitConfig, Limits};
use larder::drivers::faults::{Fault, Faults, Op, When};
use larder::drivers::map::MapStore;
use larder::{ActorState, Cache, Degraded, DegradedReason, Durability, Error, Larder};
use trial::{Trial, until_actor};
use world::{NEVER_BACK, SOON, World, bring_back, cache, ms, read, take_down, text};

/// What many reads show of `a`, `b` and `never`.
async fn shown(users: &Cache<String>) -> [bool; 3] {
    let found = users.get_many(["a", "b", "never"]).await.unwrap();
    let shown: Vec<_> = found.iter().map(|(_, entry)| entry.is_some()).collect();
    shown.try_into().unwrap()
}

async fn fill(larder: &Larder) {
    for key in ["a", "b"] {
        cache(larder).set(key, text(key)).await.unwrap();
    }
}

fn note(driver: &str, reason: DegradedReason) -> Vec<Degraded> {
    let driver = driver.to_owned();
    vec![Degraded { driver, reason }]
}

#[tokio::test]
async fn with_a_driver_down_memory_and_the_tiers_below_it_answer() {
    for (world, below) in [(World::disk(), false), (World::both(), true)] {
        let start = async || {
            let builder = world
                .builder()
                .restart_limit(0, NEVER_BACK, NEVER_BACK)
                .restart_backoff(NEVER_BACK, NEVER_BACK);
            builder.start().await.unwrap()
        };
        let larder = start().await;
        fill(&larder).await;
        larder.shutdown(SOON).await.unwrap();
        let larder = start().await;
        let users = cache(&larder);
        assert_eq!(read(&users, "a").await, Some(text("a")), "now in memory");
        take_down(&larder, "disk").await;
        assert_eq!(shown(&users).await, [true, below, false], "{}", world.name);
        let told = larder.stats().await.unwrap();
        assert_eq!((told.drivers[0].failures, told.overloaded), (0, 0));
        bring_back(&larder, "disk").await;
        assert_eq!(shown(&users).await, [true, true, false], "{}", world.name);
    }
}

#[tokio::test]
async fn a_driver_that_fails_makes_misses_and_answers_again_when_it_is_rebuilt() {
    let trial = Trial::default();
    let start = async || {
        let trial = trial.clone();
        let builder = Larder::builder().driver("store", move || trial.open());
        let builder = builder
            .restart_limit(0, NEVER_BACK, NEVER_BACK)
            .restart_backoff(NEVER_BACK, NEVER_BACK);
        builder.start().await.unwrap()
    };
    let larder = start().await;
    fill(&larder).await;
    larder.shutdown(SOON).await.unwrap();
    let larder = start().await;
    let users = cache(&larder);
    trial.fail_every_read(true);
    assert_eq!(shown(&users).await, [false; 3]);
    until_actor(&larder, "store", ActorState::Down).await;
    assert_eq!(larder.stats().await.unwrap().drivers[0].failures, 1, "once");
    let one = users.get("a").outcome().await.unwrap();
    assert_eq!(one.degraded, note("store", DegradedReason::Down));
    trial.fail_every_read(false);
    bring_back(&larder, "store").await;
    assert_eq!(shown(&users).await, [true, true, false]);
}

/// A larder over a map whose reads wait, with `a` and `b` in it.
async fn slow(gate: &Gated, reads_in_flight_max: usize) -> Larder {
    slow_with(gate, reads_in_flight_max, CommitConfig::default()).await
}

async fn slow_with(gate: &Gated, reads_in_flight_max: usize, commits: CommitConfig) -> Larder {
    let start = async || {
        let mut limits = Limits::default();
        limits.reads_in_flight_max = reads_in_flight_max;
        let builder = Larder::builder().limits(limits);
        let builder = builder.driver_factory("map", commits.clone(), gate.factory());
        builder.start().await.unwrap()
    };
    let larder = start().await;
    fill(&larder).await;
    larder.shutdown(SOON).await.unwrap();
    let larder = start().await;
    gate.shut_reads();
    larder
}

#[tokio::test]
async fn a_driver_that_is_late_makes_misses_at_the_deadline() {
    let gate = Gated::default();
    let larder = slow(&gate, 16).await;
    let users = cache(&larder);
    let found = users.get_many(["a", "b"]).deadline(ms(5)).await.unwrap();
    assert!(found.iter().all(|(_, entry)| entry.is_none()));
    let one = users.get("a").deadline(ms(5)).outcome().await.unwrap();
    assert!(one.entry.is_none());
    assert_eq!(one.degraded, note("map", DegradedReason::Late));
    gate.open();
    assert_eq!(shown(&users).await, [true, true, false]);
    assert_eq!(larder.stats().await.unwrap().drivers[0].failures, 0);
}

#[tokio::test]
async fn behind_a_call_that_seems_to_hang_a_read_is_a_miss_and_no_error() {
    let gate = Gated::default();
    let mut commits = CommitConfig::default();
    commits.breaker.slow_ms = 1;
    commits.read_threads = 1;
    let larder = slow_with(&gate, 1, commits).await;
    let users = cache(&larder);
    let first = tokio::spawn({
        let users = users.clone();
        async move { read(&users, "a").await }
    });
    world::until("it is inside", async || gate.waiting() == 1).await;
    let one = users.get("b").deadline(ms(50)).outcome().await.unwrap();
    assert!(one.entry.is_none());
    assert_eq!(one.degraded, note("map", DegradedReason::Late));
    let many = users.get_many(["b"]).deadline(ms(50)).await.unwrap();
    assert!(many[0].1.is_none());
    assert_eq!(larder.stats().await.unwrap().overloaded, 0);
    gate.open();
    assert_eq!(first.await.unwrap(), Some(text("a")));
}

#[tokio::test]
async fn reads_past_the_gate_wait_their_turn_and_are_refused_at_their_deadline() {
    let gate = Gated::default();
    let larder = slow(&gate, 1).await;
    let users = cache(&larder);
    let first = tokio::spawn({
        let users = users.clone();
        async move { read(&users, "a").await }
    });
    world::until("it is inside", async || gate.waiting() == 1).await;
    for refused in [
        users.get_many(["b"]).deadline(ms(5)).await.map(drop),
        users.get("b").deadline(ms(5)).await.map(drop),
        users.scan("").deadline(ms(5)).await.map(drop),
    ] {
        let Err(Error::Overloaded { limit, retry_after }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(limit, "reads_in_flight_max");
        assert!(retry_after > Duration::ZERO);
    }
    assert_eq!(larder.stats().await.unwrap().overloaded, 3);
    let waiting = tokio::spawn({
        let users = users.clone();
        async move { users.get_many(["b"]).await.unwrap()[0].1.is_some() }
    });
    gate.open();
    assert_eq!(first.await.unwrap(), Some(text("a")));
    assert!(waiting.await.unwrap(), "it got its turn");
}

#[tokio::test]
async fn a_store_that_fails_while_it_is_scanned_leaves_the_page_to_the_others_and_to_memory() {
    for fault in [Fault::Retry, Fault::Reopen, Fault::Panic] {
        let (faults, first, second) = (Faults::new(), MapStore::new(), MapStore::new());
        let larder = Larder::builder()
            .driver_factory(
                "first",
                CommitConfig::default(),
                faults.over(first.factory()),
            )
            .driver_factory("second", CommitConfig::default(), second.factory())
            .start()
            .await
            .unwrap();
        fill(&larder).await;
        let users = cache(&larder);
        users.set("c", text("c")).drivers(["first"]).await.unwrap();
        larder.flush(Durability::Written).await.unwrap();
        faults.inject(Op::Scan, When::Nth(1), fault);
        let page = users.scan("").await.unwrap();
        assert!(page.partial);
        let keys: Vec<_> = page.entries.iter().map(|(key, _)| &**key).collect();
        assert_eq!(keys, ["a", "b"], "{fault:?}");
        assert_eq!(faults.struck(), 1);
    }
}
