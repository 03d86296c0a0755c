//! What stands in the keyspace: three kinds of keys, told apart by their first byte.
//!
//! One keyspace holds all of it, because an idle keyspace would pin the journal for ever. Pure
//! encoding and decoding; FORMAT.md has it byte by byte.

use bytes::{Buf, BufMut};

use crate::clock::Millis;
use crate::version::Version;

/// The version of this layout, stored under [`FORMAT_KEY`].
pub const FORMAT: u32 = 1;
/// First byte of a record's key.
pub const RECORD: u8 = b'r';
/// First byte of an index entry's key.
pub const INDEX: u8 = b'x';
/// Sorts after every index entry.
pub const INDEX_END: [u8; 1] = [INDEX + 1];
/// Where the version of the layout stands.
pub const FORMAT_KEY: &[u8] = b"mformat";
/// Where the store's identity stands.
pub const ID_KEY: &[u8] = b"mid";
/// Where the [`Head`] stands.
pub const HEAD_KEY: &[u8] = b"mseq";
/// The longest key that can be filed: an index entry needs nine bytes more, and fjall takes 65535.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize - INDEX_KEY_BYTES;

/// Bytes of an index entry's key before the record's key.
const INDEX_KEY_BYTES: usize = 9;
/// An index entry stands at most this part of its record's time to live too early.
const GRAIN_DIVISOR: u64 = 8;

/// The key under which the record of `key` is filed.
pub fn record_key(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(RECORD);
    out.extend_from_slice(key);
    out
}

/// The first key after all that begin with `prefix`; never empty for the prefixes of this layout,
/// whose first byte is below 0xff.
pub fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// The key of the index entry of `key` at `at_ms`.
pub fn index_key(at_ms: Millis, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(INDEX_KEY_BYTES + key.len());
    out.put_u8(INDEX);
    out.put_u64(at_ms); // big endian: the order of keys is the order of time
    out.put_slice(key);
    out
}

/// Time and key of an index entry.
pub fn split_index_key(mut entry: &[u8]) -> Option<(Millis, &[u8])> {
    if entry.len() < INDEX_KEY_BYTES || entry.get_u8() != INDEX {
        return None;
    }
    let at_ms = entry.get_u64();
    Some((at_ms, entry))
}

/// Where the index entry of a record goes: a little before its `keep_ms`.
///
/// Rounding down makes a key that is written again and again reuse its entries: it holds a dozen at
/// a time instead of one for each write, and the early ones are moved when their time comes.
pub fn index_ms(keep_ms: Millis, version: Version) -> Millis {
    let lifetime_ms = keep_ms.saturating_sub(version.millis());
    match (lifetime_ms / GRAIN_DIVISOR).checked_ilog2() {
        Some(bits) => keep_ms & !((1 << bits) - 1),
        None => keep_ms,
    }
}

/// What an index entry says about its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expiry {
    /// The record's version.
    pub version: Version,
    /// When it may be reclaimed.
    pub keep_ms: Millis,
}

impl Expiry {
    /// As it is stored.
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        out.put_u64_le(self.version.get());
        out.put_u64_le(self.keep_ms);
        out
    }

    /// From what is stored.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 16 {
            return None;
        }
        let version = Version::new(bytes.get_u64_le())?;
        let keep_ms = bytes.get_u64_le();
        Some(Self { version, keep_ms })
    }
}

/// Written with every batch: how far the store has come.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Head {
    /// Number of the last batch.
    pub seq: u64,
    /// The highest version ever stored.
    pub version_max: u64,
    /// Keys of all kinds written so far; with `live` it turns fjall's count into one of records.
    pub items: u64,
    /// Records put less records deleted, overwriting counted as putting.
    pub live: u64,
}

impl Head {
    /// As it is stored.
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        for field in [self.seq, self.version_max, self.items, self.live] {
            out.put_u64_le(field);
        }
        out
    }

    /// From what is stored.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 32 {
            return None;
        }
        Some(Self {
            seq: bytes.get_u64_le(),
            version_max: bytes.get_u64_le(),
            items: bytes.get_u64_le(),
            live: bytes.get_u64_le(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_entries_sort_by_time_and_then_by_key() {
        let mut entries = [
            index_key(256, b"a"),
            index_key(1, b"z"),
            index_key(u64::MAX - 1, b""),
            index_key(1, b"a"),
        ];
        entries.sort();
        assert_eq!(
            entries
                .iter()
                .map(|e| split_index_key(e))
                .collect::<Vec<_>>(),
            [
                Some((1, &b"a"[..])),
                Some((1, &b"z"[..])),
                Some((256, &b"a"[..])),
                Some((u64::MAX - 1, &b""[..])),
            ]
        );
        assert!(entries.iter().all(|e| e.as_slice() < &INDEX_END[..]));
        assert_eq!(split_index_key(b"x1234567"), None);
    }

    #[test]
    fn the_end_of_a_prefix_lies_behind_all_its_keys() {
        assert_eq!(end_of(b"ra"), b"rb");
        assert_eq!(end_of(b"r\xff\xff"), b"s");
        assert_eq!(end_of(b"r"), b"s");
    }

    #[test]
    fn a_key_written_all_day_long_has_a_dozen_index_entries() {
        let day = 86_400_000;
        let mut places: Vec<_> = (0..day)
            .step_by(50_000)
            .map(|now| index_ms(now + day, Version::at(now)))
            .collect();
        places.dedup();
        assert!(places.len() <= 16, "{}", places.len());
        for (keep, now) in [(day, 0), (1_000, 77), (9, 0), (5, 9), (u64::MAX - 1, 0)] {
            let at = index_ms(keep, Version::at(now));
            assert!(at <= keep && keep - at <= keep.saturating_sub(now) / GRAIN_DIVISOR);
        }
    }

    #[test]
    fn fixed_values_read_back_and_other_lengths_are_none() {
        let expiry = Expiry {
            version: Version::at(3),
            keep_ms: 9,
        };
        assert_eq!(Expiry::decode(&expiry.encode()), Some(expiry));
        assert_eq!(Expiry::decode(b"short"), None);
        let head = Head {
            seq: 1,
            version_max: 2,
            items: 3,
            live: 4,
        };
        assert_eq!(Head::decode(&head.encode()), Some(head));
        assert_eq!(Head::decode(b""), None);
    }
}
