//! The header of a sealed store: who it is, and its keys, wrapped by the host's.
//!
//! Pure encoding and decoding; FORMAT.md has it byte by byte. The store's keys are a bundle that one random
//! key seals, and a slot wraps that key for each master key that is accepted: one, and two while a
//! rotation is under way. All that stands before the bundle is associated data of it.

use bytes::{Buf, BufMut};
use zeroize::Zeroizing;

use super::bundle::{Bundle, SALT_BYTES};
use super::cipher::{
    Cipher, KEY_BYTES, KeyBytes, NONCE_BYTES, SealingKey, TAG_BYTES, derive, random, random_key,
};
use super::head::{
    CONVERTING, FORMAT, HEAD_BYTES, Head, MAGIC, SCRUB, SLOTS_MAX, Unusable, read_head,
};
use super::{Failure, MasterKey};

/// Bytes that name a master key.
const KEY_ID_BYTES: usize = 8;
/// Bytes of a wrapped key.
const WRAPPED_BYTES: usize = KEY_BYTES + TAG_BYTES;
/// Bytes of a slot.
const SLOT_BYTES: usize = KEY_ID_BYTES + SALT_BYTES + NONCE_BYTES + WRAPPED_BYTES;

/// A header in use.
#[derive(Clone)]
pub struct Header {
    /// What it holds.
    pub bundle: Bundle,
    store_key: KeyBytes,
    /// What each master key that is accepted has wrapped, the newest first.
    slots: Vec<Slot>,
    /// The master key in use, and which slot is its.
    master: MasterKey,
    mine: usize,
}

type Slot = [u8; SLOT_BYTES];

impl Header {
    /// Of a new store, for one master key.
    ///
    /// # Errors
    ///
    /// [`Failure`] if there is no randomness.
    pub fn new(bundle: Bundle, master: MasterKey) -> Result<Self, Failure> {
        let store_key = random_key()?;
        let slot = wrap(&bundle, &master, &store_key)?;
        Ok(Self {
            bundle,
            store_key,
            slots: vec![slot],
            master,
            mine: 0,
        })
    }

    /// Whether an older master key opens the store, too.
    pub fn has_older(&self) -> bool {
        self.slots.len() > 1
    }

    /// Whether the newest of the master keys is in use.
    pub fn is_newest(&self) -> bool {
        self.mine == 0
    }

    /// Accepts `master`, too, and begins an epoch of its own. If it is the newest already it is the one in
    /// use from here on.
    ///
    /// # Errors
    ///
    /// [`Failure::Fatal`] while another rotation is under way, and for its older key; nothing is changed.
    pub fn rotate(&mut self, master: MasterKey) -> Result<(), Failure> {
        let known = (0..self.slots.len()).find(|at| self.opens(*at, &master));
        match known {
            Some(0) => {
                (self.mine, self.master) = (0, master);
                return Ok(());
            }
            Some(_) => {
                let reason = "it is the older of the two keys of a rotation that is under way; give the newer one";
                return Err(Failure::fatal(reason));
            }
            None => {}
        }
        if self.bundle.is_rotating() || self.slots.len() > 1 {
            let reason = "a rotation to another key is under way; let it end first";
            return Err(Failure::fatal(reason));
        }
        let slot = wrap(&self.bundle, &master, &self.store_key)?;
        self.bundle.begin_rotation()?;
        self.slots.insert(0, slot);
        (self.mine, self.master) = (0, master);
        Ok(())
    }

    /// Nothing is left that an older master key has sealed: it, and all keys of its time, are forgotten.
    ///
    /// # Errors
    ///
    /// [`Failure`] if there is no randomness; nothing is changed.
    pub fn forget_older(&mut self) -> Result<(), Failure> {
        let store_key = random_key()?;
        self.slots = vec![wrap(&self.bundle, &self.master, &store_key)?];
        self.store_key = store_key;
        let since = self.bundle.since;
        self.bundle.epochs.retain(|epoch| epoch.number >= since);
        Ok(())
    }

    fn opens(&self, at: usize, master: &MasterKey) -> bool {
        let slot = self.slots.get(at);
        slot.is_some_and(|slot| is_for(slot, master))
    }

    /// As it is stored.
    ///
    /// # Errors
    ///
    /// [`Failure`] if there is no randomness.
    pub fn encode(&self) -> Result<Vec<u8>, Failure> {
        let refused = || Failure::reopen("the header could not be sealed");
        let bundle = &self.bundle;
        let bundle_bytes = bundle.bytes();
        // One allocation of the right size: one that grows would leave keys behind.
        let whole =
            HEAD_BYTES + SLOTS_MAX * SLOT_BYTES + NONCE_BYTES + bundle_bytes + TAG_BYTES + 4;
        let mut out = Vec::with_capacity(whole);
        out.put_slice(&MAGIC);
        out.put_u32_le(FORMAT);
        out.put_slice(&bundle.id);
        out.put_u8(bundle.cipher.to_byte());
        let converting = if bundle.is_converting { CONVERTING } else { 0 };
        out.put_u8(converting | if bundle.needs_scrub { SCRUB } else { 0 });
        out.put_u16_le(u16::try_from(self.slots.len()).map_err(Failure::reopen)?);
        out.put_u32_le(u32::try_from(bundle_bytes + TAG_BYTES).map_err(Failure::reopen)?);
        self.slots.iter().for_each(|slot| out.put_slice(slot));
        let bound = out.clone();
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        out.put_slice(&nonce);
        let from = out.len();
        bundle.put(&mut out);
        let seal = SealingKey::new(bundle.cipher, &self.store_key).ok_or_else(refused)?;
        let plain = out.get_mut(from..).ok_or_else(refused)?;
        let tag = seal.seal(nonce, &bound, plain).ok_or_else(refused)?;
        out.put_slice(&tag);
        let sum = crc32fast::hash(&out);
        out.put_u32_le(sum);
        Ok(out)
    }

    /// Opens a stored header. Never panics and never allocates more than a few times its length.
    ///
    /// # Errors
    ///
    /// Why it is [`Unusable`].
    pub fn decode(stored: &[u8], master: MasterKey) -> Result<Self, Unusable> {
        let (head, body) = read_head(stored)?;
        let damaged = || Unusable::Damaged("its parts do not add up");
        let (bound, sealed) = body
            .split_at_checked(HEAD_BYTES + head.slots * SLOT_BYTES)
            .ok_or_else(damaged)?;
        let (slots, _) = bound.get(HEAD_BYTES..).unwrap_or_default().as_chunks();
        let slots: Vec<Slot> = slots.to_vec();
        let (mine, store_key) = unwrap(&head, &slots, &master)?;
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(damaged)?;
        if sealed.len() != head.bundle_bytes {
            return Err(damaged());
        }
        let key = SealingKey::new(head.cipher, &store_key).ok_or(Unusable::Edited)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let len = key
            .open(*nonce, bound, &mut plain)
            .map_err(|_| Unusable::Edited)?;
        let plain = plain.get(..len).unwrap_or_default();
        Ok(Self {
            bundle: read_bundle(&head, plain).ok_or_else(damaged)?,
            store_key,
            slots,
            master,
            mine,
        })
    }
}

/// Shows who it is, no key.
impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("id", &hex(&self.bundle.id))
            .field("epochs", &self.bundle.epochs.len())
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

fn read_bundle(head: &Head, plain: &[u8]) -> Option<Bundle> {
    let mut bundle = Bundle::read(plain)?;
    (bundle.id, bundle.cipher) = (head.id, head.cipher);
    bundle.is_converting = head.state & CONVERTING != 0;
    bundle.needs_scrub = head.state & SCRUB != 0;
    Some(bundle)
}

/// The slot of a master key.
fn wrap(bundle: &Bundle, master: &MasterKey, store_key: &KeyBytes) -> Result<Slot, Failure> {
    let refused = || Failure::reopen("a key could not be wrapped");
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
    random(&mut salt)?;
    random(&mut nonce)?;
    let mut wrapped = store_key.clone();
    let key = wrapping(bundle.cipher, master, &salt, &bundle.id).ok_or_else(refused)?;
    let tag = key
        .seal(nonce, &bundle.id, &mut wrapped)
        .ok_or_else(refused)?;
    let mut slot = [0; SLOT_BYTES];
    let mut rest = slot.as_mut_slice();
    rest.put_slice(&key_id(master, &salt));
    rest.put_slice(&salt);
    rest.put_slice(&nonce);
    rest.put_slice(&wrapped);
    rest.put_slice(&tag);
    Ok(slot)
}

/// The key of the bundle, from the slot of `master`, and which one that is.
fn unwrap(head: &Head, slots: &[Slot], master: &MasterKey) -> Result<(usize, KeyBytes), Unusable> {
    let Some(mine) = slots.iter().position(|slot| is_for(slot, master)) else {
        return Err(Unusable::OtherKey);
    };
    let mut slot = slots.get(mine).map_or(&[][..], |slot| slot);
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
    slot.advance(KEY_ID_BYTES);
    slot.copy_to_slice(&mut salt);
    slot.copy_to_slice(&mut nonce);
    let key = wrapping(head.cipher, master, &salt, &head.id).ok_or(Unusable::Edited)?;
    let mut wrapped = Zeroizing::new(slot.to_vec());
    let len = key
        .open(nonce, &head.id, &mut wrapped)
        .map_err(|_| Unusable::Edited)?;
    wrapped.truncate(len);
    match wrapped.len() == KEY_BYTES {
        true => Ok((mine, wrapped)),
        false => Err(Unusable::Edited),
    }
}

/// Whether a slot is that of this master key, by its name.
fn is_for(slot: &Slot, master: &MasterKey) -> bool {
    let (id, rest) = slot.split_at(KEY_ID_BYTES);
    let (salt, _) = rest.split_at(SALT_BYTES);
    id == key_id(master, salt)
}

/// The name of a master key in one slot: it tells keys apart and nothing else of them, nor stores.
fn key_id(master: &MasterKey, salt: &[u8]) -> [u8; KEY_ID_BYTES] {
    let derived = derive(salt, master.bytes(), &[b"larder key id"]);
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(
        derived
            .first_chunk::<KEY_ID_BYTES>()
            .unwrap_or(&[0; KEY_ID_BYTES]),
    );
    id
}

fn wrapping(cipher: Cipher, master: &MasterKey, salt: &[u8], id: &[u8]) -> Option<SealingKey> {
    let derived = derive(salt, master.bytes(), &[b"larder wrap", id]);
    SealingKey::new(cipher, &derived)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
