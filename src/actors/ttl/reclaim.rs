//! When which store is asked to reclaim: one run at a time per driver, and a pause between two.
//!
//! Pure: told the time, it says who is due. A store without deadlines is never asked again.

use super::parts::{RECLAIM_RETRY_MS, Reclaimer};
use crate::clock::Millis;

/// The drivers that reclaim.
pub struct Schedule {
    tiers: Vec<Tier>,
    pause_ms: Millis,
}

struct Tier {
    number: u8,
    reclaimer: Reclaimer,
    running: bool,
    wanted_ms: Option<Millis>,
    not_before_ms: Millis,
}

impl Schedule {
    /// One run for every driver, at once: nobody else knows what an earlier process has left.
    pub fn new(reclaimers: Vec<(u8, Reclaimer)>, pause_ms: Millis, now_ms: Millis) -> Self {
        let tier = |(number, reclaimer)| Tier {
            number,
            reclaimer,
            running: false,
            wanted_ms: Some(now_ms),
            not_before_ms: now_ms,
        };
        Self {
            tiers: reclaimers.into_iter().map(tier).collect(),
            pause_ms,
        }
    }

    fn tier(&mut self, number: u8) -> Option<&mut Tier> {
        self.tiers.iter_mut().find(|tier| tier.number == number)
    }

    /// A store may have something to reclaim at `at_ms`.
    pub fn want(&mut self, number: u8, at_ms: Millis) {
        if let Some(tier) = self.tier(number) {
            tier.wanted_ms = Some(tier.wanted_ms.map_or(at_ms, |wanted| wanted.min(at_ms)));
        }
    }

    /// Drivers to be run now; each counts as running until [`done`](Schedule::done).
    pub fn due(&mut self, now_ms: Millis) -> Vec<(u8, Reclaimer)> {
        let mut due = Vec::new();
        for tier in &mut self.tiers {
            if tier.next_ms().is_some_and(|at| at <= now_ms) {
                tier.running = true;
                tier.wanted_ms = None;
                due.push((tier.number, tier.reclaimer.clone()));
            }
        }
        due
    }

    /// A run has ended. `up` says whether the driver was up, `next_ms` when it has more to reclaim.
    pub fn done(&mut self, number: u8, now_ms: Millis, up: bool, next_ms: Option<Millis>) {
        let pause_ms = if up { self.pause_ms } else { RECLAIM_RETRY_MS };
        let again_ms = if up { next_ms } else { Some(now_ms) };
        if let Some(tier) = self.tier(number) {
            tier.running = false;
            tier.not_before_ms = now_ms.saturating_add(pause_ms);
        }
        if let Some(at_ms) = again_ms {
            self.want(number, at_ms);
        }
    }

    /// When a driver is due next.
    pub fn next_ms(&self) -> Option<Millis> {
        self.tiers.iter().filter_map(Tier::next_ms).min()
    }
}

impl Tier {
    fn next_ms(&self) -> Option<Millis> {
        let wanted_ms = self.wanted_ms.filter(|_| !self.running)?;
        Some(wanted_ms.max(self.not_before_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Arc;

    fn schedule() -> Schedule {
        let idle: Reclaimer = Arc::new(|_, _| Box::pin(async { None }));
        Schedule::new(vec![(3, idle)], 100, 1_000)
    }

    fn due(schedule: &mut Schedule, now_ms: Millis) -> usize {
        schedule.due(now_ms).len()
    }

    #[test]
    fn every_driver_runs_once_at_the_start_and_then_when_it_has_something() {
        let mut schedule = schedule();
        assert_eq!(schedule.next_ms(), Some(1_000));
        assert_eq!(due(&mut schedule, 1_000), 1);
        assert_eq!((due(&mut schedule, 1_000), schedule.next_ms()), (0, None));
        schedule.done(3, 1_010, true, Some(5_000));
        assert_eq!(schedule.next_ms(), Some(5_000));
        assert_eq!(due(&mut schedule, 4_999), 0);
        assert_eq!(due(&mut schedule, 5_000), 1);
        schedule.done(3, 5_000, true, None);
        assert_eq!(schedule.next_ms(), None);
    }

    #[test]
    fn there_is_a_pause_between_two_runs() {
        let mut schedule = schedule();
        due(&mut schedule, 1_000);
        schedule.want(3, 900);
        schedule.want(3, 950);
        schedule.want(4, 900);
        assert_eq!(schedule.next_ms(), None, "it is running");
        schedule.done(3, 1_010, true, None);
        assert_eq!(schedule.next_ms(), Some(1_110));
    }

    #[test]
    fn a_driver_that_is_down_is_asked_again() {
        let mut schedule = schedule();
        due(&mut schedule, 1_000);
        schedule.done(3, 1_010, false, None);
        assert_eq!(schedule.next_ms(), Some(2_010));
    }
}
