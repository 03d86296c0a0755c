//! A disk store to be damaged, and the tools for it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "helpers end in a panic, and not every test file uses each of them"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use larder::Version;
use larder::clock::NEVER;
use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::{Driver, Failure, StoreDurability, Write};
use larder::record::{self, Header};
use tempfile::TempDir;

/// The store in `dir`, with the default configuration.
pub fn open(dir: &Path) -> DiskDriver {
    DiskDriver::open(dir, &DiskConfig::default()).unwrap()
}

/// Why `dir` cannot be opened.
pub fn fatal(dir: &Path) -> String {
    match DiskDriver::open(dir, &DiskConfig::default()).map(drop) {
        Err(Failure::Fatal { reason }) => reason,
        other => panic!("{other:?} is not fatal"),
    }
}

/// A directory with the records `k/1` to `k/9`, a batch for each.
pub fn filled(durability: StoreDurability) -> TempDir {
    filled_in(tempfile::tempdir().unwrap(), durability)
}

/// As [`filled`], in this directory.
pub fn filled_in(dir: TempDir, durability: StoreDurability) -> TempDir {
    let driver = open(dir.path());
    for n in 1..=9 {
        put(&driver, &format!("k/{n}"), n, NEVER, durability);
    }
    dir
}

/// Commits one whole record.
pub fn put(
    driver: &DiskDriver,
    key: &str,
    version: u64,
    keep_ms: u64,
    durability: StoreDurability,
) {
    let payload = format!("payload of {key}");
    let key = Bytes::copy_from_slice(key.as_bytes());
    let write = write_of(key, version, keep_ms, payload.as_bytes());
    driver.commit(&[write], durability).unwrap();
}

/// One whole record, to be committed.
pub fn write_of(key: Bytes, version: u64, keep_ms: u64, payload: &[u8]) -> Write {
    let version = Version::new(version).unwrap();
    let header = Header {
        version,
        created_ms: 0,
        expires_ms: keep_ms,
        keep_ms,
        idle_ms: 0,
        ends_ms: NEVER,
        schema: 0,
        type_tag: 0,
        codec: 0,
        priority: 0,
        flags: 0,
        tags: Box::default(),
    };
    let record = record::encode(&key, &header, payload);
    Write::Put {
        key,
        record,
        version,
        keep_ms,
    }
}

/// Whether something is filed under `key`.
pub fn has(driver: &DiskDriver, key: &str) -> bool {
    driver.get(key.as_bytes()).unwrap().is_some()
}

/// The journal in use.
pub fn journal(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("store"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let mut journals: Vec<_> = entries
        .filter(|p| p.extension().is_some_and(|x| x == "jnl"))
        .collect();
    journals.sort();
    journals.pop().unwrap()
}

/// The tables written so far.
pub fn tables(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join("store/keyspaces/1/tables")) else {
        return Vec::new();
    };
    entries.map(|e| e.unwrap().path()).collect()
}

/// Damages a block of the largest table.
pub fn damage_largest(dir: &Path) {
    let len = |table: &PathBuf| fs::metadata(table).unwrap().len();
    let table = tables(dir).into_iter().max_by_key(len).unwrap();
    damage(&table, len(&table) / 3);
}

/// Where `what` stands in a file.
pub fn find(path: &Path, what: &[u8]) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.windows(what.len()).position(|w| w == what).unwrap() as u64
}

/// Damages the first byte of `what`.
pub fn flip(path: &Path, what: &[u8]) {
    damage(path, find(path, what));
}

/// Damages one byte.
pub fn damage(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 0xff;
    fs::write(path, bytes).unwrap();
}
