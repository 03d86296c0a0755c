//! Statistics: one serialisable snapshot of everything that larder counts.

mod health;

pub use health::{Condition, DriverHealth, Health, LoadsHealth};

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::breaker::BreakerStats;
use crate::clock::millis;
use crate::codec::Packed;
use crate::config::Config;
use crate::fetch::{Fetches, SourceStats};
use crate::health::ActorHealth;
use crate::histogram::Latency;
use crate::port::Port;
use crate::shelf::ShelfStats;

/// Everything that a larder counts, as it was when it was asked. Counters begin at zero with the
/// process.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The memory tier.
    pub memory: ShelfStats,
    /// Each driver below memory, in their order.
    pub drivers: Vec<DriverStats>,
    /// The dirty set.
    pub dirty: DirtyStats,
    /// Expiry.
    pub expiry: ExpiryStats,
    /// Watching.
    pub watch: WatchStats,
    /// Loads by the host's loaders.
    pub fetch: FetchStats,
    /// Each named source that is loaded from, by name.
    pub sources: Vec<SourceStats>,
    /// Values that could not be encoded.
    pub encode_errors: u64,
    /// Stored values that could not be decoded.
    pub decode_errors: u64,
    /// What compressing values on their way to the stores comes to.
    pub compression: CompressionStats,
    /// Stored values of another schema or type that were passed over.
    pub schema_misses: u64,
    /// Calls refused because a limit was reached.
    pub overloaded: u64,
    /// Messages that the desk is working on.
    pub messages_in_flight: usize,
    /// How every actor is.
    pub actors: Vec<ActorHealth>,
    /// The configuration that is in effect.
    pub config: Config,
}

/// One driver.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DriverStats {
    /// Its name.
    pub name: String,
    /// Whether calls go to it, since when, and for how much of the time.
    pub breaker: BreakerStats,
    /// Records it holds, possibly estimated; `None` if it cannot tell or is not up.
    pub entries: Option<u64>,
    /// Bytes on its device; `None` if it is not up.
    pub bytes: Option<u64>,
    /// Reads that found a record.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Reads that passed it over because it was not up: what memory or another driver had to answer.
    pub passed_over: u64,
    /// Reads under way or waiting for a thread.
    pub reads_in_flight: usize,
    /// Calls that failed.
    pub failures: u64,
    /// Commits.
    pub commits: u64,
    /// Changes in them.
    pub writes: u64,
    /// Commits that had to be made again.
    pub retries: u64,
    /// Records that could not be read.
    pub damaged: u64,
    /// Records that the store refused again and again; they stay in memory only.
    pub refused: u64,
    /// Sealed records that did not open: moved, edited or put back by somebody. Worth an alarm.
    pub unopened: u64,
    /// Stores that were moved aside, or found empty, although something had been stored in them.
    pub emptied: u64,
    /// Records that could be proven in such stores and were taken over into their successors.
    pub salvaged: u64,
    /// How long reads took, waiting included.
    pub read_latency: Latency,
    /// How long commits took, once their batches were made.
    pub commit_latency: Latency,
}

/// What is acknowledged and not stored.
#[derive(Clone, Copy, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct DirtyStats {
    /// Entries.
    pub slots: usize,
    /// Their part of `dirty_bytes_max`, of the driver with most of it.
    pub bytes: usize,
    /// Changes that a driver will not get, because there was no room while it was down. Those that no
    /// driver gets are in memory only.
    pub memory_only_sets: u64,
}

/// Compression of values on their way to the stores.
#[derive(Clone, Copy, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct CompressionStats {
    /// Values that were compressed.
    pub compressed: u64,
    /// Their bytes before.
    pub bytes_before: u64,
    /// Their bytes after.
    pub bytes_after: u64,
    /// Values that were tried and are stored as they are: it would have saved less than a tenth.
    pub not_worth: u64,
}

impl CompressionStats {
    pub(crate) fn of(packed: &Packed) -> Self {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            compressed: count(&packed.kept),
            bytes_before: count(&packed.before),
            bytes_after: count(&packed.after),
            not_worth: count(&packed.not_worth),
        }
    }
}

/// Expiry.
#[derive(Clone, Copy, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct ExpiryStats {
    /// Entries that expired.
    pub expired: u64,
    /// Records that drivers deleted because their time was over.
    pub reclaimed: u64,
    /// Timers.
    pub timers: u64,
    /// Deadlines that got no timer.
    pub timers_refused: u64,
}

/// Watching.
#[derive(Clone, Copy, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct WatchStats {
    /// Subscriptions.
    pub subscriptions: u64,
    /// Events delivered.
    pub delivered: u64,
    /// Events that subscribers missed, and were told so.
    pub missed: u64,
}

/// Loads by the host's loaders.
#[derive(Clone, Copy, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct FetchStats {
    /// Loads under way.
    pub in_flight: usize,
    /// The age of the oldest of them, in milliseconds.
    pub oldest_ms: Option<u64>,
    /// Loads that asked a loader, or were to and were refused by their source.
    pub loads: u64,
    /// How often loaders were asked: more than `loads` by those that were tried again.
    pub attempts: u64,
    /// Loads that ended with an error.
    pub failed: u64,
    /// Loads whose source had nothing.
    pub missing: u64,
    /// Calls that waited for a load that somebody else had begun.
    pub coalesced: u64,
    /// Calls that were shown something stale.
    pub stale: u64,
    /// Values that were not kept, because their key was changed or invalidated while they were loaded.
    pub fenced: u64,
    /// Values that could not be stored.
    pub not_stored: u64,
}

impl FetchStats {
    pub(crate) fn of(fetches: &Fetches) -> Self {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (in_flight, oldest) = fetches.flights.under_way();
        let counts = &fetches.counts;
        Self {
            in_flight,
            oldest_ms: oldest.map(|began| millis(began.elapsed())),
            loads: count(&counts.loads),
            attempts: count(&counts.attempts),
            failed: count(&counts.failed),
            missing: count(&counts.missing),
            coalesced: count(&counts.coalesced),
            stale: count(&counts.stale),
            fenced: count(&counts.fenced),
            not_stored: count(&counts.not_stored),
        }
    }
}

impl DriverStats {
    pub(crate) fn of(port: &Port, usage: Option<crate::drivers::Usage>, unopened: u64) -> Self {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let stats = &port.stats;
        Self {
            name: port.name.to_string(),
            breaker: port.breaker(),
            entries: usage.and_then(|u| u.entries),
            bytes: usage.map(|u| u.bytes),
            hits: count(&stats.hits),
            misses: count(&stats.misses),
            passed_over: count(&stats.passed_over),
            reads_in_flight: port.gate.in_flight(),
            failures: count(&stats.failures),
            commits: count(&stats.commits),
            writes: count(&stats.writes),
            retries: count(&stats.retries),
            damaged: count(&stats.damaged),
            unopened,
            refused: count(&stats.refused),
            emptied: count(&stats.emptied),
            salvaged: count(&stats.salvaged),
            read_latency: stats.read_latency.latency(),
            commit_latency: stats.commit_latency.latency(),
        }
    }
}
