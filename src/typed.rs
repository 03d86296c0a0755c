//! From slots to a host's types and back: the one place where erased values are cast.

use std::any::Any;
use std::sync::Arc;

use crate::clock::Millis;
use crate::codec::{self, Codec, Value};
use crate::entry::{Entry, Source};
use crate::error::Error;
use crate::shelf::{Body, Encoded, Freshness, Kind, Shared, Slot};

/// Why a slot is not a value of this type.
#[derive(Debug)]
pub enum Mismatch {
    /// It was written with another schema number, as another type, or by an unknown codec: a miss.
    Other,
    /// It says that it is of this type, and its bytes are not.
    Broken(Error),
}

/// The value of a slot, decoded if it must be.
pub fn value<V: Value>(slot: &Slot, schema: u32) -> Result<Arc<V>, Mismatch> {
    if slot.schema != schema {
        return Err(Mismatch::Other);
    }
    match &slot.body {
        Body::Decoded(any) => Arc::clone(any).downcast().map_err(|_| Mismatch::Other),
        Body::Encoded(encoded) => {
            if encoded.type_tag != codec::type_tag::<V>() {
                return Err(Mismatch::Other);
            }
            let codec = Codec::from_byte(encoded.codec).ok_or(Mismatch::Other)?;
            let value = codec.decode(&encoded.payload).map_err(Mismatch::Broken)?;
            Ok(Arc::new(value))
        }
    }
}

/// What a host that expects `V` in this schema can read.
pub fn kind<V: Value>(schema: u32) -> Kind {
    Kind {
        schema,
        fits: |body| match body {
            Body::Decoded(any) => any.is::<V>(),
            Body::Encoded(encoded) => {
                encoded.type_tag == codec::type_tag::<V>()
                    && Codec::from_byte(encoded.codec).is_some()
            }
        },
    }
}

/// The entry that a slot is to a host that expects `V`.
pub fn entry<V: Value>(
    slot: &Slot,
    schema: u32,
    freshness: Freshness,
    source: Source,
    read_ms: Millis,
) -> Result<Entry<V>, Mismatch> {
    let value = value(slot, schema)?;
    Ok(Entry::new(value, slot.look(), freshness, source, read_ms))
}

/// A value erased, as the shelf keeps it.
pub fn erase<V: Value>(value: Arc<V>) -> Body {
    let any: Arc<dyn Any + Send + Sync> = value;
    Body::Decoded(any as Shared)
}

/// A value's bytes with what is needed to read them.
pub fn encode<V: Value>(value: &V, codec: Codec, bytes_max: usize) -> Result<Arc<Encoded>, Error> {
    Ok(Arc::new(Encoded {
        codec: codec.to_byte(),
        type_tag: codec::type_tag::<V>(),
        payload: codec.encode(value, bytes_max)?,
    }))
}

/// The bytes of a slot: those that it has, or those of a `V` that it holds decoded.
pub fn bytes<V: Value>(slot: &Slot, codec: Codec, bytes_max: usize) -> Option<Arc<Encoded>> {
    match &slot.body {
        Body::Encoded(encoded) => Some(Arc::clone(encoded)),
        Body::Decoded(any) => encode(any.downcast_ref::<V>()?, codec, bytes_max).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;
    use crate::shelf::Priority;
    use crate::version::Version;

    fn slot(body: Body) -> Slot {
        Slot {
            version: Version::at(1),
            created_ms: 0,
            expires_ms: NEVER,
            body,
            extra: None,
            weight: 1,
            schema: 3,
            priority: Priority::Normal,
            announced: false,
        }
    }

    #[test]
    fn a_slot_is_read_back_decoded_or_from_bytes() {
        let decoded = slot(erase(Arc::new("hello".to_owned())));
        assert_eq!(*value::<String>(&decoded, 3).unwrap(), "hello");
        let bytes = encode(&"hello".to_owned(), Codec::Bincode, 100).unwrap();
        let encoded = slot(Body::Encoded(bytes));
        assert_eq!(*value::<String>(&encoded, 3).unwrap(), "hello");
    }

    #[test]
    fn the_bytes_of_a_slot_are_made_if_it_is_of_that_type() {
        let hello = slot(erase(Arc::new("hello".to_owned())));
        let made = bytes::<String>(&hello, Codec::Bincode, 100).unwrap();
        assert_eq!(
            made,
            encode(&"hello".to_owned(), Codec::Bincode, 100).unwrap()
        );
        assert!(bytes::<u64>(&hello, Codec::Bincode, 100).is_none());
        assert!(bytes::<String>(&hello, Codec::Bincode, 2).is_none());
        let stored = slot(Body::Encoded(Arc::clone(&made)));
        assert!(Arc::ptr_eq(
            &bytes::<u64>(&stored, Codec::Bincode, 2).unwrap(),
            &made
        ));
    }

    #[test]
    fn another_type_schema_or_codec_is_no_value() {
        let decoded = slot(erase(Arc::new("hello".to_owned())));
        assert!(matches!(value::<String>(&decoded, 4), Err(Mismatch::Other)));
        assert!(matches!(value::<u64>(&decoded, 3), Err(Mismatch::Other)));
        let bytes = encode(&7u64, Codec::Bincode, 100).unwrap();
        let encoded = slot(Body::Encoded(Arc::clone(&bytes)));
        assert!(matches!(value::<String>(&encoded, 3), Err(Mismatch::Other)));
        let alien = Encoded {
            codec: 200,
            ..(*bytes).clone()
        };
        let alien = slot(Body::Encoded(Arc::new(alien)));
        let kinds = (kind::<u64>(3), kind::<u64>(4), kind::<String>(3));
        assert!(kinds.0.reads(encoded.look()) && kinds.2.reads(decoded.look()));
        assert!(!kinds.1.reads(encoded.look()) && !kinds.2.reads(encoded.look()));
        assert!(!kinds.0.reads(alien.look()) && !kinds.0.reads(decoded.look()));
        assert!(matches!(value::<u64>(&alien, 3), Err(Mismatch::Other)));
    }

    #[test]
    fn bytes_that_are_not_what_they_say_are_broken() {
        let bytes = encode(&"hello".to_owned(), Codec::Bincode, 100).unwrap();
        let broken = Encoded {
            payload: bytes.payload.slice(..2),
            ..(*bytes).clone()
        };
        let broken = slot(Body::Encoded(Arc::new(broken)));
        assert!(matches!(
            value::<String>(&broken, 3),
            Err(Mismatch::Broken(_))
        ));
    }
}
