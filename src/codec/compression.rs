//! Compression of what is stored: after the codec, on the caller's thread, kept where it is worth it.
//!
//! FORMAT.md has the bytes: the length before, and what the compressor wrote.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Serialize;

#[cfg(feature = "compression")]
use super::zstd;
use crate::record::{COMPRESSION_BITS, COMPRESSION_LZ4, COMPRESSION_ZSTD, LENGTH_BYTES};
#[cfg(feature = "compression")]
use crate::wipe::Wiped;

/// Values of fewer bytes than this are not compressed, where nothing is said: 4 KiB.
pub const COMPRESS_BYTES_MIN: usize = 4 << 10;

/// What compresses the values of a cache on their way to its stores.
///
/// Both need the feature `compression`. There is no gzip: it takes several times as long as zstd for a worse
/// ratio, and nobody but larder reads what it stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub enum Compression {
    /// Nothing does.
    None,
    /// Zstandard: the best ratio at its speed.
    #[cfg(feature = "compression")]
    Zstd {
        /// How hard it tries: -7 (fastest) to 19, 1 by default. 0 is its own default, 3.
        level: i32,
    },
    /// LZ4: the fastest, with a worse ratio.
    #[cfg(feature = "compression")]
    Lz4,
}

/// zstd at level 1 where the feature `compression` is on.
impl Default for Compression {
    fn default() -> Self {
        #[cfg(feature = "compression")]
        return Self::Zstd { level: 1 };
        #[cfg(not(feature = "compression"))]
        Self::None
    }
}

/// The levels of zstd that need no more memory than a cache has to spare.
#[cfg(feature = "compression")]
const LEVELS: std::ops::RangeInclusive<i32> = -7..=19;

impl Compression {
    /// What is wrong with it.
    pub(crate) fn problem(self) -> Option<String> {
        match self {
            #[cfg(feature = "compression")]
            Self::Zstd { level } if !LEVELS.contains(&level) => Some(format!(
                "compression has the zstd level {level}, allowed is {} to {}",
                LEVELS.start(),
                LEVELS.end()
            )),
            _ => None,
        }
    }

    /// The bytes, compressed, with their flags of a record; `None` where that saves less than a tenth.
    pub(crate) fn pack(self, plain: &[u8], is_secret: bool) -> Option<(u8, Bytes)> {
        let _ = (plain, is_secret);
        match self {
            Self::None => None,
            #[cfg(feature = "compression")]
            Self::Zstd { level } => {
                let packed = match is_secret {
                    false => zstd::compress(plain, level)?,
                    true => zstd::compress_secret(plain, level)?,
                };
                Some((COMPRESSION_ZSTD, packed))
            }
            #[cfg(feature = "compression")]
            Self::Lz4 => Some((COMPRESSION_LZ4, lz4_pack(plain, is_secret)?)),
        }
    }
}

/// The largest that compressed bytes may be, their length included, to be kept.
#[cfg(feature = "compression")]
pub(super) fn worth(plain: usize) -> usize {
    plain - plain.div_ceil(10)
}

/// The length before, and then the compressed bytes: as a payload has them.
#[cfg(feature = "compression")]
pub(super) fn prefixed(plain: usize, packed: &[u8], is_secret: bool) -> Option<Bytes> {
    let length = u32::try_from(plain).ok()?;
    let bytes = LENGTH_BYTES + packed.len();
    if bytes > worth(plain) {
        return None;
    }
    let fill = |out: &mut Vec<u8>| {
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(packed);
    };
    if is_secret {
        let mut out = Wiped::from(Vec::with_capacity(bytes));
        fill(&mut out);
        return Some(out.shared());
    }
    let mut out = Vec::with_capacity(bytes);
    fill(&mut out);
    Some(out.into())
}

#[cfg(feature = "compression")]
fn lz4_pack(plain: &[u8], is_secret: bool) -> Option<Bytes> {
    use lz4_flex::block;
    // Its table holds places, no bytes.
    let mut out = Wiped::from(vec![0; block::get_maximum_output_size(plain.len())]);
    let length = block::compress_into(plain, &mut out).ok()?;
    let packed = prefixed(plain.len(), out.get(..length)?, is_secret);
    if !is_secret {
        // To overwrite it costs more than it is worth.
        drop(std::mem::take(&mut *out));
    }
    packed
}

/// Whether this build can read payloads with these flags of a record.
pub(crate) fn is_known(flags: u8) -> bool {
    let is_compressed = matches!(flags & COMPRESSION_BITS, COMPRESSION_ZSTD | COMPRESSION_LZ4);
    flags & COMPRESSION_BITS == 0 || (is_compressed && cfg!(feature = "compression"))
}

/// The bytes before they were compressed: no more than `bytes_max`, exactly as many as they say, and nothing
/// after them. IMPORTANT: nothing is allocated before that length is known to be allowed.
///
/// # Errors
///
/// What is wrong with them.
pub(crate) fn unpack(
    flags: u8,
    payload: &Bytes,
    bytes_max: usize,
    is_secret: bool,
) -> Result<Bytes, &'static str> {
    let kind = flags & COMPRESSION_BITS;
    if kind == 0 {
        return Ok(payload.clone());
    }
    let (length, packed) = payload
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or("the compressed bytes are cut off")?;
    let length = u32::from_le_bytes(*length);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err("it is longer than value_bytes_max before it was compressed");
    }
    decompress(kind, packed, length, is_secret)
}

#[cfg(feature = "compression")]
fn decompress(
    kind: u8,
    packed: &[u8],
    length: usize,
    is_secret: bool,
) -> Result<Bytes, &'static str> {
    let mut out = Wiped::default();
    let done = match kind {
        COMPRESSION_ZSTD => {
            out.reserve_exact(length);
            zstd::decompress(packed, &mut out, is_secret)
        }
        _ => {
            *out = vec![0; length];
            lz4_flex::block::decompress_into(packed, &mut out).ok()
        }
    };
    if done != Some(length) || out.len() != length {
        return Err("the compressed bytes are damaged");
    }
    match is_secret {
        true => Ok(Bytes::from_owner(out)),
        false => Ok(std::mem::take(&mut *out).into()),
    }
}

#[cfg(not(feature = "compression"))]
fn decompress(_: u8, _: &[u8], _: usize, _: bool) -> Result<Bytes, &'static str> {
    Err("the feature compression is off")
}

/// What compression comes to, of all caches.
#[derive(Default, Debug)]
pub(crate) struct Packed {
    /// Bytes of values that were compressed, before.
    pub before: AtomicU64,
    /// The same, after.
    pub after: AtomicU64,
    /// Values that were compressed.
    pub kept: AtomicU64,
    /// Values that are stored as they are, for it would have saved less than a tenth.
    pub not_worth: AtomicU64,
}

impl Packed {
    /// Counts a value that has this length, and after it was compressed that one.
    pub fn count(&self, before: usize, after: Option<usize>) {
        let add = |counter: &AtomicU64, n: usize| counter.fetch_add(n as u64, Ordering::Relaxed);
        let Some(after) = after else {
            add(&self.not_worth, 1);
            return;
        };
        add(&self.before, before);
        add(&self.after, after);
        add(&self.kept, 1);
    }
}

#[cfg(test)]
mod tests;
