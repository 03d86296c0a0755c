//! A day in the life of a cache over a small memory, the same each time: fill, read, overwrite, remove,
//! clear, expire; each answer is compared with a ledger.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "helpers end in a panic, and not every test file uses each of them"
)]

use std::time::Duration;

use larder::clock::{Clock, NEVER};
use larder::{
    Cache, CommitConfig, Condition, Durability, Entry, Error, Larder, Limits, WriteOutcome,
    drivers::Factory,
};

use super::ledger::{Ledger, State, value};

/// How long anything may take before it counts as hanging. The long run leaves the machine to others.
pub fn soon() -> Duration {
    let is_long = std::env::var("LARDER_LONG").is_ok();
    Duration::from_secs(if is_long { 900 } else { 30 })
}
const KEYS: usize = 40;
/// Steps of a whole day.
pub const STEPS: usize = 900;
const TAGS: u64 = 5;

/// A larder, what it acknowledged, and what it is to do next.
pub struct Day {
    pub larder: Larder,
    cache: Cache<String>,
    clock: Clock,
    pub ledger: Ledger,
    rng: fastrand::Rng,
    next: u64,
}

/// Starts a larder that forgets quickly, over this store. Time stands still.
pub async fn start(factory: &Factory, clock: &Clock) -> Result<Larder, Error> {
    let mut limits = Limits::default();
    limits.value_bytes_max = 8 << 10;
    limits.dirty_bytes_max = 32 << 10;
    let mut commits = CommitConfig::default();
    commits.read_threads = 2;
    Larder::builder()
        .memory_bytes(64 << 10)
        .limits(limits)
        .call_max(soon())
        .clock(clock.clone())
        .restart_backoff(Duration::from_millis(1), Duration::from_millis(5))
        .driver_factory("store", commits, factory.clone())
        .start()
        .await
}

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|n| format!("k{n:02}"))
}

impl Day {
    /// Nothing has happened yet.
    pub fn new(larder: Larder, clock: &Clock) -> Self {
        let mut day = Self {
            cache: larder.cache("day").unwrap(),
            larder,
            clock: clock.clone(),
            ledger: Ledger::new(keys()),
            rng: fastrand::Rng::with_seed(1),
            next: 1,
        };
        day.ledger.at(clock.now_ms());
        day
    }

    /// The next process on the same store.
    pub fn goes_on(self, larder: Larder) -> Self {
        Self {
            cache: larder.cache("day").unwrap(),
            larder,
            ..self
        }
    }

    /// So much of it. `between` runs after each step with its number.
    pub async fn live(&mut self, steps: usize, mut between: impl AsyncFnMut(&mut Self, usize)) {
        for step in 0..steps {
            match self.rng.u32(0..100) {
                0..15 => self.set(Durability::Queued).await,
                15..55 => self.set(Durability::Written).await,
                55 => self.set(Durability::Synced).await,
                56..71 => self.get().await,
                71..78 => self.remove(false).await,
                78..83 => self.remove(true).await,
                83..85 => self.get_many().await,
                85..87 => self.scan().await,
                87..89 => self.expire().await,
                89..92 => self.touch().await,
                92..94 => self.update().await,
                94 => self.remove_tag().await,
                95 if self.rng.bool() => self.clear().await,
                95..98 => self.pass_some(),
                _ => self.fill().await,
            }
            between(self, step).await;
        }
    }

    /// Every key once more.
    pub async fn read_all(&mut self) {
        for key in keys() {
            self.get_key(&key).await;
        }
        self.get_many().await;
        self.scan().await;
    }

    /// What the next process finds is what was promised.
    pub async fn check_stored(&mut self, how: &str) {
        for key in keys() {
            let found = self.cache.get(&key).outcome().await.unwrap();
            assert_eq!(found.degraded, [], "{how}: {key}");
            self.ledger.check_stored(how, &key, found.entry.as_ref());
        }
        self.scan().await;
    }

    /// Moves the clock.
    pub fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.ledger.at(self.clock.now_ms());
    }

    /// Lets the driver's supervisor go on if it waits for its time.
    pub fn nudge(&mut self) {
        let health = self.larder.driver("store").unwrap().health();
        self.pass(Duration::from_millis(health.retry_in_ms.unwrap_or(0)));
    }

    /// Returns once the driver takes calls again, moving the clock only where its supervisor waits for
    /// it: calls under way do not grow old meanwhile.
    pub async fn until_up(&mut self) {
        let mut changes = self.larder.watch_health();
        let coming = async {
            loop {
                changes.next().await;
                let health = self.larder.driver("store").unwrap().health();
                if health.condition != Condition::Down {
                    return;
                }
                self.clock
                    .advance(Duration::from_millis(health.retry_in_ms.unwrap_or(0)));
            }
        };
        tokio::time::timeout(soon(), coming)
            .await
            .expect("it is up");
        self.ledger.at(self.clock.now_ms());
    }

    fn key(&mut self) -> String {
        format!("k{:02}", self.rng.usize(..KEYS))
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn pass_some(&mut self) {
        let time = Duration::from_millis(self.rng.u64(1..3_000));
        self.pass(time);
    }

    async fn set(&mut self, durability: Durability) {
        let (key, n, tag) = (self.key(), self.number(), self.rng.u64(..TAGS));
        let ttl_ms = [None, None, Some(1_000), Some(60_000)][self.rng.usize(..4)];
        let set = self.cache.set(&key, value(&key, n)).tag(format!("t{tag}"));
        let set = match ttl_ms {
            Some(ttl_ms) => set.ttl(Duration::from_millis(ttl_ms)),
            None => set,
        };
        let done = match durability {
            Durability::Queued => set.outcome().await,
            durability => set.durability(durability).outcome().await,
        };
        let expires_ms = ttl_ms.map_or(NEVER, |ttl_ms| self.clock.now_ms() + ttl_ms);
        let how = stands("set", done, durability);
        self.ledger
            .changed(&key, Some((n, expires_ms)), tag, how.as_ref());
    }

    async fn remove(&mut self, by_name: bool) {
        let key = self.key();
        let remove = self.cache.remove(&key);
        let how = if by_name {
            let done = remove.durability(Durability::Written).outcome().await;
            stands("remove", done, Durability::Written)
        } else {
            stands("remove", remove.outcome().await, Durability::Queued)
        };
        self.ledger.changed(&key, None, 0, how.as_ref());
    }

    async fn get(&mut self) {
        let key = self.key();
        self.get_key(&key).await;
    }

    async fn get_key(&mut self, key: &str) {
        let found = self.cache.get(key).outcome().await.unwrap();
        let explained = !found.degraded.is_empty();
        self.ledger.check("get", key, text(&found.entry), explained);
    }

    async fn get_many(&mut self) {
        for (key, found) in self.cache.get_many(keys()).await.unwrap() {
            // A batch read does not say of which key a driver was degraded.
            self.ledger.check("get_many", &key, text(&found), true);
        }
    }

    async fn scan(&mut self) {
        let page = self.cache.scan("k").page_size(1_000).await.unwrap();
        for (key, entry) in &page.entries {
            self.ledger.check("scan", key, Some(entry.as_str()), true);
        }
        for key in keys().filter(|key| page.entries.iter().all(|(k, _)| k != key)) {
            self.ledger.check("scan", &key, None, page.partial);
        }
    }

    async fn expire(&mut self) {
        let key = self.key();
        match self.cache.expire(&key).await {
            Ok(Some(_)) => self.ledger.changed(&key, None, 0, None),
            Ok(None) => self.ledger.check("expire", &key, None, false),
            Err(error) => undecided("expire", &error),
        }
    }

    async fn touch(&mut self) {
        let key = self.key();
        match self.cache.touch(&key, Duration::from_secs(5)).await {
            Ok(Some(_)) => {
                let (n, _) = self.ledger.state(&key).expect("what is touched is there");
                let state: State = Some((n, self.clock.now_ms() + 5_000));
                self.ledger
                    .changed(&key, state, self.ledger.tag(&key), None);
            }
            Ok(None) => self.ledger.check("touch", &key, None, false),
            Err(error) => undecided("touch", &error),
        }
    }

    async fn update(&mut self) {
        let (key, n) = (self.key(), self.number());
        let seen = std::sync::Mutex::new(None);
        let update = self.cache.update(&key, |old| {
            *seen.lock().unwrap() = old.cloned();
            value(&key, n)
        });
        let done = update.outcome().await;
        let seen = seen.into_inner().unwrap();
        self.ledger
            .check("update", &key, seen.as_deref(), done.is_err());
        match done {
            Ok(outcome) => self
                .ledger
                .changed(&key, Some((n, NEVER)), TAGS, Some(&outcome)),
            Err(error) => undecided("update", &error),
        }
    }

    async fn clear(&mut self) {
        let done = self.cache.clear().outcome().await;
        let how = stands("clear", done, Durability::Queued);
        self.ledger.cleared(None, how.as_ref());
    }

    async fn remove_tag(&mut self) {
        let tag = self.rng.u64(..TAGS);
        let done = self.cache.remove_tag(&format!("t{tag}")).outcome().await;
        let how = stands("remove_tag", done, Durability::Queued);
        self.ledger.cleared(Some(tag), how.as_ref());
    }

    async fn fill(&mut self) {
        let n = self.number();
        let items: Vec<_> = keys().skip(self.rng.usize(..KEYS)).take(12).collect();
        for key in items {
            let set = self.cache.set(&key, value(&key, n)).outcome().await;
            let how = stands("fill", set, Durability::Queued);
            self.ledger
                .changed(&key, Some((n, NEVER)), TAGS, how.as_ref());
        }
    }
}

fn text(entry: &Option<Entry<String>>) -> Option<&str> {
    entry.as_ref().map(|entry| entry.as_str())
}

/// How a change was acknowledged. Only one that asked for more than `Queued` by name may fail, and it
/// stands all the same.
fn stands(
    what: &str,
    done: Result<WriteOutcome, Error>,
    by_name: Durability,
) -> Option<WriteOutcome> {
    match done {
        Ok(outcome) => {
            assert!(outcome.durability >= by_name, "{what}: {outcome:?}");
            Some(outcome)
        }
        Err(Error::Unavailable { .. }) if by_name > Durability::Queued => None,
        Err(error) => panic!("{what} as {by_name:?}: {error}"),
    }
}

/// What depends on a driver that does not answer is refused, and nothing has changed.
fn undecided(what: &str, error: &Error) {
    assert!(
        matches!(error, Error::Unavailable { .. }),
        "{what}: {error}"
    );
}
