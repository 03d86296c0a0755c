//! Drivers that fail: what their supervisor does, what the breaker lets through, and what a host sees of
//! it meanwhile.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::Duration;

use larder::clock::Clock;
use larder::drivers::faults::{Calls, Fault, Faults, Op, When};
use larder::drivers::map::MapStore;
use larder::drivers::{Driver, PageLimit};
use larder::{
    BreakerMode, BreakerState, Builder, Cache, CommitConfig, Condition, DegradedReason, Durability,
    Error, Larder,
};

const START_MS: u64 = 1_700_000_000_000;
/// A guard only.
const SOON: Duration = Duration::from_secs(60);
/// Longer than any wait before a restart.
const BACKOFF: Duration = Duration::from_secs(31);

struct House {
    larder: Larder,
    cache: Cache<u64>,
    faults: Faults,
    store: MapStore,
    clock: Clock,
}

async fn house() -> House {
    house_of(|builder| builder).await
}

async fn house_of(more: impl FnOnce(Builder) -> Builder) -> House {
    let clock = Clock::manual(START_MS);
    let (faults, store) = (Faults::on(clock.clone()), MapStore::new());
    let builder = Larder::builder()
        .clock(clock.clone())
        .call_max(SOON)
        .driver_factory(
            "store",
            CommitConfig::default(),
            faults.over(store.factory()),
        );
    let larder = more(builder).start().await.unwrap();
    let cache = larder.cache("numbers").unwrap();
    House {
        larder,
        cache,
        faults,
        store,
        clock,
    }
}

impl House {
    fn health(&self) -> larder::DriverHealth {
        self.larder.driver("store").unwrap().health()
    }

    /// Returns once the driver is so.
    async fn until(&self, condition: Condition) {
        let mut changes = self.larder.watch_health();
        let told = async {
            while let Some(health) = changes.next().await {
                if health.drivers[0].condition == condition {
                    return;
                }
            }
            panic!("larder ended");
        };
        tokio::time::timeout(SOON, told).await.unwrap();
    }

    /// Lets its supervisor go on if it waits for its time. Calls under way do not grow old by it, as they
    /// would if the clock were moved further.
    fn nudge(&self) {
        let wait_ms = self.health().retry_in_ms.unwrap_or(0);
        self.clock.advance(Duration::from_millis(wait_ms));
    }

    /// Moves the clock past every backoff until the driver is up.
    async fn recover(&self) {
        let recovered = async {
            while self.health().condition == Condition::Down {
                self.nudge();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, recovered).await.unwrap();
        self.until(Condition::Up).await;
    }

    /// Returns once its supervisor has launched this generation, and whatever the launch can do without
    /// more ado has had its time.
    async fn until_launched(&self, generation: u64) {
        let launched = async {
            while self.health().generation < generation {
                self.clock.advance(BACKOFF);
                tokio::task::yield_now().await;
            }
            for _ in 0..20 {
                self.larder.resize_memory(64 << 20).await.unwrap();
            }
        };
        tokio::time::timeout(SOON, launched).await.unwrap();
    }

    /// Lets time pass until a call under way has hung for too long.
    async fn until_hung(&self) {
        let hung = async {
            while self.health().condition != Condition::Down {
                self.clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, hung).await.unwrap();
    }

    async fn flush(&self) {
        self.larder.flush(Durability::Written).await.unwrap();
    }

    /// How many entries the store has.
    fn stored(&self) -> usize {
        let page = PageLimit {
            count_max: 1_000,
            bytes_max: 1 << 20,
        };
        let records = self.store.open().scan(b"numbers/", b"", page);
        records.unwrap().len()
    }

    async fn end(self) {
        self.larder.shutdown(SOON).await.unwrap();
    }

    /// A key that only the store has.
    async fn only_below(&self, key: &str, value: u64) {
        self.cache.set(key, value).drivers(["store"]).await.unwrap();
        self.flush().await;
    }
}

#[tokio::test]
async fn a_hung_commit_is_given_up_and_stored_by_the_next_generation() {
    let house = house().await;
    house.only_below("below", 1).await;
    house.faults.inject(Op::Commit, When::Nth(1), Fault::Hang);
    house.cache.set("a", 2).await.unwrap();
    house.faults.entered().await;
    let waiting = tokio::spawn({
        let cache = house.cache.clone();
        async move { cache.set("b", 3).durability(Durability::Written).await }
    });
    tokio::task::yield_now().await;
    house.until_hung().await;
    let health = house.health();
    let reason = health.reason.unwrap();
    assert!(
        reason.starts_with("a call on the commit lane hangs for "),
        "{reason}"
    );
    assert_eq!(health.oldest_call.as_deref(), Some("the commit lane"));
    assert!(health.oldest_call_ms.unwrap() >= 10_000);
    // Nobody waits for it: not a durable set, not a read of what only it has.
    assert!(matches!(
        waiting.await.unwrap(),
        Err(Error::Unavailable { .. })
    ));
    let below = house.cache.get("below").outcome().await.unwrap();
    assert!(below.entry.is_none());
    assert_eq!(below.degraded[0].reason, DegradedReason::Down);
    let stats = house.larder.stats().await.unwrap();
    assert_eq!(stats.drivers[0].passed_over, 1);
    assert_eq!(*house.cache.get("a").await.unwrap().unwrap(), 2);
    // A successor is opened only when the hung thread has returned.
    house.clock.advance(BACKOFF);
    let opened = house.faults.calls(Op::Open);
    assert_eq!(house.faults.hanging(), 1);
    assert_eq!(opened, 1);
    house.faults.release();
    house.recover().await;
    // The successor may be storing what was set meanwhile.
    let oldest = house.health().oldest_call_ms;
    assert!(oldest.is_none_or(|ms| ms < 10_000), "{oldest:?}");
    house.flush().await;
    assert_eq!(*house.cache.get("below").await.unwrap().unwrap(), 1);
    house.end().await;
}

#[tokio::test]
async fn a_hung_read_is_a_miss_at_once_when_the_driver_is_given_up() {
    let house = house().await;
    house.only_below("below", 1).await;
    house.faults.inject(Op::Get, When::Nth(1), Fault::Hang);
    let reading = tokio::spawn({
        let cache = house.cache.clone();
        async move { cache.get("below").outcome().await }
    });
    house.faults.entered().await;
    house.until_hung().await;
    let outcome = reading.await.unwrap().unwrap();
    assert!(outcome.entry.is_none());
    assert_eq!(outcome.degraded[0].reason, DegradedReason::Failed);
    house.faults.release();
    house.recover().await;
    assert_eq!(*house.cache.get("below").await.unwrap().unwrap(), 1);
    house.end().await;
}

#[tokio::test]
async fn while_it_is_open_the_driver_gets_no_call_but_its_supervisors_probes() {
    let house = house().await;
    house.only_below("below", 1).await;
    // Whatever is tried fails: the probes of each successor, too.
    house.faults.inject(Op::Commit, When::Always, Fault::Retry);
    for n in 0..20 {
        house.cache.set(&n.to_string(), n).await.unwrap();
    }
    house.until(Condition::Down).await;
    let reason = house.health().reason.unwrap();
    assert!(reason.starts_with("5 calls in a row failed"), "{reason}");
    let (commits, reads) = (
        house.faults.calls(Op::Commit),
        house.faults.calls(Calls::Reads),
    );
    for n in 0..50 {
        house.cache.set(&n.to_string(), n).await.unwrap();
        assert!(house.cache.get("below").await.unwrap().is_none());
        house.larder.stats().await.unwrap();
    }
    assert_eq!(house.faults.calls(Op::Commit), commits);
    assert_eq!(house.faults.calls(Calls::Reads), reads);
    // One probe per attempt, and nothing else: it fails at its first call.
    let opened = house.faults.calls(Op::Open);
    let attempts = async {
        while house.faults.calls(Op::Open) < opened + 3 {
            house.nudge();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, attempts).await.unwrap();
    let probes = house.health().breaker.probes;
    assert!(house.faults.calls(Op::Commit) <= commits + probes + 1);
    // The last one may be under way.
    assert_ne!(house.health().breaker.state, BreakerState::Closed);
    house.faults.repair();
    house.recover().await;
    house.flush().await;
    assert_eq!(*house.cache.get("below").await.unwrap().unwrap(), 1);
    house.end().await;
}

#[tokio::test]
async fn a_factory_that_fails_ten_times_is_asked_an_eleventh() {
    let house = house().await;
    house
        .faults
        .inject(Op::Open, When::First(10), Fault::Reopen);
    house.larder.stop_actor("store");
    house.until(Condition::Down).await;
    house.cache.set("a", 1).await.unwrap();
    house.recover().await;
    assert_eq!(house.faults.calls(Op::Open), 12);
    house.flush().await;
    house.end().await;
}

#[tokio::test]
async fn panics_while_it_is_opened_asked_stopped_and_dropped_are_survived() {
    for op in [
        Op::Open,
        Op::Reserved,
        Op::Reserve,
        Op::Close,
        Op::Get,
        Op::Commit,
    ] {
        let house = house().await;
        house.only_below("below", 1).await;
        house.faults.inject(op, When::Nth(1), Fault::Panic);
        house.cache.set("a", 2).await.unwrap();
        let _ = house.cache.get("below").await.unwrap();
        house.larder.stop_actor("store");
        // Whether by the stop or by the panic, there is a second generation at least.
        let again = async {
            while house.health().generation < 2 || house.health().condition == Condition::Down {
                house.nudge();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, again).await.unwrap();
        house.flush().await;
        let found = house.cache.get("below").await.unwrap();
        assert!(found.is_some_and(|n| *n == 1), "{op:?}");
        house.end().await;
    }
}

#[tokio::test]
async fn fifty_restarts_in_a_row_earn_rests_and_lose_nothing() {
    let house = house().await;
    for n in 0..50 {
        house.cache.set(&n.to_string(), n).await.unwrap();
        house.larder.stop_actor("store");
        let generation = house.health().generation;
        let next = async {
            while house.health().generation == generation
                || house.health().condition != Condition::Up
            {
                house.nudge();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, next).await.unwrap();
    }
    house.flush().await;
    assert_eq!(house.stored(), 50);
    house.end().await;
}

#[tokio::test]
async fn one_that_fails_again_and_again_rests_until_somebody_asks_for_it() {
    // No recovery moves the clock by so much.
    let a_century = Duration::from_secs(100 * 365 * 86_400);
    let house = house_of(|builder| builder.restart_limit(1, a_century, SOON * 60)).await;
    house.larder.stop_actor("store");
    house.until(Condition::Down).await;
    house.recover().await;
    house.larder.stop_actor("store");
    let health = async {
        loop {
            let health = house.health();
            let reason = health.reason.as_deref().unwrap_or_default();
            if reason.contains("restarted too often") && health.retry_in_ms.is_some() {
                return health;
            }
            tokio::task::yield_now().await;
        }
    };
    let health = tokio::time::timeout(SOON, health).await.unwrap();
    assert_eq!(health.retry_in_ms, Some(3_600_000));
    house.larder.driver("store").unwrap().restart();
    house.until(Condition::Up).await;
    house.end().await;
}

#[tokio::test]
async fn forced_open_nobody_calls_it_and_given_back_what_was_left_is_stored() {
    let house = house().await;
    house.only_below("below", 1).await;
    let driver = house.larder.driver("store").unwrap();
    driver.set_breaker(BreakerMode::ForcedOpen);
    let calls = house.faults.calls(Calls::Any);
    let outcome = house.cache.set("a", 2).outcome().await.unwrap();
    assert_eq!(outcome.degraded[0].reason, DegradedReason::Down);
    assert!(house.cache.get("below").await.unwrap().is_none());
    assert_eq!(house.faults.calls(Calls::Any), calls);
    assert_eq!(driver.health().breaker.mode, BreakerMode::ForcedOpen);
    let reason = driver.health().reason;
    assert_eq!(reason.as_deref(), Some("its breaker is forced open"));
    driver.set_breaker(BreakerMode::Auto);
    house.flush().await;
    assert_eq!(*house.cache.get("below").await.unwrap().unwrap(), 1);
    assert_eq!(house.health().generation, 1);
    house.end().await;
}

#[tokio::test]
async fn forced_open_it_is_not_even_opened_until_it_is_given_back() {
    let house = house().await;
    house.faults.inject(Op::Get, When::First(1), Fault::Reopen);
    assert!(house.cache.get("a").await.unwrap().is_none());
    house.until(Condition::Down).await;
    let driver = house.larder.driver("store").unwrap();
    driver.set_breaker(BreakerMode::ForcedOpen);
    let calls = house.faults.calls(Calls::Any);
    house.until_launched(2).await;
    assert_eq!(house.faults.calls(Calls::Any), calls);
    driver.set_breaker(BreakerMode::Auto);
    house.until(Condition::Up).await;
    house.end().await;
}

#[tokio::test]
async fn forced_open_while_it_is_probed_it_gets_no_further_calls() {
    let house = house().await;
    house.faults.inject(Op::Get, When::First(1), Fault::Reopen);
    house.faults.inject(Op::Commit, When::Nth(1), Fault::Hang);
    assert!(house.cache.get("a").await.unwrap().is_none());
    house.until(Condition::Down).await;
    house.until_launched(2).await;
    house.faults.entered().await;
    let driver = house.larder.driver("store").unwrap();
    driver.set_breaker(BreakerMode::ForcedOpen);
    house.faults.release();
    let is_up = |actor: &larder::ActorHealth| {
        actor.name == "store" && actor.state == larder::ActorState::Up
    };
    let started = async {
        while !house.larder.actors().iter().any(is_up) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, started).await.unwrap();
    assert_eq!(house.faults.calls(Op::Commit), 2, "one probe");
    driver.set_breaker(BreakerMode::Auto);
    house.until(Condition::Up).await;
    house.end().await;
}

#[tokio::test]
async fn forced_closed_it_is_called_however_often_it_fails() {
    let house = house().await;
    let driver = house.larder.driver("store").unwrap();
    driver.set_breaker(BreakerMode::ForcedClosed);
    house.faults.inject(Op::Get, When::Always, Fault::Retry);
    for n in 0..50 {
        let outcome = house.cache.get(&n.to_string()).outcome().await.unwrap();
        assert_eq!(outcome.degraded[0].reason, DegradedReason::Failed);
    }
    assert_eq!(house.health().condition, Condition::Up);
    assert_eq!(house.faults.calls(Op::Get), 50);
    house.end().await;
}

#[tokio::test]
async fn slow_calls_give_it_up_although_they_succeed() {
    let house = house().await;
    let slow = Fault::Delay(Duration::from_secs(2));
    house.faults.inject(Op::Get, When::Always, slow);
    let reads = async {
        for n in 0.. {
            let (cache, key) = (house.cache.clone(), n.to_string());
            let reading = tokio::spawn(async move { cache.get(&key).await });
            house.faults.called(Op::Get, n + 1).await;
            house.clock.advance(Duration::from_secs(2));
            reading.await.unwrap().unwrap();
            if house.health().condition == Condition::Down {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, reads).await.unwrap();
    let reason = house.health().reason.unwrap();
    assert!(reason.contains("calls were slow"), "{reason}");
    house.faults.repair();
    house.recover().await;
    house.end().await;
}

#[tokio::test]
async fn without_room_values_wait_and_say_so_and_reads_and_removals_go_on() {
    let house = house().await;
    house.only_below("below", 1).await;
    for key in ["gone", "gone too"] {
        house.only_below(key, 1).await;
    }
    house.faults.inject(Op::Commit, When::Always, Fault::Full);
    house.cache.set("a", 2).await.unwrap();
    house.until(Condition::Degraded).await;
    let outcome = house.cache.set("b", 3).outcome().await.unwrap();
    assert_eq!(outcome.degraded[0].reason, DegradedReason::Full);
    assert_eq!(*house.cache.get("below").await.unwrap().unwrap(), 1);
    house.cache.remove("gone").await.unwrap();
    let gone = house.cache.remove_many(["gone too"]).on_chunk(|chunk| {
        assert_eq!(chunk.durability, Durability::Written, "it is stored");
    });
    gone.durability(Durability::Written).await.unwrap();
    assert_eq!(house.health().generation, 1, "nothing is given up");
    house.faults.repair();
    house.flush().await;
    house.until(Condition::Up).await;
    assert_eq!(house.stored(), 3);
    house.end().await;
}

#[tokio::test]
async fn when_nothing_waits_for_room_any_more_there_is_room_until_the_driver_says_otherwise() {
    let house = house().await;
    house.faults.inject(Op::Commit, When::Always, Fault::Full);
    house.cache.set("a", 1).await.unwrap();
    house.until(Condition::Degraded).await;
    house.cache.remove("a").await.unwrap();
    house.until(Condition::Up).await;
    house.cache.set("a", 2).await.unwrap();
    house.until(Condition::Degraded).await;
    house.faults.repair();
    house.end().await;
}

#[tokio::test]
async fn what_came_to_be_in_doubt_without_room_is_deleted_when_there_is_room() {
    let mut limits = larder::Limits::default();
    (limits.value_bytes_max, limits.dirty_bytes_max) = (1_024, 4_096);
    let house = house_of(|builder| builder.limits(limits)).await;
    house.only_below("doubted", 1).await;
    house.faults.inject(Op::Commit, When::Always, Fault::Full);
    let mut filling = Vec::new();
    loop {
        let outcome = house.cache.set("doubted", 2).outcome().await.unwrap();
        let mut reasons = outcome.degraded.iter().map(|degraded| degraded.reason);
        if reasons.any(|reason| reason == DegradedReason::MemoryOnly) {
            break;
        }
        let removal = house.cache.remove("doubted");
        removal.durability(Durability::Queued).await.unwrap();
        filling.push(filling.len().to_string());
        house.cache.set(filling.last().unwrap(), 3).await.unwrap();
    }
    for key in &filling {
        house
            .cache
            .remove(key)
            .durability(Durability::Queued)
            .await
            .unwrap();
    }
    house.faults.repair();
    house.flush().await;
    house.until(Condition::Up).await;
    assert_eq!(house.stored(), 0, "and memory has what was set");
    assert_eq!(*house.cache.get("doubted").await.unwrap().unwrap(), 2);
    house.end().await;
}

#[tokio::test]
async fn a_flush_waits_for_a_driver_that_is_down() {
    let house = house().await;
    house.faults.inject(Op::Open, When::First(1), Fault::Reopen);
    house.larder.stop_actor("store");
    house.until(Condition::Down).await;
    house.cache.set("a", 1).await.unwrap();
    let flush = tokio::spawn({
        let larder = house.larder.clone();
        async move { larder.flush(Durability::Written).await }
    });
    tokio::task::yield_now().await;
    assert!(!flush.is_finished());
    house.recover().await;
    flush.await.unwrap().unwrap();
    assert_eq!(house.stored(), 1);
    house.end().await;
}

#[tokio::test]
async fn a_thousand_calls_in_flight_are_all_answered_when_larder_is_shut_down() {
    let house = house().await;
    house.faults.inject(Op::Get, When::Always, Fault::Hang);
    let calls: Vec<_> = (0..1_000)
        .map(|n| {
            let cache = house.cache.clone();
            tokio::spawn(async move {
                let key = n.to_string();
                match n % 2 {
                    0 => cache.get(&key).await.map(|_| ()),
                    _ => cache.set(&key, n).if_absent().await.map(|_| ()),
                }
            })
        })
        .collect();
    house.faults.entered().await;
    let ended = house.larder.shutdown(Duration::from_millis(300)).await;
    assert!(
        matches!(ended, Err(Error::DeadlineExceeded { .. })),
        "a read hangs"
    );
    for call in calls {
        // An answer is enough; which one depends on how far it had come.
        let _ = tokio::time::timeout(SOON, call).await.unwrap().unwrap();
    }
    house.faults.release();
}
