//! Sealed records and the headers of sealed stores: whatever was edited does not open.

use bytes::Bytes;

use super::edited;
use crate::drivers::sealed::Cipher;
use crate::drivers::sealed::fuzzing as real;
use crate::record::{self, Damage};

/// Where the real record lies, and where it was put.
const PLACE: &[u8] = b"s\0\0\0\x01place";
const ELSEWHERE: &[u8] = b"s\0\0\0\x01other";

/// A sealed record. The first byte says what the others are: the record, edits of a real one, or the plain text
/// of one that is sealed with the right key.
pub fn envelope(bytes: &[u8]) {
    let Some((&mode, rest)) = bytes.split_first() else {
        return;
    };
    let cipher = match mode & 0x80 {
        0 => Cipher::Aes256Gcm,
        _ => Cipher::ChaCha20Poly1305,
    };
    let sealed = match mode & 3 {
        0 | 1 => {
            let found = if mode & 1 == 0 {
                rest.to_vec()
            } else {
                edited(&real::record(cipher, PLACE), rest)
            };
            for place in [PLACE, ELSEWHERE] {
                opens_only_if_real(cipher, place, found.clone());
                let mut mended = found.clone();
                record::put_checksum(place, &mut mended);
                opens_only_if_real(cipher, place, mended);
            }
            return;
        }
        _ => real::sealed_text(cipher, PLACE, rest),
    };
    let Some(sealed) = sealed else {
        return;
    };
    // The length of the key, the key, the record: all of it, or nothing.
    match real::open(cipher, PLACE, &sealed) {
        Ok((key, record)) => {
            let length = (key.len() as u16).to_le_bytes();
            assert_eq!([&length[..], &key, &record].concat(), rest);
        }
        Err(damage) => {
            assert_eq!(damage, Damage::Sealed);
            let length = rest.first_chunk().map(|length| u16::from_le_bytes(*length));
            assert!(length.is_none_or(|length| rest.len() < 2 + usize::from(length)));
        }
    }
}

fn opens_only_if_real(cipher: Cipher, place: &[u8], found: Vec<u8>) {
    let found = Bytes::from(found);
    let opened = real::open(cipher, place, &found);
    let is_real = place == PLACE && found == real::record(cipher, PLACE);
    assert_eq!(opened.is_ok(), is_real, "{:?}", opened.err());
    if let Ok((key, record)) = opened {
        assert_eq!((&key[..], &record[..]), (real::KEY, real::RECORD));
    }
}

/// The header of a sealed store. The first byte says what the others are: the header, edits of a real one, or
/// the plain text of its keys.
pub fn header(bytes: &[u8]) {
    let Some((&mode, rest)) = bytes.split_first() else {
        return;
    };
    match mode & 3 {
        0 => {
            reads_back(rest);
            reads_back(&mended(rest.to_vec()));
        }
        1 => {
            let Some(stored) = real::header(mode & 0x80 != 0) else {
                return;
            };
            let found = edited(&stored, rest);
            let is_real = found == stored;
            assert_eq!(real::read_header(&found).is_ok(), is_real);
            let found = mended(found);
            assert_eq!(real::read_header(&found).is_ok(), found == stored);
        }
        _ => {
            if let Some(again) = real::read_bundle(rest) {
                assert_eq!(again, rest);
            }
        }
    }
}

/// With a checksum that fits.
fn mended(mut header: Vec<u8>) -> Vec<u8> {
    if let Some((body, sum)) = header.split_last_chunk_mut::<4>() {
        *sum = crc32fast::hash(body).to_le_bytes();
    }
    header
}

/// What is read is written as the same again, but for nonces and whoever is no part of it any more.
fn reads_back(stored: &[u8]) {
    if let Ok((plain, again)) = real::read_header(stored) {
        assert_eq!(again.len(), stored.len());
        assert_eq!(real::read_header(&again).map(|(plain, _)| plain), Ok(plain));
    }
}

/// Real records, edits of them, and plain texts.
pub(super) fn envelopes() -> Vec<Vec<u8>> {
    let real = |mode: u8, cipher| [&[mode], &real::record(cipher, PLACE)[..]].concat();
    let text: &[u8] = &[&[8, 0], real::KEY, real::RECORD].concat();
    vec![
        real(0, Cipher::Aes256Gcm),
        real(0x80, Cipher::ChaCha20Poly1305),
        vec![1],
        vec![0x81],
        vec![1, 0, 40, 0, 1, 2, 9, 0, 0, 3, 9, 0, 5],
        vec![0x81, 4, 50, 0, 4, 4, 60, 0, 7],
        [&[2], text].concat(),
        [&[0x82], text].concat(),
        vec![2, 9, 0, b'k'],
    ]
}

/// Real headers, edits of them, and keys.
pub(super) fn headers() -> Vec<Vec<u8>> {
    let real = |is_rotating| real::header(is_rotating).unwrap_or_default();
    let keys: Vec<u8> = (0..132).collect();
    vec![
        [&[0], &real(false)[..]].concat(),
        [&[0], &real(true)[..]].concat(),
        [&[0], &crate::drivers::sealed::fuzzing::shredded()[..]].concat(),
        vec![1],
        vec![0x81],
        vec![1, 0, 25, 0, 1],
        vec![0x81, 0, 140, 0, 1, 2, 25, 0, 0],
        [&[2], &keys[..]].concat(),
    ]
}
