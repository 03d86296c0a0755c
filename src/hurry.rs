//! Hurry: whether somebody waits for something to be stored, so that a commit lingers only while
//! nobody does; and whether a chunk is being filed, for which it lingers a moment.
//!
//! A count and not only a notice: whoever began to wait before the lingering did is not overlooked.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::sync::{Arc, AtomicUsize, Ordering};

/// How many wait, and a way to hear of the first.
#[derive(Default)]
pub struct Hurry {
    waiting: AtomicUsize,
    come: Notify,
    filing: AtomicUsize,
    filed: Notify,
}

/// Somebody waits as long as this lives.
pub struct Waits(Arc<Hurry>);

/// A chunk is being filed as long as this lives.
pub struct Files(Arc<Hurry>);

impl Hurry {
    /// Somebody waits from now on.
    pub fn wait(self: &Arc<Self>) -> Waits {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.come.notify_waiters();
        Waits(Arc::clone(self))
    }

    /// Whether somebody waits.
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Returns once somebody waits.
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn somebody(&self) {
        let mut come = pin!(self.come.notified());
        // IMPORTANT: listening before looking, else one who comes in between is missed.
        come.as_mut().enable();
        if !self.is_awaited() {
            come.await;
        }
    }

    /// A chunk is being filed from now on.
    pub fn file(self: &Arc<Self>) -> Files {
        self.filing.fetch_add(1, Ordering::SeqCst);
        Files(Arc::clone(self))
    }

    /// Whether a chunk is being filed.
    pub fn is_filing(&self) -> bool {
        self.filing.load(Ordering::SeqCst) > 0
    }

    /// Returns once no chunk is being filed.
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn filed(&self) {
        let mut filed = pin!(self.filed.notified());
        loop {
            // IMPORTANT: listening before looking, as above.
            filed.as_mut().enable();
            if !self.is_filing() {
                return;
            }
            filed.as_mut().await;
            filed.set(self.filed.notified());
        }
    }

    /// Ready once somebody has begun to wait after this call.
    pub fn somebody_else(&self) -> Notified<'_> {
        self.come.notified()
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.0.filing.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.filed.notify_waiters();
        }
    }
}

/// Returns when either of the two does.
///
/// # Cancel safety
///
/// Dropping it drops both.
pub async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => other.as_mut().poll(cx),
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_began_to_wait_first_is_not_overlooked() {
        let hurry = Arc::new(Hurry::default());
        let waits = hurry.wait();
        hurry.somebody().await;
        drop(waits);
        let listener = Arc::clone(&hurry);
        let heard = tokio::spawn(async move { listener.somebody().await });
        tokio::task::yield_now().await;
        assert!(!heard.is_finished());
        let _waits = hurry.wait();
        heard.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_already_is_not_somebody_else() {
        let hurry = Arc::new(Hurry::default());
        let _waits = hurry.wait();
        let listener = Arc::clone(&hurry);
        let heard = tokio::spawn(async move { listener.somebody_else().await });
        tokio::task::yield_now().await;
        assert!(!heard.is_finished());
        let _other = hurry.wait();
        heard.await.unwrap();
    }

    #[tokio::test]
    async fn a_chunk_is_filed_when_the_last_one_is() {
        let hurry = Arc::new(Hurry::default());
        hurry.filed().await;
        let (one, other) = (hurry.file(), hurry.file());
        let listener = Arc::clone(&hurry);
        let heard = tokio::spawn(async move { listener.filed().await });
        for files in [one, other] {
            tokio::task::yield_now().await;
            assert!(!heard.is_finished());
            drop(files);
        }
        heard.await.unwrap();
    }

    #[tokio::test]
    async fn either_of_two_is_enough() {
        either(std::future::ready(()), std::future::pending()).await;
        either(std::future::pending(), std::future::ready(())).await;
    }
}
