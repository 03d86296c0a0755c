//! How a chunk of sets or removals is made: each item on its own, then one wait for all of them.
//!
//! One bad item fails alone. A chunk whose commit fails is committed again by the batch writer, without
//! touching the others.

use std::time::Duration;

use futures_core::Stream;
use smol_str::SmolStr;

use super::Cache;
use super::chunks::{Chunks, Work};
use super::report::{BatchReport, ChunkReport};
use crate::codec::Value;
use crate::error::Error;
use crate::hurry::Files;
use crate::outcome::Durability;
use crate::shelf::{Change, Condition, Ticket, Waiting};
use crate::tiers::{Order, Promise};
use crate::version::Version;

/// What sets and removals of many keys can say.
pub(super) struct Run<'a, V> {
    pub cache: &'a Cache<V>,
    pub chunk: Option<usize>,
    pub durability: Durability,
    pub by_name: bool,
    pub wait: Option<Duration>,
    pub on_chunk: Option<OnChunk<'a>>,
    /// Whether there are values to be stored, which a driver that is full does not do.
    needs_room: bool,
}

type OnChunk<'a> = Box<dyn FnMut(&ChunkReport) + Send + 'a>;

impl<'a, V: Value> Run<'a, V> {
    pub fn sets(cache: &'a Cache<V>) -> Self {
        Self::new(cache, Durability::Queued, true)
    }

    pub fn removals(cache: &'a Cache<V>) -> Self {
        Self::new(cache, Durability::Written, false)
    }

    fn new(cache: &'a Cache<V>, durability: Durability, needs_room: bool) -> Self {
        Self {
            cache,
            chunk: None,
            durability,
            by_name: false,
            wait: None,
            on_chunk: None,
            needs_room,
        }
    }

    /// Makes what `change` says of each of the items.
    pub async fn run<S, F>(self, items: S, change: F) -> Result<BatchReport, Error>
    where
        S: Stream<Item: Send> + Send,
        F: Fn(S::Item) -> (SmolStr, Result<Change, Error>) + Send + Sync,
    {
        let changes = Changes {
            cache: self.cache,
            durability: self.durability,
            by_name: self.by_name,
            wait: self.wait,
            needs_room: self.needs_room,
            change,
        };
        let mut on_chunk = self.on_chunk;
        let mut chunks = Chunks::new(self.cache, items, changes);
        chunks.count = self.chunk;
        let mut report = BatchReport::default();
        while let Some(chunk) = chunks.next().await? {
            report.add(&chunk);
            if let Some(on_chunk) = &mut on_chunk {
                on_chunk(&chunk);
            }
        }
        Ok(report)
    }
}

struct Changes<'a, V, F> {
    cache: &'a Cache<V>,
    durability: Durability,
    by_name: bool,
    wait: Option<Duration>,
    needs_room: bool,
    change: F,
}

struct Chunk {
    report: ChunkReport,
    /// Shared with every slot of the chunk.
    ticket: Ticket,
    waiting: Waiting,
    /// Until all of it is filed; a commit waits for that.
    files: Option<Files>,
}

impl<V, F, T> Work<T> for Changes<'_, V, F>
where
    V: Value,
    F: Fn(T) -> (SmolStr, Result<Change, Error>) + Send + Sync,
    T: Send,
{
    type Chunk = Chunk;
    type Done = ChunkReport;

    fn begin(&self, number: usize) -> Chunk {
        let (ticket, waiting) = Ticket::new();
        let stored = !self.cache.place().tiers.is_empty();
        Chunk {
            report: ChunkReport {
                chunk: number,
                keys: Vec::new(),
                durability: Durability::Queued,
                unstored: None,
                degraded: Vec::new(),
            },
            ticket,
            waiting,
            files: stored.then(|| self.cache.tiers().hurry.file()),
        }
    }

    async fn take(&self, chunk: &mut Chunk, item: T) -> usize {
        let (name, change) = (self.change)(item);
        let mut bytes = name.len();
        let made = match change {
            Ok(change) => {
                bytes += change.bytes();
                self.make(&name, change, chunk).await
            }
            Err(error) => Err(error),
        };
        chunk.report.keys.push((name.to_string(), made));
        bytes
    }

    async fn end(&self, chunk: Chunk) -> Result<ChunkReport, Error> {
        let tiers = self.cache.tiers();
        let mut report = chunk.report;
        drop(chunk.files);
        // What the slots hold is what is left to wait for.
        chunk.ticket.done();
        let promise = Promise {
            needs_room: self.needs_room,
            ..Promise::new(self.cache.place(), self.durability, self.by_name)
        };
        if promise.tiers.is_empty() {
            if tiers.config.disabled {
                // As a single change: it acknowledges everything and keeps nothing.
                report.durability = self.durability;
            }
            return Ok(report);
        }
        let wait = tiers.wait(self.wait);
        let reached = tiers
            .await_stored(promise, chunk.waiting, &wait, &mut report.degraded)
            .await;
        match reached {
            Ok(durability) => report.durability = durability,
            Err(error) => report.unstored = Some(error),
        }
        Ok(report)
    }
}

impl<V: Value, F> Changes<'_, V, F> {
    async fn make(&self, name: &str, change: Change, chunk: &mut Chunk) -> Result<Version, Error> {
        self.cache.check_key(name)?;
        let order = Order {
            name,
            change,
            condition: Condition::None,
            targets: None,
            durability: self.durability,
            by_name: self.by_name,
            ticket: Some(&chunk.ticket),
            wait: self.wait,
        };
        let outcome = self.cache.tiers().write(self.cache.place(), order).await?;
        for degraded in outcome.degraded {
            if !chunk.report.degraded.contains(&degraded) {
                chunk.report.degraded.push(degraded);
            }
        }
        Ok(outcome.version)
    }
}
