//! Configuration as plain data: every default is a named constant, every bound has its unit in its
//! name.

mod bound;
mod limits;

pub use bound::MemoryBound;
pub use limits::Limits;

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;

use crate::breaker::BreakerConfig;
use crate::error::Error;
use crate::gate::Admission;
use crate::health::{Backoff, RestartLimit};

/// Memory for the shelf where nothing else is said, in bytes: 64 MiB.
pub const MEMORY_BYTES: usize = 64 << 20;
/// The least that memory can be given, in bytes: 64 KiB.
pub const MEMORY_BYTES_MIN: usize = 64 << 10;
/// The longest a call waits where nothing else is said, in milliseconds.
pub const CALL_MS_MAX: u64 = 5_000;
/// The longest that opening one driver may take at start where nothing else is said, in milliseconds.
pub const OPEN_MS_MAX: u64 = 60_000;
/// Changes in one commit.
pub const COMMIT_COUNT_MAX: usize = 1_024;
/// Bytes in one commit.
pub const COMMIT_BYTES_MAX: usize = 4 << 20;
/// Events that wait for one subscriber. Each holds at most two values of its entry, shared with whoever
/// else has them.
pub const WATCH_BUFFER_EVENTS: usize = 256;
/// Bytes of the events that wait for one subscriber: 4 MiB. A single event may be larger.
pub const WATCH_BUFFER_BYTES: usize = 4 << 20;
/// Items of one chunk of a batch call over memory alone.
pub const MEMORY_CHUNK_COUNT: usize = 100;
/// Items of one chunk of a batch call over a disk.
pub const DISK_CHUNK_COUNT: usize = 50;
/// Threads that read from one driver.
pub const READ_THREADS: usize = 8;

/// How batches go down to one driver.
///
/// ```
/// let mut commits = larder::CommitConfig::default();
/// commits.chunk_count = 200;
/// commits.linger_ms_max = 5;
/// let builder = larder::Larder::builder().disk_commits(commits);
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CommitConfig {
    /// Most changes in one commit (1 to 1,048,576). Default: [`COMMIT_COUNT_MAX`].
    pub commit_count_max: usize,
    /// About how many bytes in one commit (1 to 1 GiB). Default: [`COMMIT_BYTES_MAX`].
    pub commit_bytes_max: usize,
    /// How long a commit that nobody waits for may wait for more, in milliseconds (0 for not at all, to
    /// 10,000). Default: 0.
    pub linger_ms_max: u64,
    /// Pace, in changes per second (1 to 4,294,967,295), for stores that refuse more; `None`, the
    /// default, for as fast as they take it.
    pub writes_per_second_max: Option<NonZeroU32>,
    /// Items of one chunk of `set_many` and its like (1 to 65,536). Default: [`DISK_CHUNK_COUNT`].
    pub chunk_count: usize,
    /// Threads that read (1 to 256). Default: [`READ_THREADS`].
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
    /// Budget of the shelf, in bytes (at least 64 KiB, and no less than `limits.value_bytes_max`).
    /// Default: [`MEMORY_BYTES`].
    pub memory_bytes: usize,
    /// Every bound.
    pub limits: Limits,
    /// The longest a call waits where it says nothing else, in milliseconds (1 to a day). Default:
    /// [`CALL_MS_MAX`].
    pub call_ms_max: u64,
    /// The longest that opening one driver may take at start, in milliseconds (1 to a day). Default:
    /// [`OPEN_MS_MAX`].
    pub open_ms_max: u64,
    /// What becomes of a call that meets a bound, in caches that say nothing else. Default: it waits.
    pub admission: Admission,
    /// What becomes of a start whose store cannot be opened. Default: it fails.
    pub on_open_failure: OnOpenFailure,
    /// Wait before an actor is restarted. Default: 100 ms, doubling up to 30 s.
    pub restart_backoff: Backoff,
    /// When an actor that fails again and again is left alone for a while. Default: after 20 restarts
    /// in ten minutes, for two minutes.
    pub restart_limit: RestartLimit,
    /// The same API without storing anything. Default: no.
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
        let (day_ms, any) = (86_400_000, usize::MAX);
        let ms = |ms: u64| usize::try_from(ms).unwrap_or(usize::MAX);
        let (backoff, limit) = (self.restart_backoff, self.restart_limit);
        let own = [
            ("memory_bytes", self.memory_bytes, MEMORY_BYTES_MIN, any),
            ("call_ms_max", ms(self.call_ms_max), 1, day_ms),
            ("open_ms_max", ms(self.open_ms_max), 1, day_ms),
            ("restart_backoff.ms_min", ms(backoff.ms_min), 1, day_ms),
            ("restart_backoff.ms_max", ms(backoff.ms_max), 1, day_ms),
            ("restart_limit.window_ms", ms(limit.window_ms), 1, any),
            ("restart_limit.rest_ms", ms(limit.rest_ms), 1, any),
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
                "limits.value_bytes_max is {} and memory_bytes is {memory_bytes}: memory could not keep the largest value; raise memory_bytes or lower the limit",
                l.value_bytes_max
            ));
        }
        if l.value_bytes_max > l.dirty_bytes_max {
            problems.push(format!(
                "limits.value_bytes_max is {} and limits.dirty_bytes_max is {}: the largest value could never be stored; raise dirty_bytes_max or lower value_bytes_max",
                l.value_bytes_max, l.dirty_bytes_max
            ));
        }
        let Backoff { ms_min, ms_max } = self.restart_backoff;
        if ms_min > ms_max {
            problems.push(format!(
                "restart_backoff.ms_min is {ms_min} and restart_backoff.ms_max is {ms_max}: the first wait is longer than the longest"
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
