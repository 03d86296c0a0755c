//! What must not be seen: a wrapper for secret values, the master key of sealed stores, where it comes
//! from, and the counter that a restored backup cannot turn back.
//!
//! Nothing here knows a store or a cipher, and nothing here shows a key: not in an error, not in
//! `Debug`, not in a log. Everything blocks and is meant for a storage thread.

#[cfg(feature = "secure")]
mod credential;
#[cfg(feature = "secure")]
mod env;
#[cfg(feature = "secure")]
mod file;
#[cfg(feature = "secure")]
mod guard;
mod hidden;
#[cfg(feature = "secure")]
mod key;
#[cfg(feature = "keyring")]
mod keychain;
#[cfg(feature = "secure")]
mod place;
#[cfg(feature = "secure")]
mod provider;

#[cfg(feature = "secure")]
pub use credential::CredentialKey;
#[cfg(feature = "secure")]
pub use env::EnvKey;
#[cfg(feature = "secure")]
pub use file::FileKey;
#[cfg(feature = "secure")]
pub use guard::{FileGuard, RollbackGuard};
pub use hidden::Secret;
#[cfg(feature = "secure")]
pub use key::MasterKey;
#[cfg(feature = "keyring")]
pub use keychain::KeychainKey;
#[cfg(feature = "secure")]
pub use provider::{KeyError, KeyErrorKind, KeyProvider, Named, named};
/// What [`Secret`] asks of its value, and what keys are handed out in, of the version that larder has.
pub use zeroize::{Zeroize, Zeroizing};
