//! What survives reopening, and how much there is.

use bytes::Bytes;

use super::support::{commit, delete, get, next_is, open, put, rec, reclaim, scan, version};
use crate::clock::NEVER;
use crate::drivers::{Factory, StoreDurability::Synced, StoreDurability::Written, Watermark};
use crate::version::Version;

/// Commits of either durability are there after reopening, in whole.
pub fn reopening(factory: &Factory) {
    for (round, durability) in [Written, Synced, Written].into_iter().enumerate() {
        let driver = open(factory);
        let n = round as u64;
        let all = scan(&*driver, b"", b"", 99, 9_999).len();
        assert_eq!(
            all,
            if n == 0 { 0 } else { 3 },
            "what was committed is there, nothing else is"
        );
        let name = format!("k/{n}");
        let batch = [
            put(name.as_bytes(), 10 + n, NEVER, b"new"),
            put(b"k/same", 20 + n, NEVER, b"over"),
            put(b"k/temp", 30 + n, NEVER, b""),
            delete(format!("k/{}", n.wrapping_sub(1)).as_bytes()),
        ];
        commit(&*driver, &batch, durability);
        drop(driver);
        let driver = open(factory);
        let same = rec(b"k/same", 20 + n, NEVER, b"over");
        assert_eq!(
            get(&*driver, b"k/same"),
            Some(same),
            "the newest value survives"
        );
        assert!(
            get(&*driver, name.as_bytes()).is_some(),
            "the batch survives in whole"
        );
    }
}

/// An index of expiry, where there is one, is as durable as the records.
pub fn reclaim_reopened(factory: &Factory) {
    let driver = open(factory);
    commit(
        &*driver,
        &[put(b"k/a", 1, 100, b""), put(b"k/b", 2, 300, b"")],
        Written,
    );
    drop(driver);
    let gone = reclaim(&*open(factory), 100, 9);
    assert_eq!(
        gone.records,
        [(Bytes::from_static(b"k/a"), version(1))],
        "due after reopening"
    );
    next_is(&gone, 100, 300);
    assert_eq!(
        reclaim(&*open(factory), 100, 9).records,
        [],
        "reclaimed for good"
    );
}

/// `reserved` is the last `reserve`, whoever made it.
pub fn reserving(factory: &Factory) {
    let driver = open(factory);
    assert_eq!(
        driver.reserved(),
        Watermark::default(),
        "a new store has reserved nothing"
    );
    for n in 1..=3 {
        let mark = Watermark {
            ceiling: Version::at(1_000 * n).get(),
            clock_ms: 900 * n,
        };
        driver.reserve(mark).expect("reserve answers");
        assert_eq!(driver.reserved(), mark, "the last one counts");
    }
    let mark = driver.reserved();
    commit(&*driver, &[put(b"k/a", 1, NEVER, b"")], Written);
    drop(driver);
    assert_eq!(open(factory).reserved(), mark, "it survives reopening");
}

/// A store that counts its records counts about right, and one that knows its size has one.
pub fn usage(factory: &Factory) {
    let driver = open(factory);
    let empty = driver.usage();
    let put_one = |n: u64| put(format!("k/{n}").as_bytes(), n + 1, 9_999, &[7; 1_000]);
    commit(&*driver, &(0..100).map(put_one).collect::<Vec<_>>(), Synced);
    let full = driver.usage();
    assert!(
        empty.entries.is_none_or(|n| n == 0),
        "an empty store counts none"
    );
    assert!(
        full.entries.is_none_or(|n| (50..=200).contains(&n)),
        "about 100: {full:?}"
    );
    assert!(
        full.bytes >= empty.bytes,
        "more records do not take less room"
    );
}
