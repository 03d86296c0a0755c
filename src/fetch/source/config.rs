//! How a source is treated: plain data, its defaults and its ranges.

use serde::Serialize;

use super::Bounds;
use crate::breaker::BreakerConfig;
use crate::error::Error;
use crate::health::Backoff;

/// Calls of one source at a time where nothing else is said.
pub const CALLS_IN_FLIGHT: usize = 6;
/// Loads that wait for their turn at one source where nothing else is said.
pub const CALLS_WAITING: usize = 1_024;
/// How long one call of a loader may take where nothing else is said, in milliseconds.
pub const CALL_MS_MAX: u64 = 30_000;
/// How long a call may take before it counts as slow where nothing else is said, in milliseconds.
const SLOW_MS: u64 = 5_000;
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 128;
const DAY_MS: u64 = 86_400_000;

/// How a source is treated.
///
/// ```
/// let mut config = larder::SourceConfig::default();
/// config.calls_in_flight_max = 20;
/// config.breaker.consecutive_failures_max = 10;
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SourceConfig {
    /// Calls of loaders under way at once (1 to 65,536; all sources together: `source_calls_in_flight_max`).
    /// Default: [`CALLS_IN_FLIGHT`]. More wait for their turn.
    pub calls_in_flight_max: usize,
    /// Loads that wait for their turn (0 to 1,048,576). Default: [`CALLS_WAITING`]. More:
    /// [`Error::Overloaded`], for the least urgent and youngest of them.
    pub calls_waiting_max: usize,
    /// How long one call of a loader may take, in milliseconds (1 to a day). Default: [`CALL_MS_MAX`]. A longer
    /// one is cut: a transient error.
    pub call_ms_max: u64,
    /// When it is left alone. `hung_ms` has no meaning here. Default: as for drivers, but that a call counts as
    /// slow after 5 s. Calls that end sooner because nobody could wait for them count as failures once the source has
    /// answered nobody for so long; a slow probe is one that has failed.
    pub breaker: BreakerConfig,
    /// How long it is left alone at least: at first between half of `ms_min` and all of it, twice that after each
    /// probe that fails, up to `ms_max`. Default: 1 s to 30 s. A source that asks for more time gets it.
    pub reopen: Backoff,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            calls_in_flight_max: CALLS_IN_FLIGHT,
            calls_waiting_max: CALLS_WAITING,
            call_ms_max: CALL_MS_MAX,
            breaker: BreakerConfig {
                slow_ms: SLOW_MS,
                ..BreakerConfig::default()
            },
            reopen: Backoff {
                ms_min: 1_000,
                ms_max: 30_000,
            },
        }
    }
}

impl SourceConfig {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            in_flight_max: self.calls_in_flight_max,
            waiting_max: self.calls_waiting_max,
        }
    }

    /// Every problem, each with the field, its value and the range.
    pub fn problems(&self) -> Vec<String> {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let fields = [
            (
                "calls_in_flight_max",
                count(self.calls_in_flight_max),
                1,
                1 << 16,
            ),
            (
                "calls_waiting_max",
                count(self.calls_waiting_max),
                0,
                1 << 20,
            ),
            ("call_ms_max", self.call_ms_max, 1, DAY_MS),
            ("reopen.ms_min", self.reopen.ms_min, 1, DAY_MS),
            (
                "reopen.ms_max",
                self.reopen.ms_max,
                self.reopen.ms_min.min(DAY_MS),
                DAY_MS,
            ),
        ];
        let wrong = fields
            .into_iter()
            .filter(|(_, value, low, high)| !(low..=high).contains(&value));
        let wrong = wrong.map(|(field, value, low, high)| {
            format!("source.{field} is {value}, allowed is {low} to {high}")
        });
        let breaker = self.breaker.problems();
        wrong
            .chain(
                breaker
                    .into_iter()
                    .map(|problem| format!("source.{problem}")),
            )
            .collect()
    }
}

/// What is wrong with a source's name.
pub(super) fn name_problems(name: &str) -> Vec<String> {
    let is_wrong =
        name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control);
    let problem = || {
        format!(
            "source name {name:?} has {} bytes, allowed are 1 to {NAME_BYTES_MAX} without control characters",
            name.len()
        )
    };
    is_wrong.then(problem).into_iter().collect()
}

/// The problems as one error, or nothing.
pub(super) fn refuse(problems: Vec<String>) -> Result<(), Error> {
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::Config(problems.into())),
    }
}
