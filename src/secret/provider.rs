//! Where a master key comes from, as a trait, and why it may not come. The places themselves are in the
//! files beside this one.

use std::fmt;
use std::sync::Arc;

use super::key::MasterKey;

/// Where the master key of a sealed store comes from.
///
/// It is asked on a storage thread each time the store is opened, never by a read or a write, so it may
/// block. It must give the same key each time: what was sealed under one opens under no other.
///
/// larder has [`EnvKey`](super::EnvKey), [`FileKey`](super::FileKey) and, with feature `keyring`,
/// `KeychainKey`. A key service is a closure:
///
/// ```
/// use larder::secret::{KeyError, KeyErrorKind, KeyProvider, MasterKey, named};
///
/// # fn ask_the_service() -> Result<[u8; 32], std::io::Error> { Ok([7; 32]) }
/// let provider = named("key service eu-1", || {
///     let bytes = ask_the_service()
///         .map_err(|error| KeyError::new(KeyErrorKind::Unavailable, error.to_string()))?;
///     MasterKey::from_bytes(bytes)
/// });
/// assert!(provider.key().is_ok());
/// assert_eq!(provider.name(), "key service eu-1");
/// ```
pub trait KeyProvider: Send + Sync + 'static {
    /// The key. It blocks for as long as it takes; a wait of its own should have an end.
    ///
    /// # Errors
    ///
    /// [`KeyError`], whose kind tells whether asking again later is worth it.
    fn key(&self) -> Result<MasterKey, KeyError>;

    /// Where the key comes from, as errors and logs show it. Never the key.
    fn name(&self) -> String;
}

impl<F> KeyProvider for F
where
    F: Fn() -> Result<MasterKey, KeyError> + Send + Sync + 'static,
{
    fn key(&self) -> Result<MasterKey, KeyError> {
        self()
    }

    fn name(&self) -> String {
        "a function of the host's".to_owned()
    }
}

/// One of several that the host may have chosen.
impl KeyProvider for Box<dyn KeyProvider> {
    fn key(&self) -> Result<MasterKey, KeyError> {
        (**self).key()
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

/// One that the host has in several places.
impl KeyProvider for Arc<dyn KeyProvider> {
    fn key(&self) -> Result<MasterKey, KeyError> {
        (**self).key()
    }

    fn name(&self) -> String {
        (**self).name()
    }
}

/// A key that the host has already.
impl KeyProvider for MasterKey {
    fn key(&self) -> Result<MasterKey, KeyError> {
        Ok(self.clone())
    }

    fn name(&self) -> String {
        "a key of the host's".to_owned()
    }
}

/// A provider under a name of the host's. Made by [`named`].
pub struct Named<P> {
    name: String,
    provider: P,
}

/// Gives `provider`, most often a closure, a name to be shown. The name must not hold the key.
pub fn named<P: KeyProvider>(name: impl Into<String>, provider: P) -> Named<P> {
    let name = name.into();
    Named { name, provider }
}

impl<P: KeyProvider> KeyProvider for Named<P> {
    fn key(&self) -> Result<MasterKey, KeyError> {
        self.provider.key()
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl<P> fmt::Debug for Named<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Named");
        shown.field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why there is no key, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct KeyError {
    /// What kind of trouble it is.
    pub kind: KeyErrorKind,
    /// What is wrong, where, and what would help. It never holds any of the key's text.
    pub reason: Arc<str>,
}

/// What kind of trouble a [`KeyError`] is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum KeyErrorKind {
    /// There is no key at that place.
    Missing,
    /// There is something at that place, and it is no key.
    Malformed,
    /// The key may be there and is not taken from there, or may not be: others can read it, the process
    /// cannot.
    Refused,
    /// The place cannot be reached at the moment. Asking again later is worth it.
    Unavailable,
}

impl KeyError {
    /// An error of a provider of the host's. `reason` is shown and logged, so it must not hold any of
    /// the key.
    pub fn new(kind: KeyErrorKind, reason: impl Into<Arc<str>>) -> Self {
        let reason = reason.into();
        Self { kind, reason }
    }

    /// Whether the same provider may have the key later without anybody changing it.
    pub fn is_retryable(&self) -> bool {
        self.kind == KeyErrorKind::Unavailable
    }

    pub(super) fn missing(reason: impl Into<Arc<str>>) -> Self {
        Self::new(KeyErrorKind::Missing, reason)
    }

    pub(super) fn malformed(reason: impl Into<Arc<str>>) -> Self {
        Self::new(KeyErrorKind::Malformed, reason)
    }

    pub(super) fn refused(reason: impl Into<Arc<str>>) -> Self {
        Self::new(KeyErrorKind::Refused, reason)
    }

    pub(super) fn unavailable(reason: impl Into<Arc<str>>) -> Self {
        Self::new(KeyErrorKind::Unavailable, reason)
    }

    /// The same, with the place named before it.
    pub(super) fn at(self, place: impl fmt::Display) -> Self {
        Self::new(self.kind, format!("{place}: {}", self.reason))
    }
}
