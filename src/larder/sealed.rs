//! Secure caches, and the keys of sealed stores.

use std::sync::Arc;

use tokio::sync::watch;

use super::{DriverHandle, Larder};
use crate::cache::{Cache, CacheBuilder};
use crate::codec::Value;
use crate::drivers::sealed::{Awaited, SealProgress};
use crate::error::Error;
use crate::secret::KeyProvider;

impl Larder {
    /// The secure cache of this name: in memory as bytes that are overwritten when they are dropped, below it
    /// in the secure driver alone (one that was opened with [`secret`](crate::CacheBuilder::secret) is where that says). Its API is that of any other cache. See SECURITY.md.
    ///
    /// # Errors
    ///
    /// As [`cache`](Larder::cache); [`Error::Config`] without a secure driver, or if the cache is open and
    /// not a secure one.
    pub fn secure<V: Value>(&self, name: &str) -> Result<Cache<V>, Error> {
        Cache::secure(Arc::clone(&self.home), name)
    }

    /// The secure cache of this name, with settings of its own.
    pub fn secure_builder<V: Value>(&self, name: &str) -> CacheBuilder<V> {
        CacheBuilder::new(Arc::clone(&self.home), name).secure()
    }
}

impl DriverHandle {
    /// Has a sealed driver accept the master key from `key` from here on, and seal everything anew in the
    /// background. Returns when the new key is accepted, durably.
    ///
    /// Until all is sealed anew the store opens with either key, whatever happens to the process; then
    /// the old one, and everything that it opened, is forgotten. Keep the new key safe before you call this,
    /// whatever the answer is: a process that ends meanwhile may have accepted it. Give it to the next start: while
    /// a start has the old one, that is not forgotten, and after it was it opens nothing.
    ///
    /// ```no_run
    /// # async fn rotate(larder: &larder::Larder) -> Result<(), larder::Error> {
    /// use larder::secret::EnvKey;
    /// let rotation = larder.driver("secure")?.rotate_key(EnvKey::new("APP_CACHE_KEY_NEW")).await?;
    /// println!("{:?}", rotation.progress());
    /// rotation.finished().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a key that cannot be had, for the older of two keys and for a third one while a
    /// rotation is under way, and if the driver is not sealed; [`Error::Unavailable`] while its store is not open, the place of the key cannot be reached, or
    /// the device has no room for the header (the log says which). Nothing was changed. Called again with the same key it
    /// changes nothing, either.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the new key may be accepted or not.
    pub async fn rotate_key(&self, key: impl KeyProvider) -> Result<Rotation, Error> {
        let parts = &self.larder.parts;
        let awaited = parts.rotate_key(self.name(), Arc::new(key)).await?;
        let progress = parts.sealing(self.name())?;
        Ok(Rotation { progress, awaited })
    }

    /// Destroys the keys of a sealed driver: what they have sealed cannot be read any more, by anybody,
    /// whoever has the master key. Memory forgets all caches that the driver is a tier of; then the driver
    /// begins with an empty store and new keys.
    ///
    /// That is every cache of the driver, and cannot be undone: the store's files go, too, with those that were moved
    /// aside. For single entries there are `remove` and tags. What is set meanwhile may be lost with the rest. Copies of the directory that were made before hold
    /// the keys, too, and a device may keep blocks that were overwritten: SECURITY.md.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the device refuses, or another process has the store: the keys may still be
    /// there, so try again. [`Error::Invalid`] if the driver is not sealed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the keys may be destroyed and memory may not have forgotten all.
    pub async fn shred(&self) -> Result<(), Error> {
        self.larder.parts.shred(self.name()).await
    }

    /// How far a rotation of the master key, or the conversion of a plain store, is.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the driver is not sealed; [`Error::Unavailable`] if its store was not opened yet, by this
    /// process, or since its keys were destroyed: nobody knows what is in it.
    pub fn seal_progress(&self) -> Result<SealProgress, Error> {
        self.larder.parts.seal_progress(self.name())
    }
}

/// A rotation that has begun. Dropping it has no effect.
#[derive(Debug)]
pub struct Rotation {
    progress: watch::Receiver<SealProgress>,
    awaited: Awaited,
}

impl Rotation {
    /// How far it is.
    pub fn progress(&self) -> SealProgress {
        *self.progress.borrow()
    }

    /// Waits until everything is sealed anew and the old key is forgotten, or the keys were destroyed. While the device
    /// is full that is not before there is room again.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if larder ends before.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops only the waiting.
    pub async fn finished(mut self) -> Result<SealProgress, Error> {
        let awaited = self.awaited;
        let ended = |progress: &SealProgress| awaited.ended(progress);
        let progress = self
            .progress
            .wait_for(|progress| ended(progress).is_some())
            .await
            .map_err(|_| Error::Closed)?;
        ended(&progress).flatten().ok_or(Error::Closed)
    }
}
