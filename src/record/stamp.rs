//! What stores read of a record without being able to read it: its version and until when it is kept.
//!
//! A record that is sealed has a head of its own, 40 bytes, before what only its key opens. FORMAT.md has
//! both byte by byte.

use bytes::{Buf, Bytes};

use super::{Damage, MAGIC, checksum, decode};
use crate::clock::Millis;
use crate::version::Version;

/// First bytes of a sealed record.
pub const SEALED_MAGIC: [u8; 2] = *b"LS";
/// The version of a sealed record's layout.
pub const SEALED_FORMAT: u8 = 1;
/// Bytes before what is sealed.
pub const SEALED_HEAD_BYTES: usize = 40;

/// What a store reads of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The mutation that wrote it.
    pub version: Version,
    /// Kept until then, in unix milliseconds.
    pub keep_ms: Millis,
}

/// The stamp of the record filed under `key`, sealed or not.
///
/// # Errors
///
/// The [`Damage`] that makes it unreadable. Never panics, whatever the bytes are.
pub fn stamp(key: &[u8], record: &Bytes) -> Result<Stamp, Damage> {
    if record.starts_with(&MAGIC) {
        let (header, _) = decode(key, record)?;
        let (version, keep_ms) = (header.version, header.keep_ms);
        return Ok(Stamp { version, keep_ms });
    }
    sealed_stamp(key, record).map(|(_, stamp)| stamp)
}

/// Cipher and stamp of the sealed record filed under `place`.
///
/// # Errors
///
/// As [`stamp`].
pub fn sealed_stamp(place: &[u8], record: &Bytes) -> Result<(u8, Stamp), Damage> {
    if record.len() < SEALED_HEAD_BYTES {
        return Err(Damage::Truncated);
    }
    let mut rest = record.as_ref();
    let mut magic = [0; 2];
    rest.copy_to_slice(&mut magic);
    let (format, cipher) = (rest.get_u8(), rest.get_u8());
    if magic != SEALED_MAGIC || format != SEALED_FORMAT {
        return Err(Damage::Foreign);
    }
    if rest.get_u32_le() != checksum(place, record) {
        return Err(Damage::Checksum);
    }
    let version = Version::new(rest.get_u64_le()).ok_or(Damage::Foreign)?;
    let keep_ms = rest.get_u64_le();
    Ok((cipher, Stamp { version, keep_ms }))
}

/// Begins a sealed record: all of its head but the nonce. The checksum is filled in at the end.
pub fn put_sealed_head(out: &mut Vec<u8>, cipher: u8, stamp: Stamp, epoch: u32) {
    out.extend_from_slice(&SEALED_MAGIC);
    out.extend_from_slice(&[SEALED_FORMAT, cipher]);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&stamp.version.get().to_le_bytes());
    out.extend_from_slice(&stamp.keep_ms.to_le_bytes());
    out.extend_from_slice(&epoch.to_le_bytes());
}

/// Ends a record that is filed under `key`.
pub fn put_checksum(key: &[u8], record: &mut [u8]) {
    let sum = checksum(key, record);
    if let Some(place) = record.get_mut(4..8) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}
