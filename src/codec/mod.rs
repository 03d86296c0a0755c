//! How values become bytes and back.
//!
//! A record names its codec, so that another can follow without a migration. Encoding and decoding
//! run on the caller's thread, never under a lock; a host's `Serialize` that fails or panics fails
//! that one call.

mod bincode;
mod measure;
mod proof;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

pub(crate) use proof::Proof;

/// What a cache can hold: anything serde can write and read back that threads may share.
///
/// With a driver below it must survive bincode, which is not self-describing: no untagged or internally
/// tagged enums, no `serde_json::Value`, no flattened fields, no `skip_serializing_if`. A cache's first
/// set reads back what it wrote and answers [`Error::Encode`] if it cannot.
///
/// `Serialize` must write the same each time: a value is measured before it is written.
#[diagnostic::on_unimplemented(
    message = "a cache cannot hold `{Self}`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, without borrowed fields, and let it be `Send + Sync + 'static`"
)]
pub trait Value: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Value for V {}

/// A way to write values, by the number that records carry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
#[non_exhaustive]
pub enum Codec {
    /// bincode 2 with its standard configuration: compact, not self-describing.
    #[default]
    Bincode,
}

impl Codec {
    /// As it is stored.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Bincode => 1,
        }
    }

    /// From a stored byte; `None` for a codec that this version does not know.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Bincode),
            _ => None,
        }
    }

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] past `bytes_max`, without having allocated more; [`Error::Encode`] if the
    /// value's `Serialize` fails or panics.
    pub fn encode<V: Value>(self, value: &V, bytes_max: usize) -> Result<Bytes, Error> {
        guarded(Error::encode::<V>, || match self {
            Self::Bincode => bincode::encode(value, bytes_max),
        })
    }

    /// The length a value would have when written, without writing it.
    ///
    /// # Errors
    ///
    /// As [`encode`](Codec::encode).
    #[inline]
    pub fn encoded_len<V: Value>(self, value: &V, bytes_max: usize) -> Result<usize, Error> {
        let measured = match self {
            Self::Bincode => catch_unwind(AssertUnwindSafe(|| measure::measure(value, bytes_max))),
        };
        match measured {
            Ok(Some(length)) => Ok(length),
            // It is written, to nowhere, to say what is wrong with it.
            Ok(None) => guarded(Error::encode::<V>, || match self {
                Self::Bincode => bincode::written_len(value, bytes_max),
            }),
            Err(_) => Err(panicked(Error::encode::<V>)),
        }
    }

    /// Reads a value. All bytes must belong to it.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if they do not, or if the type's `Deserialize` fails or panics.
    pub fn decode<V: Value>(self, bytes: &[u8]) -> Result<V, Error> {
        guarded(Error::decode::<V>, || match self {
            Self::Bincode => bincode::decode(bytes),
        })
    }
}

/// Runs a host's code so that its panic is an error of this call.
fn guarded<R>(
    error: impl Fn(Arc<str>) -> Error,
    run: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    // The panic's own text is left out: it may hold the value.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(panicked(error)))
}

#[cold]
fn panicked(error: impl Fn(Arc<str>) -> Error) -> Error {
    error("it panicked".into())
}

impl Error {
    fn encode<V>(reason: Arc<str>) -> Self {
        Self::Encode {
            type_name: std::any::type_name::<V>(),
            reason,
        }
    }

    fn decode<V>(reason: Arc<str>) -> Self {
        Self::Decode {
            type_name: std::any::type_name::<V>(),
            reason,
        }
    }
}

/// A number for a type that stays the same as long as its full name does (FNV-1a, 64 bits).
pub fn type_tag<V: 'static>() -> u64 {
    let name = std::any::type_name::<V>();
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct User {
        name: String,
        age: Option<u8>,
    }

    #[derive(Debug)]
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("secret")
        }
    }
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("secret")
        }
    }

    #[derive(Debug)]
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    impl<'de> Deserialize<'de> for Fails {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("no"))
        }
    }

    fn ada() -> User {
        User {
            name: "Ada".into(),
            age: Some(36),
        }
    }

    #[test]
    fn a_value_reads_back_as_it_was_written() {
        let codec = Codec::from_byte(Codec::Bincode.to_byte()).unwrap();
        let bytes = codec.encode(&ada(), 1_000).unwrap();
        assert_eq!(codec.encoded_len(&ada(), 1_000).unwrap(), bytes.len());
        assert_eq!(codec.decode::<User>(&bytes).unwrap(), ada());
        assert_eq!(Codec::from_byte(0), None);
    }

    #[test]
    fn a_value_past_the_limit_is_refused_with_the_limit() {
        for refused in [
            Codec::Bincode.encode(&ada(), 3).map(|b| b.len()),
            Codec::Bincode.encoded_len(&ada(), 3),
        ] {
            assert!(matches!(refused, Err(Error::TooLarge { limit: 3, .. })));
        }
    }

    #[test]
    fn bytes_left_over_or_missing_are_an_error() {
        let bytes = Codec::Bincode.encode(&ada(), 1_000).unwrap();
        let mut longer = bytes.to_vec();
        longer.push(0);
        for wrong in [&longer[..], &bytes[..bytes.len() - 1], &[]] {
            let error = Codec::Bincode.decode::<User>(wrong).unwrap_err();
            assert!(matches!(error, Error::Decode { .. }), "{error}");
        }
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let lie = [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(Codec::Bincode.decode::<Vec<u64>>(&lie).is_err());
        assert!(Codec::Bincode.decode::<String>(&lie).is_err());
    }

    #[test]
    fn a_host_that_panics_or_fails_fails_its_own_call_without_its_text() {
        let panicked = Codec::Bincode.encode(&Panics, 10).unwrap_err();
        assert!(matches!(panicked, Error::Encode { .. }));
        assert!(!panicked.to_string().contains("secret"));
        assert!(Codec::Bincode.decode::<Panics>(&[1]).is_err());
        assert!(Codec::Bincode.encode(&Fails, 10).is_err());
        assert!(Codec::Bincode.encoded_len(&Fails, 10).is_err());
        assert!(Codec::Bincode.decode::<Fails>(&[1]).is_err());
    }

    /// A sequence that does not know its length, as of lines that are read one by one.
    #[derive(Debug)]
    struct Lines;
    impl Serialize for Lines {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut lines = serializer.serialize_seq(None)?;
            lines.serialize_element("secret")?;
            lines.end()
        }
    }
    impl<'de> Deserialize<'de> for Lines {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Vec::<String>::deserialize(deserializer).map(|_| Self)
        }
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
        Text(String),
    }

    #[test]
    fn what_bincode_cannot_write_or_read_is_said_in_words_that_help() {
        let error = Codec::Bincode.encode(&Lines, 100).unwrap_err().to_string();
        assert!(error.contains("the length of a sequence"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        for value in [Untagged::Number(7), Untagged::Text("secret".into())] {
            let bytes = Codec::Bincode.encode(&value, 100).unwrap();
            let error = Codec::Bincode.decode::<Untagged>(&bytes).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("not self-describing"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        // An empty one has no length that could be wrong.
        let bytes = Codec::Bincode.encode(&Vec::<String>::new(), 100).unwrap();
        assert!(Codec::Bincode.decode::<Lines>(&bytes).is_ok());
    }

    #[test]
    fn two_types_have_two_tags() {
        assert_ne!(type_tag::<User>(), type_tag::<Panics>());
        assert_eq!(type_tag::<User>(), type_tag::<User>());
    }
}
