//! Chunks of ten to a hundred items, and all at once: how long it takes, and how much memory, each in a
//! process of its own.

use std::error::Error;
use std::time::{Duration, Instant};

use larder::{CommitConfig, Durability, Larder};

use super::ms;
use super::store::{Pace, Store};
use super::stores::{STORAGE, write};
use crate::child::Child;
use crate::harness::drive;
use crate::peers::larder::{BUDGET_MIN, stop};
use crate::process::{peak_bytes, resident_bytes};
use crate::report::print_table;
use crate::scenes::Scene;

pub const SCENE: Scene = Scene {
    name: "origin-chunks",
    group: "origin",
    about: "500 items of 40 KB to plain storage, larder with 1 MiB of memory: time and peak memory",
    reading: "larder's milliseconds, and how much its process grew at most, in MB; less is better",
    pictured: false,
    parts: || {
        let both = |chunk: usize| ["ms", "mb"].map(|what| format!("{}-{what}", named(chunk)));
        CHUNKS.into_iter().flat_map(both).collect()
    },
    run: |scene, settings, report| {
        let times = settings.either(1, 10);
        let mut lines = Vec::new();
        for chunk in CHUNKS {
            let ask = |who: &str| CHILD.spawn(&format!("{who}-{chunk}-{times}"));
            let (bare, larder) = (ask("bare")?, ask("larder")?);
            report.row(scene.row(&format!("{}-ms", named(chunk))), larder[0]);
            report.row(scene.row(&format!("{}-mb", named(chunk))), larder[1]);
            let mut line = vec![named(chunk)];
            for figures in [&bare, &larder] {
                line.push(ms(Some(figures[0])));
                line.push(format!("{:.1}", figures[1]));
                line.push(figures[2].to_string());
                line.push(figures[3].to_string());
            }
            lines.push(line);
        }
        let head = [
            "",
            "bare ms",
            "peak MB",
            "calls",
            "refused",
            "larder ms",
            "peak MB",
            "calls",
            "refused",
        ];
        print_table(&head, &lines);
        if times > 1 {
            println!("\n  the store ran {times} times as fast, and times are times {times}");
        }
        Ok(())
    },
};

const ITEMS: usize = 500;
/// A hundred of them are within the bytes at which larder ends a chunk, a quarter of `dirty_bytes_max`.
const VALUE_BYTES: usize = 40_000;
/// The last is all at once.
const CHUNKS: [usize; 5] = [10, 20, 50, 100, ITEMS];

fn named(chunk: usize) -> String {
    match chunk {
        ITEMS => "all-at-once".to_owned(),
        chunk => format!("chunk-{chunk}"),
    }
}

pub const CHILD: Child = Child {
    word: "--chunk-peak",
    measure: |whom| {
        let mut words = whom.split('-');
        let mut word = || words.next().ok_or("a word is missing");
        let (who, chunk, times) = (word()?, word()?.parse()?, word()?.parse()?);
        let pace = STORAGE.faster(times);
        let before = resident_bytes()?;
        let ran = match who {
            "bare" => bare(pace, chunk),
            _ => larder(pace, chunk)?,
        };
        let grown = (peak_bytes()? - before) / 1e6;
        let ms = ran.time.as_secs_f64() * 1e3 * f64::from(times);
        Ok(vec![ms, grown, ran.calls as f64, ran.refused as f64])
    },
};

struct Ran {
    time: Duration,
    /// Of the store.
    calls: u64,
    refused: usize,
}

/// A bare client; all at once it has a thread for each item.
fn bare(pace: Pace, chunk: usize) -> Ran {
    let store = Store::of_keys(pace);
    let (chunk, at_once) = if chunk == ITEMS {
        (1, ITEMS)
    } else {
        (chunk, 1)
    };
    let told = write(&store.open(), ITEMS, VALUE_BYTES, chunk, at_once);
    Ran {
        time: told.stored,
        calls: store.writes(),
        refused: told.refused,
    }
}

fn larder(pace: Pace, chunk: usize) -> Result<Ran, Box<dyn Error>> {
    let store = Store::of_keys(pace);
    let mut commits = CommitConfig::default();
    commits.commit_count_max = chunk.min(100);
    // As many bytes as the largest chunk has.
    commits.commit_bytes_max = 16 << 20;
    let larder = Larder::builder()
        .memory_bytes(BUDGET_MIN)
        .driver_factory("store", commits, store.factory())
        .start_blocking()?;
    let cache = larder.cache::<Vec<u8>>("items")?;
    let began = Instant::now();
    let refused = if chunk == ITEMS {
        drive(super::stores::all_at_once(ITEMS, VALUE_BYTES, &cache))
    } else {
        let items = (0..ITEMS).map(|n| (format!("item:{n:07}"), vec![7; VALUE_BYTES]));
        let sets = cache.set_many(items).chunk(chunk);
        let report = drive(sets.durability(Durability::Written).into_future())?;
        report.refused + report.chunks_unstored
    };
    let time = began.elapsed();
    let calls = store.writes();
    stop(&larder);
    Ok(Ran {
        time,
        calls,
        refused,
    })
}
