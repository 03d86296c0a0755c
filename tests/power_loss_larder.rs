//! Loss of power: what was acknowledged as `Synced` is on the device, and only that costs a sync.
#![cfg(all(target_os = "linux", feature = "disk"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use larder::{Cache, Durability, Larder};

use crash::{Child, Shim};
use promises::Promises;

#[path = "support/crash.rs"]
mod crash;
#[path = "support/promises.rs"]
mod promises;

const LOSSES: usize = 6;
const FIRST: &str = "POWER_FIRST_NUMBER";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

/// The machine has been started again since: the watermark was written under another boot. It stands
/// in each slot, before a flag and the checksum (FORMAT.md).
fn reboot(dir: &Path) {
    let path = dir.join("data/watermark");
    let mut bytes = fs::read(&path).unwrap();
    for slot in bytes
        .chunks_mut(4_096)
        .filter(|slot| slot.starts_with(b"LRWM"))
    {
        slot[56] ^= 0xff;
        let sum = crc32fast::hash(&slot[..76]);
        slot[76..80].copy_from_slice(&sum.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
}

#[test]
fn synced_mutations_survive_losses_of_power_and_written_ones_leave_nothing_older_behind() {
    let test =
        "synced_mutations_survive_losses_of_power_and_written_ones_leave_nothing_older_behind";
    if let Some(dir) = crash::child_dir() {
        let first = std::env::var(FIRST).unwrap().parse().unwrap();
        let (sets, safe) = (Durability::Written, Durability::Synced);
        return block_on(promises::mutate_until_killed(&dir, sets, safe, first));
    }
    let dir = tempfile::tempdir().unwrap();
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut promises = Promises::default();
    for loss in 0..LOSSES {
        // Each round goes on with what the round before has left on the device.
        let root = dir.path().join(format!("{loss}"));
        let shim = Shim::new(&root, &dir.path().join(format!("shadow-{loss}")));
        let mut command = shim.command(test);
        command.env(FIRST, promises.next.max(1).to_string());
        let after = rng.usize(1..300);
        promises.hear(&Child::spawn(command).kill_after(after), Durability::Synced);
        let left = dir.path().join(format!("{}", loss + 1));
        shim.power_loss(&left);
        if !left.join("data/watermark").exists() {
            continue; // it was killed before there was a store
        }
        reboot(&left);
        let context = format!("seed {seed}, loss {loss} after {after} lines");
        block_on(async {
            let larder = promises::open(&left).await;
            promises.check(&larder, &context).await;
            larder.shutdown(promises::SOON).await.unwrap();
        });
        let moved_aside = fs::read_dir(left.join("data")).unwrap().flatten();
        let mut moved_aside = moved_aside.map(|e| e.file_name().into_string().unwrap());
        assert_eq!(
            moved_aside.find(|name| name.contains("quarantined")),
            None,
            "{context}"
        );
    }
}

/// In the child: syncs of the journal so far, and of anything but journal and watermark.
fn syncs() -> (u64, u64) {
    let log = fs::read_to_string(std::env::var("SHIM_LOG").unwrap()).unwrap();
    let is_journal = |line: &&str| line.ends_with(".jnl");
    let journal = log.lines().filter(is_journal).count() as u64;
    let other = log
        .lines()
        .filter(|l| !is_journal(l) && !l.ends_with("data/watermark"));
    (journal, other.count() as u64)
}

async fn commits(larder: &Larder) -> u64 {
    larder.stats().await.unwrap().drivers[0].commits
}

/// In the child: commits and syncs that some mutations cost.
async fn cost(larder: &Larder, mutations: impl Future<Output = ()>) -> (u64, u64, u64) {
    let (commits_before, before) = (commits(larder).await, syncs());
    mutations.await;
    let (commits_after, after) = (commits(larder).await, syncs());
    (
        commits_after - commits_before,
        after.0 - before.0,
        after.1 - before.1,
    )
}

/// In the child: mutations of every kind, one after the other and many at once.
async fn mutate(larder: &Larder, durability: Durability) {
    let cache: Cache<String> = larder.cache("counted").unwrap();
    for n in 0..20 {
        let key = format!("{n}");
        cache
            .set(&key, "one by one".to_owned())
            .durability(durability)
            .await
            .unwrap();
    }
    let many = (0..64).map(|n| {
        let cache = cache.clone();
        tokio::spawn(async move {
            let key = format!("many{n}");
            cache
                .set(&key, "at once".to_owned())
                .durability(durability)
                .await
                .unwrap();
        })
    });
    for task in many.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let items = (0..100).map(|n| (format!("chunk{n}"), "in chunks".to_owned()));
    let report = cache.set_many(items).durability(durability).await.unwrap();
    assert_eq!(report.chunks_unstored, 0);
    cache.remove("0").durability(durability).await.unwrap();
    cache
        .remove_tag("tag")
        .durability(durability)
        .await
        .unwrap();
    cache.clear().durability(durability).await.unwrap();
}

/// Runs `test` again as a child under the shim; what it says.
fn counted(test: &str) -> Vec<u64> {
    let dir = tempfile::tempdir().unwrap();
    let shim = Shim::new(&dir.path().join("root"), &dir.path().join("shadow"));
    let said = Child::spawn(shim.command(test)).kill_after(3);
    said.iter().map(|n| n.parse().unwrap()).collect()
}

fn count_in_child(dir: &Path, durability: Durability) {
    block_on(async {
        let larder = promises::open(dir).await;
        let (commits, journal, other) = cost(&larder, mutate(&larder, durability)).await;
        for count in [commits, journal, other] {
            crash::acknowledge(count);
        }
        crash::wait_for_kill();
    });
}

#[test]
fn written_mutations_sync_nothing() {
    if let Some(dir) = crash::child_dir() {
        return count_in_child(&dir, Durability::Written);
    }
    let said = counted("written_mutations_sync_nothing");
    let (commits, journal, other) = (said[0], said[1], said[2]);
    assert!(commits >= 24, "{commits} commits");
    assert_eq!(
        (journal, other),
        (0, 0),
        "syncs of the journal and of other files"
    );
}

#[test]
fn synced_mutations_sync_the_journal_once_per_group() {
    if let Some(dir) = crash::child_dir() {
        return count_in_child(&dir, Durability::Synced);
    }
    let said = counted("synced_mutations_sync_the_journal_once_per_group");
    let (commits, journal, other) = (said[0], said[1], said[2]);
    // Twenty-three calls one after the other, two chunks, and few groups for the 64 at once.
    assert!((26..23 + 2 + 64).contains(&commits), "{commits} commits");
    assert_eq!(
        (journal, other),
        (commits, 0),
        "syncs of the journal and of other files"
    );
}

#[test]
fn a_synced_flush_syncs_what_was_written_before() {
    let test = "a_synced_flush_syncs_what_was_written_before";
    if let Some(dir) = crash::child_dir() {
        return block_on(async {
            let larder = promises::open(&dir).await;
            let cache: Cache<String> = larder.cache("users").unwrap();
            let written = cache.set("written", "1".to_owned());
            written.durability(Durability::Written).await.unwrap();
            cache.set("queued", "2".to_owned()).await.unwrap();
            larder.flush(Durability::Synced).await.unwrap();
            crash::acknowledge("flushed");
            crash::wait_for_kill();
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let shim = Shim::new(&dir.path().join("root"), &dir.path().join("shadow"));
    Child::spawn(shim.command(test)).kill_after(1);
    let after = dir.path().join("after");
    shim.power_loss(&after);
    reboot(&after);
    block_on(async {
        let larder = promises::open(&after).await;
        let cache: Cache<String> = larder.cache("users").unwrap();
        for (key, value) in [("written", "1"), ("queued", "2")] {
            assert_eq!(*cache.get(key).await.unwrap().expect(key), value);
        }
        larder.shutdown(promises::SOON).await.unwrap();
    });
}
