//! A store with a damaged block loses that block and hardly more: what can be proven of it is taken over,
//! nothing older than it was, and nothing at all without its fences.

#![cfg(all(target_os = "linux", feature = "disk"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use larder::clock::NEVER;
use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::{Driver, Failure, StoreDurability::Written, Write};
use larder::record;
use tempfile::TempDir;

use crash::quick_dir;
use disk_store::{damage, damage_largest, tables, write_of};

#[path = "support/crash.rs"]
mod crash;
#[path = "support/disk_store.rs"]
mod disk_store;

const KEYS: u64 = 2_000;
/// A walk does not see these many neighbours of a damaged block.
const BESIDE: usize = 8;

fn config() -> DiskConfig {
    DiskConfig {
        memtable_bytes: 64 << 10,
        cache_bytes: 0,
        ..DiskConfig::default()
    }
}

fn open(dir: &Path) -> DiskDriver {
    DiskDriver::open(dir, &config()).unwrap()
}

fn name(key: u64) -> Bytes {
    format!("k/{key:05}").into()
}

fn fence(n: u64) -> Bytes {
    format!("\0fences/cache{n:04}").into()
}

fn put(key: Bytes, version: u64, payload: &[u8]) -> Write {
    write_of(key, version, NEVER, payload)
}

/// A store in many tables: all keys, some of them overwritten, some of those removed.
struct Filled {
    dir: TempDir,
    /// The version that is shown of each key, or none.
    newest: Vec<Option<u64>>,
    version: u64,
}

impl Filled {
    fn new(fences: u64) -> Self {
        let mut filled = Self {
            dir: quick_dir(),
            newest: vec![None; KEYS as usize],
            version: 0,
        };
        let driver = open(filled.dir.path());
        let raised: Vec<_> = (0..fences).map(|n| put(fence(n), 1, &[7; 8])).collect();
        driver.commit(&raised, Written).unwrap();
        for (step, removes) in [(1, false), (2, false), (6, true), (5, false), (35, true)] {
            filled.write(&driver, step, removes).unwrap();
        }
        drop(driver);
        filled
    }

    /// Changes each `step`th key.
    fn write(&mut self, driver: &DiskDriver, step: usize, removes: bool) -> Result<(), Failure> {
        let keys: Vec<_> = (0..KEYS).step_by(step).collect();
        for keys in keys.chunks(20) {
            let mut batch = Vec::new();
            for key in keys {
                self.version += 1;
                // Some that does not compress.
                let mut noise = fastrand::Rng::with_seed(self.version);
                let payload: Vec<u8> = (0..200).map(|_| noise.u8(..)).collect();
                batch.push(match removes {
                    true => Write::Delete { key: name(*key) },
                    false => put(name(*key), self.version, &payload),
                });
                self.newest[*key as usize] = (!removes).then_some(self.version);
            }
            driver.commit(&batch, Written)?;
        }
        Ok(())
    }

    fn copy(&self) -> TempDir {
        let dir = quick_dir();
        let mut copy = Command::new("cp");
        copy.args(["-r", "--sparse=always"]);
        copy.arg(self.dir.path().join(".")).arg(dir.path());
        assert!(copy.status().unwrap().success());
        dir
    }

    /// How many keys cannot be read, and how many of those that there were are missing. None is older
    /// than it was, nor back again.
    fn check(&self, driver: &DiskDriver) -> (usize, usize) {
        let (mut unreadable, mut missing) = (0, 0);
        for key in 0..KEYS {
            let newest = self.newest[key as usize];
            match driver.get(&name(key)) {
                Err(Failure::Reopen { .. }) => unreadable += 1,
                Err(error) => panic!("{error}"),
                Ok(None) => missing += usize::from(newest.is_some()),
                Ok(Some(found)) => {
                    let (header, _) = record::decode(&name(key), &found).unwrap();
                    assert_eq!(Some(header.version.get()), newest, "key {key}");
                }
            }
        }
        (unreadable, missing)
    }

    fn shown(&self) -> usize {
        self.newest.iter().flatten().count()
    }
}

/// Its tables, the largest first.
fn by_size(dir: &Path) -> Vec<PathBuf> {
    let mut tables = tables(dir);
    tables.sort_by_key(|table| std::cmp::Reverse(len(table)));
    tables
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn a_damaged_block_loses_its_own_keys_and_no_older_value_is_shown() {
    let filled = Filled::new(3);
    let mut rng = fastrand::Rng::with_seed(11);
    let mut salvaged = 0;
    for trial in 0..8 {
        let dir = filled.copy();
        let tables = by_size(dir.path());
        let table = &tables[trial % tables.len()];
        damage(table, rng.u64(..len(table) * 3 / 4));
        let driver = open(dir.path());
        if driver.quarantined().is_some() {
            continue; // it does not even open
        }
        let (unreadable, _) = filled.check(&driver);
        if unreadable == 0 {
            continue; // what is there is overwritten
        }
        drop(driver);
        let driver = open(dir.path());
        let lost = driver.quarantined().unwrap().clone();
        assert!(lost.reason.contains("damage was found"), "{lost:?}");
        assert!(lost.path.unwrap().exists());
        let (failing, missing) = filled.check(&driver);
        assert_eq!(failing, 0);
        let fences = (0..3).filter(|n| driver.get(&fence(*n)).unwrap().is_some());
        let fences = fences.count();
        println!("trial {trial}: {unreadable} unreadable, {missing} missing, {fences} fences");
        let kept = filled.shown() - missing + fences;
        assert_eq!(lost.salvaged, kept as u64);
        if kept == 0 {
            continue; // its fences could not be read
        }
        assert_eq!(fences, 3);
        assert!(missing <= unreadable + BESIDE, "{missing} of {unreadable}");
        salvaged += 1;
        driver
            .commit(&[put(name(0), 1 << 40, b"new")], Written)
            .unwrap();
        drop(driver);
        let driver = open(dir.path());
        assert_eq!(driver.quarantined(), None, "said once");
    }
    assert!(salvaged > 3, "only {salvaged} were salvaged");
}

#[test]
fn without_one_of_its_fences_nothing_of_a_store_is_believed() {
    let filled = Filled::new(600);
    let mut met = 0;
    for at in (512..16 << 10).step_by(2 << 10) {
        let dir = filled.copy();
        for table in tables(dir.path()) {
            damage(&table, at.min(len(&table) / 2));
        }
        let driver = open(dir.path());
        let is_met = driver.quarantined().is_none()
            && (0..600).any(|n| driver.get(&fence(n)).is_err())
            && (0..KEYS).any(|key| driver.get(&name(key)).is_ok_and(|found| found.is_some()));
        if !is_met {
            continue;
        }
        met += 1;
        drop(driver);
        let driver = open(dir.path());
        assert_eq!(driver.quarantined().unwrap().salvaged, 0);
        assert_eq!(filled.check(&driver), (0, filled.shown()));
    }
    assert!(met > 0, "no block of fences was damaged");
}

#[test]
fn damage_that_only_a_merge_meets_is_found_when_the_store_takes_no_writes_and_is_opened_again() {
    let mut filled = Filled::new(3);
    let dir = filled.copy();
    for table in by_size(dir.path()) {
        damage(&table, len(&table) / 3);
    }
    let driver = open(dir.path());
    assert_eq!(driver.quarantined(), None, "fjall opens it well");
    // Only writes: nobody reads.
    let failed = (0..200).find_map(|_| filled.write(&driver, 3, false).err());
    let failed = failed.unwrap();
    assert!(failed.to_string().contains("takes no writes"), "{failed}");
    drop(driver);
    // The last batch was not taken, or it was: as newer values than `check` expects.
    let driver = open(dir.path());
    let lost = driver.quarantined().unwrap().clone();
    assert!(lost.reason.contains("checksum"), "{lost:?}");
    println!("{} of {} salvaged", lost.salvaged, filled.shown());
    for _ in 0..40 {
        filled.write(&driver, 3, false).unwrap();
    }
    assert_eq!(filled.check(&driver).0, 0);
    drop(driver);
    let driver = open(dir.path());
    assert_eq!(driver.quarantined(), None, "it is well again");
    assert_eq!(filled.check(&driver).0, 0);
}

#[test]
fn a_disk_without_room_for_what_could_be_salvaged_has_a_new_store_all_the_same() {
    let filled = Filled::new(3);
    let dir = filled.copy();
    damage_largest(dir.path());
    let driver = open(dir.path());
    assert!(filled.check(&driver).0 > 0);
    drop(driver);
    let config = DiskConfig {
        disk_free_bytes_min: u64::MAX / 2,
        ..config()
    };
    let driver = DiskDriver::open(dir.path(), &config).unwrap();
    assert_eq!(driver.quarantined().unwrap().salvaged, 0);
    assert_eq!(filled.check(&driver), (0, filled.shown()));
}
