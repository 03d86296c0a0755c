//! Sealed records that somebody edits, moves, or puts back: no reader is ever shown what does not belong
//! where it lies, and nothing of it harms the rest.
#![cfg(all(feature = "secure", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;
use larder::drivers::map::MapStore;
use larder::drivers::sealed::over;
use larder::drivers::{Driver, StoreDurability};

use larder::record::{self, Damage};
use larder::secret::{KeyError, RollbackGuard};
use larder::{
    Cache, CommitConfig, DegradedReason, Durability, EncryptionConfig, EntryEvent, EventKind,
    Larder, PlainStore, Version,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sealed::{
    MARKER, SOON, Sealed, all, delete, key, mended, plain, put, remove, reseal, set, shown,
};

#[path = "support/sealed.rs"]
mod sealed;

/// A store with one record, its driver, and where the record lies.
fn one() -> (Sealed, Box<dyn Driver>, Bytes, Bytes) {
    let store = Sealed::new();
    let driver = store.open();
    set(&*driver, "c/a", 5, "a secret");
    let (place, record) = store.records().remove(0);
    (store, driver, place, record)
}

#[test]
fn no_byte_of_a_record_can_be_changed_with_or_without_a_right_checksum() {
    let (store, driver, place, record) = one();
    for at in 0..record.len() {
        for bit in [0x01, 0x80] {
            let mut edited = record.to_vec();
            edited[at] ^= bit;
            store.plant(&place, edited.clone());
            assert_eq!(shown(&*driver, "c/a"), None, "byte {at}");
            if !(4..8).contains(&at) {
                store.plant(&place, mended(&place, &edited));
                assert_eq!(shown(&*driver, "c/a"), None, "byte {at}, mended");
            }
        }
    }
    store.plant(&place, record);
    assert_eq!(shown(&*driver, "c/a").as_deref(), Some("a secret"));
}

#[test]
fn a_record_cut_short_made_longer_or_emptied_is_none() {
    let (store, driver, place, record) = one();
    let longer = (1..40).map(|by| [&record[..], &vec![0; by]].concat());
    let shorter = (0..record.len()).map(|length| record[..length].to_vec());
    for edited in shorter.chain(longer) {
        let length = edited.len();
        store.plant(&place, mended(&place, &edited));
        assert_eq!(shown(&*driver, "c/a"), None, "{length} bytes, mended");
        store.plant(&place, edited);
        assert_eq!(shown(&*driver, "c/a"), None, "{length} bytes");
    }
    assert!(store.vault.refused() > 0);
}

#[test]
fn records_swapped_between_keys_caches_or_stores_do_not_open() {
    let (store, other) = (Sealed::new(), Sealed::new());
    for store in [&store, &other] {
        let driver = store.open();
        set(&*driver, "c/a", 5, "of a");
        set(&*driver, "c/b", 5, "of b");
        set(&*driver, "d/a", 5, "of d");
    }
    let driver = store.open();
    let (own, foreign) = (store.records(), other.records());
    for (place, was) in &own {
        for (from, record) in own.iter().chain(&foreign) {
            if from == place {
                continue;
            }
            store.plant(place, mended(place, record));
            let all = ["c/a", "c/b", "d/a"];
            let missing = all.iter().filter(|key| shown(&*driver, key).is_none());
            assert_eq!(missing.count(), 1);
        }
        store.plant(place, was.clone());
    }
    assert_eq!(shown(&*driver, "d/a").as_deref(), Some("of d"));
    // In their own places they open in no other store, whatever the header is.
    for (place, record) in foreign {
        store.plant(&place, record);
    }
    assert_eq!(driver.scan(b"", b"", sealed::ALL).unwrap().len(), 3);
}

#[test]
fn a_plain_record_is_believed_nowhere() {
    let (store, driver, place, _) = one();
    let name = b"c/a";
    store.plant(&place, mended(&place, &plain(name, 9, b"planted")));
    assert_eq!(shown(&*driver, "c/a"), None);
    let refused = driver.get(name).unwrap().unwrap();
    assert_eq!(record::decode(name, &refused).err(), Some(Damage::Sealed));
    store.plant(b"c/b", plain(b"c/b", 9, b"planted"));
    assert_eq!(shown(&*driver, "c/b"), None);
    assert!(driver.scan(b"", b"", sealed::ALL).unwrap().is_empty());
    // Nor is it sealed when the key is rotated.
    store.vault.rotate(Arc::new(key(2))).unwrap();
    reseal(&*driver, 10);
    assert_eq!(
        (shown(&*driver, "c/a"), shown(&*driver, "c/b")),
        (None, None)
    );
}

#[test]
fn an_old_version_that_is_put_back_is_refused_while_the_process_runs() {
    let (store, driver, place, old) = one();
    set(&*driver, "c/a", 6, "newer");
    store.plant(&place, old.clone());
    assert_eq!(shown(&*driver, "c/a"), None);
    remove(&*driver, "c/a");
    store.plant(&place, old.clone());
    assert_eq!(shown(&*driver, "c/a"), None, "after it was removed");
    // Whatever opens the store anew in this process remembers it.
    let driver = store.open();
    assert_eq!(shown(&*driver, "c/a"), None, "after it was opened anew");
    // Nor does a rotation launder it.
    store.vault.rotate(Arc::new(key(2))).unwrap();
    reseal(&*driver, 10);
    assert_eq!(shown(&*driver, "c/a"), None, "after a rotation");
    set(&*driver, "c/a", 7, "newest");
    assert_eq!(shown(&*driver, "c/a").as_deref(), Some("newest"));
}

#[test]
fn an_old_place_that_is_put_back_during_a_rotation_is_refused() {
    let (store, driver, place, old) = one();
    set(&*driver, "c/b", 6, "another");
    store.vault.rotate(Arc::new(key(2))).unwrap();
    remove(&*driver, "c/a");
    store.plant(&place, old);
    assert_eq!(shown(&*driver, "c/a"), None);
    reseal(&*driver, 1);
    assert_eq!(shown(&*driver, "c/a"), None);
    assert_eq!(shown(&*driver, "c/b").as_deref(), Some("another"));
    assert_eq!(store.records().len(), 1, "it is deleted");
}

#[test]
fn an_old_record_that_is_put_back_between_two_processes_is_accepted_without_a_guard() {
    let (mut store, driver, place, old) = one();
    set(&*driver, "c/a", 6, "newer");
    drop(driver);
    store.plant(&place, old);
    store.restarted(EncryptionConfig::new(key(1)));
    let driver = store.open();
    assert_eq!(shown(&*driver, "c/a").as_deref(), Some("a secret"));
}

/// Of a test: it outlives stores and forgets with the test.
#[derive(Clone, Default)]
struct InMemory(Arc<AtomicU64>);

impl RollbackGuard for InMemory {
    fn counter(&self) -> Result<u64, KeyError> {
        Ok(self.0.load(Ordering::SeqCst))
    }

    fn advance(&self, to: u64) -> Result<(), KeyError> {
        self.0.fetch_max(to, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn a_store_with_the_mark_of_an_old_copy_is_refused_by_its_guard_and_one_without_any_is_forgotten() {
    let guard = InMemory::default();
    let config = || EncryptionConfig::new(key(1)).rollback_guard(guard.clone());
    let mut store = Sealed::with(config());
    set(&*store.open(), "c/a", 1, "value");
    let mut marks = all(&store.map.open());
    marks.retain(|(place, _)| place == MARKER);
    drop(store.open());
    store.plant(MARKER, marks.remove(0).1);
    store.restarted(config());
    let reason = store.fatal();
    assert!(reason.contains("rollback guard knows"), "{reason}");
    remove(&store.map.open(), std::str::from_utf8(MARKER).unwrap());
    store.restarted(config());
    let driver = store.open();
    assert_eq!(shown(&*driver, "c/a"), None);
    set(&*driver, "c/b", 2, "after");
    drop(driver);
    store.restarted(config());
    assert_eq!(shown(&*store.open(), "c/b").as_deref(), Some("after"));
}

#[test]
fn an_empty_store_begins_anew_under_its_guard_and_believes_nothing_that_was_in_it() {
    let guard = InMemory::default();
    let config = || EncryptionConfig::new(key(1)).rollback_guard(guard.clone());
    for keeps_header in [true, false] {
        let mut store = Sealed::with(config());
        set(&*store.open(), "c/a", 1, "old");
        let (place, old) = store.records().remove(0);
        store.map = MapStore::new();
        if !keeps_header {
            std::fs::remove_file(store.dir.path().join(sealed::HEADER)).unwrap();
        }
        store.restarted(config());
        let driver = store.open();
        store.plant(&place, old);
        assert_eq!(shown(&*driver, "c/a"), None, "{keeps_header}");
        set(&*driver, "c/b", 2, "new");
        drop(driver);
        store.restarted(config());
        assert_eq!(shown(&*store.open(), "c/b").as_deref(), Some("new"));
    }
}

#[test]
fn a_plain_store_whose_guard_knows_a_sealed_one_is_refused_and_left_alone() {
    let guard = InMemory::default();
    let config = || {
        EncryptionConfig::new(key(1))
            .plain_store(PlainStore::Convert)
            .rollback_guard(guard.clone())
    };
    drop(Sealed::with(config()).open());
    let store = Sealed::with(config());
    set(&store.map.open(), "c/a", 1, "plain");
    let reason = store.fatal();
    assert!(reason.contains("set the guard to 0"), "{reason}");
    assert!(!store.dir.path().join(sealed::HEADER).exists());
    // Nor is it forgotten where a start without the guard has made a header, and died.
    let mut store = store;
    store.restarted(EncryptionConfig::new(key(1)));
    drop(store.open());
    store.restarted(config());
    assert_eq!(store.fatal(), reason);
    assert_eq!(shown(&store.map.open(), "c/a").as_deref(), Some("plain"));
}

/// The place of a fence, and one more record above it.
fn fenced() -> (Sealed, Bytes, Bytes) {
    let store = Sealed::new();
    let driver = store.open();
    set(&*driver, "c/cleared", 5, "behind a fence");
    let fence = "\0fences/c".to_string();
    set(&*driver, &fence, 6, "8 bytes.");
    let ceiling = larder::drivers::Watermark {
        ceiling: 100,
        clock_ms: 1,
    };
    driver.reserve(ceiling).unwrap();
    let mut records = store.records();
    records.retain(|(place, _)| place.starts_with(b"\0fences/"));
    let (place, record) = records.remove(0);
    (store, place, record)
}

#[test]
fn a_fence_that_does_not_open_has_everything_forgotten_whatever_was_done_to_it() {
    let (_, _, whole) = fenced();
    // All of the head, and some of what is sealed.
    for at in (0..44).chain((44..whole.len()).step_by(16)) {
        let (mut store, place, record) = fenced();
        let mut edited = record.to_vec();
        edited[at] ^= 0x10;
        store.plant(&place, edited);
        store.restarted(EncryptionConfig::new(key(1)));
        let driver = store.open();
        assert_eq!(shown(&*driver, "c/cleared"), None, "byte {at}");
        // So that memory stores again what it has of it, and statistics count the loss.
        assert!(driver.opened().emptied.is_some(), "byte {at}");
        set(&*driver, "c/new", 101, "after it");
        assert!(shown(&*driver, "c/new").is_some());
    }
}

#[test]
fn a_plain_record_in_a_fences_place_has_everything_forgotten() {
    let (mut store, place, _) = fenced();
    store.plant(&place, plain(&place, 1, b"8 bytes."));
    store.restarted(EncryptionConfig::new(key(1)));
    assert_eq!(shown(&*store.open(), "c/cleared"), None);
    let (mut store, ..) = fenced();
    store.restarted(EncryptionConfig::new(key(1)));
    assert!(
        shown(&*store.open(), "c/cleared").is_some(),
        "else it is not"
    );
}

#[test]
fn the_driver_never_deletes_what_it_refuses_and_lets_it_be_overwritten() {
    let (store, driver, place, record) = one();
    let mut edited = record.to_vec();
    edited[60] ^= 1;
    let edited = mended(&place, &edited);
    store.plant(&place, edited.clone());
    assert_eq!(shown(&*driver, "c/a"), None);
    assert_eq!(store.records(), [(place, edited.into())]);
    set(&*driver, "c/a", 6, "newer");
    assert_eq!(shown(&*driver, "c/a").as_deref(), Some("newer"));
    let batch = [put("c/b", 7, "b"), delete("c/a")];
    driver.commit(&batch, StoreDurability::Written).unwrap();
    assert_eq!(store.records().len(), 1);
}

/// A larder over a sealed map whose only tier it is, with two records.
async fn larder(store: &Sealed) -> (Larder, Cache<String>) {
    let factory = over(store.map.factory(), &store.vault);
    let builder = Larder::builder().driver_factory("store", CommitConfig::default(), factory);
    let larder = builder.start().await.unwrap();
    let cache = larder.cache_builder("c").drivers(["store"]).open().unwrap();
    (larder, cache)
}

async fn fill(cache: &Cache<String>) {
    for name in ["a", "b"] {
        let set = cache.set(name, format!("value of {name}"));
        set.durability(Durability::Written).await.unwrap();
    }
}

/// Edits every record of the cache but the first one by place.
fn edit_last(map: &MapStore) {
    let mut records = sealed::all(&map.open());
    records.retain(|(place, _)| place.starts_with(b"s"));
    let (place, record) = records.pop().unwrap();
    let mut edited = record.to_vec();
    let last = edited.len() - 1;
    edited[last] ^= 1;
    sealed::plant(&map.open(), &place, mended(&place, &edited));
}

#[tokio::test]
async fn every_call_of_a_cache_sees_a_refused_record_as_a_miss() {
    let store = Sealed::new();
    let (larder, cache) = larder(&store).await;
    fill(&cache).await;
    edit_last(&store.map);
    let mut gone = Vec::new();
    for name in ["a", "b"] {
        let outcome = cache.get(name).outcome().await.unwrap();
        if outcome.entry.is_none() {
            let reasons: Vec<_> = outcome.degraded.iter().map(|d| d.reason).collect();
            assert_eq!(reasons, [DegradedReason::Refused]);
            gone.push(name);
        }
    }
    let [gone] = gone[..] else {
        panic!("{gone:?}");
    };
    assert!(!cache.contains(gone).await.unwrap());
    let page = cache.scan("").await.unwrap();
    assert_eq!(page.entries.len(), 1);
    let mut chunks = cache.get_many(["a", "b"]);
    let chunk = chunks.next().await.unwrap().unwrap();
    let found = chunk.keys.iter().filter(|(_, found)| {
        let found = found.as_ref().unwrap();
        found.is_some()
    });
    assert_eq!(found.count(), 1);
    drop(chunk);
    drop(chunks);
    let versioned = cache.set(gone, "no".to_owned()).if_version(Version::at(1));
    assert!(versioned.await.is_err());
    let absent = cache.set(gone, "again".to_owned()).if_absent();
    absent.durability(Durability::Written).await.unwrap();
    assert_eq!(*cache.get(gone).await.unwrap().unwrap(), "again");
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn watchers_hear_of_expiry_by_name_though_the_store_knows_none() {
    let store = Sealed::new();
    let clock = larder::clock::Clock::manual(1_700_000_000_000);
    let factory = over(store.map.factory(), &store.vault);
    let builder = Larder::builder().clock(clock.clone());
    let builder = builder.driver_factory("store", CommitConfig::default(), factory);
    let larder = builder.start().await.unwrap();
    let cache: Cache<String> = larder.cache("c").unwrap();
    let mut events = cache.watch_prefix("").await.unwrap();
    let set = cache
        .set("ada", "value".to_owned())
        .ttl(Duration::from_secs(5));
    set.durability(Durability::Written).await.unwrap();
    clock.advance(Duration::from_secs(60));
    let expired = async {
        loop {
            if let EntryEvent::Changed(change) = events.next().await.unwrap()
                && change.kind == EventKind::Expired
            {
                return change.key;
            }
        }
    };
    assert_eq!(tokio::time::timeout(SOON, expired).await.unwrap(), "ada");
    larder.shutdown(SOON).await.unwrap();
}
