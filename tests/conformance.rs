//! Every built-in driver passes the suite that is offered to hosts for theirs.

#![cfg(feature = "test-util")]

use larder::drivers::Factory;
use larder::drivers::conformance::BEHAVIOURS;
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
