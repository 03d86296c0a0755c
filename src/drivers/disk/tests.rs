//! What needs a look inside the disk driver.

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
