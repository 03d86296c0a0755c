//! Bytes as they are.

use std::any::Any;

use bytes::Bytes;

use super::Codec;
use super::coder::BuiltIn;
use crate::error::Error;

/// [`Bytes`] as they are, number 4: stored and read without a copy. What is read shares the memory of the
/// record that it was in, and keeps it for as long as it lives. Of a cache with this codec nothing is compressed
/// unless [`compression`](crate::CacheBuilder::compression) is asked for: that makes a copy.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// # let larder = larder::Larder::builder().start().await?;
/// use bytes::Bytes;
/// use larder::codec::Raw;
///
/// let pictures = larder.cache_builder::<Bytes>("pictures").codec(Raw).open()?;
/// let picture = Bytes::from(vec![7; 10_000]);
/// pictures.set("cat", picture.clone()).await?;
/// let found = pictures.get("cat").await?.expect("just set");
/// assert_eq!(found.as_ptr(), picture.as_ptr(), "the same memory");
/// # larder.shutdown(std::time::Duration::from_secs(5)).await }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn id(&self) -> u8 {
        BuiltIn::Raw.to_byte()
    }

    fn encode(&self, value: &Bytes, bytes_max: usize) -> Result<Bytes, Error> {
        BuiltIn::Raw.encode(value, bytes_max, false)
    }

    fn encoded_len(&self, value: &Bytes, bytes_max: usize) -> Result<usize, Error> {
        BuiltIn::Raw.encoded_len(value, bytes_max)
    }

    fn decode(&self, bytes: &Bytes) -> Result<Bytes, Error> {
        BuiltIn::Raw.decode(bytes)
    }
}

/// The value's bytes, of a type that is nothing else.
pub(super) fn of<V: 'static>(value: &V) -> Result<&Bytes, Error> {
    let any: &dyn Any = value;
    any.downcast_ref()
        .ok_or_else(|| Error::encode::<V>("it is not bytes::Bytes, which is all that Raw writes"))
}

/// The value that bytes are, of a type that is nothing else.
pub(super) fn value<V: 'static>(bytes: &Bytes) -> Result<V, Error> {
    let mut slot = Some(bytes.clone());
    let any: &mut dyn Any = &mut slot;
    let value = any.downcast_mut::<Option<V>>().and_then(Option::take);
    value.ok_or_else(|| Error::decode::<V>("it is not bytes::Bytes, which is all that Raw reads"))
}
