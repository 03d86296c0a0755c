//! The master key in a file of its owner's.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::key::{MasterKey, TEXT_BYTES_MAX};
use super::place::{Onto, Place};
use super::provider::{KeyError, KeyProvider};

/// A master key in a file: the base64 of 32 bytes, white space around it allowed. Raw bytes are not
/// taken, so that a text that was cut short is never mistaken for a key.
///
/// The file is read each time the store is opened. It is taken only if it is a plain file and no
/// symbolic link, belongs to the user that the process runs as, and gives nobody else any right
/// (mode 0600 or 0400). That holds for root as well: whoever owns a file can change it. Links among the
/// directories above it are followed. A credential of systemd's is read by
/// [`CredentialKey`](super::CredentialKey); a mount that fits none of this, as those of secrets in containers often do
/// (Docker's belong to root and are 0444, Kubernetes' are links), by a closure of the host's.
///
/// Outside of Unix neither owner nor rights are checked, and whether the file is a link is looked at
/// shortly before it is opened.
///
/// ```
/// use larder::secret::{FileKey, KeyProvider};
///
/// # let scratch = tempfile::tempdir().expect("a directory");
/// # let directory = scratch.path();
/// let first = FileKey::new(directory.join("app.key")).create().key()?;
/// let again = FileKey::new(directory.join("app.key")).key()?;
/// assert_eq!(first.to_base64(), again.to_base64());
/// # Ok::<(), larder::secret::KeyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileKey {
    path: PathBuf,
    creates: bool,
}

impl FileKey {
    /// The key is in the file at `path`. Keep it outside of the store's directory: a copy of that
    /// should not have its key with it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (path, creates) = (path.into(), false);
        Self { path, creates }
    }

    /// If there is no file, one is made with a fresh key, in a directory that must be there. A file that
    /// is there is never changed, and of several processes that do this at once all get the same key.
    ///
    /// When the file is lost, what was sealed is lost with it: a new file holds a new key.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.creates = true;
        self
    }

    fn place(&self) -> Place<'_> {
        Place {
            what: "key file",
            path: &self.path,
            is_systems: false,
        }
    }

    fn missing(&self) -> KeyError {
        KeyError::missing(format!(
            "{} does not exist; put the base64 of 32 random bytes there, as from `openssl rand -base64 32`, \
             and run `chmod 600` on it, or have it made with `FileKey::create`",
            self.place()
        ))
    }

    fn make(&self) -> Result<(), KeyError> {
        let key = MasterKey::generate()?;
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(&key.to_base64());
        text.push('\n');
        if self.place().put(text.as_bytes(), Onto::Nothing)? {
            tracing::info!(provider = self.name(), "made a new master key");
        }
        Ok(())
    }
}

/// The key in a file; `None` if there is no file.
pub(super) fn read_key(place: &Place<'_>) -> Result<Option<MasterKey>, KeyError> {
    let Some(text) = place.read(TEXT_BYTES_MAX)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&text).map_err(|_| {
        KeyError::malformed("it is no text; the base64 of 32 random bytes is wanted").at(place)
    })?;
    let key = MasterKey::from_base64(text).map_err(|error| error.at(place))?;
    Ok(Some(key))
}

impl KeyProvider for FileKey {
    fn key(&self) -> Result<MasterKey, KeyError> {
        if let Some(key) = read_key(&self.place())? {
            if self.creates {
                // Another process may have made it a moment ago. Where a directory cannot be synced, the
                // one that made it has said so.
                let _ = self.place().sync_name();
            }
            return Ok(key);
        }
        if self.creates {
            self.make()?;
        }
        // Whoever was first: the file that is there has the key.
        read_key(&self.place())?.ok_or_else(|| self.missing())
    }

    fn name(&self) -> String {
        self.place().to_string()
    }
}
