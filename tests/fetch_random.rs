//! Fetch at random: calls, changes, failures, cancellations and restarts of a driver in any order.
//!
//! Each seed is a play of its own; a failure names it. `LARDER_LONG=1` plays a thousand.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/world.rs"]
mod world;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::clock::Clock;
use larder::{
    Cache, Error, ErrorClass, FetchOutcome, Freshness, Larder, LoadError, LoadSource, Loaded,
    Retry, SourceConfig, Urgency,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use world::{NEVER_BACK, SOON, World, bring_back, cache, ms, secs, take_down, until};

const KEYS: [&str; 3] = ["a", "b", "c"];
const TTL: Duration = Duration::from_secs(10);
const STALE: Duration = Duration::from_secs(20);
const STEPS: usize = 200;

/// What a source says the next time.
#[derive(Clone, Copy)]
enum Says {
    Value,
    Missing,
    Once,
    Fails(ErrorClass),
    Panics,
}

/// The truth: a number for each key, which only grows.
#[derive(Default)]
struct Truth {
    numbers: HashMap<&'static str, u64>,
    /// No call that begins from here on may be shown less.
    floors: HashMap<&'static str, u64>,
    /// How often something happened to the key that a load may not be joined after.
    changes: HashMap<&'static str, u64>,
    /// For each load under way its number, and how often that had been when it began.
    loading: HashMap<&'static str, Vec<(u64, u64)>>,
    loads: u64,
    /// How often that had been at the first attempt of each load.
    begun: HashMap<String, u64>,
    /// And for each that found nothing.
    missing: HashMap<&'static str, Vec<u64>>,
}

#[derive(Clone)]
struct Source {
    /// A stale value that comes up from below keeps others from joining a load; and one that waits for its turn
    /// at its source begins to ask after others that were begun later.
    joins_all: bool,
    truth: Arc<Mutex<Truth>>,
    doors: Arc<Semaphore>,
    says: Arc<Mutex<fastrand::Rng>>,
}

/// A load is under way until it is dropped.
struct Loading {
    truth: Arc<Mutex<Truth>>,
    key: &'static str,
    nth: u64,
    changes: u64,
}

impl Loading {
    /// A load that goes on is the only one, unless something has happened to its key. (One that is cancelled
    /// does not go on, but may be dropped after its successor has begun.)
    fn goes_on(&self) {
        let truth = self.truth.lock().unwrap();
        let mut all = truth.loading.get(self.key).into_iter().flatten();
        let twice = all.any(|(nth, changes)| *changes == self.changes && *nth > self.nth);
        assert!(!twice, "two loads of {} at once", self.key);
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        let Ok(mut truth) = self.truth.lock() else {
            return;
        };
        let loading = truth.loading.entry(self.key).or_default();
        loading.retain(|(nth, _)| *nth != self.nth);
    }
}

impl Source {
    fn counted(&self, is_counted: bool) -> Self {
        Self {
            joins_all: self.joins_all && is_counted,
            ..self.clone()
        }
    }

    fn begin(&self, key: &'static str, load: &str) -> (u64, Loading) {
        let mut truth = self.truth.lock().unwrap();
        let changes = truth.changes.get(key).copied().unwrap_or(0);
        let begun = truth.begun.entry(format!("{load} {key}"));
        // It may be tried again after that, for those who wait for it already.
        let changes = *begun.or_insert(changes);
        truth.loads += 1;
        let nth = truth.loads;
        if self.joins_all {
            truth.loading.entry(key).or_default().push((nth, changes));
        }
        let number = truth.numbers.get(key).copied().unwrap_or(0);
        let loading = Loading {
            truth: Arc::clone(&self.truth),
            key,
            nth,
            changes,
        };
        (number, loading)
    }

    async fn load(self, key: &'static str, load: String) -> Result<Loaded<String>, LoadError> {
        let (number, loading) = self.begin(key, &load);
        self.doors.acquire().await.unwrap().forget();
        self.answer(number, &loading)
    }

    /// Many keys at once, of which it leaves some out.
    async fn load_many(
        self,
        keys: Vec<String>,
        load: String,
    ) -> Result<Vec<(String, Loaded<String>)>, LoadError> {
        let known = |key: String| KEYS.into_iter().find(|known| *known == key).unwrap();
        let begun = keys.into_iter().map(|key| self.begin(known(key), &load));
        let begun: Vec<_> = begun.collect();
        self.doors.acquire().await.unwrap().forget();
        let mut answers = Vec::new();
        for (number, loading) in &begun {
            answers.push((loading.key.to_owned(), self.answer(*number, loading)?));
        }
        Ok(answers)
    }

    fn answer(&self, number: u64, loading: &Loading) -> Result<Loaded<String>, LoadError> {
        if self.joins_all {
            loading.goes_on();
        }
        let says = {
            let mut rng = self.says.lock().unwrap();
            match rng.u8(..12) {
                0 => Says::Missing,
                1 => Says::Once,
                2 => Says::Panics,
                3 => Says::Fails(ErrorClass::Permanent),
                4 | 5 => Says::Fails(ErrorClass::Transient),
                _ => Says::Value,
            }
        };
        let value = Loaded::value(number.to_string()).tag("t");
        match says {
            Says::Value => Ok(value),
            Says::Once => Ok(value.do_not_store()),
            Says::Missing => {
                let mut truth = self.truth.lock().unwrap();
                truth
                    .missing
                    .entry(loading.key)
                    .or_default()
                    .push(loading.changes);
                Ok(Loaded::missing().tag("t"))
            }
            Says::Fails(class) => Err(LoadError::new(class, "by order")),
            // Without a word of the hook: there are hundreds.
            Says::Panics => std::panic::resume_unwind(Box::new("by order")),
        }
    }
}

/// Somebody who asks for a key, and what was true when that began.
struct Asker {
    truth: Arc<Mutex<Truth>>,
    key: &'static str,
    floor: u64,
    changes: u64,
}

impl Asker {
    fn new(source: &Source, key: &'static str) -> Self {
        let truth = source.truth.lock().unwrap();
        Self {
            key,
            floor: truth.floors.get(key).copied().unwrap_or(0),
            changes: truth.changes.get(key).copied().unwrap_or(0),
            truth: Arc::clone(&source.truth),
        }
    }

    fn checks(
        &self,
        outcome: Result<FetchOutcome<String>, Error>,
        may_be_stale: bool,
        clock: &Clock,
    ) {
        let (key, floor) = (self.key, self.floor);
        // A failure is an answer, too.
        let Ok(outcome) = outcome else { return };
        if outcome.was_known_missing {
            let truth = self.truth.lock().unwrap();
            let known = truth.missing.get(key).into_iter().flatten();
            let latest = known.max().copied();
            // One change is two steps: it may be under way.
            let is_true = latest.is_some_and(|at| self.changes <= at + 1);
            assert!(
                is_true,
                "{key} was missing at {latest:?}, now is {}",
                self.changes
            );
        }
        let Some(entry) = outcome.entry else { return };
        let number: u64 = entry.parse().unwrap();
        assert!(number >= floor, "{key}: {number} after {floor}");
        if outcome.freshness == Some(Freshness::Stale) {
            assert!(may_be_stale, "nobody asked for it");
            let over = clock.now_ms() - entry.created_ms();
            let most = u64::try_from((TTL + STALE).as_millis()).unwrap();
            assert!(over <= most, "{key} is {over} ms old");
        }
    }
}

struct Play {
    larder: Larder,
    named: LoadSource,
    users: Cache<String>,
    clock: Clock,
    source: Source,
    callers: Vec<JoinHandle<()>>,
    answered: Arc<AtomicUsize>,
    asked: usize,
    left: usize,
    is_down: bool,
    has_driver: bool,
    rng: fastrand::Rng,
}

impl Play {
    async fn new(world: &World, seed: u64) -> Self {
        let builder = world
            .builder()
            .restart_limit(0, NEVER_BACK, NEVER_BACK)
            .restart_backoff(NEVER_BACK, NEVER_BACK);
        let larder = builder.start().await.unwrap();
        let mut config = SourceConfig::default();
        (config.calls_in_flight_max, config.calls_waiting_max) = (1, 2);
        Self {
            named: larder.source_with("api", config).unwrap(),
            users: cache(&larder),
            larder,
            clock: world.clock.clone(),
            source: Source {
                joins_all: world.name == "memory",
                truth: Arc::default(),
                doors: Arc::new(Semaphore::new(0)),
                says: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
            },
            callers: Vec::new(),
            answered: Arc::default(),
            asked: 0,
            left: 0,
            is_down: false,
            has_driver: world.name != "memory",
            rng: fastrand::Rng::with_seed(seed + 1),
        }
    }

    fn key(&mut self) -> &'static str {
        KEYS[self.rng.usize(..KEYS.len())]
    }

    /// Somebody asks, in a task of its own.
    fn ask(&mut self) {
        let (key, terms) = (self.key(), self.rng.u8(..9));
        let (users, source) = (self.users.clone(), self.source.clone());
        let (answered, hasty) = (Arc::clone(&self.answered), self.rng.u8(..8) == 0);
        let (named, clock) = (self.named.clone(), self.clock.clone());
        self.asked += 1;
        self.callers.push(tokio::spawn(async move {
            let asker = Asker::new(&source, key);
            let load = {
                let source = source.counted(!matches!(terms, 6 | 7));
                move |cx: larder::LoadContext<String>| {
                    source.clone().load(key, cx.idempotency_key().to_owned())
                }
            };
            let fetch = users.fetch(key, load).ttl(TTL);
            let fetch = fetch.retry(Retry::default().attempts(2).base(ms(1)).cap(ms(1)));
            let fetch = match terms {
                0 => fetch.stale_for(STALE),
                1 => fetch.stale_if_error_for(STALE),
                2 => fetch.stale_for(STALE).soft_timeout(ms(2)),
                3 => fetch.refresh_ahead(0.5),
                4 => fetch.keep_warm(),
                5 => fetch.missing_ttl(TTL),
                6 => fetch.source(&named),
                7 => fetch
                    .source(&named)
                    .urgency(Urgency::Prefetch)
                    .stale_for(STALE),
                _ => fetch,
            };
            let fetch = if hasty { fetch.deadline(ms(4)) } else { fetch };
            let outcome = fetch.outcome().await;
            asker.checks(outcome, matches!(terms, 0..=2 | 7), &clock);
            answered.fetch_add(1, Ordering::SeqCst);
        }));
    }

    /// Somebody asks for several keys.
    fn ask_many(&mut self) {
        let keys: Vec<_> = (0..self.rng.usize(1..4)).map(|_| self.key()).collect();
        let (users, source, terms) = (self.users.clone(), self.source.clone(), self.rng.u8(..5));
        let (answered, named) = (Arc::clone(&self.answered), self.named.clone());
        let clock = self.clock.clone();
        self.asked += 1;
        self.callers.push(tokio::spawn(async move {
            let askers: Vec<_> = keys.iter().map(|key| Asker::new(&source, key)).collect();
            let source = source.counted(terms != 2);
            let load = move |cx: larder::LoadManyContext<String>| {
                let keys = cx.keys().map(str::to_owned).collect();
                source
                    .clone()
                    .load_many(keys, cx.idempotency_key().to_owned())
            };
            let fetch = users.fetch_many(keys, load).ttl(TTL);
            let fetch = fetch.retry(Retry::default().attempts(2).base(ms(1)).cap(ms(1)));
            let fetch = match terms {
                0 => fetch.stale_for(STALE),
                1 => fetch.missing_ttl(TTL),
                2 => fetch.source(&named),
                3 => fetch.deadline(ms(4)),
                _ => fetch.chunk(1),
            };
            let outcomes = fetch.outcomes().await.unwrap();
            for (asker, (_, outcome)) in askers.into_iter().zip(outcomes) {
                asker.checks(outcome, terms == 0, &clock);
            }
            answered.fetch_add(1, Ordering::SeqCst);
        }));
    }

    /// Something happens to a key, or to all.
    async fn change(&mut self) {
        let (key, what) = (self.key(), self.rng.u8(..6));
        let all = matches!(what, 0 | 1);
        let keys: Vec<_> = if all { KEYS.to_vec() } else { vec![key] };
        let numbers: Vec<u64> = {
            let mut truth = self.source.truth.lock().unwrap();
            let grown = keys.iter().map(|key| {
                *truth.changes.entry(key).or_default() += 1;
                let number = truth.numbers.entry(key).or_default();
                *number += 1;
                *number
            });
            grown.collect()
        };
        let done = match what {
            0 => self.users.clear().deadline(SOON).await.map(drop),
            // What is loaded and kept has the tag; what is set has it, too.
            1 => self.users.remove_tag("t").deadline(SOON).await.map(drop),
            2 | 3 => self.users.remove(key).deadline(SOON).await.map(drop),
            _ => {
                let set = self.users.set(key, numbers[0].to_string()).tag("t");
                set.ttl(TTL).stale_for(STALE).deadline(SOON).await.map(drop)
            }
        };
        done.unwrap();
        let mut truth = self.source.truth.lock().unwrap();
        for (key, number) in keys.into_iter().zip(numbers) {
            // A load that was begun between the two does not know of the change.
            *truth.changes.entry(key).or_default() += 1;
            // A tag's fence does not keep anybody from waiting for a load whose tags are not known yet.
            let floor = truth.floors.entry(key).or_default();
            *floor = number.max(*floor);
        }
    }

    async fn disturb(&mut self) {
        match self.rng.u8(..5) {
            0 if self.has_driver && !self.is_down => {
                take_down(&self.larder, "map").await;
                self.is_down = true;
            }
            0 | 1 if self.is_down => {
                bring_back(&self.larder, "map").await;
                self.is_down = false;
            }
            2 => self.clock.advance(secs(self.rng.u64(1..12))),
            _ if !self.callers.is_empty() => {
                let at = self.rng.usize(..self.callers.len());
                self.callers.swap_remove(at).abort();
                self.left += 1;
            }
            _ => {}
        }
    }

    async fn play(&mut self) {
        for _ in 0..STEPS {
            match self.rng.u8(..12) {
                0..=3 => self.ask(),
                4 => self.ask_many(),
                5..=7 => self.source.doors.add_permits(1),
                8 => self.change().await,
                9 => self.disturb().await,
                _ => {
                    for _ in 0..self.rng.u8(1..8) {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    async fn end(mut self) {
        if self.is_down {
            bring_back(&self.larder, "map").await;
        }
        self.source.doors.add_permits(10_000);
        for caller in self.callers.drain(..) {
            // What it found wrong is said here.
            caller.await.unwrap();
        }
        let answered = self.answered.load(Ordering::SeqCst);
        assert!(answered <= self.asked && answered + self.left >= self.asked);
        until("all has come back", async || {
            let stats = self.larder.stats().await.unwrap();
            let source = self.named.stats();
            (
                stats.fetch.in_flight,
                source.calls_in_flight,
                source.calls_waiting,
            ) == (0, 0, 0)
        })
        .await;
        // What is known to be missing keeps a mark, until something happens to it.
        for key in KEYS {
            self.users.remove(key).deadline(SOON).await.unwrap();
        }
        until("memory is as it was", async || {
            let stats = self.larder.stats().await.unwrap();
            let Some(map) = stats.drivers.first() else {
                return (stats.memory.marks, stats.memory.entries, stats.memory.bytes) == (0, 0, 0);
            };
            // Until the removals are stored, memory knows of them.
            let stored = (stats.dirty.slots, map.reads_in_flight) == (0, 0);
            stored && (stats.memory.marks, stats.memory.entries) == (0, 0)
        })
        .await;
        let is_loading = |truth: &Truth| truth.loading.values().any(|loads| !loads.is_empty());
        assert!(!is_loading(&self.source.truth.lock().unwrap()));
        self.larder.shutdown(SOON).await.unwrap();
    }
}

async fn plays(make: fn() -> World) {
    let count = match std::env::var_os("LARDER_LONG") {
        Some(_) => 1_000,
        None => 40,
    };
    for seed in 0..count {
        let _named = Named(seed);
        let mut play = Play::new(&make(), seed).await;
        play.play().await;
        play.end().await;
    }
}

/// Says which play it was that failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

#[tokio::test]
async fn in_memory_nobody_is_shown_less_than_they_may_be_and_all_are_answered() {
    plays(World::memory).await;
}

#[tokio::test]
async fn over_a_driver_that_fails_nobody_is_shown_less_than_they_may_be_and_all_are_answered() {
    plays(World::map).await;
}
