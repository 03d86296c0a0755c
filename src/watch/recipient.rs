//! Subscriptions of actors: two ways for events to a recipient, neither of which fills its mailbox.

use actix::Recipient;
use actix::dev::SendError;

use super::latest::WatchLatest;
use super::stream::Watch;
use crate::codec::Value;
use crate::event::{Change, EntryEvent};
use crate::messages::hub::{Offer, Sink};
use crate::shelf::RawEvent;
use crate::typed::Form;

/// Gives everything that a stream yields, snapshots after a lag included, to an actor, one event at a
/// time: the next one is sent when the actor has handled the last. Ends with the stream or when the
/// actor is gone.
///
/// # Cancel safety
///
/// Dropping the future ends the subscription; an event that the actor has not begun to handle is
/// withdrawn.
pub async fn forward<V: Value>(mut watch: Watch<V>, to: Recipient<EntryEvent<V>>) {
    while let Some(event) = watch.next().await {
        // Awaiting the reply is what bounds it: actix lets one message of a fresh sender in even
        // where the mailbox is full.
        if to.send(event).await.is_err() {
            return;
        }
    }
}

/// As [`forward`], of what the actor has not handled yet only the newest change.
///
/// # Cancel safety
///
/// As [`forward`].
pub async fn forward_latest<V: Value>(mut watch: WatchLatest<V>, to: Recipient<EntryEvent<V>>) {
    while let Some(change) = watch.changed().await {
        if to.send(EntryEvent::Changed(change)).await.is_err() {
            return;
        }
    }
}

/// The mailbox of an actor as a sink: full is full, and the actor is told `Lagged` once it has room
/// again, without a snapshot: it reads what it needs. Values are turned into `V` on the hub's thread;
/// [`forward`] does that elsewhere.
pub struct RecipientSink<V: Value> {
    // IMPORTANT: one recipient for the life of the subscription. actix keeps "full" with each clone of
    // an address, and a fresh clone always gets one more message in.
    to: Recipient<EntryEvent<V>>,
    form: Form<V>,
}

impl<V: Value> RecipientSink<V> {
    /// A sink for an actor that expects values of this schema number, written by a codec of larder's.
    pub fn new(to: Recipient<EntryEvent<V>>, schema: u32) -> Self {
        let form = Form::of_schema(schema);
        Self { to, form }
    }

    fn put(&self, event: EntryEvent<V>) -> Offer {
        match self.to.try_send(event) {
            Ok(()) => Offer::Taken,
            Err(SendError::Full(_)) => Offer::Full,
            Err(SendError::Closed(_)) => Offer::Gone,
        }
    }
}

impl<V: Value> Sink for RecipientSink<V> {
    fn offer(&mut self, event: &RawEvent) -> Offer {
        self.put(EntryEvent::Changed(Change::from_raw(event, &self.form)))
    }

    fn lagged(&mut self, missed: u64) -> Offer {
        self.put(EntryEvent::Lagged { missed })
    }

    fn is_gone(&self) -> bool {
        !self.to.connected()
    }
}
