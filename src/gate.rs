//! A gate: bounded admission to one driver or actor, and what becomes of who finds it full.
//!
//! actix mailboxes bound nothing (a fresh address always gets one message in), so a permit of a
//! gate travels inside the command and is given back when the command has been handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::error::Error;

/// What becomes of a call that meets a bound: `reads_in_flight_max` or `dirty_bytes_max`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Admission {
    /// It waits for its turn until its deadline, and is refused then.
    #[default]
    Wait,
    /// It is refused at once.
    FailFast,
    /// Sets of [`Priority::Low`](crate::Priority::Low), and reads of caches with that priority, leave the
    /// last quarter of each bound to others and are refused at once. All others wait.
    ShedLow,
}

/// The share of a bound that what is shed first leaves to others, as a divisor.
const LEFT_SHARE: usize = 4;

/// How a call stands when there is too much work.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Standing {
    /// What is to become of it.
    pub admission: Admission,
    /// Whether its priority is low.
    pub is_low: bool,
}

impl Standing {
    /// Whether it waits for its turn.
    pub fn waits(self) -> bool {
        match self.admission {
            Admission::Wait => true,
            Admission::FailFast => false,
            Admission::ShedLow => !self.is_low,
        }
    }

    /// How much of a bound it leaves to others.
    pub fn leaves(self, max: usize) -> usize {
        match self.admission {
            Admission::ShedLow if self.is_low => max / LEFT_SHARE,
            _ => 0,
        }
    }
}

/// Admission to something that can do only so much at a time.
#[derive(Clone, Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    refused: Arc<AtomicU64>,
    limit: &'static str,
    max: usize,
}

/// Leave to pass; gives its place back when dropped.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code)] OwnedSemaphorePermit);

impl Gate {
    /// A gate for `max` at a time; `limit` is how the bound is called in the configuration.
    pub fn new(limit: &'static str, max: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            refused: Arc::default(),
            limit,
            max,
        }
    }

    /// Passes, or is refused at once.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] if it is full, [`Error::Closed`] if it has been closed.
    pub fn try_pass(&self) -> Result<Permit, Error> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ok(Permit(permit)),
            Err(TryAcquireError::NoPermits) => Err(self.refusal()),
            Err(TryAcquireError::Closed) => Err(Error::Closed),
        }
    }

    /// As [`try_pass`](Gate::try_pass), leaving to others what the caller has to leave them.
    ///
    /// # Errors
    ///
    /// As [`try_pass`](Gate::try_pass).
    pub fn try_pass_as(&self, standing: Standing) -> Result<Permit, Error> {
        let left = standing.leaves(self.max);
        if left > 0 && self.permits.available_permits() <= left {
            return Err(self.refusal());
        }
        self.try_pass()
    }

    /// Waits for its turn, first come first served.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the gate is closed meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives up the place in the queue and nothing else.
    pub async fn pass(&self) -> Result<Permit, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map(Permit).map_err(|_| Error::Closed)
    }

    /// As [`try_pass`](Gate::try_pass), for callers that do not wait: a refusal is counted.
    ///
    /// # Errors
    ///
    /// As [`try_pass`](Gate::try_pass).
    pub fn pass_now(&self) -> Result<Permit, Error> {
        self.try_pass().map_err(|error| match error {
            Error::Overloaded { .. } => self.refuse(),
            other => other,
        })
    }

    /// What a caller gets who cannot wait any longer; it is counted.
    pub fn refuse(&self) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.refusal()
    }

    /// How many callers were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The same, uncounted: for larder's own questions.
    pub fn refusal(&self) -> Error {
        Error::Overloaded {
            limit: self.limit,
            retry_after: std::time::Duration::from_millis(50),
        }
    }

    /// Refuses everybody from now on.
    pub fn close(&self) {
        self.permits.close();
    }

    /// How many have passed and not come back.
    pub fn in_flight(&self) -> usize {
        self.max.saturating_sub(self.permits.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_gate_refuses_with_its_limit_until_somebody_comes_back() {
        let gate = Gate::new("reads_in_flight_max", 1);
        let inside = gate.try_pass().unwrap();
        assert_eq!(gate.in_flight(), 1);
        assert!(gate.try_pass().is_err());
        assert_eq!(gate.refused(), 0);
        let refused = gate.pass_now().unwrap_err();
        assert_eq!(gate.refused(), 1);
        assert!(matches!(
            refused,
            Error::Overloaded {
                limit: "reads_in_flight_max",
                ..
            }
        ));
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass().await.is_ok() }
        });
        drop(inside);
        assert!(waiting.await.unwrap());
    }

    #[test]
    fn what_is_shed_first_leaves_a_quarter_to_others() {
        let (gate, low) = (Gate::new("x", 4), true);
        let standing = |admission, is_low| Standing { admission, is_low };
        let first = standing(Admission::ShedLow, low);
        let inside: Vec<_> = (0..3).map(|_| gate.try_pass_as(first).unwrap()).collect();
        assert!(gate.try_pass_as(first).is_err() && !first.waits());
        for other in [
            standing(Admission::ShedLow, !low),
            standing(Admission::Wait, low),
            standing(Admission::FailFast, low),
        ] {
            assert!(gate.try_pass_as(other).is_ok());
            assert_eq!(other.waits(), other.admission != Admission::FailFast);
        }
        drop(inside);
        assert!(gate.try_pass_as(first).is_ok());
    }

    #[tokio::test]
    async fn a_closed_gate_lets_nobody_in() {
        let gate = Gate::new("x", 1);
        gate.close();
        assert!(matches!(gate.try_pass(), Err(Error::Closed)));
        assert!(matches!(gate.pass_now(), Err(Error::Closed)));
        assert_eq!(gate.refused(), 0, "it was not full");
        assert!(matches!(gate.pass().await, Err(Error::Closed)));
    }
}
