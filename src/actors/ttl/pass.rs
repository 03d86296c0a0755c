//! When the shelf is passed over as a whole, and when timers that nobody needs are let go.
//!
//! A pass finds the deadlines of everything in memory: at the start, and after notes were lost. Nobody
//! tells the manager that memory evicted or removed a key, so when timers have doubled since the last
//! time, the timers of what a pass does not meet are trimmed. Pure; told the time.

use super::parts::{TRIM_PAUSE_MS, TtlConfig};
use crate::clock::Millis;

/// Passes over the shelf, one stripe at a time.
pub struct Pass {
    wanted: bool,
    stripe: Option<usize>,
    from_ms: Millis,
    pause_ms: Millis,
}

impl Pass {
    /// The first pass is wanted at once.
    pub fn new(config: &TtlConfig) -> Self {
        Self {
            wanted: true,
            stripe: None,
            from_ms: 0,
            pause_ms: config.pass_pause_ms,
        }
    }

    /// A whole pass that begins after this is needed.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether a pass is under way.
    pub fn is_running(&self) -> bool {
        self.stripe.is_some()
    }

    /// When the next one begins.
    pub fn next_ms(&self) -> Option<Millis> {
        (self.wanted && !self.is_running()).then_some(self.from_ms)
    }

    /// The stripe to look at now; 0 begins a pass.
    pub fn next(&mut self, now_ms: Millis, stripes: usize) -> Option<usize> {
        if self.next_ms().is_some_and(|from| from <= now_ms) {
            self.wanted = false;
            self.stripe = Some(0);
        }
        let stripe = self.stripe?;
        self.stripe = (stripe + 1 < stripes).then_some(stripe + 1);
        self.from_ms = now_ms.saturating_add(self.pause_ms);
        Some(stripe)
    }
}

/// When timers are trimmed.
pub struct Trimming {
    marking: bool,
    refused: bool,
    at_count: usize,
    from_ms: Millis,
    count_min: usize,
    timers_max: usize,
}

impl Trimming {
    /// Nothing to trim yet.
    pub fn new(config: &TtlConfig) -> Self {
        Self {
            marking: false,
            refused: false,
            at_count: config.trim_min.min(config.timers_max),
            from_ms: 0,
            count_min: config.trim_min,
            timers_max: config.timers_max,
        }
    }

    /// Whether so many timers are worth a search.
    pub fn wants(&self, now_ms: Millis, timers: usize) -> bool {
        !self.marking && timers >= self.at_count && now_ms >= self.from_ms
    }

    /// A pass has begun that shows which timers are needed.
    pub fn begin(&mut self) {
        self.marking = true;
    }

    /// Whether a search is under way.
    pub fn is_running(&self) -> bool {
        self.marking
    }

    /// A deadline got no timer.
    pub fn refused(&mut self) {
        self.refused = true;
    }

    /// The search is over and has left so many timers.
    pub fn done(&mut self, now_ms: Millis, timers: usize) {
        self.marking = false;
        self.at_count = (timers * 2).max(self.count_min).min(self.timers_max);
        self.from_ms = now_ms.saturating_add(TRIM_PAUSE_MS);
    }

    /// Whether there is room again for deadlines that were refused, so that a pass should find them.
    pub fn has_room_again(&mut self, timers: usize) -> bool {
        let has_room = timers <= self.timers_max - self.timers_max / 8;
        has_room && !self.marking && std::mem::take(&mut self.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TtlConfig {
        TtlConfig {
            pass_pause_ms: 1_000,
            trim_min: 10,
            timers_max: 50,
            ..TtlConfig::default()
        }
    }

    #[test]
    fn a_pass_meets_every_stripe_once_and_the_next_one_waits() {
        let mut pass = Pass::new(&config());
        let met: Vec<_> = (0..5).map(|n| pass.next(n, 3)).collect();
        assert_eq!(met, [Some(0), Some(1), Some(2), None, None]);
        assert_eq!(pass.next_ms(), None);
        pass.want();
        assert_eq!(pass.next_ms(), Some(1_002));
        assert_eq!(pass.next(1_001, 3), None);
        assert_eq!(pass.next(1_002, 3), Some(0));
        pass.want();
        assert_eq!((pass.is_running(), pass.next_ms()), (true, None));
    }

    #[test]
    fn a_trim_is_wanted_when_timers_have_doubled() {
        let mut trimming = Trimming::new(&config());
        assert!(!trimming.wants(0, 9) && trimming.wants(0, 10));
        trimming.begin();
        assert!(trimming.is_running() && !trimming.wants(0, 99));
        trimming.done(0, 20);
        assert!(!trimming.wants(TRIM_PAUSE_MS, 39) && trimming.wants(TRIM_PAUSE_MS, 40));
        assert!(!trimming.wants(TRIM_PAUSE_MS - 1, 40));
    }

    #[test]
    fn room_for_refused_deadlines_asks_for_another_pass() {
        let mut trimming = Trimming::new(&config());
        trimming.refused();
        assert!(!trimming.has_room_again(45), "not enough");
        assert!(trimming.has_room_again(44));
        assert!(!trimming.has_room_again(44), "once");
    }

    #[test]
    fn a_trim_that_frees_nothing_is_not_repeated_at_once() {
        let mut trimming = Trimming::new(&config());
        trimming.done(0, 50);
        assert!(!trimming.wants(TRIM_PAUSE_MS - 1, 50));
        assert!(trimming.wants(TRIM_PAUSE_MS, 50), "at the bound");
    }
}
