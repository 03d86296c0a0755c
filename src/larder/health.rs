//! Operating a larder: how it is, what changes in that, and the drivers' breakers by hand.

use std::sync::Arc;

use super::Larder;
use crate::breaker::BreakerMode;
use crate::error::Error;
use crate::port::Port;
use crate::stats::{DriverHealth, Health};
use crate::wiring::HealthWatch;

/// One driver of a larder, for those who operate it.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// # use larder::{BreakerMode, BreakerState, Condition, Larder, drivers::map::MapStore};
/// # let larder = Larder::builder()
/// #     .driver_factory("store", larder::CommitConfig::default(), MapStore::default().factory())
/// #     .start().await?;
/// let store = larder.driver("store")?;
/// assert_eq!(store.health().condition, Condition::Up);
///
/// // Nobody calls it while its disk is exchanged; memory goes on answering.
/// store.set_breaker(BreakerMode::ForcedOpen);
/// assert_eq!(store.health().breaker.state, BreakerState::Open);
/// store.set_breaker(BreakerMode::Auto);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DriverHandle {
    pub(crate) larder: Larder,
    pub(crate) port: Arc<Port>,
}

impl DriverHandle {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.port.name
    }

    /// How it is, and why.
    pub fn health(&self) -> DriverHealth {
        self.larder.parts.driver_health(&self.port)
    }

    /// Has its supervisor open it now if it is down, without waiting for the backoff or for the end of
    /// a rest. While threads of its last generation have not returned, that is still waited for.
    pub fn restart(&self) {
        self.larder.parts.book.restart(self.name());
    }

    /// Takes the decision whether calls go to it from its breaker, or gives it back.
    pub fn set_breaker(&self, mode: BreakerMode) {
        self.larder.parts.set_breaker(&self.port, mode);
    }
}

/// Shows the name.
impl std::fmt::Debug for DriverHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DriverHandle")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl Larder {
    /// How larder is: each driver up, degraded or down, since when and why, and the age of its oldest
    /// call. Cheap enough for a health check.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// let health = larder.health();
    /// assert_eq!(health.condition, larder::Condition::Up);
    /// let as_json = serde_json::to_string(&health).expect("plain data");
    /// for driver in health.drivers {
    ///     println!("{}: {:?} {:?}", driver.name, driver.condition, driver.reason);
    /// }
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    pub fn health(&self) -> Health {
        self.parts.health()
    }

    /// How larder is now, and again whenever that changes. Changes that follow each other faster than
    /// they are read are seen as one; the latest is never missed. It keeps no larder alive and ends with
    /// it.
    pub fn watch_health(&self) -> HealthWatch {
        HealthWatch::new(&self.parts)
    }

    /// A driver below memory, to operate it and to get its addresses.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no driver of this name.
    pub fn driver(&self, name: &str) -> Result<DriverHandle, Error> {
        let port = self.parts.port_named(name)?;
        Ok(DriverHandle {
            larder: self.clone(),
            port,
        })
    }
}
