//! Configuration as plain data: every default is a named constant, every bound has its unit in its
//! name.

mod bound;

pub use bound::MemoryBound;

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;

use crate::breaker::BreakerConfig;
use crate::error::Error;
use crate::gate::Admission;
use crate::health::{Backoff, RestartLimit};

/// Memory for the shelf where nothing else is said: 64 MiB.
pub const MEMORY_BYTES: usize = 64 << 20;
/// The least that memory can be given: 64 KiB.
pub const MEMORY_BYTES_MIN: usize = 64 << 10;
/// The longest a call waits where nothing else is said.
pub const CALL_MS_MAX: u64 = 5_000;
/// The longest that opening one driver may take at start where nothing else is said.
pub const OPEN_MS_MAX: u64 = 60_000;
/// Changes in one commit.
pub const COMMIT_COUNT_MAX: usize = 1_024;
/// Bytes in one commit.
pub const COMMIT_BYTES_MAX: usize = 4 << 20;
/// Items of one chunk of a batch call over memory alone.
pub const MEMORY_CHUNK_COUNT: usize = 100;
/// Items of one chunk of a batch call over a disk.
pub const DISK_CHUNK_COUNT: usize = 50;
/// Threads that read from one driver.
pub const READ_THREADS: usize = 8;

/// Every bound of a larder. Each is reached by a test, and each refusal names the one it is for.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// Longest key in bytes (1 to 60,000). Longer: [`Error::TooLarge`].
    pub key_bytes_max: usize,
    /// Longest encoded value in bytes. Longer: [`Error::TooLarge`].
    pub value_bytes_max: usize,
    /// Longest tag in bytes (1 to 60,000). Longer: [`Error::TooLarge`].
    pub tag_bytes_max: usize,
    /// Most tags of one entry (0 to 255). More: [`Error::Invalid`].
    pub tags_per_entry_max: usize,
    /// Longest name of a cache in bytes (1 to 1,024). Longer: [`Error::TooLarge`].
    pub cache_name_bytes_max: usize,
    /// Most named caches. More: [`Error::Overloaded`].
    pub caches_max: usize,
    /// Acknowledged and not yet stored bytes of each driver. Past it mutations wait for room until their
    /// deadline, then [`Error::Overloaded`]; one that is down does not get them, and they say so.
    pub dirty_bytes_max: usize,
    /// Reads of one driver under way at once. More wait until their deadline, then
    /// [`Error::Overloaded`].
    pub reads_in_flight_max: usize,
    /// Messages that the desk works on at once. More: [`Error::Overloaded`].
    pub messages_in_flight_max: usize,
    /// Tag fences of one cache, and of all caches while they wait to be stored. More become one fence
    /// of the whole cache.
    pub tag_fences_max: usize,
    /// Events that wait for the hub, over all stripes. More: watchers are told that they lag.
    pub events_waiting_max: usize,
    /// Deadlines that wait for the TTL manager, over all stripes. More: it looks at everything.
    pub deadlines_waiting_max: usize,
    /// Keys whose stored copies are distrusted one by one. More: all of a cache in a stripe is, until
    /// what is in doubt has been deleted.
    pub distrusted_keys_max: usize,
    /// Subscriptions at once. More: [`Error::Overloaded`].
    pub subscriptions_max: usize,
    /// Largest page of a scan (entries). More: [`Error::Invalid`].
    pub page_size_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes_max: 1_024,
            value_bytes_max: 1 << 20,
            tag_bytes_max: 256,
            tags_per_entry_max: 16,
            cache_name_bytes_max: 128,
            caches_max: 1_024,
            dirty_bytes_max: 16 << 20,
            reads_in_flight_max: 256,
            messages_in_flight_max: 1_024,
            tag_fences_max: 4_096,
            events_waiting_max: 65_536,
            deadlines_waiting_max: 262_144,
            distrusted_keys_max: 65_536,
            subscriptions_max: 65_536,
            page_size_max: 10_000,
        }
    }
}

impl Limits {
    /// Field, value, least and greatest that is allowed.
    fn ranges(&self) -> [(&'static str, usize, usize, usize); 15] {
        let (tags_max, dirty_max) = (crate::record::TAGS_MAX, u32::MAX as usize);
        [
            ("limits.key_bytes_max", self.key_bytes_max, 1, 60_000),
            ("limits.value_bytes_max", self.value_bytes_max, 1, 1 << 30),
            ("limits.tag_bytes_max", self.tag_bytes_max, 1, 60_000),
            (
                "limits.tags_per_entry_max",
                self.tags_per_entry_max,
                0,
                tags_max,
            ),
            (
                "limits.cache_name_bytes_max",
                self.cache_name_bytes_max,
                1,
                1_024,
            ),
            ("limits.caches_max", self.caches_max, 1, 1 << 20),
            ("limits.dirty_bytes_max", self.dirty_bytes_max, 1, dirty_max),
            (
                "limits.reads_in_flight_max",
                self.reads_in_flight_max,
                1,
                1 << 20,
            ),
            (
                "limits.messages_in_flight_max",
                self.messages_in_flight_max,
                1,
                1 << 20,
            ),
            ("limits.tag_fences_max", self.tag_fences_max, 1, 1 << 24),
            (
                "limits.events_waiting_max",
                self.events_waiting_max,
                1,
                1 << 24,
            ),
            (
                "limits.deadlines_waiting_max",
                self.deadlines_waiting_max,
                1,
                1 << 24,
            ),
            (
                "limits.distrusted_keys_max",
                self.distrusted_keys_max,
                1,
                1 << 24,
            ),
            (
                "limits.subscriptions_max",
                self.subscriptions_max,
                1,
                1 << 24,
            ),
            ("limits.page_size_max", self.page_size_max, 1, 1 << 20),
        ]
    }
}

/// How batches go down to one driver.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CommitConfig {
    /// Most changes in one commit.
    pub commit_count_max: usize,
    /// About how many bytes in one commit.
    pub commit_bytes_max: usize,
    /// How long a commit that nobody waits for may wait for more, in milliseconds; 0 for not at all.
    pub linger_ms_max: u64,
    /// Pace, for stores that refuse more; `None` for as fast as they take it.
    pub writes_per_second_max: Option<NonZeroU32>,
    /// Items of one chunk of `set_many` and its like.
    pub chunk_count: usize,
    /// Threads that read.
    pub read_threads: usize,
    /// When the driver is left alone.
    pub breaker: BreakerConfig,
}

impl Default for CommitConfig {
    fn default() -> Self {
        Self {
            commit_count_max: COMMIT_COUNT_MAX,
            commit_bytes_max: COMMIT_BYTES_MAX,
            linger_ms_max: 0,
            writes_per_second_max: None,
            chunk_count: DISK_CHUNK_COUNT,
            read_threads: READ_THREADS,
            breaker: BreakerConfig::default(),
        }
    }
}

/// What becomes of a start whose store cannot be opened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnOpenFailure {
    /// It fails with [`Error::Open`], which names the store and the reason.
    #[default]
    Refuse,
    /// It succeeds without that driver, which is down until one of its supervisor's attempts works.
    /// What was stored before may be forgotten: entries that are cleared, or set while it was away.
    StartDegraded,
}

/// A whole larder's configuration, but for its drivers.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// Budget of the shelf in bytes.
    pub memory_bytes: usize,
    /// Every bound.
    pub limits: Limits,
    /// The longest a call waits, in milliseconds, where it says nothing else.
    pub call_ms_max: u64,
    /// The longest that opening one driver may take at start, in milliseconds.
    pub open_ms_max: u64,
    /// What becomes of a call that meets a bound, in caches that say nothing else.
    pub admission: Admission,
    /// What becomes of a start whose store cannot be opened.
    pub on_open_failure: OnOpenFailure,
    /// Wait before an actor is restarted.
    pub restart_backoff: Backoff,
    /// When an actor that fails again and again is left alone for a while.
    pub restart_limit: RestartLimit,
    /// The same API without storing anything.
    pub disabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory_bytes: MEMORY_BYTES,
            limits: Limits::default(),
            call_ms_max: CALL_MS_MAX,
            open_ms_max: OPEN_MS_MAX,
            admission: Admission::default(),
            on_open_failure: OnOpenFailure::default(),
            restart_backoff: Backoff {
                ms_min: 100,
                ms_max: 30_000,
            },
            restart_limit: RestartLimit {
                count_max: 20,
                window_ms: 600_000,
                rest_ms: 120_000,
            },
            disabled: false,
        }
    }
}

impl Config {
    /// Every problem of this configuration, each with the field, its value and the range.
    pub fn problems(&self) -> Vec<String> {
        let call_ms_max = usize::try_from(self.call_ms_max).unwrap_or(usize::MAX);
        let open_ms_max = usize::try_from(self.open_ms_max).unwrap_or(usize::MAX);
        let own = [
            (
                "memory_bytes",
                self.memory_bytes,
                MEMORY_BYTES_MIN,
                usize::MAX,
            ),
            ("call_ms_max", call_ms_max, 1, 86_400_000),
            ("open_ms_max", open_ms_max, 1, 86_400_000),
        ];
        let limits = self.limits.ranges();
        let mut problems = Vec::new();
        for (field, value, low, high) in own.into_iter().chain(limits) {
            if !(low..=high).contains(&value) {
                problems.push(format!("{field} is {value}, allowed is {low} to {high}"));
            }
        }
        problems.extend(self.contradictions());
        problems
    }

    /// What is within its range and does not go together.
    fn contradictions(&self) -> Vec<String> {
        let (l, memory_bytes) = (&self.limits, self.memory_bytes);
        let mut problems = Vec::new();
        if l.value_bytes_max > memory_bytes {
            problems.push(format!(
                "limits.value_bytes_max is {} and memory_bytes is {memory_bytes}: memory could not keep the largest value",
                l.value_bytes_max
            ));
        }
        if l.value_bytes_max > l.dirty_bytes_max {
            problems.push(format!(
                "limits.value_bytes_max is {} and limits.dirty_bytes_max is {}: the largest value could never be stored",
                l.value_bytes_max, l.dirty_bytes_max
            ));
        }
        let Backoff { ms_min, ms_max } = self.restart_backoff;
        if ms_min == 0 || ms_min > ms_max {
            problems.push(format!(
                "restart_backoff is {ms_min} to {ms_max} ms, its least must be at least 1 and at most its greatest"
            ));
        }
        problems
    }

    /// As many stripes as have room for several of the largest values each, at most 64 (more gain
    /// nothing on common machines, fewer cost parallelism).
    pub fn stripes(&self) -> usize {
        let share = (4 * self.limits.value_bytes_max).max(256 << 10);
        (self.memory_bytes / share).clamp(1, 64)
    }

    /// The longest a call waits.
    pub fn call_max(&self) -> Duration {
        Duration::from_millis(self.call_ms_max)
    }
}

/// The configuration's problems as one error, or nothing.
pub(crate) fn refuse(problems: Vec<String>) -> Result<(), Error> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Config(problems.into()))
    }
}
