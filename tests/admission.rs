//! What becomes of calls for which there is no room: they wait, are refused at once, or those of low
//! priority are.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::future::IntoFuture;
use std::time::Duration;

use larder::drivers::faults::{Fault, Faults, Op, When};
use larder::drivers::map::MapStore;
use larder::{
    Admission, Builder, Cache, CommitConfig, DegradedReason, Durability, Error, Larder, Limits,
    Priority,
};

const SOON: Duration = Duration::from_secs(30);
/// Nobody may wait for so long here.
const LONG: Duration = Duration::from_secs(3_600);
const BUDGET: usize = 64 << 10;

struct House {
    larder: Larder,
    faults: Faults,
}

async fn house_of(with: impl FnOnce(Builder) -> Builder) -> House {
    let mut limits = Limits::default();
    limits.value_bytes_max = 16 << 10;
    limits.dirty_bytes_max = BUDGET;
    limits.reads_in_flight_max = 4;
    let faults = Faults::new();
    let store = faults.over(MapStore::new().factory());
    let longest = Duration::from_millis(5);
    let builder = Larder::builder()
        .limits(limits)
        .restart_backoff(Duration::from_millis(1), longest)
        .driver_factory("store", CommitConfig::default(), store);
    let larder = with(builder).start().await.unwrap();
    House { larder, faults }
}

impl House {
    fn cache(&self, name: &str, priority: Priority) -> Cache<String> {
        let cache = self.larder.cache_builder(name).priority(priority);
        cache.open().unwrap()
    }

    /// Sets until one is refused, at once.
    async fn fill(&self, cache: &Cache<String>) {
        for n in 0..1_000 {
            if is_overloaded(&set(cache, &n.to_string(), LONG).await, "dirty_bytes_max") {
                return;
            }
        }
        panic!("none was refused");
    }

    async fn dirty_bytes(&self) -> usize {
        self.larder.stats().await.unwrap().dirty.bytes
    }

    /// Reads of keys that nobody has set, which hang, one after the other.
    async fn hang_reads(&self, cache: &Cache<String>, count: u64) {
        for nth in 1..=count {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&format!("hanging {nth}")).deadline(LONG).await });
            self.faults.called(Op::Get, nth).await;
        }
    }

    async fn end(self) {
        self.faults.repair();
        self.larder.flush(Durability::Written).await.unwrap();
        self.larder.shutdown(SOON).await.unwrap();
    }
}

async fn set(cache: &Cache<String>, key: &str, deadline: Duration) -> Result<(), Error> {
    let set = cache.set(key, "7".repeat(1_000)).deadline(deadline);
    let set = tokio::time::timeout(SOON, set.into_future()).await;
    set.unwrap().map(drop)
}

async fn get(cache: &Cache<String>, deadline: Duration) -> Result<(), Error> {
    let get = cache.get("nobody's").deadline(deadline);
    let get = tokio::time::timeout(SOON, get.into_future()).await;
    get.unwrap().map(drop)
}

fn is_overloaded(done: &Result<(), Error>, by: &str) -> bool {
    match done {
        Ok(()) => false,
        Err(Error::Overloaded { limit, retry_after }) => *limit == by && !retry_after.is_zero(),
        Err(other) => panic!("{other:?}"),
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test]
async fn whoever_fails_fast_is_refused_at_once_when_the_dirty_set_is_full() {
    let house = house_of(|builder| builder.admission(Admission::FailFast)).await;
    house.faults.inject(Op::Commit, When::Always, Fault::Hang);
    let users = house.cache("users", Priority::Normal);
    house.fill(&users).await;
    assert!(
        house.dirty_bytes().await > BUDGET - 2_000,
        "all of it is used"
    );
    let refused = house.larder.stats().await.unwrap().overloaded;
    assert_eq!(refused, 1, "and it is counted");
    house.end().await;
}

#[tokio::test]
async fn a_cache_may_fail_fast_while_the_others_wait() {
    let house = house_of(|builder| builder).await;
    house.faults.inject(Op::Commit, When::Always, Fault::Hang);
    let fast = house.larder.cache_builder("fast");
    let fast: Cache<String> = fast.admission(Admission::FailFast).open().unwrap();
    house.fill(&fast).await;
    let waiting = house.cache("waiting", Priority::Low);
    let waits =
        tokio::spawn(async move { waiting.set("k", "7".repeat(1_000)).deadline(LONG).await });
    assert!(is_overloaded(
        &set(&fast, "k", LONG).await,
        "dirty_bytes_max"
    ));
    assert!(!waits.is_finished());
    house.faults.repair();
    tokio::time::timeout(SOON, waits)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    house.end().await;
}

#[tokio::test]
async fn low_priorities_are_shed_while_others_still_find_room_and_wait_for_it() {
    let house = house_of(|builder| builder.admission(Admission::ShedLow)).await;
    house.faults.inject(Op::Commit, When::Always, Fault::Hang);
    let (low, users) = (
        house.cache("low", Priority::Low),
        house.cache("users", Priority::Normal),
    );
    house.fill(&low).await;
    let used = house.dirty_bytes().await;
    assert!((BUDGET / 2..=BUDGET - BUDGET / 4).contains(&used), "{used}");
    // It is the priority of the entry that counts.
    let urgent = low
        .set("urgent", "7".repeat(1_000))
        .priority(Priority::High);
    urgent.await.unwrap();
    // A removal makes room in the end.
    low.remove("0")
        .durability(Durability::Queued)
        .await
        .unwrap();
    let mut full = false;
    for n in 0..100 {
        full |= is_overloaded(
            &set(&users, &n.to_string(), ms(10)).await,
            "dirty_bytes_max",
        );
    }
    assert!(full && house.dirty_bytes().await > BUDGET - 2_000);
    house.end().await;
}

#[tokio::test]
async fn with_the_driver_down_nobody_is_refused() {
    for admission in [Admission::FailFast, Admission::ShedLow] {
        let house = house_of(|builder| builder.admission(admission)).await;
        house.faults.inject(Op::Open, When::Always, Fault::Reopen);
        house.faults.inject(Op::Commit, When::Always, Fault::Reopen);
        let low = house.cache("low", Priority::Low);
        let written = low.set("k", "7".to_owned()).durability(Durability::Written);
        assert!(matches!(written.await, Err(Error::Unavailable { .. })));
        let mut memory_only = 0;
        for n in 0..200 {
            let set = low.set(&n.to_string(), "7".repeat(1_000)).outcome().await;
            let degraded = set.unwrap().degraded;
            memory_only += usize::from(degraded[0].reason == DegradedReason::MemoryOnly);
        }
        assert!(memory_only > 100, "{memory_only}");
        house.end().await;
    }
}

#[tokio::test]
async fn reads_fail_fast_when_too_many_are_under_way() {
    let house = house_of(|builder| builder.admission(Admission::FailFast)).await;
    house.faults.inject(Op::Get, When::Always, Fault::Hang);
    let users = house.cache("users", Priority::Normal);
    users.set("in memory", "7".to_owned()).await.unwrap();
    house.hang_reads(&users, 4).await;
    let read = get(&users, LONG).await;
    assert!(is_overloaded(&read, "reads_in_flight_max"));
    assert!(users.get("in memory").await.unwrap().is_some());
    assert_eq!(house.larder.stats().await.unwrap().overloaded, 1);
    house.end().await;
}

#[tokio::test]
async fn reads_of_caches_of_low_priority_are_shed_first() {
    let house = house_of(|builder| builder.admission(Admission::ShedLow)).await;
    house.faults.inject(Op::Get, When::Always, Fault::Hang);
    let (low, users) = (
        house.cache("low", Priority::Low),
        house.cache("users", Priority::Normal),
    );
    house.hang_reads(&low, 3).await;
    let read = get(&low, LONG).await;
    assert!(is_overloaded(&read, "reads_in_flight_max"));
    // The last place is for others, and they wait for one.
    let waits = tokio::spawn(async move {
        let (last, next) = (
            users.get("last").deadline(LONG),
            users.get("next").deadline(LONG),
        );
        tokio::join!(last.into_future(), next.into_future())
    });
    house.faults.called(Op::Get, 4).await;
    assert!(!waits.is_finished());
    house.faults.repair();
    let (last, next) = tokio::time::timeout(SOON, waits).await.unwrap().unwrap();
    assert!(last.unwrap().is_none() && next.unwrap().is_none());
    house.end().await;
}

#[tokio::test]
async fn what_is_shed_first_and_larger_than_its_share_is_taken_when_nothing_else_is_dirty() {
    let largest = |builder: Builder| {
        let mut limits = Limits::default();
        (limits.value_bytes_max, limits.dirty_bytes_max) = (BUDGET, BUDGET);
        builder.limits(limits).admission(Admission::ShedLow)
    };
    let house = house_of(largest).await;
    let low = house.cache("low", Priority::Low);
    let value = "7".repeat(BUDGET - 1_000);
    low.set("k", value.clone()).await.unwrap();
    house.larder.flush(Durability::Written).await.unwrap();
    low.set("k", value).await.unwrap();
    house.end().await;
}
