//! Waiting until a driver is in a state to be used. It changes nothing.

use std::pin::pin;

use super::Port;
use crate::breaker::BreakerMode;
#[cfg(feature = "secure")]
use crate::drivers::Failure;

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

    /// Gives up the present generation, whatever it is doing.
    #[cfg(feature = "secure")]
    pub fn abandon(&self, failure: Failure) {
        let present = self
            .lanes
            .read()
            .as_ref()
            .map(|(generation, _)| *generation);
        if let Some(generation) = present {
            self.give_up(generation, failure);
        }
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
