//! What a platform store has taken on: calls, bytes, messages and writes, against its limits. Pure; time
//! comes in as an argument.

use super::PlatformLimits;
use crate::clock::Millis;

/// What is under way, and what was turned away.
#[derive(Debug)]
pub(super) struct Meter {
    limits: PlatformLimits,
    calls: usize,
    bytes: usize,
    /// When the queue has been worked off, in milliseconds times the messages of a second: in this unit
    /// a message takes 1,000.
    worked_off: u64,
    second: u64,
    writes: u64,
    counts: PlatformCounts,
}

/// What a platform store did to its callers so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PlatformCounts {
    /// Calls that were carried out.
    pub calls: u64,
    /// Most calls that were in flight at once.
    pub calls_in_flight: usize,
    /// Calls that failed because too many were in flight.
    pub refused_calls: u64,
    /// Calls that failed because they found no room in the transaction buffer.
    pub refused_bytes: u64,
    /// Calls that failed because of too many writes in a second.
    pub refused_writes: u64,
    /// Writes that were acknowledged and dropped.
    pub dropped_writes: u64,
}

impl PlatformCounts {
    /// Whether anything was refused or dropped.
    pub fn tripped(&self) -> bool {
        self.refused_calls + self.refused_bytes + self.refused_writes + self.dropped_writes > 0
    }
}

impl Meter {
    /// Nothing is under way.
    pub(super) fn new(limits: PlatformLimits) -> Self {
        Self {
            limits,
            calls: 0,
            bytes: 0,
            worked_off: 0,
            second: 0,
            writes: 0,
            counts: PlatformCounts::default(),
        }
    }

    /// A call of `bytes` with `writes` changes. How many of them are kept; the others are lost, and
    /// nobody is told. Without room for the call, why.
    pub(super) fn enter(
        &mut self,
        now_ms: Millis,
        bytes: usize,
        writes: u64,
    ) -> Result<u64, String> {
        let limits = &self.limits;
        if self.calls >= limits.calls_in_flight_max {
            self.counts.refused_calls += 1;
            return Err(format!("{} calls are in flight", self.calls));
        }
        if self.bytes + bytes > limits.transaction_bytes_max {
            self.counts.refused_bytes += 1;
            return Err(format!(
                "{bytes} bytes do not fit beside {} in the transaction buffer",
                self.bytes
            ));
        }
        let before = if now_ms / 1_000 == self.second {
            self.writes
        } else {
            0
        };
        if before + writes > limits.writes_per_second_max {
            self.counts.refused_writes += 1;
            return Err(format!("{writes} writes after {before} in this second"));
        }
        (self.second, self.writes) = (now_ms / 1_000, before + writes);
        self.calls += 1;
        self.bytes += bytes;
        self.counts.calls += 1;
        self.counts.calls_in_flight = self.counts.calls_in_flight.max(self.calls);
        Ok(self.queue(now_ms, writes))
    }

    /// How many of so many messages the queue takes.
    fn queue(&mut self, now_ms: Millis, writes: u64) -> u64 {
        let per_second = self.limits.writes_per_second;
        let now = now_ms.saturating_mul(per_second);
        let begin = self.worked_off.max(now);
        let waiting = (begin - now).div_ceil(1_000);
        let kept = self
            .limits
            .queue_messages_max
            .saturating_sub(waiting)
            .min(writes);
        self.worked_off = begin + kept * 1_000;
        self.counts.dropped_writes += writes - kept;
        kept
    }

    /// A call that had entered with so many bytes has ended.
    pub(super) fn leave(&mut self, bytes: usize) {
        self.calls -= 1;
        self.bytes -= bytes;
    }

    /// What it did so far.
    pub(super) fn counts(&self) -> PlatformCounts {
        self.counts
    }

    pub(super) fn limits(&self) -> &PlatformLimits {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::new(PlatformLimits::default())
    }

    #[test]
    fn the_65th_call_in_flight_fails_until_one_has_left() {
        let mut meter = meter();
        (0..64).for_each(|_| assert_eq!(meter.enter(0, 1, 0), Ok(0)));
        assert!(meter.enter(0, 1, 0).is_err());
        meter.leave(1);
        assert_eq!(meter.enter(0, 1, 0), Ok(0));
        let counts = meter.counts();
        assert_eq!((counts.refused_calls, counts.calls_in_flight), (1, 64));
    }

    #[test]
    fn calls_share_one_transaction_buffer() {
        let mut meter = meter();
        assert_eq!(meter.enter(0, 1 << 19, 0), Ok(0));
        assert_eq!(meter.enter(0, 1 << 19, 0), Ok(0));
        assert!(meter.enter(0, 1, 0).is_err());
        meter.leave(1 << 19);
        assert_eq!(meter.enter(0, 1, 0), Ok(0));
        assert!(meter.counts().tripped());
    }

    #[test]
    fn more_than_a_hundred_writes_in_a_second_are_refused() {
        let mut meter = meter();
        assert_eq!(meter.enter(1_000, 0, 100), Ok(100));
        assert!(meter.enter(1_999, 0, 1).is_err());
        assert_eq!(meter.enter(2_000, 0, 1), Ok(1));
        assert_eq!(meter.counts().refused_writes, 1);
    }

    #[test]
    fn the_queue_is_worked_off_at_fifty_a_second_and_drops_the_129th_message() {
        let mut meter = meter();
        assert_eq!(meter.enter(0, 0, 100), Ok(100));
        // 50 of them have been worked off.
        assert_eq!(meter.enter(1_000, 0, 78), Ok(78));
        assert_eq!(meter.enter(1_000, 0, 1), Ok(0));
        assert_eq!(meter.counts().dropped_writes, 1);
        assert_eq!(meter.enter(1_020, 0, 2), Ok(1));
        // At its own pace nothing is ever lost.
        let mut meter = self::meter();
        for n in 0..1_000 {
            assert_eq!(meter.enter(n * 100, 0, 5), Ok(5));
            meter.leave(0);
        }
        assert!(!meter.counts().tripped());
    }
}
