//! Authenticated encryption under one key (AES-256-GCM, NIST SP 800-38D; ChaCha20-Poly1305, RFC 8439),
//! key derivation (HKDF-SHA256, RFC 5869) and the source of nonces.
//!
//! The only file that calls `ring` but for [`names`](super::names).

use std::fmt;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::Failure;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;
/// Nonces that are drawn from the system at once: one by one they cost more than sealing does.
const NONCES_PER_DRAW: usize = 64;

/// Bytes of a key, overwritten when they are dropped. On the heap, so that moving them leaves no copy.
pub type KeyBytes = Zeroizing<Vec<u8>>;

/// Which authenticated encryption seals the records.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Cipher {
    /// AES-256-GCM: 6 to 9 GB/s where the processor has instructions for AES.
    #[default]
    Aes256Gcm,
    /// ChaCha20-Poly1305: about 2 GB/s anywhere, for machines without such instructions.
    ChaCha20Poly1305,
}

impl Cipher {
    /// As it is stored.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// From a stored byte; `None` for one that this version does not know.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }
}

/// A key that seals and opens.
pub struct SealingKey(LessSafeKey);

/// It was not sealed with this key, this nonce and these associated data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forged;

impl SealingKey {
    /// A key for `cipher`; `None` unless it has [`KEY_BYTES`].
    pub fn new(cipher: Cipher, key: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(cipher.algorithm(), key).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// Seals `plain` in place; returns the tag. `None` past the cipher's own limit (64 GiB).
    pub fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        bound: &[u8],
        plain: &mut [u8],
    ) -> Option<[u8; TAG_BYTES]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(bound), plain)
            .ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Opens what was sealed, tag included, in place; returns how many bytes of plain text there are.
    ///
    /// # Errors
    ///
    /// [`Forged`]; nothing of what is then in `sealed` means anything.
    pub fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        bound: &[u8],
        sealed: &mut [u8],
    ) -> Result<usize, Forged> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = self
            .0
            .open_in_place(nonce, Aad::from(bound), sealed)
            .map_err(|_| Forged)?;
        Ok(plain.len())
    }
}

/// Shows nothing of the key.
impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

/// The HKDF-SHA256 of `secret` with `salt`, for the use that the parts of `info` name.
pub fn derive(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> KeyBytes {
    let mut out = Zeroizing::new(vec![0; KEY_BYTES]);
    expand(salt, secret, info, &mut out);
    out
}

fn expand(salt: &[u8], secret: &[u8], info: &[&[u8]], out: &mut [u8]) {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    // Neither fails below 255 blocks of output, and none asks for more.
    if let Ok(expanded) = extracted.expand(info, Length(out.len())) {
        let _ = expanded.fill(out);
    }
}

/// How much is to be derived.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Fills `out` from the system's source of randomness.
///
/// # Errors
///
/// [`Failure::Reopen`] if it has none to give.
pub fn random(out: &mut [u8]) -> Result<(), Failure> {
    let failed = |_| Failure::reopen("the operating system gives no random bytes");
    SystemRandom::new().fill(out).map_err(failed)
}

/// A key of random bytes.
///
/// # Errors
///
/// As [`random`].
pub fn random_key() -> Result<KeyBytes, Failure> {
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    random(&mut key)?;
    Ok(key)
}

/// Nonces, drawn many at a time. None is given twice.
#[derive(Default)]
pub struct Nonces {
    drawn: Vec<[u8; NONCE_BYTES]>,
}

impl Nonces {
    /// A nonce of its own.
    ///
    /// # Errors
    ///
    /// As [`random`].
    pub fn next(&mut self) -> Result<[u8; NONCE_BYTES], Failure> {
        if let Some(nonce) = self.drawn.pop() {
            return Ok(nonce);
        }
        let mut block = [0; NONCE_BYTES * NONCES_PER_DRAW];
        random(&mut block)?;
        let (nonces, _) = block.as_chunks();
        self.drawn.extend_from_slice(nonces);
        self.drawn
            .pop()
            .ok_or_else(|| Failure::reopen("no nonce was drawn"))
    }
}

#[cfg(test)]
mod tests;
