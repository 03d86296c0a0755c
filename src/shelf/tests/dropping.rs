//! Values leave outside of the lock: their destructors may panic, and may call the shelf.

use super::*;

/// A host's value that, when dropped, reads and writes the shelf it was in, and panics.
struct Rude(StdArc<Bench>);

impl Drop for Rude {
    fn drop(&mut self) {
        self.0.get("k");
        self.0.set("dropped", 1);
        self.0.shelf.stats();
        panic!("as a host's destructor may");
    }
}

fn rude(bench: &StdArc<Bench>) -> Draft {
    Draft {
        body: Body::Decoded(Arc::new(Rude(StdArc::clone(bench)))),
        ..draft(0)
    }
}

fn dropped(bench: &Bench) -> bool {
    let was = bench.get("dropped").is_some();
    bench.remove("dropped");
    bench.flush(DISK);
    was
}

#[test]
fn a_destructor_that_calls_the_shelf_and_panics_harms_nobody() {
    let bench = StdArc::new(bench());
    // Replaced in table and dirty set.
    bench.put("k", rude(&bench));
    bench.set("k", 1);
    assert!(dropped(&bench));
    // A condition that does not hold.
    let mut ask = bench.ask("k", Change::Put(rude(&bench)));
    ask.condition = Condition::Version(Version::at(1));
    let applied = bench.shelf.apply(ask);
    assert!(matches!(
        applied,
        Applied::Conflict { .. } | Applied::Below(..)
    ));
    assert!(dropped(&bench));
    // Refused by the table, then stored.
    let heavy = Draft {
        weight: 1 << 21,
        ..rude(&bench)
    };
    bench.put("k", heavy);
    let mut taken = bench.take(DISK);
    taken.iter_mut().for_each(|t| t.value = None);
    bench.shelf.settle(DISK, &taken, StoreDurability::Written);
    assert!(dropped(&bench));
    // Refused, and no tier either.
    let mut ask = bench.ask(
        "k",
        Change::Put(Draft {
            weight: 1 << 21,
            ..rude(&bench)
        }),
    );
    ask.plan.put = TierSet::NONE;
    version(bench.shelf.apply(ask));
    assert!(dropped(&bench));
    // Superseded by a memory-only value.
    bench.put("k", rude(&bench));
    bench.overflow("k", 2);
    assert!(dropped(&bench));
    // Evicted.
    bench.put("k", rude(&bench));
    let mut taken = bench.take(DISK);
    taken.iter_mut().for_each(|t| t.value = None);
    bench.shelf.settle(DISK, &taken, StoreDurability::Written);
    bench.evict_all();
    assert!(dropped(&bench));
}

#[test]
fn what_a_flight_brought_in_vain_is_dropped_outside_too() {
    let bench = StdArc::new(bench());
    let mut slot = record(1, Version::at(1));
    let Draft { body, .. } = rude(&bench);
    slot.body = body;
    let (mark, _) = bench.mark("k");
    bench.set("k", 1);
    assert!(!bench.promote("k", mark, slot));
    assert!(dropped(&bench));
    let gone = Version::at(1);
    let Draft { body, .. } = rude(&bench);
    bench
        .shelf
        .decoded(&bench.scope, bench.hash("k"), "k", gone, (0, body));
    assert!(dropped(&bench));
}

#[test]
fn what_was_brought_for_a_condition_that_memory_came_to_decide_is_dropped_outside_too() {
    let bench = StdArc::new(bench());
    for (condition, remove) in [(Condition::Absent, true), (Condition::Present, false)] {
        let (mark, _) = bench.mark("k");
        let mut found = record(1, Version::at(1));
        let Draft { body, .. } = rude(&bench);
        found.body = body;
        // Somebody else was faster.
        if remove {
            bench.remove("k");
        } else {
            bench.set("k", 2);
        }
        let mut ask = bench.ask("k", Change::Put(draft(3)));
        ask.condition = condition;
        ask.brought = Some(Brought {
            mark,
            found: Some(found),
        });
        version(bench.shelf.apply(ask));
        assert!(dropped(&bench));
        assert_eq!(bench.get("k"), Some(3));
        bench.flush(DISK);
        bench.evict_all();
    }
}

#[test]
fn an_event_that_nobody_took_is_dropped_outside_too() {
    let bench = StdArc::new(bench());
    bench.shelf.watch(true);
    bench.put("k", rude(&bench));
    for n in 0..=BOUNDS.events_max as u64 {
        bench.set("k", n);
        bench.flush(DISK);
    }
    bench.set("k", 1);
    bench.shelf.watch(false);
    assert!(dropped(&bench));
}

#[test]
fn what_was_taken_to_be_stored_and_replaced_meanwhile_harms_nobody_either() {
    let bench = StdArc::new(bench());
    bench.put("a", rude(&bench));
    bench.put("b", rude(&bench));
    let taken = bench.take(DISK);
    bench.set("a", 1);
    bench.set("b", 2);
    // Two of them: a second panic while the first one unwinds would end the process.
    drop(taken);
    assert!(dropped(&bench));
}
