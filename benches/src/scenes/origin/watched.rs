//! A thousand writes of a key that somebody watches, until the watcher has seen the last one.

use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use larder::watch::Watch;
use larder::{Cache, EntryEvent, Larder};

use super::ms;
use crate::harness::{drive, interleave, median};
use crate::peers::larder::stop;
use crate::report::print_table;
use crate::scenes::Scene;

pub const SCENE: Scene = Scene {
    name: "origin-watched",
    group: "origin",
    about: "1,000 sets of a key with a watcher on another thread, until it has seen the last one",
    reading: "milliseconds of larder; changes that it showed one by one; those lost in silence, which fail the scene",
    pictured: false,
    parts: || [MS, SHOWN, LOST].map(str::to_owned).into(),
    run: |scene, settings, report| {
        let larder = Larder::builder().start_blocking()?;
        let cache = larder.cache("watched")?;
        let mut seen = Vec::new();
        let mut failed = None;
        let figures = interleave(settings.rounds.max(5), 2, |contender, _| {
            let time = match contender {
                0 => through_larder(&cache).map(|(time, what)| {
                    seen.push(what);
                    time
                }),
                _ => Ok(through_channel()),
            };
            match time {
                Ok(time) => time.as_secs_f64() * 1e3,
                Err(error) => {
                    failed = Some(error);
                    f64::NAN
                }
            }
        });
        stop(&larder);
        if let Some(error) = failed {
            return Err(error);
        }
        let mean = |what: fn(&Seen) -> u64| {
            let sum: u64 = seen.iter().map(what).sum();
            sum as f64 / seen.len() as f64
        };
        let lost: u64 = seen.iter().map(|seen| seen.lost).sum();
        report.row(scene.row(MS), median(&figures[0]));
        report.row(scene.row(SHOWN), mean(|seen| seen.changes));
        report.row(scene.row(LOST), lost as f64);
        let head = ["", "ms", "shown", "told of a gap", "lost in silence"];
        let published = ["published", "5", "", "", ""].map(str::to_owned).into();
        let channel = ["bare channel".to_owned(), ms(Some(median(&figures[1])))];
        let channel = channel
            .into_iter()
            .chain(["1000", "", ""].map(str::to_owned));
        let own = vec![
            "larder".to_owned(),
            ms(Some(median(&figures[0]))),
            format!("{:.0}", mean(|seen| seen.changes)),
            format!("{:.1} times", mean(|seen| seen.gaps)),
            lost.to_string(),
        ];
        print_table(&head, &[published, channel.collect(), own]);
        match lost {
            0 => Ok(()),
            _ => Err(format!("{lost} changes were lost in silence").into()),
        }
    },
};

const MS: &str = "larder-ms";
const SHOWN: &str = "changes-shown";
const LOST: &str = "silently-lost";
const WRITES: u64 = 1_000;

/// What a watcher saw.
#[derive(Default)]
struct Seen {
    changes: u64,
    /// How often it was told that something is missing, and shown what is there.
    gaps: u64,
    /// Changes that were neither shown nor before something that it was told of.
    lost: u64,
}

fn through_larder(cache: &Cache<u64>) -> Result<(Duration, Seen), Box<dyn Error>> {
    let watch = drive(cache.watch("key"))?;
    thread::scope(|scope| {
        let (ready, is_ready) = mpsc::channel();
        let watcher = scope.spawn(move || {
            ready.send(()).expect("somebody waits");
            drive(see(watch))
        });
        is_ready.recv()?;
        let began = Instant::now();
        let sets: Result<(), larder::Error> = drive(async {
            for n in 1..=WRITES {
                cache.set("key", n).await?;
            }
            Ok(())
        });
        sets?;
        let (end, seen) = watcher.join().map_err(|_| "the watcher panicked")??;
        Ok((end - began, seen))
    })
}

/// Reads until the last value is seen; when that was.
async fn see(mut watch: Watch<u64>) -> Result<(Instant, Seen), larder::Error> {
    let mut seen = Seen::default();
    let (mut last, mut is_told) = (0, false);
    while last < WRITES {
        let entry = match watch.next().await {
            Some(EntryEvent::Changed(change)) => {
                seen.changes += 1;
                change.new
            }
            Some(EntryEvent::Snapshot { entry, .. }) => entry,
            Some(EntryEvent::Lagged { .. }) => {
                seen.gaps += 1;
                is_told = true;
                continue;
            }
            Some(EntryEvent::SnapshotFailed(error)) => return Err(error),
            _ => return Err(larder::Error::Closed),
        };
        let Some(value) = entry.map(|entry| *entry) else {
            continue;
        };
        if !is_told {
            seen.lost += value.saturating_sub(last + 1);
        }
        (last, is_told) = (last.max(value), false);
    }
    Ok((Instant::now(), seen))
}

/// What is least: each value through a channel to a thread that reads it.
fn through_channel() -> Duration {
    let (send, receive) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            ready.send(()).expect("somebody waits");
            while receive.recv() != Ok(WRITES) {}
            Instant::now()
        });
        is_ready.recv().expect("a watcher");
        let began = Instant::now();
        for n in 1..=WRITES {
            send.send(n).expect("a watcher");
        }
        watcher.join().expect("a time") - began
    })
}
