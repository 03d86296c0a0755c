//! Eviction: the budget holds, and who goes is who should.

use super::*;

fn prioritised(value: u64, priority: Priority, weight: u32) -> Draft {
    Draft {
        priority,
        weight,
        ..draft(value)
    }
}

/// Entries of one byte of key and `weight` that fit.
const fn budget_for(count: usize, weight: usize) -> usize {
    count * (ENTRY_OVERHEAD_BYTES + 1 + weight)
}

#[test]
fn bytes_stay_within_the_budget_and_agree_with_a_recount_whatever_happens() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut bench = Bench::with(2, 40_000);
    bench.tiers = TierSet::NONE;
    for step in 0..20_000 {
        let name = rng.u8(..).to_string();
        match rng.u8(..20) {
            0..=9 => {
                let priority = Priority::from_byte(rng.u8(..4));
                bench.put(&name, prioritised(step, priority, rng.u32(..2_000)));
            }
            10..=11 => {
                bench.remove(&name);
            }
            12 => bench.shelf.resize(rng.usize(2_000..60_000), 0),
            _ => {
                bench.get(&name);
            }
        }
        let stats = bench.shelf.stats();
        assert!(stats.bytes <= stats.bytes_max, "{stats:?}");
        assert!(stats.pinned_bytes <= stats.bytes_max / PINNED_SHARE);
        if step % 64 == 0 {
            let listed = bench.shelf.list(&Listing {
                scope: &bench.scope,
                prefix: "",
                after: "",
                count_max: 1_000,
                table: true,
                tiers: TierSet::NONE,
                now_ms: 0,
            });
            let weight = |l: &Listed| {
                let value = l.slot.as_ref().unwrap().weight;
                ENTRY_OVERHEAD_BYTES + l.name.len() + value as usize
            };
            assert_eq!(listed.len(), stats.entries);
            assert_eq!(listed.iter().map(weight).sum::<usize>(), stats.bytes);
        }
    }
    assert!(bench.shelf.stats().evicted > 100);
}

#[test]
fn a_value_heavier_than_its_stripe_is_refused_and_its_elder_does_not_stay() {
    let bench = Bench::with(1, budget_for(3, 8));
    bench.set("k", 1);
    bench.put("k", prioritised(2, Priority::Normal, 1 << 20));
    assert_eq!(bench.get("k"), Some(2), "from the dirty set");
    bench.flush(DISK);
    assert_eq!(bench.get("k"), None, "and never the one before it");
    assert_eq!(bench.shelf.stats().refused_too_heavy, 1);
}

#[test]
fn pins_are_honoured_within_their_share_and_kept_like_high_beyond() {
    let bench = Bench::with(1, budget_for(4, 8));
    for name in ["a", "b", "c"] {
        bench.put(name, prioritised(1, Priority::Pinned, 8));
    }
    let stats = bench.shelf.stats();
    assert_eq!(stats.pinned_bytes, budget_for(2, 8));
    assert_eq!(stats.pins_refused, 1);
    for name in ["d", "e", "f", "g"] {
        bench.set(name, 1);
    }
    bench.flush(DISK);
    assert_eq!((bench.get("a"), bench.get("b")), (Some(1), Some(1)));
}

#[test]
fn a_pinned_value_may_become_heavier_lighter_or_unpinned() {
    let bench = Bench::with(1, budget_for(8, 8));
    bench.put("a", prioritised(1, Priority::Pinned, 8));
    bench.put("a", prioritised(2, Priority::Pinned, 16));
    assert_eq!(bench.shelf.stats().pinned_bytes, budget_for(1, 16));
    bench.put("a", prioritised(3, Priority::Normal, 8));
    let stats = bench.shelf.stats();
    assert_eq!((stats.pinned_bytes, stats.bytes), (0, budget_for(1, 8)));
    bench.put("a", prioritised(4, Priority::Pinned, 8));
    assert_eq!(bench.shelf.stats().pinned_bytes, budget_for(1, 8));
}

#[test]
fn a_budget_that_shrinks_below_the_pinned_bytes_unpins_what_no_longer_fits() {
    let bench = Bench::with(1, budget_for(8, 8));
    for name in ["a", "b", "c", "d"] {
        bench.put(name, prioritised(1, Priority::Pinned, 8));
    }
    bench.shelf.resize(budget_for(2, 8), 0);
    let stats = bench.shelf.stats();
    assert_eq!((stats.entries, stats.bytes), (2, budget_for(2, 8)));
    assert_eq!(stats.pinned_bytes, budget_for(1, 8));
    assert_eq!((stats.pins_refused, stats.evicted), (3, 2));
}

#[test]
fn low_goes_first_however_often_it_is_read() {
    let bench = Bench::with(1, budget_for(40, 8));
    bench.put("~", prioritised(1, Priority::Low, 8));
    for n in 0..39u8 {
        bench.set(&char::from(b'0' + n).to_string(), 1);
    }
    (0..9).for_each(|_| assert_eq!(bench.get("~"), Some(1)));
    bench.get("0");
    for n in 0..10 {
        bench.set(&format!("new {n}"), 1);
    }
    bench.flush(DISK);
    assert_eq!(bench.get("~"), None);
    assert_eq!(bench.get("0"), Some(1));
}

#[test]
fn an_evicted_slot_that_is_dirty_is_still_read() {
    let bench = bench();
    bench.set("k", 1);
    bench.evict_all();
    assert_eq!(bench.shelf.stats().entries, 0);
    assert_eq!(bench.get("k"), Some(1));
    bench.flush(DISK);
    assert_eq!(bench.get("k"), None);
}

#[test]
fn a_budget_without_an_end_takes_no_room_beforehand() {
    let bench = Bench::with(64, usize::MAX);
    bench.set("k", 1);
    assert_eq!(bench.get("k"), Some(1));
}

#[test]
fn two_keys_with_one_hash_are_two() {
    let mut table = table::Table::new(1 << 20, table::Hasher::default());
    for (n, name) in ["a", "b"].into_iter().enumerate() {
        table.put(
            9,
            CacheId(0),
            name,
            record(n as u64, Version::at(1)),
            &mut table::Left::default(),
        );
    }
    assert_eq!(
        table.remove(9, CacheId(0), "a").map(|s| value_of(&s)),
        Some(0)
    );
    assert_eq!(
        table
            .peek(9, CacheId(0), "b")
            .map(|slot| value_of(&slot.to_slot())),
        Some(1)
    );
    assert!(table.remove(9, CacheId(0), "a").is_none());
    assert!(table.get_mut(9, CacheId(1), "b").is_none());
}
