//! The master key in the operating system's keychain.

use keyring::{Entry, Error};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::key::MasterKey;
use super::provider::{KeyError, KeyProvider};

/// A keychain stores, and replaces what is there: within this process only one looks and stores at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A master key in the operating system's keychain, as a password that is the base64 of 32 bytes: the
/// Keychain of macOS, the Credential Manager of Windows, the Secret Service (GNOME Keyring, KWallet) of
/// Linux and the BSDs.
///
/// It is asked each time the store is opened. Where the keychain is locked, the operating system may
/// ask the person at the screen, and the call blocks until they have answered. A keychain that cannot be
/// reached when the process asks for the first time is not looked for again until the process starts
/// anew; a machine without a desktop session has none. What the keychain's own library copies on the way
/// is not overwritten.
///
/// ```no_run
/// use larder::secret::{KeychainKey, KeyProvider};
///
/// let key = KeychainKey::new("com.example.app", "ada").create().key()?;
/// # Ok::<(), larder::secret::KeyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeychainKey {
    service: String,
    user: String,
    creates: bool,
}

impl KeychainKey {
    /// The key is the password of `user` at `service`; both are names that the host chooses.
    pub fn new(service: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            user: user.into(),
            creates: false,
        }
    }

    /// If the keychain has no such password, a fresh key is stored. One that is there is not changed.
    ///
    /// Keychains have no way to store only where nothing is. Threads of one process get the same key; of
    /// two processes that do this for the first time at the same moment, one may be left with a key that
    /// the other's has replaced. Have one process begin.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.creates = true;
        self
    }

    fn entry(&self) -> Result<Entry, KeyError> {
        if let Err(error) = Entry::store_status() {
            return Err(KeyError::unavailable(format!(
                "{}: no keychain could be reached when this process first asked ({error}); it needs a \
                 desktop session with one, and this process to be started again; elsewhere take a key \
                 file or an environment variable",
                self.name()
            )));
        }
        Entry::new(&self.service, &self.user).map_err(|error| self.failed(error))
    }

    fn read(&self, entry: &Entry) -> Result<Option<MasterKey>, KeyError> {
        let text = match entry.get_password() {
            Ok(text) => Zeroizing::new(text),
            Err(Error::NoEntry) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let key = MasterKey::from_base64(&text).map_err(|error| error.at(self.name()))?;
        Ok(Some(key))
    }

    fn missing(&self) -> KeyError {
        KeyError::missing(format!(
            "{} is not there; store the base64 of 32 random bytes as its password, as from `openssl rand \
             -base64 32`, or have it made with `KeychainKey::create`",
            self.name()
        ))
    }

    /// What a keychain answered. Some of its errors carry what it holds, so they are taken apart here
    /// and never shown whole.
    fn failed(&self, error: Error) -> KeyError {
        let name = self.name();
        match error {
            Error::NoStorageAccess(error) => KeyError::unavailable(format!(
                "{name}: the keychain is locked or may not be used ({error}); unlock it"
            )),
            Error::PlatformFailure(error) => {
                KeyError::unavailable(format!("{name}: the keychain failed ({error})"))
            }
            Error::BadEncoding(held) | Error::BadDataFormat(held, _) => {
                drop(Zeroizing::new(held));
                KeyError::malformed("it is no text; the base64 of 32 random bytes is wanted")
                    .at(name)
            }
            Error::Ambiguous(found) => KeyError::refused(format!(
                "{name}: the keychain has {} of them; leave one",
                found.len()
            )),
            Error::Invalid(what, reason) => KeyError::refused(format!(
                "{name}: the keychain does not take {what}: {reason}"
            )),
            Error::TooLong(what, limit) => KeyError::refused(format!(
                "{name}: the keychain takes at most {limit} characters of {what}"
            )),
            _ => KeyError::refused(format!("{name}: the keychain cannot do this")),
        }
    }
}

impl KeyProvider for KeychainKey {
    fn key(&self) -> Result<MasterKey, KeyError> {
        let _alone = ONE_AT_A_TIME.lock();
        let entry = self.entry()?;
        if let Some(key) = self.read(&entry)? {
            return Ok(key);
        }
        if self.creates {
            let text = MasterKey::generate()?.to_base64();
            let stored = entry.set_password(&text);
            stored.map_err(|error| self.failed(error))?;
            tracing::info!(provider = self.name(), "made a new master key");
        }
        // What the keychain has now is the key, whoever stored it.
        self.read(&entry)?.ok_or_else(|| self.missing())
    }

    fn name(&self) -> String {
        format!("keychain entry of {:?} at {:?}", self.user, self.service)
    }
}
