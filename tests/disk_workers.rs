//! How many threads a store has for its tables. In a file of its own: it counts those of the whole process.
#![cfg(all(feature = "disk", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

use std::fs;

use larder::drivers::disk::{DiskConfig, DiskDriver};

/// Threads of this process with this name.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let named = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm"));
    tasks
        .filter(|task| named(task).is_ok_and(|found| found.starts_with(name)))
        .count()
}

/// fjall's workers send each other work over the bounded channel that they read: a single one may wait for
/// itself for ever.
#[test]
fn a_store_that_is_to_have_one_worker_has_two() {
    let dir = tempfile::tempdir().unwrap();
    let config = DiskConfig {
        worker_threads: 1,
        ..DiskConfig::default()
    };
    let driver = DiskDriver::open(dir.path(), &config).unwrap();
    // A thread names itself once it runs.
    let soon = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while threads("fjall:worker") < 2 && std::time::Instant::now() < soon {
        std::thread::yield_now();
    }
    assert_eq!(threads("fjall:worker"), 2);
    drop(driver);
}
