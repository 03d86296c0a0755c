//! A fence raised while the driver is down and the dirty set is full is kept, and stored later.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use larder::config::CommitConfig;
use larder::drivers::map::{MapDriver, MapStore};
use larder::drivers::{
    Driver, Factory, Failure, PageLimit, Reclaimed, StoreDurability, Watermark, Write,
};
use larder::{ActorState, Cache, Durability, Larder, Limits};

const SOON: Duration = Duration::from_secs(20);

/// A map that fails every commit, and cannot be opened, while it is switched off.
struct Switched {
    map: MapDriver,
    off: Arc<AtomicBool>,
}

impl Switched {
    fn check(off: &AtomicBool) -> Result<(), Failure> {
        if off.load(Ordering::SeqCst) {
            return Err(Failure::reopen("switched off"));
        }
        Ok(())
    }
}

impl Driver for Switched {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        self.map.get(key)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        Self::check(&self.off)?;
        self.map.commit(batch, durability)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        self.map.scan(prefix, after, page)
    }

    fn reclaim(&self, now_ms: u64, count_max: usize) -> Result<Reclaimed, Failure> {
        self.map.reclaim(now_ms, count_max)
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.map.reserve(mark)
    }

    fn reserved(&self) -> Watermark {
        self.map.reserved()
    }
}

fn factory(store: &MapStore, off: &Arc<AtomicBool>) -> Factory {
    let (store, off) = (store.clone(), Arc::clone(off));
    Arc::new(move || {
        Switched::check(&off)?;
        let (map, off) = (store.open(), Arc::clone(&off));
        Ok(Box::new(Switched { map, off }))
    })
}

async fn start(store: &MapStore, off: &Arc<AtomicBool>) -> Larder {
    let mut limits = Limits::default();
    limits.value_bytes_max = 1_024;
    limits.dirty_bytes_max = 4_096;
    Larder::builder()
        .limits(limits)
        // Long enough that nothing but this test starts the driver again.
        .restart_backoff(Duration::from_secs(3_600), Duration::from_secs(3_600))
        .driver_factory("map", CommitConfig::default(), factory(store, off))
        .start()
        .await
        .unwrap()
}

/// Returns when the driver's actor is in this state.
async fn until(larder: &Larder, state: ActorState) {
    let is_there = || {
        larder
            .actors()
            .iter()
            .any(|a| a.name == "map" && a.state == state)
    };
    let reached = async {
        while !is_there() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, reached).await.unwrap();
}

#[tokio::test]
async fn a_clear_past_the_dirty_budget_takes_nothing_back_that_an_earlier_one_promised() {
    let (store, off) = (MapStore::new(), Arc::new(AtomicBool::new(false)));
    let larder = start(&store, &off).await;
    let users: Cache<Vec<u8>> = larder.cache("users").unwrap();
    let written = Durability::Written;
    users.set("a", vec![1]).durability(written).await.unwrap();
    users.clear().durability(written).await.unwrap();
    users.set("b", vec![2]).durability(written).await.unwrap();

    off.store(true, Ordering::SeqCst);
    users.set("c", vec![3]).await.unwrap();
    until(&larder, ActorState::Down).await;
    for n in 0..8 {
        users.set(&n.to_string(), vec![0; 1_000]).await.unwrap();
    }
    assert!(larder.stats().await.unwrap().dirty.memory_only_sets > 0);
    users.clear().await.unwrap();
    assert!(users.get("b").await.unwrap().is_none());

    off.store(false, Ordering::SeqCst);
    larder.restart("map").unwrap();
    until(&larder, ActorState::Up).await;
    larder.shutdown(SOON).await.unwrap();
    let larder = start(&store, &off).await;
    let users: Cache<Vec<u8>> = larder.cache("users").unwrap();
    assert!(
        users.get("a").await.unwrap().is_none(),
        "cleared as written"
    );
    assert!(
        users.get("b").await.unwrap().is_none(),
        "cleared, and stored since"
    );
    larder.shutdown(SOON).await.unwrap();
}
