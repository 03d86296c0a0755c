//! The stored record: what a driver files under a key. FORMAT.md has it byte by byte.
//!
//! Pure encoding and decoding; the checksum covers the key too, so that a record that turns up under
//! another key is damaged, not somebody else's value.

use bytes::{Buf, BufMut, Bytes};
use smol_str::SmolStr;

use crate::clock::Millis;
use crate::version::Version;
use crate::wipe::Wiped;

mod stamp;

pub use stamp::{
    SEALED_FORMAT, SEALED_HEAD_BYTES, SEALED_MAGIC, Stamp, put_checksum, put_sealed_head,
    sealed_stamp, stamp,
};

/// First bytes of every record.
pub const MAGIC: [u8; 2] = *b"LR";
/// The version of this layout.
pub const FORMAT: u8 = 1;
/// The version of a record that has flags, so that who does not know any takes it for no record.
pub const FORMAT_FLAGGED: u8 = 2;
/// Bytes before the tags.
pub const HEADER_BYTES: usize = 80;
/// Most tags an entry can have.
pub const TAGS_MAX: usize = 255;
/// The bits of [`Header::flags`] that say how the payload is compressed; without them it is not.
pub const COMPRESSION_BITS: u8 = 0b110;
/// The payload is compressed by zstd.
pub const COMPRESSION_ZSTD: u8 = 0b010;
/// The payload is compressed by LZ4.
pub const COMPRESSION_LZ4: u8 = 0b100;
/// Bytes before a compressed payload: its length before, little endian.
pub const LENGTH_BYTES: usize = 4;

/// Everything about a stored value but the value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The mutation that wrote it.
    pub version: Version,
    /// When the value was set, in unix milliseconds.
    pub created_ms: Millis,
    /// Fresh until then; `NEVER` without a TTL.
    pub expires_ms: Millis,
    /// Kept as a fallback until then; at least `expires_ms`.
    pub keep_ms: Millis,
    /// Sliding expiry in milliseconds; 0 for none.
    pub idle_ms: u32,
    /// Where the TTL of a sliding entry ends; `NEVER` without one.
    pub ends_ms: Millis,
    /// The cache's schema number.
    pub schema: u32,
    /// The value's type, as a stable hash of its name.
    pub type_tag: u64,
    /// Which codec wrote the payload.
    pub codec: u8,
    /// Eviction priority (see [`Priority`](crate::Priority)).
    pub priority: u8,
    /// What was done to the payload; 0 for nothing.
    pub flags: u8,
    /// Names under which the entry can be invalidated.
    pub tags: Box<[SmolStr]>,
}

/// Whether all of these flags are known, and mean something.
const fn is_known(flags: u8) -> bool {
    matches!(flags, 0 | COMPRESSION_ZSTD | COMPRESSION_LZ4)
}

/// How many bytes a payload has before it is compressed, as it says itself.
pub fn plain_len(flags: u8, payload: &[u8]) -> usize {
    match payload.first_chunk::<LENGTH_BYTES>() {
        Some(length) if flags & COMPRESSION_BITS != 0 => u32::from_le_bytes(*length) as usize,
        _ => payload.len(),
    }
}

/// Why bytes are no record of this key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Too short, or lengths that do not add up.
    Truncated,
    /// Not larder's, or a layout or flags from the future.
    Foreign,
    /// The checksum does not match.
    Checksum,
    /// Whole, and sealed: with another key, for another place, or edited since.
    Sealed,
}

/// Writes the record of `key`.
pub fn encode(key: &[u8], header: &Header, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(length(header, payload));
    fill(&mut out, key, header, payload);
    out.into()
}

/// As [`encode`], in a buffer that is overwritten when it is let go.
pub fn encode_secret(key: &[u8], header: &Header, payload: &[u8]) -> Bytes {
    // IMPORTANT: with all of its room from the start. A buffer that grows leaves what was in it behind.
    let mut out = Wiped::from(Vec::with_capacity(length(header, payload)));
    fill(&mut out, key, header, payload);
    out.shared()
}

fn tags_of(header: &Header) -> &[SmolStr] {
    header.tags.get(..TAGS_MAX).unwrap_or(&header.tags)
}

fn tag_bytes(header: &Header) -> usize {
    tags_of(header).iter().map(|tag| 2 + tag.len()).sum()
}

fn length(header: &Header, payload: &[u8]) -> usize {
    HEADER_BYTES + tag_bytes(header) + payload.len()
}

fn fill(out: &mut Vec<u8>, key: &[u8], header: &Header, payload: &[u8]) {
    let tags = tags_of(header);
    out.put_slice(&MAGIC);
    out.put_u8(match header.flags {
        0 => FORMAT,
        _ => FORMAT_FLAGGED,
    });
    out.put_u8(header.codec);
    out.put_u32_le(0); // the checksum, filled in below
    out.put_u64_le(header.version.get());
    out.put_u64_le(header.created_ms);
    out.put_u64_le(header.expires_ms);
    out.put_u64_le(header.keep_ms);
    out.put_u32_le(header.idle_ms);
    out.put_u32_le(header.schema);
    out.put_u64_le(header.type_tag);
    out.put_u8(header.priority);
    out.put_u8(header.flags);
    out.put_u8(u8::try_from(tags.len()).unwrap_or(u8::MAX));
    out.put_u8(0);
    out.put_u64_le(payload.len() as u64);
    out.put_u32_le(u32::try_from(tag_bytes(header)).unwrap_or(u32::MAX));
    out.put_u64_le(header.ends_ms);
    for tag in tags {
        out.put_u16_le(u16::try_from(tag.len()).unwrap_or(u16::MAX));
        out.put_slice(tag.as_bytes());
    }
    out.put_slice(payload);
    let sum = checksum(key, out);
    if let Some(place) = out.get_mut(4..8) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Reads the record of `key`; the payload shares `record`'s memory.
///
/// # Errors
///
/// The [`Damage`] that makes it unreadable. Never panics and never allocates more than `record`
/// holds, whatever the bytes are.
pub fn decode(key: &[u8], record: &Bytes) -> Result<(Header, Bytes), Damage> {
    let mut rest = record.clone();
    if rest.len() < HEADER_BYTES {
        return Err(Damage::Truncated);
    }
    let mut magic = [0; 2];
    rest.copy_to_slice(&mut magic);
    let format = rest.get_u8();
    let codec = rest.get_u8();
    if magic == SEALED_MAGIC && format == SEALED_FORMAT {
        return Err(Damage::Sealed);
    }
    if magic != MAGIC || !matches!(format, FORMAT | FORMAT_FLAGGED) {
        return Err(Damage::Foreign);
    }
    if rest.get_u32_le() != checksum(key, record) {
        return Err(Damage::Checksum);
    }
    let version = Version::new(rest.get_u64_le()).ok_or(Damage::Foreign)?;
    let (created_ms, expires_ms, keep_ms) =
        (rest.get_u64_le(), rest.get_u64_le(), rest.get_u64_le());
    let (idle_ms, schema, type_tag) = (rest.get_u32_le(), rest.get_u32_le(), rest.get_u64_le());
    let (priority, flags, tag_count, unused) =
        (rest.get_u8(), rest.get_u8(), rest.get_u8(), rest.get_u8());
    if unused != 0 || !is_known(flags) || (flags != 0) != (format == FORMAT_FLAGGED) {
        return Err(Damage::Foreign);
    }
    let (payload_bytes, tag_bytes) = (rest.get_u64_le(), rest.get_u32_le());
    let ends_ms = rest.get_u64_le();
    let tag_bytes = usize::try_from(tag_bytes).map_err(|_| Damage::Truncated)?;
    let payload_bytes = usize::try_from(payload_bytes).map_err(|_| Damage::Truncated)?;
    if rest.len() != tag_bytes.saturating_add(payload_bytes) {
        return Err(Damage::Truncated);
    }
    let tags = decode_tags(rest.split_to(tag_bytes), tag_count)?;
    let header = Header {
        version,
        created_ms,
        expires_ms,
        keep_ms,
        idle_ms,
        ends_ms,
        schema,
        type_tag,
        codec,
        priority,
        flags,
        tags,
    };
    Ok((header, rest))
}

fn decode_tags(mut bytes: Bytes, count: u8) -> Result<Box<[SmolStr]>, Damage> {
    let mut tags = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        if bytes.len() < 2 {
            return Err(Damage::Truncated);
        }
        let len = usize::from(bytes.get_u16_le());
        if bytes.len() < len {
            return Err(Damage::Truncated);
        }
        let tag = bytes.split_to(len);
        tags.push(SmolStr::new(
            std::str::from_utf8(&tag).map_err(|_| Damage::Foreign)?,
        ));
    }
    if !bytes.is_empty() {
        return Err(Damage::Truncated);
    }
    Ok(tags.into())
}

/// CRC-32 of the key's length, the key, and the record with its checksum field left out.
fn checksum(key: &[u8], record: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&(key.len() as u64).to_le_bytes());
    sum.update(key);
    sum.update(record.get(..4).unwrap_or_default());
    sum.update(record.get(8..).unwrap_or_default());
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            version: Version::at(77),
            created_ms: 1,
            expires_ms: 2,
            keep_ms: 3,
            idle_ms: 4,
            ends_ms: 9,
            schema: 5,
            type_tag: 6,
            codec: 1,
            priority: 2,
            flags: 0,
            tags: ["team:7".into(), "b".into()].into(),
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let record = encode(b"users/42", &header(), b"payload");
        let (read, payload) = decode(b"users/42", &record).unwrap();
        assert_eq!(read, header());
        assert_eq!(&payload[..], b"payload");
    }

    #[test]
    fn a_secret_record_has_the_same_bytes() {
        let record = encode(b"users/42", &header(), b"payload");
        assert_eq!(encode_secret(b"users/42", &header(), b"payload"), record);
    }

    #[test]
    fn flags_have_a_version_of_their_own_and_unknown_ones_are_foreign() {
        for flags in 0..=u8::MAX {
            let flagged = Header { flags, ..header() };
            let record = encode(b"k/1", &flagged, b"payload");
            let version = if flags == 0 { FORMAT } else { FORMAT_FLAGGED };
            assert_eq!(record[2], version);
            let read = decode(b"k/1", &record).map(|(header, _)| header.flags);
            match flags {
                0 | COMPRESSION_ZSTD | COMPRESSION_LZ4 => assert_eq!(read, Ok(flags)),
                _ => assert_eq!(read, Err(Damage::Foreign), "{flags}"),
            }
        }
        assert_eq!(plain_len(0, b"payload"), 7);
        assert_eq!(plain_len(COMPRESSION_LZ4, &[1, 2, 0, 0, 9]), 513);
        assert_eq!(plain_len(COMPRESSION_LZ4, &[1, 2, 0]), 3);
    }

    #[test]
    fn a_record_under_another_key_is_damaged() {
        let record = encode(b"users/42", &header(), b"payload");
        assert_eq!(decode(b"users/43", &record), Err(Damage::Checksum));
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let record = encode(b"k/1", &header(), b"payload");
        for at in 0..record.len() {
            let mut bytes = record.to_vec();
            bytes[at] ^= 0x10;
            assert!(decode(b"k/1", &bytes.into()).is_err(), "byte {at}");
            assert!(decode(b"k/1", &record.slice(..at)).is_err(), "cut at {at}");
        }
        let mut longer = record.to_vec();
        longer.push(0);
        assert!(decode(b"k/1", &longer.into()).is_err());
    }

    #[test]
    fn lengths_that_lie_under_a_right_checksum_are_noticed() {
        let good = encode(b"k/1", &header(), b"payload");
        let lie = |at: usize, to: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = to;
            let sum = checksum(b"k/1", &bytes);
            bytes[4..8].copy_from_slice(&sum.to_le_bytes());
            decode(b"k/1", &bytes.into())
        };
        assert_eq!(
            lie(58, 9),
            Err(Damage::Truncated),
            "more tags than there are"
        );
        assert_eq!(
            lie(58, 1),
            Err(Damage::Truncated),
            "fewer tags than there are"
        );
        assert_eq!(lie(59, 1), Err(Damage::Foreign), "a byte without a meaning");
        assert_eq!(lie(60, 255), Err(Damage::Truncated), "a longer payload");
        assert_eq!(lie(80, 200), Err(Damage::Truncated), "a longer tag");
        assert_eq!(lie(82, 0xff), Err(Damage::Foreign), "a tag that is no text");
        assert_eq!(lie(2, 9), Err(Damage::Foreign), "a layout from the future");
        assert_eq!(lie(2, 2), Err(Damage::Foreign), "flags, and none");
        assert_eq!(lie(57, 2), Err(Damage::Foreign), "none, and flags");
    }
}
