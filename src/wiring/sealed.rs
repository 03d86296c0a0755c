//! The keys of sealed stores: rotated and destroyed, for handle and desk.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::{oneshot, watch};

use super::{DriverPlan, Parts};
use crate::actors::desk::SealedLines;
use crate::drivers::Failure;
use crate::drivers::sealed::{Awaited, SealProgress, Vault};
use crate::error::Error;
use crate::outcome::Durability;
use crate::port::Port;
use crate::secret::KeyProvider;
use crate::shelf::Covers;

/// When it is worth trying again what a device refused.
const RETRY: Duration = Duration::from_secs(1);

/// The vaults of a configuration, by the names of their drivers.
pub(super) fn vaults(drivers: &[DriverPlan]) -> HashMap<String, Arc<Vault>> {
    let sealed = drivers
        .iter()
        .filter_map(|plan| Some((plan.name.clone(), Arc::clone(plan.vault.as_ref()?))));
    sealed.collect()
}

/// The desk's ways to the keys. None of them keeps a larder alive.
pub(super) fn lines(parts: &Arc<Parts>) -> SealedLines {
    let parts = || {
        let parts = Arc::downgrade(parts);
        move || parts.upgrade().ok_or(Error::Closed)
    };
    let (rotate, shred, progress) = (parts(), parts(), parts());
    SealedLines {
        rotate_key: Box::new(move |ask| {
            let parts = rotate();
            Box::pin(async move {
                let rotated = parts?.rotate_key(&ask.driver, ask.key).await;
                rotated.map(drop)
            })
        }),
        shred: Box::new(move |driver| {
            let parts = shred();
            Box::pin(async move { parts?.shred(&driver).await })
        }),
        progress: Box::new(move |driver| progress()?.seal_progress(driver)),
    }
}

impl Parts {
    /// The vault of a driver.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is not sealed, or not there.
    fn vault(&self, driver: &str) -> Result<&Arc<Vault>, Error> {
        self.port_named(driver)?;
        let found = self.vaults.get(driver);
        found.ok_or_else(|| Error::Invalid {
            field: "driver",
            reason: format!("is {driver:?}, which is not sealed"),
        })
    }

    /// How far sealing anew is, and whenever that changes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no sealed driver of this name.
    pub fn sealing(&self, driver: &str) -> Result<watch::Receiver<SealProgress>, Error> {
        Ok(self.vault(driver)?.progress())
    }

    /// How far sealing anew is now.
    ///
    /// # Errors
    ///
    /// As [`sealing`](Self::sealing); [`Error::Unavailable`] if the store was not opened yet: nobody knows what is in it.
    pub fn seal_progress(&self, driver: &str) -> Result<SealProgress, Error> {
        let now = *self.sealing(driver)?.borrow();
        match now.is_known() {
            true => Ok(now),
            false => Err(self.port_named(driver)?.unavailable()),
        }
    }

    /// Has a driver accept another master key, and seal everything anew.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for the driver or the key, [`Error::Unavailable`] while the store is not open.
    pub async fn rotate_key(
        &self,
        driver: &str,
        key: Arc<dyn KeyProvider>,
    ) -> Result<Awaited, Error> {
        let (vault, port) = (Arc::clone(self.vault(driver)?), self.port_named(driver)?);
        let name = key.name();
        let rotated = self.blocking(move || vault.rotate(key)).await?;
        let awaited = rotated.map_err(|failure| match failure {
            Failure::Fatal { reason } => Error::Invalid {
                field: "key",
                reason,
            },
            failure => {
                tracing::warn!(driver, key = name, %failure, "another master key could not be accepted");
                port.unavailable()
            }
        })?;
        tracing::info!(
            driver,
            key = name,
            "another master key is accepted, what is stored is sealed anew"
        );
        Ok(awaited)
    }

    /// Destroys a driver's keys, and forgets what memory has of its caches.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for the driver, [`Error::Unavailable`] if the device refuses.
    pub async fn shred(&self, driver: &str) -> Result<(), Error> {
        let (vault, port) = (Arc::clone(self.vault(driver)?), self.port_named(driver)?);
        let shredded = self.blocking(move || vault.shred()).await?;
        match &shredded {
            Ok(()) => tracing::warn!(
                driver,
                "the keys were destroyed, what they have sealed cannot be read any more"
            ),
            Err(failure) => tracing::error!(driver, %failure, "the keys could not be destroyed"),
        }
        // Nothing is read from it from here on, so what is forgotten now does not come back.
        self.forget(&port).await?;
        port.abandon(Failure::reopen("its keys were destroyed"));
        self.book.restart(driver);
        shredded.map_err(|_| Error::Unavailable {
            driver: Arc::clone(&port.name),
            retry_after: RETRY,
        })
    }

    /// Nobody waits for a rotation any more.
    pub fn end_vaults(&self) {
        self.vaults.values().for_each(|vault| vault.end());
    }

    /// Makes everything a miss that memory has of the caches of a driver.
    async fn forget(&self, port: &Port) -> Result<(), Error> {
        let places: Vec<_> = {
            let definitions = self.tiers.definitions.read();
            let stored = definitions.values().filter(|d| d.place.tiers.has(port.id));
            stored.map(|d| d.place.clone()).collect()
        };
        for place in places {
            let cleared =
                self.tiers
                    .invalidate(&place, Covers::All, Durability::Queued, false, None);
            cleared.await?;
        }
        Ok(())
    }

    /// Runs what may take its time on a thread of its own.
    async fn blocking<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (done, waiting) = oneshot::channel();
        let body = move || {
            // Whoever asked may have left.
            let _ = done.send(body());
        };
        self.runtime.spawn("larder-keys", body)?;
        waiting.await.map_err(|_| Error::Closed)
    }
}
