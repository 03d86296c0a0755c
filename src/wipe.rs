//! Bytes that are overwritten when they are let go.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use zeroize::Zeroize;

/// A buffer that is overwritten when it is dropped, with the room that it has beyond its bytes.
///
/// IMPORTANT: give it all of its room from the start. One that grows leaves what was in it behind.
///
/// The same as `Zeroizing<Vec<u8>>`, which overwrites byte by byte: for a kilobyte that takes as long as opening it.
#[derive(Default)]
pub(crate) struct Wiped(Vec<u8>);

impl Wiped {
    /// Owned by these bytes from here on: overwritten with the last of them.
    pub fn shared(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
        self.0.spare_capacity_mut().zeroize();
    }
}
