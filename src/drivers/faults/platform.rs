//! A store with the manners of the key-value stores of mobile platforms: each limit of theirs is met by
//! a failure, or by silence.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::meter::Meter;
pub use super::meter::PlatformCounts;
use crate::clock::{Clock, Millis};
use crate::drivers::map::{MapDriver, MapStore};
use crate::drivers::{
    Driver, Factory, Failure, PageLimit, Reclaimed, StoreDurability, Usage, Watermark, Write,
};

/// What such a store stands.
#[derive(Clone, Debug)]
pub struct PlatformLimits {
    /// Calls in flight, reads included; one more fails. 64.
    pub calls_in_flight_max: usize,
    /// Bytes of keys and records that all calls in flight carry together, either way; a call beyond
    /// fails. 1 MiB.
    pub transaction_bytes_max: usize,
    /// Changes that wait to be worked off; one more is acknowledged and lost. 128.
    pub queue_messages_max: u64,
    /// Changes that are worked off in a second (at least 1). 50.
    pub writes_per_second: u64,
    /// Changes that are taken in a second; a call with more fails. Whoever writes faster than
    /// `writes_per_second` and slower than this loses changes after a while. 100.
    pub writes_per_second_max: u64,
    /// How long a writing call takes, in milliseconds. 20.
    pub write_ms: u64,
    /// How long a reading call takes, in milliseconds. 2.
    pub read_ms: u64,
}

impl Default for PlatformLimits {
    fn default() -> Self {
        Self {
            calls_in_flight_max: 64,
            transaction_bytes_max: 1 << 20,
            queue_messages_max: 128,
            writes_per_second: 50,
            writes_per_second_max: 100,
            write_ms: 20,
            read_ms: 2,
        }
    }
}

/// A platform store. It outlives its drivers; all clones are the same one.
///
/// A bare client has the choice: one call after the other is slow, many at once fail, and too many in
/// one call are lost without a word. A larder in front of it is given the pace and stays within the
/// limits:
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// use larder::{CommitConfig, Larder, clock::Clock, drivers::faults::Platform};
///
/// let platform = Platform::new(Clock::system());
/// let mut commits = CommitConfig::default();
/// commits.writes_per_second_max = std::num::NonZeroU32::new(40); // it works off 50
/// commits.commit_bytes_max = 256 << 10; // all calls share 1 MiB
/// commits.read_threads = 8; // 64 calls may be in flight
/// let larder = Larder::builder()
///     .driver_factory("platform", commits, platform.factory())
///     .start()
///     .await?;
/// let cache = larder.cache::<u64>("numbers")?;
/// for n in 0..10 {
///     cache.set(&n.to_string(), n).await?;
/// }
/// larder.shutdown(std::time::Duration::from_secs(5)).await?;
/// assert!(!platform.counts().tripped());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Platform(Arc<Inner>);

struct Inner {
    clock: Clock,
    store: MapStore,
    state: Mutex<State>,
}

struct State {
    meter: Meter,
    /// How many calls in flight end when.
    ends: BTreeMap<Millis, usize>,
}

impl Platform {
    /// An empty one with the usual limits. Its time passes on this clock, which should be larder's.
    pub fn new(clock: Clock) -> Self {
        Self::with(clock, PlatformLimits::default())
    }

    /// An empty one with other limits.
    pub fn with(clock: Clock, limits: PlatformLimits) -> Self {
        Self(Arc::new(Inner {
            clock,
            store: MapStore::new(),
            state: Mutex::new(State {
                meter: Meter::new(limits),
                ends: BTreeMap::new(),
            }),
        }))
    }

    /// A driver on this store.
    pub fn open(&self) -> PlatformDriver {
        PlatformDriver {
            platform: self.clone(),
            map: self.0.store.open(),
        }
    }

    /// Makes drivers on this store.
    pub fn factory(&self) -> Factory {
        let platform = self.clone();
        Arc::new(move || Ok(Box::new(platform.open())))
    }

    /// What it did to its callers so far.
    pub fn counts(&self) -> PlatformCounts {
        self.0.state.lock().meter.counts()
    }

    /// What it holds, without a call.
    pub fn store(&self) -> &MapStore {
        &self.0.store
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> usize {
        self.0.state.lock().ends.values().sum()
    }

    /// When the next call in flight ends; whoever moves a manual clock moves it there.
    pub fn next_end_ms(&self) -> Option<Millis> {
        let state = self.0.state.lock();
        state.ends.keys().next().copied()
    }

    /// A call of so many bytes that takes so long: `act` is told how many of its `writes` count.
    fn call<T>(
        &self,
        bytes: usize,
        writes: u64,
        act: impl FnOnce(u64) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (kept, end_ms) = {
            let state = &mut *self.0.state.lock();
            let now_ms = self.0.clock.now_ms();
            let entered = state.meter.enter(now_ms, bytes, writes);
            let kept = entered.map_err(|reason| Failure::Retry {
                reason,
                after: std::time::Duration::from_secs(1),
            })?;
            let limits = state.meter.limits();
            let took_ms = if writes > 0 {
                limits.write_ms
            } else {
                limits.read_ms
            };
            let end_ms = now_ms.saturating_add(took_ms);
            *state.ends.entry(end_ms).or_default() += 1;
            (kept, end_ms)
        };
        self.0.clock.block_until(end_ms);
        let done = act(kept);
        let state = &mut *self.0.state.lock();
        state.meter.leave(bytes);
        if let Some(calls) = state.ends.get_mut(&end_ms) {
            *calls -= 1;
            if *calls == 0 {
                state.ends.remove(&end_ms);
            }
        }
        done
    }
}

/// Shows counts, never a key or a value.
impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform")
            .field("store", &self.0.store)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// A driver on a [`Platform`]. Beside larder, a bare client of the platform may use it from as many
/// threads as it likes.
///
/// ```
/// use larder::clock::Clock;
/// use larder::drivers::{Driver, faults::Platform};
/// let driver = Platform::new(Clock::system()).open();
/// assert_eq!(driver.get(b"users/42")?, None);
/// # Ok::<(), larder::drivers::Failure>(())
/// ```
pub struct PlatformDriver {
    platform: Platform,
    map: MapDriver,
}

fn weight(records: &[(Bytes, Bytes)]) -> usize {
    let weights = records.iter().map(|(key, record)| key.len() + record.len());
    weights.sum()
}

impl Driver for PlatformDriver {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let found = self.map.get(key)?;
        let bytes = key.len() + found.as_ref().map_or(0, Bytes::len);
        // What is true when the call ends, as a store would have it.
        self.platform.call(bytes, 0, |_| self.map.get(key))
    }

    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        let found = self.map.get_many(keys)?;
        let records = found.iter().flatten().map(Bytes::len);
        let bytes = records.chain(keys.iter().map(Bytes::len)).sum();
        self.platform.call(bytes, 0, |_| self.map.get_many(keys))
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        let bytes = batch.iter().map(Write::weight).sum();
        self.platform.call(bytes, batch.len() as u64, |kept| {
            let kept = usize::try_from(kept).unwrap_or(batch.len());
            self.map
                .commit(batch.get(..kept).unwrap_or(batch), durability)
        })
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let bytes = weight(&self.map.scan(prefix, after, page)?);
        let act = |_| self.map.scan(prefix, after, page);
        self.platform.call(bytes, 0, act)
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
        self.map.reserved()
    }
}
