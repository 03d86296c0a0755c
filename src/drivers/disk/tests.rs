//! What needs a look inside the disk driver.

use std::path::Path;

use super::*;

#[test]
fn an_empty_synced_batch_covers_what_was_written_before() {
    let dir = tempfile::tempdir().unwrap();
    let driver = DiskDriver::open(dir.path(), &DiskConfig::default()).unwrap();
    let key = Bytes::from_static(b"k/a");
    driver
        .commit(&[Write::Delete { key }], StoreDurability::Written)
        .unwrap();
    let seqs = || {
        let marks = driver.marked.lock().marks;
        (marks.written_seq, marks.synced_seq)
    };
    assert_eq!(seqs(), (1, 0));
    driver.commit(&[], StoreDurability::Synced).unwrap();
    assert_eq!(seqs(), (2, 2));
}

#[test]
fn an_index_entry_that_is_none_is_due_at_once_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let driver = DiskDriver::open(dir.path(), &DiskConfig::default()).unwrap();
    let mut changes = driver.store.changes(2);
    changes.put(vec![layout::INDEX].into(), b"short");
    let place = layout::index_key(5, b"k/a");
    changes.put(place.into(), b"no expiry");
    changes.commit(StoreDurability::Written).unwrap();
    assert_eq!(
        driver.floor.lock().next_ms(&driver.store.view()).unwrap(),
        Some(0)
    );
    let first = driver.reclaim(0, 9).unwrap();
    assert_eq!((first.records.len(), first.next_ms), (0, Some(5)));
    let last = driver.reclaim(5, 9).unwrap();
    assert_eq!((last.records.len(), last.next_ms), (0, None));
}

#[cfg(unix)]
#[test]
fn a_watermark_that_cannot_be_written_fails_the_commit_and_the_next_one_may_work() {
    let dir = tempfile::tempdir().unwrap();
    let driver = DiskDriver::open(dir.path(), &DiskConfig::default()).unwrap();
    let key = Bytes::from_static(b"k/a");
    let batch = [Write::Delete { key }];
    let full = WatermarkFile::on(std::fs::File::open("/dev/null").unwrap());
    let file = std::mem::replace(&mut driver.marked.lock().file, full);
    for failure in [
        driver.commit(&batch, StoreDurability::Synced).unwrap_err(),
        driver.reserve(Watermark::default()).unwrap_err(),
    ] {
        let Failure::Retry { reason, after } = failure else {
            panic!("{failure:?}");
        };
        let dir = dir.path().display().to_string();
        assert!(reason.starts_with(&dir), "{reason}");
        assert!(
            reason.contains("watermark could not be written"),
            "{reason}"
        );
        assert!(!after.is_zero());
    }
    // Nor can damage be noted; it is still reported as what it is.
    let damage = fjall::Error::Unrecoverable;
    assert!(matches!(driver.failed(&damage), Failure::Reopen { .. }));
    driver.marked.lock().file = file;
    driver.commit(&batch, StoreDurability::Synced).unwrap();
}

#[test]
fn a_store_that_something_else_has_open_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = DiskConfig::default();
    drop(DiskDriver::open(dir.path(), &config).unwrap());
    // Not through a directory's lock, as some tool of fjall's would open it.
    let foreign = Store::open(&dir.path().join(open::STORE), &config).unwrap();
    let refused = DiskDriver::open(dir.path(), &config).map(drop).unwrap_err();
    assert!(matches!(refused, Failure::Fatal { .. }), "{refused:?}");
    let reason = refused.to_string();
    assert!(reason.contains("the store is open elsewhere"), "{reason}");
    drop(foreign);
    let driver = DiskDriver::open(dir.path(), &config).unwrap();
    assert_eq!(driver.quarantined(), None, "nothing was moved");
}

#[test]
fn what_the_file_system_says_is_an_instruction_that_names_the_place() {
    let path = Path::new("/some/where");
    let judged = |code: i32| open::path_failure(path, &std::io::Error::from_raw_os_error(code));
    let [denied, full, broken] = [13, 28, 5].map(judged);
    assert!(matches!(denied, Failure::Fatal { .. }), "{denied:?}");
    assert!(matches!(full, Failure::Reopen { .. }), "{full:?}");
    assert!(matches!(broken, Failure::Reopen { .. }), "{broken:?}");
    let told = [denied, full, broken].map(|failure| failure.to_string());
    let parts = ["may write to", "no space left", "os error 5"];
    for (told, part) in told.iter().zip(parts) {
        assert!(told.starts_with("/some/where: "), "{told}");
        assert!(told.contains(part), "{told}");
    }
}

/// What the watermark says of a store whose driver is closed.
fn marks(dir: &Path) -> Marks {
    WatermarkFile::open(&dir.join(open::WATERMARK))
        .unwrap()
        .1
        .unwrap()
}

#[test]
fn a_store_that_takes_no_writes_and_nobody_knows_why_is_read_through_once() {
    let dir = tempfile::tempdir().unwrap();
    let open = || DiskDriver::open(dir.path(), &DiskConfig::default()).unwrap();
    let driver = open();
    driver.failed(&fjall::Error::Poisoned);
    drop(driver);
    assert!(marks(dir.path()).is_suspect);
    let driver = open();
    assert_eq!(driver.quarantined(), None, "nothing is wrong with it");
    drop(driver);
    assert!(!marks(dir.path()).is_suspect);
}

#[test]
fn a_device_that_has_failed_explains_why_no_writes_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let driver = DiskDriver::open(dir.path(), &DiskConfig::default()).unwrap();
    let eio = std::io::Error::from_raw_os_error(5);
    for error in [fjall::Error::Io(eio), fjall::Error::Poisoned] {
        assert!(matches!(driver.failed(&error), Failure::Reopen { .. }));
    }
    drop(driver);
    assert!(!marks(dir.path()).is_suspect);
}

#[test]
fn a_directory_is_free_again_although_a_process_that_is_being_started_has_its_lock_open() {
    let dir = tempfile::tempdir().unwrap();
    let open = || DiskDriver::open(dir.path(), &DiskConfig::default());
    let driver = open().unwrap();
    // As it is between fork and exec.
    let inherited = driver.lock.0.try_clone().unwrap();
    drop(driver);
    open().unwrap();
    drop(inherited);
}
