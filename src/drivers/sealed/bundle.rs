//! The keys of a sealed store: one for each epoch, with how often it may have sealed.
//!
//! A random nonce is safe for 2^32 seals with one key (NIST SP 800-38D, section 8.3), so seals are counted, in
//! blocks that are set aside before they are used, and long before that a new epoch begins by itself.

use bytes::{Buf, BufMut};
use zeroize::Zeroizing;

use super::Failure;
use super::cipher::{Cipher, KEY_BYTES, KeyBytes, random, random_key};
use super::envelope::ID_BYTES;

/// Most epochs that one store can have between two rotations.
pub const EPOCHS_MAX: usize = 1_024;
/// Most epochs while a rotation is under way, which seals everything anew.
const ROTATING_EPOCHS_MAX: usize = 2 * EPOCHS_MAX;
/// The highest number of an epoch: places have three bytes for it.
const EPOCH_MAX: u32 = (1 << 24) - 1;
/// Bytes of a salt.
pub const SALT_BYTES: usize = 32;
/// Bytes of an epoch.
const EPOCH_BYTES: usize = 4 + 8 + KEY_BYTES;
/// So many seals are set aside at once: what is left of them is lost with the process.
const SEALS_BLOCK: u64 = 1 << 16;

/// What a header holds, once it is opened.
#[derive(Clone)]
pub struct Bundle {
    /// The store's identity.
    pub id: [u8; ID_BYTES],
    /// How it seals.
    pub cipher: Cipher,
    /// Plain records may still be among the sealed ones.
    pub is_converting: bool,
    /// Plain text may be left in the store's files.
    pub needs_scrub: bool,
    /// The first epoch of the present master key: what is older is to be sealed anew.
    pub since: u32,
    /// What earlier epochs than this one have sealed is not to be believed.
    pub floor: u32,
    /// The salt of everything that is derived.
    pub salt: [u8; SALT_BYTES],
    /// The keys, oldest first; never empty.
    pub epochs: Vec<Epoch>,
}

/// A key of a store, and how often it may have sealed.
#[derive(Clone)]
pub struct Epoch {
    /// Its number, from 1.
    pub number: u32,
    /// So many seals were set aside for it.
    pub seals: u64,
    /// The key.
    pub key: KeyBytes,
}

impl Bundle {
    /// Of a new store.
    ///
    /// # Errors
    ///
    /// [`Failure`] if there is no randomness.
    pub fn new(cipher: Cipher, is_converting: bool) -> Result<Self, Failure> {
        let (mut id, mut salt) = ([0; ID_BYTES], [0; SALT_BYTES]);
        random(&mut id)?;
        random(&mut salt)?;
        let first = Epoch {
            number: 1,
            seals: 0,
            key: random_key()?,
        };
        Ok(Self {
            id,
            cipher,
            is_converting,
            needs_scrub: false,
            since: 1,
            floor: 0,
            salt,
            epochs: vec![first],
        })
    }

    /// Begins another epoch; its number.
    ///
    /// # Errors
    ///
    /// [`Failure::Full`] past [`EPOCHS_MAX`], and twice that while a rotation is under way: what is stored can
    /// still be read.
    pub fn begin_epoch(&mut self) -> Result<u32, Failure> {
        let most = match self.is_rotating() {
            true => ROTATING_EPOCHS_MAX,
            false => EPOCHS_MAX,
        };
        if self.epochs.len() >= most {
            let reason = format!("{most} data keys are used up; rotate the master key");
            return Err(Failure::full(reason));
        }
        self.push_epoch()
    }

    /// Begins the first epoch of another master key; its number.
    ///
    /// # Errors
    ///
    /// [`Failure`] if there is no randomness.
    pub fn begin_rotation(&mut self) -> Result<u32, Failure> {
        self.since = self.push_epoch()?;
        Ok(self.since)
    }

    /// Nothing that was sealed until now is believed any more, but for the mark, which is sealed in epoch `mark`.
    ///
    /// # Errors
    ///
    /// [`Failure`] if there is no randomness, or no number for another epoch.
    pub fn forget_all(&mut self, mark: Option<u32>) -> Result<(), Failure> {
        if self.epochs.len() >= EPOCHS_MAX {
            // What the others have sealed is forgotten in any case. The first, and that of the master key, say where
            // records are; from the last numbers go on.
            let last = self.epochs.last().map_or(0, |epoch| epoch.number);
            let first = self.epochs.first().map_or(0, |epoch| epoch.number);
            let kept = [first, self.since, last];
            self.epochs
                .retain(|epoch| kept.contains(&epoch.number) || mark == Some(epoch.number));
        }
        self.floor = self.push_epoch()?;
        Ok(())
    }

    fn push_epoch(&mut self) -> Result<u32, Failure> {
        let last = self.epochs.last().map_or(0, |epoch| epoch.number);
        let number = last.saturating_add(1);
        if number > EPOCH_MAX {
            let reason =
                "the sealed store has had as many keys as it can name; shred it to begin anew";
            return Err(Failure::full(reason));
        }
        self.epochs.push(Epoch {
            number,
            seals: 0,
            key: random_key()?,
        });
        Ok(number)
    }

    /// Whether records of an earlier master key may be left.
    pub fn is_rotating(&self) -> bool {
        self.epochs
            .first()
            .is_some_and(|epoch| epoch.number < self.since)
    }

    /// How many bytes it is written as.
    pub fn bytes(&self) -> usize {
        8 + SALT_BYTES + self.epochs.len() * EPOCH_BYTES
    }

    /// Writes what is sealed of it.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.since);
        out.put_u32_le(self.floor);
        out.put_slice(&self.salt);
        for epoch in &self.epochs {
            out.put_u32_le(epoch.number);
            out.put_u64_le(epoch.seals);
            out.put_slice(&epoch.key);
        }
    }

    /// Reads what was sealed of it; the rest is for the caller to fill in.
    pub fn read(mut plain: &[u8]) -> Option<Self> {
        let (since, floor) = (plain.try_get_u32_le().ok()?, plain.try_get_u32_le().ok()?);
        let mut salt = [0; SALT_BYTES];
        plain.try_copy_to_slice(&mut salt).ok()?;
        let is_whole = plain.len().is_multiple_of(EPOCH_BYTES) && !plain.is_empty();
        if !is_whole || plain.len() / EPOCH_BYTES > ROTATING_EPOCHS_MAX {
            return None;
        }
        let mut epochs = Vec::with_capacity(plain.len() / EPOCH_BYTES);
        while !plain.is_empty() {
            let (number, seals) = (plain.try_get_u32_le().ok()?, plain.try_get_u64_le().ok()?);
            let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
            plain.try_copy_to_slice(&mut key).ok()?;
            epochs.push(Epoch { number, seals, key });
        }
        Some(Self {
            id: [0; ID_BYTES],
            cipher: Cipher::default(),
            is_converting: false,
            needs_scrub: false,
            since,
            floor,
            salt,
            epochs,
        })
    }

    /// Sets seals aside, of a new epoch where the present one has had `seals_max`: of which, and how many.
    ///
    /// # Errors
    ///
    /// As [`begin_epoch`](Bundle::begin_epoch).
    pub fn set_aside(&mut self, seals_max: u64) -> Result<(u32, u64), Failure> {
        let is_spent = |epoch: &Epoch| epoch.seals >= seals_max;
        if self.epochs.last().is_none_or(is_spent) {
            self.begin_epoch()?;
        }
        let Some(epoch) = self.epochs.last_mut() else {
            return Err(Failure::fatal("the sealed store has no key"));
        };
        let block = SEALS_BLOCK.min(seals_max - epoch.seals.min(seals_max));
        epoch.seals += block;
        Ok((epoch.number, block))
    }
}
