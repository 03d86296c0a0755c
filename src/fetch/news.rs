//! What loads come to, told to whoever wants to show it: a screen that says "updating" or "could not be updated".

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use smol_str::SmolStr;
use tokio::sync::broadcast::{self, error::RecvError};

use super::table::Id;
use crate::clock::Millis;
use crate::error::Error;
use crate::key::CacheId;
use crate::sync::Arc;
use crate::wait::Timer;

/// Events that wait for one watcher. One that is slower misses the oldest, and is told how many.
pub const LOADS_BUFFER_EVENTS: usize = 256;
/// A wait is made anew that often; nothing hangs on it.
const ROUND: std::time::Duration = super::DEADLINE_MAX;

/// What a load came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LoadEventKind {
    /// A loader is about to be asked.
    Began,
    /// It brought a value, or said that the one that is there is still right.
    Loaded,
    /// The source has none.
    Missing,
    /// It failed. What is there, if it may be shown, is shown on.
    Failed(Error),
    /// So many events are missing before this: the watcher was too slow.
    Lagged(u64),
}

/// One thing that happened to a load. `Debug` does not show the key.
#[derive(Clone)]
#[non_exhaustive]
pub struct LoadEvent {
    /// The key that is loaded; empty for [`LoadEventKind::Lagged`].
    pub key: SmolStr,
    /// What happened.
    pub kind: LoadEventKind,
    /// Whether something was there already: then it is a refresh.
    pub is_refresh: bool,
    /// When, in unix milliseconds.
    pub at_ms: Millis,
    cache: CacheId,
}

impl std::fmt::Debug for LoadEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadEvent")
            .field("kind", &self.kind)
            .field("is_refresh", &self.is_refresh)
            .field("at_ms", &self.at_ms)
            .finish_non_exhaustive()
    }
}

/// Tells what loads come to.
pub(crate) struct News {
    tell: broadcast::Sender<Arc<LoadEvent>>,
    /// So that loads that nobody watches cost a look.
    watchers: Arc<AtomicUsize>,
}

impl News {
    pub fn new() -> Self {
        Self {
            tell: broadcast::Sender::new(LOADS_BUFFER_EVENTS),
            watchers: Arc::default(),
        }
    }

    /// Tells whoever watches.
    pub fn tell(&self, id: &Id, kind: LoadEventKind, is_refresh: bool, at_ms: Millis) {
        if self.watchers.load(Ordering::Acquire) == 0 {
            return;
        }
        let event = LoadEvent {
            key: id.name.clone(),
            kind,
            is_refresh,
            at_ms,
            cache: id.cache,
        };
        // Nobody may be left: then nobody wants it.
        let _ = self.tell.send(Arc::new(event));
    }

    pub fn watch(&self, cache: CacheId, key: Option<SmolStr>, timer: Timer) -> LoadWatch {
        self.watchers.fetch_add(1, Ordering::AcqRel);
        LoadWatch {
            next: wait(self.tell.subscribe(), timer),
            cache,
            key,
            watchers: Arc::clone(&self.watchers),
        }
    }
}

/// What the loads of a cache, or of one key, come to: [`Cache::watch_loads`](crate::Cache::watch_loads). It never slows a
/// load, and is no handle: it ends with larder.
#[must_use = "events are seen by those who poll it"]
pub struct LoadWatch {
    next: Next,
    cache: CacheId,
    key: Option<SmolStr>,
    watchers: Arc<AtomicUsize>,
}

type Told = Result<Arc<LoadEvent>, RecvError>;
type Next = Pin<
    Box<dyn Future<Output = Option<(Told, broadcast::Receiver<Arc<LoadEvent>>, Timer)>> + Send>,
>;

/// The next event, or nothing if larder ends.
fn wait(mut events: broadcast::Receiver<Arc<LoadEvent>>, timer: Timer) -> Next {
    Box::pin(async move {
        loop {
            let wait = timer.wait(ROUND);
            match wait.until(events.recv(), || wait.exceeded()).await {
                Ok(told) => return Some((told, events, timer)),
                Err(Error::DeadlineExceeded { .. }) => {}
                Err(_) => return None,
            }
        }
    })
}

impl LoadWatch {
    /// The next event; `None` at the end of larder.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<LoadEvent> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<LoadEvent>> {
        loop {
            let Some((told, events, timer)) = std::task::ready!(self.next.as_mut().poll(cx)) else {
                self.next = Box::pin(std::future::ready(None));
                return Poll::Ready(None);
            };
            match told {
                Ok(event) => {
                    self.next = wait(events, timer);
                    let is_mine = self.key.as_ref().is_none_or(|key| *key == event.key);
                    if event.cache == self.cache && is_mine {
                        return Poll::Ready(Some(LoadEvent::clone(&event)));
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    self.next = wait(events, timer);
                    return Poll::Ready(Some(LoadEvent {
                        key: SmolStr::default(),
                        kind: LoadEventKind::Lagged(missed),
                        is_refresh: false,
                        at_ms: 0,
                        cache: self.cache,
                    }));
                }
                Err(RecvError::Closed) => {
                    self.next = Box::pin(std::future::ready(None));
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl futures_core::Stream for LoadWatch {
    type Item = LoadEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LoadEvent>> {
        self.poll_event(cx)
    }
}

impl Drop for LoadWatch {
    fn drop(&mut self) {
        self.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}
