//! What the TTL manager is made of: its configuration, what it is handed, what it counts.
//!
//! No behaviour here.

use futures_core::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Millis};
use crate::drivers::Reclaimed;
use crate::key::Key;
use crate::shelf::Shelf;
use crate::sync::{Arc, AtomicU64};
use crate::timers::TIMERS_MAX;
use crate::version::Version;

/// Most timers fired in one turn, and most deadlines armed: less than a millisecond's work.
pub const FIRE_COUNT_MAX: usize = 1_024;
/// Most records that one reclaim of a store deletes.
pub const RECLAIM_COUNT_MAX: usize = 1_024;
/// Least time from the end of one reclaim of a store to the next.
pub const RECLAIM_PAUSE_MS: Millis = 100;
/// When a store that is down is asked again to reclaim.
pub const RECLAIM_RETRY_MS: Millis = 1_000;
/// Most expiries remembered as announced.
pub const ANNOUNCED_MAX: usize = 65_536;
/// Most questions to the tiers at a time.
pub const LOOKUPS_MAX: usize = 64;
/// How long a watched key waits when there are too many questions.
pub const LOOKUP_PAUSE_MS: Millis = 100;
/// Least time between two looks at new deadlines: a setter pays for waking the manager, so it is
/// woken at most this often.
pub const WAKE_PAUSE_MS: Millis = 10;
/// Least time between two passes over the shelf.
pub const PASS_PAUSE_MS: Millis = 1_000;
/// Up to here timers of keys that memory has let go of are left alone.
pub const TRIM_MIN: usize = 65_536;
/// Least time between two trims.
pub const TRIM_PAUSE_MS: Millis = 10_000;
/// The mailbox: wake-ups and reclaim times are one in flight each, the rest are keys to attend to.
pub const MAILBOX_MAX: usize = 4_096;

/// Bounds and pauses of the TTL manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TtlConfig {
    /// Most keys with a timer. Beyond it entries still expire at every read; they are not announced
    /// on time.
    pub timers_max: usize,
    /// Most timers fired, and most deadlines armed, in one turn.
    pub fire_count_max: usize,
    /// Most records that one reclaim of a store deletes.
    pub reclaim_count_max: usize,
    /// Least time from the end of one reclaim of a store to the next.
    pub reclaim_pause_ms: Millis,
    /// Most expiries remembered as announced.
    pub announced_max: usize,
    /// Most questions to the tiers at a time.
    pub lookups_max: usize,
    /// Least time between two looks at new deadlines.
    pub wake_pause_ms: Millis,
    /// Least time between two passes over the shelf.
    pub pass_pause_ms: Millis,
    /// Fewest timers that are searched for those of no more use.
    pub trim_min: usize,
}

impl Default for TtlConfig {
    fn default() -> Self {
        Self {
            timers_max: TIMERS_MAX,
            fire_count_max: FIRE_COUNT_MAX,
            reclaim_count_max: RECLAIM_COUNT_MAX,
            reclaim_pause_ms: RECLAIM_PAUSE_MS,
            announced_max: ANNOUNCED_MAX,
            lookups_max: LOOKUPS_MAX,
            wake_pause_ms: WAKE_PAUSE_MS,
            pass_pause_ms: PASS_PAUSE_MS,
            trim_min: TRIM_MIN,
        }
    }
}

/// Whether somebody watches a key.
pub type Watched = Arc<dyn Fn(&Key) -> bool + Send + Sync>;
/// What the tiers have under a key: its version and when it expires. Must answer within a deadline
/// of its own.
pub type Below = Arc<dyn Fn(Key) -> BoxFuture<'static, Option<(Version, Millis)>> + Send + Sync>;
/// Has one driver reclaim what may go at a time, at most so many records; `None` while it is not up.
/// Must answer within a deadline of its own.
pub type Reclaimer =
    Arc<dyn Fn(Millis, usize) -> BoxFuture<'static, Option<Reclaimed>> + Send + Sync>;

/// What the TTL manager is handed.
#[derive(Clone)]
pub struct TtlParts {
    /// Where deadlines come from and expiries are announced.
    pub shelf: Arc<Shelf>,
    /// The time.
    pub clock: Clock,
    /// Bounds and pauses.
    pub config: TtlConfig,
    /// Whether somebody watches a key.
    pub watched: Watched,
    /// What the tiers have under a key.
    pub below: Below,
    /// The drivers that reclaim, by number.
    pub reclaimers: Vec<(u8, Reclaimer)>,
    /// What is counted; outlives a generation.
    pub stats: Arc<TtlStats>,
}

/// What the TTL manager counts.
#[derive(Default, Debug)]
pub struct TtlStats {
    /// Expiries found and announced, in memory or below.
    pub expired: AtomicU64,
    /// Records that stores have reclaimed.
    pub reclaimed: AtomicU64,
    /// Keys that have a timer now.
    pub timers: AtomicU64,
    /// Deadlines that got no timer because there were too many.
    pub timers_refused: AtomicU64,
}
