//! What became of a batch: per chunk and per key.

use std::fmt;

use crate::entry::Entry;
use crate::error::Error;
use crate::outcome::{Degraded, Durability};
use crate::version::Version;

/// Failures that a [`BatchReport`] lists one by one; the others are only counted.
pub const FAILURES_MAX: usize = 1_000;
/// Bytes of the keys of the failures that a [`BatchReport`] lists: 1 MiB. A refused key may be of any
/// length.
pub const FAILURES_BYTES_MAX: usize = 1 << 20;

/// What became of one chunk.
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

/// Shows how many keys, never one of them.
impl fmt::Debug for ChunkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkReport")
            .field("chunk", &self.chunk)
            .field("keys", &self.keys.len())
            .field("durability", &self.durability)
            .field("unstored", &self.unstored)
            .field("degraded", &self.degraded)
            .finish()
    }
}

/// A key with its entry, or why it could not be read.
pub type ReadKey<V> = (String, Result<Option<Entry<V>>, Error>);

/// What was found for one chunk of keys.
#[non_exhaustive]
pub struct ReadChunk<V> {
    /// Its number, from 0.
    pub chunk: usize,
    /// Each key with its entry, or why it could not be read, in the order of the input.
    pub keys: Vec<ReadKey<V>>,
    /// What did not take part: a key may be missing because of it.
    pub degraded: Vec<Degraded>,
}

/// Shows how many keys, never one of them or its value.
impl<V> fmt::Debug for ReadChunk<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadChunk")
            .field("chunk", &self.chunk)
            .field("keys", &self.keys.len())
            .field("degraded", &self.degraded)
            .finish()
    }
}

/// What became of a batch.
#[derive(Default)]
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
    /// The first refusals, with their keys; at most [`FAILURES_MAX`] and [`FAILURES_BYTES_MAX`].
    pub failures: Vec<(String, Error)>,
    failures_bytes: usize,
}

/// Shows why items were refused, never a key.
impl fmt::Debug for BatchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why: Vec<_> = self.failures.iter().map(|(_, error)| error).collect();
        f.debug_struct("BatchReport")
            .field("chunks", &self.chunks)
            .field("applied", &self.applied)
            .field("refused", &self.refused)
            .field("chunks_unstored", &self.chunks_unstored)
            .field("failures", &why)
            .finish()
    }
}

impl BatchReport {
    pub(super) fn add(&mut self, chunk: &ChunkReport) {
        self.chunks += 1;
        self.chunks_unstored += usize::from(chunk.unstored.is_some());
        for (key, result) in &chunk.keys {
            match result {
                Ok(_) => self.applied += 1,
                Err(error) => {
                    self.refused += 1;
                    let bytes = self.failures_bytes + key.len();
                    if self.failures.len() < FAILURES_MAX && bytes <= FAILURES_BYTES_MAX {
                        self.failures_bytes = bytes;
                        self.failures.push((key.clone(), error.clone()));
                    }
                }
            }
        }
    }
}
