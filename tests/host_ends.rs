//! The host's async runtime ends while larder runs: larder has threads of its own and goes on.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/trial.rs"]
mod trial;

use std::time::Duration;

use larder::{Cache, Durability, Larder};
use tokio::runtime::{Builder, Runtime};
use trial::{SOON, Trial};

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn start(trial: &Trial) -> (Larder, Cache<u64>) {
    let trial = trial.clone();
    let builder = Larder::builder().driver("store", move || trial.open());
    let larder = builder.call_max(SOON).start().await.unwrap();
    let cache = larder.cache("numbers").unwrap();
    (larder, cache)
}

#[test]
fn what_a_runtime_that_ends_had_under_way_is_stored_and_larder_serves_the_next_one() {
    let trial = Trial::default();
    let first = runtime();
    let (larder, cache) = first.block_on(start(&trial));
    let mut watch = first.block_on(cache.watch("held")).unwrap();
    trial.hold();
    // One call of each kind is in the middle of it.
    for key in ["held", "other"] {
        let cache = cache.clone();
        first.spawn(async move { cache.set(key, 1).durability(Durability::Synced).await });
    }
    let reader = cache.clone();
    first.spawn(async move { reader.get("nothing").await });
    first.block_on(async {
        while larder.stats().await.unwrap().dirty.slots < 2 {
            tokio::task::yield_now().await;
        }
    });
    first.shutdown_timeout(Duration::from_secs(5));
    trial.release();
    let second = runtime();
    second.block_on(async {
        assert!(watch.next().await.is_some(), "the stream goes on");
        larder.flush(Durability::Synced).await.unwrap();
        assert!(trial.has("numbers/held") && trial.has("numbers/other"));
        assert_eq!(*cache.get("held").await.unwrap().unwrap(), 1);
        cache
            .set("held", 2)
            .durability(Durability::Written)
            .await
            .unwrap();
        larder.shutdown(SOON).await.unwrap();
    });
}
