//! What a source comes to, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::LoadSource;
use crate::breaker::BreakerStats;

/// What a source comes to.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SourceStats {
    /// Its name.
    pub name: String,
    /// Calls of loaders under way.
    pub calls_in_flight: usize,
    /// Loads that wait for their turn.
    pub calls_waiting: usize,
    /// Calls of loaders.
    pub calls: u64,
    /// Those that failed: transient and device errors, panics, and what was cut.
    pub failures: u64,
    /// Loads that were refused because its breaker was open.
    pub refused: u64,
    /// Loads that were turned away because too many waited.
    pub turned_away: u64,
    /// Whether it is asked, since when, and for how much of the time.
    pub breaker: BreakerStats,
    /// How long nobody asks it from now on, in milliseconds; `None` if it is asked.
    pub refuses_for_ms: Option<u64>,
}

impl LoadSource {
    /// What it comes to.
    pub fn stats(&self) -> SourceStats {
        let (known, now_ms) = (&*self.0, self.now_ms());
        let (calls_in_flight, calls_waiting) = {
            let queue = known.shared.queue.lock();
            (queue.in_flight(known.number), queue.waiting(known.number))
        };
        let state = known.state.lock();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SourceStats {
            name: known.name.to_string(),
            calls_in_flight,
            calls_waiting,
            calls: count(&known.calls),
            failures: count(&known.failures),
            refused: count(&known.refused),
            turned_away: count(&known.turned_away),
            breaker: state.circuit.stats(now_ms),
            refuses_for_ms: state.circuit.refuses_for(now_ms),
        }
    }
}
