//! Where master keys come from: what is taken, what is refused and in which words, and that none of it
//! shows a key.
#![cfg(feature = "secure")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/keys.rs"]
mod keys;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keys::{Log, ask, fresh, tells};
use larder::Secret;
use larder::secret::{EnvKey, FileKey, KeyError, KeyErrorKind, KeyProvider, MasterKey, named};
use tempfile::TempDir;

const VARIABLE: &str = "LARDER_TEST_APP_KEY";
/// Set in a child of a test, to what it has to do.
const TASK: &str = "LARDER_TEST_KEY_TASK";

/// What is no key, and what is said of it.
fn malformed() -> Vec<(String, &'static str)> {
    let key = fresh();
    let short = base64(&[0xa7; 31]);
    let long = base64(&[0xa7; 33]);
    // As `openssl rand -hex 32` gives it.
    let hex = "9f3c".repeat(16);
    vec![
        (String::new(), "it is empty"),
        (" \n ".into(), "it is empty"),
        (short, "it is 31 bytes long, not 32"),
        (long, "it is 33 bytes long, not 32"),
        (hex, "it is 48 bytes long, not 32"),
        (format!("{}!{}", &key[..20], &key[21..]), "it is not base64"),
        (
            format!("{}\n{}", &key[..20], &key[20..]),
            "it is not base64",
        ),
        (key.replace('=', "-"), "it is not base64"),
        (format!("{key}{key}"), "it is not base64"),
        (base64(&[0; 32]), "all of it is zero"),
        ("q7".repeat(600), "it is too long"),
    ]
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes)
}

fn refused(answer: Result<String, KeyError>, kind: KeyErrorKind, words: &[&str]) {
    let error = answer.expect_err("it is no key");
    assert_eq!(error.kind, kind, "{error}");
    for words in words {
        assert!(error.to_string().contains(words), "{error}, not {words}");
    }
    assert_eq!(error.is_retryable(), kind == KeyErrorKind::Unavailable);
}

/// A file with `text` that only its owner may read.
fn file(dir: &TempDir, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join("app.key");
    fs::write(&path, text).unwrap();
    #[cfg(unix)]
    set_mode(&path, 0o600);
    path
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// One test of this binary as a child.
fn child(test: &str, task: &str) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    child.env(TASK, task).env_remove(VARIABLE);
    child
}

fn said(child: &mut Command) -> String {
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(said.contains("1 passed"), "no such test: {said}");
    said
}

#[test]
fn what_looks_for_keys_in_texts_finds_them() {
    let key = fresh();
    let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, &key).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    let texts = [
        format!("it is {key}"),
        format!("it begins with {}..", &key[..8]),
        format!("{bytes:?}"),
        format!("{bytes:#?}"),
        hex,
    ];
    for text in texts {
        assert!(tells(&text, &key), "{text}");
    }
    assert!(!tells("it is not base64", &key));
    // As one is shown that does not hide itself.
    assert!(tells(&format!("{:?}", Some(key.clone())), &key));
    assert!(!tells(
        &format!("{:?}", Some(Secret::new(key.clone()))),
        &key
    ));
    let log = Log::default();
    log.of(|| tracing::trace!("{key}"));
    assert!(tells(&log.text(), &key));
}

#[test]
fn a_key_is_read_back_from_its_text_and_shows_nothing() {
    let key = MasterKey::generate().unwrap();
    let text = key.to_base64();
    assert_eq!(text.len(), 44);
    for same in [
        text.to_string(),
        text.trim_end_matches('=').to_owned(),
        format!("\t {}\r\n", *text),
    ] {
        let same = MasterKey::from_base64(&same).unwrap();
        assert_eq!(same.to_base64(), text);
    }
    let other = MasterKey::generate().unwrap();
    assert_ne!(other.to_base64(), text);
    let shown = format!("{key:?} {key:#?} {:?}", (&key, Some(&other)));
    assert!(!tells(&shown, &text), "{shown}");
    assert_eq!(format!("{key:?}"), "MasterKey(..)");
}

#[test]
fn bytes_are_taken_as_they_are_unless_all_of_them_are_zero() {
    let bytes: [u8; 32] = std::array::from_fn(|at| at as u8);
    let key = MasterKey::from_bytes(bytes).unwrap();
    assert_eq!(*key.to_base64(), base64(&bytes));
    let none = MasterKey::from_bytes([0; 32]).map(|key| key.to_base64().to_string());
    refused(none, KeyErrorKind::Malformed, &["all of it is zero"]);
    let mut nearly = [0; 32];
    nearly[31] = 1;
    assert!(MasterKey::from_bytes(nearly).is_ok());
}

#[test]
fn what_is_no_key_is_refused_without_its_text() {
    for (text, words) in malformed() {
        let error = MasterKey::from_base64(&text).unwrap_err();
        assert!(!tells(&format!("{error} {error:?}"), &text), "{error}");
        let hint = "`openssl rand -base64 32`";
        refused(Err(error), KeyErrorKind::Malformed, &[words, hint]);
    }
}

#[test]
fn closures_keys_and_names_are_providers() {
    let key = MasterKey::generate().unwrap();
    let text = key.to_base64();
    assert_eq!(ask(&key, &[&text]).unwrap(), *text);
    let same = key.clone();
    let closure = move || Ok(same.clone());
    assert_eq!(ask(&closure, &[&text]).unwrap(), *text);
    let fixed = named("the vault", key);
    assert_eq!(ask(&fixed, &[&text]).unwrap(), *text);
    assert_eq!(fixed.name(), "the vault");
    assert!(!tells(&format!("{fixed:?}"), &text));
    let away = || {
        Err(KeyError::new(
            KeyErrorKind::Unavailable,
            "the vault is shut",
        ))
    };
    let away = named("the vault", away);
    refused(
        ask(&away, &[]),
        KeyErrorKind::Unavailable,
        &["the vault is shut"],
    );
}

/// In a child: says what the environment holds.
fn answer_from_the_environment() {
    let text = std::env::var_os(VARIABLE).unwrap_or_default();
    match ask(&EnvKey::new(VARIABLE), &[&text.to_string_lossy()]) {
        Ok(key) => println!("key: {key}"),
        Err(error) => println!("{:?}: {error}", error.kind),
    }
}

#[test]
fn a_key_is_read_from_the_environment() {
    if std::env::var_os(TASK).is_some() {
        return answer_from_the_environment();
    }
    let ask = |value: Option<&OsStr>| {
        let mut child = child("a_key_is_read_from_the_environment", "answer");
        if let Some(value) = value {
            child.env(VARIABLE, value);
        }
        said(&mut child)
    };
    let key = fresh();
    let answer = ask(Some(format!(" {key}\n").as_ref()));
    assert!(answer.contains(&format!("key: {key}")), "{answer}");
    let answer = ask(None);
    let missing = format!(
        "Missing: environment variable {VARIABLE} is not set; put the base64 of 32 random bytes there, as \
         from `openssl rand -base64 32`"
    );
    assert!(answer.contains(&missing), "{answer}");
    for (text, words) in malformed() {
        let answer = ask(Some(text.as_ref()));
        let wanted = format!("Malformed: environment variable {VARIABLE}: {words}");
        assert!(answer.contains(&wanted), "{answer}");
    }
    #[cfg(unix)]
    {
        let no_text: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\xfe");
        assert!(ask(Some(no_text)).contains("it is no text"));
    }
}

#[test]
fn a_key_given_as_the_name_of_a_variable_is_not_shown() {
    let key = fresh();
    let mistaken = EnvKey::new(&key);
    assert!(!tells(&format!("{mistaken:?}"), &key));
    let words = "environment variable (a key was given as its name) is not set";
    refused(ask(&mistaken, &[&key]), KeyErrorKind::Missing, &[words]);
}

#[test]
fn a_key_is_read_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let key = fresh();
    for text in [key.clone(), format!("{key}\n"), format!("\r\n{key}\r\n")] {
        let path = file(&dir, text);
        assert_eq!(ask(&FileKey::new(&path), &[&key]).unwrap(), key);
        let shown = format!("{:?}", FileKey::new(&path));
        assert!(!tells(&shown, &key), "{shown}");
    }
}

#[test]
fn what_is_no_key_in_a_file_is_refused_with_the_files_name() {
    let dir = tempfile::tempdir().unwrap();
    for (text, words) in malformed() {
        let path = file(&dir, &text);
        let place = format!("key file {path:?}");
        let answer = ask(&FileKey::new(&path).create(), &[&text]);
        let words = [place.as_str(), words];
        refused(answer, KeyErrorKind::Malformed, &words);
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "it is left alone");
    }
    // As many bytes as a key has are no key.
    let path = file(&dir, [0xa7; 32]);
    refused(
        ask(&FileKey::new(&path), &[]),
        KeyErrorKind::Malformed,
        &["it is no text"],
    );
}

#[test]
fn a_file_that_is_not_there_is_missed_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.key");
    let words = [
        &*format!("key file {path:?} does not exist"),
        "`openssl rand -base64 32`",
        "`FileKey::create`",
    ];
    refused(
        ask(&FileKey::new(&path), &[]),
        KeyErrorKind::Missing,
        &words,
    );
    assert!(!path.exists());
    let path = dir.path().join("none/app.key");
    refused(
        ask(&FileKey::new(&path), &[]),
        KeyErrorKind::Missing,
        &words[1..],
    );
    let words = ["make its directory first"];
    refused(
        ask(&FileKey::new(&path).create(), &[]),
        KeyErrorKind::Missing,
        &words,
    );
}

#[test]
fn a_file_is_made_once_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.key");
    let log = Log::default();
    let key = log.of(|| ask(&FileKey::new(&path).create(), &[]).unwrap());
    assert!(
        log.text().contains("made a new master key"),
        "{}",
        log.text()
    );
    assert!(!tells(&log.text(), &key), "{}", log.text());
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{key}\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
    let log = Log::default();
    log.of(|| {
        assert_eq!(ask(&FileKey::new(&path), &[&key]).unwrap(), key);
        assert_eq!(ask(&FileKey::new(&path).create(), &[&key]).unwrap(), key);
    });
    assert_eq!(log.text(), "", "nothing new was made");
    assert_eq!(names(dir.path()), ["app.key"]);
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries.map(|e| name(e).into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn threads_that_make_a_file_at_once_get_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = dir.path().join(format!("{round}.key"));
        let start = std::sync::Barrier::new(4);
        let keys: Vec<String> = std::thread::scope(|scope| {
            let make = || {
                start.wait();
                ask(&FileKey::new(&path).create(), &[]).unwrap()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        assert_eq!(ask(&FileKey::new(&path), &[]).unwrap(), keys[0]);
    }
    assert_eq!(names(dir.path()).len(), 50, "nothing else is left");
}

#[test]
fn processes_that_make_a_file_at_once_get_the_same_key() {
    if let Some(path) = std::env::var_os(TASK) {
        return println!("key: {}", ask(&FileKey::new(path).create(), &[]).unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.key");
    let test = "processes_that_make_a_file_at_once_get_the_same_key";
    let all: Vec<String> = std::thread::scope(|scope| {
        let make = || said(&mut child(test, path.to_str().unwrap()));
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let key = ask(&FileKey::new(&path), &[]).unwrap();
    for said in all {
        assert!(said.contains(&format!("key: {key}")), "{said}");
    }
}

/// Who else may do something with the file, what it is, and whose it is.
#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    /// Both with and without the wish to make one: what is there is never replaced.
    fn refused_either_way(path: &Path, key: &str, words: &[&str]) {
        for provider in [FileKey::new(path), FileKey::new(path).create()] {
            let place = format!("key file {path:?} ");
            let words: Vec<&str> = words.iter().copied().chain([&*place]).collect();
            refused(ask(&provider, &[key]), KeyErrorKind::Refused, &words);
        }
    }

    #[test]
    fn a_file_that_others_may_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let key = fresh();
        let path = file(&dir, &key);
        for mode in [
            0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o660, 0o644, 0o777,
        ] {
            set_mode(&path, mode);
            let words = format!(
                "may be used by others than its owner (mode {mode:04o}); run `chmod 600` on it"
            );
            refused_either_way(&path, &key, &[&words]);
        }
        for mode in [0o600, 0o400, 0o700] {
            set_mode(&path, mode);
            assert_eq!(ask(&FileKey::new(&path), &[&key]).unwrap(), key);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), key);
    }

    #[test]
    fn what_is_no_plain_file_is_refused_and_nothing_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("directory");
        fs::create_dir(&directory).unwrap();
        set_mode(&directory, 0o700);
        let pipe = dir.path().join("pipe");
        let made = Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(&pipe)
            .status();
        assert!(made.unwrap().success());
        let socket = dir.path().join("socket");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let (done, all_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let device = Path::new("/dev/zero");
            for path in [directory.as_path(), &pipe, &socket, device] {
                refused_either_way(path, "none", &["is not a plain file"]);
            }
            done.send(()).unwrap();
        });
        let soon = std::time::Duration::from_secs(20);
        all_done.recv_timeout(soon).expect("nothing waits");
    }

    #[test]
    fn a_symbolic_link_is_refused_wherever_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let key = fresh();
        let there = file(&dir, &key);
        let link = dir.path().join("link");
        for to in [
            there.as_path(),
            Path::new("app.key"),
            Path::new("nowhere"),
            &link,
        ] {
            symlink(to, &link).unwrap();
            refused_either_way(&link, &key, &["is a symbolic link"]);
            fs::remove_file(&link).unwrap();
        }
        assert_eq!(names(dir.path()), ["app.key"], "nothing was made");
    }

    #[test]
    fn directories_on_the_way_may_be_links() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("directory");
        fs::create_dir(&directory).unwrap();
        let link = dir.path().join("link");
        symlink(&directory, &link).unwrap();
        let key = ask(&FileKey::new(link.join("app.key")).create(), &[]).unwrap();
        let same = ask(&FileKey::new(directory.join("app.key")), &[]).unwrap();
        assert_eq!(key, same);
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let key = fresh();
        let path = file(&dir, &key);
        if let Err(error) = chown(&path, Some(65_534), None) {
            return println!("skipped: only root gives files away ({error})");
        }
        let words = "belongs to user 65534, and this process runs as user 0";
        refused_either_way(&path, &key, &[words]);
    }

    #[test]
    fn a_file_that_may_not_be_read_is_refused() {
        if let Some(path) = std::env::var_os(TASK) {
            let answer = ask(&FileKey::new(path), &[]);
            return refused(
                answer,
                KeyErrorKind::Refused,
                &["cannot be opened", "denied"],
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, fresh());
        let test = "unix::a_file_that_may_not_be_read_is_refused";
        let mut asking = child(test, path.to_str().unwrap());
        // Root reads everything, so it asks as somebody else, if that one may start this program.
        if chown(&path, Some(65_534), None).is_ok() {
            use std::os::unix::process::CommandExt;
            set_mode(dir.path(), 0o755);
            asking.uid(65_534);
            let listing = child(test, "").arg("--list").uid(65_534).status();
            if !listing.is_ok_and(|status| status.success()) {
                return println!("skipped: the other user cannot start this test");
            }
        }
        set_mode(&path, 0o000);
        said(&mut asking);
    }

    #[test]
    fn a_file_is_its_owners_alone_whatever_the_process_leaves_to_new_files() {
        if let Some(path) = std::env::var_os(TASK) {
            ask(&FileKey::new(path).create(), &[]).unwrap();
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for (nth, mask) in ["000", "077", "777"].into_iter().enumerate() {
            let path = dir.path().join(format!("{nth}.key"));
            let test = "unix::a_file_is_its_owners_alone_whatever_the_process_leaves_to_new_files";
            let made = child(test, path.to_str().unwrap());
            let mut masked = Command::new("sh");
            masked
                .arg("-c")
                .arg(format!("umask {mask} && exec \"$0\" \"$@\""));
            masked.arg(made.get_program()).args(made.get_args());
            said(masked.env(TASK, &path));
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "under {mask}");
        }
    }
}
