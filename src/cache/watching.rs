//! Watching a cache: subscribing at the hub, and what a subscriber that lags is shown.

use std::sync::{Arc, Weak};

use smol_str::SmolStr;

use super::{Cache, Definition, Inner};
use crate::codec::Value;
use crate::config::{WATCH_BUFFER_BYTES, WATCH_BUFFER_EVENTS};
use crate::error::Error;
use crate::key::Key;
use crate::messages::hub::{Filter, Subscribe};
use crate::tiers::{Home, Tiers};
use crate::version::Version;
use crate::watch::{
    InboxSink, OnDrop, SnapshotFn, SnapshotPage, Watch, WatchLatest, latest_inbox, queue_inbox,
};

/// Entries of one page of a snapshot.
const SNAPSHOT_PAGE: usize = 500;

impl<V: Value> Cache<V> {
    /// A stream of what happens to one key: each change with its version, the old and the new value.
    /// Changes that begin after this has returned are seen, in the order of their versions.
    ///
    /// A subscriber that is too slow ([`WATCH_BUFFER_EVENTS`] wait for it, or [`WATCH_BUFFER_BYTES`] of
    /// them) is told so and then shown what is there now; it never slows a writer. So is every subscriber
    /// when more changes than [`events_waiting_bytes_max`](crate::Limits::events_waiting_bytes_max) allows
    /// wait to be handed out, and at each that is heavier than that alone.
    ///
    /// Dropping the stream unsubscribes. It is no handle: when the last one of larder and its caches is
    /// dropped, it ends.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// use larder::{EntryEvent, EventKind};
    ///
    /// let users: larder::Cache<String> = larder.cache("users")?;
    /// let mut changes = users.watch("42").await?;
    /// users.set("42", "Ada".to_owned()).await?;
    /// while let Some(event) = changes.next().await {
    ///     match event {
    ///         EntryEvent::Changed(change) => {
    ///             assert_eq!(change.kind, EventKind::Created);
    ///             assert_eq!(change.new.as_deref().map(String::as_str), Some("Ada"));
    ///             break;
    ///         }
    ///         // It was too slow for a while: what comes next is what is there now.
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`](Cache::get) for the key; [`Error::Overloaded`] with too many subscriptions;
    /// [`Error::Unavailable`] while the hub is being restarted; [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, nothing is subscribed for long.
    pub async fn watch(&self, key: &str) -> Result<Watch<V>, Error> {
        self.check_key(key)?;
        let filter = Filter::Key(self.place().scope.id, SmolStr::new(key));
        self.stream(filter, self.snapshot_of_key(key)).await
    }

    /// As [`watch`](Cache::watch), for all keys that begin with `prefix`.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// use larder::EntryEvent;
    ///
    /// let users: larder::Cache<String> = larder.cache("users")?;
    /// let mut changes = users.watch_prefix("team-7/").await?;
    /// users.set("team-8/1", "Eve".to_owned()).await?;
    /// users.set("team-7/1", "Ada".to_owned()).await?;
    /// let Some(EntryEvent::Changed(change)) = changes.next().await else {
    ///     panic!("nothing else happens here");
    /// };
    /// assert_eq!(change.key, "team-7/1");
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`watch`](Cache::watch).
    ///
    /// # Cancel safety
    ///
    /// As [`watch`](Cache::watch).
    pub async fn watch_prefix(&self, prefix: &str) -> Result<Watch<V>, Error> {
        if !prefix.is_empty() {
            self.check_key(prefix)?;
        }
        let filter = Filter::Prefix(self.place().scope.id, SmolStr::new(prefix));
        self.stream(filter, self.snapshot_of_prefix(prefix)).await
    }

    /// As [`watch`](Cache::watch), for the whole cache.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// use larder::{EntryEvent, EventKind};
    ///
    /// let users: larder::Cache<String> = larder.cache("users")?;
    /// users.set("1", "Ada".to_owned()).await?;
    /// let mut changes = users.watch_all().await?;
    /// users.remove("1").await?;
    /// let Some(EntryEvent::Changed(change)) = changes.next().await else {
    ///     panic!("nothing else happens here");
    /// };
    /// assert_eq!(change.kind, EventKind::Removed);
    /// let old = change.old.known().expect("memory had it");
    /// assert_eq!(**old, "Ada");
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`watch`](Cache::watch).
    ///
    /// # Cancel safety
    ///
    /// As [`watch`](Cache::watch).
    pub async fn watch_all(&self) -> Result<Watch<V>, Error> {
        let filter = Filter::All(self.place().scope.id);
        self.stream(filter, self.snapshot_of_prefix("")).await
    }

    /// As [`watch`](Cache::watch), but keeps at most the newest change that was not seen yet: for
    /// those who care what is, not what was.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// let flags: larder::Cache<bool> = larder.cache("flags")?;
    /// let mut latest = flags.watch_latest("dark-mode").await?;
    /// flags.set("dark-mode", true).await?;
    /// let last = flags.set("dark-mode", false).await?;
    /// while let Some(change) = latest.changed().await {
    ///     println!("it is {:?} now", change.new.as_deref());
    ///     if change.version == last {
    ///         break;
    ///     }
    /// }
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`watch`](Cache::watch).
    ///
    /// # Cancel safety
    ///
    /// As [`watch`](Cache::watch).
    pub async fn watch_latest(&self, key: &str) -> Result<WatchLatest<V>, Error> {
        self.check_key(key)?;
        let filter = Filter::Key(self.place().scope.id, SmolStr::new(key));
        let (sink, inbox) = latest_inbox();
        let on_drop = self.subscribe(filter, sink).await?;
        Ok(WatchLatest::new(
            inbox,
            Arc::clone(self.form()),
            self.snapshot_of_key(key),
            on_drop,
        ))
    }

    async fn stream(&self, filter: Filter, source: SnapshotFn<V>) -> Result<Watch<V>, Error> {
        let (sink, inbox) = queue_inbox(WATCH_BUFFER_EVENTS, WATCH_BUFFER_BYTES);
        let on_drop = self.subscribe(filter, sink).await?;
        Ok(Watch::new(inbox, Arc::clone(self.form()), source, on_drop))
    }

    async fn subscribe(&self, filter: Filter, sink: InboxSink) -> Result<OnDrop, Error> {
        let tiers = self.tiers();
        tiers.check_open()?;
        let lines = tiers.lines()?;
        let watched = match &filter {
            Filter::Key(cache, name) => Some(Key::new(*cache, name)),
            _ => None,
        };
        let subscribe = Subscribe {
            filter,
            sink: Box::new(sink),
        };
        let wait = tiers.wait(None);
        let id = wait
            .until((lines.subscribe)(subscribe), || wait.exceeded())
            .await??;
        if let Some(key) = watched {
            // It may lie on a disk only, from an earlier process: then nobody knows its deadline yet.
            (lines.attend)(key);
        }
        let unsubscribe = Arc::clone(&lines.unsubscribe);
        Ok(Box::new(move || unsubscribe(id)))
    }

    fn snapshot_of_key(&self, key: &str) -> SnapshotFn<V> {
        let (cache, key) = (Watched::of(self), key.to_owned());
        Arc::new(move |_| {
            let (cache, key) = (cache.upgrade(), key.clone());
            Box::pin(async move {
                let cache = cache?;
                let (as_of, at_ms) = now(cache.tiers());
                let entry = cache.peek(&key).await?;
                Ok(SnapshotPage {
                    as_of,
                    at_ms,
                    entries: vec![(key, entry)],
                    next: None,
                })
            })
        })
    }

    fn snapshot_of_prefix(&self, prefix: &str) -> SnapshotFn<V> {
        let (cache, prefix) = (Watched::of(self), prefix.to_owned());
        Arc::new(move |after| {
            let (cache, prefix) = (cache.upgrade(), prefix.clone());
            Box::pin(async move {
                let cache = cache?;
                let (as_of, at_ms) = now(cache.tiers());
                let size = SNAPSHOT_PAGE.min(cache.tiers().config.limits.page_size_max);
                let mut scan = cache.scan(&prefix).page_size(size);
                if let Some(after) = after {
                    scan = scan.after_key(&after);
                }
                let page = scan.await?;
                let entries = page
                    .entries
                    .into_iter()
                    .map(|(key, entry)| (key, Some(entry)));
                Ok(SnapshotPage {
                    as_of,
                    at_ms,
                    entries: entries.collect(),
                    next: page.next.map(|cursor| cursor.key().to_owned()),
                })
            })
        })
    }
}

/// A cache as its watchers hold it: a subscription, which may be an actor's that nobody ends, keeps no
/// larder alive.
pub(super) struct Watched<V> {
    home: Weak<Home>,
    definition: Arc<Definition<V>>,
}

impl<V: Value> Watched<V> {
    pub fn of(cache: &Cache<V>) -> Self {
        Self {
            home: Arc::downgrade(&cache.inner.home),
            definition: Arc::clone(&cache.inner.definition),
        }
    }

    pub fn upgrade(&self) -> Result<Cache<V>, Error> {
        let home = self.home.upgrade().ok_or(Error::Closed)?;
        let definition = Arc::clone(&self.definition);
        Ok(Cache {
            inner: Arc::new(Inner::new(home, definition)),
        })
    }
}

/// The newest version and the time. IMPORTANT: before the page is read; see [`SnapshotPage`].
fn now(tiers: &Tiers) -> (Version, u64) {
    let last = Version::new(tiers.shelf.versions().last());
    (last.unwrap_or(Version::at(0)), tiers.now_ms())
}
