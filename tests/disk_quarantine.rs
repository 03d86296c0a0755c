//! A disk store notices what it has lost, and is moved aside rather than believed.

#![cfg(feature = "disk")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends in a panic when something is not as it should be"
)]

use std::fs;

use larder::clock::NEVER;
use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::{
    Driver, Failure, PageLimit, StoreDurability::Synced, StoreDurability::Written, Watermark,
};
use support::disk_store::{damage, filled, find, flip, has, journal, open, put, tables};

mod support {
    pub mod disk_store;
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
    for _ in 0..2 {
        // Whoever is told may die before it says so: it is told until something is stored.
        let quarantine = open(dir.path()).quarantined().cloned().unwrap();
        assert_eq!(quarantine.path, None);
    }
    put(&open(dir.path()), "k/1", 100, NEVER, Written);
    assert!(open(dir.path()).quarantined().is_none());
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
    // A merge may delete one that is listed.
    let largest = || {
        let sizes = tables(dir.path())
            .into_iter()
            .filter_map(|table| Some((fs::metadata(&table).ok()?.len(), table)));
        sizes.max()
    };
    let mut n = 0;
    while largest().is_none_or(|(len, _)| len < 1 << 16) {
        n += 1;
        put(&driver, &format!("k/{n:05}"), n, NEVER, Written);
        assert!(n < 100_000, "no table was written");
    }
    drop(driver);
    let (len, table) = largest().unwrap();
    damage(&table, len / 4);
    let driver = DiskDriver::open(dir.path(), &config).unwrap();
    assert_eq!(driver.quarantined(), None, "fjall opens it well");
    let page = PageLimit {
        count_max: usize::MAX,
        bytes_max: usize::MAX,
    };
    let failure = driver.scan(b"", b"", page).unwrap_err();
    assert!(matches!(failure, Failure::Reopen { .. }), "{failure}");
    drop(driver);
    let driver = DiskDriver::open(dir.path(), &config).unwrap();
    let reason = &driver.quarantined().unwrap().reason;
    assert!(reason.contains("damage was found"), "{reason}");
}

#[test]
fn so_many_stores_are_kept_and_the_oldest_goes_first() {
    let config = DiskConfig {
        quarantined_max: 2,
        ..DiskConfig::default()
    };
    let dir = filled(Synced);
    let mut kept = Vec::new();
    for round in 0..4 {
        fs::remove_dir_all(dir.path().join("store/keyspaces")).unwrap();
        let driver = DiskDriver::open(dir.path(), &config).unwrap();
        kept.push(driver.quarantined().unwrap().path.clone().unwrap());
        put(&driver, "k/1", 100 + round, NEVER, Written);
    }
    let is_there: Vec<_> = kept.iter().map(|path| path.exists()).collect();
    assert_eq!(is_there, [false, false, true, true]);
    let none = DiskConfig {
        quarantined_max: 0,
        ..config
    };
    let driver = DiskDriver::open(dir.path(), &none).unwrap();
    assert!(!kept.iter().any(|path| path.exists()));
    assert!(driver.quarantined().is_none() && has(&driver, "k/1"));
}

#[test]
fn what_its_recovery_would_panic_on_moves_the_store_aside() {
    for (place, reason) in [
        ("store/7.jnl", "a journal is a directory"),
        ("store/keyspaces/backup", "a foreign directory"),
    ] {
        let dir = filled(Synced);
        fs::create_dir(dir.path().join(place)).unwrap();
        let driver = open(dir.path());
        let quarantine = driver.quarantined().unwrap();
        assert!(quarantine.reason.contains(reason), "{quarantine:?}");
        assert!(!has(&driver, "k/1"));
    }
}

#[test]
fn a_list_of_tables_that_is_not_as_it_was_written_moves_the_store_aside() {
    for what in ["v0", "current"] {
        let dir = filled(Synced);
        let keyspace = dir.path().join("store/keyspaces/1");
        // Its first bytes: fjall takes either for what it says.
        damage(&keyspace.join(what), if what == "v0" { 0 } else { 12 });
        let driver = open(dir.path());
        let quarantine = driver.quarantined().unwrap();
        assert!(
            quarantine.reason.contains("list of tables"),
            "{quarantine:?}"
        );
        assert!(!has(&driver, "k/1"));
    }
}
