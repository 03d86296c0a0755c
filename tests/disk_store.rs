//! What the disk driver adds to fjall: a directory that always opens, promises that hold when the
//! process dies, and an index of expiry that stays small.

#![cfg(feature = "disk")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends in a panic when something is not as it should be"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use larder::Version;
use larder::clock::NEVER;
use larder::drivers::{Driver, StoreDurability::Synced, StoreDurability::Written, Write};
use support::disk_store::{fatal, has, open, put};

mod support {
    pub mod disk_store;
}

#[test]
fn a_second_opener_is_told_which_directory_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let reason = fatal(dir.path());
    assert!(
        reason.contains(&dir.path().display().to_string()),
        "{reason}"
    );
    assert!(reason.contains("in use by another larder"), "{reason}");
    put(&first, "k/a", 1, NEVER, Written);
    drop(first);
    assert!(has(&open(dir.path()), "k/a"), "released when it is dropped");
}

#[test]
fn a_path_that_is_a_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    for path in [path.clone(), path.join("below")] {
        let reason = fatal(&path);
        assert!(reason.starts_with(&path.display().to_string()), "{reason}");
    }
}

#[cfg(unix)]
#[test]
fn what_it_creates_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("deep/data");
    drop(open(&inner));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(inner.clone()), 0o700);
    assert_eq!(mode(inner.join("store")), 0o700);
    assert_eq!(mode(inner.join("watermark")), 0o600);
}

#[test]
fn a_creation_that_died_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("store.creating")).unwrap();
    fs::write(dir.path().join("store.creating/0.jnl"), "half").unwrap();
    let driver = open(dir.path());
    assert_eq!(driver.quarantined(), None, "nothing was lost");
    put(&driver, "k/a", 1, NEVER, Synced);
    assert!(!dir.path().join("store.creating").exists());
}

#[test]
fn what_was_written_survives_the_death_of_the_process() {
    const CHILD: &str = "LARDER_TEST_DIES_IN";
    if let Ok(dir) = std::env::var(CHILD) {
        let driver = open(Path::new(&dir));
        for n in 1..=50 {
            put(&driver, &format!("k/{n}"), n, NEVER, Written);
        }
        std::process::abort();
    }
    let dir = tempfile::tempdir().unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "what_was_written_survives_the_death_of_the_process",
        ])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    assert!(!child.status.success(), "it died");
    let driver = open(dir.path());
    assert_eq!(driver.quarantined(), None, "and left a store to be trusted");
    assert!((1..=50).all(|n| has(&driver, &format!("k/{n}"))));
}

#[test]
fn the_index_of_expiry_does_not_leak() {
    let dir = tempfile::tempdir().unwrap();
    let driver = open(dir.path());
    // A key with an hour to live, written twice a second for half an hour, then deleted.
    let hour = 3_600_000;
    let at = |step: u64| Version::at(step * 500).get();
    let steps = 3_600;
    for step in 1..=steps {
        put(&driver, "k/hot", at(step), step * 500 + hour, Written);
    }
    driver
        .commit(
            &[Write::Delete {
                key: Bytes::from_static(b"k/hot"),
            }],
            Written,
        )
        .unwrap();
    let (mut calls, mut now_ms) = (0, 0);
    while let Some(next_ms) = driver.reclaim(now_ms, 1).unwrap().next_ms {
        now_ms = next_ms;
        calls += 1;
        assert!(
            calls <= 16,
            "one index entry for each write, not for each of a few moments"
        );
    }
    assert!(calls > 0);
    assert!(now_ms <= steps * 500 + hour);
}

#[test]
fn an_index_entry_that_stands_early_does_not_take_its_record_early() {
    let dir = tempfile::tempdir().unwrap();
    let driver = open(dir.path());
    let keep_ms = 3_601_234;
    put(&driver, "k/a", Version::at(1_000).get(), keep_ms, Written);
    let early_ms = driver.reclaim(0, 9).unwrap().next_ms.unwrap();
    assert!(early_ms < keep_ms);
    let moved = driver.reclaim(early_ms, 9).unwrap();
    assert_eq!((moved.records.len(), moved.next_ms), (0, Some(keep_ms)));
    assert_eq!(driver.reclaim(keep_ms - 1, 9).unwrap().records, []);
    assert!(has(&driver, "k/a"));
    let gone = driver.reclaim(keep_ms, 9).unwrap();
    assert_eq!((gone.records.len(), gone.next_ms), (1, None));
    assert!(!has(&driver, "k/a"));
}

#[test]
fn at_the_end_of_time_all_that_has_an_end_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let driver = open(dir.path());
    put(&driver, "k/late", 1, NEVER - 1, Written);
    put(&driver, "k/ever", 2, NEVER, Written);
    assert_eq!(driver.reclaim(NEVER, 9).unwrap().records.len(), 1);
    assert!(has(&driver, "k/ever") && !has(&driver, "k/late"));
}

#[test]
fn too_large_a_key_is_refused_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let driver = open(dir.path());
    let write = |len: usize| Write::Delete {
        key: vec![b'k'; len].into(),
    };
    assert!(driver.commit(&[write(65_526)], Written).is_ok());
    let failure = driver.commit(&[write(65_527)], Written).unwrap_err();
    assert!(failure.to_string().contains("65527 bytes"), "{failure}");
    put(&driver, "k/a", 1, NEVER, Written);
}

#[test]
fn an_empty_store_takes_little_room() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = open(dir.path()).usage().bytes;
    assert!(
        bytes < 1 << 20,
        "{bytes}: the journal is reserved, not written"
    );
}
