//! Expiry in memory: what a timer finds when it fires, and the sweep over what nobody reads.
//!
//! Whether an entry is shown is decided at every read; this only announces and frees.

use super::event::{EventKind, OldSlot, RawEvent};
use super::fence::Scope;
use super::slot::Slot;
use super::stripe::{Bounds, Effects, Known, Stripe};
use crate::clock::{Millis, NEVER};
use crate::key::Key;
use crate::version::Version;

/// What a timer found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// The slot has its time still before it, or is kept as a fallback until then.
    Later(Millis),
    /// Nothing more is to be done; `true` if the entry expired and was announced just now.
    Done(bool),
    /// Memory does not know the key; a tier may.
    Unknown,
}

impl Stripe {
    /// The timer of a key has fired.
    pub(super) fn due(
        &mut self,
        hash: u64,
        scope: &Scope,
        name: &str,
        now_ms: Millis,
        watched: bool,
        bounds: Bounds,
    ) -> (Due, Effects) {
        let mut effects = Effects::default();
        let slot = match self.known(hash, scope.id, name) {
            Known::Slot(slot) => slot.clone(),
            Known::Tombstone => return (Due::Done(false), effects),
            Known::Unknown => return (Due::Unknown, effects),
        };
        if slot.expires_ms == NEVER {
            return (Due::Done(false), effects);
        }
        if scope.accepts(slot.version, slot.tags()) && slot.expires_ms > now_ms {
            return (Due::Later(slot.expires_ms), effects);
        }
        let announces = !slot.announced && scope.accepts(slot.version, slot.tags());
        if announces {
            self.mark_announced(hash, scope, name);
            if watched {
                self.tell_expired(
                    scope,
                    name,
                    slot.version,
                    OldSlot::Known(slot.clone()),
                    now_ms,
                    bounds,
                );
                effects.told = true;
            }
        }
        let kept = scope.accepts(slot.version, slot.tags()) && slot.keep_ms() > now_ms;
        let keep_ms = slot.keep_ms();
        effects.garbage.push(slot);
        if kept {
            return (Due::Later(keep_ms), effects);
        }
        // A dirty copy stays and acts as a tombstone until it is stored (PROTOCOL rule 2).
        effects
            .garbage
            .extend(self.table.remove(hash, scope.id, name));
        (Due::Done(announces), effects)
    }

    fn mark_announced(&mut self, hash: u64, scope: &Scope, name: &str) {
        if let Some(slot) = self.table.get_mut(hash, scope.id, name) {
            slot.announced = true;
        }
        if let Some(dirty) = self.dirty.get_mut(hash, scope.id, name) {
            if let Some((slot, _)) = &mut dirty.value {
                slot.announced = true;
            }
        }
    }

    fn tell_expired(
        &mut self,
        scope: &Scope,
        name: &str,
        version: Version,
        old: OldSlot,
        now_ms: Millis,
        bounds: Bounds,
    ) {
        let event = RawEvent {
            key: Key::new(scope.id, name),
            kind: EventKind::Expired,
            version,
            old,
            new: None,
            at_ms: now_ms,
        };
        self.outbox.push(event, bounds.events_max);
    }

    /// A tier says that its record of this version has expired: announces it unless memory knows
    /// better.
    pub(super) fn expired_below(
        &mut self,
        hash: u64,
        scope: &Scope,
        name: &str,
        version: Version,
        now_ms: Millis,
        bounds: Bounds,
    ) -> bool {
        let superseded = match self.known(hash, scope.id, name) {
            Known::Slot(slot) => slot.version > version || slot.announced,
            Known::Tombstone => true,
            Known::Unknown => !scope.accepts(version, &[]),
        };
        if !superseded {
            self.mark_announced(hash, scope, name);
            self.tell_expired(scope, name, version, OldSlot::NotLoaded, now_ms, bounds);
        }
        !superseded
    }

    /// Takes out every table entry that no read would show any more. Returns how many.
    pub(super) fn sweep(
        &mut self,
        now_ms: Millis,
        shows: impl Fn(&Key, &Slot) -> bool,
    ) -> (u64, Effects) {
        let garbage = self.table.remove_where(|key, slot| {
            // What has expired and is not announced yet is left to its timer.
            let over = slot.keep_ms() <= now_ms && slot.announced;
            over || !shows(key, slot)
        });
        let swept = garbage.len() as u64;
        let effects = Effects {
            garbage,
            ..Effects::default()
        };
        (swept, effects)
    }
}
