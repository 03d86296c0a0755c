//! Where the items of a batch call come from: an iterator or a stream, pulled one at a time.
//!
//! Nothing is collected here: what has been pulled is in the present chunk or done with.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

/// An iterator as the stream that is always ready.
#[derive(Debug)]
pub struct Items<I>(pub(super) I);

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

/// The present end of an input.
pub(super) struct Input<S> {
    items: Pin<Box<S>>,
    /// A stream that has ended is not asked again.
    ended: bool,
}

impl<S: Stream> Input<S> {
    pub fn new(items: S) -> Self {
        Self {
            items: Box::pin(items),
            ended: false,
        }
    }

    /// Waits for the next item; `None` at the end.
    pub async fn next(&mut self) -> Option<S::Item> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The next item if it is there already; `None` at the end too.
    pub async fn ready(&mut self) -> Option<S::Item> {
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
    async fn what_is_not_ready_is_waited_for_only_by_next() {
        let mut input = Input::new(Pausing(0));
        assert_eq!(input.next().await, Some(1));
        assert_eq!(input.ready().await, None);
        assert_eq!(input.next().await, Some(2));
        assert_eq!(input.next().await, None);
        assert_eq!(input.ready().await, None);
        let mut items = Input::new(Items(0..2));
        assert_eq!(items.items.size_hint(), (2, Some(2)));
        assert_eq!(items.ready().await, Some(0));
        assert_eq!(items.next().await, Some(1));
        assert_eq!(items.ready().await, None);
    }
}
