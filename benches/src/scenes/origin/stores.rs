//! Fifty to a thousand items written to the app's three stores, in the three ways that were published.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder::clock::NEVER;
use larder::drivers::{Driver, StoreDurability, Write};
use larder::{Cache, CommitConfig, Durability, Larder, Version};

use super::ms;
use super::store::{Pace, Store, StoreDriver};
use crate::harness::{drive, timed};
use crate::peers::larder::stop;
use crate::report::print_table;
use crate::scenes::Scene;

pub const SCENE: Scene = Scene {
    name: "origin-stores",
    group: "origin",
    about: "items of 1,000 bytes to stores with the pace of an app's: 50, 240 and 8 ms a write",
    reading: "milliseconds until larder's caller goes on, and until all is stored; less is better",
    pictured: false,
    parts: || {
        let of_case = |case: &Case| WAYS.map(|way| (case.name, way.name));
        let both = |(case, way)| FIGURES.map(|figure| format!("{case}-{way}-{figure}"));
        let timed = CASES.iter().flat_map(of_case).flat_map(both);
        timed.chain([LOST.to_owned()]).collect()
    },
    run: |scene, settings, report| {
        // Then larder's own time counts tenfold, too.
        let times = settings.either(1, 10);
        let (mut lines, mut lost) = (Vec::new(), 0);
        for case in CASES {
            let case = &Case {
                pace: case.pace.faster(times),
                ..*case
            };
            let mut told = Told::default();
            for (at, way) in WAYS.iter().enumerate() {
                if let Some(bare) = way.bare {
                    told = bare(case, &Store::new(case.pace).open());
                }
                let store = Store::new(case.pace);
                let larder = through_larder(case, &store, way)?;
                let there = store.open().usage().entries.unwrap_or(0);
                lost += case.count - usize::try_from(there)?.min(case.count);
                let in_ms = |time: Duration| time.as_secs_f64() * 1e3 * f64::from(times);
                for (figure, time) in FIGURES.iter().zip([larder.caller, larder.stored]) {
                    let part = format!("{}-{}-{figure}", case.name, way.name);
                    report.row(scene.row(&part), in_ms(time));
                }
                lines.push(vec![
                    format!("{}-{}", case.name, way.name),
                    case.published[at].to_owned(),
                    ms(Some(in_ms(told.stored))),
                    told.refused.to_string(),
                    ms(Some(in_ms(larder.caller))),
                    ms(Some(in_ms(larder.stored))),
                    larder.refused.to_string(),
                ]);
            }
        }
        report.row(scene.row(LOST), lost as f64);
        let head = [
            "",
            "published ms",
            "bare ms",
            "refused",
            "larder's caller ms",
            "stored ms",
            "refused",
        ];
        print_table(&head, &lines);
        println!("\n  larder lost {lost} items");
        if times > 1 {
            println!("  the stores ran {times} times as fast, and all figures are times {times}");
        }
        Ok(())
    },
};

/// What is given of each way: how long the caller waits, and until everything is stored.
const FIGURES: [&str; 2] = ["caller-ms", "stored-ms"];
/// Items that larder refused, or acknowledged and did not store.
const LOST: &str = "lost";

struct Case {
    name: &'static str,
    pace: Pace,
    count: usize,
    /// Items of one chunk, as published; larder is given it as the most of one commit.
    chunk: usize,
    /// In the order of [`WAYS`].
    published: [&'static str; 4],
}

/// Fifty items one by one took 2,500 ms, fifty at once 120; more than some hundred at once are too many.
pub const STORAGE: Pace = Pace {
    call: Duration::from_millis(50),
    item: Duration::from_micros(1_500),
    items_max: 128,
};
/// Fifty one by one took 12,000 ms and five chunks of ten 2,500; fifty at once failed.
const SECURE: Pace = Pace {
    call: Duration::from_millis(240),
    item: Duration::from_millis(29),
    items_max: 16,
};
/// A thousand one by one took 8,000 ms and chunks of a hundred 120. What else made all at once slower, 180 ms
/// and 400 MB, is not played here.
const MEMORY: Pace = Pace {
    call: Duration::from_millis(8),
    item: Duration::from_micros(40),
    items_max: usize::MAX,
};

const CASES: &[Case] = &[
    Case {
        name: "storage-50",
        pace: STORAGE,
        count: 50,
        chunk: 50,
        published: ["2500", "2500", "120", "140"],
    },
    Case {
        name: "storage-500",
        pace: STORAGE,
        count: 500,
        chunk: 50,
        published: ["25000", "25000", "crash", "1200"],
    },
    Case {
        name: "secure-50",
        pace: SECURE,
        count: 50,
        chunk: 10,
        published: ["12000", "12000", "error", "2500"],
    },
    Case {
        name: "memory-1000",
        pace: MEMORY,
        count: 1_000,
        chunk: 100,
        published: ["8000", "8000", "180", "120"],
    },
];

struct Way {
    name: &'static str,
    /// `None` where a bare client has nothing else to do than in the way before.
    bare: Option<fn(&Case, &StoreDriver) -> Told>,
    larder: fn(&Case, &Cache<Vec<u8>>) -> Result<usize, larder::Error>,
}

const WAYS: [Way; 4] = [
    Way {
        name: "one-by-one",
        bare: Some(|case, store| write(store, case.count, VALUE_BYTES, 1, 1)),
        larder: |case, cache| {
            drive(async {
                for n in 0..case.count {
                    cache.set(&key(n), vec![7; VALUE_BYTES]).await?;
                }
                Ok(0)
            })
        },
    },
    Way {
        name: "each-written",
        bare: None,
        larder: |case, cache| {
            drive(async {
                for n in 0..case.count {
                    let key = key(n);
                    let set = cache.set(&key, vec![7; VALUE_BYTES]);
                    set.durability(Durability::Written).await?;
                }
                Ok(0)
            })
        },
    },
    Way {
        name: "all-at-once",
        bare: Some(|case, store| write(store, case.count, VALUE_BYTES, 1, case.count)),
        larder: |case, cache| Ok(drive(all_at_once(case.count, VALUE_BYTES, cache))),
    },
    Way {
        name: "in-chunks",
        bare: Some(|case, store| write(store, case.count, VALUE_BYTES, case.chunk, 1)),
        larder: |case, cache| {
            let items = (0..case.count).map(|n| (key(n), vec![7; VALUE_BYTES]));
            let sets = cache.set_many(items).chunk(case.chunk);
            let report = drive(sets.durability(Durability::Written).into_future())?;
            Ok(report.refused)
        },
    },
];

const VALUE_BYTES: usize = 1_000;

fn key(n: usize) -> String {
    format!("item:{n:07}")
}

/// What became of the items: when the caller went on, when all were stored, and how many were not.
#[derive(Default)]
pub struct Told {
    caller: Duration,
    pub stored: Duration,
    pub refused: usize,
}

/// A bare client writes chunks of so many, on so many threads at once.
pub fn write(
    store: &StoreDriver,
    count: usize,
    bytes: usize,
    chunk: usize,
    at_once: usize,
) -> Told {
    let refused = AtomicUsize::new(0);
    let put = |n: usize| Write::Put {
        key: key(n).into(),
        record: Bytes::from(vec![7; bytes]),
        version: Version::at(1),
        keep_ms: NEVER,
    };
    let time = timed(at_once, |thread| {
        let share = count / at_once;
        let mut from = thread * share;
        let end = from + share;
        while from < end {
            let batch: Vec<Write> = (from..end.min(from + chunk)).map(put).collect();
            if store.commit(&batch, StoreDurability::Written).is_err() {
                refused.fetch_add(batch.len(), Ordering::Relaxed);
            }
            from += batch.len();
        }
    });
    Told {
        caller: time,
        stored: time,
        refused: refused.into_inner(),
    }
}

/// A task for each item; how many were refused.
pub async fn all_at_once(count: usize, bytes: usize, cache: &Cache<Vec<u8>>) -> usize {
    let set = |n: usize| {
        let cache = cache.clone();
        let (key, value) = (key(n), vec![7; bytes]);
        async move {
            let set = cache.set(&key, value);
            set.durability(Durability::Written).await
        }
    };
    let tasks: Vec<_> = (0..count).map(|n| tokio::spawn(set(n))).collect();
    let mut refused = 0;
    for task in tasks {
        refused += usize::from(!matches!(task.await, Ok(Ok(_))));
    }
    refused
}

fn through_larder(case: &Case, store: &Store, way: &Way) -> Result<Told, Box<dyn Error>> {
    let mut commits = CommitConfig::default();
    commits.commit_count_max = case.chunk;
    let larder = Larder::builder()
        .driver_factory("store", commits, store.factory())
        .start_blocking()?;
    let cache = larder.cache("items")?;
    let began = Instant::now();
    let refused = (way.larder)(case, &cache)?;
    let caller = began.elapsed();
    // A flush waits for five seconds, and this may take longer.
    while larder.block_on(larder.flush(Durability::Written))?.is_err() {}
    let stored = began.elapsed();
    stop(&larder);
    Ok(Told {
        caller,
        stored,
        refused,
    })
}
