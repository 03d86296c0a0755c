//! The circuit breaker: whether calls go to a driver, as a pure state machine (Nygard, "Release It!",
//! 2007, ch. 5).
//!
//! It sees how calls ended and what its supervisor did, and says when to stop calling. It reads no
//! clock, holds no lock and wakes nobody.

mod config;
mod window;

use std::fmt;

use serde::Serialize;

use crate::clock::Millis;
pub use config::BreakerConfig;
use window::Window;

/// Whether calls go to a driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// They do.
    Closed,
    /// They do not; the supervisor is at work.
    Open,
    /// Only the supervisor's probes do.
    HalfOpen,
}

/// Who decides.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerMode {
    /// The breaker.
    #[default]
    Auto,
    /// Nobody calls the driver or opens it until the mode is changed, for instance while its disk is
    /// exchanged.
    ForcedOpen,
    /// Failing or slow calls do not open it. A driver that is gone, hangs or asks to be reopened still
    /// gets no calls until it is back.
    ForcedClosed,
    /// As `ForcedClosed`, and calls are not even counted.
    Disabled,
}

/// How a call of the driver ended.
#[derive(Clone, Copy, Debug)]
pub struct Called {
    /// It was made to write.
    pub writes: bool,
    /// It failed.
    pub failed: bool,
    /// How long it took.
    pub took_ms: u64,
}

/// Why a breaker opens although the driver is still there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trip {
    /// So many calls in a row failed.
    InARow(u32),
    /// So many of so many calls failed.
    Failing(u32, u32),
    /// So many of so many calls were slow.
    Slow(u32, u32),
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow(count) => write!(f, "{count} calls in a row failed"),
            Self::Failing(failed, of) => write!(f, "{failed} of the last {of} calls failed"),
            Self::Slow(slow, of) => write!(f, "{slow} of the last {of} calls were slow"),
        }
    }
}

/// How long it has been in which state, and how often it opened.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BreakerStats {
    /// Its state.
    pub state: BreakerState,
    /// Who decides.
    pub mode: BreakerMode,
    /// Since when it is in this state, in unix milliseconds.
    pub since_ms: Millis,
    /// How often it opened after it had been closed.
    pub opened: u64,
    /// How long it was not closed, in milliseconds, since it closed first.
    pub open_ms: u64,
    /// Share of the time since it closed first that it was closed, 0.0 to 1.0.
    pub availability: f64,
    /// Probes made.
    pub probes: u64,
    /// Probes that failed.
    pub probes_failed: u64,
}

/// How the latest calls that read, or those that write, have ended. Each side is judged by itself: many
/// calls of one that succeed would hide that all of the other fail.
#[derive(Debug)]
struct Side {
    window: Window,
    in_a_row: u32,
}

impl Side {
    fn new(config: &BreakerConfig) -> Self {
        Self {
            window: Window::new(config.window_calls),
            in_a_row: 0,
        }
    }
}

/// The breaker of one driver. It begins open: nothing has been opened yet.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    mode: BreakerMode,
    state: BreakerState,
    since_ms: Millis,
    booked_ms: Millis,
    /// Of both sides, for how slow they are: a slow one serves all the same.
    window: Window,
    reads: Side,
    writes: Side,
    passed: u32,
    first_closed_ms: Option<Millis>,
    open_ms: u64,
    opened: u64,
    probes: u64,
    probes_failed: u64,
}

impl Breaker {
    /// One whose driver has not been opened yet.
    pub fn new(config: BreakerConfig, now_ms: Millis) -> Self {
        Self {
            window: Window::new(config.window_calls),
            reads: Side::new(&config),
            writes: Side::new(&config),
            config,
            mode: BreakerMode::Auto,
            state: BreakerState::Open,
            since_ms: now_ms,
            booked_ms: now_ms,
            passed: 0,
            first_closed_ms: None,
            open_ms: 0,
            opened: 0,
            probes: 0,
            probes_failed: 0,
        }
    }

    /// Its settings.
    pub fn config(&self) -> &BreakerConfig {
        &self.config
    }

    /// Who decides.
    pub fn mode(&self) -> BreakerMode {
        self.mode
    }

    /// Whether calls go to the driver, as its supervisor and the calls have it.
    pub fn state(&self) -> BreakerState {
        match self.mode {
            BreakerMode::ForcedOpen => BreakerState::Open,
            _ => self.state,
        }
    }

    /// Whether calls would go to the driver if nobody had decided otherwise.
    pub fn is_proven(&self) -> bool {
        self.state == BreakerState::Closed
    }

    /// Takes a decision from the breaker, or gives it back.
    pub fn force(&mut self, mode: BreakerMode, now_ms: Millis) {
        self.change(now_ms, |this| this.mode = mode);
        self.forget();
    }

    /// A call has ended. Why the driver is to be left alone, if it is; the caller then opens the breaker.
    pub fn record(&mut self, called: Called) -> Option<Trip> {
        // Stragglers of a breaker that has opened say nothing new.
        if self.state() != BreakerState::Closed || self.mode == BreakerMode::Disabled {
            return None;
        }
        let c = &self.config;
        let side = match called.writes {
            true => &mut self.writes,
            false => &mut self.reads,
        };
        let is_slow = called.took_ms >= c.slow_ms;
        side.in_a_row = if called.failed { side.in_a_row + 1 } else { 0 };
        side.window.push(called.failed, is_slow);
        self.window.push(called.failed, is_slow);
        if self.mode == BreakerMode::ForcedClosed {
            return None;
        }
        if side.in_a_row >= c.consecutive_failures_max {
            return Some(Trip::InARow(side.in_a_row));
        }
        let (failed, _, of) = side.window.counts();
        let is_enough = |of| of >= c.window_calls_min;
        // A call that succeeds opens nothing by what failed before it.
        if is_enough(of) && called.failed && failed * 100 >= c.failure_percent_max * of {
            return Some(Trip::Failing(failed, of));
        }
        let (_, slow, of) = self.window.counts();
        let is_too_slow = is_enough(of) && slow * 100 >= c.slow_percent_max * of;
        is_too_slow.then_some(Trip::Slow(slow, of))
    }

    /// No call goes to the driver from now on.
    pub fn open(&mut self, now_ms: Millis) {
        if self.state == BreakerState::Closed {
            self.opened += 1;
        }
        self.enter(BreakerState::Open, now_ms);
    }

    /// A driver has been opened. The first one gets calls at once, as nothing speaks against it; a
    /// successor is probed.
    pub fn half_open(&mut self, now_ms: Millis) {
        self.passed = 0;
        if self.first_closed_ms.is_none() {
            self.close(now_ms);
        } else {
            self.enter(BreakerState::HalfOpen, now_ms);
        }
    }

    /// Calls go to the driver from now on.
    pub fn close(&mut self, now_ms: Millis) {
        self.forget();
        self.enter(BreakerState::Closed, now_ms);
        self.first_closed_ms.get_or_insert(now_ms);
    }

    /// A probe has ended. One that failed opens the breaker; enough that passed close it.
    pub fn probed(&mut self, passed: bool, now_ms: Millis) -> BreakerState {
        if self.state != BreakerState::HalfOpen {
            return self.state;
        }
        self.probes += 1;
        if !passed {
            self.probes_failed += 1;
            self.enter(BreakerState::Open, now_ms);
            return self.state;
        }
        self.passed += 1;
        if self.passed >= self.config.probes {
            self.close(now_ms);
        }
        self.state
    }

    /// What it has counted.
    pub fn stats(&self, now_ms: Millis) -> BreakerStats {
        let open_ms = self.open_ms + self.open_since(now_ms);
        let all = self
            .first_closed_ms
            .map_or(0, |first| now_ms.saturating_sub(first));
        let availability = match (self.first_closed_ms, all) {
            (None, _) => 0.0,
            (Some(_), 0) => 1.0,
            // Milliseconds of one process: far below 2^53, so the casts lose nothing.
            (Some(_), all) => 1.0 - open_ms.min(all) as f64 / all as f64,
        };
        BreakerStats {
            state: self.state(),
            mode: self.mode,
            since_ms: self.since_ms,
            opened: self.opened,
            open_ms,
            availability,
            probes: self.probes,
            probes_failed: self.probes_failed,
        }
    }

    fn enter(&mut self, state: BreakerState, now_ms: Millis) {
        self.change(now_ms, |this| this.state = state);
    }

    fn change(&mut self, now_ms: Millis, change: impl FnOnce(&mut Self)) {
        let before = self.state();
        self.open_ms += self.open_since(now_ms);
        self.booked_ms = now_ms;
        change(self);
        if self.state() != before {
            self.since_ms = now_ms;
        }
    }

    fn open_since(&self, now_ms: Millis) -> u64 {
        let counts = self.first_closed_ms.is_some() && self.state() != BreakerState::Closed;
        if counts {
            now_ms.saturating_sub(self.booked_ms)
        } else {
            0
        }
    }

    fn forget(&mut self) {
        self.window = Window::new(self.config.window_calls);
        (self.reads, self.writes) = (Side::new(&self.config), Side::new(&self.config));
    }
}

#[cfg(test)]
mod tests;
