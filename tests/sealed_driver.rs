//! A driver that seals: it does all that a driver must, and nothing readable gets below it.
#![cfg(all(feature = "secure", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use larder::drivers::conformance;
use larder::drivers::disk::DiskConfig;
use larder::drivers::map::MapStore;
use larder::drivers::sealed::{Vault, disk_factory, over};
use larder::secret::MasterKey;
use larder::{Cipher, EncryptionConfig};

fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32]).unwrap()
}

fn vault(dir: &Path, config: EncryptionConfig) -> Arc<Vault> {
    Arc::new(Vault::new(dir, config))
}

#[test]
fn it_does_what_every_driver_must_over_any_other() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let dirs = std::cell::RefCell::new(Vec::new());
        conformance::check(|| {
            let dir = tempfile::tempdir().unwrap();
            let config = EncryptionConfig::new(key(1)).cipher(cipher);
            let factory = over(MapStore::new().factory(), &vault(dir.path(), config));
            dirs.borrow_mut().push(dir);
            factory
        });
    }
}

#[test]
fn it_does_what_every_driver_must_over_a_disk() {
    let dirs = std::cell::RefCell::new(Vec::new());
    conformance::check(|| {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path(), EncryptionConfig::new(key(1)));
        let factory = disk_factory(dir.path(), &DiskConfig::default(), &vault);
        dirs.borrow_mut().push(dir);
        factory
    });
}
