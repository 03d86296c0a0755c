//! Getting, putting and deleting, one record or many.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::support::{commit, delete, fill, get, keys, open, put, rec, scan, version_of};
use crate::clock::NEVER;
use crate::drivers::{Driver, Factory, StoreDurability::Synced, StoreDurability::Written};

/// Put, get, overwrite, delete; deleting what is not there is no failure.
pub fn puts_and_deletes(factory: &Factory) {
    let driver = open(factory);
    assert_eq!(get(&*driver, b"a/1"), None, "a fresh store is empty");
    commit(
        &*driver,
        &[put(b"a/1", 1, NEVER, b"one"), put(b"a/2", 2, NEVER, b"")],
        Written,
    );
    assert_eq!(
        get(&*driver, b"a/1"),
        Some(rec(b"a/1", 1, NEVER, b"one")),
        "what was put is there"
    );
    assert_eq!(
        get(&*driver, b"a/2"),
        Some(rec(b"a/2", 2, NEVER, b"")),
        "also with no payload"
    );
    assert_eq!(
        get(&*driver, b"a/"),
        None,
        "a prefix of a key is another key"
    );
    commit(
        &*driver,
        &[
            put(b"a/1", 3, NEVER, b"two"),
            delete(b"a/2"),
            delete(b"a/3"),
        ],
        Synced,
    );
    assert_eq!(
        get(&*driver, b"a/1"),
        Some(rec(b"a/1", 3, NEVER, b"two")),
        "it was overwritten"
    );
    assert_eq!(get(&*driver, b"a/2"), None, "it was deleted");
}

/// Within a batch, writes of one key apply in their order.
pub fn batch_order(factory: &Factory) {
    let driver = open(factory);
    let batch = [
        put(b"k/a", 1, 500, b"old"),
        delete(b"k/b"),
        put(b"k/a", 2, NEVER, b"new"),
        put(b"k/b", 3, NEVER, b"back"),
        put(b"k/c", 4, NEVER, b"gone"),
        delete(b"k/c"),
    ];
    commit(&*driver, &batch, Written);
    assert_eq!(
        get(&*driver, b"k/a"),
        Some(rec(b"k/a", 2, NEVER, b"new")),
        "the later put wins"
    );
    assert_eq!(
        get(&*driver, b"k/b"),
        Some(rec(b"k/b", 3, NEVER, b"back")),
        "a put after a delete"
    );
    assert_eq!(get(&*driver, b"k/c"), None, "a delete after a put");
    assert_eq!(
        scan(&*driver, b"", b"", 9, 9_999).len(),
        2,
        "no key is there twice"
    );
}

/// The answers of `get_many` stand where the keys stood.
pub fn get_many_order(factory: &Factory) {
    let driver = open(factory);
    fill(&*driver, &[b"k/a", b"k/b", b"k/c"]);
    let keys = [&b"k/c"[..], b"k/none", b"k/a", b"k/c"].map(Bytes::from_static);
    let found = driver.get_many(&keys).expect("get_many answers");
    let want = keys.each_ref().map(|key| get(&*driver, key));
    assert_eq!(found, want, "an answer for each key, in their order");
    assert!(
        found[1].is_none() && found[2].is_some(),
        "absent ones are none"
    );
    assert_eq!(
        driver.get_many(&[]).expect("get_many answers"),
        [],
        "no keys, no answers"
    );
}

/// A record of a MiB, between small ones.
pub fn large_record(factory: &Factory) {
    let payload: Vec<u8> = (0..1_u32 << 20).map(|n| (n % 251) as u8).collect();
    let batch = [
        put(b"k/a", 1, NEVER, b"small"),
        put(b"k/b", 2, NEVER, &payload),
        put(b"k/c", 3, NEVER, b"small"),
    ];
    let driver = open(factory);
    commit(&*driver, &batch, Synced);
    let whole = Some(rec(b"k/b", 2, NEVER, &payload));
    assert_eq!(get(&*driver, b"k/b"), whole, "every byte of it");
    assert_eq!(
        keys(&*driver, b"k/", b"", 9, 4 << 20).len(),
        3,
        "a scan passes it"
    );
    drop(driver);
    assert_eq!(get(&*open(factory), b"k/b"), whole, "also after reopening");
}

/// An empty batch changes nothing and, when synced, covers the commits before it.
pub fn empty_batch(factory: &Factory) {
    let driver = open(factory);
    commit(&*driver, &[], Written);
    commit(&*driver, &[put(b"k/a", 1, NEVER, b"")], Written);
    commit(&*driver, &[], Synced);
    assert_eq!(
        keys(&*driver, b"", b"", 9, 9_999),
        [b"k/a"],
        "nothing but what was put"
    );
}

/// While batches are committed, `scan` sees each batch in whole, and never an older one after a newer.
pub fn whole_batches(factory: &Factory) {
    while_committing(factory, |driver, _| {
        let found = scan(driver, b"k/", b"", 99, 99_999);
        let versions = found.iter().map(|(key, record)| version_of(key, record));
        versions.collect()
    });
}

/// As [`whole_batches`], for `get_many`.
pub fn many_at_one_moment(factory: &Factory) {
    while_committing(factory, |driver, names| {
        let found = driver.get_many(names).expect("get_many answers");
        let found = names.iter().zip(found);
        found
            .filter_map(|(key, record)| Some(version_of(key, &record?)))
            .collect()
    });
}

/// Looks at the same few records again and again while batches of all of them are committed.
fn while_committing(factory: &Factory, look: fn(&dyn Driver, &[Bytes]) -> Vec<u64>) {
    const ROUNDS: u64 = 200;
    let names: Vec<Bytes> = (0..8).map(|n| format!("k/{n}").into()).collect();
    let driver = &*open(factory);
    let write = |round: u64| {
        let batch: Vec<_> = names
            .iter()
            .map(|key| put(key, round, NEVER, b"x"))
            .collect();
        commit(driver, &batch, Written);
    };
    write(1);
    let is_over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Over(is_over);
        scope.spawn(|| {
            let mut last = 0;
            while !is_over.load(Ordering::Acquire) {
                let seen = look(driver, &names);
                assert_eq!(
                    seen.len(),
                    names.len(),
                    "a reader sees every key of the batch"
                );
                assert!(
                    seen.iter().all(|v| *v == seen[0]),
                    "a reader saw half of a batch"
                );
                assert!(
                    seen[0] >= last,
                    "a reader saw an older batch after a newer one"
                );
                last = seen[0];
            }
        });
        (2..=ROUNDS).for_each(write);
        drop(over);
    });
    assert!(
        names
            .iter()
            .all(|key| get(driver, key).is_some_and(|r| version_of(key, &r) == ROUNDS))
    );
}

/// Ends the reader, also when a commit fails and panics here.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
