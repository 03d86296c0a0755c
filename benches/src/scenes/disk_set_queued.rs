//! Sets that are acknowledged at once and stored behind: the clock stops when the last one is stored.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use larder::Durability;

use super::contest::READING;
use super::disk_child;
use super::disk_contest::{DiskContest, MEMORY_BYTES, Ran, Reading, versus_these};
use super::{Scene, Settings};
use crate::disk_peers::larder::Own;
use crate::disk_peers::records::Records;
use crate::disk_peers::{self, CACHE_BYTES, FJALL, REDB, SQLITE, Safety, in_fresh};
use crate::harness::drive;
use crate::peers::LARDER;
use crate::report::Report;
use crate::workload::shuffled;

pub const SCENE: Scene = Scene {
    name: "disk-set-queued",
    group: "disk",
    about: "set with a disk tier, Queued, 500-byte values in shuffled order; the clock stops after a flush",
    reading: READING,
    pictured: false,
    parts: || {
        let mut parts = versus_these(NAMES);
        parts.push(PEAK.into());
        parts
    },
    run,
};

const NAMES: &[&str] = &[LARDER, FJALL, REDB, SQLITE];
/// How far a process grows that does nothing else, in larder's budgets; less is better.
const PEAK: &str = "peak-in-budgets";

fn run(scene: &Scene, settings: &Settings, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let count = settings.either(300_000, 80_000);
    let records = Records::new(count);
    let contest = DiskContest {
        scene,
        names: NAMES,
        rounds: settings.rounds,
        reading: Reading::TimesAsFast,
    };
    let mut batch = 1;
    contest.hold(report, |name, round| {
        let order = shuffled(count, round as u64);
        in_fresh(|dir| match name {
            LARDER => {
                let (seconds, average) = larder(dir, &records, &order);
                batch = average.round() as usize;
                Ran::new(seconds, order.len(), format!("{average:.0} a commit"))
            }
            _ => {
                let store = disk_peers::open(name, dir, Safety::Written);
                let began = Instant::now();
                for chunk in order.chunks(batch) {
                    store.commit(&records, chunk, Safety::Written);
                }
                let seconds = began.elapsed().as_secs_f64();
                Ran::new(seconds, order.len(), format!("{batch} a commit"))
            }
        })
    });
    let peak = disk_child::spawn(&["queued", &count.to_string()])?;
    // What larder may have of entries, of what is not stored yet, and what its store may have.
    let budgets =
        MEMORY_BYTES as f64 + f64::from(16 << 20) + CACHE_BYTES as f64 + f64::from(40 << 20);
    println!(
        "\n  larder's process grew by {:.0} MiB; its budgets are {:.0} MiB",
        peak / f64::from(1 << 20),
        budgets / f64::from(1 << 20)
    );
    report.row(scene.row(PEAK), peak / budgets);
    Ok(())
}

/// How long it took until everything was stored, and how many records a commit had.
fn larder(dir: &Path, records: &Records, order: &[u32]) -> (f64, f64) {
    let own = Own::open(dir, MEMORY_BYTES);
    let began = Instant::now();
    fill(&own, records, order);
    let seconds = began.elapsed().as_secs_f64();
    let disk = own.disk();
    assert_eq!(disk.writes, order.len() as u64, "each was stored once");
    (seconds, disk.writes as f64 / disk.commits as f64)
}

/// Sets them all and waits until they are stored.
pub fn fill(own: &Own, records: &Records, order: &[u32]) {
    drive(async {
        for &n in order {
            let set = own.cache.set(records.key(n), records.value(n).to_owned());
            set.await.expect("a version");
        }
        let flushed = own.larder.flush(Durability::Written);
        flushed.await.expect("everything stored");
    });
}
