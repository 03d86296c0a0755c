//! `Larder`: one running cache runtime.

mod health;
#[cfg(feature = "secure")]
mod sealed;

pub use health::DriverHandle;
#[cfg(feature = "secure")]
pub use sealed::Rotation;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::builder::Builder;
use crate::cache::{Cache, CacheBuilder};
use crate::clock::Clock;
use crate::codec::Value;
use crate::error::Error;
use crate::fetch::{Budget, FetchScope, LoadSource, SourceConfig};
use crate::health::ActorHealth;
use crate::messages::hub::Close;
use crate::messages::larder::Warmed;
use crate::messages::memory::Resize;
use crate::outcome::Durability;
use crate::runtime;
use crate::stats::Stats;
use crate::tiers::Home;
use crate::wiring::Parts;

/// A running cache runtime. Cheap to clone; all clones are the same one.
///
/// It lives on threads of its own until [`shutdown`](Larder::shutdown), or until the last handle of
/// it and of its caches is dropped. Await `shutdown` at the end of a program and before another larder
/// is started on the same directory: only then is everything stored, and the directory free.
#[derive(Clone)]
pub struct Larder {
    home: Arc<Home>,
    pub(crate) parts: Arc<Parts>,
}

impl Larder {
    /// Begins the configuration of a new one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(home: Arc<Home>, parts: Arc<Parts>) -> Self {
        // The last handle may be that of a cache, so it keeps all the parts.
        let last = Arc::clone(&parts);
        *home.farewell.lock() = Some(Box::new(move || {
            if !last.tiers.closed.swap(true, Ordering::AcqRel) {
                end_by_itself(last, "the last handle was dropped without a shutdown");
            }
        }));
        Self { home, parts }
    }

    /// The cache of this name, as it was opened last or with default settings.
    ///
    /// Keep it in a name of one type: an entry that was set as another type is a miss to this handle,
    /// counted in [`Stats`], until it is overwritten.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for the name, [`Error::Overloaded`] beyond `caches_max`, [`Error::Closed`].
    pub fn cache<V: Value>(&self, name: &str) -> Result<Cache<V>, Error> {
        Cache::named(Arc::clone(&self.home), name)
    }

    /// The cache of this name, with settings of its own.
    pub fn cache_builder<V: Value>(&self, name: &str) -> CacheBuilder<V> {
        CacheBuilder::new(Arc::clone(&self.home), name)
    }

    /// The source of this name, as it was configured last or with default settings: give it to
    /// [`Fetch::source`](crate::cache::Fetch::source) or [`CacheBuilder::source`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for the name, [`Error::Overloaded`] beyond `sources_max`, [`Error::Closed`].
    pub fn source(&self, name: &str) -> Result<LoadSource, Error> {
        self.parts.tiers.check_open()?;
        self.parts.tiers.fetches.sources.get(name)
    }

    /// The source of this name, with these settings from now on, for all who have it.
    ///
    /// # Errors
    ///
    /// As [`source`](Larder::source), and [`Error::Config`] with every problem of the settings.
    pub fn source_with(&self, name: &str, config: SourceConfig) -> Result<LoadSource, Error> {
        self.parts.tiers.check_open()?;
        self.parts.tiers.fetches.sources.configure(name, config)
    }

    /// Time for something of the host's own, a day at most, of which each part takes its share.
    pub fn budget(&self, whole: Duration) -> Budget {
        Budget::new(self.parts.tiers.timer.clone(), whole)
    }

    /// A scope for calls that end with it, of which the newest takes the place of the one before if so asked.
    pub fn fetch_scope(&self) -> FetchScope {
        FetchScope::new(self.parts.tiers.timer.clone())
    }

    /// Stores everything that is acknowledged and not stored yet, this safely.
    /// [`Durability::Queued`] stores nothing and returns at once.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if a driver is not up, [`Error::DeadlineExceeded`], [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops only the waiting.
    pub async fn flush(&self, durability: Durability) -> Result<(), Error> {
        self.parts.tiers.check_open()?;
        self.parts.flush(durability).await
    }

    /// Loads entries into memory before they are asked for, named as `cache/key`.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// # let users: larder::Cache<String> = larder.cache("users")?;
    /// # users.set("42", "Ada".to_owned()).await?;
    /// let warmed = larder.warm(["users/42", "users/43"]).await?;
    /// assert_eq!((warmed.loaded, warmed.missing), (1, 1));
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name without a `/`, and as [`Cache::get`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, some may be loaded.
    pub async fn warm<I: IntoIterator<Item: AsRef<str>>>(
        &self,
        entries: I,
    ) -> Result<Warmed, Error> {
        self.parts.tiers.check_open()?;
        self.parts.warm(entries).await
    }

    /// Everything that larder counts, and the configuration that is in effect.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// let users: larder::Cache<String> = larder.cache("users")?;
    /// users.set("42", "Ada".to_owned()).await?;
    /// users.get("42").await?;
    /// let stats = larder.stats().await?;
    /// assert_eq!((stats.memory.entries, stats.memory.hits), (1, 1));
    /// let as_json = serde_json::to_string(&stats).expect("a snapshot is plain data");
    /// assert!(as_json.contains("\"memory_bytes\":67108864"));
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.parts.tiers.check_open()?;
        Ok(self.parts.stats().await)
    }

    /// Gives memory another budget in bytes; what no longer fits is evicted before this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] while the memory driver is being restarted, [`Error::Invalid`] below
    /// 64 KiB, [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the budget may have changed or not.
    pub async fn resize_memory(&self, bytes: usize) -> Result<(), Error> {
        let sent = self.memory()?.resize.send(Resize {
            memory_bytes: bytes,
        });
        sent.await.map_err(|_| down(crate::cache::MEMORY))?
    }

    /// How every actor is.
    pub fn actors(&self) -> Vec<ActorHealth> {
        self.parts.book.health()
    }

    /// Makes an actor's supervisor launch it now if it is down, without waiting for the backoff.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no actor of this name; see [`actors`](Larder::actors).
    pub fn restart(&self, actor: &str) -> Result<(), Error> {
        if self.parts.book.restart(actor) {
            return Ok(());
        }
        Err(self.no_actor(actor))
    }

    pub(crate) fn no_actor(&self, actor: &str) -> Error {
        let names: Vec<_> = self.actors().into_iter().map(|a| a.name).collect();
        Error::Invalid {
            field: "actor",
            reason: format!("is {actor:?}, there are {names:?}"),
        }
    }

    /// Makes an actor stop, as if it had died. Its supervisor starts it again.
    #[cfg(feature = "test-util")]
    pub fn stop_actor(&self, actor: &str) {
        self.parts.book.stop(actor);
    }

    /// Runs a future to its end on the calling thread, for hosts without a runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] within a tokio runtime, which it would block; [`Error::Open`] if the operating system refuses what is needed for it.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        runtime::block_on(future)
    }

    /// Refuses new calls, stores everything that is acknowledged, ends every thread.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// let users: larder::Cache<String> = larder.cache("users")?;
    /// users.set("42", "Ada".to_owned()).await?;
    /// match larder.shutdown(std::time::Duration::from_secs(5)).await {
    ///     Ok(()) => println!("everything is stored"),
    ///     Err(error) => eprintln!("what was only queued may be lost: {error}"),
    /// }
    /// assert!(matches!(users.get("42").await, Err(larder::Error::Closed)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// What could not be stored in time is lost (law 2 holds for what was acknowledged as `Written` or
    /// `Synced`); the threads end all the same. [`Error::Unavailable`], [`Error::DeadlineExceeded`];
    /// [`Error::Closed`] if it is shut down already.
    ///
    /// # Cancel safety
    ///
    /// Once polled, new calls are refused; dropped then, larder ends as if its last handle were.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        let tiers = &self.parts.tiers;
        if tiers.closed.swap(true, Ordering::AcqRel) {
            return Err(Error::Closed);
        }
        let mut unfinished = Unfinished(Some(Arc::clone(&self.parts)));
        let began = Clock::instant();
        let stored = tiers.drain(&tiers.timer.wait(deadline)).await;
        // Who watches still hears of what has happened, then that this is the end.
        let hub = self.parts.book.hub.read().clone();
        if let Some(hub) = hub {
            let left = deadline.saturating_sub(began.elapsed()).max(LEAST_JOIN);
            let wait = tiers.timer.wait(left);
            let _ = wait.until(hub.send(Close), || wait.exceeded()).await;
        }
        tiers.close_all();
        tiers.fetches.close();
        #[cfg(feature = "secure")]
        self.parts.end_vaults();
        self.parts.changes.note();
        unfinished.0 = None;
        let left = deadline.saturating_sub(began.elapsed()).max(LEAST_JOIN);
        let ended = self.parts.runtime.stop(left).await;
        stored?;
        if !ended {
            // A driver that hangs keeps its thread; the host need not wait for it.
            return Err(Error::DeadlineExceeded { after: deadline });
        }
        Ok(())
    }
}

/// Shows the drivers below memory, and whether it is shut down.
impl std::fmt::Debug for Larder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tiers = &self.parts.tiers;
        let drivers: Vec<_> = tiers.ports.iter().map(|port| &*port.name).collect();
        f.debug_struct("Larder")
            .field("drivers", &drivers)
            .field("is_closed", &tiers.closed.load(Ordering::Acquire))
            .finish_non_exhaustive()
    }
}

/// A shutdown that may be dropped before it is through.
struct Unfinished(Option<Arc<Parts>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(parts) = self.0.take() {
            end_by_itself(parts, "a shutdown was dropped before it was through");
        }
    }
}

/// Stores what is dirty and ends the threads, without anybody waiting for it.
fn end_by_itself(parts: Arc<Parts>, why: &'static str) {
    let dirty = parts.tiers.shelf.stats().dirty_slots;
    tracing::warn!(
        dirty,
        "{why}: what is not stored yet is lost if the program ends now; await `Larder::shutdown`"
    );
    parts.tiers.timer.runtime().clone().spawn(async move {
        let wait = parts.tiers.timer.wait(LAST_DRAIN);
        let _ = parts.tiers.drain(&wait).await;
        parts.tiers.close_all();
        parts.tiers.fetches.close();
        #[cfg(feature = "secure")]
        parts.end_vaults();
        parts.runtime.stop_without_waiting();
    });
}

pub(crate) fn down(actor: &str) -> Error {
    Error::Unavailable {
        driver: actor.into(),
        retry_after: Duration::from_millis(250),
    }
}

/// How long the threads may take to end, even where the deadline has passed.
const LEAST_JOIN: Duration = Duration::from_millis(200);
/// How long what is dirty may take when nobody waits for it.
const LAST_DRAIN: Duration = Duration::from_secs(5);
