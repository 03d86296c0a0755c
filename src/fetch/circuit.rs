//! Whether a source is asked: the breaker of the drivers (Nygard, "Release It!", 2007, ch. 5), which here
//! opens itself again after a time of its own, or after the time that the source asked for.
//!
//! It reads no clock, holds no lock and wakes nobody.

use crate::breaker::{Breaker, BreakerConfig, BreakerMode, BreakerState, BreakerStats, Called};
use crate::clock::Millis;
use crate::health::Backoff;

/// When to ask again while somebody is finding out, and while somebody has decided that nobody asks.
const AGAIN_MS: u64 = 100;
/// After so long without anybody asking, what was in vain before is forgotten.
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
    /// Names the one who finds out: another one may have taken his place since.
    probe: u64,
    /// Calls under way, and how many of them there were at most since it answered last.
    asking: u32,
    asking_most: u32,
    /// How long those have waited in vain, all together, who could not wait longer since it answered last.
    in_vain_ms: u64,
    /// When the last of those left.
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
    probe: Option<u64>,
}

impl Pass {
    /// For a load that one is waiting for who has a pass himself.
    pub const PART: Self = Self {
        era: None,
        probe: None,
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
            probe: 0,
            asking: 0,
            asking_most: 0,
            in_vain_ms: 0,
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
            // One whose time is up has found out nothing, unless he brings an answer yet.
            self.probe += 1;
            self.probed_until_ms = Some(now_ms.saturating_add(call_ms_max));
        }
        // What was in vain long ago, for others, is none of these.
        if self.asking == 0 && now_ms.saturating_sub(self.cut_ms) >= HEARD_MS {
            self.answers();
        }
        self.asking = self.asking.saturating_add(1);
        self.asking_most = self.asking_most.max(self.asking);
        Ok(Pass {
            era: Some(self.era),
            probe: is_probe.then_some(self.probe),
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
        if matches!(ended, Ended::Answered | Ended::Failed { .. }) {
            self.answers();
        }
        if era != self.era {
            self.hear(ended, now_ms);
            return Turned::Nothing;
        }
        let is_silent = self.is_silent(ended, took_ms, now_ms);
        match pass.probe {
            Some(probe) if probe == self.probe => self.probed_until_ms = None,
            // Another one finds out by now. A late answer is one.
            Some(_) if ended != Ended::Answered => return Turned::Nothing,
            _ => {}
        }
        let slow_ms = self.breaker.config().slow_ms;
        let (failed, pace_ms) = match ended {
            Ended::Answered => (false, None),
            Ended::Failed { pace_ms } => (true, pace_ms),
            // It had time enough to answer, this call or those before it.
            Ended::Cut if took_ms >= slow_ms || is_silent => (true, None),
            Ended::Cut | Ended::Elsewhere => return Turned::Nothing,
        };
        if pass.probe.is_some() {
            return self.probed(failed || took_ms >= slow_ms, pace_ms, now_ms, random);
        }
        let called = Called {
            writes: false,
            failed,
            took_ms,
        };
        let own_ms = self.own_ms(random);
        match (self.breaker.record(called), pace_ms) {
            (Some(trip), _) => {
                self.open(own_ms.max(pace_ms.unwrap_or_default()), now_ms);
                Turned::Opened(trip.to_string())
            }
            (None, Some(pace_ms)) if self.breaker.mode() == BreakerMode::Auto => {
                self.open(pace_ms, now_ms);
                Turned::Opened("it asked for a pause".to_owned())
            }
            (None, _) => Turned::Nothing,
        }
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
                let own_ms = self.own_ms(random);
                self.open(own_ms.max(pace_ms.unwrap_or_default()), now_ms);
                Turned::Opened("it fails, or is slow, as before".into())
            }
            BreakerState::Closed => {
                self.openings = 0;
                Turned::Closed
            }
            BreakerState::HalfOpen => Turned::Nothing,
        }
    }

    /// Nothing is in vain.
    fn answers(&mut self) {
        (self.in_vain_ms, self.asking_most) = (0, self.asking);
    }

    /// Whether it has answered nobody for so long that it had time enough, however little each of those who asked
    /// could wait: as long as that is for one is it for each of those that ask at once.
    fn is_silent(&mut self, ended: Ended, took_ms: u64, now_ms: Millis) -> bool {
        if ended != Ended::Cut {
            return false;
        }
        self.cut_ms = now_ms;
        self.in_vain_ms = self.in_vain_ms.saturating_add(took_ms);
        let enough_ms = self.breaker.config().slow_ms;
        self.in_vain_ms >= enough_ms.saturating_mul(u64::from(self.asking_most.max(1)))
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

    /// How long it is left alone where it says nothing itself.
    fn own_ms(&self, random: f64) -> u64 {
        // The upper half only: less would be no pause, and all larders of a fleet would ask at once.
        let openings = self.openings.saturating_add(1);
        self.reopen.wait_ms(openings, 0.5 + random / 2.0)
    }

    fn open(&mut self, pause_ms: u64, now_ms: Millis) {
        self.breaker.open(now_ms);
        self.era += 1;
        self.probed_until_ms = None;
        self.answers();
        self.openings = self.openings.saturating_add(1);
        self.until_ms = after(now_ms, pause_ms);
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
