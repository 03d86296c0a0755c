//! What follows when a driver says that it was emptied: it is counted and said, nothing in it is
//! distrusted any more if it is empty indeed, and what memory still has is stored again (the slot protocol, rules 11 and 12,
//! SEMANTICS.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::drivers::Emptied;
use crate::port::Port;
use crate::tiers::Tiers;

/// What one driver is to get back from memory. Outlives its generations.
pub(super) struct Healing {
    tiers: Arc<Tiers>,
    port: Arc<Port>,
    /// The latest one that got calls.
    generation: AtomicU64,
}

impl Healing {
    pub fn new(tiers: &Arc<Tiers>, port: &Arc<Port>) -> Self {
        Self {
            tiers: Arc::clone(tiers),
            port: Arc::clone(port),
            generation: AtomicU64::new(0),
        }
    }

    /// A driver that has just been opened was emptied. To be called before anything can be taken for it.
    pub fn emptied(&self, emptied: &Emptied) {
        let (tiers, port) = (&self.tiers, &self.port);
        tracing::warn!(
            driver = %port.name,
            reason = %emptied.reason,
            kept = emptied.kept.as_deref().unwrap_or("nothing"),
            salvaged = emptied.salvaged,
            "driver begins with a new store, which has what could be salvaged of the old one; what memory \
             has is stored again, the rest is fetched anew; check the device, and delete what is kept \
             when nobody needs it"
        );
        let stats = &port.stats;
        stats.emptied.fetch_add(1, Ordering::AcqRel);
        stats
            .salvaged
            .fetch_add(emptied.salvaged, Ordering::Relaxed);
        // IMPORTANT: what was distrusted may be among what was salvaged, whole and old.
        if emptied.salvaged == 0 {
            let as_of = tiers.shelf.versions().next(tiers.now_ms());
            tiers.shelf.trust_all(port.id, as_of);
        }
    }

    /// A generation was proven. Resolves when it has all that it is owed, or another one was.
    pub async fn run(self: Arc<Self>, generation: u64) {
        self.generation.store(generation, Ordering::Release);
        let is_latest = || self.generation.load(Ordering::Acquire) == generation;
        let (port, tiers) = (&self.port, &self.tiers);
        while port.is_owed() {
            // Its breaker may be forced open.
            port.coming_up().await;
            if !is_latest() || tiers.takes_no_more() {
                return;
            }
            // It may be emptied again, and be up again, between two looks.
            let emptied = port.emptied();
            let goes_on = || port.is_up() && is_latest() && port.emptied() == emptied;
            let (filed, is_all) = tiers.refile(port.id, goes_on).await;
            if is_all && goes_on() {
                port.fill(emptied);
            }
            tracing::info!(driver = %port.name, filed, is_all, "stored again from memory");
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::clock::{Clock, NEVER};
    use crate::config::{CommitConfig, Config};
    use crate::drivers::StoreDurability;
    use crate::drivers::lanes::lanes;
    use crate::drivers::map::MapStore;
    use crate::drivers::pulse::Pulse;
    use crate::entry::Source;
    use crate::gate::Standing;
    use crate::runtime::Runtime;
    use crate::shelf::{
        Ask, Body, Change, Condition, Draft, Encoded, Plan, Priority, Room, Slot, TierId, TierSet,
    };
    use crate::tiers::{Opened, Place};
    use crate::version::VersionClock;
    use crate::wiring::DriverPlan;

    const STORE: TierId = TierId(0);

    async fn tiers() -> Arc<Tiers> {
        let runtime = Runtime::start().await.unwrap();
        let plan = DriverPlan::new(
            "store",
            Source::Custom(0),
            CommitConfig::default(),
            MapStore::new().factory(),
        );
        let versions = Arc::new(VersionClock::new(0));
        let (config, clock) = (Config::default(), Clock::manual(1_000));
        let tiers = crate::wiring::tiers(config, clock, &[plan], &runtime, &versions);
        let (lanes, _) = lanes(1, 1, Pulse::new(Clock::manual(1_000), 1, |_| ()));
        tiers.ports[0].half_open(1, lanes);
        Arc::new(tiers)
    }

    fn encoded() -> Arc<Encoded> {
        Arc::new(Encoded {
            codec: 0,
            type_tag: 0,
            flags: 0,
            is_secret: false,
            payload: bytes::Bytes::new(),
        })
    }

    fn set(tiers: &Tiers, name: &str) {
        let scope = tiers.shelf.scope("numbers");
        let permit = Arc::clone(&tiers.rooms[0]).try_acquire_many_owned(1);
        tiers.shelf.apply(Ask {
            scope: &scope,
            hash: tiers.shelf.hash(scope.id, name),
            name,
            now_ms: 1_000,
            change: Change::Put(Draft {
                body: Body::Encoded(encoded()),
                encoded: Some(encoded()),
                weight: 1,
                created_ms: 0,
                expires_ms: NEVER,
                extra: None,
                schema: 0,
                priority: Priority::Normal,
            }),
            condition: Condition::None,
            brought: None,
            plan: Plan {
                memory: true,
                put: TierSet::NONE.with(STORE),
                delete: TierSet::NONE,
            },
            room: Room::from(permit.unwrap()),
            kind: None,
            waiters: Vec::new(),
        });
    }

    /// All that is dirty is stored; how much that was.
    fn store(tiers: &Tiers) -> usize {
        let (shelf, mut from) = (&tiers.shelf, 0);
        let taken = shelf.take(STORE, 100, usize::MAX, 1_000, &mut from);
        shelf.settle(STORE, &taken, StoreDurability::Written);
        taken.len()
    }

    #[tokio::test]
    async fn a_store_that_is_emptied_again_while_it_is_filled_is_filled_from_the_start() {
        let tiers = tiers().await;
        ["a", "b", "c"].iter().for_each(|name| set(&tiers, name));
        assert_eq!(store(&tiers), 3);
        let healing = Arc::new(Healing::new(&tiers, &tiers.ports[0]));
        let emptied = Emptied {
            reason: "a test".into(),
            kept: None,
            salvaged: 0,
        };
        healing.emptied(&emptied);
        let (again, of) = (Arc::downgrade(&healing), Arc::downgrade(&tiers));
        let encodes = Mutex::new(0);
        let encode = move |_: &Slot| {
            *encodes.lock() += 1;
            // With the last of them, what was filed so far has been stored and is gone.
            if *encodes.lock() == 3 {
                assert_eq!(store(&of.upgrade().unwrap()), 2);
                again.upgrade().unwrap().emptied(&emptied);
            }
            Some(encoded())
        };
        let opened = Opened {
            place: Place {
                scope: tiers.shelf.scope("numbers"),
                memory: true,
                tiers: TierSet::NONE.with(STORE),
                schema: 0,
                kind: None,
                standing: Standing::default(),
            },
            is_secret: false,
            defaults: Arc::new(()),
            definition: Arc::new(()),
            encode: Arc::new(encode),
        };
        tiers.definitions.write().insert("numbers".into(), opened);
        healing.run(1).await;
        assert_eq!(store(&tiers), 3);
        assert!(!tiers.ports[0].is_owed());
    }
}
