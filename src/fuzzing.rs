//! What fuzzers call: one function for each decoder of stored bytes, which asserts what it promises.
//!
//! `fuzz/` calls them with what it makes up, `tests/fuzz_corpus.rs` with what is kept of that. Nothing that
//! larder does goes through here.

use bytes::Bytes;

use crate::cache::Cursor;
use crate::record::{self, Damage, Header, Stamp};

mod codecs;
#[cfg(feature = "secure")]
mod sealed;
mod seeds;

#[cfg(feature = "disk")]
pub use crate::drivers::disk::fuzzing::watermark;
pub use codecs::bincode;
#[cfg(feature = "compression")]
pub use codecs::compression;
#[cfg(feature = "codecs")]
pub use codecs::{json, messagepack};
#[cfg(feature = "secure")]
pub use sealed::{envelope, header};
pub use seeds::seeds;

/// What is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Gives it these bytes; panics if it breaks a promise.
    pub run: fn(&[u8]),
    /// It may allocate so many bytes at a time for each byte that it is given,
    pub bytes_per_byte: usize,
    /// and so many beside them.
    pub bytes_beside: usize,
}

/// Every target of this build.
pub const TARGETS: &[Target] = &[
    target("record", record),
    target("cursor", cursor),
    #[cfg(feature = "disk")]
    target("watermark", watermark),
    #[cfg(feature = "secure")]
    target("envelope", envelope),
    #[cfg(feature = "secure")]
    target("header", header),
    // A list that says that it is long may have 1 MiB set aside by serde, and a text as much as the limit.
    Target {
        bytes_beside: 20 << 20,
        ..decoder("bincode", bincode)
    },
    #[cfg(feature = "codecs")]
    decoder("messagepack", messagepack),
    #[cfg(feature = "codecs")]
    decoder("json", json),
    #[cfg(feature = "compression")]
    target("compression", compression),
];

/// Of little more than it is given.
const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target {
        name,
        run,
        bytes_per_byte: 64,
        bytes_beside: 1 << 20,
    }
}

/// Of values, which are larger than their bytes: a map of one small entry takes half a kilobyte.
const fn decoder(name: &'static str, run: fn(&[u8])) -> Target {
    Target {
        bytes_per_byte: 512,
        ..target(name, run)
    }
}

/// A record under a key: the length of the key, the key, the record. Read as it is, and with a checksum that
/// fits.
pub fn record(bytes: &[u8]) {
    let Some((&key_bytes, rest)) = bytes.split_first() else {
        return;
    };
    let (key, stored) = rest.split_at(usize::from(key_bytes).min(rest.len()));
    read_record(key, &Bytes::copy_from_slice(stored));
    let mut mended = stored.to_vec();
    record::put_checksum(key, &mut mended);
    read_record(key, &mended.into());
}

fn read_record(key: &[u8], stored: &Bytes) {
    let read = record::decode(key, stored);
    let stamp = record::stamp(key, stored);
    if let Ok((header, payload)) = &read {
        assert_eq!(record::encode(key, header, payload), stored);
        assert_eq!(record::encode_secret(key, header, payload), stored);
        let &Header {
            version, keep_ms, ..
        } = header;
        assert_eq!(stamp, Ok(Stamp { version, keep_ms }));
        record::plain_len(header.flags, payload);
        let _ = crate::fetch::validator_among(&header.tags);
    }
    let is_sealed = record::sealed_stamp(key, stored).is_ok();
    assert!(!(is_sealed && read.is_ok()), "both plain and sealed");
    // A real one holds a whole record.
    if is_sealed && stored.len() >= record::HEADER_BYTES {
        assert_eq!(read, Err(Damage::Sealed));
    }
    if stamp.is_ok() {
        refuses_what_was_damaged(key, stored);
    }
}

/// A checksum notices whatever happens to a single byte, and any cut.
fn refuses_what_was_damaged(key: &[u8], stored: &Bytes) {
    let sum = stored.get(4..8).and_then(|sum| sum.try_into().ok());
    let chance = sum.map_or(0, u32::from_le_bytes) as usize;
    let mut damaged = stored.to_vec();
    if let Some(byte) = damaged.get_mut(chance % stored.len()) {
        *byte ^= (chance >> 8) as u8 | 1;
    }
    let cut = stored.slice(..chance % stored.len());
    for damaged in [damaged.into(), cut] {
        assert!(record::decode(key, &damaged).is_err());
        assert!(record::stamp(key, &damaged).is_err());
    }
}

/// The text of a cursor.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert!(text.ends_with(cursor.key()));
        let again = cursor.to_string();
        assert!(again.len() <= text.len());
        assert!(again.parse().is_ok_and(|again: Cursor| again == cursor));
        assert!(!format!("{cursor:?}").is_empty());
    }
}

/// What edits make of bytes; each is four bytes long: what it does, where (two bytes), and with what.
#[cfg(any(feature = "secure", feature = "compression"))]
pub(crate) fn edited(bytes: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let (edits, _) = edits.as_chunks::<4>();
    // No more of them than a record that is much longer than the real ones takes.
    for &[what, low, high, with] in edits.iter().take(64) {
        let at = usize::from(u16::from_le_bytes([low, high])) % (out.len() + 1);
        match (what % 5, out.get_mut(at)) {
            (0, Some(byte)) => *byte ^= with,
            (1, Some(byte)) => *byte = with,
            (2, Some(_)) => drop(out.remove(at)),
            (3, _) => out.insert(at, with),
            (4, Some(_)) if with % 4 == 0 => out.truncate(at),
            // A piece of it from elsewhere.
            (_, Some(_)) => {
                let from = usize::from(with) % bytes.len().max(1);
                let piece = bytes.iter().skip(from).take(16);
                out.iter_mut()
                    .skip(at)
                    .zip(piece)
                    .for_each(|(to, byte)| *to = *byte);
            }
            (_, None) => {}
        }
    }
    out
}
