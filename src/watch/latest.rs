//! What a host holds of a subscription when only the latest state of one key matters to it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::floors::Floors;
use super::inbox::{Inbox, Received};
use super::snapshot::{OnDrop, SnapshotFn, SnapshotFuture, SnapshotPage};
use crate::codec::Value;
use crate::event::{Change, Old};
use crate::shelf::EventKind;
use crate::typed::Form;

/// The latest change of one key, as a [`Stream`] and by [`changed`](WatchLatest::changed).
///
/// At most one change waits: a newer one replaces it, so a slow subscriber skips what was overtaken
/// and is never told that it lags. `old` is the value before *that* change, not the one that was
/// given out last. After a restart of the hub, and when a tag was invalidated that the entry may
/// carry, the key is read, and what is there is given as an [`Updated`](EventKind::Updated) or a
/// [`Removed`](EventKind::Removed) if it may be news; if that read fails, the next change is.
///
/// Dropping it ends the subscription; it ends by itself (`None`) when larder is shut down.
pub struct WatchLatest<V> {
    inbox: Inbox,
    form: Arc<Form<V>>,
    source: SnapshotFn<V>,
    reading: Option<SnapshotFuture<V>>,
    floors: Floors,
    given: Given,
    on_drop: Option<OnDrop>,
}

/// What the subscriber was given last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    Nothing,
    Value(crate::Version),
    Absence,
}

impl<V: Value> WatchLatest<V> {
    /// The typed end of a subscription to one key whose sink is the other end of `inbox`.
    pub fn new(inbox: Inbox, form: Arc<Form<V>>, source: SnapshotFn<V>, on_drop: OnDrop) -> Self {
        Self {
            inbox,
            form,
            source,
            reading: None,
            floors: Floors::default(),
            given: Given::Nothing,
            on_drop: Some(on_drop),
        }
    }

    /// Waits for the next change; `None` once the subscription has ended.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped: the next call gives the latest change.
    pub async fn changed(&mut self) -> Option<Change<V>> {
        poll_fn(|cx| self.poll_changed(cx)).await
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Change<V>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let page = match reading.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(page) => page,
                };
                self.reading = None;
                match page.map(|page| self.news(page)) {
                    Ok(Some(change)) => return Poll::Ready(Some(self.give(change))),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "a watched key could not be read again"),
                }
            }
            match std::task::ready!(self.inbox.poll(cx)) {
                Some(Received::Event(event)) => {
                    if self.floors.passes(&event) {
                        let change = Change::from_raw(&event, &self.form);
                        return Poll::Ready(Some(self.give(change)));
                    }
                }
                Some(Received::Lagged(_)) => {
                    self.floors.begin();
                    self.reading = Some((self.source)(None));
                }
                None => return Poll::Ready(None),
            }
        }
    }

    /// What a snapshot shows, if the subscriber may not know it yet.
    fn news(&mut self, page: SnapshotPage<V>) -> Option<Change<V>> {
        self.floors.add(&page);
        let (key, new) = page.entries.into_iter().next()?;
        let (kind, version) = match &new {
            Some(entry) => (EventKind::Updated, entry.version()),
            None => (EventKind::Removed, page.as_of),
        };
        let shown = match &new {
            Some(entry) => Given::Value(entry.version()),
            None => Given::Absence,
        };
        (shown != self.given).then_some(Change {
            key,
            kind,
            version,
            old: Old::NotLoaded,
            new,
            at_ms: page.at_ms,
        })
    }

    fn give(&mut self, change: Change<V>) -> Change<V> {
        self.given = match &change.new {
            Some(entry) => Given::Value(entry.version()),
            None => Given::Absence,
        };
        change
    }
}

impl<V: Value> Stream for WatchLatest<V> {
    type Item = Change<V>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_changed(cx)
    }
}

impl<V> Drop for WatchLatest<V> {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}

impl<V> fmt::Debug for WatchLatest<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchLatest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
