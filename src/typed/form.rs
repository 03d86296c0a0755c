//! The form of a cache's values: which codec writes them, what is done to their bytes, what it can read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use super::{Mismatch, erase};
use crate::clock::Millis;
use crate::codec::{BuiltIn, Coder, Compression, Packed, Value, is_known, type_tag, unpack};
use crate::entry::{Entry, Source};
use crate::error::Error;
use crate::shelf::{Body, Encoded, Freshness, Kind, Slot};

/// A value that was stored under a lower schema number, as [`CacheBuilder::migrate`](crate::CacheBuilder::migrate)
/// is given it. `Debug` shows no bytes.
#[non_exhaustive]
pub struct OldRecord<'a> {
    /// The schema number that it was stored with, lower than the cache's.
    pub schema: u32,
    /// The number of the codec that wrote it.
    pub codec: u8,
    /// What the codec wrote, decompressed.
    pub bytes: &'a Bytes,
}

impl OldRecord<'_> {
    /// The value as the type that it had, read by the codec that wrote it, if that is one of larder's.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if it is none of that type, or was written by a codec of the host's own.
    pub fn decode<T: Value>(&self) -> Result<T, Error> {
        let codec = BuiltIn::from_byte(self.codec);
        let codec = codec.ok_or_else(|| Error::decode::<T>("its codec is not one of larder's"))?;
        codec.decode(self.bytes)
    }
}

impl std::fmt::Debug for OldRecord<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OldRecord")
            .field("schema", &self.schema)
            .field("codec", &self.codec)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// Makes a value of one that was stored under a lower schema number.
pub type Migrate<V> = Arc<dyn Fn(OldRecord<'_>) -> Result<V, Error> + Send + Sync>;

/// How values of a cache are written and read.
pub struct Form<V> {
    /// The cache's schema number.
    pub schema: u32,
    /// Values of lower ones are read, too.
    pub(crate) migrate: Option<Migrate<V>>,
    pub(crate) coder: Coder<V>,
    pub(crate) compression: Compression,
    /// Shorter values are not compressed.
    pub(crate) compress_bytes_min: usize,
    /// Longer values are neither written nor decompressed.
    pub(crate) bytes_max: usize,
    /// Plain bytes lie in buffers that are overwritten when they are let go.
    pub(crate) is_secret: bool,
    /// Memory keeps values decoded, once somebody has decoded them.
    pub(crate) keeps_decoded: bool,
    /// Watchers are shown values.
    pub(crate) shows_values: bool,
    pub(crate) packed: Arc<Packed>,
}

impl<V: Value> Form<V> {
    /// That of a cache that says nothing but its schema number.
    pub fn of_schema(schema: u32) -> Self {
        Self {
            schema,
            migrate: None,
            coder: Coder::BuiltIn(BuiltIn::Bincode),
            compression: Compression::None,
            compress_bytes_min: 0,
            bytes_max: u32::MAX as usize,
            is_secret: false,
            keeps_decoded: true,
            shows_values: true,
            packed: Arc::default(),
        }
    }

    /// What a host with this form can read.
    pub fn kind(&self) -> Kind {
        Kind {
            schema: self.schema,
            host_codec: self.coder.host_id(),
            fits: |body, host_codec| match body {
                Body::Decoded(any) => any.is::<V>(),
                Body::Encoded(encoded) => {
                    let codec = encoded.codec;
                    let is_host = codec == host_codec && host_codec != 0;
                    encoded.type_tag == type_tag::<V>()
                        && (is_host || BuiltIn::from_byte(codec).is_some())
                        && is_known(encoded.flags)
                }
            },
            migrates: self.migrate.is_some().then_some(|body| match body {
                Body::Decoded(any) => any.is::<V>(),
                Body::Encoded(encoded) => is_known(encoded.flags),
            }),
        }
    }

    /// The value of a slot, decoded or migrated if it must be.
    pub fn value(&self, slot: &Slot) -> Result<Arc<V>, Mismatch> {
        if slot.schema != self.schema {
            return self.migrated(slot);
        }
        match &slot.body {
            Body::Decoded(any) => Arc::clone(any).downcast().map_err(|_| Mismatch::Other),
            Body::Encoded(encoded) => {
                if encoded.type_tag != type_tag::<V>() {
                    return Err(Mismatch::Other);
                }
                let plain = self.plain_of(encoded)?;
                let value = self.coder.decode(encoded.codec, &plain);
                let value = value.ok_or(Mismatch::Other)?;
                value.map(Arc::new).map_err(Mismatch::Broken)
            }
        }
    }

    fn migrated(&self, slot: &Slot) -> Result<Arc<V>, Mismatch> {
        let migrate = self.migrate.as_ref().ok_or(Mismatch::Other)?;
        if slot.schema > self.schema {
            return Err(Mismatch::Other);
        }
        let (codec, plain) = match &slot.body {
            Body::Encoded(encoded) => (encoded.codec, self.plain_of(encoded)?),
            // Of this type already, and yet of another meaning.
            Body::Decoded(any) => {
                let value = any.downcast_ref::<V>().ok_or(Mismatch::Other)?;
                let plain = self.plain(value).map_err(Mismatch::Broken)?;
                (self.coder.id(), plain)
            }
        };
        let old = OldRecord {
            schema: slot.schema,
            codec,
            bytes: &plain,
        };
        // The panic's own text is left out: it may hold the value.
        let value = catch_unwind(AssertUnwindSafe(|| migrate(old)));
        let value = value.unwrap_or_else(|_| Err(Error::decode::<V>("its migration panicked")));
        value.map(Arc::new).map_err(Mismatch::Broken)
    }

    fn plain_of(&self, encoded: &Encoded) -> Result<Bytes, Mismatch> {
        if !is_known(encoded.flags) {
            return Err(Mismatch::Other);
        }
        let is_secret = self.is_secret || encoded.is_secret;
        let plain = unpack(encoded.flags, &encoded.payload, self.bytes_max, is_secret);
        plain.map_err(|reason| Mismatch::Broken(Error::decode::<V>(reason)))
    }

    /// The entry that a slot is.
    pub fn entry(
        &self,
        slot: &Slot,
        freshness: Freshness,
        source: Source,
        read_ms: Millis,
    ) -> Result<Entry<V>, Mismatch> {
        let value = self.value(slot)?;
        Ok(Entry::new(value, slot.look(), freshness, source, read_ms))
    }

    /// A value as its codec writes it.
    pub fn plain(&self, value: &V) -> Result<Bytes, Error> {
        self.coder.encode(value, self.bytes_max, self.is_secret)
    }

    /// What a codec has written, as memory alone needs it.
    pub fn unpacked(&self, plain: Bytes) -> Arc<Encoded> {
        self.encoded(0, plain)
    }

    /// What a codec has written, as a store gets it: compressed where that is worth it.
    pub fn packed(&self, plain: Bytes) -> Arc<Encoded> {
        if self.compression == Compression::None || plain.len() < self.compress_bytes_min {
            return self.encoded(0, plain);
        }
        let packed = self.compression.pack(&plain, self.is_secret);
        let after = packed.as_ref().map(|(_, payload)| payload.len());
        self.packed.count(plain.len(), after);
        let (flags, payload) = packed.unwrap_or((0, plain));
        self.encoded(flags, payload)
    }

    fn encoded(&self, flags: u8, payload: Bytes) -> Arc<Encoded> {
        Arc::new(Encoded {
            codec: self.coder.id(),
            type_tag: type_tag::<V>(),
            flags,
            is_secret: self.is_secret,
            payload,
        })
    }

    /// The bytes of a slot for a store: those that it has, or those of a value that it holds decoded. With
    /// them go the slot's own schema number.
    pub fn bytes(&self, slot: &Slot) -> Result<Arc<Encoded>, Error> {
        match &slot.body {
            Body::Encoded(encoded) if self.is_secret && !encoded.is_secret => {
                Ok(Arc::new(Encoded {
                    is_secret: true,
                    ..Encoded::clone(encoded)
                }))
            }
            Body::Encoded(encoded) => Ok(Arc::clone(encoded)),
            Body::Decoded(any) => {
                let value = any.downcast_ref::<V>();
                let other = || Error::decode::<V>("the entry is of another type");
                Ok(self.packed(self.plain(value.ok_or_else(other)?)?))
            }
        }
    }

    /// A value erased, as memory keeps it once it was decoded, with the schema number that it has then;
    /// nothing if it does not keep it so.
    pub fn body(&self, value: &Arc<V>) -> Option<(u32, Body)> {
        let body = || (self.schema, erase(Arc::clone(value)));
        self.keeps_decoded.then(body)
    }

    /// A value as memory keeps it when it is set.
    pub fn kept(&self, value: Arc<V>, encoded: Option<&Arc<Encoded>>) -> Body {
        match encoded.filter(|_| !self.keeps_decoded) {
            Some(encoded) => Body::Encoded(Arc::clone(encoded)),
            None => erase(value),
        }
    }
}
