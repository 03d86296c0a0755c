//! Every built-in driver passes the suite that is offered to hosts for theirs.

#![cfg(feature = "test-util")]

use larder::clock::Clock;
use larder::drivers::Factory;
use larder::drivers::conformance::BEHAVIOURS;
use larder::drivers::faults::{Faults, Platform, PlatformLimits};
use larder::drivers::map::MapStore;

#[test]
fn the_map_driver_conforms() {
    run(|| MapStore::new().factory());
}

#[cfg(feature = "disk")]
#[test]
fn the_disk_driver_conforms() {
    use larder::drivers::disk::{DiskConfig, DiskDriver};
    let dirs = std::cell::RefCell::new(Vec::new());
    run(|| {
        let dir = tempfile::tempdir().unwrap();
        let factory = DiskDriver::factory(dir.path(), &DiskConfig::default());
        dirs.borrow_mut().push(dir);
        factory
    });
}

#[test]
fn a_driver_without_a_fault_conforms_under_the_fault_kit() {
    run(|| Faults::new().over(MapStore::new().factory()));
}

#[test]
fn the_platform_driver_conforms_within_its_limits() {
    let limits = PlatformLimits {
        transaction_bytes_max: usize::MAX / 2,
        queue_messages_max: u64::MAX / 2,
        writes_per_second_max: u64::MAX / 2,
        write_ms: 0,
        read_ms: 0,
        ..PlatformLimits::default()
    };
    run(|| Platform::with(Clock::manual(0), limits.clone()).factory());
}

/// As `conformance::check`, but all failures at once, by name.
fn run(fresh: impl Fn() -> Factory) {
    let failed: Vec<_> = BEHAVIOURS
        .iter()
        .filter(|(_, behaviour)| {
            let factory = fresh();
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| behaviour(&factory))).is_err()
        })
        .map(|(name, _)| name)
        .collect();
    assert!(failed.is_empty(), "not kept: {failed:#?}");
}
