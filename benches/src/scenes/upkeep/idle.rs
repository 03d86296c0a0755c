//! A larder that nobody asks anything.

use std::error::Error;
use std::time::{Duration, Instant};

use larder::{Durability, Larder};

use crate::child::Child;
use crate::harness::drive;
use crate::peers::larder::stop;
use crate::process::Spent;
use crate::report::print_table;
use crate::scenes::Scene;
use crate::workload::{Keys, User};

pub const SCENE: Scene = Scene {
    name: "idle-cpu",
    group: "upkeep",
    about: "a larder with memory and a disk, 1,000 entries in both, that nobody calls",
    reading: "wake-ups of all its threads in a second, and milliseconds of CPU in a second; less is better",
    pictured: false,
    parts: || vec![WAKES.to_owned(), CPU.to_owned()],
    run: |scene, settings, report| {
        let seconds = settings.either(10, 3);
        let mut lines = Vec::new();
        for tiers in [MEMORY, DISK] {
            let figures = CHILD.spawn(&format!("{tiers}-{seconds}"))?;
            lines.push(vec![
                tiers.to_owned(),
                figures[0].to_string(),
                format!("{:.1}", figures[1]),
                format!("{:.3}", figures[2]),
            ]);
            if tiers == DISK {
                report.row(scene.row(WAKES), figures[1]);
                report.row(scene.row(CPU), figures[2]);
            }
        }
        let head = ["", "threads", "wake-ups/s", "CPU ms/s"];
        print_table(&head, &lines);
        println!("\n  over {seconds} s, after {SETTLED:?} of rest");
        Ok(())
    },
};

const WAKES: &str = "wakeups-per-second";
const CPU: &str = "cpu-ms-per-second";
const MEMORY: &str = "memory";
const DISK: &str = "memory+disk";
/// What was begun by the sets has ended by then.
const SETTLED: Duration = Duration::from_secs(3);

pub const CHILD: Child = Child {
    word: "--idle-load",
    measure,
};

fn measure(whom: &str) -> Result<Vec<f64>, Box<dyn Error>> {
    let (tiers, seconds) = whom.split_once('-').ok_or("a word is missing")?;
    let seconds = Duration::from_secs(seconds.parse()?);
    let directory = tempfile::tempdir()?;
    let mut builder = Larder::builder();
    if tiers == DISK {
        builder = builder.disk(directory.path());
    }
    let larder = builder.start_blocking()?;
    let cache = larder.cache("users")?;
    let keys = Keys::new(0, 1_000);
    drive(async {
        for n in 0..keys.count() {
            cache.set(keys.at(n), User::new(n)).await?;
        }
        larder.flush(Durability::Synced).await
    })?;
    std::thread::sleep(SETTLED);
    let (began, before) = (Instant::now(), Spent::by_others()?);
    std::thread::sleep(seconds);
    let spent = Spent::by_others()?.since(before);
    let seconds = began.elapsed().as_secs_f64();
    let threads = std::fs::read_dir("/proc/self/task")?.count() - 1;
    stop(&larder);
    Ok(vec![
        threads as f64,
        spent.sleeps as f64 / seconds,
        spent.cpu.as_secs_f64() * 1e3 / seconds,
    ])
}
