//! The header of a sealed store at each step of what is done to it: killed before any of them, or without
//! power after the last, it is the one before or the one after, and never neither.
#![cfg(all(target_os = "linux", feature = "secure", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use larder::drivers::map::MapStore;
use larder::drivers::sealed::{Vault, over};
use larder::{Cache, Durability, EncryptionConfig, Larder};

use crash::{Child, Shim};
use faults_of_disks::{Control, ENOSPC, WRITE};
use sealed::{HEADER, SOON, Sealed, key, quick_dir, reseal, set, shown};

#[path = "support/crash.rs"]
mod crash;
#[path = "support/faults_of_disks.rs"]
mod faults_of_disks;
#[path = "support/sealed.rs"]
mod sealed;

/// More than there are.
const STEPS_MAX: u64 = 100;

fn vault(dir: &Path, byte: u8) -> Arc<Vault> {
    Arc::new(Vault::new(dir, EncryptionConfig::new(key(byte))))
}

/// A store with a record and a header.
fn filled() -> Sealed {
    let store = Sealed::new();
    set(&*store.open(), "c/a", 1, "value");
    store
}

/// Before each step of the child `test` in turn it is killed; `check` sees what is left, and what it said.
fn killed_at_each_step(test: &str, check: impl Fn(Sealed, &[String], &str)) {
    for step in 1..STEPS_MAX {
        let store = filled();
        let scratch = tempfile::tempdir().unwrap();
        let control = scratch.path().join("control");
        let command = faults_of_disks::command(test, store.dir.path(), &control);
        Control::at(&control).kill_at(step);
        let (said, ended) = Child::spawn(command).end();
        check(store, &said, &format!("step {step}"));
        if ended {
            assert!(step > 4, "{step} steps are too few to be all");
            return;
        }
    }
    panic!("it has no end");
}

/// What a device has left when the child `test` has said that it is done.
fn after_a_power_loss(test: &str, store: &mut Sealed) {
    let scratch = tempfile::tempdir().unwrap();
    let shim = Shim::new(store.dir.path(), &scratch.path().join("shadow"));
    let said = Child::spawn(shim.command(test)).kill_after(1);
    assert_eq!(said, ["done"]);
    let left = scratch.path().join("left");
    shim.power_loss(&left);
    let path = store.dir.path();
    std::fs::copy(left.join(HEADER), path.join(HEADER)).unwrap();
    store.restarted(EncryptionConfig::new(key(1)));
}

fn shred(dir: &Path) {
    vault(dir, 1).shred().unwrap();
    crash::acknowledge("done");
}

#[test]
fn keys_that_are_destroyed_are_all_there_or_all_gone_at_each_step_and_the_store_opens() {
    if let Some(dir) = crash::child_dir() {
        return shred(&dir);
    }
    let test = "keys_that_are_destroyed_are_all_there_or_all_gone_at_each_step_and_the_store_opens";
    killed_at_each_step(test, |mut store, said, context| {
        let header = std::fs::read(store.dir.path().join(HEADER)).unwrap();
        store.restarted(EncryptionConfig::new(key(1)));
        let driver = store.factory()().expect(context);
        let found = shown(&*driver, "c/a");
        assert!(found.is_none() || said.is_empty(), "{context}");
        if found.is_none() {
            // All of it: nobody who kept the header has any of the keys.
            let is_gone = header[36..].iter().all(|byte| *byte == 0);
            assert!(is_gone, "{context}: {} bytes", header.len());
            assert!(driver.opened().emptied.is_some(), "{context}");
        }
        set(&*driver, "c/b", 2, "after");
        assert_eq!(shown(&*driver, "c/b").as_deref(), Some("after"));
    });
}

#[test]
fn a_header_that_was_being_written_is_destroyed_with_the_other() {
    let mut store = filled();
    let beside = store.dir.path().join("keys.writing");
    std::fs::copy(store.dir.path().join(HEADER), &beside).unwrap();
    // Another name of the same bytes, to look at them when the file is gone.
    let kept = store.dir.path().join("kept");
    std::fs::hard_link(&beside, &kept).unwrap();
    store.vault.shred().unwrap();
    assert!(std::fs::read(kept).unwrap().iter().all(|byte| *byte == 0));
    store.restarted(EncryptionConfig::new(key(1)));
    assert_eq!(shown(&*store.open(), "c/a"), None);
}

#[test]
fn keys_that_were_destroyed_are_gone_after_a_loss_of_power() {
    if let Some(dir) = crash::child_dir() {
        shred(&dir);
        return crash::wait_for_kill();
    }
    let mut store = filled();
    let test = "keys_that_were_destroyed_are_gone_after_a_loss_of_power";
    after_a_power_loss(test, &mut store);
    assert_eq!(shown(&*store.open(), "c/a"), None);
}

fn rotate(dir: &Path) {
    let vault = vault(dir, 1);
    // The records are elsewhere.
    let _driver = over(MapStore::new().factory(), &vault)().unwrap();
    vault.rotate(Arc::new(key(2))).unwrap();
    crash::acknowledge("done");
}

#[test]
fn a_rotation_is_accepted_or_not_at_each_step_and_the_store_opens() {
    if let Some(dir) = crash::child_dir() {
        return rotate(&dir);
    }
    let test = "a_rotation_is_accepted_or_not_at_each_step_and_the_store_opens";
    killed_at_each_step(test, |mut store, said, context| {
        store.restarted(EncryptionConfig::new(key(2)));
        let by_new = store.factory()();
        assert!(by_new.is_ok() || said.is_empty(), "{context}");
        let is_accepted = by_new.is_ok();
        drop(by_new);
        store.restarted(EncryptionConfig::new(key(1)));
        let driver = store.factory()().expect(context);
        assert_eq!(
            shown(&*driver, "c/a").as_deref(),
            Some("value"),
            "{context}"
        );
        if is_accepted {
            store.restarted(EncryptionConfig::new(key(2)));
            let driver = store.open();
            reseal(&*driver, 10);
            assert_eq!(
                shown(&*driver, "c/a").as_deref(),
                Some("value"),
                "{context}"
            );
        }
    });
}

#[test]
fn a_key_that_was_accepted_is_accepted_after_a_loss_of_power() {
    if let Some(dir) = crash::child_dir() {
        rotate(&dir);
        return crash::wait_for_kill();
    }
    let mut store = filled();
    let test = "a_key_that_was_accepted_is_accepted_after_a_loss_of_power";
    after_a_power_loss(test, &mut store);
    store.restarted(EncryptionConfig::new(key(2)));
    assert_eq!(shown(&*store.open(), "c/a").as_deref(), Some("value"));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

/// In the child: the device has no room for a while.
async fn rotate_without_room(dir: &Path) {
    let ms = Duration::from_millis;
    let builder = Larder::builder().secure(dir, key(1)).call_max(SOON);
    let builder = builder.restart_backoff(ms(1), ms(20));
    let larder = builder.restart_limit(u32::MAX, ms(1), ms(1)).start();
    let larder = larder.await.unwrap();
    let cache: Cache<u64> = larder.secure("numbers").unwrap();
    for n in 0..2_000 {
        cache.set(&n.to_string(), n).await.unwrap();
    }
    larder.flush(Durability::Written).await.unwrap();
    let control = Control::of_this_process();
    let driver = larder.driver("secure").unwrap();
    let rotation = driver.rotate_key(key(2)).await.unwrap();
    control.fail(WRITE, 1_000_000, ENOSPC, 7);
    let failed = async {
        while control.failed() < 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, failed).await.unwrap();
    control.heal();
    let ended = tokio::time::timeout(SOON, rotation.finished()).await;
    ended.expect("it goes on by itself").unwrap();
    for n in 0..2_000 {
        assert_eq!(*cache.get(&n.to_string()).await.unwrap().unwrap(), n);
    }
    larder.shutdown(SOON).await.unwrap();
    crash::acknowledge("done");
}

#[test]
fn a_rotation_on_a_device_without_room_goes_on_by_itself_when_there_is_some() {
    if let Some(dir) = crash::child_dir() {
        return block_on(rotate_without_room(&dir));
    }
    let (dir, scratch) = (quick_dir(), tempfile::tempdir().unwrap());
    let test = "a_rotation_on_a_device_without_room_goes_on_by_itself_when_there_is_some";
    let control = scratch.path().join("control");
    let command = faults_of_disks::command(test, dir.path(), &control);
    assert_eq!(Child::spawn(command).finish(), ["done"]);
}
