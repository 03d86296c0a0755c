//! Whoever keeps values in this tour: larder by handle, larder by message, and a naive map.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use larder::messages::entry;
use larder::{Cache, Desk, Error, Larder, Source, Value};

/// A value and where it came from.
pub type Answer<V> = Option<(Arc<V>, Source)>;

/// Keeps values under keys, some for a while only.
pub trait Keeper<V>: Send + Sync + 'static {
    /// What is kept under `key`.
    fn get(&self, key: &str) -> impl Future<Output = Result<Answer<V>, Error>> + Send;

    /// Keeps `value` under `key`.
    fn set(
        &self,
        key: &str,
        value: V,
        ttl: Option<Duration>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns once everything that has expired has been cleaned away.
    fn settled(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// larder, by handle.
pub struct ByHandle<V>(pub Larder, pub Cache<V>);

impl<V: Value> Keeper<V> for ByHandle<V> {
    async fn get(&self, key: &str) -> Result<Answer<V>, Error> {
        let entry = self.1.get(key).await?;
        Ok(entry.map(|entry| (Arc::clone(entry.value()), entry.source())))
    }

    async fn set(&self, key: &str, value: V, ttl: Option<Duration>) -> Result<(), Error> {
        let set = self.1.set(key, value);
        match ttl {
            Some(ttl) => set.ttl(ttl).await.map(drop),
            None => set.await.map(drop),
        }
    }

    async fn settled(&self) -> Result<(), Error> {
        settled(&self.0).await
    }
}

/// larder, by messages to its desk.
pub struct ByMessage {
    larder: Larder,
    desk: Addr<Desk>,
    cache: String,
}

impl ByMessage {
    /// Sends to the desk of `larder`, about `cache`.
    pub fn new(larder: &Larder, cache: &str) -> Result<Self, Error> {
        Ok(Self {
            larder: larder.clone(),
            desk: larder.desk()?,
            cache: cache.to_owned(),
        })
    }
}

impl<V: Value> Keeper<V> for ByMessage {
    async fn get(&self, key: &str) -> Result<Answer<V>, Error> {
        let get = entry::Get::<V>::new(&self.cache, key);
        let entry = self.desk.send(get).await??;
        Ok(entry.map(|entry| (Arc::clone(entry.value()), entry.source())))
    }

    async fn set(&self, key: &str, value: V, ttl: Option<Duration>) -> Result<(), Error> {
        let mut set = entry::Set::new(&self.cache, key, value);
        set.ttl = ttl;
        self.desk.send(set).await?.map(drop)
    }

    async fn settled(&self) -> Result<(), Error> {
        settled(&self.larder).await
    }
}

/// Waits until larder has no deadline ahead.
async fn settled(larder: &Larder) -> Result<(), Error> {
    while larder.stats().await?.expiry.timers > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// What one writes in an afternoon: a map, and a sweeper that notes what has expired and then deletes
/// it by key, lock by lock so as not to hold up anybody.
pub struct Naive<V>(Arc<NaiveMap<V>>);

type Entries<V> = HashMap<String, (Arc<V>, Option<Instant>)>;

struct NaiveMap<V> {
    entries: Mutex<Entries<V>>,
    sweeps: AtomicU64,
}

impl<V: Send + Sync + 'static> Naive<V> {
    /// An empty map whose sweeper lives as long as it.
    pub fn start() -> Self {
        let map = Arc::new(NaiveMap {
            entries: Mutex::default(),
            sweeps: AtomicU64::new(0),
        });
        let swept = Arc::downgrade(&map);
        std::thread::spawn(move || {
            while let Some(map) = swept.upgrade() {
                map.sweep();
                drop(map);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self(map)
    }
}

impl<V> NaiveMap<V> {
    fn lock(&self) -> MutexGuard<'_, Entries<V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sweep(&self) {
        let now = Instant::now();
        let is_due = |until: &Option<Instant>| until.is_some_and(|until| until <= now);
        let expired: Vec<String> = self
            .lock()
            .iter()
            .filter(|(_, (_, until))| is_due(until))
            .map(|(key, _)| key.clone())
            .collect();
        for key in expired {
            // The mistake: by now there may be a fresh value under this key.
            self.lock().remove(&key);
        }
        self.sweeps.fetch_add(1, Ordering::Release);
    }
}

impl<V: Send + Sync + 'static> Keeper<V> for Naive<V> {
    async fn get(&self, key: &str) -> Result<Answer<V>, Error> {
        let entries = self.0.lock();
        let live = entries
            .get(key)
            .filter(|(_, until)| until.is_none_or(|until| until > Instant::now()));
        Ok(live.map(|(value, _)| (Arc::clone(value), Source::Memory)))
    }

    async fn set(&self, key: &str, value: V, ttl: Option<Duration>) -> Result<(), Error> {
        let until = ttl.map(|ttl| Instant::now() + ttl);
        let entry = (Arc::new(value), until);
        self.0.lock().insert(key.to_owned(), entry);
        Ok(())
    }

    async fn settled(&self) -> Result<(), Error> {
        // The sweep that is under way, and a whole one after it.
        let enough = self.0.sweeps.load(Ordering::Acquire) + 2;
        while self.0.sweeps.load(Ordering::Acquire) < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}
