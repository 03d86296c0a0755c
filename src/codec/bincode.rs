//! bincode 2.0.1: the default codec, pinned (the release after it is no library any more).

use std::io::{self, Write};

use bytes::Bytes;

use super::Value;
use crate::error::Error;

/// A decoder that is told by damaged bytes to allocate more than this gives up.
const DECODE_BYTES_MAX: usize = 1 << 30;

pub(super) fn encode<V: Value>(value: &V, bytes_max: usize) -> Result<Bytes, Error> {
    let mut out = Vec::new();
    write(value, &mut out, bytes_max)?;
    Ok(out.into())
}

pub(super) fn encoded_len<V: Value>(value: &V, bytes_max: usize) -> Result<usize, Error> {
    write(value, &mut io::sink(), bytes_max)
}

pub(super) fn decode<V: Value>(bytes: &[u8]) -> Result<V, Error> {
    let config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();
    let (value, read) = bincode::serde::decode_from_slice(bytes, config)
        .map_err(|error| Error::decode::<V>(describe_decode(&error).into()))?;
    if read == bytes.len() {
        Ok(value)
    } else {
        Err(Error::decode::<V>("there are bytes left over".into()))
    }
}

fn write<V: Value>(value: &V, out: &mut impl Write, bytes_max: usize) -> Result<usize, Error> {
    let mut bounded = Bounded {
        out,
        written: 0,
        bytes_max,
    };
    let config = bincode::config::standard();
    let result = bincode::serde::encode_into_std_write(value, &mut bounded, config);
    if bounded.written > bytes_max {
        return Err(Error::TooLarge {
            what: "value",
            size: bounded.written,
            limit_name: "value_bytes_max",
            limit: bytes_max,
        });
    }
    result.map_err(|error| Error::encode::<V>(describe_encode(&error).into()))
}

/// The kind of a failure, without the text of the host, which may hold the value.
fn describe_encode(error: &bincode::error::EncodeError) -> &'static str {
    use bincode::error::EncodeError;
    match error {
        EncodeError::Serde(bincode::serde::EncodeError::SequenceMustHaveLength) => {
            "bincode needs to know the length of a sequence or map before its items"
        }
        _ => "its Serialize implementation failed",
    }
}

fn describe_decode(error: &bincode::error::DecodeError) -> &'static str {
    use bincode::error::DecodeError;
    match error {
        DecodeError::UnexpectedEnd { .. } => "the bytes end too early",
        DecodeError::LimitExceeded => "a length in the bytes is beyond the limit",
        DecodeError::Serde(bincode::serde::DecodeError::AnyNotSupported) => {
            "bincode is not self-describing, as flattened fields and untagged enums need"
        }
        _ => "the bytes do not fit the type",
    }
}

/// Stops writing, and so allocating, past its limit.
struct Bounded<'a, W> {
    out: &'a mut W,
    written: usize,
    bytes_max: usize,
}

impl<W: Write> Write for Bounded<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len();
        if self.written > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
