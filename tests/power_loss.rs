//! The kit for crash tests does what it says: on plain files, and under a bare fjall store.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crash::{Child, Shim};

#[path = "support/crash.rs"]
mod crash;

/// A device, and what it holds after the child, which is `test` run again, has done its work.
struct Crashed {
    shim: Shim,
    dir: TempDir,
}

impl Crashed {
    /// `before` sees the root before the child does.
    fn new(test: &str, before: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        before(&root);
        let shim = Shim::new(&root, &dir.path().join("shadow"));
        Child::spawn(shim.command(test)).kill_after(1);
        shim.power_loss(&dir.path().join("after"));
        Self { shim, dir }
    }

    /// The content of a file after the power loss.
    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join("after").join(name)).ok()
    }
}

/// In the child: does `work` and waits for the end.
fn work_until_killed(dir: &Path, work: impl FnOnce(&Path)) {
    work(dir);
    crash::acknowledge("done");
    crash::wait_for_kill();
}

fn write_synced(path: &Path, content: &str) {
    let mut file = File::create(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.sync_all().unwrap();
}

fn sync_dir(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

#[test]
fn only_synced_content_survives() {
    if let Some(dir) = crash::child_dir() {
        return work_until_killed(&dir, |dir| {
            let mut journal = File::create(dir.join("journal")).unwrap();
            journal.write_all(b"one ").unwrap();
            journal.sync_data().unwrap();
            journal.write_all(b"two ").unwrap();
            journal.sync_data().unwrap();
            journal.write_all(b"three").unwrap();
            fs::write(dir.join("never synced"), "lost").unwrap();
        });
    }
    let crashed = Crashed::new("only_synced_content_survives", |_| ());
    assert_eq!(crashed.read("journal").as_deref(), Some("one two "));
    assert_eq!(crashed.read("never synced"), None);
    let written = crashed.dir.path().join("root/journal");
    assert_eq!(fs::read_to_string(written).unwrap(), "one two three");
}

#[test]
fn a_rename_needs_a_sync_of_its_directory() {
    if let Some(dir) = crash::child_dir() {
        return work_until_killed(&dir, |dir| {
            for name in ["loose", "firm"] {
                let dir = dir.join(name);
                write_synced(&dir.join("temp"), "new");
                fs::rename(dir.join("temp"), dir.join("current")).unwrap();
            }
            sync_dir(&dir.join("firm"));
        });
    }
    let crashed = Crashed::new("a_rename_needs_a_sync_of_its_directory", |root| {
        for name in ["loose", "firm"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("current"), "old").unwrap();
        }
    });
    assert_eq!(crashed.read("loose/current").as_deref(), Some("old"));
    assert_eq!(crashed.read("loose/temp").as_deref(), Some("new"));
    assert_eq!(crashed.read("firm/current").as_deref(), Some("new"));
    assert_eq!(crashed.read("firm/temp"), None);
}

#[test]
fn a_removed_file_is_back_unless_its_directory_was_synced() {
    if let Some(dir) = crash::child_dir() {
        return work_until_killed(&dir, |dir| {
            fs::remove_file(dir.join("gone")).unwrap();
            sync_dir(dir);
            fs::remove_file(dir.join("back")).unwrap();
            // Its inode is free now; the file system likes to use it for the next one.
            write_synced(&dir.join("next"), "next");
        });
    }
    let test = "a_removed_file_is_back_unless_its_directory_was_synced";
    let crashed = Crashed::new(test, |root| {
        fs::write(root.join("gone"), "gone").unwrap();
        fs::write(root.join("back"), "back").unwrap();
    });
    assert_eq!(crashed.read("gone"), None);
    assert_eq!(crashed.read("back").as_deref(), Some("back"));
    assert_eq!(crashed.read("next").as_deref(), Some("next"));
}

#[test]
fn a_synced_file_brings_the_names_of_new_directories_above_it() {
    if let Some(dir) = crash::child_dir() {
        return work_until_killed(&dir, |dir| {
            fs::create_dir_all(dir.join("a/b")).unwrap();
            write_synced(&dir.join("a/b/file"), "content");
            fs::write(dir.join("a/b/other"), "never synced").unwrap();
            fs::write(dir.join("a/named"), "never synced, but its name is").unwrap();
            sync_dir(&dir.join("a"));
        });
    }
    let test = "a_synced_file_brings_the_names_of_new_directories_above_it";
    let crashed = Crashed::new(test, |_| ());
    assert_eq!(crashed.read("a/b/file").as_deref(), Some("content"));
    assert_eq!(crashed.read("a/b/other"), None);
    assert_eq!(crashed.read("a/named").as_deref(), Some(""));
}

#[test]
fn preallocated_files_keep_their_length_and_stay_sparse() {
    const LEN: u64 = 64 << 20;
    if let Some(dir) = crash::child_dir() {
        return work_until_killed(&dir, |dir| {
            let file = File::create(dir.join("journal")).unwrap();
            file.set_len(LEN).unwrap();
            file.write_all_at(b"head", 0).unwrap();
            file.write_all_at(b"old!", 40 << 20).unwrap();
            file.sync_all().unwrap();
            file.write_all_at(b"tail", 40 << 20).unwrap();
            file.sync_data().unwrap();
            file.set_len(7).unwrap();
        });
    }
    let test = "preallocated_files_keep_their_length_and_stay_sparse";
    let crashed = Crashed::new(test, |_| ());
    let file = File::open(crashed.dir.path().join("after/journal")).unwrap();
    let mut word = [0; 4];
    file.read_exact_at(&mut word, 0).unwrap();
    assert_eq!(&word, b"head");
    file.read_exact_at(&mut word, 40 << 20).unwrap();
    assert_eq!(&word, b"tail");
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), LEN);
    assert!(metadata.blocks() * 512 < LEN / 16);
}

#[test]
fn a_sync_of_the_file_system_keeps_everything() {
    if let Some(dir) = crash::child_dir() {
        return work_until_killed(&dir, |dir| {
            fs::create_dir(dir.join("sub")).unwrap();
            fs::write(dir.join("sub/file"), "content").unwrap();
            let mut syncfs = Command::new("sync");
            assert!(syncfs.arg("-f").arg(dir).status().unwrap().success());
            fs::write(dir.join("late"), "lost").unwrap();
        });
    }
    let crashed = Crashed::new("a_sync_of_the_file_system_keeps_everything", |_| ());
    assert_eq!(crashed.read("sub/file").as_deref(), Some("content"));
    assert_eq!(crashed.read("late"), None);
    let expected = ("syncfs".to_owned(), ".".to_owned());
    assert_eq!(crashed.shim.sync_calls(), [expected]);
}

#[test]
fn every_sync_below_the_root_is_counted() {
    if let Some(dir) = crash::child_dir() {
        return work_until_killed(&dir, |dir| {
            fs::create_dir(dir.join("sub")).unwrap();
            let file = File::create(dir.join("sub/file")).unwrap();
            file.sync_all().unwrap();
            file.sync_data().unwrap();
            file.sync_data().unwrap();
            sync_dir(&dir.join("sub"));
            sync_dir(dir);
            sync_dir(dir.parent().unwrap());
        });
    }
    let crashed = Crashed::new("every_sync_below_the_root_is_counted", |_| ());
    let expected = [
        ("fsync", "sub/file"),
        ("fdatasync", "sub/file"),
        ("fdatasync", "sub/file"),
        ("fsync", "sub"),
        ("fsync", "."),
    ];
    let expected = expected.map(|(call, path)| (call.to_owned(), path.to_owned()));
    assert_eq!(crashed.shim.sync_calls(), expected);
}

#[test]
fn a_kill_alone_loses_nothing_that_was_written() {
    if let Some(dir) = crash::child_dir() {
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        for i in 0..10_000 {
            log.write_all(format!("{i}\n").as_bytes()).unwrap();
            crash::acknowledge(i);
        }
        return crash::wait_for_kill();
    }
    let dir = tempfile::tempdir().unwrap();
    let command = crash::command("a_kill_alone_loses_nothing_that_was_written", dir.path());
    let acknowledged = Child::spawn(command).kill_after(1_000);
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    let written: Vec<&str> = log.lines().take(acknowledged.len()).collect();
    assert!(acknowledged.len() >= 1_000);
    assert_eq!(written, acknowledged);
}

/// What every record holds, next to its key: enough for a few flushes per round.
#[cfg(feature = "disk")]
const RECORD: [u8; 1_000] = [b'x'; 1_000];

#[cfg(feature = "disk")]
fn open_store(dir: &Path) -> (fjall::Database, fjall::Keyspace) {
    let store = fjall::Database::builder(dir).open().unwrap();
    let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(64 << 10);
    let records = store.keyspace("records", options).unwrap();
    (store, records)
}

/// In the child: commits batches of two records and acknowledges each.
#[cfg(feature = "disk")]
fn commit_until_killed(dir: &Path, count: usize, durability: fjall::PersistMode) {
    let (store, records) = open_store(&dir.join("store"));
    let first = records.len().unwrap() / 2;
    for i in first..first + count {
        let mut batch = store.batch().durability(Some(durability));
        batch.insert(&records, format!("a{i}"), RECORD);
        batch.insert(&records, format!("b{i}"), RECORD);
        batch.commit().unwrap();
        crash::acknowledge(i);
    }
    crash::wait_for_kill();
}

/// How many of the acknowledged batches are not there, in whole.
#[cfg(feature = "disk")]
fn count_missing(dir: &Path, acknowledged: &[String]) -> usize {
    let (_store, records) = open_store(&dir.join("store"));
    let is_there = |key: String| {
        records
            .get(key)
            .unwrap()
            .is_some_and(|value| *value == RECORD)
    };
    let is_lost = |i: &&String| !is_there(format!("a{i}")) || !is_there(format!("b{i}"));
    acknowledged.iter().filter(is_lost).count()
}

#[cfg(feature = "disk")]
#[test]
fn fjall_keeps_every_synced_batch_through_ten_power_losses() {
    if let Some(dir) = crash::child_dir() {
        return commit_until_killed(&dir, 400, fjall::PersistMode::SyncData);
    }
    let test = "fjall_keeps_every_synced_batch_through_ten_power_losses";
    let dir = tempfile::tempdir().unwrap();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut acknowledged = Vec::new();
    for round in 0..10 {
        // Each round goes on with what the round before has left on the device.
        let root = dir.path().join(format!("{round}"));
        let shim = Shim::new(&root, &dir.path().join(format!("shadow-{round}")));
        let kill_after = random.usize(1..300);
        acknowledged.extend(Child::spawn(shim.command(test)).kill_after(kill_after));
        let after = dir.path().join(format!("{}", round + 1));
        shim.power_loss(&after);
        let missing = count_missing(&after, &acknowledged);
        assert_eq!(
            missing, 0,
            "seed {seed}, round {round}, killed after {kill_after}"
        );
    }
}

#[cfg(feature = "disk")]
#[test]
fn fjall_loses_buffered_batches_with_the_power_but_not_with_the_process() {
    if let Some(dir) = crash::child_dir() {
        return commit_until_killed(&dir, 20, fjall::PersistMode::Buffer);
    }
    let test = "fjall_loses_buffered_batches_with_the_power_but_not_with_the_process";
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let shim = Shim::new(&root, &dir.path().join("shadow"));
    let acknowledged = Child::spawn(shim.command(test)).kill_after(20);
    let after = dir.path().join("after");
    shim.power_loss(&after);
    assert!(count_missing(&after, &acknowledged) > 0);
    assert_eq!(count_missing(&root, &acknowledged), 0);
}
