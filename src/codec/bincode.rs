//! bincode 2.0.1: the default codec, pinned (the release after it is no library any more).

use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use bincode::serde as by_serde;
use bytes::Bytes;

use super::Value;
use super::measure::measure;
use crate::error::Error;

/// A decoder that is told by damaged bytes to allocate more than this gives up.
const DECODE_BYTES_MAX: usize = 1 << 30;

pub(super) fn encode<V: Value>(value: &V, bytes_max: usize) -> Result<Bytes, Error> {
    // Growing it byte by byte costs more than measuring it first.
    let length = measure(value, bytes_max).unwrap_or(0);
    let mut out = Vec::with_capacity(length);
    write(value, bytes_max, |bytes| out.extend_from_slice(bytes))?;
    // Of a value that is not the same twice.
    out.shrink_to(2 * out.len());
    Ok(out.into())
}

/// The length a value has when it is written, to nowhere.
pub(super) fn written_len<V: Value>(value: &V, bytes_max: usize) -> Result<usize, Error> {
    write(value, bytes_max, |_| ())
}

pub(super) fn decode<V: Value>(bytes: &[u8]) -> Result<V, Error> {
    let config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();
    let (value, read) = by_serde::decode_from_slice(bytes, config)
        .map_err(|error| Error::decode::<V>(describe_decode(&error).into()))?;
    if read == bytes.len() {
        Ok(value)
    } else {
        Err(Error::decode::<V>("there are bytes left over".into()))
    }
}

/// Hands the bytes to `take`, piece by piece; returns how many there are.
fn write<V: Value>(value: &V, bytes_max: usize, take: impl FnMut(&[u8])) -> Result<usize, Error> {
    let mut bounded = Bounded {
        take,
        written: 0,
        bytes_max,
    };
    let config = bincode::config::standard();
    let result = by_serde::encode_into_writer(value, &mut bounded, config);
    if bounded.written > bytes_max {
        return Err(Error::TooLarge {
            what: "value",
            size: bounded.written,
            limit_name: "value_bytes_max",
            limit: bytes_max,
        });
    }
    result.map_err(|error| Error::encode::<V>(describe_encode(&error).into()))?;
    Ok(bounded.written)
}

/// The kind of a failure, without the text of the host, which may hold the value.
fn describe_encode(error: &EncodeError) -> &'static str {
    match error {
        EncodeError::Serde(by_serde::EncodeError::SequenceMustHaveLength) => {
            "bincode needs to know the length of a sequence or map before its items, which flattened \
             fields do not tell; leave out #[serde(flatten)], keep the value as a String of JSON, or open the cache \
             with drivers([\"memory\"]) and a weigher"
        }
        _ => "its Serialize implementation failed",
    }
}

fn describe_decode(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::UnexpectedEnd { .. } => {
            "the bytes end before the value does, as #[serde(skip_serializing_if)] makes them; leave it out"
        }
        DecodeError::LimitExceeded => "a length in the bytes is beyond the limit",
        DecodeError::Serde(by_serde::DecodeError::AnyNotSupported) => {
            "bincode is not self-describing, as untagged and internally tagged enums and \
             serde_json::Value need; leave out #[serde(untagged)] and #[serde(tag)], keep the value as \
             a String of JSON, or open the cache with drivers([\"memory\"])"
        }
        _ => "the bytes do not fit what its Deserialize reads",
    }
}

/// Stops writing, and so allocating, past its limit.
struct Bounded<F> {
    take: F,
    written: usize,
    bytes_max: usize,
}

impl<F: FnMut(&[u8])> Writer for Bounded<F> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.written += bytes.len();
        if self.written > self.bytes_max {
            return Err(EncodeError::UnexpectedEnd);
        }
        (self.take)(bytes);
        Ok(())
    }
}
