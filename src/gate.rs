//! A gate: bounded admission to one driver or actor.
//!
//! actix mailboxes bound nothing (a fresh address always gets one message in), so a permit of a
//! gate travels inside the command and is given back when the command has been handled.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::error::Error;

/// Admission to something that can do only so much at a time.
#[derive(Clone, Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
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

    /// What a caller gets who cannot wait any longer.
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
        let refused = gate.try_pass().unwrap_err();
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

    #[tokio::test]
    async fn a_closed_gate_lets_nobody_in() {
        let gate = Gate::new("x", 1);
        gate.close();
        assert!(matches!(gate.try_pass(), Err(Error::Closed)));
        assert!(matches!(gate.pass().await, Err(Error::Closed)));
    }
}
