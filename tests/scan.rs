//! Scans: order, pages, cursors, and that they see what reads see.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::cache::Cursor;
use larder::clock::Clock;
use larder::{ActorState, Builder, Cache, Durability, Error, Larder, Source};
use trial::{SOON, Trial, until, until_actor};

const START_MS: u64 = 1_800_000_000_000;

/// Keys around everything that a prefix can be wrong about.
const KEYS: [&str; 14] = [
    "\u{1}control",
    "a",
    "a\u{0}",
    "a/b",
    "ab",
    "b",
    "z",
    "{",
    "\u{7f}",
    "ü",
    "üb",
    "\u{ffff}x",
    "\u{10ffff}",
    "\u{10ffff}\u{10ffff}",
];

fn over(trial: &Trial) -> Builder {
    let trial = trial.clone();
    Larder::builder().driver("store", move || trial.open())
}

fn over_two(upper: &Trial, lower: &Trial) -> Builder {
    let lower = lower.clone();
    over(upper).driver("lower", move || lower.open())
}

/// All keys of a scan, page by page.
async fn keys(cache: &Cache<u64>, prefix: &str, page_size: usize) -> Vec<String> {
    let mut keys = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let mut scan = cache.scan(prefix).page_size(page_size);
        if let Some(after) = after.take() {
            scan = scan.after(after);
        }
        let page = scan.await.unwrap();
        assert!(page.entries.len() <= page_size);
        assert!(!page.partial);
        keys.extend(page.entries.into_iter().map(|(key, _)| key));
        match page.next {
            Some(next) => after = Some(next),
            None => return keys,
        }
    }
}

async fn is_read_in_order_by_every_prefix_and_page(cache: &Cache<u64>) {
    let mut sorted = KEYS;
    sorted.sort_unstable();
    let prefixes = [
        "",
        "a",
        "a\u{0}",
        "a/",
        "ab",
        "abc",
        "z",
        "\u{7f}",
        "ü",
        "\u{ffff}",
        "\u{10ffff}",
        "no",
    ];
    for prefix in prefixes {
        let expected: Vec<_> = sorted.iter().filter(|k| k.starts_with(prefix)).collect();
        for page_size in [1, 2, 3, expected.len().max(1), 100] {
            let found = keys(cache, prefix, page_size).await;
            assert!(
                found.iter().eq(expected.iter().copied()),
                "{prefix:?} by {page_size}: {found:?}"
            );
        }
    }
}

#[tokio::test]
async fn keys_come_in_the_order_of_their_bytes_from_memory_store_and_disk() {
    let dir = tempfile::tempdir().unwrap();
    let builders = [
        Larder::builder(),
        over(&Trial::default()),
        Larder::builder().disk(dir.path()),
    ];
    for builder in builders {
        let larder = builder.start().await.unwrap();
        // Neighbours whose keys must not be taken for this cache's.
        for other in ["numbe", "numbers2", "numbers\u{10ffff}"] {
            let other: Cache<u64> = larder.cache(other).unwrap();
            other.set("a", 0).await.unwrap();
        }
        let cache: Cache<u64> = larder.cache("numbers").unwrap();
        let items = KEYS.iter().rev().map(|key| (*key, 1));
        cache.set_many(items).await.unwrap();
        is_read_in_order_by_every_prefix_and_page(&cache).await;
        larder.flush(Durability::Written).await.unwrap();
        is_read_in_order_by_every_prefix_and_page(&cache).await;
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_scan_of_an_earlier_processes_store_is_read_from_it() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    cache.set_many(KEYS.map(|key| (key, 1))).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    is_read_in_order_by_every_prefix_and_page(&cache).await;
    let page = cache.scan("b").await.unwrap();
    assert_eq!(page.entries[0].1.source(), Source::Custom(0));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_is_not_stored_yet_lies_over_what_is() {
    let trial = Trial::default();
    let clock = Clock::manual(START_MS);
    let larder = over(&trial).clock(clock.clone()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let items = (0..10u64).map(|n| (format!("{n}"), n));
    cache.set_many(items).await.unwrap();
    larder.flush(Durability::Written).await.unwrap();
    trial.hold();
    // From here on nothing reaches the store.
    cache.set("3", 33).await.unwrap();
    cache.set("35", 35).await.unwrap();
    let late = cache.remove("4").deadline(Duration::from_millis(20)).await;
    late.unwrap();
    cache.set("5", 5).ttl(Duration::from_secs(1)).await.unwrap();
    cache.expire("6").await.unwrap();
    clock.advance(Duration::from_secs(2));
    for page_size in 1..12 {
        let found = keys(&cache, "", page_size).await;
        assert_eq!(found, ["0", "1", "2", "3", "35", "7", "8", "9"]);
    }
    let page = cache.scan("3").await.unwrap();
    assert_eq!(*page.entries[0].1, 33);
    trial.release();
    larder.shutdown(SOON).await.unwrap();
}

/// `read` gives a page and keeps it back until what makes it old has been stored everywhere.
async fn what_a_page_did_not_know_is_not_undone_by_it(builder: Builder, all: &[&Trial]) {
    let read = all[all.len() - 1];
    let clock = Clock::manual(START_MS);
    let larder = builder.clock(clock.clone()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    for key in ["expired", "lasting", "removed", "updated"] {
        cache.set(key, 1).await.unwrap();
    }
    larder.flush(Durability::Written).await.unwrap();
    all.iter().for_each(|trial| trial.hold());
    let queued = Durability::Queued;
    cache.remove("removed").durability(queued).await.unwrap();
    cache.set("updated", 2).await.unwrap();
    let second = Duration::from_secs(1);
    cache.set("expired", 2).ttl(second).await.unwrap();
    clock.advance(second * 2);
    read.hold_scans();
    let before = read.scans();
    let scan = tokio::spawn({
        let cache = cache.clone();
        async move { cache.scan("").await.unwrap() }
    });
    until("the page is read", || read.scans() > before).await;
    // The store has given the old records; now it learns better, and memory forgets.
    all.iter().for_each(|trial| trial.release());
    larder.flush(Durability::Written).await.unwrap();
    let sweep = larder.memory().unwrap().sweep;
    sweep.send(larder::messages::memory::Sweep).await.unwrap();
    read.release_scans();
    let page = scan.await.unwrap();
    let found: Vec<_> = page
        .entries
        .iter()
        .map(|(key, e)| (key.as_str(), **e))
        .collect();
    assert_eq!(found, [("lasting", 1), ("updated", 2)]);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_removal_that_is_stored_while_a_page_is_read_is_not_undone_by_it() {
    let (upper, lower) = (Trial::default(), Trial::default());
    what_a_page_did_not_know_is_not_undone_by_it(over(&upper), &[&upper]).await;
    let both = over_two(&Trial::default(), &lower);
    what_a_page_did_not_know_is_not_undone_by_it(both, &[&lower]).await;
    let (upper, lower) = (Trial::default(), Trial::default());
    let both = over_two(&upper, &lower);
    what_a_page_did_not_know_is_not_undone_by_it(both, &[&upper, &lower]).await;
}

#[tokio::test]
async fn pages_that_hold_only_removed_keys_still_lead_on() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let items = (0..40u64).map(|n| (format!("{n:02}"), n));
    cache.set_many(items).await.unwrap();
    larder.flush(Durability::Written).await.unwrap();
    trial.hold();
    for n in 0..39u64 {
        let removal = cache
            .remove(&format!("{n:02}"))
            .deadline(Duration::ZERO)
            .await;
        removal.unwrap();
    }
    assert_eq!(keys(&cache, "", 5).await, ["39"]);
    let first = cache.scan("").page_size(5).await.unwrap();
    assert!(first.entries.is_empty() && first.next.is_some());
    trial.release();
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_a_fence_covers_is_not_scanned_however_it_is_stored() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    for n in 0..20u64 {
        let key = format!("{n:02}");
        let tag = if n % 2 == 0 { "even" } else { "odd" };
        cache.set(&key, n).tag(tag).await.unwrap();
    }
    larder.flush(Durability::Written).await.unwrap();
    cache.remove_tag("even").await.unwrap();
    let found = keys(&cache, "", 3).await;
    assert_eq!(found.len(), 10);
    assert!(found.iter().all(|k| k.parse::<u64>().unwrap() % 2 == 1));
    cache.clear().await.unwrap();
    assert!(keys(&cache, "", 3).await.is_empty());
    cache.set("new", 1).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    assert_eq!(keys(&cache, "", 3).await, ["new"]);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_has_expired_in_the_store_is_not_scanned() {
    let trial = Trial::default();
    let clock = Clock::manual(START_MS);
    let larder = over(&trial).clock(clock.clone()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let second = Duration::from_secs(1);
    cache.set("a", 1).ttl(second).await.unwrap();
    cache
        .set("b", 1)
        .ttl(second)
        .stale_for(second * 60)
        .await
        .unwrap();
    cache.set("c", 1).ttl(second * 60).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    clock.advance(second * 2);
    let larder = over(&trial).clock(clock.clone()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    assert_eq!(keys(&cache, "", 10).await, ["c"]);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn with_a_store_down_a_page_is_partial_and_shows_what_memory_knows() {
    let trial = Trial::default();
    let clock = Clock::manual(START_MS);
    let larder = over(&trial).clock(clock.clone()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    cache.set("clean", 1).await.unwrap();
    larder.flush(Durability::Written).await.unwrap();
    larder.stop_actor("store");
    until_actor(&larder, "store", ActorState::Down).await;
    cache.set("dirty", 2).await.unwrap();
    let page = cache.scan("").await.unwrap();
    assert!(page.partial);
    let found: Vec<_> = page.entries.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(found, ["clean", "dirty"]);
    clock.advance(Duration::from_secs(60));
    until_actor(&larder, "store", ActorState::Up).await;
    assert!(!cache.scan("").await.unwrap().partial);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn with_one_of_two_stores_down_a_page_is_partial_and_shows_what_the_other_has() {
    let (upper, lower) = (Trial::default(), Trial::default());
    let larder = over_two(&upper, &lower).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    cache.set("a", 1).await.unwrap();
    cache.set("b", 1).drivers(["store"]).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    for (down, found) in [("store", vec!["a"]), ("lower", vec!["a", "b"])] {
        let clock = Clock::manual(START_MS);
        let builder = over_two(&upper, &lower).clock(clock.clone());
        let larder = builder.start().await.unwrap();
        let cache: Cache<u64> = larder.cache("numbers").unwrap();
        larder.stop_actor(down);
        until_actor(&larder, down, ActorState::Down).await;
        let page = cache.scan("").await.unwrap();
        assert!(page.partial);
        let shown: Vec<_> = page.entries.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(shown, found, "without {down}");
        clock.advance(Duration::from_secs(60));
        until_actor(&larder, down, ActorState::Up).await;
        assert_eq!(keys(&cache, "", 1).await, ["a", "b"]);
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_cursor_outlives_the_process_as_text_and_the_key_it_stands_at() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    cache.set_many(KEYS.map(|key| (key, 1))).await.unwrap();
    let mut sorted = KEYS;
    sorted.sort_unstable();
    let page = cache.scan("").page_size(5).await.unwrap();
    let cursor = page.next.unwrap();
    assert_eq!(cursor.key(), sorted[4]);
    cache.remove(sorted[4]).await.unwrap();
    let text = cursor.to_string();
    larder.shutdown(SOON).await.unwrap();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let cursor: Cursor = text.parse().unwrap();
    let page = cache.scan("").after(cursor).await.unwrap();
    let found: Vec<_> = page.entries.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(found, sorted[5..]);
    assert!("no cursor".parse::<Cursor>().is_err());
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_cursor_of_another_scan_and_a_page_of_no_size_are_refused() {
    let larder = Larder::builder().start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let other: Cache<u64> = larder.cache("other").unwrap();
    cache.set_many(KEYS.map(|key| (key, 1))).await.unwrap();
    let page = cache.scan("a").page_size(1).await.unwrap();
    let cursor = page.next.unwrap();
    let refusals = [
        other.scan("a").after(cursor.clone()).await.unwrap_err(),
        cache.scan("").after(cursor).await.unwrap_err(),
        cache.scan("").page_size(0).await.unwrap_err(),
        cache.scan("").page_size(10_001).await.unwrap_err(),
    ];
    let fields = refusals.map(|error| match error {
        Error::Invalid { field, reason } => {
            assert!(!reason.is_empty());
            field
        }
        other => panic!("{other}"),
    });
    assert_eq!(fields, ["after", "after", "page_size", "page_size"]);
    larder.shutdown(SOON).await.unwrap();
}

/// Writers that set and remove keys between the lasting ones, evict and flush, until told to stop.
fn disturb(
    cache: &Cache<u64>,
    lasting: u64,
    seed: u64,
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<u64> {
    let (cache, stop) = (cache.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rounds = 0;
        while !stop.load(Ordering::SeqCst) {
            rounds += 1;
            let n = random.u64(0..lasting);
            match random.u8(0..10) {
                0..4 => drop(cache.set(&format!("{n:04}/x"), rounds).await.unwrap()),
                4..7 => drop(
                    cache
                        .remove(&format!("{n:04}/x"))
                        .durability(Durability::Queued)
                        .await
                        .unwrap(),
                ),
                // A lasting key gets another value and is there all the same.
                7..9 => drop(cache.set(&format!("{n:04}"), rounds).await.unwrap()),
                _ => drop(cache.get(&format!("{n:04}")).await.unwrap()),
            }
            if rounds % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
        rounds
    })
}

async fn every_lasting_key_is_seen_once(builder: Builder, seed: u64) {
    const LASTING: u64 = 300;
    let larder = builder.start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let items = (0..LASTING).map(|n| (format!("{n:04}"), n));
    cache.set_many(items).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|n| disturb(&cache, LASTING, seed * 10 + n, &stop))
        .collect();
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..12 {
        let found = keys(&cache, "", random.usize(1..60)).await;
        assert!(found.is_sorted(), "{found:?}");
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for key in &found {
            *times.entry(key).or_default() += 1;
        }
        assert!(times.values().all(|times| *times == 1));
        for n in 0..LASTING {
            let key = format!("{n:04}");
            assert!(
                times.contains_key(&*key),
                "seed {seed}: {key} was overlooked"
            );
        }
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whatever_is_written_meanwhile_every_lasting_key_is_seen_once() {
    for seed in 0..4 {
        every_lasting_key_is_seen_once(Larder::builder(), seed).await;
        every_lasting_key_is_seen_once(over(&Trial::default()), seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_lasting_key_is_seen_once_though_memory_evicts_all_the_time() {
    let mut limits = larder::Limits::default();
    limits.value_bytes_max = 4_096;
    for seed in 0..4 {
        let builder = over(&Trial::default())
            .memory_bytes(64 << 10)
            .limits(limits.clone());
        every_lasting_key_is_seen_once(builder, seed).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let builder = Larder::builder()
        .disk(dir.path())
        .memory_bytes(64 << 10)
        .limits(limits);
    every_lasting_key_is_seen_once(builder, 99).await;
}
