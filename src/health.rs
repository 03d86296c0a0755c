//! How an actor is, and how long its supervisor waits before it starts it again.
//!
//! Plain data and arithmetic, so that configuration and statistics need not know an actor.

use std::collections::VecDeque;

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
    /// When it is started next, in unix milliseconds, if it is down.
    pub next_ms: Option<Millis>,
}

/// Bounds of the wait before a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Backoff {
    /// Upper end of the first wait, in milliseconds (1 to a day, at most `ms_max`).
    pub ms_min: u64,
    /// Upper end of the longest wait, in milliseconds (1 to a day).
    pub ms_max: u64,
}

impl Backoff {
    /// How long to wait after `failures` failures in a row: anything up to an upper end that doubles
    /// each time (Brooker, "Exponential Backoff and Jitter", 2015: full jitter). `random` is in
    /// `0.0..1.0`.
    pub fn wait_ms(&self, failures: u32, random: f64) -> u64 {
        let doubled = self
            .ms_min
            .saturating_mul(1 << failures.saturating_sub(1).min(20));
        let upper = doubled.min(self.ms_max);
        // A whole number below 2^53 in any sensible configuration, so the cast loses nothing.
        ((random * upper as f64) as u64).max(1)
    }
}

/// When restarts are given up for a while.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RestartLimit {
    /// Restarts within the window after it had come up (0 or more); one that cannot even be opened is
    /// tried by the backoff alone.
    pub count_max: u32,
    /// The window, in milliseconds (at least 1).
    pub window_ms: u64,
    /// How long an actor then stays down, in milliseconds (at least 1), unless somebody asks for it.
    pub rest_ms: u64,
}

/// The restarts of one actor: how long to wait before the next.
#[derive(Debug)]
pub struct Restarts {
    backoff: Backoff,
    limit: RestartLimit,
    failures: u32,
    recent: VecDeque<Millis>,
}

/// How long an actor stays down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    /// So many milliseconds.
    Backoff(u64),
    /// So many, because it was restarted too often.
    Rest(u64),
}

impl Restarts {
    /// Of an actor that has not failed yet.
    pub fn new(backoff: Backoff, limit: RestartLimit) -> Self {
        Self {
            backoff,
            limit,
            failures: 0,
            recent: VecDeque::new(),
        }
    }

    /// It is down after it was up for `up_ms`, or never came up. `random` is in `0.0..1.0`.
    pub fn next(&mut self, now_ms: Millis, up_ms: Option<u64>, random: f64) -> Pause {
        if up_ms.is_some_and(|up_ms| up_ms > self.backoff.ms_max) {
            // It worked for long. One that opens well and then fails each time does not get here, so
            // its waits go on growing.
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let window_ms = self.limit.window_ms;
        self.recent
            .retain(|at_ms| now_ms < at_ms.saturating_add(window_ms));
        self.recent.extend(up_ms.map(|_| now_ms));
        if self.recent.len() as u64 > u64::from(self.limit.count_max) {
            self.recent.clear();
            return Pause::Rest(self.limit.rest_ms);
        }
        Pause::Backoff(self.backoff.wait_ms(self.failures, random))
    }

    /// Somebody asked for it to be started: what was is forgotten.
    pub fn forget(&mut self) {
        self.failures = 0;
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        ms_min: 100,
        ms_max: 1_000,
    };
    const LIMIT: RestartLimit = RestartLimit {
        count_max: 3,
        window_ms: 10_000,
        rest_ms: 60_000,
    };

    #[test]
    fn the_wait_doubles_up_to_its_bound_with_full_jitter() {
        let table = [(1, 100), (2, 200), (3, 400), (5, 1_000), (99, 1_000)];
        for (failures, upper) in table {
            assert_eq!(BACKOFF.wait_ms(failures, 0.0), 1);
            assert_eq!(BACKOFF.wait_ms(failures, 0.5), upper / 2);
            assert!((upper - 2..upper).contains(&BACKOFF.wait_ms(failures, 0.999_9)));
        }
    }

    #[test]
    fn what_worked_for_long_begins_with_the_first_wait() {
        let mut restarts = Restarts::new(BACKOFF, LIMIT);
        assert_eq!(restarts.next(0, None, 0.5), Pause::Backoff(50));
        assert_eq!(restarts.next(100_000, Some(900), 0.5), Pause::Backoff(100));
        assert_eq!(restarts.next(200_000, Some(1_001), 0.5), Pause::Backoff(50));
    }

    #[test]
    fn too_many_restarts_within_the_window_earn_a_rest() {
        let mut restarts = Restarts::new(BACKOFF, LIMIT);
        for at in [0, 1, 2] {
            assert!(matches!(restarts.next(at, Some(0), 0.0), Pause::Backoff(_)));
        }
        assert_eq!(restarts.next(3, Some(0), 0.0), Pause::Rest(60_000));
        assert!(matches!(
            restarts.next(60_003, Some(0), 0.0),
            Pause::Backoff(_)
        ));
    }

    #[test]
    fn one_that_never_comes_up_is_tried_by_the_backoff_alone() {
        let mut restarts = Restarts::new(BACKOFF, LIMIT);
        for at in 0..100 {
            assert!(matches!(restarts.next(at, None, 0.0), Pause::Backoff(_)));
        }
    }

    #[test]
    fn restarts_that_are_long_ago_or_were_asked_for_do_not_count() {
        let mut restarts = Restarts::new(BACKOFF, LIMIT);
        for at in [0, 5_000, 10_000, 15_000, 20_000] {
            assert!(matches!(restarts.next(at, Some(0), 0.0), Pause::Backoff(_)));
        }
        restarts.forget();
        assert_eq!(restarts.next(20_001, Some(0), 0.5), Pause::Backoff(50));
    }
}
