//! The sealed record: a whole record and its key, encrypted, under a stamp that stores can read.
//!
//! Pure encoding and decoding; FORMAT.md has it byte by byte. The stamp, the store, the cipher, the epoch
//! and the place are associated data: bytes that were moved or edited do not open.

use bytes::{Buf, Bytes};

use super::cipher::{Cipher, NONCE_BYTES, SealingKey, TAG_BYTES};
use crate::clock::Millis;
use crate::record::{self, Damage, SEALED_HEAD_BYTES, Stamp};
use crate::wipe::Wiped;

/// Bytes of the identity of a sealed store.
pub const ID_BYTES: usize = 16;
/// Bytes that say how long the key is.
const KEY_LEN_BYTES: usize = 2;
/// What the associated data of a record begin with, and no other's do.
const LABEL: &[u8] = b"larder sealed record";

/// Who sealed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealer {
    /// The store's identity.
    pub store: [u8; ID_BYTES],
    /// How.
    pub cipher: Cipher,
    /// With which of the store's keys.
    pub epoch: u32,
}

/// What is sealed: a record under its key.
#[derive(Clone, Copy)]
pub struct Plain<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The record.
    pub record: &'a [u8],
    /// Its version and until when it is kept.
    pub stamp: Stamp,
}

/// What a sealed record holds: overwritten when the last slice of it is dropped.
pub struct Opened {
    /// The key.
    pub key: Bytes,
    /// The record.
    pub record: Bytes,
}

/// A sealed record for `place`; `None` past what the cipher or the format can take.
pub fn seal(
    key: &SealingKey,
    sealer: Sealer,
    nonce: [u8; NONCE_BYTES],
    place: &[u8],
    plain: Plain<'_>,
) -> Option<Bytes> {
    let key_bytes = u16::try_from(plain.key.len()).ok()?;
    let inner = KEY_LEN_BYTES + plain.key.len() + plain.record.len();
    // One allocation of the right size: one that grows would leave plain text behind. From here on it
    // is overwritten by what it is sealed to.
    let mut out = Vec::with_capacity(SEALED_HEAD_BYTES + inner + TAG_BYTES);
    record::put_sealed_head(&mut out, sealer.cipher.to_byte(), plain.stamp, sealer.epoch);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&key_bytes.to_le_bytes());
    out.extend_from_slice(plain.key);
    out.extend_from_slice(plain.record);
    let bound = bound(sealer, plain.stamp, place);
    let text = out.get_mut(SEALED_HEAD_BYTES..)?;
    let tag = key.seal(nonce, &bound, text)?;
    out.extend_from_slice(&tag);
    record::put_checksum(place, &mut out);
    Some(out.into())
}

/// What a sealed record says without a key.
pub struct Head {
    /// Its version and until when it is kept.
    pub stamp: Stamp,
    /// How it was sealed.
    pub cipher: Option<Cipher>,
    /// With which key.
    pub epoch: u32,
    nonce: [u8; NONCE_BYTES],
}

/// Reads the head of the sealed record at `place`, if it is whole.
///
/// # Errors
///
/// The [`Damage`] that makes it unreadable.
pub fn head(place: &[u8], sealed: &Bytes) -> Result<Head, Damage> {
    let (cipher, stamp) = record::sealed_stamp(place, sealed)?;
    let mut rest = sealed.get(24..SEALED_HEAD_BYTES).ok_or(Damage::Truncated)?;
    let epoch = rest.get_u32_le();
    let nonce = rest.try_into().map_err(|_| Damage::Truncated)?;
    Ok(Head {
        stamp,
        cipher: Cipher::from_byte(cipher),
        epoch,
        nonce,
    })
}

/// Opens the sealed record at `place` whose head was read.
///
/// # Errors
///
/// [`Damage::Sealed`]: it was not sealed so, with this key, for this place.
pub fn open(
    key: &SealingKey,
    sealer: Sealer,
    place: &[u8],
    head: &Head,
    sealed: &Bytes,
) -> Result<Opened, Damage> {
    if (head.cipher, head.epoch) != (Some(sealer.cipher), sealer.epoch) {
        return Err(Damage::Sealed);
    }
    let text = sealed.get(SEALED_HEAD_BYTES..).ok_or(Damage::Truncated)?;
    let mut plain = Wiped::from(text.to_vec());
    let bound = bound(sealer, head.stamp, place);
    let len = key
        .open(head.nonce, &bound, &mut plain)
        .map_err(|_| Damage::Sealed)?;
    plain.truncate(len);
    let mut record = plain.shared();
    let key_bytes = record.try_get_u16_le().map_err(|_| Damage::Sealed)?;
    if record.len() < usize::from(key_bytes) {
        return Err(Damage::Sealed);
    }
    let key = record.split_to(key_bytes.into());
    Ok(Opened { key, record })
}

/// Every part has a length of its own or comes last, so no two of them make the same bytes.
pub(super) fn bound(sealer: Sealer, stamp: Stamp, place: &[u8]) -> Vec<u8> {
    let keep_ms: Millis = stamp.keep_ms;
    let mut bound = Vec::with_capacity(LABEL.len() + 2 + ID_BYTES + 20 + place.len());
    bound.extend_from_slice(LABEL);
    bound.extend_from_slice(&[record::SEALED_FORMAT, sealer.cipher.to_byte()]);
    bound.extend_from_slice(&sealer.store);
    bound.extend_from_slice(&stamp.version.get().to_le_bytes());
    bound.extend_from_slice(&keep_ms.to_le_bytes());
    bound.extend_from_slice(&sealer.epoch.to_le_bytes());
    bound.extend_from_slice(place);
    bound
}

#[cfg(test)]
mod tests;
