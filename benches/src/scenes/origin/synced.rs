//! The same counts on a real store, each item to survive the loss of power: larder beside fjall, the store
//! that it has below.

use std::error::Error;
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use larder::{Cache, Durability, Larder};

use super::ms;
use crate::harness::{drive, interleave, median, ratio, timed};
use crate::peers::larder::stop;
use crate::report::print_table;
use crate::scenes::Scene;

pub const SCENE: Scene = Scene {
    name: "origin-synced",
    group: "origin",
    about: "items of 1,000 bytes to a disk, acknowledged when they are on the device (Synced)",
    reading: "how many times as fast as bare fjall larder is; more is better",
    pictured: false,
    parts: || {
        let of_way = |way: &Way| COUNTS.map(|(count, _)| part(way, count));
        WAYS.iter().flat_map(of_way).collect()
    },
    run: |scene, settings, report| {
        let directory = tempfile::tempdir()?;
        let bare = Bare::open(&directory.path().join("bare"))?;
        let larder = Larder::builder()
            .disk(directory.path().join("larder"))
            .start_blocking()?;
        let cache = larder.cache("items")?;
        let mut lines = Vec::new();
        for (at, way) in WAYS.iter().enumerate() {
            for (count, published) in COUNTS {
                let mut failed = None;
                let figures = interleave(settings.rounds, 2, |contender, _| {
                    let began = Instant::now();
                    let done = match contender {
                        0 => (way.larder)(&cache, count).map(|()| began.elapsed()),
                        _ => (way.bare)(&bare, count),
                    };
                    let time = done.unwrap_or_else(|error| {
                        failed = Some(error);
                        Duration::MAX
                    });
                    time.as_secs_f64() * 1e3
                });
                if let Some(error) = failed {
                    return Err(error);
                }
                let times = ratio(&figures[1], &figures[0]);
                report.row(scene.row(&part(way, count)), times);
                lines.push(vec![
                    part(way, count),
                    published[at].to_owned(),
                    ms(Some(median(&figures[1]))),
                    ms(Some(median(&figures[0]))),
                    format!("{times:.2} x as fast"),
                ]);
            }
        }
        stop(&larder);
        let head = ["", "published ms", "fjall ms", "larder ms", "larder is"];
        print_table(&head, &lines);
        println!(
            "\n  published figures are of a phone's plain storage; the others of this machine's disk"
        );
        Ok(())
    },
};

/// How many items, and what was published for the app's plain storage in the order of [`WAYS`].
const COUNTS: [(usize, [&str; 3]); 3] = [
    (50, ["2500", "120", "140"]),
    (500, ["25000", "crash", "1200"]),
    (1_000, ["", "", ""]),
];
/// Items of one chunk, as published.
const CHUNK: usize = 50;
const VALUE_BYTES: usize = 1_000;

type Done<T> = Result<T, Box<dyn Error>>;

struct Way {
    name: &'static str,
    bare: fn(&Bare, usize) -> Done<Duration>,
    larder: fn(&Cache<Vec<u8>>, usize) -> Done<()>,
}

fn part(way: &Way, count: usize) -> String {
    format!("{count}-{}", way.name)
}

const WAYS: [Way; 3] = [
    Way {
        name: "one-by-one",
        bare: |bare, count| {
            let began = Instant::now();
            (0..count).try_for_each(|n| bare.set(n))?;
            Ok(began.elapsed())
        },
        larder: |cache, count| {
            drive(async {
                for n in 0..count {
                    let key = key(n);
                    let set = cache.set(&key, vec![7; VALUE_BYTES]);
                    set.durability(Durability::Synced).await?;
                }
                Ok(())
            })
        },
    },
    Way {
        name: "all-at-once",
        // A thread each, made before the clock runs; larder's tasks are made within.
        bare: |bare, count| Ok(timed(count, |n| bare.set(n).expect("a store that works"))),
        larder: |cache, count| drive(all_at_once(cache, count)),
    },
    Way {
        name: "in-chunks",
        bare: |bare, count| {
            let began = Instant::now();
            let mut starts = (0..count).step_by(CHUNK);
            starts.try_for_each(|from| bare.chunk(from, count))?;
            Ok(began.elapsed())
        },
        larder: |cache, count| {
            let items = (0..count).map(|n| (key(n), vec![7; VALUE_BYTES]));
            let sets = cache.set_many(items).chunk(CHUNK);
            let report = drive(sets.durability(Durability::Synced).into_future())?;
            match report.refused + report.chunks_unstored {
                0 => Ok(()),
                _ => Err(format!("not all were stored: {report:?}").into()),
            }
        },
    },
];

fn key(n: usize) -> String {
    format!("item:{n:07}")
}

async fn all_at_once(cache: &Cache<Vec<u8>>, count: usize) -> Done<()> {
    let set = |n: usize| {
        let (cache, key) = (cache.clone(), key(n));
        async move {
            let set = cache.set(&key, vec![7; VALUE_BYTES]);
            set.durability(Durability::Synced).await
        }
    };
    let tasks: Vec<_> = (0..count).map(|n| tokio::spawn(set(n))).collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// fjall as a host would use it.
struct Bare {
    database: Database,
    items: Keyspace,
}

impl Bare {
    fn open(path: &std::path::Path) -> fjall::Result<Self> {
        let database = Database::builder(path).open()?;
        let items = database.keyspace("items", KeyspaceCreateOptions::default)?;
        Ok(Self { database, items })
    }

    fn set(&self, n: usize) -> fjall::Result<()> {
        self.items.insert(key(n), vec![7; VALUE_BYTES])?;
        self.database.persist(PersistMode::SyncData)
    }

    /// The items from `from` on, as many as a chunk has, below `count`.
    fn chunk(&self, from: usize, count: usize) -> fjall::Result<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for n in from..count.min(from + CHUNK) {
            batch.insert(&self.items, key(n), vec![7; VALUE_BYTES]);
        }
        batch.commit()
    }
}
