//! A store of which three calls in a thousand fail: what its bare client meets, and what larder's.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use larder::drivers::{Driver, StoreDurability, Write};
use larder::{Cache, CommitConfig, Durability, Larder, Version};

use super::store::{Fails, Pace, Store};
use crate::harness::drive;
use crate::peers::larder::{BUDGET_MIN, stop};
use crate::report::print_table;
use crate::scenes::Scene;
use crate::workload::{Random, shuffled};

pub const SCENE: Scene = Scene {
    name: "origin-faults",
    group: "origin",
    about: "three gets to one set of 4,000 keys of 1,000 bytes, of whose store 0.3 % of the calls fail",
    reading: "errors, wrong answers and lost values of larder's callers together; any fails the scene",
    pictured: false,
    parts: || HOW.iter().map(|(name, _)| part(name)).collect(),
    run: |scene, settings, report| {
        let calls = settings.ops / 2;
        let mut lines = vec![published()];
        let mut wrong = 0;
        for (name, how) in HOW {
            let bare = bare(calls, *how);
            lines.push(line(&format!("bare, {name}"), calls, &bare));
            let larder = through_larder(calls, *how)?;
            lines.push(line(&format!("larder, {name}"), calls, &larder));
            let own = larder.errors + larder.wrong + larder.lost;
            report.row(scene.row(&part(name)), own as f64);
            wrong += own;
        }
        let head = [
            "",
            "calls",
            "faults",
            "errors",
            "of sessions",
            "misses",
            "wrong",
            "lost",
        ];
        print_table(&head, &lines);
        println!("\n  a session is {SESSION} calls; a miss is a get of what was set before");
        match wrong {
            0 => Ok(()),
            _ => Err(format!("larder's callers met {wrong} of them").into()),
        }
    },
};

/// How the calls fail.
const HOW: &[(&str, Fails)] = &[
    ("call-fails", Fails::Once),
    ("store-must-be-reopened", Fails::UntilReopened),
];
const SHARE: f64 = 0.003;
/// About four times as many as memory has room for.
const KEYS: u32 = 4_000;
const VALUE_BYTES: usize = 1_000;
/// Calls of one session of the app.
const SESSION: usize = 20;

fn part(how: &str) -> String {
    format!("{how}-errors")
}

#[derive(Default)]
struct Met {
    faults: u64,
    errors: usize,
    sessions: usize,
    misses: usize,
    wrong: usize,
    lost: usize,
}

fn published() -> Vec<String> {
    let cells = ["published", "", "", "", "0.3 %", "", "", ""];
    cells.map(str::to_owned).into()
}

fn line(who: &str, calls: usize, met: &Met) -> Vec<String> {
    let sessions = 100.0 * met.sessions as f64 / (calls / SESSION) as f64;
    vec![
        who.to_owned(),
        calls.to_string(),
        met.faults.to_string(),
        met.errors.to_string(),
        format!("{sessions:.1} %"),
        met.misses.to_string(),
        met.wrong.to_string(),
        met.lost.to_string(),
    ]
}

/// The calls of the app: which key, and whether it is set.
fn steps(calls: usize) -> impl Iterator<Item = (u32, bool)> {
    let mut random = Random::new(2);
    (0..calls).map(move |_| {
        let key = (random.unit() * f64::from(KEYS)) as u32;
        (key, random.unit() < 0.25)
    })
}

fn key(n: u32) -> String {
    format!("item:{n:07}")
}

/// Makes the calls by `call`, which says what a get found; what is there first is 0 for each key, and each
/// set is of the number of its step.
fn session(
    calls: usize,
    mut call: impl FnMut(&str, Option<u64>) -> Result<Option<u64>, ()>,
) -> (Met, Vec<u64>) {
    let mut met = Met::default();
    let mut newest = vec![0; KEYS as usize];
    let mut failed_in = usize::MAX;
    for (step, (n, is_set)) in steps(calls).enumerate() {
        let newest = &mut newest[n as usize];
        let value = is_set.then_some(step as u64 + 1);
        match call(&key(n), value) {
            Ok(found) => match (value, found) {
                (Some(value), _) => *newest = value,
                (None, None) => met.misses += 1,
                (None, Some(found)) => met.wrong += usize::from(found != *newest),
            },
            Err(()) => {
                met.errors += 1;
                if std::mem::replace(&mut failed_in, step / SESSION) != step / SESSION {
                    met.sessions += 1;
                }
            }
        }
    }
    (met, newest)
}

fn bare(calls: usize, how: Fails) -> Met {
    let store = Store::new(Pace::NONE);
    let mut driver = store.open();
    let put = |key: &str, value: u64| Write::Put {
        key: key.to_owned().into(),
        record: value.to_le_bytes().to_vec().into(),
        version: Version::at(1),
        keep_ms: larder::clock::NEVER,
    };
    for n in 0..KEYS {
        let filled = driver.commit(&[put(&key(n), 0)], StoreDurability::Written);
        filled.expect("no faults yet");
    }
    store.fail(SHARE, how);
    let (met, _) = session(calls, |key, value| {
        let done = match value {
            Some(value) => driver
                .commit(&[put(key, value)], StoreDurability::Written)
                .map(|()| None),
            None => driver.get(key.as_bytes()),
        };
        if done.is_err() {
            // Whatever it needs, the next call works again.
            driver = store.open();
        }
        let number = |record: bytes::Bytes| {
            let bytes = record.as_ref().try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        done.map(|found| found.map(number)).map_err(|_| ())
    });
    Met {
        faults: store.struck(),
        ..met
    }
}

type Item = (u64, Vec<u8>);

fn item(value: u64) -> Arc<Item> {
    Arc::new((value, vec![7; VALUE_BYTES]))
}

fn start(store: &Store) -> Result<(Larder, Cache<Item>), larder::Error> {
    let larder = Larder::builder()
        .memory_bytes(BUDGET_MIN)
        .driver_factory("store", CommitConfig::default(), store.factory())
        .start_blocking()?;
    let cache = larder.cache("items")?;
    Ok((larder, cache))
}

fn through_larder(calls: usize, how: Fails) -> Result<Met, Box<dyn Error>> {
    let store = Store::new(Pace::NONE);
    let (larder, cache) = start(&store)?;
    let items = shuffled(KEYS, 1).into_iter().map(|n| (key(n), item(0)));
    drive(
        cache
            .set_many(items)
            .durability(Durability::Written)
            .into_future(),
    )?;
    store.fail(SHARE, how);
    let (mut met, newest) = session(calls, |key, value| {
        let called = drive(async {
            match value {
                Some(value) => cache.set(key, item(value)).await.map(|_| None),
                None => cache.get(key).await,
            }
        });
        called
            .map(|found| found.map(|found| found.0))
            .map_err(|_| ())
    });
    met.faults = store.struck();
    // The store recovers, and everything is asked for in a process that knows nothing.
    store.fail(0.0, how);
    while drive(larder.flush(Durability::Written)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    stop(&larder);
    let (larder, cache) = start(&store)?;
    for (n, value) in (0_u32..).zip(newest) {
        let found = drive(cache.get(&key(n)).into_future())?;
        met.lost += usize::from(found.is_none_or(|found| found.0 != value));
    }
    stop(&larder);
    Ok(met)
}
