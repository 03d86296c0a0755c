//! The words in which the checks are written: short ways to call a driver that must answer.

use bytes::Bytes;

use crate::clock::{Millis, NEVER};
use crate::drivers::{
    Driver, Factory, PageLimit, Reclaimed, StoreDurability, StoreDurability::Written, Write,
};
use crate::record::{self, Header};
use crate::version::Version;

/// A driver on the store.
pub fn open(factory: &Factory) -> Box<dyn Driver> {
    factory().expect("the factory opens the store")
}

/// A version, by number.
pub fn version(n: u64) -> Version {
    Version::new(n).expect("versions in this suite are above zero")
}

/// A whole record.
pub fn rec(key: &[u8], n: u64, keep_ms: Millis, payload: &[u8]) -> Bytes {
    let header = Header {
        version: version(n),
        created_ms: 1,
        expires_ms: keep_ms,
        keep_ms,
        idle_ms: 0,
        ends_ms: NEVER,
        schema: 0,
        type_tag: 0,
        codec: 0,
        priority: 0,
        flags: 0,
        tags: Box::default(),
    };
    record::encode(key, &header, payload)
}

/// A put of [`rec`].
pub fn put(key: &[u8], n: u64, keep_ms: Millis, payload: &[u8]) -> Write {
    Write::Put {
        key: Bytes::copy_from_slice(key),
        record: rec(key, n, keep_ms, payload),
        version: version(n),
        keep_ms,
    }
}

/// A delete.
pub fn delete(key: &[u8]) -> Write {
    Write::Delete {
        key: Bytes::copy_from_slice(key),
    }
}

/// Puts a record under each key.
pub fn fill(driver: &dyn Driver, keys: &[&[u8]]) {
    let batch: Vec<_> = keys.iter().map(|key| put(key, 1, NEVER, b"x")).collect();
    commit(driver, &batch, Written);
}

/// Commits, and must not fail.
pub fn commit(driver: &dyn Driver, batch: &[Write], durability: StoreDurability) {
    driver.commit(batch, durability).expect("commit answers");
}

/// Gets, and must not fail.
pub fn get(driver: &dyn Driver, key: &[u8]) -> Option<Bytes> {
    driver.get(key).expect("get answers")
}

/// Scans, and must not fail.
pub fn scan(
    driver: &dyn Driver,
    prefix: &[u8],
    after: &[u8],
    count_max: usize,
    bytes_max: usize,
) -> Vec<(Bytes, Bytes)> {
    let page = PageLimit {
        count_max,
        bytes_max,
    };
    driver.scan(prefix, after, page).expect("scan answers")
}

/// The keys that [`scan`] finds.
pub fn keys(
    driver: &dyn Driver,
    prefix: &[u8],
    after: &[u8],
    count_max: usize,
    bytes_max: usize,
) -> Vec<Vec<u8>> {
    let found = scan(driver, prefix, after, count_max, bytes_max);
    found.into_iter().map(|(key, _)| key.to_vec()).collect()
}

/// Reclaims, and must not fail.
pub fn reclaim(driver: &dyn Driver, now_ms: Millis, count_max: usize) -> Reclaimed {
    driver.reclaim(now_ms, count_max).expect("reclaim answers")
}

/// Until nothing more is due, as larder does.
pub fn reclaim_until(driver: &dyn Driver, now_ms: Millis, count_max: usize) -> Reclaimed {
    let mut all = Reclaimed::default();
    for _ in 0..1_000 {
        let some = reclaim(driver, now_ms, count_max);
        all.records.extend(some.records);
        all.next_ms = some.next_ms;
        if all.next_ms.is_none_or(|at| at > now_ms) {
            return all;
        }
    }
    panic!("reclaim says again and again that more is due");
}

/// `next_ms` may be early, but neither late nor in the past.
pub fn next_is(reclaimed: &Reclaimed, now_ms: Millis, due_ms: Millis) {
    let next = reclaimed.next_ms;
    assert!(
        next.is_some_and(|at| at > now_ms && at <= due_ms),
        "the next is due at {due_ms}, and not {next:?}"
    );
}

/// The version in a record, which must be whole.
pub fn version_of(key: &[u8], record: &Bytes) -> u64 {
    let (header, _) = record::decode(key, record).expect("a whole record");
    header.version.get()
}

/// In the order of keys.
pub fn sorted(mut records: Vec<(Bytes, Version)>) -> Vec<(Bytes, Version)> {
    records.sort_unstable();
    records
}
