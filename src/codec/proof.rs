//! Whether a type reads back what it writes: tried with the first value that a cache is to store.
//!
//! A codec says only when it reads that a type needs a self-describing format. Found out by the read
//! after a restart, that is a miss in production; found out here, it is an error of the first set.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::{Coder, Value};
use crate::error::Error;

/// Whether a value of this type has been read back.
#[derive(Debug, Default)]
pub(crate) struct Proof(AtomicBool);

impl Proof {
    /// Reads a value back from its bytes, unless one has been read back before.
    pub fn check<V: Value>(&self, coder: &Coder<V>, bytes: &Bytes) -> Result<(), Error> {
        // Two that come first at once both try; nothing is ordered by this.
        if self.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        let read = coder.decode(coder.id(), bytes);
        let read = read.unwrap_or_else(|| Err(Error::decode::<V>("its codec is not known")));
        read.map(drop).map_err(|error| {
            Error::encode::<V>(format!("it would not be read back from a store: {error}"))
        })?;
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// A number that is read back if it is even.
    #[derive(Debug)]
    struct Even(u8);
    impl Serialize for Even {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_u8(self.0)
        }
    }
    impl<'de> Deserialize<'de> for Even {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let number = u8::deserialize(from)?;
            assert!(number.is_multiple_of(2), "secret");
            Ok(Self(number))
        }
    }

    #[test]
    fn a_type_is_read_back_until_it_has_been_once() {
        let proof = Proof::default();
        let check = |number| {
            let coder = Coder::<Even>::new(crate::codec::Bincode);
            let bytes = coder.encode(&Even(number), 10, false).unwrap();
            proof.check(&coder, &bytes)
        };
        for odd in [1, 3] {
            let error = check(odd).unwrap_err();
            assert!(matches!(error, Error::Encode { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("not be read back from a store"), "{text}");
            assert!(text.contains("panicked") && !text.contains("secret"));
        }
        check(2).unwrap();
        check(3).unwrap();
    }
}
