//! What timers promise: never early, never twice, never many bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::*;
use crate::key::CacheId;

fn key(n: u64) -> Key {
    Key::new(CacheId((n % 3) as u32), &format!("key-{n}"))
}

/// Everything that is due, asked for `count_max` at a time.
fn due<S: BuildHasher>(timers: &mut Timers<S>, now_ms: Millis, count_max: usize) -> Vec<Key> {
    let mut fired = Vec::new();
    loop {
        let before = fired.len();
        timers.fire(now_ms, count_max, &mut fired);
        assert!(fired.len() - before <= count_max);
        if timers.next_ms().is_none_or(|at| at > now_ms) {
            return fired;
        }
    }
}

#[test]
fn a_timer_fires_within_one_tick_after_its_deadline_and_never_before() {
    for at in 1_000..1_100 {
        let mut timers = Timers::new(10, 990);
        assert!(timers.arm(key(1), at));
        assert_eq!(due(&mut timers, at - 1, 8), []);
        let next = timers.next_ms().unwrap();
        assert!(next >= at && next < at + TICK_MS);
        assert_eq!(due(&mut timers, next, 8), [key(1)]);
        assert_eq!((timers.len(), timers.next_ms()), (0, None));
    }
}

#[test]
fn an_earlier_deadline_wins_and_a_later_one_changes_nothing() {
    let mut timers = Timers::new(10, 0);
    timers.arm(key(1), 5_000);
    timers.arm(key(1), 9_000);
    timers.arm(key(1), 160);
    timers.arm(key(1), 320);
    assert_eq!(timers.len(), 1);
    assert_eq!(timers.next_ms(), Some(160));
    assert_eq!(due(&mut timers, 160, 8), [key(1)]);
    assert_eq!(due(&mut timers, 10_000, 8), []);
}

#[test]
fn deadlines_in_the_past_are_due_at_once() {
    let mut timers = Timers::new(10, 1_000_000);
    timers.arm(key(1), 0);
    timers.arm(key(2), 1_000_000);
    assert!(timers.next_ms().unwrap() <= 1_000_000);
    assert_eq!(due(&mut timers, 1_000_000, 8).len(), 2);
}

#[test]
fn deadlines_at_the_end_of_time_are_kept_until_then() {
    let mut timers = Timers::new(10, 1_700_000_000_000);
    for back in 1..=40 {
        timers.arm(key(back), NEVER - back);
    }
    assert!(timers.arm(key(99), NEVER), "never needs no timer");
    assert_eq!(timers.len(), 10, "timers_max");
    assert_eq!(due(&mut timers, NEVER - 64, 8), []);
    assert_eq!(due(&mut timers, NEVER, 3).len(), 10);
    timers.arm(key(1), 5);
    assert_eq!(due(&mut timers, NEVER, 3), [key(1)]);
}

#[test]
fn equal_deadlines_fire_a_few_at_a_time() {
    let mut timers = Timers::new(10_000, 0);
    for n in 0..10_000 {
        timers.arm(key(n), 500_000);
    }
    let mut fired = due(&mut timers, 500_000, 64);
    fired.sort();
    fired.dedup();
    assert_eq!(fired.len(), 10_000);
}

#[test]
fn moving_many_timers_to_a_finer_level_is_done_in_steps() {
    let mut timers = Timers::new(1_000, 0);
    for n in 0..1_000 {
        timers.arm(key(n), 3_600_000 + n);
    }
    let mut looks = 0;
    let mut fired = Vec::new();
    while timers.len() > 0 {
        let now = timers.next_ms().unwrap();
        timers.fire(now, 10, &mut fired);
        looks += 1;
    }
    assert!(looks >= 200, "ten at a time, at least moved once: {looks}");
    assert!(looks < 1_000, "{looks}");
}

#[test]
fn beyond_the_bound_new_keys_are_refused_and_old_ones_still_move() {
    let mut timers = Timers::new(2, 0);
    assert!(timers.arm(key(1), 100) && timers.arm(key(2), 100));
    assert!(!timers.arm(key(3), 100));
    assert!(timers.arm(key(1), 50));
    assert_eq!(due(&mut timers, 64, 8), [key(1)]);
    assert!(timers.arm(key(3), 100));
}

#[derive(Default)]
struct Same;

impl Hasher for Same {
    fn finish(&self) -> u64 {
        7
    }
    fn write(&mut self, _: &[u8]) {}
}

#[test]
fn keys_with_equal_hashes_have_their_own_timers() {
    let same = BuildHasherDefault::<Same>::default();
    let mut timers = Timers::with_hasher(1_000, 0, same);
    for n in 0..200 {
        timers.arm(key(n), 100 + n * 16);
        timers.arm(key(n), 90 + n * 16);
    }
    assert_eq!(timers.len(), 200);
    for n in 0..200 {
        assert_eq!(due(&mut timers, 96 + n * 16, 8), [key(n)]);
    }
}

#[test]
fn a_far_deadline_costs_few_looks() {
    let mut timers = Timers::new(10, 0);
    timers.arm(key(1), 30 * 86_400_000);
    let (mut now, mut looks) = (0, 0);
    while let Some(next) = timers.next_ms() {
        now = next;
        due(&mut timers, now, 8);
        looks += 1;
    }
    assert!(now >= 30 * 86_400_000 && looks <= 11, "{looks}");
}

#[test]
fn trimming_leaves_what_was_armed_again_and_what_is_wanted() {
    let mut timers = Timers::new(10_000, 0);
    for n in 0..5_000 {
        timers.arm(key(n), 1_000);
    }
    assert!(timers.trim(1, |_| false), "nothing was begun");
    timers.begin_trim();
    for n in 0..100 {
        timers.arm(key(n), 2_000);
    }
    timers.arm(key(9_999), 2_000);
    let mut turns = 1;
    while !timers.trim(1_000, |key| key.name == "key-4000") {
        turns += 1;
    }
    assert_eq!(turns, 6);
    let fired: BTreeSet<Key> = due(&mut timers, 3_000, 64).into_iter().collect();
    let wanted = (0..100).chain([4_000, 9_999]).map(key);
    assert_eq!(fired, wanted.collect());
}

#[test]
fn random_histories_agree_with_a_sorted_map() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut now = rng.u64(0..1 << 41);
        let mut timers = Timers::new(usize::MAX, now);
        let mut model: BTreeMap<Key, Millis> = BTreeMap::new();
        for _ in 0..3_000 {
            if rng.u8(0..4) > 0 {
                let bits = rng.u32(1..36);
                let ahead = rng.u64(0..1 << bits);
                let at = (now + ahead).saturating_sub(rng.u64(0..40));
                let key = key(rng.u64(0..400));
                timers.arm(key.clone(), at);
                let old = model.entry(key).or_insert(at);
                *old = at.min(*old);
            } else {
                let bits = rng.u32(1..32);
                now += rng.u64(0..1 << bits);
                let mut fired = due(&mut timers, now, rng.usize(1..50));
                fired.sort();
                let late = |at: &Millis| at.div_ceil(TICK_MS) <= now / TICK_MS;
                let expected = model.extract_if(.., |_, at| late(at));
                assert_eq!(fired, expected.map(|(key, _)| key).collect::<Vec<_>>());
            }
            let first = model.values().min().copied();
            assert_eq!(timers.next_ms().is_some(), first.is_some());
            if let (Some(next), Some(first)) = (timers.next_ms(), first) {
                let in_time = next <= now || next < first + TICK_MS;
                assert!(in_time, "a look never comes too late");
            }
            assert_eq!(timers.len(), model.len());
        }
    }
}

#[test]
fn a_million_timers_stay_within_64_bytes_each_while_they_grow_and_change() {
    assert_eq!(size_of::<slab::Node>(), 48);
    let mut timers = Timers::new(usize::MAX, 0);
    let mut worst = 0.0_f64;
    for n in 0..1_000_000_u64 {
        timers.arm(key(n), 3_600_000 + n % 60_000);
        if n > 100_000 && n % 5_000 == 0 {
            worst = worst.max(timers.bytes() as f64 / timers.len() as f64);
        }
    }
    // A steady state in which a quarter comes and goes.
    let mut fired = Vec::new();
    for round in 0..4 {
        let now = 3_600_000 + 15_000 * (round + 1);
        while timers.next_ms().is_some_and(|at| at <= now) {
            timers.fire(now, 1_024, &mut fired);
        }
        for key in fired.drain(..) {
            timers.arm(key, now + 60_000);
        }
        worst = worst.max(timers.bytes() as f64 / timers.len() as f64);
    }
    assert_eq!(timers.len(), 1_000_000);
    assert!(worst <= 64.0, "{worst}");
    due(&mut timers, 100_000_000, 4_096);
    assert!(timers.bytes() < 64 * 1_024, "given back when empty");
}
