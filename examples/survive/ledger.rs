//! The ledger: what was acknowledged, so that every answer can be checked.

use std::sync::atomic::{AtomicU64, Ordering};

use larder::{Cache, Source};

/// Bytes of a value.
pub const VALUE_BYTES: usize = 1 << 10;

/// One number per key, and what has gone wrong.
pub struct Ledger {
    /// By key: the newest value whose set has begun.
    issued: Vec<AtomicU64>,
    /// By key: the newest value whose set was acknowledged.
    acknowledged: Vec<AtomicU64>,
    pub read_errors: AtomicU64,
    pub write_errors: AtomicU64,
    pub old: AtomicU64,
    pub foreign: AtomicU64,
    pub memory: AtomicU64,
    pub disk: AtomicU64,
    pub misses: AtomicU64,
    /// Misses of keys that had been set.
    pub forgotten: AtomicU64,
}

/// What a pass over all keys found.
pub struct Pass {
    pub found: u64,
    pub forgotten: u64,
}

impl Ledger {
    pub fn new(keys: usize) -> Self {
        let zeros = || (0..keys).map(|_| AtomicU64::new(0)).collect();
        Self {
            issued: zeros(),
            acknowledged: zeros(),
            read_errors: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            old: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            disk: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    pub fn keys(&self) -> usize {
        self.issued.len()
    }

    /// Sets the next value of a key. Only one task sets a key, so its values are in order.
    pub async fn set(&self, cache: &Cache<Vec<u8>>, key: usize) {
        let number = self.issued[key].fetch_add(1, Ordering::SeqCst) + 1;
        match cache.set(&name(key), value(key, number)).await {
            Ok(_) => self.acknowledged[key].store(number, Ordering::SeqCst),
            Err(error) => {
                add(&self.write_errors);
                eprintln!("a write failed: {error}");
            }
        }
    }

    /// Reads a key and compares it with what had been acknowledged before.
    pub async fn get(&self, cache: &Cache<Vec<u8>>, key: usize) {
        let least = self.acknowledged[key].load(Ordering::SeqCst);
        let outcome = match cache.get(&name(key)).outcome().await {
            Ok(outcome) => outcome,
            Err(error) => {
                add(&self.read_errors);
                eprintln!("a read failed: {error}");
                return;
            }
        };
        let Some(entry) = outcome.entry else {
            add(&self.misses);
            if least > 0 {
                add(&self.forgotten);
            }
            return;
        };
        add(match outcome.source {
            Some(Source::Memory) => &self.memory,
            _ => &self.disk,
        });
        self.check(key, least, &entry);
    }

    fn check(&self, key: usize, least: u64, found: &[u8]) {
        let most = self.issued[key].load(Ordering::SeqCst);
        match number_of(key, found) {
            None => add(&self.foreign),
            Some(number) if number > most => add(&self.foreign),
            Some(number) if number < least => add(&self.old),
            Some(_) => {}
        }
    }

    /// Reads every key once more.
    pub async fn check_all(&self, cache: &Cache<Vec<u8>>) -> Pass {
        let before = (
            count(&self.memory) + count(&self.disk),
            count(&self.forgotten),
        );
        for key in 0..self.keys() {
            self.get(cache, key).await;
        }
        Pass {
            found: count(&self.memory) + count(&self.disk) - before.0,
            forgotten: count(&self.forgotten) - before.1,
        }
    }

    /// Whether nothing has gone wrong.
    pub fn is_clean(&self) -> bool {
        let wrong = [
            &self.read_errors,
            &self.write_errors,
            &self.old,
            &self.foreign,
        ];
        wrong.into_iter().all(|counter| count(counter) == 0)
    }
}

fn name(key: usize) -> String {
    format!("page-{key}")
}

/// The key and the number, and then bytes that follow from both.
fn value(key: usize, number: u64) -> Vec<u8> {
    let mut value = Vec::with_capacity(VALUE_BYTES);
    value.extend_from_slice(&(key as u64).to_le_bytes());
    value.extend_from_slice(&number.to_le_bytes());
    let mut rng = fastrand::Rng::with_seed(number ^ (key as u64) << 32);
    value.resize_with(VALUE_BYTES, || rng.u8(..));
    value
}

/// The number of a value; `None` if it is no value of this key.
fn number_of(key: usize, found: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(found.get(8..16)?.try_into().ok()?);
    (found == value(key, number)).then_some(number)
}

pub fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
