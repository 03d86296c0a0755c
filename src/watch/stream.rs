//! What a host holds of a subscription: a stream of everything that happens, in order.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use futures_core::Stream;

use super::floors::Floors;
use super::inbox::{Inbox, Received};
use super::snapshot::{OnDrop, SnapshotFn, SnapshotFuture, SnapshotPage};
use crate::codec::Value;
use crate::entry::Entry;
use crate::event::{Change, EntryEvent};
use crate::typed::Form;

/// The changes of a key, a prefix or a cache, as a [`Stream`] and by [`next`](Watch::next).
///
/// Per key, changes come in the order of their versions. A subscriber that is too slow holds up
/// nobody: with its buffer full (256 events, or 4 MiB of them) further events are missed. It
/// then receives, in this order,
///
/// 1. the events that were buffered before the gap,
/// 2. [`EntryEvent::Lagged`] with the size of the gap (0 if the hub was restarted and nobody can
///    tell),
/// 3. an [`EntryEvent::Snapshot`] of the key, present or not, or of every entry under the prefix or
///    in the cache, read page by page after `Lagged` was taken, or an
///    [`EntryEvent::SnapshotFailed`],
/// 4. the changes that the snapshot does not show yet. One that it has overtaken is left out, so
///    that no key goes back. (Behind a snapshot of more than 4,096 entries a change can be repeated
///    that was made while it was read; none is ever left out for being taken for an old one.)
///
/// A key that a snapshot of a prefix or a cache does not show was not there when its page was read.
/// An [`EventKind::Cleared`](crate::EventKind::Cleared) is about every entry of an older version
/// than its own.
///
/// Values are turned into `V` here, on the subscriber's thread. Dropping it ends the subscription; it
/// ends by itself (`None`) when larder is shut down.
pub struct Watch<V> {
    inbox: Inbox,
    form: Arc<Form<V>>,
    source: SnapshotFn<V>,
    phase: Phase<V>,
    floors: Floors,
    on_drop: Option<OnDrop>,
}

enum Phase<V> {
    /// Events are taken from the inbox.
    Events,
    /// A page of a snapshot is being read.
    Reading(SnapshotFuture<V>),
    /// A page is being shown.
    Showing {
        entries: vec::IntoIter<(String, Option<Entry<V>>)>,
        next: Option<String>,
    },
    /// Nothing comes any more.
    Ended,
}

impl<V: Value> Watch<V> {
    /// The typed end of a subscription whose sink is the other end of `inbox`.
    pub fn new(inbox: Inbox, form: Arc<Form<V>>, source: SnapshotFn<V>, on_drop: OnDrop) -> Self {
        Self {
            inbox,
            form,
            source,
            phase: Phase::Events,
            floors: Floors::default(),
            on_drop: Some(on_drop),
        }
    }

    /// Waits for the next event; `None` once the subscription has ended.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped: what it would have given, the next call gives.
    pub async fn next(&mut self) -> Option<EntryEvent<V>> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// How many events wait in the buffer.
    pub fn buffered(&self) -> usize {
        self.inbox.len()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<EntryEvent<V>>> {
        loop {
            match &mut self.phase {
                Phase::Events => match ready!(self.inbox.poll(cx)) {
                    Some(Received::Event(event)) => {
                        if self.floors.passes(&event) {
                            let change = Change::from_raw(&event, &self.form);
                            return Poll::Ready(Some(EntryEvent::Changed(change)));
                        }
                    }
                    Some(Received::Lagged(missed)) => {
                        // IMPORTANT: the snapshot is begun after the lag was taken, so that what is
                        // missed from now on is in the inbox or is a lag of its own.
                        self.floors.begin();
                        self.phase = Phase::Reading((self.source)(None));
                        return Poll::Ready(Some(EntryEvent::Lagged { missed }));
                    }
                    None => self.phase = Phase::Ended,
                },
                Phase::Reading(page) => match ready!(page.as_mut().poll(cx)) {
                    Ok(page) => self.show(page),
                    Err(error) => {
                        self.phase = Phase::Events;
                        return Poll::Ready(Some(EntryEvent::SnapshotFailed(error)));
                    }
                },
                Phase::Showing { entries, next } => {
                    if let Some((key, entry)) = entries.next() {
                        return Poll::Ready(Some(EntryEvent::Snapshot { key, entry }));
                    }
                    self.phase = match next.take() {
                        Some(after) => Phase::Reading((self.source)(Some(after))),
                        None => Phase::Events,
                    };
                }
                Phase::Ended => return Poll::Ready(None),
            }
        }
    }

    fn show(&mut self, page: SnapshotPage<V>) {
        self.floors.add(&page);
        self.phase = Phase::Showing {
            entries: page.entries.into_iter(),
            next: page.next,
        };
    }
}

impl<V: Value> Stream for Watch<V> {
    type Item = EntryEvent<V>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

impl<V> Drop for Watch<V> {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}

impl<V> fmt::Debug for Watch<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("buffered", &self.inbox.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
