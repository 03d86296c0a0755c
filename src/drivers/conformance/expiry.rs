//! Reclaiming what is due, and nothing else.

use bytes::Bytes;

use super::support::{
    commit, delete, keys, next_is, open, put, reclaim, reclaim_until, sorted, version,
};
use crate::clock::NEVER;
use crate::drivers::{Factory, Reclaimed, StoreDurability::Written};

/// Records go at their `keep_ms` and not before; those that stay for ever stay.
pub fn reclaim_due(factory: &Factory) {
    let driver = open(factory);
    assert_eq!(
        reclaim(&*driver, 500, 9),
        Reclaimed::default(),
        "nothing stored, nothing due"
    );
    let batch = [
        put(b"k/late", 1, 900, b""),
        put(b"k/due", 2, 100, b""),
        put(b"k/edge", 3, 200, b""),
        put(b"k/ever", 4, NEVER, b""),
    ];
    commit(&*driver, &batch, Written);
    let early = reclaim(&*driver, 99, 9);
    assert_eq!(early.records, [], "nothing goes before its time");
    next_is(&early, 99, 100);
    let first = reclaim(&*driver, 200, 9);
    let want =
        [(&b"k/due"[..], 2), (b"k/edge", 3)].map(|(key, v)| (Bytes::from_static(key), version(v)));
    assert_eq!(
        sorted(first.records.clone()),
        sorted(want.to_vec()),
        "at or before now"
    );
    next_is(&first, 200, 900);
    assert_eq!(
        keys(&*driver, b"", b"", 9, 9_999),
        [&b"k/ever"[..], b"k/late"],
        "they are gone"
    );
    let last = reclaim_until(&*driver, NEVER - 1, 9);
    assert_eq!(
        last.records,
        [(Bytes::from_static(b"k/late"), version(1))],
        "the last one"
    );
    assert_eq!(last.next_ms, None, "nothing more will be due");
    assert_eq!(
        keys(&*driver, b"", b"", 9, 9_999),
        [b"k/ever"],
        "what stays for ever stays"
    );
    commit(&*driver, &[put(b"k/soon", 5, 50, b"")], Written);
    let soon = reclaim(&*driver, 60, 9);
    assert_eq!(
        soon.records,
        [(Bytes::from_static(b"k/soon"), version(5))],
        "also one that is due before what has gone already"
    );
}

/// One call deletes at most `count_max` records; the rest is due at once.
pub fn reclaim_bounded(factory: &Factory) {
    let driver = open(factory);
    let put_one = |n: u8| put(&[b'k', n], u64::from(n) + 1, 100, b"");
    commit(&*driver, &(0..10).map(put_one).collect::<Vec<_>>(), Written);
    let mut gone = Vec::new();
    for _ in 0..3 {
        let some = reclaim(&*driver, 100, 3);
        assert_eq!(some.records.len(), 3, "as many as asked for");
        assert!(
            some.next_ms.is_some_and(|at| at <= 100),
            "and the rest is due"
        );
        gone.extend(some.records);
    }
    gone.extend(reclaim_until(&*driver, 100, 3).records);
    gone.sort_unstable();
    gone.dedup();
    assert_eq!(gone.len(), 10, "each of them once");
    assert_eq!(
        keys(&*driver, b"", b"", 99, 9_999),
        [b""; 0],
        "nothing is left"
    );
}

/// A record that was overwritten, or deleted and put again, goes by its own `keep_ms`.
pub fn reclaim_newer(factory: &Factory) {
    let driver = open(factory);
    let old = [b"k/a", b"k/b", b"k/c", b"k/d"].map(|key| put(key, 1, 100, b"old"));
    commit(&*driver, &old, Written);
    let new = [
        put(b"k/a", 2, 300, b"later"),
        put(b"k/b", 3, NEVER, b"for ever"),
        delete(b"k/c"),
        put(b"k/d", 4, 50, b"sooner"),
    ];
    commit(&*driver, &new, Written);
    let gone = reclaim_until(&*driver, 200, 9).records;
    assert_eq!(
        gone,
        [(Bytes::from_static(b"k/d"), version(4))],
        "only what is due as it is now"
    );
    assert_eq!(
        keys(&*driver, b"", b"", 9, 9_999),
        [b"k/a", b"k/b"],
        "newer records survive"
    );
    let gone = reclaim_until(&*driver, 300, 9);
    assert_eq!(
        gone.records,
        [(Bytes::from_static(b"k/a"), version(2))],
        "until their own time"
    );
    assert_eq!(gone.next_ms, None, "and no trace of the older ones is left");
}
