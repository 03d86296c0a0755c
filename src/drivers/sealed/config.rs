//! How a store is sealed: plain data with defaults and ranges.

use std::fmt;
use std::sync::Arc;

use super::cipher::Cipher;
use crate::secret::{KeyProvider, RollbackGuard};

/// Default of [`EncryptionConfig::seals_per_key_max`]: a quarter of what random nonces are safe for.
pub const SEALS_PER_KEY_MAX: u64 = 1 << 30;

/// What becomes of a plain store where a sealed one is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum PlainStore {
    /// It is sealed in the background; until that is done its plain records are still read and believed.
    #[default]
    Convert,
    /// It is refused, with what to do.
    Refuse,
}

/// How a store is sealed.
///
/// ```
/// use larder::{Cipher, EncryptionConfig, secret::EnvKey};
/// let config = EncryptionConfig::new(EnvKey::new("APP_CACHE_KEY")).cipher(Cipher::ChaCha20Poly1305);
/// # drop(config);
/// ```
#[derive(Clone)]
pub struct EncryptionConfig {
    pub(crate) provider: Arc<dyn KeyProvider>,
    pub(crate) older: Option<Arc<dyn KeyProvider>>,
    pub(crate) cipher: Cipher,
    pub(crate) plain_store: Option<PlainStore>,
    pub(crate) seals_per_key_max: u64,
    pub(crate) guard: Option<Arc<dyn RollbackGuard>>,
}

impl EncryptionConfig {
    /// With the master key from `provider`, and defaults.
    pub fn new(provider: impl KeyProvider) -> Self {
        Self {
            provider: Arc::new(provider),
            older: None,
            cipher: Cipher::default(),
            plain_store: None,
            seals_per_key_max: SEALS_PER_KEY_MAX,
            guard: None,
        }
    }

    /// Another master key, for the starts around a rotation: it is asked for where the first one is not the store's,
    /// and may be missing. A new store is sealed with the first one, and nothing is rotated by itself: have the first
    /// one accepted by [`rotate_key`](crate::DriverHandle::rotate_key) at each start, which changes nothing once it is.
    ///
    /// ```
    /// use larder::{EncryptionConfig, secret::EnvKey};
    /// let config = EncryptionConfig::new(EnvKey::new("APP_KEY_NEW")).or_key(EnvKey::new("APP_KEY_OLD"));
    /// # drop(config);
    /// ```
    #[must_use]
    pub fn or_key(mut self, provider: impl KeyProvider) -> Self {
        self.older = Some(Arc::new(provider));
        self
    }

    /// What seals the records of a new store; one that exists keeps what it was made with.
    /// Default: AES-256-GCM.
    #[must_use]
    pub fn cipher(mut self, cipher: Cipher) -> Self {
        self.cipher = cipher;
        self
    }

    /// What becomes of a plain store that is there. Default: that of the disk tier is converted, that of the
    /// secure driver is refused. While it is converted its plain records are believed, whoever put them there: say
    /// [`Refuse`](PlainStore::Refuse) once that is done.
    #[must_use]
    pub fn plain_store(mut self, then: PlainStore) -> Self {
        self.plain_store = Some(then);
        self
    }

    /// So many records are sealed with one data key before another one is made, 1 to 2^31. Default: 2^30.
    #[must_use]
    pub fn seals_per_key_max(mut self, count: u64) -> Self {
        self.seals_per_key_max = count;
        self
    }

    /// What tells that the whole directory was replaced by an older copy of itself. Default: nothing does.
    #[must_use]
    pub fn rollback_guard(mut self, guard: impl RollbackGuard) -> Self {
        self.guard = Some(Arc::new(guard));
        self
    }

    /// Every problem of these settings, each with the field, its value and the range.
    pub fn problems(&self) -> Vec<String> {
        let count = self.seals_per_key_max;
        let is_wrong = !(1..=1 << 31).contains(&count);
        let problem = format!(
            "seals_per_key_max is {count}, allowed is 1 to {}",
            1_u64 << 31
        );
        is_wrong.then_some(problem).into_iter().collect()
    }
}

/// Shows where the key comes from, not the key.
impl fmt::Debug for EncryptionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionConfig")
            .field("key", &self.provider.name())
            .field("cipher", &self.cipher)
            .field("plain_store", &self.plain_store)
            .field("seals_per_key_max", &self.seals_per_key_max)
            .field("has_rollback_guard", &self.guard.is_some())
            .finish()
    }
}
