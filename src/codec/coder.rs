//! Which codec a cache writes with, and which one reads a record.
//!
//! The built-in ones are told apart by a number and called without an indirection: a set to memory alone
//! measures its value, and no more.

use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroize;

use super::bounded::{collected, collected_secretly};
use super::measure::measure;
use super::{Bincode, Codec, HOST_ID_MIN, Raw, Value, bincode, guarded, panicked, raw};
#[cfg(feature = "codecs")]
use super::{Json, MessagePack, json, messagepack};
use crate::error::Error;

/// A codec that comes with larder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BuiltIn {
    Bincode,
    #[cfg(feature = "codecs")]
    MessagePack,
    #[cfg(feature = "codecs")]
    Json,
    Raw,
}

impl BuiltIn {
    /// As it is stored.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Bincode => 1,
            #[cfg(feature = "codecs")]
            Self::MessagePack => 2,
            #[cfg(feature = "codecs")]
            Self::Json => 3,
            Self::Raw => 4,
        }
    }

    /// From a stored byte; `None` for a codec that this build does not know.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Bincode),
            #[cfg(feature = "codecs")]
            2 => Some(Self::MessagePack),
            #[cfg(feature = "codecs")]
            3 => Some(Self::Json),
            4 => Some(Self::Raw),
            _ => None,
        }
    }

    /// The one of this type, if it is one.
    fn of<C: 'static>() -> Option<Self> {
        let is = TypeId::of::<C>();
        match is {
            _ if is == TypeId::of::<Bincode>() => Some(Self::Bincode),
            #[cfg(feature = "codecs")]
            _ if is == TypeId::of::<MessagePack>() => Some(Self::MessagePack),
            #[cfg(feature = "codecs")]
            _ if is == TypeId::of::<Json>() => Some(Self::Json),
            _ if is == TypeId::of::<Raw>() => Some(Self::Raw),
            _ => None,
        }
    }

    /// Whether it can write values of this type.
    fn suits<V: Value>(self) -> bool {
        self != Self::Raw || TypeId::of::<V>() == TypeId::of::<Bytes>()
    }

    /// Writes a value, of a secret in one buffer that is overwritten when it is let go.
    pub fn encode<V: Value>(
        self,
        value: &V,
        bytes_max: usize,
        is_secret: bool,
    ) -> Result<Bytes, Error> {
        if self == Self::Raw {
            let bytes = raw::of(value)?;
            return match bytes.len() > bytes_max {
                true => Err(Error::value_too_large(bytes.len(), bytes_max)),
                false => Ok(bytes.clone()),
            };
        }
        let bytes = guarded(Error::encode::<V>, || {
            if !is_secret {
                let length = match self {
                    // Growing it byte by byte costs more than measuring it first.
                    Self::Bincode => measure(value, bytes_max).unwrap_or(0),
                    _ => 0,
                };
                return collected(length, |take| self.write(value, bytes_max, take));
            }
            let length = self.write(value, bytes_max, |_| ())?;
            let written = collected_secretly(length, |take| self.write(value, bytes_max, take))?;
            written.ok_or_else(|| Error::encode::<V>("its Serialize does not write the same twice"))
        })?;
        #[cfg(feature = "codecs")]
        if self == Self::MessagePack {
            messagepack::check_written::<V>(&bytes)?;
        }
        Ok(bytes)
    }

    /// The length that a value would have when written.
    #[inline]
    pub fn encoded_len<V: Value>(self, value: &V, bytes_max: usize) -> Result<usize, Error> {
        let measured = match self {
            Self::Bincode => catch_unwind(AssertUnwindSafe(|| measure(value, bytes_max))),
            _ => Ok(None),
        };
        match measured {
            Ok(Some(length)) => Ok(length),
            // It is written, to nowhere, which says what is wrong with it.
            Ok(None) => self.written_len(value, bytes_max),
            Err(_) => Err(panicked(Error::encode::<V>)),
        }
    }

    fn written_len<V: Value>(self, value: &V, bytes_max: usize) -> Result<usize, Error> {
        match self {
            Self::Raw => self
                .encode(value, bytes_max, false)
                .map(|bytes| bytes.len()),
            _ => guarded(Error::encode::<V>, || self.write(value, bytes_max, |_| ())),
        }
    }

    /// Reads a value. All bytes must belong to it.
    pub fn decode<V: Value>(self, bytes: &Bytes) -> Result<V, Error> {
        guarded(Error::decode::<V>, || match self {
            Self::Bincode => bincode::decode(bytes),
            #[cfg(feature = "codecs")]
            Self::MessagePack => messagepack::decode(bytes),
            #[cfg(feature = "codecs")]
            Self::Json => json::decode(bytes),
            Self::Raw => raw::value(bytes),
        })
    }

    /// Hands the bytes of a value to `take`, piece by piece; returns how many there are.
    fn write<V: Value>(
        self,
        value: &V,
        bytes_max: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        match self {
            Self::Bincode => bincode::write(value, bytes_max, take),
            #[cfg(feature = "codecs")]
            Self::MessagePack => messagepack::write(value, bytes_max, take),
            #[cfg(feature = "codecs")]
            Self::Json => json::write(value, bytes_max, take),
            Self::Raw => {
                let bytes = raw::of(value)?;
                take(bytes);
                Ok(bytes.len())
            }
        }
    }
}

/// What a cache writes with, and what it can read.
pub(crate) enum Coder<V> {
    BuiltIn(BuiltIn),
    /// A host's own, with its number.
    Custom(u8, Arc<dyn Codec<V>>),
}

impl<V> Clone for Coder<V> {
    fn clone(&self) -> Self {
        match self {
            Self::BuiltIn(built_in) => Self::BuiltIn(*built_in),
            Self::Custom(id, codec) => Self::Custom(*id, Arc::clone(codec)),
        }
    }
}

impl<V: Value> Coder<V> {
    /// Of what a host gave.
    pub fn new<C: Codec<V>>(codec: C) -> Self {
        match BuiltIn::of::<C>() {
            Some(built_in) => Self::BuiltIn(built_in),
            None => Self::Custom(codec.id(), Arc::new(codec)),
        }
    }

    /// Of a cache that was opened with values of another type: what it writes with, if that can be.
    pub fn beside(built_in: Option<BuiltIn>) -> Self {
        let suits = built_in.filter(|built_in| built_in.suits::<V>());
        Self::BuiltIn(suits.unwrap_or(BuiltIn::Bincode))
    }

    /// What is wrong with its number.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Custom(id, _) if *id < HOST_ID_MIN => Some(format!(
                "codec has the number {id}, a host's own has {HOST_ID_MIN} to {}",
                u8::MAX
            )),
            _ => None,
        }
    }

    /// The built-in one that it writes with, if it does.
    pub fn built_in(&self) -> Option<BuiltIn> {
        match self {
            Self::BuiltIn(built_in) => Some(*built_in),
            Self::Custom(..) => None,
        }
    }

    /// The number of a host's own that it reads; 0 for none.
    pub fn host_id(&self) -> u8 {
        match self {
            Self::BuiltIn(_) => 0,
            Self::Custom(id, _) => *id,
        }
    }

    /// The number that its records carry.
    pub fn id(&self) -> u8 {
        match self {
            Self::BuiltIn(built_in) => built_in.to_byte(),
            Self::Custom(id, _) => *id,
        }
    }

    /// Writes a value, of a secret in one buffer that is overwritten when it is let go.
    pub fn encode(&self, value: &V, bytes_max: usize, is_secret: bool) -> Result<Bytes, Error> {
        let codec = match self {
            Self::BuiltIn(built_in) => return built_in.encode(value, bytes_max, is_secret),
            Self::Custom(_, codec) => codec,
        };
        let bytes = guarded(Error::encode::<V>, || codec.encode(value, bytes_max))?;
        let length = bytes.len();
        let encoded = match is_secret && length <= bytes_max {
            true => secretly(bytes)?,
            false => bytes,
        };
        if length > bytes_max {
            return Err(Error::value_too_large(length, bytes_max));
        }
        Ok(encoded)
    }

    /// The length that a value would have when written.
    #[inline]
    pub fn encoded_len(&self, value: &V, bytes_max: usize) -> Result<usize, Error> {
        match self {
            Self::BuiltIn(built_in) => built_in.encoded_len(value, bytes_max),
            Self::Custom(_, codec) => {
                let run = || codec.encoded_len(value, bytes_max);
                let length = guarded(Error::encode::<V>, run)?;
                match length > bytes_max {
                    true => Err(Error::value_too_large(length, bytes_max)),
                    false => Ok(length),
                }
            }
        }
    }

    /// Reads a value that the codec of this number wrote; `None` if it is not known.
    pub fn decode(&self, id: u8, bytes: &Bytes) -> Option<Result<V, Error>> {
        match self {
            Self::Custom(own, codec) if *own == id => {
                Some(guarded(Error::decode::<V>, || codec.decode(bytes)))
            }
            _ => BuiltIn::from_byte(id).map(|built_in| built_in.decode(bytes)),
        }
    }
}

/// Moves what a host's codec has written into a buffer that is overwritten when it is let go.
fn secretly(bytes: Bytes) -> Result<Bytes, Error> {
    let moved = collected_secretly(bytes.len(), |take| {
        take(&bytes);
        Ok(bytes.len())
    })?;
    // Where nobody else has it.
    if let Ok(mut host) = bytes.try_into_mut() {
        host.zeroize();
    }
    Ok(moved.unwrap_or_default())
}
