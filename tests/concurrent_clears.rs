//! Clears at the same moment: the fence that is stored, and that a restart finds, is the newest.
#![allow(clippy::unwrap_used)]

use std::future::IntoFuture;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::drivers::map::MapStore;
use larder::drivers::{Driver, PageLimit};
use larder::{Cache, CommitConfig, Larder};

const THREADS: usize = 6;
const ROUNDS: usize = 1_000;
const SOON: Duration = Duration::from_secs(30);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

#[test]
fn of_clears_at_the_same_time_the_newest_is_stored() {
    let store = MapStore::new();
    let builder = Larder::builder().memory_bytes(1 << 20);
    let builder = builder.driver_factory("store", CommitConfig::default(), store.factory());
    let larder = block_on(builder.start()).unwrap();
    let cache: Cache<String> = larder.cache("cleared").unwrap();
    let barrier = Barrier::new(THREADS);
    for round in 0..ROUNDS {
        let newest = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    let version = block_on(cache.clear().into_future()).unwrap().get();
                    newest.fetch_max(version, Ordering::SeqCst);
                });
            }
        });
        let stored = stored_fences(&store);
        let newest = newest.into_inner();
        assert_eq!(
            stored,
            [newest],
            "round {round}: the fence that a restart would find"
        );
    }
    block_on(larder.shutdown(SOON)).unwrap();
}

/// The versions of all fences that a store holds (FORMAT.md).
fn stored_fences(store: &MapStore) -> Vec<u64> {
    let page = PageLimit {
        count_max: 100,
        bytes_max: 1 << 20,
    };
    let records = store.open().scan(b"\0fences/", b"", page).unwrap();
    let fences = records.iter().map(|(key, record)| {
        let (_, payload) = larder::record::decode(key, record).unwrap();
        u64::from_le_bytes(payload.as_ref().try_into().unwrap())
    });
    fences.collect()
}
