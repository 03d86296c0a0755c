//! Expiry in one stripe: what a timer finds when it fires, and the sweep over what nobody reads.
//!
//! Whether an entry is shown is decided at every read; this only announces and frees.

use super::ask::Call;
use super::effects::Effects;
use super::event::{EventKind, OldSlot, RawEvent};
use super::look::Look;
use super::stripe::{Known, Stripe};
use crate::clock::{Millis, NEVER};
use crate::key::{CacheId, Key};
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
    pub fn due(&mut self, call: &Call<'_>) -> (Due, Effects) {
        let mut effects = Effects::default();
        let slot = match self.known(call.hash, call.scope.id, call.name) {
            Known::Slot(slot) if slot.expires_ms != NEVER => slot.to_slot(),
            Known::Slot(_) | Known::Tombstone => return (Due::Done(false), effects),
            Known::Unknown => return (Due::Unknown, effects),
        };
        let is_accepted = call.accepts(slot.look());
        let (expires_ms, keep_ms) = (slot.expires_ms, slot.keep_ms());
        if is_accepted && expires_ms > call.now_ms {
            return (Due::Later(expires_ms), effects);
        }
        let announces = is_accepted && !slot.announced;
        if announces {
            self.mark_announced(call);
        }
        if announces && call.watched {
            let version = slot.version;
            self.tell_expired(call, version, OldSlot::Known(slot), &mut effects);
        }
        if is_accepted && keep_ms > call.now_ms {
            return (Due::Later(keep_ms), effects);
        }
        // A dirty copy stays and acts as a tombstone until it is stored (the slot protocol, rule 2).
        effects.table.old = self.table.remove(call.hash, call.scope.id, call.name);
        (Due::Done(announces), effects)
    }

    fn mark_announced(&mut self, call: &Call<'_>) {
        let (hash, cache, name) = (call.hash, call.scope.id, call.name);
        if let Some(row) = self.table.get_mut(hash, cache, name) {
            row.set_announced();
        }
        let dirty = self.dirty.get_mut(hash, cache, name);
        if let Some((slot, _)) = dirty.and_then(|d| d.value.as_mut()) {
            slot.announced = true;
        }
    }

    fn tell_expired(
        &mut self,
        call: &Call<'_>,
        version: Version,
        old: OldSlot,
        effects: &mut Effects,
    ) {
        let event = RawEvent {
            key: Key::new(call.scope.id, call.name),
            kind: EventKind::Expired,
            version,
            old,
            new: None,
            at_ms: call.now_ms,
        };
        self.tell(event, call.bounds, effects);
    }

    /// A tier says that its record of this version has expired: announces it unless memory knows
    /// better.
    pub fn expired_below(&mut self, call: &Call<'_>, version: Version) -> (bool, Effects) {
        let mut effects = Effects::default();
        let is_news = match self.known(call.hash, call.scope.id, call.name) {
            // A renewal leaves the version as it is: only memory may know of it so far.
            Known::Slot(slot) => {
                slot.version <= version && !slot.announced && !slot.is_fresh(|| call.now_ms)
            }
            Known::Tombstone => false,
            // A copy that is not believed may be of an entry that was removed since, or set anew.
            Known::Unknown => {
                let distrusted = self.distrusts.of(call.hash, call.scope.id, call.name);
                distrusted.is_empty() && call.scope.accepts(version, &[])
            }
        };
        if is_news {
            self.mark_announced(call);
            self.tell_expired(call, version, OldSlot::NotLoaded, &mut effects);
        }
        (is_news, effects)
    }

    /// Takes out every table entry that no read would show any more. Returns how many.
    pub fn sweep(
        &mut self,
        now_ms: Millis,
        accepts: impl Fn(CacheId, Look<'_>) -> bool,
    ) -> (u64, Effects) {
        let garbage = self.table.remove_where(|cache, slot| {
            // What has expired and is not announced yet is left to its timer.
            let is_over = slot.keep_ms() <= now_ms && slot.announced;
            is_over || !accepts(cache, slot)
        });
        let swept = garbage.len() as u64;
        let effects = Effects {
            garbage,
            ..Effects::default()
        };
        (swept, effects)
    }
}
