//! Gets of what is on the disk and not in memory, with a warm page cache and with a cold one.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::contest::READING;
use super::disk_contest::{DiskContest, Ran, Reading, versus_these};
use super::{Scene, Settings, disk_set_queued};
use crate::disk_peers::fjall::Fjall;
use crate::disk_peers::group::Reader;
use crate::disk_peers::larder::Own;
use crate::disk_peers::records::Records;
use crate::disk_peers::{self, FJALL, REDB, SQLITE, Safety, Store, released};
use crate::harness::{drive, timed};
use crate::peers::LARDER;
use crate::peers::larder::BUDGET_MIN;
use crate::report::Report;
use crate::workload::shuffled;

pub const WARM: Scene = Scene {
    name: "disk-get-warm",
    group: "disk",
    about: "get of what is on the disk and not in memory, one caller, page cache warm; the median of each run",
    reading: "larder's median in the peer's; less is better",
    pictured: false,
    parts: || versus_these(ALL),
    run: warm,
};

pub const COLD: Scene = Scene {
    name: "disk-get-cold-64",
    about: "64 gets at a time of what is on the disk, page cache dropped; bare fjall by two and by eight threads",
    reading: READING,
    parts: || versus_these(READERS),
    run: cold,
    ..WARM
};

const ALL: &[&str] = &[LARDER, FJALL, FJALL_THREAD, REDB, SQLITE];
/// fjall read by a thread, for a caller that does not block.
const FJALL_THREAD: &str = "fjall-thread";
/// fjall with as many reader threads as larder has.
const FJALL_EIGHT: &str = "fjall-8t";
const READERS: &[&str] = &[LARDER, FJALL, FJALL_EIGHT];

/// A filled store for each of these, closed and in order.
fn filled(names: &[&str], records: &Records, count: u32) -> Vec<TempDir> {
    let order = shuffled(count, 1);
    let fill = |name: &&str| {
        let dir = tempfile::tempdir().expect("a directory");
        match *name {
            LARDER => {
                let own = Own::open(dir.path(), BUDGET_MIN);
                disk_set_queued::fill(&own, records, &order);
                drop(own);
                released(dir.path());
                Fjall::open_larders(dir.path()).settle();
            }
            name => {
                let store = disk_peers::open(name, dir.path(), Safety::Written);
                for chunk in order.chunks(1_000) {
                    store.commit(records, chunk, Safety::Written);
                }
                store.settle();
            }
        }
        released(dir.path());
        dir
    };
    let dirs = names.iter().map(fill).collect();
    rustix::fs::sync();
    dirs
}

fn warm(scene: &Scene, settings: &Settings, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let (count, gets) = (
        settings.either(200_000, 50_000),
        settings.either(20_000, 5_000),
    );
    let records = Records::new(count);
    let dirs = filled(ALL, &records, count);
    let contest = DiskContest {
        scene,
        names: ALL,
        rounds: settings.rounds,
        reading: Reading::ShareOfTime,
    };
    contest.hold(report, |name, round| {
        let order = shuffled(count, 100 + round as u64);
        // Keys that the first of them bring into memory are none of the others.
        let (first, order) = order[..2 * gets].split_at(gets);
        let at = ALL.iter().position(|other| *other == name);
        let dir = dirs[at.unwrap_or(0)].path();
        read_through(dir);
        let times = match name {
            LARDER => {
                let own = Own::open(dir, BUDGET_MIN);
                drive(times_of(first, async |n| {
                    larder_get(&own, &records, n).await
                }));
                let before = own.disk().hits;
                let times = drive(times_of(order, async |n| {
                    larder_get(&own, &records, n).await
                }));
                let below = own.disk().hits - before;
                assert!(
                    below as usize * 100 >= gets * 95,
                    "{below} were on the disk"
                );
                times
            }
            FJALL_THREAD => {
                let reader = Reader::new(disk_peers::open(name, dir, Safety::Written));
                let get = async |n| assert!(reader.get(records.key(n)).await);
                drive(times_of(first, get));
                let times = drive(times_of(order, get));
                reader.end();
                times
            }
            _ => {
                let store = disk_peers::open(name, dir, Safety::Written);
                let get = async |n| assert!(store.get(records.key(n)));
                drive(times_of(first, get));
                drive(times_of(order, get))
            }
        };
        released(dir);
        let at = |share: usize| times[times.len() * share / 100].as_secs_f64();
        Ran::new(at(50), 1, format!("p99 {:.1} us", at(99) * 1e6))
    });
    Ok(())
}

async fn larder_get(own: &Own, records: &Records, n: u32) {
    let found = own.cache.get(records.key(n)).await.expect("an answer");
    assert!(found.is_some(), "it is on the disk");
}

/// How long each took, sorted.
async fn times_of(numbers: &[u32], get: impl AsyncFn(u32)) -> Vec<Duration> {
    let mut times = Vec::with_capacity(numbers.len());
    for &n in numbers {
        let began = Instant::now();
        get(n).await;
        times.push(began.elapsed());
    }
    times.sort();
    times
}

/// Reads all files of a directory, so that the system has them in memory.
fn read_through(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => read_through(&path),
            false => drop(fs::read(path)),
        }
    }
}

const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

fn cold(scene: &Scene, settings: &Settings, report: &mut Report) -> Result<(), Box<dyn Error>> {
    if let Err(error) = fs::write(DROP_CACHES, "3") {
        println!("  left out: {DROP_CACHES} may not be written to, {error}");
        return Ok(());
    }
    let (count, gets) = (
        settings.either(200_000, 50_000),
        settings.either(2_560, 640),
    );
    let records = Records::new(count);
    let dirs = filled(&[LARDER, FJALL], &records, count);
    let contest = DiskContest {
        scene,
        names: READERS,
        rounds: settings.rounds,
        reading: Reading::TimesAsFast,
    };
    contest.hold(report, |name, round| {
        let order = shuffled(count, 100 + round as u64);
        let order = &order[..gets];
        let seconds = match name {
            LARDER => larder_cold(dirs[0].path(), &records, order),
            FJALL => fjall_cold(dirs[1].path(), &records, order, 2),
            _ => fjall_cold(dirs[1].path(), &records, order, 8),
        };
        Ran::new(seconds, gets, String::new())
    });
    Ok(())
}

fn drop_caches() {
    rustix::fs::sync();
    fs::write(DROP_CACHES, "3").expect("caches that are dropped");
}

fn larder_cold(dir: &Path, records: &Arc<Records>, order: &[u32]) -> f64 {
    let own = Own::open(dir, BUDGET_MIN);
    drop_caches();
    let shares = order.chunks(order.len() / 64).map(<[u32]>::to_vec);
    let shares: Vec<Vec<u32>> = shares.collect();
    let began = Instant::now();
    drive(async {
        let tasks = shares.into_iter().map(|share| {
            let (cache, records) = (own.cache.clone(), Arc::clone(records));
            tokio::spawn(async move {
                for n in share {
                    let found = cache.get(records.key(n)).await.expect("an answer");
                    assert!(found.is_some(), "it is on the disk");
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("a task that ends well");
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    drop(own);
    released(dir);
    seconds
}

fn fjall_cold(dir: &Path, records: &Records, order: &[u32], threads: usize) -> f64 {
    let store = Fjall::open(dir);
    drop_caches();
    let shares: Vec<&[u32]> = order.chunks(order.len().div_ceil(threads)).collect();
    let time = timed(threads, |thread| {
        for &n in shares[thread] {
            assert!(store.get(records.key(n)), "it is on the disk");
        }
    });
    drop(store);
    released(dir);
    time.as_secs_f64()
}
