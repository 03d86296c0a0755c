//! The read path and the write path, top to bottom.
//!
//! Both work on slots, not on a host's types, and name no actor: they see the shelf and a port per
//! driver. Everything that may wait is bounded by the call's deadline.
//!
//! What a call answers, by the state of its tier (`tests/answers.rs` checks every cell). *By name*: the
//! call asked for `Written` or `Synced`; a removal or a clear that says nothing waits for `Written` too,
//! but answers `ok` as `Queued` where that cannot be kept. After "stands" the change is in force in
//! this process although the call failed, and may still be stored; after every other error nothing was
//! changed.
//!
//! | call | up | open | up, dirty set full | open, dirty set full |
//! |---|---|---|---|---|
//! | get, in memory | value | value | value | value |
//! | get, only below | value | miss, `Down` | value | miss, `Down` |
//! | set, update | ok | ok as `Queued`, `Down` | waits, then `Overloaded` | ok in memory, `MemoryOnly` |
//! | set, update by name | ok | `Unavailable`, stands | waits, then `Overloaded` | `Unavailable`, stands |
//! | the same under a condition, key in memory | as above | as above | as above | as above |
//! | the same under a condition, key not in memory | as above | `Unavailable` | as above | `Unavailable` |
//! | remove | ok | ok as `Queued`, `Down` | waits, then `Overloaded` | ok, `MemoryOnly`, the stored copy is distrusted |
//! | remove by name | ok | `Unavailable`, stands | waits, then `Overloaded` | `Unavailable`, stands |
//! | clear, remove_tag | ok | ok as `Queued`, `Down` | waits, then ok as `Queued`, `Late` | ok as `Queued`, `Down` |
//! | clear, remove_tag by name | ok | `Unavailable`, stands | waits, then `DeadlineExceeded`, stands | `Unavailable`, stands |
//!
//! A key whose stored copy is distrusted counts as absent, whatever the tier's state. With several
//! tiers something is stored when each of them has it, and each has a dirty set's worth of room of its
//! own: past one that is open and full, the others are written, and `MemoryOnly` names the one. "Waits" is
//! what `Admission` makes of it.

mod counts;
mod fence;
mod flight;
mod order;
mod read;
mod refile;
mod scan;
mod stored;
mod warm;
mod write;

pub(crate) use counts::Counts;
pub(crate) use fence::{Raised, load as load_fences};
pub(crate) use order::{Order, Promise, Targets};
pub(crate) use read::{Found, ReadOptions};
pub(crate) use scan::PageAsk;

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use smol_str::SmolStr;
use tokio::sync::Semaphore;

use crate::clock::{Clock, Millis};
use crate::config::{Config, refuse};
use crate::drivers::StoreDurability;
use crate::entry::Source;
use crate::error::Error;
use crate::fetch::Fetches;
use crate::gate::Standing;
use crate::hurry::Hurry;
use crate::key::{Key, SEPARATOR};
use crate::messages::hub::{Subscribe, SubscriptionId};
use crate::port::Port;
use crate::shelf::{Encoded, Kind, Scope, Shelf, Slot, TierId, TierSet};
use crate::wait::{Timer, Wait};

/// A future that larder's own closures return.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the paths share. One per larder.
pub(crate) struct Tiers {
    pub shelf: Arc<Shelf>,
    pub ports: Vec<Arc<Port>>,
    pub clock: Clock,
    pub config: Config,
    pub timer: Timer,
    /// What is left of each driver's dirty budget, in bytes.
    pub rooms: Vec<Arc<Semaphore>>,
    /// Fences of tags that may wait to be stored. They take no part of the dirty budget, so that none
    /// is ever refused; past this many they become fences of their whole caches.
    pub fence_room: Arc<Semaphore>,
    /// Held while a fence is raised and filed.
    pub fence_order: Mutex<()>,
    /// Who waits for something to be stored, so that the batch writer does not linger.
    pub hurry: Arc<Hurry>,
    pub closed: AtomicBool,
    pub counts: Counts,
    /// Loads by hosts' loaders.
    pub fetches: Fetches,
    /// The tiers of which nothing lies anywhere in plain text.
    pub sealed: TierSet,
    /// Items of one chunk of a batch call, per driver.
    pub chunk_counts: Vec<usize>,
    /// What each named cache is, as it was opened last; bounded by `caches_max`.
    pub definitions: RwLock<HashMap<SmolStr, Opened>>,
    /// Ways to the actors, hung by the builder.
    pub lines: OnceLock<Lines>,
}

/// Ways to the actors, as closures, so that the paths need not know them.
pub(crate) struct Lines {
    pub subscribe: Box<dyn Fn(Subscribe) -> Boxed<Result<SubscriptionId, Error>> + Send + Sync>,
    pub unsubscribe: Arc<dyn Fn(SubscriptionId) + Send + Sync>,
    pub attend: Box<dyn Fn(Key) + Send + Sync>,
    pub flush: Box<dyn Fn(StoreDurability) -> Boxed<Result<(), Error>> + Send + Sync>,
    /// Where loads run whose caller is on no runtime.
    pub loads: tokio::runtime::Handle,
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
    /// What of it the caller can read; `None` for anything.
    pub kind: Option<Kind>,
    /// How its calls stand when there is too much work.
    pub standing: Standing,
}

/// A named cache as it was opened last.
#[derive(Clone)]
pub(crate) struct Opened {
    pub place: Place,
    /// Its values are secrets.
    pub is_secret: bool,
    /// What it does where a call says nothing else, for handles of another type.
    pub defaults: Arc<dyn Any + Send + Sync>,
    /// All of it, for handles of the same type.
    pub definition: Arc<dyn Any + Send + Sync>,
    /// The bytes of a slot, if it holds a value of its type or has them.
    pub encode: Encode,
}

/// Makes the bytes of a slot.
pub(crate) type Encode = Arc<dyn Fn(&Slot) -> Option<Arc<Encoded>> + Send + Sync>;

impl Tiers {
    /// The current time.
    #[inline]
    pub fn now_ms(&self) -> Millis {
        self.clock.now_ms()
    }

    /// Whether it has not been shut down.
    #[inline]
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    /// Refuses every call after a shutdown.
    pub fn check_open(&self) -> Result<(), Error> {
        if self.is_open() {
            Ok(())
        } else {
            Err(Error::Closed)
        }
    }

    /// A call that begins now.
    pub fn wait(&self, after: Option<Duration>) -> Wait<'_> {
        self.timer.wait(after.unwrap_or(self.config.call_max()))
    }

    /// The port of a tier.
    pub fn port(&self, tier: TierId) -> Option<&Arc<Port>> {
        self.ports.get(usize::from(tier.0))
    }

    /// The number of the driver with this name.
    pub fn tier_named(&self, name: &str) -> Option<TierId> {
        self.ports.iter().find(|p| &*p.name == name).map(|p| p.id)
    }

    /// Refuses a name that no cache can have, and a new cache past the limit.
    pub fn check_cache(&self, name: &str) -> Result<(), Error> {
        let limits = &self.config.limits;
        refuse(name_problems(name, limits.cache_name_bytes_max))?;
        // Not the names that stores remember: those are nobody's fault, and no store forgets them.
        let definitions = self.definitions.read();
        let is_full = definitions.len() >= limits.caches_max;
        if is_full && !definitions.contains_key(name) {
            return Err(self.overloaded("caches_max", Duration::MAX));
        }
        Ok(())
    }

    /// Refuses a key that no entry can have.
    #[inline]
    pub fn check_key(&self, key: &str) -> Result<(), Error> {
        if key.is_empty() || key.len() > self.config.limits.key_bytes_max {
            return self.refuse_key(key);
        }
        Ok(())
    }

    #[cold]
    fn refuse_key(&self, key: &str) -> Result<(), Error> {
        let limit = self.config.limits.key_bytes_max;
        if key.is_empty() {
            return Err(Error::Invalid {
                field: "key",
                reason: format!("is empty, allowed are 1 to {limit} bytes"),
            });
        }
        Err(Error::TooLarge {
            what: "key",
            size: key.len(),
            limit_name: "key_bytes_max",
            limit,
        })
    }

    /// What a caller gets who meets a limit; it is counted.
    pub fn overloaded(&self, limit: &'static str, retry_after: Duration) -> Error {
        Counts::add(&self.counts.overloaded);
        Error::Overloaded { limit, retry_after }
    }

    /// What a caller gets who needs this driver.
    pub fn unavailable(&self, driver: &str) -> Error {
        let port = self.tier_named(driver).and_then(|tier| self.port(tier));
        port.map_or(Error::Closed, |port| port.unavailable())
    }

    /// The tiers that caches use only if they are asked to.
    pub fn secure(&self) -> TierSet {
        let secure = self.ports.iter().filter(|p| p.source == Source::Secure);
        secure.fold(TierSet::NONE, |set, port| set.with(port.id))
    }

    /// The ways to the actors.
    pub fn lines(&self) -> Result<&Lines, Error> {
        self.lines.get().ok_or(Error::Closed)
    }

    /// Waits, on larder's own timer.
    pub async fn sleep(&self, time: Duration) {
        self.timer.wait(time).out().await;
    }

    /// Answers everybody who still waits: nothing more will come.
    pub fn close_all(&self) {
        self.closed.store(true, Ordering::Release);
        self.close_rooms();
        for port in &self.ports {
            port.gate.close();
            self.shelf.fail_waiters(port.id, &Error::Closed);
        }
        self.timer.close();
    }

    /// The last flush: stores everything that anybody is told of.
    pub async fn drain(&self, wait: &Wait<'_>) -> Result<(), Error> {
        let stored = self.flush(StoreDurability::Written, wait).await;
        // Who was between the check and the change when this began gets no room from here on; what they
        // have changed until now is stored too, and what they change after it is refused.
        self.close_rooms();
        let rest = self.flush(StoreDurability::Written, wait).await;
        stored.and(rest)
    }

    /// Whether nothing more is taken to be stored: the last flush has begun.
    pub fn takes_no_more(&self) -> bool {
        self.rooms.iter().any(|room| room.is_closed())
    }

    fn close_rooms(&self) {
        self.rooms.iter().for_each(|room| room.close());
    }

    /// Stores everything that is dirty.
    pub async fn flush(&self, durability: StoreDurability, wait: &Wait<'_>) -> Result<(), Error> {
        loop {
            let flush = (self.lines()?.flush)(durability);
            match wait.until(flush, || wait.exceeded()).await? {
                // Its supervisor is at it; what is dirty is still there.
                Err(Error::Unavailable { driver, .. }) => self.await_back(&driver, wait).await?,
                done => return done,
            }
        }
    }

    /// Waits until a driver, or the batch writer, is there again.
    async fn await_back(&self, name: &str, wait: &Wait<'_>) -> Result<(), Error> {
        match self.tier_named(name).and_then(|tier| self.port(tier)) {
            Some(port) => {
                wait.until(port.taking_values(), || port.unavailable())
                    .await?;
                // One that is back and fails at once must not be asked without a pause.
                wait.until(self.sleep(PAUSE), || port.unavailable()).await
            }
            None => wait.until(self.sleep(PAUSE), || wait.exceeded()).await,
        }
    }
}

/// The batch writer's name.
pub(crate) const BATCH: &str = "batch";
/// How long a flush waits before it asks again.
const PAUSE: Duration = Duration::from_millis(20);

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

/// What is wrong with the name of a cache.
pub(crate) fn name_problems(name: &str, bytes_max: usize) -> Vec<String> {
    let mut problems = Vec::new();
    if name.is_empty() || name.len() > bytes_max {
        problems.push(format!(
            "cache name has {} bytes, allowed are 1 to {bytes_max}",
            name.len()
        ));
    }
    if name.contains(SEPARATOR) {
        problems.push(format!(
            "cache name {name:?} contains {SEPARATOR:?}, which separates it from keys"
        ));
    }
    if name.chars().any(char::is_control) {
        problems.push(format!("cache name {name:?} contains a control character"));
    }
    problems
}
