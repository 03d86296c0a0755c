//! Listing: the keys of a cache in order, each once.

use super::*;

fn list(bench: &Bench, scope: &Scope, after: &str, count_max: usize, table: bool) -> Vec<Listed> {
    bench.shelf.list(&Listing {
        scope,
        prefix: "",
        after,
        count_max,
        table,
        tiers: TierSet::NONE.with(DISK),
        now_ms: bench.now_ms,
    })
}

/// The keys that show something.
fn names(bench: &Bench, after: &str, count_max: usize, table: bool) -> Vec<String> {
    let listed = list(bench, &bench.scope, after, count_max, table);
    let shown = listed.iter().filter(|l| l.slot.is_some());
    shown.map(|l| l.name.to_string()).collect()
}

#[test]
fn keys_come_in_order_and_in_pages() {
    let bench = Bench::with(4, 1 << 20);
    for n in (0..30).rev() {
        bench.set(&format!("a{n:02}"), n);
    }
    let mut after = String::new();
    let mut all = Vec::new();
    loop {
        let page = names(&bench, &after, 7, true);
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        after.clone_from(last);
        all.extend(page);
    }
    let expected: Vec<_> = (0..30).map(|n| format!("a{n:02}")).collect();
    assert_eq!(all, expected);
    assert!(names(&bench, "", 0, true).is_empty());
}

#[test]
fn a_prefix_picks_keys() {
    let bench = bench();
    for name in ["a", "b", "ba", "c"] {
        bench.set(name, 1);
    }
    let listed = bench.shelf.list(&Listing {
        scope: &bench.scope,
        prefix: "b",
        after: "",
        count_max: 9,
        table: true,
        tiers: TierSet::NONE,
        now_ms: 0,
    });
    let names: Vec<_> = listed.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["b", "ba"]);
}

#[test]
fn a_removal_that_is_not_stored_yet_is_listed_against_every_record() {
    let bench = bench();
    bench.set("k", 1);
    bench.flush(DISK);
    bench.remove("k");
    let listed = list(&bench, &bench.scope, "", 9, false);
    let [one] = listed.as_slice() else {
        panic!("one key is dirty");
    };
    assert!(one.slot.is_none());
    assert!(one.is_known);
}

#[test]
fn a_distrusted_copy_is_not_believed_whatever_its_version() {
    let bench = bench();
    bench.overflow("k", 1);
    let listed = list(&bench, &bench.scope, "", 9, false);
    let [one] = listed.as_slice() else {
        panic!("one key is distrusted");
    };
    assert!(one.slot.is_some() && one.is_known);
    assert_eq!(one.distrusted, TierSet::NONE.with(DISK));
}

#[test]
fn a_key_in_table_and_dirty_set_comes_once() {
    let bench = bench();
    bench.set("dirty", 1);
    bench.set("clean", 1);
    bench.flush(DISK);
    bench.set("dirty", 2);
    assert_eq!(names(&bench, "", 9, true), ["clean", "dirty"]);
    assert_eq!(names(&bench, "", 9, false), ["dirty"]);
}

#[test]
fn what_no_read_would_show_is_not_listed() {
    let mut bench = bench();
    bench.put("expired", until(1, 1_500));
    bench.set("removed", 1);
    bench.remove("removed");
    bench.set("live", 1);
    bench.now_ms = 1_500;
    let other = bench.shelf.scope("other");
    assert_eq!(names(&bench, "", 9, true), ["live"]);
    assert!(list(&bench, &other, "", 9, true).is_empty());
    bench.shelf.fence(&bench.scope, Covers::All, 1_000);
    assert!(names(&bench, "", 9, true).is_empty());
}

#[test]
fn a_value_that_only_memory_has_is_listed_while_its_stored_copy_is_being_deleted() {
    let bench = bench();
    bench.overflow("k", 1);
    bench.shelf.heal(DISK, 9, 0);
    assert_eq!(names(&bench, "", 9, true), ["k"]);
}

#[test]
fn a_deletion_that_only_heals_one_tier_outdates_nothing_of_the_others() {
    let bench = bench();
    bench.overflow("k", 1);
    bench.evict_all();
    assert_eq!(bench.shelf.heal(DISK, 10, 0), 1);
    let listed = list(&bench, &bench.scope, "", 10, false);
    assert_eq!(listed.len(), 1);
    assert!(!listed[0].is_known);
    assert_eq!(listed[0].distrusted, TierSet::NONE.with(DISK));
}
