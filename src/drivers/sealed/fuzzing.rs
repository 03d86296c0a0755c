//! Real sealed records and headers, of keys that are no secret, for `crate::fuzzing`; and what opens them.

use bytes::Bytes;

use super::MasterKey;
use super::bundle::Bundle;
use super::cipher::{Cipher, NONCE_BYTES, SealingKey};
use super::envelope::{self, ID_BYTES, Plain, Sealer};
use super::head::{self, Unusable};
use super::header::Header;
use crate::record::{self, Damage, Stamp};
use crate::version::Version;

/// The key of the real record.
pub const KEY: &[u8] = b"users/42";
/// The real record.
pub const RECORD: &[u8] = b"what was a whole record before";

const STAMP: Stamp = Stamp {
    version: Version::at(77),
    keep_ms: 5,
};
const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

fn sealer(cipher: Cipher) -> Sealer {
    Sealer {
        store: [9; ID_BYTES],
        cipher,
        epoch: 3,
    }
}

/// The real record, sealed for `place`: the same bytes each time.
pub fn record(cipher: Cipher, place: &[u8]) -> Bytes {
    let plain = Plain {
        key: KEY,
        record: RECORD,
        stamp: STAMP,
    };
    let key = SealingKey::new(cipher, &[1; 32]);
    let sealed = key.and_then(|key| envelope::seal(&key, sealer(cipher), NONCE, place, plain));
    sealed.unwrap_or_default()
}

/// Any plain text, sealed as a record is.
pub fn sealed_text(cipher: Cipher, place: &[u8], text: &[u8]) -> Option<Bytes> {
    let mut out = Vec::new();
    record::put_sealed_head(&mut out, cipher.to_byte(), STAMP, sealer(cipher).epoch);
    out.extend_from_slice(&NONCE);
    let bound = envelope::bound(sealer(cipher), STAMP, place);
    let mut text = text.to_vec();
    let tag = SealingKey::new(cipher, &[1; 32])?.seal(NONCE, &bound, &mut text)?;
    out.extend_from_slice(&text);
    out.extend_from_slice(&tag);
    record::put_checksum(place, &mut out);
    Some(out.into())
}

/// Key and record of what is sealed at `place`, opened as the driver does it.
///
/// # Errors
///
/// The [`Damage`] that makes it unreadable.
pub fn open(cipher: Cipher, place: &[u8], sealed: &Bytes) -> Result<(Bytes, Bytes), Damage> {
    let head = envelope::head(place, sealed)?;
    let found = Sealer {
        cipher: head.cipher.ok_or(Damage::Foreign)?,
        epoch: head.epoch,
        ..sealer(cipher)
    };
    // There is one key, of one epoch.
    if found.epoch != sealer(cipher).epoch {
        return Err(Damage::Sealed);
    }
    let key = SealingKey::new(cipher, &[1; 32]).ok_or(Damage::Sealed)?;
    let opened = envelope::open(&key, found, place, &head, sealed)?;
    Ok((opened.key, opened.record))
}

fn master(byte: u8) -> Option<MasterKey> {
    MasterKey::from_bytes([byte; 32]).ok()
}

/// A real header; one that two master keys open, while a rotation is under way.
pub fn header(is_rotating: bool) -> Option<Vec<u8>> {
    let mut bundle = Bundle::new(Cipher::Aes256Gcm, true).ok()?;
    bundle.floor = 12;
    let mut header = Header::new(bundle, master(1)?).ok()?;
    if is_rotating {
        header.rotate(master(2)?).ok()?;
    }
    header.encode().ok()
}

/// What a header holds, and the header as it is written again.
///
/// # Errors
///
/// Why it is [`Unusable`].
pub fn read_header(stored: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Unusable> {
    let header = Header::decode(stored, master(1).ok_or(Unusable::OtherKey)?)?;
    let again = header.encode().map_err(|_| Unusable::Edited)?;
    let mut plain = Vec::with_capacity(header.bundle.bytes());
    header.bundle.put(&mut plain);
    plain.extend_from_slice(&header.bundle.id);
    Ok((plain, again))
}

/// What is sealed in a header, read and written again.
pub fn read_bundle(plain: &[u8]) -> Option<Vec<u8>> {
    let bundle = Bundle::read(plain)?;
    let mut again = Vec::with_capacity(bundle.bytes());
    bundle.put(&mut again);
    Some(again)
}

/// A header whose keys were destroyed.
pub fn shredded() -> Vec<u8> {
    head::shredded([9; ID_BYTES])
}
