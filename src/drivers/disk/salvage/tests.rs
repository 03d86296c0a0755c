//! What a salvage takes over, and where it ends.

use super::*;
use crate::clock::NEVER;
use crate::drivers::disk::open::STORE;
use crate::drivers::disk::watermark::WatermarkFile;
use crate::record::Header;
use crate::version::Version;

fn record(key: &'static str, keep_ms: Millis) -> Write {
    let header = Header {
        version: Version::at(1),
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
    put(
        &layout::record_key(key.as_bytes()),
        record::encode(key.as_bytes(), &header, b"payload"),
    )
    .unwrap()
}

/// What a driver has that takes over a store with all kinds of records, with so much time for it.
fn salvaged(most: Duration) -> (DiskDriver, Millis, tempfile::TempDir) {
    salvaged_by(most, |_| ())
}

fn salvaged_by(
    most: Duration,
    prepare: impl FnOnce(&DiskDriver),
) -> (DiskDriver, Millis, tempfile::TempDir) {
    let (dir, config) = (tempfile::tempdir().unwrap(), DiskConfig::default());
    let later_ms = Clock::system().now_ms() + 1_000_000;
    let old = DiskDriver::open(&dir.path().join("old"), &config).unwrap();
    let batch = [
        record("\0fences/k", NEVER),
        record("\0probes/disk", NEVER),
        record("k/expired", 5),
        record("k/later", later_ms),
        record("k/stays", NEVER),
    ];
    old.commit(&batch, StoreDurability::Written).unwrap();
    drop(old);
    let driver = DiskDriver::open(&dir.path().join("new"), &config).unwrap();
    prepare(&driver);
    let store = dir.path().join("old").join(STORE);
    let driver = driver.salvage_within(&store, &config, most).unwrap();
    (driver, later_ms, dir)
}

#[test]
fn all_that_has_not_expired_is_taken_over_but_what_larder_only_probes_with() {
    let (driver, later_ms, _dir) = salvaged(Duration::from_secs(60));
    let has = |key: &str| driver.get(key.as_bytes()).unwrap().is_some();
    let keys = [
        "\0fences/k",
        "\0probes/disk",
        "k/expired",
        "k/later",
        "k/stays",
    ];
    assert_eq!(keys.map(has), [true, false, false, true, true]);
    assert_eq!(driver.quarantined().unwrap().salvaged, 3);
    let next_ms = driver.reclaim(0, 9).unwrap().next_ms.unwrap();
    assert!(next_ms <= later_ms && next_ms > later_ms / 2, "{next_ms}");
    let reclaimed = driver.reclaim(later_ms, 9).unwrap();
    assert_eq!(reclaimed.records.len(), 1);
}

#[test]
fn past_its_time_the_rest_is_forgotten() {
    let (driver, _, _dir) = salvaged(Duration::ZERO);
    assert_eq!(driver.quarantined().unwrap().salvaged, 0);
    assert_eq!(driver.get(b"k/stays").unwrap(), None);
}

#[cfg(unix)]
#[test]
fn a_new_store_that_fails_meanwhile_is_opened_again_with_what_it_has() {
    let (driver, _, _dir) = salvaged_by(Duration::from_secs(60), |driver| {
        let unwritable = std::fs::File::open("/dev/null").unwrap();
        driver.marked.lock().file = WatermarkFile::on(unwritable);
    });
    let has = |key: &str| driver.get(key.as_bytes()).unwrap().is_some();
    assert_eq!(["\0fences/k", "k/stays"].map(has), [true, false]);
    assert_eq!(driver.quarantined().unwrap().salvaged, 1);
    let batch = [record("k/stays", NEVER)];
    driver.commit(&batch, StoreDurability::Synced).unwrap();
}
