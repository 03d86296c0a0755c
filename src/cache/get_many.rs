//! Reading many keys in one call, chunk by chunk.

use std::future::IntoFuture;
use std::time::Duration;

use super::many::chunk_size;
use super::{Cache, CallFuture};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::tiers::ReadOptions;

impl<V: Value> Cache<V> {
    /// Reads many entries; those that memory does not have are asked of each driver together, chunk by
    /// chunk. Replies with each key and its entry, in the order of the keys.
    ///
    /// # Errors
    ///
    /// As [`get`](Cache::get), for the call as a whole.
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Cache::get).
    pub fn get_many<I, K>(&self, keys: I) -> GetMany<'_, V, I::IntoIter>
    where
        I: IntoIterator<Item = K>,
        K: AsRef<str>,
    {
        GetMany {
            cache: self,
            keys: keys.into_iter(),
            chunk: None,
            options: ReadOptions::default(),
        }
    }
}

/// Many reads that are about to be made.
#[must_use = "they are made when it is awaited"]
pub struct GetMany<'a, V, I> {
    cache: &'a Cache<V>,
    keys: I,
    chunk: Option<usize>,
    options: ReadOptions,
}

/// A key and what was found under it.
type Pair<V> = (String, Option<Entry<V>>);

impl<'a, V, I, K> GetMany<'a, V, I>
where
    V: Value,
    I: Iterator<Item = K> + Send + 'a,
    K: AsRef<str> + Send + 'a,
{
    /// Keys of one chunk (at least 1).
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

    /// Hands each chunk over as it is read instead of collecting everything.
    ///
    /// # Errors
    ///
    /// As [`Cache::get_many`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::get`].
    pub async fn for_each_chunk(
        mut self,
        mut take: impl FnMut(Vec<Pair<V>>) + Send,
    ) -> Result<(), Error> {
        let count = chunk_size(self.chunk, self.cache)?;
        loop {
            let keys: Vec<K> = self.keys.by_ref().take(count).collect();
            if keys.is_empty() {
                return Ok(());
            }
            take(read(self.cache, &keys, self.options).await?);
        }
    }
}

async fn read<V: Value, K: AsRef<str>>(
    cache: &Cache<V>,
    keys: &[K],
    options: ReadOptions,
) -> Result<Vec<Pair<V>>, Error> {
    let names: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
    names.iter().try_for_each(|name| cache.check_key(name))?;
    let found = cache
        .tiers()
        .read_many(cache.place(), &names, options)
        .await?;
    let pairs = names.iter().zip(found).map(|(name, found)| {
        let outcome = cache.outcome(name, found);
        ((*name).to_owned(), outcome.entry)
    });
    Ok(pairs.collect())
}

impl<'a, V, I, K> IntoFuture for GetMany<'a, V, I>
where
    V: Value,
    I: Iterator<Item = K> + Send + 'a,
    K: AsRef<str> + Send + Sync + 'a,
{
    type Output = Result<Vec<Pair<V>>, Error>;
    type IntoFuture = CallFuture<'a, Vec<Pair<V>>>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::trace_span!("larder.get_many", cache = self.cache.name());
        let call = async move {
            let mut all = Vec::new();
            self.for_each_chunk(|chunk| all.extend(chunk)).await?;
            Ok(all)
        };
        Box::pin(tracing::Instrument::instrument(call, span))
    }
}
