//! Whether a source is asked: the breaker of the drivers (Nygard, "Release It!", 2007, ch. 5), which here
//! opens itself again after a time of its own, or after the time that the source asked for.
//!
//! It reads no clock, holds no lock and wakes nobody.

use crate::breaker::{Breaker, BreakerConfig, BreakerMode, BreakerState, BreakerStats, Called};
use crate::clock::Millis;
use crate::health::Backoff;

/// When to ask again while somebody is finding out, and while somebody has decided that nobody asks.
const AGAIN_MS: u64 = 100;
/// The longest that a source is believed: a day.
const PACE_MS_MAX: u64 = 86_400_000;

/// Whether a source is asked.
#[derive(Debug)]
pub struct Circuit {
    breaker: Breaker,
    reopen: Backoff,
    /// When it is asked again, if nobody asks it now.
    until_ms: Millis,
    /// How often it has opened since it worked last.
    openings: u32,
    /// Names the times between two openings: what began before one says nothing after it.
    era: u64,
    is_probed: bool,
}

/// Leave to ask once.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    era: u64,
    is_probe: bool,
}

/// How asking ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It answered; "no" is an answer.
    Answered,
    /// It did not, and asked not to be asked for so long, if it said so.
    Failed { pace_ms: Option<u64> },
    /// Whoever asked could not wait.
    Cut,
}

impl Circuit {
    /// One that is asked.
    pub fn new(config: BreakerConfig, reopen: Backoff, now_ms: Millis) -> Self {
        let mut breaker = Breaker::new(config, now_ms);
        // The first one closes it: nothing speaks against it.
        breaker.half_open(now_ms);
        Self {
            breaker,
            reopen,
            until_ms: 0,
            openings: 0,
            era: 0,
            is_probed: false,
        }
    }

    /// For how long nobody is to ask, in milliseconds; nothing, if somebody may.
    pub fn refuses_for(&self, now_ms: Millis) -> Option<u64> {
        match self.breaker.state() {
            BreakerState::Closed => None,
            BreakerState::Open if self.breaker.mode() == BreakerMode::ForcedOpen => Some(AGAIN_MS),
            BreakerState::Open => {
                let left_ms = self.until_ms.saturating_sub(now_ms);
                (left_ms > 0).then_some(left_ms)
            }
            BreakerState::HalfOpen => self.is_probed.then_some(AGAIN_MS),
        }
    }

    /// Leave to ask now, or for how long nobody is to.
    pub fn begin(&mut self, now_ms: Millis) -> Result<Pass, u64> {
        if let Some(left_ms) = self.refuses_for(now_ms) {
            return Err(left_ms);
        }
        if self.breaker.state() == BreakerState::Open {
            self.breaker.half_open(now_ms);
        }
        let is_probe = self.breaker.state() == BreakerState::HalfOpen;
        self.is_probed |= is_probe;
        Ok(Pass {
            era: self.era,
            is_probe,
        })
    }

    /// Asking has ended, after so long. Whether nobody is to ask from now on. `random` is in `0.0..1.0`.
    pub fn end(
        &mut self,
        pass: Pass,
        ended: Ended,
        took_ms: u64,
        now_ms: Millis,
        random: f64,
    ) -> bool {
        if pass.era != self.era {
            return false;
        }
        if pass.is_probe {
            self.is_probed = false;
        }
        let (failed, pace_ms) = match ended {
            Ended::Answered => (false, None),
            Ended::Failed { pace_ms } => (true, pace_ms),
            // It had time enough to answer.
            Ended::Cut if took_ms >= self.breaker.config().slow_ms => (true, None),
            Ended::Cut => return false,
        };
        let opens = if pass.is_probe {
            match self.breaker.probed(!failed, now_ms) {
                BreakerState::Open => true,
                BreakerState::Closed => {
                    self.openings = 0;
                    false
                }
                BreakerState::HalfOpen => false,
            }
        } else {
            let called = Called {
                writes: false,
                failed,
                took_ms,
            };
            let tripped = self.breaker.record(called).is_some();
            tripped || (pace_ms.is_some() && self.breaker.mode() == BreakerMode::Auto)
        };
        if opens {
            self.open(pace_ms, now_ms, random);
        }
        opens
    }

    fn open(&mut self, pace_ms: Option<u64>, now_ms: Millis, random: f64) {
        self.breaker.open(now_ms);
        self.era += 1;
        self.is_probed = false;
        self.openings = self.openings.saturating_add(1);
        // The upper half only: less would be no pause, and all larders of a fleet would ask at once.
        let own_ms = self.reopen.wait_ms(self.openings, 0.5 + random / 2.0);
        let pace_ms = pace_ms.unwrap_or_default().min(PACE_MS_MAX);
        self.until_ms = now_ms.saturating_add(own_ms.max(pace_ms));
    }

    /// Takes the decision from it, or gives it back.
    pub fn force(&mut self, mode: BreakerMode, now_ms: Millis) {
        self.breaker.force(mode, now_ms);
        if matches!(mode, BreakerMode::ForcedClosed | BreakerMode::Disabled)
            && !self.breaker.is_proven()
        {
            // Whoever says that it is to be asked knows better.
            self.breaker.close(now_ms);
            self.openings = 0;
        }
        self.era += 1;
        self.is_probed = false;
    }

    /// What it has counted.
    pub fn stats(&self, now_ms: Millis) -> BreakerStats {
        self.breaker.stats(now_ms)
    }
}

#[cfg(test)]
mod tests;
