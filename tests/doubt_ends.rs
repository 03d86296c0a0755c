//! What came to be in doubt during an outage ends by itself, and whoever watches is told.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use larder::drivers::faults::{Fault, Faults, Op, When};
use larder::drivers::map::MapStore;
use larder::{Cache, CommitConfig, Condition, Larder, Limits};

/// A guard only.
const SOON: Duration = Duration::from_secs(20);
const KEYS: u64 = 3_000;

async fn start(faults: &Faults, distrusted_keys_max: usize) -> Larder {
    let mut limits = Limits::default();
    limits.value_bytes_max = 16 << 10;
    limits.dirty_bytes_max = 64 << 10;
    limits.distrusted_keys_max = distrusted_keys_max;
    let factory = faults.over(MapStore::new().factory());
    let builder = Larder::builder()
        .limits(limits)
        .restart_backoff(Duration::from_millis(1), Duration::from_millis(5))
        .driver_factory("store", CommitConfig::default(), factory);
    builder.start().await.unwrap()
}

/// Returns once whoever watches has been told that all is so.
async fn told(larder: &Larder, condition: Condition) {
    let mut changes = larder.watch_health();
    let told = async {
        while let Some(health) = changes.next().await {
            if health.drivers[0].condition == condition {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, told).await.unwrap();
}

/// More is set while the driver is down than can wait for it.
async fn outage(larder: &Larder, faults: &Faults) {
    let numbers: Cache<u64> = larder.cache("numbers").unwrap();
    faults.inject(Op::Open, When::Always, Fault::Reopen);
    faults.inject(Op::Commit, When::Always, Fault::Reopen);
    numbers.set("first", 0).await.unwrap();
    told(larder, Condition::Down).await;
    for n in 0..KEYS {
        numbers.set(&n.to_string(), n).await.unwrap();
    }
    assert!(larder.driver("store").unwrap().health().distrusted);
    faults.repair();
}

#[tokio::test]
async fn who_watches_is_told_when_every_stored_copy_is_believed_again() {
    let faults = Faults::new();
    let larder = start(&faults, KEYS as usize * 100).await;
    outage(&larder, &faults).await;
    told(&larder, Condition::Up).await;
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_purge_that_fails_is_made_again_though_nobody_writes() {
    let faults = Faults::new();
    let larder = start(&faults, 1).await;
    outage(&larder, &faults).await;
    // Those after it is opened: opening itself looks for fences.
    for nth in 2..=5 {
        faults.inject(Op::Scan, When::Nth(nth), Fault::Retry);
    }
    told(&larder, Condition::Up).await;
    larder.shutdown(SOON).await.unwrap();
}
