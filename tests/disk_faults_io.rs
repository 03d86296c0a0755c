//! System calls on a disk that fail at random under load: reads and queued writes see no error, nothing
//! acknowledged is lost, and nothing older or foreign is shown.

#![cfg(all(target_os = "linux", feature = "disk"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;

use larder::drivers::disk::DiskConfig;
use larder::{Cache, Durability, Larder};

use crash::Child;
use faults_of_disks::{Control, EIO, ENOSPC, OPEN, READ, SYNC, WRITE};
use sick_disk::{Ledger, SOON};

#[path = "support/crash.rs"]
mod crash;
#[path = "support/faults_of_disks.rs"]
mod faults_of_disks;
#[path = "support/sick_disk.rs"]
mod sick_disk;

/// Rounds of failing and healing in the life of one process.
const ROUNDS: u64 = 6;
/// Processes with `LARDER_LONG=1`, each with a seed of its own; one without.
const LONG_COUNT: u64 = 30;
const STEPS: usize = 250;
const KEYS: usize = 80;
const SEED: &str = "DISK_FAULTS_SEED";

fn config() -> DiskConfig {
    DiskConfig {
        // Nothing stays in memory: reads reach the device, and tables are written and merged all the time.
        cache_bytes: 0,
        memtable_bytes: 32 << 10,
        ..DiskConfig::default()
    }
}

fn users(larder: &Larder) -> Cache<String> {
    larder.cache("users").unwrap()
}

/// Runs `live` in children over a device on which these calls fail.
fn play(test: &str, calls: u32, per_million: u32, errno: u32) {
    if let Some(dir) = crash::child_dir() {
        let seed = std::env::var(SEED).unwrap().parse().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(live(&dir, seed, calls, per_million, errno));
    }
    let count = std::env::var_os("LARDER_LONG").map_or(1, |_| LONG_COUNT);
    for seed in 7..7 + count {
        println!("seed {seed}");
        let dir = crash::quick_dir();
        let (root, control) = (dir.path().join("root"), dir.path().join("control"));
        #[cfg(feature = "secure")]
        if test.contains("sealed") {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(sick_disk::seal(&root.join("data")));
        }
        let mut child = faults_of_disks::command(test, &root, &control);
        child.env(SEED, seed.to_string());
        let said = Child::spawn(child).finish();
        assert_eq!(said.len() as u64, ROUNDS, "each round came to its end");
    }
}

async fn live(dir: &Path, seed: u64, calls: u32, per_million: u32, errno: u32) {
    let control = Control::of_this_process();
    let data = dir.join("data");
    let larder = sick_disk::start_with(&data, config(), 64 << 10).await;
    let cache = users(&larder);
    let (mut ledger, mut rng) = (Ledger::new(KEYS, 700), fastrand::Rng::with_seed(seed));
    for round in 0..ROUNDS {
        control.fail(calls, per_million, errno, rng.u64(..));
        for _ in 0..STEPS {
            let at = rng.usize(..KEYS);
            match rng.u32(..10) {
                0..3 => {
                    ledger.set(&cache, at, Durability::Written).await;
                }
                3 => {
                    ledger.set(&cache, at, Durability::Synced).await;
                }
                4 | 5 => {
                    let set = ledger.set(&cache, at, Durability::Queued);
                    assert!(set.await, "a queued set saw an error");
                }
                6 => ledger.remove(&cache, at).await,
                _ => {
                    ledger.read(&cache, at).await;
                }
            }
        }
        control.heal();
        recover(&larder).await;
        let emptied = larder.stats().await.unwrap().drivers[0].emptied;
        let missed = ledger.read_all(&users(&larder)).await;
        assert!(missed == 0 || emptied > 0, "{missed} lost in round {round}");
        assert_eq!(emptied, 0, "a store in order was given up in round {round}");
        crash::acknowledge(format!("round {round}, {} failures", control.failed()));
    }
    assert!(control.failed() > 0, "nothing has failed");
    larder.shutdown(SOON).await.unwrap();
    let larder = sick_disk::start_with(&data, config(), 64 << 10).await;
    ledger.restarted(true);
    assert_eq!(ledger.read_all(&users(&larder)).await, 0);
    assert_eq!(larder.stats().await.unwrap().drivers[0].emptied, 0);
    larder.shutdown(SOON).await.unwrap();
}

async fn recover(larder: &Larder) {
    let flush = async {
        while larder.flush(Durability::Synced).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let done = tokio::time::timeout(SOON, flush).await;
    let health = larder.driver("disk").unwrap().health();
    assert!(done.is_ok(), "it does not recover: {health:?}");
}

#[test]
fn syncs_that_fail() {
    play("syncs_that_fail", SYNC, 30_000, EIO);
}

#[test]
fn reads_that_fail() {
    play("reads_that_fail", READ, 10_000, EIO);
}

#[test]
fn writes_that_find_no_room() {
    play("writes_that_find_no_room", WRITE, 10_000, ENOSPC);
}

#[test]
fn writes_that_fail() {
    play("writes_that_fail", WRITE, 10_000, EIO);
}

#[test]
fn files_that_cannot_be_opened() {
    play("files_that_cannot_be_opened", OPEN, 60_000, EIO);
}

#[test]
fn a_device_on_which_everything_fails_now_and_then() {
    let test = "a_device_on_which_everything_fails_now_and_then";
    play(test, OPEN | READ | WRITE | SYNC, 5_000, EIO);
}

#[cfg(feature = "secure")]
#[test]
fn a_device_on_which_everything_fails_now_and_then_with_a_sealed_store() {
    let test = "a_device_on_which_everything_fails_now_and_then_with_a_sealed_store";
    play(test, OPEN | READ | WRITE | SYNC, 5_000, EIO);
}

#[cfg(feature = "secure")]
#[test]
fn writes_that_find_no_room_with_a_sealed_store() {
    let test = "writes_that_find_no_room_with_a_sealed_store";
    play(test, WRITE, 10_000, ENOSPC);
}
