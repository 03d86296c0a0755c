//! The keychain of the operating system, as it is on Linux: a real Secret Service on a bus of its own, and
//! none at all.
//!
//! It needs `gnome-keyring-daemon` and `dbus-run-session`. Where they are not installed the test says so
//! and tests nothing; where the variable `CI` is set that is a failure.
#![cfg(all(feature = "keyring", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/keys.rs"]
mod keys;

use std::path::Path;
use std::process::Command;

use keyring::Entry;
use keys::{Log, ask, fresh, tells};
use larder::secret::{KeyErrorKind, KeyProvider, KeychainKey};

/// Set in a child, to the part that it plays.
const PART: &str = "LARDER_TEST_KEYCHAIN_PART";
const SERVICE: &str = "larder-test";

/// The test called `test` as a child in an empty environment, within `dir` and ended after a minute.
fn within(dir: &Path, before: &[&str], test: &str, part: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    // It ends the whole group that it makes, and only that.
    let mut child = Command::new("timeout");
    child.args(["--kill-after=5", "60"]).args(before).arg(this);
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    child.env_clear().env(PART, part).current_dir(dir);
    child.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (variable, name) in [
        ("HOME", "home"),
        ("XDG_RUNTIME_DIR", "run"),
        ("XDG_DATA_HOME", "data"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_CACHE_HOME", "cache"),
    ] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
        child.env(variable, dir.join(name));
    }
    child
}

fn said(mut child: Command) -> String {
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(said.contains("1 passed"), "no such test: {said}");
    said
}

/// Whether there is a Secret Service to be started; where `CI` is set there must be.
fn has_a_keychain() -> bool {
    let there = ["gnome-keyring-daemon", "dbus-run-session"].map(|tool| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
        (tool, found)
    });
    let missing = there.iter().filter(|(_, found)| !found);
    let missing: Vec<&str> = missing.map(|(tool, _)| *tool).collect();
    if !missing.is_empty() {
        let asked = std::env::var_os("CI").is_some();
        assert!(!asked, "{missing:?} must be installed where CI is set");
        println!("skipped: {missing:?} are not installed");
    }
    missing.is_empty()
}

/// Starts a bus and an unlocked keychain on it, then goes on as what it is given.
const SESSION: &str = r#"
printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null || exit 1
exec "$0" "$@"
"#;

/// Plays `parts` of the test called `test` one after the other, each a process and all with one keychain.
fn on_a_keychain(test: &str, parts: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let play = |part: &&str| {
        let before = ["dbus-run-session", "--", "sh", "-c", SESSION];
        said(within(dir.path(), &before, test, part))
    };
    parts.iter().map(play).collect()
}

fn key() -> KeychainKey {
    KeychainKey::new(SERVICE, "ada")
}

#[test]
fn a_key_is_missed_then_made_once_and_found_by_the_next_process() {
    let test = "a_key_is_missed_then_made_once_and_found_by_the_next_process";
    match std::env::var(PART).as_deref() {
        Ok("first") => {
            let error = ask(&key(), &[]).unwrap_err();
            assert_eq!(error.kind, KeyErrorKind::Missing);
            let text = error.to_string();
            let place = r#"keychain entry of "ada" at "larder-test" is not there"#;
            assert!(text.contains(place), "{text}");
            assert!(text.contains("`KeychainKey::create`"), "{text}");
            let log = Log::default();
            let made = log.of(|| ask(&key().create(), &[]).unwrap());
            assert!(log.text().contains("made a new master key"));
            assert!(!tells(&log.text(), &made));
            assert_eq!(ask(&key().create(), &[&made]).unwrap(), made);
            let other = KeychainKey::new(SERVICE, "bob").create();
            assert_ne!(ask(&other, &[]).unwrap(), made);
            println!("key: {made}.");
        }
        Ok(_) => println!("key: {}.", ask(&key(), &[]).unwrap()),
        Err(_) if has_a_keychain() => {
            let said = on_a_keychain(test, &["first", "second"]);
            let key = |said: &String| {
                let key = said.split("key: ").nth(1).unwrap();
                key.split('.').next().unwrap().to_owned()
            };
            assert_eq!(key(&said[0]), key(&said[1]));
        }
        Err(_) => {}
    }
}

#[test]
fn a_password_that_is_no_key_is_refused_and_left_alone() {
    if std::env::var_os(PART).is_none() {
        if has_a_keychain() {
            on_a_keychain(
                "a_password_that_is_no_key_is_refused_and_left_alone",
                &["all"],
            );
        }
        return;
    }
    let entry = |ready: &KeychainKey| {
        // The first to ask is larder, which opens the keychain.
        assert!(ready.key().is_err());
        Entry::new(SERVICE, "ada").unwrap()
    };
    let entry = entry(&key());
    let key_text = fresh();
    let wrong = format!("{}!", &key_text[..40]);
    entry.set_password(&wrong).unwrap();
    for provider in [key(), key().create()] {
        let error = ask(&provider, &[&wrong]).unwrap_err();
        assert_eq!(error.kind, KeyErrorKind::Malformed);
        assert!(error.to_string().contains("it is not base64"), "{error}");
    }
    assert_eq!(entry.get_password().unwrap(), wrong);
    entry.set_secret(&[0xa7; 32]).unwrap();
    let error = ask(&key().create(), &[]).unwrap_err();
    assert_eq!(error.kind, KeyErrorKind::Malformed);
    let text = format!("{error} {error:?}");
    assert!(text.contains("it is no text"), "{text}");
    assert!(!text.contains("167, 167"), "{text}");
    // As somebody stores one by hand.
    entry.set_password(&format!("{key_text}\n")).unwrap();
    assert_eq!(ask(&key(), &[&key_text]).unwrap(), key_text);
}

#[test]
fn threads_within_any_runtime_and_without_get_the_same_key() {
    if std::env::var_os(PART).is_none() {
        if has_a_keychain() {
            on_a_keychain(
                "threads_within_any_runtime_and_without_get_the_same_key",
                &["all"],
            );
        }
        return;
    }
    let make = || ask(&key().create(), &[]).unwrap();
    let mut keys = vec![];
    std::thread::scope(|scope| {
        let plain: Vec<_> = (0..3).map(|_| scope.spawn(make)).collect();
        keys.extend(plain.into_iter().map(|thread| thread.join().unwrap()));
    });
    let many = tokio::runtime::Runtime::new().unwrap();
    keys.push(many.block_on(async { make() }));
    keys.push(many.block_on(async { tokio::task::spawn_blocking(make).await.unwrap() }));
    let one = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    keys.push(one.block_on(async { make() }));
    keys.push(actix::System::new().block_on(async { make() }));
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn without_a_session_it_fails_at_once_and_says_what_else_there_is() {
    if std::env::var_os(PART).is_none() {
        let test = "without_a_session_it_fails_at_once_and_says_what_else_there_is";
        let dir = tempfile::tempdir().unwrap();
        said(within(dir.path(), &[], test, "all"));
        return;
    }
    let began = std::time::Instant::now();
    for provider in [key(), key().create(), key()] {
        let error = ask(&provider, &[]).unwrap_err();
        assert_eq!(error.kind, KeyErrorKind::Unavailable);
        let text = error.to_string();
        for words in [
            r#"keychain entry of "ada" at "larder-test": no keychain could be reached"#,
            "it needs a desktop session",
            "take a key file or an environment variable",
        ] {
            assert!(text.contains(words), "{text}");
        }
        println!("{text}");
    }
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}
