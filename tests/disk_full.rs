//! A disk without room, a real small one: nothing is lost, reads go on, and all is stored once there is
//! room again, without a restart.

#![cfg(all(target_os = "linux", feature = "disk"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use larder::drivers::disk::DiskConfig;
use larder::{Cache, Condition, DegradedReason, Durability, Larder};
use sick_disk::{Ledger, SOON};
use tempfile::TempDir;

#[path = "support/sick_disk.rs"]
mod sick_disk;

const MIB: u64 = 1 << 20;

/// A file system of its own, in memory.
struct Small {
    dir: TempDir,
}

impl Small {
    /// `None`, with a printed reason, where nothing can be mounted.
    fn mount() -> Option<Self> {
        Self::mount_of(160)
    }

    fn mount_of(mib: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(done) if done.status.success() => Some(Self { dir }),
            Ok(done) => {
                let why = String::from_utf8_lossy(&done.stderr).into_owned();
                println!("skipped, nothing can be mounted here: {why}");
                None
            }
            Err(why) => {
                println!("skipped, there is no mount: {why}");
                None
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn free(&self) -> u64 {
        let fs = rustix::fs::statvfs(self.dir.path()).unwrap();
        fs.f_bavail * fs.f_frsize
    }

    /// Fills it until so much is free.
    fn fill(&self, leave: u64) {
        let mut ballast = File::create(self.dir.path().join("ballast")).unwrap();
        let chunk = vec![1; MIB as usize];
        while self.free() > leave + MIB {
            ballast.write_all(&chunk).unwrap();
        }
        let rest = self.free().saturating_sub(leave);
        ballast.write_all(&chunk[..rest as usize]).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.dir.path().join("ballast")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .status();
    }
}

fn users(larder: &Larder) -> Cache<String> {
    larder.cache("users").unwrap()
}

async fn until(what: &str, is: impl AsyncFnMut() -> bool) {
    let mut is = is;
    let waiting = async {
        while !is().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "{what}");
}

async fn restart(larder: Larder, dir: &Path, config: DiskConfig) -> Larder {
    larder.shutdown(SOON).await.unwrap();
    sick_disk::start(dir, config).await
}

#[tokio::test]
async fn below_its_reserve_reads_and_removals_go_on_and_values_wait_for_room() {
    let Some(small) = Small::mount() else { return };
    values_wait_for_room(&small).await;
}

#[cfg(feature = "secure")]
#[tokio::test]
async fn below_its_reserve_a_sealed_store_does_the_same() {
    let Some(small) = Small::mount() else { return };
    sick_disk::seal(&small.data()).await;
    values_wait_for_room(&small).await;
    assert!(small.data().join("keys").exists());
}

async fn values_wait_for_room(small: &Small) {
    let larder = sick_disk::start(&small.data(), DiskConfig::default()).await;
    let users_ = users(&larder);
    // Memory keeps nothing of this one: each read goes to the disk.
    let cold = larder.cache_builder::<String>("cold").drivers(["disk"]);
    let cold = cold.open().unwrap();
    cold.set("kept", "cold".to_owned()).await.unwrap();
    let mut ledger = Ledger::new(20, 1_000);
    for at in 0..20 {
        assert!(ledger.set(&users_, at, Durability::Written).await);
    }
    small.fill(32 * MIB);
    until("a set says that the disk is full", async || {
        let outcome = users_.set("probe", "x".to_owned()).outcome().await.unwrap();
        let mut reasons = outcome.degraded.iter().map(|d| d.reason);
        reasons.any(|reason| reason == DegradedReason::Full)
    })
    .await;
    let health = larder.driver("disk").unwrap().health();
    assert_eq!(health.condition, Condition::Degraded);
    let reason = health.reason.unwrap();
    assert!(reason.contains("are free on the disk"), "{reason}");
    assert!(
        reason.contains(&small.data().display().to_string()),
        "{reason}"
    );

    assert_eq!(**cold.get("kept").await.unwrap().unwrap(), *"cold");
    for at in 0..20 {
        assert!(ledger.set(&users_, at, Durability::Queued).await);
        assert!(ledger.read(&users_, at).await);
    }
    let by_name = users_.set("probe", "y".to_owned());
    assert!(by_name.durability(Durability::Written).await.is_err());
    let removal = cold.remove("kept").durability(Durability::Written);
    removal.await.unwrap();
    assert!(cold.get("kept").await.unwrap().is_none());
    assert!(larder.stats().await.unwrap().dirty.slots >= 20);

    small.make_room();
    until("all is stored", async || {
        larder.stats().await.unwrap().dirty.slots == 0
    })
    .await;
    let health = larder.driver("disk").unwrap().health();
    assert_eq!((health.condition, health.generation), (Condition::Up, 1));
    let larder = restart(larder, &small.data(), DiskConfig::default()).await;
    ledger.restarted(true);
    assert_eq!(ledger.read_all(&users(&larder)).await, 0);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_opened_without_room_is_read_all_the_same() {
    let Some(small) = Small::mount() else { return };
    opened_without_room(&small).await;
}

#[cfg(feature = "secure")]
#[tokio::test]
async fn a_sealed_store_that_is_opened_without_room_is_read_all_the_same() {
    let Some(small) = Small::mount() else { return };
    sick_disk::seal(&small.data()).await;
    opened_without_room(&small).await;
    assert!(small.data().join("keys").exists());
}

async fn opened_without_room(small: &Small) {
    let larder = sick_disk::start(&small.data(), DiskConfig::default()).await;
    let mut ledger = Ledger::new(5, 100);
    for at in 0..5 {
        assert!(ledger.set(&users(&larder), at, Durability::Written).await);
    }
    small.fill(32 * MIB);
    let larder = restart(larder, &small.data(), DiskConfig::default()).await;
    ledger.restarted(true);
    assert_eq!(ledger.read_all(&users(&larder)).await, 0);
    assert!(ledger.set(&users(&larder), 0, Durability::Queued).await);
    small.make_room();
    until("it is stored", async || {
        larder.stats().await.unwrap().dirty.slots == 0
    })
    .await;
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_store_that_runs_into_a_full_disk_is_opened_anew_and_has_lost_nothing() {
    let Some(small) = Small::mount() else { return };
    runs_into_a_full_disk(&small).await;
}

#[cfg(feature = "secure")]
#[tokio::test]
async fn a_sealed_store_that_runs_into_a_full_disk_is_opened_anew_and_has_lost_nothing() {
    let Some(small) = Small::mount() else { return };
    sick_disk::seal(&small.data()).await;
    runs_into_a_full_disk(&small).await;
    assert!(small.data().join("keys").exists());
}

async fn runs_into_a_full_disk(small: &Small) {
    let config = DiskConfig {
        disk_free_bytes_min: 0,
        memtable_bytes: 1 << 20,
        ..DiskConfig::default()
    };
    let larder = sick_disk::start(&small.data(), config.clone()).await;
    let mut ledger = Ledger::new(40, 50_000);
    for at in 0..40 {
        assert!(ledger.set(&users(&larder), at, Durability::Written).await);
    }
    small.fill(4 * MIB);
    let mut at = 0;
    while ledger
        .set(&users(&larder), at % 40, Durability::Written)
        .await
    {
        at += 1;
        assert!(at < 10_000, "the disk does not fill");
    }
    for at in 0..40 {
        ledger.set(&users(&larder), at, Durability::Queued).await;
        assert!(ledger.read(&users(&larder), at).await);
    }
    small.make_room();
    until("it stores again", async || {
        ledger.set(&users(&larder), 0, Durability::Written).await
    })
    .await;
    larder.flush(Durability::Written).await.unwrap();
    let driver = larder.stats().await.unwrap().drivers.remove(0);
    assert_eq!(driver.emptied, 0, "nothing was given up");
    assert_eq!(ledger.read_all(&users(&larder)).await, 0);
    let larder = restart(larder, &small.data(), config).await;
    ledger.restarted(true);
    assert_eq!(ledger.read_all(&users(&larder)).await, 0);
    let driver = larder.stats().await.unwrap().drivers.remove(0);
    assert_eq!(driver.emptied, 0);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_file_system_that_turns_read_only_and_back_delays_what_is_to_be_stored() {
    let Some(small) = Small::mount() else { return };
    let remount = |how: &str| {
        let options = format!("remount,{how}");
        let mut mount = Command::new("mount");
        let done = mount.args(["-o", &options]).arg(small.dir.path()).status();
        done.is_ok_and(|status| status.success())
    };
    let larder = sick_disk::start(&small.data(), DiskConfig::default()).await;
    let mut ledger = Ledger::new(10, 100);
    for at in 0..10 {
        assert!(ledger.set(&users(&larder), at, Durability::Written).await);
    }
    // The kernel refuses it while a file is open for writing.
    larder.shutdown(SOON).await.unwrap();
    assert!(remount("ro"));
    let builder = Larder::builder().disk(small.data());
    let ms = std::time::Duration::from_millis;
    let builder = builder.restart_backoff(ms(1), ms(20));
    let builder = builder.restart_limit(u32::MAX, ms(1), ms(1));
    let degraded = builder.on_open_failure(larder::OnOpenFailure::StartDegraded);
    let larder = degraded.start().await.unwrap();
    let reason = larder.driver("disk").unwrap().health().reason.unwrap();
    assert!(reason.contains("this process may write to"), "{reason}");
    ledger.restarted(true);
    for at in 0..5 {
        assert!(ledger.set(&users(&larder), at, Durability::Queued).await);
        assert!(ledger.read(&users(&larder), at).await);
    }
    assert!(remount("rw"));
    until("it is stored", async || {
        larder.flush(Durability::Written).await.is_ok()
    })
    .await;
    assert_eq!(ledger.read_all(&users(&larder)).await, 0);
    let larder = restart(larder, &small.data(), DiskConfig::default()).await;
    assert_eq!(ledger.read_all(&users(&larder)).await, 0);
    larder.shutdown(SOON).await.unwrap();
}

#[cfg(feature = "secure")]
#[tokio::test]
async fn a_rotation_that_finds_no_room_on_its_way_goes_on_by_itself_when_there_is_some() {
    const RECORDS: usize = 4_000;
    // The device is looked at again after an eighth of this was written.
    let config = DiskConfig {
        disk_free_bytes_min: 8 * MIB,
        ..DiskConfig::default()
    };
    let Some(small) = Small::mount() else { return };
    sick_disk::seal(&small.data()).await;
    let larder = sick_disk::start(&small.data(), config).await;
    let users = users(&larder);
    let mut noise = fastrand::Rng::with_seed(1);
    let mut text = || (0..1_000).map(|_| noise.alphanumeric()).collect::<String>();
    let items = (0..RECORDS).map(|n| (n.to_string(), text()));
    let report = users.set_many(items).durability(Durability::Written);
    assert_eq!(report.await.unwrap().refused, 0);
    let key = larder::secret::MasterKey::from_bytes([2; 32]).unwrap();
    let driver = larder.driver("disk").unwrap();
    let rotation = driver.rotate_key(key).await.unwrap();
    until("it has begun", async || rotation.progress().looked_at > 0).await;
    small.fill(4 * MIB);
    until("it was tried again and again", async || {
        larder.stats().await.unwrap().drivers[0].failures >= 4
    })
    .await;
    assert_eq!(driver.health().condition, Condition::Degraded);
    assert!(rotation.progress().is_under_way);
    small.make_room();
    let ended = tokio::time::timeout(SOON, rotation.finished()).await;
    assert!(ended.expect("it goes on").unwrap().resealed as usize >= RECORDS);
    assert_eq!(driver.health().generation, 1, "nothing was opened anew");
    for n in 0..RECORDS {
        assert!(users.get(&n.to_string()).await.unwrap().is_some(), "{n}");
    }
    larder.shutdown(SOON).await.unwrap();
}

#[cfg(feature = "secure")]
#[tokio::test]
async fn files_that_held_plain_text_are_rewritten_once_there_is_room_for_it() {
    let Some(small) = Small::mount_of(400) else {
        return;
    };
    let plain = sick_disk::start(&small.data(), DiskConfig::default()).await;
    let cache = users(&plain);
    let set = cache.set("a", "in plain text".to_owned());
    set.durability(Durability::Synced).await.unwrap();
    plain.shutdown(SOON).await.unwrap();
    small.fill(150 * MIB);
    let key = larder::secret::MasterKey::from_bytes([1; 32]).unwrap();
    let sealed = Larder::builder().disk(small.data()).encrypted(key);
    let sealed = sealed.start().await.unwrap();
    let driver = sealed.driver("disk").unwrap();
    let progress = || driver.seal_progress().unwrap();
    until("converted", async || progress().finished > 0).await;
    assert!(progress().plain_text_left, "there is no room");
    small.make_room();
    until("rewritten", async || !progress().plain_text_left).await;
    assert!(users(&sealed).get("a").await.unwrap().is_some());
    sealed.shutdown(SOON).await.unwrap();
}
