//! The keys of a store, ready for use: what reads take with them. A change makes new ones.

use std::sync::Arc;

use bytes::Bytes;

use super::Failure;
use super::bundle::Bundle;
use super::cipher::{Cipher, SealingKey, derive};
use super::envelope::{self, ID_BYTES, Sealer};
use super::names::NameKey;

/// Keys of one moment.
pub struct Keys {
    /// The store's identity.
    pub id: [u8; ID_BYTES],
    /// How it seals.
    pub cipher: Cipher,
    /// Plain records may be among the sealed ones.
    pub is_converting: bool,
    /// Plain text may be left in the store's files.
    pub needs_scrub: bool,
    /// The first epoch of the present master key.
    pub since: u32,
    /// What earlier epochs than this one have sealed is not to be believed.
    pub floor: u32,
    /// By their numbers.
    epochs: Vec<(u32, Arc<SealingKey>)>,
    /// What names are hashed with, oldest first: one, and two while records are sealed anew.
    names: Vec<NameKey>,
}

impl Keys {
    /// Derives them, but for those that `known` has.
    ///
    /// # Errors
    ///
    /// [`Failure::Fatal`] for a bundle that holds no key for its own time.
    pub fn new(bundle: &Bundle, known: Option<&Self>) -> Result<Self, Failure> {
        let (id, salt) = (bundle.id, &bundle.salt);
        let broken = || Failure::fatal("the header does not hold the keys that it names");
        let mut epochs = Vec::with_capacity(bundle.epochs.len());
        let known = known.filter(|known| known.id == id);
        for epoch in &bundle.epochs {
            if let Some(key) = known.and_then(|known| known.shared(epoch.number)) {
                epochs.push((epoch.number, Arc::clone(key)));
                continue;
            }
            let number = epoch.number.to_le_bytes();
            let key = derive(salt, &epoch.key, &[b"larder values", &id, &number]);
            let key = SealingKey::new(bundle.cipher, &key).ok_or_else(broken)?;
            epochs.push((epoch.number, Arc::new(key)));
        }
        let first = bundle.epochs.first().map_or(bundle.since, |e| e.number);
        let mut named = vec![bundle.since];
        if first < bundle.since {
            named.insert(0, first);
        }
        let mut names = Vec::with_capacity(named.len());
        for number in named {
            let epoch = bundle.epochs.iter().find(|e| e.number == number);
            let key = &epoch.ok_or_else(broken)?.key;
            let key = derive(salt, key, &[b"larder names", &id]);
            names.push(NameKey::new(number, &key));
        }
        Ok(Self {
            id,
            cipher: bundle.cipher,
            is_converting: bundle.is_converting,
            needs_scrub: bundle.needs_scrub,
            since: bundle.since,
            floor: bundle.floor,
            epochs,
            names,
        })
    }

    /// The key of an epoch.
    pub fn of(&self, epoch: u32) -> Option<&SealingKey> {
        self.shared(epoch).map(|key| &**key)
    }

    fn shared(&self, epoch: u32) -> Option<&Arc<SealingKey>> {
        let at = self
            .epochs
            .binary_search_by_key(&epoch, |(number, _)| *number);
        at.ok()
            .and_then(|at| self.epochs.get(at))
            .map(|(_, key)| key)
    }

    /// The newest epoch, with its key.
    pub fn newest(&self) -> Option<(u32, &SealingKey)> {
        self.epochs.last().map(|(number, key)| (*number, &**key))
    }

    /// Who seals with the key of an epoch.
    pub fn sealer(&self, epoch: u32) -> Sealer {
        Sealer {
            store: self.id,
            cipher: self.cipher,
            epoch,
        }
    }

    /// Where a key's record may be, the oldest place first: the last is where it is written to.
    pub fn places(&self, key: &[u8]) -> Vec<Bytes> {
        let mut places = Vec::with_capacity(3);
        if self.is_converting {
            places.push(Bytes::copy_from_slice(key));
        }
        places.extend(self.names.iter().map(|names| names.place(key)));
        places
    }

    /// What the places of a cache's records begin with, in the same order.
    pub fn cache(&self, cache: &[u8]) -> Vec<Bytes> {
        self.names.iter().map(|names| names.cache(cache)).collect()
    }

    /// Where a key's record is written to.
    pub fn place(&self, key: &[u8]) -> Bytes {
        self.names
            .last()
            .map_or_else(Bytes::new, |names| names.place(key))
    }

    /// Whether these know the same places: keys for more seals may have come, and that is all.
    pub fn knows_places_of(&self, other: &Self) -> bool {
        let names = |keys: &Self| keys.names.iter().map(NameKey::epoch).collect::<Vec<_>>();
        self.id == other.id
            && self.is_converting == other.is_converting
            && names(self) == names(other)
    }

    /// Whether records may be left that are to be sealed anew.
    pub fn is_resealing(&self) -> bool {
        self.is_converting || self.is_rotating()
    }

    /// Whether an older master key has sealed some of them.
    pub fn is_rotating(&self) -> bool {
        self.names.len() > 1
    }

    /// Whether what is stored at a place was sealed, and filed, under the present master key, and is believed.
    pub fn is_new(&self, place: &[u8], stored: &Bytes) -> bool {
        let is_filed = self.names.last().is_some_and(|names| names.filed(place));
        let oldest = self.since.max(self.floor);
        is_filed && envelope::head(place, stored).is_ok_and(|head| head.epoch >= oldest)
    }
}
