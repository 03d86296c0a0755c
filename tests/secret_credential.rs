//! A credential that systemd hands to a service: root's or its own, for its group to read at most.
#![cfg(all(unix, feature = "secure"))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use larder::secret::{CredentialKey, KeyErrorKind, KeyProvider, MasterKey};

fn with_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn its_group_may_read_it_and_nobody_else_has_any_right() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache-key");
    let key = MasterKey::generate().unwrap();
    fs::write(&path, format!("{}\n", key.to_base64().as_str())).unwrap();
    let credential = CredentialKey::new("cache-key").in_directory(dir.path());
    for mode in [0o400, 0o440, 0o600, 0o640] {
        with_mode(&path, mode);
        let found = credential.key().unwrap();
        assert_eq!(*found.to_base64(), *key.to_base64(), "{mode:o}");
    }
    for mode in [0o444, 0o460, 0o641, 0o604] {
        with_mode(&path, mode);
        let error = credential.key().unwrap_err();
        assert_eq!(error.kind, KeyErrorKind::Refused, "{mode:o}: {error}");
    }
    with_mode(&path, 0o440);
    symlink(&path, dir.path().join("link")).unwrap();
    let link = CredentialKey::new("link").in_directory(dir.path());
    assert_eq!(link.key().unwrap_err().kind, KeyErrorKind::Refused);
}

#[test]
fn one_that_is_missing_says_how_to_load_it() {
    let dir = tempfile::tempdir().unwrap();
    let known = CredentialKey::new("cache-key").in_directory(dir.path());
    // No test is started by systemd.
    let unknown = CredentialKey::new("cache-key");
    for provider in [known, unknown] {
        let error = provider.key().unwrap_err();
        assert_eq!(error.kind, KeyErrorKind::Missing);
        let told = "LoadCredential=cache-key:PATH";
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn a_provider_may_be_chosen_when_the_program_runs() {
    let key = MasterKey::generate().unwrap();
    let chosen: Box<dyn KeyProvider> = match key.to_base64().len() {
        0 => Box::new(CredentialKey::new("cache-key")),
        _ => Box::new(key.clone()),
    };
    assert_eq!(*chosen.key().unwrap().to_base64(), *key.to_base64());
}
