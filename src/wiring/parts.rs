//! What a larder is made of, and what is asked of it as a whole.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "secure")]
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Book;
use crate::actors::ttl::parts::TtlStats;
use crate::drivers::StoreDurability;
#[cfg(feature = "secure")]
use crate::drivers::sealed::Vault;
use crate::error::Error;
use crate::gate::Gate;
use crate::messages::larder::Warmed;
use crate::outcome::Durability;
use crate::runtime::Runtime;
use crate::stats::{
    CompressionStats, DirtyStats, DriverStats, ExpiryStats, FetchStats, Stats, WatchStats,
};
use crate::sync::{AtomicBool, Ordering};
use crate::tiers::Tiers;
use crate::version::VersionClock;
use crate::watch::Registry;

/// How long a driver may take to say how much it holds.
const MEASURE_MAX: Duration = Duration::from_millis(250);

/// What everything is built from.
pub(crate) struct Parts {
    pub tiers: Arc<Tiers>,
    pub runtime: Arc<Runtime>,
    pub book: Arc<Book>,
    pub versions: Arc<VersionClock>,
    pub ttl_stats: Arc<TtlStats>,
    /// Who watches what; the hub's alone, but it outlives a generation of it.
    pub registry: Arc<Mutex<Registry>>,
    /// The desk's gate; outlives its generations.
    pub gate: Gate,
    /// Whether calls may have been made already.
    pub started: AtomicBool,
    /// How often the health of anything has changed.
    pub changes: Changes,
    /// Of sealed drivers, by their names.
    #[cfg(feature = "secure")]
    pub vaults: HashMap<String, Arc<Vault>>,
}

/// Tells of changes in health. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Changes(Arc<watch::Sender<u64>>);

impl Default for Changes {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Changes {
    pub fn note(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Parts {
    /// Stores everything that is dirty, this safely.
    pub async fn flush(&self, durability: Durability) -> Result<(), Error> {
        let durability = match durability {
            Durability::Queued => return Ok(()),
            Durability::Written => StoreDurability::Written,
            Durability::Synced => StoreDurability::Synced,
        };
        self.tiers.flush(durability, &self.tiers.wait(None)).await
    }

    /// Loads entries into memory.
    pub async fn warm<I: IntoIterator<Item: AsRef<str>>>(
        &self,
        entries: I,
    ) -> Result<Warmed, Error> {
        let mut warmed = Warmed::default();
        for entry in entries {
            if self.tiers.warm(entry.as_ref()).await? {
                warmed.loaded += 1;
            } else {
                warmed.missing += 1;
            }
        }
        Ok(warmed)
    }

    /// How many sealed records of a driver did not open.
    fn unopened(&self, driver: &str) -> u64 {
        #[cfg(feature = "secure")]
        return self.vaults.get(driver).map_or(0, |vault| vault.refused());
        #[cfg(not(feature = "secure"))]
        {
            let _ = driver;
            0
        }
    }

    /// Everything that is counted.
    pub async fn stats(&self) -> Stats {
        let tiers = &self.tiers;
        let mut drivers = Vec::new();
        for port in &tiers.ports {
            let wait = tiers.wait(Some(MEASURE_MAX));
            let usage = match port.is_up() {
                true => port.usage(&wait).await.ok(),
                false => None,
            };
            drivers.push(DriverStats::of(port, usage, self.unopened(&port.name)));
        }
        let (ttl, watch, counts) = (&self.ttl_stats, self.registry.lock().stats(), &tiers.counts);
        let memory = tiers.shelf.stats();
        Stats {
            memory,
            drivers,
            dirty: DirtyStats {
                slots: memory.dirty_slots,
                bytes: tiers.dirty_bytes(),
                memory_only_sets: counts.memory_only_sets.load(Ordering::Relaxed),
            },
            expiry: ExpiryStats {
                expired: ttl.expired.load(Ordering::Relaxed),
                reclaimed: ttl.reclaimed.load(Ordering::Relaxed),
                timers: ttl.timers.load(Ordering::Relaxed),
                timers_refused: ttl.timers_refused.load(Ordering::Relaxed),
            },
            watch: WatchStats {
                subscriptions: watch.subscriptions as u64,
                delivered: watch.delivered,
                missed: watch.missed,
            },
            fetch: FetchStats::of(&tiers.fetches),
            sources: tiers.fetches.sources.stats(),
            encode_errors: counts.encode_errors.load(Ordering::Relaxed),
            decode_errors: counts.decode_errors.load(Ordering::Relaxed),
            compression: CompressionStats::of(&counts.packed),
            schema_misses: counts.schema_misses.load(Ordering::Relaxed),
            overloaded: counts.overloaded.load(Ordering::Relaxed)
                + self.gate.refused()
                + watch.refused
                + tiers.ports.iter().map(|p| p.gate.refused()).sum::<u64>(),
            messages_in_flight: self.gate.in_flight(),
            actors: self.book.health(),
            config: tiers.config.clone(),
        }
    }
}
