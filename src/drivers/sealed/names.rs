//! Where records are filed whose names nobody is to read: under an HMAC-SHA256 (RFC 2104) of the name.
//!
//! `s`, the epoch whose key names are hashed with, three bytes for the cache, twelve for the entry: 19 in all, and
//! with the disk driver's own 20, as many as fjall compares without following a pointer. Two entries in one place
//! would be one too many, and the one found there is told by its sealed name; 2^30 entries have one chance in 2^37
//! of that. Caches may well share theirs. So the
//! records of one cache lie together and nothing else of their names is to be seen. larder's own records
//! (fences, probes) keep their cache's name in front: what reads them by it, and has no key, still finds
//! them.

use std::fmt;
use std::hash::BuildHasher;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use ring::hmac;

use crate::key::{RESERVED, SEPARATOR};

/// First byte of the place of a record.
pub const PLACE: u8 = b's';
/// Bytes that stand for an epoch; none has a higher number than they can say.
const EPOCH_BYTES: usize = 3;
/// Bytes before what stands for the cache.
const HEAD_BYTES: usize = 1 + EPOCH_BYTES;
/// Bytes that stand for a cache.
const CACHE_BYTES: usize = 3;
/// Bytes that stand for an entry.
const ENTRY_BYTES: usize = 12;

/// Hashes of so many caches are at hand: they would be made for each record anew.
const CACHES: usize = 64;

/// What stands for a cache.
type CacheHash = [u8; CACHE_BYTES];

/// A cache, and what stands for it.
type Known = (Box<[u8]>, CacheHash);

/// Hashes names for one epoch.
pub struct NameKey {
    epoch: u32,
    key: hmac::Key,
    /// Caches and what stands for them, each in the place that its name has.
    caches: [Mutex<Option<Known>>; CACHES],
}

impl NameKey {
    /// From key material that is used for nothing else.
    pub fn new(epoch: u32, key: &[u8]) -> Self {
        Self {
            epoch,
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            caches: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// For which epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Where the record of `key` is filed.
    pub fn place(&self, key: &[u8]) -> Bytes {
        let (cache, name) = split(key);
        let entry = self.hash(b"e", cache, name);
        let mut place = BytesMut::with_capacity(HEAD_BYTES + CACHE_BYTES + ENTRY_BYTES);
        self.put_cache(&mut place, cache);
        place.put_slice(entry.as_ref().get(..ENTRY_BYTES).unwrap_or_default());
        place.freeze()
    }

    /// What the places of all records of a cache begin with, and maybe those of others.
    pub fn cache(&self, cache: &[u8]) -> Bytes {
        let mut place = BytesMut::with_capacity(HEAD_BYTES + CACHE_BYTES);
        self.put_cache(&mut place, cache);
        place.freeze()
    }

    /// Whether a place is one of those that it makes.
    pub fn filed(&self, place: &[u8]) -> bool {
        let head = match place {
            [PLACE, rest @ ..] => rest,
            own => split(own).1,
        };
        head.starts_with(&self.epoch_bytes())
    }

    fn put_cache(&self, place: &mut BytesMut, cache: &[u8]) {
        if is_reserved(cache) {
            place.put_slice(cache);
            place.put_u8(SEPARATOR as u8);
            place.put_slice(&self.epoch_bytes());
            return;
        }
        self.put_head(place);
        place.put_slice(&self.cache_hash(cache));
    }

    fn cache_hash(&self, cache: &[u8]) -> CacheHash {
        let at = foldhash::quality::FixedState::default().hash_one(cache) as usize % CACHES;
        let known = self.caches.get(at);
        if let Some(known) = known
            && let Some((name, hash)) = &*known.lock()
            && **name == *cache
        {
            return *hash;
        }
        let hash = self.hash(b"c", cache, b"");
        let hash = *hash.as_ref().first_chunk().unwrap_or(&[0; CACHE_BYTES]);
        if let Some(known) = known {
            *known.lock() = Some((cache.into(), hash));
        }
        hash
    }

    /// Big endian: old ones lie before new ones.
    fn epoch_bytes(&self) -> [u8; EPOCH_BYTES] {
        let [_, bytes @ ..] = self.epoch.to_be_bytes();
        bytes
    }

    fn put_head(&self, place: &mut BytesMut) {
        place.put_u8(PLACE);
        place.put_slice(&self.epoch_bytes());
    }

    /// No two of kind, cache and name make the same input.
    fn hash(&self, kind: &[u8], cache: &[u8], name: &[u8]) -> hmac::Tag {
        let mut hash = hmac::Context::with_key(&self.key);
        hash.update(kind);
        hash.update(&(cache.len() as u64).to_le_bytes());
        hash.update(cache);
        hash.update(name);
        hash.sign()
    }
}

/// Shows the epoch, nothing of the key.
impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameKey({})", self.epoch)
    }
}

/// Cache and name of a stored key; all of it is the name where there is no cache.
pub fn split(key: &[u8]) -> (&[u8], &[u8]) {
    match key.iter().position(|byte| *byte == SEPARATOR as u8) {
        Some(at) => {
            let (cache, rest) = key.split_at(at);
            (cache, rest.get(1..).unwrap_or_default())
        }
        None => (b"", key),
    }
}

/// Whether a cache is larder's own.
pub fn is_reserved(cache: &[u8]) -> bool {
    cache.first() == Some(&(RESERVED as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_show_the_cache_only_as_a_hash_that_its_entries_share() {
        let names = NameKey::new(7, &[1; 32]);
        let (ada, bob) = (names.place(b"users/ada"), names.place(b"users/bob"));
        assert_ne!(ada, bob);
        assert!(ada.starts_with(&names.cache(b"users")) && bob.starts_with(&names.cache(b"users")));
        assert!(!ada.starts_with(&names.cache(b"teams")));
        assert!(names.filed(&ada) && !NameKey::new(8, &[1; 32]).filed(&ada));
        assert_eq!(ada.len(), 19);
        assert_ne!(ada, NameKey::new(7, &[2; 32]).place(b"users/ada"));
        assert_ne!(ada, NameKey::new(8, &[1; 32]).place(b"users/ada"));
    }

    #[test]
    fn what_is_larders_own_keeps_its_cache_and_hides_its_name() {
        let names = NameKey::new(7, &[1; 32]);
        let fence = names.place(b"\0fences/users/team:7");
        assert!(fence.starts_with(b"\0fences/\0\0\x07"));
        assert_eq!(fence.len(), 8 + 3 + ENTRY_BYTES);
        assert!(fence.starts_with(&names.cache(b"\0fences")) && names.filed(&fence));
    }

    #[test]
    fn a_name_is_not_taken_for_another_that_is_cut_elsewhere() {
        let names = NameKey::new(1, &[1; 32]);
        let all = [&b"a/bc"[..], b"ab/c", b"abc", b"a/b/c", b"/abc", b"a/"];
        let places: std::collections::HashSet<_> = all.iter().map(|k| names.place(k)).collect();
        // A key without a cache is that of a nameless one; no host has either.
        assert_eq!(names.place(b"abc"), names.place(b"/abc"));
        assert_eq!(places.len(), all.len() - 1);
    }
}
