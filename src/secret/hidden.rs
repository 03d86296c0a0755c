//! A value that does not show itself and is overwritten when it is dropped. It seals nothing: what is
//! stored of it is as readable as the store is.

use std::any::type_name;
use std::fmt;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A value that hides itself in `Debug`, has no `Display`, and is overwritten when it is dropped.
///
/// **It seals nothing.** In an ordinary cache over a plain disk the value is stored in plain text. Sealed are caches of
/// `Larder::secure`, those opened with [`CacheBuilder::secret`](crate::CacheBuilder::secret), and all of a disk tier that is
/// `encrypted`.
///
/// serde writes and reads it as the value alone, so it can be put around a field of what is stored
/// already (a whole value has another type with it, and what was stored without is a miss). The errors of that never hold the value, whatever the format says.
///
/// There is no `PartialEq` on purpose: comparing what [`expose`](Secret::expose) gives takes longer the
/// more of it is right, which tells whoever can measure it. Compare that where this does not matter.
///
/// What is overwritten is the value where it lies at the end. Copies that were made on the way there, by
/// moving it, by a text that has grown, by the buffer that it was read from, are not found.
///
/// ```
/// use larder::Secret;
///
/// #[derive(Debug, serde::Serialize, serde::Deserialize)]
/// struct Login {
///     user: String,
///     password: Secret<String>,
/// }
///
/// let login = Login { user: "ada".into(), password: "hunter2".to_owned().into() };
/// assert_eq!(format!("{login:?}"), r#"Login { user: "ada", password: Secret(..) }"#);
/// assert_eq!(login.password.expose(), "hunter2");
/// ```
#[derive(Clone, Default)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Hides `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, to be looked at.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value, which nobody overwrites from now on. It needs a `Default` to leave behind.
    pub fn into_inner(mut self) -> T
    where
        T: Default,
    {
        std::mem::take(&mut self.0)
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> Zeroize for Secret<T> {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> ZeroizeOnDrop for Secret<T> {}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<T: Zeroize + Serialize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What went wrong may quote what it went wrong with.
        self.0.serialize(serializer).map_err(|_| {
            S::Error::custom(format_args!(
                "a secret {} could not be written",
                type_name::<T>()
            ))
        })
    }
}

impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self).map_err(|_| {
            D::Error::custom(format_args!(
                "a secret {} could not be read",
                type_name::<T>()
            ))
        })
    }
}
