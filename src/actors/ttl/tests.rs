//! The TTL manager over a real shelf and a clock that is moved by hand.

mod bench;

use self::bench::{Bench, START_MS, turns, until};
use super::*;
use crate::clock::Clock;
use crate::drivers::Reclaimed;
use crate::version::Version;

#[actix::test]
async fn an_entry_expires_by_itself_and_is_announced_once() {
    let mut bench = Bench::new();
    bench.config.wake_pause_ms = 1;
    let addr = bench.start();
    let version = bench.set("a", 1_000);
    bench.set("forever", NEVER - START_MS);
    until(|| bench.timers() == 1).await;
    bench.advance(999);
    turns(&addr).await;
    assert_eq!((bench.expired(), bench.entries()), (vec![], 2));
    bench.advance(17);
    until(|| bench.entries() == 1).await;
    assert_eq!(bench.expired(), [("a".to_string(), version)]);
    bench.advance(100_000);
    turns(&addr).await;
    assert_eq!(bench.expired(), []);
    assert_eq!(bench.stats.expired.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn an_earlier_deadline_cuts_the_sleep_short() {
    let bench = Bench::new();
    let addr = bench.start();
    for (sets, ttl_ms) in [(1, 3_600_000), (2, 60_000), (3, 100)] {
        bench.set(&format!("k{ttl_ms}"), ttl_ms);
        until(|| bench.timers() == sets).await;
    }
    bench.advance(116);
    until(|| bench.entries() == 2).await;
    bench.advance(60_000);
    until(|| bench.entries() == 1).await;
    drop(addr);
}

#[actix::test]
async fn a_late_timer_never_removes_a_fresh_value() {
    let bench = Bench::new();
    let addr = bench.start();
    for round in 0..100 {
        bench.set("a", 50);
        turns(&addr).await;
        bench.advance(200);
        // The manager has not run since the deadline passed.
        let fresh = bench.set("a", 500);
        turns(&addr).await;
        let expired = bench.expired();
        assert!(expired.iter().all(|(_, v)| *v < fresh), "round {round}");
        assert_eq!(bench.entries(), 1, "round {round}");
    }
}

#[actix::test]
async fn a_longer_deadline_re_arms_the_one_timer() {
    let bench = Bench::new();
    let addr = bench.start();
    for _ in 0..1_000 {
        bench.set("a", 1_000);
        bench.advance(1);
    }
    turns(&addr).await;
    assert_eq!(bench.timers(), 1);
    // The first timer fires, and finds that the last value has 999 ms left.
    bench.advance(16);
    turns(&addr).await;
    assert_eq!((bench.entries(), bench.timers()), (1, 1));
    assert_eq!(bench.expired(), []);
    bench.advance(1_000);
    turns(&addr).await;
    assert_eq!((bench.entries(), bench.timers()), (0, 0));
    assert_eq!(bench.expired().len(), 1);
}

#[actix::test]
async fn a_fallback_is_announced_when_it_expires_and_goes_when_it_is_kept_no_longer() {
    let bench = Bench::new();
    let addr = bench.start();
    bench.set_kept("a", 100, 5_000);
    turns(&addr).await;
    bench.advance(116);
    turns(&addr).await;
    assert_eq!((bench.expired().len(), bench.entries()), (1, 1));
    assert_eq!(bench.timers(), 1);
    bench.advance(5_000);
    turns(&addr).await;
    assert_eq!((bench.expired().len(), bench.entries()), (0, 0));
}

#[actix::test]
async fn a_watched_key_that_only_a_store_has_is_announced() {
    let bench = Bench::new();
    let addr = bench.start();
    let key = bench.watch("a");
    let version = Version::at(5);
    let at_ms = START_MS + 1_000;
    let record = (key.clone(), version, at_ms);
    bench.stores.below.lock().push(record);
    addr.send(Attend(key.clone())).await.unwrap();
    until(|| bench.timers() == 1).await;
    assert_eq!(bench.expired(), []);
    // Its time was prolonged meanwhile, which only the store knows.
    bench.stores.below.lock()[0].2 = at_ms + 1_000;
    bench.advance(1_500);
    turns(&addr).await;
    assert_eq!((bench.expired(), bench.timers()), (vec![], 1));
    bench.advance(1_000);
    turns(&addr).await;
    assert_eq!(bench.expired(), [("a".to_string(), version)]);
    addr.send(Attend(key)).await.unwrap();
    addr.send(Attend(bench.key("nowhere"))).await.unwrap();
    turns(&addr).await;
    assert_eq!((bench.expired(), bench.timers()), (vec![], 0), "once");
}

#[actix::test]
async fn too_many_questions_to_the_tiers_wait_for_each_other() {
    let mut bench = Bench::new();
    bench.config.lookups_max = 2;
    let addr = bench.start();
    for n in 0..5 {
        let key = bench.watch(&format!("k{n}"));
        let record = (key.clone(), Version::at(5), START_MS - 1);
        bench.stores.below.lock().push(record);
        addr.do_send(Attend(key));
    }
    until(|| bench.timers() == 3).await;
    assert_eq!(bench.stores.lookups.load(Ordering::SeqCst), 2);
    for _ in 0..2 {
        bench.advance(200);
        turns(&addr).await;
    }
    assert_eq!(bench.stats.expired.load(Ordering::SeqCst), 5);
}

#[actix::test]
async fn a_reclaim_announces_only_what_is_watched_and_was_not_announced() {
    let bench = Bench::new();
    let stored = |name: &str| bytes::Bytes::from(crate::key::stored_key("users", name));
    for name in ["seen", "unseen"] {
        bench.watch(name);
    }
    let addr = bench.start();
    let version = bench.set("seen", 100);
    turns(&addr).await;
    bench.advance(200);
    turns(&addr).await;
    assert_eq!(bench.expired(), [("seen".to_string(), version)]);
    let names = ["seen", "unseen", "unseen", "unwatched"];
    let mut records: Vec<_> = names.map(|name| (stored(name), version)).into();
    records.push((bytes::Bytes::from_static(b"no key of ours"), version));
    records.push((bytes::Bytes::from_static(b"never-opened/k"), version));
    let reclaimed = Reclaimed {
        records,
        bodies: Vec::new(),
        next_ms: None,
    };
    bench.stores.reclaims.lock().push(Some(reclaimed.clone()));
    let (tier, at_ms) = (1, START_MS + 1_000);
    addr.send(ReclaimAt { tier, at_ms }).await.unwrap();
    assert_eq!(bench.stores.reclaims_asked.load(Ordering::SeqCst), 1);
    bench.advance(800);
    until(|| bench.stats.reclaimed.load(Ordering::SeqCst) == 6).await;
    assert_eq!(bench.expired(), [("unseen".to_string(), version)]);
    assert!(bench.shelf.scope_named("never-opened").is_none());
    bench.shelf.watch(false);
    bench.stores.reclaims.lock().push(Some(reclaimed));
    addr.send(ReclaimAt { tier, at_ms }).await.unwrap();
    bench.advance(200);
    until(|| bench.stats.reclaimed.load(Ordering::SeqCst) == 12).await;
}

#[actix::test]
async fn a_store_is_asked_at_the_start_until_it_is_up_and_then_when_it_has_something() {
    let bench = Bench::new();
    let later = Reclaimed {
        next_ms: Some(START_MS + 60_000),
        ..Reclaimed::default()
    };
    let answers = [None, Some(later)];
    bench.stores.reclaims.lock().extend(answers);
    let addr = bench.start();
    let asked = || bench.stores.reclaims_asked.load(Ordering::SeqCst);
    until(|| asked() == 1).await;
    turns(&addr).await;
    assert_eq!(asked(), 1);
    bench.advance(1_000);
    until(|| asked() == 2).await;
    bench.advance(58_999);
    turns(&addr).await;
    assert_eq!(asked(), 2);
    bench.advance(1);
    until(|| asked() == 3).await;
    bench.advance(1_000_000);
    turns(&addr).await;
    assert_eq!(asked(), 3, "it has nothing more");
}

#[actix::test]
async fn a_successor_finds_the_deadlines_in_the_shelf() {
    let bench = Bench::new();
    let addr = bench.start();
    bench.set("a", 1_000);
    turns(&addr).await;
    addr.send(Stop).await.unwrap();
    until(|| bench.died.load(Ordering::SeqCst) == 1).await;
    bench.set("b", 500);
    bench.advance(2_000);
    assert_eq!(bench.entries(), 2, "nobody reclaims");
    let _successor = bench.start();
    until(|| bench.entries() == 0).await;
    assert_eq!(bench.expired().len(), 2);
}

#[actix::test]
async fn deadlines_whose_notes_were_lost_are_found_by_a_pass() {
    let bench = Bench::new();
    let addr = bench.start();
    turns(&addr).await;
    // No turn is taken meanwhile, so most notes do not fit.
    for n in 0..10_000 {
        bench.set(&format!("k{n}"), 1_000);
    }
    until(|| bench.timers() == 10_000).await;
    bench.advance(1_100);
    until(|| bench.entries() == 0).await;
    assert_eq!(bench.expired().len(), 10_000);
    drop(addr);
}

#[actix::test]
async fn beyond_the_bound_deadlines_are_refused_counted_and_found_when_there_is_room() {
    let mut bench = Bench::new();
    bench.config.timers_max = 100;
    let addr = bench.start();
    for n in 0..150 {
        bench.set(&format!("k{n}"), 1_000);
    }
    turns(&addr).await;
    assert_eq!(bench.timers(), 100);
    assert!(bench.stats.timers_refused.load(Ordering::SeqCst) >= 50);
    bench.advance(1_100);
    turns(&addr).await;
    until(|| bench.entries() == 0).await;
    assert_eq!(bench.expired().len(), 150);
}

#[actix::test]
async fn timers_of_what_memory_has_let_go_of_are_trimmed() {
    let mut bench = Bench::new();
    bench.config.trim_min = 1_000;
    let addr = bench.start();
    bench.watch("k7");
    for n in 0..900 {
        bench.set(&format!("k{n}"), 3_600_000);
    }
    turns(&addr).await;
    bench.shelf.resize(0, START_MS);
    bench.shelf.resize(64 << 20, START_MS);
    assert_eq!(bench.entries(), 0);
    for n in 1_000..1_200 {
        bench.set(&format!("k{n}"), 3_600_000);
    }
    until(|| bench.timers() == 201).await;
    assert_eq!(bench.stats.timers_refused.load(Ordering::SeqCst), 0);
    drop(addr);
}

#[actix::test]
async fn it_follows_the_clock_of_the_system() {
    let mut bench = Bench::new();
    bench.clock = Clock::system();
    let addr = bench.start();
    bench.set("long", 3_600_000);
    bench.set("short", 30);
    until(|| bench.entries() == 1).await;
    assert_eq!(bench.expired().len(), 1);
    drop(addr);
}
