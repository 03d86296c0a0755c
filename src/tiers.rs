//! The read path and the write path, top to bottom.
//!
//! Both work on slots, not on a host's types, and name no actor: they see the shelf and a port per
//! driver. Everything that may wait is bounded by the call's deadline.

mod fence;
mod read;
mod scan;
mod write;

pub(crate) use fence::load as load_fences;
pub(crate) use read::{Found, ReadOptions};
pub(crate) use scan::PageAsk;
pub(crate) use write::{Intent, Order, Prepared, Targets};

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::RwLock;
use smol_str::SmolStr;
use tokio::sync::Semaphore;

use crate::clock::{Clock, Millis};
use crate::config::Config;
use crate::drivers::StoreDurability;
use crate::error::Error;
use crate::hurry::Hurry;
use crate::key::Key;
use crate::messages::hub::{Subscribe, SubscriptionId};
use crate::port::{Port, Wait};
use crate::shelf::{Scope, Shelf, TierId, TierSet};

/// A future that larder's own closures return.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the paths share. One per larder.
pub(crate) struct Tiers {
    pub shelf: Arc<Shelf>,
    pub ports: Vec<Arc<Port>>,
    pub clock: Clock,
    pub config: Config,
    pub timer: tokio::runtime::Handle,
    /// What is left of the dirty budget, in bytes.
    pub room: Arc<Semaphore>,
    /// Cuts the batch writer's linger short.
    pub hurry: Arc<Hurry>,
    pub closed: AtomicBool,
    pub counts: Counts,
    /// Items of one chunk of a batch call, per driver.
    pub chunk_counts: Vec<usize>,
    /// Whether memory may hold, for a cache with tiers, what no tier does.
    pub unstored: AtomicBool,
    /// What each named cache is, as it was opened last; bounded by `caches_max`.
    pub definitions: RwLock<HashMap<SmolStr, Arc<dyn Any + Send + Sync>>>,
    /// Ways to the actors, hung by the builder.
    pub lines: OnceLock<Lines>,
}

/// Ways to the actors, as closures, so that the paths need not know them.
pub(crate) struct Lines {
    pub subscribe: Box<dyn Fn(Subscribe) -> Boxed<Result<SubscriptionId, Error>> + Send + Sync>,
    pub unsubscribe: Arc<dyn Fn(SubscriptionId) + Send + Sync>,
    pub attend: Box<dyn Fn(Key) + Send + Sync>,
    pub flush: Box<dyn Fn(StoreDurability) -> Boxed<Result<(), Error>> + Send + Sync>,
    pub sweep: Box<dyn Fn() + Send + Sync>,
}

/// What the paths count beyond what shelf and ports do.
#[derive(Default)]
pub(crate) struct Counts {
    pub encode_errors: AtomicU64,
    pub decode_errors: AtomicU64,
    pub schema_misses: AtomicU64,
    pub memory_only_sets: AtomicU64,
    pub overloaded: AtomicU64,
}

impl Counts {
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// One cache as the paths see it.
#[derive(Clone)]
pub(crate) struct Place {
    pub scope: Arc<Scope>,
    /// Whether memory keeps its values.
    pub memory: bool,
    /// Its tiers below memory.
    pub tiers: TierSet,
    pub schema: u32,
}

impl Place {
    /// The tier whose commit acknowledges `Written` and `Synced`: the first below memory.
    pub fn durable(&self) -> Option<TierId> {
        self.tiers.iter().next()
    }
}

impl Tiers {
    /// The current time.
    #[inline]
    pub fn now_ms(&self) -> Millis {
        self.clock.now_ms()
    }

    /// Refuses every call after a shutdown.
    #[inline]
    pub fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// A call that begins now.
    pub fn wait(&self, after: Option<Duration>) -> Wait<'_> {
        Wait::new(&self.timer, after.unwrap_or(self.config.call_max()))
    }

    /// The port of a tier.
    pub fn port(&self, tier: TierId) -> Option<&Arc<Port>> {
        self.ports.get(usize::from(tier.0))
    }

    /// The number of the driver with this name.
    pub fn tier_named(&self, name: &str) -> Option<TierId> {
        self.ports.iter().find(|p| &*p.name == name).map(|p| p.id)
    }

    /// The ways to the actors.
    pub fn lines(&self) -> Result<&Lines, Error> {
        self.lines.get().ok_or(Error::Closed)
    }

    /// Waits, on larder's own timer.
    pub async fn sleep(&self, time: Duration) {
        let sleep = {
            let _entered = self.timer.enter();
            tokio::time::sleep(time)
        };
        sleep.await;
    }

    /// Stores everything that is dirty.
    pub async fn flush(&self, durability: StoreDurability, wait: &Wait<'_>) -> Result<(), Error> {
        loop {
            let flush = (self.lines()?.flush)(durability);
            match wait.until(flush, || wait.exceeded()).await? {
                Err(Error::Unavailable { driver, .. }) if *driver == *BATCH => {
                    // Its supervisor is at it; what is dirty is still there for the next one.
                    wait.until(self.sleep(BATCH_PAUSE), || wait.exceeded())
                        .await?;
                }
                done => return done,
            }
        }
    }
}

/// The batch writer's name.
pub(crate) const BATCH: &str = "batch";
/// How long a flush waits for a batch writer that is being restarted before it asks again.
const BATCH_PAUSE: Duration = Duration::from_millis(20);

/// What every handle holds: the last one to go lets larder end.
pub(crate) struct Home {
    pub tiers: Arc<Tiers>,
    /// Runs when the last handle is dropped.
    pub farewell: parking_lot::Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(farewell) = self.farewell.get_mut().take() {
            farewell();
        }
    }
}
