//! A key that was handed out and a counter that was moved are on the device: they survive the loss of power.
#![cfg(all(target_os = "linux", feature = "secure"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/crash.rs"]
mod crash;

use std::path::Path;

use crash::{Child, Shim};
use larder::secret::{FileGuard, FileKey, KeyProvider, RollbackGuard};

/// Runs `work` in a child on a device that keeps only what was synced, until it has said one thing and is
/// killed. Then `check` looks at what the device has, and is told what was said.
fn after_a_power_loss(test: &str, work: impl Fn(&Path) -> String, check: impl Fn(&Path, &str)) {
    if let Some(dir) = crash::child_dir() {
        crash::acknowledge(work(&dir));
        return crash::wait_for_kill();
    }
    let dir = tempfile::tempdir().unwrap();
    let shim = Shim::new(&dir.path().join("root"), &dir.path().join("shadow"));
    let said = Child::spawn(shim.command(test)).kill_after(1);
    let after = dir.path().join("after");
    shim.power_loss(&after);
    for file in std::fs::read_dir(&after).unwrap() {
        // The device of this kit forgets who may read.
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(file.unwrap().path(), owner_only).unwrap();
    }
    check(&after, &said[0]);
}

#[test]
fn a_key_that_was_handed_out_is_on_the_device() {
    let key = |path: FileKey| path.key().unwrap().to_base64().to_string();
    after_a_power_loss(
        "a_key_that_was_handed_out_is_on_the_device",
        |dir| key(FileKey::new(dir.join("app.key")).create()),
        |dir, made| assert_eq!(key(FileKey::new(dir.join("app.key"))), made),
    );
}

#[test]
fn a_counter_that_was_moved_is_on_the_device() {
    after_a_power_loss(
        "a_counter_that_was_moved_is_on_the_device",
        |dir| {
            let guard = FileGuard::new(dir.join("app.guard"));
            for to in 1..=3 {
                guard.advance(to).unwrap();
            }
            guard.counter().unwrap().to_string()
        },
        |dir, counted| {
            let guard = FileGuard::new(dir.join("app.guard"));
            assert_eq!(guard.counter().unwrap().to_string(), counted);
        },
    );
}
