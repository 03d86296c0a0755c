//! Many sets in one call, each chunk on the device before the next one is begun.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use larder::{CommitConfig, Durability};

use super::contest::READING;
use super::disk_child;
use super::disk_contest::{DiskContest, MEMORY_BYTES, Ran, Reading, versus_these};
use super::{Scene, Settings};
use crate::disk_peers::larder::Own;
use crate::disk_peers::records::Records;
use crate::disk_peers::{self, FJALL, Safety, in_fresh};
use crate::harness::drive;
use crate::peers::LARDER;
use crate::report::Report;

pub const FIFTY: Scene = Scene {
    name: "disk-set-many-50",
    group: "disk",
    about: "set_many of 50, Synced, in larder's own chunks",
    reading: READING,
    pictured: false,
    parts: || versus_these(NAMES),
    run: |scene, settings, report| run(scene, settings, report, 50, settings.either(40, 10)),
};

pub const FIVE_HUNDRED: Scene = Scene {
    name: "disk-set-many-500",
    about: "set_many of 500, Synced, in larder's own chunks",
    run: |scene, settings, report| run(scene, settings, report, 500, settings.either(8, 2)),
    ..FIFTY
};

pub const THOUSAND: Scene = Scene {
    name: "disk-set-many-1000",
    about: "set_many of 1,000, Synced, in larder's own chunks",
    run: |scene, settings, report| run(scene, settings, report, 1_000, settings.either(4, 1)),
    ..FIFTY
};

pub const MOST: Scene = Scene {
    name: "disk-set-many-100000",
    about: "set_many of 100,000 (quick: 10,000), Synced, in larder's own chunks",
    parts: || {
        let mut parts = versus_these(NAMES);
        parts.push(PEAK.into());
        parts
    },
    run: |scene, settings, report| {
        run(scene, settings, report, settings.either(100_000, 10_000), 1)?;
        let peak = |call: &str| disk_child::spawn(&["many", call]);
        let (few, most) = (peak("1000")?, peak("100000")?);
        println!(
            "\n  a process that sets 200,000 grows by {:.0} MiB with 1,000 a call, by {:.0} MiB with 100,000",
            few / f64::from(1 << 20),
            most / f64::from(1 << 20)
        );
        report.row(scene.row(PEAK), most / few);
        Ok(())
    },
    ..FIFTY
};

/// larder's own sets, each awaited before the next one.
const ONE_BY_ONE: &str = "one-by-one";
const NAMES: &[&str] = &[LARDER, FJALL, ONE_BY_ONE];
/// Growth of a process with 100,000 a call in its growth with 1,000; less is better.
const PEAK: &str = "peak-100000-vs-1000";

fn run(
    scene: &Scene,
    settings: &Settings,
    report: &mut Report,
    call: u32,
    calls: u32,
) -> Result<(), Box<dyn Error>> {
    let count = call * calls;
    let records = Records::new(count + 1);
    let contest = DiskContest {
        scene,
        names: NAMES,
        rounds: match call {
            // Minutes long with seven.
            100_000 => settings.rounds.min(5),
            _ => settings.rounds,
        },
        reading: Reading::TimesAsFast,
    };
    contest.hold(report, |name, _| {
        in_fresh(|dir| match name {
            LARDER => larder(dir, &records, call, calls),
            FJALL => chunks(dir, &records, call, calls),
            _ => one_by_one(dir, &records),
        })
    });
    Ok(())
}

fn larder(dir: &Path, records: &Records, call: u32, calls: u32) -> Ran {
    let own = Own::open(dir, MEMORY_BYTES);
    let count = call * calls;
    set_many(&own, records, count..count + 1, Durability::Synced);
    let before = own.disk();
    let began = Instant::now();
    for at in 0..calls {
        let numbers = at * call..(at + 1) * call;
        set_many(&own, records, numbers, Durability::Synced);
    }
    let seconds = began.elapsed().as_secs_f64();
    let after = own.disk();
    let commits = after.commits - before.commits;
    let average = (after.writes - before.writes) as f64 / commits as f64;
    Ran::new(seconds, count as usize, format!("{average:.1} a commit"))
}

/// One call for these records.
pub fn set_many(own: &Own, records: &Records, numbers: std::ops::Range<u32>, safe: Durability) {
    let count = numbers.len() as u64;
    let items = numbers.map(|n| (records.key(n), records.value(n).to_owned()));
    let report = drive(async { own.cache.set_many(items).durability(safe).await });
    let report = report.expect("a report");
    assert_eq!(report.applied as u64, count, "all were set");
}

/// One batch for each of larder's chunks.
fn chunks(dir: &Path, records: &Records, call: u32, calls: u32) -> Ran {
    let store = disk_peers::open(FJALL, dir, Safety::Synced);
    let count = call * calls;
    store.commit(records, &[count], Safety::Synced);
    let numbers: Vec<u32> = (0..count).collect();
    let chunk = CommitConfig::default().chunk_count;
    let began = Instant::now();
    for items in numbers.chunks(call as usize) {
        for chunk in items.chunks(chunk) {
            store.commit(records, chunk, Safety::Synced);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    Ran::new(seconds, count as usize, format!("{chunk} a commit"))
}

fn one_by_one(dir: &Path, records: &Records) -> Ran {
    let own = Own::open(dir, MEMORY_BYTES);
    set_many(&own, records, 0..1, Durability::Synced);
    let few = 50;
    let began = Instant::now();
    drive(async {
        for n in 0..few {
            let set = own.cache.set(records.key(n), records.value(n).to_owned());
            let set = set.durability(Durability::Synced).await;
            set.expect("a version");
        }
    });
    Ran::new(began.elapsed().as_secs_f64(), few as usize, String::new())
}
