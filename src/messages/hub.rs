//! To the subscription hub: who wants to hear of what.

use std::fmt;

use actix::Message;
use smol_str::SmolStr;

use crate::codec::Value;
use crate::event::EntryEvent;
use crate::key::CacheId;
use crate::shelf::RawEvent;

/// What a watcher wants to hear of. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub enum Filter {
    /// One key.
    Key(CacheId, SmolStr),
    /// All keys of a cache that begin with this.
    Prefix(CacheId, SmolStr),
    /// A whole cache.
    All(CacheId),
}

impl Filter {
    /// The cache it is about.
    pub fn cache(&self) -> CacheId {
        match self {
            Self::Key(cache, _) | Self::Prefix(cache, _) | Self::All(cache) => *cache,
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bytes) = match self {
            Self::Key(_, name) => ("Key", name.len()),
            Self::Prefix(_, prefix) => ("Prefix", prefix.len()),
            Self::All(_) => ("All", 0),
        };
        write!(f, "{kind}({}, {bytes} bytes)", self.cache().0)
    }
}

/// What a sink did with what it was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// It took it.
    Taken,
    /// It is full: the event counts as missed for this watcher.
    Full,
    /// Nobody listens any more: the subscription ends.
    Gone,
}

/// Where a watcher's events go. Must neither block nor wait.
pub trait Sink: Send {
    /// Takes an event, or says why not.
    fn offer(&mut self, event: &RawEvent) -> Offer;
    /// Tells the watcher that it has missed `missed` events since it was last told (0: unknown).
    /// Called before the next event is offered; `Full` means that it will be tried again.
    fn lagged(&mut self, missed: u64) -> Offer;
    /// Whether it is already certain that nobody listens any more. Asked before a subscription is
    /// refused for want of room.
    fn is_gone(&self) -> bool {
        false
    }
}

/// Names one subscription.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SubscriptionId(pub u64);

/// Begins a subscription. Events of mutations that begin after the reply are delivered.
pub struct Subscribe {
    /// What to hear of.
    pub filter: Filter,
    /// Where it goes.
    pub sink: Box<dyn Sink>,
}

impl fmt::Debug for Subscribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe").finish_non_exhaustive()
    }
}

impl Message for Subscribe {
    type Result = Result<SubscriptionId, crate::Error>;
}

/// What an actor that subscribed with its address receives.
impl<V: Value> Message for EntryEvent<V> {
    type Result = ();
}

/// Ends a subscription.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Unsubscribe(pub SubscriptionId);

/// Deliver what waits and end every subscription: larder is being shut down.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Close;

/// There are events to deliver. Sent by a bell; carries nothing.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Wake;

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink that says no more than it must.
    struct Plain;

    impl Sink for Plain {
        fn offer(&mut self, _: &RawEvent) -> Offer {
            Offer::Taken
        }
        fn lagged(&mut self, _: u64) -> Offer {
            Offer::Taken
        }
    }

    #[test]
    fn a_sink_that_does_not_say_is_listened_to_and_debug_shows_no_key() {
        assert!(!Plain.is_gone());
        let (cache, name) = (CacheId(3), "secret".into());
        let filter = Filter::Key(cache, name);
        let shown = format!("{filter:?} {:?}", Filter::Prefix(cache, "se".into()));
        assert_eq!(shown, "Key(3, 6 bytes) Prefix(3, 2 bytes)");
        let sink = Box::new(Plain);
        let shown = format!("{:?}", Subscribe { filter, sink });
        assert_eq!(shown, "Subscribe { .. }");
    }
}
