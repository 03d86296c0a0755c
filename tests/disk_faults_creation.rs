//! Making a store, or replacing one that is not to be trusted, is killed before each of its steps: the
//! next start succeeds, and a loss is reported.

#![cfg(all(target_os = "linux", feature = "disk"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;

use larder::clock::NEVER;
use larder::drivers::Driver;
use larder::drivers::StoreDurability::{Synced, Written};
use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::record;
use tempfile::TempDir;

use crash::Child;
use disk_store::{damage_largest, filled_in, flip, has, journal, open, put};
use faults_of_disks::Control;

#[path = "support/crash.rs"]
mod crash;
#[path = "support/disk_store.rs"]
mod disk_store;
#[path = "support/faults_of_disks.rs"]
mod faults_of_disks;

/// More than there are.
const STEPS_MAX: u64 = 500;
/// What the child says.
const OPENED: &str = "opened";
const EMPTIED: &str = "opened, emptied";
const STORED: &str = "stored";

/// In the child: opens the store and stores something.
fn open_and_store(dir: &Path) {
    let driver = open(dir);
    crash::acknowledge(driver.quarantined().map_or(OPENED, |_| EMPTIED));
    put(&driver, "k/1", 100, NEVER, Written);
    crash::acknowledge(STORED);
}

/// Kills a child before its `nth` step; what it said. `None` when it has come to its end.
fn killed_at(test: &str, dir: &Path, nth: u64) -> Option<Vec<String>> {
    let scratch = tempfile::tempdir().unwrap();
    let control = scratch.path().join("control");
    let command = faults_of_disks::command(test, dir, &control);
    Control::at(&control).kill_at(nth);
    let (said, ended) = Child::spawn(command).end();
    (!ended).then_some(said)
}

/// Whatever has happened before, the store serves now.
fn check_it_serves(dir: &Path, step: u64) {
    let driver = open(dir);
    assert_eq!(driver.quarantined(), None, "step {step}: said once");
    put(&driver, "k/2", 200, NEVER, Written);
    drop(driver);
    let driver = open(dir);
    assert_eq!(driver.quarantined(), None, "step {step}");
    assert!(has(&driver, "k/2"), "step {step}");
}

#[test]
fn a_creation_that_is_killed_at_any_step_is_begun_again_and_nothing_counts_as_lost() {
    let test = "a_creation_that_is_killed_at_any_step_is_begun_again_and_nothing_counts_as_lost";
    if let Some(dir) = crash::child_dir() {
        return open_and_store(&dir);
    }
    for step in 1..STEPS_MAX {
        let dir = crash::quick_dir();
        let Some(said) = killed_at(test, dir.path(), step) else {
            assert!(step > 20, "{step} steps are too few to be all");
            return println!("killed at each of {} steps", step - 1);
        };
        let driver = open(dir.path());
        assert_eq!(driver.quarantined(), None, "step {step}");
        let is_there = has(&driver, "k/1");
        assert!(is_there || !said.iter().any(|s| s == STORED), "step {step}");
        drop(driver);
        check_it_serves(dir.path(), step);
    }
    panic!("it has no end");
}

#[test]
fn a_replacement_that_is_killed_at_any_step_is_done_in_the_end_and_said() {
    let test = "a_replacement_that_is_killed_at_any_step_is_done_in_the_end_and_said";
    if let Some(dir) = crash::child_dir() {
        return open_and_store(&dir);
    }
    for step in 1..STEPS_MAX {
        let dir = filled_in(crash::quick_dir(), Synced);
        flip(&journal(dir.path()), b"payload of k/3");
        let Some(said) = killed_at(test, dir.path(), step) else {
            assert!(step > 20, "{step} steps are too few to be all");
            return println!("killed at each of {} steps", step - 1);
        };
        let said = |what| said.iter().any(|s| s == what);
        let driver = open(dir.path());
        let is_told = said(EMPTIED) || driver.quarantined().is_some();
        assert!(is_told, "step {step}: the loss is not reported");
        assert!(!said(OPENED), "step {step}: the loss was not reported");
        let is_there = has(&driver, "k/1");
        assert!(is_there || !said(STORED), "step {step}");
        let old = (2..=9).find(|n| has(&driver, &format!("k/{n}")));
        assert_eq!(old, None, "step {step}: the old store is shown");
        put(&driver, "k/1", 101, NEVER, Written);
        drop(driver);
        check_it_serves(dir.path(), step);
        let names = std::fs::read_dir(dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name());
        let kept = names.filter(|name| name.to_str().unwrap().contains("quarantined"));
        assert_eq!(kept.count(), 1, "step {step}: the old store is kept");
    }
    panic!("it has no end");
}

const FENCE: &str = "\0fences/s";
const SALVAGED: u64 = 400;

fn salvaged(key: u64) -> String {
    format!("s/{key:03}")
}

/// A store with a fence and each key in two versions, and in it a damaged block that a read has met.
/// `None` if none did: what stands in tables depends on fjall's threads.
fn damaged() -> Option<TempDir> {
    let dir = crash::quick_dir();
    let config = DiskConfig {
        memtable_bytes: 16 << 10,
        ..DiskConfig::default()
    };
    let driver = DiskDriver::open(dir.path(), &config).unwrap();
    put(&driver, FENCE, 1, NEVER, Written);
    for version in 1..=2 * SALVAGED {
        let key = salvaged(version % SALVAGED);
        put(&driver, &key, version, NEVER, Written);
    }
    drop(driver);
    damage_largest(dir.path());
    let driver = DiskDriver::open(dir.path(), &config).unwrap();
    let met = (0..SALVAGED).filter(|key| driver.get(salvaged(*key).as_bytes()).is_err());
    (driver.quarantined().is_none() && met.count() > 0).then_some(dir)
}

/// How many keys are there, none of them in its older version; with the fence, if there is one.
fn check_salvaged(driver: &DiskDriver, step: u64) -> usize {
    let mut count = 0;
    for key in 0..SALVAGED {
        let name = salvaged(key);
        let Some(found) = driver.get(name.as_bytes()).unwrap() else {
            continue;
        };
        let (header, _) = record::decode(name.as_bytes(), &found).unwrap();
        let (shown, key) = (header.version.get(), if key == 0 { SALVAGED } else { key });
        assert_eq!(shown, SALVAGED + key, "step {step}: an older value");
        count += 1;
    }
    assert!(count == 0 || has(driver, FENCE), "step {step}: no fence");
    count
}

#[test]
fn a_salvage_that_is_killed_at_any_step_leaves_a_store_that_has_forgotten_more_or_is_done_again() {
    let test = "a_salvage_that_is_killed_at_any_step_leaves_a_store_that_has_forgotten_more_or_is_done_again";
    if let Some(dir) = crash::child_dir() {
        return open_and_store(&dir);
    }
    let whole = (0..50).find_map(|_| damaged());
    let (whole, mut counts) = (whole.expect("no read met the damage"), Vec::new());
    for step in 1..STEPS_MAX {
        let dir = crash::quick_dir();
        let mut copy = std::process::Command::new("cp");
        copy.args(["-r", "--sparse=always"]);
        copy.arg(whole.path().join(".")).arg(dir.path());
        assert!(copy.status().unwrap().success());
        let said = killed_at(test, dir.path(), step);
        let driver = open(dir.path());
        counts.push(check_salvaged(&driver, step));
        let Some(said) = said else {
            assert!(step > 20, "{step} steps are too few to be all");
            println!("killed at each of {} steps: {counts:?}", step - 1);
            assert!(counts[step as usize - 1] > 300, "all that can be");
            assert!(counts[0] > 300, "done again");
            return;
        };
        let said = |what| said.iter().any(|s| s == what);
        assert!(!said(OPENED), "step {step}: the loss was not reported");
        let is_told = said(EMPTIED) || driver.quarantined().is_some();
        assert!(is_told, "step {step}: the loss is not reported");
        put(&driver, "k/1", 1_001, NEVER, Written);
        drop(driver);
        check_it_serves(dir.path(), step);
    }
    panic!("it has no end");
}
