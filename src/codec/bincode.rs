//! bincode 2.0.1: the default codec, pinned (the release after it is no library any more).

use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use bincode::serde as by_serde;
use bytes::Bytes;

use super::bounded::Bounded;
use super::coder::BuiltIn;
use super::{Codec, Value};
use crate::error::Error;

/// A decoder that is told by damaged bytes to allocate more than this gives up.
const DECODE_BYTES_MAX: usize = 1 << 30;
/// So few bytes hold no more than [`SMALL_DECODE_BYTES_MAX`], whatever they are: a number of 16 takes one at least.
const SMALL_BYTES_MAX: usize = 1 << 20;
/// As [`DECODE_BYTES_MAX`], for what is no longer than [`SMALL_BYTES_MAX`].
const SMALL_DECODE_BYTES_MAX: usize = 16 * SMALL_BYTES_MAX;

/// bincode 2 with its standard configuration, number 1: compact and fast, not self-describing. The default.
///
/// How deep values nest has no limit: what somebody wrote on purpose into a store that is not sealed can have a
/// type that holds itself use up the stack. [`MessagePack`](super::MessagePack) and `Json` stop at 128 levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bincode;

impl<V: Value> Codec<V> for Bincode {
    fn id(&self) -> u8 {
        BuiltIn::Bincode.to_byte()
    }

    fn encode(&self, value: &V, bytes_max: usize) -> Result<Bytes, Error> {
        BuiltIn::Bincode.encode(value, bytes_max, false)
    }

    fn encoded_len(&self, value: &V, bytes_max: usize) -> Result<usize, Error> {
        BuiltIn::Bincode.encoded_len(value, bytes_max)
    }

    fn decode(&self, bytes: &Bytes) -> Result<V, Error> {
        BuiltIn::Bincode.decode(bytes)
    }
}

/// Hands the bytes to `take`, piece by piece; returns how many there are.
pub(super) fn write<V: Value>(
    value: &V,
    bytes_max: usize,
    take: impl FnMut(&[u8]),
) -> Result<usize, Error> {
    let mut bounded = Bounded::new(bytes_max, take);
    let config = bincode::config::standard();
    let done = by_serde::encode_into_writer(value, &mut bounded, config);
    bounded.end(done, |error| Error::encode::<V>(describe_encode(&error)))
}

pub(super) fn decode<V: Value>(bytes: &[u8]) -> Result<V, Error> {
    let config = bincode::config::standard();
    // IMPORTANT: a text that says that it is long has its room before it is read, up to the limit.
    let read = match bytes.len() <= SMALL_BYTES_MAX {
        true => by_serde::decode_from_slice(bytes, config.with_limit::<SMALL_DECODE_BYTES_MAX>()),
        false => by_serde::decode_from_slice(bytes, config.with_limit::<DECODE_BYTES_MAX>()),
    };
    let (value, read) = read.map_err(|error| Error::decode::<V>(describe_decode(&error)))?;
    if read == bytes.len() {
        Ok(value)
    } else {
        Err(Error::decode::<V>("there are bytes left over"))
    }
}

/// The kind of a failure, without the text of the host, which may hold the value.
fn describe_encode(error: &EncodeError) -> &'static str {
    match error {
        EncodeError::Serde(by_serde::EncodeError::SequenceMustHaveLength) => {
            "bincode needs to know the length of a sequence or map before its items, which flattened \
             fields do not tell; open the cache with codec(MessagePack) or codec(Json), which do not, or leave out \
             #[serde(flatten)], or open it with drivers([\"memory\"]) and a weigher"
        }
        _ => "its Serialize implementation failed",
    }
}

fn describe_decode(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::UnexpectedEnd { .. } => {
            "the bytes end before the value does, as #[serde(skip_serializing_if)] makes them; open the \
             cache with codec(MessagePack) or codec(Json), or leave it out"
        }
        DecodeError::LimitExceeded => "a length in the bytes is beyond the limit",
        DecodeError::Serde(by_serde::DecodeError::AnyNotSupported) => {
            "bincode is not self-describing, as untagged and internally tagged enums and \
             serde_json::Value need; open the cache with codec(MessagePack) or codec(Json), which are, or leave out \
             #[serde(untagged)] and #[serde(tag)], or open it with drivers([\"memory\"])"
        }
        _ => "the bytes do not fit what its Deserialize reads",
    }
}

impl<F: FnMut(&[u8])> Writer for Bounded<F> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        match self.take(bytes) {
            true => Ok(()),
            false => Err(EncodeError::UnexpectedEnd),
        }
    }
}
