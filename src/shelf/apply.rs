//! A mutation: decided, versioned and carried out in one critical section.
//!
//! The slot protocol, rules 1, 3, 4, 5 and 11 (SEMANTICS.md). What is not used of an [`Ask`] stays in
//! it, to be dropped by the caller after the lock is released.

use super::ask::{Applied, Ask, Brought, Call, Change, Condition, Draft};
use super::effects::Effects;
use super::event::{EventKind, OldSlot, RawEvent};
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
    /// The live slot, where memory or the flight knows.
    old: OldSlot,
    /// When the timer fires that stands for the key.
    timer_ms: Option<Millis>,
    /// Tiers that have not confirmed an older change of the key.
    pending: TierSet,
}

/// A change that has been decided.
struct Decided {
    key: Key,
    version: Version,
    /// The newest one of all just then.
    newest: Version,
    value: Option<(Slot, Option<Arc<Encoded>>)>,
    is_renewal: bool,
}

impl Stripe {
    /// Carries out a change, or says why not.
    pub fn apply(
        &mut self,
        call: Call<'_>,
        ask: &mut Ask<'_>,
        versions: &VersionClock,
    ) -> (Applied, Effects) {
        let is_plain = ask.condition == Condition::None
            && matches!(ask.change, Change::Put(_) | Change::Remove);
        let drawn = if is_plain {
            Ok(versions.next(call.now_ms))
        } else {
            // No fence between the last look at them and the version.
            call.scope.undisturbed(|| {
                self.decide(call, ask).map(|()| match ask.change {
                    Change::Fetched(_, began) => began,
                    _ => versions.next(call.now_ms),
                })
            })
        };
        match drawn {
            Ok(version) => self.carry_out(call, ask, version, versions.newest(version)),
            Err(applied) => (applied, Effects::default()),
        }
    }

    /// Whether the condition holds, as far as memory and what was brought from below can tell.
    fn decide(&mut self, call: Call<'_>, ask: &Ask<'_>) -> Result<(), Applied> {
        let (hash, cache, name) = (call.hash, call.scope.id, call.name);
        let reads = |slot: &Slot| ask.kind.is_none_or(|kind| kind.reads(slot));
        let live = |slot: &Slot| (call.shows(slot) && reads(slot)).then_some(slot.version);
        let brought = ask.brought.as_ref();
        let below = brought.filter(|b| self.marks.stands(hash, cache, name, b.mark));
        let is_known_only =
            matches!(ask.condition, Condition::Flight(_)) || matches!(ask.change, Change::Renew(_));
        let current = match self.known(hash, cache, name) {
            Known::Slot(slot) => live(slot),
            Known::Tombstone => None,
            Known::Unknown => match below {
                Some(below) => below.found.as_ref().and_then(live),
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
            Condition::Flight(mark) => self.marks.stands(hash, cache, name, mark),
        };
        let makes_sense = match &ask.change {
            Change::Put(_) | Change::Remove => true,
            Change::Renew(_) => current.is_some(),
            Change::Fetched(draft, began) => {
                let tags = draft.extra.as_ref().map_or(&[][..], |extra| &extra.tags);
                call.scope.accepts(*began, tags)
            }
        };
        if holds && makes_sense {
            Ok(())
        } else {
            Err(Applied::Conflict { current })
        }
    }

    fn carry_out(
        &mut self,
        call: Call<'_>,
        ask: &mut Ask<'_>,
        drawn: Version,
        newest: Version,
    ) -> (Applied, Effects) {
        let mut effects = Effects::default();
        let before = self.before(call, ask);
        let replaced = match &before.old {
            OldSlot::Known(slot) => Some(slot.version),
            _ => None,
        };
        self.marks.strike(call.hash, call.scope.id, call.name);
        let stamp = self.stamp();
        // The rest of the ask is the caller's to drop; its change is used up here.
        let change = std::mem::replace(&mut ask.change, Change::Remove);
        let is_renewal = matches!(change, Change::Renew(_));
        let version = replaced.filter(|_| is_renewal).unwrap_or(drawn);
        let value = match change {
            Change::Put(draft) | Change::Fetched(draft, _) | Change::Renew(draft) => {
                Some(draft.into_slot(version, stamp))
            }
            Change::Remove => None,
        };
        let slot = value.as_ref().map(|(slot, _)| slot.clone());
        let kept = slot.clone().filter(|_| ask.plan.memory);
        self.remember(call, kept, &mut effects);
        let decided = Decided {
            key: Key::new(call.scope.id, call.name),
            version,
            newest,
            value,
            is_renewal,
        };
        let unstored = self.file(call, ask, decided, before.pending, &mut effects);
        if let Some(slot) = &slot {
            self.note_deadline(call, slot.expires_ms, before.timer_ms, &mut effects);
        }
        if call.watched && !is_renewal {
            self.tell_change(call, version, before.old, slot, &mut effects);
        } else {
            effects.garbage.extend(slot.filter(|_| !ask.plan.memory));
            effects.old = before.old.into_slot();
        }
        self.shrink(call.watched, call.now_ms, call.bounds, &mut effects);
        let done = Applied::Done {
            version,
            replaced,
            unstored,
        };
        (done, effects)
    }

    fn before(&mut self, call: Call<'_>, ask: &mut Ask<'_>) -> Before {
        let (hash, cache, name) = (call.hash, call.scope.id, call.name);
        let dirty = self.dirty.get(hash, cache, name);
        let pending = dirty.map_or(TierSet::NONE, |d| d.tiers());
        let brought: Option<Brought> = ask.brought.take();
        // Only what memory knows has a timer; what a flight brought up may be from another process.
        let mut timer_ms = None;
        let old = match self.known(hash, cache, name) {
            Known::Slot(slot) if call.shows(slot) => {
                timer_ms = Some(slot.expires_ms).filter(|at| *at != NEVER);
                OldSlot::Known(slot.clone())
            }
            Known::Slot(_) | Known::Tombstone => OldSlot::None,
            Known::Unknown => match brought.map(|b| b.found) {
                Some(Some(slot)) if call.shows(&slot) => OldSlot::Known(slot),
                Some(_) => OldSlot::None,
                None if ask.plan.tiers().is_empty() => OldSlot::None,
                None => OldSlot::NotLoaded,
            },
        };
        Before {
            old,
            timer_ms,
            pending,
        }
    }

    /// Files a change for the tiers that there is room for, and distrusts the others. Which of those
    /// that it was meant for will not store it.
    fn file(
        &mut self,
        call: Call<'_>,
        ask: &mut Ask<'_>,
        decided: Decided,
        pending: TierSet,
        effects: &mut Effects,
    ) -> TierSet {
        let (hash, cache) = (call.hash, call.scope.id);
        let plan = ask.plan;
        let room = std::mem::take(&mut ask.room);
        let all = plan.tiers().or(pending);
        let unstored = all.minus(room.tiers());
        let tiers = all.minus(unstored);
        let stamp = self.last_stamp();
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
            return unstored.and(plan.tiers());
        }
        let is_put = decided.value.is_some();
        let put = if is_put {
            plan.put.and(tiers)
        } else {
            TierSet::NONE
        };
        let new = NewDirty {
            key: decided.key,
            version: decided.version,
            stamp,
            value: decided.value.and_then(|(slot, enc)| Some((slot, enc?))),
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
        call: Call<'_>,
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
                effects.old = old.into_slot();
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
    fn into_slot(self, version: Version, stamp: u64) -> (Slot, Option<Arc<Encoded>>) {
        let slot = Slot {
            version,
            stamp,
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
