//! The shelf's side of the subscription hub: who watches, fences announced, events out.

use super::event::{EventKind, OldSlot, RawEvent};
use super::{Covers, Effects, Scope, Shelf};
use crate::clock::Millis;
use crate::key::{CacheId, Key};
use crate::sync::Ordering;
use crate::version::Version;

/// What is watched: caches that say so of themselves, or all.
enum Watched {
    None,
    Some,
    All,
}

impl Shelf {
    /// Says whether events of every cache are to be recorded from now on. What is applied after a read
    /// that comes after this call is recorded.
    pub fn watch(&self, watched: bool) {
        let watched = if watched { Watched::All } else { Watched::None };
        self.watched.store(watched as usize, Ordering::SeqCst);
    }

    /// As [`watch`](Shelf::watch), of the caches that are watched. A cache that is made later is none of
    /// them.
    pub fn watch_only(&self, is_watched: impl Fn(CacheId) -> bool) {
        let mut watched = Watched::None;
        for scope in self.scopes().iter() {
            let is_watched = is_watched(scope.id);
            scope.watch(is_watched);
            if is_watched {
                watched = Watched::Some;
            }
        }
        self.watched.store(watched as usize, Ordering::SeqCst);
    }

    /// Whether anybody watches anything.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed) != Watched::None as usize
    }

    /// Whether anybody watches this cache.
    #[inline]
    pub(super) fn watches(&self, scope: &Scope) -> bool {
        let watched = self.watched.load(Ordering::Relaxed);
        watched != Watched::None as usize
            && (watched == Watched::All as usize || scope.is_watched())
    }

    /// Tells those who watch that a fence was raised.
    pub fn announce_fence(&self, scope: &Scope, covers: &Covers, version: Version, now_ms: Millis) {
        if !self.watches(scope) {
            return;
        }
        let name = match covers {
            Covers::All => "",
            Covers::Tag(tag) => tag,
        };
        let event = RawEvent {
            key: Key::new(scope.id, name),
            kind: EventKind::Cleared,
            version,
            old: OldSlot::NotLoaded,
            new: None,
            at_ms: now_ms,
        };
        // Any stripe will do: the hub takes from all of them and sorts by version.
        let cell = self.cell(0);
        let mut effects = Effects::default();
        let mut stripe = cell.stripe.write();
        stripe.tell(event, &self.bounds, &mut effects);
        drop(stripe);
        self.finish(cell, &mut effects);
    }

    /// Moves all waiting events to `into`; how many were dropped since the last time. What it takes is
    /// within the bounds of what may wait.
    pub fn take_events(&self, into: &mut Vec<RawEvent>) -> u64 {
        let before = into.len();
        let cells = self.stripes.iter();
        let lost = cells
            .map(|cell| cell.stripe.write().outbox.take(into))
            .sum();
        // IMPORTANT: not stripe by stripe. The first would fill up again while the last is taken from.
        let bytes = into.iter().skip(before).map(RawEvent::bytes).sum();
        self.events_bytes.fetch_sub(bytes, Ordering::Relaxed);
        into.sort_by_key(|event| event.version);
        lost
    }
}
