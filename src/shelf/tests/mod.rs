//! The shelf's behaviour, through its own front door, with time and tiers by hand.

mod aging;
mod dropping;
mod events;
mod eviction;
mod listing;
mod mutations;
mod overflow;
mod plain;
mod refile;
mod settling;

use std::sync::Arc as StdArc;

use tokio::sync::Semaphore;

use super::*;
use crate::drivers::StoreDurability;

pub const DISK: TierId = TierId(0);
pub const FAR: TierId = TierId(1);
pub const BOUNDS: Bounds = Bounds {
    events_max: 8,
    events_bytes_max: usize::MAX,
    deadlines_max: 8,
    distrusted_max: 4,
};
pub const NEVER: Millis = Millis::MAX;

/// A shelf with one cache, and a clock that stands at 1000.
pub struct Bench {
    pub shelf: Shelf,
    pub scope: Arc<Scope>,
    pub room: StdArc<Semaphore>,
    pub tiers: TierSet,
    pub now_ms: Millis,
}

pub fn bench() -> Bench {
    Bench::with(1, 1 << 20)
}

impl Bench {
    pub fn with(stripes: usize, budget: usize) -> Self {
        Self::bounded(stripes, budget, BOUNDS)
    }

    pub fn bounded(stripes: usize, budget: usize, bounds: Bounds) -> Self {
        let versions = Arc::new(VersionClock::new(0));
        let shelf = Shelf::new(stripes, budget, 4, bounds, versions);
        Self {
            scope: shelf.scope("users"),
            shelf,
            room: StdArc::new(Semaphore::new(1 << 20)),
            tiers: TierSet::NONE.with(DISK),
            now_ms: 1_000,
        }
    }

    pub fn hash(&self, name: &str) -> u64 {
        self.shelf.hash(self.scope.id, name)
    }

    pub fn permit(&self) -> Room {
        let permit = StdArc::clone(&self.room).try_acquire_owned();
        permit.unwrap().into()
    }

    /// Room in one tier alone.
    pub fn room_in(&self, tier: TierId) -> Room {
        let permit = StdArc::clone(&self.room).try_acquire_owned();
        let mut room = Room::default();
        room.add(tier, permit.unwrap());
        room
    }

    pub fn ask<'a>(&'a self, name: &'a str, change: Change) -> Ask<'a> {
        Ask {
            scope: &self.scope,
            hash: self.hash(name),
            name,
            now_ms: self.now_ms,
            change,
            condition: Condition::None,
            brought: None,
            plan: Plan {
                memory: true,
                put: self.tiers,
                delete: TierSet::NONE,
            },
            room: self.permit(),
            kind: None,
            waiters: Vec::new(),
        }
    }

    pub fn set(&self, name: &str, value: u64) -> Version {
        self.put(name, draft(value))
    }

    pub fn put(&self, name: &str, draft: Draft) -> Version {
        version(self.shelf.apply(self.ask(name, Change::Put(draft))))
    }

    pub fn remove(&self, name: &str) -> Version {
        version(self.shelf.apply(self.ask(name, Change::Remove)))
    }

    /// Sets without room in the dirty budget.
    pub fn overflow(&self, name: &str, value: u64) {
        let mut ask = self.ask(name, Change::Put(draft(value)));
        ask.room = Room::default();
        let applied = self.shelf.apply(ask);
        assert!(matches!(applied, Applied::Done { unstored, .. } if unstored == self.tiers));
    }

    pub fn set_if(&self, name: &str, value: u64, condition: Condition) -> Applied {
        let mut ask = self.ask(name, Change::Put(draft(value)));
        ask.condition = condition;
        self.shelf.apply(ask)
    }

    /// What a plain read shows.
    pub fn get(&self, name: &str) -> Option<u64> {
        let hash = self.hash(name);
        let now = || self.now_ms;
        let show = |slot: Look<'_>, _| value_of(&slot.to_slot());
        match self.shelf.read(&self.scope, hash, name, now, false, show) {
            Seen::Hit(value) => Some(value),
            _ => None,
        }
    }

    /// The mark of a flight down, and the tiers that it must not believe.
    pub fn mark(&self, name: &str) -> (MarkId, TierSet) {
        let hash = self.hash(name);
        let now = || self.now_ms;
        let seen = self
            .shelf
            .read_or_mark(&self.scope, hash, name, now, false, |_, _| ());
        match seen {
            Seen::Below(mark, distrusted) => (mark, distrusted),
            _ => panic!("memory knows {name}"),
        }
    }

    pub fn promote(&self, name: &str, mark: MarkId, slot: Slot) -> bool {
        let hash = self.hash(name);
        self.shelf
            .promote(&self.scope, hash, name, mark, slot, self.now_ms)
    }

    /// Takes everything out of the table, as eviction would.
    pub fn evict_all(&self) {
        let budget = self.shelf.stats().bytes_max;
        self.shelf.resize(0, self.now_ms);
        self.shelf.resize(budget, self.now_ms);
    }

    pub fn take(&self, tier: TierId) -> Vec<Taken> {
        self.shelf.take(tier, 100, 1 << 20, self.now_ms, &mut 0)
    }

    /// Stores everything that is dirty in a tier.
    pub fn flush(&self, tier: TierId) -> usize {
        let taken = self.take(tier);
        self.shelf.settle(tier, &taken, StoreDurability::Written);
        taken.len()
    }

    pub fn events(&self) -> Vec<RawEvent> {
        let mut events = Vec::new();
        self.shelf.take_events(&mut events);
        events
    }
}

pub fn draft(value: u64) -> Draft {
    Draft {
        body: Body::Decoded(Arc::new(value)),
        encoded: Some(Arc::new(Encoded {
            codec: 0,
            type_tag: 0,
            flags: 0,
            is_secret: false,
            payload: value.to_le_bytes().to_vec().into(),
        })),
        weight: 8,
        created_ms: 0,
        expires_ms: NEVER,
        extra: None,
        schema: 0,
        priority: Priority::Normal,
    }
}

pub fn until(value: u64, expires_ms: Millis) -> Draft {
    Draft {
        expires_ms,
        ..draft(value)
    }
}

pub fn extra(keep_ms: Millis, fingerprint: u64, tags: &[&str]) -> Option<Arc<Extra>> {
    Some(Arc::new(Extra {
        keep_ms,
        idle_ms: 0,
        ends_ms: NEVER,
        fingerprint,
        skipped: TierSet::NONE,
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
    }))
}

/// A slot as a tier's record would make it.
pub fn record(value: u64, version: Version) -> Slot {
    Slot {
        version,
        created_ms: 0,
        expires_ms: NEVER,
        body: Body::Decoded(Arc::new(value)),
        extra: None,
        weight: 8,
        schema: 0,
        priority: Priority::Normal,
        announced: false,
    }
}

pub fn value_of(slot: &Slot) -> u64 {
    match &slot.body {
        Body::Decoded(value) => *value.downcast_ref().unwrap(),
        Body::Encoded(bytes) => u64::from_le_bytes(bytes.payload[..].try_into().unwrap()),
    }
}

pub fn version(applied: Applied) -> Version {
    match applied {
        Applied::Done { version, .. } => version,
        other => panic!("{other:?}"),
    }
}
