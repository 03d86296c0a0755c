//! The master key itself: 32 bytes that are overwritten when they are dropped. What is derived from them
//! is not its business.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::provider::KeyError;

/// A master key's length in bytes.
const KEY_BYTES: usize = 32;
/// The same as base64, padding included, in bytes.
const TEXT_BYTES: usize = 44;
/// What is longer is not even decoded, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 1_024;

const WANTED: &str = "the base64 of 32 random bytes is wanted, as from `openssl rand -base64 32`";

/// Written with padding, read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The 32 bytes that everything sealed depends on.
///
/// It hides itself in `Debug` and is overwritten when it is dropped. It lies in one place in memory
/// however often it is moved. Whoever can read the process's memory can read it.
///
/// ```
/// use larder::secret::MasterKey;
///
/// let key = MasterKey::generate()?;
/// let same = MasterKey::from_base64(&key.to_base64())?;
/// assert_eq!(same.to_base64(), key.to_base64());
/// assert_eq!(format!("{key:?}"), "MasterKey(..)");
/// # Ok::<(), larder::secret::KeyError>(())
/// ```
#[derive(Clone)]
pub struct MasterKey(Box<[u8; KEY_BYTES]>);

impl MasterKey {
    /// A key that the host has already. `bytes` is a copy: the host overwrites its own.
    ///
    /// # Errors
    ///
    /// `Malformed` if all bytes are zero, as they are where nobody has put a key.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Result<Self, KeyError> {
        let key = Self::of(&bytes);
        bytes.zeroize();
        key
    }

    /// A key as text: base64 in the standard alphabet, with padding or without, white space around it.
    ///
    /// # Errors
    ///
    /// `Malformed` if that is not exactly 32 bytes, or if all of them are zero. Nothing of the text is
    /// in the error.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::malformed(format!("it is empty; {WANTED}")));
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(KeyError::malformed(format!("it is too long; {WANTED}")));
        }
        let mut bytes = Zeroizing::new([0; TEXT_BYTES_MAX]);
        // base64's own error quotes the character that it stopped at.
        let count = BASE64
            .decode_slice(text, bytes.as_mut_slice())
            .map_err(|_| KeyError::malformed(format!("it is not base64; {WANTED}")))?;
        match bytes.get(..count) {
            Some(key) if key.len() == KEY_BYTES => Self::of(key),
            _ => Err(KeyError::malformed(format!(
                "it is {count} bytes long, not 32; {WANTED}"
            ))),
        }
    }

    /// A fresh key of the operating system's randomness.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the operating system has none to give.
    pub fn generate() -> Result<Self, KeyError> {
        let mut key = Box::new([0; KEY_BYTES]);
        let filled = SystemRandom::new().fill(key.as_mut_slice());
        filled.map_err(|_| KeyError::unavailable("the operating system gave no random bytes"))?;
        Ok(Self(key))
    }

    /// The key as text, as [`from_base64`](MasterKey::from_base64) reads it: 44 characters.
    pub fn to_base64(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new([0; TEXT_BYTES]);
        // It fits: 32 bytes are 44 characters.
        let written = BASE64.encode_slice(self.bytes(), text.as_mut_slice());
        debug_assert_eq!(written, Ok(TEXT_BYTES));
        let text = std::str::from_utf8(text.as_slice()).unwrap_or_default();
        Zeroizing::new(text.to_owned())
    }

    /// What is to be sealed with.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(KeyError::malformed(format!("all of it is zero; {WANTED}")));
        }
        let mut key = Self(Box::new([0; KEY_BYTES]));
        key.0.copy_from_slice(bytes);
        Ok(key)
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}
