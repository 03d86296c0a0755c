//! Deadlines, timers and the sweep.

use super::*;

fn kept(value: u64, expires_ms: Millis, keep_ms: Millis) -> Draft {
    Draft {
        extra: extra(keep_ms, 0, &["t"]),
        ..until(value, expires_ms)
    }
}

fn deadlines(bench: &Bench) -> Vec<Millis> {
    let mut noted = Vec::new();
    bench.shelf.take_deadlines(&mut noted);
    noted.into_iter().map(|(_, at)| at).collect()
}

fn due(bench: &Bench) -> Due {
    bench.shelf.due(&bench.scope, "k", bench.now_ms)
}

#[test]
fn a_deadline_is_noted_once_and_again_only_if_it_comes_earlier() {
    let bench = bench();
    bench.put("k", until(1, 2_000));
    bench.put("k", until(2, 3_000));
    bench.put("k", until(3, 1_500));
    bench.set("k", 4);
    assert_eq!(deadlines(&bench), [2_000, 1_500]);
    bench.put("k", until(5, 4_000));
    assert_eq!(deadlines(&bench), [4_000], "there was none before");
}

#[test]
fn a_fallback_has_no_timer_that_serves_what_replaces_it() {
    let mut bench = bench();
    bench.shelf.watch(true);
    bench.put("k", kept(1, 2_000, 90_000));
    assert_eq!(deadlines(&bench), [2_000]);
    bench.now_ms = 2_500;
    assert!(matches!(due(&bench), Due::Later(90_000)));
    // By a clock that was read before it expired.
    bench.now_ms = 1_900;
    bench.put("k", until(2, 3_000));
    assert_eq!(deadlines(&bench), [3_000]);
}

#[test]
fn what_a_flight_brought_has_no_timer_yet() {
    let bench = bench();
    let (mark, _) = bench.mark("k");
    let mut ask = bench.ask("k", Change::Put(until(2, 3_000)));
    ask.condition = Condition::Present;
    let mut found = record(1, Version::at(1));
    found.expires_ms = 2_000;
    ask.brought = Some(Brought {
        mark,
        found: Some(found),
    });
    version(bench.shelf.apply(ask));
    assert_eq!(deadlines(&bench), [3_000]);
}

#[test]
fn a_promotion_notes_its_deadline() {
    let bench = bench();
    let (mark, _) = bench.mark("k");
    let mut found = record(1, Version::at(1));
    found.expires_ms = 2_000;
    assert!(bench.promote("k", mark, found));
    assert_eq!(deadlines(&bench), [2_000]);
}

#[test]
fn too_many_deadlines_ask_for_a_pass_which_finds_dirty_slots_too() {
    let bench = bench();
    for n in 0..BOUNDS.deadlines_max as u64 + 1 {
        bench.put(&n.to_string(), until(n, 2_000));
    }
    assert!(bench.shelf.take_deadlines(&mut Vec::new()));
    bench.evict_all();
    let mut all = Vec::new();
    bench.shelf.deadlines_of(0, &mut all);
    bench.shelf.deadlines_of(9, &mut all);
    assert_eq!(all.len(), BOUNDS.deadlines_max + 1);
}

#[test]
fn a_timer_finds_every_state_an_entry_can_be_in() {
    let mut bench = bench();
    bench.shelf.watch(true);
    assert_eq!(due(&bench), Due::Unknown);
    bench.set("k", 1);
    assert_eq!(due(&bench), Due::Done(false), "it lives for ever");
    bench.put("k", kept(2, 2_000, 3_000));
    assert_eq!(due(&bench), Due::Later(2_000));
    bench.now_ms = 2_000;
    assert_eq!(due(&bench), Due::Later(3_000), "kept as a fallback");
    assert_eq!(bench.events().pop().unwrap().kind, EventKind::Expired);
    assert_eq!(due(&bench), Due::Later(3_000));
    assert!(bench.events().is_empty(), "announced once");
    bench.now_ms = 3_000;
    assert_eq!(due(&bench), Due::Done(false));
    assert_eq!(bench.shelf.stats().entries, 0);
    bench.remove("k");
    assert_eq!(due(&bench), Due::Done(false));
}

#[test]
fn an_entry_without_a_fallback_is_announced_and_freed_at_once() {
    let mut bench = bench();
    bench.put("k", until(1, 2_000));
    bench.now_ms = 2_000;
    assert_eq!(due(&bench), Due::Done(true));
    assert_eq!(bench.shelf.stats().entries, 0);
    assert_eq!(bench.get("k"), None, "the dirty slot acts as a tombstone");
    assert_eq!(bench.shelf.stats().dirty_slots, 1);
}

#[test]
fn a_cleared_entry_is_freed_without_being_announced() {
    let bench = bench();
    bench.shelf.watch(true);
    bench.put("k", until(1, 2_000));
    bench.events();
    bench
        .shelf
        .fence(&bench.scope, Covers::Tag("x".into()), 1_000);
    assert_eq!(due(&bench), Due::Later(2_000));
    bench.shelf.fence(&bench.scope, Covers::All, 1_000);
    assert_eq!(due(&bench), Due::Done(false));
    assert!(bench.events().is_empty());
}

#[test]
fn expiry_below_is_news_only_if_memory_does_not_know_better() {
    let mut bench = bench();
    bench.shelf.watch(true);
    let below = |bench: &Bench, version| {
        let now_ms = bench.now_ms;
        bench
            .shelf
            .expired_below(&bench.scope, "k", version, now_ms)
    };
    assert!(below(&bench, Version::at(1)), "memory knows nothing");
    let set = bench.put("k", until(1, 2_000));
    assert!(!below(&bench, Version::at(1)), "it was set since");
    assert!(!below(&bench, set), "it was renewed: memory has it fresh");
    bench.now_ms = 2_000;
    assert!(below(&bench, set));
    assert!(!below(&bench, set), "once");
    bench.remove("k");
    assert!(!below(&bench, set));
    bench.flush(DISK);
    bench.shelf.fence(&bench.scope, Covers::All, 2_000);
    assert!(!below(&bench, set), "it was cleared");
}

#[test]
fn expiry_of_a_copy_that_is_not_believed_is_no_news() {
    let bench = bench();
    bench.shelf.watch(true);
    let set = bench.put("k", until(1, 2_000));
    bench.flush(DISK);
    let mut ask = bench.ask("k", Change::Remove);
    ask.room = Room::default();
    version(bench.shelf.apply(ask));
    let below = || bench.shelf.expired_below(&bench.scope, "k", set, 2_000);
    assert!(!below(), "it was removed, and the store does not know it");
    bench.shelf.heal(DISK, 10, 2_000);
    assert!(!below());
}

#[test]
fn the_sweep_takes_what_no_read_would_show() {
    let mut bench = bench();
    bench.put("tagged", kept(1, 5_000, 5_000));
    bench.put("k", until(2, 2_000));
    bench.set("live", 3);
    assert_eq!(bench.shelf.sweep(0, 1_000), 0);
    bench
        .shelf
        .fence(&bench.scope, Covers::Tag("t".into()), 1_000);
    bench.now_ms = 2_000;
    assert_eq!(
        bench.shelf.sweep(0, 2_000),
        1,
        "what is not announced waits"
    );
    bench.shelf.watch(true);
    let set = bench.put("k", kept(3, 2_100, 2_200));
    bench.now_ms = 2_100;
    assert!(bench.shelf.expired_below(&bench.scope, "k", set, 2_100));
    assert_eq!(bench.shelf.sweep(0, 2_199), 0);
    assert_eq!(bench.shelf.sweep(0, 2_200), 1);
    assert_eq!(bench.shelf.sweep(9, 0), 0, "there is no such stripe");
    assert_eq!(bench.shelf.stats().entries, 1);
}
