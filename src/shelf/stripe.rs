//! One stripe: table, dirty set and marks under one lock.
//!
//! Every rule of the slot protocol that says "in the same critical section" is kept here and in
//! `apply.rs`, `promote.rs` and `expiry.rs`, which are further critical sections of the same stripe.
//! Nothing in them waits, encodes, calls a host's code or drops a host's value: what leaves is handed
//! out as `Effects`.

use super::ask::{Bounds, Call};
use super::dirty::DirtySet;
use super::distrust::{Distrusts, Unstored};
use super::effects::Effects;
use super::event::{Deadlines, EventKind, OldSlot, Outbox, RawEvent};
use super::look::Look;
use super::marks::{MarkId, Marks};
use super::room::Room;
use super::slot::Slot;
use super::table::Table;
use super::taken::{NewDirty, Taken};
use super::tier::{TierId, TierSet};
use crate::clock::{Millis, NEVER};
use crate::key::{CacheId, Key};
use crate::version::Version;

/// Where the newest word on a key lies.
pub(super) enum Known<'a> {
    /// Memory holds a value, live or not.
    Slot(Look<'a>),
    /// It was removed, and the tiers do not all know it yet.
    Tombstone,
    /// Memory does not know.
    Unknown,
}

pub(super) struct Stripe {
    pub table: Table,
    pub dirty: DirtySet,
    pub marks: Marks,
    /// The marks of fetches. A promotion leaves them: it is no change of the key.
    pub claims: Marks,
    pub outbox: Outbox,
    pub deadlines: Deadlines,
    pub distrusts: Distrusts,
    stamps: u64,
}

impl Stripe {
    pub fn new(table: Table, outbox: Outbox) -> Self {
        Self {
            table,
            dirty: DirtySet::default(),
            marks: Marks::default(),
            claims: Marks::default(),
            outbox,
            deadlines: Deadlines::default(),
            distrusts: Distrusts::default(),
            stamps: 0,
        }
    }

    /// The newest word on a key, counted as a read.
    #[inline]
    pub fn read(&self, hash: u64, cache: CacheId, name: &str) -> Known<'_> {
        match self.table.get(hash, cache, name) {
            Some(slot) => Known::Slot(slot),
            None => self.unsettled(hash, cache, name),
        }
    }

    /// The newest word on a key.
    pub fn known(&self, hash: u64, cache: CacheId, name: &str) -> Known<'_> {
        match self.table.peek(hash, cache, name) {
            Some(slot) => Known::Slot(slot),
            None => self.unsettled(hash, cache, name),
        }
    }

    pub fn unsettled(&self, hash: u64, cache: CacheId, name: &str) -> Known<'_> {
        match self.dirty.get(hash, cache, name) {
            // The tiers that it is about are distrusted for as long as it waits.
            Some(dirty) if dirty.heals => Known::Unknown,
            Some(dirty) => match &dirty.value {
                Some((slot, _)) => Known::Slot(slot.look()),
                None => Known::Tombstone,
            },
            None => Known::Unknown,
        }
    }

    /// Leaves a mark for a flight down, and says which tiers it must not believe.
    pub fn mark(&mut self, hash: u64, cache: CacheId, name: &str) -> (MarkId, TierSet) {
        let mark = self.marks.leave(hash, cache, name);
        (mark, self.distrusts.of(hash, cache, name))
    }

    /// A stamp that no slot of this stripe has had.
    pub fn stamp(&mut self) -> u64 {
        self.stamps += 1;
        self.stamps
    }

    /// Replaces or removes the table's copy: whatever the table cannot keep, it must not keep older.
    /// Leaves in `effects` what was there.
    pub fn remember(&mut self, call: &Call<'_>, slot: Option<Slot>, effects: &mut Effects) {
        let (hash, cache, left) = (call.hash, call.scope.id, &mut effects.table);
        match slot {
            Some(slot) => self.table.put(hash, cache, call.name, slot, left),
            None => left.old = self.table.remove(hash, cache, call.name),
        }
    }

    /// Records that stored copies of a key are no longer to be believed.
    ///
    /// IMPORTANT: `as_of` is the newest version there is, not the change's own: that may have been drawn
    /// before a store was opened late which holds higher ones.
    pub fn distrust(&mut self, call: &Call<'_>, tiers: TierSet, as_of: Version) {
        let unstored = Unstored {
            hash: call.hash,
            key: Key::new(call.scope.id, call.name),
            tiers,
            stamp: self.stamps,
            as_of,
        };
        self.distrusts.add(unstored, call.bounds.distrusted_max);
    }

    /// As [`distrust`](Stripe::distrust), of what a lane took and will not store.
    pub fn distrust_taken(
        &mut self,
        tier: TierId,
        taken: &Taken,
        as_of: Version,
        count_max: usize,
    ) {
        let unstored = Unstored {
            hash: taken.hash,
            key: taken.key.clone(),
            tiers: TierSet::NONE.with(tier),
            stamp: taken.stamp,
            as_of,
        };
        self.distrusts.add(unstored, count_max);
    }

    /// Files tombstones for up to `count_max` distrusted keys, so that a tier that is back deletes
    /// what it should not have. Returns how many. A value that only memory has stays there.
    pub fn heal(&mut self, tier: TierId, count_max: usize, draw: impl Fn() -> Version) -> usize {
        let is_under_way = |hash, key: &Key| {
            let dirty = self.dirty.get(hash, key.cache, &key.name);
            dirty.is_some_and(|d| d.tiers().has(tier))
        };
        let distrusted = self.distrusts.keys_of(TierSet::NONE.with(tier));
        let keys: Vec<(u64, Key)> = distrusted
            .filter(|(hash, key, _)| !is_under_way(*hash, key))
            .map(|(hash, key, _)| (hash, key.clone()))
            .take(count_max)
            .collect();
        let count = keys.len();
        for (hash, key) in keys {
            let stamp = self.stamp();
            let (cache, name) = (key.cache, &key.name);
            if self.dirty.delete_too(hash, cache, name, tier, stamp) {
                continue;
            }
            let new = NewDirty {
                stamp,
                key,
                version: draw(),
                value: None,
                put: TierSet::NONE,
                delete: TierSet::NONE.with(tier),
                heals: true,
                waiters: Vec::new(),
                room: Room::default(),
            };
            self.dirty.put(hash, new);
        }
        count
    }

    /// Notes a slot's deadline, unless a timer that fires no later stands already: that one re-arms
    /// itself when it fires.
    pub fn note_deadline(
        &mut self,
        call: &Call<'_>,
        expires_ms: Millis,
        timer_ms: Option<Millis>,
        effects: &mut Effects,
    ) {
        if expires_ms == NEVER || timer_ms.is_some_and(|timer| timer <= expires_ms) {
            return;
        }
        let key = Key::new(call.scope.id, call.name);
        self.deadlines
            .push(key, expires_ms, call.bounds.deadlines_max);
        effects.timed = true;
    }

    /// Records an event.
    pub fn tell(&mut self, event: RawEvent, bounds: &Bounds, effects: &mut Effects) {
        self.outbox.push(event, bounds, &mut effects.lost);
        effects.told = true;
    }

    /// Evicts until the budget holds again.
    pub fn shrink(
        &mut self,
        watched: bool,
        now_ms: Millis,
        bounds: &Bounds,
        effects: &mut Effects,
    ) {
        while let Some((key, slot)) = self.table.evict() {
            effects.evicted += 1;
            if !watched {
                effects.garbage.push(slot);
                continue;
            }
            let event = RawEvent {
                key,
                kind: EventKind::Evicted,
                version: slot.version,
                old: OldSlot::Known(slot),
                new: None,
                at_ms: now_ms,
            };
            self.tell(event, bounds, effects);
        }
    }
}
