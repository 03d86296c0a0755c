//! Making a store, or replacing one that is not to be trusted, is killed before each of its steps: the
//! next start succeeds, and a loss is reported.

#![cfg(all(target_os = "linux", feature = "disk"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;

use larder::clock::NEVER;
use larder::drivers::StoreDurability::{Synced, Written};

use crash::Child;
use disk_store::{filled_in, flip, has, journal, open, put};
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
