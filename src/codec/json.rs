//! JSON: self-describing, and readable by everybody.

use std::io;

use bytes::Bytes;
use serde_json::ser::{Formatter, Serializer};

use super::bounded::Bounded;
use super::coder::BuiltIn;
use super::{Codec, Value};
use crate::error::Error;

/// How deep lists and maps can lie in each other: no further than is read back.
const DEPTH_MAX: usize = 127;

/// JSON, number 3: self-describing, so that fields can be added (with `#[serde(default)]`) and every attribute
/// of serde works. Larger and slower than `MessagePack`; for what others read, too. Keys of maps are texts,
/// numbers, flags or variants; a number that is not finite is written as `null`, and refused where nothing
/// but a number is read. Nests up to 127 levels deep.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// # let larder = larder::Larder::builder().start().await?;
/// let answers = larder.cache_builder::<serde_json::Value>("answers");
/// let answers = answers.codec(larder::codec::Json).open()?;
/// answers.set("1", serde_json::json!({ "name": "Ada" })).await?;
/// # larder.shutdown(std::time::Duration::from_secs(5)).await }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Json;

impl<V: Value> Codec<V> for Json {
    fn id(&self) -> u8 {
        BuiltIn::Json.to_byte()
    }

    fn encode(&self, value: &V, bytes_max: usize) -> Result<Bytes, Error> {
        BuiltIn::Json.encode(value, bytes_max, false)
    }

    fn encoded_len(&self, value: &V, bytes_max: usize) -> Result<usize, Error> {
        BuiltIn::Json.encoded_len(value, bytes_max)
    }

    fn decode(&self, bytes: &Bytes) -> Result<V, Error> {
        BuiltIn::Json.decode(bytes)
    }
}

pub(super) fn write<V: Value>(
    value: &V,
    bytes_max: usize,
    take: impl FnMut(&[u8]),
) -> Result<usize, Error> {
    let mut bounded = Bounded::new(bytes_max, take);
    let mut depth = Depth { left: DEPTH_MAX };
    let done = value.serialize(&mut Serializer::with_formatter(&mut bounded, &mut depth));
    bounded.end(done, |error| {
        Error::encode::<V>(match error.is_io() {
            true => "it nests deeper than 127 levels, which would not be read back",
            false => {
                "its Serialize implementation failed, or a map has keys that JSON cannot have, \
                 which codec(MessagePack) can"
            }
        })
    })
}

pub(super) fn decode<V: Value>(bytes: &[u8]) -> Result<V, Error> {
    // It allocates for what it has read, not for what is announced, and ends at 128 levels.
    serde_json::from_slice(bytes).map_err(|error| {
        Error::decode::<V>(match error.classify() {
            serde_json::error::Category::Eof => "the bytes end before the value does",
            serde_json::error::Category::Data => "the bytes do not fit what its Deserialize reads",
            _ => "the bytes are no JSON, or more than one value",
        })
    })
}

/// Counts levels.
struct Depth {
    left: usize,
}

impl Depth {
    fn down<W: io::Write + ?Sized>(&mut self, to: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.left = (self.left.checked_sub(1)).ok_or(io::ErrorKind::InvalidData)?;
        to.write_all(bracket)
    }

    fn up<W: io::Write + ?Sized>(&mut self, to: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.left += 1;
        to.write_all(bracket)
    }
}

impl Formatter for &mut Depth {
    fn begin_array<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        self.down(to, b"[")
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        self.up(to, b"]")
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        self.down(to, b"{")
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        self.up(to, b"}")
    }
}
