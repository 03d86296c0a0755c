//! The master key as a credential that systemd hands to a service.

use std::path::PathBuf;

use super::file::read_key;
use super::key::MasterKey;
use super::place::Place;
use super::provider::{KeyError, KeyProvider};

/// Where systemd says that a service's credentials are.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A master key that systemd hands to the service (`LoadCredential=`, `SetCredentialEncrypted=`): the base64 of 32 bytes.
///
/// Such a file belongs to root and is shown as `0440` where the service has a user of its own, which
/// [`FileKey`](super::FileKey) refuses. This takes one that belongs to root or to the process's own user, that its group
/// may at most read, and that nobody else may. It is read each time the store is opened.
///
/// ```
/// use larder::secret::{CredentialKey, KeyErrorKind, KeyProvider};
///
/// // [Service]
/// // LoadCredential=cache-key:/etc/app/cache-key
/// let key = CredentialKey::new("cache-key");
/// assert_eq!(key.key().unwrap_err().kind, KeyErrorKind::Missing); // nobody has started this by systemd
/// ```
#[derive(Clone, Debug)]
pub struct CredentialKey {
    name: String,
    directory: Option<PathBuf>,
}

impl CredentialKey {
    /// The key is the credential of this name, in the directory that `$CREDENTIALS_DIRECTORY` names.
    pub fn new(name: impl Into<String>) -> Self {
        let (name, directory) = (name.into(), None);
        Self { name, directory }
    }

    /// The credential lies in this directory, for services that are told so in another way.
    #[must_use]
    pub fn in_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }
}

impl KeyProvider for CredentialKey {
    fn key(&self) -> Result<MasterKey, KeyError> {
        let directory = self.directory.clone();
        let directory = directory.or_else(|| std::env::var_os(DIRECTORY).map(PathBuf::from));
        let Some(directory) = directory else {
            return Err(KeyError::missing(format!(
                "{DIRECTORY} is not set; systemd sets it for a service with `LoadCredential={}:PATH`",
                self.name
            )));
        };
        let path = directory.join(&self.name);
        let place = Place {
            what: "credential",
            path: &path,
            is_systems: true,
        };
        let missing = || {
            KeyError::missing(format!(
                "{place} does not exist; have it loaded with `LoadCredential={}:PATH`",
                self.name
            ))
        };
        read_key(&place)?.ok_or_else(missing)
    }

    fn name(&self) -> String {
        format!("credential {}", self.name)
    }
}
