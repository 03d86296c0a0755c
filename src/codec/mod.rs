//! How values become bytes and back.
//!
//! A record names its codec, so that a cache may change to another and still read what it has. Encoding
//! and decoding run on the caller's thread, never under a lock; a host's `Serialize` that fails or panics
//! fails that one call.
//!
//! | codec | number | for |
//! |---|---|---|
//! | [`Bincode`] | 1 | the default: the smallest and the fastest, not self-describing |
//! | `MessagePack` (feature `codecs`) | 2 | self-describing and small: fields can be added, any serde attribute works |
//! | `Json` (feature `codecs`) | 3 | self-describing and readable by others |
//! | [`Raw`] | 4 | [`bytes::Bytes`] as they are, without a copy |
//! | a host's own [`Codec`] | 128 to 255 | whatever it is |

mod bincode;
mod bounded;
mod coder;
mod compression;
#[cfg(feature = "codecs")]
mod json;
mod measure;
#[cfg(feature = "codecs")]
mod messagepack;
mod proof;
mod raw;
#[cfg(feature = "compression")]
mod zstd;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

pub use bincode::Bincode;
pub(crate) use coder::{BuiltIn, Coder};
pub use compression::{COMPRESS_BYTES_MIN, Compression};
pub(crate) use compression::{Packed, is_known, unpack};
#[cfg(feature = "codecs")]
pub use json::Json;
#[cfg(feature = "codecs")]
pub use messagepack::MessagePack;
pub(crate) use proof::Proof;
pub use raw::Raw;

/// The least number that a host's own codec can have.
pub const HOST_ID_MIN: u8 = 128;

/// What a cache can hold: anything serde can write and read back that threads may share.
///
/// With a driver below it must survive the cache's codec. The default, [`Bincode`], is not self-describing:
/// no untagged or internally tagged enums, no `serde_json::Value`, no flattened fields, no
/// `skip_serializing_if`. `MessagePack` and `Json` take all of these:
/// [`CacheBuilder::codec`](crate::CacheBuilder::codec). A cache's first set reads back what it wrote and
/// answers [`Error::Encode`] if it cannot.
///
/// `Serialize` must write the same each time: a value is measured before it is written.
#[diagnostic::on_unimplemented(
    message = "a cache cannot hold `{Self}`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, without borrowed fields, and let it be `Send + Sync + 'static`"
)]
pub trait Value: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Value for V {}

/// A way to write values of one type and to read them back.
///
/// ```
/// use bytes::Bytes;
/// use larder::{Codec, Error};
///
/// /// A number as text.
/// struct Decimal;
///
/// impl Codec<u64> for Decimal {
///     fn id(&self) -> u8 {
///         200
///     }
///
///     fn encode(&self, value: &u64, bytes_max: usize) -> Result<Bytes, Error> {
///         let text = value.to_string();
///         if text.len() > bytes_max {
///             return Err(Error::encode::<u64>("it is too long"));
///         }
///         Ok(text.into())
///     }
///
///     fn decode(&self, bytes: &Bytes) -> Result<u64, Error> {
///         let text = std::str::from_utf8(bytes).ok();
///         let value = text.and_then(|text| text.parse().ok());
///         value.ok_or_else(|| Error::decode::<u64>("it is no number"))
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Error> {
/// # let larder = larder::Larder::builder().start().await?;
/// let numbers = larder.cache_builder("numbers").codec(Decimal).open()?;
/// numbers.set("k", 7).await?;
/// assert_eq!(numbers.get("k").await?.as_deref(), Some(&7));
/// # larder.shutdown(std::time::Duration::from_secs(5)).await }
/// ```
///
/// A codec never answers with a value's bytes in an error. One that panics fails that one call.
pub trait Codec<V>: Send + Sync + 'static {
    /// The number that its records carry, always the same: [`HOST_ID_MIN`] to 255 for a host's own.
    fn id(&self) -> u8;

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] or [`Error::Encode`] past `bytes_max`, without having allocated more;
    /// [`Error::Encode`] if the value cannot be written.
    fn encode(&self, value: &V, bytes_max: usize) -> Result<Bytes, Error>;

    /// The length in bytes a value would have when written: what it weighs in memory. By default it is
    /// written for that.
    ///
    /// # Errors
    ///
    /// As [`encode`](Codec::encode).
    fn encoded_len(&self, value: &V, bytes_max: usize) -> Result<usize, Error> {
        self.encode(value, bytes_max).map(|bytes| bytes.len())
    }

    /// Reads a value. All bytes must belong to it, and they may be anything: no length in them is to be
    /// believed before it has been checked.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if they are no such value.
    fn decode(&self, bytes: &Bytes) -> Result<V, Error>;
}

/// Runs a host's code so that its panic is an error of this call.
fn guarded<R>(
    error: impl Fn(&'static str) -> Error,
    run: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    // The panic's own text is left out: it may hold the value.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(panicked(error)))
}

#[cold]
fn panicked(error: impl Fn(&'static str) -> Error) -> Error {
    error("it panicked")
}

impl Error {
    /// That a value of type `V` cannot be written, for a codec of a host's own. `reason` says of what
    /// kind the failure is, and holds nothing of the value.
    pub fn encode<V>(reason: impl Into<Arc<str>>) -> Self {
        Self::Encode {
            type_name: std::any::type_name::<V>(),
            reason: reason.into(),
        }
    }

    /// That bytes are no value of type `V`, for a codec or a migration of a host's own. `reason` says of
    /// what kind the failure is, and holds nothing of the bytes.
    pub fn decode<V>(reason: impl Into<Arc<str>>) -> Self {
        Self::Decode {
            type_name: std::any::type_name::<V>(),
            reason: reason.into(),
        }
    }

    /// That a value is longer than it may be.
    fn value_too_large(size: usize, limit: usize) -> Self {
        Self::TooLarge {
            what: "value",
            size,
            limit_name: "value_bytes_max",
            limit,
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
mod tests;
