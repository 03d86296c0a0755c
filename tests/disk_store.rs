//! What the disk driver adds to fjall: a directory that always opens, and a store that notices what
//! it has lost.

#![cfg(feature = "disk")]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use larder::Version;
use larder::clock::NEVER;
use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::{
    Driver, Failure, PageLimit, StoreDurability, StoreDurability::Synced, StoreDurability::Written,
    Watermark, Write,
};
use larder::record::{self, Header};
use tempfile::TempDir;

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
fn a_flipped_byte_in_a_value_moves_the_store_aside() {
    let dir = filled(Synced);
    flip(&journal(dir.path()), b"payload of k/3");
    let driver = open(dir.path());
    let quarantine = driver.quarantined().unwrap();
    assert!(
        quarantine.reason.contains("journal"),
        "{}",
        quarantine.reason
    );
    let kept = quarantine.path.clone().unwrap();
    assert!(
        kept.join("version").exists(),
        "it is kept: {}",
        kept.display()
    );
    assert!(!has(&driver, "k/1"), "and nothing of it is served");
    put(&driver, "k/1", 100, NEVER, Written);
    drop(driver);
    let again = open(dir.path());
    assert!(
        again.quarantined().is_none() && has(&again, "k/1"),
        "the new one is sound"
    );
}

#[test]
fn a_cut_journal_is_noticed() {
    for durability in [Written, Synced] {
        let dir = filled(durability);
        let path = journal(dir.path());
        let end = find(&path, b"payload of k/8");
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(end)
            .unwrap();
        let driver = open(dir.path());
        let reason = &driver.quarantined().unwrap().reason;
        assert!(reason.contains("ends at batch"), "{reason}");
        assert!(!has(&driver, "k/1"));
    }
}

#[test]
fn a_deleted_journal_and_a_deleted_store_are_noticed() {
    let dir = filled(Written);
    fs::remove_file(journal(dir.path())).unwrap();
    assert!(open(dir.path()).quarantined().is_some());
    let dir = filled(Written);
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    let quarantine = open(dir.path()).quarantined().cloned().unwrap();
    assert_eq!(quarantine.path, None);
    assert!(open(dir.path()).quarantined().is_none(), "once");
}

#[test]
fn a_store_beside_another_stores_watermark_is_not_trusted() {
    let (dir, other) = (filled(Synced), filled(Synced));
    fs::copy(other.path().join("watermark"), dir.path().join("watermark")).unwrap();
    let driver = open(dir.path());
    assert!(
        driver
            .quarantined()
            .unwrap()
            .reason
            .contains("another store")
    );
}

#[test]
fn a_store_without_a_watermark_is_not_trusted_but_its_versions_are_kept() {
    let dir = filled(Synced);
    fs::remove_file(dir.path().join("watermark")).unwrap();
    let driver = open(dir.path());
    assert!(driver.quarantined().unwrap().reason.contains("watermark"));
    assert_eq!(
        driver.reserved().ceiling,
        9,
        "the highest version that was stored"
    );
}

#[test]
fn the_ceiling_and_the_clock_survive_a_quarantine() {
    let dir = filled(Synced);
    let mark = Watermark {
        ceiling: 5_000,
        clock_ms: 6_000,
    };
    open(dir.path()).reserve(mark).unwrap();
    fs::remove_dir_all(dir.path().join("store/keyspaces")).unwrap();
    let driver = open(dir.path());
    assert!(driver.quarantined().is_some());
    assert_eq!(driver.reserved(), mark);
}

#[test]
fn a_version_above_the_ceiling_raises_it() {
    let dir = tempfile::tempdir().unwrap();
    let driver = open(dir.path());
    driver
        .reserve(Watermark {
            ceiling: 50,
            clock_ms: 7,
        })
        .unwrap();
    put(&driver, "k/a", 80, NEVER, Written);
    drop(driver);
    assert_eq!(
        open(dir.path()).reserved(),
        Watermark {
            ceiling: 80,
            clock_ms: 7
        }
    );
}

#[test]
fn a_torn_watermark_slot_leaves_the_store_trusted() {
    for slot in [0, 4096] {
        let dir = filled(Written);
        open(dir.path())
            .reserve(Watermark {
                ceiling: 500,
                clock_ms: 1,
            })
            .unwrap();
        damage(&dir.path().join("watermark"), slot + 30);
        let driver = open(dir.path());
        assert_eq!(driver.quarantined(), None, "slot at {slot}");
        assert!(has(&driver, "k/1"));
    }
}

#[test]
fn a_damaged_table_is_found_in_use_and_moved_aside_at_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let config = DiskConfig {
        memtable_bytes: 1 << 16,
        ..DiskConfig::default()
    };
    let driver = DiskDriver::open(dir.path(), &config).unwrap();
    let table = || {
        tables(dir.path())
            .into_iter()
            .max_by_key(|t| fs::metadata(t).unwrap().len())
    };
    let mut n = 0;
    while table().is_none_or(|t| fs::metadata(t).unwrap().len() < 1 << 16) {
        n += 1;
        put(&driver, &format!("k/{n:05}"), n, NEVER, Written);
        assert!(n < 100_000, "no table was written");
    }
    drop(driver);
    let table = table().unwrap();
    for at in (0..fs::metadata(&table).unwrap().len() / 2).step_by(512) {
        damage(&table, at);
    }
    let driver = DiskDriver::open(dir.path(), &config).unwrap();
    if driver.quarantined().is_none() {
        let page = PageLimit {
            count_max: usize::MAX,
            bytes_max: usize::MAX,
        };
        let failure = driver.scan(b"", b"", page).unwrap_err();
        assert!(matches!(failure, Failure::Reopen { .. }), "{failure}");
        drop(driver);
        let driver = DiskDriver::open(dir.path(), &config).unwrap();
        assert!(
            driver
                .quarantined()
                .unwrap()
                .reason
                .contains("damage was found")
        );
    }
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
fn a_hot_key_is_reclaimed_at_its_own_time() {
    let dir = tempfile::tempdir().unwrap();
    let driver = open(dir.path());
    let keep_ms = 3_601_234;
    put(&driver, "k/a", Version::at(1_000).get(), keep_ms, Written);
    let mut now_ms = 0;
    while has(&driver, "k/a") {
        now_ms = driver.reclaim(now_ms, 9).unwrap().next_ms.unwrap_or(now_ms);
        assert!(now_ms <= keep_ms);
        if !has(&driver, "k/a") || now_ms == keep_ms {
            assert_eq!(driver.reclaim(keep_ms - 1, 9).unwrap().records, []);
            assert_eq!(driver.reclaim(keep_ms, 9).unwrap().records.len(), 1);
        }
    }
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

fn open(dir: &Path) -> DiskDriver {
    DiskDriver::open(dir, &DiskConfig::default()).unwrap()
}

fn fatal(dir: &Path) -> String {
    match DiskDriver::open(dir, &DiskConfig::default()).map(drop) {
        Err(Failure::Fatal { reason }) => reason,
        other => panic!("{other:?} is not fatal"),
    }
}

/// A directory with the records `k/1` to `k/9`, a batch for each.
fn filled(durability: StoreDurability) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let driver = open(dir.path());
    for n in 1..=9 {
        put(&driver, &format!("k/{n}"), n, NEVER, durability);
    }
    dir
}

fn put(driver: &DiskDriver, key: &str, version: u64, keep_ms: u64, durability: StoreDurability) {
    let version = Version::new(version).unwrap();
    let header = Header {
        version,
        created_ms: 0,
        expires_ms: keep_ms,
        keep_ms,
        idle_ms: 0,
        schema: 0,
        type_tag: 0,
        codec: 0,
        priority: 0,
        tags: Box::default(),
    };
    let payload = format!("payload of {key}");
    let key = Bytes::copy_from_slice(key.as_bytes());
    let record = record::encode(&key, &header, payload.as_bytes());
    let write = Write::Put {
        key,
        record,
        version,
        keep_ms,
    };
    driver.commit(&[write], durability).unwrap();
}

fn has(driver: &DiskDriver, key: &str) -> bool {
    driver.get(key.as_bytes()).unwrap().is_some()
}

fn journal(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("store"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let mut journals: Vec<_> = entries
        .filter(|p| p.extension().is_some_and(|x| x == "jnl"))
        .collect();
    journals.sort();
    journals.pop().unwrap()
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join("store/keyspaces/1/tables")) else {
        return Vec::new();
    };
    entries.map(|e| e.unwrap().path()).collect()
}

fn find(path: &Path, what: &[u8]) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.windows(what.len()).position(|w| w == what).unwrap() as u64
}

fn flip(path: &Path, what: &[u8]) {
    damage(path, find(path, what));
}

fn damage(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 0xff;
    fs::write(path, bytes).unwrap();
}
