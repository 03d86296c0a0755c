//! The loop of a batch call: pulls, applies and awaits chunk after chunk, and reports each.

use std::time::Duration;

use futures_core::Stream;
use smol_str::SmolStr;

use super::input::Input;
use super::{CHUNK_COUNT_MAX, FAILURES_MAX};
use crate::cache::Cache;
use crate::codec::Value;
use crate::error::Error;
use crate::outcome::{Degraded, Durability};
use crate::shelf::{Condition, Ticket, Waiting};
use crate::tiers::{Intent, Order};
use crate::version::Version;

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

pub(super) type OnChunk<'a> = Box<dyn FnMut(&ChunkReport) + Send + 'a>;

/// What `set_many` and `remove_many` share.
pub(super) struct Run<'a, V> {
    pub how: How<'a, V>,
    pub on_chunk: Option<OnChunk<'a>>,
}

/// How each chunk is applied.
pub(super) struct How<'a, V> {
    pub cache: &'a Cache<V>,
    pub chunk: Option<usize>,
    pub durability: Durability,
    pub by_name: bool,
    pub wait: Option<Duration>,
}

impl<'a, V: Value> Run<'a, V> {
    pub fn new(cache: &'a Cache<V>, durability: Durability) -> Self {
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
    pub async fn run<S>(
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

    async fn await_chunk(&self, waiting: Waiting, chunk: &mut ChunkReport) {
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

pub(super) fn chunk_size<V: Value>(asked: Option<usize>, cache: &Cache<V>) -> Result<usize, Error> {
    match asked {
        None => Ok(cache.chunk_count()),
        Some(count) if (1..=CHUNK_COUNT_MAX).contains(&count) => Ok(count),
        Some(count) => Err(Error::Invalid {
            field: "chunk",
            reason: format!("is {count}, allowed is 1 to {CHUNK_COUNT_MAX}"),
        }),
    }
}
