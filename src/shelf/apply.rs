//! A mutation: decided, versioned and carried out in one critical section.
//!
//! The slot protocol, rules 1, 3, 4, 5 and 11 (SEMANTICS.md). What is not used of an [`Ask`] stays in
//! it, to be dropped by the caller after the lock is released.

use super::ask::{Applied, Ask, Call, Change, Condition, Draft};
use super::effects::Effects;
use super::event::{EventKind, OldSlot, RawEvent};
use super::look::Look;
use super::slot::{Encoded, Slot};
use super::stripe::{Known, Stripe};
use super::taken::{NewDirty, Waiter};
use super::tier::TierSet;
use crate::clock::{Millis, NEVER};
use crate::key::Key;
use crate::sync::Arc;
use crate::version::{Version, VersionClock};

/// What there was before a change.
struct Before {
    /// The live slot, where somebody is to be told and memory or the flight knows.
    old: OldSlot,
    /// Its version.
    replaced: Option<Version>,
    /// When the timer fires that stands for the key.
    timer_ms: Option<Millis>,
}

/// A change that has been decided, as the dirty set is to have it.
struct Decided {
    version: Version,
    /// The newest one of all just then.
    newest: Version,
    stamp: u64,
    is_put: bool,
    is_renewal: bool,
    /// The value with its bytes, if it has them and a tier may want them.
    stored: Option<(Slot, Arc<Encoded>)>,
    /// Tiers that have not confirmed an older change of the key.
    pending: TierSet,
}

impl Stripe {
    /// Carries out a change, or says why not. What leaves is in `effects`.
    pub fn apply(
        &mut self,
        call: &Call<'_>,
        ask: &mut Ask<'_>,
        versions: &VersionClock,
        effects: &mut Effects,
    ) -> Applied {
        let is_plain = ask.condition == Condition::None
            && matches!(ask.change, Change::Put(_) | Change::Remove);
        let drawn = if is_plain {
            Ok(versions.next(call.now_ms))
        } else {
            // No fence between the last look at them and the version.
            call.scope.undisturbed(|| {
                let current = self.decide(call, ask)?;
                Ok(match (&ask.change, current) {
                    (Change::Fetched(_, began), _) => *began,
                    // The same value, with other times.
                    (Change::Renew(_), Some(version)) => version,
                    _ => versions.next(call.now_ms),
                })
            })
        };
        match drawn {
            Ok(version) => self.carry_out(call, ask, version, versions.newest(version), effects),
            Err(applied) => applied,
        }
    }

    /// Whether the condition holds, as far as memory and what was brought from below can tell; and the
    /// version of the live entry.
    fn decide(&mut self, call: &Call<'_>, ask: &Ask<'_>) -> Result<Option<Version>, Applied> {
        let (hash, cache, name) = (call.hash, call.scope.id, call.name);
        let reads = |slot: Look<'_>| ask.kind.is_none_or(|kind| kind.reads(slot));
        let live = |slot: Look<'_>| (call.shows(slot) && reads(slot)).then_some(slot.version);
        let brought = ask.brought.as_ref();
        let below = brought.filter(|b| self.marks.stands(hash, cache, name, b.mark));
        let is_known_only =
            matches!(ask.condition, Condition::Flight(_)) || matches!(ask.change, Change::Renew(_));
        let current = match self.known(hash, cache, name) {
            Known::Slot(slot) => live(slot),
            Known::Tombstone => None,
            Known::Unknown => match below {
                Some(below) => below.found.as_ref().map(Slot::look).and_then(live),
                None if is_known_only || ask.plan.tiers().is_empty() => None,
                None => {
                    let (mark, distrusted) = self.mark(hash, cache, name);
                    return Err(Applied::Below(mark, distrusted));
                }
            },
        };
        let holds = match ask.condition {
            Condition::None => true,
            Condition::Absent => current.is_none(),
            Condition::Present => current.is_some(),
            Condition::Version(version) => current == Some(version),
            Condition::Flight(claim) => self.claims.stands(hash, cache, name, claim),
        };
        let makes_sense = match &ask.change {
            Change::Put(_) | Change::Remove => true,
            Change::Renew(_) => current.is_some(),
            Change::Fetched(draft, began) => {
                let tags = draft.extra.as_ref().map_or(&[][..], |extra| &extra.tags);
                call.scope.accepts_load(*began, tags)
            }
        };
        if holds && makes_sense {
            Ok(current)
        } else {
            Err(Applied::Conflict { current })
        }
    }

    fn carry_out(
        &mut self,
        call: &Call<'_>,
        ask: &mut Ask<'_>,
        version: Version,
        newest: Version,
        effects: &mut Effects,
    ) -> Applied {
        let (hash, cache) = (call.hash, call.scope.id);
        self.marks.strike(hash, cache, call.name);
        // A fetch that removes what is older than its answer leaves its own claim: nothing newer has come.
        let is_own = matches!(ask.condition, Condition::Flight(_));
        if !(is_own && matches!(ask.change, Change::Remove)) {
            self.claims.strike(hash, cache, call.name);
        }
        // The rest of the ask is the caller's to drop; its change is used up here.
        let change = std::mem::replace(&mut ask.change, Change::Remove);
        let is_renewal = matches!(change, Change::Renew(_));
        let (slot, mut encoded) = match change {
            Change::Put(draft) | Change::Fetched(draft, _) | Change::Renew(draft) => {
                let (slot, encoded) = draft.into_slot(version);
                (Some(slot), encoded)
            }
            Change::Remove => (None, None),
        };
        let pending = self.dirty.get(hash, cache, call.name);
        let pending = pending.map_or(TierSet::NONE, |dirty| dirty.tiers());
        let is_told = call.watched && !is_renewal;
        let told = if is_told { slot.clone() } else { None };
        let expires_ms = slot.as_ref().map_or(NEVER, |slot| slot.expires_ms);
        let decided = (!ask.plan.tiers().or(pending).is_empty()).then(|| Decided {
            version,
            newest,
            stamp: self.stamp(),
            is_put: slot.is_some(),
            is_renewal,
            stored: slot.clone().zip(encoded.take()),
            pending,
        });
        effects.encoded = encoded;
        if ask.plan.memory {
            self.remember(call, slot, effects);
        } else {
            self.remember(call, None, effects);
            effects.unused = slot;
        }
        let before = self.before(call, ask, is_told, effects);
        let unstored = match decided {
            Some(decided) => self.file(call, ask, decided, effects),
            None => TierSet::NONE,
        };
        self.note_deadline(call, expires_ms, before.timer_ms, effects);
        if is_told {
            self.tell_change(call, version, before.old, told, effects);
        }
        self.shrink(call.evictions_watched, call.now_ms, call.bounds, effects);
        Applied::Done {
            version,
            replaced: before.replaced,
            unstored,
        }
    }

    /// To be asked when the table has changed and the dirty set has not.
    fn before(
        &self,
        call: &Call<'_>,
        ask: &mut Ask<'_>,
        is_told: bool,
        effects: &mut Effects,
    ) -> Before {
        let mut before = Before {
            old: OldSlot::None,
            replaced: None,
            timer_ms: None,
        };
        let Effects { table, garbage, .. } = effects;
        let brought = ask.brought.take().map(|brought| brought.found);
        let known = match &table.old {
            Some(slot) => Known::Slot(slot.look()),
            None => self.unsettled(call.hash, call.scope.id, call.name),
        };
        match known {
            Known::Slot(slot) if call.shows(slot) => {
                garbage.extend(brought.flatten());
                before.replaced = Some(slot.version);
                // Only what memory knows has a timer; what a flight brought up may be from another
                // process.
                // One that has announced it stands where the fallback ends.
                let stands = slot.expires_ms != NEVER && !slot.announced;
                before.timer_ms = stands.then_some(slot.expires_ms);
                if is_told {
                    before.old = OldSlot::Known(slot.to_slot());
                }
            }
            Known::Slot(_) | Known::Tombstone => garbage.extend(brought.flatten()),
            Known::Unknown => match brought {
                Some(Some(slot)) if call.shows(slot.look()) => {
                    before.replaced = Some(slot.version);
                    if is_told {
                        before.old = OldSlot::Known(slot);
                    } else {
                        garbage.push(slot);
                    }
                }
                Some(found) => garbage.extend(found),
                None if ask.plan.tiers().is_empty() => {}
                None => before.old = OldSlot::NotLoaded,
            },
        }
        before
    }

    /// Files a change for the tiers that there is room for, and distrusts the others. Which of those
    /// that it was meant for will not store it.
    fn file(
        &mut self,
        call: &Call<'_>,
        ask: &mut Ask<'_>,
        decided: Decided,
        effects: &mut Effects,
    ) -> TierSet {
        let (hash, cache) = (call.hash, call.scope.id);
        let (plan, pending, stamp) = (ask.plan, decided.pending, decided.stamp);
        let room = std::mem::take(&mut ask.room);
        let all = plan.tiers().or(pending);
        let unstored = all.minus(room.tiers());
        let tiers = all.minus(unstored);
        let waiters = std::mem::take(&mut ask.waiters).into_iter();
        let waiters = waiters.map(|(tier, durability, ticket)| Waiter {
            tier,
            stamp,
            durability,
            ticket,
        });
        let (lost, waiters) = waiters.partition::<Vec<_>, _>(|w| unstored.has(w.tier));
        effects.unstored.extend(lost);
        // A renewal that is not stored leaves a copy that expires early: that is no lie. Where all of it
        // finds no room, what is on its way stays on its way.
        let in_doubt = match decided.is_renewal {
            true if tiers.is_empty() => TierSet::NONE,
            true => unstored.and(pending),
            false => unstored,
        };
        if !in_doubt.is_empty() {
            self.distrust(call, in_doubt, decided.newest);
            if let Some(old) = self.dirty.get_mut(hash, cache, call.name) {
                let waiting = old.waiters.extract_if(.., |w| in_doubt.has(w.tier));
                effects.unstored.extend(waiting);
            }
        }
        if tiers.is_empty() {
            if !in_doubt.is_empty() {
                effects.superseded = self.dirty.forget(hash, cache, call.name);
            }
            if let Some((slot, encoded)) = decided.stored {
                effects.garbage.push(slot);
                effects.encoded = Some(encoded);
            }
            return unstored.and(plan.tiers());
        }
        let put = if decided.is_put {
            plan.put.and(tiers)
        } else {
            TierSet::NONE
        };
        let new = NewDirty {
            key: Key::new(cache, call.name),
            version: decided.version,
            stamp,
            value: decided.stored,
            put,
            delete: tiers.minus(put),
            heals: false,
            waiters,
            room,
        };
        effects.superseded = self.dirty.put(hash, new);
        effects.dirtied = true;
        unstored.and(plan.tiers())
    }

    fn tell_change(
        &mut self,
        call: &Call<'_>,
        version: Version,
        old: OldSlot,
        new: Option<Slot>,
        effects: &mut Effects,
    ) {
        let kind = match (&old, &new) {
            (_, None) => EventKind::Removed,
            (OldSlot::Known(_), Some(_)) => EventKind::Updated,
            _ => EventKind::Created,
        };
        let fingerprint = |slot: &Slot| slot.extra.as_ref().map_or(0, |e| e.fingerprint);
        if let (OldSlot::Known(was), Some(is)) = (&old, &new) {
            // A no-op is stored like any other change; only its event is suppressed.
            if fingerprint(is) != 0 && fingerprint(was) == fingerprint(is) {
                effects.garbage.extend(old.into_slot());
                effects.garbage.extend(new);
                return;
            }
        }
        let event = RawEvent {
            key: Key::new(call.scope.id, call.name),
            kind,
            version,
            old,
            new,
            at_ms: call.now_ms,
        };
        self.tell(event, call.bounds, effects);
    }
}

impl Draft {
    fn into_slot(self, version: Version) -> (Slot, Option<Arc<Encoded>>) {
        let slot = Slot {
            version,
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
            body: self.body,
            extra: self.extra,
            weight: self.weight,
            schema: self.schema,
            priority: self.priority,
            announced: false,
        };
        (slot, self.encoded)
    }
}
