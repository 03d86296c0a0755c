//! Many keys in one call: in chunks, bounded in memory whatever the size of the input.
//!
//! A chunk is prepared, applied and, if the durability asks for it, waited for before the next one is
//! pulled from the input. One bad item fails alone; a chunk whose commit fails is retried by the batch
//! writer without touching the others.

mod get;
mod input;

pub use get::{GetMany, ReadChunk, ReadKey};
pub use input::Items;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use smol_str::SmolStr;

use self::input::Input;
use super::{Cache, CallFuture, EntryOptions};
use crate::codec::Value;
use crate::config::MEMORY_CHUNK_COUNT;
use crate::error::Error;
use crate::outcome::{Degraded, Durability};
use crate::shelf::{Condition, Priority, Ticket};
use crate::tiers::{Intent, Order};
use crate::version::Version;

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

/// What became of one chunk.
#[derive(Debug)]
#[non_exhaustive]
pub struct ChunkReport {
    /// Its number, from 0.
    pub chunk: usize,
    /// Each key with its version, or why it was refused, in the order of the input.
    pub keys: Vec<(String, Result<Version, Error>)>,
    /// What is promised of those that were not refused.
    pub durability: Durability,
    /// Why the chunk is not as safe as was asked for by name. Its entries stand in memory and may
    /// still be stored.
    pub unstored: Option<Error>,
    /// What did not take part.
    pub degraded: Vec<Degraded>,
}

/// What became of a batch.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BatchReport {
    /// Chunks.
    pub chunks: usize,
    /// Items that were applied.
    pub applied: usize,
    /// Items that were refused.
    pub refused: usize,
    /// Chunks that are not as safe as was asked for.
    pub chunks_unstored: usize,
    /// The first refusals, with their keys; at most [`FAILURES_MAX`].
    pub failures: Vec<(String, Error)>,
}

type OnChunk<'a> = Box<dyn FnMut(&ChunkReport) + Send + 'a>;

/// What `set_many` and `remove_many` share.
struct Run<'a, V> {
    how: How<'a, V>,
    on_chunk: Option<OnChunk<'a>>,
}

/// How each chunk is applied.
struct How<'a, V> {
    cache: &'a Cache<V>,
    chunk: Option<usize>,
    durability: Durability,
    by_name: bool,
    wait: Option<Duration>,
}

impl<'a, V: Value> Run<'a, V> {
    fn new(cache: &'a Cache<V>, durability: Durability) -> Self {
        Self {
            how: How {
                cache,
                chunk: None,
                durability,
                by_name: false,
                wait: None,
            },
            on_chunk: None,
        }
    }

    /// Pulls, applies and awaits chunk after chunk.
    async fn run<S>(
        self,
        items: S,
        intent: impl Fn(S::Item) -> (SmolStr, Result<Intent, Error>) + Send,
    ) -> Result<BatchReport, Error>
    where
        S: Stream<Item: Send> + Send,
    {
        let Self { how, mut on_chunk } = self;
        let count = chunk_size(how.chunk, how.cache)?;
        let bytes_max = how.cache.tiers().config.limits.dirty_bytes_max / 4;
        let mut report = BatchReport::default();
        let mut input = Input::new(items);
        let mut next = input.next().await;
        while next.is_some() {
            how.cache.tiers().check_open()?;
            let (ticket, waiting) = Ticket::new();
            let mut chunk = ChunkReport::new(report.chunks);
            let mut bytes = 0;
            while let Some(item) = next.take() {
                let (name, intent) = intent(item);
                let done = match intent {
                    Ok(intent) => {
                        bytes += intent.weight();
                        how.apply(&name, intent, &ticket, &mut chunk).await
                    }
                    Err(error) => Err(error),
                };
                chunk.keys.push((name.to_string(), done));
                if chunk.keys.len() < count && bytes < bytes_max {
                    next = input.ready().await;
                }
            }
            ticket.done();
            how.await_chunk(waiting, &mut chunk).await;
            report.add(&chunk);
            if let Some(on_chunk) = &mut on_chunk {
                on_chunk(&chunk);
            }
            next = input.next().await;
        }
        Ok(report)
    }
}

impl<V: Value> How<'_, V> {
    async fn apply(
        &self,
        name: &str,
        intent: Intent,
        ticket: &Ticket,
        chunk: &mut ChunkReport,
    ) -> Result<Version, Error> {
        self.cache.check_key(name)?;
        let order = Order {
            name,
            intent,
            condition: Condition::None,
            targets: None,
            durability: self.durability,
            by_name: self.by_name,
            ticket: Some(ticket),
            wait: self.wait,
        };
        let outcome = self.cache.tiers().write(self.cache.place(), order).await?;
        for degraded in outcome.degraded {
            if !chunk.degraded.contains(&degraded) {
                chunk.degraded.push(degraded);
            }
        }
        Ok(outcome.version)
    }

    async fn await_chunk(&self, waiting: crate::shelf::Waiting, chunk: &mut ChunkReport) {
        let tiers = self.cache.tiers();
        let stored = tiers
            .await_ticket(self.cache.place(), self.durability, waiting, self.wait)
            .await;
        match stored {
            Ok(durability) => chunk.durability = durability,
            Err(error) if self.by_name => chunk.unstored = Some(error),
            Err(_) => {}
        }
    }
}

impl ChunkReport {
    fn new(chunk: usize) -> Self {
        Self {
            chunk,
            keys: Vec::new(),
            durability: Durability::Queued,
            unstored: None,
            degraded: Vec::new(),
        }
    }
}

impl BatchReport {
    fn add(&mut self, chunk: &ChunkReport) {
        self.chunks += 1;
        self.chunks_unstored += usize::from(chunk.unstored.is_some());
        for (key, result) in &chunk.keys {
            match result {
                Ok(_) => self.applied += 1,
                Err(error) => {
                    self.refused += 1;
                    if self.failures.len() < FAILURES_MAX {
                        self.failures.push((key.clone(), error.clone()));
                    }
                }
            }
        }
    }
}

fn chunk_size<V: Value>(asked: Option<usize>, cache: &Cache<V>) -> Result<usize, Error> {
    match asked {
        None => Ok(cache.chunk_count()),
        Some(count) if (1..=CHUNK_COUNT_MAX).contains(&count) => Ok(count),
        Some(count) => Err(Error::Invalid {
            field: "chunk",
            reason: format!("is {count}, allowed is 1 to {CHUNK_COUNT_MAX}"),
        }),
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
