//! Scanning: order, bounds, prefixes and pages.

use super::support::{commit, delete, fill, get, keys, open, put, rec, scan};
use crate::clock::NEVER;
use crate::drivers::{Factory, StoreDurability::Written};

/// A scan is ordered by key, starts strictly after `after`, and ends at a bound, but not before it
/// has a record.
pub fn scan_bounds(factory: &Factory) {
    let driver = open(factory);
    assert_eq!(
        keys(&*driver, b"", b"", 9, 9_999),
        [b""; 0],
        "nothing stored, nothing found"
    );
    fill(&*driver, &[b"k/b", b"k/d", b"k/a", b"k/c"]);
    assert_eq!(
        keys(&*driver, b"k/", b"", 9, 9_999),
        [b"k/a", b"k/b", b"k/c", b"k/d"],
        "in order"
    );
    assert_eq!(
        keys(&*driver, b"k/", b"k/b", 9, 9_999),
        [b"k/c", b"k/d"],
        "strictly after"
    );
    assert_eq!(
        keys(&*driver, b"k/", b"k/bb", 9, 9_999),
        [b"k/c", b"k/d"],
        "after an absent key"
    );
    assert_eq!(
        keys(&*driver, b"k/", b"k/d", 9, 9_999),
        [b""; 0],
        "after the last one"
    );
    assert_eq!(
        keys(&*driver, b"k/", b"", 2, 9_999),
        [b"k/a", b"k/b"],
        "at most count_max"
    );
    assert_eq!(
        keys(&*driver, b"k/", b"", 9, 1),
        [b"k/a"],
        "at least one, however large"
    );
    let bytes = 2 * rec(b"k/a", 1, NEVER, b"x").len();
    let found = keys(&*driver, b"k/", b"", 9, bytes).len();
    assert!(
        (1..=3).contains(&found),
        "about bytes_max, but found {found} of 2"
    );
    for (key, record) in scan(&*driver, b"k/", b"", 9, 9_999) {
        assert_eq!(
            Some(record),
            get(&*driver, &key),
            "a scan finds what get finds"
        );
    }
}

/// A scan finds the keys that begin with its prefix and no others.
pub fn scan_prefixes(factory: &Factory) {
    let driver = open(factory);
    fill(
        &*driver,
        &[b"a/1", b"b/1", b"b/2", b"b/2/3", b"b0", b"bb/1", b"c/1"],
    );
    let under = |prefix: &[u8], after: &[u8]| keys(&*driver, prefix, after, 9, 9_999);
    assert_eq!(
        under(b"b/", b""),
        [&b"b/1"[..], b"b/2", b"b/2/3"],
        "all below the prefix"
    );
    assert_eq!(
        under(b"b/2", b""),
        [&b"b/2"[..], b"b/2/3"],
        "the prefix itself is one"
    );
    assert_eq!(
        under(b"b/2", b"b/2"),
        [b"b/2/3"],
        "unless it was the last one seen"
    );
    assert_eq!(
        under(b"b/", b"a/zzz"),
        [&b"b/1"[..], b"b/2", b"b/2/3"],
        "after what is before it"
    );
    assert_eq!(under(b"b/", b"bb"), [b""; 0], "after what is behind it");
    assert_eq!(under(b"", b"").len(), 7, "the empty prefix is of all keys");
    assert_eq!(under(b"d", b""), [b""; 0], "a prefix of none");
}

/// Separators, control characters, other scripts and the highest bytes are keys like others.
pub fn odd_keys(factory: &Factory) {
    let driver = open(factory);
    let long = [b'x'; 1_024];
    let mut odd: Vec<&[u8]> = vec![
        b"\0",
        b"\0\0",
        b"k/\0",
        b"k/\n\t",
        b"k/a/b/c",
        b"k//",
        "k/schlüssel".as_bytes(),
        "k/鍵".as_bytes(),
        b"k/\xff",
        b"k/\xff\xff",
        b"\xff",
        b"\xff\xff\xff",
        b"m",
        b"r",
        b"x",
        &long,
    ];
    fill(&*driver, &odd);
    odd.sort_unstable();
    assert_eq!(
        keys(&*driver, b"", b"", 99, 99_999),
        odd,
        "all of them, in the order of bytes"
    );
    for key in &odd {
        assert!(get(&*driver, key).is_some(), "each can be got");
    }
    let high = [&b"\xff"[..], b"\xff\xff\xff"];
    assert_eq!(
        keys(&*driver, b"\xff", b"", 9, 9_999),
        high,
        "a prefix of the highest byte"
    );
    assert_eq!(
        keys(&*driver, b"k/\xff", b"k/\xff", 9, 9_999),
        [b"k/\xff\xff"],
        "and after it"
    );
}

/// Walking page by page finds every key once, also those that stay while others come and go.
pub fn scan_pages(factory: &Factory) {
    let driver = open(factory);
    let names: Vec<Vec<u8>> = (0..50).map(|n| format!("k/{n:03}").into_bytes()).collect();
    fill(
        &*driver,
        &names.iter().map(Vec::as_slice).collect::<Vec<_>>(),
    );
    let (mut found, mut after) = (Vec::new(), Vec::new());
    for page in 0.. {
        let next = keys(&*driver, b"k/", &after, 7, 99_999);
        let Some(last) = next.last() else { break };
        after.clone_from(last);
        found.extend(next.into_iter().filter(|key| names.contains(key)));
        // A key behind the cursor comes, another goes again.
        let new = format!("k/{page:03}a").into_bytes();
        commit(&*driver, &[put(&new, 9, NEVER, b"")], Written);
        commit(&*driver, &[delete(&new)], Written);
    }
    assert_eq!(found, names, "each key once, in order");
}
