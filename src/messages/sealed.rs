//! To the desk: what concerns the keys of sealed stores, as messages.

use std::fmt;
use std::sync::Arc;

use actix::Message;

use crate::drivers::sealed::SealProgress;
use crate::error::Error;
use crate::secret::KeyProvider;

/// Have a sealed driver accept another master key, and seal everything anew in the background.
///
/// Replies when the new key is accepted, durably; [`TakeSealProgress`] tells how far the rest is. As
/// [`DriverHandle::rotate_key`](crate::DriverHandle::rotate_key).
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub struct RotateKey {
    /// The driver's name.
    pub driver: String,
    /// Where the new key comes from, from here on.
    pub key: Arc<dyn KeyProvider>,
}

/// Shows where the key comes from, not the key.
impl fmt::Debug for RotateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateKey")
            .field("driver", &self.driver)
            .field("key", &self.key.name())
            .finish()
    }
}

/// Destroy the keys of a sealed driver: what they have sealed cannot be read any more. As
/// [`DriverHandle::shred`](crate::DriverHandle::shred).
#[derive(Message, Debug)]
#[rtype(result = "Result<(), Error>")]
pub struct Shred {
    /// The driver's name.
    pub driver: String,
}

/// Tell how far a rotation, or the conversion of a plain store, is.
#[derive(Message, Debug)]
#[rtype(result = "Result<SealProgress, Error>")]
pub struct TakeSealProgress {
    /// The driver's name.
    pub driver: String,
}
