//! Files of a store that were damaged while it was closed, in every way and at random places: it opens,
//! shows nothing older or foreign, and says what it has lost.

#![cfg(all(target_os = "linux", feature = "disk"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use larder::clock::NEVER;
use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::{Driver, Failure, StoreDurability::Synced, Write};
use larder::record;
use tempfile::TempDir;

#[path = "support/crash.rs"]
mod crash;
#[path = "support/disk_store.rs"]
mod disk_store;

const KEYS: u64 = 60;
const ROUNDS: u64 = 12;
/// Trials of each kind of damage; fifty times as many with `LARDER_LONG=1`.
const TRIALS: usize = 24;
const PAGE_BYTES: u64 = 4_096;

fn config() -> DiskConfig {
    DiskConfig {
        memtable_bytes: 64 << 10,
        ..DiskConfig::default()
    }
}

fn put(key: u64, version: u64) -> Write {
    disk_store::write_of(name(key), version, NEVER, &[b'v'; 400])
}

fn name(key: u64) -> Bytes {
    format!("k/{key:03}").into()
}

/// The version of a key after all rounds: each round writes all of them.
fn newest(key: u64) -> u64 {
    (ROUNDS - 1) * KEYS + key + 1
}

/// A store with every key in tables, in several versions, and in a journal.
fn whole() -> TempDir {
    let dir = crash::quick_dir();
    let driver = DiskDriver::open(&dir.path().join("data"), &config()).unwrap();
    for round in 0..ROUNDS {
        for from in (0..KEYS).step_by(10) {
            let batch: Vec<_> = (from..from + 10)
                .map(|key| put(key, round * KEYS + key + 1))
                .collect();
            driver.commit(&batch, Synced).unwrap();
        }
    }
    drop(driver);
    dir
}

fn copy(whole: &TempDir) -> TempDir {
    let dir = crash::quick_dir();
    let done = Command::new("cp")
        .args(["-r", "--sparse=always"])
        .arg(whole.path().join("data"))
        .arg(dir.path())
        .status();
    assert!(done.unwrap().success());
    dir
}

/// Files with something in them, in an order of their own.
fn files(below: &Path) -> Vec<PathBuf> {
    let (mut files, mut dirs) = (Vec::new(), vec![below.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => dirs.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.retain(|path| used(path) > 0);
    files.sort();
    files
}

/// Where the zeros begin that a file ends with.
fn used(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| last as u64 + 1)
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Truncated,
    HeaderFlipped,
    ByteFlipped,
    PageZeroed,
    Removed,
}

fn write(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

fn flip(path: &Path, at: u64, bits: u8) {
    let (file, mut byte) = (write(path), [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ bits], at).unwrap();
}

/// Damages a file; where.
fn damage(path: &Path, how: Damage, rng: &mut fastrand::Rng) -> u64 {
    let used = used(path);
    let at = match how {
        Damage::HeaderFlipped => rng.u64(..used.min(32)),
        _ => rng.u64(..used),
    };
    match how {
        Damage::Truncated => write(path).set_len(at).unwrap(),
        Damage::HeaderFlipped | Damage::ByteFlipped => flip(path, at, 1 << rng.u8(..8)),
        Damage::PageZeroed => {
            let page = at / PAGE_BYTES * PAGE_BYTES;
            let len = PAGE_BYTES.min(used - page) as usize;
            write(path).write_all_at(&vec![0; len], page).unwrap();
        }
        Damage::Removed => fs::remove_file(path).unwrap(),
    }
    at
}

/// What is shown of each key is whole and the newest. How many are not shown, and how many of those
/// would be counted as damaged; `Err` if the store says itself that it is to be opened anew.
fn check(driver: &DiskDriver, context: &str) -> Result<(usize, usize), Failure> {
    let (mut missing, mut damaged) = (0, 0);
    for key in 0..KEYS {
        let Some(found) = driver.get(&name(key))? else {
            missing += 1;
            continue;
        };
        match record::decode(&name(key), &found) {
            Ok((header, _)) => {
                let shown = header.version.get();
                assert_eq!(shown, newest(key), "{context}: an older value of {key}");
            }
            Err(_) => (missing, damaged) = (missing + 1, damaged + 1),
        }
    }
    Ok((missing, damaged))
}

/// How many trials lost nothing, and how many something that was said.
fn play(how: Damage, is_meant: impl Fn(&Path) -> bool) -> (usize, usize) {
    let whole = whole();
    let mut rng = fastrand::Rng::with_seed(0x1a2de2);
    let trials = match std::env::var_os("LARDER_LONG") {
        Some(_) => 50 * TRIALS,
        None => TRIALS,
    };
    let (mut intact, mut lost) = (0, 0);
    for trial in 0..trials {
        let dir = copy(&whole);
        let data = dir.path().join("data");
        let mut files = files(&data);
        files.retain(|path| is_meant(path));
        let path = files[trial % files.len()].clone();
        let at = damage(&path, how, &mut rng);
        let file = path.strip_prefix(&data).unwrap().display().to_string();
        let context = format!("trial {trial}, {how:?} at {at} of {file}");
        let driver = DiskDriver::open(&data, &config());
        let driver = driver.unwrap_or_else(|error| panic!("{context}: {error}"));
        let is_told = driver.quarantined().is_some();
        match check(&driver, &context) {
            Ok((0, _)) => intact += 1,
            Ok((missing, damaged)) => {
                assert!(
                    is_told || damaged == missing,
                    "{context}: {missing} lost silently"
                );
                lost += 1;
            }
            Err(_) => {
                assert!(!is_told, "{context}: the new store fails");
                drop(driver);
                let driver = DiskDriver::open(&data, &config()).unwrap();
                let salvaged = driver.quarantined().map(|lost| lost.salvaged);
                let (missing, _) = check(&driver, &context).unwrap();
                let kept = KEYS - missing as u64;
                assert_eq!(salvaged, Some(kept), "{context}: opened again");
                lost += 1;
                continue;
            }
        }
        // A merge in the background may meet the damage before a read does: then it says so now.
        let driver = match driver.commit(&[put(0, 1_000_000)], Synced) {
            Ok(()) => continue,
            Err(Failure::Reopen { .. }) => {
                drop(driver);
                DiskDriver::open(&data, &config()).unwrap()
            }
            Err(error) => panic!("{context}: {error}"),
        };
        check(&driver, &context).unwrap();
        driver.commit(&[put(0, 1_000_000)], Synced).unwrap();
    }
    println!("{how:?}: {intact} without a loss, {lost} with one that was said");
    (intact, lost)
}

/// As [`play`]; some damage must have been met.
fn play_store(how: Damage, is_meant: impl Fn(&Path) -> bool) {
    let (_, lost) = play(how, is_meant);
    assert!(lost > 0, "no damage was found");
}

fn in_store(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "store")
}

#[test]
fn files_that_are_cut_short() {
    play_store(Damage::Truncated, in_store);
}

#[test]
fn headers_that_are_flipped() {
    play_store(Damage::HeaderFlipped, in_store);
}

#[test]
fn bytes_that_are_flipped() {
    play_store(Damage::ByteFlipped, in_store);
}

#[test]
fn pages_that_are_zeroed() {
    play_store(Damage::PageZeroed, in_store);
}

#[test]
fn files_that_are_gone() {
    play_store(Damage::Removed, in_store);
}

#[test]
fn journals_that_lose_a_value_in_their_midst() {
    let is_journal = |path: &Path| path.extension().is_some_and(|x| x == "jnl");
    play_store(Damage::ByteFlipped, is_journal);
}

#[test]
fn a_watermark_that_has_lost_a_page_leaves_the_store_trusted() {
    let (_, lost) = play(Damage::PageZeroed, |path| path.ends_with("watermark"));
    assert_eq!(lost, 0, "its other slot counts");
}

#[test]
fn a_watermark_that_is_gone_is_no_proof_of_anything() {
    let (intact, _) = play(Damage::Removed, |path| path.ends_with("watermark"));
    assert_eq!(intact, 0, "the store may have lost something");
}
