//! How commits are spread in time: pace, linger, and who cuts a linger short.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::num::NonZeroU32;
use std::time::Duration;

use larder::clock::Clock;
use larder::drivers::faults::{Fault, Faults, Op, When};
use larder::drivers::map::MapStore;
use larder::{ActorState, Cache, CommitConfig, Condition, Durability, Larder};
use trial::{SOON, Trial, settle, until, until_actor};

const START_MS: u64 = 1_800_000_000_000;

async fn start(trial: &Trial, commits: CommitConfig) -> (Larder, Cache<u64>, Clock) {
    let (opening, clock) = (trial.clone(), Clock::manual(START_MS));
    let larder = Larder::builder()
        .driver_with("store", commits, move || opening.open())
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let cache = larder.cache("numbers").unwrap();
    (larder, cache, clock)
}

fn paced(rate: u32) -> CommitConfig {
    let mut commits = CommitConfig::default();
    commits.writes_per_second_max = NonZeroU32::new(rate);
    commits
}

fn lingering(linger_ms: u64) -> CommitConfig {
    let mut commits = CommitConfig::default();
    commits.linger_ms_max = linger_ms;
    commits
}

#[tokio::test]
async fn a_paced_driver_gets_a_tenth_of_its_rate_every_tenth_of_a_second() {
    let trial = Trial::default();
    let (larder, cache, clock) = start(&trial, paced(100)).await;
    trial.hold();
    cache
        .set_many((0..35u64).map(|n| (format!("{n:02}"), n)))
        .await
        .unwrap();
    trial.release();
    // The first commit took what was there when it began; then tens, one each tenth of a second.
    for round in 1.. {
        until("a commit that is through", || {
            let taken = trial.batches().concat().len();
            trial.commits() >= round && trial.stored().len() == taken
        })
        .await;
        settle(&larder).await;
        assert_eq!(trial.commits(), round);
        if trial.stored().len() == 35 {
            break;
        }
        clock.advance(Duration::from_millis(100));
    }
    assert!(trial.batches().iter().all(|batch| batch.len() <= 10));
    assert!(trial.commits() >= 4);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn the_pace_holds_for_sets_that_come_one_by_one() {
    let trial = Trial::default();
    let (larder, cache, clock) = start(&trial, paced(10)).await;
    cache.set("a", 1).await.unwrap();
    until("the first is stored", || trial.commits() == 1).await;
    settle(&larder).await;
    cache.set("b", 2).await.unwrap();
    settle(&larder).await;
    assert_eq!(trial.commits(), 1);
    clock.advance(Duration::from_millis(99));
    settle(&larder).await;
    assert_eq!(trial.commits(), 1);
    clock.advance(Duration::from_millis(1));
    until("the second is stored", || trial.commits() == 2).await;
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_lingers_for_more() {
    let trial = Trial::default();
    let (larder, cache, clock) = start(&trial, lingering(10_000)).await;
    for n in 0..20 {
        cache.set(&n.to_string(), n).await.unwrap();
    }
    settle(&larder).await;
    assert_eq!(trial.commits(), 0);
    clock.advance(Duration::from_millis(9_999));
    settle(&larder).await;
    assert_eq!(trial.commits(), 0);
    clock.advance(Duration::from_millis(1));
    until("they are stored", || trial.stored().len() == 20).await;
    assert_eq!(trial.commits(), 1);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn whoever_waits_cuts_the_linger_short() {
    let trial = Trial::default();
    let (larder, cache, _clock) = start(&trial, lingering(10_000)).await;
    for n in 0..50 {
        let key = n.to_string();
        let set = cache.set(&key, n).durability(Durability::Written);
        set.await.unwrap();
    }
    cache.set("queued", 1).await.unwrap();
    larder.flush(Durability::Written).await.unwrap();
    assert!(trial.has("numbers/queued"));
    cache.remove("queued").await.unwrap();
    assert!(!trial.has("numbers/queued"));
    cache.set("last", 1).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    assert!(trial.has("numbers/last"));
}

#[tokio::test]
async fn whoever_waited_before_the_lingering_began_is_not_overlooked() {
    let trial = Trial::default();
    let (larder, cache, clock) = start(&trial, lingering(10_000)).await;
    larder.stop_actor("batch");
    until_actor(&larder, "batch", ActorState::Down).await;
    let waiting = tokio::spawn({
        let cache = cache.clone();
        async move { cache.set("a", 1).durability(Durability::Written).await }
    });
    while cache.get("a").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    // The successor finds it dirty and would linger: the clock does not move again.
    clock.advance(Duration::from_millis(100));
    waiting.await.unwrap().unwrap();
    assert!(trial.has("numbers/a"));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_set_all_the_time_does_not_keep_a_paced_driver_from_finding_room_again() {
    let (faults, clock) = (Faults::new(), Clock::manual(START_MS));
    let factory = faults.over(MapStore::new().factory());
    let builder = Larder::builder().driver_factory("store", paced(10), factory);
    let larder = builder.clock(clock.clone()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    faults.inject(Op::Commit, When::First(1), Fault::Full);
    cache.set("hot", 0).await.unwrap();
    let is = |condition| larder.health().condition == condition;
    until("it is full", || is(Condition::Degraded)).await;
    let began = std::time::Instant::now();
    for n in 1.. {
        cache.set("hot", n).await.unwrap();
        clock.advance(Duration::from_millis(100));
        settle(&larder).await;
        if is(Condition::Up) {
            break;
        }
        assert!(began.elapsed() < SOON, "it has had room for long");
    }
    larder.shutdown(SOON).await.unwrap();
}
