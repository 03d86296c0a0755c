//! Outages that overflow the dirty set: what could not be stored says so, and nothing old comes back.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::Duration;

use larder::drivers::Factory;
use larder::drivers::map::MapStore;
use larder::{
    Cache, CommitConfig, DegradedReason, Durability, Error, Larder, Limits, Priority, WriteOutcome,
};

use sluice::Sluice;

#[path = "support/sluice.rs"]
mod sluice;

const SOON: Duration = Duration::from_secs(60);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

/// A larder over a map behind a sluice, with little memory and a small dirty set.
async fn start(sluice: &Sluice, store: &MapStore, distrusted_keys_max: usize) -> Larder {
    start_over(sluice, store.factory(), distrusted_keys_max).await
}

async fn start_over(sluice: &Sluice, store: Factory, distrusted_keys_max: usize) -> Larder {
    let mut limits = Limits::default();
    limits.value_bytes_max = 16 << 10;
    limits.dirty_bytes_max = 64 << 10;
    limits.distrusted_keys_max = distrusted_keys_max;
    let (first, longest) = (Duration::from_millis(1), Duration::from_millis(5));
    let larder = Larder::builder()
        .memory_bytes(256 << 10)
        .limits(limits)
        .call_max(SOON)
        .restart_backoff(first, longest)
        .driver_factory("store", CommitConfig::default(), sluice.factory(store));
    larder.start().await.unwrap()
}

/// Makes a mutation until larder says of the driver what is waited for.
async fn until(larder: &Larder, up: bool) {
    let probe: Cache<u64> = larder.cache("probe").unwrap();
    let turns = async {
        loop {
            let set = probe
                .set("k", 0)
                .durability(Durability::Written)
                .deadline(SOON);
            match set.await {
                Ok(_) if up => return,
                Err(Error::Unavailable { .. }) if !up => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(SOON, turns).await.unwrap();
}

fn is_memory_only(outcome: &WriteOutcome) -> bool {
    let mut reasons = outcome.degraded.iter().map(|d| d.reason);
    reasons.any(|reason| reason == DegradedReason::MemoryOnly)
}

/// No key shows what it was before the driver stopped. Returns how many show something.
async fn check_none_is_old(when: &str, cache: &Cache<String>, count: usize) -> usize {
    let keys = (0..count).map(|n| format!("k{n}"));
    let found = cache.get_many(keys).await.unwrap();
    let old = found
        .iter()
        .filter(|(_, e)| e.as_ref().is_some_and(|e| **e == "old"));
    assert_eq!(old.count(), 0, "{when}: keys that are old again");
    for n in (0..count).step_by(97) {
        let found = cache.get(&format!("k{n}")).await.unwrap();
        assert!(found.is_none_or(|e| *e == "new"), "{when}: a get of k{n}");
    }
    let page = cache.scan("").page_size(10_000).await.unwrap();
    assert!(
        page.entries.iter().all(|(_, e)| **e == "new"),
        "{when}: a scan"
    );
    found.iter().filter(|(_, e)| e.is_some()).count()
}

/// Pushes everything out of memory, newcomers and what has proved itself.
async fn evict(larder: &Larder) {
    let filler = larder.cache_builder("filler").drivers(["memory"]);
    let filler = filler.weigher(|_: &u64| 8_000).open().unwrap();
    for n in 0..400 {
        let priority = [Priority::Normal, Priority::High][n as usize % 2];
        filler
            .set(&format!("f{n}"), n)
            .priority(priority)
            .await
            .unwrap();
    }
}

const TASKS: usize = 10_000;

/// Stores old values of all keys, stops the driver, and sets new ones from a task each.
async fn write_into_an_outage(sluice: &Sluice, larder: &Larder) -> Cache<String> {
    let cache: Cache<String> = larder.cache("outage").unwrap();
    let old = (0..TASKS).map(|n| (format!("k{n}"), "old".to_owned()));
    let report = cache
        .set_many(old)
        .durability(Durability::Written)
        .await
        .unwrap();
    assert_eq!((report.applied, report.chunks_unstored), (TASKS, 0));
    sluice.stop();
    until(larder, false).await;
    let sets = (0..TASKS).map(|n| {
        let cache = cache.clone();
        let key = format!("k{n}");
        tokio::spawn(async move { cache.set(&key, "new".to_owned()).outcome().await.unwrap() })
    });
    let mut memory_only = 0;
    for set in sets.collect::<Vec<_>>() {
        let outcome = set.await.unwrap();
        assert!(
            !outcome.degraded.is_empty(),
            "a driver that is down is named"
        );
        memory_only += u64::from(is_memory_only(&outcome));
    }
    let stats = larder.stats().await.unwrap();
    assert!(memory_only > 9_000, "only {memory_only}");
    assert_eq!(stats.dirty.memory_only_sets, memory_only);
    assert!(stats.dirty.bytes <= 64 << 10, "{:?}", stats.dirty);
    check_none_is_old("while it is down", &cache, TASKS).await;
    cache
}

#[test]
fn after_an_outage_that_overflowed_nothing_old_comes_back() {
    overflow(&MapStore::new().factory());
}

#[cfg(feature = "secure")]
#[test]
fn after_an_outage_that_overflowed_nothing_old_comes_back_from_a_sealed_store() {
    use larder::drivers::sealed::{Vault, over};
    let dir = tempfile::tempdir().unwrap();
    let key = larder::secret::MasterKey::generate().unwrap();
    let vault = Vault::new(dir.path(), larder::EncryptionConfig::new(key));
    overflow(&over(MapStore::new().factory(), &vault.into()));
}

fn overflow(store: &Factory) {
    let sluice = Sluice::default();
    block_on(async {
        let larder = start_over(&sluice, store.clone(), 65_536).await;
        let cache = write_into_an_outage(&sluice, &larder).await;
        sluice.restore();
        until(&larder, true).await;
        check_none_is_old("at once", &cache, TASKS).await;
        evict(&larder).await;
        check_none_is_old("after eviction", &cache, TASKS).await;
        let healed = async {
            while larder.stats().await.unwrap().memory.distrusted > 0 {
                larder.flush(Durability::Written).await.unwrap();
            }
        };
        tokio::time::timeout(SOON, healed).await.unwrap();
        evict(&larder).await;
        let kept = check_none_is_old("when all is healed", &cache, TASKS).await;
        assert!(kept > 100, "what was queued is stored, not only {kept}");
        // It is a cache as before.
        cache.set("k1", "new".to_owned()).await.unwrap();
        larder.flush(Durability::Written).await.unwrap();
        evict(&larder).await;
        assert_eq!(*cache.get("k1").await.unwrap().unwrap(), "new");
        larder.shutdown(SOON).await.unwrap();
        let larder = start_over(&sluice, store.clone(), 65_536).await;
        let cache: Cache<String> = larder.cache("outage").unwrap();
        assert!(check_none_is_old("in the next process", &cache, TASKS).await >= kept);
        larder.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn an_outage_with_more_keys_than_can_be_distrusted_one_by_one_brings_nothing_old_back() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    block_on(async {
        let larder = start(&sluice, &store, 100).await;
        let cache = write_into_an_outage(&sluice, &larder).await;
        sluice.restore();
        until(&larder, true).await;
        for _ in 0..3 {
            check_none_is_old("afterwards", &cache, TASKS).await;
            evict(&larder).await;
            larder.flush(Durability::Written).await.unwrap();
        }
        larder.shutdown(SOON).await.unwrap();
    });
}

/// Fills the dirty set of a driver that is down.
async fn fill_dirty_set(larder: &Larder) {
    let cache: Cache<Vec<u8>> = larder.cache("filling").unwrap();
    for n in 0.. {
        let outcome = cache
            .set(&format!("{n}"), vec![7; 10])
            .outcome()
            .await
            .unwrap();
        if is_memory_only(&outcome) {
            return;
        }
    }
}

#[test]
fn a_commit_that_ends_after_the_driver_is_given_up_earns_no_trust_for_what_came_since() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    block_on(async {
        let larder = start(&sluice, &store, 65_536).await;
        let cache: Cache<u64> = larder.cache("late").unwrap();
        sluice.hold_commits();
        cache.set("k", 1).await.unwrap();
        sluice.committing().await;
        sluice.break_get();
        assert!(cache.get("other").outcome().await.unwrap().degraded.len() == 1);
        fill_dirty_set(&larder).await;
        assert!(is_memory_only(&cache.set("k", 2).outcome().await.unwrap()));
        sluice.release_commits();
        until(&larder, true).await;
        evict(&larder).await;
        let found = cache.get("k").outcome().await.unwrap();
        // Nothing, or what was set last; and memory was asked to forget it.
        assert!(
            found.entry.is_none_or(|entry| *entry == 2),
            "{:?}",
            found.source
        );
        larder.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn a_clear_while_the_dirty_set_is_full_and_the_driver_down_holds_in_the_next_process() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    block_on(async {
        let larder = start(&sluice, &store, 65_536).await;
        let cache: Cache<u64> = larder.cache("cleared").unwrap();
        cache.set("before the first", 1).await.unwrap();
        cache.clear().await.unwrap();
        cache
            .set("k", 1)
            .durability(Durability::Written)
            .await
            .unwrap();
        sluice.stop();
        until(&larder, false).await;
        fill_dirty_set(&larder).await;
        let cleared = cache.clear().outcome().await.unwrap();
        assert!(!is_memory_only(&cleared) && !cleared.degraded.is_empty());
        sluice.restore();
        until(&larder, true).await;
        larder.shutdown(SOON).await.unwrap();
        let larder = start(&sluice, &store, 65_536).await;
        let cache: Cache<u64> = larder.cache("cleared").unwrap();
        assert!(cache.get("k").await.unwrap().is_none());
        assert!(cache.get("before the first").await.unwrap().is_none());
        larder.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn what_is_in_doubt_as_a_whole_is_deleted_and_what_is_not_stays() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    block_on(async {
        let larder = start(&sluice, &store, 1).await;
        let cache: Cache<String> = larder.cache("doubted").unwrap();
        let (old, new) = (|| "old".to_owned(), || "new".to_owned());
        let written = Durability::Written;
        for key in ["removed", "changed"] {
            cache.set(key, old()).durability(written).await.unwrap();
        }
        sluice.stop();
        until(&larder, false).await;
        fill_dirty_set(&larder).await;
        assert!(is_memory_only(
            &cache.set("other", new()).outcome().await.unwrap()
        ));
        assert!(is_memory_only(
            &cache.remove("removed").outcome().await.unwrap()
        ));
        assert!(is_memory_only(
            &cache.set("changed", new()).outcome().await.unwrap()
        ));
        sluice.restore();
        until(&larder, true).await;
        cache.set("later", new()).durability(written).await.unwrap();
        // What a flush says is stored is stored, and what it must not bring back is gone.
        larder.flush(written).await.unwrap();
        evict(&larder).await;
        assert_eq!(
            *cache.get("later").await.unwrap().unwrap(),
            "new",
            "believed again"
        );
        larder.shutdown(SOON).await.unwrap();
        let larder = start(&sluice, &store, 1).await;
        let cache: Cache<String> = larder.cache("doubted").unwrap();
        assert!(cache.get("removed").await.unwrap().is_none());
        let changed = cache.get("changed").await.unwrap();
        assert!(changed.is_none_or(|entry| *entry == "new"));
        assert_eq!(*cache.get("later").await.unwrap().unwrap(), "new");
        larder.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn a_purge_spares_other_caches_and_the_fences() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    block_on(async {
        let larder = start(&sluice, &store, 1).await;
        let unused: Cache<u64> = larder.cache("unused").unwrap();
        unused.set("cleared", 1).await.unwrap();
        larder.flush(Durability::Written).await.unwrap();
        unused.clear().await.unwrap();
        unused.set("k", 1).await.unwrap();
        larder.shutdown(SOON).await.unwrap();

        let larder = start(&sluice, &store, 1).await;
        sluice.stop();
        until(&larder, false).await;
        fill_dirty_set(&larder).await;
        let cache: Cache<u64> = larder.cache("doubted").unwrap();
        for n in 0..100 {
            assert!(is_memory_only(
                &cache.set(&n.to_string(), n).outcome().await.unwrap()
            ));
        }
        sluice.restore();
        until(&larder, true).await;
        larder.flush(Durability::Written).await.unwrap();
        larder.shutdown(SOON).await.unwrap();

        let larder = start(&sluice, &store, 1).await;
        let unused: Cache<u64> = larder.cache("unused").unwrap();
        assert_eq!(*unused.get("k").await.unwrap().unwrap(), 1);
        assert!(unused.get("cleared").await.unwrap().is_none());
        larder.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn a_removal_whose_driver_dies_while_it_waits_is_in_force_and_says_so() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    block_on(async {
        let larder = start(&sluice, &store, 65_536).await;
        let cache: Cache<u64> = larder.cache("late").unwrap();
        cache
            .set("k", 1)
            .durability(Durability::Written)
            .await
            .unwrap();
        sluice.hold_commits();
        let removal = tokio::spawn({
            let cache = cache.clone();
            async move { cache.remove("k").outcome().await.unwrap() }
        });
        sluice.committing().await;
        sluice.stop();
        sluice.release_commits();
        let removed = removal.await.unwrap();
        assert_eq!(removed.durability, Durability::Queued);
        assert_eq!(removed.degraded[0].reason, DegradedReason::Down);
        assert!(cache.get("k").await.unwrap().is_none());
        sluice.restore();
        until(&larder, true).await;
        larder.shutdown(SOON).await.unwrap();
        let larder = start(&sluice, &store, 65_536).await;
        let cache: Cache<u64> = larder.cache("late").unwrap();
        assert!(cache.get("k").await.unwrap().is_none());
        larder.shutdown(SOON).await.unwrap();
    });
}
