//! Sealed stores for tests: what lies in them, and how it is tampered with.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "helpers end in a panic, and not every test file uses each of them"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder::clock::NEVER;
use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::map::MapStore;
use larder::drivers::sealed::{Vault, over};
use larder::drivers::{Driver, Factory, Failure, PageLimit, StoreDurability, Upkeep, Write};
use larder::record::{self, Header};
use larder::secret::MasterKey;
use larder::{EncryptionConfig, Version};

/// A guard only: nothing here takes this long.
pub const SOON: Duration = Duration::from_secs(40);
/// Everything at once.
pub const ALL: PageLimit = PageLimit {
    count_max: usize::MAX,
    bytes_max: usize::MAX,
};
/// Where a sealed store says that it is one.
pub const MARKER: &[u8] = b"\0sealed/store";
/// The header's file.
pub const HEADER: &str = "keys";

/// A directory in memory, where there is such a place.
pub fn quick_dir() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

pub fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32]).unwrap()
}

/// A sealed store over a map, with its header in a directory of its own.
pub struct Sealed {
    pub dir: tempfile::TempDir,
    pub map: MapStore,
    pub vault: Arc<Vault>,
}

impl Sealed {
    pub fn new() -> Self {
        Self::with(EncryptionConfig::new(key(1)))
    }

    pub fn with(config: EncryptionConfig) -> Self {
        let dir = quick_dir();
        let vault = Arc::new(Vault::new(dir.path(), config));
        let map = MapStore::new();
        Self { dir, map, vault }
    }

    /// As another process finds it.
    pub fn restarted(&mut self, config: EncryptionConfig) {
        self.vault = Arc::new(Vault::new(self.dir.path(), config));
    }

    pub fn factory(&self) -> Factory {
        over(self.map.factory(), &self.vault)
    }

    pub fn open(&self) -> Box<dyn Driver> {
        self.factory()().unwrap()
    }

    /// Why it does not open.
    pub fn fatal(&self) -> String {
        match self.factory()().map(drop) {
            Err(Failure::Fatal { reason }) => reason,
            other => panic!("{other:?} is not fatal"),
        }
    }

    /// The sealed records, but for the mark.
    pub fn records(&self) -> Vec<(Bytes, Bytes)> {
        let mut all = all(&self.map.open());
        all.retain(|(place, _)| place != MARKER);
        all
    }

    pub fn plant(&self, place: &[u8], record: impl Into<Bytes>) {
        plant(&self.map.open(), place, record);
    }
}

pub fn all(driver: &dyn Driver) -> Vec<(Bytes, Bytes)> {
    driver.scan(b"", b"", ALL).unwrap()
}

/// Files bytes under a stored key, whatever they are.
pub fn plant(driver: &dyn Driver, place: &[u8], record: impl Into<Bytes>) {
    let put = Write::Put {
        key: Bytes::copy_from_slice(place),
        record: record.into(),
        version: Version::at(1),
        keep_ms: NEVER,
    };
    driver.commit(&[put], StoreDurability::Synced).unwrap();
}

/// With a checksum that is right for the place.
pub fn mended(place: &[u8], record: &[u8]) -> Vec<u8> {
    let mut record = record.to_vec();
    if record.len() >= 8 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&(place.len() as u64).to_le_bytes());
        sum.update(place);
        sum.update(&record[..4]);
        sum.update(&record[8..]);
        record[4..8].copy_from_slice(&sum.finalize().to_le_bytes());
    }
    record
}

/// A plain record.
pub fn plain(key: &[u8], version: u64, payload: &[u8]) -> Bytes {
    let header = Header {
        version: Version::new(version).unwrap(),
        created_ms: 0,
        expires_ms: NEVER,
        keep_ms: NEVER,
        idle_ms: 0,
        ends_ms: NEVER,
        schema: 0,
        type_tag: 0,
        codec: 0,
        priority: 0,
        flags: 0,
        tags: Box::default(),
    };
    record::encode(key, &header, payload)
}

/// A whole record, to be committed.
pub fn put(key: &str, version: u64, payload: &str) -> Write {
    Write::Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        record: plain(key.as_bytes(), version, payload.as_bytes()),
        version: Version::new(version).unwrap(),
        keep_ms: NEVER,
    }
}

pub fn delete(key: &str) -> Write {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Write::Delete { key }
}

pub fn set(driver: &dyn Driver, key: &str, version: u64, payload: &str) {
    let put = put(key, version, payload);
    driver.commit(&[put], StoreDurability::Written).unwrap();
}

pub fn remove(driver: &dyn Driver, key: &str) {
    let delete = delete(key);
    driver.commit(&[delete], StoreDurability::Written).unwrap();
}

/// The payload that a driver shows under a key, by any of its reads; all of them must agree.
pub fn shown(driver: &dyn Driver, key: &str) -> Option<String> {
    let name = Bytes::copy_from_slice(key.as_bytes());
    let payload = |record: Option<Bytes>| {
        let (_, payload) = record::decode(&name, &record?).ok()?;
        Some(String::from_utf8(payload.to_vec()).unwrap())
    };
    let got = payload(driver.get(&name).unwrap());
    let many = driver.get_many(&[name.clone(), "c/none".into()]).unwrap();
    assert_eq!(got, payload(many[0].clone()), "{key}");
    let (cache, _) = key.split_once('/').unwrap();
    let find = |records: Vec<(Bytes, Bytes)>| records.into_iter().find(|(key, _)| *key == name);
    let prefix = format!("{cache}/");
    let page = driver.scan(prefix.as_bytes(), b"", ALL).unwrap();
    assert_eq!(got, payload(find(page).map(|(_, record)| record)), "{key}");
    let walked = driver.walk(b"", ALL).unwrap().records;
    assert_eq!(
        got,
        payload(find(walked).map(|(_, record)| record)),
        "{key}"
    );
    got
}

/// Seals anew to the end; how many pages that took.
pub fn reseal(driver: &dyn Driver, page: usize) -> (usize, Upkeep) {
    let page = PageLimit {
        count_max: page,
        bytes_max: usize::MAX,
    };
    for pages in 1..100_000 {
        let done = driver.upkeep(page).unwrap();
        if !done.goes_on {
            return (pages, done);
        }
    }
    panic!("it has no end");
}

/// Every file below a directory, but for the lock.
pub fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut tree = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tree.append(&mut self::tree(&path));
            tree.insert(path, None);
        } else if path.file_name().unwrap() != "lock" {
            let bytes = std::fs::read(&path).unwrap();
            tree.insert(path, Some(bytes));
        }
    }
    tree
}

/// Nothing below `dir` is other than it was, said in a few words.
pub fn assert_unchanged(dir: &Path, before: &BTreeMap<PathBuf, Option<Vec<u8>>>, context: &str) {
    let after = tree(dir);
    let names =
        |tree: &BTreeMap<PathBuf, Option<Vec<u8>>>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(&after), "{context}");
    for (path, bytes) in before {
        assert!(
            after[path] == *bytes,
            "{context}: {} was changed",
            path.display()
        );
    }
}

/// The store of a sealed directory that nobody has open, as a plain one.
pub fn below<T>(dir: &Path, work: impl FnOnce(&DiskDriver) -> T) -> T {
    let (header, aside) = (dir.join(HEADER), dir.join("keys.aside"));
    let has_header = header.exists();
    if has_header {
        std::fs::rename(&header, &aside).unwrap();
    }
    let driver = DiskDriver::open(dir, &DiskConfig::default()).unwrap();
    let done = work(&driver);
    drop(driver);
    if has_header {
        std::fs::rename(&aside, &header).unwrap();
    }
    done
}

/// A copy of a directory.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Puts a copy in the place of a directory's contents.
pub fn put_back(copied: &Path, dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap();
    copy(copied, dir);
}

/// A header with a checksum that fits again.
pub fn mended_header(mut header: Vec<u8>) -> Vec<u8> {
    let body = header.len() - 4;
    let sum = crc32fast::hash(&header[..body]);
    header[body..].copy_from_slice(&sum.to_le_bytes());
    header
}
