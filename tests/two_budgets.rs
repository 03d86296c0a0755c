//! Two drivers, one of them down for longer than its part of the dirty set lasts: the other one goes on
//! getting everything, and what the first one has of it is not believed.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use larder::drivers::Driver;
use larder::drivers::map::MapStore;
use larder::{
    Cache, CommitConfig, DegradedReason, Durability, Error, Larder, Limits, WriteOutcome,
};

use sluice::Sluice;

#[path = "support/sluice.rs"]
mod sluice;

const SOON: Duration = Duration::from_secs(60);
const KEYS: usize = 400;

/// Two stores, each behind a sluice, first to last.
#[derive(Default)]
struct Stores {
    sluices: [Sluice; 2],
    maps: [MapStore; 2],
}

const NAMES: [&str; 2] = ["upper", "lower"];

impl Stores {
    async fn start(&self) -> Larder {
        let mut limits = Limits::default();
        limits.value_bytes_max = 16 << 10;
        limits.dirty_bytes_max = 64 << 10;
        let (first, longest) = (Duration::from_millis(1), Duration::from_millis(5));
        let mut larder = Larder::builder()
            .memory_bytes(256 << 10)
            .limits(limits)
            .call_max(SOON)
            .restart_backoff(first, longest);
        for (at, name) in NAMES.into_iter().enumerate() {
            let factory = self.sluices[at].factory(self.maps[at].factory());
            larder = larder.driver_factory(name, CommitConfig::default(), factory);
        }
        larder.start().await.unwrap()
    }

    fn has(&self, at: usize, key: &str) -> bool {
        let found = self.maps[at].open().get(format!("users/{key}").as_bytes());
        found.unwrap().is_some()
    }
}

/// Makes a change until larder says of its drivers what is waited for.
async fn until(larder: &Larder, up: bool) {
    let probe: Cache<u64> = larder.cache("probe").unwrap();
    let turns = async {
        loop {
            let set = probe.set("k", 0).durability(Durability::Written);
            match set.await {
                Ok(_) if up => return,
                Err(Error::Unavailable { .. }) if !up => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(SOON, turns).await.unwrap();
}

/// The drivers that will not get a change.
fn left_out(outcome: &WriteOutcome) -> Vec<&str> {
    let degraded = outcome.degraded.iter();
    let left_out = degraded.filter(|d| d.reason == DegradedReason::MemoryOnly);
    left_out.map(|d| &*d.driver).collect()
}

fn value(what: &str) -> String {
    what.repeat(300)
}

/// Pushes everything out of memory.
async fn evict(larder: &Larder) {
    let filler = larder.cache_builder("filler").drivers(["memory"]);
    let filler = filler.weigher(|_: &u64| 8_000).open().unwrap();
    for n in 0..400 {
        filler.set(&n.to_string(), n).await.unwrap();
    }
}

/// Old values of all keys in both, then new ones while one of them is down.
async fn write_into_an_outage(stores: &Stores, larder: &Larder, down: usize) -> Cache<String> {
    let users: Cache<String> = larder.cache("users").unwrap();
    let old = (0..KEYS).map(|n| (n.to_string(), value("old")));
    let report = users.set_many(old).durability(Durability::Written).await;
    assert_eq!(report.unwrap().applied, KEYS);
    stores.sluices[down].stop();
    until(larder, false).await;
    let mut left_out_of_one = 0;
    for n in 0..KEYS {
        let set = users.set(&n.to_string(), value("new")).outcome().await;
        match left_out(&set.unwrap()).as_slice() {
            [] => {}
            [one] if *one == NAMES[down] => left_out_of_one += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(left_out_of_one > KEYS / 2, "{left_out_of_one}");
    // What is left of the room is less than a value, and a few removals fill it.
    for name in 'a'..='z' {
        users.remove(&name.to_string()).await.unwrap();
    }
    let removed = users.remove("0").outcome().await.unwrap();
    assert_eq!(left_out(&removed), [NAMES[down]]);
    users
}

/// What is shown is new; how many keys show something.
async fn check(when: &str, users: &Cache<String>) -> usize {
    let found = users.get_many((0..KEYS).map(|n| n.to_string())).await;
    let found = found.unwrap();
    assert!(found[0].1.is_none(), "{when}: it was removed");
    let page = users.scan("").page_size(KEYS).await.unwrap();
    let mut shown = found.iter().filter_map(|(_, entry)| entry.as_ref());
    let mut scanned = page.entries.iter().map(|(_, entry)| entry);
    assert!(shown.all(|entry| **entry == value("new")), "{when}");
    assert!(scanned.all(|entry| **entry == value("new")), "{when}");
    found.iter().filter(|(_, entry)| entry.is_some()).count()
}

#[tokio::test]
async fn with_one_of_two_down_and_its_budget_full_the_other_one_gets_everything() {
    for down in [0, 1] {
        let stores = Stores::default();
        let larder = stores.start().await;
        let users = write_into_an_outage(&stores, &larder, down).await;
        evict(&larder).await;
        // Nothing of it is in memory any more, and not all of it can wait in the dirty set.
        assert_eq!(check("while it is down", &users).await, KEYS - 1);
        stores.sluices[down].restore();
        until(&larder, true).await;
        assert!(check("at once", &users).await >= KEYS / 2);
        larder.flush(Durability::Written).await.unwrap();
        evict(&larder).await;
        assert_eq!(check("when all is healed", &users).await, KEYS - 1);
        assert!(!stores.has(0, "0") && !stores.has(1, "0"));
        larder.shutdown(SOON).await.unwrap();
        let next = stores.start().await;
        let users: Cache<String> = next.cache("users").unwrap();
        assert_eq!(check("in the next process", &users).await, KEYS - 1);
        next.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_cache_that_lies_in_the_other_one_alone_does_not_notice() {
    let stores = Stores::default();
    let larder = stores.start().await;
    write_into_an_outage(&stores, &larder, 0).await;
    let own = larder.cache_builder("own").drivers(["memory", "lower"]);
    let own: Cache<String> = own.open().unwrap();
    for n in 0..KEYS {
        let set = own.set(&n.to_string(), value("new")).outcome().await;
        assert!(set.unwrap().degraded.is_empty());
    }
    let set = own.set("k", value("new")).durability(Durability::Written);
    set.await.unwrap();
    stores.sluices[0].restore();
    until(&larder, true).await;
    larder.shutdown(SOON).await.unwrap();
}
