//! A million entries whose time is up within a minute: what it costs to let them go, and who feels it.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::{Cache, Larder};

use crate::child::Child;
use crate::harness::drive;
use crate::peers::larder::{stats, stop};
use crate::process::Spent;
use crate::report::print_table;
use crate::scenes::Scene;
use crate::workload::{Keys, Random, User};

pub const SCENE: Scene = Scene {
    name: "ttl-million",
    group: "upkeep",
    about: "1,000,000 entries that expire within a minute, and 100,000 gets a second of others meanwhile",
    reading: "percent of a core that larder's threads take; p99 of the gets by that before; less is better",
    pictured: false,
    parts: || vec![CPU.to_owned(), P99.to_owned()],
    run: |scene, settings, report| {
        let load = settings.either(FULL, QUICK);
        let figures = CHILD.spawn(load.name)?;
        let [idle, busy] = [&figures[..4], &figures[4..8]];
        let line = |name: String, figures: &[f64]| {
            let cells = [
                format!("{:.2} %", figures[0]),
                format!("{:.0}", figures[1]),
                format!("{:.0}", figures[2]),
                format!("{:.0}", figures[3]),
            ];
            [name].into_iter().chain(cells).collect()
        };
        let seconds = load.window.as_secs();
        let expiring = format!("{} expire in {seconds} s", load.entries);
        let lines = [line("before".to_owned(), idle), line(expiring, busy)];
        let head = ["", "of a core", "get p50 ns", "p99 ns", "p99.9 ns"];
        print_table(&head, &lines);
        report.row(scene.row(CPU), busy[0]);
        report.row(scene.row(P99), busy[2] / idle[2]);
        Ok(())
    },
};

const CPU: &str = "cpu-percent";
const P99: &str = "p99-vs-idle";

struct Load {
    name: &'static str,
    entries: u32,
    /// From the beginning until the first one expires.
    wait: Duration,
    /// From then until the last one does.
    window: Duration,
}

const FULL: Load = Load {
    name: "full",
    entries: 1_000_000,
    wait: Duration::from_secs(20),
    window: Duration::from_secs(60),
};
const QUICK: Load = Load {
    name: "quick",
    entries: 50_000,
    wait: Duration::from_secs(5),
    window: Duration::from_secs(3),
};

/// Entries that stay, and are read.
const STAYING: u32 = 10_000;

pub const CHILD: Child = Child {
    word: "--ttl-load",
    measure: |name| measure(if name == FULL.name { &FULL } else { &QUICK }),
};

fn measure(load: &Load) -> Result<Vec<f64>, Box<dyn Error>> {
    let larder = Larder::builder().memory_bytes(1 << 30).start_blocking()?;
    let cache = larder.cache::<User>("users")?;
    let began = Instant::now();
    let keys = Keys::new(0, load.entries + STAYING);
    drive(fill(&cache, &keys, load, began + load.wait))?;
    // What there is to be noted is noted by then.
    std::thread::sleep((load.wait / 2).saturating_sub(began.elapsed()));
    let idle = read(&cache, &keys, load.entries, began + load.wait)?;
    let there = stats(&larder).entries;
    let busy = read(&cache, &keys, load.entries, began + load.wait + load.window)?;
    // The last ones are late by no more than this.
    std::thread::sleep(Duration::from_millis(500));
    let left = stats(&larder).entries;
    stop(&larder);
    if there < load.entries as usize * 99 / 100 || left != STAYING as usize {
        return Err(format!("{there} entries before, {left} after").into());
    }
    Ok(idle.into_iter().chain(busy).collect())
}

/// Entries that expire evenly over the window after `first`, and after them those that stay.
async fn fill(
    cache: &Cache<User>,
    keys: &Keys,
    load: &Load,
    first: Instant,
) -> Result<(), Box<dyn Error>> {
    let mut random = Random::new(1);
    for n in 0..keys.count() {
        let set = cache.set(keys.at(n), Arc::new(User::new(n)));
        if n < load.entries {
            let at = first + load.window.mul_f64(random.unit());
            let ttl = at.checked_duration_since(Instant::now());
            set.ttl(ttl.ok_or("it took too long to fill it")?).await?;
        } else {
            set.await?;
        }
    }
    Ok(())
}

/// Reads a hundred entries each millisecond until then: percent of a core that others took, and the gets'
/// nanoseconds, p50, p99 and p99.9.
fn read(
    cache: &Cache<User>,
    keys: &Keys,
    first: u32,
    until: Instant,
) -> Result<[f64; 4], Box<dyn Error>> {
    let mut random = Random::new(2);
    let mut times: Vec<u32> = Vec::new();
    let (began, before) = (Instant::now(), Spent::by_others()?);
    while Instant::now() < until {
        drive(async {
            for _ in 0..100 {
                let n = first + (random.unit() * f64::from(STAYING)) as u32;
                let asked = Instant::now();
                let found = cache.get(keys.at(n)).await?;
                times.push(asked.elapsed().as_nanos() as u32);
                assert!(found.is_some(), "it stays");
            }
            Ok::<_, larder::Error>(())
        })?;
        std::thread::sleep(Duration::from_millis(1));
    }
    let spent = Spent::by_others()?.since(before);
    let core = 100.0 * spent.cpu.as_secs_f64() / began.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| f64::from(times[(times.len() as f64 * share) as usize]);
    Ok([core, at(0.5), at(0.99), at(0.999)])
}
