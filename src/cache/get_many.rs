//! Reading many keys: each driver is asked once per chunk for all that memory does not have.

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

use super::chunks::{Chunks, Items, Work};
use super::report::ReadChunk;
use super::{Cache, CallFuture};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::tiers::ReadOptions;

impl<V: Value> Cache<V> {
    /// Reads many entries; those that memory does not have are asked of each driver together, chunk by
    /// chunk. Awaited, it replies with each key and its entry, in the order of the keys. To have no
    /// more than a chunk in memory, take it as the stream that it also is: see
    /// [`get_stream`](Cache::get_stream).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// let users: larder::Cache<String> = larder.cache("users")?;
    /// users.set("1", "Ada".to_owned()).await?;
    /// let found = users.get_many(["1", "2"]).await?;
    /// assert_eq!(found[0].1.as_ref().map(|ada| ada.as_str()), Some("Ada"));
    /// assert!(found[1].1.is_none());
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`](Cache::get): the first one that any of the keys meets, and [`Error::Invalid`] for the
    /// size of a chunk. Taken as a stream, an error is its key's alone.
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

    /// As [`get_many`](Cache::get_many), for the keys of a [`Stream`], and itself a stream of
    /// [`ReadChunk`]s. It reads a chunk when it is asked for one and no sooner: a consumer that is slow
    /// holds back the keys. A chunk also ends where the stream has no key ready.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// use futures_util::stream;
    ///
    /// let squares: larder::Cache<u64> = larder.cache("squares")?;
    /// squares.set("7", 49).await?;
    ///
    /// let keys = stream::iter((0..1_000).map(|n: u64| n.to_string()));
    /// let mut chunks = squares.get_stream(keys).chunk(100);
    /// let mut sum = 0;
    /// while let Some(chunk) = chunks.next().await {
    ///     for (_key, found) in chunk?.keys {
    ///         sum += found?.map_or(0, |entry| *entry);
    ///     }
    /// }
    /// assert_eq!(sum, 49);
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// What fails, fails alone: a key that no entry can have, or a chunk that no driver had room for
    /// until the deadline ([`Error::Overloaded`] for each of its keys), and the next chunk is read all
    /// the same. The stream ends with [`Error::Closed`], and with [`Error::Invalid`] for the size of a
    /// chunk.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends its reads, as [`get`](Cache::get) says.
    pub fn get_stream<S>(&self, keys: S) -> GetMany<'_, V, S>
    where
        S: Stream<Item: AsRef<str>>,
    {
        let reads = Reads {
            cache: self,
            options: ReadOptions::default(),
        };
        GetMany {
            state: State::Idle(Chunks::new(self, keys, reads)),
        }
    }
}

/// Many reads. Await it for all they find, or take it chunk by chunk, as a [`Stream`] or by
/// [`next`](GetMany::next).
#[must_use = "nothing is read before it is awaited or asked for a chunk"]
pub struct GetMany<'a, V, S> {
    state: State<'a, V, S>,
}

type Left<'a, V, S> = Chunks<'a, V, S, Reads<'a, V>>;
type Step<'a, V, S> = (Left<'a, V, S>, Result<Option<ReadChunk<V>>, Error>);

enum State<'a, V, S> {
    /// Nobody has asked for the next chunk.
    Idle(Left<'a, V, S>),
    /// A chunk is being read.
    Reading(Pin<Box<dyn Future<Output = Step<'a, V, S>> + Send + 'a>>),
    Ended,
}

impl<'a, V: Value, S: Stream> GetMany<'a, V, S> {
    /// Keys of one chunk (1 to [`CHUNK_COUNT_MAX`](crate::cache::CHUNK_COUNT_MAX)); where nothing is
    /// said, what suits the slowest driver. So many values at most are in memory at a time.
    pub fn chunk(self, count: usize) -> Self {
        self.with(|left| left.count = Some(count))
    }

    /// Shows values past their TTL while they are kept as a fallback.
    pub fn allow_stale(self) -> Self {
        self.with(|left| left.work.options.stale_ok = true)
    }

    /// How long one chunk may take; the larder's `call_ms_max` where nothing is said.
    pub fn deadline(self, after: Duration) -> Self {
        self.with(|left| left.work.options.wait = Some(after))
    }

    /// Options are for the chunks that are not begun yet.
    fn with(mut self, change: impl FnOnce(&mut Left<'a, V, S>)) -> Self {
        if let State::Idle(left) = &mut self.state {
            change(left);
        }
        self
    }
}

impl<'a, V, S> GetMany<'a, V, S>
where
    V: Value,
    S: Stream<Item: AsRef<str> + Send> + Send + 'a,
{
    /// Reads the next chunk; `None` at the end of the keys.
    ///
    /// # Errors
    ///
    /// As [`Cache::get_stream`]; nothing comes after one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped: what it would have given, the next call gives.
    pub async fn next(&mut self) -> Option<Result<ReadChunk<V>, Error>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ReadChunk<V>, Error>>> {
        if let State::Idle(_) = self.state
            && let State::Idle(mut left) = std::mem::replace(&mut self.state, State::Ended)
        {
            self.state = State::Reading(Box::pin(async move {
                let chunk = left.next().await;
                (left, chunk)
            }));
        }
        let State::Reading(step) = &mut self.state else {
            return Poll::Ready(None);
        };
        let (left, chunk) = ready!(step.as_mut().poll(cx));
        self.state = match chunk {
            Ok(Some(_)) => State::Idle(left),
            _ => State::Ended,
        };
        Poll::Ready(chunk.transpose())
    }
}

impl<'a, V, S> Stream for GetMany<'a, V, S>
where
    V: Value,
    S: Stream<Item: AsRef<str> + Send> + Send + 'a,
{
    type Item = Result<ReadChunk<V>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx)
    }
}

impl<'a, V, S> IntoFuture for GetMany<'a, V, S>
where
    V: Value,
    S: Stream<Item: AsRef<str> + Send> + Send + 'a,
{
    type Output = Result<Vec<(String, Option<Entry<V>>)>, Error>;
    type IntoFuture = CallFuture<'a, Vec<(String, Option<Entry<V>>)>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut all = Vec::new();
            while let Some(chunk) = self.next().await {
                for (key, found) in chunk?.keys {
                    all.push((key, found?));
                }
            }
            Ok(all)
        })
    }
}

impl<V, S> fmt::Debug for GetMany<'_, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetMany").finish_non_exhaustive()
    }
}

struct Reads<'a, V> {
    cache: &'a Cache<V>,
    options: ReadOptions,
}

impl<V: Value, K: AsRef<str> + Send> Work<K> for Reads<'_, V> {
    type Chunk = (usize, Vec<String>);
    type Done = ReadChunk<V>;

    fn begin(&self, number: usize) -> Self::Chunk {
        (number, Vec::new())
    }

    async fn take(&self, (_, names): &mut Self::Chunk, key: K) -> usize {
        let name = key.as_ref().to_owned();
        let bytes = name.len();
        names.push(name);
        bytes
    }

    async fn end(&self, (number, names): Self::Chunk) -> Result<ReadChunk<V>, Error> {
        let span = tracing::trace_span!("larder.get_many", cache = self.cache.name());
        tracing::Instrument::instrument(self.read(number, names), span).await
    }
}

impl<V: Value> Reads<'_, V> {
    async fn read(&self, chunk: usize, names: Vec<String>) -> Result<ReadChunk<V>, Error> {
        let cache = self.cache;
        let good: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| cache.check_key(name).is_ok())
            .collect();
        let found = cache
            .tiers()
            .read_many(cache.place(), &good, self.options)
            .await;
        let mut found = match found {
            Ok(found) => Ok(found.into_iter()),
            Err(Error::Closed) => return Err(Error::Closed),
            Err(error) => Err(error),
        };
        let mut read = ReadChunk {
            chunk,
            keys: Vec::with_capacity(names.len()),
            degraded: Vec::new(),
        };
        for name in names {
            let entry = match (cache.check_key(&name), &mut found) {
                (Err(error), _) => Err(error),
                (Ok(()), Err(error)) => Err(error.clone()),
                (Ok(()), Ok(found)) => {
                    let found = found.next().unwrap_or_default();
                    cache.renew(&name, &found).await;
                    let outcome = cache.outcome(&name, found);
                    for degraded in outcome.degraded {
                        if !read.degraded.contains(&degraded) {
                            read.degraded.push(degraded);
                        }
                    }
                    Ok(outcome.entry)
                }
            };
            read.keys.push((name, entry));
        }
        Ok(read)
    }
}
