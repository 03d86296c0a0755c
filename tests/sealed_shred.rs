//! Destroying the keys when that is least convenient: while the store is being opened, while the device refuses,
//! while somebody waits for a rotation.
#![cfg(all(unix, feature = "secure", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::sealed::{Vault, disk_factory};
use larder::drivers::{Failure, PageLimit};
use larder::secret::{KeyError, KeyErrorKind, KeyProvider, MasterKey, RollbackGuard};
use larder::{Cache, Durability, EncryptionConfig, Larder, PlainStore};
use parking_lot::Mutex;

use sealed::{HEADER, SOON, Sealed, key, quick_dir, set, shown};

#[path = "support/sealed.rs"]
mod sealed;

/// A key that says when it is asked for, and comes when it is told to.
struct Slow {
    asked: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl KeyProvider for Slow {
    fn key(&self) -> Result<MasterKey, KeyError> {
        let _ = self.asked.send(());
        let _ = self.go_on.lock().recv();
        Ok(key(1))
    }

    fn name(&self) -> String {
        "a slow one".into()
    }
}

fn vault(dir: &Path, key: impl KeyProvider) -> Arc<Vault> {
    Arc::new(Vault::new(dir, EncryptionConfig::new(key)))
}

#[test]
fn keys_are_destroyed_while_the_store_waits_for_the_master_key() {
    let dir = quick_dir();
    let first = vault(dir.path(), key(1));
    let driver = disk_factory(dir.path(), &DiskConfig::default(), &first)().unwrap();
    set(&*driver, "c/a", 1, "value");
    drop(driver);
    let (asked, was_asked) = mpsc::channel();
    let (lets, go_on) = mpsc::channel();
    let go_on = Mutex::new(go_on);
    let waiting = vault(dir.path(), Slow { asked, go_on });
    let factory = disk_factory(dir.path(), &DiskConfig::default(), &waiting);
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| factory());
        was_asked.recv_timeout(SOON).unwrap();
        // Another process' vault has no say in it.
        let other = vault(dir.path(), key(1));
        assert!(other.shred().unwrap_err().to_string().contains("in use"));
        waiting.shred().unwrap();
        drop(lets);
        let opened = opening.join().unwrap();
        assert!(opened.is_ok_and(|driver| driver.opened().emptied.is_some()));
    });
    let driver = factory().unwrap();
    assert_eq!(shown(&*driver, "c/a"), None);
}

#[test]
fn what_could_not_be_destroyed_is_there_again_and_goes_with_the_next_call() {
    let store = Sealed::new();
    let driver = store.open();
    set(&*driver, "c/a", 1, "value");
    let awaited = store.vault.rotate(Arc::new(key(2))).unwrap();
    let (header, aside) = (
        store.dir.path().join(HEADER),
        store.dir.path().join("keys.aside"),
    );
    std::fs::rename(&header, &aside).unwrap();
    std::fs::create_dir(&header).unwrap();
    assert!(store.vault.shred().is_err());
    let closed = driver.get(b"c/a").unwrap_err();
    assert!(matches!(closed, Failure::Reopen { .. }), "{closed}");
    // Nobody is told that there is nothing to wait for any more.
    assert_eq!(awaited.ended(&store.vault.progress().borrow()), None);
    std::fs::remove_dir(&header).unwrap();
    std::fs::rename(&aside, &header).unwrap();
    drop(driver);
    let driver = store.open();
    assert_eq!(shown(&*driver, "c/a").as_deref(), Some("value"));
    assert_eq!(awaited.ended(&store.vault.progress().borrow()), None);
    store.vault.shred().unwrap();
    let ended = awaited.ended(&store.vault.progress().borrow());
    assert!(matches!(ended, Some(Some(_))));
}

#[test]
fn what_was_not_converted_yet_goes_with_the_keys_though_there_is_no_master_key() {
    let dir = quick_dir();
    let plain = DiskDriver::open(dir.path(), &DiskConfig::default()).unwrap();
    for n in 0..50 {
        set(&plain, &format!("c/{n}"), n + 1, "in plain text");
    }
    drop(plain);
    let config = EncryptionConfig::new(key(1)).plain_store(PlainStore::Convert);
    let first = Arc::new(Vault::new(dir.path(), config));
    let driver = disk_factory(dir.path(), &DiskConfig::default(), &first)().unwrap();
    let page = PageLimit {
        count_max: 10,
        bytes_max: usize::MAX,
    };
    assert!(driver.upkeep(page).unwrap().goes_on);
    drop(driver);
    let none = || Err(KeyError::new(KeyErrorKind::Unavailable, "it is away"));
    let keyless = vault(dir.path(), none);
    let factory = disk_factory(dir.path(), &DiskConfig::default(), &keyless);
    assert!(factory().is_err());
    keyless.shred().unwrap();
    assert!(factory().is_err());
    assert!(!dir.path().join("store").exists());
    let later = vault(dir.path(), key(2));
    let driver = disk_factory(dir.path(), &DiskConfig::default(), &later)().unwrap();
    assert_eq!(sealed::all(&*driver), []);
}

#[test]
fn a_disk_whose_header_could_not_be_destroyed_takes_the_next_call_without_being_opened() {
    let dir = quick_dir();
    let vault = vault(dir.path(), key(1));
    let factory = disk_factory(dir.path(), &DiskConfig::default(), &vault);
    let driver = factory().unwrap();
    set(&*driver, "c/a", 1, "value");
    let (header, aside) = (dir.path().join(HEADER), dir.path().join("keys.aside"));
    std::fs::rename(&header, &aside).unwrap();
    std::fs::create_dir(&header).unwrap();
    assert!(vault.shred().is_err());
    std::fs::remove_dir(&header).unwrap();
    std::fs::rename(&aside, &header).unwrap();
    // Its driver still has the directory.
    vault.shred().unwrap();
    drop(driver);
    assert_eq!(shown(&*factory().unwrap(), "c/a"), None);
}

#[tokio::test]
async fn who_waits_for_a_rotation_is_told_when_the_keys_are_destroyed() {
    let dir = quick_dir();
    let larder = Larder::builder().secure(dir.path(), key(1));
    let larder = larder.start().await.unwrap();
    let cache: Cache<u64> = larder.secure("numbers").unwrap();
    for n in 0..2_000 {
        cache.set(&n.to_string(), n).await.unwrap();
    }
    let synced = cache.set("last", 1).durability(Durability::Synced);
    synced.await.unwrap();
    let driver = larder.driver("secure").unwrap();
    let rotation = driver.rotate_key(key(2)).await.unwrap();
    driver.shred().await.unwrap();
    let ended = tokio::time::timeout(SOON, rotation.finished()).await;
    ended.unwrap().unwrap();
    larder.shutdown(SOON).await.unwrap();
}

/// A counter that may have no answer.
#[derive(Clone, Default)]
struct Away(Arc<std::sync::atomic::AtomicBool>);

impl RollbackGuard for Away {
    fn counter(&self) -> Result<u64, KeyError> {
        match self.0.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(KeyError::new(KeyErrorKind::Unavailable, "it is away")),
            false => Ok(0),
        }
    }

    fn advance(&self, _: u64) -> Result<(), KeyError> {
        Ok(())
    }
}

#[test]
fn a_loss_is_told_once_by_the_first_opening_that_comes_to_something() {
    let guard = Away::default();
    let store = Sealed::with(EncryptionConfig::new(key(1)).rollback_guard(guard.clone()));
    set(&*store.open(), "c/a", 1, "value");
    store.vault.shred().unwrap();
    guard.0.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(store.factory()().is_err());
    guard.0.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(store.open().opened().emptied.is_some());
    assert!(store.open().opened().emptied.is_none());
}
