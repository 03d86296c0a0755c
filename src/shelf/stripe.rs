//! One stripe: table, dirty set and marks under one lock, and the critical sections over them.
//!
//! Every rule of the slot protocol that says "in the same critical section" is kept here. Nothing
//! here waits, encodes, calls a host's code or drops a host's value: what leaves is handed out.

use tokio::sync::OwnedSemaphorePermit;

use hashbrown::HashMap;

use super::dirty::{DirtySet, NewDirty, TierId, TierSet, Waiter};
use super::event::{Deadlines, EventKind, OldSlot, Outbox, RawEvent};
use super::fence::Scope;
use super::marks::{MarkId, Marks};
use super::slot::{Body, Encoded, Extra, Priority, Slot};
use super::table::Table;
use super::ticket::Ticket;
use crate::clock::{Millis, NEVER};
use crate::drivers::StoreDurability;
use crate::key::{CacheId, Key};
use crate::sync::Arc;
use crate::version::{Version, VersionClock};

/// A value on its way in, prepared before any lock is taken.
pub struct Draft {
    /// The value.
    pub body: Body,
    /// Its bytes, where a tier is to store them.
    pub encoded: Option<Arc<Encoded>>,
    /// Bytes it counts for.
    pub weight: u32,
    /// When it was set.
    pub created_ms: Millis,
    /// Fresh until then.
    pub expires_ms: Millis,
    /// What few entries have.
    pub extra: Option<Arc<Extra>>,
    /// The cache's schema number.
    pub schema: u32,
    /// How long it should outlast others.
    pub priority: Priority,
}

/// What is to happen to a key.
pub enum Change {
    /// It gets this value.
    Put(Draft),
    /// It gets other times under the version that it has (sliding expiry).
    Renew(Draft),
    /// It gets none.
    Remove,
}

/// What must hold for it to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Anything.
    None,
    /// There is no live entry.
    Absent,
    /// There is a live entry.
    Present,
    /// The live entry has this version.
    Version(Version),
}

/// Where a change goes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Memory keeps the value.
    pub memory: bool,
    /// Tiers that store it.
    pub put: TierSet,
    /// Tiers that must not keep an older one.
    pub delete: TierSet,
}

/// What a flight brought up: nothing, or a version with its tags and deadline.
pub struct Brought {
    /// The mark under which it went down.
    pub mark: MarkId,
    /// What it found.
    pub found: Option<Slot>,
}

/// One change, ready to be applied.
pub struct Ask<'a> {
    /// The cache.
    pub scope: &'a Scope,
    /// The hash of the key.
    pub hash: u64,
    /// The key.
    pub name: &'a str,
    /// The current time.
    pub now_ms: Millis,
    /// What is to happen.
    pub change: Change,
    /// What must hold.
    pub condition: Condition,
    /// For a condition on a key that memory does not know: what the tiers say.
    pub brought: Option<Brought>,
    /// Where it goes.
    pub plan: Plan,
    /// Its part of the dirty budget; without one the change is kept in memory only, and the stored
    /// copies of the key are distrusted.
    pub room: Option<OwnedSemaphorePermit>,
    /// Who waits for it to be stored.
    pub waiter: Option<(TierId, StoreDurability, Ticket)>,
}

/// What came of an [`Ask`].
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// It happened.
    Done {
        /// The version of the change.
        version: Version,
        /// The version that it replaced, where memory knew.
        replaced: Option<Version>,
        /// No tier will store it, though it was meant for one.
        memory_only: bool,
    },
    /// The condition did not hold.
    Conflict {
        /// The version of the live entry.
        current: Option<Version>,
    },
    /// Memory does not know the key: look below, and ask again under this mark.
    Below(MarkId, TierSet),
}

/// What a critical section leaves to be done outside of it.
#[derive(Default)]
pub struct Effects {
    /// Values that may be dropped now.
    pub garbage: Vec<Slot>,
    /// Who waited for a change that will not be stored.
    pub unstored: Vec<Waiter>,
    /// Something to store was added.
    pub dirtied: bool,
    /// An event was added.
    pub told: bool,
    /// A deadline was added.
    pub timed: bool,
    /// Entries evicted.
    pub evicted: u64,
    /// Values refused because they are heavier than the stripe.
    pub refused: u64,
    /// Pins that were not honoured.
    pub pins_refused: u64,
}

/// Bounds and switches that all stripes share.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events that wait for the hub, per stripe.
    pub events_max: usize,
    /// Deadlines that wait for the TTL manager, per stripe.
    pub deadlines_max: usize,
    /// Keys whose stored copies are distrusted one by one, per stripe.
    pub distrusted_max: usize,
}

/// Where the newest word on a key lies.
pub(super) enum Known<'a> {
    /// Memory holds a value, live or not.
    Slot(&'a Slot),
    /// It was removed, and the tiers do not all know it yet.
    Tombstone,
    /// Memory does not know.
    Unknown,
}

/// Stored copies of one key that are not to be believed.
#[derive(Clone, Copy, Default)]
struct Distrust {
    tiers: TierSet,
    /// When it began: a commit of what was taken before does not end it.
    since: u64,
}

pub(super) struct Stripe {
    pub table: Table,
    pub dirty: DirtySet,
    pub marks: Marks,
    pub outbox: Outbox,
    pub deadlines: Deadlines,
    stamps: u64,
    distrusted: HashMap<Key, Distrust>,
    distrusted_all: TierSet,
}

impl Stripe {
    pub fn new(budget: usize) -> Self {
        Self {
            table: Table::new(budget),
            dirty: DirtySet::default(),
            marks: Marks::default(),
            outbox: Outbox::default(),
            deadlines: Deadlines::default(),
            stamps: 0,
            distrusted: HashMap::new(),
            distrusted_all: TierSet::NONE,
        }
    }

    /// The newest word on a key, counted as a read.
    #[inline]
    pub fn known(&self, hash: u64, cache: CacheId, name: &str) -> Known<'_> {
        if let Some(slot) = self.table.get(hash, cache, name) {
            return Known::Slot(slot);
        }
        match self.dirty.get(hash, cache, name) {
            Some(dirty) => match &dirty.value {
                Some((slot, _)) => Known::Slot(slot),
                None => Known::Tombstone,
            },
            None => Known::Unknown,
        }
    }

    /// Leaves a mark for a flight down, and says which tiers it must not believe.
    pub fn mark(&mut self, hash: u64, cache: CacheId, name: &str) -> (MarkId, TierSet) {
        let mark = self.marks.leave(hash, cache, name);
        (mark, self.distrusts(cache, name))
    }

    pub fn distrusts(&self, cache: CacheId, name: &str) -> TierSet {
        if self.distrusted.is_empty() {
            return self.distrusted_all;
        }
        let one = self.distrusted.get(&Key::new(cache, name));
        self.distrusted_all
            .or(one.copied().unwrap_or_default().tiers)
    }

    /// Carries out a change, or says why not.
    pub fn apply(
        &mut self,
        mut ask: Ask<'_>,
        versions: &VersionClock,
        watched: bool,
        bounds: Bounds,
    ) -> (Applied, Effects) {
        let brought = ask.brought.take();
        let drawn = if ask.condition == Condition::None {
            Ok(versions.next(ask.now_ms))
        } else {
            let scope = ask.scope;
            scope.undisturbed(|| {
                self.decide(&ask, brought.as_ref())
                    .map(|()| versions.next(ask.now_ms))
            })
        };
        match drawn {
            Ok(version) => self.carry_out(ask, brought, version, watched, bounds),
            Err(applied) => (applied, Effects::default()),
        }
    }

    /// Whether the condition holds, as far as memory and what was brought from below can tell.
    fn decide(&mut self, ask: &Ask<'_>, brought: Option<&Brought>) -> Result<(), Applied> {
        let (hash, cache, name) = (ask.hash, ask.scope.id, ask.name);
        let is_live = |slot: &Slot| {
            slot.is_fresh(|| ask.now_ms) && ask.scope.accepts(slot.version, slot.tags())
        };
        let tiers = ask.plan.put.or(ask.plan.delete);
        let current = match self.known(hash, cache, name) {
            Known::Slot(slot) => is_live(slot).then_some(slot.version),
            Known::Tombstone => None,
            Known::Unknown if tiers.is_empty() => None,
            Known::Unknown => match brought {
                Some(b) if self.marks.stands(hash, cache, name, b.mark) => {
                    let live = b.found.as_ref().filter(|slot| is_live(slot));
                    live.map(|slot| slot.version)
                }
                _ => {
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
        };
        if holds {
            Ok(())
        } else {
            Err(Applied::Conflict { current })
        }
    }

    fn carry_out(
        &mut self,
        ask: Ask<'_>,
        brought: Option<Brought>,
        drawn: Version,
        watched: bool,
        bounds: Bounds,
    ) -> (Applied, Effects) {
        let mut effects = Effects::default();
        let key = Key::new(ask.scope.id, ask.name);
        let old = self.old(&ask, brought);
        let replaced = match &old {
            OldSlot::Known(slot) => Some(slot.version),
            _ => None,
        };
        let tiers = ask.plan.put.or(ask.plan.delete);
        self.stamps += 1;
        self.marks.strike(ask.hash, key.cache, &key.name);
        let (version, value) = match ask.change {
            Change::Put(draft) => (drawn, Some(self.slot(draft, drawn))),
            Change::Renew(draft) => {
                let version = replaced.unwrap_or(drawn);
                (version, Some(self.slot(draft, version)))
            }
            Change::Remove => (drawn, None),
        };
        let is_renewal = version != drawn;
        let slot = value.as_ref().map(|(slot, _)| slot.clone());
        let memory = slot.clone().filter(|_| ask.plan.memory);
        self.remember(ask.hash, &key, memory, &mut effects);
        let memory_only = !tiers.is_empty() && ask.room.is_none();
        if memory_only {
            let gone = self.dirty.forget(ask.hash, key.cache, &key.name);
            effects.unstored.extend(gone);
            self.distrust(key.clone(), tiers, bounds);
        } else if !tiers.is_empty() {
            let waiter = ask.waiter.map(|(tier, durability, ticket)| Waiter {
                tier,
                stamp: self.stamps,
                durability,
                ticket,
            });
            let new = NewDirty {
                key: key.clone(),
                version,
                stamp: self.stamps,
                value: value.and_then(|(slot, encoded)| Some((slot, encoded?))),
                put: if slot.is_some() {
                    ask.plan.put
                } else {
                    TierSet::NONE
                },
                delete: if slot.is_some() {
                    ask.plan.delete
                } else {
                    tiers
                },
                waiters: waiter.into_iter().collect(),
                room: ask.room,
            };
            self.dirty.put(ask.hash, new);
            effects.dirtied = true;
        }
        if let Some(slot) = &slot {
            self.note_deadline(&key, slot, &old, bounds, &mut effects);
        }
        if watched && !is_renewal {
            self.tell(key, version, old, slot, ask.now_ms, bounds, &mut effects);
        } else if let OldSlot::Known(slot) = old {
            effects.garbage.push(slot);
        }
        self.shrink(watched, ask.now_ms, bounds, &mut effects);
        let done = Applied::Done {
            version,
            replaced,
            memory_only,
        };
        (done, effects)
    }

    /// The live slot before a change, where memory or the flight knows.
    fn old(&self, ask: &Ask<'_>, brought: Option<Brought>) -> OldSlot {
        let live = |slot: &Slot| {
            slot.is_fresh(|| ask.now_ms) && ask.scope.accepts(slot.version, slot.tags())
        };
        match self.known(ask.hash, ask.scope.id, ask.name) {
            Known::Slot(slot) if live(slot) => OldSlot::Known(slot.clone()),
            Known::Slot(_) | Known::Tombstone => OldSlot::None,
            Known::Unknown => match brought.map(|b| b.found) {
                Some(Some(slot)) if live(&slot) => OldSlot::Known(slot),
                Some(_) => OldSlot::None,
                None if ask.plan.put.or(ask.plan.delete).is_empty() => OldSlot::None,
                None => OldSlot::NotLoaded,
            },
        }
    }

    fn slot(&self, draft: Draft, version: Version) -> (Slot, Option<Arc<Encoded>>) {
        let slot = Slot {
            version,
            stamp: self.stamps,
            created_ms: draft.created_ms,
            expires_ms: draft.expires_ms,
            body: draft.body,
            extra: draft.extra,
            weight: draft.weight,
            schema: draft.schema,
            priority: draft.priority,
            announced: false,
        };
        (slot, draft.encoded)
    }

    /// Replaces or removes the table's copy: whatever the table cannot keep, it must not keep older.
    fn remember(&mut self, hash: u64, key: &Key, slot: Option<Slot>, effects: &mut Effects) {
        let Some(slot) = slot else {
            effects
                .garbage
                .extend(self.table.remove(hash, key.cache, &key.name));
            return;
        };
        let put = self.table.put(hash, key.clone(), slot);
        effects.garbage.extend(put.old);
        effects.refused += u64::from(put.refused);
        effects.pins_refused += u64::from(put.pin_refused);
    }

    /// Records that stored copies of a key are no longer to be believed (PROTOCOL rule 11).
    fn distrust(&mut self, key: Key, tiers: TierSet, bounds: Bounds) {
        if self.distrusted.len() >= bounds.distrusted_max && !self.distrusted.contains_key(&key) {
            self.distrusted_all = self.distrusted_all.or(tiers);
            return;
        }
        let distrust = self.distrusted.entry(key).or_default();
        distrust.tiers = distrust.tiers.or(tiers);
        distrust.since = self.stamps;
    }

    /// The keys whose copies in this tier are distrusted one by one.
    pub fn distrusted_by(&self, tier: Option<TierId>) -> impl Iterator<Item = &Key> {
        let by = move |d: &Distrust| tier.is_some_and(|tier| d.tiers.has(tier));
        let keys = self.distrusted.iter();
        keys.filter(move |(_, d)| by(d)).map(|(key, _)| key)
    }

    /// Files tombstones for up to `count_max` distrusted keys, so that a tier that is back deletes
    /// what it should not have. Returns how many.
    pub fn heal(
        &mut self,
        tier: TierId,
        count_max: usize,
        hash: impl Fn(&Key) -> u64,
        draw: impl Fn() -> Version,
    ) -> usize {
        let keys: Vec<Key> = self
            .distrusted
            .iter()
            .filter(|(_, distrust)| distrust.tiers.has(tier))
            .map(|(key, _)| key.clone())
            .take(count_max)
            .collect();
        for key in &keys {
            let hash = hash(key);
            if self.dirty.get(hash, key.cache, &key.name).is_some() {
                continue;
            }
            self.stamps += 1;
            let new = NewDirty {
                key: key.clone(),
                version: draw(),
                stamp: self.stamps,
                value: None,
                put: TierSet::NONE,
                delete: TierSet::NONE.with(tier),
                waiters: Vec::new(),
                room: None,
            };
            self.dirty.put(hash, new);
        }
        keys.len()
    }

    /// The stored copy of a key has been overwritten or deleted by what was taken at `stamp`: it is
    /// believed again, unless it was already older than memory then.
    pub fn trust(&mut self, key: &Key, tier: TierId, stamp: u64) {
        if self.distrusted.is_empty() {
            return;
        }
        let found = self.distrusted.get_mut(key);
        if let Some(distrust) = found.filter(|distrust| distrust.since < stamp) {
            distrust.tiers = distrust.tiers.without(tier);
            if distrust.tiers.is_empty() {
                self.distrusted.remove(key);
            }
        }
    }

    pub fn distrusted(&self) -> (usize, TierSet) {
        (self.distrusted.len(), self.distrusted_all)
    }

    /// Keeps what a flight brought up, if its very mark still stands (PROTOCOL rule 4).
    pub fn promote(
        &mut self,
        hash: u64,
        scope: &Scope,
        name: &str,
        mark: MarkId,
        mut slot: Slot,
        watched: bool,
        now_ms: Millis,
        bounds: Bounds,
    ) -> (bool, Effects) {
        let mut effects = Effects::default();
        let stands = self.marks.stands(hash, scope.id, name, mark);
        if !stands || !scope.accepts(slot.version, slot.tags()) || slot.keep_ms() <= now_ms {
            self.marks.release(hash, scope.id, name, mark);
            effects.garbage.push(slot);
            return (false, effects);
        }
        self.marks.strike(hash, scope.id, name);
        self.stamps += 1;
        slot.stamp = self.stamps;
        let key = Key::new(scope.id, name);
        self.note_deadline(&key, &slot, &OldSlot::None, bounds, &mut effects);
        self.remember(hash, &key, Some(slot), &mut effects);
        self.shrink(watched, now_ms, bounds, &mut effects);
        (true, effects)
    }

    /// Replaces the bytes of a slot by the value that a reader decoded from them.
    pub fn decoded(&mut self, hash: u64, cache: CacheId, name: &str, version: Version, body: Body) {
        if let Some(slot) = self.table.get_mut(hash, cache, name) {
            if slot.version == version {
                slot.body = body;
            }
        }
    }

    fn note_deadline(
        &mut self,
        key: &Key,
        slot: &Slot,
        old: &OldSlot,
        bounds: Bounds,
        effects: &mut Effects,
    ) {
        let noted = match old {
            OldSlot::Known(old) => old.expires_ms <= slot.expires_ms && old.expires_ms != NEVER,
            _ => false,
        };
        // The timer of an earlier deadline re-arms itself when it fires.
        if slot.expires_ms != NEVER && !noted {
            self.deadlines
                .push(key.clone(), slot.expires_ms, bounds.deadlines_max);
            effects.timed = true;
        }
    }

    #[allow(clippy::too_many_arguments)] // one event has this many parts
    fn tell(
        &mut self,
        key: Key,
        version: Version,
        old: OldSlot,
        new: Option<Slot>,
        now_ms: Millis,
        bounds: Bounds,
        effects: &mut Effects,
    ) {
        let kind = match (&old, &new) {
            (_, None) => EventKind::Removed,
            (OldSlot::Known(_), Some(_)) => EventKind::Updated,
            _ => EventKind::Created,
        };
        let fingerprint = |slot: &Slot| slot.extra.as_ref().map_or(0, |e| e.fingerprint);
        if let (OldSlot::Known(old), Some(new)) = (&old, &new) {
            // A no-op is stored like any other change; only its event is suppressed.
            if fingerprint(new) != 0 && fingerprint(old) == fingerprint(new) {
                return;
            }
        }
        let event = RawEvent {
            key,
            kind,
            version,
            old,
            new,
            at_ms: now_ms,
        };
        self.outbox.push(event, bounds.events_max);
        effects.told = true;
    }

    /// Evicts until the budget holds again.
    pub fn shrink(&mut self, watched: bool, now_ms: Millis, bounds: Bounds, effects: &mut Effects) {
        while let Some((key, slot)) = self.table.evict() {
            effects.evicted += 1;
            if watched {
                let event = RawEvent {
                    key,
                    kind: EventKind::Evicted,
                    version: slot.version,
                    old: OldSlot::Known(slot),
                    new: None,
                    at_ms: now_ms,
                };
                self.outbox.push(event, bounds.events_max);
                effects.told = true;
            } else {
                effects.garbage.push(slot);
            }
        }
    }
}
