//! Whether what is there will do, by its times and the call's terms: plain arithmetic.

use std::time::Duration;

use super::{DEADLINE, DEADLINE_MAX};
use crate::clock::{Millis, NEVER, millis};
use crate::error::Error;

/// What a call wants to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    /// Shown that long after it expired, while it is loaded anew.
    pub stale_for: Duration,
    /// Shown that long after it expired, if it cannot be loaded.
    pub stale_if_error_for: Duration,
    /// Loaded anew once so much of its TTL has passed.
    pub refresh_ahead: Option<f64>,
    /// When what has expired is shown rather than waited for any longer.
    pub soft_timeout: Option<Duration>,
    /// How long the call may take.
    pub deadline: Option<Duration>,
    /// It is loaded whatever there is.
    pub is_forced: bool,
}

/// When an entry was made, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lapse {
    pub created_ms: Millis,
    pub expires_ms: Millis,
}

/// What to do about an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Show it.
    Show,
    /// Show it, and load it anew.
    ShowAndRefresh,
    /// Load it; meanwhile or if that fails it may be shown.
    LoadOr,
    /// Load it.
    Load,
}

/// What to do about an entry with these times.
pub(crate) fn judge(terms: &Terms, entry: Lapse, now_ms: Millis) -> Verdict {
    if now_ms < entry.expires_ms {
        return match terms.refresh_ahead {
            Some(part) if is_past(part, entry, now_ms) => Verdict::ShowAndRefresh,
            _ => Verdict::Show,
        };
    }
    let over_ms = now_ms - entry.expires_ms;
    if over_ms < millis(terms.stale_for) {
        // With a soft timeout there is a little time to get something better.
        return match terms.soft_timeout {
            Some(_) => Verdict::LoadOr,
            None => Verdict::ShowAndRefresh,
        };
    }
    match over_ms < millis(terms.stale_if_error_for) {
        true => Verdict::LoadOr,
        false => Verdict::Load,
    }
}

fn is_past(part: f64, entry: Lapse, now_ms: Millis) -> bool {
    if entry.expires_ms == NEVER {
        return false;
    }
    let ttl_ms = entry.expires_ms.saturating_sub(entry.created_ms);
    now_ms.saturating_sub(entry.created_ms) as f64 >= ttl_ms as f64 * part
}

impl Terms {
    /// How long an entry is kept after it expired, so that these terms can be kept.
    pub fn keep_for(&self) -> Duration {
        self.stale_for.max(self.stale_if_error_for)
    }

    /// What is wrong with them.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |field, reason: String| Err(Error::Invalid { field, reason });
        if let Some(part) = self.refresh_ahead
            && !(part > 0.0 && part < 1.0)
        {
            let reason = format!("is {part}, allowed is more than 0 and less than 1 of the TTL");
            return wrong("refresh_ahead", reason);
        }
        let deadline = self.deadline.unwrap_or(DEADLINE);
        if deadline > DEADLINE_MAX {
            let reason = format!(
                "is {} s, allowed are {} s",
                deadline.as_secs(),
                DEADLINE_MAX.as_secs()
            );
            return wrong("deadline", reason);
        }
        if let Some(soft) = self.soft_timeout
            && soft >= deadline
        {
            let reason = format!(
                "is {} ms and the deadline is {} ms: it has to come before that",
                soft.as_millis(),
                deadline.as_millis()
            );
            return wrong("soft_timeout", reason);
        }
        if self.soft_timeout.is_some() && self.keep_for().is_zero() {
            let reason = "needs stale_for or stale_if_error_for: there is nothing to show then";
            return wrong("soft_timeout", reason.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::*;

    const ENTRY: Lapse = Lapse {
        created_ms: 1_000,
        expires_ms: 2_000,
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_shown_follows_from_its_times_and_the_calls_terms() {
        let plain = Terms::default();
        let swr = Terms {
            stale_for: ms(100),
            ..Terms::default()
        };
        let fallback = Terms {
            stale_if_error_for: ms(500),
            ..swr.clone()
        };
        let soft = Terms {
            soft_timeout: Some(ms(10)),
            ..fallback.clone()
        };
        let ahead = Terms {
            refresh_ahead: Some(0.8),
            ..swr.clone()
        };
        let table = [
            (&plain, [Show, Show, Load, Load, Load, Load]),
            (
                &swr,
                [Show, Show, ShowAndRefresh, ShowAndRefresh, Load, Load],
            ),
            (
                &fallback,
                [Show, Show, ShowAndRefresh, ShowAndRefresh, LoadOr, Load],
            ),
            (&soft, [Show, Show, LoadOr, LoadOr, LoadOr, Load]),
            (
                &ahead,
                [
                    Show,
                    ShowAndRefresh,
                    ShowAndRefresh,
                    ShowAndRefresh,
                    Load,
                    Load,
                ],
            ),
        ];
        let times = [1_799, 1_800, 2_000, 2_099, 2_100, 2_500];
        for (terms, expected) in table {
            let verdicts = times.map(|now_ms| judge(terms, ENTRY, now_ms));
            assert_eq!(verdicts, expected, "{terms:?}");
        }
    }

    #[test]
    fn what_never_expires_is_never_refreshed_ahead() {
        let ahead = Terms {
            refresh_ahead: Some(0.1),
            ..Terms::default()
        };
        let entry = Lapse {
            created_ms: 0,
            expires_ms: NEVER,
        };
        assert_eq!(judge(&ahead, entry, NEVER - 1), Show);
    }

    #[test]
    fn terms_that_make_no_sense_are_refused_with_the_rule() {
        let soft = |soft, deadline, stale| Terms {
            soft_timeout: Some(ms(soft)),
            deadline: Some(ms(deadline)),
            stale_for: ms(stale),
            ..Terms::default()
        };
        let ahead = |part| Terms {
            refresh_ahead: Some(part),
            ..Terms::default()
        };
        let wrong = [
            (
                soft(20, 10, 1),
                "soft_timeout: is 20 ms and the deadline is 10 ms",
            ),
            (soft(5, 10, 0), "soft_timeout: needs stale_for"),
            (
                soft(90_000_000, 90_000_001, 1),
                "deadline: is 90000 s, allowed are 86400 s",
            ),
            (ahead(0.0), "refresh_ahead: is 0"),
            (ahead(1.0), "refresh_ahead: is 1"),
            (ahead(f64::NAN), "refresh_ahead: is NaN"),
        ];
        for (terms, reason) in wrong {
            let error = terms.check().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let long = Terms {
            soft_timeout: Some(DEADLINE),
            stale_for: ms(1),
            ..Terms::default()
        };
        assert!(long.check().is_err(), "the default counts, too");
        soft(5, 10, 1).check().unwrap();
        ahead(0.8).check().unwrap();
        Terms::default().check().unwrap();
    }
}
