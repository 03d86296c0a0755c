//! Rotations of the master key and conversions of plain stores, at every place where they can be disturbed:
//! nothing that was there is lost, nothing that was removed comes back, and they end.
#![cfg(all(feature = "secure", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use larder::drivers::{Driver, StoreDurability};
use larder::record::decode;
use larder::secret::{MasterKey, named};
use larder::{Cache, CommitConfig, Durability, EncryptionConfig, Larder, PlainStore};

use sealed::{
    ALL, HEADER, SOON, Sealed, key, mended_header, put, quick_dir, remove, reseal, set, shown,
};

#[path = "support/sealed.rs"]
mod sealed;

const RECORDS: u64 = 60;

fn name(n: u64) -> String {
    // On both sides of where sealed records are filed.
    format!("{}/{n}", if n.is_multiple_of(2) { "a" } else { "z" })
}

fn value(n: u64) -> String {
    format!("value {n}")
}

fn page(count_max: usize) -> larder::drivers::PageLimit {
    larder::drivers::PageLimit {
        count_max,
        bytes_max: usize::MAX,
    }
}

/// A map with plain records, and a vault for it.
fn plain_store() -> Sealed {
    let store = Sealed::new();
    let plain = store.map.open();
    for n in 0..RECORDS {
        set(&plain, &name(n), n + 1, &value(n));
    }
    store
}

fn all_there(driver: &dyn Driver, context: &str) {
    let scanned: BTreeMap<_, _> = driver.scan(b"", b"", ALL).unwrap().into_iter().collect();
    assert_eq!(scanned.len() as u64, RECORDS, "{context}");
    for n in 0..RECORDS {
        let name = name(n);
        let got = driver.get(name.as_bytes()).unwrap();
        assert_eq!(got.as_ref(), scanned.get(name.as_bytes()), "{context}: {n}");
        let (_, payload) = decode(name.as_bytes(), &got.unwrap()).unwrap();
        assert_eq!(payload, value(n), "{context}: {n}");
    }
}

#[test]
fn a_key_that_is_rotated_during_a_conversion_loses_nothing_wherever_it_was() {
    for pages in 0..=RECORDS as usize + 2 {
        let mut store = plain_store();
        let driver = store.open();
        for _ in 0..pages {
            driver.upkeep(page(1)).unwrap();
        }
        store.vault.rotate(Arc::new(key(2))).unwrap();
        reseal(&*driver, 7);
        all_there(&*driver, &format!("rotated after {pages} pages"));
        drop(driver);
        store.restarted(EncryptionConfig::new(key(1)));
        assert!(store.fatal().contains("another master key"));
        store.restarted(EncryptionConfig::new(key(2)));
        all_there(&*store.open(), "opened anew");
    }
}

#[test]
fn a_conversion_goes_on_wherever_it_was_when_the_process_died() {
    for pages in (0..=RECORDS as usize + 2).step_by(3) {
        let mut store = plain_store();
        let driver = store.open();
        for _ in 0..pages {
            driver.upkeep(page(1)).unwrap();
        }
        drop(driver);
        store.restarted(EncryptionConfig::new(key(1)));
        let driver = store.open();
        all_there(&*driver, "before it has ended");
        remove(&*driver, &name(3));
        set(&*driver, &name(4), 1_000, "newer");
        reseal(&*driver, 7);
        assert_eq!(shown(&*driver, &name(3)), None);
        assert_eq!(shown(&*driver, &name(4)).as_deref(), Some("newer"));
        assert_eq!(store.records().len() as u64, RECORDS - 1);
        assert!(
            store
                .records()
                .iter()
                .all(|(_, record)| record.starts_with(b"LS"))
        );
    }
}

#[test]
fn a_header_that_is_gone_in_the_middle_of_a_conversion_is_missed() {
    let mut store = plain_store();
    let driver = store.open();
    driver.upkeep(page(5)).unwrap();
    drop(driver);
    std::fs::remove_file(store.dir.path().join(HEADER)).unwrap();
    let before = sealed::all(&store.map.open());
    store.restarted(EncryptionConfig::new(key(1)));
    let reason = store.fatal();
    assert!(
        reason.contains("header of this sealed store is gone"),
        "{reason}"
    );
    assert_eq!(sealed::all(&store.map.open()), before);
}

#[test]
fn a_plain_store_that_is_not_to_be_converted_is_refused_and_left_alone() {
    let mut store = plain_store();
    let before = sealed::all(&store.map.open());
    let config = EncryptionConfig::new(key(1)).plain_store(PlainStore::Refuse);
    store.restarted(config);
    let reason = store.fatal();
    assert!(reason.contains("is a plain one"), "{reason}");
    assert_eq!(sealed::all(&store.map.open()), before);
    assert!(!store.dir.path().join(HEADER).exists());
}

#[test]
fn either_key_opens_until_a_rotation_has_ended_and_what_is_written_in_between_stays() {
    for pages in 0..12 {
        let mut store = Sealed::new();
        let driver = store.open();
        for n in 0..RECORDS {
            set(&*driver, &name(n), n + 1, &value(n));
        }
        store.vault.rotate(Arc::new(key(2))).unwrap();
        for _ in 0..pages {
            driver.upkeep(page(5)).unwrap();
        }
        drop(driver);
        for byte in [1, 2, 1] {
            store.restarted(EncryptionConfig::new(key(byte)));
            let driver = store.open();
            all_there(&*driver, &format!("key {byte} after {pages} pages"));
            // With the old key it comes to the end of its records, and forgets nothing.
            reseal(&*driver, 7);
            all_there(&*driver, &format!("key {byte}, sealed anew"));
            if byte == 2 {
                break;
            }
        }
        store.restarted(EncryptionConfig::new(key(1)));
        assert!(store.fatal().contains("another master key"));
    }
}

#[test]
fn a_start_that_has_both_keys_opens_the_store_before_during_and_after_a_rotation() {
    let both = || EncryptionConfig::new(key(2)).or_key(key(1));
    let mut store = Sealed::new();
    set(&*store.open(), "c/a", 1, "value");
    store.restarted(both());
    let driver = store.open();
    assert_eq!(shown(&*driver, "c/a").as_deref(), Some("value"));
    store.vault.rotate(Arc::new(key(2))).unwrap();
    drop(driver);
    store.restarted(both());
    let driver = store.open();
    assert!(store.vault.progress().borrow().older_key_opens);
    // With the newer one: the older one is forgotten.
    reseal(&*driver, 1);
    assert!(!store.vault.progress().borrow().older_key_opens);
    drop(driver);
    store.restarted(both());
    assert_eq!(shown(&*store.open(), "c/a").as_deref(), Some("value"));
    store.restarted(EncryptionConfig::new(key(3)).or_key(key(1)));
    assert!(store.fatal().contains("another master key"));
}

#[test]
fn of_two_keys_a_refusal_names_the_one_that_fits_or_both() {
    let with = |newer, older| {
        let newer = named("the new vault", key(newer));
        EncryptionConfig::new(newer).or_key(named("the old vault", key(older)))
    };
    let mut store = Sealed::new();
    set(&*store.open(), "c/a", 1, "value");
    store.restarted(with(3, 4));
    let refusal = store.fatal();
    assert!(
        refusal.contains("another master key than that from the new vault or the old vault"),
        "{refusal}"
    );
    let header = store.dir.path().join(HEADER);
    let mut bytes = std::fs::read(&header).unwrap();
    // What is sealed under the master key ends before the checksum.
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    std::fs::write(&header, mended_header(bytes)).unwrap();
    store.restarted(with(3, 1));
    let refusal = store.fatal();
    assert!(
        refusal.contains("the old vault is the right one"),
        "{refusal}"
    );
}

#[test]
fn a_conversion_ends_under_the_older_of_two_keys_too() {
    let mut store = plain_store();
    let driver = store.open();
    driver.upkeep(page(1)).unwrap();
    store.vault.rotate(Arc::new(key(2))).unwrap();
    drop(driver);
    store.restarted(EncryptionConfig::new(key(1)));
    let driver = store.open();
    let (_, done) = reseal(&*driver, 7);
    assert!(done.wants_scrub);
    driver.scrub().unwrap();
    let progress = *store.vault.progress().borrow();
    assert!(!progress.plain_text_left && progress.older_key_opens);
    all_there(&*driver, "under the older key");
}

#[test]
fn a_second_rotation_waits_for_the_first() {
    let store = Sealed::new();
    let driver = store.open();
    set(&*driver, "c/a", 1, "value");
    store.vault.rotate(Arc::new(key(2))).unwrap();
    let header = std::fs::read(store.dir.path().join(HEADER)).unwrap();
    let refused = store
        .vault
        .rotate(Arc::new(key(3)))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("let it end first"), "{refused}");
    assert_eq!(
        std::fs::read(store.dir.path().join(HEADER)).unwrap(),
        header
    );
    // Nor is the older key accepted as if it were another one: it would wait for itself.
    let older = store.vault.rotate(Arc::new(key(1)));
    let older = older.unwrap_err().to_string();
    assert!(older.contains("give the newer one"), "{older}");
    reseal(&*driver, 1);
    store.vault.rotate(Arc::new(key(3))).unwrap();
    reseal(&*driver, 1);
    assert_eq!(shown(&*driver, "c/a").as_deref(), Some("value"));
}

#[test]
fn what_is_set_and_removed_between_the_pages_of_a_rotation_is_as_it_was_left() {
    let store = Sealed::new();
    let driver = store.open();
    for n in 0..RECORDS {
        set(&*driver, &name(n), n + 1, &value(n));
    }
    store.vault.rotate(Arc::new(key(2))).unwrap();
    let mut at = 0;
    while driver.upkeep(page(3)).unwrap().goes_on {
        let batch = [
            put(&name(at), 100 + at, "newer"),
            sealed::delete(&name(at + 1)),
        ];
        driver.commit(&batch, StoreDurability::Written).unwrap();
        at = (at + 7) % RECORDS;
    }
    reseal(&*driver, 3);
    let newer = (0..RECORDS).filter(|n| shown(&*driver, &name(*n)).as_deref() == Some("newer"));
    let newer = newer.count();
    let gone = (0..RECORDS).filter(|n| shown(&*driver, &name(*n)).is_none());
    let gone = gone.count();
    assert!(newer > 5 && gone > 5, "{newer} and {gone}");
    assert_eq!(store.records().len(), RECORDS as usize - gone);
}

async fn start(dir: &std::path::Path, key: MasterKey) -> Larder {
    Larder::builder().secure(dir, key).start().await.unwrap()
}

#[tokio::test]
async fn a_rotation_to_the_key_that_is_in_use_already_ends_at_once() {
    let dir = quick_dir();
    let larder = start(dir.path(), key(1)).await;
    let cache: Cache<u64> = larder.secure("numbers").unwrap();
    cache
        .set("a", 1)
        .durability(Durability::Written)
        .await
        .unwrap();
    let driver = larder.driver("secure").unwrap();
    let rotation = driver.rotate_key(key(1)).await.unwrap();
    let done = tokio::time::timeout(SOON, rotation.finished()).await;
    assert_eq!(done.unwrap().unwrap().resealed, 0);
    assert!(!driver.seal_progress().unwrap().is_under_way);
    larder.shutdown(SOON).await.unwrap();
}

#[test]
fn what_is_plain_and_cannot_be_read_is_given_up_as_it_would_stay_in_plain_text() {
    let store = plain_store();
    let mut later = sealed::plain(b"a/later", 1_000, b"later").to_vec();
    later[2] += 2;
    store.plant(b"a/later", sealed::mended(b"a/later", &later));
    store.plant(b"x/damaged", vec![7; 100]);
    let driver = store.open();
    reseal(&*driver, 7);
    all_there(&*driver, "converted");
    assert_eq!(store.vault.progress().borrow().given_up, 2);
    let sealed = |(_, stored): &(bytes::Bytes, bytes::Bytes)| stored.starts_with(b"LS");
    assert!(store.records().iter().all(sealed));
}

#[tokio::test]
async fn a_plain_fence_of_a_later_layout_is_sealed_before_the_conversion_ends() {
    let mut store = plain_store();
    let place = b"\0fences/a/team:7";
    let mut later = sealed::plain(place, 1_000, b"8 bytes.").to_vec();
    later[2] += 2;
    store.plant(place, sealed::mended(place, &later));
    let larder = Larder::builder();
    let larder = larder.driver_factory("store", CommitConfig::default(), store.factory());
    let larder = larder.start().await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let driver = store.open();
    reseal(&*driver, 7);
    set(&*driver, "a/new", 10_000, "after it");
    drop(driver);
    let plain = |(_, stored): &(bytes::Bytes, bytes::Bytes)| stored.starts_with(b"LR");
    assert!(!store.records().iter().any(plain));
    store.restarted(EncryptionConfig::new(key(1)));
    let driver = store.open();
    assert_eq!(shown(&*driver, "a/new").as_deref(), Some("after it"));
    assert!(driver.opened().emptied.is_none());
}

#[tokio::test]
async fn one_rotation_after_another_under_load_keeps_everything() {
    let dir = quick_dir();
    let larder = start(dir.path(), key(1)).await;
    let cache: Cache<u64> = larder.secure("numbers").unwrap();
    let driver = larder.driver("secure").unwrap();
    for byte in 2..6 {
        let rotation = driver.rotate_key(key(byte)).await.unwrap();
        let loading = async {
            for n in 0..300 {
                cache
                    .set(&n.to_string(), n * u64::from(byte))
                    .await
                    .unwrap();
            }
            larder.flush(Durability::Written).await.unwrap();
        };
        let (ended, ()) = tokio::join!(rotation.finished(), loading);
        ended.unwrap();
    }
    larder.shutdown(SOON).await.unwrap();
    let larder = start(dir.path(), key(5)).await;
    let cache: Cache<u64> = larder.secure("numbers").unwrap();
    for n in 0..300 {
        assert_eq!(*cache.get(&n.to_string()).await.unwrap().unwrap(), n * 5);
    }
    larder.shutdown(SOON).await.unwrap();
}
