//! A driver that is sick on one side: the calls of the other side do not hide it.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use larder::drivers::faults::{Fault, Faults, Op, When};
use larder::drivers::map::MapStore;
use larder::{Cache, CommitConfig, Condition, Larder};

/// A guard only.
const SOON: Duration = Duration::from_secs(20);

/// Reads what is in no store, again and again, until the driver is down.
async fn read_until_down(larder: &Larder, cache: &Cache<u64>) {
    let reads = async {
        while larder.driver("store").unwrap().health().condition != Condition::Down {
            assert!(cache.get("absent").await.unwrap().is_none());
        }
    };
    tokio::time::timeout(SOON, reads).await.unwrap();
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_given_up_however_many_reads_succeed() {
    let faults = Faults::new();
    let factory = faults.over(MapStore::new().factory());
    let builder = Larder::builder().driver_factory("store", CommitConfig::default(), factory);
    let larder = builder.start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    faults.inject(Op::Commit, When::Always, Fault::Retry);
    cache.set("a", 1).await.unwrap();
    read_until_down(&larder, &cache).await;
    assert_eq!(*cache.get("a").await.unwrap().unwrap(), 1);
    faults.repair();
    larder.shutdown(SOON).await.unwrap();
}
