//! When a breaker opens: plain data, its defaults and its ranges.

use serde::Serialize;

/// When a driver that answers, but badly, is left alone. An embedded cache makes few calls, so few are
/// enough. Failures of those that read and of those that write are counted apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Failures in a row that open it (1 to 1,000). Default: 5.
    pub consecutive_failures_max: u32,
    /// How many of the latest calls the two rates look at (1 to 128). Default: 20.
    pub window_calls: u32,
    /// Calls in the window before a rate is judged (1 to `window_calls`). Default: 10.
    pub window_calls_min: u32,
    /// Share of failed calls in the window that opens it, in percent (1 to 100). Default: 50.
    pub failure_percent_max: u32,
    /// How long a call may take before it counts as slow, in milliseconds (at least 1). Default: 1,000.
    pub slow_ms: u64,
    /// Share of slow calls in the window that opens it, in percent (1 to 100). Default: 80.
    pub slow_percent_max: u32,
    /// How long the oldest call may go on before the driver counts as hung, in milliseconds (at least
    /// 10). Default: 10,000. It is looked at every quarter of this, and two looks in a row must find it
    /// so: a process that stood still gives nothing up.
    pub hung_ms: u64,
    /// Probes (write, read back, delete) that a driver passes before calls go to it (1 to 100).
    /// Default: 1.
    pub probes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures_max: 5,
            window_calls: 20,
            window_calls_min: 10,
            failure_percent_max: 50,
            slow_ms: 1_000,
            slow_percent_max: 80,
            hung_ms: 10_000,
            probes: 1,
        }
    }
}

impl BreakerConfig {
    /// Every problem, each with the field, its value and the range.
    pub fn problems(&self) -> Vec<String> {
        let fields = [
            (
                "consecutive_failures_max",
                u64::from(self.consecutive_failures_max),
                1,
                1_000,
            ),
            ("window_calls", u64::from(self.window_calls), 1, 128),
            (
                "window_calls_min",
                u64::from(self.window_calls_min),
                1,
                u64::from(self.window_calls.clamp(1, 128)),
            ),
            (
                "failure_percent_max",
                u64::from(self.failure_percent_max),
                1,
                100,
            ),
            ("slow_ms", self.slow_ms, 1, 86_400_000),
            ("slow_percent_max", u64::from(self.slow_percent_max), 1, 100),
            ("hung_ms", self.hung_ms, 10, 86_400_000),
            ("probes", u64::from(self.probes), 1, 100),
        ];
        let wrong = fields
            .into_iter()
            .filter(|(_, value, low, high)| !(low..=high).contains(&value));
        wrong
            .map(|(field, value, low, high)| {
                format!("breaker.{field} is {value}, allowed is {low} to {high}")
            })
            .collect()
    }
}
