//! What watching costs those who set, and what those who watch something else cost.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::watch::{Watch, WatchLatest};
use larder::{Cache, Larder};

use crate::harness::{drive, interleave, median, ratio, timed};
use crate::peers::larder::stop;
use crate::report::print_table;
use crate::scenes::Scene;
use crate::workload::{Keys, User};

pub const NO_WATCHER: Scene = Scene {
    name: "hub-no-watcher",
    group: "upkeep",
    about: "set of what is there, 10,000 keys, where nobody watches, and where only others are watched",
    reading: "nanoseconds of a set more than in a larder that was never watched; less is better",
    pictured: false,
    parts: || WATCHED[1..].iter().map(|(name, _)| part(name)).collect(),
    run: |scene, settings, report| {
        let keys = Keys::new(0, 10_000);
        let sides = WATCHED.map(|(_, begin)| Side::new(&keys, begin));
        let sides = sides.into_iter().collect::<Result<Vec<_>, _>>()?;
        // Each has threads at work for some time after its sets, so fewer of these do.
        let ops = settings.ops / 4;
        let figures = interleave(settings.rounds, sides.len(), |side, round| {
            let cache = &sides[side].cache;
            let time = timed(1, |_| set(cache, &keys, ops, round));
            // The hub works off what has happened.
            std::thread::sleep(Duration::from_millis(100));
            time.as_nanos() as f64 / ops as f64
        });
        let mut lines = Vec::new();
        for ((name, _), own) in WATCHED.iter().zip(&figures) {
            let more: Vec<f64> = own.iter().zip(&figures[0]).map(|(a, b)| a - b).collect();
            let mut line = vec![(*name).to_owned(), format!("{:.1}", median(own))];
            if *name == WATCHED[0].0 {
                line.push(String::new());
            } else {
                report.row(scene.row(&part(name)), median(&more));
                line.push(format!("{:+.1}", median(&more)));
            }
            lines.push(line);
        }
        sides.iter().for_each(|side| stop(&side.larder));
        print_table(&["", "ns/set", "more"], &lines);
        Ok(())
    },
};

type Begin = fn(&Larder, &Cache<User>) -> Result<Option<Watch<User>>, larder::Error>;

/// Who watches; first nobody.
const WATCHED: [(&str, Begin); 5] = [
    ("never-watched", |_, _| Ok(None)),
    // Another one just like it: how much the rest may be noise.
    ("neither-watched", |_, _| Ok(None)),
    ("no-more-watched", |_, cache| {
        drop(drive(cache.watch("key"))?);
        // It unsubscribes without being waited for.
        std::thread::sleep(Duration::from_millis(100));
        Ok(None)
    }),
    ("another-key-watched", |_, cache| {
        drive(cache.watch("key")).map(Some)
    }),
    ("another-cache-watched", |larder, _| {
        drive(larder.cache("others")?.watch("key")).map(Some)
    }),
];

fn part(name: &str) -> String {
    format!("{name}-ns")
}

struct Side {
    larder: Larder,
    cache: Cache<User>,
    _watch: Option<Watch<User>>,
}

impl Side {
    fn new(keys: &Keys, begin: Begin) -> Result<Self, larder::Error> {
        let larder = Larder::builder().start_blocking()?;
        let cache = larder.cache("users")?;
        let watch = begin(&larder, &cache)?;
        set(&cache, keys, keys.count() as usize, 0);
        Ok(Self {
            larder,
            cache,
            _watch: watch,
        })
    }
}

fn set(cache: &Cache<User>, keys: &Keys, ops: usize, round: usize) {
    drive(async {
        for at in 0..ops {
            // A step that meets every key, in no order that memory likes.
            let n = ((at * 7_919 + round) % keys.count() as usize) as u32;
            let set = cache.set(keys.at(n), Arc::new(User::new(n)));
            set.await.expect("a version");
        }
    });
}

pub const CROWD: Scene = Scene {
    name: "hub-10000-1pct",
    group: "upkeep",
    about: "10,000 watchers of the latest value: sets in a row of a key that some of them watch, until all are told",
    reading: "how many times as cheap a set is that concerns 1 % of them as one that concerns all; more is better",
    pictured: false,
    parts: || vec![CHEAPER.to_owned()],
    run: |scene, settings, report| {
        let crowds = CROWDS.map(|(others, concerned)| Crowd::new(others, concerned));
        let crowds = crowds.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut failed: Option<Box<dyn Error>> = None;
        let figures = interleave(settings.rounds, crowds.len(), |at, _| {
            match drive(crowds[at].tell()) {
                Ok(time) => time.as_secs_f64() * 1e6,
                Err(error) => {
                    failed = Some(error.into());
                    f64::NAN
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let cheaper = ratio(&figures[0], &figures[1]);
        report.row(scene.row(CHEAPER), cheaper);
        let line = |(crowd, own): (&Crowd, &Vec<f64>)| {
            vec![
                crowd.watchers.len().to_string(),
                crowd.concerned.to_string(),
                format!("{:.2}", median(own)),
            ]
        };
        let lines: Vec<_> = crowds.iter().zip(&figures).map(line).collect();
        print_table(&["watchers", "concerned", "us/set"], &lines);
        println!("\n  1 % of 10,000 is {cheaper:.0} times as cheap as all");
        crowds.iter().for_each(|crowd| stop(&crowd.larder));
        Ok(())
    },
};

const CHEAPER: &str = "times-cheaper-than-all";
/// Watchers of other keys, and of the key that is set.
const CROWDS: [(usize, usize); 4] = [(0, 10_000), (9_900, 100), (10_000, 0), (0, 0)];

struct Crowd {
    larder: Larder,
    cache: Cache<u64>,
    concerned: usize,
    /// They need not be read: of the latest value one waits, whoever is slow.
    watchers: Vec<WatchLatest<u64>>,
}

impl Crowd {
    fn new(others: usize, concerned: usize) -> Result<Self, larder::Error> {
        let larder = Larder::builder().start_blocking()?;
        let cache = larder.cache("watched")?;
        let watchers = drive(async {
            let mut watchers = Vec::new();
            for n in 0..others {
                watchers.push(cache.watch_latest(&format!("other:{n}")).await?);
            }
            for _ in 0..concerned {
                watchers.push(cache.watch_latest("key").await?);
            }
            Ok::<_, larder::Error>(watchers)
        })?;
        Ok(Self {
            larder,
            cache,
            concerned,
            watchers,
        })
    }

    /// The time of each of some sets, until everybody has been told: somebody who watches another key, which
    /// is set last, has heard of it.
    async fn tell(&self) -> Result<Duration, larder::Error> {
        let sets = (100_000 / self.concerned.max(1)).clamp(50, 2_000) as u32;
        let mut end = self.cache.watch_latest("end").await?;
        let began = Instant::now();
        for n in 0..sets {
            self.cache.set("key", u64::from(n)).await?;
        }
        self.cache.set("end", 0).await?;
        end.changed().await.ok_or(larder::Error::Closed)?;
        Ok(began.elapsed() / sets)
    }
}
