//! A TTL manager under test: a real shelf, a clock that is moved by hand, stores that answer as told.

use std::time::Duration;

use actix::Addr;

use crate::actors::guard::DeathGuard;
use crate::actors::ttl::parts::{Reclaimer, TtlConfig, TtlParts, TtlStats};
use crate::actors::ttl::{TtlManager, start};
use crate::clock::{Clock, Millis};
use crate::drivers::Reclaimed;
use crate::key::Key;
use crate::messages::ttl::Wake;
use crate::shelf::{
    Applied, Ask, Body, Bounds, Change, Condition, Draft, EventKind, Extra, Plan, RawEvent, Shelf,
    TierSet,
};
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::version::{Version, VersionClock};

pub const START_MS: Millis = 1_000_000;

/// What the tiers of a test answer.
#[derive(Default)]
pub struct Stores {
    pub below: Mutex<Vec<(Key, Version, Millis)>>,
    pub reclaims: Mutex<Vec<Option<Reclaimed>>>,
    pub reclaims_asked: AtomicUsize,
    pub lookups: AtomicUsize,
}

pub struct Bench {
    pub shelf: Arc<Shelf>,
    pub clock: Clock,
    pub config: TtlConfig,
    pub watched: Arc<Mutex<Vec<Key>>>,
    pub stores: Arc<Stores>,
    pub stats: Arc<TtlStats>,
    pub died: Arc<AtomicU64>,
}

impl Bench {
    pub fn new() -> Self {
        let bounds = Bounds {
            events_max: 100_000,
            events_bytes_max: usize::MAX,
            deadlines_max: 1_000,
            distrusted_max: 10,
        };
        let versions = Arc::new(VersionClock::new(0));
        let shelf = Arc::new(Shelf::new(2, 64 << 20, 8, bounds, versions));
        shelf.watch(true);
        Self {
            shelf,
            clock: Clock::manual(START_MS),
            config: TtlConfig {
                wake_pause_ms: 0,
                pass_pause_ms: 0,
                ..TtlConfig::default()
            },
            watched: Arc::default(),
            stores: Arc::default(),
            stats: Arc::default(),
            died: Arc::default(),
        }
    }

    pub fn start(&self) -> Addr<TtlManager> {
        let watched = Arc::clone(&self.watched);
        let (below, reclaims) = (Arc::clone(&self.stores), Arc::clone(&self.stores));
        let reclaimer: Reclaimer = Arc::new(move |_, count_max| {
            assert!(count_max > 0);
            reclaims.reclaims_asked.fetch_add(1, Ordering::SeqCst);
            let mut answers = reclaims.reclaims.lock();
            let answer = if answers.is_empty() {
                Some(Reclaimed::default())
            } else {
                answers.remove(0)
            };
            Box::pin(async move { answer })
        });
        let parts = TtlParts {
            shelf: Arc::clone(&self.shelf),
            clock: self.clock.clone(),
            config: self.config,
            watched: Arc::new(move |key| watched.lock().contains(key)),
            below: Arc::new(move |key| {
                below.lookups.fetch_add(1, Ordering::SeqCst);
                let all = below.below.lock();
                let found = all.iter().find(|(k, ..)| *k == key);
                let found = found.map(|(_, version, at)| (*version, *at));
                Box::pin(async move { found })
            }),
            reclaimers: vec![(1, reclaimer)],
            stats: Arc::clone(&self.stats),
        };
        let died = Arc::clone(&self.died);
        let tell = Arc::new(move |generation| died.store(generation, Ordering::SeqCst));
        start(parts, DeathGuard::new(1, tell))
    }

    pub fn set(&self, name: &str, ttl_ms: Millis) -> Version {
        self.set_kept(name, ttl_ms, 0)
    }

    pub fn set_kept(&self, name: &str, ttl_ms: Millis, kept_ms: Millis) -> Version {
        let scope = self.shelf.scope("users");
        let now_ms = self.clock.now_ms();
        let expires_ms = now_ms + ttl_ms;
        let extra = (kept_ms > 0).then(|| Extra {
            keep_ms: expires_ms + kept_ms,
            idle_ms: 0,
            ends_ms: crate::clock::NEVER,
            fingerprint: 0,
            skipped: crate::shelf::TierSet::NONE,
            tags: [].into(),
        });
        let draft = Draft {
            body: Body::Decoded(Arc::new(1_u8)),
            encoded: None,
            weight: 1,
            created_ms: now_ms,
            expires_ms,
            extra: extra.map(Arc::new),
            schema: 0,
            priority: Default::default(),
        };
        let applied = self.shelf.apply(Ask {
            scope: &scope,
            hash: self.shelf.hash(scope.id, name),
            name,
            now_ms,
            change: Change::Put(draft),
            condition: Condition::None,
            brought: None,
            plan: Plan {
                memory: true,
                put: TierSet::NONE,
                delete: TierSet::NONE,
            },
            room: crate::shelf::Room::default(),
            kind: None,
            waiters: Vec::new(),
        });
        match applied {
            Applied::Done { version, .. } => version,
            other => panic!("{other:?}"),
        }
    }

    pub fn key(&self, name: &str) -> Key {
        Key::new(self.shelf.scope("users").id, name)
    }

    pub fn watch(&self, name: &str) -> Key {
        let key = self.key(name);
        self.watched.lock().push(key.clone());
        key
    }

    pub fn advance(&self, ms: Millis) {
        self.clock.advance(Duration::from_millis(ms));
    }

    /// What has expired since the last time.
    pub fn expired(&self) -> Vec<(String, Version)> {
        let mut events: Vec<RawEvent> = Vec::new();
        self.shelf.take_events(&mut events);
        let expired = events.iter().filter(|e| e.kind == EventKind::Expired);
        expired
            .map(|e| (e.key.name.to_string(), e.version))
            .collect()
    }

    pub fn entries(&self) -> usize {
        self.shelf.stats().entries
    }

    pub fn timers(&self) -> u64 {
        self.stats.timers.load(Ordering::SeqCst)
    }
}

/// Lets the manager do all that can be done at this time: each answered message is a turn.
pub async fn turns(addr: &Addr<TtlManager>) {
    for _ in 0..12 {
        addr.send(Wake).await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// Waits, without asking the manager for anything, until something holds.
pub async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .expect("it never came to hold");
}
