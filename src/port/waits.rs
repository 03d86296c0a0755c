//! Waiting until a driver is in a state to be used. It changes nothing.

use std::pin::pin;

use super::Port;
use crate::breaker::BreakerMode;

impl Port {
    /// Returns once new values are stored.
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn taking_values(&self) {
        self.until(Self::takes_values).await;
    }

    /// Returns once calls go to it.
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn coming_up(&self) {
        self.until(Self::is_up).await;
    }

    /// Returns once it may be called at all: its breaker is not forced open.
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn allowed(&self) {
        self.until(|port| port.breaker().mode != BreakerMode::ForcedOpen)
            .await;
    }

    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        loop {
            let mut back = pin!(self.back.notified());
            // Before the look, so that nothing goes unnoticed after it.
            back.as_mut().enable();
            if is_so(self) {
                return;
            }
            back.await;
        }
    }
}
