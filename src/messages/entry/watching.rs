//! Subscribing to the changes of entries.

use std::fmt;

use actix::Message;
use actix::Recipient;

use crate::codec::Value;
use crate::error::Error;
use crate::event::EntryEvent;
use crate::messages::hub::SubscriptionId;

/// What of a cache to watch.
#[derive(Clone, PartialEq, Eq)]
pub enum Watching {
    /// One key.
    Key(String),
    /// One key, for those who care what is, not what was: of the changes that come while the receiver
    /// has one in hand, only the newest.
    Latest(String),
    /// Keys that begin with this.
    Prefix(String),
    /// Everything.
    All,
}

/// Shows lengths, never a key.
impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bytes) = match self {
            Self::Key(key) => ("Key", key.len()),
            Self::Latest(key) => ("Latest", key.len()),
            Self::Prefix(prefix) => ("Prefix", prefix.len()),
            Self::All => ("All", 0),
        };
        write!(f, "{kind}({bytes} bytes)")
    }
}

/// Receive what happens, as messages. Ends when the receiver is gone, with [`Unsubscribe`], or when
/// the desk is restarted: the receiver then subscribes again.
///
/// [`Unsubscribe`]: crate::messages::entry::Unsubscribe
pub struct Subscribe<V: Value> {
    /// The cache.
    pub cache: String,
    /// What of it.
    pub watching: Watching,
    /// Where events go. What finds its mailbox full is missed, and the next thing it is told is that.
    pub recipient: Recipient<EntryEvent<V>>,
}
message!(Subscribe => SubscriptionId);
