//! A sealed record, byte by byte: nothing but the original opens.

use super::*;
use crate::version::Version;

const PLACE: &[u8] = b"s\0\0\0\x01place";

fn key(byte: u8) -> SealingKey {
    SealingKey::new(Cipher::Aes256Gcm, &[byte; 32]).unwrap()
}

fn sealer() -> Sealer {
    Sealer {
        store: [9; ID_BYTES],
        cipher: Cipher::Aes256Gcm,
        epoch: 3,
    }
}

fn stamp() -> Stamp {
    Stamp {
        version: Version::at(77),
        keep_ms: 5,
    }
}

fn record() -> Bytes {
    let plain = Plain {
        key: b"users/42",
        record: b"the record",
        stamp: stamp(),
    };
    seal(&key(1), sealer(), [7; NONCE_BYTES], PLACE, plain).unwrap()
}

fn opened(sealer: Sealer, place: &[u8], sealed: &Bytes) -> Result<Opened, Damage> {
    open(&key(1), sealer, place, &head(place, sealed)?, sealed)
}

/// With a checksum that fits again, as one who tampers with it would leave it.
fn mended(place: &[u8], mut record: Vec<u8>) -> Bytes {
    record::put_checksum(place, &mut record);
    record.into()
}

#[test]
fn what_was_sealed_opens_for_its_place_alone() {
    let sealed = record();
    let plain = opened(sealer(), PLACE, &sealed).unwrap();
    assert_eq!(
        (&plain.key[..], &plain.record[..]),
        (&b"users/42"[..], &b"the record"[..])
    );
    assert_eq!(record::stamp(PLACE, &sealed), Ok(stamp()));
    assert!(!sealed.windows(8).any(|w| w == b"users/42"));
    let elsewhere = mended(b"s\0\0\0\x01other", sealed.to_vec());
    let moved = opened(sealer(), b"s\0\0\0\x01other", &elsewhere);
    assert_eq!(moved.err(), Some(Damage::Sealed));
}

#[test]
fn another_store_epoch_cipher_or_key_does_not_open_it() {
    let sealed = record();
    let others = [
        Sealer {
            store: [8; ID_BYTES],
            ..sealer()
        },
        Sealer {
            epoch: 4,
            ..sealer()
        },
        Sealer {
            cipher: Cipher::ChaCha20Poly1305,
            ..sealer()
        },
    ];
    for other in others {
        assert_eq!(
            opened(other, PLACE, &sealed).err(),
            Some(Damage::Sealed),
            "{other:?}"
        );
    }
    let head = head(PLACE, &sealed).unwrap();
    let other = open(&key(2), sealer(), PLACE, &head, &sealed);
    assert_eq!(other.err(), Some(Damage::Sealed));
}

#[test]
fn no_byte_can_be_changed_by_accident_or_on_purpose() {
    let sealed = record();
    for at in 0..sealed.len() {
        for bit in [0x01, 0x10, 0x80] {
            let mut bytes = sealed.to_vec();
            bytes[at] ^= bit;
            let accident = opened(sealer(), PLACE, &bytes.clone().into());
            assert!(accident.is_err(), "byte {at}");
            // The checksum's own bytes are right again when it is made anew.
            if !(4..8).contains(&at) {
                let purpose = opened(sealer(), PLACE, &mended(PLACE, bytes));
                assert!(purpose.is_err(), "byte {at} with a checksum that fits");
            }
        }
    }
}

#[test]
fn what_is_cut_or_longer_does_not_open() {
    let sealed = record();
    for length in 0..sealed.len() {
        let cut = sealed.slice(..length);
        assert!(opened(sealer(), PLACE, &cut).is_err(), "{length} bytes");
        let cut = mended(PLACE, cut.to_vec());
        assert!(opened(sealer(), PLACE, &cut).is_err(), "{length} bytes");
    }
    let longer = mended(PLACE, [&sealed[..], &[0]].concat());
    assert!(opened(sealer(), PLACE, &longer).is_err());
}

#[test]
fn a_key_that_is_longer_than_what_was_sealed_is_refused() {
    let mut out = Vec::new();
    record::put_sealed_head(&mut out, Cipher::Aes256Gcm.to_byte(), stamp(), 3);
    out.extend_from_slice(&[7; NONCE_BYTES]);
    let mut text = [200, 0, b'k'];
    let bound = bound(sealer(), stamp(), PLACE);
    let tag = key(1).seal([7; NONCE_BYTES], &bound, &mut text).unwrap();
    out.extend_from_slice(&text);
    out.extend_from_slice(&tag);
    let lies = mended(PLACE, out);
    assert_eq!(opened(sealer(), PLACE, &lies).err(), Some(Damage::Sealed));
}
