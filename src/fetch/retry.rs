//! When a load is tried again: exponential backoff with full jitter (Brooker, "Exponential Backoff and
//! Jitter", 2015), and a source's own pace where it says one.

use std::time::Duration;

use crate::error::{Error, ErrorClass, LoadError};

/// Attempts of one load, the first one included, where nothing else is said.
pub const ATTEMPTS: u32 = 4;
/// The most the first wait may be, where nothing else is said.
pub const BASE: Duration = Duration::from_millis(250);
/// By how much each wait may be longer than the one before.
pub const FACTOR: f64 = 2.0;
/// The most any wait may be.
pub const CAP: Duration = Duration::from_secs(10);
/// The most that anybody may ask for.
const ATTEMPTS_MAX: u32 = 1_000;

/// How often a load is tried, and how long it waits in between: before attempt `n + 1` a random time
/// between nothing and `base * factor^(n-1)`, at most `cap`, and never less than what the source asked for.
/// Nobody waits past a deadline: the load fails at once instead.
///
/// ```
/// use larder::fetch::Retry;
/// use std::time::Duration;
///
/// let patient = Retry::default().attempts(8).cap(Duration::from_secs(30));
/// let never = Retry::never();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    attempts: u32,
    base: Duration,
    factor: f64,
    cap: Duration,
    also: Vec<ErrorClass>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: ATTEMPTS,
            base: BASE,
            factor: FACTOR,
            cap: CAP,
            also: Vec::new(),
        }
    }
}

impl Retry {
    /// One attempt, and no more.
    pub fn never() -> Self {
        Self::default().attempts(1)
    }

    /// Attempts in all, the first one included (1 to 1,000). Default: [`ATTEMPTS`].
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The most the first wait may be. Default: [`BASE`].
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// By how much each wait may be longer than the one before (at least 1). Default: [`FACTOR`].
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The most any wait may be (at least `base`). Default: [`CAP`].
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Tries again after errors of this class too. Without it only [`ErrorClass::Transient`] ones are.
    #[must_use]
    pub fn also(mut self, class: ErrorClass) -> Self {
        self.also.push(class);
        self
    }

    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |reason: String| {
            Err(Error::Invalid {
                field: "retry",
                reason,
            })
        };
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts) {
            return wrong(format!(
                "attempts is {}, allowed are 1 to {ATTEMPTS_MAX}",
                self.attempts
            ));
        }
        if !(self.factor >= 1.0 && self.factor.is_finite()) {
            return wrong(format!("factor is {}, allowed is 1 and more", self.factor));
        }
        if self.cap < self.base {
            return wrong(format!(
                "cap is {} ms and base is {} ms, which is longer",
                self.cap.as_millis(),
                self.base.as_millis()
            ));
        }
        Ok(())
    }

    /// How long to wait before the attempt after this one (the first is 1); `None` if there is to be none.
    pub(crate) fn next(
        &self,
        attempt: u32,
        error: &LoadError,
        rng: &mut fastrand::Rng,
    ) -> Option<Duration> {
        let class = error.class();
        let may = class == ErrorClass::Transient || self.also.contains(&class);
        if !may || attempt >= self.attempts {
            return None;
        }
        let most = self.most(attempt).mul_f64(rng.f64());
        Some(most.max(error.pace().unwrap_or_default()))
    }

    /// How long to wait before something is tried once more that has failed so often in a row, whatever it
    /// failed with and however often it may: at least half of `base` and `least`, so that nothing is tried in
    /// a circle, and at least what the source asked for, up to a day.
    pub(crate) fn pace(
        &self,
        failures: u32,
        least: Duration,
        error: &LoadError,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        let least = (self.base / 2).max(least);
        let most = self.most(failures).max(least);
        let wait = least + (most - least).mul_f64(rng.f64());
        let asked = error.pace().unwrap_or_default();
        wait.max(asked.min(super::DEADLINE_MAX))
    }

    /// The most any wait may be.
    pub(crate) fn longest(&self) -> Duration {
        self.cap
    }

    /// The most to wait after this attempt.
    fn most(&self, attempt: u32) -> Duration {
        let times = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.base.as_secs_f64() * self.factor.powi(times);
        // Beyond what a duration can hold it is beyond the cap.
        Duration::try_from_secs_f64(seconds).map_or(self.cap, |most| most.min(self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn waits_grow_by_the_factor_up_to_the_cap() {
        let table = [
            (
                Retry::default(),
                [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000],
            ),
            (
                Retry::default().base(ms(10)).factor(3.0).cap(ms(100)),
                [10, 30, 90, 100, 100, 100, 100],
            ),
            (Retry::default().base(ms(7)).factor(1.0).cap(ms(7)), [7; 7]),
        ];
        for (retry, expected) in table {
            let most: Vec<_> = (1..=7).map(|attempt| retry.most(attempt)).collect();
            assert_eq!(most, expected.map(ms), "{retry:?}");
        }
        assert_eq!(Retry::default().most(u32::MAX), CAP);
    }

    #[test]
    fn jitter_is_full_and_comes_from_the_seed() {
        let retry = Retry::default().attempts(1_000);
        let error = LoadError::transient("no");
        let draw = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let next = |attempt| retry.next(attempt, &error, &mut rng).unwrap();
            [1, 2, 3, 9].map({
                let mut next = next;
                move |attempt| next(attempt)
            })
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let first: Vec<_> = (0..1_000).map(|seed| draw(seed)[0]).collect();
        assert!(first.iter().all(|wait| *wait <= BASE));
        let mean = first.iter().sum::<Duration>() / 1_000;
        assert!((ms(110)..ms(140)).contains(&mean), "{mean:?}");
        assert!(first.iter().any(|wait| *wait < ms(10)));
    }

    #[test]
    fn only_what_may_help_is_tried_again_and_no_more_often_than_asked() {
        let mut rng = fastrand::Rng::with_seed(7);
        let retry = Retry::default();
        let transient = LoadError::transient("no");
        for attempt in 1..ATTEMPTS {
            assert!(retry.next(attempt, &transient, &mut rng).is_some());
        }
        assert_eq!(retry.next(ATTEMPTS, &transient, &mut rng), None);
        assert_eq!(Retry::never().next(1, &transient, &mut rng), None);
        for class in [
            ErrorClass::Caller,
            ErrorClass::Device,
            ErrorClass::Permanent,
            ErrorClass::Business,
            ErrorClass::Bug,
        ] {
            let error = LoadError::new(class, "no");
            assert_eq!(retry.next(1, &error, &mut rng), None);
            let allowed = retry.clone().also(class);
            assert!(allowed.next(1, &error, &mut rng).is_some());
        }
    }

    #[test]
    fn a_sources_pace_is_the_least_wait() {
        let mut rng = fastrand::Rng::with_seed(7);
        let busy = LoadError::transient("429").retry_after(ms(60_000));
        let wait = Retry::default().next(1, &busy, &mut rng);
        assert_eq!(wait, Some(ms(60_000)));
    }

    #[test]
    fn what_is_tried_without_end_is_tried_at_a_pace() {
        let mut rng = fastrand::Rng::with_seed(7);
        let none = Retry::default().base(ms(0)).cap(ms(0));
        let no = LoadError::permanent("no");
        assert_eq!(none.pace(1, ms(10), &no, &mut rng), ms(10));
        let retry = Retry::default().attempts(1);
        for (failures, most) in [(1, 250), (3, 1_000), (u32::MAX, 10_000)] {
            let waits: Vec<_> = (0..1_000)
                .map(|_| retry.pace(failures, ms(10), &no, &mut rng))
                .collect();
            assert!(waits.iter().all(|wait| (ms(125)..=ms(most)).contains(wait)));
            assert!(waits.iter().any(|wait| *wait > ms(most * 3 / 4)));
        }
        let busy = LoadError::transient("429").retry_after(Duration::MAX);
        let day = retry.pace(1, ms(10), &busy, &mut rng);
        assert_eq!(day, Duration::from_secs(86_400));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let reasons = [
            (Retry::default().attempts(0), "attempts is 0"),
            (Retry::default().attempts(1_001), "attempts is 1001"),
            (Retry::default().factor(0.5), "factor is 0.5"),
            (Retry::default().factor(f64::NAN), "factor is NaN"),
            (
                Retry::default().base(ms(9)).cap(ms(8)),
                "cap is 8 ms and base is 9 ms",
            ),
        ];
        for (retry, reason) in reasons {
            let error = retry.check().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        Retry::default().check().unwrap();
        Retry::never().check().unwrap();
    }
}
