//! Reading many keys: each driver is asked once per chunk for all that is still missing.

use std::future::IntoFuture;
use std::time::Duration;

use futures_core::Stream;

use super::input::Input;
use super::{Items, chunk_size};
use crate::cache::{Cache, CallFuture};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::outcome::Degraded;
use crate::tiers::ReadOptions;

impl<V: Value> Cache<V> {
    /// Reads many entries; those that memory does not have are asked of each driver together, chunk by
    /// chunk. Replies with each key and its entry, in the order of the keys.
    ///
    /// # Errors
    ///
    /// As [`get`](Cache::get), for the call as a whole. [`GetMany::for_each_chunk`] has them key by
    /// key.
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Cache::get).
    pub fn get_many<I, K>(&self, keys: I) -> GetMany<'_, V, Items<I::IntoIter>>
    where
        I: IntoIterator<Item = K>,
        K: AsRef<str>,
    {
        self.get_stream(Items(keys.into_iter()))
    }

    /// As [`get_many`](Cache::get_many), for the keys of a stream. A chunk ends where the stream has
    /// none ready.
    ///
    /// # Errors
    ///
    /// As [`get_many`](Cache::get_many).
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Cache::get).
    pub fn get_stream<S>(&self, keys: S) -> GetMany<'_, V, S>
    where
        S: Stream<Item: AsRef<str>>,
    {
        GetMany {
            cache: self,
            keys,
            chunk: None,
            options: ReadOptions::default(),
        }
    }
}

/// Many reads that are about to be made.
#[must_use = "they are made when it is awaited"]
pub struct GetMany<'a, V, S> {
    cache: &'a Cache<V>,
    keys: S,
    chunk: Option<usize>,
    options: ReadOptions,
}

/// A key with its entry, or why it could not be read.
pub type ReadKey<V> = (String, Result<Option<Entry<V>>, Error>);

/// What was found for one chunk.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReadChunk<V> {
    /// Its number, from 0.
    pub chunk: usize,
    /// Each key with its entry, or why it could not be read, in the order of the input.
    pub keys: Vec<ReadKey<V>>,
    /// What did not take part: a key may be missing because of it.
    pub degraded: Vec<Degraded>,
}

impl<'a, V, S> GetMany<'a, V, S>
where
    V: Value,
    S: Stream<Item: AsRef<str> + Send + Sync> + Send + 'a,
{
    /// Keys of one chunk (1 to [`CHUNK_COUNT_MAX`](super::CHUNK_COUNT_MAX)).
    pub fn chunk(mut self, count: usize) -> Self {
        self.chunk = Some(count);
        self
    }

    /// Shows values past their TTL while they are kept as a fallback.
    pub fn allow_stale(mut self) -> Self {
        self.options.stale_ok = true;
        self
    }

    /// How long one chunk may take; the larder's `call_ms_max` where nothing is said.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.options.wait = Some(after);
        self
    }

    /// Hands each chunk over as it is read instead of collecting everything. What fails, fails alone:
    /// the error is the key's, and the next chunk is read all the same.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], and [`Error::Invalid`] for the size of a chunk.
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::get`].
    pub async fn for_each_chunk(
        self,
        mut take: impl FnMut(ReadChunk<V>) + Send,
    ) -> Result<(), Error> {
        let count = chunk_size(self.chunk, self.cache)?;
        let mut input = Input::new(self.keys);
        let mut nth = 0;
        while let Some(first) = input.next().await {
            let mut keys = vec![first];
            while keys.len() < count
                && let Some(key) = input.ready().await
            {
                keys.push(key);
            }
            let names: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            take(read(self.cache, nth, &names, self.options).await?);
            nth += 1;
        }
        Ok(())
    }
}

async fn read<V: Value>(
    cache: &Cache<V>,
    chunk: usize,
    names: &[&str],
    options: ReadOptions,
) -> Result<ReadChunk<V>, Error> {
    let good: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| cache.check_key(name).is_ok())
        .collect();
    let tiers = cache.tiers();
    let mut degraded: Vec<Degraded> = Vec::new();
    let mut found = match tiers.read_many(cache.place(), &good, options).await {
        Ok(found) => Ok(found.into_iter()),
        Err(Error::Closed) => return Err(Error::Closed),
        Err(error) => Err(error),
    };
    let mut keys = Vec::with_capacity(names.len());
    for name in names {
        let entry = match (cache.check_key(name), &mut found) {
            (Err(error), _) => Err(error),
            (Ok(()), Err(error)) => Err(error.clone()),
            (Ok(()), Ok(found)) => {
                let found = found.next().unwrap_or_default();
                cache.renew(name, &found).await;
                let outcome = cache.outcome(name, found);
                for one in outcome.degraded {
                    if !degraded.contains(&one) {
                        degraded.push(one);
                    }
                }
                Ok(outcome.entry)
            }
        };
        keys.push(((*name).to_owned(), entry));
    }
    Ok(ReadChunk {
        chunk,
        keys,
        degraded,
    })
}

impl<'a, V, S> IntoFuture for GetMany<'a, V, S>
where
    V: Value,
    S: Stream<Item: AsRef<str> + Send + Sync> + Send + 'a,
{
    type Output = Result<Vec<(String, Option<Entry<V>>)>, Error>;
    type IntoFuture = CallFuture<'a, Vec<(String, Option<Entry<V>>)>>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::trace_span!("larder.get_many", cache = self.cache.name());
        let call = async move {
            let (mut all, mut failed) = (Vec::new(), None);
            self.for_each_chunk(|chunk| {
                for (key, found) in chunk.keys {
                    match found {
                        Ok(entry) => all.push((key, entry)),
                        Err(error) => failed = failed.take().or(Some(error)),
                    }
                }
            })
            .await?;
            failed.map_or(Ok(all), Err)
        };
        Box::pin(tracing::Instrument::instrument(call, span))
    }
}
