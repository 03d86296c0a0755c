//! The one loop of every call about many keys: pulls the input, an iterator or a stream, chunk by
//! chunk, and has each chunk done before it pulls more.
//!
//! Nothing is collected here, so memory is bounded by one chunk whatever the size of the input.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::Cache;
use crate::codec::Value;
use crate::config::MEMORY_CHUNK_COUNT;
use crate::error::Error;

/// Most items of one chunk.
pub const CHUNK_COUNT_MAX: usize = 65_536;

/// What is done with the items of a chunk.
pub(super) trait Work<T>: Send {
    /// A chunk in the making.
    type Chunk: Send;
    /// What became of it.
    type Done: Send;

    /// Begins a chunk, with its number from 0.
    fn begin(&self, number: usize) -> Self::Chunk;

    /// Takes an item into the chunk. Replies with the bytes that it counts for.
    fn take(&self, chunk: &mut Self::Chunk, item: T) -> impl Future<Output = usize> + Send;

    /// Ends the chunk.
    fn end(&self, chunk: Self::Chunk) -> impl Future<Output = Result<Self::Done, Error>> + Send;
}

/// An input and what is done with it.
pub(super) struct Chunks<'a, V, S, W> {
    pub cache: &'a Cache<V>,
    /// Items of one chunk; `None` for what suits the cache's slowest driver.
    pub count: Option<usize>,
    pub work: W,
    input: Input<S>,
    /// Chunks so far.
    done: usize,
}

impl<'a, V: Value, S: Stream, W> Chunks<'a, V, S, W> {
    pub fn new(cache: &'a Cache<V>, items: S, work: W) -> Self {
        Self {
            cache,
            count: None,
            work,
            input: Input {
                items: Box::pin(items),
                ended: false,
            },
            done: 0,
        }
    }

    /// Pulls the next chunk and has it done; `None` at the end of the input. The chunk ends at its
    /// count or bytes, or where the input has nothing ready, so that what has come is done with before
    /// more is waited for.
    pub async fn next(&mut self) -> Result<Option<W::Done>, Error>
    where
        S: Send,
        S::Item: Send,
        W: Work<S::Item> + Sync,
    {
        let (count, bytes_max) = self.limits()?;
        let mut next = self.input.next().await;
        if next.is_none() {
            return Ok(None);
        }
        if self.done > 0 {
            // An input that is always ready, and memory that answers at once, would keep everybody
            // else on this thread waiting.
            yield_now().await;
        }
        self.cache.tiers().check_open()?;
        let mut chunk = self.work.begin(self.done);
        let (mut taken, mut bytes) = (0, 0);
        while let Some(item) = next.take() {
            bytes += self.work.take(&mut chunk, item).await;
            taken += 1;
            if taken < count && bytes < bytes_max {
                next = self.input.ready().await;
            }
        }
        self.done += 1;
        self.work.end(chunk).await.map(Some)
    }

    fn limits(&self) -> Result<(usize, usize), Error> {
        let tiers = self.cache.tiers();
        let count = self.count.unwrap_or_else(|| {
            let below = self.cache.place().tiers.iter();
            let counts = below.filter_map(|tier| tiers.chunk_counts.get(usize::from(tier.0)));
            let slowest = counts.copied().min().unwrap_or(MEMORY_CHUNK_COUNT);
            slowest.min(CHUNK_COUNT_MAX)
        });
        if !(1..=CHUNK_COUNT_MAX).contains(&count) {
            return Err(Error::Invalid {
                field: "chunk",
                reason: format!("is {count}, it must be at least 1 and at most {CHUNK_COUNT_MAX}"),
            });
        }
        Ok((count, tiers.config.limits.dirty_bytes_max / 4))
    }
}

/// An iterator as a stream that is always ready.
pub struct Items<I>(pub(super) I);

/// Shows nothing of the items.
impl<I> fmt::Debug for Items<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Items").finish_non_exhaustive()
    }
}

// The iterator is never pinned.
impl<I> Unpin for Items<I> {}

impl<I: Iterator> Stream for Items<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// What is left of an input.
struct Input<S> {
    items: Pin<Box<S>>,
    /// A stream that has ended is not asked again.
    ended: bool,
}

impl<S: Stream> Input<S> {
    /// Waits for the next item; `None` at the end.
    async fn next(&mut self) -> Option<S::Item> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The next item if it is there already; `None` at the end too.
    async fn ready(&mut self) -> Option<S::Item> {
        poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(item) => Poll::Ready(item),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = self.items.as_mut().poll_next(cx);
        self.ended = matches!(item, Poll::Ready(None));
        item
    }
}

/// Lets others on this thread go first, on any executor.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives 1, pauses, gives 2, ends.
    struct Pausing(u8);

    impl Stream for Pausing {
        type Item = u8;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<u8>> {
            self.0 += 1;
            match self.0 {
                1 => Poll::Ready(Some(1)),
                2 => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                3 => Poll::Ready(Some(2)),
                4 => Poll::Ready(None),
                _ => panic!("asked after its end"),
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_ready_is_waited_for_only_by_next_and_the_end_is_asked_for_once() {
        let mut input = Input {
            items: Box::pin(Pausing(0)),
            ended: false,
        };
        assert_eq!(input.next().await, Some(1));
        assert_eq!(input.ready().await, None);
        assert_eq!(input.next().await, Some(2));
        assert_eq!(input.next().await, None);
        assert_eq!(input.ready().await, None);
    }
}
