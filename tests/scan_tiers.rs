//! Scans over several stores: each key once, from where a read finds it, whichever store holds it.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::time::Duration;

use larder::clock::Clock;
use larder::{Builder, Cache, Durability, Larder};
use trial::{SOON, Trial, until};

const START_MS: u64 = 1_800_000_000_000;

fn over(upper: &Trial, lower: &Trial) -> Builder {
    let (upper, lower) = (upper.clone(), lower.clone());
    Larder::builder()
        .driver("upper", move || upper.open())
        .driver("lower", move || lower.open())
}

/// All keys with their values, page by page.
async fn scanned(cache: &Cache<u64>, page_size: usize) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut page = cache.scan("").page_size(page_size).await.unwrap();
    loop {
        assert!(!page.partial);
        found.extend(page.entries.into_iter().map(|(key, entry)| (key, *entry)));
        let Some(next) = page.next else { return found };
        let scan = cache.scan("").page_size(page_size).after(next);
        page = scan.await.unwrap();
    }
}

#[tokio::test]
async fn an_entry_that_only_a_lower_driver_holds_is_scanned_where_it_is_read() {
    let (upper, lower) = (Trial::default(), Trial::default());
    let larder = over(&upper, &lower).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    cache.set("a", 1).await.unwrap();
    cache.set("b", 2).drivers(["lower"]).await.unwrap();
    cache.set("c", 3).drivers(["upper"]).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    assert!(!upper.has("numbers/b") && !lower.has("numbers/c"));
    let larder = over(&upper, &lower).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let all = [("a", 1), ("b", 2), ("c", 3)].map(|(key, n)| (key.to_owned(), n));
    for page_size in 1..4 {
        assert_eq!(scanned(&cache, page_size).await, all);
    }
    for (key, n) in all {
        assert_eq!(*cache.get(&key).await.unwrap().unwrap(), n);
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_an_upper_store_knows_better_a_lower_one_that_is_behind_does_not_show() {
    let (upper, lower) = (Trial::default(), Trial::default());
    let (only_lower, only_upper) = (lower.clone(), upper.clone());
    let alone = [
        Larder::builder().driver("lower", move || only_lower.open()),
        Larder::builder().driver("upper", move || only_upper.open()),
    ];
    let clock = Clock::manual(START_MS);
    let second = Duration::from_secs(1);
    for (n, builder) in (1..).zip(alone) {
        clock.advance(second * 60);
        let larder = builder.clock(clock.clone()).start().await.unwrap();
        let cache: Cache<u64> = larder.cache("numbers").unwrap();
        cache.set("a", n).await.unwrap();
        let ttl = if n == 1 { second * 3_600 } else { second };
        // Kept as a fallback, so that the store does not reclaim it.
        let set = cache.set("b", n).ttl(ttl).stale_for(second * 3_600);
        set.await.unwrap();
        larder.shutdown(SOON).await.unwrap();
    }
    clock.advance(second * 2);
    let builder = over(&upper, &lower).clock(clock);
    let larder = builder.start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    for page_size in 1..3 {
        assert_eq!(scanned(&cache, page_size).await, [("a".to_owned(), 2)]);
    }
    assert_eq!(*cache.get("a").await.unwrap().unwrap(), 2);
    assert!(cache.get("b").await.unwrap().is_none());
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn an_entry_that_moves_between_stores_while_a_page_is_read_is_not_overlooked() {
    for (from, to) in [("lower", "upper"), ("lower", "memory"), ("upper", "lower")] {
        let (upper, lower) = (Trial::default(), Trial::default());
        let larder = over(&upper, &lower).start().await.unwrap();
        let cache: Cache<u64> = larder.cache("numbers").unwrap();
        cache.set("a", 1).drivers([from]).await.unwrap();
        larder.shutdown(SOON).await.unwrap();
        let larder = over(&upper, &lower).start().await.unwrap();
        let cache: Cache<u64> = larder.cache("numbers").unwrap();
        upper.hold_scans();
        let before = upper.scans();
        let scan = tokio::spawn({
            let cache = cache.clone();
            async move { cache.scan("").await.unwrap() }
        });
        until("the upper page is read", || upper.scans() > before).await;
        cache.set("a", 2).drivers(["memory", to]).await.unwrap();
        larder.flush(Durability::Written).await.unwrap();
        upper.release_scans();
        let page = scan.await.unwrap();
        let found: Vec<_> = page.entries.iter().map(|(_, entry)| **entry).collect();
        assert_eq!(found, [2], "from {from} to {to}");
        assert!(!page.partial);
        larder.shutdown(SOON).await.unwrap();
    }
}

/// What reads find of the keys that [`change`] picks.
async fn read(cache: &Cache<u64>) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for n in 0..20 {
        let key = format!("{n:02}");
        let entry = cache.peek(&key).await.unwrap();
        found.extend(entry.map(|entry| (key, *entry)));
    }
    found
}

/// Any change, for any of the drivers, or something that moves entries between memory and stores.
async fn change(larder: &Larder, cache: &Cache<u64>, clock: &Clock, random: &mut fastrand::Rng) {
    let key = format!("{:02}", random.u8(0..20));
    let drivers = ["memory", "upper", "lower"];
    let some = drivers.into_iter().filter(|_| random.bool());
    let mut some: Vec<_> = some.collect();
    if some.is_empty() {
        some.push("lower");
    }
    let mut set = cache.set(&key, random.u64(0..100)).drivers(some);
    match random.u8(0..12) {
        0..4 => drop(set.await.unwrap()),
        4 => {
            set = set.tag("some").ttl(Duration::from_millis(50));
            set.await.unwrap();
        }
        5 => drop(cache.set(&key, random.u64(0..100)).await.unwrap()),
        6 => drop(cache.touch(&key, Duration::from_secs(9)).await.unwrap()),
        7 => drop(cache.expire(&key).await.unwrap()),
        8 => {
            let removal = cache.remove(&key).durability(Durability::Queued);
            removal.await.unwrap();
        }
        9 => clock.advance(Duration::from_millis(20)),
        10 if random.u8(0..4) == 0 => {
            let fence = cache.remove_tag("some").durability(Durability::Queued);
            fence.await.unwrap();
        }
        _ => {
            larder.resize_memory(64 << 10).await.unwrap();
            drop(cache.get(&key).await.unwrap());
        }
    }
}

#[tokio::test]
async fn a_scan_shows_what_reads_show_wherever_entries_lie() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (upper, lower, clock) = (Trial::default(), Trial::default(), Clock::manual(START_MS));
        for _life in 0..4 {
            let builder = over(&upper, &lower).clock(clock.clone());
            let larder = builder.start().await.unwrap();
            let cache = larder.cache_builder::<u64>("numbers").weigher(|_| 5_000);
            let cache = cache.open().unwrap();
            for _ in 0..25 {
                let held = [&upper, &lower].map(|trial| (trial, random.u8(0..4) == 0));
                held.iter().filter(|h| h.1).for_each(|h| h.0.hold());
                for _ in 0..6 {
                    change(&larder, &cache, &clock, &mut random).await;
                }
                // Nothing changes meanwhile; but what only memory had may be forgotten.
                let before = read(&cache).await;
                let shown = scanned(&cache, random.usize(1..30)).await;
                let after = read(&cache).await;
                assert!(shown.is_sorted());
                let invented = shown.iter().find(|entry| !before.contains(entry));
                assert_eq!(invented, None, "seed {seed}");
                let overlooked = after.iter().find(|entry| !shown.contains(entry));
                assert_eq!(overlooked, None, "seed {seed}");
                [&upper, &lower].iter().for_each(|trial| trial.release());
                if random.bool() {
                    larder.flush(Durability::Written).await.unwrap();
                }
            }
            larder.shutdown(SOON).await.unwrap();
        }
    }
}
