//! What a host does to the keys of a sealed store: it gives another master key, or has them destroyed.

use std::sync::Arc;

use super::super::progress::{Awaited, SealProgress};
use super::super::{Failure, file, head, key_failure};
use super::Vault;
use crate::secret::KeyProvider;

impl Vault {
    /// Accepts another master key from here on, and has everything sealed anew. Blocks: the key is asked
    /// for, and the header written.
    ///
    /// # Errors
    ///
    /// [`Failure`], with what to do; nothing was changed.
    pub fn rotate(&self, provider: Arc<dyn KeyProvider>) -> Result<Awaited, Failure> {
        let key = provider
            .key()
            .map_err(|error| key_failure(&provider.name(), &error))?;
        let mut place = self.header.lock();
        let before = place.header()?;
        let mut header = before.clone();
        header.rotate(key)?;
        let written = header.encode()?;
        file::replace(&self.path, &written).map_err(|e| {
            // It may stand there all the same, not known to be durable: a key that was refused must open nothing.
            let stands = file::read(&self.path).is_ok_and(|stored| stored == Some(written));
            if stands && self.write(&before).is_err() {
                tracing::warn!("a master key that was refused may open the sealed store");
            }
            self.failed(&e)
        })?;
        self.install(&header)?;
        let (since, store) = (header.bundle.since, header.bundle.id);
        // There is nothing to do for a key that is in use already.
        if header.bundle.is_rotating() || header.bundle.is_converting {
            self.report(SealProgress::begin);
        }
        place.header = Some(header);
        // IMPORTANT: with the header: whoever opens the store next asks for the key that is newest.
        *self.provider.lock() = provider;
        Ok(Awaited { since, store })
    }

    /// Destroys the keys. Blocks. Works without the master key, and whether the store is open, being opened, or
    /// neither.
    ///
    /// # Errors
    ///
    /// [`Failure`]: they may not be destroyed, or another process has the store.
    pub fn shred(&self) -> Result<(), Failure> {
        let mut place = self.header.lock();
        // IMPORTANT: to the end, also where its driver ends meanwhile: without it the store may be somebody else's.
        let ours = || self.locked.lock().upgrade();
        let _lock = match (ours(), &place.header, self.path.parent()) {
            (None, None, Some(directory)) => {
                let locked = crate::drivers::disk::lock(directory).map(Arc::new);
                // Who opens the store has the lock a moment before that is known here.
                Some(locked.or_else(|failure| ours().ok_or(failure))?)
            }
            (ours, _, _) => ours,
        };
        let header = place.header.as_ref();
        let id = header.map_or([0; 16], |header| header.bundle.id);
        let destroyed = file::destroy(&self.path, &head::shredded(id));
        // IMPORTANT: also where that failed half-way: what is sealed with keys that are gone is lost. Whoever has
        // them has them for the length of one call; the next one has the store opened anew.
        (place.header, place.is_shredded) = (None, true);
        *self.keys.write() = None;
        // What failed may have left them all: then the store is what it was once it is opened anew.
        destroyed.map_err(|e| self.failed(&e))?;
        self.report(SealProgress::shredded);
        Ok(())
    }
}
