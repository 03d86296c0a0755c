//! One key, a shelf and a store that is a map, with every step of the protocol in the test's hands.
#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use larder::Version;
use larder::drivers::StoreDurability::{self, Written};
use larder::shelf::*;
use larder::version::VersionClock;
use tokio::sync::Semaphore;

pub const DISK: TierId = TierId(0);
pub const NEVER: u64 = u64::MAX;
pub const K: &str = "k";

/// A shelf over one store, with the lane in the test's hands.
pub struct World {
    pub shelf: Shelf,
    pub scope: Arc<Scope>,
    pub store: HashMap<String, Slot>,
    pub room: Arc<Semaphore>,
    pub now_ms: u64,
}

/// A read on its way down.
pub struct Flight {
    pub mark: MarkId,
    pub distrusted: TierSet,
    pub found: Option<Slot>,
}

impl World {
    pub fn new() -> Self {
        Self::with_budget(1 << 20)
    }

    pub fn with_budget(bytes: usize) -> Self {
        let bounds = Bounds {
            events_max: 64,
            events_bytes_max: usize::MAX,
            deadlines_max: 64,
            distrusted_max: 2,
        };
        let versions = Arc::new(VersionClock::new(0));
        let shelf = Shelf::new(1, bytes, 4, bounds, versions);
        Self {
            scope: shelf.scope("users"),
            shelf,
            store: HashMap::new(),
            room: Arc::new(Semaphore::new(1_000)),
            now_ms: 1_000,
        }
    }

    /// A world whose store holds 1 under `K` and whose memory holds nothing.
    pub fn stored() -> Self {
        let mut world = Self::new();
        world.set(1);
        world.flush();
        world.evict();
        world
    }

    pub fn hash(&self) -> u64 {
        self.shelf.hash(self.scope.id, K)
    }

    pub fn ask(&self, change: Change) -> Ask<'_> {
        Ask {
            scope: &self.scope,
            hash: self.hash(),
            name: K,
            now_ms: self.now_ms,
            change,
            condition: Condition::None,
            brought: None,
            plan: Plan {
                memory: true,
                put: TierSet::NONE.with(DISK),
                delete: TierSet::NONE,
            },
            room: Arc::clone(&self.room).try_acquire_owned().unwrap().into(),
            kind: None,
            waiters: Vec::new(),
        }
    }

    pub fn set(&self, value: u64) -> Version {
        self.put(draft(value))
    }

    pub fn put(&self, draft: Draft) -> Version {
        done(self.shelf.apply(self.ask(Change::Put(draft))))
    }

    pub fn remove(&self) -> Version {
        done(self.shelf.apply(self.ask(Change::Remove)))
    }

    /// Sets while the store is down and the dirty budget is used up.
    pub fn overflow(&self, value: u64) {
        let mut ask = self.ask(Change::Put(draft(value)));
        ask.room = Room::default();
        done(self.shelf.apply(ask));
    }

    pub fn clear(&self) -> Version {
        self.shelf.fence(&self.scope, Covers::All, self.now_ms).0
    }

    pub fn wait_for(&self, durability: StoreDurability, value: u64) -> Waiting {
        let (ticket, waiting) = Ticket::new();
        let mut ask = self.ask(Change::Put(draft(value)));
        ask.waiters = vec![(DISK, durability, ticket)];
        done(self.shelf.apply(ask));
        waiting
    }

    pub fn evict(&self) {
        self.shelf.resize(0, self.now_ms);
        self.shelf.resize(1 << 20, self.now_ms);
    }

    pub fn take(&self) -> Vec<Taken> {
        self.shelf.take(DISK, 100, 1 << 20, self.now_ms, &mut 0)
    }

    /// The store does what was taken; nobody is told yet.
    pub fn commit(&mut self, taken: &[Taken]) {
        for one in taken {
            let name = one.key.name.to_string();
            match &one.value {
                Some((slot, _)) => self.store.insert(name, slot.clone()),
                None => self.store.remove(&name),
            };
        }
    }

    pub fn settle(&self, taken: &[Taken]) {
        self.shelf.settle(DISK, taken, Written);
    }

    pub fn flush(&mut self) -> usize {
        let taken = self.take();
        self.commit(&taken);
        self.settle(&taken);
        taken.len()
    }

    /// The first step of a read that memory cannot answer: leaves the mark, asks the store.
    pub fn go_down(&self) -> Flight {
        let now = || self.now_ms;
        let seen = self
            .shelf
            .read_or_mark(&self.scope, self.hash(), K, now, false, |_, _| ());
        let Seen::Below(mark, distrusted) = seen else {
            panic!("memory can answer");
        };
        let mut flight = Flight {
            mark,
            distrusted,
            found: None,
        };
        self.look(&mut flight);
        flight
    }

    pub fn look(&self, flight: &mut Flight) {
        let trusted = !flight.distrusted.has(DISK);
        let stored = self.store.get(K).filter(|_| trusted);
        let shows =
            |s: &&Slot| s.is_fresh(|| self.now_ms) && self.scope.accepts(s.version, s.tags());
        flight.found = stored.filter(shows).cloned();
    }

    /// The last step: keeps what was found, if it may.
    pub fn come_up(&self, flight: &Flight) -> bool {
        let hash = self.hash();
        match flight.found.clone() {
            Some(slot) => self
                .shelf
                .promote(&self.scope, hash, K, flight.mark, slot, self.now_ms),
            None => {
                self.shelf.release(&self.scope, hash, K, flight.mark);
                false
            }
        }
    }

    /// A whole read, down to the store if need be.
    pub fn get(&self) -> Option<u64> {
        let now = || self.now_ms;
        let show = |slot: Look<'_>, _| value_of(&slot.to_slot());
        match self
            .shelf
            .read(&self.scope, self.hash(), K, now, false, show)
        {
            Seen::Hit(value) => Some(value),
            Seen::Gone(_) => None,
            _ => {
                let flight = self.go_down();
                self.come_up(&flight);
                flight.found.as_ref().map(value_of)
            }
        }
    }

    pub fn set_if(&self, value: u64, condition: Condition, flight: Option<&Flight>) -> Applied {
        let mut ask = self.ask(Change::Put(draft(value)));
        ask.condition = condition;
        ask.brought = flight.map(|flight| Brought {
            mark: flight.mark,
            found: flight.found.clone(),
        });
        self.shelf.apply(ask)
    }

    pub fn begin_fetch(&self) -> (MarkId, Version) {
        self.shelf.claim(&self.scope, self.hash(), K, self.now_ms)
    }

    pub fn end_fetch(&self, value: u64, (mark, began): (MarkId, Version)) -> Applied {
        let mut ask = self.ask(Change::Fetched(draft(value), began));
        ask.condition = Condition::Flight(mark);
        self.shelf.apply(ask)
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

pub fn until(value: u64, expires_ms: u64) -> Draft {
    Draft {
        expires_ms,
        ..draft(value)
    }
}

pub fn value_of(slot: &Slot) -> u64 {
    match &slot.body {
        Body::Decoded(value) => *value.downcast_ref().unwrap(),
        Body::Encoded(_) => panic!("this store keeps values"),
    }
}

pub fn done(applied: Applied) -> Version {
    match applied {
        Applied::Done { version, .. } => version,
        other => panic!("{other:?}"),
    }
}

pub fn is_conflict(applied: &Applied) -> bool {
    matches!(applied, Applied::Conflict { .. })
}
