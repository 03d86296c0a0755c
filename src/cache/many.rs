//! Setting and removing many keys in one call, from an iterator or from a stream.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use smol_str::SmolStr;

use super::changes::Run;
use super::chunks::Items;
use super::report::{BatchReport, ChunkReport};
use super::{Cache, CallFuture, EntryOptions};
use crate::codec::Value;
use crate::error::Error;
use crate::outcome::Durability;
use crate::shelf::Change;
use crate::shelf::Priority;

impl<V: Value> Cache<V> {
    /// Sets many entries, chunk by chunk. `items` are pairs of a key and a `V` or `Arc<V>`. They are
    /// pulled from the iterator as they are needed: a chunk is set and, if the durability asks for it,
    /// stored before the next one is begun, so memory is bounded by one chunk.
    ///
    /// Acknowledged as [`Durability::Queued`] unless the call asks for more, then once per chunk. A
    /// chunk whose commit fails is committed again without the others.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// let squares: larder::Cache<u64> = larder.cache("squares")?;
    /// let mut done = 0;
    /// let report = squares
    ///     .set_many((0..1_000).map(|n: u64| (n.to_string(), n * n)))
    ///     .chunk(100)
    ///     .on_chunk(|chunk| done += chunk.keys.len())
    ///     .await?;
    /// assert_eq!((report.chunks, report.applied, report.refused), (10, 1_000, 0));
    /// assert_eq!(done, 1_000);
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// An item that is refused fails alone and is in the report; so does a chunk that is not as safe as
    /// was asked for by name. The call fails with [`Error::Closed`], and with [`Error::Invalid`] for
    /// the size of a chunk.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the chunks so far are set, and of the present one each item wholly or not at all; what
    /// is set is stored like any other. [`on_chunk`](SetMany::on_chunk) says how far it came.
    pub fn set_many<I, K, T>(&self, items: I) -> SetMany<'_, V, Items<I::IntoIter>>
    where
        I: IntoIterator<Item = (K, T)>,
        K: AsRef<str>,
        T: Into<Arc<V>>,
    {
        self.set_stream(Items(items.into_iter()))
    }

    /// As [`set_many`](Cache::set_many), for the items of a [`Stream`]. A chunk also ends where the
    /// stream has nothing ready, so what has come is acknowledged before more is waited for; and the
    /// stream is not asked for more than a chunk before that.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// use futures_util::stream;
    ///
    /// let users: larder::Cache<String> = larder.cache("users")?;
    /// let loaded = stream::iter([("1", "Ada".to_owned()), ("2", "Grace".to_owned())]);
    /// let report = users.set_stream(loaded).await?;
    /// assert_eq!(report.applied, 2);
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`set_many`](Cache::set_many).
    ///
    /// # Cancel safety
    ///
    /// As [`set_many`](Cache::set_many). What was pulled from the stream and not yet set, one item at
    /// most, goes with it.
    pub fn set_stream<S, K, T>(&self, items: S) -> SetMany<'_, V, S>
    where
        S: Stream<Item = (K, T)>,
        K: AsRef<str>,
        T: Into<Arc<V>>,
    {
        SetMany {
            items,
            entry: EntryOptions::default(),
            run: Run::sets(self),
        }
    }

    /// Removes many entries, chunk by chunk, by default as [`Durability::Written`].
    ///
    /// # Errors
    ///
    /// As [`set_many`](Cache::set_many).
    ///
    /// # Cancel safety
    ///
    /// As [`set_many`](Cache::set_many).
    pub fn remove_many<I, K>(&self, keys: I) -> RemoveMany<'_, V, Items<I::IntoIter>>
    where
        I: IntoIterator<Item = K>,
        K: AsRef<str>,
    {
        self.remove_stream(Items(keys.into_iter()))
    }

    /// As [`remove_many`](Cache::remove_many), for the keys of a [`Stream`]; chunks end as those of
    /// [`set_stream`](Cache::set_stream) do.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// # let users: larder::Cache<String> = larder.cache("users")?;
    /// # users.set("1", "Ada".to_owned()).await?;
    /// let gone = futures_util::stream::iter(["1", "2"]);
    /// let report = users.remove_stream(gone).await?;
    /// assert_eq!(report.applied, 2);
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`set_many`](Cache::set_many).
    ///
    /// # Cancel safety
    ///
    /// As [`set_stream`](Cache::set_stream).
    pub fn remove_stream<S>(&self, keys: S) -> RemoveMany<'_, V, S>
    where
        S: Stream<Item: AsRef<str>>,
    {
        RemoveMany {
            keys,
            run: Run::removals(self),
        }
    }
}

macro_rules! run_options {
    () => {
        /// Items of one chunk (1 to [`CHUNK_COUNT_MAX`](crate::cache::CHUNK_COUNT_MAX)); where nothing
        /// is said, what suits the slowest driver. A chunk also ends at a quarter of `dirty_bytes_max`.
        pub fn chunk(mut self, count: usize) -> Self {
            self.run.chunk = Some(count);
            self
        }

        /// Waits for each chunk until it is this safe.
        pub fn durability(mut self, durability: Durability) -> Self {
            self.run.durability = durability;
            self.run.by_name = true;
            self
        }

        /// How long one item, and the commit of one chunk, may take; the larder's `call_ms_max` where
        /// nothing is said.
        pub fn deadline(mut self, after: Duration) -> Self {
            self.run.wait = Some(after);
            self
        }

        /// Hears of each chunk when it is done.
        pub fn on_chunk(mut self, hear: impl FnMut(&ChunkReport) + Send + 'a) -> Self {
            self.run.on_chunk = Some(Box::new(hear));
            self
        }
    };
}

/// Many sets that are about to be made.
#[must_use = "they are made when it is awaited"]
pub struct SetMany<'a, V, S> {
    items: S,
    entry: EntryOptions,
    run: Run<'a, V>,
}

impl<'a, V: Value, S> SetMany<'a, V, S> {
    run_options!();

    /// All of them expire so long after they are set, spread by the cache's jitter.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.entry.ttl = Some(Some(ttl));
        self
    }

    /// A name under which all of them can be invalidated.
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.entry.tags.push(SmolStr::new(tag));
        self
    }

    /// How long they should outlast others when memory is short.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.entry.priority = Some(priority);
        self
    }
}

impl<'a, V, S, K, T> IntoFuture for SetMany<'a, V, S>
where
    V: Value,
    S: Stream<Item = (K, T)> + Send + 'a,
    K: AsRef<str> + Send + 'a,
    T: Into<Arc<V>> + Send + 'a,
{
    type Output = Result<BatchReport, Error>;
    type IntoFuture = CallFuture<'a, BatchReport>;

    fn into_future(self) -> Self::IntoFuture {
        let (cache, entry) = (self.run.cache, self.entry);
        let span = tracing::trace_span!("larder.set_many", cache = cache.name());
        let change = move |(key, value): (K, T)| {
            let key = key.as_ref();
            let prepared = cache
                .check_key(key)
                .and_then(|()| cache.prepare(value.into(), &entry, cache.tiers().now_ms()));
            (SmolStr::new(key), prepared.map(Change::Put))
        };
        Box::pin(tracing::Instrument::instrument(
            self.run.run(self.items, change),
            span,
        ))
    }
}

/// Many removals that are about to be made.
#[must_use = "they are made when it is awaited"]
pub struct RemoveMany<'a, V, S> {
    keys: S,
    run: Run<'a, V>,
}

impl<'a, V: Value, S> RemoveMany<'a, V, S> {
    run_options!();
}

impl<'a, V, S, K> IntoFuture for RemoveMany<'a, V, S>
where
    V: Value,
    S: Stream<Item = K> + Send + 'a,
    K: AsRef<str> + Send + 'a,
{
    type Output = Result<BatchReport, Error>;
    type IntoFuture = CallFuture<'a, BatchReport>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::trace_span!("larder.remove_many", cache = self.run.cache.name());
        let change = |key: K| (SmolStr::new(key.as_ref()), Ok(Change::Remove));
        Box::pin(tracing::Instrument::instrument(
            self.run.run(self.keys, change),
            span,
        ))
    }
}
