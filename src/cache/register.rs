//! A loader of a cache's own: how its values are loaded where a call brings no loader.

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::asking::{Asking, Says};
use super::polling::{Polling, poll};
use super::{Cache, FetchOutcome};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{Forgets, LoadContext, LoadSource, LoadWatch, Loaded, Loader, Retry, Urgency};
use crate::key::CacheId;
use crate::shelf::Priority;
use crate::tiers::Tiers;

/// What a cache's loader is, with what is said of its loads.
struct Registered<V> {
    loader: Loader<V>,
    says: Box<Says>,
}

/// The loader of a cache, where it has one: the same for every handle of the name and type.
pub(super) struct Registry<V>(RwLock<Option<Arc<Registered<V>>>>);

impl<V: Value> Forgets for Registry<V> {
    fn forget(&self) {
        let before = self.0.write().take();
        drop(before);
    }
}

impl<V: Value> Registry<V> {
    pub fn of(tiers: &Tiers, cache: CacheId) -> Arc<Self> {
        let mut registries = tiers.fetches.registries.lock();
        let of = registries.entry((cache, TypeId::of::<V>()));
        let new = || Arc::new(Self(RwLock::new(None))) as Arc<dyn Forgets>;
        let registry: Arc<dyn Any + Send + Sync> = Arc::clone(of.or_insert_with(new)) as _;
        let registry = registry.downcast();
        // It is found by its type.
        registry.unwrap_or_else(|_| Arc::new(Self(RwLock::new(None))))
    }
}

impl<V: Value> Cache<V> {
    /// Says how the values of this cache are loaded: for [`load`](Cache::load), [`refresh`](Cache::refresh), [`warm`](Cache::warm) and
    /// [`poll`](Cache::poll), of every handle of this name and type. The last one that is registered counts.
    ///
    /// A loader that holds a handle of larder or of a cache keeps larder running until its shutdown.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # use std::time::Duration;
    /// # let larder = larder::Larder::builder().start().await?;
    /// let squares = larder.cache::<u64>("squares")?;
    /// squares
    ///     .loader(|cx| async move { cx.key().parse::<u64>().map(|n| n * n) })
    ///     .ttl(Duration::from_secs(60))
    ///     .register()?;
    /// assert_eq!(squares.load("7").await?.as_deref(), Some(&49));
    /// let warmed = squares.warm(["7", "8", "9"]).await?;
    /// assert_eq!((warmed.loaded, warmed.there), (2, 1));
    /// let outcome = squares.refresh("7").await?;
    /// assert_eq!(outcome.attempts, 1, "whatever is there");
    /// # larder.shutdown(Duration::from_secs(5)).await }
    /// ```
    pub fn loader<F, R, A, E>(&self, loader: F) -> Register<'_, V>
    where
        F: Fn(LoadContext<V>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, E>> + Send + 'static,
        A: Into<Loaded<V>>,
        E: Into<LoadError>,
    {
        Register {
            cache: self,
            loader: super::fetch::erase(loader),
            says: Box::default(),
        }
    }

    /// As [`fetch`](Cache::fetch) with the cache's own [`loader`](Cache::loader) and what was said of it.
    ///
    /// # Errors
    ///
    /// As [`fetch`](Cache::fetch), and [`Error::Invalid`] if there is no loader.
    ///
    /// # Cancel safety
    ///
    /// As [`fetch`](Cache::fetch).
    pub async fn load(&self, key: &str) -> Result<Option<Entry<V>>, Error> {
        Ok(self.load_outcome(key).await?.entry)
    }

    /// As [`load`](Cache::load), with its explanation.
    ///
    /// # Errors
    ///
    /// As [`load`](Cache::load).
    ///
    /// # Cancel safety
    ///
    /// As [`load`](Cache::load).
    pub async fn load_outcome(&self, key: &str) -> Result<FetchOutcome<V>, Error> {
        let (loader, says) = self.registered()?;
        self.fetch_slow(key, loader, Some(says)).await
    }

    /// Loads an entry now, whatever is there: for somebody who asks for it, or a hint that it has changed. What is
    /// there is shown to others meanwhile, and stays if this fails. A load that is under way already is waited for.
    ///
    /// # Errors
    ///
    /// As [`load`](Cache::load).
    ///
    /// # Cancel safety
    ///
    /// As [`load`](Cache::load).
    pub async fn refresh(&self, key: &str) -> Result<FetchOutcome<V>, Error> {
        let (loader, mut says) = self.registered()?;
        says.terms.is_forced = true;
        self.fetch_slow(key, loader, Some(says)).await
    }

    /// Loads what is not there yet, before anybody asks for it: as [`Urgency::Prefetch`], no more than 16 at a time. Replies when all is done; what fails is counted and left.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no loader, [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, some may be loaded.
    pub async fn warm<I>(&self, keys: I) -> Result<WarmReport, Error>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let (loader, mut says) = self.registered()?;
        says.urgency = Urgency::Prefetch;
        let mut report = WarmReport::default();
        let mut keys = keys.into_iter();
        loop {
            let chunk: Vec<_> = keys.by_ref().take(WARM_BESIDE).collect();
            if chunk.is_empty() {
                return Ok(report);
            }
            let all = chunk
                .iter()
                .map(|key| self.fetch_slow(key.as_ref(), Arc::clone(&loader), Some(says.clone())));
            for answer in futures_util::future::join_all(all).await {
                match answer {
                    Err(Error::Closed) => return Err(Error::Closed),
                    Err(_) => report.failed += 1,
                    Ok(outcome) if outcome.entry.is_none() => report.missing += 1,
                    Ok(outcome) if outcome.attempts == 0 => report.there += 1,
                    Ok(_) => report.loaded += 1,
                }
            }
        }
    }

    /// Loads a key again every so often (at least [`POLL_MIN`](super::POLL_MIN)), as [`refresh`](Cache::refresh) does and as
    /// [`Urgency::Background`], until the guard is dropped: for a screen that shows it, beside
    /// [`watch`](Cache::watch). The first time is after `every`, each other so long after the one before has ended: with a TTL that
    /// is not longer than that, there is nothing in between. A failure changes nothing; the next time comes all the same. It is no handle: it ends with larder.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no loader or the time is too short; for the key as [`get`](Cache::get); [`Error::Closed`].
    pub fn poll(&self, key: &str, every: Duration) -> Result<Polling, Error> {
        self.tiers().check_open()?;
        self.check_key(key)?;
        self.registered()?;
        poll(self, key.into(), every)
    }

    /// What the loads of this cache come to: when one begins, ends and fails, so that a screen can show it. See
    /// [`LoadEvent`](crate::fetch::LoadEvent).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// use larder::fetch::LoadEventKind;
    ///
    /// let users = larder.cache::<String>("users")?;
    /// let mut loads = users.watch_loads();
    /// users.fetch("42", |_| async { Ok::<_, std::io::Error>("Ada".to_owned()) }).await?;
    /// let began = loads.next().await.expect("larder runs");
    /// assert!(matches!(began.kind, LoadEventKind::Began));
    /// let ended = loads.next().await.expect("larder runs");
    /// assert!(matches!(ended.kind, LoadEventKind::Loaded));
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    pub fn watch_loads(&self) -> LoadWatch {
        let (tiers, cache) = (self.tiers(), self.inner.scope.id);
        tiers.fetches.news.watch(cache, None, tiers.timer.clone())
    }

    /// As [`watch_loads`](Cache::watch_loads), of one key.
    pub fn watch_loads_of(&self, key: &str) -> LoadWatch {
        let (tiers, cache) = (self.tiers(), self.inner.scope.id);
        tiers
            .fetches
            .news
            .watch(cache, Some(key.into()), tiers.timer.clone())
    }

    pub(super) fn registered(&self) -> Result<(Loader<V>, Box<Says>), Error> {
        let registered = self.inner.definition.registered.0.read().clone();
        let registered = registered.ok_or_else(|| Error::Invalid {
            field: "loader",
            reason: format!(
                "cache {:?} has none: say how its values are loaded with `loader(..).register()`",
                self.name()
            ),
        })?;
        Ok((Arc::clone(&registered.loader), registered.says.clone()))
    }
}

/// Loads that [`Cache::warm`] makes beside each other.
const WARM_BESIDE: usize = 16;

/// What [`Cache::warm`] has done.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct WarmReport {
    /// Entries that were loaded.
    pub loaded: usize,
    /// Entries that were there.
    pub there: usize,
    /// Keys whose source has nothing.
    pub missing: usize,
    /// Keys that could not be loaded.
    pub failed: usize,
}

/// A loader that is about to be registered.
#[must_use = "it is registered by `register`"]
pub struct Register<'a, V> {
    cache: &'a Cache<V>,
    loader: Loader<V>,
    says: Box<Says>,
}

impl<V: Value> Register<'_, V> {
    fn says(&mut self) -> &mut Says {
        &mut self.says
    }

    fetch_options!();

    /// Registers it, for every handle of this cache.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for terms that make no sense, [`Error::Closed`].
    pub fn register(self) -> Result<(), Error> {
        let says = self.says;
        Asking::new(self.cache, Some(says.clone()))?;
        let registered = Registered {
            loader: self.loader,
            says,
        };
        // A host's code goes with the one before: not under the lock.
        let registry = &self.cache.inner.definition.registered.0;
        let before = registry.write().replace(Arc::new(registered));
        drop(before);
        Ok(())
    }
}
