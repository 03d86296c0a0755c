//! What a child promised before it died, line by line, and what a store may show after that.
//!
//! A child says `begin` before each mutation and `done` with its version after it; each key (or clear)
//! belongs to one task, so its history is a sequence.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "every test takes what it needs"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::{Cache, Durability, Larder};

use super::crash;

pub const SOON: Duration = Duration::from_secs(30);
const TASKS: u64 = 4;
const KEYS: u64 = 6;

/// A value says whose it is, so that a foreign or damaged one is known as such.
pub fn value(key: &str, n: u64) -> String {
    let fill = char::from(b'a' + u8::try_from(n % 26).unwrap());
    let len = usize::try_from(n * 37 % 3_000).unwrap();
    format!("{key}:{n}:{}", fill.to_string().repeat(len))
}

/// The number in a whole value of this key.
pub fn number(key: &str, found: &str) -> u64 {
    let n = found.split(':').nth(1).expect("a value has a number");
    let n = n.parse().expect("a value has a number");
    assert_eq!(found, value(key, n), "a damaged or foreign value of {key}");
    n
}

/// Opens the store of a crash test.
pub async fn open(dir: &Path) -> Larder {
    let mut limits = larder::Limits::default();
    limits.value_bytes_max = 16 << 10;
    Larder::builder()
        .memory_bytes(64 << 10)
        .limits(limits)
        .call_max(SOON)
        .disk(dir.join("data"))
        .start()
        .await
        .unwrap()
}

/// In a child: mutates until it is killed, with sets as safe as `sets`, and every `safer`th mutation
/// of each task as safe as `safe`.
pub async fn mutate_until_killed(dir: &Path, sets: Durability, safe: Durability, first: u64) {
    let larder = open(dir).await;
    let next = std::sync::Arc::new(AtomicU64::new(first));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let cache: Cache<String> = larder.cache(&format!("t{task}")).unwrap();
            tokio::spawn(mutate(cache, task, sets, safe, next.clone()))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn mutate(
    cache: Cache<String>,
    task: u64,
    sets: Durability,
    safe: Durability,
    next: std::sync::Arc<AtomicU64>,
) {
    let mut rng = fastrand::Rng::new();
    let say = |line: String| crash::acknowledge(line);
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let key = format!("k{}", rng.u64(..KEYS));
        let durability = if rng.u32(..4) == 0 { safe } else { sets };
        let (at, how) = (format!("t{task}/{key}"), format!("{durability:?}"));
        match rng.u32(..20) {
            0..11 => {
                say(format!("begin {at} {n}"));
                let set = cache.set(&key, value(&at, n)).durability(durability);
                let version = set.await.unwrap().get();
                say(format!("done {how} {version} {at} {n}"));
            }
            11..14 => {
                say(format!("begin {at} 0"));
                let version = cache.remove(&key).durability(safe).await.unwrap().get();
                say(format!("done {safe:?} {version} {at} 0"));
            }
            14 => {
                let all: Vec<_> = (0..KEYS).map(|k| format!("t{task}/k{k} 0")).collect();
                say(format!("begin {}", all.join(" ")));
                let version = cache.clear().durability(safe).await.unwrap().get();
                say(format!("done {safe:?} {version} {}", all.join(" ")));
            }
            15..18 => {
                let all: Vec<_> = (0..KEYS).map(|k| format!("t{task}/k{k} {n}")).collect();
                let items =
                    (0..KEYS).map(|k| (format!("k{k}"), value(&format!("t{task}/k{k}"), n)));
                say(format!("begin {}", all.join(" ")));
                let report = cache.set_many(items).chunk(4).durability(durability);
                let report = report.await.unwrap();
                assert!(
                    report.refused == 0 && report.chunks_unstored == 0,
                    "{report:?}"
                );
                say(format!("done {how} 0 {}", all.join(" ")));
            }
            _ => {
                if let Some(entry) = cache.get(&key).await.unwrap() {
                    number(&at, &entry);
                }
            }
        }
    }
}

/// What a key may hold after a crash; 0 is nothing.
#[derive(Default)]
pub struct Promises {
    allowed: BTreeMap<String, Vec<u64>>,
    pub newest: u64,
    pub next: u64,
}

impl Promises {
    /// Takes in what a child said. What is at least as safe as `kept` survives the crash.
    pub fn hear(&mut self, lines: &[String], kept: Durability) {
        for line in lines {
            let mut words = line.split(' ');
            let kind = words.next().unwrap();
            let mut survives = false;
            if kind == "done" {
                let how = words.next().unwrap();
                survives = match kept {
                    Durability::Synced => how == "Synced",
                    _ => how != "Queued",
                };
                let version: u64 = words.next().unwrap().parse().unwrap();
                self.newest = self.newest.max(version);
            }
            let words: Vec<&str> = words.collect();
            for pair in words.chunks(2) {
                let n: u64 = pair[1].parse().unwrap();
                self.next = self.next.max(n + 1);
                let allowed = self
                    .allowed
                    .entry(pair[0].to_owned())
                    .or_insert_with(|| vec![0]);
                match kind {
                    "begin" => allowed.push(n),
                    // Whatever came before it is gone for good.
                    _ if survives => *allowed = vec![n],
                    _ => {}
                }
            }
        }
    }

    /// Looks at everything that a store shows, which from then on is what it holds.
    pub async fn check(&mut self, larder: &Larder, context: &str) {
        let newest = self.newest;
        for task in 0..TASKS {
            let cache: Cache<String> = larder.cache(&format!("t{task}")).unwrap();
            for key in (0..KEYS).map(|k| format!("k{k}")) {
                let at = format!("t{task}/{key}");
                let found = cache.get(&key).await.unwrap();
                let n = found.as_ref().map_or(0, |entry| number(&at, entry));
                let allowed = self.allowed.entry(at.clone()).or_insert_with(|| vec![0]);
                assert!(
                    allowed.contains(&n),
                    "{context}: {at} is {n} after the crash, allowed are {allowed:?}"
                );
                *allowed = vec![n];
                if let Some(entry) = found {
                    self.newest = self.newest.max(entry.version().get());
                }
            }
        }
        let probe: Cache<String> = larder.cache("probe").unwrap();
        let version = probe.set("k", String::new()).await.unwrap().get();
        assert!(
            version > newest,
            "{context}: v{version} is not above v{newest}"
        );
        self.newest = version;
    }
}
