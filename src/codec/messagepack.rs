//! MessagePack with the names of fields: self-describing and small.

use bytes::Bytes;
use rmp_serde::Serializer;

use super::bounded::Bounded;
use super::coder::BuiltIn;
use super::{Codec, Value};
use crate::error::Error;

/// How deep lists and maps can lie in each other: what a thread's stack holds, whatever the type is.
const DEPTH_MAX: usize = 128;

/// MessagePack with the names of fields, number 2: self-describing, so that fields can be added (with
/// `#[serde(default)]`) and every attribute of serde works. Some 1.5 times as long as [`Bincode`](super::Bincode),
/// shorter and faster than `Json`. Nests up to 128 levels deep.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// # let larder = larder::Larder::builder().start().await?;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// #[serde(tag = "kind")]
/// enum Shape {
///     Circle { radius: f64 },
///     Square { side: f64 },
/// }
///
/// let shapes = larder.cache_builder::<Shape>("shapes");
/// let shapes = shapes.codec(larder::codec::MessagePack).open()?;
/// shapes.set("1", Shape::Circle { radius: 2.0 }).await?;
/// # larder.shutdown(std::time::Duration::from_secs(5)).await }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MessagePack;

impl<V: Value> Codec<V> for MessagePack {
    fn id(&self) -> u8 {
        BuiltIn::MessagePack.to_byte()
    }

    fn encode(&self, value: &V, bytes_max: usize) -> Result<Bytes, Error> {
        BuiltIn::MessagePack.encode(value, bytes_max, false)
    }

    fn encoded_len(&self, value: &V, bytes_max: usize) -> Result<usize, Error> {
        BuiltIn::MessagePack.encoded_len(value, bytes_max)
    }

    fn decode(&self, bytes: &Bytes) -> Result<V, Error> {
        BuiltIn::MessagePack.decode(bytes)
    }
}

pub(super) fn write<V: Value>(
    value: &V,
    bytes_max: usize,
    take: impl FnMut(&[u8]),
) -> Result<usize, Error> {
    let mut bounded = Bounded::new(bytes_max, take);
    let done = value.serialize(&mut Serializer::new(&mut bounded).with_struct_map());
    bounded.end(done, |_| {
        Error::encode::<V>("its Serialize implementation failed")
    })
}

/// Refuses what would not be read back, however it was written.
pub(super) fn check_written<V>(bytes: &[u8]) -> Result<(), Error> {
    check(bytes).map_err(Error::encode::<V>)
}

pub(super) fn decode<V: Value>(bytes: &[u8]) -> Result<V, Error> {
    check(bytes).map_err(Error::decode::<V>)?;
    rmp_serde::from_slice(bytes)
        .map_err(|_| Error::decode::<V>("the bytes do not fit what its Deserialize reads"))
}

/// Whether the bytes are one value that does not nest too deep, and nothing after it.
///
/// IMPORTANT: before anything is read. A list that says that it has more items than there are bytes would have
/// room made for them, and what nests without end would use up the stack.
fn check(bytes: &[u8]) -> Result<(), &'static str> {
    const END: &str = "the bytes end before the value does";
    // What is left of each list and map that is open, the innermost last.
    let (mut rest, mut open) = (bytes, Vec::new());
    loop {
        let (&mark, after) = rest.split_first().ok_or(END)?;
        rest = after;
        let (skip, items) = head(mark, &mut rest).ok_or(END)?;
        rest = rest.get(skip..).ok_or(END)?;
        // Each has a byte of its own.
        if items > rest.len() {
            return Err("a length in the bytes is beyond their end");
        }
        if items > 0 && open.len() == DEPTH_MAX {
            return Err("it nests deeper than 128 levels");
        }
        open.push(items);
        while open.last() == Some(&0) {
            open.pop();
        }
        match open.last_mut() {
            Some(items) => *items -= 1,
            None if rest.is_empty() => return Ok(()),
            None => return Err("there are bytes left over"),
        }
    }
}

/// How many bytes follow a mark, and how many values; `None` where its number is cut off.
fn head(mark: u8, rest: &mut &[u8]) -> Option<(usize, usize)> {
    Some(match mark {
        0x80..=0x8f => (0, 2 * usize::from(mark & 0xf)),
        0x90..=0x9f => (0, usize::from(mark & 0xf)),
        0xa0..=0xbf => (usize::from(mark & 0x1f), 0),
        0xc4 | 0xd9 => (number(rest, 1)?, 0),
        0xc5 | 0xda => (number(rest, 2)?, 0),
        0xc6 | 0xdb => (number(rest, 4)?, 0),
        // An extension has its type before its bytes.
        0xc7 => (number(rest, 1)?.saturating_add(1), 0),
        0xc8 => (number(rest, 2)?.saturating_add(1), 0),
        0xc9 => (number(rest, 4)?.saturating_add(1), 0),
        0xd4..=0xd8 => (1 + (1 << (mark - 0xd4)), 0),
        0xcc | 0xd0 => (1, 0),
        0xcd | 0xd1 => (2, 0),
        0xca | 0xce | 0xd2 => (4, 0),
        0xcb | 0xcf | 0xd3 => (8, 0),
        0xdc => (0, number(rest, 2)?),
        0xdd => (0, number(rest, 4)?),
        0xde => (0, number(rest, 2)?.saturating_mul(2)),
        0xdf => (0, number(rest, 4)?.saturating_mul(2)),
        // Small numbers, nothing, flags, and a mark that stands for nothing, which the decoder refuses.
        _ => (0, 0),
    })
}

/// A big-endian number of so many bytes.
fn number(rest: &mut &[u8], bytes: usize) -> Option<usize> {
    let (number, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    let number = number
        .iter()
        .fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    usize::try_from(number).ok()
}
