//! Single-key changes: conditions, renewals, claims, and the shelf's small change.

use super::*;

#[test]
fn each_condition_holds_when_it_should() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE;
    let conflict = |current| Applied::Conflict { current };
    assert_eq!(bench.set_if("k", 1, Condition::Present), conflict(None));
    let one = version(bench.set_if("k", 1, Condition::Absent));
    assert_eq!(bench.set_if("k", 2, Condition::Absent), conflict(Some(one)));
    let two = version(bench.set_if("k", 2, Condition::Version(one)));
    assert_eq!(
        bench.set_if("k", 3, Condition::Version(one)),
        conflict(Some(two))
    );
    let three = version(bench.set_if("k", 3, Condition::Present));
    assert!(one < two && two < three);
    assert_eq!(bench.get("k"), Some(3));
}

#[test]
fn a_condition_on_an_unknown_key_asks_below_and_decides_on_what_was_brought() {
    let bench = bench();
    let old = Version::at(1);
    let Applied::Below(mark, distrusted) = bench.set_if("k", 2, Condition::Version(old)) else {
        panic!("memory cannot know");
    };
    assert!(distrusted.is_empty());
    let mut ask = bench.ask("k", Change::Put(draft(2)));
    ask.condition = Condition::Version(old);
    ask.brought = Some(Brought {
        mark,
        found: Some(record(1, old)),
    });
    let Applied::Done { replaced, .. } = bench.shelf.apply(ask) else {
        panic!("it is that version");
    };
    assert_eq!(replaced, Some(old));
    assert_eq!(bench.get("k"), Some(2));
}

#[test]
fn a_tombstone_is_known_to_be_absent() {
    let bench = bench();
    bench.set("k", 1);
    bench.remove("k");
    assert_eq!(
        bench.set_if("k", 2, Condition::Present),
        Applied::Conflict { current: None }
    );
    version(bench.set_if("k", 2, Condition::Absent));
}

#[test]
fn a_renewal_keeps_the_version_and_changes_the_stamp() {
    let bench = bench();
    let set = bench.put("k", until(1, 2_000));
    let taken = bench.take(DISK);
    let renewed = bench
        .shelf
        .apply(bench.ask("k", Change::Renew(until(1, 3_000))));
    assert_eq!(version(renewed), set);
    bench.shelf.settle(DISK, &taken, StoreDurability::Written);
    let again = bench.take(DISK);
    assert_eq!(again.len(), 1, "the tier has the old times");
    assert!(again[0].stamp > taken[0].stamp);
    assert_eq!(again[0].version, set);
}

#[test]
fn nothing_is_renewed_where_nothing_lives() {
    let bench = bench();
    let renew = || bench.shelf.apply(bench.ask("k", Change::Renew(draft(1))));
    assert_eq!(renew(), Applied::Conflict { current: None });
    bench.set("k", 1);
    bench.remove("k");
    assert_eq!(renew(), Applied::Conflict { current: None });
    assert_eq!(bench.get("k"), None);
}

#[test]
fn a_renewal_without_room_leaves_the_stored_copy_believed() {
    let bench = bench();
    bench.put("k", until(1, 2_000));
    bench.flush(DISK);
    let mut ask = bench.ask("k", Change::Renew(until(1, 3_000)));
    ask.room = Room::default();
    version(bench.shelf.apply(ask));
    assert_eq!(bench.shelf.stats().distrusted, 0);
}

#[test]
fn a_fetch_result_carries_the_version_of_its_beginning() {
    let bench = bench();
    let hash = bench.hash("k");
    let (mark, began) = bench.shelf.claim(&bench.scope, hash, "k", 1_000);
    bench.set("other", 9);
    assert!(bench.shelf.claims(&bench.scope, hash, "k", mark));
    let mut ask = bench.ask("k", Change::Fetched(draft(1), began));
    ask.condition = Condition::Flight(mark);
    assert_eq!(version(bench.shelf.apply(ask)), began);
    assert!(!bench.shelf.claims(&bench.scope, hash, "k", mark));
}

#[test]
fn the_claim_of_a_fetch_outlives_a_promotion_and_ends_with_the_next_claim() {
    let bench = bench();
    let hash = bench.hash("k");
    let claim = |name| bench.shelf.claim(&bench.scope, hash, name, 1_000);
    let stands = |claim| bench.shelf.claims(&bench.scope, hash, "k", claim);
    let (first, began) = claim("k");
    let (mark, _) = bench.mark("k");
    assert!(bench.promote("k", mark, record(1, Version::at(1))));
    assert!(stands(first), "nothing has happened to the key");
    let (second, _) = claim("k");
    assert!(!stands(first) && stands(second));
    bench.shelf.unclaim(&bench.scope, hash, "k", first);
    assert!(stands(second), "a late end is not its own");
    let mut ask = bench.ask("k", Change::Fetched(draft(2), began));
    ask.condition = Condition::Flight(first);
    assert!(matches!(bench.shelf.apply(ask), Applied::Conflict { .. }));
    bench.shelf.unclaim(&bench.scope, hash, "k", second);
    assert_eq!(bench.shelf.stats().marks, 0);
}

#[test]
fn a_fetch_may_refresh_a_value_that_is_still_there() {
    let mut bench = bench();
    bench.put("k", until(1, 1_500));
    bench.now_ms = 1_600;
    let (mark, began) = bench.shelf.claim(&bench.scope, bench.hash("k"), "k", 1_600);
    let older = record(0, Version::at(1));
    assert!(!bench.promote("k", mark, older), "memory knows better");
    let (mark, _) = bench.shelf.claim(&bench.scope, bench.hash("k"), "k", 1_600);
    let mut ask = bench.ask("k", Change::Fetched(draft(2), began));
    ask.condition = Condition::Flight(mark);
    version(bench.shelf.apply(ask));
    assert_eq!(bench.get("k"), Some(2));
}

#[test]
fn decoded_values_are_kept_for_the_version_they_were_decoded_from() {
    let bench = bench();
    let (mark, _) = bench.mark("k");
    let Body::Encoded(bytes) = Body::Encoded(draft(7).encoded.unwrap()) else {
        unreachable!()
    };
    let mut slot = record(0, Version::at(1));
    slot.body = Body::Encoded(bytes);
    assert!(bench.promote("k", mark, slot));
    assert_eq!(bench.get("k"), Some(7));
    let hash = bench.hash("k");
    let decoded = |version, value: u64| {
        let body = Body::Decoded(Arc::new(value));
        bench
            .shelf
            .decoded(&bench.scope, hash, "k", version, (0, body));
    };
    decoded(Version::at(99), 8);
    assert_eq!(bench.get("k"), Some(7));
    decoded(Version::at(1), 9);
    assert_eq!(bench.get("k"), Some(9));
}

#[test]
fn a_mark_is_left_with_the_miss_and_released_by_its_last_flight() {
    let bench = bench();
    let (mark, _) = bench.mark("k");
    assert_eq!(bench.mark("k").0, mark);
    assert_eq!(bench.shelf.stats().marks, 1);
    (0..2).for_each(|_| {
        bench
            .shelf
            .release(&bench.scope, bench.hash("k"), "k", mark)
    });
    assert_eq!(bench.shelf.stats().marks, 0);
}

#[test]
fn a_cache_has_one_scope_under_its_name_and_its_number() {
    let bench = bench();
    let other = bench.shelf.scope("other");
    assert_eq!(bench.shelf.scope("users").id, bench.scope.id);
    let found = bench.shelf.scope_by_id(other.id).unwrap();
    assert_eq!(&*found.name, "other");
    assert!(bench.shelf.scope_by_id(CacheId(9)).is_none());
    assert_eq!(bench.shelf.stripes(), 1);
    assert!(bench.shelf.versions().last() == 0);
}

#[test]
fn reads_say_what_memory_knows_and_are_counted() {
    let mut bench = bench();
    bench.put(
        "k",
        Draft {
            extra: extra(3_000, 0, &[]),
            ..until(1, 2_000)
        },
    );
    bench.now_ms = 2_500;
    let hash = bench.hash("k");
    let read = |name, stale_ok, now: Millis| {
        let show = |_: Look<'_>, freshness| freshness;
        bench
            .shelf
            .read(&bench.scope, hash, name, || now, stale_ok, show)
    };
    assert!(matches!(
        read("k", true, 1_999),
        Seen::Hit(Freshness::Fresh)
    ));
    assert!(matches!(
        read("k", true, 2_500),
        Seen::Hit(Freshness::Stale)
    ));
    assert!(matches!(read("k", false, 2_500), Seen::Gone(Some(2_000))));
    assert!(matches!(read("k", true, 3_000), Seen::Gone(Some(2_000))));
    bench.remove("k");
    assert!(matches!(read("k", true, 1), Seen::Gone(None)));
    bench.flush(DISK);
    assert!(matches!(read("k", true, 1), Seen::Unknown));
    let stats = bench.shelf.stats();
    assert_eq!((stats.hits, stats.misses), (2, 4));
}
