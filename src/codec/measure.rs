//! How many bytes the default codec would write, without writing them.
//!
//! A cache without drivers never needs the bytes, only their number, at every set. What cannot be measured
//! here is encoded and counted, and whoever does that has the error to show for it.

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Serializer};

/// The length of a value in bincode's standard configuration; `None` if it is beyond `bytes_max`, or where
/// only encoding it can tell.
pub(super) fn measure<V: Serialize>(value: &V, bytes_max: usize) -> Option<usize> {
    let mut length = Length {
        bytes: 0,
        bytes_max,
    };
    value.serialize(&mut length).ok()?;
    Some(length.bytes)
}

/// Bytes so far, and how many there may be: a value that is far too large is not walked through.
struct Length {
    bytes: usize,
    bytes_max: usize,
}

/// It cannot be measured.
#[derive(Debug)]
struct Unmeasured;

impl fmt::Display for Unmeasured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it cannot be measured")
    }
}

impl std::error::Error for Unmeasured {}

impl ser::Error for Unmeasured {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Done = Result<(), Unmeasured>;

impl Length {
    #[inline]
    fn add(&mut self, bytes: usize) -> Done {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bytes_max {
            return Err(Unmeasured);
        }
        Ok(())
    }

    /// An unsigned number: one byte if it is small, else a mark and as many bytes as it needs.
    #[inline]
    fn number(&mut self, n: u64) -> Done {
        self.add(match n {
            0..=250 => 1,
            251..=0xffff => 3,
            0x1_0000..=0xffff_ffff => 5,
            _ => 9,
        })
    }

    /// A signed number: those near zero are small.
    #[inline]
    fn signed(&mut self, n: i64) -> Done {
        self.number((n as u64) << 1 ^ (n >> 63) as u64)
    }

    /// A text or a list with its length before it.
    fn counted(&mut self, count: Option<usize>) -> Result<&mut Self, Unmeasured> {
        self.number(count.ok_or(Unmeasured)? as u64)?;
        Ok(self)
    }
}

macro_rules! numbers {
    ($($name:ident($kind:ty) => $as:ident;)*) => {
        $(#[inline]
        fn $name(self, n: $kind) -> Done {
            self.$as(n.into())
        })*
    };
}

macro_rules! sized {
    ($($name:ident($kind:ty) => $bytes:literal;)*) => {
        $(#[inline]
        fn $name(self, _: $kind) -> Done {
            self.add($bytes)
        })*
    };
}

impl Serializer for &mut Length {
    type Ok = ();
    type Error = Unmeasured;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers! {
        serialize_u16(u16) => number;
        serialize_u32(u32) => number;
        serialize_u64(u64) => number;
        serialize_i16(i16) => signed;
        serialize_i32(i32) => signed;
        serialize_i64(i64) => signed;
    }

    sized! {
        serialize_bool(bool) => 1;
        serialize_i8(i8) => 1;
        serialize_u8(u8) => 1;
        serialize_f32(f32) => 4;
        serialize_f64(f64) => 8;
    }

    fn serialize_u128(self, n: u128) -> Done {
        match u64::try_from(n) {
            Ok(n) => self.number(n),
            Err(_) => self.add(17),
        }
    }

    fn serialize_i128(self, n: i128) -> Done {
        self.serialize_u128((n as u128) << 1 ^ (n >> 127) as u128)
    }

    fn serialize_char(self, c: char) -> Done {
        self.add(c.len_utf8())
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Done {
        self.serialize_bytes(text.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, bytes: &[u8]) -> Done {
        self.number(bytes.len() as u64)?;
        self.add(bytes.len())
    }

    fn serialize_none(self) -> Done {
        self.add(1)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        self.add(1)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, at: u32, _: &'static str) -> Done {
        self.number(at.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        at: u32,
        _: &'static str,
        value: &T,
    ) -> Done {
        self.number(at.into())?;
        value.serialize(self)
    }

    fn serialize_seq(self, count: Option<usize>) -> Result<Self, Unmeasured> {
        self.counted(count)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Unmeasured> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Unmeasured> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        at: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Unmeasured> {
        self.number(at.into())?;
        Ok(self)
    }

    fn serialize_map(self, count: Option<usize>) -> Result<Self, Unmeasured> {
        self.counted(count)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Unmeasured> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        at: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Unmeasured> {
        self.number(at.into())?;
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! compound {
    ($($kind:ident: $name:ident($($key:ty)?);)*) => {
        $(impl ser::$kind for &mut Length {
            type Ok = ();
            type Error = Unmeasured;

            #[inline]
            fn $name<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Done {
                value.serialize(&mut **self)
            }

            #[inline]
            fn end(self) -> Done {
                Ok(())
            }
        })*
    };
}

compound! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeStruct: serialize_field(&'static str);
    SerializeStructVariant: serialize_field(&'static str);
}

impl ser::SerializeMap for &mut Length {
    type Ok = ();
    type Error = Unmeasured;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(&mut **self)
    }

    fn end(self) -> Done {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
