//! What follows the system's clocks: from monotonic time to time since 1970, with what the machine
//! sleeps.
//!
//! The monotonic clock stands while the machine sleeps. The wall clock jumps when it wakes, in the same
//! step of the kernel as the clock that counts sleep and has no coarse form, so only a jump is worth asking
//! that one.

#[cfg(not(target_os = "linux"))]
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Millis;
#[cfg(not(target_os = "linux"))]
use super::millis;
use crate::sync::{AtomicU64, Ordering};

/// What the system's clocks say, in milliseconds.
#[derive(Clone, Copy)]
pub struct Reading {
    /// Without the time that the machine slept.
    pub monotonic: u64,
    /// Since 1970, as somebody has set it.
    pub wall: u64,
}

/// What has to be added to the monotonic clock.
#[derive(Debug)]
pub struct Base {
    /// Unix milliseconds minus monotonic milliseconds and sleep; only ever raised.
    offset_ms: AtomicU64,
    /// How long the machine has slept since the start, as far as anybody has noticed.
    ///
    /// IMPORTANT: beside the offset and not added to it, so that one step makes it known to all: who finds
    /// it noticed finds it passed.
    slept_ms: AtomicU64,
    /// How long it had slept before.
    slept_before_ms: u64,
    /// The wall clock minus the monotonic one when it was last asked for that.
    gap_ms: AtomicU64,
}

/// A jump of the wall clock by less than this is none.
const JUMP_MS: u64 = 100;
impl Base {
    /// Starts at the wall clock; the machine has slept for so long before.
    pub fn new(at: Reading, slept_ms: u64) -> Self {
        Self {
            offset_ms: AtomicU64::new(at.wall.saturating_sub(at.monotonic)),
            slept_ms: AtomicU64::new(0),
            slept_before_ms: slept_ms,
            gap_ms: AtomicU64::new(at.wall.wrapping_sub(at.monotonic)),
        }
    }

    /// Milliseconds since 1970; `slept_ms` says how long the machine has slept, where that may have changed.
    #[inline]
    pub fn now_ms(&self, at: Reading, slept_ms: impl FnOnce() -> u64) -> Millis {
        let gap = at.wall.wrapping_sub(at.monotonic);
        // Acquire: whoever sees the new gap sees the sleep that was noticed by it.
        if gap.abs_diff(self.gap_ms.load(Ordering::Acquire)) >= JUMP_MS {
            self.jumped(gap, slept_ms());
        }
        self.awake_ms(at)
            .saturating_add(self.slept_ms.load(Ordering::Relaxed))
    }

    /// As `now_ms`, without what the machine has slept since the start.
    #[inline]
    pub fn awake_ms(&self, at: Reading) -> Millis {
        let offset_ms = self.offset_ms.load(Ordering::Relaxed);
        offset_ms.saturating_add(at.monotonic)
    }

    /// Somebody has set the wall clock, or the machine has slept.
    #[cold]
    fn jumped(&self, gap: u64, slept_ms: u64) {
        let since_start_ms = slept_ms.saturating_sub(self.slept_before_ms);
        self.slept_ms.fetch_max(since_start_ms, Ordering::AcqRel);
        self.gap_ms.store(gap, Ordering::Release);
    }

    /// Never shows a time before `floor_ms` from now on.
    pub fn raise(&self, at: Reading, floor_ms: Millis) {
        let slept_ms = self.slept_ms.load(Ordering::Acquire);
        let floor_ms = floor_ms.saturating_sub(at.monotonic.saturating_add(slept_ms));
        self.offset_ms.fetch_max(floor_ms, Ordering::AcqRel);
    }
}

/// What the coarse clocks say.
#[cfg(target_os = "linux")]
#[inline]
pub fn reading() -> Reading {
    use rustix::time::ClockId::{MonotonicCoarse, RealtimeCoarse};
    Reading {
        monotonic: read(MonotonicCoarse),
        wall: read(RealtimeCoarse),
    }
}

/// How long the machine has slept since it was started; rather too little than too much.
#[cfg(target_os = "linux")]
pub fn slept_ms() -> u64 {
    use rustix::time::ClockId::{Boottime, Monotonic};
    let since_boot = read(Boottime);
    since_boot.saturating_sub(read(Monotonic))
}

#[cfg(target_os = "linux")]
#[inline]
fn read(clock: rustix::time::ClockId) -> u64 {
    let t = rustix::time::clock_gettime(clock);
    let (sec, nsec) = (t.tv_sec.unsigned_abs(), t.tv_nsec.unsigned_abs());
    sec.saturating_mul(1_000).saturating_add(nsec / 1_000_000)
}

/// What the clocks say.
#[cfg(not(target_os = "linux"))]
pub fn reading() -> Reading {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    Reading {
        monotonic: millis(START.get_or_init(Instant::now).elapsed()),
        wall: since_1970.map_or(0, millis),
    }
}

/// There is no asking here: time stands still while the machine sleeps.
#[cfg(not(target_os = "linux"))]
pub fn slept_ms() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const AN_HOUR: u64 = 3_600_000;

    fn at(monotonic: u64, wall: u64) -> Reading {
        Reading { monotonic, wall }
    }

    #[test]
    fn what_the_machine_sleeps_passes_at_the_first_look_after_it_and_once() {
        let base = Base::new(at(1_000, 500_000), 40);
        assert_eq!(base.now_ms(at(1_500, 500_500), || unreachable!()), 500_500);
        let woken = |after: u64| at(1_500 + after, 500_500 + after + AN_HOUR);
        let slept = || 40 + AN_HOUR;
        assert_eq!(base.now_ms(woken(10), slept), 500_510 + AN_HOUR);
        assert_eq!(base.now_ms(woken(20), || unreachable!()), 500_520 + AN_HOUR);
        assert_eq!(
            base.awake_ms(woken(20)),
            500_520,
            "and is known for what it was"
        );
        // Somebody who looked before the others knew adds nothing.
        base.jumped(500_000 - 1_000 + AN_HOUR, slept());
        assert_eq!(base.now_ms(woken(30), slept), 500_530 + AN_HOUR);
    }

    #[test]
    fn a_step_of_the_wall_clock_is_no_sleep() {
        let base = Base::new(at(1_000, 500_000_000), 40);
        for wall in [500_000_500 + 24 * AN_HOUR, 500_000_500 - 24 * AN_HOUR] {
            assert_eq!(base.now_ms(at(1_500, wall), || 40), 500_000_500);
            assert_eq!(base.awake_ms(at(1_500, wall)), 500_000_500);
        }
        // Asleep while it is set back by as much: seen with the next jump, and not lost.
        let base = Base::new(at(1_000, 500_000_000), 40);
        let set_back = base.now_ms(at(1_500, 500_000_500), || unreachable!());
        assert_eq!(set_back, 500_000_500);
        let later = base.now_ms(at(1_600, 500_000_600 + AN_HOUR), || 40 + 2 * AN_HOUR);
        assert_eq!(later, 500_000_600 + 2 * AN_HOUR);
    }

    #[test]
    fn slewing_that_adds_up_is_looked_at_and_moves_nothing() {
        let base = Base::new(at(0, 1_000), 0);
        let mut looks = 0;
        for n in 0..1_000 {
            let slewed = at(n, 1_000 + 2 * n);
            let now = base.now_ms(slewed, || {
                looks += 1;
                0
            });
            assert_eq!(now, 1_000 + n);
        }
        assert!((9..=10).contains(&looks), "{looks}");
    }
}
