//! Gets over memory and disk by tasks side by side, beside foyer's hybrid cache.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use foyer::{BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder};
use tokio::runtime::Runtime;

use super::contest::READING;
use super::disk_contest::{DiskContest, Ran, Reading, versus_these};
use super::{Scene, Settings, disk_set_queued};
use crate::disk_peers::in_fresh;
use crate::disk_peers::larder::Own;
use crate::disk_peers::records::Records;
use crate::peers::LARDER;
use crate::report::Report;
use crate::workload::{Script, Zipf, shuffled};

pub const SCENE: Scene = Scene {
    name: "hybrid-get",
    group: "disk",
    about: "get over memory for a tenth of the data and a disk for all of it, Zipf 0.99, 8 tasks",
    reading: READING,
    pictured: false,
    parts: || versus_these(NAMES),
    run,
};

const FOYER: &str = "foyer";
const NAMES: &[&str] = &[LARDER, FOYER];
const TASKS: usize = 8;

fn run(scene: &Scene, settings: &Settings, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let count: u32 = settings.either(200_000, 50_000);
    let gets = settings.either(50_000, 10_000);
    let memory_bytes = count as usize / 10 * 516;
    let records = Records::new(count);
    // The hottest are not neighbours in any table or file.
    let places = Arc::new(shuffled(count, 2));
    let script = Script::new(&Zipf::new(count), settings.rounds, TASKS, gets, 0);
    let contest = DiskContest {
        scene,
        names: NAMES,
        rounds: settings.rounds,
        reading: Reading::TimesAsFast,
    };
    contest.hold(report, |name, round| {
        let steps: Vec<Vec<u32>> = (0..TASKS)
            .map(|task| {
                let steps = script.at(round, task).iter();
                steps.map(|step| places[*step as usize]).collect()
            })
            .collect();
        let order = shuffled(count, 3);
        in_fresh(|dir| {
            // It ends before the directory goes: foyer's tasks hold its files.
            let host = Runtime::new().expect("a runtime");
            match name {
                LARDER => larder(&host, dir, &records, &order, memory_bytes, steps),
                _ => foyer(&host, dir, &records, &order, memory_bytes, steps),
            }
        })
    });
    Ok(())
}

fn larder(
    host: &Runtime,
    dir: &Path,
    records: &Arc<Records>,
    order: &[u32],
    memory_bytes: usize,
    steps: Vec<Vec<u32>>,
) -> Ran {
    let own = Own::open(dir, memory_bytes);
    disk_set_queued::fill(&own, records, order);
    let (gets, before) = (steps.iter().map(Vec::len).sum(), own.stats());
    let tasks = steps.into_iter().map(|steps| {
        let (cache, records) = (own.cache.clone(), Arc::clone(records));
        async move {
            let mut found = 0;
            for n in steps {
                let entry = cache.get(records.key(n)).await.expect("an answer");
                found += usize::from(entry.is_some());
            }
            found
        }
    });
    let (seconds, found) = side_by_side(host, tasks);
    let below = own.disk().hits - before.drivers[0].hits;
    Ran::new(seconds, gets, note(found, gets, Some(below as usize)))
}

type Hybrid = HybridCache<String, String>;

fn foyer(
    host: &Runtime,
    dir: &Path,
    records: &Arc<Records>,
    order: &[u32],
    memory_bytes: usize,
    steps: Vec<Vec<u32>>,
) -> Ran {
    let cache: Hybrid = host.block_on(async {
        let device = FsDeviceBuilder::new(dir).with_capacity(1 << 30);
        let engine = BlockEngineConfig::new(device.build().expect("a device"));
        let cache = HybridCacheBuilder::new()
            .memory(memory_bytes)
            .with_weighter(|key: &String, value: &String| key.len() + value.len())
            .storage()
            .with_engine_config(engine)
            .build()
            .await
            .expect("a cache");
        // In pieces: what its queue has no room for is not stored.
        for piece in order.chunks(2_000) {
            for &n in piece {
                cache.insert(records.key(n).to_owned(), records.value(n).to_owned());
            }
            cache.storage().wait().await;
        }
        cache
    });
    let gets = steps.iter().map(Vec::len).sum();
    let tasks = steps.into_iter().map(|steps| {
        let (cache, records) = (cache.clone(), Arc::clone(records));
        async move {
            let mut found = 0;
            for n in steps {
                let entry = cache.get(records.key(n)).await.expect("an answer");
                found += usize::from(entry.is_some());
            }
            found
        }
    });
    let (seconds, found) = side_by_side(host, tasks);
    host.block_on(cache.close()).expect("a clean end");
    Ran::new(seconds, gets, note(found, gets, None))
}

fn note(found: usize, gets: usize, below: Option<usize>) -> String {
    let percent = |part: usize| 100.0 * part as f64 / gets as f64;
    let below = below.map(|below| format!(", {:.1} % on disk", percent(below)));
    format!("{:.1} % found{}", percent(found), below.unwrap_or_default())
}

/// How long these tasks take side by side, and what they found in all.
fn side_by_side<F>(host: &Runtime, tasks: impl Iterator<Item = F>) -> (f64, usize)
where
    F: Future<Output = usize> + Send + 'static,
{
    let tasks: Vec<F> = tasks.collect();
    let began = Instant::now();
    let found = host.block_on(async {
        let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
        let mut found = 0;
        for task in tasks {
            found += task.await.expect("a task that ends well");
        }
        found
    });
    (began.elapsed().as_secs_f64(), found)
}
