//! A store that is moved aside while larder runs: an empty one takes its place, that is said, and it
//! gets again what memory has.

#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::{Driver, PageLimit};
use larder::messages::storage::Scan;
use larder::{Cache, Larder, Limits};
use support::disk_store::{damage_largest, flip, journal};
use support::world::{NEVER_BACK, SOON, bring_back, flush, read, take_down, text, until};

mod support {
    pub mod disk_store;
    pub mod world;
}

const KEYS: usize = 300;

/// A larder whose dirty set holds much less than its memory.
async fn start(dir: &Path) -> Larder {
    let mut limits = Limits::default();
    limits.value_bytes_max = 16 << 10;
    limits.dirty_bytes_max = 64 << 10;
    let builder = Larder::builder().limits(limits);
    let builder = builder.restart_limit(0, NEVER_BACK, NEVER_BACK);
    let builder = builder.disk_with(dir, DiskConfig::default());
    #[cfg(feature = "secure")]
    let builder = match is_sealed(dir) {
        true => builder.encrypted(key_of_a_test()),
        false => builder,
    };
    builder.start().await.unwrap()
}

#[cfg(feature = "secure")]
fn key_of_a_test() -> larder::secret::MasterKey {
    larder::secret::MasterKey::from_bytes([1; 32]).unwrap()
}

/// Every start in a directory is as the first one was.
fn is_sealed(dir: &Path) -> bool {
    dir.join("keys").exists()
}

/// A directory with an empty sealed store.
#[cfg(feature = "secure")]
async fn sealed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let builder = Larder::builder()
        .disk(dir.path())
        .encrypted(key_of_a_test());
    let larder = builder.start().await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    dir
}

fn users(larder: &Larder) -> Cache<String> {
    larder.cache("users").unwrap()
}

fn key(n: usize) -> String {
    format!("k{n}")
}

fn value(what: &str, n: usize) -> String {
    format!("{what} {n:0>500}")
}

async fn fill(users: &Cache<String>, what: &str) {
    for n in 0..KEYS {
        users.set(&key(n), value(what, n)).await.unwrap();
    }
}

async fn driver(larder: &Larder) -> larder::DriverStats {
    larder.stats().await.unwrap().drivers.remove(0)
}

/// While the driver is down its journal is damaged; then it is opened again.
async fn lose_while_down(larder: &Larder, dir: &Path) {
    let first: &[u8] = match is_sealed(dir) {
        true => b"LS\x01\x01",
        false => b"users/first",
    };
    flip(&journal(dir), first);
    bring_back(larder, "disk").await;
}

/// How many entries of the cache the store itself has.
async fn stored(larder: &Larder) -> usize {
    let scan = Scan {
        prefix: "users/".into(),
        after: "".into(),
        page: PageLimit {
            count_max: usize::MAX,
            bytes_max: usize::MAX,
        },
    };
    let Ok(disk) = larder.driver("disk").unwrap().addresses() else {
        return 0; // between two generations
    };
    let found = disk.scan.send(scan).await;
    found.map_or(0, |found| found.map_or(0, |found| found.len()))
}

/// A larder that has stored something, and loses it.
async fn lost(dir: &Path) -> Larder {
    let larder = start(dir).await;
    users(&larder).set("first", text("one")).await.unwrap();
    fill(&users(&larder), "old").await;
    flush(&larder).await;
    take_down(&larder, "disk").await;
    larder
}

/// Waits until the store has so many entries, and starts anew from that alone.
async fn restart_from_what_is_stored(larder: Larder, dir: &Path, count: usize) -> Larder {
    until("everything is stored again", async || {
        stored(&larder).await == count
    })
    .await;
    larder.shutdown(SOON).await.unwrap();
    start(dir).await
}

#[tokio::test]
async fn what_memory_has_is_stored_again_however_little_may_be_dirty_at_once() {
    stored_again(&tempfile::tempdir().unwrap()).await;
}

#[cfg(feature = "secure")]
#[tokio::test]
async fn what_memory_has_is_stored_again_however_little_may_be_dirty_at_once_sealed() {
    stored_again(&sealed().await).await;
}

async fn stored_again(dir: &tempfile::TempDir) {
    let larder = lost(dir.path()).await;
    let version = users(&larder)
        .get("first")
        .await
        .unwrap()
        .unwrap()
        .version();
    lose_while_down(&larder, dir.path()).await;
    assert_eq!(driver(&larder).await.emptied, 1);
    assert_eq!(read(&users(&larder), "k7").await, Some(value("old", 7)));
    let larder = restart_from_what_is_stored(larder, dir.path(), KEYS + 1).await;
    let first = users(&larder).get("first").await.unwrap().unwrap();
    assert_eq!((first.as_str(), first.version()), ("one", version));
    for n in 0..KEYS {
        assert_eq!(read(&users(&larder), &key(n)).await, Some(value("old", n)));
    }
    assert_eq!(driver(&larder).await.emptied, 0, "said once");
}

#[tokio::test]
async fn while_it_is_stored_again_a_scan_shows_what_reads_do() {
    let dir = tempfile::tempdir().unwrap();
    let larder = lost(dir.path()).await;
    lose_while_down(&larder, dir.path()).await;
    let page = users(&larder).scan("").page_size(10 * KEYS).await.unwrap();
    assert_eq!((page.entries.len(), page.partial), (KEYS + 1, false));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn values_that_found_no_room_while_the_driver_was_down_are_stored_then() {
    found_no_room(&tempfile::tempdir().unwrap()).await;
}

#[cfg(feature = "secure")]
#[tokio::test]
async fn values_that_found_no_room_while_the_driver_was_down_are_stored_then_sealed() {
    found_no_room(&sealed().await).await;
}

async fn found_no_room(dir: &tempfile::TempDir) {
    let larder = lost(dir.path()).await;
    fill(&users(&larder), "new").await;
    let stats = larder.stats().await.unwrap();
    assert!(stats.dirty.memory_only_sets > 0 && stats.memory.distrusted > 0);
    lose_while_down(&larder, dir.path()).await;
    assert_eq!(
        larder.stats().await.unwrap().memory.distrusted,
        0,
        "an empty store"
    );
    let larder = restart_from_what_is_stored(larder, dir.path(), KEYS + 1).await;
    for n in 0..KEYS {
        assert_eq!(read(&users(&larder), &key(n)).await, Some(value("new", n)));
    }
}

#[tokio::test]
async fn what_was_removed_or_cleared_does_not_come_back_with_the_repair() {
    stays_away(&tempfile::tempdir().unwrap()).await;
}

#[cfg(feature = "secure")]
#[tokio::test]
async fn what_was_removed_or_cleared_does_not_come_back_with_the_repair_sealed() {
    stays_away(&sealed().await).await;
}

async fn stays_away(dir: &tempfile::TempDir) {
    let larder = lost(dir.path()).await;
    let others: Cache<String> = larder.cache("others").unwrap();
    others.set("k", text("cleared")).await.unwrap();
    others.clear().await.unwrap();
    users(&larder).remove(&key(0)).await.unwrap();
    lose_while_down(&larder, dir.path()).await;
    users(&larder).remove(&key(1)).await.unwrap();
    let larder = restart_from_what_is_stored(larder, dir.path(), KEYS - 1).await;
    let others: Cache<String> = larder.cache("others").unwrap();
    assert_eq!(read(&others, "k").await, None);
    assert_eq!(read(&users(&larder), &key(0)).await, None);
    assert_eq!(read(&users(&larder), &key(1)).await, None);
    assert_eq!(read(&users(&larder), &key(2)).await, Some(value("old", 2)));
}

#[tokio::test]
async fn entries_that_were_only_read_are_stored_again_too() {
    let dir = tempfile::tempdir().unwrap();
    let larder = lost(dir.path()).await;
    bring_back(&larder, "disk").await;
    larder.shutdown(SOON).await.unwrap();
    let larder = start(dir.path()).await;
    // One as bytes, one decoded, the rest is not in memory.
    let users_ = users(&larder);
    assert_eq!(larder.warm(["users/k1"]).await.unwrap().loaded, 1);
    assert_eq!(read(&users_, "first").await, Some(text("one")));
    take_down(&larder, "disk").await;
    lose_while_down(&larder, dir.path()).await;
    let larder = restart_from_what_is_stored(larder, dir.path(), 2).await;
    assert_eq!(read(&users(&larder), "first").await, Some(text("one")));
    assert_eq!(read(&users(&larder), "k1").await, Some(value("old", 1)));
    assert_eq!(read(&users(&larder), "k2").await, None, "forgotten");
}

#[tokio::test]
async fn a_directory_that_is_deleted_while_it_is_open_is_noticed_and_filled_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let builder = Larder::builder().restart_backoff(SOON / 1_000, SOON / 100);
    let larder = builder.disk_with(&data, DiskConfig::default()).start();
    let larder = larder.await.unwrap();
    users(&larder).set("first", text("one")).await.unwrap();
    flush(&larder).await;
    std::fs::remove_dir_all(&data).unwrap();
    let sets = AtomicUsize::new(0);
    until("that it is gone is noticed", async || {
        let n = sets.fetch_add(1, Ordering::Relaxed);
        let set = value("new", n);
        users(&larder).set(&key(n % 10), set).await.unwrap();
        driver(&larder).await.emptied == 1
    })
    .await;
    let last = sets.into_inner() - 1;
    let count = last.min(9) + 2;
    until("all of it is stored", async || {
        stored(&larder).await == count
    })
    .await;
    flush(&larder).await;
    larder.shutdown(SOON).await.unwrap();
    let larder = start(&data).await;
    assert_eq!(read(&users(&larder), "first").await, Some(text("one")));
    assert_eq!(
        read(&users(&larder), &key(last % 10)).await,
        Some(value("new", last))
    );
}

#[tokio::test]
async fn what_was_distrusted_is_not_believed_because_it_was_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let config = DiskConfig {
        memtable_bytes: 16 << 10,
        ..DiskConfig::default()
    };
    let mut limits = Limits::default();
    limits.value_bytes_max = 16 << 10;
    limits.dirty_bytes_max = 32 << 10;
    let builder = Larder::builder().limits(limits).memory_bytes(64 << 10);
    let builder = builder.restart_limit(0, NEVER_BACK, NEVER_BACK);
    let builder = builder.disk_with(dir.path(), config.clone());
    let larder = builder.start().await.unwrap();
    fill(&users(&larder), "old").await;
    flush(&larder).await;
    take_down(&larder, "disk").await;
    // In memory only, for as long as that keeps them.
    fill(&users(&larder), "new").await;
    let open = || DiskDriver::open(dir.path(), &config);
    until("the store is let go", async || open().is_ok()).await;
    damage_largest(dir.path());
    let store = open().unwrap();
    let met = (0..KEYS).filter(|n| store.get(format!("users/{}", key(*n)).as_bytes()).is_err());
    assert!(met.count() > 0, "no read met the damage");
    drop(store);
    bring_back(&larder, "disk").await;
    let stats = driver(&larder).await;
    assert_eq!(stats.emptied, 1);
    assert!(stats.salvaged > 50, "{}", stats.salvaged);
    let mut forgotten = 0;
    for n in 0..KEYS {
        match read(&users(&larder), &key(n)).await {
            Some(shown) => assert_eq!(shown, value("new", n)),
            None => forgotten += 1,
        }
    }
    assert!(forgotten > 0, "memory still has all");
}

/// All that is logged by this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn one_line_says_where_the_old_store_is_kept_and_what_to_do() {
    let log = Log::default();
    let to = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || to.clone());
    subscriber.with_ansi(false).init();
    let dir = tempfile::tempdir().unwrap();
    let larder = lost(dir.path()).await;
    lose_while_down(&larder, dir.path()).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let kept = dir.path().join("store.quarantined-");
    let kept = format!("kept=\"{}", kept.display());
    let lines: Vec<_> = log.lines().filter(|l| l.contains(&kept)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("WARN") && lines[0].contains("check the device"));
}
