//! Who wants to hear of what: an event costs in proportion to the watchers that it concerns, however
//! many others there are.
//!
//! A plain value without an actor, a clock or a channel. It never waits: sinks take an event, refuse
//! it or are gone, and one that panics is gone.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::index::Watchers;
use crate::error::Error;
use crate::key::{CacheId, Key};
use crate::messages::hub::{Filter, Offer, Sink, SubscriptionId};
use crate::shelf::RawEvent;

/// When it is worth asking again for a subscription that there was no room for.
const SUBSCRIBE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// All subscriptions, indexed by what they are about.
pub struct Registry {
    subscriptions: HashMap<SubscriptionId, Subscription>,
    caches: HashMap<CacheId, Watchers>,
    /// Who has missed something and does not know it yet.
    behind: BTreeSet<SubscriptionId>,
    subscriptions_max: usize,
    last_id: u64,
    stats: RegistryStats,
}

/// What the registry counts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, serde::Serialize)]
pub struct RegistryStats {
    /// Subscriptions now.
    pub subscriptions: usize,
    /// Events that sinks took.
    pub delivered: u64,
    /// Events that sinks refused because they were full.
    pub missed: u64,
    /// Events dropped before the hub took them.
    pub lost: u64,
    /// Subscriptions refused because there were too many.
    pub refused: u64,
    /// Subscriptions ended because nobody listened, or because the sink panicked.
    pub gone: u64,
}

struct Subscription {
    filter: Filter,
    sink: Box<dyn Sink>,
    missed: Missed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Missed {
    Nothing,
    Events(u64),
    Unknown,
}

impl Missed {
    /// How many, as a watcher is told; 0 where nobody knows.
    fn count(self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Events(events) => Some(events),
            Self::Unknown => Some(0),
        }
    }
}

impl Registry {
    /// A registry that holds up to `subscriptions_max` subscriptions.
    pub fn new(subscriptions_max: usize) -> Self {
        Self {
            subscriptions: HashMap::new(),
            caches: HashMap::new(),
            behind: BTreeSet::new(),
            subscriptions_max,
            last_id: 0,
            stats: RegistryStats::default(),
        }
    }

    /// Begins a subscription.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] with `subscriptions_max` subscriptions that somebody listens to.
    pub fn subscribe(
        &mut self,
        filter: Filter,
        sink: Box<dyn Sink>,
    ) -> Result<SubscriptionId, Error> {
        if self.subscriptions.len() >= self.subscriptions_max {
            self.sweep();
        }
        if self.subscriptions.len() >= self.subscriptions_max {
            self.stats.refused += 1;
            return Err(Error::Overloaded {
                limit: "subscriptions_max",
                retry_after: SUBSCRIBE_RETRY_AFTER,
            });
        }
        self.last_id += 1;
        let id = SubscriptionId(self.last_id);
        let watchers = self.caches.entry(filter.cache()).or_default();
        watchers.add(&filter, id);
        let subscription = Subscription {
            filter,
            sink,
            missed: Missed::Nothing,
        };
        self.subscriptions.insert(id, subscription);
        Ok(id)
    }

    /// Ends a subscription; one that has ended already is none.
    pub fn unsubscribe(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.subscriptions.remove(&id) else {
            return;
        };
        self.behind.remove(&id);
        let cache = subscription.filter.cache();
        if let Some(watchers) = self.caches.get_mut(&cache) {
            watchers.remove(&subscription.filter, id);
            if watchers.is_empty() {
                self.caches.remove(&cache);
            }
        }
        // A sink that panics when it is dropped takes nothing with it either.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(subscription.sink)));
    }

    /// Ends every subscription: larder is being shut down.
    pub fn end_all(&mut self) {
        let ids: Vec<_> = self.subscriptions.keys().copied().collect();
        for id in ids {
            self.unsubscribe(id);
        }
    }

    /// Offers an event to everybody whom it concerns and who has not been told of anything newer.
    pub fn deliver(&mut self, event: &RawEvent) {
        let Some(watchers) = self.caches.get_mut(&event.key.cache) else {
            return;
        };
        for id in watchers.concerned(event) {
            self.offer(id, event);
        }
    }

    /// The shelf dropped `events` events (0: unknown) before they could be delivered. Nobody can tell
    /// whom they concerned, so everybody is told that they missed an unknown number.
    pub fn lost(&mut self, events: u64) {
        self.stats.lost += events;
        for (id, subscription) in &mut self.subscriptions {
            subscription.missed = Missed::Unknown;
            self.behind.insert(*id);
        }
        self.remind();
    }

    /// Tells those who are behind, as far as their sinks take it.
    pub fn remind(&mut self) {
        for id in self.behind.clone() {
            self.catch_up(id);
        }
    }

    /// Whether somebody has missed something and could not be told yet.
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Whether nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// Whether somebody watches anything of this cache.
    pub fn watches_any_of(&self, cache: CacheId) -> bool {
        self.caches.contains_key(&cache)
    }

    /// Whether somebody watches this key, by its name, a prefix or with all of its cache.
    pub fn watches(&self, key: &Key) -> bool {
        self.caches
            .get(&key.cache)
            .is_some_and(|watchers| watchers.watch(&key.name))
    }

    /// The keys that are watched by name.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.caches.iter().flat_map(|(&cache, watchers)| {
            let names = watchers.keys();
            names.cloned().map(move |name| Key { cache, name })
        })
    }

    /// What it counts.
    pub fn stats(&self) -> RegistryStats {
        RegistryStats {
            subscriptions: self.subscriptions.len(),
            ..self.stats
        }
    }

    fn offer(&mut self, id: SubscriptionId, event: &RawEvent) {
        let is_told = self.catch_up(id);
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        let offer = if is_told {
            guarded(|| subscription.sink.offer(event))
        } else {
            Offer::Full
        };
        match offer {
            Offer::Taken => self.stats.delivered += 1,
            Offer::Full => {
                self.stats.missed += 1;
                subscription.missed = match subscription.missed {
                    Missed::Nothing => Missed::Events(1),
                    Missed::Events(events) => Missed::Events(events + 1),
                    Missed::Unknown => Missed::Unknown,
                };
                self.behind.insert(id);
            }
            Offer::Gone => self.end(id),
        }
    }

    /// Tells a subscription what it has missed; `false` if it is full even for that.
    fn catch_up(&mut self, id: SubscriptionId) -> bool {
        let subscription = self.subscriptions.get_mut(&id);
        let behind = subscription.and_then(|s| Some((s.missed.count()?, s)));
        let Some((missed, subscription)) = behind else {
            return true;
        };
        match guarded(|| subscription.sink.lagged(missed)) {
            Offer::Taken => {
                subscription.missed = Missed::Nothing;
                self.behind.remove(&id);
                true
            }
            Offer::Full => false,
            Offer::Gone => {
                self.end(id);
                true
            }
        }
    }

    fn end(&mut self, id: SubscriptionId) {
        self.stats.gone += 1;
        self.unsubscribe(id);
    }

    /// Ends the subscriptions that nobody listens to.
    fn sweep(&mut self) {
        let subscriptions = self.subscriptions.iter();
        let gone: Vec<_> = subscriptions
            .filter(|(_, subscription)| subscription.sink.is_gone())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.end(id);
        }
    }
}

/// Runs a sink; a panic in it is its own end, not the hub's.
fn guarded(call: impl FnOnce() -> Offer) -> Offer {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Offer::Gone)
}

#[cfg(test)]
mod tests;
