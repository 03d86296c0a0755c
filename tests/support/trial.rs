//! A driver whose behaviour a test chooses: it counts, fails, panics and holds commits on demand,
//! over a map that outlives it.
#![allow(dead_code)] // each test file uses a part of it

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use larder::clock::Millis;
use larder::drivers::map::{MapDriver, MapStore};
use larder::drivers::{
    Driver, Failure, PageLimit, Reclaimed, StoreDurability, Usage, Watermark, Write,
};
use larder::{ActorState, Larder};

/// A guard, not a wait: nothing here takes this long.
pub const SOON: Duration = Duration::from_secs(30);

/// What a test sees and decides of a driver; clones are the same.
#[derive(Clone, Default)]
pub struct Trial(Arc<Inner>);

#[derive(Default)]
struct Inner {
    store: MapStore,
    opened: AtomicUsize,
    commits: AtomicUsize,
    /// Commits, by number from 0, that fail and change nothing.
    failing: Mutex<BTreeSet<usize>>,
    attempts: Mutex<BTreeMap<String, usize>>,
    stored: Mutex<BTreeMap<String, usize>>,
    batches: Mutex<Vec<Vec<String>>>,
    durabilities: Mutex<Vec<StoreDurability>>,
    many_reads: AtomicUsize,
    held: Mutex<bool>,
    released: Condvar,
    scans_held: Mutex<bool>,
    scans_released: Condvar,
    scans: AtomicUsize,
    pub refuses_to_open: AtomicBool,
    panics_when_opened: AtomicBool,
    panics_when_asked_its_mark: AtomicBool,
    panics_at_next_read: AtomicBool,
    panics_at_next_commit: AtomicBool,
    fails_every_read: AtomicBool,
}

impl Trial {
    pub fn open(&self) -> Result<TrialDriver, Failure> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        if self.0.refuses_to_open.load(Ordering::SeqCst) {
            return Err(Failure::reopen("refused by the test"));
        }
        assert!(
            !self.0.panics_when_opened.swap(false, Ordering::SeqCst),
            "a panic in the factory, by the test"
        );
        Ok(TrialDriver {
            map: self.0.store.open(),
            trial: self.clone(),
        })
    }

    pub fn opened(&self) -> usize {
        self.0.opened.load(Ordering::SeqCst)
    }
    pub fn commits(&self) -> usize {
        self.0.commits.load(Ordering::SeqCst)
    }
    pub fn many_reads(&self) -> usize {
        self.0.many_reads.load(Ordering::SeqCst)
    }
    /// How often each key was in a batch, whatever came of it.
    pub fn attempts(&self) -> BTreeMap<String, usize> {
        self.0.attempts.lock().unwrap().clone()
    }
    /// How often each key was stored or deleted.
    pub fn stored(&self) -> BTreeMap<String, usize> {
        self.0.stored.lock().unwrap().clone()
    }
    /// The keys of each batch, failed ones included.
    pub fn batches(&self) -> Vec<Vec<String>> {
        self.0.batches.lock().unwrap().clone()
    }
    pub fn durabilities(&self) -> Vec<StoreDurability> {
        self.0.durabilities.lock().unwrap().clone()
    }
    /// Whether a record is filed under `cache/key`.
    pub fn has(&self, key: &str) -> bool {
        self.0.store.open().get(key.as_bytes()).unwrap().is_some()
    }
    pub fn fail_commit(&self, number: usize) {
        self.0.failing.lock().unwrap().insert(number);
    }
    pub fn refuse_to_open(&self, refuse: bool) {
        self.0.refuses_to_open.store(refuse, Ordering::SeqCst);
    }
    pub fn panic_when_opened(&self) {
        self.0.panics_when_opened.store(true, Ordering::SeqCst);
    }
    pub fn panic_when_asked_its_mark(&self) {
        self.0
            .panics_when_asked_its_mark
            .store(true, Ordering::SeqCst);
    }
    pub fn panic_at_next_read(&self) {
        self.0.panics_at_next_read.store(true, Ordering::SeqCst);
    }
    pub fn panic_at_next_commit(&self) {
        self.0.panics_at_next_commit.store(true, Ordering::SeqCst);
    }
    /// Every read fails and says that the driver is of no more use.
    pub fn fail_every_read(&self, fail: bool) {
        self.0.fails_every_read.store(fail, Ordering::SeqCst);
    }
    /// Commits that begin from now on wait until [`release`](Trial::release).
    pub fn hold(&self) {
        *self.0.held.lock().unwrap() = true;
    }
    pub fn release(&self) {
        *self.0.held.lock().unwrap() = false;
        self.0.released.notify_all();
    }

    /// Scans that begin from now on keep what they have read until
    /// [`release_scans`](Trial::release_scans).
    pub fn hold_scans(&self) {
        *self.0.scans_held.lock().unwrap() = true;
    }
    pub fn release_scans(&self) {
        *self.0.scans_held.lock().unwrap() = false;
        self.0.scans_released.notify_all();
    }
    /// Scans that have read their page.
    pub fn scans(&self) -> usize {
        self.0.scans.load(Ordering::SeqCst)
    }

    fn reads(&self) -> Result<(), Failure> {
        assert!(
            !self.0.panics_at_next_read.swap(false, Ordering::SeqCst),
            "a panic in a read, by the test"
        );
        if self.0.fails_every_read.load(Ordering::SeqCst) {
            return Err(Failure::reopen("failed by the test"));
        }
        Ok(())
    }
}

/// One instance of the driver.
pub struct TrialDriver {
    map: MapDriver,
    trial: Trial,
}

impl Driver for TrialDriver {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        self.trial.reads()?;
        self.map.get(key)
    }

    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        self.trial.reads()?;
        self.trial.0.many_reads.fetch_add(1, Ordering::SeqCst);
        self.map.get_many(keys)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        let inner = &self.trial.0;
        let held = inner.held.lock().unwrap();
        drop(inner.released.wait_while(held, |held| *held).unwrap());
        assert!(
            !inner.panics_at_next_commit.swap(false, Ordering::SeqCst),
            "a panic in a commit, by the test"
        );
        let keys = |write: &Write| String::from_utf8_lossy(write.key()).into_owned();
        let keys: Vec<String> = batch.iter().map(keys).collect();
        if keys.iter().any(|key| key.starts_with("\0probes/")) {
            // A supervisor's probe is nobody's change.
            return self.map.commit(batch, durability);
        }
        for key in &keys {
            *inner
                .attempts
                .lock()
                .unwrap()
                .entry(key.clone())
                .or_default() += 1;
        }
        inner.batches.lock().unwrap().push(keys.clone());
        let number = inner.commits.fetch_add(1, Ordering::SeqCst);
        if inner.failing.lock().unwrap().remove(&number) {
            return Err(Failure::Retry {
                reason: "failed by the test".into(),
                after: Duration::ZERO,
            });
        }
        self.map.commit(batch, durability)?;
        inner.durabilities.lock().unwrap().push(durability);
        for key in keys {
            *inner.stored.lock().unwrap().entry(key).or_default() += 1;
        }
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let found = self.map.scan(prefix, after, page);
        let inner = &self.trial.0;
        inner.scans.fetch_add(1, Ordering::SeqCst);
        let held = inner.scans_held.lock().unwrap();
        drop(inner.scans_released.wait_while(held, |held| *held).unwrap());
        found
    }

    fn reclaim(&self, now_ms: Millis, count_max: usize) -> Result<Reclaimed, Failure> {
        self.map.reclaim(now_ms, count_max)
    }

    fn usage(&self) -> Usage {
        self.map.usage()
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.map.reserve(mark)
    }

    fn reserved(&self) -> Watermark {
        assert!(
            !self
                .trial
                .0
                .panics_when_asked_its_mark
                .swap(false, Ordering::SeqCst),
            "a panic in reserved, by the test"
        );
        self.map.reserved()
    }
}

/// Returns once `is_so`; polls, because the thing looked at announces nothing.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "never came: {what}");
        tokio::task::yield_now().await;
    }
}

/// Returns once the actor is in this state.
pub async fn until_actor(larder: &Larder, name: &str, state: ActorState) {
    let is = || {
        let actors = larder.actors();
        actors.iter().any(|a| a.name == name && a.state == state)
    };
    until(&format!("{name} is {state:?}"), is).await;
}

/// Some round trips through the arbiters and the drivers' threads: whatever could happen without the
/// clock's being moved has had its time.
pub async fn settle(larder: &Larder) {
    for _ in 0..20 {
        larder.stats().await.unwrap();
        if let Ok(memory) = larder.memory() {
            let _ = memory.measure.send(larder::messages::memory::Measure).await;
        }
        tokio::task::yield_now().await;
    }
}
