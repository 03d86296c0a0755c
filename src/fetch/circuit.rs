//! Whether a source is asked: the breaker of the drivers (Nygard, "Release It!", 2007, ch. 5), which here
//! opens itself again after a time of its own, or after the time that the source asked for.
//!
//! It reads no clock, holds no lock and wakes nobody.

use crate::breaker::{Breaker, BreakerConfig, BreakerMode, BreakerState, BreakerStats, Called};
use crate::clock::Millis;
use crate::health::Backoff;

/// When to ask again while somebody is finding out, and while somebody has decided that nobody asks.
const AGAIN_MS: u64 = 100;
/// Between two calls that hear nothing no more than this passes, if they are to hear the same silence.
const HEARD_MS: u64 = 1_000;
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
    /// Until when the one who finds out has time: whoever asks may stand still for ever.
    probed_until_ms: Option<Millis>,
    /// Calls under way.
    asking: u32,
    /// Since when it is being asked without having answered anybody.
    silent_since_ms: Option<Millis>,
    /// When somebody could not wait any longer last.
    cut_ms: Millis,
}

/// What the end of a call has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Turned {
    /// Nothing.
    Nothing,
    /// Nobody asks from now on, for this reason.
    Opened(String),
    /// It is asked again.
    Closed,
}

/// Leave to ask once.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// None for what is part of asking: it says nothing of its own.
    era: Option<u64>,
    is_probe: bool,
}

impl Pass {
    /// For a load that one is waiting for who has a pass himself.
    pub const PART: Self = Self {
        era: None,
        is_probe: false,
    };
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
    /// It failed for a reason that is not the source's.
    Elsewhere,
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
            probed_until_ms: None,
            asking: 0,
            silent_since_ms: None,
            cut_ms: 0,
        }
    }

    /// The same with other rules from now on: who decides, and for how long nobody asks, stays.
    pub fn with_rules(&self, config: BreakerConfig, reopen: Backoff, now_ms: Millis) -> Self {
        let mut new = Self::new(config, reopen, now_ms);
        (new.era, new.asking) = (self.era + 1, self.asking);
        if self.breaker.state() != BreakerState::Closed && self.breaker.mode() == BreakerMode::Auto
        {
            new.breaker.open(now_ms);
            (new.until_ms, new.openings) = (self.until_ms, self.openings);
        }
        new.breaker.force(self.breaker.mode(), now_ms);
        new
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
            BreakerState::HalfOpen => {
                let is_probed = self
                    .probed_until_ms
                    .is_some_and(|until_ms| now_ms < until_ms);
                is_probed.then_some(AGAIN_MS)
            }
        }
    }

    /// Leave to ask now, for so long at most, or for how long nobody is to.
    pub fn begin(&mut self, now_ms: Millis, call_ms_max: u64) -> Result<Pass, u64> {
        if let Some(left_ms) = self.refuses_for(now_ms) {
            return Err(left_ms);
        }
        if self.breaker.state() == BreakerState::Open {
            self.breaker.half_open(now_ms);
        }
        let is_probe = self.breaker.state() == BreakerState::HalfOpen;
        if is_probe {
            // One whose time is up has found out nothing, and says nothing any more.
            self.era += u64::from(self.probed_until_ms.is_some());
            self.probed_until_ms = Some(now_ms.saturating_add(call_ms_max));
        }
        // A silence that nobody was there to hear any more is none.
        let is_new = self.asking == 0 && now_ms.saturating_sub(self.cut_ms) >= HEARD_MS;
        if is_new || self.silent_since_ms.is_none() {
            self.silent_since_ms = Some(now_ms);
        }
        self.asking = self.asking.saturating_add(1);
        Ok(Pass {
            era: Some(self.era),
            is_probe,
        })
    }

    /// Asking has ended, after so long. `random` is in `0.0..1.0`.
    pub fn end(
        &mut self,
        pass: Pass,
        ended: Ended,
        took_ms: u64,
        now_ms: Millis,
        random: f64,
    ) -> Turned {
        let Some(era) = pass.era else {
            return Turned::Nothing;
        };
        self.asking = self.asking.saturating_sub(1);
        let is_silent = self.is_silent(ended, now_ms);
        if era != self.era {
            self.hear(ended, now_ms);
            return Turned::Nothing;
        }
        if pass.is_probe {
            self.probed_until_ms = None;
        }
        let slow_ms = self.breaker.config().slow_ms;
        let (failed, pace_ms) = match ended {
            Ended::Answered => (false, None),
            Ended::Failed { pace_ms } => (true, pace_ms),
            // It had time enough to answer, this call or those before it.
            Ended::Cut if took_ms >= slow_ms || is_silent => (true, None),
            Ended::Cut | Ended::Elsewhere => return Turned::Nothing,
        };
        if pass.is_probe {
            return self.probed(failed || took_ms >= slow_ms, pace_ms, now_ms, random);
        }
        let called = Called {
            writes: false,
            failed,
            took_ms,
        };
        let why = match (self.breaker.record(called), pace_ms) {
            (Some(trip), _) => trip.to_string(),
            (None, Some(_)) if self.breaker.mode() == BreakerMode::Auto => {
                "it asked for a pause".to_owned()
            }
            (None, _) => return Turned::Nothing,
        };
        self.open(pace_ms, now_ms, random);
        Turned::Opened(why)
    }

    /// One has found out.
    fn probed(
        &mut self,
        failed: bool,
        pace_ms: Option<u64>,
        now_ms: Millis,
        random: f64,
    ) -> Turned {
        match self.breaker.probed(!failed, now_ms) {
            BreakerState::Open => {
                self.open(pace_ms, now_ms, random);
                Turned::Opened("it fails, or is slow, as before".into())
            }
            BreakerState::Closed => {
                self.openings = 0;
                Turned::Closed
            }
            BreakerState::HalfOpen => Turned::Nothing,
        }
    }

    /// Whether it has been asked for so long without having answered anybody that it had time enough, however
    /// little each of those who asked could wait.
    fn is_silent(&mut self, ended: Ended, now_ms: Millis) -> bool {
        match ended {
            Ended::Answered | Ended::Failed { .. } => {
                self.silent_since_ms = None;
                false
            }
            Ended::Elsewhere => false,
            Ended::Cut => {
                self.cut_ms = now_ms;
                let since_ms = self.silent_since_ms.unwrap_or(now_ms);
                now_ms.saturating_sub(since_ms) >= self.breaker.config().slow_ms
            }
        }
    }

    /// What began before it opened says nothing but how long the source wants to be left alone.
    fn hear(&mut self, ended: Ended, now_ms: Millis) {
        if let Ended::Failed {
            pace_ms: Some(pace_ms),
        } = ended
            && self.breaker.state() == BreakerState::Open
        {
            self.until_ms = self.until_ms.max(after(now_ms, pace_ms));
        }
    }

    fn open(&mut self, pace_ms: Option<u64>, now_ms: Millis, random: f64) {
        self.breaker.open(now_ms);
        self.era += 1;
        self.probed_until_ms = None;
        self.openings = self.openings.saturating_add(1);
        // The upper half only: less would be no pause, and all larders of a fleet would ask at once.
        let own_ms = self.reopen.wait_ms(self.openings, 0.5 + random / 2.0);
        self.until_ms = after(now_ms, own_ms.max(pace_ms.unwrap_or_default()));
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
        self.probed_until_ms = None;
    }

    /// What it has counted.
    pub fn stats(&self, now_ms: Millis) -> BreakerStats {
        self.breaker.stats(now_ms)
    }
}

fn after(now_ms: Millis, pause_ms: u64) -> Millis {
    now_ms.saturating_add(pause_ms.min(PACE_MS_MAX))
}

#[cfg(test)]
mod tests;
