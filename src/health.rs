//! How an actor is, and how long its supervisor waits before it starts it again.
//!
//! Plain data and arithmetic, so that configuration and statistics need not know an actor.

use serde::Serialize;

use crate::clock::Millis;

/// How a supervised actor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    /// Being launched.
    Starting,
    /// At work.
    Up,
    /// Gone; a successor follows.
    Down,
}

/// What a supervisor knows of its actor.
#[derive(Clone, Debug, Serialize)]
pub struct ActorHealth {
    /// The actor's name.
    pub name: String,
    /// How it is.
    pub state: ActorState,
    /// Why it is not up.
    pub reason: Option<String>,
    /// Since when, in unix milliseconds.
    pub since_ms: Millis,
    /// How often it has been launched.
    pub generation: u64,
}

/// Bounds of the wait before a restart.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Backoff {
    /// Upper end of the first wait.
    pub ms_min: u64,
    /// Upper end of the longest wait.
    pub ms_max: u64,
}

impl Backoff {
    /// How long to wait after `failures` failures in a row: anything from half of an upper end that
    /// doubles each time up to all of it. `random` is in `0.0..1.0`.
    pub fn wait_ms(&self, failures: u32, random: f64) -> u64 {
        let doubled = self
            .ms_min
            .saturating_mul(1 << failures.saturating_sub(1).min(20));
        let upper = doubled.min(self.ms_max);
        let half = upper / 2;
        // A whole number below 2^53 in any sensible configuration, so the cast loses nothing.
        half + (random * (upper - half) as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_with_half_of_it_jitter() {
        let backoff = Backoff {
            ms_min: 100,
            ms_max: 1_000,
        };
        let table = [
            (1, 50, 100),
            (2, 100, 200),
            (3, 200, 400),
            (5, 500, 1_000),
            (99, 500, 1_000),
        ];
        for (failures, low, high) in table {
            assert_eq!(backoff.wait_ms(failures, 0.0), low);
            assert!((high - 2..=high).contains(&backoff.wait_ms(failures, 0.999_9)));
        }
    }
}
