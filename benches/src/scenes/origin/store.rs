//! A store with the pace of an app's: a driver of larder's public trait, so that all of this is measured
//! with the features that hosts get. (The fault kit's `Platform` needs `test-util`, and takes as long for a
//! call of fifty items as for one, which the published stores do not.)
//!
//! A call takes `call`, of which the device is held for `item`; each further item of the call, and each call
//! at the same time, waits for the device. Reads take no time.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder::drivers::map::{MapDriver, MapStore};
use larder::drivers::{
    Driver, Factory, Failure, PageLimit, Reclaimed, StoreDurability, Usage, Watermark, Write,
};

use crate::workload::Random;

/// How long writing takes, and what is refused.
#[derive(Clone, Copy)]
pub struct Pace {
    pub call: Duration,
    pub item: Duration,
    /// Items that are being written; a call beyond fails.
    pub items_max: usize,
}

impl Pace {
    /// A store that answers at once.
    pub const NONE: Self = Self {
        call: Duration::ZERO,
        item: Duration::ZERO,
        items_max: usize::MAX,
    };

    /// So many times as fast.
    pub fn faster(self, times: u32) -> Self {
        Self {
            call: self.call / times,
            item: self.item / times,
            ..self
        }
    }
}

/// How a call fails.
#[derive(Clone, Copy)]
pub enum Fails {
    /// It does, and the next one may not.
    Once,
    /// The store must be opened anew.
    UntilReopened,
}

/// A store that outlives its drivers.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    pace: Pace,
    map: MapStore,
    /// Whether records are kept, or only that they were there.
    keeps: bool,
    state: Mutex<State>,
}

struct State {
    device_free: Instant,
    items: usize,
    /// Writing calls that were carried out.
    writes: u64,
    /// Which share of the calls fails, and how.
    faults: Option<(f64, Fails)>,
    chance: Random,
    struck: u64,
}

impl Store {
    pub fn new(pace: Pace) -> Self {
        Self::with(pace, true)
    }

    /// One that keeps keys only: what lies in a device is not in the memory of the app.
    pub fn of_keys(pace: Pace) -> Self {
        Self::with(pace, false)
    }

    fn with(pace: Pace, keeps: bool) -> Self {
        Self(Arc::new(Inner {
            pace,
            map: MapStore::new(),
            keeps,
            state: Mutex::new(State {
                device_free: Instant::now(),
                items: 0,
                writes: 0,
                faults: None,
                chance: Random::new(1),
                struck: 0,
            }),
        }))
    }

    pub fn open(&self) -> StoreDriver {
        StoreDriver {
            store: self.clone(),
            map: self.0.map.open(),
        }
    }

    pub fn factory(&self) -> Factory {
        let store = self.clone();
        Arc::new(move || Ok(Box::new(store.open())))
    }

    /// From now on such a share of the calls fails; 0 for none.
    pub fn fail(&self, share: f64, how: Fails) {
        self.state().faults = Some((share, how));
    }

    /// Writing calls that were carried out.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// Calls that have failed by chance.
    pub fn struck(&self) -> u64 {
        self.state().struck
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nobody panics with it")
    }

    /// Whether chance lets a call through.
    fn pass(&self) -> Result<(), Failure> {
        let state = &mut *self.state();
        let Some((share, how)) = state.faults else {
            return Ok(());
        };
        if state.chance.unit() >= share {
            return Ok(());
        }
        state.struck += 1;
        let reason = "by chance".to_owned();
        Err(match how {
            Fails::Once => Failure::Retry {
                reason,
                after: Duration::ZERO,
            },
            Fails::UntilReopened => Failure::Reopen { reason },
        })
    }

    fn write(&self, batch: &[Write]) -> Result<(), Failure> {
        let (items, pace) = (batch.len(), self.0.pace);
        let end = {
            let state = &mut *self.state();
            if state.items + items > pace.items_max {
                return Err(Failure::Retry {
                    reason: format!("{items} items beside {}", state.items),
                    after: pace.call,
                });
            }
            state.items += items;
            state.writes += 1;
            let begin = state.device_free.max(Instant::now());
            state.device_free = begin + pace.item * u32::try_from(items).unwrap_or(u32::MAX);
            state.device_free + (pace.call - pace.item)
        };
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        self.state().items -= items;
        Ok(())
    }
}

/// A driver on a [`Store`]; for a bare client, too.
pub struct StoreDriver {
    store: Store,
    map: MapDriver,
}

impl Driver for StoreDriver {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        self.store.pass()?;
        self.map.get(key)
    }

    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        self.store.pass()?;
        self.map.get_many(keys)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        self.store.pass()?;
        self.store.write(batch)?;
        if self.store.0.keeps {
            return self.map.commit(batch, durability);
        }
        let keys: Vec<Write> = batch.iter().cloned().map(without_record).collect();
        self.map.commit(&keys, durability)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        self.map.scan(prefix, after, page)
    }

    fn reclaim(&self, now_ms: u64, count_max: usize) -> Result<Reclaimed, Failure> {
        self.map.reclaim(now_ms, count_max)
    }

    fn usage(&self) -> Usage {
        self.map.usage()
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.map.reserve(mark)
    }

    fn reserved(&self) -> Watermark {
        self.map.reserved()
    }
}

fn without_record(mut write: Write) -> Write {
    if let Write::Put { record, .. } = &mut write {
        *record = Bytes::new();
    }
    write
}
