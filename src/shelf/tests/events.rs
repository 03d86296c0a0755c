//! Events: which changes are told, in which order, with which values.

use super::*;
use crate::shelf::event::EVENT_OVERHEAD_BYTES;

fn watched() -> Bench {
    let bench = bench();
    bench.shelf.watch(true);
    bench
}

fn kinds(bench: &Bench) -> Vec<EventKind> {
    bench.events().iter().map(|event| event.kind).collect()
}

#[test]
fn nothing_is_recorded_while_nobody_watches() {
    let bench = bench();
    bench.set("k", 1);
    bench
        .shelf
        .announce_fence(&bench.scope, &Covers::All, Version::at(1), 0);
    assert!(
        !bench
            .shelf
            .expired_below(&bench.scope, "k", Version::at(1), 0)
    );
    assert!(bench.events().is_empty());
}

#[test]
fn only_what_happens_to_a_watched_cache_is_recorded() {
    let bench = bench();
    let watched = bench.shelf.scope("watched").id;
    bench.shelf.watch_only(|cache| cache == watched);
    assert!(bench.shelf.is_watched());
    bench.set("k", 1);
    bench
        .shelf
        .announce_fence(&bench.scope, &Covers::All, Version::at(1), 0);
    assert!(bench.events().is_empty());
    let bench = Bench {
        scope: bench.shelf.scope("watched"),
        ..bench
    };
    bench.set("k", 1);
    bench.remove("k");
    assert_eq!(kinds(&bench), [EventKind::Created, EventKind::Removed]);
    bench.shelf.watch_only(|_| false);
    bench.set("k", 1);
    assert!(bench.events().is_empty() && !bench.shelf.is_watched());
}

#[test]
fn what_is_evicted_of_a_watched_cache_is_told_whoever_displaced_it() {
    let bench = Bench::with(1, 4 * (ENTRY_OVERHEAD_BYTES + 9));
    let watched = bench.shelf.scope("watched");
    bench.shelf.watch_only(|cache| cache == watched.id);
    let mut bench = Bench {
        scope: Arc::clone(&watched),
        tiers: TierSet::NONE,
        ..bench
    };
    bench.set("k", 1);
    bench.events();
    bench.scope = bench.shelf.scope("other");
    let mut events = Vec::new();
    for n in 0..20 {
        bench.set(&n.to_string(), n);
        events.extend(bench.events());
    }
    let told = |event: &&RawEvent| event.key.cache == watched.id;
    let of_watched: Vec<_> = events.iter().filter(told).map(|event| event.kind).collect();
    assert_eq!(of_watched, [EventKind::Evicted]);
}

#[test]
fn each_change_is_told_with_the_value_before_it() {
    let bench = watched();
    bench.set("k", 1);
    bench.set("k", 2);
    bench.remove("k");
    let events = bench.events();
    let kinds: Vec<_> = events.iter().map(|e| e.kind).collect();
    assert_eq!(
        kinds,
        [EventKind::Created, EventKind::Updated, EventKind::Removed]
    );
    assert!(matches!(events[0].old, OldSlot::NotLoaded));
    let olds = events.into_iter().filter_map(|e| e.old.into_slot());
    assert_eq!(olds.map(|s| value_of(&s)).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn events_come_in_the_order_of_their_versions_from_all_stripes() {
    let bench = Bench::with(8, 1 << 20);
    bench.shelf.watch(true);
    for n in 0..40 {
        bench.set(&(n % 8).to_string(), n);
    }
    let versions: Vec<_> = bench.events().iter().map(|e| e.version).collect();
    assert!(versions.is_sorted());
}

#[test]
fn an_update_that_changes_nothing_is_stored_and_not_told() {
    let bench = watched();
    let same = || Draft {
        extra: extra(0, 77, &[]),
        ..draft(1)
    };
    let first = bench.put("k", same());
    let second = bench.put("k", same());
    assert!(first < second);
    assert_eq!(kinds(&bench), [EventKind::Created]);
    assert_eq!(bench.take(DISK)[0].version, second);
    bench.put("k", draft(1));
    assert_eq!(
        kinds(&bench),
        [EventKind::Updated],
        "no fingerprint, no claim"
    );
}

#[test]
fn a_renewal_is_not_told() {
    let bench = watched();
    bench.put("k", until(1, 2_000));
    version(
        bench
            .shelf
            .apply(bench.ask("k", Change::Renew(until(1, 3_000)))),
    );
    assert_eq!(kinds(&bench), [EventKind::Created]);
}

#[test]
fn eviction_is_told_with_the_value_that_left() {
    let bench = watched();
    bench.set("k", 1);
    bench.evict_all();
    let evicted = bench.events().pop().unwrap();
    assert_eq!(evicted.kind, EventKind::Evicted);
    assert_eq!(evicted.old.into_slot().map(|s| value_of(&s)), Some(1));
}

#[test]
fn fences_are_told_with_what_they_cover() {
    let bench = watched();
    for covers in [Covers::All, Covers::Tag("t".into())] {
        let (version, covers) = bench.shelf.fence(&bench.scope, covers, 1_000);
        bench
            .shelf
            .announce_fence(&bench.scope, &covers, version, 1_000);
    }
    let events = bench.events();
    let names: Vec<_> = events.iter().map(|e| e.key.name.as_str()).collect();
    assert_eq!(names, ["", "t"]);
    assert!(events.iter().all(|e| e.kind == EventKind::Cleared));
}

#[test]
fn too_many_events_are_counted() {
    let bench = watched();
    for n in 0..BOUNDS.events_max as u64 + 3 {
        bench.set("k", n);
    }
    let mut events = Vec::new();
    assert_eq!(bench.shelf.take_events(&mut events), 3);
    assert_eq!(events.len(), BOUNDS.events_max);
    assert_eq!(bench.shelf.take_events(&mut events), 0);
}

#[test]
fn the_bytes_of_all_stripes_have_one_bound_and_taking_gives_them_back() {
    let one = EVENT_OVERHEAD_BYTES + 2 + draft(1).weight as usize;
    let bounds = Bounds {
        events_bytes_max: 4 * one,
        ..BOUNDS
    };
    let bench = Bench::bounded(8, 1 << 20, bounds);
    bench.shelf.watch(true);
    let mut taken = Vec::new();
    for round in 0..3 {
        for n in 0..4 {
            bench.set(&format!("{round}{n}"), n);
        }
        assert_eq!(bench.shelf.take_events(&mut taken), 0);
        assert_eq!(taken.len(), 4, "an event for each");
        taken.clear();
    }
    for n in 0..10 {
        bench.set(&format!("9{n}"), n);
    }
    let lost = bench.shelf.take_events(&mut taken);
    assert_eq!(lost, 10 - taken.len() as u64);
    let bytes: usize = taken.iter().map(RawEvent::bytes).sum();
    assert!(bytes <= 4 * one && lost >= 6, "{bytes} and {lost} lost");
}

#[test]
fn both_values_of_an_event_count_with_their_tags() {
    let bench = watched();
    let tagged = || Draft {
        extra: extra(0, 0, &["tag"]),
        weight: 1_000,
        ..draft(1)
    };
    bench.put("key", tagged());
    bench.put("key", tagged());
    bench.remove("key");
    let bytes = bench
        .events()
        .iter()
        .map(RawEvent::bytes)
        .collect::<Vec<_>>();
    let (alone, value) = (EVENT_OVERHEAD_BYTES + 3, 1_000 + 3 + 32);
    assert_eq!(bytes, [alone + value, alone + 2 * value, alone + value]);
}

#[test]
fn a_change_of_what_a_flight_brought_is_told_with_it() {
    let bench = watched();
    let (mark, _) = bench.mark("k");
    let brought = |found| Some(Brought { mark, found });
    let mut ask = bench.ask("k", Change::Put(draft(2)));
    ask.condition = Condition::Present;
    ask.brought = brought(Some(record(1, Version::at(1))));
    version(bench.shelf.apply(ask));
    assert_eq!(kinds(&bench), [EventKind::Updated]);
    let mut bench = watched();
    bench.tiers = TierSet::NONE;
    bench.set("k", 1);
    assert!(matches!(bench.events()[0].old, OldSlot::None));
}

#[test]
fn a_change_of_what_was_found_absent_has_nothing_before_it() {
    let bench = watched();
    let (mark, _) = bench.mark("k");
    let mut ask = bench.ask("k", Change::Put(draft(2)));
    ask.condition = Condition::Absent;
    ask.brought = Some(Brought { mark, found: None });
    version(bench.shelf.apply(ask));
    assert!(matches!(bench.events()[0].old, OldSlot::None));
}
