//! The watchers of one cache, found by the key of an event.
//!
//! It knows ids only, and what the watchers of a key have been told; sinks are the registry's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use smol_str::SmolStr;

use super::order::Order;
use crate::messages::hub::{Filter, SubscriptionId};
use crate::shelf::{EventKind, RawEvent};
use crate::version::Version;

/// The watchers of one cache.
#[derive(Default)]
pub(super) struct Watchers {
    keys: HashMap<SmolStr, KeyWatchers>,
    /// By length, so that an event looks up one prefix of its key per length in use.
    prefixes: BTreeMap<usize, HashMap<SmolStr, BTreeSet<SubscriptionId>>>,
    all: BTreeSet<SubscriptionId>,
    /// The newest fence of the whole cache that was told.
    cleared: Option<Version>,
}

#[derive(Default)]
struct KeyWatchers {
    ids: BTreeSet<SubscriptionId>,
    order: Order,
}

impl Watchers {
    /// Adds a subscription.
    pub fn add(&mut self, filter: &Filter, id: SubscriptionId) {
        let ids = match filter {
            Filter::Key(_, name) => &mut self.keys.entry(name.clone()).or_default().ids,
            Filter::Prefix(_, prefix) => {
                let same_length = self.prefixes.entry(prefix.len()).or_default();
                same_length.entry(prefix.clone()).or_default()
            }
            Filter::All(_) => &mut self.all,
        };
        ids.insert(id);
    }

    /// Removes one, with what only it needed.
    pub fn remove(&mut self, filter: &Filter, id: SubscriptionId) {
        match filter {
            Filter::Key(_, name) => {
                if let Some(key) = self.keys.get_mut(name) {
                    key.ids.remove(&id);
                }
                drop_if(&mut self.keys, name, |key| key.ids.is_empty());
            }
            Filter::Prefix(_, prefix) => {
                if let Some(same_length) = self.prefixes.get_mut(&prefix.len()) {
                    if let Some(ids) = same_length.get_mut(prefix) {
                        ids.remove(&id);
                    }
                    drop_if(same_length, prefix, BTreeSet::is_empty);
                    if same_length.is_empty() {
                        self.prefixes.remove(&prefix.len());
                    }
                }
            }
            Filter::All(_) => {
                self.all.remove(&id);
            }
        }
    }

    /// Whether nobody watches this cache.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty() && self.all.is_empty()
    }

    /// Whether somebody watches this key.
    pub fn watch(&self, name: &SmolStr) -> bool {
        !self.all.is_empty()
            || self.keys.contains_key(name)
            || self.by_prefix(name).next().is_some()
    }

    /// The keys that are watched by name.
    pub fn keys(&self) -> impl Iterator<Item = &SmolStr> {
        self.keys.keys()
    }

    fn by_prefix<'a>(&'a self, name: &'a str) -> impl Iterator<Item = SubscriptionId> + 'a {
        let lengths = self.prefixes.range(..=name.len());
        lengths
            .filter_map(|(&length, same_length)| same_length.get(name.get(..length)?))
            .flatten()
            .copied()
    }

    /// Whom an event is to be offered to; whom it is offered to counts as told.
    pub fn concerned(&mut self, event: &RawEvent) -> Vec<SubscriptionId> {
        if event.kind == EventKind::Cleared {
            return self.concerned_by_fence(event);
        }
        // What the whole cache was cleared of is gone for everybody.
        if Some(event.version) < self.cleared {
            return Vec::new();
        }
        let name = event.key.name.as_str();
        let mut ids: Vec<_> = self.all.iter().copied().collect();
        ids.extend(self.by_prefix(name));
        if let Some(key) = self.keys.get_mut(name)
            && key.order.admits(event)
        {
            ids.extend(&key.ids);
        }
        ids
    }

    fn concerned_by_fence(&mut self, event: &RawEvent) -> Vec<SubscriptionId> {
        if event.key.name.is_empty() {
            self.cleared = self.cleared.max(Some(event.version));
        }
        let mut ids: Vec<_> = self.all.iter().copied().collect();
        ids.extend(self.prefixes.values().flat_map(HashMap::values).flatten());
        for key in self.keys.values_mut() {
            if key.order.admits(event) {
                ids.extend(&key.ids);
            }
        }
        ids
    }
}

/// Takes an entry out of a map if nothing is in it any more.
fn drop_if<T>(map: &mut HashMap<SmolStr, T>, name: &SmolStr, is_empty: impl Fn(&T) -> bool) {
    if map.get(name).is_some_and(is_empty) {
        map.remove(name);
    }
}
