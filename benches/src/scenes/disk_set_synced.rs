//! Sets that return when they are on the device, by writers side by side.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use larder::{Cache, Durability};

use super::contest::READING;
use super::disk_contest::{DiskContest, MEMORY_BYTES, Ran, Reading, versus_these};
use super::{Scene, Settings};
use crate::disk_peers::group::Group;
use crate::disk_peers::larder::Own;
use crate::disk_peers::records::Records;
use crate::disk_peers::{self, FJALL, REDB, SQLITE, Safety, in_fresh, sync_us};
use crate::harness::drive;
use crate::peers::LARDER;
use crate::report::Report;

pub const ONE: Scene = Scene {
    name: "disk-set-synced-1",
    group: "disk",
    about: "set that returns when it is on the device, one writer",
    reading: READING,
    pictured: false,
    parts: || versus_these(ALONE),
    run: |scene, settings, report| run(scene, settings, report, 1, settings.either(200, 40)),
};

pub const SOME: Scene = Scene {
    name: "disk-set-synced-64",
    about: "set that returns when it is on the device, 64 writers side by side",
    parts: || versus_these(TOGETHER),
    run: |scene, settings, report| run(scene, settings, report, 64, settings.either(60, 20)),
    ..ONE
};

pub const MANY: Scene = Scene {
    name: "disk-set-synced-512",
    about: "set that returns when it is on the device, 512 writers side by side",
    parts: || versus_these(TOGETHER),
    run: |scene, settings, report| run(scene, settings, report, 512, settings.either(30, 10)),
    ..ONE
};

/// fjall alone, a sync for each write.
const FJALL_ONE: &str = "fjall-one";
/// fjall behind a thread that collects what waits.
const FJALL_GROUP: &str = "fjall-group";

const ALONE: &[&str] = &[LARDER, FJALL, FJALL_GROUP, REDB, SQLITE];
const TOGETHER: &[&str] = &[LARDER, FJALL, FJALL_ONE, FJALL_GROUP, REDB, SQLITE];

fn run(
    scene: &Scene,
    settings: &Settings,
    report: &mut Report,
    writers: u32,
    each: u32,
) -> Result<(), Box<dyn Error>> {
    let count = writers * each;
    // One more, which is stored before the clock is read.
    let records = Records::new(count + 1);
    let contest = DiskContest {
        scene,
        names: if writers == 1 { ALONE } else { TOGETHER },
        rounds: settings.rounds,
        reading: Reading::TimesAsFast,
    };
    println!("  a sync of one page takes {:.0} us here\n", sync_us());
    let mut commits = 1;
    contest.hold(report, |name, _| {
        in_fresh(|dir| match name {
            LARDER => {
                let (seconds, of_it) = larder(dir, &records, writers, each);
                commits = of_it as usize;
                Ran::new(seconds, count as usize, a_commit(count, commits))
            }
            FJALL_GROUP => {
                let seconds = grouped(name, dir, &records, writers, each);
                Ran::new(seconds, count as usize, String::new())
            }
            FJALL => {
                let seconds = alone(FJALL, dir, &records, count, commits);
                Ran::new(seconds, count as usize, a_commit(count, commits))
            }
            FJALL_ONE => {
                let few = count.min(settings.either(200, 40));
                let seconds = alone(FJALL, dir, &records, few, few as usize);
                Ran::new(seconds, few as usize, a_commit(1, 1))
            }
            _ => {
                let seconds = grouped(name, dir, &records, writers, each);
                Ran::new(seconds, count as usize, String::new())
            }
        })
    });
    Ok(())
}

fn a_commit(count: u32, commits: usize) -> String {
    format!("{:.1} a commit", f64::from(count) / commits as f64)
}

/// How long it took, and how many commits it was.
fn larder(dir: &Path, records: &Arc<Records>, writers: u32, each: u32) -> (f64, u64) {
    let own = Own::open(dir, MEMORY_BYTES);
    drive(synced(&own.cache, records, writers * each));
    let before = own.disk();
    let seconds = side_by_side(writers, each, || {
        let (cache, records) = (own.cache.clone(), Arc::clone(records));
        async move |n| synced(&cache, &records, n).await
    });
    let after = own.disk();
    let stored = after.writes - before.writes;
    assert_eq!(stored, u64::from(writers * each), "each was stored once");
    (seconds, after.commits - before.commits)
}

async fn synced(cache: &Cache<String>, records: &Records, n: u32) {
    let set = cache.set(records.key(n), records.value(n).to_owned());
    let set = set.durability(Durability::Synced).await;
    set.expect("a version");
}

/// A loop that commits so many records in so many batches of the same size.
fn alone(name: &str, dir: &Path, records: &Records, count: u32, commits: usize) -> f64 {
    let store = disk_peers::open(name, dir, Safety::Synced);
    store.commit(records, &[count], Safety::Synced);
    let numbers: Vec<u32> = (0..count).collect();
    let end = |at: usize| at * numbers.len() / commits;
    let began = Instant::now();
    for at in 0..commits {
        store.commit(records, &numbers[end(at)..end(at + 1)], Safety::Synced);
    }
    began.elapsed().as_secs_f64()
}

/// The same writers in front of a thread that collects what waits.
fn grouped(name: &str, dir: &Path, records: &Arc<Records>, writers: u32, each: u32) -> f64 {
    let store = disk_peers::open(name, dir, Safety::Synced);
    let group = Group::new(store, Arc::clone(records));
    drive(group.writer().set(writers * each));
    let seconds = side_by_side(writers, each, || {
        let writer = group.writer();
        async move |n| writer.set(n).await
    });
    group.end();
    seconds
}

/// How long so many tasks on one runtime take that make so many sets each, one after the other.
fn side_by_side<S: AsyncFn(u32) + 'static>(
    writers: u32,
    each: u32,
    mut writer: impl FnMut() -> S,
) -> f64 {
    let sets: Vec<S> = (0..writers).map(|_| writer()).collect();
    let local = tokio::task::LocalSet::new();
    let began = Instant::now();
    drive(local.run_until(async {
        let tasks = sets.into_iter().enumerate().map(|(writer, set)| {
            tokio::task::spawn_local(async move {
                for at in 0..each {
                    set(writer as u32 * each + at).await;
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("a task that ends well");
        }
    }));
    began.elapsed().as_secs_f64()
}
