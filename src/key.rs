//! The name of an entry: the cache it lives in and the host's own key.
//!
//! Pure data. It must not know what is stored under a key or where.

use std::fmt;

use smol_str::SmolStr;

/// A named cache of one larder, as a small number that is only valid within this process.
///
/// Names, not numbers, go to disk: see [`stored_key`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CacheId(pub u32);

/// One entry's full name. Cheap to clone: up to 23 bytes of key are kept in place, longer keys are
/// shared by reference count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The cache.
    pub cache: CacheId,
    /// The host's key within it.
    pub name: SmolStr,
}

impl Key {
    /// Names the entry `name` of `cache`.
    pub fn new(cache: CacheId, name: &str) -> Self {
        Self {
            cache,
            name: SmolStr::new(name),
        }
    }
}

/// Shows the cache's number and the length of the key, never the key: key names of sealed caches
/// must not reach a log by way of `{:?}`.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {} bytes)", self.cache.0, self.name.len())
    }
}

/// The character between a cache's name and a key, in stored keys and in `larder.warm("users/42")`.
///
/// A cache's name may not contain it, so the first one always ends the name.
pub const SEPARATOR: char = '/';

/// The reserved cache that fences are stored in. No host can name it, as no host can name any cache that
/// begins with [`RESERVED`].
pub(crate) const FENCES: &str = "\u{0}fences";
/// How the names of larder's own caches begin.
pub const RESERVED: char = '\0';

/// Whether a cache is one of larder's own, for fences and probes. No host can name it.
pub(crate) fn is_reserved(cache: &str) -> bool {
    cache.starts_with(RESERVED)
}

/// Whether two keys are the same. Most have 8 to 16 bytes, which are compared as two numbers, in place of a
/// call.
#[inline]
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let ends = |key: &[u8]| {
        let (first, last) = (key.first_chunk::<8>()?, key.last_chunk::<8>()?);
        Some((u64::from_ne_bytes(*first), u64::from_ne_bytes(*last)))
    };
    match (ends(one), ends(other)) {
        (Some(one), Some(other)) if one != other => false,
        (Some(_), Some(_)) if one.len() <= 16 => true,
        _ => one == other,
    }
}

/// The bytes under which a driver files an entry: `users/42`.
///
/// All entries of a cache are contiguous and ordered by key, which is what scans rely on.
///
/// ```
/// assert_eq!(larder::key::stored_key("users", "42"), b"users/42");
/// ```
pub fn stored_key(cache: &str, key: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(cache.len() + 1 + key.len());
    out.extend_from_slice(cache.as_bytes());
    out.push(SEPARATOR as u8);
    out.extend_from_slice(key.as_bytes());
    out
}

/// Takes a stored key apart again; `None` if it is none.
pub fn split_stored_key(stored: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(stored).ok()?.split_once(SEPARATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_splits_into_what_it_was_made_of() {
        for key in ["42", "a/b/c", "\u{0}\n", "schlüssel"] {
            let stored = stored_key("users", key);
            assert_eq!(split_stored_key(&stored), Some(("users", key)));
        }
        assert_eq!(split_stored_key(b"no separator"), None);
        assert_eq!(split_stored_key(&[0xff, b'/']), None);
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let shown = format!("{:?}", Key::new(CacheId(3), "secret"));
        assert_eq!(shown, "Key(3, 6 bytes)");
    }

    #[test]
    fn keys_are_the_same_if_all_their_bytes_are() {
        let long = "0123456789abcdef-and-more";
        for len in 0..long.len() {
            let key = &long[..len];
            assert!(is_same(key, key));
            assert!(!is_same(key, &long[..=len]));
            for at in 0..len {
                let other = format!("{}#{}", &key[..at], &key[at + 1..]);
                assert!(!is_same(key, &other), "{len} {at}");
            }
        }
    }
}
