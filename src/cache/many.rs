//! Many keys in one call: in chunks, bounded in memory whatever the size of the input.
//!
//! A chunk is prepared, applied and, if the durability asks for it, waited for before the next one is
//! pulled from the input. One bad item fails alone; a chunk whose commit fails is retried by the batch
//! writer without touching the others.

mod get;
mod input;
mod run;

pub use get::{GetMany, ReadChunk, ReadKey};
pub use input::Items;
pub use run::{BatchReport, ChunkReport};

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use smol_str::SmolStr;

use self::run::{Run, chunk_size};
use super::{Cache, CallFuture, EntryOptions};
use crate::codec::Value;
use crate::config::MEMORY_CHUNK_COUNT;
use crate::error::Error;
use crate::outcome::Durability;
use crate::shelf::Priority;
use crate::tiers::Intent;

/// Failures that a [`BatchReport`] lists one by one; the others are only counted.
pub const FAILURES_MAX: usize = 1_000;
/// Most items of one chunk.
pub const CHUNK_COUNT_MAX: usize = 65_536;

impl<V: Value> Cache<V> {
    /// Sets many entries, chunk by chunk. Items are pulled from the iterator as they are needed, so
    /// memory stays bounded by one chunk. `items` are pairs of a key and a `V` or `Arc<V>`.
    ///
    /// Acknowledged as [`Durability::Queued`] unless the call asks for more, then once per chunk.
    ///
    /// # Errors
    ///
    /// An item that is refused fails alone and is in the report. The call fails with
    /// [`Error::Closed`], and with [`Error::Invalid`] for the size of a chunk.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the chunks so far are set, and of the present one each item wholly or not at all.
    pub fn set_many<I, K, T>(&self, items: I) -> SetMany<'_, V, Items<I::IntoIter>>
    where
        I: IntoIterator<Item = (K, T)>,
        K: AsRef<str>,
        T: Into<Arc<V>>,
    {
        self.set_stream(Items(items.into_iter()))
    }

    /// As [`set_many`](Cache::set_many), for the items of a stream. A chunk ends where the stream has
    /// none ready, so what has come is acknowledged before more is waited for.
    ///
    /// # Errors
    ///
    /// As [`set_many`](Cache::set_many).
    ///
    /// # Cancel safety
    ///
    /// As [`set_many`](Cache::set_many).
    pub fn set_stream<S, K, T>(&self, items: S) -> SetMany<'_, V, S>
    where
        S: Stream<Item = (K, T)>,
        K: AsRef<str>,
        T: Into<Arc<V>>,
    {
        SetMany {
            items,
            entry: EntryOptions::default(),
            run: Run::new(self, Durability::Queued),
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

    /// As [`remove_many`](Cache::remove_many), for the keys of a stream.
    ///
    /// # Errors
    ///
    /// As [`set_many`](Cache::set_many).
    ///
    /// # Cancel safety
    ///
    /// As [`set_many`](Cache::set_many).
    pub fn remove_stream<S>(&self, keys: S) -> RemoveMany<'_, V, S>
    where
        S: Stream<Item: AsRef<str>>,
    {
        RemoveMany {
            keys,
            run: Run::new(self, Durability::Written),
        }
    }

    /// Items of one chunk where nothing is said: what suits the cache's slowest driver.
    fn chunk_count(&self) -> usize {
        let tiers = self.tiers();
        let counts = self
            .place()
            .tiers
            .iter()
            .filter_map(|tier| tiers.chunk_counts.get(usize::from(tier.0)));
        counts.copied().min().unwrap_or(MEMORY_CHUNK_COUNT)
    }
}

macro_rules! run_options {
    () => {
        /// Items of one chunk (1 to [`CHUNK_COUNT_MAX`]); where nothing is said, what suits the slowest
        /// driver. A chunk also ends at a quarter of `dirty_bytes_max`.
        pub fn chunk(mut self, count: usize) -> Self {
            self.run.how.chunk = Some(count);
            self
        }

        /// Waits for each chunk until it is this safe.
        pub fn durability(mut self, durability: Durability) -> Self {
            self.run.how.durability = durability;
            self.run.how.by_name = true;
            self
        }

        /// How long one item, and the commit of one chunk, may take; the larder's `call_ms_max` where
        /// nothing is said.
        pub fn deadline(mut self, after: Duration) -> Self {
            self.run.how.wait = Some(after);
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
        let (cache, entry) = (self.run.how.cache, self.entry);
        let span = tracing::trace_span!("larder.set_many", cache = cache.name());
        let intent = move |(key, value): (K, T)| {
            let key = key.as_ref();
            let prepared = cache
                .check_key(key)
                .and_then(|()| cache.prepare(value.into(), &entry));
            (SmolStr::new(key), prepared.map(Intent::Put))
        };
        Box::pin(tracing::Instrument::instrument(
            self.run.run(self.items, intent),
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
        let span = tracing::trace_span!("larder.remove_many", cache = self.run.how.cache.name());
        let intent = |key: K| (SmolStr::new(key.as_ref()), Ok(Intent::Remove));
        Box::pin(tracing::Instrument::instrument(
            self.run.run(self.keys, intent),
            span,
        ))
    }
}
